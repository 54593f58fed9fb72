"""The one way from a picture to an answer, in training, evaluation and serving."""

from typing import Any

import numpy as np

from ferlib import runtime
from ferlib.data.images import Crops, prepare
from ferlib.nets.info import Info
from ferlib.nets.prior import shift

mx = runtime.import_mxnet()
BATCH = 64


def predict(net: Any, crops: Crops, info: Info, flip: bool = False) -> np.ndarray:
    """Gray or RGB uint8 crops, an array or a list -> float32 (N, K) probabilities.

    `info` is what came with the weights; `flip` averages each picture with its mirror image.
    """
    ctx = next(iter(net.collect_params().values())).list_ctx()[0]
    bias = np.array(0.0 if info.bias is None else info.bias, np.float32)
    prior = shift(info)
    scores: list = [np.empty((0, len(info.classes)), np.float32)]
    for start in range(0, len(crops), BATCH):
        some = crops[start : start + BATCH]
        batch = prepare(some, info.input_size, info.normalise, info.channels)
        each = [batch, batch[..., ::-1]] if flip else [batch]
        # The rest in NumPy: on eight numbers MXNet's operations take longer than the net.
        logits = (net(mx.nd.array(x, ctx=ctx)).asnumpy() for x in each)
        tempered = ((one + bias) / info.temperature + prior for one in logits)
        scores.append(sum(map(softmax, tempered)) / np.float32(len(each)))
    return np.concatenate(scores)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Logits (N, K) -> probabilities (N, K). SciPy's is left out: the server needs it nowhere."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
