"""Other people's labelled faces -> pictures and emotions, to see whether a net generalises.

    folders     emotion/picture.png, alone or in splits: train/emotion/picture.png; Kaggle's CK+48
                and many others lie so
    ckplus      CK+ as published (Lucey et al. 2010): cohn-kanade-images/S005/001/*.png beside
                Emotion/S005/001/*_emotion.txt
    ckextended  Kaggle's ckextended.csv: CK+ at 48x48 in FER2013's form
    jaffe       JAFFE (Lyons et al. 1998): KA.AN1.39.tiff
    ferg        FERG (Aneja et al. 2016): FERG_DB_256/aia/aia_anger/*.png

`ferlib.generalise.evaluate_folder` measures a net on them.
"""

import csv
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ferlib.errors import FerlibError
from ferlib.images import read_picture
from ferlib.labels import EMOTIONS

SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
SIDE = 48  # of the pictures in ckextended.csv
DEPTH = 3  # archives unpack into folders of their own: so far below the named one it is looked

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
LEFT_OUT = -1

# The data sets' own codes, in their order.
_CKPLUS = ("neutral", "anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise")
_CKEXTENDED = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
_CKEXTENDED += ("contempt",)  # the others are FER2013's
_JAFFE = {"AN": "anger", "DI": "disgust", "FE": "fear", "HA": "happiness", "NE": "neutral"}
_JAFFE |= {"SA": "sadness", "SU": "surprise"}


@dataclass
class Labelled:
    """N pictures and the emotion that each is said to show.

    paths:    str (N,); "FILE, row 1" for pictures in a CSV
    emotions: int (N,), indices into EMOTIONS
    skipped:  (path, reason) of what the data set does not label, or a mapping leaves out
    damaged:  (path, reason) of what should count and cannot
    pixels:   uint8 (N, 48, 48), the pictures of a CSV
    """

    kind: str
    paths: list[str] = field(default_factory=list)
    emotions: list[int] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    damaged: list[tuple[str, str]] = field(default_factory=list)
    pixels: np.ndarray | None = None

    def picture(self, row: int) -> np.ndarray:
        """uint8 (H, W, 3), or (48, 48) from a CSV. Raises FerlibError where it is unreadable."""
        return read_picture(self.paths[row]) if self.pixels is None else self.pixels[row]


def read(folder, kind: str = "auto", names: dict[str, str] | None = None) -> Labelled:
    """A data set as it was unpacked -> Labelled; `kind` is one of KINDS, or "auto" to find out.

    `names` says which emotion a plain folder's name means; "skip" leaves the folder out.
    Raises FerlibError where the layout is another, nothing has an emotion, a folder's name is
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
    tried = ["folders"] if names else list(KINDS) if kind == "auto" else [kind]
    found = next(filter(None, (KINDS[one](folder, names) for one in tried)), None)
    if not found or not found.paths:
        raise _nothing(folder, kind, found)
    return found


def _nothing(folder: Path, kind: str, found: Labelled | None) -> FerlibError:
    what = "is a file" if folder.is_file() else "holds no pictures with an emotion"
    for path, reason in found.damaged[:1] if found else ():
        what += f" ({path}: {reason})"
    return FerlibError(f"{folder} {what}.\nExpected {LAYOUTS[kind]}.")


# ---------------------------------------------------------------- plain folders


def _plain(folder: Path, names: dict[str, str] | None) -> Labelled:
    words, found = WORDS | _given(names), Labelled("folders")
    places, around = _places(folder, words)
    inside = [sub for place in places for sub in _subfolders(place)]
    unused = set(_given(names)) - {key for sub in inside for key in _keys(sub.name)}
    if unused:
        raise FerlibError(f"{folder} has no folder called {min(unused)}: nothing to map")
    for sub in inside:
        _take(found, sub, _emotion(sub.name, words))
    stray = [file for place in around for file in _pictures(place, found)]
    found.skipped += [(str(file), "in no emotion's folder") for file in stray]
    return found


def _given(names: dict[str, str] | None) -> dict[str, int]:
    """A user's mapping in WORDS' form."""
    given = {}
    for name, emotion in (names or {}).items():
        if emotion.lower() not in (*WORDS, SKIP):
            known = f"{', '.join(EMOTIONS)} or {SKIP}"
            raise FerlibError(f"{name} cannot stand for {emotion!r}: expected {known}")
        given[name.lower()] = WORDS.get(emotion.lower(), LEFT_OUT)
    return given


def _places(folder: Path, words: dict[str, int]) -> tuple[list[Path], list[Path]]:
    """The folders in which emotions' folders lie, `folder` or splits below it, and those passed.

    Where no name is known they are those with folders of pictures: `_take` will say so.
    """

    def named(sub: Path) -> bool:
        return _emotion(sub.name, words) is not None

    def filled(sub: Path) -> bool:
        return bool(_pictures(sub, Labelled("")))

    for wanted in (named, filled):
        passed = []
        for level in _levels(folder, DEPTH):
            passed += level
            places = [place for place in level if any(map(wanted, _subfolders(place)))]
            if places:
                return places, passed
    return [folder], [folder]


def _emotion(name: str, words: dict[str, int]) -> int | None:
    return next((words[key] for key in _keys(name) if key in words), None)


def _keys(name: str) -> tuple[str, str]:
    """A folder's name in lower case, with and without a number before it ("0_anger")."""
    name = name.strip().lower()
    return name, re.sub(r"^\d+[ _.-]+", "", name)


