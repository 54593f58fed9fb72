"""What MXNet stores arrays in, PREFIX-0000.params, read without MXNet.

The format is that of `mx.nd.save`: a header, the arrays, their names, all in little-endian numbers.
"""

import struct
from pathlib import Path
from typing import Any

import numpy as np

_FILE, _ARRAY = 0x112, 0xF993FAC9  # the numbers with which a file and each of its arrays begin
_DENSE = 0
_KINDS = {0: "<f4", 1: "<f8", 2: "<f2", 3: "u1", 4: "<i4", 5: "i1", 6: "<i8"}


def read(path: str | Path) -> dict[str, np.ndarray]:
    """Name -> array. ValueError where the file is none of MXNet's, or damaged."""
    file = _File(Path(path).read_bytes())
    header, _, count = file.numbers("QQQ")
    if header != _FILE:
        raise ValueError("not a file of arrays")
    arrays = [_array(file) for _ in range(count)]
    names = [file.part(file.numbers("Q")[0]).decode() for _ in range(file.numbers("Q")[0])]
    if len(names) != len(arrays) or file.left:
        raise ValueError("other names than arrays, or more behind them")
    return dict(zip(names, arrays, strict=True))


class _File:
    """Bytes, taken from the front."""

    def __init__(self, data: bytes):
        self._data, self._at = data, 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def part(self, count: int) -> bytes:
        if count > self.left:
            raise ValueError("broken off")
        self._at += count
        return self._data[self._at - count : self._at]

    def numbers(self, form: str) -> tuple[Any, ...]:
        form = "<" + form
        return struct.unpack(form, self.part(struct.calcsize(form)))


def _array(file: _File) -> np.ndarray:
    start, storage, axes = file.numbers("IiI")
    if start != _ARRAY or storage != _DENSE or axes > 32:
        raise ValueError("not a dense array")
    shape = file.numbers("q" * axes)
    _, _, kind = file.numbers("iii")  # the device it was on, and that one's number
    if kind not in _KINDS or min(shape, default=1) < 0:
        raise ValueError("an array of unknown numbers")
    values = np.dtype(_KINDS[kind])
    count = 1
    for side in shape:
        count *= side
    return np.frombuffer(file.part(count * values.itemsize), values).reshape(shape)
