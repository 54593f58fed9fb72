"""What is gathered while folders of pictures are read, and how they are walked."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ferlib.data.dataset import Dataset, Files
from ferlib.data.labels import EMOTIONS
from ferlib.errors import FerlibError

SUFFIXES: tuple[str, ...] = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".gif", ".webp", ".bmp")
SUFFIXES += (".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm")
DEPTH = 3  # archives unpack into folders of their own: so far below the named one it is looked
LEFT_OUT = -1  # in place of a class

# What folders are called, in any case; "suprise" is how one widely copied data set spells it.
SYNONYMS = {
    "neutral": "neutral neutrality calm",
    "happiness": "happiness happy joy joyful",
    "surprise": "surprise surprised suprise suprised",
    "sadness": "sadness sad sorrow",
    "anger": "anger angry",
    "disgust": "disgust disgusted",
    "fear": "fear fearful afraid scared",
    "contempt": "contempt contemptuous scorn",
}
WORDS = {word: EMOTIONS.index(name) for name, row in SYNONYMS.items() for word in row.split()}
SKIP = "skip"  # a mapping's word for a folder that does not count


@dataclass
class Found:
    """What is gathered while a data set is read; `classes` are the names that `labels` count."""

    form: str
    classes: tuple[str, ...] = EMOTIONS
    paths: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    parts: list[int] = field(default_factory=list)  # index into SPLITS
    people: list[str] = field(default_factory=list)  # where a data set names them
    skipped: list[tuple[str, str]] = field(default_factory=list)
    damaged: list[tuple[str, str]] = field(default_factory=list)
    lost: dict[str, int] = field(default_factory=dict)  # as `Dataset.lost`
    pixels: np.ndarray | None = None

    def add(self, path: str | Path, label: int, part: int = 0, person: str = "") -> None:
        self.paths.append(str(path))
        self.labels.append(label)
        self.parts.append(part)
        self.people.append(person)

    def dataset(self, source: str) -> Dataset:
        """As what it is handed on."""
        return Dataset(
            pictures=Files(self.paths) if self.pixels is None else self.pixels,
            labels=np.array(self.labels, int),
            classes=self.classes,
            source=source,
            form=self.form,
            names=self.paths,
            parts=np.array(self.parts, np.uint8),
            groups=self.people if all(self.people) else None,
            skipped=self.skipped,
            damaged=self.damaged,
            lost=self.lost,
        )


def take(found: Found, folder: Path, label: int | None, part: int = 0, who: str = "") -> None:
    """The pictures of one class's folder into `found`."""
    inside = pictures(folder, found)
    if label is None and inside:
        rows = (row.replace(" ", ", ") for row in SYNONYMS.values())
        known = "; ".join(rows if found.classes == EMOTIONS else found.classes)
        what = "emotion" if found.classes == EMOTIONS else "class"
        raise FerlibError(
            f"{folder}: no {what} is known as {folder.name!r}; say which it is with --map "
            f"{folder.name}={what.upper()} (or ={SKIP}).\nKnown: {known}",
            "unknown_class",
        )
    reason = "left out by the mapping" if label == LEFT_OUT else "no pictures in it"
    if label is None or label == LEFT_OUT or not inside:
        found.skipped.append((str(folder), reason))
        return
    found.skipped += [(str(sub), "a folder in a class's folder") for sub in subfolders(folder)]
    for picture in inside:
        found.add(picture, label, part, who)


def subfolders(folder: Path) -> list[Path]:
    """Sorted, without hidden ones and what macOS adds to archives."""
    return [path for path in entries(folder) if path.is_dir() and path.name != "__MACOSX"]


def pictures(folder: Path, found: Found) -> list[Path]:
    """Files with a picture's suffix, sorted; a broken link is told of in `found`."""
    paths = [path for path in entries(folder) if path.suffix.lower() in SUFFIXES]
    gone = [path for path in paths if not path.is_file() and not path.is_dir()]
    found.damaged += [(str(path), "no file, or a link to none") for path in gone]
    return [path for path in paths if path.is_file()]


def entries(folder: Path) -> list[Path]:
    """What is in a folder, sorted, without hidden files; [] where there is no such folder."""
    try:
        names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except (NotADirectoryError, FileNotFoundError):
        return []
    except OSError as error:
        raise FerlibError(f"cannot read {folder}: {error.strerror}") from None
    return [folder / name for name in names]


def levels(folder: Path, depth: int) -> Iterator[list[Path]]:
    """[folder], the folders in it and so on `depth` levels down, each real one once: links loop."""
    seen, level = set(), [folder]
    for _ in range(depth + 1):
        new = {os.path.realpath(place): place for place in reversed(level)}
        level = sorted(place for real, place in new.items() if real not in seen)
        seen |= set(new)
        yield level
        level = [sub for place in level for sub in subfolders(place)]


def within(folder: Path, depth: int = DEPTH) -> list[Path]:
    """A folder and those in it, `depth` levels down, each real one once."""
    return [place for level in levels(folder, depth) for place in level]
