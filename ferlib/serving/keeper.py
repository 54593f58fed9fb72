"""The process between `ferlib serve` and Multi Model Server, which leaves its workers behind.

The keeper adopts whatever the server forks, starts it again when it dies, and holds the gate, which
alone listens. When it is told to stop it takes all of that down and removes the private folder.
`ferlib.serving.server` starts it, as a process.
"""

import asyncio
import contextlib
import ctypes
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path

from ferlib.serving.client import Route
from ferlib.serving.counts import Counts, gate_log
from ferlib.serving.gate import Gate
from ferlib.serving.limits import Limits

NAME = "fer"  # of the model: POST /predictions/fer
GRACE = 10.0  # seconds for an orderly end, before SIGKILL
START = "from mms.model_server import start; start()"
STATUS = "status.sock"  # in the private folder: GET /status
METRICS = "metrics"  # in the private folder: the workers' numbers for Prometheus
_DRAIN = 3.0  # seconds for requests in work to be answered at the end
_FAILURES, _MINUTE = 5, 60.0  # so many ends in a minute without a good answer, and it gives up
_PAUSES = (0.0, 0.5, 1.0, 2.0, 4.0)  # seconds before Multi Model Server is started again
_CONSOLE_BYTES = 1_000_000  # of the console's output kept; the server's own logs turn over
_SET_CHILD_SUBREAPER = 36  # prctl(2)


def keep() -> None:
    """Run the server until it fails or SIGTERM comes; then leave no process and no file of it."""
    folder, logs, told = sys.argv[2:5]
    asyncio.run(Keeper(Path(folder), Path(logs), **json.loads(told)).run())


class Keeper:
    """Multi Model Server and its gate, on 127.0.0.1.

    `metrics`: the port of those, or None. `bound`: it ends when its standard input does.
    """

    def __init__(
        self,
        folder: Path,
        logs: Path,
        port: int,
        workers: int,
        rate: float,
        metrics: int | None,
        bound: bool,
    ):
        self.folder, self.logs = folder, logs
        self.counts = Counts(gate_log(logs))
        self.gate = Gate(f"{folder}/http.sock", workers, self.counts, Limits(rate=rate))
        self._ports = port, metrics
        self._bound = bound
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stopping.set)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if self._bound:
            loop.add_reader(0, self._left_alone)
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1)  # orphaned workers become our children
        held = os.open(self.folder, os.O_RDONLY)
        fcntl.flock(held, fcntl.LOCK_SH)  # systemd cleans /tmp of what is old and of no one's
        try:
            await self._listen()
            await self._serve()
            await self.gate.drain(_DRAIN)
        finally:
            self.gate.close()
            await asyncio.to_thread(_take_down, GRACE)
            shutil.rmtree(self.folder, ignore_errors=True)

    def _left_alone(self) -> None:
        """The process that started this has ended, without a word."""
        asyncio.get_running_loop().remove_reader(0)
        self._stopping.set()

    async def _listen(self) -> None:
        port, metrics = self._ports
        await self.gate.listen(_on_loopback(port))
        status = socket.socket(socket.AF_UNIX)
        status.bind(f"{self.folder}/{STATUS}")
        tell = Route("GET", lambda client, _: client.answer(200, self._status()))
        await self.gate.listen(status, {b"/status": tell})
        if metrics is not None:
            from ferlib.serving.exposition import Exposition

            told = Exposition(self.folder / METRICS, self.gate)
            answer = Route("GET", lambda client, _: client.answer(200, told.text(), told.kind))
            await self.gate.listen(_on_loopback(metrics), {b"/metrics": answer})

    def _status(self) -> bytes:
        flight = {"in_flight": self.gate.in_flight, "waiting": self.gate.waiting}
        return json.dumps(self.counts.told() | flight).encode()

    # ------------------------------------------------------------ Multi Model Server

    async def _serve(self) -> None:
        """Run Multi Model Server, again and again if need be, until told to stop."""
        ends: deque[float] = deque(maxlen=_FAILURES)
        while not self._stopping.is_set():
            good = self.gate.good
            wrapper = self._launch()
            await self._until_it_ends(wrapper)
            if self._stopping.is_set():
                return
            if self.gate.good > good:
                ends.clear()
            ends.append(time.monotonic())
            if self._hopeless(ends):
                self._say("Multi Model Server does not stay up: giving up")
                return
            self._say("Multi Model Server has ended unexpectedly: starting it again")
            self.counts.restarts += 1
            await asyncio.to_thread(_take_down, 0.0)
            await self._stopped_within(_PAUSES[len(ends) - 1])

    def _hopeless(self, ends: deque[float]) -> bool:
        """A server that has never answered has a fault that its first end tells of well enough."""
        return not self.gate.good or (len(ends) == _FAILURES and ends[-1] - ends[0] < _MINUTE)

    def _say(self, text: str) -> None:
        self.counts.event(text)
        print(text, file=sys.stderr, flush=True)  # keeper.log

    def _launch(self) -> subprocess.Popen:
        """Multi Model Server in a temporary folder that no predecessor left things in."""
        own = self.folder / "run"
        shutil.rmtree(own, ignore_errors=True)
        own.mkdir()
        env = os.environ | {"TMPDIR": str(own), "TEMP": str(own)}
        if self._ports[1] is not None:
            env["PROMETHEUS_MULTIPROC_DIR"] = str(self.folder / METRICS)
        for name in ("http.sock", "management.sock"):
            (self.folder / name).unlink(missing_ok=True)
        wrapper = subprocess.Popen(
            _server_command(self.folder),
            cwd=self.folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        to = wrapper.stdout, self.logs / "console.log"
        threading.Thread(target=_copy, args=to, daemon=True).start()
        return wrapper

    async def _until_it_ends(self, wrapper: subprocess.Popen) -> None:
        while wrapper.poll() is None and not await self._stopped_within(0.1):
            _reap()

    async def _stopped_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
        return self._stopping.is_set()


def _on_loopback(port: int) -> socket.socket:
    return socket.create_server(("127.0.0.1", port), backlog=128)


def _server_command(folder: Path) -> list[str]:
    command = [sys.executable, "-c", START, "--start", "--foreground"]
    command += ["--mms-config", f"{folder}/config.properties"]
    command += ["--log-config", f"{folder}/log4j2.xml"]
    return [*command, "--model-store", str(folder), "--models", f"{NAME}={NAME}.mar"]


def _copy(stream, path: Path) -> None:
    """The console's beginning into a file, the rest to nowhere."""
    with stream, open(path, "ab") as file:
        for line in stream:
            if file.tell() < _CONSOLE_BYTES:
                file.write(line)
                file.flush()


def _take_down(grace: float) -> None:
    """Java first, so that it starts no new workers; then everything else, each one reaped.

    `grace`: seconds that Java has for an orderly end.
    """
    import psutil

    own = psutil.Process()
    java = [process for process in own.children(recursive=True) if _is_java(process)]
    for process in java:
        with contextlib.suppress(psutil.Error):
            process.terminate() if grace else process.kill()
    psutil.wait_procs(java, timeout=grace)
    deadline = time.monotonic() + GRACE
    while time.monotonic() < deadline and (children := own.children(recursive=True)):
        for process in children:
            with contextlib.suppress(psutil.Error):
                process.kill()
        _reap()
        time.sleep(0.02)


def _is_java(process) -> bool:
    import psutil

    with contextlib.suppress(psutil.Error):
        return process.name() == "java"
    return False


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