def _take(found: Labelled, folder: Path, emotion: int | None) -> None:
    """The pictures of one emotion's folder into `found`."""
    pictures = _pictures(folder, found)
    if emotion is None and pictures:
        known = "; ".join(row.replace(" ", ", ") for row in SYNONYMS.values())
        raise FerlibError(
            f"{folder}: no emotion is known as {folder.name!r}; say which it is with --map "
            f"{folder.name}=EMOTION (or ={SKIP}).\nKnown: {known}"
        )
    reason = "left out by the mapping" if emotion == LEFT_OUT else "no pictures in it"
    if emotion == LEFT_OUT or not pictures:
        found.skipped.append((str(folder), reason))
        return
    found.skipped += [(str(sub), "a folder in an emotion's folder") for sub in _subfolders(folder)]
    found.paths += map(str, pictures)
    found.emotions += [emotion] * len(pictures)


def _subfolders(folder: Path) -> list[Path]:
    """Sorted, without hidden ones and what macOS adds to archives."""
    return [path for path in _entries(folder) if path.is_dir() and path.name != "__MACOSX"]


def _pictures(folder: Path, found: Labelled) -> list[Path]:
    """Files with a picture's suffix, sorted; a broken link is told of in `found`."""
    paths = [path for path in _entries(folder) if path.suffix.lower() in SUFFIXES]
    gone = [path for path in paths if not path.is_file() and not path.is_dir()]
    found.damaged += [(str(path), "no file, or a link to none") for path in gone]
    return [path for path in paths if path.is_file()]


def _entries(folder: Path) -> list[Path]:
    """What is in a folder, sorted, without hidden files; [] where there is no such folder."""
    try:
        names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except (NotADirectoryError, FileNotFoundError):
        return []
    except OSError as error:
        raise FerlibError(f"cannot read {folder}: {error.strerror}") from None
    return [folder / name for name in names]


def _levels(folder: Path, depth: int) -> Iterator[list[Path]]:
    """[folder], the folders in it and so on `depth` levels down, each real one once: links loop."""
    seen, level = set(), [folder]
    for _ in range(depth + 1):
        new = {os.path.realpath(place): place for place in reversed(level)}
        level = sorted(place for real, place in new.items() if real not in seen)
        seen |= set(new)
        yield level
        level = [sub for place in level for sub in _subfolders(place)]


def _within(folder: Path, depth: int = DEPTH) -> list[Path]:
    return [place for level in _levels(folder, depth) for place in level]


# ---------------------------------------------------------------- forms of their own


def _ckplus(folder: Path, _names) -> Labelled | None:
    """The last frame of the labelled sequences, and the first, neutral one of every sequence."""
    # abspath, as the name of "." is empty
    places = {Path(os.path.abspath(p)).name.lower(): p for p in reversed(_within(folder))}
    if "cohn-kanade-images" not in places:
        return None
    if "emotion" not in places:
        raise FerlibError(
            f"{folder} holds the pictures of CK+ without the folder Emotion: name the folder with "
            "both.\nThe second is in Emotion_labels.zip, which comes with them."
        )
    found, frames = Labelled("ckplus"), places["cohn-kanade-images"]
    for sequence in (each for person in _subfolders(frames) for each in _subfolders(person)):
        label = places["emotion"] / sequence.parent.name / sequence.name
        _sequence(found, _pictures(sequence, found), label)
    return found


def _sequence(found: Labelled, frames: list[Path], labels: Path) -> None:
    """One sequence: from a neutral face to the peak, whose number the label's file has."""
    taken = {frames[0]: 0} if len(frames) > 1 else {}
    files = [path for path in _entries(labels) if path.name.endswith("_emotion.txt")]
    if not files:
        found.skipped.append((str(labels), "no label for the last frame"))
    for file in files:
        emotion = _ckplus_label(file)
        stem = file.name.removesuffix("_emotion.txt")
        peak = next((frame for frame in frames if frame.stem == stem), None)
        if emotion is None:
            found.damaged.append((str(file), "expected one number from 0 to 7"))
        elif peak is None:
            found.damaged.append((str(file), f"its picture {stem}.png is missing"))
        else:
            taken[peak] = emotion
    found.paths += map(str, taken)
    found.emotions += taken.values()


