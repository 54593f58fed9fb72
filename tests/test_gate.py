"""The gate: what it takes, what it refuses and how, and what it leaves standing.

Faults of HTTP are tried on a gate in this process, before a small upstream that says what it was
sent; what Multi Model Server, its workers and its keeper must survive, on the real server.
"""

import asyncio
import base64
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import httptools
import jsonschema
import numpy as np
import psutil
import pytest
from command import ferlib as command
from command import mistake
from prometheus_client import parser
from serving import any_weights, astronaut, encoded, free_port, server_processes

from ferlib.errors import FerlibError
from ferlib.serving import archive, exposition, notes, openapi, server, several
from ferlib.serving.counts import Counts, gate_log
from ferlib.serving.gate import Gate
from ferlib.serving.limits import Limits
from ferlib.serving.metrics import FOLDER

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


@pytest.fixture(scope="module")
def shared():
    with running_gate() as one:
        yield one


@pytest.fixture
def gate(shared):
    """The module's gate, its upstream as at the beginning; nothing may be left in it."""
    shared.upstream.way, shared.upstream.sent = "answer", []
    yield shared
    shared.upstream.free.set()
    deadline = time.monotonic() + 5
    while shared.gate.in_flight or shared.gate._bytes:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    shared.upstream.free = threading.Event()


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


# ---------------------------------------------------------------- HTTP: what is taken


def test_a_picture_goes_to_a_worker_with_nothing_else_of_the_clients(gate):
    secret = "X-Secret: of the client"
    found = ask(gate.port, request(b"PICTURE", secret, "Content-Type: image/png", "Cookie: a=b"))
    assert found.status == 200 and found.body == ANSWER and not found.closes
    ((head, body),) = gate.upstream.sent
    assert body == b"PICTURE"
    assert head.split(b"\r\n") == [
        b"POST /predictions/fer HTTP/1.1",
        b"Host: fer",
        b"Content-Type: application/octet-stream",
        b"Content-Length: 7",
    ]


def chunked(body: bytes, size: int = 1000) -> bytes:
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"


def test_a_chunked_body_arrives_whole_and_nothing_behind_it_is_read(gate):
    body = np.random.default_rng(0).bytes(50_000)
    raw = request(b"", "Transfer-Encoding: chunked", length=False) + chunked(body)
    with connect(gate.port) as connection:
        connection.sendall(raw + request(b"SMUGGLED"))
        found = answer(connection)
        assert found.status == 200 and found.closes and answer(connection) is None
    assert [sent for _, sent in gate.upstream.sent] == [body]


def test_a_request_in_single_bytes_and_one_after_another(gate):
    with connect(gate.port) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(3):
            for byte in request(b"n%d" % number):
                connection.sendall(bytes([byte]))
            assert answer(connection).status == 200
    assert [body for _, body in gate.upstream.sent] == [b"n0", b"n1", b"n2"]


def test_pipelined_requests_are_answered_in_their_order(gate):
    """Also where a quick one stands behind a slow one, and an empty line between two."""
    ping = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
    with connect(gate.port) as connection:
        raw = b"".join(request(b"n%02d" % n) + b"\r\n" + ping for n in range(40))
        connection.sendall(raw + b"GET /no HTTP/1.1\r\nHost: x\r\n\r\n")
        kinds = [answer(connection) for _ in range(81)]
        assert answer(connection) is None
    assert [one.status for one in kinds] == [200] * 80 + [404]
    assert ["openapi" in one.said for one in kinds[:80]] == [False, True] * 40
    assert [body for _, body in gate.upstream.sent] == [b"n%02d" % n for n in range(40)]


def test_a_connection_is_not_read_while_its_request_is_in_work(gate):
    """Else one client could fill the memory with requests that it never waits for."""
    gate.upstream.way = "hold"
    with connect(gate.port) as connection:
        connection.sendall(request())
        connection.settimeout(0.3)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 64 << 20:
                sent += connection.send(b"x" * 65536)
        assert sent < 16 << 20  # the kernel's buffers, and one read
        gate.upstream.free.set()
        connection.settimeout(10)
        assert answer(connection).status == 200
        assert answer(connection).code == "headers_too_large"  # what came behind it


def test_expect_100_continue_is_answered_before_the_body_comes(gate):
    body = b"x" * 5000
    with connect(gate.port) as connection:
        head = request(body, "Expect: 100-continue")[: -len(body)]
        connection.sendall(head)
        said = connection.recv(100)
        assert said == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert answer(connection).status == 200


def test_http_1_0_is_answered_and_closed(gate):
    raw = b"POST /predictions/fer HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx"
    found = ask(gate.port, raw)
    assert found.status == 200 and found.closes


