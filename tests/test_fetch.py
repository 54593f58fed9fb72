"""Fetching a picture from somebody's address: from real servers here, and never from behind walls.

Tests reach 127.0.0.1 only by bringing an `allowed` of their own; what is public is tested as it is.
"""

import contextlib
import ipaddress
import socket
import ssl
import subprocess
import threading
import time
from types import SimpleNamespace

import pytest

from ferlib.serving.answers import Refusal
from ferlib.serving.fetch import Rules, fetch, public

PICTURE = b"\x89PNG" + bytes(range(256)) * 300
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(PICTURE), PICTURE)
NAME = "photos.example"


@contextlib.contextmanager
def served(answer, context: ssl.SSLContext | None = None):
    """(its port, the requests it got) of a server; `answer(connection, request)` sends what it
    likes."""
    got: list[bytes] = []
    stop = threading.Event()

    def talk(connection) -> None:
        with contextlib.suppress(OSError), connection:
            connection.settimeout(5)
            connection = (
                context.wrap_socket(connection, server_side=True) if context else connection
            )
            request = b""
            while not request.endswith(b"\r\n\r\n"):
                piece = connection.recv(4096)
                if not piece:
                    return
                request += piece
            got.append(request)
            answer(connection, request)

    def listen() -> None:
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                threading.Thread(target=talk, args=listener.accept()[:1], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        thread = threading.Thread(target=listen)
        thread.start()
        yield SimpleNamespace(port=listener.getsockname()[1], got=got)
        stop.set()
        thread.join()


def sends(*pieces: bytes):
    return lambda connection, _: [connection.sendall(piece) for piece in pieces]


def local(port: int, **how) -> Rules:
    """Rules by which every name is a server here, and only this machine is reached."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]
    how = {"resolve": lambda *_, **__: found, "allowed": "127.0.0.1".__eq__, "seconds": 3} | how
    return Rules(**how)


def refused(url: str, rules: Rules | None = None) -> tuple[int, str, str]:
    with pytest.raises(Refusal) as why:
        fetch(url, rules)
    text = str(why.value)
    assert len(text) < 200 and "\n" not in text and text.isprintable()
    return why.value.status, why.value.code, text


# ---------------------------------------------------------------- what is public


NOT_PUBLIC = """127.0.0.1 127.8.9.1 0.0.0.0 10.1.2.3 172.16.0.1 172.31.255.255 192.168.1.1
169.254.169.254 169.254.170.2 100.64.0.1 100.127.255.254 192.0.0.8 192.0.0.9 192.0.2.1 192.88.99.1
198.18.0.1 198.51.100.7 203.0.113.9 224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255
168.63.129.16 :: ::1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::ffff:169.254.169.254 ::127.0.0.1 ::8.8.8.8
64:ff9b::7f00:1 64:ff9b::808:808 64:ff9b:1::a00:1 100::1 2001::1 2001:0:808:808::1 2001:db8::1
2001:20::1 2002:7f00:1::1 2002:808:808::1 3fff::1 5f00::1 fc00::1 fd00:ec2::254 fe80::1
fe80::1%eth0 fec0::1 ff02::1 ff0e::1 4000::1 nonsense 1.2.3 01.2.3.4"""


@pytest.mark.parametrize("address", NOT_PUBLIC.split())
def test_what_is_not_of_the_public_internet_is_not_public(address):
    assert not public(address)


def test_ordinary_addresses_are_public():
    for address in ("8.8.8.8", "93.184.215.14", "100.128.0.1", "172.32.0.1", "2606:4700::1111"):
        assert public(address) and ipaddress.ip_address(address).is_global


@pytest.mark.parametrize(
    "host",
    # as a system's lookup takes them: octal, hexadecimal, whole, short
    ["127.0.0.1", "localhost", "0x7f.1", "2130706433", "0177.0.0.1", "127.1", "0", "[::1]",
     "[::ffff:127.0.0.1]", "169.254.169.254", "[::ffff:a9fe:a9fe]", "[fe80::1]"],
)  # fmt: skip
def test_by_the_systems_own_lookup_nothing_of_this_machine_is_reached(host, monkeypatch):
    def connect(*_):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", connect)
    for scheme in ("http", "https"):
        status, code, _ = refused(f"{scheme}://{host}/latest/meta-data/")
        assert (status, code) in {(400, "bad_url"), (502, "fetch_failed")}  # the latter: no IPv6


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://photos.example/a.jpg", "http"),
        ("file:///etc/passwd", "http"),
        ("data:image/png;base64,AAAA", "http"),
        ("photos.example/a.jpg", "http"),
        ("http:///a.jpg", "no host"),
        ("http://user:word@photos.example/", "password"),
        ("http://photos.example@127.0.0.1/", "password"),
        ("http://photos.example:8080/", "ports"),
        ("https://photos.example:80/", "ports"),
        ("http://photos.example:0/", "ports"),
        ("http://photos.example:99999/", "no address"),
        ("http://[::1%25eth0]/", "no host"),
        ("http://[::1/", "no address"),
        ("http://photos.example/a\r\nHost: x", "%XX"),
        ("http://photos.example\\@127.0.0.1/", "%XX"),
        ("http://photos.example/a b", "%XX"),
        ("http://bücher.example/", "%XX"),
        ("http://photos.example/" + "a" * 2100, "too long"),
        ("", "%XX"),
    ],
)
def test_addresses_of_other_kinds_are_refused_by_their_text(url, why):
    def resolve(*_, **__):
        raise AssertionError("a name was looked up")

    status, code, text = refused(url, Rules(resolve=resolve))
    assert (status, code) == (400, "bad_url") and why in text


# ---------------------------------------------------------------- what is fetched


def test_a_picture_is_fetched_with_a_plain_request_and_through_no_proxy(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    with served(sends(OK)) as server:
        assert fetch(f"http://{NAME}//a/b.jpg?size=2#top", local(server.port)) == PICTURE
    line, *fields = server.got[0].decode().split("\r\n")
    assert line == "GET //a/b.jpg?size=2 HTTP/1.1"
    assert {f"Host: {NAME}", "Accept-Encoding: identity"} <= set(fields)
    assert not [one for one in fields if one.lower().startswith(("cookie", "authorization"))]


def test_bodies_come_with_a_length_in_chunks_or_until_the_end():
    head = b"HTTP/1.1 200 OK\r\n"
    chunked = (
        head + b"Transfer-Encoding: chunked\r\n\r\n" + b"5\r\nab\r\nc\r\n3\r\ndef\r\n0\r\n\r\n"
    )
    for answer, body in ((chunked, b"ab\r\ncdef"), (head + b"\r\nuntil the end", b"until the end")):
        with served(sends(answer)) as server:
            assert fetch(f"http://{NAME}", local(server.port)) == body


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A self-signed one for NAME: (file, its key)."""
    folder = tmp_path_factory.mktemp("tls")
    files = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}"]
    try:
        subprocess.run(
            [*command, "-out", files[0], "-keyout", files[1]], check=True, capture_output=True
        )
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    return files


