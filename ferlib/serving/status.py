"""What runs: each server's own numbers, asked through its private folder, and its memory."""

import contextlib
import http.client
import json
import socket
from dataclasses import asdict

from ferlib.serving.keeper import STATUS
from ferlib.serving.notes import WORKER, Server, processes, running

_SECONDS = 3.0  # for the gate to answer


def servers() -> list[dict]:
    """For each server of this user: its note, the gate's counts where it answers, its memory."""
    return [_told(server) for server in running()]


def _told(server: Server) -> dict:
    told = asdict(server) | {"address": server.address} | _memory(server)
    with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
        told |= _asked(f"{server.folder}/{STATUS}")
    return told


def _memory(server: Server) -> dict:
    """Bytes of all processes, pages that several share counted once."""
    import psutil

    memory, count, workers = 0, 0, 0
    for process in processes(server):
        with contextlib.suppress(psutil.Error):
            memory += process.memory_full_info().pss
            count += 1
            workers += any(word.endswith(WORKER) for word in process.cmdline()) and _forked(process)
    return {"memory": memory, "processes": count, "running": workers}


def _forked(process) -> bool:
    """Whether it is a worker that reads, rather than the one that forks them."""
    parent = process.parent()
    return parent is not None and any(word.endswith(WORKER) for word in parent.cmdline())


def _asked(path: str) -> dict:
    connection = _Local(path)
    try:
        connection.request("GET", "/status")
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


class _Local(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str):
        super().__init__("localhost", timeout=_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
