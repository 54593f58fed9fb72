"""Labelled pictures in folders -> a Dataset: other people's faces, or classes of one's own.

    folders     class/picture.png, alone or in splits: train/class/picture.png; Kaggle's CK+48 and
                many others lie so
    ckplus, ckextended, jaffe, ferg     see `ferlib.data.forms`

Each can be learnt from (`ferlib train --data`) and measured on (`ferlib evaluate --folder`).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from ferlib.data import forms
from ferlib.data.dataset import Dataset
from ferlib.data.gather import (
    DEPTH,
    LEFT_OUT,
    SKIP,
    WORDS,
    Found,
    levels,
    pictures,
    subfolders,
    take,
)
from ferlib.data.labels import EMOTIONS
from ferlib.errors import FerlibError

# What folders around the classes' folders say of their split: index into dataset.SPLITS.
PARTS = {"train": 0, "training": 0, "valid": 1, "validation": 1, "val": 1, "dev": 1}
PARTS |= {"publictest": 1, "test": 2, "testing": 2, "privatetest": 2}

# In the order in which "auto" tries them: a plain folder comes last.
FORMS: dict[str, Callable[[Path], Found | None]] = {
    "ckextended": forms.ckextended,
    "ckplus": forms.ckplus,
    "ferg": forms.ferg,
    "jaffe": forms.jaffe,
}
KINDS = (*FORMS, "folders")
LAYOUTS = {
    "auto": "emotion/picture.png, split/emotion/picture.png, or CK+, JAFFE or FERG as published",
    "ckextended": "ckextended.csv (emotion,pixels,Usage)",
    "ckplus": "cohn-kanade-images/S005/001/*.png beside Emotion/S005/001/*_emotion.txt",
    "ferg": "FERG_DB_256/aia/aia_anger/*.png",
    "jaffe": "pictures called KA.AN1.39.tiff and so on",
    "folders": "emotion/picture.png or split/emotion/picture.png",
}


def read(
    folder: str | Path,
    kind: str = "auto",
    names: Mapping[str, str] | None = None,
    classes: Sequence[str] | None = EMOTIONS,
) -> Dataset:
    """A data set as it was unpacked -> Dataset; `kind` is one of KINDS, or "auto" to find out.

    `classes` are those that it may hold; other than the emotions they are the names of plain
    folders, and None takes all folders' names as they are. `names` says which class a plain
    folder's name means; "skip" leaves the folder out.
    Raises FerlibError where the layout is another, nothing has a class, a folder's name is
    unknown, or a CSV is damaged.
    """
    if not str(folder):  # Path("") would be the working folder
        raise FerlibError("the folder's name is empty")
    folder = Path(folder)
    if kind not in ("auto", *KINDS):
        raise FerlibError(f"unknown kind {kind!r}: expected auto, {', '.join(KINDS)}")
    if not folder.exists():
        raise FerlibError(f"no such folder: {folder}")
    if names and kind not in ("auto", "folders"):
        raise FerlibError(f"folders' names cannot be mapped in {kind}: it has labels of its own")
    own = classes is None or tuple(classes) != EMOTIONS
    if own and kind not in ("auto", "folders"):
        raise FerlibError(f"{kind} has the emotions as its classes: it cannot have others")
    tried = ["folders"] if names or own else list(KINDS) if kind == "auto" else [kind]
    known = _Names(names, classes)
    readers = [FORMS.get(one, partial(_plain, names=known)) for one in tried]
    found = next(filter(None, (reader(folder) for reader in readers)), None)
    if not found or not found.paths:
        raise _nothing(folder, kind, found)
    return found.dataset(str(folder))


def shows_emotions(folder: str | Path) -> bool:
    """Whether a data set's classes are emotions; else its folders have names of their own."""
    try:
        read(folder)
    except FerlibError as error:
        if error.code != "unknown_class":
            raise
        return False
    return True


def _nothing(folder: Path, kind: str, found: Found | None) -> FerlibError:
    what = "is a file" if folder.is_file() else "holds no pictures with an emotion"
    for path, reason in found.damaged[:1] if found else ():
        what += f" ({path}: {reason})"
    return FerlibError(f"{folder} {what}.\nExpected {LAYOUTS[kind]}.")


# ---------------------------------------------------------------- plain folders


class _Names:
    """What folders' names mean: word, in lower case -> index into `classes`."""

    def __init__(self, given: Mapping[str, str] | None, classes: Sequence[str] | None):
        self.given = {name.lower(): meant for name, meant in (given or {}).items()}
        self.words: dict[str, int] = {}
        self.classes: tuple[str, ...] | None = None
        if classes is not None:
            self._know(tuple(classes))

    def _know(self, classes: tuple[str, ...]) -> None:
        words = {name.lower(): number for number, name in enumerate(classes)}
        words = WORDS | words if classes == EMOTIONS else words
        for name, meant in self.given.items():
            if meant.lower() not in (*words, SKIP):
                known = f"{', '.join(classes)} or {SKIP}"
                raise FerlibError(f"{name} cannot stand for {meant!r}: expected {known}")
        given = {name: words.get(meant.lower(), LEFT_OUT) for name, meant in self.given.items()}
        self.classes, self.words = classes, words | given

    def take_all(self, folders: list[Path]) -> None:
        """Where any name is a class: those of the folders with pictures, or what they stand for."""
        held = sorted(sub.name for sub in folders if pictures(sub, Found("")))
        meant = [self.given.get(name.lower(), name) for name in held]
        named = {name.lower(): name for name in reversed(meant)}  # splits may differ in case
        if SKIP in map(str.lower, self.given.values()):
            named.pop(SKIP, None)
        self._know(tuple(named[key] for key in sorted(named)))

    def __getitem__(self, name: str) -> int | None:
        return next((self.words[key] for key in _keys(name) if key in self.words), None)


def _plain(folder: Path, names: _Names) -> Found:
    places, around = _places(folder, names)
    inside = [sub for place in places for sub in subfolders(place)]
    if names.classes is None:
        names.take_all(inside)
    unused = set(names.given) - {key for sub in inside for key in _keys(sub.name)}
    if unused:
        raise FerlibError(f"{folder} has no folder called {min(unused)}: nothing to map")
    found = Found("folders", names.classes or ())
    for sub in inside:
        take(found, sub, names[sub.name], 0 if sub.parent == folder else _part(sub.parent.name))
    stray = [file for place in around for file in pictures(place, found)]
    found.skipped += [(str(file), "in no class's folder") for file in stray]
    return found


def _part(name: str) -> int:
    """The split that a folder's name tells, index into SPLITS; what says none is to learn from."""
    words = re.split(r"[^a-z]+", name.lower())
    return next((PARTS[word] for word in words if word in PARTS), 0)


def _places(folder: Path, names: _Names) -> tuple[list[Path], list[Path]]:
    """The folders in which classes' folders lie, `folder` or splits below it, and those passed.

    Where no name is known they are those with folders of pictures: `take` will say so.
    """

    def named(sub: Path) -> bool:
        return names[sub.name] is not None

    def filled(sub: Path) -> bool:
        return bool(pictures(sub, Found("")))

    for wanted in (named, filled):
        passed = []
        for level in levels(folder, DEPTH):
            passed += level
            places = [place for place in level if any(map(wanted, subfolders(place)))]
            if places:
                return places, passed
    return [folder], [folder]


def _keys(name: str) -> tuple[str, str]:
    """A folder's name in lower case, with and without a number before it ("0_anger")."""
    name = name.strip().lower()
    return name, re.sub(r"^\d+[ _.-]+", "", name)
