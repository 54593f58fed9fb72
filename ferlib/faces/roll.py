"""By how many degrees a head is turned, as a small net says of a crop of its face.

The nets of emotions learnt from faces turned by up to 15 degrees, and read those worse that are
turned further (benchmarks/tilt.py, results/tilt.json); `turning.Part` cuts them out upright.
"""

import threading
from pathlib import Path
from typing import Any

import numpy as np

from ferlib import runtime
from ferlib.data import images
from ferlib.errors import FerlibError
from ferlib.nets.answer import opened, predict
from ferlib.nets.places import STORES

NAME = "roll"  # of its files
SIDE = 48
STEP, LARGEST = 15, 75  # degrees from one of the net's classes to the next, and of its last one
TURNED = 15  # degrees from which on a face counts as turned: as far as the nets of emotions learnt

# Beyond this circle the net sees nothing: corners show what lies around a head, or where a turned
# picture ended, and would give away the angle in training and mislead afterwards.
RADIUS = 0.46  # of the side
_across = np.arange(SIDE) - (SIDE - 1) / 2
INSIDE = np.hypot(_across, _across[:, None]) <= RADIUS * SIDE


class Upright:
    """Says by how much the faces of crops are turned. Threads may share one.

    The net is `roll` in `folder`, where one is given and has it, else in the model_store of the
    checkout or of the installed package; in the engine "onnx" also a file roll.onnx. It is loaded
    when it is first needed; where it is nowhere, every face counts as upright.
    """

    def __init__(
        self, folder: str | Path | None = None, ctx: Any = None, engine: str | None = None
    ):
        self._ctx, self._engine = ctx, engine
        folders = STORES if folder is None else (Path(folder), *STORES)
        self.prefix = next(filter(None, map(self._in, folders)), None)
        self._loaded: tuple | None = None
        self._lock = threading.Lock()  # MXNet's cached graph is not for two threads at once

    def _in(self, folder: Path) -> Path | None:
        """The net's prefix or file, where the folder has it."""
        file = folder / f"{NAME}.onnx"
        if self._engine == "onnx" and file.is_file():
            return file
        return folder / NAME if (folder / f"{NAME}.json").is_file() else None

    def rolls(self, crops: Any) -> np.ndarray:
        """Crops -> whole degrees, clockwise, int (N,), and 0 where a face is about upright."""
        angles = np.rint(self.angles(crops)).astype(int)
        return np.where(np.abs(angles) < TURNED, 0, angles)

    def angles(self, crops: Any) -> np.ndarray:
        """Crops as `Recognizer.classify` takes them -> float32 (N,) degrees, clockwise.

        By so much the head is turned as seen in the picture: one that leans to the right has a
        positive angle. FerlibError when the net's files are damaged.
        """
        if self.prefix is None or not len(crops):
            return np.zeros(len(crops), np.float32)
        with self._lock:
            net, info, degrees = self._loaded = self._loaded or self._load()
            return predict(net, seen(crops), info) @ degrees

    def _load(self) -> tuple:
        """The net, what travels with it, and the angles that are its classes, float32 (K,)."""
        assert self.prefix is not None  # `angles` has asked
        net, info, _ = opened(self.prefix, self._engine or runtime.engine(), self._ctx)
        try:
            return net, info, np.array(info.classes, np.float32)
        except ValueError:
            raise FerlibError(
                f"{self.prefix} belongs to another net: expected angles in degrees as classes",
                "weights_invalid",
            ) from None


def seen(crops: Any) -> np.ndarray:
    """Crops as the net sees them: uint8 (N, 48, 48), gray, flat beyond a circle."""
    pictures = images.resize(crops, SIDE)
    means = pictures[:, INSIDE].mean(axis=1).astype(np.uint8)
    return np.where(INSIDE, pictures, means[:, None, None])
