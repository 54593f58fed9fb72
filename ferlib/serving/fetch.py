"""A picture from somebody else's address, fetched so that nobody can look behind our own walls.

    data = fetch("https://photos.example/face.jpg")

Whoever may name an address could name one that only we can reach: this machine, its network, the
cloud's own services. So a name is looked up once, and the connection goes to an address of that
answer which is public; nothing asks the name server again (no DNS rebinding), no proxy is used.
What a redirect names is looked at in the same way.
"""

import http.client
import io
import ipaddress
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

from ferlib import __version__
from ferlib.serving.answers import Refusal

_CHARACTERS = re.compile(r"[!#-;=?-Z_a-z~%\[\]]{1,2048}")  # what RFC 3986 lets stand in an address
_HOST = re.compile(r"[0-9A-Za-z._-]{1,253}|[0-9A-Fa-f:.]{2,45}")  # a name, or IPv6 without a zone
_PORTS = {"http": 80, "https": 443}
_REDIRECTS = (301, 302, 303, 307, 308)
_TRIED = 3  # addresses of one name
_PIECE = 1 << 16  # bytes
_ASKED = {
    "User-Agent": f"ferlib/{__version__}",
    "Accept": "image/*",
    "Accept-Encoding": "identity",  # nothing is ever decompressed
    "Connection": "close",
}
# IPv6 that is handed out to networks (RFC 4291), of which these are not, or lead elsewhere:
_GLOBAL = ipaddress.IPv6Network("2000::/3")
# What `is_global` takes for public in some version of Python.
_NOT_PUBLIC = [
    ipaddress.ip_network(one)
    for one in (
        "192.0.0.0/24",  # protocols' own (RFC 6890)
        "192.88.99.0/24",  # relays from IPv6 to IPv4 (RFC 7526)
        "168.63.129.16/32",  # a cloud's own service to its machines, at a public address
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved
        "2001::/23",  # protocols' own, Teredo's tunnels (RFC 4380) among them
        "2002::/16",  # 6to4: an IPv4 address inside (RFC 3056)
        "3fff::/20",  # documentation (RFC 9637)
    )
]


def public(address: str) -> bool:
    """Whether an IP address is one of the public internet, by itself: no tunnel, no translation."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:  # an IPv6 address with a zone is one of this machine's links
        return False
    if ip.version == 6 and ip not in _GLOBAL:  # IPv4 mapped or translated (64:ff9b::) among them
        return False
    return ip.is_global and not any(ip in network for network in _NOT_PUBLIC)


@dataclass(frozen=True)
class Rules:
    """What is fetched, how much and for how long. Tests bring their own `allowed` and `resolve`."""

    size: int = 16 << 20  # bytes: a camera's JPEG passes
    seconds: float = 8  # for all of it, from the name's lookup to the last byte
    redirects: int = 3
    allowed: Callable[[str], bool] = public  # of an IP address
    resolve: Callable[..., list] = socket.getaddrinfo


def fetch(url: str, rules: Rules | None = None) -> bytes:
    """What an http or https address answers. Whether it is a picture is for the reader to say.

    Raises Refusal: bad_url (400) where it is no address that is fetched, body_too_large (413),
    fetch_failed (502) where it answers no picture, timeout (504).
    """
    rules = rules or Rules()
    visit = _Visit(rules, time.monotonic() + rules.seconds)
    try:
        for _ in range(rules.redirects + 1):
            found = visit.get(_checked(url))
            if isinstance(found, bytes):
                return found
            url = urljoin(url, found)
    except TimeoutError:
        raise Refusal(
            504, "timeout", f"the address has not answered in {rules.seconds:g} seconds"
        ) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _failed(f"cannot be fetched: {_plain(error)}") from None
    raise _failed(f"sends from one address to another more than {rules.redirects} times")


def _failed(how: str) -> Refusal:
    return Refusal(502, "fetch_failed", f"the address {how}")


def _bad(why: str) -> Refusal:
    return Refusal(400, "bad_url", f"this address is not fetched: {why}")


def _plain(error: Exception) -> str:
    """What a library says, in printable ASCII and short: part of it can be the other side's."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return re.sub(r"[^ -~]+", " ", text)[:100]


