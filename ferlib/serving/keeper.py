"""The process between `ferlib serve` and Multi Model Server, which leaves its workers behind.

The keeper adopts whatever the server forks. When it is told to stop, or the server dies, it takes
all of that down and removes the private folder. `ferlib.serving.server` starts it, as a process.
"""

import asyncio
import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

NAME = "fer"  # of the model: POST /predictions/fer
LAST_PORT = 32766  # that Multi Model Server takes: it holds ports in a short
GRACE = 10.0  # seconds for an orderly end, before SIGKILL
START = "from mms.model_server import start; start()"
_CONSOLE_BYTES = 1_000_000  # of the console's output kept; the server's own logs turn over
_CHUNK = 1 << 20  # bytes passed on at a time
_SET_CHILD_SUBREAPER = 36  # prctl(2)


def keep() -> None:
    """Run the server until it ends or SIGTERM comes; then leave no process and no file of it."""
    folder, logs, port = sys.argv[2:5]
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1)  # orphaned workers become our children
    if int(port) > LAST_PORT:
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
    command = [sys.executable, "-c", START, "--start", "--foreground"]
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
        wrapper.wait(GRACE)
    deadline = time.monotonic() + GRACE
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
