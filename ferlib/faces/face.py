"""One face of a picture, and the square around it that a net reads."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ferlib.data.labels import EMOTIONS

# Side of the square given to the net, in units of sqrt(width * height) of the face box: the median
# of FER2013's own frames around the faces in them (benchmarks/crop.py, results/crop.json).
CROP = 1.12


@dataclass(frozen=True)
class Face:
    """One face: `box` is (x, y, w, h), brow to chin, in pixels of the upright picture.

    `landmarks` are x, y of the two eyes, that at the left of the picture first, the nose and the
    corners of the mouth; () where the detector tells none. They hardly follow a turned head. `roll`
    does: the degrees by which it is turned, clockwise, 0 where it is about upright.
    """

    box: tuple[int, int, int, int]
    emotion: str  # or, for nets with other classes, the name of one of theirs
    scores: dict[str, float] = field(hash=False)
    confidence: float = 1.0  # of the detector that this is a face
    landmarks: tuple[tuple[int, int], ...] = ()
    roll: int = 0

    @property
    def caption(self) -> str:
        """What is written beside the face, such as "happiness 97%"."""
        return f"{self.emotion} {self.scores[self.emotion]:.0%}"


def scores(probabilities: np.ndarray, classes: Sequence[str] = EMOTIONS) -> dict[str, float]:
    """One row of probabilities (K,) as {class: probability}, six decimals."""
    return {name: round(float(p), 6) for name, p in zip(classes, probabilities, strict=True)}


def face(
    row: np.ndarray,
    probabilities: np.ndarray,
    size: tuple[int, int],
    classes: Sequence[str] = EMOTIONS,
    kind: type[Face] = Face,
    **more: Any,
) -> Face:
    """A row of `search`, its box clipped to a picture of `size` (width, height), with its reading.

    Of the row x, y, width, height and confidence are needed; landmarks may follow.
    """
    points = np.reshape(row[5:], (-1, 2))
    width, height = size
    left, top, right, bottom = np.round([row[0], row[1], row[0] + row[2], row[1] + row[3]])
    left, right = (int(np.clip(value, 0, width)) for value in (left, right))
    top, bottom = (int(np.clip(value, 0, height)) for value in (top, bottom))
    best = classes[int(probabilities.argmax())]
    box = (left, top, right - left, bottom - top)
    told = () if np.isnan(points).any() else points.round().astype(int).tolist()
    read = scores(probabilities, classes)
    sure = round(float(row[4]), 4)
    return kind(box, best, read, sure, tuple(map(tuple, told)), **more)


def side_of(box: Sequence[float] | np.ndarray) -> int:
    """The side in pixels of the square that is cut out for a face box (x, y, w, h)."""
    return max(1, round(CROP * (float(box[2]) * float(box[3])) ** 0.5))


def crop(picture: np.ndarray, box: Sequence[float] | np.ndarray, around: int = 0) -> np.ndarray:
    """The square (S, S[, 3]) around a face box; where it leaves the picture the border repeats.

    `around`: so many more pixels on each side of it.
    """
    left, top, width, height = (float(value) for value in box)
    side = side_of(box)
    left = round(left + width / 2 - side / 2) - around
    top = round(top + height / 2 - side / 2) - around
    right, bottom = left + side + 2 * around, top + side + 2 * around
    if left >= 0 and top >= 0 and right <= picture.shape[1] and bottom <= picture.shape[0]:
        return picture[top:bottom, left:right].copy()  # a view would keep all of the picture
    across = np.arange(left, right).clip(0, picture.shape[1] - 1)
    down = np.arange(top, bottom).clip(0, picture.shape[0] - 1)
    return picture[down[:, None], across]


def overlaps(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of a box (4,) as x, y, w, h with others (N, 4)."""
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[:2] + box[2:], others[:, :2] + others[:, 2:])
    common = (high - low).clip(0).prod(axis=1)
    return common / np.maximum(box[2:].prod() + others[:, 2:].prod(axis=1) - common, 1e-9)
