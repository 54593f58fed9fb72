"""The one interface to what is learnt from and measured on: pictures, and what people saw."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from tqdm import tqdm

from ferlib import files
from ferlib.data import images, labels
from ferlib.data.labels import EMOTIONS
from ferlib.errors import FerlibError, check_choice, check_kind

SPLITS = ("train", "valid", "test")
HELD_OUT = 0.2  # of what is there to learn from, for validation, where a data set has none
NEAR = 1e-3  # so close to 1 shares sum
MOST_BYTES = 2_000_000_000  # of pictures kept in memory at the net's size; more are read each time


class Files:
    """Pictures on the disk, read when they are asked for: files[row] -> uint8 (H, W, 3)."""

    def __init__(self, paths: Sequence[str]):
        check_kind("paths", paths, (list, tuple, np.ndarray), "a list of files' names")
        self.paths = list(paths)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> np.ndarray:
        return images.read_picture(self.paths[row])

    def take(self, rows: np.ndarray) -> "Files":
        """Those of some rows."""
        return Files([self.paths[row] for row in rows])


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """N pictures of any size and colour, and what each shows.

    pictures: uint8 (N, H, W) or (N, H, W, 3) RGB in memory, or `Files`
    labels:   one class each, int (N,), -1 for none; shares, float (N, K); or the votes of FER+,
              whole numbers (N, 10), columns as in `labels.COLUMNS`
    classes:  their K names
    source:   where the data came from, for people
    form:     how they lay there: fer2013, folders, jaffe ...
    names:    str (N,), what each picture is called in a message or a table
    rows:     int (N,), each picture's row in the data that these were taken from
    parts:    uint8 (N,), index into SPLITS, or None: all is there to learn from
    groups:   str (N,), whom each picture shows, or None: a person is in one split only
    skipped:  (name, reason) of what has no label, or that a mapping leaves out
    damaged:  (name, reason) of what should count and cannot
    lost:     name -> index into SPLITS, of those skipped and damaged whose split is known
    about:    what else a figure measured on it must tell, such as split and protocol
    """

    pictures: "np.ndarray | Files"
    labels: np.ndarray
    classes: tuple[str, ...] = EMOTIONS
    source: str = ""
    form: str = ""
    names: Sequence[str] | None = None
    rows: np.ndarray | None = None
    parts: np.ndarray | None = None
    groups: Sequence[str] | None = None
    skipped: Sequence[tuple[str, str]] = ()
    damaged: Sequence[tuple[str, str]] = ()
    lost: Mapping[str, int] = field(default_factory=dict)
    about: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self):
        check_kind("about", self.about, Mapping, "texts and numbers by name")
        check_kind("classes", self.classes, (tuple, list), "the classes' names")
        for name in self.classes:
            check_kind("classes", name, str, "the classes' names")
        object.__setattr__(self, "classes", tuple(self.classes))
        for name in ("rows", "parts"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, np.asarray(getattr(self, name)))
        _check_pictures(self.pictures)
        _check_labels(self)
        if len(self.pictures) != len(self.labels):
            raise FerlibError(f"{len(self.pictures)} pictures, but labels for {len(self.labels)}")
        width = {"votes": len(EMOTIONS) + 2, "shares": len(self.classes)}.get(self.kind)
        if width is not None and self.labels.shape[1] != width:
            raise FerlibError(f"{self.kind} have {self.labels.shape[1]} columns, expected {width}")
        _check_rows(self)

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        what = f"{len(self)} pictures, {self.kind} of {len(self.classes)} classes"
        return f"<Dataset: {what}; {self.source}>"

    @property
    def kind(self) -> str:
        """What the labels are: "class", "shares" or "votes"."""
        if self.labels.ndim == 1:
            return "class"
        return "shares" if np.issubdtype(self.labels.dtype, np.floating) else "votes"

    @property
    def votes(self) -> np.ndarray:
        """The votes (N, 10); FerlibError where the labels are none."""
        if self.kind != "votes":
            raise FerlibError(f"{self.source or 'these data'} hold no votes: a {self.kind} each")
        return self.labels

    @property
    def truth(self) -> np.ndarray:
        """The class that each picture shows, int (N,), -1 where none is agreed on.

        For votes the paper's majority, for shares the largest, where no other is as large.
        """
        if self.kind == "class":
            return np.asarray(self.labels)
        if self.kind == "votes":
            return labels.majority(self.labels)
        most = self.labels.max(axis=1, keepdims=True, initial=0)
        largest = (self.labels == most) & (most > 0)
        return np.where(largest.sum(axis=1) == 1, self.labels.argmax(axis=1), -1)

    @property
    def shares(self) -> np.ndarray:
        """How much of each picture is of each class, float32 (N, K); all zero where unknown."""
        if self.kind == "votes":
            return labels.shares(self.labels)
        if self.kind == "shares":
            return self.labels.astype(np.float32)
        return (self.truth[:, None] == np.arange(len(self.classes))).astype(np.float32)

    def targets(self, scheme: str, rng: np.random.Generator | None = None) -> np.ndarray:
        """What a net is trained towards by one of `labels.SCHEMES`: float32 (N, K)."""
        if self.kind == "votes":
            return labels.targets(self.labels, scheme, rng)
        return labels.targets_of_shares(self.shares, scheme, rng)

    def trainable(self, scheme: str) -> np.ndarray:
        """bool (N,): the rows that a scheme can be trained on."""
        if self.kind == "votes":
            return labels.trainable(self.labels, scheme)
        if self.kind == "shares" and scheme != "majority":
            return self.labels.any(axis=1)
        return self.truth >= 0

    def name(self, row: int) -> str:
        """What a picture is called in a message or a table."""
        return self.names[row] if self.names is not None else f"row {self._row(row)}"

    def _row(self, row: int) -> int:
        return row if self.rows is None else int(self.rows[row])

    def take(self, rows: ArrayLike) -> "Dataset":
        """The pictures of some rows, int (n,) or bool (N,), with all that is known of them."""
        rows = self._chosen(rows)
        stored = self.pictures
        pictures = stored.take(rows) if isinstance(stored, Files) else stored[rows]
        old = np.arange(len(self)) if self.rows is None else self.rows
        return replace(
            self,
            pictures=pictures,
            labels=self.labels[rows],
            rows=old[rows],
            parts=None if self.parts is None else self.parts[rows],
            names=None if self.names is None else [self.names[row] for row in rows],
            groups=None if self.groups is None else [self.groups[row] for row in rows],
        )

    def _chosen(self, rows: ArrayLike) -> np.ndarray:
        """Numbers of rows, int (n,)."""
        found = np.asarray(rows)
        if found.dtype == bool and found.shape == (len(self),):
            return np.flatnonzero(found)
        if found.shape == (0,):  # an empty list is of floats
            return np.zeros(0, int)
        numbers = found.dtype.kind in "iu" and found.ndim == 1
        if not numbers or not -len(self) <= found.min() <= found.max() < len(self):
            raise FerlibError(f"expected rows of {len(self)}, numbers or bools, not {rows!r:.60}")
        return found

    def only(self, classes: tuple[str, ...]) -> "Dataset":
        """The pictures that show one of the classes, these alone; the others are `skipped`.

        What are votes becomes shares, float (n, K), of these classes.
        """
        for name in classes:
            check_choice("class", name, self.classes)
        columns = [self.classes.index(name) for name in classes]
        kept = np.isin(self.truth, columns)
        others = {self.name(row): row for row in np.flatnonzero(~kept)}
        away = [(name, "shows another class") for name in others]
        lost = dict(self.lost)
        if self.parts is not None and self.parts.any():  # else it is not known yet
            lost |= {name: int(self.parts[row]) for name, row in others.items()}
        part = self.take(kept)
        shares = part.shares[:, columns]
        numbers = np.array([*map(columns.index, part.truth)], int)
        found = numbers if self.kind == "class" else shares / shares.sum(axis=1, keepdims=True)
        told = [*self.skipped, *away]
        return replace(part, labels=found, classes=classes, skipped=told, lost=lost)

    def split(self, split: str) -> "Dataset":
        """One of SPLITS. Where none is for validation, a fifth of what is there to learn from is
        held out: the same pictures every time, some of each class, and whole people where these are
        known. FerlibError where there is nothing in a split.
        """
        check_choice("split", split, SPLITS)
        parts = np.zeros(len(self), np.uint8) if self.parts is None else self.parts.copy()
        if not (parts == 1).any():
            parts[self._held_out(np.flatnonzero(parts == 0))] = 1
        rows = np.flatnonzero(parts == SPLITS.index(split))
        if not len(rows):
            alone = self.groups is not None and len(set(self.groups)) == 1
            why = ": all are of one person, who is in one split only" if alone else ""
            raise FerlibError(
                f"{self.source or 'these data'} have no pictures in split {split!r}{why}"
            )
        part = SPLITS.index(split)
        skipped, damaged = self._of(part, self.skipped), self._of(part, self.damaged)
        return replace(self.take(rows), about={"split": split}, skipped=skipped, damaged=damaged)

    def _of(self, part: int, told: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """What is told of a split: what is known to be of another is not."""
        return [one for one in told if self.lost.get(one[0], part) == part]

    def _held_out(self, rows: np.ndarray) -> np.ndarray:
        """Some of the rows, by their own names alone: the same ones wherever a folder lies, and a
        picture more or less moves one other at most.
        """
        if self.groups is not None:
            people = sorted({self.groups[row] for row in rows}, key=_scattered)
            chosen = set(people[: round(HELD_OUT * len(people)) or 1]) if len(people) > 1 else set()
            return np.array([row for row in rows if self.groups[row] in chosen], int)
        found: list[int] = []
        truth = self.truth[rows]
        for number in np.unique(truth):
            same = list(rows[truth == number])
            same.sort(key=lambda row: _scattered(Path(self.name(row)).name))
            found += same[: round(HELD_OUT * len(same)) or int(len(same) > 1)]
        return np.array(found, int)

    def array(self, size: int, channels: int = 1) -> "np.ndarray | Resized":
        """The pictures as a net of `size` and `channels` learns from them, to be had by rows.

        uint8 (N, S, S) or (N, S, S, 3): as they are where they are in memory, square and at most
        twice as large; others brought to `size`, and read again each time where they would take
        more than MOST_BYTES.
        """
        if isinstance(self.pictures, np.ndarray) and _fits(self.pictures, size, channels):
            return self.pictures
        whole = Resized(self, size, channels)
        if len(self) * size * size * channels > MOST_BYTES:
            return whole
        parts = np.array_split(np.arange(len(self)), max(1, len(self) // 64))
        how = {"desc": "reading pictures", "unit_scale": 64, "unit": "img", "delay": 1}
        bar = tqdm(parts, leave=False, disable=None, **how)
        return np.concatenate([whole[rows] for rows in bar])


def _check_pictures(shown: Any) -> None:
    if isinstance(shown, Files):
        return
    right = isinstance(shown, np.ndarray) and shown.dtype == np.uint8
    if not (right and shown.ndim in (3, 4) and shown.shape[3:] in ((), (3,))):
        wanted = "Files, or uint8 (N, H, W) gray or (N, H, W, 3) RGB"
        raise FerlibError(f"pictures are {_told(shown)}; expected {wanted}")


def _check_labels(data: Dataset) -> None:
    given, classes = data.labels, data.classes
    numbers = isinstance(given, np.ndarray) and given.dtype.kind in "iuf"
    if not numbers or given.ndim not in (1, 2):
        raise FerlibError(f"labels are {_told(given)}; expected numbers, (N,) or (N, K)")
    if len(set(classes)) < len(classes):
        raise FerlibError(f"two classes have one name: {', '.join(classes)}")
    if not len(given):
        return
    whole = np.issubdtype(given.dtype, np.integer)
    if data.kind == "class" and not (whole and given.min() >= -1 and given.max() < len(classes)):
        raise FerlibError(f"classes are told by numbers from 0 to {len(classes) - 1}, -1 for none")
    if data.kind != "class" and not (given >= 0).all():  # also refuses nan
        raise FerlibError(f"{data.kind} of classes are numbers from 0 on")
    if data.kind == "votes" and tuple(classes) != EMOTIONS:
        raise FerlibError(
            f"whole numbers {given.shape} are for FER+'s votes (N, 10) on its emotions; the "
            f"classes {', '.join(classes)} take a number each, (N,), or shares that sum to 1"
        )
    if data.kind == "shares":
        sums = given.sum(axis=1)
        wrong = np.flatnonzero(~((np.abs(sums - 1) < NEAR) | (sums == 0)))
        if len(wrong):
            raise FerlibError(
                f"the shares of row {wrong[0]} sum to {sums[wrong[0]]:g}: expected 1, or 0 where "
                "nothing is known"
            )


def _check_rows(data: Dataset) -> None:
    """FerlibError unless what is told of each picture is told of as many as there are."""
    for name in ("names", "rows", "parts", "groups"):
        told = getattr(data, name)
        if told is not None and len(told) != len(data):
            raise FerlibError(f"{len(data)} pictures, but {name} of {len(told)}")
    parts = data.parts
    if parts is not None and len(parts) and not np.isin(parts, range(len(SPLITS))).all():
        raise FerlibError(f"parts are told by 0, 1 and 2 for {', '.join(SPLITS)}")


def check_dataset(data: Any, what: str) -> None:
    """FerlibError unless `data` is a Dataset; it says how to have one of FER2013."""
    if isinstance(data, Dataset):
        return
    hint = ": take one of its splits, by `split` or `labelled`" * hasattr(data, "labelled")
    raise FerlibError(f"{what}: expected a Dataset, found {type(data).__name__}{hint}")


def _told(given: Any) -> str:
    return f"{given.dtype} {given.shape}" if hasattr(given, "shape") else type(given).__name__


class Resized:
    """A data set's pictures at another size, read when they are asked for."""

    def __init__(self, data: Dataset, size: int, channels: int):
        self._data, self._size, self._channels = data, size, channels

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, rows: "np.ndarray | slice") -> np.ndarray:
        """uint8 (n, size, size), or with a last axis of 3."""
        some = [self._data.pictures[int(row)] for row in np.arange(len(self))[rows]]
        return images.resize(some, self._size, self._channels)


def _fits(pictures: np.ndarray, size: int, channels: int) -> bool:
    """Whether pictures in memory can be warped to `size`: square, not far larger, gray or RGB."""
    square = pictures.shape[1] == pictures.shape[2] <= 2 * size
    return square and (pictures.ndim == 4) == (channels == 3)


def _scattered(name: str) -> bytes:
    """An order that has nothing to do with what names say."""
    return hashlib.sha256(str(name).encode(errors="surrogateescape")).digest()


def fingerprint(data: Dataset, pictures: "np.ndarray | Resized") -> str:
    """Of the pictures as `array` gave them and of the labels; of files by name, size and time."""
    if isinstance(pictures, np.ndarray):
        return files.fingerprint(pictures, data.labels)
    if isinstance(data.pictures, np.ndarray):  # in memory, but of another size
        return files.fingerprint(data.pictures, data.labels)
    stats = [(path, Path(path).stat()) for path in data.pictures.paths]
    known = repr([(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats])
    return files.fingerprint(np.frombuffer(known.encode(errors="replace"), np.uint8), data.labels)