def test_over_https_the_name_is_asked_for_and_must_be_the_certificates(certificate, monkeypatch):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    asked = []
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    with served(sends(OK), context) as server:
        assert "certificate" in refused(f"https://{NAME}/", local(server.port))[2]
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        assert fetch(f"https://{NAME}/", local(server.port)) == PICTURE
        assert asked[-1] == NAME and b"Host: photos.example\r\n" in server.got[-1]
        status, code, text = refused("https://other.example/", local(server.port))
        assert (status, code) == (502, "fetch_failed") and "certificate" in text


def test_the_next_address_is_tried_where_one_does_not_answer():
    with socket.create_server(("127.0.0.1", 0)) as gone:
        dead = gone.getsockname()
    with served(sends(OK)) as server:
        both = [(socket.AF_INET, 1, 6, "", one) for one in (dead, ("127.0.0.1", server.port))]
        assert fetch(f"http://{NAME}", local(0, resolve=lambda *_, **__: both)) == PICTURE
    assert refused(f"http://{NAME}", local(dead[1]))[:2] == (502, "fetch_failed")


# ---------------------------------------------------------------- who would lead us astray


def test_a_name_server_that_changes_its_mind_is_not_asked_again():
    """DNS rebinding: public for the check, this machine for the connection."""
    asked = []
    with served(sends(OK)) as public_one, served(sends(b"secret")) as inner:

        def resolve(host, port, **_):
            asked.append(host)
            place = ("127.0.0.1", public_one.port if len(asked) == 1 else inner.port)
            return [(socket.AF_INET, 1, 6, "", place)]

        assert fetch(f"http://{NAME}", local(0, resolve=resolve)) == PICTURE
    assert asked == [NAME] and not inner.got


def test_of_public_and_private_addresses_only_the_public_ones_are_asked():
    with served(sends(OK)) as server, served(sends(b"secret")) as inner:
        both = [
            (socket.AF_INET6, 1, 6, "", ("::1", inner.port, 0, 0)),
            (socket.AF_INET, 1, 6, "", ("127.0.0.2", inner.port)),
            (socket.AF_INET, 1, 6, "", ("127.0.0.1", server.port)),
        ]
        assert fetch(f"http://{NAME}", local(0, resolve=lambda *_, **__: both)) == PICTURE
    assert not inner.got


def sent_to(place: str, status: int = 302) -> bytes:
    return b"HTTP/1.1 %d Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % (
        status,
        place.encode(),
    )


