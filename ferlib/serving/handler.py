"""What Multi Model Server calls: bytes of pictures in, JSON out, shaped as schema.json says.

Packed into the .mar as ferlib_service.py, beside the copy of ferlib that it must use.
"""

import json
import logging
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image

_HERE = Path(__file__).resolve().parent
if (_HERE / "MAR-INF").is_dir():  # unpacked: the archive's own ferlib wins over an installed one
    sys.path.insert(0, str(_HERE))
    # MXNet takes SciPy where it is, for what no worker needs: a quarter of a worker's start, 30 MB.
    sys.modules.setdefault("scipy", cast(Any, None))

from ferlib.data import images  # noqa: E402
from ferlib.errors import FerlibError  # noqa: E402
from ferlib.faces.face import Face, scores  # noqa: E402
from ferlib.faces.recognizer import Recognizer, Seen  # noqa: E402
from ferlib.serving import several  # noqa: E402
from ferlib.serving.metrics import Numbers  # noqa: E402

log = logging.getLogger(__name__)
FIELD = re.compile(r"(data|body)[0-9]*")  # multipart fields, or the whole body
MAX_PIXELS = 100_000_000  # of a request's pictures together: eight of a telephone's, seconds
_ENOUGH = 256  # pixels of the shorter side, for a net that reads 48 to 64
_PHRASES = {200: "OK", 400: "Bad Request", 500: "Internal Server Error"}
_recognizer: Recognizer | None = None
_numbers = Numbers()
_uncounted = Numbers(on=False)


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
    # The first calls compile, and take the memory that all later ones use.
    recognizer(np.zeros((480, 640, 3), np.uint8))
    for faces in (1, 4):
        recognizer.classify(np.zeros((faces, 48, 48), np.uint8))
    return recognizer


def _reply(request, context, index: int) -> str:
    status, answer = _answer(request)
    # Always this one header: the server mishandles replies whose headers vary.
    context.set_response_content_type(index, "application/json")
    context.set_response_status(status, _PHRASES[status], index)
    return json.dumps(answer)


def _answer(request) -> tuple[int, dict]:
    """(HTTP status, what to say) for one request."""
    assert _recognizer is not None  # `handle` has loaded it
    recognizer = _recognizer
    return answered(lambda: answer(recognizer, *payload(request)))


def answered(work: Callable[[], tuple[int, dict]]) -> tuple[int, dict]:
    """What `work` gives: (HTTP status, what to say). Where it fails, that is said as well."""
    try:
        return work()
    except FerlibError as error:
        return 400, _refused(error)
    except MemoryError:
        text = "the picture does not fit into the server's memory"
        return 400, _error("picture_too_large", text)
    except Exception:
        log.exception("unexpected")
        return 500, _error("internal", "the server failed on this picture; its log says how")


def answer(
    recognizer: Recognizer, pictures: Sequence[bytes | FerlibError], listed: bool
) -> tuple[int, dict]:
    """(HTTP status, what to say) for what `payload` gives."""
    answers = _Request(recognizer, pictures).answers()
    if listed:
        return 200, {"model": recognizer.name, "pictures": answers}
    return (400 if "error" in answers[0] else 200), answers[0]


def _error(code: str, message: str) -> dict:
    _numbers.error(code)
    return {"error": {"code": code, "message": " ".join(message.split())}}


def payload(request: dict) -> tuple[list[bytes | FerlibError], bool]:
    """The pictures of a request {field: bytes}, and whether it is a list of them, if only of one.

    FerlibError where it has none, too many, or JSON of another shape.
    """
    values = [value for name, value in request.items() if FIELD.fullmatch(name)]
    if not values:
        raise FerlibError(
            "no picture: send its bytes as the body with Content-Type: image/jpeg (or image/png), "
            "or as the multipart field `data`",
            "no_picture",
        )
    if not all(isinstance(value, bytes | bytearray) for value in values):  # decoded by the server,
        text = "the body is text, expected the bytes of a picture"  # which lacks ferlib's settings
        raise FerlibError(text, "not_a_picture")
    if len(values) > several.MOST:
        raise several.too_many()
    pictures: list[bytes | FerlibError] = [bytes(value) for value in values]
    listed = several.split(bytes(values[0])) if len(values) == 1 else pictures
    return listed or pictures, listed is not None


