"""How a box moves from one frame to the next, and whether what is in it still looks the same."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike

from ferlib.faces.face import crop
from ferlib.faces.search import LONGEST

# Least correlation of two patches of one face: 3 of 100 pairs of different FER2013 faces are more
# alike, 2 of 100 faces that were turned, blurred and darkened are less.
_ALIKE = 0.6
_TINY = (32, 24)  # to which frames are shrunk to see a cut,
_CHANGED, _SHOT = 12.0, 0.4  # by gray levels changed more, and correlation less than these


class Gray:
    """A frame as the tracker sees it, no larger than the detector does."""

    def __init__(self, picture: np.ndarray):
        self.scale = min(1.0, LONGEST / max(picture.shape[:2]))
        gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        size = [max(1, round(side * self.scale)) for side in gray.shape[::-1]]
        self.pixels = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)

    def patch(self, box: ArrayLike) -> np.ndarray:
        """float32 (24, 24): the face as the net would get it, smaller."""
        square = crop(self.pixels, np.asarray(box) * self.scale)
        return cv2.resize(square, (24, 24), interpolation=cv2.INTER_AREA).astype(np.float32)


def alike(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    """Whether two patches may be one face, a little moved; True where one was not seen alone."""
    if one is None or other is None:
        return True
    return _correlation(one[2:-2, 2:-2], other) >= _ALIKE


def is_cut(old: np.ndarray, new: np.ndarray) -> bool:
    """Whether the gray frames `old` and `new`, one after the other, are of two shots."""
    if old.shape != new.shape:
        return True
    one, other = (cv2.resize(gray, _TINY, interpolation=cv2.INTER_AREA) for gray in (old, new))
    one, other = one.astype(np.float32), other.astype(np.float32)
    return np.abs(one - other).mean() > _CHANGED and _correlation(one, other) < _SHOT


def _correlation(part: np.ndarray, whole: np.ndarray) -> float:
    """Pearson's, at the best place of the part in the whole."""
    return float(cv2.matchTemplate(whole, part, cv2.TM_CCOEFF_NORMED).max())


_GRID = (np.mgrid[:8, :8].reshape(2, -1).T[:, ::-1] + 0.5) / 8  # over the box
_PAIRS = np.triu_indices(len(_GRID), 1)
_WINDOW: dict = {
    "winSize": (15, 15),
    "maxLevel": 3,
}  # pixels around a point; halvings, for far moves
_BACK = 1.0  # pixels: a point that does not come back this close went astray


def flow(old: np.ndarray, new: np.ndarray, boxes: Sequence[np.ndarray]) -> list[np.ndarray | None]:
    """Where boxes of the gray frame `old` are in `new`; None for one that was lost.

    Median flow (Kalal et al. 2010): a grid of points is followed forth and back (Lucas-Kanade), the
    worse half is dropped, and the medians of what is left give shift and scale.
    """
    if not len(boxes):
        return []
    points = np.concatenate([box[:2] + _GRID * box[2:] for box in boxes])
    start = points.astype(np.float32)[:, None]
    there, found, _ = cv2.calcOpticalFlowPyrLK(old, new, start, None, **_WINDOW)
    back, found_back, _ = cv2.calcOpticalFlowPyrLK(new, old, there, None, **_WINDOW)
    error = np.linalg.norm((back - start)[:, 0], axis=1)
    error[(found & found_back)[:, 0] == 0] = np.inf
    each = (part.reshape(len(boxes), len(_GRID), -1) for part in (start, there, error))
    return [_moved(*one) for one in zip(boxes, *each, strict=True)]


def _moved(box: np.ndarray, start: np.ndarray, there: np.ndarray, error: np.ndarray):
    good = error[:, 0] <= min(np.median(error), _BACK)
    if good.sum() < len(_GRID) // 4:
        return None
    shift = np.median((there - start)[good], axis=0)
    one, other = (side[good[_PAIRS[0]] & good[_PAIRS[1]]] for side in _PAIRS)
    apart = np.linalg.norm(start[one] - start[other], axis=1)
    scale = np.median(np.linalg.norm(there[one] - there[other], axis=1) / apart)
    size = box[2:] * np.clip(scale, 0.8, 1.25)  # of one frame: more is an error
    return np.concatenate([box[:2] + box[2:] / 2 + shift - size / 2, size])
