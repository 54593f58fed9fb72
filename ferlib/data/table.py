"""A CSV that names pictures and says what people saw in them -> a Dataset.

    file,cat,dog,split,person          file,label
    a/1.png,3,1,train,ann              a/1.png,cat
    b/2.png,0,4,valid,bob              b/2.png,dog

`file` is a path from the CSV's own folder, and may lead anywhere from there. Where there is a
`label` it alone counts; else all other columns are classes, and hold votes or shares, numbers from
0 on. `split` (train, valid, test) and `person` may be there: without a split a fifth is held out,
of whole people where these are named. Cells are parted by commas, semicolons or tabs, in UTF-8.

Of votes each class's share of its row is learnt. Where the emotions stand beside `unknown` and
`non-face` (or `NF`) the votes are FER+'s, and its rules hold: see `ferlib.data.labels`.
"""

import csv
import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from ferlib.data.dataset import SPLITS, Dataset, Files
from ferlib.data.gather import LEFT_OUT, SKIP
from ferlib.data.labels import COLUMNS as FERPLUS
from ferlib.data.labels import EMOTIONS
from ferlib.data.naming import PARTS, Names
from ferlib.errors import FerlibError

COLUMNS = "columns file and label, or file and one of votes for each class; split, person"
SUFFIXES = (".csv", ".tsv")
BESIDE = {"unknown": FERPLUS.index("unknown"), "nf": FERPLUS.index("non-face")}
BESIDE["non-face"] = BESIDE["nf"]
KNOWN = ("file", "label", "split", "person")
MOST = 1e9  # votes for one class


def is_table(file: Path) -> bool:
    """Whether this is a CSV that names pictures; one that holds their pixels is another form."""
    if not file.is_file() or file.suffix.lower() not in SUFFIXES:
        return False
    try:
        with open(file, "rb") as data:
            return b"pixels" not in data.readline(10_000).lower()
    except OSError:  # `read` says why
        return True


def read(file: Path, names: Names) -> Dataset:
    """The pictures that are there and have a label; `names` says what its classes are called.

    Raises FerlibError naming the line that is wrong. Pictures that are not there are `damaged`.
    """
    rows = _rows(file)
    labels = _labels(rows, names) if "label" in rows[0].cells else _votes(rows, names)
    paths = _paths(rows)
    data = Dataset(
        pictures=Files(paths),
        labels=labels,
        classes=names.classes or (),
        source=str(file),
        form="table",
        names=paths,
        parts=np.array([_part(row) for row in rows], np.uint8),
        groups=_people(rows),
    )
    return _usable(data, rows)


# ---------------------------------------------------------------- rows


@dataclass(frozen=True)
class _Row:
    file: Path
    line: int
    cells: dict[str, str]  # by column, in lower case where it is one of KNOWN
    mark: str  # of decimals, beside the point: a comma where that does not part the cells

    def wrong(self, what: str, code: str = "error") -> FerlibError:
        return FerlibError(f"{self.file}, line {self.line}: {what}", code)


def _rows(file: Path) -> list[_Row]:
    """Each line with what its cells are called; FerlibError where that cannot be said."""
    try:
        with open(file, encoding="utf-8-sig", newline="") as text:
            between, lines = reader(text)
            header = _checked(file, [name.strip() for name in next(lines, [])])
            mark = "." if between == "," else ","
            rows = [
                _row(file, lines.line_num, header, cells, mark) for cells in lines if any(cells)
            ]
    except UnicodeDecodeError:
        raise FerlibError(f"{file} is not UTF-8: save it as UTF-8 (in Excel: CSV UTF-8)") from None
    except OSError as error:
        raise FerlibError(f"cannot read {file}: {error.strerror}") from None
    except csv.Error as error:
        raise FerlibError(f"{file}, line {lines.line_num}: {error}") from None
    if not rows:
        raise FerlibError(f"{file} has no rows below its header")
    return rows


def reader(text: IO[str]) -> tuple[str, Any]:
    """What parts the cells of an opened CSV, and `csv.reader`."""
    first = text.readline()
    between = max(",;\t", key=first.count)
    lines = itertools.chain([first], text)  # a pipe cannot be wound back
    return between, csv.reader(lines, delimiter=between, strict=True)  # a quote must end


def _checked(file: Path, header: list[str]) -> list[str]:
    header = [name.lower() if name.lower() in KNOWN else name for name in header]
    twice = [name for name in header if name and header.count(name) > 1]
    if twice:
        raise FerlibError(f"{file}, line 1: two columns are called {twice[0]}")
    if "file" not in header:
        raise _header(file, header)
    return header


def _header(file: Path, header: Sequence[str]) -> FerlibError:
    have = ",".join(header)
    return FerlibError(f"{file}, line 1: the header is {have[:60]!a}.\nExpected {COLUMNS}.")


def _row(file: Path, line: int, header: list[str], cells: list[str], mark: str) -> _Row:
    """Columns without a name are left out: pandas writes its row numbers so."""
    named = {name: cell.strip() for name, cell in zip(header, cells, strict=False) if name}
    row = _Row(file, line, named, mark)
    if len(cells) != len(header):
        raise row.wrong(f"{len(cells)} cells, expected {len(header)}")
    return row


# ---------------------------------------------------------------- columns


