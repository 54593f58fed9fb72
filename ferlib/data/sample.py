"""The embedded default: drawn faces with ten simulated votes, in the very files of the real data.

FER2013 may not be passed on, so everything here runs on cartoons (`ferlib.data.cartoon`) until the
reader has it. Each picture is read by ten simulated people who disagree about as much as those of
FER+ do. `write` stores both in the published formats of fer2013.csv and fer2013new.csv.
"""

import csv
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from tqdm import tqdm

from ferlib.data.cartoon import draw, no_face, strengths
from ferlib.data.labels import EMOTIONS
from ferlib.errors import FerlibError
from ferlib.files import whole_files

# Ten people a picture. Shares of the votes that other readings get from a face at full strength,
# after the mean votes of FER+'s kept rows, and how fast a weaker face is read as neutral.
CONFUSED_WITH = {
    "neutral": {"sadness": 0.09, "happiness": 0.03, "anger": 0.03, "contempt": 0.03},
    "happiness": {"neutral": 0.02, "surprise": 0.02, "contempt": 0.01},
    "surprise": {"fear": 0.10, "happiness": 0.03, "neutral": 0.02},
    "sadness": {"neutral": 0.07, "fear": 0.03, "anger": 0.03, "disgust": 0.02},
    "anger": {"disgust": 0.07, "sadness": 0.03, "neutral": 0.03, "surprise": 0.02},
    "disgust": {"anger": 0.13, "sadness": 0.05, "contempt": 0.03},
    "fear": {"surprise": 0.14, "sadness": 0.05, "anger": 0.02},
    "contempt": {"neutral": 0.07, "happiness": 0.04, "disgust": 0.05, "anger": 0.03},
}
UNKNOWN, NON_FACE = 8, 9  # the columns after the eight emotions
UNKNOWN_SHARE, NON_FACE_SHARE = 0.035, 0.001
FADE = 0.62  # share of the votes that a face of intensity 0 would lose to neutral
LIKEMINDED = 14.0  # strength of the Dirichlet draw for each picture: lower divides people more


def _shares() -> np.ndarray:
    """The table above as (8, 10) shares, every row summing to 1."""
    table = np.zeros((8, 10))
    table[:, UNKNOWN], table[:, NON_FACE] = UNKNOWN_SHARE, NON_FACE_SHARE
    for row, emotion in zip(table, EMOTIONS, strict=True):
        for other, share in CONFUSED_WITH[emotion].items():
            row[EMOTIONS.index(other)] = share
    table[np.arange(8), np.arange(8)] += 1 - table.sum(1)
    return table


