"""A server of any checkout, and clients that cost it next to nothing, for scripts that load it."""

import asyncio
import contextlib
import http.client
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psutil
from conditions import ROOT

from ferlib.errors import FerlibError

PATH = "/predictions/fer"
PORTS = range(18100, 18200)  # the first free one; what ferlib served before took none above 32766
START_SECONDS = 120


# ---------------------------------------------------------------- clients


class Answer(NamedTuple):
    status: int  # 0: the connection ended, or nothing came in time
    head: bytes
    body: bytes
    seconds: float


def request(
    body: bytes = b"",
    kind: str | None = "image/png",
    method: str = "POST",
    path: str = PATH,
    more: str = "",
) -> bytes:
    """A whole request in bytes; `more` holds further header lines, each ended by CR LF."""
    lines = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
    lines += f"Content-Type: {kind}\r\n" if kind is not None else ""
    return (lines + more + "\r\n").encode() + body


class Client:
    """One connection to 127.0.0.1, kept as long as the server keeps it, then opened again."""

    def __init__(self, port: int):
        self.port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, raw: bytes, limit: float = 60) -> Answer:
        """The answer to one request, or status 0 where none comes in `limit` seconds."""
        started = time.perf_counter()
        found = 0, b"", b""
        with contextlib.suppress(OSError, EOFError, ValueError, asyncio.LimitOverrunError):
            async with asyncio.timeout(limit):
                reader, writer = await self._connection()
                writer.write(raw)
                found = await read_answer(reader)
        if found[0] == 0 or b"connection: close" in found[1].lower():
            self.close()
        return Answer(*found, time.perf_counter() - started)

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reader is None or self._writer is None or self._reader.at_eof():
            self.close()
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self._reader, self._writer

    async def hang_up(self, raw: bytes) -> Answer:
        """Send that and go, as a client does whose user has lost patience."""
        _, writer = await self._connection()
        writer.write(raw)
        self.close()
        return Answer(0, b"", b"", 0.0)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes, bytes]:
    """(status, head, body) of the next answer; `100 Continue` is passed over."""
    status = 100
    while status == 100:
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
    length = header(head, b"content-length")
    return status, head, await reader.readexactly(int(length or 0))


def header(head: bytes, name: bytes) -> bytes:
    """The value of a header field, b"" where it is not there."""
    for line in head.split(b"\r\n"):
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip()
    return b""


async def probe(port: int, raw: bytes, limit: float = 120) -> float:
    """Seconds until a request gets a 200, asking again for as long as it does not."""
    started = time.perf_counter()
    while time.perf_counter() - started < limit:
        client = Client(port)
        answer = await client.ask(raw, limit=10)
        client.close()
        if answer.status == 200:
            return time.perf_counter() - started
        await asyncio.sleep(0.02)
    raise FerlibError(f"no good answer within {limit:.0f} seconds")


# ---------------------------------------------------------------- the server


@dataclass
class Served:
    """A server that `served` started: `process` is `ferlib serve --foreground`."""

    process: subprocess.Popen
    port: int
    folder: Path  # its temporary files, notes and logs

    def processes(self) -> list[psutil.Process]:
        """The keeper, its launcher, Java and the workers; not the command that waits for them."""
        with contextlib.suppress(psutil.Error):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    def workers(self) -> set[int]:
        """Those that read pictures, not the process that forks them."""
        return {
            process.pid
            for process in self.processes()
            if kind_of(process) == "workers" and not _children(process)
        }

    def java(self) -> int:
        return next(one.pid for one in self.processes() if kind_of(one) == "java")

    def memory(self) -> dict[str, float]:
        """MB by kind of process: proportional set size, so that shared pages count once."""
        sums = dict.fromkeys(("gate", "java", "workers"), 0.0)
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                sums[kind_of(process)] += process.memory_full_info().pss / 1e6
        return {kind: round(sum_, 1) for kind, sum_ in sums.items()}

    def cpu_seconds(self) -> float:
        total = 0.0
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def logged(self, name: str) -> str:
        """What the server's log of this name holds, those that were turned over too."""
        files = sorted(self.folder.rglob(f"{name}*"), key=lambda file: file.stat().st_mtime)
        return "".join(file.read_text(errors="replace") for file in files)


def kind_of(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        words = process.cmdline()
        if any(word.endswith("model_service_worker.py") for word in words):
            return "workers"
        return "java" if process.name() == "java" else "gate"
    return "gate"


def _children(process: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return process.children()
    return []


@contextlib.contextmanager
def served(*options: str, checkout: Path = ROOT) -> Iterator[Served]:
    """A checkout's server with its shipped net, in a folder of its own, idle when this returns."""
    folder = Path(tempfile.mkdtemp(prefix="load-"))
    env = os.environ | {"PYTHONPATH": str(checkout), "XDG_CACHE_HOME": str(folder)}
    env |= {"TMPDIR": str(folder)}
    command = [sys.executable, "-m", "ferlib.cli"]
    archive, port = str(folder / "fer.mar"), free_port()
    words = ["serve", "--foreground", "--archive", archive, "--port", str(port), *options]
    try:
        pack = [*command, "pack", "--out", archive]
        subprocess.run(pack, cwd=checkout, env=env, check=True, stdout=subprocess.DEVNULL)
        with open(folder / "said", "wb") as said:
            how = {"cwd": checkout, "env": env, "stdout": said, "stderr": said}
            process = subprocess.Popen([*command, *words], **how)
        server = Served(process, port, folder)
        try:
            _wait_until_idle(server)
            yield server
        finally:
            _stop(server)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    for port in PORTS:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise FerlibError(f"no free port from {PORTS.start} to {PORTS.stop - 1}")


def _wait_until_idle(server: Served) -> None:
    """It answers when its first worker does; the others are still busy loading the net then."""
    deadline = time.monotonic() + START_SECONDS
    while not _answers(server.port):
        if server.process.poll() is not None or time.monotonic() > deadline:
            said = (server.folder / "said").read_text().strip()
            raise FerlibError(f"the server did not start: {said[-300:]}")
        time.sleep(0.2)
    used = -1.0
    while server.cpu_seconds() - used > 0.05 and time.monotonic() < deadline:
        used = server.cpu_seconds()
        time.sleep(0.7)


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", PATH, b"P5 1 1 255 \0")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _stop(server: Served) -> None:
    left = server.processes()
    server.process.terminate()
    try:
        server.process.wait(60)
    except subprocess.TimeoutExpired:
        server.process.kill()
        server.process.wait()
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()
