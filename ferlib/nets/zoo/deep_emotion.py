"""`deep_emotion`: a spatial transformer before four small convolutions.

After Minaee, Minaei and Abdolrashidi 2019 (arXiv 1902.01019), with the sizes of their net for 48 x
48 pixels; the transformer is Jaderberg et al. 2015 (arXiv 1506.02025).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from ferlib import runtime
from ferlib.nets.registry import Net, register

mx = runtime.import_mxnet()
from mxnet.gluon import HybridBlock, nn  # noqa: E402  (after import_mxnet has prepared it)

SAME = np.array([1.0, 0, 0, 0, 1, 0])  # the warp that leaves a picture as it is
# Of the rate of the other layers. At the full one the warp loses the face at once, and the net says
# neutral of all of them: chapter 17's exercise 5 tries others.
PATIENCE = 0.01


class Transformer(HybridBlock):
    """Sees a picture, says an affine warp of it (2 x 3 numbers), and gives the warped picture."""

    def __init__(self, channels: int, size: int, **kwargs: Any):
        super().__init__(**kwargs)
        self._size = size
        left = ((size - 6) // 2 - 4) // 2  # 48 -> 42 -> 21 -> 17 -> 8
        with self.name_scope():
            self.where = nn.HybridSequential(prefix="")
            self.where.add(nn.Conv2D(8, 7, in_channels=channels), nn.MaxPool2D(2))
            self.where.add(nn.Activation("relu"), nn.Conv2D(10, 5, in_channels=8))
            self.where.add(nn.MaxPool2D(2), nn.Activation("relu"), nn.Flatten())
            self.where.add(nn.Dense(32, activation="relu", in_units=10 * left * left))
            same = {"weight_initializer": "zeros", "bias_initializer": mx.init.Constant(SAME)}
            self.where.add(nn.Dense(6, in_units=32, **same))
        self.collect_params().setattr("lr_mult", PATIENCE)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """(N, C, size, size) -> the same, warped."""
        how = {"transform_type": "affine", "sampler_type": "bilinear", "name": "warped"}
        return F.SpatialTransformer(x, self.where(x), target_shape=(self._size,) * 2, **how)


@register(
    "deep_emotion",
    size=48,
    features=("relu0", "relu1", "relu2", "relu3"),
    any_size=False,
    note="a spatial transformer, four convolutions of ten channels (Minaee et al. 2019)",
)
def deep_emotion(net: Net) -> Iterator[HybridBlock]:
    """The warp, then two pairs of convolutions with a pooling each."""
    yield Transformer(net.channels, net.size)
    channels, side = net.channels, net.size
    for last in (False, True):
        yield nn.Conv2D(10, 3, in_channels=channels)
        yield nn.Activation("relu")
        yield nn.Conv2D(10, 3, in_channels=10)
        if last:
            yield nn.BatchNorm(in_channels=10)
        yield nn.MaxPool2D(2)
        yield nn.Activation("relu")
        channels, side = 10, (side - 4) // 2
    yield nn.Dropout(0.5)
    yield nn.Flatten()
    yield nn.Dense(50, activation="relu", in_units=10 * side * side)
    yield nn.Dense(net.classes, in_units=50)
