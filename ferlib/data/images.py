"""Pictures -> the arrays a net takes: one implementation for training, evaluation and serving.

Needs NumPy and Pillow only.
"""

import io
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from ferlib.errors import FerlibError, check_choice

LARGEST = 512  # pixels of a net's input: far larger ones would take all memory at once
NORMALISATIONS = ("standardise", "equalise")
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM")
# A person's picture in any of the forms that people have it in.
Photo = str | os.PathLike | bytes | bytearray | memoryview | Image.Image | np.ndarray
_opening = threading.Lock()
BAND = 256  # rows
_WHITE = 1.5  # where white is 1, resizing makes edges somewhat brighter
warnings.filterwarnings("ignore", "Corrupt EXIF data", UserWarning, r"PIL\.")
MAX_PIXELS = 40_000_000  # 120 MB as RGB; a bomb's header is refused before anything is decoded


class Crops(Protocol):
    """Pictures as a net is given them: an array, a list of arrays, or what reads them by rows."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any) -> Any: ...


# ---------------------------------------------------------------- a person's picture


def read_picture(source: Photo) -> np.ndarray:
    """A path, bytes, PIL image or RGB/gray array -> uint8 (H, W, 3), upright by its EXIF tag.

    The first frame of an animation, 16-bit scaled to 8, transparency laid on white.
    Raises FerlibError with `code` not_readable, empty_body, not_a_picture, truncated_picture or
    picture_too_large (more than MAX_PIXELS).
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        return _decoded(source, "the picture")
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
    except (OSError, ValueError) as error:  # the latter: a zero byte in the name
        why = getattr(error, "strerror", None) or error
        raise FerlibError(f"cannot read {path}: {why}", "not_readable") from None


def _decode(data: bytes, name: str) -> np.ndarray:
    kinds = "JPEG, PNG, GIF, WebP, BMP, TIFF or PPM"
    try:
        with _opening, warnings.catch_warnings():  # which threads share
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # we say it below
            picture = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        raise _too_large(name) from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError):
        raise FerlibError(f"{name} is not a picture: expected {kinds}", "not_a_picture") from None
    return _decoded(picture, name)


def _decoded(picture: Image.Image, name: str) -> np.ndarray:
    if not picture.width * picture.height:
        raise FerlibError(f"{name} has no pixels", "not_a_picture")
    if picture.width * picture.height > MAX_PIXELS:
        raise _too_large(name, picture.size)
    try:
        return _upright_rgb(picture)
    except MemoryError:
        text = f"{name} does not fit into the memory here: shrink it"
        raise FerlibError(text, "picture_too_large") from None
    except Exception as error:  # Pillow's decoders raise anything on hostile files
        raise FerlibError(
            f"{name} is broken off or damaged ({picture.format or 'no file'}): {str(error)[:80]}",
            "truncated_picture",
        ) from None


def _too_large(name: str, size: tuple[int, int] | None = None) -> FerlibError:
    found = f"{size[0]} x {size[1]} pixels" if size else "far more pixels"
    return FerlibError(
        f"{name} has {found}: at most {MAX_PIXELS // 1_000_000} megapixels are read; shrink it",
        "picture_too_large",
    )


def _upright(picture: Image.Image) -> Image.Image:
    """Pillow's own would copy what is upright already."""
    try:
        turned = picture.getexif().get(ExifTags.Base.Orientation, 1) != 1
    except Exception:  # damaged, which does not harm the picture
        return picture
    return ImageOps.exif_transpose(picture) if turned else picture


def _upright_rgb(picture: Image.Image) -> np.ndarray:
    if picture.mode.startswith(("I", "F")):  # 16-bit gray and wider: convert() would clip it
        return _from_array(_eight_bits(np.asarray(_upright(picture))))
    picture = _upright(picture)
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        return _on_white(picture)
    return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))


def _bands(height: int) -> Iterator[slice]:
    """Rows to be worked on together: copies of a whole picture can take a gigabyte."""
    return (slice(top, min(height, top + BAND)) for top in range(0, height, BAND))


def _eight_bits(deep: np.ndarray) -> np.ndarray:
    most = deep.max(initial=0, where=np.isfinite(deep))
    scale = 255 / 65535 if most > 255 else 1
    if deep.dtype.kind == "f" and most <= _WHITE:  # as scientists keep them
        scale = 255
    out = np.empty(deep.shape, np.uint8)
    for rows in _bands(len(deep)):
        band = np.nan_to_num(deep[rows].astype(np.float64) * scale)
        out[rows] = band.clip(0, 255).round()
    return out


def _on_white(picture: Image.Image) -> np.ndarray:
    out = np.empty((picture.height, picture.width, 3), np.uint8)
    for rows in _bands(picture.height):
        band = picture.crop((0, rows.start, picture.width, rows.stop)).convert("RGBA")
        white = Image.new("RGBA", band.size, "white")
        out[rows] = np.asarray(Image.alpha_composite(white, band).convert("RGB"))
    return out


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
    if picture.dtype != np.uint8 or picture.shape[-1:] != (3,):
        found = f"{picture.dtype} {picture.shape}"
        raise FerlibError(f"expected RGB uint8 (..., H, W, 3), found {found}", "not_a_picture")
    red, green, blue = (picture[..., channel].astype(np.uint32) for channel in range(3))
    return ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).astype(np.uint8)


