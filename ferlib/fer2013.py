"""FER2013 and its FER+ votes, in every published form -> arrays, every row accounted for.

FER2013 (Goodfellow et al. 2013, arXiv 1307.0414) is a CSV of 48x48 grey faces; FER+ (Barsoum et al.
2016, arXiv 1608.01041) asked ten people about each. Microsoft published the votes twice, and the
two differ in about 1,600 rows: `fer2013new.csv` joins FER2013 by row position; the `label.csv` of
the folders FER2013Train, FER2013Valid and FER2013Test join by picture name through the former.

    read -> Fer2013 -> split        prepare, load: the same, kept as one .npz
"""

import csv
import gzip
import hashlib
import io
import os
import tarfile
import tempfile
import warnings
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ferlib.errors import FerlibError
from ferlib.labels import COLUMNS, EMOTIONS, drop_singles, majority, usable

SPLITS = ("train", "valid", "test")
USAGES = ("Training", "PublicTest", "PrivateTest")  # the same three in FER2013's words
PROTOCOLS = ("fer2013new.csv", "label.csv")
FORMS = ("fer2013.csv", "fer2013.tar.gz", "fer2013.tar", "icml_face_data.csv", "train.csv")
FORMS += ("test.csv", "fer2013/fer2013.csv")
LABEL_FOLDERS = ("FER2013Train", "FER2013Valid", "FER2013Test")  # in the order of SPLITS
KEEPS = ("majority", "usable", "all")

SIDE = 48
PIXELS = SIDE * SIDE
PREPARED = "fer2013.npz"
BLOCK = 1 << 19  # bytes of CSV parsed at a time: with its intermediate arrays it stays in cache
TRAIN_FILE, TEST_FILE = 254, 255  # in place of a usage, where a file has no such column

AGAIN = "Mend it, or download the file again: it may be damaged or cut short."


