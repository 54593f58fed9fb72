"""Where the faces of a photograph are: a detector's looks at copies of it, put together."""

import cv2
import numpy as np
from PIL import Image

from ferlib.faces.detectors import UNSURE, Detector
from ferlib.faces.face import overlaps

# How faces are looked for (benchmarks/detector.py, results/detector.json). Sides are in pixels.
SHORTEST, LONGEST = 320, 960  # the first look is at a copy whose longer side lies between these
CLOSER = 1.5  # the next look is at a copy that much larger than the picture,
MOST_PIXELS = 4_000_000  # but of no more pixels than these,
SMALL = 64  # for faces smaller than this at the first look: larger ones it sees well
MIN_CONFIDENCE = 0.75  # of the detector, 0 to 1: below it pictures without faces get boxes
# From UNSURE to MIN_CONFIDENCE a face is looked at again, by itself and
AGAIN = 160  # brought to this side,
MOST_AGAIN = 24  # the likeliest ones first, so that a texture cannot keep a server busy


def search(
    detect: Detector, picture: np.ndarray, thorough: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes float (N, 4) as x, y, w, h in pixels, and confidences (N,), of what are faces.

    The largest comes first. `thorough` looks for small faces too, and once more at what could be a
    face.
    """
    scale = _first_scale(*picture.shape[:2])
    boxes, sure = _look(detect, picture, scale)
    if thorough:
        if _small_ones_likely(boxes, sure, scale):
            more = _look_closer(detect, picture, scale)
            boxes, sure = np.concatenate([boxes, more[0]]), np.concatenate([sure, more[1]])
        boxes, sure = _apart(boxes, sure)
        _look_again(detect, picture, boxes, sure)
    keep = sure >= MIN_CONFIDENCE
    boxes, sure = _apart(boxes[keep], sure[keep])
    order = np.lexsort((boxes[:, 0], -boxes[:, 2] * boxes[:, 3]))
    return boxes[order], sure[order]


def _first_scale(height: int, width: int) -> float:
    longer = max(height, width)
    return min(max(1.0, SHORTEST / longer), LONGEST / longer)


def _look(detect: Detector, picture: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """What the detector finds in a copy of another size, in pixels of the picture."""
    height, width = picture.shape[:2]
    size = max(1, round(width * scale)), max(1, round(height * scale))
    looked_at = picture
    if size != (width, height):
        copy = Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
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
    kept = cv2.dnn.NMSBoxes(boxes.tolist(), sure.tolist(), 0.0, 0.4)
    rows = np.array(kept, int).reshape(-1)
    return boxes[rows], sure[rows]