def _paths(rows: Sequence[_Row]) -> list[str]:
    """Where each picture should lie; FerlibError where one is named twice."""
    lines: dict[str, int] = {}
    for row in rows:
        path = os.path.normpath(row.file.parent / row.cells["file"])
        if not row.cells["file"]:
            raise row.wrong("no picture is named")
        if path in lines:
            raise row.wrong(f"{row.cells['file']} is in line {lines[path]} already")
        lines[path] = row.line
    return list(lines)


def _part(row: _Row) -> int:
    """Index into SPLITS."""
    word = row.cells.get("split", "train")
    if word.lower() not in PARTS:
        raise row.wrong(f"the split is {word[:20]!a}, expected {', '.join(SPLITS)}")
    return PARTS[word.lower()]


def _people(rows: Sequence[_Row]) -> list[str] | None:
    """Whom each picture shows; FerlibError where somebody is in two splits."""
    if "person" not in rows[0].cells:
        return None
    first: dict[str, _Row] = {}
    for row in rows:
        who = row.cells["person"]
        if not who:
            raise row.wrong("no person is named: name all, or leave the column out")
        other = first.setdefault(who, row)
        if _part(other) != _part(row):
            both = f"{SPLITS[_part(row)]}, in line {other.line} in {SPLITS[_part(other)]}"
            raise row.wrong(f"{who} is in {both}.\nKeep each person in one split")
    return [row.cells["person"] for row in rows]


def _labels(rows: Sequence[_Row], names: Names) -> np.ndarray:
    """int (N,): the class that `label` names, LEFT_OUT where it is empty or left out."""
    held = {label for row in rows if (label := row.cells["label"])}
    if names.classes is None:
        names.take_all(held)
    names.check_used(held, f"{rows[0].file} has no label")
    found = [names[label] if (label := row.cells["label"]) else LEFT_OUT for row in rows]
    for row, number in zip(rows, found, strict=True):
        if number is None:
            raise _unknown(row, row.cells["label"], names)
    return np.array(found, int)


def _votes(rows: Sequence[_Row], names: Names) -> np.ndarray:
    """Shares, float (N, K), or the votes of FER+, int (N, 10)."""
    given = [name for name in rows[0].cells if name not in KNOWN]
    if not given:
        raise _header(rows[0].file, list(rows[0].cells))
    if names.classes is None:
        names.take_all(given)
    names.check_used(given, f"{rows[0].file} has no column")
    columns = [_column(name, rows[0], names) for name in given]
    votes = np.zeros((len(rows), max(len(names.classes or ()), *(1 + k for k in columns))))
    for row, line in zip(votes, rows, strict=True):
        for name, column in zip(given, columns, strict=True):
            if column != LEFT_OUT:
                row[column] += _number(line, name, whole=len(row) > len(names.classes or ()))
    if votes.shape[1] == len(names.classes or ()):
        sums = votes.sum(axis=1, keepdims=True)
        return votes / np.where(sums > 0, sums, 1)
    return np.pad(votes, ((0, 0), (0, len(FERPLUS) - votes.shape[1]))).astype(int)


def _column(name: str, row: _Row, names: Names) -> int:
    """Which class's votes a column holds; those that FER+ has beside the emotions come after."""
    number = names[name]
    if number is None and names.classes == EMOTIONS:
        number = BESIDE.get(name.lower())
    if number is None:
        raise _unknown(replace(row, line=1), name, names)
    return number


def _number(row: _Row, name: str, whole: bool) -> float:
    cell = row.cells[name]
    try:
        value = float(cell.replace(row.mark, "."))
    except ValueError:
        value = -1
    if not 0 <= value <= MOST:
        more = f"If {name} is no class, leave it out with --map {name}={SKIP}"
        raise row.wrong(
            f"{name} is {cell[:20]!a}, expected a number from 0 to {MOST:,.0f}.\n{more}"
        )
    if whole and value != int(value):
        raise row.wrong(f"{name} is {cell[:20]!a}, expected whole numbers beside unknown or NF")
    return value


def _unknown(row: _Row, name: str, names: Names) -> FerlibError:
    classes = names.classes or ()
    what = "emotion" if classes == EMOTIONS else "class"
    told = f"say which it is with --map {name}={what.upper()} (or ={SKIP})"
    known = ", ".join(classes)
    return row.wrong(f"no {what} is known as {name!r}; {told}.\nKnown: {known}", "unknown_class")


# ---------------------------------------------------------------- all of it


def _usable(data: Dataset, rows: Sequence[_Row]) -> Dataset:
    """Without what has no label or is not there, which is told."""
    assert data.names is not None and data.parts is not None
    named = data.labels >= 0 if data.kind == "class" else data.labels.any(axis=1)
    there = np.array([os.path.isfile(path) for path in data.names])
    told = [f"{path} (line {row.line})" for path, row in zip(data.names, rows, strict=True)]
    skipped = [(told[k], "no label, or left out by the mapping") for k in np.flatnonzero(~named)]
    damaged = [(told[k], "no such file") for k in np.flatnonzero(named & ~there)]
    if not named.any():
        raise FerlibError(f"{data.source}: none of {len(rows)} rows has a label")
    if not (named & there).any():
        first, why = damaged[0]
        raise FerlibError(
            f"{data.source}: none of its {len(damaged)} pictures is there; {first}: {why}.\n"
            "Paths start at the folder of the CSV"
        )
    named_splits = "split" in rows[0].cells
    lost = dict(zip(told, data.parts.tolist(), strict=True)) if named_splits else {}
    return replace(data.take(named & there), skipped=skipped, damaged=damaged, lost=lost)