def _ckplus_label(file: Path) -> int | None:
    """The file holds one number such as "   3.0000000e+00"."""
    try:
        value = float(file.read_bytes()[:100].decode("ascii"))
        return EMOTIONS.index(_CKPLUS[int(value)]) if 0 <= value == int(value) else None
    except (OSError, ValueError, OverflowError, IndexError):  # nan and inf are no whole numbers
        return None


def _jaffe(folder: Path, _names) -> Labelled | None:
    """The second part of a name is its emotion: KA.AN1.39.tiff is KA's first angry face."""
    found = Labelled("jaffe")
    for file in (file for place in _within(folder) for file in _pictures(place, found)):
        code = re.match(r"[A-Z]{2}\.([A-Z]{2})\d+\.\d+\.", file.name.upper())
        if code and code[1] in _JAFFE:
            found.paths.append(str(file))
            found.emotions.append(EMOTIONS.index(_JAFFE[code[1]]))
        else:
            found.skipped.append((str(file), "not named as JAFFE's pictures are"))
    # A few among many others are a collection, which its folders sort.
    return found if len(found.paths) > len(found.skipped) else None


def _ferg(folder: Path, _names) -> Labelled | None:
    """Six drawn characters; aia/aia_anger holds the angry faces of aia."""
    found = Labelled("ferg")
    for character in _within(folder):
        for sub in _subfolders(character):
            who, _, word = sub.name.lower().rpartition("_")
            if who == character.resolve().name.lower() and word in WORDS:
                _take(found, sub, WORDS[word])
    return found if found.paths else None


def _ckextended(folder: Path, _names) -> Labelled | None:
    file = folder / "ckextended.csv" if folder.is_dir() else folder
    if not file.is_file() or file.suffix.lower() != ".csv":
        return None
    found, pixels = Labelled("ckextended"), []
    try:
        with open(file, encoding="utf-8-sig", newline="") as text:
            rows = filter(None, csv.reader(text))
            emotion, picture = _columns(next(rows, []), file)
            for cells in rows:
                pixels.append(_values(cells[picture]))
                found.emotions.append(_code(cells[emotion]))
                found.paths.append(f"{file}, row {len(pixels)}")
    except FerlibError:
        raise
    except IndexError:
        raise _bad_row(file, len(found.paths) + 1, "cells are missing") from None
    except (ValueError, csv.Error) as error:
        raise _bad_row(file, len(found.paths) + 1, str(error)) from None
    found.pixels = np.array(pixels, np.uint8).reshape(-1, SIDE, SIDE)
    return found


def _columns(header: list[str], file: Path) -> tuple[int, int]:
    names = [name.strip().lower() for name in header]
    if not {"emotion", "pixels"} <= set(names):
        have = ", ".join(header)[:60]
        raise FerlibError(
            f"{file}, line 1: the header is {have!a}.\nExpected emotion,pixels,Usage."
        )
    return names.index("emotion"), names.index("pixels")


def _code(cell: str) -> int:
    if cell.strip() not in tuple("01234567"):
        raise ValueError(f"the emotion is {cell.strip()[:20]!a}, expected 0 to 7")
    return EMOTIONS.index(_CKEXTENDED[int(cell)])


def _values(cell: str) -> np.ndarray:
    words = cell.split()
    if len(words) != SIDE * SIDE:
        raise ValueError(f"{len(words)} pixels, expected {SIDE * SIDE}")
    wrong = [word for word in set(words) if not (word.isascii() and word.isdigit())]
    wrong = wrong or [word for word in set(words) if len(word) > 3 or int(word) > 255]
    if wrong:
        raise ValueError(f"a pixel is {wrong[0][:20]!a}, expected 0 to 255")
    return np.array(words, np.uint8)


def _bad_row(file: Path, row: int, reason: str) -> FerlibError:
    return FerlibError(f"{file}, row {row}: {reason}.\nMend it, or get the file again.")


# In the order in which "auto" tries them: a plain folder comes last.
KINDS = {
    "ckextended": _ckextended,
    "ckplus": _ckplus,
    "ferg": _ferg,
    "jaffe": _jaffe,
    "folders": _plain,
}
LAYOUTS = {
    "auto": "emotion/picture.png, split/emotion/picture.png, or CK+, JAFFE or FERG as published",
    "ckextended": "ckextended.csv (emotion,pixels,Usage)",
    "ckplus": "cohn-kanade-images/S005/001/*.png beside Emotion/S005/001/*_emotion.txt",
    "ferg": "FERG_DB_256/aia/aia_anger/*.png",
    "jaffe": "pictures called KA.AN1.39.tiff and so on",
    "folders": "emotion/picture.png or split/emotion/picture.png",
}
