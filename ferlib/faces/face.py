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
    """One face: `box` is (x, y, w, h), brow to chin, in pixels of the upright picture."""

    box: tuple[int, int, int, int]
    emotion: str  # or, for nets with other classes, the name of one of theirs
    scores: dict[str, float] = field(hash=False)
    confidence: float = 1.0  # of the detector that this is a face

    @property
    def caption(self) -> str:
        """What is written beside the face, such as "happiness 97%"."""
        return f"{self.emotion} {self.scores[self.emotion]:.0%}"


def scores(probabilities: np.ndarray, classes: Sequence[str] = EMOTIONS) -> dict[str, float]:
    """One row of probabilities (K,) as {class: probability}, six decimals."""
    return {name: round(float(p), 6) for name, p in zip(classes, probabilities, strict=True)}


def face(
    box: Sequence[float] | np.ndarray,
    confidence: float,
    probabilities: np.ndarray,
    size: tuple[int, int],
    classes: Sequence[str] = EMOTIONS,
    kind: type[Face] = Face,
    **more: Any,
) -> Face:
    """A box (x, y, w, h), clipped to a picture of `size` (width, height), with its reading."""
    width, height = size
    left, top, right, bottom = np.round([box[0], box[1], box[0] + box[2], box[1] + box[3]])
    left, right = (int(np.clip(value, 0, width)) for value in (left, right))
    top, bottom = (int(np.clip(value, 0, height)) for value in (top, bottom))
    best = classes[int(probabilities.argmax())]
    box = (left, top, right - left, bottom - top)
    return kind(box, best, scores(probabilities, classes), round(float(confidence), 4), **more)


def crop(picture: np.ndarray, box: Sequence[float] | np.ndarray) -> np.ndarray:
    """The square (S, S[, 3]) around a face box; where it leaves the picture the border repeats."""
    left, top, width, height = (float(value) for value in box)
    side = max(1, round(CROP * (width * height) ** 0.5))
    across = np.arange(side) + round(left + width / 2 - side / 2)
    down = np.arange(side) + round(top + height / 2 - side / 2)
    across = across.clip(0, picture.shape[1] - 1)
    down = down.clip(0, picture.shape[0] - 1)
    return picture[down[:, None], across]


def overlaps(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of a box (4,) as x, y, w, h with others (N, 4)."""
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[:2] + box[2:], others[:, :2] + others[:, 2:])
    common = (high - low).clip(0).prod(axis=1)
    return common / np.maximum(box[2:].prod() + others[:, 2:].prod(axis=1) - common, 1e-9)
