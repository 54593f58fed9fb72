"""The published files of FER2013 and FER+ -> arrays; errors by file, row and line.

    read_pictures: fer2013.csv in its several forms, or its archive
    read_new:      fer2013new.csv, the votes by row
    read_labels:   the three label.csv, the votes by picture name

`ferlib.data.fer2013` finds the files and joins what is read here.
"""

import csv
import gzip
import io
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ferlib.data.labels import COLUMNS
from ferlib.errors import FerlibError

USAGES = ("Training", "PublicTest", "PrivateTest")
LABEL_FILES = tuple(f"FER2013{part}/label.csv" for part in ("Train", "Valid", "Test"))

SIDE = 48
PIXELS = SIDE * SIDE
TRAIN_FILE, TEST_FILE = 254, 255  # in place of a usage, where a file has no such column

AGAIN = "Mend it, or download the file again: it may be damaged or cut short."
_LONGEST = 1 << 16  # characters of a line: no row is that long, and memory stays bounded
_NUMBERS = {str(number): number for number in range(101)}
_HEADERS = "emotion,pixels,Usage (in any order), emotion,pixels or pixels"
_NEW_HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,"
_NEW_HEADER += "unknown,NF"
_NO_NEW = "fer2013new.csv comes with FER+ (github.com/microsoft/FERPlus); label.csv needs it too."
_NO_LABEL = "For the votes of fer2013new.csv alone, give that file itself, not its folder."

Lines = Iterator[tuple[int, str]]  # with their numbers, from 1


# ---------------------------------------------------------------- the pictures