@dataclass(frozen=True, eq=False, repr=False)
class Fer2013:
    """FER2013's N pictures in their published order, with all that is known about each.

    pictures: uint8 (N, 48, 48)
    usage:    uint8 (N,), index into SPLITS
    classes:  int8 (N,), FER2013's own label 0..6 (anger, disgust, fear, happiness, sadness,
              surprise, neutral), -1 where it is not published
    names:    str (N,), FER+'s name 'ferNNNNNNN.png', '' where it has none
    votes:    protocol -> uint8 (N, 10), columns as in COLUMNS, all zero where a source has no row
    twins:    int32 (N,), the first row with exactly the same picture (its own number if unique)
    source:   where the data came from, for people
    """

    pictures: np.ndarray
    usage: np.ndarray
    classes: np.ndarray
    names: np.ndarray
    votes: dict[str, np.ndarray]
    twins: np.ndarray
    source: str = ""

    def __repr__(self) -> str:
        counts = np.bincount(self.usage, minlength=len(SPLITS))
        parts = ", ".join(f"{n} {split}" for n, split in zip(counts, SPLITS, strict=True))
        return f"<Fer2013: {parts}; votes of {' and '.join(self.votes)}; {self.source}>"

    def split(
        self,
        split: str,
        protocol: str = "fer2013new.csv",
        keep: str = "majority",
        without_duplicates: bool = False,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One of SPLITS -> pictures uint8 (n, 48, 48), votes uint8 (n, 10), row numbers int (n,).

        keep: "majority", the paper's rule for every accuracy (`labels.majority`); "usable", the
        wider one for training (`labels.usable`); "all".
        without_duplicates leaves out what also occurs, pixel by pixel, in a later split: from
        train what is also in valid or test, from valid what is also in test.
        """
        _check_choice("split", split, SPLITS)
        _check_choice("keep", keep, KEEPS)
        votes = self.votes_of(protocol)
        part = SPLITS.index(split)
        chosen = self.usage == part
        if keep != "all":
            chosen &= majority(votes) >= 0 if keep == "majority" else usable(votes)
        if without_duplicates:
            chosen &= ~self.also_in(*SPLITS[part + 1 :])
        rows = np.flatnonzero(chosen)
        return self.pictures[rows], votes[rows], rows

    def votes_of(self, protocol: str) -> np.ndarray:
        """uint8 (N, 10) votes of one of PROTOCOLS; FerlibError where these data lack it."""
        _check_choice("protocol", protocol, PROTOCOLS)
        if protocol not in self.votes:
            raise FerlibError(
                f"these data were prepared without the votes of {protocol}.\n"
                "Run `ferlib prepare` with --ferplus FOLDER, the folder that holds both."
            )
        return self.votes[protocol]

    def also_in(self, *splits: str) -> np.ndarray:
        """bool (N,): the same picture occurs somewhere in one of these splits."""
        there = np.isin(self.usage, [SPLITS.index(split) for split in splits])
        return np.isin(self.twins, self.twins[there])


def _check_choice(what: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise FerlibError(f"unknown {what} {value!r}: expected one of {', '.join(choices)}")


# ---------------------------------------------------------------- reading both and joining them


def read(fer2013: str | Path, ferplus: str | Path) -> Fer2013:
    """Published files -> Fer2013.

    fer2013: fer2013.tar.gz, fer2013.csv, icml_face_data.csv, or train.csv / test.csv, which are
    read together when they lie side by side; or a folder with one of these.
    ferplus: fer2013new.csv; or the folder with it and FER2013{Train,Valid,Test}/label.csv, and
    then both sources are kept, label.csv's first.
    Raises FerlibError, with file, row and line, for whatever is not as published.
    """
    fer2013, ferplus = _pictures_file(Path(fer2013)), Path(ferplus)
    folder = ferplus.is_dir()
    new = ferplus / "fer2013new.csv" if folder else ferplus
    usage, names, votes = _read_new(new)
    tables = {"fer2013new.csv": votes}
    if folder:
        tables = {"label.csv": _read_labels(ferplus, names, usage, new)} | tables
    files = _with_sibling(fer2013)
    parts = [_read_pictures(path) for path in files]
    flat, classes, known = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    rows = _matching_rows(known, usage, " and ".join(map(str, files)), new)
    return Fer2013(
        pictures=flat.reshape(-1, SIDE, SIDE),
        usage=usage[rows],
        classes=classes,
        names=np.array(names)[rows],
        votes={protocol: table[rows] for protocol, table in tables.items()},
        twins=_twins(flat),
        source=str(fer2013),
    )


def _pictures_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    for form in FORMS:
        if (path / form).is_file():
            return path / form
    raise FerlibError(f"{path} holds no FER2013: expected one of {', '.join(FORMS)}")


def _with_sibling(path: Path) -> list[Path]:
    """train.csv and test.csv are one data set in two files: both, where both are there."""
    if path.name not in ("train.csv", "test.csv"):
        return [path]
    pair = [path.with_name("train.csv"), path.with_name("test.csv")]
    return [one for one in pair if one == path or one.is_file()]


def _matching_rows(known: np.ndarray, usage: np.ndarray, files: str, new: Path) -> np.ndarray:
    """Numbers (N,) of the vote rows that belong to the N pictures, by position.

    All of them for the whole FER2013; those of Training for train.csv alone; the others, which
    begin at row 28,709, for test.csv alone. FerlibError where count or Usage contradict that.
    """
    training = usage == 0
    wanted = np.ones(len(usage), bool)
    if (known == TRAIN_FILE).all():
        wanted = training
    if (known == TEST_FILE).all():
        wanted = ~training
    rows = np.flatnonzero(wanted)
    if len(rows) != len(known):
        raise FerlibError(
            f"{files}: {len(known)} pictures, but {new} votes on {len(rows)} of them.\n"
            "They belong together row by row: one of them is cut short, or of another data set."
        )
    found = usage[rows]
    cases = [known == TRAIN_FILE, known == TEST_FILE]
    differs = np.select(cases, [found != 0, found == 0], found != known)
    if differs.any():
        row = int(differs.argmax())
        here = {TRAIN_FILE: "Training", TEST_FILE: "a test picture"} | dict(enumerate(USAGES))
        raise FerlibError(
            f"{new}, row {rows[row] + 1} (line {rows[row] + 2}): {USAGES[found[row]]}, but "
            f"picture {row + 1} of {files} is {here[known[row]]}.\n"
            "They belong together row by row: use the two files as published, in their own order."
        )
    return rows


def _twins(flat: np.ndarray) -> np.ndarray:
    """(N, 2304) -> int32 (N,) first row with the same bytes."""
    first: dict[bytes, int] = {}
    rows = (first.setdefault(row.tobytes(), number) for number, row in enumerate(flat))
    return np.fromiter(rows, np.int32, len(flat))


# ---------------------------------------------------------------- the pictures

_USAGE = {usage.encode(): number for number, usage in enumerate(USAGES)}
_CLASS = {str(number).encode(): number for number in range(7)}
_HEADERS = "emotion,pixels,Usage (in any order), emotion,pixels or pixels"


class _BadRow(Exception):
    """Something unexpected in row `index` of a block: `line` lines down, both from 0."""

    def __init__(self, index: int, line: int, reason: str):
        super().__init__(reason)
        self.index, self.line, self.reason = index, line, reason


def _read_pictures(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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
        raise _unreadable(path, error) from None
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


def _read_new(path: Path) -> tuple[np.ndarray, list[str], np.ndarray]:
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


def _read_labels(folder: Path, names: list[str], usage: np.ndarray, new: Path) -> np.ndarray:
    """The three label.csv, put on the rows of fer2013new.csv by name: uint8 (M, 10)."""
    rows = _rows_by_name(names, new)
    votes = np.zeros((len(names), len(COLUMNS)), np.uint8)
    seen = set()
    for part, label_folder in enumerate(LABEL_FOLDERS):
        path = folder / label_folder / "label.csv"
        for number, (line, cells) in enumerate(_cells(path), start=1):
            where = f"{path}, row {number} (line {line})"
            found, name = _votes(cells, where), cells[0]
            if rows.get(name) is None or usage[rows[name]] != part:
                wrong = f"{USAGES[part]} of {new} has no picture {name[:24]!a}"
                raise FerlibError(f"{where}: {wrong}.\nUse both as published together.")
            if name in seen:
                raise FerlibError(f"{where}: {name} is here for the second time.\n{AGAIN}")
            seen.add(name)
            votes[rows[name]] = found
    return votes


def _rows_by_name(names: list[str], new: Path) -> dict[str, int]:
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
        raise _unreadable(path, error) from None


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
        raise _unreadable(path, error) from None
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


def _unreadable(path: Path, error: OSError) -> FerlibError:
    if isinstance(error, FileNotFoundError):
        return FerlibError(f"no such file: {path}")
    return FerlibError(f"cannot read {path}: {error.strerror or error}")


# ---------------------------------------------------------------- keeping the result


def prepare(fer2013: str | Path, ferplus: str | Path, out: str | Path) -> Fer2013:
    """`read`, and write `out`/fer2013.npz, which `load` takes from then on.

    Raises FerlibError; then `out` is as it was before, not made or with nothing new in it.
    """
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise FerlibError(f"{out} is a file, expected a folder (which need not exist yet)")
    data = read(fer2013, ferplus)
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        _store(out / PREPARED, data)
    except BaseException as error:
        for folder in made:
            if folder.is_dir():
                folder.rmdir()
        if isinstance(error, OSError):
            size = f"{data.pictures.nbytes / 1e6 + 5:.0f} MB are needed"
            raise FerlibError(f"cannot write to {out}: {error.strerror} ({size})") from None
        raise
    return data


def load(folder: str | Path | None = None) -> Fer2013:
    """The data of `folder`, or of $FERLIB_DATA, or of data/.

    A folder holds what `prepare` wrote, or the published files as they are; those are read once
    and kept in the user's cache folder. Raises FerlibError where there is neither.
    """
    named = folder or os.environ.get("FERLIB_DATA")
    folders = [Path(named)] if named else _default_folders()
    for place in folders:
        if (place / PREPARED).is_file():
            return _load_prepared(place / PREPARED)
        sources = _published(place)
        if sources:
            return _load_published(place, *sources)
    if named and not Path(named).is_dir():
        raise FerlibError(f"no such folder: {named}")
    raise FerlibError(
        f"no FER2013 with FER+ votes in {folders[0]}/ (data/README.md says where to get both).\n"
        "Run `ferlib prepare --fer2013 FILE --ferplus FILE`, or let FERLIB_DATA name their folder."
    )


def load_or_sample(folder: str | Path | None = None) -> Fer2013:
    """`load`; or `ferlib.sample`'s drawn faces when no folder was named and none is found.

    `.source` of the result says which it is.
    """
    if folder or os.environ.get("FERLIB_DATA") or any(map(_holds_data, _default_folders())):
        return load(folder)
    return sample_data()


def _default_folders() -> list[Path]:
    """data/ here, and beside the package in a checkout: notebooks run in their own folder."""
    return [Path("data"), Path(__file__).resolve().parents[1] / "data"]


def _holds_data(folder: Path) -> bool:
    return (folder / PREPARED).is_file() or _published(folder) is not None


def _published(folder: Path) -> tuple[Path, Path] | None:
    """(pictures, votes) as `read` takes them, None where the folder does not hold both."""
    pictures = [folder / form for form in FORMS if (folder / form).is_file()]
    if not pictures or not (folder / "fer2013new.csv").is_file():
        return None
    both = all((folder / name / "label.csv").is_file() for name in LABEL_FOLDERS)
    return pictures[0], folder if both else folder / "fer2013new.csv"


def _load_published(folder: Path, fer2013: Path, ferplus: Path) -> Fer2013:
    """Through the cache, which holds one file a folder and knows the sources it came from."""
    votes = [folder / "fer2013new.csv", *(folder / name / "label.csv" for name in LABEL_FOLDERS)]
    sources = [*_with_sibling(fer2013), *(votes if ferplus == folder else votes[:1])]
    stats = [(str(path), path.stat()) for path in sources]
    key = repr([(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats])
    place = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    cached = _cache_folder() / f"fer2013-{place}.npz"
    try:
        return replace(_load_npz(cached, key), source=str(fer2013))
    except Exception:  # missing, stale or damaged in whatever way: it is made again
        data = read(fer2013, ferplus)
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        _store(cached, data, key)
    except OSError as error:
        warnings.warn(f"not cached in {cached.parent}: {error.strerror}", stacklevel=3)
    return data


def _cache_folder() -> Path:
    """As the XDG base directory specification says; relative paths there are to be ignored."""
    named = Path(os.environ.get("XDG_CACHE_HOME") or "")
    return (named if named.is_absolute() else Path.home() / ".cache") / "ferlib"


def sample_data() -> Fer2013:
    """`ferlib.sample`'s drawn faces, drawn once and kept in the user's cache folder."""
    from ferlib import sample

    version = hashlib.sha256(Path(sample.__file__).read_bytes()).hexdigest()[:16]
    kept = _cache_folder() / f"sample-{version}.npz"
    try:
        data = _load_npz(kept)
    except Exception:  # not drawn yet
        with tempfile.TemporaryDirectory() as folder:
            sample.write(folder)
            data = read(folder, Path(folder, "fer2013new.csv"))
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            _store(kept, data)
        except OSError as error:
            warnings.warn(f"not cached in {kept.parent}: {error.strerror}", stacklevel=3)
    return replace(data, source="drawn faces with simulated votes (ferlib.sample), not FER2013")


def _store(path: Path, data: Fer2013, key: str = "") -> None:
    """Write an uncompressed .npz whole or not at all. Raises OSError.

    It is put together in memory first: a zip file that fails half-way complains once more when
    Python drops it.
    """
    arrays = {name: getattr(data, name) for name in ("usage", "classes", "names", "twins")}
    arrays |= {f"votes {protocol}": votes for protocol, votes in data.votes.items()}
    packed = io.BytesIO()
    np.savez(packed, key=np.array(key), pictures=data.pictures, **arrays)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(beside, "wb") as file:
            file.write(packed.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _load_npz(path: Path, key: str | None = None) -> Fer2013:
    """Raises whatever NumPy and zipfile do on a bad file, ValueError on another `key`."""
    with np.load(path, allow_pickle=False) as arrays:
        if key is not None and str(arrays["key"]) != key:
            raise ValueError("made from other files")
        names = ("pictures", "usage", "classes", "names", "twins")
        votes = {name[6:]: arrays[name] for name in arrays.files if name.startswith("votes ")}
        return Fer2013(**{name: arrays[name] for name in names}, votes=votes, source=str(path))


def _load_prepared(path: Path) -> Fer2013:
    try:
        return _load_npz(path)
    except Exception:
        raise FerlibError(
            f"{path} is damaged or not of `ferlib prepare`.\nDelete it and prepare the data again."
        ) from None


# ---------------------------------------------------------------- every row accounted for

_PARTS = {
    "no_name": "without a name in FER+",
    "no_votes": "named, but without votes in this source",
    "unknown": "most say unknown",
    "non_face": "most say not a face",
    "no_majority": "no majority",
    "kept": "majority images",
}
_MORE = {
    "usable": "usable for training",
    "repeated": "rows that repeat an earlier one of this split",
    "also_in_train": "rows that also occur in train",
    "also_in_valid": "rows that also occur in valid",
    "also_in_test": "rows that also occur in test",
    "kept_without_duplicates": "majority images not in a later split",
}


def account(data: Fer2013, protocol: str) -> dict[str, dict[str, int]]:
    """Split -> what became of its rows under one of PROTOCOLS.

    `rows` is the sum of no_name, no_votes, unknown, non_face, no_majority and kept. The other
    counts say, beside that, how many rows are usable and how many are duplicates.
    """
    votes = data.votes_of(protocol)
    fate = _fates(data, votes)
    earlier = _repeats(data)
    counts = {}
    for part, split in enumerate(SPLITS):
        here = data.usage == part
        count = {"rows": int(here.sum())}
        count |= {name: int((fate[here] == number).sum()) for number, name in enumerate(_PARTS)}
        count["usable"] = int(usable(votes)[here].sum())
        count["repeated"] = int(earlier[here].sum())
        others = [other for other in SPLITS if other != split]
        count |= {f"also_in_{other}": int(data.also_in(other)[here].sum()) for other in others}
        alone = data.split(split, protocol, without_duplicates=True)[2]
        counts[split] = count | {"kept_without_duplicates": len(alone)}
    return counts


def _fates(data: Fer2013, votes: np.ndarray) -> np.ndarray:
    """int (N,), index into _PARTS: the first reason that applies, in that order; kept wins."""
    left = drop_singles(votes)
    top = np.where(2 * left.max(axis=1) > left.sum(axis=1), left.argmax(axis=1), -1)
    reasons = {
        "kept": majority(votes) >= 0,
        "no_name": data.names == "",
        "no_votes": ~votes.any(axis=1),
        "unknown": top == len(EMOTIONS),
        "non_face": top == len(EMOTIONS) + 1,
    }
    parts = list(_PARTS)
    numbers = [parts.index(name) for name in reasons]
    return np.select(list(reasons.values()), numbers, parts.index("no_majority"))


def _repeats(data: Fer2013) -> np.ndarray:
    """bool (N,): an earlier row of the same split has the same picture."""
    pairs = data.twins.astype(np.int64) * len(SPLITS) + data.usage
    _, first = np.unique(pairs, return_index=True)
    repeats = np.ones(len(pairs), bool)
    repeats[first] = False
    return repeats


def table(data: Fer2013) -> str:
    """`account` of every vote source at hand, as plain text."""
    lines = []
    for protocol in data.votes:
        counts = account(data, protocol)
        lines += [_line(f"votes of {protocol}", SPLITS), _line("rows", _column(counts, "rows"))]
        lines += [_line(f"  {text}", _column(counts, name)) for name, text in _PARTS.items()]
        lines += [_line(text, _column(counts, name)) for name, text in _MORE.items()]
        lines.append("")
    in_train = data.also_in("train")
    for part in (1, 2):
        shared = in_train[data.usage == part].sum()
        lines.append(f"{USAGES[part]} rows that also occur in Training: {shared}")
    return "\n".join(lines)


def _column(counts: dict[str, dict[str, int]], name: str) -> list:
    return [counts[split].get(name, "-") for split in SPLITS]


def _line(text: str, values) -> str:
    return f"{text:48}" + "".join(f"{value:>8}" for value in values)