def test_connection_close_is_heeded(gate):
    for raw in (request(b"x", "Connection: close"), get("/openapi.json", "Connection: close")):
        with connect(gate.port) as connection:
            connection.sendall(raw)
            assert answer(connection).closes and answer(connection) is None


def get(path: str, *fields: str, method: str = "GET") -> bytes:
    return request(b"", *fields, line=f"{method} {path} HTTP/1.1", length=False)


@pytest.mark.parametrize(
    "kind", ["", "image/jpeg", "IMAGE/PNG; q=1", "application/octet-stream", "application/json"]
)
def test_kinds_of_bodies_that_are_passed_on_as_they_are(gate, kind):
    assert (
        ask(gate.port, request(b"&a=b&", f"Content-Type: {kind}" if kind else "A: b")).status == 200
    )
    assert gate.upstream.sent[0][1] == b"&a=b&"


# ---------------------------------------------------------------- HTTP: what is refused


HEAD = "POST /predictions/fer HTTP/1.1\r\nHost: x\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n\r\n"
MALFORMED = {  # name: (raw, status)
    "length and chunks": (HEAD + "Content-Length: 3\r\n" + CHUNKED + "0\r\n\r\n", 400),
    "chunks and length": (CHUNKED[:-2].join([HEAD, "Content-Length: 3\r\n\r\n0\r\n\r\n"]), 400),
    "two lengths": (HEAD + "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
    "two lengths in one": (HEAD + "Content-Length: 3, 3\r\n\r\nabc", 400),
    "negative length": (HEAD + "Content-Length: -1\r\n\r\n", 400),
    "length with a plus": (HEAD + "Content-Length: +3\r\n\r\nabc", 400),
    "hexadecimal length": (HEAD + "Content-Length: 0x3\r\n\r\nabc", 400),
    "huge length": (HEAD + "Content-Length: 99999999999999999999\r\n\r\n", 400),
    "two codings": (HEAD + "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n", 400),
    "unknown coding": (HEAD + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
    "coding twice": (HEAD + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
    "space before the colon": (HEAD + "Content-Length : 3\r\n\r\nabc", 400),
    "folded": (HEAD + "A: b\r\n c\r\nContent-Length: 1\r\n\r\nx", 400),
    "folded by a tab": (HEAD + "Transfer-Encoding:\r\n\tchunked\r\n\r\n0\r\n\r\n", 400),
    "folded first": ("POST /predictions/fer HTTP/1.1\r\n Host: x\r\n\r\n", 400),
    "bare line feeds": ("GET /ping HTTP/1.1\nHost: x\n\n", 400),
    "one bare line feed": (HEAD + "A: b\nContent-Length: 1\r\n\r\nx", 400),
    "bare carriage return": (HEAD + "A: b\rc\r\nContent-Length: 1\r\n\r\nx", 400),
    "nul": (HEAD + "A: b\0\r\nContent-Length: 1\r\n\r\nx", 400),
    "no name": (HEAD + ": b\r\n\r\n", 400),
    "no colon": (HEAD + "nothing\r\n\r\n", 400),
    "no host": ("POST /predictions/fer HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", 400),
    "two hosts": (HEAD + "Host: y\r\nContent-Length: 1\r\n\r\nx", 400),
    "chunk size": (HEAD + CHUNKED + "zz\r\n", 400),
    "chunk with no end": (HEAD + CHUNKED + "1\r\nabc\r\n", 400),
    "chunk of line feeds": (HEAD + CHUNKED + "1\na\n0\n\n", 400),
    "trailers": (HEAD + CHUNKED + "1\r\na\r\n0\r\nHost: y\r\n\r\n", 400),
    "small chunks": (HEAD + CHUNKED + "1\r\na\r\n" * 1001, 400),
    "upgrade": (HEAD + "Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 1\r\n\r\nx", 400),
    "tls": ("\x16\x03\x01\x02\x00\x01\x00", 400),
    "text": ("hello\r\n\r\n", 400),
    "no version": ("GET /ping\r\n\r\n", 400),
    "unknown method": ("FETCH /ping HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "lower-case method": ("get /ping HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a body for a get": ("GET /ping HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx", 400),
    "version 2.0": ("GET /ping HTTP/2.0\r\nHost: x\r\n\r\n", 400),
    "preface of version 2": ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "version 9.9": ("GET /ping HTTP/9.9\r\nHost: x\r\n\r\n", 400),
    "another path": ("POST /models HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 404),
    "dots": ("POST /predictions/../models HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    "whole address": ("GET http://x/ping HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    "query": ("POST /predictions/fer?data=1 HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    "options": ("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    "connect": ("CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "get": ("GET /predictions/fer HTTP/1.1\r\nHost: x\r\n\r\n", 405),
    "put": ("PUT /predictions/fer HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx", 405),
    "delete": ("DELETE /ping HTTP/1.1\r\nHost: x\r\n\r\n", 405),
    "large": (HEAD + "Content-Length: 300001\r\n\r\n", 413),
    "many large chunks": (HEAD + CHUNKED + f"7530\r\n{'x' * 30000}\r\n" * 11 + "0\r\n\r\n", 413),
    "html": (HEAD + "Content-Type: text/html\r\nContent-Length: 1\r\n\r\nx", 415),
    "gzip": (HEAD + "Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx", 415),
    "another expectation": (HEAD + "Expect: money\r\nContent-Length: 1\r\n\r\nx", 417),
    "long line": ("GET /" + "a" * 20_000 + " HTTP/1.1\r\n", 431),
    "long field": (HEAD + "A: " + "b" * 20_000, 431),
    "many fields": (HEAD + "A: b\r\n" * 101 + "\r\n", 431),
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_not_plain_http_is_refused_and_the_connection_closed(gate, name):
    raw, status = MALFORMED[name]
    with connect(gate.port) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(raw.encode("latin-1") + get("/openapi.json"))
        found = answer(connection)
        assert found.status == status and found.closes, found.body
        VALIDATOR.validate(found.said)
        assert answer(connection) is None  # what came after it was no request
    assert not gate.upstream.sent
    assert good(gate.port)


def test_a_refused_head_request_has_no_body(gate):
    found = ask(gate.port, get("/ping", method="HEAD"), "HEAD")
    assert found.status == 405 and b"allow: get" in found.head


def test_a_large_body_is_refused_before_it_is_sent_and_the_client_learns_why(gate):
    """It sends on and on; a reset would take away the answer that tells it to stop."""
    with connect(gate.port) as connection:
        connection.sendall((HEAD + "Content-Length: 30000000\r\n\r\n").encode() + b"x" * 3_000_000)
        assert answer(connection).code == "body_too_large"


# ---------------------------------------------------------------- time


def timed(connection: socket.socket) -> tuple[Answer | None, float]:
    started = time.monotonic()
    return answer(connection), time.monotonic() - started


def test_a_slow_head_and_a_slow_body_are_given_up_and_hold_nobody_up(gate):
    slow = [connect(gate.port) for _ in range(8)]
    for one in slow[:4]:
        one.sendall(b"POST /predictions/fer HT")
    for one in slow[4:]:
        one.sendall(request(b"x" * 1000)[:-10])
    assert good(gate.port)
    for one in slow:
        found, seconds = timed(one)
        assert found.status == 408 and found.closes and seconds < 2
        one.close()


def test_a_byte_now_and_then_does_not_make_the_time_longer(gate):
    with connect(gate.port) as connection:
        started = time.monotonic()
        with contextlib.suppress(ConnectionError):
            for byte in request():
                connection.sendall(bytes([byte]))
                time.sleep(0.05)
                if time.monotonic() - started > 3:
                    break
        assert time.monotonic() - started < 2


def test_an_end_that_nobody_has_seen_does_not_stop_the_clock(gate):
    """The answer to a client that has gone is met with a reset, before the connection is closed."""
    with connect(gate.port) as connection:
        connection.sendall(b"POST")
        waiting(gate, 1, lambda gate: len(gate.gate._clients))
        (client,) = gate.gate._clients
        gate._loop.call_soon_threadsafe(client.transport.pause_reading)
        time.sleep(0.1)
    with connect(gate.port) as connection:
        connection.sendall(b"POST")
        assert timed(connection)[0].status == 408
    waiting(gate, 0, lambda gate: len(gate.gate._clients))


def reset(connection: socket.socket) -> None:
    """Close with a reset in place of an end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_an_idle_connection_is_closed(gate):
    with connect(gate.port) as connection:
        connection.sendall(request())
        assert answer(connection).status == 200
        found, seconds = timed(connection)
        assert found is None and 1 < seconds < 3


def test_who_does_not_take_his_answers_is_dropped():
    with running_gate(replace(SHORT, write_seconds=0.5)) as own, connect(own.port) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(5)
        with pytest.raises((ConnectionError, TimeoutError)) as error:
            for _ in range(20_000):  # each is answered with some kilobytes
                connection.sendall(get("/openapi.json") * 10)
        assert error.type is not TimeoutError
        assert good(own.port)


# ---------------------------------------------------------------- forms


def test_a_forms_one_picture_is_sent_as_bytes(gate):
    for name in ("data", "data1", "body"):
        body, kind = form(("note", b"hello"), (name, b"P5\r\n--xy 1 1"), ("submit", b"Send"))
        assert ask(gate.port, request(body, kind)).status == 200
        assert gate.upstream.sent[-1][1] == b"P5\r\n--xy 1 1"


def test_a_forms_several_pictures_are_put_together_as_the_handler_takes_them_apart(gate):
    pictures = [b"one", b"", b"\r\n--xy three", b"x" * 100_000]
    body, kind = form(*(("data", one) for one in pictures))
    assert ask(gate.port, request(body, kind)).status == 200
    assert several.split(gate.upstream.sent[0][1]) == pictures


BAD_FORMS = {
    "4,000 parts": (form(*[("data", b"")] * 2000)[0] * 2, "bad_form"),
    "33 parts": (form(*[("other", b"")] * 33)[0], "bad_form"),
    "17 pictures": (form(*[("data", b"x")] * 17)[0], "too_many_pictures"),
    "another field": (form(("photo", b"x"))[0], "no_picture"),
    "nothing": (b"", "bad_form"),
    "not ended": (form(("data", b"x"))[0][:-9], "bad_form"),
    "no boundary in it": (b"x" * 1000, "bad_form"),
    "many headers": (b"--xyz\r\n" + b"A: b\r\n" * 9 + b"\r\nx\r\n--xyz--", "bad_form"),
    "long header": (b"--xyz\r\nA: " + b"b" * 5000 + b"\r\n\r\nx\r\n--xyz--", "bad_form"),
    "no name": (b"--xyz\r\nContent-Disposition: form-data\r\n\r\nx\r\n--xyz--\r\n", "bad_form"),
    "not utf-8": (b"--xyz\r\nContent-Disposition: \xff\r\n\r\n\r\n--xyz--", "bad_form"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_FORMS)
def test_a_bad_form_is_refused_before_multi_model_server_sees_it(gate, name):
    body, code = BAD_FORMS[name]
    found = ask(gate.port, request(body, form()[1]))
    assert found.status == 400 and found.code == code
    VALIDATOR.validate(found.said)
    assert not gate.upstream.sent


@pytest.mark.parametrize("boundary", ["", "boundary=", "boundary=" + "x" * 71, 'boundary="a\\b"'])
def test_a_bad_boundary_is_refused(gate, boundary):
    kind = f"Content-Type: multipart/form-data; {boundary}"
    assert ask(gate.port, request(b"x", kind)).code == "bad_form"


# ---------------------------------------------------------------- room


def waiting(gate, count: int, what=lambda gate: gate.gate.in_flight) -> None:
    deadline = time.monotonic() + 5
    while what(gate) != count:
        assert time.monotonic() < deadline, what(gate)
        time.sleep(0.01)


def test_a_full_queue_is_said_at_once_and_empties_in_order(gate):
    gate.upstream.way = "hold"
    clients = []
    for number in range(SHORT.requests):
        clients.append(connect(gate.port))
        clients[-1].sendall(request(b"n%d" % number))
        waiting(gate, number + 1)
    assert len(gate.upstream.sent) == 2  # no more than twice the workers are at the server
    started = time.monotonic()
    found = ask(gate.port, request(b"one more"))
    assert found.status == 503 and found.code == "busy" and b"retry-after: 1" in found.head
    assert time.monotonic() - started < 0.5
    clients[3].close()  # goes away while it waits: its picture is read by nobody
    waiting(gate, SHORT.requests - 1)
    assert gate.counts.left >= 1
    gate.upstream.free.set()
    assert [answer(one).status for one in clients[:3] + clients[4:]] == [200] * 5
    assert [body for _, body in gate.upstream.sent] == [b"n0", b"n1", b"n2", b"n4", b"n5"]
    for one in clients:
        one.close()
    gate.upstream.way = "answer"
    assert good(gate.port)


def test_over_the_limit_the_connection_that_was_silent_longest_goes(gate):
    silent = [connect(gate.port) for _ in range(SHORT.connections)]
    waiting(gate, SHORT.connections, lambda gate: len(gate.gate._clients))
    for one in silent[1:]:
        one.sendall(b"P")
    time.sleep(0.1)
    assert good(gate.port)
    silent[0].settimeout(1)
    assert answer(silent[0]) is None
    silent[5].sendall(request()[1:])
    assert answer(silent[5]).status == 200
    for one in silent:
        one.close()
    waiting(gate, 0, lambda gate: len(gate.gate._clients))


def test_bodies_that_stall_make_room_for_others(gate):
    """900 kB are held for all; three that stop before their end may not keep it."""
    stalled = [connect(gate.port) for _ in range(3)]
    for one in stalled:
        one.sendall(request(b"x" * 290_000)[:-20_000])
    waiting(gate, 3 * 270_000, lambda gate: gate.gate._bytes)
    found = ask(gate.port, request(b"y" * 200_000))
    assert found.code == "busy"  # they have only just stopped
    for one in stalled:
        one.close()
    waiting(gate, 0, lambda gate: gate.gate._bytes)
    assert good(gate.port)


def test_a_stalled_body_goes_for_a_new_ones_sake():
    with running_gate(replace(SHORT, body_seconds=20)) as own:
        stalled = [connect(own.port) for _ in range(3)]
        for one in stalled:
            one.sendall(request(b"x" * 290_000)[:-20_000])
            time.sleep(0.4)
        time.sleep(0.8)
        assert ask(own.port, request(b"y" * 200_000)).status == 200
        assert answer(stalled[0]) is None
        for one in stalled:
            one.close()


def test_more_than_the_rate_is_refused_until_time_has_passed():
    with running_gate(replace(SHORT, rate=5.0)) as own:
        found = [ask(own.port, request()) for _ in range(9)]
        assert [one.status for one in found[:5]] == [200] * 5
        assert found[-1].status == 429 and found[-1].code == "rate_limited"
        assert ask(own.port, get("/ping")).status == 200  # probes are not counted
        time.sleep(0.3)
        assert good(own.port)


# ---------------------------------------------------------------- faults behind the gate


@pytest.mark.parametrize("way", ["close", "fault"])
def test_a_lost_worker_is_told_and_the_picture_is_not_tried_again(gate, way):
    gate.upstream.way = way
    with connect(gate.port) as connection:
        connection.sendall(request(b"poison"))
        found = answer(connection)
        assert found.status == 503 and found.code == "unavailable" and not found.closes
        VALIDATOR.validate(found.said)
        gate.upstream.way = "answer"
        connection.sendall(request(b"good"))
        assert answer(connection).status == 200
    assert [body for _, body in gate.upstream.sent] == [b"poison", b"good"]


def test_no_answer_in_time_is_a_504(gate):
    gate.upstream.way = "nothing"
    with connect(gate.port) as connection:
        connection.sendall(request())
        found, seconds = timed(connection)
        assert found.status == 504 and found.code == "timeout" and 0.9 < seconds < 2
    gate.upstream.way = "answer"
    assert good(gate.port)


def test_without_multi_model_server_all_is_unavailable_at_once():
    with running_gate(upstream=False) as own:
        for raw in (request(), get("/ping"), get("/health")):
            found = ask(own.port, raw)
            assert found.status == 503 and found.code == "unavailable"


def test_health_is_a_real_prediction_which_many_may_share(gate):
    gate.gate._health._well = -1e9
    gate.upstream.way = "hold"
    clients = [connect(gate.port) for _ in range(5)]
    for one in clients:
        one.sendall(get("/health"))
    time.sleep(0.3)
    gate.upstream.free.set()
    assert [answer(one).said for one in clients] == [{"status": "healthy"}] * 5
    assert len(gate.upstream.sent) == 1 and gate.upstream.sent[0][1].startswith(b"P5")
    for one in clients:
        one.close()


def test_health_is_bad_where_workers_die(gate):
    gate.gate._health._well = -1e9
    gate.upstream.way = "fault"
    found = ask(gate.port, get("/health"))
    assert found.status == 503 and found.code == "unavailable"


def test_the_log_has_a_line_of_json_for_each_request(tmp_path):
    with running_gate() as own:
        assert good(own.port)
        ask(own.port, request(b"x", "Content-Type: text/html"))
        folder = Path(own.gate.upstream.path).parent
        lines = [json.loads(line) for line in (folder / "gate.log").read_text().splitlines()]
    assert [(line["status"], line["code"]) for line in lines] == [
        (200, "ok"),
        (415, "unsupported_media_type"),
    ]
    assert lines[0]["faces"] == 0 and lines[0]["bytes"] == 12 and lines[0]["ms"] > 0


# ---------------------------------------------------------------- the real server


FACE = encoded(astronaut(), "JPEG", quality=90)
NO_FACE = encoded(np.full((48, 48), 99, np.uint8))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return any_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def mar(weights, tmp_path_factory):
    return archive.pack(weights, tmp_path_factory.mktemp("store") / "fer.mar")


@pytest.fixture(scope="module")
def served(mar, tmp_path_factory):
    """Two workers, with metrics. Tests that kill something leave it whole again."""
    before = {process.pid for process in server_processes()}
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    patch.delenv("OMP_NUM_THREADS", raising=False)
    how = server.How(workers=2, threads=1, metrics=free_port())
    yield server.start(mar, free_port(), how=how)
    server.stop()
    patch.undo()
    assert {process.pid for process in server_processes()} <= before


def send(served, body: bytes, *fields: str) -> Answer:
    found = ask(served.port, request(body, *fields))
    VALIDATOR.validate(found.said)
    return found


def kinds(served) -> dict[str, list[psutil.Process]]:
    """Java, the processes that fork workers, and the workers."""
    found = {"java": [], "parents": [], "workers": []}
    for process in notes.processes(served):
        with contextlib.suppress(psutil.Error):  # it has just ended
            words = process.cmdline()
            if notes.JAVA in words:
                found["java"].append(process)
            elif any(word.endswith(notes.WORKER) for word in words):
                above = process.parent()
                own = above and any(word.endswith(notes.WORKER) for word in above.cmdline())
                found["workers" if own else "parents"].append(process)
    return found


def two_workers(served) -> list[psutil.Process]:
    deadline = time.monotonic() + 60
    while len(found := kinds(served)["workers"]) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


WEB_FORM = "x-www-form-urlencoded"
ATTACKS = {
    "a web form of 15 million fields": (b"a&" * 15_000_000, WEB_FORM),
    "a web form of names": (b"".join(map(b"n%d=1&".__mod__, range(2_000_000))), WEB_FORM),
    "a form of 200,000 parts": (form(("data", b""))[0][:-9] * 200_000, ""),
    "nested json": (b"[" * 15_000_000 + b"]" * 15_000_000, "json"),
    "json of little lists": (b"[" + b"{}," * 9_000_000 + b"{}]", "json"),
    "json of texts": (b"[" + b'"",' * 9_000_000 + b'""]', "json"),
    "noise": (np.random.default_rng(0).bytes(30_000_000), "octet-stream"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ATTACKS)
def test_after_an_attack_the_next_good_request_is_answered_within_two_seconds(served, name):
    body, kind = ATTACKS[name]
    kind = f"Content-Type: application/{kind}" if kind else form()[1]
    before = {process.pid for process in two_workers(served)}
    assert send(served, body, kind).status == 400
    started = time.monotonic()
    assert send(served, NO_FACE).status == 200
    assert time.monotonic() - started < 2
    assert {process.pid for process in kinds(served)["workers"]} == before


@pytest.mark.slow
def test_many_pictures_have_each_its_own_answer_or_error(served):
    alone = send(served, FACE).said
    texts = [base64.b64encode(one).decode() for one in (FACE, b"noise", NO_FACE)] + ["no base64!"]
    lists = [json.dumps(texts), json.dumps({"pictures": texts})]
    found = [send(served, text.encode(), "Content-Type: application/json") for text in lists]
    body, kind = form(*(("data", one) for one in (FACE, b"noise", NO_FACE, b"")))
    found.append(send(served, body, kind))
    for one, code in zip(found, ("not_a_picture", "not_a_picture", "empty_body"), strict=True):
        assert one.status == 200 and one.said["model"] == alone["model"]
        pictures = one.said["pictures"]
        assert pictures[0]["faces"][0]["box"] == alone["faces"][0]["box"]
        assert pictures[0]["faces"][0]["emotion"] == alone["faces"][0]["emotion"]
        assert [p.get("error", {}).get("code") for p in pictures] == [
            None,
            "not_a_picture",
            None,
            code,
        ]
        assert pictures[2]["faces"] == [] and pictures[2]["whole_picture"]
    single = send(served, json.dumps(texts[:1]).encode(), "Content-Type: application/json")
    assert len(single.said["pictures"]) == 1


@pytest.mark.slow
def test_the_description_is_openapi_and_its_shapes_are_those_of_the_answers(served):
    told = ask(served.port, get("/openapi.json")).said
    assert told["openapi"].startswith("3.1")
    assert set(told["paths"]) == {"/predictions/fer", "/ping", "/health", "/openapi.json"}
    answers = told["paths"]["/predictions/fer"]["post"]["responses"]
    shown = {
        200: send(served, FACE).said,
        400: send(served, b"noise").said,
        415: send(served, b"x", "Content-Type: text/html").said,
    }
    for status, said in shown.items():
        shape = answers.get(str(status), answers["default"])["content"]["application/json"][
            "schema"
        ]
        jsonschema.Draft202012Validator({**told, **shape}).validate(said)
        wrong = said | {"more": 1}
        assert not jsonschema.Draft202012Validator({**told, **shape}).is_valid(wrong)
    health = told["paths"]["/health"]["get"]["responses"]["200"]["content"]["application/json"]
    jsonschema.validate(ask(served.port, get("/health")).said, health["schema"])


@pytest.mark.slow
def test_status_and_metrics_count_what_was_asked(served):
    def numbers() -> tuple[dict, dict[str, float]]:
        said = command("status", "--port", served.port, "--json").stdout.splitlines()[-1]
        (told,) = json.loads(said)["servers"]
        with connect(served.metrics) as connection:
            connection.sendall(get("/metrics", "Connection: close"))
            text = (
                b"".join(iter(lambda: connection.recv(65536), b"")).split(b"\r\n\r\n")[1].decode()
            )
        families = parser.text_string_to_metric_families(text)
        samples = [sample for family in families for sample in family.samples]
        return told, {"".join([s.name, *s.labels.values()]): s.value for s in samples}

    before = numbers()
    for body in (FACE, FACE, NO_FACE, b"noise"):
        send(served, body)
    ask(served.port, request(b"x", "Content-Type: text/html"))
    told, metrics = numbers()
    assert told["requests"] - before[0]["requests"] == 5
    assert told["errors"]["not_a_picture"] - before[0]["errors"].get("not_a_picture", 0) == 1
    assert told["refused"]["unsupported_media_type"] >= 1
    assert told["running"] == told["workers"] == 2 and told["threads"] == 1
    assert told["in_flight"] == 0 and 100e6 < told["memory"] < 4e9 and told["processes"] == 6
    assert time.time() - told["since"] < 600
    more = {
        "ferlib_requests_total200": 3,
        "ferlib_requests_total400": 1,
        "ferlib_refused_totalunsupported_media_type": 1,
        "ferlib_errors_totalnot_a_picture": 1,
        "ferlib_request_seconds_count": 5,
        "ferlib_stage_seconds_countdecode": 3,
        "ferlib_stage_seconds_countfind": 3,
        "ferlib_stage_seconds_countread": 4,
        "ferlib_faces_per_picture_count": 3,
        "ferlib_faces_per_picture_sum": 2,
        "ferlib_confidence_count": 2,
    }
    assert {key: metrics[key] - before[1].get(key, 0) for key in more} == more
    assert sum(value for key, value in metrics.items() if "emotions_total" in key) >= 2
    assert metrics["ferlib_in_flight"] == 0


@pytest.mark.slow
def test_the_table_of_status_is_for_people(served):
    said = command("status").stdout
    assert f"http://127.0.0.1:{served.port}/predictions/fer" in said
    assert re.search(r"workers +2 of 2, 1 threads each", said)
    assert re.search(r"memory +\d+ MB in 6 processes", said)
    assert "no server is running" in command("status", "--port", 1).stdout


@pytest.mark.slow
def test_clients_that_close_early_cost_nobody_anything(served):
    raw = request(FACE)
    for cut in range(100):
        with connect(served.port) as connection:
            connection.sendall(raw[: len(raw) * cut // 99])
            if cut % 2:
                reset(connection)
    started = time.monotonic()
    assert send(served, FACE).status == 200
    assert time.monotonic() - started < 2


@contextlib.contextmanager
def load(served, body: bytes = NO_FACE):
    """Three clients that ask again and again; gives the list of (seconds, status)."""
    found, stopping = [], threading.Event()

    def client():
        while not stopping.is_set():
            found.append((time.monotonic(), send(served, body).status))
            if found[-1][1] != 200:
                time.sleep(0.05)

    clients = [threading.Thread(target=client) for _ in range(3)]
    for one in clients:
        one.start()
    yield found
    stopping.set()
    for one in clients:
        one.join(60)


@pytest.mark.slow
def test_a_killed_worker_loses_one_request_and_comes_back(served):
    victim = two_workers(served)[0]
    with load(served) as found:
        time.sleep(0.3)
        victim.kill()
        time.sleep(0.5)
        assert victim not in two_workers(served)
        time.sleep(0.5)
    statuses = [status for _, status in found]
    assert statuses.count(200) >= len(statuses) - 1 and set(statuses) <= {200, 503}


@pytest.mark.slow
def test_killed_java_is_started_again_and_the_gate_answers_meanwhile(served):
    (java,) = kinds(served)["java"]
    java.kill()
    found, deadline = [], time.monotonic() + 60
    while found[-1:] != [200] and time.monotonic() < deadline:
        one = send(served, NO_FACE)  # fits the schema in any case
        found.append(one.status)
        time.sleep(0.1)
    assert found[-1] == 200 and set(found[:-1]) == {503}
    told = json.loads(command("status", "--port", served.port, "--json").stdout.splitlines()[-1])
    assert told["servers"][0]["restarts"] == 1
    assert kinds(served)["java"][0].pid != java.pid
    two_workers(served)
    assert not [p for p in psutil.Process(served.pid).children() if p.status() == "zombie"]


@pytest.mark.slow
def test_a_request_in_work_is_answered_before_the_server_stops(served, mar):
    """And what a killed keeper leaves behind is cleared away by the next server on its port."""
    os.kill(served.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while any(process.pid == served.pid for process in notes.processes(served)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    left = {process.pid for process in notes.processes(served)}
    assert left and Path(served.folder).exists()
    again = server.start(mar, served.port, how=server.How(workers=1))
    assert not left & set(psutil.pids()) and not Path(served.folder).exists()
    body, _ = form(*[("data", FACE)] * 16)
    with connect(again.port) as connection:
        connection.sendall(request(body, form()[1]))
        time.sleep(0.1)
        server.stop(again.port)
        found = answer(connection)
        assert found.status == 200 and found.closes and len(found.said["pictures"]) == 16
    assert not notes.processes(again) and not Path(again.folder).exists()


@pytest.mark.slow
def test_a_server_that_does_not_stay_up_is_given_up(weights, served):
    """Java killed five times as soon as it is there. The net is packed on the spot."""
    again = server.start(None, free_port(), how=server.How(str(weights), workers=1))
    seen: set[int] = set()
    deadline = time.monotonic() + 60
    while psutil.pid_exists(again.pid) and time.monotonic() < deadline:
        for process in kinds(again)["java"]:
            if process.pid not in seen:
                seen.add(process.pid)
                process.kill()
        time.sleep(0.02)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(again.pid, os.WNOHANG)
    assert len(seen) == 5
    assert not notes.processes(again) and not Path(again.folder).exists()
    assert "giving up" in Path(again.logs, "keeper.log").read_text()
    server.stop(again.port)


# ---------------------------------------------------------------- the parts


def test_several_pictures_come_out_as_they_went_in():
    for pictures in ([b""], [b"a", b"b" * 70_000], [b"ferlib pictures\n"] * 16):
        assert several.split(b"".join(several.join(pictures))) == pictures
    assert several.split(b"\x89PNG\r\n") is None and several.split(b"") is None
    for body in (b"".join(several.join([b"abc", b"d"]))[:-1], several.join([])[0]):
        with pytest.raises(FerlibError):
            several.split(body)
    with pytest.raises(FerlibError, match="at most 16") as error:
        several.split(b"".join(several.join([b"a"] * 17)))
    assert error.value.code == "too_many_pictures"


def test_workers_and_threads_share_the_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert server.numbers(server.How()) == (8, 1)
    assert server.numbers(server.How(workers=2)) == (2, 4)
    assert server.numbers(server.How(workers=20)) == (20, 1)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")  # who sets it is heeded
    assert server.numbers(server.How(workers=2)) == (2, 3)
    assert server.numbers(server.How(workers=2, threads=5)) == (2, 5)


def test_wrong_options_are_refused():
    mistake(command("serve", "--archive", "a.mar", "--weights", "b"), 2)
    mistake(command("serve", "--foreground", "--detach"), 2)
    mistake(command("serve", "--workers", "0"), 2)
    mistake(command("serve", "--rate", "-1"), 2)


def test_the_gates_log_turns_over(tmp_path, monkeypatch):
    monkeypatch.setattr("ferlib.serving.counts._LOG_BYTES", 2000)
    counts = Counts(gate_log(tmp_path))
    for _ in range(500):
        counts.event("something")
    files = list(tmp_path.glob("gate.log*"))
    assert len(files) == 5 and sum(path.stat().st_size for path in files) < 11_000


BAD_JSON = [
    "{",
    "[1]",
    '{"a": ["QQ=="]}',
    '{"pictures": "QQ=="}',
    "[[]]",
    '[{"a": "QQ=="}]',
    "[\xff]",
]


@pytest.mark.parametrize("text", BAD_JSON)
def test_json_of_another_form_is_refused(text):
    with pytest.raises(FerlibError, match="JSON") as error:
        several.split(text.encode("latin-1"))
    assert error.value.code == "bad_json"


def test_a_workers_numbers_are_kept_when_it_has_ended(tmp_path, monkeypatch):
    """Files of ended processes are put together, so that they do not pile up."""
    monkeypatch.setenv(FOLDER, str(tmp_path))
    code = (
        "from ferlib.serving.metrics import Numbers; n = Numbers(); n.start(); n.lap('find');"
        "n.error('empty_body'); n.picture([('anger', 0.7)])"
    )
    for _ in range(3):
        subprocess.run(
            [sys.executable, "-c", code], check=True, cwd=Path(archive.__file__).parents[2]
        )
    assert len(list(tmp_path.glob("*.db"))) == 6

    async def text() -> bytes:
        counts = type("Gate", (), {"counts": Counts(), "in_flight": 0})()
        return exposition.Exposition(tmp_path, counts).text()

    for _ in range(2):  # the second time from what the first has put together
        said = asyncio.run(text()).decode()
        assert 'ferlib_errors_total{code="empty_body"} 3.0' in said
        assert 'ferlib_stage_seconds_count{stage="find"} 3.0' in said
        assert 'ferlib_emotions_total{emotion="anger"} 3.0' in said
        assert {path.name for path in tmp_path.iterdir()} == {
            "counter_dead.db",
            "histogram_dead.db",
        }
