"""The gate: what it takes, what it refuses and how, and what it leaves standing.

Faults of HTTP are tried on a gate in this process, before a small upstream that says what it was
sent; what Multi Model Server, its workers and its keeper must survive: tests/test_gate_server.py.
"""

import contextlib
import json
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gateway import (
    ANSWER,
    SHORT,
    VALIDATOR,
    Answer,
    answer,
    ask,
    connect,
    form,
    get,
    good,
    request,
    running_gate,
)

from ferlib.serving import several


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


def test_who_goes_away_is_forgotten_whatever_else_was_sent(gate):
    gate.upstream.way = "hold"
    with connect(gate.port) as connection:
        connection.sendall(request() + b"GET /ping HTTP/1.1\r\n")
        waiting(gate, 1)
        assert len(gate.gate._clients) == 1
    waiting(gate, 0, lambda gate: len(gate.gate._clients))


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
        assert b"retry-after: 1\r\n" in found[-1].head
        assert ask(own.port, get("/ping")).status == 200  # probes are not counted
        time.sleep(0.3)
        assert good(own.port)


def test_who_waits_as_long_as_told_gets_an_answer():
    with running_gate(replace(SHORT, rate=0.4)) as own:
        assert good(own.port)
        refused = ask(own.port, request())
        assert refused.status == 429 and b"retry-after: 3\r\n" in refused.head  # 2.5 seconds
        time.sleep(3)
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
