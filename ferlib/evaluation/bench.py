"""The bench: one protocol for every network, and for anybody's predictions.

A net is trained by one recipe under one budget, on FER+ or on FER2013's own labels, and measured on
all three splits; on the test split three times: as it was published, without the pictures that also
occur in the training split, and without those that nearly do.
"""

import csv
import re
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ferlib.data import duplicates, table
from ferlib.data.dataset import SPLITS, Dataset
from ferlib.data.fer2013 import Fer2013
from ferlib.data.gather import LEFT_OUT, WORDS
from ferlib.data.labels import EMOTIONS, LABEL_SETS
from ferlib.errors import FerlibError, check_choice
from ferlib.files import whole_file
from ferlib.metrics import Figures, measure

ROUNDING = 1e-6  # by so much a score may lie below 0
COLUMNS = ("published", "without exact", "without near")


@dataclass(frozen=True)
class Scores:
    """What a bench says of one split: means over classes, and F1 weighted by their size."""

    n: int
    accuracy: float
    balanced_accuracy: float  # the mean recall
    precision: float  # the mean precision
    weighted_f1: float
    loss: float
    kl: float | None  # to the votes; None where there are none
    ece: float


def split_of(data: Fer2013, split: str, labels: str) -> Dataset:
    """The pictures of a split that count, with FER+'s votes or with FER2013's labels."""
    check_choice("labels", labels, LABEL_SETS)
    return data.labelled(split) if labels == "fer2013" else data.split(split)


def columns(data: Fer2013, part: Dataset) -> dict[str, np.ndarray]:
    """COLUMNS -> bool (n,): which pictures of a split but training each one counts."""
    if part.rows is None:
        raise FerlibError("these pictures have no rows in FER2013: their duplicates are not known")
    found = duplicates.in_training(data)
    seen = (np.zeros(len(found.rows), bool), found.exact, found.near)
    return {
        name: ~np.isin(part.rows, found.rows[which])
        for name, which in zip(COLUMNS, seen, strict=True)
    }


def scored(scores: np.ndarray, part: Dataset) -> Scores:
    """Probabilities (n, K) for the pictures of a split -> what the bench says of them."""
    found: Figures = measure(scores, part)
    confusion = np.array(found.confusion, float)
    right, truth, said = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    precision = right / np.maximum(said, 1)
    f1 = 2 * right / np.maximum(truth + said, 1)
    there = truth > 0
    return Scores(
        n=found.n,
        accuracy=found.accuracy,
        balanced_accuracy=found.balanced_accuracy,
        precision=round(float(precision[there].mean()), 5),
        weighted_f1=round(float((f1 * truth).sum() / truth.sum()), 5),
        loss=found.loss,
        kl=found.kl if part.kind == "votes" else None,
        ece=found.ece,
    )


def in_columns(scores: np.ndarray, data: Fer2013, part: Dataset) -> dict[str, dict]:
    """What the bench says of the answers to one split, in each of COLUMNS."""
    kept = columns(data, part)
    return {
        name: asdict(scored(scores[which], part.take(np.flatnonzero(which))))
        for name, which in kept.items()
    }


# ---------------------------------------------------------------- somebody else's predictions


def besides(data: Fer2013, part: Dataset) -> set[int]:
    """The rows of a split that do not count: in FER+ those without a majority."""
    split = SPLITS.index(part.about["split"])
    return set(np.flatnonzero(data.usage == split).tolist()) - set(np.asarray(part.rows).tolist())


