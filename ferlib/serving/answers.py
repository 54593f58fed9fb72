"""Answers of the gate's own: as bytes of HTTP, and as reasons to refuse a request."""

import json
from collections.abc import Mapping
from http import HTTPStatus

JSON = b"application/json"


class Refusal(Exception):
    """Why a request is not taken: an HTTP status, a short code, a sentence."""

    def __init__(self, status: int, code: str, message: str, more: Mapping[str, str] | None = None):
        super().__init__(message)
        self.status = status
        self.code = code
        self.more = more or {}

    @property
    def body(self) -> bytes:
        return json.dumps({"error": {"code": self.code, "message": str(self)}}).encode()


def bad_request(message: str) -> Refusal:
    return Refusal(400, "bad_request", message)


def busy(what: str) -> Refusal:
    """The server has enough to do: come again in a second."""
    return Refusal(503, "busy", f"the server is busy: {what}; try again", {"Retry-After": "1"})


def unavailable() -> Refusal:
    """A worker has died over this request, or Multi Model Server is being started again."""
    text = "no worker has answered this request: it was lost, or the server is starting; try again"
    return Refusal(503, "unavailable", text, {"Retry-After": "1"})


def late(seconds: float) -> Refusal:
    return Refusal(504, "timeout", f"no worker has answered within {seconds:g} seconds")


def response(
    status: int,
    body: bytes,
    kind: bytes = JSON,
    close: bool = False,
    more: Mapping[str, str] | None = None,
) -> bytes:
    """An HTTP/1.1 response in bytes."""
    head = (
        b"HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nCache-Control: no-store\r\n"
    )
    lines = [head % (status, _phrase(status), kind, len(body))]
    lines += [f"{name}: {value}\r\n".encode() for name, value in (more or {}).items()]
    if close:
        lines.append(b"Connection: close\r\n")
    return b"".join([*lines, b"\r\n", body])


_PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}


def _phrase(status: int) -> bytes:
    return _PHRASES.get(status, b"Unknown")
