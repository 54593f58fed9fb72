"""Data sets that lie in forms of their own, as published or as Kaggle has them.

    ckplus      CK+ as published (Lucey et al. 2010): cohn-kanade-images/S005/001/*.png beside
                Emotion/S005/001/*_emotion.txt
    ckextended  Kaggle's ckextended.csv: CK+ at 48x48 in FER2013's form
    jaffe       JAFFE (Lyons et al. 1998): KA.AN1.39.tiff
    ferg        FERG (Aneja et al. 2016): FERG_DB_256/aia/aia_anger/*.png

`ferlib.data.folders.read` calls these; each gives None where a folder does not hold its form.
"""

import csv
import os
import re
from pathlib import Path

import numpy as np

from ferlib.data.gather import WORDS, Found, entries, pictures, subfolders, take, within
from ferlib.data.labels import EMOTIONS
from ferlib.data.naming import PARTS
from ferlib.errors import FerlibError

SIDE = 48  # of the pictures in ckextended.csv

# The data sets' own codes, in their order.
_CKPLUS = ("neutral", "anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise")
_CKEXTENDED: tuple[str, ...] = (
    "anger",
    "disgust",
    "fear",
    "happiness",
    "sadness",
    "surprise",
    "neutral",
)
_CKEXTENDED += ("contempt",)  # the others are FER2013's
_JAFFE = {"AN": "anger", "DI": "disgust", "FE": "fear", "HA": "happiness", "NE": "neutral"}
_JAFFE |= {"SA": "sadness", "SU": "surprise"}


def ckplus(folder: Path) -> Found | None:
    """The last frame of the labelled sequences, and the first, neutral one of every sequence."""
    # abspath, as the name of "." is empty
    places = {Path(os.path.abspath(p)).name.lower(): p for p in reversed(within(folder))}
    if "cohn-kanade-images" not in places:
        return None
    if "emotion" not in places:
        raise FerlibError(
            f"{folder} holds the pictures of CK+ without the folder Emotion: name the folder with "
            "both.\nThe second is in Emotion_labels.zip, which comes with them."
        )
    found, frames = Found("ckplus"), places["cohn-kanade-images"]
    for sequence in (each for person in subfolders(frames) for each in subfolders(person)):
        label = places["emotion"] / sequence.parent.name / sequence.name
        _sequence(found, pictures(sequence, found), label)
    return found


def _sequence(found: Found, frames: list[Path], labels: Path) -> None:
    """One sequence: from a neutral face to the peak, whose number the label's file has."""
    taken = {frames[0]: 0} if len(frames) > 1 else {}
    files = [path for path in entries(labels) if path.name.endswith("_emotion.txt")]
    if not files:
        found.skipped.append((str(labels), "no label for the last frame"))
    for file in files:
        label = _ckplus_label(file)
        stem = file.name.removesuffix("_emotion.txt")
        peak = next((frame for frame in frames if frame.stem == stem), None)
        if label is None:
            found.damaged.append((str(file), "expected one number from 0 to 7"))
        elif peak is None:
            found.damaged.append((str(file), f"its picture {stem}.png is missing"))
        else:
            taken[peak] = label
    for frame, label in taken.items():
        found.add(frame, label, person=frame.parent.parent.name)


def _ckplus_label(file: Path) -> int | None:
    """The file holds one number such as "   3.0000000e+00"."""
    try:
        value = float(file.read_bytes()[:100].decode("ascii"))
        return EMOTIONS.index(_CKPLUS[int(value)]) if 0 <= value == int(value) else None
    except (OSError, ValueError, OverflowError, IndexError):  # nan and inf are no whole numbers
        return None


def jaffe(folder: Path) -> Found | None:
    """The second part of a name is its emotion: KA.AN1.39.tiff is KA's first angry face."""
    found = Found("jaffe")
    for file in (file for place in within(folder) for file in pictures(place, found)):
        code = re.match(r"[A-Z]{2}\.([A-Z]{2})\d+\.\d+\.", file.name.upper())
        if code and code[1] in _JAFFE:
            found.add(file, EMOTIONS.index(_JAFFE[code[1]]), person=file.name.upper()[:2])
        else:
            found.skipped.append((str(file), "not named as JAFFE's pictures are"))
    # A few among many others are a collection, which its folders sort.
    return found if len(found.paths) > len(found.skipped) else None


def ferg(folder: Path) -> Found | None:
    """Six drawn characters; aia/aia_anger holds the angry faces of aia."""
    found = Found("ferg")
    for character in within(folder):
        for sub in subfolders(character):
            who, _, word = sub.name.lower().rpartition("_")
            if who == character.resolve().name.lower() and word in WORDS:
                take(found, sub, WORDS[word], who=who)
    return found if found.paths else None


def ckextended(folder: Path) -> Found | None:
    """Each row a picture with its code; FerlibError names the file and row that is wrong."""
    file = folder / "ckextended.csv" if folder.is_dir() else folder
    if not file.is_file() or file.suffix.lower() != ".csv":
        return None
    found, pixels = Found("ckextended"), []
    try:
        with open(file, encoding="utf-8-sig", newline="") as text:
            rows = filter(None, csv.reader(text))
            emotion, picture, usage = _columns(next(rows, []), file)
            for cells in rows:
                pixels.append(_values(cells[picture]))
                part = _part(cells[usage]) if usage is not None else 0
                found.add(f"{file}, row {len(pixels)}", _code(cells[emotion]), part)
    except FerlibError:
        raise
    except IndexError:
        raise _bad_row(file, len(found.paths) + 1, "cells are missing") from None
    except (ValueError, csv.Error) as error:
        raise _bad_row(file, len(found.paths) + 1, str(error)) from None
    found.pixels = np.array(pixels, np.uint8).reshape(-1, SIDE, SIDE)
    return found


def _columns(header: list[str], file: Path) -> tuple[int, int, int | None]:
    names = [name.strip().lower() for name in header]
    if not {"emotion", "pixels"} <= set(names):
        have = ", ".join(header)[:60]
        raise FerlibError(
            f"{file}, line 1: the header is {have!a}.\nExpected emotion,pixels,Usage."
        )
    usage = names.index("usage") if "usage" in names else None
    return names.index("emotion"), names.index("pixels"), usage


def _part(cell: str) -> int:
    if cell.strip().lower() not in PARTS:
        raise ValueError(
            f"the usage is {cell.strip()[:20]!a}, expected Training, PublicTest or PrivateTest"
        )
    return PARTS[cell.strip().lower()]


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