@pytest.mark.parametrize(
    ("place", "code"),
    [
        ("http://inner.example/", "bad_url"),  # a name of this network
        ("http://169.254.169.254/latest/meta-data/", "bad_url"),
        ("//inner.example/x", "bad_url"),
        ("http://photos.example:8080/", "bad_url"),
        ("file:///etc/passwd", "bad_url"),
        ("http://photos.example/a b", "bad_url"),
    ],
)
def test_a_redirect_is_looked_at_like_the_first_address(place, code):
    """By the real check: only the first server's address is taken for a public one."""
    with served(sends(sent_to(place))) as server, served(sends(b"secret")) as inner:
        places = {
            NAME: ("127.0.0.1", server.port),
            "inner.example": ("127.0.0.2", inner.port),
            "169.254.169.254": ("169.254.169.254", 80),
        }

        def resolve(host, port, **_):
            return [(socket.AF_INET, 1, 6, "", places[host])]

        rules = local(0, resolve=resolve, allowed=lambda one: one == "127.0.0.1" or public(one))
        assert refused(f"http://{NAME}/", rules)[:2] == (400, code)
    assert len(server.got) == 1 and not inner.got


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_few_redirects_are_followed(status):
    def answer(connection, request):
        there = request.startswith(b"GET /there/b.jpg ")
        connection.sendall(OK if there else sent_to("there/b.jpg", status))

    with served(answer) as server:
        assert fetch(f"http://{NAME}/a.jpg", local(server.port)) == PICTURE
    with served(sends(sent_to("/again", status))) as server:
        text = refused(f"http://{NAME}/a.jpg", local(server.port))[2]
    assert "more than 3 times" in text and len(server.got) == 4


# ---------------------------------------------------------------- who would keep us busy


def forever(piece: bytes, pause: float = 0.0, head: bytes = b"HTTP/1.1 200 OK\r\n\r\n"):
    def answer(connection, _request):
        connection.sendall(head)
        while True:
            connection.sendall(piece)
            time.sleep(pause)

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        forever(b"x", 0.05),  # in the body
        forever(b"x", 0.05, b"HTTP/1.1 200 OK\r\nX: "),  # in a header
        forever(b"H", 0.05, b""),  # in the status line
        forever(b"HTTP/1.1 100 Continue\r\n\r\n", 0.05, b""),
        forever(b"1\r\nx\r\n", 0.05, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        lambda connection, _: connection.recv(1),  # silent
    ],
)
def test_a_slow_server_is_left_when_the_time_is_over(answer):
    with served(answer) as server:
        began = time.monotonic()
        status, code, _ = refused(f"http://{NAME}", local(server.port, seconds=0.4))
        assert (status, code) == (504, "timeout") and time.monotonic() - began < 0.8


def test_a_slow_handshake_a_slow_name_server_and_slow_redirects_count_as_well():
    with served(sends(b"")) as server:  # waits for a request in the clear
        assert refused(f"https://{NAME}", local(server.port, seconds=0.3))[:2] == (504, "timeout")
    began = time.monotonic()
    rules = local(0, seconds=0.3, resolve=lambda *_, **__: time.sleep(2))
    assert refused(f"http://{NAME}", rules)[:2] == (504, "timeout")
    assert time.monotonic() - began < 1

    def late(connection, _request):
        time.sleep(0.25)
        connection.sendall(sent_to("/again"))

    with served(late) as server:
        assert refused(f"http://{NAME}", local(server.port, seconds=0.4))[:2] == (504, "timeout")


@pytest.mark.parametrize(
    "answer",
    [
        forever(bytes(1 << 16)),  # endless
        forever(b"", 1, b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"),  # says so
        forever(b"8000\r\n" + bytes(0x8000) + b"\r\n", 0,
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ],
)  # fmt: skip
def test_more_than_the_limit_is_not_taken(answer):
    with served(answer) as server:
        status, code, text = refused(f"http://{NAME}", local(server.port, size=1 << 20))
    assert (status, code) == (413, "body_too_large") and "1 MiB" in text


def test_a_body_as_large_as_the_limit_is_taken():
    with served(sends(OK)) as server:
        assert fetch(f"http://{NAME}", local(server.port, size=len(PICTURE))) == PICTURE


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "status 404"),
        (b"HTTP/1.1 206 Partial\r\nContent-Length: 1\r\n\r\nx", "status 206"),
        (b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", "status 302"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b", "compressed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", "breaks off|IncompleteRead"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nshort", ""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", ""),
        (b"\x00\xff\r\n\x1b[31mred\r\n", ""),
        (b"SSH-2.0-OpenSSH_9\r\n", ""),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", ""),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", ""),
        (b"", ""),
    ],
)
def test_other_answers_are_told_in_a_sentence(answer, why):
    with served(sends(answer)) as server:
        status, code, text = refused(f"http://{NAME}", local(server.port))
    assert (status, code) == (502, "fetch_failed")
    assert any(one in text for one in why.split("|"))


def test_a_name_that_there_is_not_is_told():
    def resolve(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    text = refused(f"http://{NAME}", Rules(resolve=resolve))[2]
    assert "not known" in text
    assert refused("http://" + "a" * 70 + ".example/")[:2] == (502, "fetch_failed")
