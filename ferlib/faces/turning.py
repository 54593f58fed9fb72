"""Pictures turned, and what is found in them turned back. Angles are degrees, clockwise as seen."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike

from ferlib.faces.detectors import Detector, found
from ferlib.faces.face import crop, side_of
from ferlib.faces.network import apart

# By how much copies are turned in which heads are looked for that lean the other way: of the
# angles tried, from 20 to 45, the one that shows most of those turned by 30 and by 45.
LOOKS: tuple[float, ...] = (-35, 35)
SURE = 0.8  # of the detector, 0 to 1: below it textures get boxes when they are turned
SAME = 0.4  # boxes that overlap by more than this are of one face


class Part(NamedTuple):
    """The square that `face.crop` cuts, with `more` pixels around it, which its corners sweep over
    when it is turned."""

    pixels: np.ndarray
    more: int

    @property
    def crop(self) -> np.ndarray:
        return self.pixels[self.more : -self.more, self.more : -self.more]

    def upright(self, degrees: float) -> np.ndarray:
        """The square of a face turned by so many degrees, upright."""
        if not degrees:
            return self.crop
        whole, side = len(self.pixels), len(self.crop)
        matrix = turn(-degrees, middle(whole, whole), middle(side, side))
        return cv2.warpAffine(self.pixels, matrix, (side, side))


def part(picture: np.ndarray, box: Sequence[float] | np.ndarray) -> Part:
    """What is cut out for the box of a face, to be turned by itself: OpenCV refuses to turn
    pictures of 32,767 pixels a side."""
    more = side_of(box) // 4 + 2
    return Part(crop(picture, box, more), more)


def turned_looks(detect: Detector, pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What a detector is sure of in turned copies of pictures of one size: for each float (F, 15).

    Rows are those of `found`, in pixels of the picture as it was, the surest first; boxes keep
    their size and landmarks their place in the face. For pictures in which it is sure of nothing:
    of faces turned by 30 degrees it misses a quarter. Copies keep the picture's size, so that
    corners are lost, but an engine meets no new shape.
    """
    rows = [[np.zeros((0, 15))] for _ in pictures]
    for degrees in LOOKS if len(pictures) else ():
        height, width = pictures[0].shape[:2]
        matrix = turn(degrees, middle(width, height), middle(width, height))
        copies = [cv2.warpAffine(picture, matrix, (width, height)) for picture in pictures]
        for seen, one in zip(rows, found(detect, copies), strict=True):
            seen.append(back(one[one[:, 4] >= SURE], matrix))
    return [apart(_surest_first(np.concatenate(seen)), SAME) for seen in rows]


def _surest_first(rows: np.ndarray) -> np.ndarray:
    return rows[np.argsort(-rows[:, 4], kind="stable")]


def back(rows: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Rows found in a copy turned by `matrix`, in pixels of the picture."""
    inverse, rows = cv2.invertAffineTransform(matrix), rows.copy()
    half = rows[:, 2:4] / 2
    rows[:, :2] = _moved(rows[:, :2] + half, inverse) - half
    rows[:, 5:] = _moved(rows[:, 5:].reshape(-1, 2), inverse).reshape(-1, 10)
    return rows


def _moved(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points (N, 2), counted from a picture's corner, where OpenCV's matrix takes them."""
    return (points - 0.5) @ matrix[:, :2].T + matrix[:, 2] + 0.5


def middle(width: int, height: int) -> tuple[float, float]:
    """Of a picture, counted from the middle of its first pixel as OpenCV does."""
    return (width - 1) / 2, (height - 1) / 2


def turn(degrees: float, old: ArrayLike, new: ArrayLike, scale: float = 1) -> np.ndarray:
    """float64 (2, 3): turns clockwise and enlarges, and takes the point `old` to `new`."""
    angle = np.deg2rad(degrees)
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.array([[cos, -sin], [sin, cos]])
    return np.column_stack([linear, np.asarray(new) - linear @ np.asarray(old)])
