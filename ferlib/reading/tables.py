"""Rows for each face, appended to a file as JSON lines or CSV: whole ones, whatever happens."""

import csv
import io
import json
import os
import stat
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ferlib.data.labels import EMOTIONS
from ferlib.errors import FerlibError
from ferlib.faces.face import Face
from ferlib.files import make_folder, not_written

COLUMNS = ("source", "frame", "seconds", "id", "x", "y", "width", "height", "confidence", "emotion")


@dataclass(frozen=True)
class Row:
    """The faces of a picture, or of one frame of a video."""

    source: str
    faces: Sequence[Face]
    frame: int | None = None
    seconds: float | None = None

    def where(self) -> dict:
        """source, and frame and seconds where there are some."""
        known = {"source": self.source, "frame": self.frame, "seconds": self.seconds}
        return {key: value for key, value in known.items() if value is not None}


class Lines:
    """JSON lines: one object for each picture or frame, its faces in a list. Appended."""

    def __init__(self, path: str):
        self._file = _Appended(path, b'{"source"')

    def add(self, row: Row) -> None:
        faces = [asdict(face) for face in row.faces]
        self._file.add(json.dumps(row.where() | {"faces": faces}) + "\n")


class Table:
    """CSV: one row for each face, `frame`, `seconds` and `id` empty for pictures. Appended."""

    def __init__(self, path: str, classes: Sequence[str] = EMOTIONS):
        header = _line([*COLUMNS, *classes])
        self._file = _Appended(path, header.encode())
        if self._file.empty:
            self._file.add(header)

    def add(self, row: Row) -> None:
        text, where = "", row.where()
        for face in row.faces:
            place = [where.get(name, "") for name in COLUMNS[:3]] + [getattr(face, "id", "")]
            values = [*face.box, face.confidence, face.emotion, *face.scores.values()]
            text += _line(place + values)
        if row.faces:
            self._file.add(text)


def _line(cells: list) -> str:
    """Ends in a line feed; csv quotes a carriage return in a name only where lines end in one."""
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue().removesuffix("\r\n") + "\n"


class _Appended:
    """A file that only grows, by whole texts, each with the system before the next; - is stdout."""

    def __init__(self, path: str, start: bytes):
        self.path = Path(path)
        self.empty = path == "-" or not (self.path.is_file() and self.path.stat().st_size)
        try:
            head, end = (start, b"\n") if self.empty else self._ends(len(start))
            if head != start:
                raise FerlibError(
                    f"{path} exists and is no table of `ferlib predict`: name another"
                )
            self._file = self._opened()
        except OSError as error:
            raise not_written(path, error) from None
        if end != b"\n":  # its writer was killed
            self.add("\n")

    def _ends(self, length: int) -> tuple[bytes, bytes]:
        with open(self.path, "rb") as file:
            head = file.read(length)
            file.seek(-1, os.SEEK_END)
            return head, file.read(1)

    def _opened(self):
        if str(self.path) == "-":
            return open(os.dup(sys.stdout.fileno()), "ab", buffering=0)
        make_folder(self.path.parent)
        return open(self.path, "ab", buffering=0)

    def add(self, text: str) -> None:
        # Linux names may hold bytes that are no text: they are written as backslash and digits.
        left, size = text.encode(errors="backslashreplace"), os.fstat(self._file.fileno()).st_size
        try:
            while left:
                left = left[self._file.write(left) :]
        except BrokenPipeError:  # `--csv - | head`
            raise
        except OSError as error:
            if stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
                os.ftruncate(self._file.fileno(), size)
            raise FerlibError(
                f"cannot write {self.path}: {error.strerror}; the rows before it are whole",
                "table_failed",
            ) from None
