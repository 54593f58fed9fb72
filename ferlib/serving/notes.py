"""What runs: the notes that `ferlib serve` leaves about servers, and the processes of each."""

import contextlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ferlib.errors import FerlibError
from ferlib.files import cache_folder
from ferlib.serving.keeper import NAME, START

KEEPER = "import sys; sys.path.insert(0, sys.argv[1]); "
KEEPER += "from ferlib.serving import keeper; keeper.keep()"
JAVA = "com.amazonaws.ml.mms.ModelServer"
WORKER = "/model_service_worker.py"


@dataclass(frozen=True)
class Server:
    """A server that `start` started: `folder` is its private temporary folder."""

    port: int
    pid: int
    folder: str
    logs: str
    workers: int = 0
    threads: int = 0
    metrics: int | None = None  # the port of Prometheus's numbers

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/predictions/{NAME}"


def running() -> list[Server]:
    """The servers of this user that `start` started and that still have a process."""
    servers = map(noted, sorted(state_folder().glob("*.json")))
    return [server for server in servers if server is not None and processes(server)]


def processes(server: Server) -> list:
    """This user's processes that are the server's: the keeper, its launcher, Java and the workers.

    Each has one of four words and a path in the private folder on its command line. The path alone
    would also match somebody's `tail -f` of a file there, and a process id alone may be another
    process's by now. Zombies have no command line.
    """
    import psutil  # comes with Multi Model Server

    return [process for process in psutil.process_iter() if _is_ours(server, process)]


def kept(server: Server) -> bool:
    """Whether its keeper lives, without which nothing listens."""
    import psutil

    with contextlib.suppress(psutil.Error):
        return _is_ours(server, psutil.Process(server.pid))
    return False


def _is_ours(server: Server, process: Any) -> bool:
    import psutil

    with contextlib.suppress(psutil.Error):
        return process.uids().real == os.getuid() and _is_of(server, process.cmdline())
    return False


def _is_of(server: Server, words: list[str]) -> bool:
    within = any(w == server.folder or w.startswith(server.folder + "/") for w in words)
    return within and any(w in (KEEPER, START, JAVA) or w.endswith(WORKER) for w in words)


def state_folder() -> Path:
    """Where logs and notes about running servers lie: the user's cache, else the temp folder."""
    folder = cache_folder() / "server"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    folder = Path(tempfile.gettempdir()) / f"ferlib-server-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise FerlibError(f"{folder} belongs to another user: set XDG_CACHE_HOME to a folder")
    return folder


def state_file(port: int) -> Path:
    return state_folder() / f"{port}.json"


def noted(path: Path) -> Server | None:
    with contextlib.suppress(OSError, ValueError, TypeError):
        found = Server(**json.loads(path.read_text()))
        numbers, names = (found.port, found.pid), (found.folder, found.logs)
        if {*map(type, numbers)} == {int} and {*map(type, names)} == {str} and all(names):
            return found
    return None