def read_pictures(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A CSV or archive -> pixels uint8 (N, 2304), classes int8 (N,), usage uint8 (N,)."""
    with _opened(path, archive=True) as raw, _bar(path) as bar:
        lines, found = _unpacked(raw, path), []
        columns = _columns(path, lines)
        for where, cells in _rows(path, lines, _split, len(columns)):
            found.append(_picture(dict(zip(columns, cells, strict=True)), where))
            bar.update(raw.tell() - bar.n)
    pixels, classes, usage = zip(*found, strict=True)
    return np.stack(pixels), np.array(classes, np.int8), np.array(usage, np.uint8)


def _bar(path: Path) -> tqdm:
    """Progress in bytes of the file as it lies on the disk; silent unless a person watches."""
    how = {"unit": "B", "unit_scale": True, "leave": False, "delay": 1, "disable": None}
    return tqdm(total=path.stat().st_size, desc=f"reading {path.name}", **how)


def _unpacked(raw: io.BufferedReader, path: Path) -> Lines:
    """The lines of the CSV; an archive is unpacked as it is read, not to the disk."""
    mode = _archive_mode(raw)
    if not mode:
        yield from _lines(raw, newline="\n")
        return
    with tarfile.open(fileobj=raw, mode=mode) as archive:  # type: ignore[call-overload]
        yield from _lines(_member(archive, path), newline="\n")
        while archive.fileobj.read(1 << 19):  # to the checksum at the end: it tells of damage
            pass


def _member(archive: tarfile.TarFile, path: Path) -> Any:
    for member in archive:
        if member.isfile() and Path(member.name).name == "fer2013.csv":
            return archive.extractfile(member)
    raise FerlibError(f"{path}: an archive without fer2013.csv.\nExpected Kaggle's fer2013.tar.gz.")


def _columns(path: Path, lines: Lines) -> list[str]:
    """The column names, lower case: what else a file holds follows from them."""
    _, header = next(lines, (1, ""))
    columns = _split(header.lower())
    if sorted(columns) not in (["emotion", "pixels", "usage"], ["emotion", "pixels"], ["pixels"]):
        raise _bad_header(path, header, _HEADERS)
    return columns


def _split(line: str) -> list[str]:
    """No cell holds a comma, so quotes need only be taken off, which is faster than `csv`."""
    return [cell.strip(' "\t\r\n') for cell in line.split(",")]


def _picture(row: dict[str, str], where: str) -> tuple[np.ndarray, int, int]:
    """Pixels, class and usage; test.csv has neither of the latter, train.csv no usage."""
    pixels = _pixels(row["pixels"].encode(), where)
    if "emotion" not in row:
        return pixels, -1, TEST_FILE
    number = _number(row["emotion"], 6, "emotion", where)
    return pixels, number, _usage(row["usage"], where) if "usage" in row else TRAIN_FILE


def _pixels(cell: bytes, where: str) -> np.ndarray:
    """2,304 numbers of 0 to 255 -> uint8 (2304,)."""
    if cell and not cell.translate(None, b"0123456789 \t\r\v\f"):  # fromstring takes signs, too,
        numbers = np.fromstring(cell, np.int64, sep=" ")  # and 256 for 0 where uint8 is asked for
        if len(numbers) == PIXELS and numbers.max() < 256:
            return numbers.astype(np.uint8)
    for position, number in enumerate(cell.split(), start=1):
        if not number.isdigit() or len(number) > 9 or int(number) > 255:
            shown = ascii(number[:24].decode("utf-8", "replace"))
            wrong = f"pixel {position} is {shown}, expected a whole number from 0 to 255"
            raise _bad(where, wrong)
    raise _bad(where, f"{len(cell.split())} pixels where {PIXELS} were expected")


# ---------------------------------------------------------------- the votes


def read_new(path: Path) -> tuple[np.ndarray, list[str], np.ndarray]:
    """fer2013new.csv -> usage uint8 (M,), names, '' where there is none, votes uint8 (M, 10)."""
    rows = _vote_rows(path, _NO_NEW, _NEW_HEADER)
    found = [(_usage(usage, where), name, votes) for where, (usage, name), votes in rows]
    usage, names, votes = zip(*found, strict=True)
    return np.array(usage, np.uint8), list(names), np.array(votes, np.uint8)


def read_labels(folder: Path, names: list[str], usage: np.ndarray, new: Path) -> np.ndarray:
    """The three label.csv, put on the rows of fer2013new.csv by name: uint8 (M, 10).

    They name the same pictures as `new`, which names and usage are from, each once: FerlibError
    for a picture that one of them lacks, has twice or has as the only one.
    """
    rows = _rows_by_name(names)
    votes = np.zeros((len(names), len(COLUMNS)), np.uint8)
    for part, file in enumerate(label_files(folder)):
        here = {name: row for name, row in rows.items() if usage[row] == part}
        found = _read_label(file, here, f"{USAGES[part]} of {new}")
        votes[[here[name] for name in found]] = list(found.values())
    return votes


def label_files(folder: Path) -> list[Path]:
    """Where the three label.csv are: in the folder, or in its data/ as in FER+'s repository."""
    places = [[root / file for file in LABEL_FILES] for root in (folder, folder / "data")]
    return next((files for files in places if any(map(Path.is_file, files))), places[0])


def _read_label(path: Path, here: dict[str, int], split: str) -> dict[str, list[int]]:
    """One label.csv -> name: ten votes, for exactly the pictures that are `here`."""
    found: dict[str, list[int]] = {}
    for where, (name, _), votes in _vote_rows(path, _NO_LABEL):
        if name not in here:
            wrong = f"{split} has no picture {name[:24]!a}"
            raise FerlibError(f"{where}: {wrong}.\nUse both as published together.")
        if name in found:
            raise _bad(where, f"{name} is here for the second time")
        found[name] = votes
    missing = [name for name in here if name not in found]
    if missing:
        raise FerlibError(
            f"{path} has no row for {len(missing)} of {len(here)} pictures, the first is "
            f"{missing[0][:24]}.\nThe file is cut short: download it again."
        )
    return found


def _rows_by_name(names: list[str]) -> dict[str, int]:
    """Each name's row.

    A name's number is its picture's place among those that were kept, so the row lies at or a
    little above it (0 to 85). Four names stand on two rows: theirs is the nearest such row.
    """
    rows: dict[str, int] = {}
    for row, name in enumerate(names):
        if name in rows:
            digits = "".join(char for char in name if "0" <= char <= "9")
            number = int(digits[:9] or 0)
            rows[name] = min(rows[name], row, key=lambda at: (at < number, abs(at - number)))
        elif name:
            rows[name] = row
    return rows


def _vote_rows(path: Path, absent: str, header: str = "") -> Iterator:
    """(where, the first two cells, ten votes) of every row."""
    if not path.exists():
        raise FerlibError(f"no such file: {path}\n{absent}")
    with _opened(path) as raw:
        lines = _lines(raw)
        _, found = next(lines, (1, "")) if header else (1, "")
        if _quoted(found.lower()) != _quoted(header.lower()):
            raise _bad_header(path, found, header)
        for where, cells in _rows(path, lines, _quoted, 2 + len(COLUMNS)):
            votes = zip(cells[2:], COLUMNS, strict=True)
            yield where, cells[:2], [_number(cell, 100, column, where) for cell, column in votes]


def _quoted(line: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([line]))]