def read_predictions(path: str | Path, part: Dataset, passed: Collection[int] = ()) -> np.ndarray:
    """A CSV with a column `row` (of FER2013, from 0) and one for each class -> float (n, K).

    In the order of `part`, made to sum to one. Rows in `passed`, such as `besides` gives, are
    passed over. The classes may have their usual names, such as happy. FerlibError names the line
    of what is wrong: a row that is doubled or of another split, a score that is none; or the first
    row that is missing, or the class.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:  # spreadsheets write the mark
            between, lines = table.reader(file)
            return _read(path, between, lines, part, passed)
    except UnicodeDecodeError:
        raise FerlibError(f"{path} is no CSV in UTF-8") from None
    except csv.Error as error:
        raise FerlibError(f"{path}, line {lines.line_num}: {error}") from None
    except OSError as error:
        raise FerlibError(f"{path}: {error.strerror or error}") from None


def write_predictions(path: str | Path, scores: np.ndarray, part: Dataset) -> None:
    """Scores (n, K) for the n pictures of `part`, as `read_predictions` reads them."""
    rows = part.rows if part.rows is not None else ()
    wanted = (len(rows), len(part.classes))
    if np.shape(scores) != wanted or not np.isfinite(scores).all():
        raise FerlibError(f"scores {np.shape(scores)}: expected numbers {wanted}, a row a picture")
    with whole_file(path) as partial, open(partial, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["row", *part.classes])
        for row, line in zip(rows, scores.tolist(), strict=True):
            writer.writerow([int(row), *(f"{score:.6g}" for score in line)])


def _read(
    path: str | Path, between: str, lines: Any, part: Dataset, passed: Collection[int]
) -> np.ndarray:
    place = {int(row): at for at, row in enumerate(part.rows if part.rows is not None else ())}
    scores = np.full((len(part), len(part.classes)), np.nan)
    names = [_class(name.strip().lower()) for name in next(lines, [])]
    _check_header(path, names, part.classes)
    for cells in filter(any, lines):  # spreadsheets leave rows of empty cells
        where = f"{path}, line {lines.line_num}"
        if len(cells) != len(names):  # as with decimal commas
            raise FerlibError(f"{where}: {len(cells)} cells, expected {len(names)}")
        decimals = cells if between == "," else (cell.replace(",", ".") for cell in cells)
        line = dict(zip(names, decimals, strict=True))
        row = _row(where, line)
        if row in passed:
            continue
        if row not in place:
            split = part.about.get("split", "")
            raise FerlibError(f"{where}: row {row} is none of the {len(part)} {split} rows")
        at = place[row]
        if not np.isnan(scores[at, 0]):
            raise FerlibError(f"{where}: row {row} stands there twice")
        scores[at] = _scores(where, line, part.classes)
    missing = np.flatnonzero(np.isnan(scores[:, 0]))
    if len(missing):
        first = list(place)[missing[0]]
        count = f"{len(missing)} of {len(part)} rows are missing"
        raise FerlibError(f"{path}: {count}, row {first} first")
    return scores


def _check_header(path: str | Path, names: Sequence[str], classes: Sequence[str]) -> None:
    wanted = ("row", *classes)
    lacking = [name for name in wanted if name not in names]
    if lacking:
        have = ",".join(names)[:60]
        more = f"expected {', '.join(wanted)}"
        raise FerlibError(f"{path}: no column {lacking[0]!r} in its header, {have!a}.\n{more}")
    others = [name for name in names if name in EMOTIONS and name not in classes]
    if others:
        raise FerlibError(f"{path}: a column {others[0]!r}, which is none of {', '.join(classes)}")
    twice = [name for name in wanted if list(names).count(name) > 1]
    if twice:
        raise FerlibError(f"{path}: two columns are called {twice[0]!r}")


def _class(name: str) -> str:
    """An emotion's own name for its usual ones, such as happy; others stay."""
    return EMOTIONS[WORDS[name]] if WORDS.get(name, LEFT_OUT) != LEFT_OUT else name


def _row(where: str, line: dict) -> int:
    """The number of a line's row; 32298.0, as some programs write it, is one."""
    found = re.fullmatch(r"([0-9]{1,9})(\.0+)?", line["row"].strip())
    if not found:
        raise FerlibError(f"{where}: {line['row'][:20]!a} is no row number")
    return int(found[1])


def _scores(where: str, line: dict, classes: Sequence[str]) -> np.ndarray:
    """A line's scores, made to sum to one."""
    found = np.array([_score(where, name, line[name]) for name in classes])
    if not found.max():
        raise FerlibError(f"{where}: all {len(classes)} scores are 0")
    found /= found.max()  # first, so that the sum is finite
    return found / found.sum()


def _score(where: str, name: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = np.nan
    if not -ROUNDING <= value < np.inf:
        raise FerlibError(
            f"{where}: {name} is {cell[:20]!a}, expected a score of 0 or more (no logits)"
        )
    return max(value, 0.0)
