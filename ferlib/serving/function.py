"""AWS Lambda's side of the server: an event in, an answer out, shaped as schema.json says.

    handle = load("model_store")
    handle({"image": "base64 of a picture"})

An event is a request over HTTP, as API Gateway (payloads 1.0 and 2.0) and function URLs hand it on,
and is answered with a status, headers and a body; or it is the JSON of a caller of the function
itself, {"image": base64}, {"url": address} or {"pictures": [base64, ...]}, and is answered with the
answer. The same JSON may be the body of a request. Neither MXNet nor the gate is needed.
"""

import base64
import binascii
import json
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ferlib.errors import FerlibError, check_choice
from ferlib.faces import turning
from ferlib.faces.detectors import FILE
from ferlib.faces.recognizer import Recognizer
from ferlib.faces.roll import NAME
from ferlib.nets.places import DEFAULT_WEIGHTS
from ferlib.serving import forms, handler, several
from ferlib.serving.answers import Refusal, bad_request
from ferlib.serving.fetch import Rules, fetch
from ferlib.serving.limits import Limits

URLS = "FERLIB_URLS"  # this variable of the environment says "off" where no address is fetched
_LIMITS = Limits()
_NAMED = re.compile(rb'\s*\{\s*"(image|url)"')  # how the JSON begins that `several` does not take
_SHAPES = '{"image": "base64"}, {"url": "https://..."} or {"pictures": ["base64", ...]}'
_HEADERS = {"Content-Type": "application/json", "Cache-Control": "no-store"}
Pictures = tuple[list[bytes | FerlibError], bool]  # as `handler.payload` gives them


def load(folder: str | Path) -> "Function":
    """The function with the nets of a folder: ferplus.onnx, faces.onnx and, beside them, roll.onnx.

    FerlibError where one is missing or damaged, or FERLIB_URLS says neither "on" nor "off".
    """
    urls = os.environ.get(URLS) or "on"
    check_choice(URLS, urls, ("on", "off"))
    weights, turned = (Path(folder, f"{name}.onnx") for name in (DEFAULT_WEIGHTS, NAME))
    recognizer = Recognizer(weights, detector=Path(folder, FILE), engine="onnx")
    if not turned.is_file():
        raise FerlibError(f"{turned} is missing: expected the net that tells how heads are turned")
    gray = np.full((48, 48, 3), 128, np.uint8)
    recognizer.upright([turning.part(gray, (8, 8, 32, 32))])  # loads that net
    return Function(recognizer, Rules() if urls == "on" else None)


class Function:
    """What Lambda calls with each event; `rules` are for fetching addresses, None fetches none."""

    def __init__(self, recognizer: Recognizer, rules: Rules | None = None):
        self._recognizer = recognizer
        self._rules = rules

    def __call__(self, event: Any, context: Any = None) -> dict:
        """The answer to an event. No fault of an event leaves here as an exception."""
        status, told = handler.answered(lambda: self._answer(event))
        if not _over_http(event):
            return told
        headers = _HEADERS | ({"Allow": "POST"} if status == 405 else {})
        body = json.dumps(told)
        return {"statusCode": status, "headers": headers, "body": body, "isBase64Encoded": False}

    def _answer(self, event: Any) -> tuple[int, dict]:
        """(HTTP status, what to say)."""
        try:
            pictures, listed = self._pictures(event)
        except Refusal as why:
            return why.status, json.loads(why.body)
        return handler.answer(self._recognizer, pictures, listed)

    def _pictures(self, event: Any) -> Pictures:
        if not isinstance(event, dict):
            raise bad_request(f"the event is not {_SHAPES}, nor a request over HTTP")
        if not _over_http(event):
            return self._named(event)
        body = _body(event)
        return self._named(_parsed(body)) if _NAMED.match(body) else handler.payload({"body": body})

    def _named(self, given: Any) -> Pictures:
        """The pictures of JSON that says what they are."""
        match given:
            case {"url": str(url), **others} if not others:
                return [self._fetched(url)], False
            case {"image": str(text), **others} if not others:
                return [several.decoded(text)], False
            case {"pictures": list(), **others} if not others:
                with suppress(RecursionError):  # nested without end
                    return handler.payload({"body": json.dumps(given).encode()})
        raise Refusal(400, "bad_json", f"the JSON is not {_SHAPES}")

    def _fetched(self, url: str) -> bytes:
        if self._rules is None:
            raise Refusal(400, "bad_url", "addresses are not fetched here: send the picture itself")
        return fetch(url, self._rules)


def _over_http(event: Any) -> bool:
    return isinstance(event, dict) and "requestContext" in event


def _method(event: dict) -> str:
    """By payload 1.0 of API Gateway, or 2.0 of it and of function URLs."""
    match event:
        case {"httpMethod": str(method)}:
            return method
        case {"requestContext": {"http": {"method": str(method)}}}:
            return method
    raise bad_request("the event is no request over HTTP as API Gateway or a function URL send it")


def _body(event: dict) -> bytes:
    """What a request brings: a picture, JSON, or what `forms` makes of a form. Raises Refusal."""
    if _method(event) != "POST":
        raise Refusal(405, "method_not_allowed", "send a picture with POST")
    headers = event.get("headers")
    pairs = headers.items() if isinstance(headers, dict) else ()
    fields = {str(name).lower(): str(value) for name, value in pairs}
    forms.check_type(fields)
    body = _bytes(event.get("body") or "", bool(event.get("isBase64Encoded")))
    if len(body) > _LIMITS.body:
        raise Refusal(413, "body_too_large", f"at most {_LIMITS.body >> 20} MiB are taken")
    return b"".join(forms.pieces(fields, [body], _LIMITS))


def _bytes(body: Any, is_base64: bool) -> bytes:
    """The body of an event, which is a text."""
    if not isinstance(body, str):
        raise bad_request("the event's body is not a text")
    if is_base64:
        try:
            return base64.b64decode(body, validate=True)
        except (binascii.Error, ValueError):
            raise bad_request("the event's body is not base64, as it says") from None
    if body and body.lstrip()[:1] not in ("{", "["):  # no picture survives that
        text = "the picture came as text: tell API Gateway that bodies are binary, or send JSON"
        raise Refusal(400, "not_a_picture", text)
    return body.encode(errors="replace")


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):  # the latter: nested without end
        raise Refusal(400, "bad_json", f"the JSON is not {_SHAPES}") from None
