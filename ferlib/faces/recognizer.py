"""Photograph in, emotions out: find the faces, cut them as FER2013 does, read them with a net."""

import os
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ferlib import runtime
from ferlib.data import images
from ferlib.data.images import Photo
from ferlib.errors import FerlibError
from ferlib.faces import drawing, turning
from ferlib.faces.detectors import Detector, default_detector, in_file
from ferlib.faces.face import Face, face
from ferlib.faces.roll import Upright
from ferlib.faces.search import search
from ferlib.nets.answer import opened, predict
from ferlib.nets.places import find_weights, is_onnx
from ferlib.nets.prior import Prior, under


class Seen(NamedTuple):
    """A photograph's size (width, height), the rows of its faces, and what is cut out for each."""

    size: tuple[int, int]
    rows: np.ndarray
    parts: list[turning.Part]


class Recognizer:
    """Reads emotions from crops (`classify`) and photographs (call it). Threads may share one.

    `classes` are the names of what it tells apart: the eight EMOTIONS, or those of a net of
    someone's own.

    `weights` is a prefix such as model_store/ferplus, or a name in the checkout's or the
    installed package's model_store, or a list of these, whose probabilities are averaged; `flip`
    averages each face with its mirror image; `detector` finds the faces (`default_detector()`,
    `haar()`, `yunet(file)`, a function of one's own, or a file of `ferlib export --detector`);
    `thorough` looks for small faces also where nothing hints at them, which takes about three times
    as long; `precision` is that of `store.load`: by itself eight-bit numbers where the CPU is fast
    at them, which give another emotion for about one face of FER2013 in 300, and for more where
    pictures are unlike it; `prior` says how frequent the classes are where the pictures come from,
    "uniform", {"happiness": 3, "neutral": 1} or a number for each (`nets.prior.under`), instead of
    as among FER2013's; `engine` is what the nets answer in, "mxnet", or "onnx" for onnxruntime, in
    which weights can be files of `ferlib export --onnx` too; by itself MXNet where it is installed.
    The same call gives the same numbers every time; in another batch a probability can differ in
    its seventh digit, in eight-bit numbers in its third.
    """

    def __init__(
        self,
        weights: str | Path | Sequence[str | Path] | None = None,
        ctx: Any = None,
        flip: bool = False,
        detector: Detector | str | Path | None = None,
        precision: str = "auto",
        thorough: bool = False,
        prior: Prior | None = None,
        engine: str | None = None,
    ):
        several: list = list(weights) if isinstance(weights, list | tuple) else [weights]
        if not several:
            raise FerlibError("an empty list of weights: name a net, or leave weights out")
        self.weights = [find_weights(one) for one in several]
        self.name = "+".join(prefix.name.removesuffix(".onnx") for prefix in self.weights)
        self.engine = _engine(engine, self.weights)
        if self.engine == "mxnet":
            ctx = ctx or runtime.contexts()[0]
        loaded = [opened(prefix, self.engine, ctx, precision) for prefix in self.weights]
        self.precisions = [chosen for *_, chosen in loaded]
        self.nets = [(net, info) for net, info, _ in loaded]
        self.classes = self.nets[0][1].classes
        if any(info.classes != self.classes for _, info in self.nets):
            raise FerlibError(f"{self.name}: nets with other classes cannot be averaged")
        self.nets = [(net, under(info, prior)) for net, info in self.nets]
        self._flip = flip
        folder = self.weights[0].parent
        if isinstance(detector, str | os.PathLike):
            detector = in_file(detector)
        if detector is not None and not callable(detector):
            found = type(detector).__name__
            raise FerlibError(f"detector: expected a function or a file's name, found {found}")
        self._detect = detector or default_detector(folder)
        self._upright, self._thorough = Upright(folder, ctx, self.engine), thorough
        self._lock = threading.Lock()  # MXNet's cached graph is not for two threads at once

    def classify(self, crops: Any) -> np.ndarray:
        """Crops framed as FER2013's -> float32 (N, K) probabilities in the order of `classes`.

        `crops`: uint8 (N, H, W) or (N, H, W, 3) RGB, or a list of such arrays or of PIL images,
        of any sizes.
        """
        with self._lock:
            crops = images.checked(crops)
            rows = [predict(net, crops, info, self._flip) for net, info in self.nets]
        return np.asarray(sum(rows) / np.float32(len(rows)))

    def __call__(self, photo: Photo) -> list[Face]:
        """A path, bytes, PIL image or RGB array -> its faces, the largest first; [] if none."""
        return self.read([self.seen(photo)])[0]

    def many(self, photos: Iterable) -> list[list[Face]]:
        """Many photographs, each as for one -> their faces.

        While faces are looked for in one the next is decoded, and the net reads all faces at once.
        Only those are kept while it works, so `photos` may be a long generator. Raises FerlibError
        at the first that is not a picture, and for a single photograph.
        """
        picture = isinstance(photos, np.ndarray) and photos.ndim == 3 and photos.shape[-1] == 3
        one = picture or isinstance(photos, str | bytes | os.PathLike | Image.Image)
        if one or not isinstance(photos, Iterable):
            raise FerlibError("expected several photographs: for one, call the recogniser itself")
        return self.read([found.result() for _, found in runtime.ahead(self.seen, photos)])

    def seen(self, photo: Photo) -> Seen:
        """What a photograph holds, before its faces are read; `many` is this and then `read`."""
        picture = images.read_picture(photo)
        rows = self.look(picture)
        parts = [turning.part(picture, row[:4]) for row in rows]
        return Seen((picture.shape[1], picture.shape[0]), rows, parts)

    def upright(self, parts: Sequence[turning.Part]) -> tuple[np.ndarray, list[np.ndarray]]:
        """What was cut out -> degrees (N,) by which heads are turned, and crops without that."""
        rolls = self._upright.rolls([part.crop for part in parts])
        return rolls, [part.upright(roll) for part, roll in zip(parts, rolls, strict=True)]

    def read(self, several: Sequence[Seen]) -> list[list[Face]]:
        """The faces of each photograph that was `seen`; the nets read all of them at once."""
        rolls, crops = self.upright([part for seen in several for part in seen.parts])
        read = zip(self.classify(crops), rolls, strict=True)
        faces = []
        for seen in several:
            each = ((row, *next(read)) for row in seen.rows)
            faces.append([self.face(row, p, seen.size, roll=int(roll)) for row, p, roll in each])
        return faces

    def face(self, row: np.ndarray, probabilities: np.ndarray, size: Any, **how: Any) -> Any:
        """A row of `look` in a picture of `size` (width, height) with what was read there."""
        return face(row, probabilities, size, self.classes, **how)

    def draw(self, photo: Photo, faces: Face | Sequence[Face]) -> Image.Image:
        """An RGB copy of the photograph with box, emotion and eight bars for each face."""
        return drawing.draw(photo, faces)

    def find(self, picture: np.ndarray, quick: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Boxes float (N, 4) as x, y, w, h in pixels, and confidences (N,).

        `picture`: uint8, RGB (H, W, 3) or gray (H, W); FerlibError for another.
        """
        rows = self.look(picture, quick)
        return rows[:, :4], rows[:, 4]

    def look(self, picture: np.ndarray, quick: bool = False) -> np.ndarray:
        """What `find` tells, with landmarks: float (N, 15), the largest face first.

        A row: box, confidence, and x, y of the eyes, the nose and the corners of the mouth, or NaN.
        `quick` looks once, as suits the frames of a video.
        """
        checked = images.read_picture(picture)
        return search(self._detect, checked, quick, self._thorough)


def _engine(name: str | None, weights: Sequence[Path]) -> str:
    """The one that is named, or that can read the weights, or that is here."""
    files = [prefix for prefix in weights if is_onnx(prefix)]
    if files and name == "mxnet":
        raise FerlibError(f"{files[0]} is not for MXNet: name a prefix, or the engine onnx")
    return runtime.engine("onnx" if files else name)
