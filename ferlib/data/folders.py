"""Labelled pictures in folders -> a Dataset: other people's faces, or classes of one's own.

    folders     class/picture.png, alone or in splits: train/class/picture.png; Kaggle's CK+48 and
                many others lie so
    table       a CSV that names pictures and the votes for each class, see `ferlib.data.table`
    ckplus, ckextended, jaffe, ferg     see `ferlib.data.forms`

Each can be learnt from (`ferlib train --data`) and measured on (`ferlib evaluate --folder`).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from ferlib.data import forms, table
from ferlib.data.dataset import Dataset
from ferlib.data.fer2013 import OWN_FORMS
from ferlib.data.gather import DEPTH, SKIP, Found, levels, pictures, subfolders, take, within
from ferlib.data.labels import EMOTIONS
from ferlib.data.naming import Names, split_named
from ferlib.errors import FerlibError, check_kind
from ferlib.files import check_folder

# In the order in which "auto" tries them: a plain folder comes last.
FORMS: dict[str, Callable[[Path], Found | None]] = {
    "ckextended": forms.ckextended,
    "ckplus": forms.ckplus,
    "ferg": forms.ferg,
    "jaffe": forms.jaffe,
}
CK48 = re.compile(r"S\d{3}_\d{3}_\d{8}\.\w+")  # person, sequence and frame: of each the last three
NAMED = ("table", "folders")  # whose classes may have any names
KINDS = ("table", *FORMS, "folders")
LAYOUTS = {
    "auto": "emotion/picture.png, split/emotion/picture.png, a CSV of votes, or CK+, JAFFE or FERG "
    "as published",
    "table": f"a .csv with {table.COLUMNS}",
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
    folders or of a table's classes, and None takes all names there as they are. `names` says which
    class such a name means; "skip" leaves it out.
    Where all of `classes` are emotions, pictures of the others are `skipped`. Raises FerlibError
    where the layout is another, nothing has a class, a name is unknown, or a CSV is damaged.
    """
    _check_classes(classes)
    if classes is not None and set(classes) < set(EMOTIONS):
        return read(folder, kind, names).only(tuple(classes))
    check_folder(folder)
    folder = Path(folder)
    if kind not in ("auto", *KINDS):
        raise FerlibError(f"unknown kind {kind!r}: expected auto, {', '.join(KINDS)}")
    if not folder.exists():
        raise FerlibError(f"no such folder: {folder}")
    if names and kind not in ("auto", *NAMED):
        raise FerlibError(f"folders' names cannot be mapped in {kind}: it has labels of its own")
    own = classes is None or tuple(classes) != EMOTIONS
    if own and kind not in ("auto", *NAMED):
        raise FerlibError(f"{kind} has the emotions as its classes: it cannot have others")
    known = Names(names, classes)
    if kind in ("auto", "table") and table.is_table(folder):
        return table.read(folder, known)
    tried = [kind] if kind != "auto" else ["folders"] if names or own else [*FORMS, "folders"]
    readers: dict = FORMS | {"folders": partial(_plain, names=known)}
    found = next(filter(None, (readers[one](folder) for one in tried if one in readers)), None)
    if not found or not found.paths:
        raise _nothing(folder, kind, found)
    return found.dataset(str(folder))


def _check_classes(classes: Sequence[str] | None) -> None:
    """FerlibError unless these are names in an order, which a set has not."""
    if classes is None:
        return
    check_kind("classes", classes, (tuple, list), "a list of names")
    if not classes:
        raise FerlibError("classes: expected one name or more, or None for all there are")
    for name in classes:
        check_kind("classes", name, str, "names")


def shows_emotions(folder: str | Path, names: Mapping[str, str] | None = None) -> bool:
    """Whether a data set's classes are emotions, or `names` leads to such; else it has its own."""
    if any(meant != SKIP for meant in (names or {}).values()):
        return True  # and `read` says which name still means none
    try:
        read(folder, names=names)
    except FerlibError as error:
        if error.code != "unknown_class":
            raise
        return False
    return True


def _nothing(folder: Path, kind: str, found: Found | None) -> FerlibError:
    if any((folder / form).is_file() for form in OWN_FORMS):
        return FerlibError(f"{folder} holds FER2013 without FER+'s votes: put fer2013new.csv there")
    what = "is a file" if folder.is_file() else "holds no pictures with an emotion"
    for path, reason in found.damaged[:1] if found else ():
        what += f" ({path}: {reason})"
    return FerlibError(f"{folder} {what}.\nExpected {LAYOUTS[kind]}.")


# ---------------------------------------------------------------- plain folders


def _plain(folder: Path, names: Names) -> Found:
    places, around = _places(folder, names)
    inside = [sub for place in places for sub in subfolders(place)]
    if names.classes is None:
        names.take_all(_classes(folder, inside))
    names.check_used([sub.name for sub in inside], f"{folder} has no folder")
    found = Found("folders", names.classes or ())
    for sub in inside:
        take(found, sub, names[sub.name], _part(sub, folder) or 0)
    stray = [file for place in around for file in pictures(place, found)]
    found.skipped += [(str(file), "in no class's folder") for file in stray]
    found.skipped += [
        (str(sub), "deeper than the classes' folders") for sub in _deeper(places, around)
    ]
    parts = {name: _part(Path(name), folder) for name, _ in (*found.skipped, *found.damaged)}
    found.lost = {name: part for name, part in parts.items() if part is not None}
    if all(CK48.fullmatch(Path(path).name) for path in found.paths):
        found.people = [Path(path).name.partition("_")[0] for path in found.paths]
    return found


def _classes(folder: Path, inside: Sequence[Path]) -> list[str]:
    """The names of the folders with pictures; FerlibError where they are no classes but splits."""
    held = [sub.name for sub in inside if _filled(sub)]
    if held and not any(map(_may_be_class, held)):
        known = " and ".join(sorted(set(held))[:3])
        raise FerlibError(
            f"{folder}: {known} are names of splits, not of classes.\n"
            f"Expected {LAYOUTS['folders'].replace('emotion', 'class')}"
        )
    return held


def _filled(folder: Path) -> bool:
    return bool(pictures(folder, Found("")))


def _may_be_class(name: str) -> bool:
    return split_named(name) is None


def _deeper(places: Sequence[Path], passed: Sequence[Path]) -> list[Path]:
    """Folders of pictures beside the places, at another depth: nobody would miss them."""
    beside = (one for one in passed if not any(place.is_relative_to(one) for place in places))
    return sorted({sub for one in beside for sub in within(one)[1:] if _filled(sub)})


def _part(path: Path, folder: Path) -> int | None:
    """The split that the folders around a path tell, index into SPLITS, the innermost first."""
    told = map(split_named, path.relative_to(folder).parts[-2::-1])
    return next((part for part in told if part is not None), None)


def _places(folder: Path, names: Names) -> tuple[list[Path], list[Path]]:
    """The folders in which classes' folders lie, `folder` or splits below it, and those passed.

    Where no name is known they are those with folders of pictures, of which some are called
    otherwise than splits: `take` will say so.
    """

    def named(sub: Path) -> bool:
        return names[sub.name] is not None

    def of_class(sub: Path) -> bool:
        return _may_be_class(sub.name) and _filled(sub)

    for wanted in (named, of_class):
        passed = []
        for level in levels(folder, DEPTH):
            passed += level
            places = [place for place in level if any(map(wanted, subfolders(place)))]
            if places:
                return places, passed
    return [folder], [folder]
