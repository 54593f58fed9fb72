"""Any data by its place: FER2013 with its votes, another data set, plain folders, drawn faces."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ferlib.data import fer2013, folders
from ferlib.data.dataset import SPLITS, Dataset
from ferlib.data.fer2013 import Fer2013
from ferlib.data.gather import SKIP
from ferlib.data.labels import EMOTIONS, LABEL_SETS, SEVEN
from ferlib.errors import FerlibError, check_choice

DRAWN = "drawn"


def open_data(
    place: str | Path | None = None, names: Mapping[str, str] | None = None, own: bool = False
) -> Fer2013 | Dataset:
    """What lies at a place; both kinds have `split`. None: FER2013 in $FERLIB_DATA or data/.

    "drawn" is the drawn faces; a folder holds FER2013, or what `folders.read` reads, as it does a
    CSV of votes. The classes are the emotions where all names there mean one, unless `own` takes
    the names as they are. `names` maps folders' names, and those of a CSV's classes, to classes.
    FerlibError where somebody's own classes are fewer than two, or one has nothing to learn from.
    """
    if place is not None and str(place) == DRAWN:
        return fer2013.sample_data()
    if place is None or fer2013.holds_data(Path(place)) or not Path(place).exists():
        return fer2013.load(place)
    emotions = not own and folders.shows_emotions(place, names)
    data = folders.read(place, names=names, classes=EMOTIONS if emotions else None)
    if not emotions:
        _check_classes(data)
    return data


def shown_to(data: Fer2013 | Dataset, split: str, classes: tuple[str, ...]) -> Dataset:
    """One of SPLITS for a net of these classes: of FER2013, for its seven, its own labels.

    FerlibError where the pictures show other classes.
    """
    if isinstance(data, Fer2013):
        keep = "usable" if split == "train" else "majority"
        part = data.labelled(split) if classes == SEVEN else data.split(split, keep=keep)
    else:
        part = data.split(split)
        if part.classes != classes and set(classes) <= set(part.classes):
            part = part.only(classes)
    if part.classes != classes:
        told = ", ".join(classes)
        raise FerlibError(f"the net tells apart {told}; these pictures show others")
    return part


def to_train(
    data: Fer2013,
    labels: str = "ferplus",
    protocol: str = "fer2013new.csv",
    without_duplicates: bool = False,
) -> list[Dataset]:
    """What to learn from and what to judge by, with one of LABEL_SETS."""
    check_choice("labels", labels, LABEL_SETS)
    if labels == "fer2013":
        return [data.labelled("train", without_duplicates), data.labelled("valid")]
    learn = data.split("train", protocol, "usable", without_duplicates)
    return [learn, data.split("valid", protocol)]


def _check_classes(data: Dataset) -> None:
    """FerlibError where classes of somebody's own are no task: one only, or one never shown."""
    if len(data.classes) == 1:
        raise FerlibError(f"{data.source} has one class only, {data.classes[0]}: expected more")
    parts = np.zeros(len(data), int) if data.parts is None else data.parts
    for name, share in zip(data.classes, data.shares.T, strict=True):
        held = [SPLITS[part] for part in np.unique(parts[share > 0])]
        if "train" not in held and (parts == 0).any():
            where = f" (it is in {' and '.join(held)})" if held else ""
            raise FerlibError(
                f"{data.source}: no picture to learn from shows {name}{where}.\nGive the split "
                f"train some of each class, or leave this one out with --map {name}={SKIP}"
            )
