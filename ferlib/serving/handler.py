"""What Multi Model Server calls: bytes of a picture in, JSON out, shaped as schema.json says.

Packed into the .mar as ferlib_service.py, beside the copy of ferlib that it must use.
"""

import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent
if (_HERE / "MAR-INF").is_dir():  # unpacked: the archive's own ferlib wins over an installed one
    sys.path.insert(0, str(_HERE))

from ferlib.data import images  # noqa: E402
from ferlib.errors import FerlibError  # noqa: E402
from ferlib.faces.face import Face, scores  # noqa: E402
from ferlib.faces.recognizer import Recognizer  # noqa: E402

log = logging.getLogger(__name__)
FIELDS = ("data", "body")  # a multipart field, or the whole body
_PHRASES = {200: "OK", 400: "Bad Request", 500: "Internal Server Error"}
_recognizer: Recognizer | None = None


def handle(requests: list[dict] | None, context: Any):
    """Multi Model Server's entry point: called once with None to load, then for each batch.

    One JSON string for each request. No request's fault leaves here as an exception: the server
    would answer 503 without a reason. A fault in loading does, and ends up in the server's log.
    """
    global _recognizer
    if _recognizer is None:
        _recognizer = _load(Path(context.system_properties["model_dir"]))
    if requests is None:
        return None
    return [_reply(request, context, index) for index, request in enumerate(requests)]


def _load(folder: Path) -> Recognizer:
    found = sorted((folder / "weights").glob("*-symbol.json"))
    if len(found) != 1:
        raise FerlibError(f"{folder}/weights holds {len(found)} nets, expected one: pack it again")
    recognizer = Recognizer(str(found[0]).removesuffix("-symbol.json"))
    recognizer.classify([images.read_picture(b"P5 1 1 255 \0")])  # the first call compiles
    return recognizer


def _reply(request, context, index: int) -> str:
    started = time.perf_counter()
    status, answer = _answer(request)
    milliseconds = (time.perf_counter() - started) * 1000
    # Always this one header: the server mishandles replies whose headers vary.
    context.set_response_content_type(index, "application/json")
    context.set_response_status(status, _PHRASES[status], index)
    context.metrics.add_time("FerTime", round(milliseconds, 2), idx=index)
    outcome = answer["error"]["code"] if status != 200 else f"{len(answer['faces'])} faces"
    log.info("%d %s %.1f ms", status, outcome, milliseconds)
    return json.dumps(answer)


def _answer(request) -> tuple[int, dict]:
    """(HTTP status, what to say) for one request."""
    try:
        assert _recognizer is not None  # `handle` has loaded it
        return 200, read(_recognizer, _payload(request))
    except FerlibError as error:
        return 400, _error(error.code, str(error))
    except MemoryError:
        return 400, _error("picture_too_large", "the picture does not fit into the server's memory")
    except Exception:
        log.exception("unexpected")
        return 500, _error("internal", "the server failed on this picture; its log says how")


def _error(code: str, message: str) -> dict:
    return {"error": {"code": code, "message": " ".join(message.split())}}


def _payload(request: dict) -> bytes:
    name = next((name for name in FIELDS if name in request), None)
    if name is None:
        raise FerlibError(
            "no picture: send its bytes as the body with Content-Type: image/jpeg (or image/png), "
            "or as the multipart field `data`",
            "no_picture",
        )
    value = request[name]
    if not isinstance(value, bytes | bytearray):  # decoded: the server lacks ferlib's settings
        raise FerlibError("the body is text, expected the bytes of a picture", "not_a_picture")
    return bytes(value)


def read(recognizer: Recognizer, data: bytes) -> dict:
    """The bytes of a picture -> what a 200 says. FerlibError when it is no picture."""
    picture = images.read_picture(data)
    found = recognizer(picture)
    answer: dict = {"model": recognizer.name, "faces": [_described(face) for face in found]}
    if not found:
        row = scores(recognizer.classify([picture])[0], recognizer.classes)
        answer["whole_picture"] = {"emotion": max(row, key=row.__getitem__), "scores": row}
    return answer


def _described(face: Face) -> dict:
    return {"box": list(face.box), "emotion": face.emotion, "scores": face.scores}
