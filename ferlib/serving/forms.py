"""What a request's body holds, by its Content-Type: bytes for a worker, never a form.

Multi Model Server would take forms apart itself, by an old netty that a hostile form keeps busy for
minutes. So the gate does it, and what it sends on is one body of bytes in any case.
"""

import re

import multipart

from ferlib.serving import several
from ferlib.serving.answers import Refusal
from ferlib.serving.limits import Limits

# What `curl --data-binary` says is a web form, the others name a picture or nothing.
_BYTES = {"", "application/octet-stream", "application/x-www-form-urlencoded", "application/json"}
_FORM = "multipart/form-data"
_PICTURE = re.compile(r"(data|body)[0-9]{0,4}")  # the names of fields with pictures
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{1,70}")  # RFC 2046, 5.1.1
_PARTS = 2  # for each picture: a page's form may have a field or two besides
_PART_HEADERS = 4  # Content-Disposition, Content-Type; some clients add a length and an encoding
_PART_HEADER_BYTES = 1024  # a file's name is in one of them


def check_type(fields: dict[str, str]) -> None:
    """Raises Refusal where the body is of a kind that holds no picture. Before it has come."""
    if fields.get("content-encoding", "identity").lower() != "identity":
        raise Refusal(415, "unsupported_media_type", "compressed bodies are not taken")
    kind, options = multipart.parse_options_header(fields.get("content-type", ""))
    if kind == _FORM:
        if not _BOUNDARY.fullmatch(options.get("boundary", "")):
            raise _bad_form("no good boundary in its Content-Type")
    elif kind not in _BYTES and not kind.startswith("image/"):
        text = "send a picture as image/jpeg or image/png, as multipart/form-data, or as JSON"
        raise Refusal(415, "unsupported_media_type", text)


def pieces(fields: dict[str, str], body: list[bytes], limits: Limits) -> list[bytes]:
    """What is sent to a worker: the body as it is, or a form's pictures. Raises Refusal."""
    kind, options = multipart.parse_options_header(fields.get("content-type", ""))
    if kind != _FORM:
        return body
    pictures = _pictures(b"".join(body), options["boundary"], limits)
    if not pictures:
        raise Refusal(400, "no_picture", "no picture: the form has no field called `data`")
    if len(pictures) > limits.pictures:
        raise Refusal(400, "too_many_pictures", str(several.too_many()))
    return pictures if len(pictures) == 1 else several.join(pictures)


def _pictures(body: bytes, boundary: str, limits: Limits) -> list[bytes]:
    parser = multipart.PushMultipartParser(
        boundary,
        content_length=len(body),
        max_header_size=_PART_HEADER_BYTES,
        max_header_count=_PART_HEADERS,
        max_segment_count=_PARTS * limits.pictures,
        strict=True,
        header_charset="latin-1",  # files' names may be in any, and are not used
    )
    found: list[bytes] = []
    part = None
    try:
        with parser:
            for event in parser.parse(body) if body else ():
                if isinstance(event, multipart.MultipartSegment):
                    part = event
                    if _PICTURE.fullmatch(part.name):
                        found.append(b"")
                elif event is not None and part and _PICTURE.fullmatch(part.name):
                    found[-1] += event
    except multipart.ParserLimitReached as error:
        raise _bad_form(f"{error}") from None
    except (multipart.MultipartError, UnicodeError) as error:
        raise _bad_form(f"{error}") from None
    return found


def _bad_form(why: str) -> Refusal:
    return Refusal(400, "bad_form", f"the form cannot be taken apart: {why}"[:200])
