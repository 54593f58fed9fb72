"""Pictures that occur twice, exactly or nearly: by what is left of them when details are gone."""

import numpy as np
from scipy.fft import dctn

SIDE = 16  # of the lowest frequencies that a hash keeps
NEAR = 56  # of its 255 bits differ at most in near-duplicates; in strangers of FER2013 64 and more


def hashes(pictures: np.ndarray) -> np.ndarray:
    """Gray pictures (N, H, W) -> bool (N, 255): which low frequencies lie above their median.

    A perceptual hash (Zauner 2010, "Implementation and benchmarking of perceptual image hash
    functions"), with 16 x 16 frequencies instead of 8 x 8: faces are alike, and 63 bits take
    strangers for one. It does not see light, contrast or fine detail.
    """
    found = [_low(part) for part in np.array_split(pictures, -(-len(pictures) // 2048))]
    low = np.concatenate(found)
    return low > np.median(low, axis=1, keepdims=True)


def _low(pictures: np.ndarray) -> np.ndarray:
    """The lowest frequencies but the mean, (N, 255)."""
    spectrum = dctn(pictures.astype(np.float32), axes=(1, 2))
    return spectrum[:, :SIDE, :SIDE].reshape(len(pictures), -1)[:, 1:]


def nearest(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Hashes (n, B), (m, B) -> how many bits each of the first differs from its nearest, (n,)."""
    signs = (1 - 2 * others.astype(np.float32)).T
    parts = np.array_split(some, max(1, len(some) // 512))
    alike = [((1 - 2 * part.astype(np.float32)) @ signs).max(axis=1) for part in parts if len(part)]
    return ((some.shape[1] - np.concatenate(alike)) / 2).round().astype(int)
