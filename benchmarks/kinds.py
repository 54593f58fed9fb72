"""Requests that a server gets in its life: the good ones, and bad ones of every kind."""

import base64
import io
import json
import struct
from functools import cache
from typing import NamedTuple

import numpy as np
from clients import PATH, request
from PIL import Image

from ferlib.data.cartoon import draw
from ferlib.data.labels import EMOTIONS

FOURS = range(400, 500)
HANG_UP = range(0)  # the client closes before it has said all: no answer is due
MARK = "----a-mark-of-parts"
_HEAD = f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\n"


class Kind(NamedTuple):
    raw: bytes  # the whole request
    due: range | tuple[int, ...]  # the statuses that are right


# ---------------------------------------------------------------- pictures


def photograph() -> Image.Image:
    """640x480, one face: scikit-image's photograph of Eileen Collins, free for every use."""
    from skimage import data

    return Image.fromarray(data.astronaut()[:384]).resize((640, 480), Image.Resampling.BICUBIC)


def crop() -> Image.Image:
    """That face alone, gray, 48x48: what FER2013's pictures are like."""
    from skimage import data

    face = Image.fromarray(data.astronaut()[60:180, 165:285]).convert("L")
    return face.resize((48, 48), Image.Resampling.BILINEAR)


def drawn(count: int) -> list[Image.Image]:
    """Drawn faces, gray, 48x48."""
    rng = np.random.default_rng(0)
    return [Image.fromarray(draw(EMOTIONS[row % len(EMOTIONS)], rng)) for row in range(count)]


def encoded(picture: Image.Image, kind: str = "PNG", **how) -> bytes:
    with io.BytesIO() as file:
        picture.save(file, kind, **how)
        return file.getvalue()


@cache
def small() -> bytes:
    return encoded(crop())


@cache
def large() -> bytes:
    return encoded(photograph(), "JPEG", quality=90)


# ---------------------------------------------------------------- forms of a body


def multipart(*parts: bytes, field: str = "data", mark: str = MARK) -> bytes:
    """Each part a file in a field of the same name."""
    head = f'--{mark}\r\nContent-Disposition: form-data; name="{field}"; filename="a"\r\n\r\n'
    body = b"".join(head.encode() + part + b"\r\n" for part in parts)
    return body + f"--{mark}--\r\n".encode()


def form(body: bytes, mark: str = MARK) -> bytes:
    return request(body, f"multipart/form-data; boundary={mark}")


def listed(*pictures: bytes) -> list[str]:
    return [base64.b64encode(picture).decode() for picture in pictures]


def as_json(value) -> bytes:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return request(body, "application/json")


def chunked(*chunks: bytes) -> bytes:
    lines = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    head = _HEAD + "Content-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head.encode() + lines + b"0\r\n\r\n"


def framed(lines: str, body: bytes = b"") -> bytes:
    """A request of header lines of one's own."""
    return (_HEAD + lines + "\r\n").encode("latin-1") + body


# ---------------------------------------------------------------- good ones


def crops(count: int = 20) -> dict[str, Kind]:
    return {
        f"crop {row}": Kind(request(encoded(face)), (200,)) for row, face in enumerate(drawn(count))
    }


def other_forms() -> dict[str, Kind]:
    """A crop, or a few, in every other form that a client may choose."""
    one, other = small(), encoded(drawn(1)[0])
    raw = {
        "octet-stream": request(one, "application/octet-stream"),
        "no type": request(one, None),
        "a form's type": request(one, "application/x-www-form-urlencoded"),
        "expecting 100": request(one, more="Expect: 100-continue\r\n"),
        "HTTP/1.0": request(one).replace(b"HTTP/1.1", b"HTTP/1.0", 1),
        "chunked": chunked(one[:100], one[100:]),
        "multipart": form(multipart(one)),
        "multipart of three": form(multipart(one, other, one)),
        "JSON list": as_json(listed(one, other)),
        "JSON object": as_json({"pictures": listed(one, other)}),
        "JSON list, one no picture": as_json(listed(one, b"no picture")),
    }
    return {name: Kind(each, (200,)) for name, each in raw.items()}


# ---------------------------------------------------------------- bad ones


def png_of(width: int, height: int) -> bytes:
    """A PNG that claims so many pixels and has none."""
    return small()[:16] + struct.pack(">II", width, height) + small()[24:]