def votes(emotions: np.ndarray, intensities: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """How ten people read each face.

    emotions: (N,) indices into EMOTIONS; intensities: (N,) in 0..1.
    Returns uint8 (N, 10): votes for the eight emotions, unknown, non-face; rows sum to 10.
    """
    weak = (FADE * (1 - np.asarray(intensities)))[:, None]
    shares = (1 - weak) * _shares()[emotions] + weak * _shares()[0]
    likely = rng.standard_gamma(LIKEMINDED * shares + 1e-9) + 1e-12
    return rng.multinomial(10, likely / likely.sum(1, keepdims=True)).astype(np.uint8)


# The files. Rows are as uneven as FER2013's, with enough of the rare emotions to learn them.
SPLIT_NAMES = ("Training", "PublicTest", "PrivateTest")
SHARES = (0.27, 0.22, 0.13, 0.12, 0.10, 0.05, 0.06, 0.05)  # in the order of EMOTIONS
COPIED = 0.02  # share of the rows outside training that repeat a training picture
WITHOUT_FACE = 0.006  # as in FER2013: 173 of 35,887 rows
CLASSES = (6, 3, 5, 4, 0, 1, 2)  # FER2013's seven for EMOTIONS; it has none for contempt


def _emotions(n: int, rng: np.random.Generator) -> np.ndarray:
    """int (n,) indices into EMOTIONS by SHARES, shuffled; -1 for the rows without a face."""
    ends = np.rint(np.cumsum(SHARES) * n).astype(int)
    emotions = np.searchsorted(ends, np.arange(n), side="right").clip(max=7)
    rng.shuffle(emotions)
    emotions[rng.permutation(n)[: round(WITHOUT_FACE * n)]] = -1
    return emotions


def _classes(votes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """FER2013's own label, (N,): the answer of one of the ten people, squeezed into seven."""
    one = (votes.cumsum(axis=1) > rng.integers(10, size=(len(votes), 1))).argmax(axis=1)
    either = rng.choice((0, 6), len(votes))  # contempt, unknown and no face: Angry or Neutral
    return np.where(one < 7, np.array((*CLASSES, 0, 0, 0))[one], either)


def sample(n: Sequence[int] = (3000, 400, 400), seed: int = 0) -> SimpleNamespace:
    """Draw the three splits of a small FER2013; `write` stores them.

    n: rows for Training, PublicTest, PrivateTest, N in all. Returns arrays: pictures uint8
    (N, 48, 48); usage (N,) index into SPLIT_NAMES; classes (N,) FER2013's seven; votes uint8
    (N, 10); names (N,), '' where there is no face; drawn (N,) the emotion the face was drawn with,
    -1 for none; first (N,) the row whose picture this one repeats, its own number for most.
    """
    if len(n) != 3 or any(int(rows) != rows or rows < 1 for rows in n):
        raise FerlibError(
            f"n is {n!r}: expected three numbers of rows, one a split, each at least 1"
        )
    rng = np.random.default_rng(seed)
    usage = np.repeat(np.arange(3), n)
    drawn = np.concatenate([_emotions(rows, rng) for rows in n])
    strength, first = strengths(len(usage), rng), np.arange(len(usage))
    faces = np.flatnonzero((usage == 0) & (drawn >= 0))
    again = (usage > 0) & (drawn >= 0) & (rng.random(len(usage)) < COPIED)
    first[again] = rng.choice(faces, again.sum())
    drawn, strength = drawn[first], strength[first]
    pictures = np.zeros((len(usage), 48, 48), np.uint8)
    for row in tqdm(np.arange(len(usage)), "drawing faces", delay=2, disable=None):
        if first[row] != row:
            pictures[row] = pictures[first[row]]
        elif drawn[row] >= 0:
            pictures[row] = draw(EMOTIONS[drawn[row]], rng, intensity=strength[row])
        elif rng.random() < 0.75:  # the rest stay black, like 12 rows of the real data
            pictures[row] = no_face(rng)
    ten = votes(drawn, strength, rng)  # twins are voted on afresh, as in the real label.csv
    ten[drawn < 0] = np.eye(10, dtype=np.uint8)[NON_FACE] * 10
    number = np.cumsum(drawn >= 0) - 1  # lags behind the row number, as in the real data
    names = np.where(drawn >= 0, [f"fer{k:07d}.png" for k in number], "")
    return SimpleNamespace(
        pictures=pictures, usage=usage, classes=_classes(ten, rng), votes=ten, names=names,
        drawn=drawn, first=first,
    )  # fmt: skip


def write(folder: str | Path, n: Sequence[int] = (3000, 400, 400), seed: int = 0) -> None:
    """Draw faces and store them as folder/fer2013.csv and folder/fer2013new.csv.

    The files have the published headers, columns, order of splits and line ends. The same n and
    seed give the same bytes. FerlibError, with nothing left behind, when the disk is full.
    """
    rows = sample(n, seed)
    usage = [SPLIT_NAMES[k] for k in rows.usage]
    numbers = [str(level) for level in range(256)]
    pixels = (" ".join([numbers[p] for p in picture.tobytes()]) for picture in rows.pictures)
    votes_header = ["Usage", "Image name", *EMOTIONS, "unknown", "NF"]
    pictures = zip(rows.classes, pixels, usage, strict=True)
    ten = zip(usage, rows.names, *rows.votes.T, strict=True)
    tables: dict[str, Iterable] = {
        "fer2013.csv": chain([("emotion", "pixels", "Usage")], pictures),
        "fer2013new.csv": chain([votes_header], ten),
    }
    with whole_files(*(Path(folder, name) for name in tables)) as places:
        for place, table in zip(places, tables.values(), strict=True):
            with open(place, "w", newline="") as file:
                csv.writer(file, lineterminator="\n").writerows(table)
