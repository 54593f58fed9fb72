"""A net that onnxruntime runs: of an .onnx file that ferlib wrote, or of a stored net's files.

    net, info = onnx_net.load("model_store/ferplus")
    nets.predict(net, crops, info)

MXNet is not needed, and the answers are those of its float32 graph, but for rounding.
"""

from pathlib import Path

import numpy as np

from ferlib.errors import FerlibError, check_choice
from ferlib.nets import onnx_graph
from ferlib.nets.info import Info
from ferlib.nets.onnx_graph import KEY, LOGITS
from ferlib.nets.places import is_onnx
from ferlib.runtime.onnx import Model


class Net:
    """`answer.predict` takes it as it takes one of MXNet's. Threads may share one."""

    def __init__(self, model: Model):
        self._model = model
        self.precision = model.metadata.get(f"{KEY}.precision", "float32")

    def logits(self, batch: np.ndarray) -> np.ndarray:
        """float32 (N, channels, size, size) -> (N, K)."""
        return self._model(data=batch)[0]


def load(weights: str | Path) -> tuple[Net, Info]:
    """A file's or a stored net's (net, what travels with it).

    `weights` is an .onnx file that `ferlib export --onnx` wrote, or a prefix, whose graph is made
    anew. FerlibError where a file is missing or damaged, or another program's.
    """
    if is_onnx(weights):
        model, info = _opened(weights)
    else:
        made, info = onnx_graph.model(weights)
        model = Model(made.SerializeToString())
    net = Net(model)
    _check_output(net, info, weights)
    return net, info


def in_precision(weights: str | Path, precision: str = "auto") -> tuple[Net, Info, str]:
    """`load`, and the precision, which is "float32", or "int8" for a file exported with --int8.

    FerlibError where another one is asked for.
    """
    check_choice("precision", precision, ("auto", "int8", "fused", "float32"))
    net, info = load(weights)
    wanted = "float32" if precision == "fused" else precision  # onnxruntime always fuses
    if wanted not in ("auto", net.precision):
        raise FerlibError(
            f"{weights} answers in {net.precision} in onnxruntime, not in {precision}: choose auto"
            + "\nor name a file that `ferlib export --onnx FILE --int8` wrote" * (wanted == "int8")
        )
    return net, info, net.precision


def _opened(file: str | Path) -> tuple[Model, Info]:
    model = Model.read(file)
    if KEY not in model.metadata:
        raise FerlibError(
            f"{file} is another program's graph: expected one that `ferlib export --onnx` wrote",
            "weights_invalid",
        )
    info = Info.parse(model.metadata[KEY], file)
    if model.metadata.get(f"{KEY}.gives") != LOGITS:
        raise FerlibError(
            f"{file} has the preparation of pictures inside, for programs without ferlib.\n"
            "Export it again without --whole",
            "weights_invalid",
        )
    return model, info


def _check_output(net: Net, info: Info, weights: str | Path) -> None:
    size, wanted = info.input_size, (1, len(info.classes))
    try:
        shape = net.logits(np.zeros((1, info.channels, size, size), np.float32)).shape
    except Exception:  # a dense layer refuses the wrong size
        shape = None
    if shape != wanted:
        raise FerlibError(
            f"{weights} belongs together with other settings: with its input size of {size} "
            f"pixels\nthe net gives {shape or 'an error'}, expected {wanted}",
            "weights_invalid",
        )
