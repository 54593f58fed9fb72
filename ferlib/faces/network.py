"""libfacedetection's network, for other engines than its own, which was built for older processors.

The network is YuNet (Wu, Peng and Yu, 2023); Shiqi Yu's library has it under the BSD licence. Its
weights come from there: `faces.weights`.
"""

import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol

import cv2
import numpy as np

from ferlib.errors import FerlibError

UNSURE = 0.1  # below this confidence nothing is told; libfacedetection's own code ends at 0.2
STRIDES = (8, 16, 32)  # pixels between the places at which each level looks
_SAME, _MOST, _KEPT = 0.45, 1000, 512  # overlap of boxes of one face; boxes before and after


class Ops(Protocol):
    """What an engine must offer for the network to be drawn with it; x is a node of its graph."""

    def conv(self, x: Any, weight: np.ndarray, bias: np.ndarray, relu: bool, stride: int) -> Any:
        """Padded so that a stride of 1 keeps the size; depthwise where `weight` is (C, 1, 3, 3)."""

    def pool(self, x: Any) -> Any:
        """The largest of each 2 x 2 places."""

    def double(self, x: Any) -> Any:
        """Each place four times."""

    def add(self, x: Any, y: Any) -> Any: ...


def draw(ops: Ops, x: Any, layers: Sequence[tuple[np.ndarray, np.ndarray]]) -> list:
    """The network on a node that holds BGR pixels 0 to 255 (N, 3, H, W) -> one node a level.

    A level's node is (N, 16, H / stride, W / stride): face, x, y, width, height, frame, five x, y.
    """

    def unit(x: Any, k: int) -> Any:
        return ops.conv(ops.conv(x, *layers[k], False, 1), *layers[k + 1], True, 1)

    x = ops.conv(x, *layers[0], True, 2)
    x = ops.pool(unit(x, 1))
    for k in (3, 5, 7, 9):
        x = unit(x, k)
    levels = []
    for k in (11, 15, 19):
        x = unit(unit(ops.pool(x), k), k + 2)
        levels.append(x)
    coarse = unit(levels[2], 27)
    middle = unit(ops.add(levels[1], ops.double(coarse)), 25)
    fine = unit(ops.add(levels[0], ops.double(middle)), 23)
    return [_head(ops, x, level, layers) for level, x in enumerate((fine, middle, coarse))]


def _head(ops: Ops, x: Any, level: int, layers: Sequence) -> Any:
    """The four heads of a level, joined into one of 16 channels."""
    firsts = [first + 2 * level for first in (29, 35, 41, 47)]
    for step in (0, 1):
        weight, bias = (np.concatenate([layers[k + step][each] for k in firsts]) for each in (0, 1))
        x = ops.conv(x, weight, bias, False, 1)
    return x


def canvas(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """RGB uint8 pictures (H, W, 3) of one size -> BGR float32 (N, 3, H', W').

    Zeros fill up to multiples of 32, right and below, as in libfacedetection. The next call of this
    thread with pictures of that size writes into the same array. FerlibError for other channels.
    """
    for picture in pictures:  # of fewer, the array would keep the last picture's
        if picture.shape[2:] != (3,):
            raise FerlibError(f"expected RGB pictures (H, W, 3), found {picture.shape}")
    height, width = pictures[0].shape[:2]
    out = _buffer(len(pictures), height, width)
    for row, picture in zip(out, pictures, strict=True):
        for channel, plane in enumerate(cv2.split(picture)):  # quicker than to transpose
            row[2 - channel, :height, :width] = plane
    return out


_last = threading.local()


def _buffer(count: int, height: int, width: int) -> np.ndarray:
    """Zeros beyond the pictures. New memory would take as long as to fill it does."""
    wanted = (count, height, width)
    if getattr(_last, "wanted", None) != wanted:
        shape = (-(-side // STRIDES[-1]) * STRIDES[-1] for side in (height, width))
        _last.wanted, _last.buffer = wanted, np.zeros((count, 3, *shape), np.float32)
    return _last.buffer


def decode(levels: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What the network says of N pictures -> for each float (F, 15), the surest first.

    A row: x, y, width, height, confidence, and x, y of two eyes, the nose and two corners of the
    mouth, in pixels.
    """
    flat = [level.reshape(len(level), 16, -1) for level in levels]
    places = _places(tuple(level.shape[2:] for level in levels))
    return [_faces(values, places) for values in np.concatenate(flat, axis=2)]


@lru_cache(maxsize=64)
def _places(shapes: tuple[tuple[int, int], ...]) -> np.ndarray:
    """Column and row in pixels, and stride, of each place (3, P)."""
    every = []
    for (height, width), stride in zip(shapes, STRIDES, strict=True):
        row, column = np.divmod(np.arange(height * width, dtype=np.float32), width)
        every.append(np.stack([column * stride, row * stride, np.full_like(row, stride)]))
    return np.concatenate(every, axis=1)


def _faces(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    # The root of the product of two sigmoids; below UNSURE unless both logits are above this one.
    likely = np.flatnonzero(np.minimum(values[0], values[5]) > _LEAST)
    values, (across, down, stride) = values[:, likely].astype(np.float64), places[:, likely]
    sure = 1 / np.sqrt((1 + np.exp(-values[0])) * (1 + np.exp(-values[5])))
    width, height = np.exp(values[3:5]) * stride
    rows = np.empty((len(likely), 15))
    rows[:, 0] = across + values[1] * stride - width / 2
    rows[:, 1] = down + values[2] * stride - height / 2
    rows[:, 2], rows[:, 3], rows[:, 4] = width, height, sure
    rows[:, 5::2] = (across + values[6::2] * stride).T
    rows[:, 6::2] = (down + values[7::2] * stride).T
    rows = rows[sure >= UNSURE]
    rows = rows[np.argsort(-rows[:, 4], kind="stable")[:_MOST]]
    return apart(rows, _SAME)[:_KEPT]


_LEAST = float(np.log(UNSURE**2 / (1 - UNSURE**2)))


def apart(rows: np.ndarray, most: float) -> np.ndarray:
    """Of rows whose boxes overlap by more than `most` only the surest, that one first."""
    if len(rows) < 2:
        return rows
    kept = cv2.dnn.NMSBoxes(rows[:, :4].tolist(), rows[:, 4].tolist(), 0.0, most)
    return rows[np.array(kept, int).reshape(-1)]
