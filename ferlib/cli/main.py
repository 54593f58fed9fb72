"""Read facial expressions: prepare FER2013, train, evaluate, predict, pack and serve."""

import io
import json
import os
import shlex
import sys

from ferlib import __version__
from ferlib.cli import bench, export, learn, measure, models, read, serve, tune, web
from ferlib.cli.arguments import Parser
from ferlib.errors import FerlibError

LESS = "Smaller batches, a smaller net or fewer and smaller pictures at once take less of it."


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand; 0 done, 1 failed, 2 wrong usage. A user's mistake is two plain lines."""
    words = sys.argv[1:] if argv is None else argv
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file's name may be in no known encoding
        sys.stdout.reconfigure(errors="replace")
    args = _parser().parse_args(words)
    args.command = shlex.join(["ferlib", *words])  # what a trained net's JSON tells
    try:
        result = args.run(args)
        if args.json and result is not None:
            print(json.dumps(result))
        sys.stdout.flush()
    except BrokenPipeError:  # `ferlib ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except FerlibError as error:
        return _failed(str(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else "cannot write: "
        return _failed(f"{where}{error.strerror or error}")
    except (MemoryError, RuntimeError) as error:
        if not _lacks_memory(error):
            raise
        return _failed(f"the memory does not suffice here\n{LESS}")
    except KeyboardInterrupt:
        return _failed("stopped")
    return 0


def _lacks_memory(error: Exception) -> bool:
    """Python's own error, or MXNet's: a RuntimeError, of the CPU's memory or of the GPU's."""
    said = str(error)
    return isinstance(error, MemoryError) or "out of memory" in said or "allocate" in said


def _failed(message: str) -> int:
    lines = message.strip().splitlines()[:2]
    print("\n".join(["ferlib: " + lines[0], *lines[1:]]), file=sys.stderr)
    return 1


def _parser() -> Parser:
    parser = Parser(prog="ferlib", description=__doc__)
    parser.add_argument("--version", action="version", version=f"ferlib {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for group in (learn, models, tune, measure, bench, read, export, serve, web):
        group.add_commands(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