def bad_pictures() -> dict[str, bytes]:
    noise = np.random.default_rng(0).bytes(4096)
    bmp = encoded(crop().convert("RGB"), "BMP")
    return {
        "empty": b"",
        "one byte": b"\x89",
        "noise": noise,
        "zeros": bytes(4096),
        "a PNG's name, then noise": small()[:8] + noise,
        "half a PNG": small()[: len(small()) // 2],
        "half a JPEG": large()[: len(large()) // 2],
        "half a GIF": encoded(crop(), "GIF")[:900],
        "a PNG of 30,000 x 30,000": png_of(30_000, 30_000),
        "a PNG of 0 x 0": png_of(0, 0),
        "a GIF of 65,535 x 65,535": b"GIF89a" + b"\xff" * 4 + encoded(crop(), "GIF")[10:],
        "a BMP of 100,000 x 100,000": bmp[:18] + struct.pack("<ii", 100_000, 100_000) + bmp[26:],
        "a PPM of a great size": b"P6 99999999 99999999 255 ",
        "text": b"This is a face.",
        "HTML": b"<html><body>face</body></html>",
        "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "PDF": b"%PDF-1.4\n1 0 obj<<>>endobj\n%%EOF",
        "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 48 48\n",
    }


def bad_json() -> dict[str, bytes | object]:
    return {
        "{": b"{",
        "nothing": b"",
        "null": None,
        "a number": 7,
        "a text": "picture",
        "an empty object": {},
        "an empty list": [],
        "numbers": [1, 2],
        "lists": [[1], [2]],
        "pictures that are a number": {"pictures": 7},
        "17 pictures": listed(*[small()] * 17),
        "5,000 brackets": b"[" * 5000,
        "not UTF-8": b'["\xff\xfe"]',
        "NaN": b"[NaN]",
    }


def bad_forms() -> dict[str, bytes]:
    one = small()
    whole = multipart(one)
    return {
        "without a mark": request(whole, "multipart/form-data"),
        "another mark": form(whole, "another"),
        "no part": form(f"--{MARK}--\r\n".encode()),
        "empty": form(b""),
        "not ended": form(whole[:-30]),
        "broken off in a head": form(whole[:60]),
        "a part without a name": form(whole.replace(b'name="data"; ', b"")),
        "a part that is empty": form(multipart(b"")),
        "a part of text": form(multipart(b"face.png")),
        "17 parts": form(multipart(*[one] * 17)),
        "200 parts": form(multipart(*[b"x"] * 200)),
    }


def not_for_it() -> dict[str, Kind]:
    """Types, methods and paths that the service does not need."""
    one = small()
    types = "text/plain", "text/html; charset=utf-8", "video/mp4", "x" * 200, "/", "image"
    kinds = {f"type {kind[:12]}": Kind(request(one, kind), (415,)) for kind in types}
    for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        kinds[f"method {method}"] = Kind(request(method=method), (405,))
    for path in ("/", "/models", "/models/fer", "/predictions/other", "/invocations"):
        kinds[f"path {path}"] = Kind(request(one, path=path), (404,))
    for path in ("/predictions/fer/../../models", "/predictions/../models", "/%2e%2e/models"):
        kinds[f"path {path}"] = Kind(request(one, path=path), (404,))
    return kinds


def bad_http() -> dict[str, bytes]:
    """Requests that are not right HTTP, or say too much of it."""
    one, size = small(), len(small())
    smuggled = b"0\r\n\r\nGET /ping HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    return {
        "a length and chunks": framed(
            f"Content-Length: {len(smuggled)}\r\nTransfer-Encoding: chunked\r\n", smuggled
        ),
        "two lengths": framed(f"Content-Length: {size}\r\nContent-Length: 5\r\n", one),
        "a length of -1": framed("Content-Length: -1\r\n", one),
        "a length of words": framed("Content-Length: five\r\n", one),
        "a length of +5": framed("Content-Length: +5\r\n", one),
        "a length of 64 MiB": framed("Content-Length: 67108864\r\n", one),
        "a length of 30 digits": framed(f"Content-Length: {'9' * 30}\r\n", one),
        "chunks of no size": framed("Transfer-Encoding: chunked\r\n", b"zz\r\n" + one),
        "chunks of a negative size": framed("Transfer-Encoding: chunked\r\n", b"-5\r\n" + one),
        "another encoding": framed("Transfer-Encoding: gzip\r\n", one),
        "chunked twice": framed("Transfer-Encoding: chunked, chunked\r\n", b"0\r\n\r\n"),
        "a head without a colon": framed("no colon here\r\nContent-Length: 0\r\n"),
        "a head with a zero": framed("X: a\0b\r\nContent-Length: 0\r\n"),
        "a space before the colon": framed(f"Content-Length : {size}\r\n", one),
        "a folded head": framed(f"X: a\r\n b\r\nContent-Length: {size}\r\n", one),
        "a head of 20 KiB": framed(f"X: {'x' * 20_480}\r\nContent-Length: 0\r\n"),
        "200 fields": framed("X: x\r\n" * 200 + "Content-Length: 0\r\n"),
        "a path of 20 KiB": request(path="/" + "x" * 20_480),
        "a version of 2.0": request(one).replace(b"HTTP/1.1", b"HTTP/2.0", 1),
        "no version": b"GET /ping\r\n\r\n",
        "HTTP/2's greeting": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "a small method": request(one, method="post"),
        "TLS": b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(100) + b"\r\n\r\n",
        "noise": np.random.default_rng(1).bytes(300) + b"\r\n\r\n",
    }


def bad() -> dict[str, Kind]:
    """Every kind by its name; each is answered with a 4xx, but for those that hang up."""
    found = {f"picture: {name}": Kind(request(x), (400,)) for name, x in bad_pictures().items()}
    found |= {f"JSON: {name}": Kind(as_json(x), FOURS) for name, x in bad_json().items()}
    found |= {f"multipart: {name}": Kind(x, FOURS) for name, x in bad_forms().items()}
    found |= not_for_it()
    found |= {f"HTTP: {name}": Kind(x, FOURS) for name, x in bad_http().items()}
    whole = request(small())
    found["hanging up in the head"] = Kind(whole[:40], HANG_UP)
    found["hanging up in the body"] = Kind(whole[:-200], HANG_UP)
    return found
