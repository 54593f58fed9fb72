"""Photographs in, their faces out, each beside itself under the heat of what speaks for it."""

from dataclasses import asdict
from math import isqrt
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ferlib import plots
from ferlib.data import images
from ferlib.errors import FerlibError, check_choice, need
from ferlib.evaluation.explain import grad_cam, occlusion
from ferlib.faces.face import Face
from ferlib.faces.recognizer import Recognizer
from ferlib.files import whole_file
from ferlib.reading.inputs import PICTURES
from ferlib.reading.job import Job
from ferlib.reading.words import faces_line, free_stem, printable

FAINT = 0.01  # a map that stays below this is drawn empty: hiding anything changes next to nothing


class HeatJob(Job):
    """One run of `ferlib explain`: reads, names and fails as `Job` does, and draws heat maps.

    `out` is the folder for them; `emotion` a class, or None for each face's own; `crop` takes the
    pictures for faces already; `hide` hides one place after another instead of asking gradients.
    Without `hide` the recogniser's precision must be float32.
    """

    kinds = PICTURES

    def __init__(
        self,
        fer: Recognizer,
        out: str | Path,
        emotion: str | None = None,
        crop: bool = False,
        hide: bool = False,
        **how: Any,
    ):
        need("matplotlib", "plots", "a heat map")
        if emotion is not None:
            check_choice("emotion", emotion, fer.classes)
        if fer.engine != "mxnet" and not hide:
            raise FerlibError(
                "gradients come from MXNet, these weights are for onnxruntime: hide places instead "
                "(--occlusion),\nor name a net's prefix, such as runs/mine/net"
            )
        if not hide and set(fer.precisions) != {"float32"}:
            raise FerlibError('gradients ask for Recognizer(precision="float32")')
        super().__init__(fer, out, **how)
        self.emotion, self.crop, self.hide = emotion, crop, hide
        del self.answer["videos"]

    def seen(self, name: str) -> tuple[list[Face], list[np.ndarray]]:
        return self._faces(images.read_picture(name))

    def told(self, name: str, found: list[Face], crops: list[np.ndarray]) -> None:  # type: ignore[override]
        entry: dict[str, Any] = {"photo": name, "faces": [asdict(face) for face in found]}
        self.answer["photos"].append(entry)
        line = faces_line(name, found)
        if found:
            entry["drawn"] = self._overlay(name, found, crops)
            line += f" -> {entry['drawn']}"
        self.say(printable(line))

    def _video(self, name: str, source: str | int) -> None:
        raise FerlibError(f"{name} is a video: `ferlib explain` takes pictures", "not_a_picture")

    def _faces(self, picture: np.ndarray) -> tuple[list[Face], list[np.ndarray]]:
        """The faces, the largest first, and the crops that the net sees of them."""
        if self.crop:
            width, height = picture.shape[1::-1]
            (scores,) = self.fer.classify([picture])
            row = np.array([0, 0, width, height, 1])
            return [self.fer.face(row, scores, (width, height))], [picture]
        seen = self.fer.seen(picture)
        return self.fer.read([seen])[0], self.fer.upright(seen.parts)[1]

    def _overlay(self, name: str, found: list[Face], crops: list[np.ndarray]) -> str:
        """Write each face beside itself under its heat, titled by the emotion; gives the path."""
        wanted = [self.emotion or face.emotion for face in found]
        method = occlusion if self.hide else grad_cam
        heats = _summed([method(net, crops, info, wanted) for net, info in self.fer.nets])
        heats[heats.max(axis=(1, 2)) < FAINT] = 0
        pairs = zip(found, wanted, strict=True)
        titles = [f"{emotion} {face.scores[emotion]:.0%}" for face, emotion in pairs]
        figure = plots.explained(crops, heats, titles, columns=max(4, isqrt(len(crops))))
        path = Path(f"{free_stem(Path(str(self.out)), name)}.png")
        with whole_file(path) as partial:
            figure.savefig(partial, dpi=200, bbox_inches="tight", pad_inches=0.1)
        return str(path)


def _summed(maps: list[np.ndarray]) -> np.ndarray:
    """The nets' maps (N, S, S) in one, (N, S, S) of the largest S."""
    side = max(each.shape[-1] for each in maps)
    return np.sum([[cv2.resize(one, (side, side)) for one in each] for each in maps], axis=0)
