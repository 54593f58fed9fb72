"""Scenes with known faces: FER2013's validation pictures put into photographs without faces.

What benchmarks/crop.py and benchmarks/detector.py look at. The backgrounds are freely licensed and
come with scikit-image; the faces need the real data, and no scene is ever written to a file.
"""

from functools import cache

import numpy as np
from PIL import Image
from skimage import data

from ferlib.data import fer2013
from ferlib.faces.face import CROP, overlaps

FACELESS = (
    *("brick", "chelsea", "clock", "coffee", "grass", "gravel", "hubble_deep_field"),
    *("immunohistochemistry", "moon", "page", "retina", "rocket", "text"),
)
PADDINGS = ("gray", "noise", "gradient", "mirror", "photograph")
FADE = 0.06  # in a crowd a picture's edges fade, so that no frame gives a face away


def validation() -> tuple[np.ndarray, np.ndarray]:
    """Majority images of the validation split by fer2013new.csv: pictures and emotions."""
    valid = fer2013.load().split("valid", "fer2013new.csv")
    return valid.pictures, valid.truth


@cache
def photograph(name: str) -> Image.Image:
    return Image.fromarray(getattr(data, name)()).convert("RGB")


def background(size: tuple[int, int], rng) -> np.ndarray:
    """uint8 (H, W, 3): part of one of the faceless photographs, enlarged where it is smaller."""
    picture = photograph(str(rng.choice(FACELESS)))
    fits = min(picture.width / size[0], picture.height / size[1])
    share = rng.uniform(0.5, 1) * fits  # pixels of the photograph to one of the scene
    width, height = size[0] * share, size[1] * share
    left, top = rng.uniform(0, picture.width - width), rng.uniform(0, picture.height - height)
    part = (left, top, left + width, top + height)
    return np.asarray(picture.resize(size, Image.Resampling.BICUBIC, part))


def enlarged(picture: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC))


def paste(scene: np.ndarray, picture: np.ndarray, left: int, top: int, fade: float = 0) -> None:
    """Lay a gray square over the scene; `fade` is the share of its side over which edges fade."""
    side = len(picture)
    ramp = np.minimum(np.arange(side) + 1, np.arange(side)[::-1] + 1) / max(1, fade * side)
    mask = np.minimum.outer(ramp, ramp).clip(0, 1)[..., None]
    part = scene[top : top + side, left : left + side]
    part[:] = (mask * picture[..., None] + (1 - mask) * part).round()


def padded(picture: np.ndarray, rng) -> tuple[np.ndarray, tuple[int, int, int]]:
    """One picture, 1.5 to 6 times enlarged, somewhere in a scene; and its left, top and side."""
    side = round(picture.shape[0] * 1.5 * 4 ** rng.random())
    width, height = (round(side * rng.uniform(1.25, 2.5)) for _ in range(2))
    left, top = (int(rng.integers(length - side + 1)) for length in (width, height))
    large = enlarged(picture, side)
    scene = _padding(large, (width, height), left, top, rng).copy()
    paste(scene, large, left, top)
    return scene, (left, top, side)


def _padding(picture: np.ndarray, size, left: int, top: int, rng) -> np.ndarray:
    """uint8 (H, W, 3) of one of the kinds of PADDINGS, chosen by chance."""
    width, height = size
    kind, side = rng.choice(PADDINGS), len(picture)
    if kind == "photograph":
        return background(size, rng)
    if kind == "mirror":
        around = (top, height - top - side), (left, width - left - side)
        gray = np.pad(picture, around, "symmetric")
    elif kind == "noise":
        gray = rng.normal(rng.uniform(60, 200), rng.uniform(5, 40), (height, width))
    else:
        slope = rng.uniform(-1, 1, 2) * (kind == "gradient") * 120
        down, across = np.linspace(-1, 1, height), np.linspace(-1, 1, width)
        gray = picture.mean() + np.add.outer(slope[0] * down, slope[1] * across)
    return gray.clip(0, 255).astype(np.uint8)[..., None].repeat(3, axis=2)


def crowd(pictures, size: tuple[int, int], smallest: int, largest: int, rng):
    """A scene with up to twelve faces that lie apart, and their boxes float (N, 4).

    `smallest` and `largest` bound the square root of a box's area, in pixels.
    """
    scene, taken = background(size, rng).copy(), np.zeros((0, 4))
    for _ in range(rng.integers(13)):
        side = round(CROP * smallest * (largest / smallest) ** rng.random())
        left, top = rng.integers(size[0] - side), rng.integers(size[1] - side)
        frame = np.array([left, top, side, side], float)
        if not overlaps(frame, taken).any():
            picture = enlarged(pictures[rng.integers(len(pictures))], side)
            paste(scene, picture, left, top, FADE)
            taken = np.append(taken, [frame], axis=0)
    return scene, np.array([face_box(*frame[:3]) for frame in taken]).reshape(-1, 4)


def face_box(left: float, top: float, side: float) -> np.ndarray:
    """Where the face is in a frame of FER2013, by the median of them (results/crop.json)."""
    inner = side / CROP
    return np.array([left + (side - inner) / 2, top + (side - inner) / 2, inner, inner])