def read(recognizer: Recognizer, data: bytes) -> dict:
    """The bytes of a picture -> what a 200 says. FerlibError when it is no picture."""
    return _Request(recognizer, [data]).answers(strict=True)[0]


class _Request:
    """The pictures of one request, whose faces the net reads all at once."""

    def __init__(self, recognizer: Recognizer, pictures: Sequence[bytes | FerlibError]):
        self._recognizer = recognizer
        self._pictures = pictures
        # What a probe asks about is nobody's picture.
        self._numbers = _uncounted if [*pictures] == [several.PROBE] else _numbers
        self._plain: dict[int, np.ndarray] = {}  # by place: what shows no face, shrunk
        self._pixels = 0

    def answers(self, strict: bool = False) -> list[dict]:
        """The answer to each picture, or its error; `strict`: raise that instead."""
        seen: dict[int, Seen] = {}
        wrong: dict[int, FerlibError] = {}
        for place in range(len(self._pictures)):
            try:
                seen[place] = self._seen(place)
            except FerlibError as error:
                if strict:
                    raise
                wrong[place] = error
        self._numbers.start()
        found = dict(zip(seen, self._recognizer.read(list(seen.values())), strict=True))
        whole = self._read_whole()
        self._numbers.lap("read")
        return [
            _refused(wrong[place])
            if place in wrong
            else self._answer(found[place], whole.get(place))
            for place in range(len(self._pictures))
        ]

    def _seen(self, place: int) -> Seen:
        self._numbers.start()
        picture = self._picture(place)
        self._numbers.lap("decode")
        seen = self._recognizer.seen(picture)
        if not len(seen.rows):
            self._plain[place] = _shrunk(picture)
        self._numbers.lap("find")
        return seen

    def _picture(self, place: int) -> np.ndarray:
        data = self._pictures[place]
        if isinstance(data, FerlibError):
            raise data
        if self._pixels > MAX_PIXELS:
            raise FerlibError(
                f"the pictures before it had {self._pixels // 1_000_000} megapixels together: "
                "send this one in the next request",
                "picture_too_large",
            )
        picture = images.read_picture(data)
        self._pixels += picture.shape[0] * picture.shape[1]
        return picture

    def _read_whole(self) -> dict[int, dict[str, float]]:
        """Pictures without a face, each read as if it were one."""
        if not self._plain:
            return {}
        rows = self._recognizer.classify(list(self._plain.values()))
        named = [scores(row, self._recognizer.classes) for row in rows]
        return dict(zip(self._plain, named, strict=True))

    def _answer(self, faces: list[Face], whole: dict[str, float] | None) -> dict:
        self._numbers.picture([(face.emotion, face.scores[face.emotion]) for face in faces])
        answer: dict = {"model": self._recognizer.name, "faces": [_described(f) for f in faces]}
        if whole is not None:
            best = max(whole, key=whole.__getitem__)
            answer["whole_picture"] = {"emotion": best, "scores": whole}
        return answer


def _shrunk(picture: np.ndarray) -> np.ndarray:
    """A copy of a large picture that costs little to keep and to make gray; others as they are."""
    factor = min(picture.shape[:2]) // _ENOUGH
    return picture if factor < 2 else np.asarray(Image.fromarray(picture).reduce(factor))


def _refused(error: FerlibError) -> dict:
    return _error(error.code, str(error))


def _described(face: Face) -> dict:
    told = {"box": list(face.box), "emotion": face.emotion, "scores": face.scores}
    if face.landmarks:
        told["landmarks"] = [list(point) for point in face.landmarks]
    return told | {"roll": face.roll}
