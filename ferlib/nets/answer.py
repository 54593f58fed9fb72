"""The one way from a picture to an answer, in training, evaluation and serving."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ferlib import runtime
from ferlib.data.images import Crops, check_several, prepare
from ferlib.errors import FerlibError, check_kind
from ferlib.nets.info import Info
from ferlib.nets.places import is_onnx, stored_files
from ferlib.nets.prior import shift

# What loads MXNet, or onnxruntime, is imported where it runs: an answer needs one of them.
BATCH = 64


def opened(
    weights: str | Path, engine: str, ctx: Any = None, precision: str = "auto"
) -> tuple[Any, Info, str]:
    """A trained net in one of `runtime.ENGINES`: (net, what travels with it, its precision).

    In "mxnet" `weights` is a prefix, `ctx` and `precision` are those of `store.load`. In "onnx" it
    is a prefix or a file that `ferlib export --onnx` wrote; a prefix answers in float32, a file in
    what it holds. FerlibError where files are missing or damaged, or in another precision.
    """
    if engine == "onnx":
        from ferlib.nets import onnx_net

        return onnx_net.in_precision(weights, precision)
    from ferlib.nets import store

    chosen = store.fastest(weights, ctx) if precision == "auto" else precision
    return (*store.load(weights, ctx, chosen), chosen)


def info_of(weights: str | Path) -> Info:
    """What travels with a net, of a prefix or an .onnx file; FerlibError where it is missing."""
    if is_onnx(weights):
        from ferlib.nets import onnx_net

        return onnx_net.load(weights)[1]
    return Info.read(stored_files(weights)[2])


def predict(net: Any, crops: Crops, info: Info, flip: bool = False) -> np.ndarray:
    """Gray or RGB uint8 crops, an array or a list -> float32 (N, K) probabilities.

    `net` is one of MXNet's or of `onnx_net`'s, `info` what came with the weights; `flip` averages
    each picture with its mirror image.
    """
    check_kind("info", info, Info, "the Info that came with the net")
    check_several(crops)
    run = _logits(net)
    bias = np.array(0.0 if info.bias is None else info.bias, np.float32)
    prior = shift(info)
    scores: list = [np.empty((0, len(info.classes)), np.float32)]
    for start in range(0, len(crops), BATCH):
        some = crops[start : start + BATCH]
        batch = prepare(some, info.input_size, info.normalise, info.channels)
        each = [batch, batch[..., ::-1]] if flip else [batch]
        # The rest in NumPy: on eight numbers MXNet's operations take longer than the net.
        tempered = ((run(x) + bias) / info.temperature + prior for x in each)
        scores.append(sum(map(softmax, tempered)) / np.float32(len(each)))
    return np.concatenate(scores)


def _logits(net: Any) -> Callable[[np.ndarray], np.ndarray]:
    """What `images.prepare` gives (N, C, size, size) -> logits (N, K)."""
    if hasattr(net, "logits"):
        return net.logits
    if not hasattr(net, "collect_params"):
        told = "a net, such as the first that nets.load gives"
        raise FerlibError(f"expected {told}, found {type(net).__name__}")
    mx = runtime.import_mxnet()
    ctx = next(iter(net.collect_params().values())).list_ctx()[0]
    return lambda batch: net(mx.nd.array(batch, ctx=ctx)).asnumpy()


def softmax(logits: np.ndarray) -> np.ndarray:
    """Logits (N, K) -> probabilities (N, K). SciPy's is left out: the server needs it nowhere."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
