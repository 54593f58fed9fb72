"""Pictures of training moved, worn and erased, afresh in every epoch."""

from dataclasses import dataclass

import cv2
import numpy as np

from ferlib.errors import FerlibError, check_kind, number

# More of it is a slip: what is left of a picture would be none of a face.
MOST = {"rotation": 360, "shift": 1, "scale": 10, "shear": 10, "flip": 1, "erase": 1, "wear": 1}


@dataclass(frozen=True)
class Augmentation:
    """How far a picture is moved, drawn evenly within +- each value; all 0 changes nothing."""

    rotation: float = 15.0  # degrees
    shift: float = 0.08  # of the side
    scale: float = 1.2  # 1/scale .. scale
    shear: float = 0.07
    flip: float = 0.5  # chance
    erase: float = 0.2  # chance that a rectangle is painted over
    erase_side: tuple[float, float] = (0.12, 0.32)  # of the side
    wear: float = 0.3  # chance that a picture is made worse, in one of the ways of WEAR

    def __post_init__(self):
        for name, most in MOST.items():
            value = number(name, getattr(self, name))
            object.__setattr__(self, name, value)
            if not 0 <= value <= most or (name == "scale" and value < 1):
                raise FerlibError(f"{name} {value}: expected {int(name == 'scale')} to {most}")
        check_kind("erase_side", self.erase_side, (tuple, list), "two shares, the smaller first")
        sides = tuple(number("erase_side", share) for share in self.erase_side)
        object.__setattr__(self, "erase_side", sides)
        if len(sides) != 2 or not 0 < sides[0] <= sides[1] <= 1:
            told = " to ".join(f"{share}" for share in sides)
            raise FerlibError(f"erase_side {told}: expected the smaller share first")


NONE = Augmentation(rotation=0, shift=0, scale=1, shear=0, flip=0, erase=0, wear=0)


def augment(
    pictures: np.ndarray, size: int, rng: np.random.Generator, how: Augmentation | None = None
) -> np.ndarray:
    """uint8 (N, S, S) or (N, S, S, 3) -> the same at `size`, each picture moved in its own way.

    One affine warp a picture, bilinear, with the border reflected; then some are worn, as
    people's own pictures are (blurred, coarse, noisy, compressed, in poor light), and rectangles
    are erased.
    The same generator state gives the same pictures.
    """
    if pictures.dtype != np.uint8:
        raise FerlibError(f"expected uint8 pictures, found {pictures.dtype}")
    how = how or Augmentation()
    out = np.empty((len(pictures), size, size, *pictures.shape[3:]), np.uint8)
    matrices = _matrices(len(pictures), pictures.shape[1], size, rng, how)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for picture, matrix, target in zip(pictures, matrices, out, strict=True):
        cv2.warpAffine(picture, matrix, (size, size), target, flags, cv2.BORDER_REFLECT_101)
    return _erase(_worn(out, rng, how), rng, how)


def _matrices(count: int, old: int, new: int, rng, how: Augmentation) -> np.ndarray:
    """float64 (N, 2, 3): where each new pixel is looked up in the old picture."""
    angle = np.deg2rad(rng.uniform(-how.rotation, how.rotation, count))
    zoom = how.scale ** rng.uniform(-1, 1, count) * (old / new)
    shear = rng.uniform(-how.shear, how.shear, count)
    mirror = np.where(rng.random(count) < how.flip, -1.0, 1.0)
    move = rng.uniform(-how.shift, how.shift, (count, 2)) * old
    cos, sin = np.cos(angle) * zoom, np.sin(angle) * zoom
    linear = np.stack([cos * mirror, cos * shear - sin, sin * mirror, sin * shear + cos], axis=1)
    linear = linear.reshape(count, 2, 2)
    # Turn about the centre: pixel centres lie at half-integers.
    offset = (old - 1) / 2 + move - linear.sum(axis=2) * (new - 1) / 2
    return np.concatenate([linear, offset[:, :, None]], axis=2)


def _worn(pictures: np.ndarray, rng: np.random.Generator, how: Augmentation) -> np.ndarray:
    chosen = np.flatnonzero(rng.random(len(pictures)) < how.wear)
    for row, way in zip(chosen, rng.integers(len(WEAR), size=len(chosen)), strict=True):
        pictures[row] = WEAR[way](pictures[row], rng)
    return pictures


def _blurred(picture: np.ndarray, rng) -> np.ndarray:
    return cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.01, 0.035) * len(picture))


def _coarse(picture: np.ndarray, rng) -> np.ndarray:
    side = round(rng.uniform(0.4, 0.8) * len(picture))
    small = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, picture.shape[:2], interpolation=cv2.INTER_LINEAR)


def _noisy(picture: np.ndarray, rng) -> np.ndarray:
    noise = rng.standard_normal(picture.shape, np.float32) * rng.uniform(3, 20)
    return (picture + noise).clip(0, 255).astype(np.uint8)


def _compressed(picture: np.ndarray, rng) -> np.ndarray:
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 60))]
    file = cv2.imencode(".jpg", picture[..., ::-1] if picture.ndim == 3 else picture, quality)[1]
    found = cv2.imdecode(file, cv2.IMREAD_UNCHANGED)  # OpenCV's order of colours is BGR
    return found[..., ::-1] if picture.ndim == 3 else found


def _lit(picture: np.ndarray, rng) -> np.ndarray:
    """By a lamp from one side, on film of another contrast."""
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.5)
    line = np.linspace(-1, 1, len(picture), dtype=np.float32)
    light = 1 + strength * (np.cos(angle) * line + np.sin(angle) * line[:, None])
    light = light[..., None] if picture.ndim == 3 else light
    gray = (picture / np.float32(255) * light).clip(0, 1) ** np.exp(rng.uniform(-0.5, 0.5))
    return (255 * gray).astype(np.uint8)


WEAR = (_blurred, _coarse, _noisy, _compressed, _lit)


def _erase(pictures: np.ndarray, rng: np.random.Generator, how: Augmentation) -> np.ndarray:
    side = pictures.shape[1]
    chosen = np.flatnonzero(rng.random(len(pictures)) < how.erase)
    sides = (rng.uniform(*how.erase_side, (len(chosen), 2)) * side).astype(int)
    corners = (rng.random((len(chosen), 2)) * (side - sides)).astype(int)
    grays = rng.integers(0, 256, len(chosen))
    for row, (height, width), (top, left), gray in zip(chosen, sides, corners, grays, strict=True):
        pictures[row, top : top + height, left : left + width] = gray
    return pictures
