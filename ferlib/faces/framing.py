"""The faces of a data set's pictures, framed as a net learns and reads them."""

from dataclasses import replace

import numpy as np
from tqdm import tqdm

from ferlib.data import images
from ferlib.data.dataset import Dataset
from ferlib.errors import FerlibError, check_choice
from ferlib.faces import turning
from ferlib.faces.detectors import Detector, default_detector
from ferlib.faces.roll import Upright
from ferlib.faces.search import search

FACES = ("auto", "crop", "find")
CROP_SIDE = 100  # "auto": a square picture of at most this side, in pixels, is a crop


def is_crop(picture: np.ndarray, faces: str) -> bool:
    """Whether a picture is a face already, by one of FACES."""
    height, width = picture.shape[:2]
    return faces == "crop" or (faces == "auto" and height == width <= CROP_SIDE)


def largest_face(picture: np.ndarray, detect: Detector, upright: Upright) -> np.ndarray | None:
    """The largest face as a crop, turned upright as `Recognizer` does; None where there is none."""
    picture = images.read_picture(picture)  # RGB, where a CSV is gray
    rows = search(detect, picture)
    if not len(rows):
        return None
    part = turning.part(picture, rows[0, :4])
    return part.upright(upright.rolls([part.crop])[0])


def framed(
    data: Dataset, size: int, channels: int, faces: str = "auto", detector: Detector | None = None
) -> Dataset:
    """A data set whose pictures are faces, upright and brought to `size`, where they were not yet.

    Pictures without a face are left out, and told in `skipped`. FerlibError when none has one.
    """
    check_choice("way to faces", faces, FACES)
    if not len(data):
        return data
    if faces == "crop" or (
        isinstance(data.pictures, np.ndarray) and is_crop(data.pictures[0], faces)
    ):
        return data
    detect, upright = detector or default_detector(), Upright()
    crops, kept, skipped = [], [], []
    for row in tqdm(range(len(data)), "finding faces", unit="img", disable=None, leave=False):
        picture = data.pictures[row]
        if not is_crop(picture, faces):
            picture = largest_face(picture, detect, upright)
        if picture is None:
            skipped.append((data.name(row), "no face found"))
        else:
            crops.append(images.resize([picture], size, channels)[0])
            kept.append(row)
    if not kept:
        raise FerlibError(
            f"no face found in any of {len(data)} pictures of {data.source}.\n"
            "If they are faces already, or show something else, say so with --faces crop"
        )
    known = data.take(np.array(kept))
    return replace(known, pictures=np.stack(crops), skipped=[*data.skipped, *skipped])