# ---------------------------------------------------------------- what both are made of


def _lines(raw: Any, newline: str | None = None) -> Lines:
    """Every line with its number; a carriage return ends one, too, unless `newline` does."""
    with io.TextIOWrapper(raw, "utf-8-sig", "replace", newline) as text:
        yield from enumerate(iter(lambda: text.readline(_LONGEST), ""), start=1)


def _rows(path: Path, lines: Lines, split: Callable, columns: int) -> Iterator:
    """(where, cells) of every line that is not blank."""
    row = 0
    for number, line in lines:
        cells = split(line)
        if not any(cells):
            continue
        row += 1
        where = f"{path}, row {row} (line {number})"
        if len(cells) != columns:
            raise _bad(where, f"{len(cells)} columns where {columns} were expected")
        yield where, cells
    if not row:
        raise FerlibError(f"{path} holds no rows.\n{AGAIN}")


def _number(cell: str, most: int, column: str, where: str) -> int:
    number = _NUMBERS.get(cell, most + 1)
    if number > most:
        raise _bad(where, f"{column} is {cell[:24]!a}, expected a whole number from 0 to {most}")
    return number


def _usage(cell: str, where: str) -> int:
    if cell not in USAGES:
        raise _bad(where, f"Usage is {cell[:24]!a}, expected {' or '.join(USAGES)}")
    return USAGES.index(cell)


def _bad(where: str | Path, reason: str) -> FerlibError:
    return FerlibError(f"{where}: {reason}.\n{AGAIN}")


def _bad_header(path: Path, header: str, expected: str) -> FerlibError:
    shown = ascii(header.strip()[:60])
    return FerlibError(f"{path}, line 1: the header is {shown}.\nExpected {expected}.")


# ---------------------------------------------------------------- what a file is, before parsing

_IN_ITS_PLACE = {
    b"version https://git-lfs": "a Git LFS pointer, not the data themselves.\n"
    "Run `git lfs pull` in the repository that it came from.",
    b"<": "a web page, not the data: probably a login page saved under that name.\n"
    "Log in with a browser, or with Kaggle's own command, and download it again.",
    b"PK\x03\x04": "a zip archive.\nUnpack it and give the file inside.",
}


@contextmanager
def _opened(path: Path, archive: bool = False) -> Iterator[io.BufferedReader]:
    """The file, if it looks like a CSV (or archive); what goes wrong while it is read, in words."""
    try:
        with open(path, "rb") as raw:
            _sniff(raw, path, archive)
            yield raw
    except (EOFError, zlib.error, tarfile.TarError, gzip.BadGzipFile) as error:
        reason = " ".join(str(error).split()) or "unreadable"
        raise _bad(path, f"a damaged or cut archive ({reason})") from None
    except FileNotFoundError:
        raise FerlibError(f"no such file: {path}") from None
    except OSError as error:
        raise FerlibError(f"cannot read {path}: {error.strerror or error}") from None


def _sniff(raw: io.BufferedReader, path: Path, archive: bool) -> None:
    """FerlibError for what people have in place of the data."""
    head = raw.peek()
    if not head:
        raise FerlibError(f"{path} is empty.\nDownload it again.")
    for start, what in _IN_ITS_PLACE.items():
        if head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(start):
            raise FerlibError(f"{path} is {what}")
    packed = _archive_mode(raw)
    if not (packed and archive) and (packed or b"\0" in head):
        raise FerlibError(f"{path} is a binary file, expected a CSV.\nDownload it again.")


def _archive_mode(raw: io.BufferedReader) -> str:
    """The mode for tarfile, '' for anything else."""
    head = raw.peek()  # some thousand bytes, which are read again
    return "r:gz" if head.startswith(b"\x1f\x8b") else "r:" if head[257:262] == b"ustar" else ""
