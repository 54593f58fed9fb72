"""Libraries that a shared library asks for and we never call, taken out of what it asks for.

    library = Library(file.read_bytes())
    library.forget(["libavcodec.so.59"])

OpenCV's wheel brings decoders of videos and OpenBLAS, 64 MB that reading faces never calls. Without
those files the loader would refuse cv2. So they are taken from the list of what it asks for, and
every name that it takes from elsewhere is marked as weak, which the loader leaves empty where
nobody has it. Whatever would call such a name ends the process: the result is for this function
alone.

The format is that of the System V gABI, chapters 4 and 5, with the symbol versions of the Linux
Standard Base, for 64-bit little-endian machines.
"""

import struct
from collections.abc import Collection, Iterator

# Kinds of sections.
_STRINGS, _DYNAMIC, _SYMBOLS, _VERSIONS, _WANTED = 3, 6, 11, 0x6FFFFFFF, 0x6FFFFFFE
# Tags of the dynamic section: a library that is asked for; where the wanted versions are, how many.
_NEEDED, _WANTED_AT, _WANTED_COUNT = 1, 0x6FFFFFFE, 0x6FFFFFFF
_SYMBOL = struct.Struct("<IBBHQQ")  # name, type and binding, visibility, section, value, size
_GLOBAL, _WEAK = 1, 2  # bindings
_ANY_VERSION = 1


class Library:
    """`code`: the bytes of a shared library, which `forget` changes in place."""

    def __init__(self, code: bytes):
        if code[:6] != b"\x7fELF\x02\x01":
            raise ValueError("no shared library of a 64-bit little-endian machine")
        self.code = bytearray(code)
        (table,) = struct.unpack_from("<Q", code, 40)
        size, count = struct.unpack_from("<HH", code, 58)
        # name, kind, flags, address, offset, size, the section it refers to, and three more
        rows = [struct.unpack_from("<IIQQQQIIQQ", code, table + size * one) for one in range(count)]
        self._sections = {row[1]: row[4:6] for row in rows if row[1] != _STRINGS}
        (dynamic,) = (row for row in rows if row[1] == _DYNAMIC)
        self._strings = rows[dynamic[6]][4]

    @property
    def needed(self) -> list[str]:
        """The libraries that it asks for."""
        return [self._text(value) for tag, value in self._entries() if tag == _NEEDED]

    def forget(self, names: Collection[str]) -> None:
        """Ask for these libraries no more, nor insist on any name."""
        self._rewrite(
            (tag, value)
            for tag, value in self._entries()
            if tag != _NEEDED or self._text(value) not in names
        )
        self._forget_versions(names)
        self._weaken()

    def _text(self, at: int) -> str:
        start = self._strings + at
        return self.code[start : self.code.index(0, start)].decode()

    def _entries(self) -> list[tuple[int, int]]:
        """The dynamic section: (tag, value), without the zeros that end it."""
        start, size = self._sections[_DYNAMIC]
        every = struct.iter_unpack("<QQ", self.code[start : start + size])
        return [entry for entry in every if entry[0]]

    def _rewrite(self, entries: Iterator[tuple[int, int]]) -> None:
        start, size = self._sections[_DYNAMIC]
        told = b"".join(struct.pack("<QQ", *entry) for entry in entries)
        self.code[start : start + size] = told.ljust(size, b"\0")

    def _wanted(self) -> Iterator[tuple[int, str, list[int]]]:
        """Libraries of whose versions of names it asks: the record's place, the name, versions."""
        place, _ = self._sections.get(_WANTED, (0, 0))
        for _ in range(dict(self._entries()).get(_WANTED_COUNT, 0)):
            _, count, name, step, following = struct.unpack_from("<HHIII", self.code, place)
            numbers, at = [], place
            for _ in range(count):
                at += step
                _, _, number, _, step = struct.unpack_from("<IHHII", self.code, at)
                numbers.append(number)
            yield place, self._text(name), numbers
            place += following

    def _forget_versions(self, names: Collection[str]) -> None:
        """Take their records out of that chain; what had their versions may be of any."""
        records = list(self._wanted())
        kept = [place for place, name, _ in records if name not in names]
        for place, following in zip(kept, [*kept[1:], 0], strict=True):
            struct.pack_into("<I", self.code, place + 12, max(0, following - place))
        if kept:
            shifts = {_WANTED_AT: kept[0] - records[0][0], _WANTED_COUNT: len(kept) - len(records)}
            self._rewrite((tag, value + shifts.get(tag, 0)) for tag, value in self._entries())
        gone = {number for _, name, numbers in records if name in names for number in numbers}
        start, size = self._sections.get(_VERSIONS, (0, 0))
        for at in range(start, start + size, 2):
            if struct.unpack_from("<H", self.code, at)[0] in gone:
                struct.pack_into("<H", self.code, at, _ANY_VERSION)

    def _weaken(self) -> None:
        start, size = self._sections[_SYMBOLS]
        for at in range(start, start + size, _SYMBOL.size):
            _, info, _, section, *_ = _SYMBOL.unpack_from(self.code, at)
            if section == 0 and info >> 4 == _GLOBAL:  # it is taken from elsewhere
                self.code[at + 4] = _WEAK << 4 | info & 15
