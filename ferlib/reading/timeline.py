"""The drawing of who showed what when, over the videos of a run."""

import warnings
from array import array
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import numpy as np

from ferlib import plots
from ferlib.errors import FerlibError, need
from ferlib.files import check_place, whole_file
from ferlib.reading.words import printable

FIGURES = (".png", ".svg", ".pdf", ".jpg")
_SIGNED = b"Matplotlib"  # stands in its figures, except for JPEGs, where we put it


def check_figure(path: Path) -> None:
    """FerlibError where a timeline cannot be drawn there: asked before the work, not after it."""
    need("matplotlib", "plots", "a timeline")
    if path.suffix.lower() not in FIGURES:
        raise FerlibError(f"{path}: expected a name that ends in {', '.join(FIGURES)}")
    check_place(path)
    if path.is_file() and _SIGNED not in path.read_bytes():
        raise FerlibError(f"{path} exists and is no drawing of `ferlib predict`: name another")


def draw_timeline(path: Path, moments: dict[str, array], classes: Sequence[str]) -> str:
    """Write the drawing, a band a face: seconds, K probabilities, seconds ... Gives its path."""
    faces = {}
    for name, moment in moments.items():
        table = np.array(moment).reshape(-1, 1 + len(classes))
        title = printable(name)
        title = title if len(title) <= 80 else f"{title[:38]} ... {title[-38:]}"
        alike = (title if k == 1 else f"{title} ({k})" for k in count(1))
        faces[next(one for one in alike if one not in faces)] = table[:, 0], table[:, 1:]
    with whole_file(path) as partial, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a letter that the font lacks is drawn as a box
        signed = {"pil_kwargs": {"comment": _SIGNED}} if path.suffix.lower() == ".jpg" else {}
        plots.timeline(faces, classes=classes).savefig(partial, **signed)
    return str(path)
