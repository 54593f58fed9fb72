"""Pictures that occur twice, exactly or nearly: by what is left of them when details are gone."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.fft import dctn

from ferlib.data.dataset import SPLITS
from ferlib.data.fer2013 import Fer2013
from ferlib.errors import FerlibError

SIDE = 16  # of the lowest frequencies that a hash keeps
BITS = SIDE * SIDE - 1
# So many of these bits differ at most in near-duplicates. In FER2013 such pairs show one picture;
# from about 60 on strangers are among them, and beyond 70 hardly anything else.
NEAR = 56


@dataclass(frozen=True, eq=False)
class Nearest:
    """The rows of FER2013 outside its training split, each with the training row most like it.

    rows, train: int (n,), counted from 0 in the published order
    bits:        int (n,), in how many bits their hashes differ
    exact:       bool (n,), whether they are the same, pixel by pixel
    """

    rows: np.ndarray
    train: np.ndarray
    bits: np.ndarray
    exact: np.ndarray

    @property
    def near(self) -> np.ndarray:
        """bool (n,): the training split holds the same picture, or nearly."""
        return self.exact | (self.bits <= NEAR)


@cache
def in_training(data: Fer2013) -> Nearest:
    """The nearest training picture of every other one; FerlibError where none are for training."""
    learnt = data.usage == SPLITS.index("train")
    rows, train = np.flatnonzero(~learnt), np.flatnonzero(learnt)
    if not len(train):
        what = data.source or "these data"
        raise FerlibError(f"{what} lack FER2013's training split: duplicates in it are not known")
    codes = hashes(data.pictures)
    which, bits = nearest(codes[rows], codes[train])
    found = train[which]
    first = {int(twin): row for twin, row in zip(data.twins[train][::-1], train[::-1], strict=True)}
    # A black picture has no hash of its own, so what is the same is told by its pixels.
    same = np.array([first.get(int(twin), -1) for twin in data.twins[rows]], int)
    exact = same >= 0
    return Nearest(rows, np.where(exact, same, found), np.where(exact, 0, bits), exact)


def hashes(pictures: np.ndarray) -> np.ndarray:
    """Gray pictures (N, H, W) -> bool (N, BITS): which low frequencies lie above their median.

    A perceptual hash (Zauner 2010, "Implementation and benchmarking of perceptual image hash
    functions"), with 16 x 16 frequencies instead of 8 x 8: faces are alike, and 63 bits take
    strangers for one. It does not see light, contrast or fine detail.
    """
    found = [_low(part) for part in np.array_split(pictures, -(-len(pictures) // 2048))]
    low = np.concatenate(found)
    return low > np.median(low, axis=1, keepdims=True)


def _low(pictures: np.ndarray) -> np.ndarray:
    """The lowest frequencies but the mean, (N, BITS)."""
    spectrum = dctn(pictures.astype(np.float32), axes=(1, 2))
    return spectrum[:, :SIDE, :SIDE].reshape(len(pictures), -1)[:, 1:]


def nearest(some: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hashes (n, B), (m, B) -> which of the others each is nearest to, and by how many bits, (n,).

    Of several equally near the first.
    """
    signs = (1 - 2 * others.astype(np.float32)).T
    which, bits = np.zeros(len(some), int), np.zeros(len(some), int)
    for start in range(0, len(some), 512):
        alike = (1 - 2 * some[start : start + 512].astype(np.float32)) @ signs
        which[start : start + 512] = alike.argmax(axis=1)
        bits[start : start + 512] = ((some.shape[1] - alike.max(axis=1)) / 2).round()
    return which, bits
