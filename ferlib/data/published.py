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
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ferlib.data.labels import COLUMNS
from ferlib.errors import FerlibError

USAGES = ("Training", "PublicTest", "PrivateTest")
LABEL_FILES = tuple(f"FER2013{part}/label.csv" for part in ("Train", "Valid", "Test"))

SIDE = 48
PIXELS = SIDE * SIDE
BLOCK = 1 << 19  # bytes of CSV parsed at a time: with its intermediate arrays it stays in cache
TRAIN_FILE, TEST_FILE = 254, 255  # in place of a usage, where a file has no such column

AGAIN = "Mend it, or download the file again: it may be damaged or cut short."


# ---------------------------------------------------------------- the pictures

_USAGE = {usage.encode(): number for number, usage in enumerate(USAGES)}
_CLASS = {str(number).encode(): number for number in range(7)}
_HEADERS = "emotion,pixels,Usage (in any order), emotion,pixels or pixels"


class _BadRow(Exception):
    """Something unexpected in row `index` of a block: `line` lines down, both from 0."""

    def __init__(self, index: int, line: int, reason: str):
        super().__init__(reason)
        self.index, self.line, self.reason = index, line, reason


def read_pictures(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A CSV or archive -> pixels uint8 (N, 2304), classes int8 (N,), usage uint8 (N,).

    Unpacking, here, and parsing, in two threads, overlap: both leave Python's lock to others.
    """
    head = _sniff(path, archive=True)
    parts, rows, line = [], 0, 2
    try:
        with open(path, "rb") as raw, _bar(path) as bar, ThreadPoolExecutor(2) as pool:
            blocks = _blocks(raw, head, path)
            columns = _columns(next(blocks), path)
            for part, lines in _in_order(pool, blocks, columns):
                parts.append(part)
                rows, line = rows + len(part[0]), line + lines
                bar.update(raw.tell() - bar.n)
    except _BadRow as bad:
        where = f"{path}, row {rows + bad.index + 1} (line {line + bad.line})"
        raise FerlibError(f"{where}: {bad.reason}.\n{AGAIN}") from None
    except (EOFError, zlib.error, tarfile.TarError, gzip.BadGzipFile) as error:
        reason = " ".join(str(error).split()) or "unreadable"
        raise FerlibError(f"{path}: a damaged or cut archive ({reason}).\n{AGAIN}") from None
    except OSError as error:
        raise unreadable(path, error) from None
    if not rows:
        raise FerlibError(f"{path} holds a header but no rows.\n{AGAIN}")
    return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))


def _bar(path: Path) -> tqdm:
    """Progress in bytes of the file as it lies on the disk; silent unless a person watches."""
    how = {"unit": "B", "unit_scale": True, "leave": False, "delay": 1, "disable": None}
    return tqdm(total=path.stat().st_size, desc=f"reading {path.name}", **how)


def _in_order(pool: ThreadPoolExecutor, blocks: Iterator[bytes], columns: list[str]) -> Iterator:
    """`_parse` of every block, in order, at most four blocks ahead: memory stays bounded."""
    ahead = deque()
    for block in blocks:
        ahead.append(pool.submit(_parse, block, columns))
        if len(ahead) > 4:
            yield ahead.popleft().result()
    while ahead:
        yield ahead.popleft().result()


def _blocks(raw: io.BufferedReader, head: bytes, path: Path) -> Iterator[bytes]:
    """The header line of the CSV, then its rows in blocks of whole lines."""
    packed = head.startswith(b"\x1f\x8b")
    unpacked = gzip.GzipFile(fileobj=raw) if packed else raw
    stream = _member(unpacked, path) if packed or _is_tar(head) else unpacked
    yield stream.readline(BLOCK)
    rest = b""
    while block := stream.read(BLOCK):
        whole, newline, rest = (rest + block).rpartition(b"\n")
        if newline:
            yield whole + newline
        elif len(rest) > BLOCK:  # no row is that long: let the parser say so
            yield rest
            rest = b""
    while packed and unpacked.read(BLOCK):  # to the checksum at the archive's end
        pass
    if rest:
        yield rest


def _is_tar(head: bytes) -> bool:
    return head[257:262] == b"ustar"


def _member(packed: io.BufferedIOBase, path: Path) -> io.BufferedIOBase:
    """fer2013.csv out of a tar, as a stream: nothing is unpacked to the disk."""
    archive = tarfile.open(fileobj=packed, mode="r|", bufsize=BLOCK)  # noqa: SIM115 (read on)
    for member in archive:
        if member.isfile() and member.name.rpartition("/")[2] == "fer2013.csv":
            return archive.extractfile(member)
    raise FerlibError(f"{path}: an archive without fer2013.csv.\nExpected Kaggle's fer2013.tar.gz.")


def _columns(header: bytes, path: Path) -> list[str]:
    """The column names, lower case: what else a file holds follows from them."""
    text = header.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    columns = [name.strip(' "\t\r\n').lower() for name in text.split(",")]
    extra = sorted(set(columns) - {"pixels"})
    known = extra in (["emotion", "usage"], ["emotion"], [])
    if not known or sorted(columns) != sorted(["pixels", *extra]):
        raise FerlibError(
            f"{path}, line 1: the header is {text.strip()[:60]!a}.\nExpected {_HEADERS}."
        )
    return columns


def _parse(block: bytes, columns: list[str]) -> tuple[tuple[np.ndarray, ...], int]:
    """Whole lines -> (pixels (n, 2304), classes (n,), usage (n,)), number of lines."""
    rows, numbers = [], []
    lines = block.split(b"\n")
    for number, line in enumerate(lines):
        cells = [cell.strip(b' "\t\r') for cell in line.split(b",")]
        if len(cells) == len(columns) and any(cells):
            rows.append(cells)
            numbers.append(number)
        elif any(cells):
            raise _BadRow(len(rows), number, _wrong_count(cells, columns))
    cells = dict(zip(columns, zip(*rows, strict=True), strict=True)) if rows else {}
    pixels = _pixels(cells.get("pixels", ()), numbers)
    classes = _looked_up(cells, "emotion", _CLASS, "a whole number from 0 to 6", numbers)
    usage = _looked_up(cells, "usage", _USAGE, " or ".join(USAGES), numbers)
    if classes is None:  # test.csv
        classes, usage = np.full(len(rows), -1), np.full(len(rows), TEST_FILE)
    if usage is None:  # train.csv
        usage = np.full(len(rows), TRAIN_FILE)
    return (pixels, classes.astype(np.int8), usage.astype(np.uint8)), len(lines) - 1


def _wrong_count(cells: list[bytes], columns: list[str]) -> str:
    return f"{len(cells)} columns where {len(columns)} were expected ({', '.join(columns)})"


def _looked_up(cells: dict, column: str, table: dict, expected: str, numbers: list[int]):
    """A column's values as integers, None where the file has no such column."""
    if column not in cells:
        return None
    try:
        return np.array([table[cell] for cell in cells[column]])
    except KeyError:
        index = next(i for i, cell in enumerate(cells[column]) if cell not in table)
    reason = f"{column} is {_shown(cells[column][index])}, expected {expected}"
    raise _BadRow(index, numbers[index], reason)


def _shown(cell: bytes) -> str:
    return ascii(cell[:24].decode("utf-8", "replace"))


def _pixels(cells: tuple[bytes, ...], numbers: list[int]) -> np.ndarray:
    """Texts of 2,304 numbers each -> uint8 (n, 2304): fast, or slowly to find what is wrong."""
    if not cells:
        return np.empty((0, PIXELS), np.uint8)
    found = _pixels_fast(cells)
    if found is None:
        rows = zip(cells, numbers, strict=True)
        found = np.stack([_pixels_slow(cell, i, line) for i, (cell, line) in enumerate(rows)])
    return found


def _pixels_fast(cells: tuple[bytes, ...]) -> np.ndarray | None:
    """All rows at once; None unless each is 2,304 numbers up to 255, a space between any two.

    The space after a number is found first; the number's digits are the one, two or three bytes
    before it. Arithmetic on bytes wraps at 256, which the last check sees.
    """
    text = np.frombuffer(b" ".join((b"  ", *cells, b"")), np.uint8)  # room to look back
    spaces = np.flatnonzero(text == 32)[2:]
    if len(spaces) != 1 + len(cells) * PIXELS:
        return None
    digits = text - np.uint8(48)  # everything but '0'..'9' becomes 10 or more
    start, end = spaces[:-1], spaces[1:]
    ones, tens, hundreds = (digits.take(end - back) for back in (1, 2, 3))
    two = tens < 10
    three = two & (hundreds < 10)
    tens, hundreds = tens * two, hundreds * three
    values = ones + 10 * tens + 100 * hundreds
    length = 1 + two.view(np.uint8) + three
    ends = end[PIXELS - 1 :: PIXELS]  # a row too long beside one too short would add up
    right = (
        (end - start == length + np.uint8(1)).all()
        and (ones < 10).all()
        and hundreds.max() <= 2
        and not ((hundreds == 2) & (values < 200)).any()
        and (np.diff(ends, prepend=start[0]) == [len(cell) + 1 for cell in cells]).all()
    )
    return values.reshape(-1, PIXELS) if right else None


def _pixels_slow(cell: bytes, index: int, line: int) -> np.ndarray:
    """One row, number by number."""
    numbers = cell.split()
    for position, number in enumerate(numbers, start=1):
        if not number.isdigit() or len(number) > 9 or int(number) > 255:
            reason = f"pixel {position} is {_shown(number)}, expected a whole number from 0 to 255"
            raise _BadRow(index, line, reason)
    if len(numbers) != PIXELS:
        raise _BadRow(index, line, f"{len(numbers)} pixels where {PIXELS} were expected")
    return np.array(numbers).astype(np.int64).astype(np.uint8)


# ---------------------------------------------------------------- the votes

_VOTE = {str(number): number for number in range(101)}  # ten people; 100 keeps uint8 sums safe
_NEW_HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,"
_NEW_HEADER += "unknown,NF"


def read_new(path: Path) -> tuple[np.ndarray, list[str], np.ndarray]:
    """fer2013new.csv -> usage uint8 (M,), names, '' where there is none, votes uint8 (M, 10)."""
    if not path.exists():
        raise FerlibError(
            f"no such file: {path}\n"
            "fer2013new.csv comes with FER+ (github.com/microsoft/FERPlus); label.csv needs it too."
        )
    lines = _cells(path)
    header = next(lines)[1]
    if [cell.lower() for cell in header] != _NEW_HEADER.lower().split(","):
        shown = ascii(",".join(header)[:60])
        raise FerlibError(f"{path}, line 1: the header is {shown}.\nExpected {_NEW_HEADER}.")
    usage, names, votes = [], [], []
    for line, cells in lines:
        where = f"{path}, row {len(names) + 1} (line {line})"
        votes.append(_votes(cells, where))
        if cells[0] not in USAGES:
            expected = f"expected {' or '.join(USAGES)}"
            raise FerlibError(f"{where}: Usage is {cells[0][:24]!a}, {expected}.\n{AGAIN}")
        usage.append(USAGES.index(cells[0]))
        names.append(cells[1])
    if not names:
        raise FerlibError(f"{path} holds a header but no rows.\n{AGAIN}")
    return np.array(usage, np.uint8), names, np.array(votes, np.uint8)


def read_labels(folder: Path, names: list[str], usage: np.ndarray, new: Path) -> np.ndarray:
    """The three label.csv, put on the rows of fer2013new.csv by name: uint8 (M, 10).

    They name the same pictures as `new`, which names and usage are from, each once: FerlibError
    for a picture that one of them lacks, has twice or has as the only one.
    """
    rows = _rows_by_name(names)
    votes = np.zeros((len(names), len(COLUMNS)), np.uint8)
    for part, file in enumerate(LABEL_FILES):
        here = {name: row for name, row in rows.items() if usage[row] == part}
        found = _read_label(folder / file, here, f"{USAGES[part]} of {new}")
        votes[[here[name] for name in found]] = list(found.values())
    return votes


def _read_label(path: Path, here: dict[str, int], split: str) -> dict[str, list[int]]:
    """One label.csv -> name: ten votes, for exactly the pictures that are `here`."""
    if not path.exists():
        raise FerlibError(
            f"no such file: {path}\n"
            "For the votes of fer2013new.csv alone, give that file itself, not its folder."
        )
    found: dict[str, list[int]] = {}
    for number, (line, cells) in enumerate(_cells(path), start=1):
        where = f"{path}, row {number} (line {line})"
        votes, name = _votes(cells, where), cells[0]
        if name not in here:
            wrong = f"{split} has no picture {name[:24]!a}"
            raise FerlibError(f"{where}: {wrong}.\nUse both as published together.")
        if name in found:
            raise FerlibError(f"{where}: {name} is here for the second time.\n{AGAIN}")
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


def _cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line number, stripped cells) of every line that is not blank."""
    _sniff(path)
    try:
        with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
            reader = csv.reader(file)
            for cells in reader:
                if any(cells):
                    yield reader.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise FerlibError(f"{path}, line {reader.line_num}: {error}.\n{AGAIN}") from None
    except OSError as error:
        raise unreadable(path, error) from None


def _votes(cells: list[str], where: str) -> list[int]:
    """The last ten of twelve cells as numbers of votes."""
    if len(cells) != 2 + len(COLUMNS):
        raise FerlibError(f"{where}: {len(cells)} columns where 12 were expected.\n{AGAIN}")
    try:
        return [_VOTE[cell] for cell in cells[2:]]
    except KeyError as error:
        wrong = f"{error.args[0][:24]!a} votes, expected a whole number from 0 to 100"
        raise FerlibError(f"{where}: {wrong}.\n{AGAIN}") from None


# ---------------------------------------------------------------- what a file is, before parsing


def _sniff(path: Path, archive: bool = False) -> bytes:
    """The first bytes of a CSV (or archive); FerlibError for what people have in its place."""
    try:
        with open(path, "rb") as file:
            head = file.read(1 << 12)
    except OSError as error:
        raise unreadable(path, error) from None
    if not head:
        raise FerlibError(f"{path} is empty.\nDownload it again.")
    if head.startswith(b"version https://git-lfs"):
        raise FerlibError(
            f"{path} is a Git LFS pointer, not the data themselves.\n"
            "Run `git lfs pull` in the repository that it came from."
        )
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
        raise FerlibError(
            f"{path} is a web page, not the data: probably a login page saved under that name.\n"
            "Log in with a browser, or with Kaggle's own command, and download it again."
        )
    if head.startswith(b"PK\x03\x04"):
        raise FerlibError(f"{path} is a zip archive.\nUnpack it and give the file inside.")
    packed = head.startswith(b"\x1f\x8b") or _is_tar(head)
    if not (packed and archive) and (packed or b"\0" in head):
        raise FerlibError(f"{path} is a binary file, expected a CSV.\nDownload it again.")
    return head


def unreadable(path: Path, error: OSError) -> FerlibError:
    if isinstance(error, FileNotFoundError):
        return FerlibError(f"no such file: {path}")
    return FerlibError(f"cannot read {path}: {error.strerror or error}")
