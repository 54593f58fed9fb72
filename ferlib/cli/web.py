"""ferlib web."""

from argparse import Namespace
from contextlib import suppress
from typing import Any

from ferlib.cli.arguments import add_command, place, port


def web(args: Namespace) -> dict:
    from ferlib.serving import web, web_server

    if not args.build_only:
        web_server.check_port(args.port)  # before the work
    folder = web.build(args.out, args.weights)
    total = sum(file.stat().st_size for file in folder.glob("models/*.onnx"))
    print(f"wrote {folder}, its networks {total / 1e6:.2f} MB", flush=True)
    told = {"folder": str(folder), "bytes": total}
    if args.build_only:
        return told
    with web_server.server(folder, args.port) as server:
        print(f"open {web_server.address(server)} in a browser; Ctrl-C ends it", flush=True)
        with suppress(KeyboardInterrupt):
            server.serve_forever()
    return told


def add_commands(commands: Any) -> None:
    about = "read faces in the browser: build the page, and give it out on this machine"
    command = add_command(commands, "web", web, about)
    add = command.add_argument
    add(
        "--out",
        type=place,
        metavar="FOLDER",
        help="write the page there (default: in the cache folder)",
    )
    add("--port", type=port, default=8090, help="on 127.0.0.1")
    add("--weights", metavar="PREFIX", help="a net of gray pictures; default: ferplus-small")
    add("--build-only", action="store_true", help="write the folder, for another server")