def _checked(url: str) -> SplitResult:
    """The parts of an address that may be fetched, as far as its text tells. Raises Refusal."""
    if not _CHARACTERS.fullmatch(url):
        raise _bad("it holds characters that must be written as %XX, or is too long")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _bad("it is no address") from None
    if parts.scheme not in _PORTS:
        raise _bad("it must begin with http:// or https://")
    if "@" in parts.netloc:
        raise _bad("it holds a user's name or password")
    if not _HOST.fullmatch(parts.hostname or ""):
        raise _bad("it names no host")
    if port not in (None, _PORTS[parts.scheme]):
        raise _bad("only ports 80 (http) and 443 (https) are asked")
    return parts


@dataclass
class _Visit:
    """One fetch, which ends at a moment of the clock: TimeoutError from then on."""

    rules: Rules
    until: float

    def left(self) -> float:
        """Seconds."""
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def get(self, parts: SplitResult) -> bytes | str:
        """The body of an answer, or where it sends us."""
        host = parts.hostname or ""
        named = f"[{host}]" if ":" in host else host
        with ExitStack() as ends:
            sock = ends.enter_context(self._connected(parts))
            connection = http.client.HTTPConnection(named)
            if parts.scheme == "https":
                secure = ssl.create_default_context()
                sock.settimeout(self.left())
                sock = ends.enter_context(secure.wrap_socket(sock, server_hostname=host))
                connection = http.client.HTTPSConnection(named, context=secure)
            connection.sock = _Timed(sock, self)  # so that it opens none of its own
            path = parts.path or "/"
            asked = f"{path}?{parts.query}" if parts.query else path
            connection.request("GET", asked, headers=_ASKED)
            return self._read(ends.enter_context(connection.getresponse()))

    def _connected(self, parts: SplitResult) -> socket.socket:
        """A connection to one of the host's public addresses."""
        tried = self._addresses(parts.hostname or "", _PORTS[parts.scheme])[:_TRIED]
        failed: OSError = OSError("no connection")
        for waiting, (family, address) in zip(range(len(tried), 0, -1), tried, strict=True):
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                sock.settimeout(self.left() / waiting)  # so that each has its turn
                sock.connect(address)
                return sock
            except OSError as error:
                sock.close()
                failed = error
        raise failed

    def _addresses(self, host: str, port: int) -> list[tuple[int, Any]]:
        """The host's public addresses, as sockets take them: the name server is asked once."""
        found = _in_time(
            lambda: self.rules.resolve(host, port, type=socket.SOCK_STREAM), self.left()
        )
        inet = (socket.AF_INET, socket.AF_INET6)
        addresses = [(family, address) for family, *_, address in found if family in inet]
        good = [one for one in addresses if self.rules.allowed(str(one[1][0]))]
        if not good:
            raise _bad("it is not one of the public internet")
        return good

    def _read(self, answer: http.client.HTTPResponse) -> bytes | str:
        if answer.status in _REDIRECTS and answer.headers["Location"]:
            return answer.headers["Location"]
        if answer.status != 200:
            raise _failed(f"answers with status {answer.status}")
        if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise _failed("answers in a compressed form, which was not asked for")
        if (answer.length or 0) > self.rules.size:
            raise self._too_large()
        body = bytearray()
        while piece := answer.read(_PIECE):
            body += piece
            if len(body) > self.rules.size:
                raise self._too_large()
        if answer.length:
            raise _failed("breaks off in the middle of its answer")
        return bytes(body)

    def _too_large(self) -> Refusal:
        text = f"the address answers with more than {self.rules.size / (1 << 20):g} MiB"
        return Refusal(413, "body_too_large", text)


def _in_time(ask: Callable[[], list], seconds: float) -> list:
    """What the system's lookup gives, which cannot be told to stop: past its time it is left alone.

    Raises TimeoutError, and whatever the lookup raised.
    """
    told: list = []

    def work() -> None:
        try:
            told.append((ask(), None))
        except (OSError, UnicodeError) as error:  # the latter: a label of more than 63 letters
            told.append(([], error))

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    worker.join(seconds)
    if not told:
        raise TimeoutError
    found, error = told[0]
    if error is not None:
        raise error
    return found


class _Timed:
    """A connected socket for http.client, which gives each call no more than what is left of the
    time: a byte a second would never exceed a time-out of the socket's own."""

    def __init__(self, sock: socket.socket, visit: _Visit):
        self._sock, self._visit = sock, visit

    def sendall(self, data: bytes) -> None:
        self._sock.settimeout(self._visit.left())
        self._sock.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self._sock, self._visit))

    def close(self) -> None:
        """`_Visit.get` closes it."""


class _Reader(io.RawIOBase):
    def __init__(self, sock: socket.socket, visit: _Visit):
        self._sock, self._visit = sock, visit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(self._visit.left())
        return self._sock.recv_into(buffer)
