"""The description of the gate's paths in OpenAPI 3.1; its shapes are those of schema.json."""

import json
from pathlib import Path

from ferlib.serving.several import MOST

SCHEMA = Path(__file__).with_name("schema.json")
_PLACE = "#/components/schemas/"


def description() -> dict:
    """The document that GET /openapi.json answers."""
    schemas = json.loads(SCHEMA.read_text().replace("#/$defs/", _PLACE))["$defs"]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ferlib",
            "version": "1",
            "summary": "Faces in photographs, and what they express.",
        },
        "paths": {
            "/predictions/fer": {"post": _prediction()},
            "/ping": {"get": _state("Whether the server is up; it may still be loading the net.")},
            "/health": {"get": _state("Whether a worker has just read a picture.")},
            "/openapi.json": {"get": _document()},
        },
        "components": {"schemas": schemas},
    }


def _prediction() -> dict:
    picture = {"schema": {"type": "string", "format": "binary"}}
    text = {"type": "string", "contentEncoding": "base64"}
    texts = {"type": "array", "minItems": 1, "maxItems": MOST, "items": text}
    listed = {"type": "object", "required": ["pictures"], "properties": {"pictures": texts}}
    data = {"type": "array", "maxItems": MOST, "items": {"type": "string", "format": "binary"}}
    form = {"type": "object", "required": ["data"], "properties": {"data": data}}
    kinds = {
        "image/*": picture,
        "application/octet-stream": picture,
        "application/x-www-form-urlencoded": picture,
        "multipart/form-data": {"schema": form},
        "application/json": {"schema": {"oneOf": [texts, listed]}},
    }
    return {
        "operationId": "predict",
        "summary": "The faces of a picture, or of up to sixteen.",
        "description": "JPEG, PNG, GIF, WebP, BMP, TIFF or PPM, at most 32 MiB and 40 megapixels. "
        "A web form's type is taken for a picture's bytes, since `curl --data-binary` says it. "
        "Several fields of a form, or a JSON list, are answered with a list.",
        "requestBody": {"required": True, "content": kinds},
        "responses": {
            "200": _answer("What was found.", ["answer", "several"]),
            "400": _answer("No picture, or not a whole one, or not HTTP.", ["refusal"]),
            "500": _answer("The server failed on this picture.", ["refusal"]),
            "503": _answer("Busy, or being started: try again.", ["refusal"]),
            "504": _answer("No worker has answered in time.", ["refusal"]),
            "default": _answer("Not taken: see `error`.", ["refusal"]),
        },
    }


def _state(summary: str) -> dict:
    well = {
        "type": "object",
        "required": ["status"],
        "properties": {"status": {"const": "healthy"}},
    }
    good = {"description": "Yes.", "content": {"application/json": {"schema": well}}}
    return {"summary": summary, "responses": {"200": good, "503": _answer("No.", ["refusal"])}}


def _document() -> dict:
    content = {"application/json": {"schema": {"type": "object"}}}
    return {
        "summary": "This document.",
        "responses": {"200": {"description": "It.", "content": content}},
    }


def _answer(text: str, shapes: list[str]) -> dict:
    several: list[dict] = [{"$ref": _PLACE + shape} for shape in shapes]
    schema = several[0] if len(several) == 1 else {"oneOf": several}
    return {"description": text, "content": {"application/json": {"schema": schema}}}