# ---------------------------------------------------------------- crops -> the net's input


def prepare(crops: Crops, size: int, normalise: str, channels: int = 1) -> np.ndarray:
    """Gray or RGB uint8 crops, an array or a list of arrays -> float32 (N, channels, size, size).

    What validation, evaluation and the server all call: the same picture gives the same array, to
    the bit, alone or in any batch. `channels` is 1 (gray) or 3 (RGB).
    """
    return normalised(resize(crops, size, channels), normalise)


def checked(crops: Any) -> np.ndarray | list[np.ndarray]:
    """An array of uint8 pictures, or a list of arrays or PIL images -> the same, all as arrays.

    FerlibError says what it is instead.
    """
    array, several = isinstance(crops, np.ndarray), isinstance(crops, list | tuple)
    if not array and not several:
        raise FerlibError(f"expected an array or a list of crops, found {type(crops).__name__}")
    # An array (H, W, 3) is one picture, not H crops that are three pixels wide.
    if array and (crops.ndim not in (3, 4) or (crops.shape[-1] == 3) != (crops.ndim == 4)):
        raise FerlibError(f"expected crops (N, H, W) or (N, H, W, 3), found {crops.shape}")
    if not array:
        pil = Image.Image  # by `read_picture`: as arrays, palettes would pass for gray
        crops = [
            read_picture(crop) if isinstance(crop, pil) else np.asarray(crop) for crop in crops
        ]
    for one in crops[:1] if array else crops:
        gray_or_rgb = one.ndim == 2 or (one.ndim == 3 and one.shape[2] == 3)
        if one.dtype != np.uint8 or 0 in one.shape or not gray_or_rgb:
            found = f"{one.dtype} {one.shape}"
            raise FerlibError(f"expected uint8 crops, gray (H, W) or RGB (H, W, 3), found {found}")
    return crops


def check_several(crops: Any) -> None:
    """FerlibError where `crops` are no pictures that can be had by rows: one alone, for example."""
    if isinstance(crops, np.ndarray):
        checked(crops)
    elif not hasattr(crops, "__getitem__") or not hasattr(crops, "__len__"):
        raise FerlibError(f"expected an array or a list of crops, found {type(crops).__name__}")


def spread(crops: Crops, most: int) -> Any:
    """At most so many of the crops, evenly spaced."""
    rows = np.linspace(0, len(crops) - 1, min(most, len(crops))).astype(int)
    return [crops[row] for row in rows] if isinstance(crops, list | tuple) else crops[rows]


def resize(crops: Crops, size: int, channels: int = 1) -> np.ndarray:
    """Gray or RGB uint8 crops -> uint8 (N, size, size), or (N, size, size, 3) for 3 channels.

    Untouched where they are all of that form.
    """
    crops = checked(crops)
    if channels not in (1, 3):
        raise FerlibError(f"{channels!r} channels: expected 1 (gray) or 3 (RGB)")
    shape = (size, size) if channels == 1 else (size, size, 3)
    if isinstance(crops, np.ndarray) and crops.shape[1:] == shape:
        return crops
    out = np.empty((len(crops), *shape), np.uint8)
    for row in range(len(crops)):
        picture = _in_channels(crops[row], channels)
        if picture.shape[:2] != (size, size):
            # Pillow's bilinear filter widens as it shrinks, so large crops do not alias.
            whole = Image.fromarray(picture)
            picture = np.asarray(whole.resize((size, size), Image.Resampling.BILINEAR))
        out[row] = picture
    return out


def _in_channels(picture: np.ndarray, channels: int) -> np.ndarray:
    """Gray (H, W) or RGB (H, W, 3), whatever it was before."""
    if channels == 1:
        return to_gray(picture) if picture.ndim == 3 else picture
    return picture if picture.ndim == 3 else picture[..., None].repeat(3, axis=2)


def normalised(pictures: np.ndarray, kind: str) -> np.ndarray:
    """uint8 (N, H, W) or (N, H, W, 3) -> float32 (N, C, H, W), mean 0, deviation 1 a picture.

    "standardise" subtracts the mean and divides by the deviation, of all channels together, so
    that colours stay; "equalise" is the paper's histogram equalisation with the plane of uneven
    light removed, and for gray pictures only. A flat picture becomes zeros.
    """
    check_choice("normalisation", kind, NORMALISATIONS)
    if kind == "equalise" and pictures.ndim == 4:
        raise FerlibError("equalise is for gray pictures: choose standardise for RGB")
    flat = pictures.reshape(len(pictures), -1)
    out = _standardised(flat) if kind == "standardise" else _equalised(flat, *pictures.shape[1:])
    out = out.reshape(pictures.shape)
    return out[:, None] if out.ndim == 3 else np.ascontiguousarray(out.transpose(0, 3, 1, 2))


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
