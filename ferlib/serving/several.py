"""Several pictures in one request's body: as JSON, or as the gate puts a form's parts together.

Packed into the archive, so that the handler takes a body apart as the gate put it together.
"""

import base64
import binascii
import json
import struct
from collections.abc import Sequence
from itertools import islice

from ferlib.errors import FerlibError

MOST = 16  # pictures in one request: a worker is busy with them for a second or two
PROBE = b"P5 1 1 255 \0"  # the smallest picture, a black pixel: asks whether a worker is well
_MARK = b"ferlib pictures\n"  # no picture begins so, and no JSON
_LENGTH = struct.Struct(">I")


def join(pictures: Sequence[bytes]) -> list[bytes]:
    """One body, in pieces: the mark, then each picture after its length."""
    pieces = [_MARK]
    for picture in pictures:
        pieces += [_LENGTH.pack(len(picture)), picture]
    return pieces


def split(body: bytes) -> list[bytes | FerlibError] | None:
    """The pictures that a body holds, or what is wrong with each; None where it is one picture.

    Raises FerlibError, bad_json or too_many_pictures, when it is nothing of the three.
    """
    if body.startswith(_MARK):
        return _checked([*islice(_joined(memoryview(body)[len(_MARK) :]), MOST + 1)])
    if body[:64].lstrip(b" \t\r\n")[:1] in (b"[", b"{"):  # no picture begins so
        return _checked([decoded(text) for text in _listed(body)])
    return None


def _checked(pictures: list) -> list:
    if not pictures:
        raise FerlibError("the list of pictures is empty", "no_picture")
    if len(pictures) > MOST:
        raise too_many()
    return pictures


def too_many() -> FerlibError:
    text = f"at most {MOST} pictures are read in one request; send the others in the next"
    return FerlibError(text, "too_many_pictures")


def _joined(data: memoryview):
    while data:
        if len(data) < _LENGTH.size or len(data) - _LENGTH.size < _LENGTH.unpack_from(data)[0]:
            raise FerlibError("the pictures are broken off", "truncated_picture")
        end = _LENGTH.size + _LENGTH.unpack_from(data)[0]
        yield bytes(data[_LENGTH.size : end])
        data = data[end:]


def _listed(body: bytes) -> list[str]:
    """The texts of a JSON list. Base64 holds no comma or bracket, so that hostile JSON (millions of
    small things, deep nesting) is known by their number before it is taken apart."""
    wrong = 'the JSON is not ["base64", ...] or {"pictures": ["base64", ...]}'
    if body.count(b",") >= MOST and body.count(b'"') >= 2 * MOST:
        raise too_many()
    if body.count(b"[") + body.count(b"{") > 2 or body.count(b",") >= MOST:
        raise FerlibError(wrong, "bad_json")
    try:
        found = json.loads(body)
    except ValueError:  # also where it is not UTF-8
        raise FerlibError(wrong, "bad_json") from None
    if isinstance(found, dict) and set(found) == {"pictures"}:
        found = found["pictures"]
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise FerlibError(wrong, "bad_json")
    return found


def decoded(text: str) -> bytes | FerlibError:
    """The bytes of a base64 text, or what is wrong with it."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return FerlibError("not base64: expected the bytes of a picture in it", "not_a_picture")
