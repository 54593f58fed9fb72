"""Mutated pictures and mutated HTTP requests, drawn by Hypothesis; for fuzz.py."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import hypothesis
import kinds
import numpy as np
from clients import request
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image


class Change(NamedTuple):
    how: str
    where: float  # share of the length
    length: int  # of what is taken or repeated
    what: bytes


CHANGES: dict[str, Callable[[bytes, int, Change], bytes]] = {
    "overwrite": lambda data, at, one: data[:at] + one.what + data[at + len(one.what) :],
    "insert": lambda data, at, one: data[:at] + one.what + data[at:],
    "delete": lambda data, at, one: data[:at] + data[at + one.length :],
    "repeat": lambda data, at, one: data[: at + one.length] + data[at:],
    "cut": lambda data, at, one: data[:at],
    "flip": lambda data, at, one: (
        data[:at] + bytes(byte ^ 1 << one.length % 8 for byte in data[at : at + 1]) + data[at + 1 :]
    ),
    "move": lambda data, at, one: data[:at] + data[at + one.length :] + data[at : at + one.length],
}
EDGES = (
    b"\0",
    b"\xff" * 4,
    b"\x7f\xff\xff\xff",
    b"\x80\0\0\0",
    b"\0\0\0\x01",
    b"\r\n",
    b"\r\n\r\n",
)


def changes(words: tuple[bytes, ...]) -> st.SearchStrategy[list[Change]]:
    """One to four changes at any places, with any bytes or with one of the `words`."""
    what = st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from(words))
    how = st.sampled_from(sorted(CHANGES))
    where = st.one_of(st.floats(0, 1), st.floats(0.1, 1))  # not in the head alone
    one = st.builds(Change, how, where, st.integers(1, 64), what)
    return st.lists(one, min_size=1, max_size=4)


def changed(data: bytes, todo: list[Change]) -> bytes:
    for one in todo:
        data = CHANGES[one.how](data, round(one.where * len(data)), one)
    return data


def drawn(strategy: st.SearchStrategy[bytes], count: int, seed: int) -> list[bytes]:
    """At most so many different ones that Hypothesis draws from a seed."""
    found: dict[bytes, None] = {}
    how = settings(
        max_examples=2 * count,  # it draws some more than once
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    how(hypothesis.seed(seed)(given(strategy)(lambda each: found.setdefault(each))))()
    return list(found)[:count]


def blocks(
    strategy: st.SearchStrategy[bytes], number: int, size: int, seed: int
) -> Iterator[list[bytes]]:
    """So many, no two the same, in blocks of a size, each from a seed one higher."""
    seen: set[int] = set()
    while len(seen) < number:
        fresh = [each for each in drawn(strategy, size, seed) if hash(each) not in seen]
        fresh = fresh[: number - len(seen)]
        seen |= set(map(hash, fresh))
        seed += 1
        yield fresh


# ---------------------------------------------------------------- pictures


def pictures() -> st.SearchStrategy[bytes]:
    color = kinds.photograph().crop((200, 60, 360, 220)).resize((40, 40))
    seeds = [kinds.encoded(color, kind) for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "PPM")]
    seeds += [kinds.encoded(color, "TIFF", compression=how) for how in (None, "tiff_lzw")]
    seeds += [kinds.small(), kinds.encoded(color, "JPEG", progressive=True)]
    seeds += [kinds.encoded(color.quantize(16), "PNG", transparency=3)]
    deep = Image.fromarray(np.asarray(kinds.crop()).astype(np.uint16) * 257)
    seeds += [kinds.encoded(deep, "PNG")]
    return st.builds(changed, st.sampled_from(seeds), changes(EDGES))


# ---------------------------------------------------------------- requests

LINES = tuple(
    line.encode("latin-1") + b"\r\n"
    for line in (
        "Content-Length: 0", "Content-Length: 5", "Content-Length: -1", "Content-Length: 99999999",
        "Content-Length: 99999999999999999999", "content-length:\t7", "Content-Length: 0x10",
        "Content-Length: 5, 5", "Content-Length: +5", "Content-Length:", "Content-Length : 5",
        "Transfer-Encoding: chunked", "Transfer-Encoding: xchunked", "Transfer-Encoding : chunked",
        "Transfer-Encoding:\x0bchunked", "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: \0chunked", "transfer-encoding: CHUNKED", "X: a\r\n Content-Length: 3",
        "Content-Encoding: gzip", "Connection: close", "Connection: upgrade\r\nUpgrade: h2c",
        "Expect: 100-continue", "Expect: a miracle", "Host: \0", "Host: other", ": no name",
        "Content-Type: application/json", "Content-Type: multipart/form-data; boundary=",
        "Content-Type: multipart/form-data; boundary=" + "x" * 300, "Content-Type: text/plain",
        "Content-Type: image/jpeg; charset=\xff", "Trailer: Content-Length", "TE: trailers",
        "X: " + "x" * 9000, "X-Forwarded-For: 1.2.3.4", "Range: bytes=0-", "X: \x7f\x01",
    )
)  # fmt: skip
SMUGGLED = b"GET /ping HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def whole_requests() -> list[bytes]:
    one, found = kinds.small(), [kind.raw for kind in kinds.other_forms().values()]
    found += [request(one), request(method="GET", path="/ping"), request(method="GET", path="/")]
    found += [request(method="GET", path="/health"), request(method="GET", path="/openapi.json")]
    found += [kinds.framed("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n")]
    return [*found, request(one + SMUGGLED), kinds.chunked(one) + SMUGGLED]


def with_line(raw: bytes, line: bytes, at: int, instead: bool) -> bytes:
    """A header line more, or instead of another."""
    head, blank, body = raw.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    at = 1 + at % len(lines)
    lines[at : at + instead] = [line.removesuffix(b"\r\n")]
    return b"\r\n".join(lines) + blank + body


def spliced(raw: bytes, other: bytes, share: float) -> bytes:
    return raw[: round(share * len(raw))] + other[round(share * len(other)) :]


def requests() -> st.SearchStrategy[bytes]:
    whole = st.sampled_from(whole_requests())
    line = st.sampled_from(LINES)
    lined = st.builds(with_line, whole, line, st.integers(0, 8), st.booleans())
    twice = st.builds(with_line, lined, line, st.integers(0, 8), st.booleans())
    both = st.builds(spliced, whole, whole, st.floats(0, 1))
    words = (*EDGES, *LINES, b"HTTP/1.1", b"0\r\n\r\n", b"ffffffff\r\n", b'["', b"{", b"--", b"%00")
    in_head = st.builds(_in_head, st.one_of(whole, lined), changes(words))
    return st.one_of(lined, twice, both, in_head, st.builds(changed, whole, changes(words)))


def _in_head(raw: bytes, todo: list[Change]) -> bytes:
    head, blank, body = raw.partition(b"\r\n\r\n")
    return changed(head, todo) + blank + body


def unclear(raw: bytes) -> bool:
    """Whether two servers could disagree on where the request ends (RFC 9112, section 6)."""
    head = raw.partition(b"\r\n\r\n")[0]
    fields = [line.partition(b":")[::2] for line in head.split(b"\r\n")[1:]]
    pairs = [(name.lower(), value.strip(b" \t").lower()) for name, value in fields]
    lengths = {value for name, value in pairs if name == b"content-length"}
    codings = [value for name, value in pairs if name == b"transfer-encoding"]
    right = all(each.isdigit() for each in lengths) and codings in ([], [b"chunked"])
    return not right or len(lengths) > 1 or (bool(lengths) and bool(codings))
