"""What tests of the gate share: one in this process, before a small upstream, and raw sockets."""

import asyncio
import contextlib
import json
import re
import shutil
import socket
import struct
import tempfile
import threading

import httptools
import jsonschema

from ferlib.serving import openapi, server
from ferlib.serving.counts import Counts, gate_log
from ferlib.serving.gate import Gate
from ferlib.serving.limits import Limits

SCHEMA = json.loads(openapi.SCHEMA.read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
SHORT = Limits(
    head_seconds=0.6,
    body_seconds=1.0,
    idle_seconds=1.5,
    answer_seconds=1.0,
    linger_seconds=0.5,
    requests=6,
    connections=12,
    bodies=900_000,
    body=300_000,
    chunks=1000,
)
ANSWER = (
    b'{"model": "m", "faces": [], "whole_picture": {"emotion": "a", "scores": {"a": 1, "b": 0}}}'
)
MMS_FAULT = b'{"code": 500, "type": "InternalServerException", "message": "Worker died."}'


# ---------------------------------------------------------------- a gate in this process


class Upstream(asyncio.Protocol):
    """In the place of Multi Model Server: keeps what it was sent, answers as `way` says."""

    way = "answer"
    sent: list[tuple[bytes, bytes]]  # head, body
    free: threading.Event

    def connection_made(self, transport):
        self.transport = transport
        self.begin()

    def begin(self):
        self.parser = httptools.HttpRequestParser(self)
        self.head, self.body = b"", b""

    def data_received(self, data):
        if not self.head:
            self.head = data.split(b"\r\n\r\n")[0]
        self.parser.feed_data(data)

    def on_body(self, piece):
        self.body += piece

    def on_message_complete(self):
        kind = type(self)
        kind.sent.append((self.head, self.body))
        self.begin()
        if kind.way == "close":
            self.transport.close()
        elif kind.way == "fault":
            self.reply(500, MMS_FAULT)
        elif kind.way == "hold":
            asyncio.get_running_loop().run_in_executor(None, kind.free.wait, 20).add_done_callback(
                lambda _: self.reply(200, ANSWER)
            )
        elif kind.way == "answer":
            self.reply(200, ANSWER)

    def reply(self, status, body):
        head = b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
        self.transport.write(head + body)


class Running:
    """A gate in a thread, on a free port of 127.0.0.1."""

    def __init__(self, folder: str, limits: Limits, workers: int = 1, upstream: bool = True):
        self.upstream = type("Own", (Upstream,), {"sent": [], "free": threading.Event()})
        self.counts = Counts(gate_log(folder))
        self._path = f"{folder}/http.sock"
        self._listens, self._with_upstream = threading.Event(), upstream
        self._make = lambda: Gate(self._path, workers, self.counts, limits)
        self._thread = threading.Thread(target=asyncio.run, args=(self._run(),))
        self._thread.start()
        assert self._listens.wait(10)

    async def _run(self):
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        self.gate = self._make()
        listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = listener.getsockname()[1]
        if self._with_upstream:
            await self._loop.create_unix_server(self.upstream, self._path)
        await self.gate.listen(listener)
        self._listens.set()
        await self._end.wait()
        self.gate.close()

    def stop(self):
        self.upstream.free.set()
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)
        assert not self._thread.is_alive()


@contextlib.contextmanager
def running_gate(limits: Limits = SHORT, **how):
    folder = tempfile.mkdtemp(prefix="gate-", dir=server._short_folder())
    one = Running(folder, limits, **how)
    try:
        yield one
    finally:
        one.stop()
        shutil.rmtree(folder)


# ---------------------------------------------------------------- raw sockets


class Answer:
    def __init__(self, status: int, head: bytes, body: bytes):
        self.status, self.head, self.body = status, head.lower(), body
        self.said = json.loads(body) if body else None
        self.code = (self.said or {}).get("error", {}).get("code")
        self.closes = b"connection: close" in self.head


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def answer(connection: socket.socket, method: str = "POST") -> Answer | None:
    """The next answer on a connection; None where it ends instead."""
    data = b""
    while b"\r\n\r\n" not in data:
        try:
            piece = connection.recv(1)  # no byte of the next answer
        except ConnectionError:
            return None
        if not piece:
            return None
        data += piece
    length = int(re.search(rb"content-length: (\d+)", data.lower())[1])
    body = b""
    while len(body) < length and method != "HEAD":
        body += connection.recv(length - len(body))
    return Answer(int(data.split(b" ")[1]), data, body)


def ask(port: int, raw: bytes, method: str = "POST") -> Answer:
    with connect(port) as connection:
        with contextlib.suppress(ConnectionError):  # refused before all of it was sent
            connection.sendall(raw)
        found = answer(connection, method)
        assert found is not None
        return found


def request(
    body: bytes = b"P5 1 1 255 \0", *fields: str, line: str = "", length: bool = True
) -> bytes:
    lines = [line or "POST /predictions/fer HTTP/1.1", "Host: 127.0.0.1", *fields]
    lines += [f"Content-Length: {len(body)}"] * length
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def get(path: str, *fields: str, method: str = "GET") -> bytes:
    return request(b"", *fields, line=f"{method} {path} HTTP/1.1", length=False)


def form(*parts: tuple[str, bytes], mark: str = "xyz") -> tuple[bytes, str]:
    """Parts as (name, content) -> body, Content-Type."""
    body = b"".join(
        f'--{mark}\r\nContent-Disposition: form-data; name="{name}"; filename="a"\r\n\r\n'.encode()
        + content
        + b"\r\n"
        for name, content in parts
    )
    return body + f"--{mark}--\r\n".encode(), f"Content-Type: multipart/form-data; boundary={mark}"


def good(port: int) -> bool:
    return ask(port, request()).status == 200


def reset(connection: socket.socket) -> None:
    """Close with a reset in place of an end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
