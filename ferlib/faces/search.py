"""Where the faces of a photograph are: a detector's looks at copies of it, put together.

What is found is float (N, 15): x, y, width, height in pixels of the photograph, confidence, and
x, y of five landmarks, or NaN.
"""

import cv2
import numpy as np

from ferlib.faces.detectors import Detector, found
from ferlib.faces.face import overlaps
from ferlib.faces.network import apart
from ferlib.faces.turning import SAME, turned_looks

# How faces are looked for (benchmarks/detector.py, benchmarks/photos.py). Sides are in pixels.
SHORTEST, LONGEST = 160, 720  # the first look is at a copy whose longer side lies between these,
PART, FULL = 0.32, 960  # or is such a part of a large photograph's, up to that, as a quick one's
SMALL = 44  # where it shows a face smaller than this there may be some that are too small for it:
CLOSER = 1.5  # then another look is at a copy that much larger than the picture,
MOST_PIXELS = 4_000_000  # but of no more pixels than these,
MOST_SIDE = 8000  # nor longer, as thin pictures are filled up to the detector's 32
SURE = 0.75  # of the detector, 0 to 1: below it pictures without faces get boxes
# What it is less sure of is looked at again, by itself and
AGAIN = 320  # in the middle of a square of this side, which it fills by half,
MOST_AGAIN = 16  # the likeliest ones first, so that a texture cannot keep a server busy


def search(
    detect: Detector, picture: np.ndarray, quick: bool = False, thorough: bool = False
) -> np.ndarray:
    """The faces of an RGB picture, float (N, 15) as said above, the largest first.

    `quick` looks once, as suits the frames of a video. Otherwise small faces are looked for where
    something hints at them, and heads that lean far where no other is seen; `thorough` does both
    anyway.
    """
    scale = _first_scale(picture, quick)
    rows = _look(detect, picture, scale)
    if not quick:
        rows = _look_again(detect, picture, rows)
        if thorough or (_sure(rows) & (sides(rows) * scale < SMALL)).any():
            closer = _look_closer(detect, picture, scale)
            rows = np.concatenate([rows, _look_again(detect, picture, closer)])
        if thorough or not _sure(rows).any():
            rows = np.concatenate([rows, _look(detect, picture, scale, turned=True)])
    rows = apart(rows[_sure(rows)], SAME)
    return rows[np.lexsort((rows[:, 0], -rows[:, 2] * rows[:, 3]))]


def sides(rows: np.ndarray) -> np.ndarray:
    """The root of each box's area, in pixels: how large faces are, here and in what is said."""
    return np.sqrt(rows[:, 2] * rows[:, 3])


def _sure(rows: np.ndarray) -> np.ndarray:
    return rows[:, 4] >= SURE


def _first_scale(picture: np.ndarray, quick: bool) -> float:
    longer = max(picture.shape[:2])
    most = FULL if quick else min(max(LONGEST, PART * longer), FULL)
    return min(max(1.0, SHORTEST / longer), most / longer)


def _look(detect: Detector, picture: np.ndarray, scale: float, turned: bool = False) -> np.ndarray:
    """What the detector finds in a copy of another size, in pixels of the picture.

    `turned`: what it is sure of when that is turned, which shows the heads that lean far.
    """
    copy = _resized(picture, scale)
    rows = (turned_looks if turned else found)(detect, [copy])[0]
    return _moved(rows, picture.shape[1] / copy.shape[1], picture.shape[0] / copy.shape[0])


def _resized(picture: np.ndarray, scale: float) -> np.ndarray:
    height, width = picture.shape[:2]
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if size == (width, height):
        return picture
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(np.ascontiguousarray(picture), size, interpolation=how)


def _moved(rows: np.ndarray, across: float, down: float, left: int = 0, top: int = 0) -> np.ndarray:
    """Rows of a copy, in pixels of the picture of which it is a part from `left` and `top` on."""
    rows = rows.copy()
    rows[:, [0, 2, 5, 7, 9, 11, 13]] *= across
    rows[:, [1, 3, 6, 8, 10, 12, 14]] *= down
    rows[:, [0, 5, 7, 9, 11, 13]] += left
    rows[:, [1, 6, 8, 10, 12, 14]] += top
    return rows


def _look_closer(detect: Detector, picture: np.ndarray, seen: float) -> np.ndarray:
    """The faces too small for the first look, which was at the scale `seen`."""
    height, width = picture.shape[:2]
    scale = min(CLOSER, (MOST_PIXELS / (height * width)) ** 0.5, MOST_SIDE / max(height, width))
    if scale <= 1.2 * seen:  # nothing to be gained
        return np.zeros((0, 15))
    rows = _look(detect, picture, scale)
    return rows[sides(rows) * seen < 1.5 * SMALL]


def _look_again(detect: Detector, picture: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The same rows, but what the detector says of each unsure face by itself in their place.

    A face of 36 pixels that it hardly sees in the picture it is sure of when that is enlarged,
    and most of what only resembles a face it then sees no more.
    """
    rows = apart(rows, SAME)  # the likeliest first
    unsure = np.flatnonzero(~_sure(rows))
    rows = rows[: unsure[0] + MOST_AGAIN] if len(unsure) else rows
    again = rows[~_sure(rows)]
    if len(again):
        windows = [_window(picture, row) for row in again]
        seen = found(detect, [window for window, _ in windows])
        closer = [
            _same_face(row, _moved(one, *where))
            for row, one, (_, where) in zip(again, seen, windows, strict=True)
        ]
        rows = np.concatenate([rows[_sure(rows)], *closer])
    return rows


def _window(picture: np.ndarray, row: np.ndarray) -> tuple[np.ndarray, tuple]:
    """A face with half its side of surroundings, (AGAIN, AGAIN, 3), and how to move rows back."""
    last = picture.shape[1] - 1, picture.shape[0] - 1
    middle = np.clip(row[:2] + row[2:4] / 2, 0, last)  # some detectors tell faces beside it
    side = max(1.0, float(np.sqrt(row[2] * row[3])))
    left, top = np.maximum(middle - side, 0).astype(int)
    right, bottom = np.ceil(middle + side).astype(int)
    part = picture[top:bottom, left:right]
    copy = _resized(part, AGAIN / (2 * side + 1))
    window = np.zeros((AGAIN, AGAIN, 3), np.uint8)
    window[: copy.shape[0], : copy.shape[1]] = copy[:AGAIN, :AGAIN]
    scales = part.shape[1] / copy.shape[1], part.shape[0] / copy.shape[0]
    return window, (*scales, left, top)


def _same_face(row: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Of what was seen in its window the likeliest that is this face, (1, 15), or none."""
    return rows[overlaps(row[:4], rows[:, :4]) > 0.3][:1]
