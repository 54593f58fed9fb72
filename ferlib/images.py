"""Pictures -> the arrays a net takes: one implementation for training, evaluation and serving.

Needs NumPy and Pillow; OpenCV is loaded only when pictures are augmented for training.
"""

import io
import os
import stat
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ferlib.errors import FerlibError

NORMALISATIONS = ("standardise", "equalise")
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM")
MAX_PIXELS = 40_000_000  # 120 MB as RGB; a bomb's header is refused before anything is decoded


# ---------------------------------------------------------------- a person's picture


def read_picture(source) -> np.ndarray:
    """A path, bytes, PIL image or RGB/gray array -> uint8 (H, W, 3), upright by its EXIF tag.

    The first frame of an animation, 16-bit scaled to 8, transparency laid on white.
    Raises FerlibError with `code` empty_body, not_a_picture, truncated_picture or
    picture_too_large (more than MAX_PIXELS).
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        return _upright_rgb(source)
    name = "the data"
    if isinstance(source, str | os.PathLike):
        name = os.fspath(source)
        source = _file_bytes(name)
    if not isinstance(source, bytes | bytearray | memoryview):
        raise FerlibError(
            f"expected a path, bytes, a PIL image or an RGB array, found {type(source).__name__}",
            "not_a_picture",
        )
    if not len(source):
        raise FerlibError(f"{name} is empty: expected a picture file", "empty_body")
    return _decode(bytes(source), name)


def _file_bytes(path: str) -> bytes:
    try:
        if stat.S_ISFIFO(os.stat(path).st_mode):  # opening it would wait, perhaps for ever
            raise FerlibError(f"{path} is a pipe: expected a picture file", "not_readable")
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise FerlibError(f"cannot read {path}: {error.strerror}", "not_readable") from None


def _decode(data: bytes, name: str) -> np.ndarray:
    kinds = "JPEG, PNG, GIF, WebP, BMP, TIFF or PPM"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # we say it below
            picture = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        raise _too_large(name) from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError):
        raise FerlibError(f"{name} is not a picture: expected {kinds}", "not_a_picture") from None
    if picture.width * picture.height > MAX_PIXELS:
        raise _too_large(name, picture.size)
    try:
        return _upright_rgb(picture)
    except Exception as error:  # Pillow's decoders raise anything on hostile files
        raise FerlibError(
            f"{name} is broken off or damaged ({picture.format}): {str(error)[:80]}",
            "truncated_picture",
        ) from None


def _too_large(name: str, size: tuple[int, int] | None = None) -> FerlibError:
    found = f"{size[0]} x {size[1]} pixels" if size else "far more pixels"
    return FerlibError(
        f"{name} has {found}: at most {MAX_PIXELS // 1_000_000} megapixels are read; shrink it",
        "picture_too_large",
    )


def _upright_rgb(picture: Image.Image) -> np.ndarray:
    if picture.mode.startswith(("I", "F")):  # 16-bit gray and wider: convert() would clip it
        picture = ImageOps.exif_transpose(picture)
        deep = np.asarray(picture, dtype=np.float64)
        scale = 255 / 65535 if deep.max(initial=0) > 255 else 1
        return _from_array((deep * scale).clip(0, 255).round().astype(np.uint8))
    picture = ImageOps.exif_transpose(picture)
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return np.asarray(picture.convert("RGB"))


def _from_array(array: np.ndarray) -> np.ndarray:
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or 0 in array.shape:
        raise FerlibError(
            f"expected a uint8 array (H, W) or (H, W, 3), found {array.dtype} {array.shape}",
            "not_a_picture",
        )
    if array.ndim == 2:
        array = array[..., None].repeat(3, axis=2)
    if array.shape[2] != 3:
        raise FerlibError(f"expected 3 channels (RGB), found {array.shape[2]}", "not_a_picture")
    return array


def to_gray(picture: np.ndarray) -> np.ndarray:
    """uint8 (..., H, W, 3) RGB -> uint8 (..., H, W), ITU-R BT.601 luma in whole numbers."""
    red, green, blue = (picture[..., channel].astype(np.uint32) for channel in range(3))
    return ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).astype(np.uint8)


# ---------------------------------------------------------------- crops -> the net's input


def prepare(crops, size: int, normalise: str) -> np.ndarray:
    """Gray or RGB uint8 crops, an array or a list of arrays -> float32 (N, 1, size, size).

    What training, `evaluate` and the server all call: the same picture gives the same array,
    to the bit, alone or in any batch.
    """
    return normalised(resize(crops, size), normalise)


def resize(crops, size: int) -> np.ndarray:
    """Gray or RGB uint8 crops -> uint8 (N, size, size); untouched when that is their size."""
    if isinstance(crops, np.ndarray) and crops.shape[1:] == (size, size):
        return crops
    out = np.empty((len(crops), size, size), np.uint8)
    for row, crop in enumerate(crops):
        gray = to_gray(crop) if np.ndim(crop) == 3 else np.asarray(crop)
        if gray.shape != (size, size):
            # Pillow's bilinear filter widens as it shrinks, so large crops do not alias.
            gray = Image.fromarray(gray).resize((size, size), Image.Resampling.BILINEAR)
        out[row] = gray
    return out


def normalised(pictures: np.ndarray, kind: str) -> np.ndarray:
    """uint8 (N, H, W) -> float32 (N, 1, H, W) of mean 0 and deviation 1 for each picture.

    "standardise" subtracts the mean and divides by the deviation; "equalise" is the paper's
    histogram equalisation with the plane of uneven light removed. A flat picture becomes zeros.
    """
    if kind not in NORMALISATIONS:
        raise ValueError(f"unknown normalisation {kind!r}: expected one of {NORMALISATIONS}")
    flat = pictures.reshape(len(pictures), -1)
    out = _standardised(flat) if kind == "standardise" else _equalised(flat, *pictures.shape[1:])
    return out.reshape(len(pictures), 1, *pictures.shape[1:])


def _standardised(flat: np.ndarray) -> np.ndarray:
    # Sums of whole numbers are exact, so a batch cannot change a picture's last bit.
    count = flat.shape[1]
    wide = flat.astype(np.uint32)
    total = wide.sum(axis=1, dtype=np.int64)
    squares = (wide * wide).sum(axis=1, dtype=np.int64)
    deviation = np.sqrt(np.maximum(count * squares - total * total, 0)) / count
    scale = np.where(deviation > 0, 1 / np.maximum(deviation, 1e-6), 0)
    mean = (total / count).astype(np.float32)[:, None]
    return (flat - mean) * scale.astype(np.float32)[:, None]


def _equalised(flat: np.ndarray, height: int, width: int) -> np.ndarray:
    rows = np.arange(len(flat))[:, None]
    counts = np.bincount((rows * 256 + flat).ravel(), minlength=256 * len(flat))
    ranks = counts.reshape(-1, 256).cumsum(axis=1) * (2.0 / flat.shape[1]) - 1.0
    light = ranks[rows, flat]
    for direction in _plane(height, width):  # orthogonal, so one after another is least squares
        light = light - (light * direction).sum(axis=1, keepdims=True) * direction
    deviation = np.sqrt((light * light).mean(axis=1, keepdims=True))
    return (light / np.maximum(deviation, 1e-6)).astype(np.float32)


def _plane(height: int, width: int) -> list[np.ndarray]:
    """Three unit vectors (H*W,): level, slope down and slope across."""
    down, across = np.mgrid[:height, :width].astype(np.float64)
    level = np.ones_like(down)
    vectors = (level, down - (height - 1) / 2, across - (width - 1) / 2)
    return [(v / max(np.linalg.norm(v), 1e-12)).ravel() for v in vectors]


# ---------------------------------------------------------------- augmentation


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


NONE = Augmentation(rotation=0, shift=0, scale=1, shear=0, flip=0, erase=0, wear=0)


def augment(
    pictures: np.ndarray, size: int, rng: np.random.Generator, how: Augmentation | None = None
) -> np.ndarray:
    """uint8 (N, H, W) -> uint8 (N, size, size), each picture moved in its own way.

    One affine warp a picture, bilinear, with the border reflected; then some are worn, as
    people's own pictures are (blurred, coarse, noisy, compressed, in poor light), and rectangles
    are erased.
    The same generator state gives the same pictures.
    """
    import cv2

    how = how or Augmentation()
    out = np.empty((len(pictures), size, size), np.uint8)
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
    import cv2

    return cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.01, 0.035) * len(picture))


def _coarse(picture: np.ndarray, rng) -> np.ndarray:
    import cv2

    side = round(rng.uniform(0.4, 0.8) * len(picture))
    small = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, picture.shape, interpolation=cv2.INTER_LINEAR)


def _noisy(picture: np.ndarray, rng) -> np.ndarray:
    noise = rng.standard_normal(picture.shape, np.float32) * rng.uniform(3, 20)
    return (picture + noise).clip(0, 255).astype(np.uint8)


def _compressed(picture: np.ndarray, rng) -> np.ndarray:
    import cv2

    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 60))]
    return cv2.imdecode(cv2.imencode(".jpg", picture, quality)[1], cv2.IMREAD_GRAYSCALE)


def _lit(picture: np.ndarray, rng) -> np.ndarray:
    """By a lamp from one side, on film of another contrast."""
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.5)
    line = np.linspace(-1, 1, len(picture), dtype=np.float32)
    light = 1 + strength * (np.cos(angle) * line + np.sin(angle) * line[:, None])
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
