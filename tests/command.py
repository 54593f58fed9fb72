"""`ferlib WORDS...` in the test's own process, which has MXNet loaded, and limits for it."""

import contextlib
import io
import resource
from collections.abc import Iterator
from dataclasses import dataclass

from ferlib.cli.main import main


@dataclass(frozen=True)
class Done:
    """What a command left, named as `subprocess.run` names it."""

    returncode: int
    stdout: str
    stderr: str


def ferlib(*words) -> Done:
    """Run one command as the shell would, but without a process: those take a second each."""
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            status = main([str(word) for word in words])
        except SystemExit as end:  # argparse's, for --help and wrong usage
            status = end.code or 0
    return Done(status, out.getvalue(), errors.getvalue())


def mistake(done, status: int = 1) -> str:
    """The message of a user's mistake: one or two plain lines, and this exit status."""
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert 1 <= len(done.stderr.strip().splitlines()) <= 2, done.stderr
    return done.stderr


@contextlib.contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """Writing past `size` bytes fails in mid-file, as on a full disk, and needs no rights."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
