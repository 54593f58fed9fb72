"""`resnet50cbam`: ResNet50 whose blocks weigh their channels and their places.

The attention is CBAM (Woo et al. 2018, arXiv 1807.06521): which maps matter, then where in them.
"""

from collections.abc import Iterator
from typing import Any

from ferlib import runtime
from ferlib.nets.registry import Net, register
from ferlib.nets.zoo.borrowed import THIRTY_FOUR, gluoncv, residual, stages

runtime.import_mxnet()
from mxnet.gluon import HybridBlock, nn  # noqa: E402  (after import_mxnet has prepared it)

REDUCED = 16  # so many times fewer units than channels, as in the paper
WIDE = 7  # side of the kernel that looks for places


class Attention(HybridBlock):
    """Maps (N, C, H, W) -> the same, each channel and each place times a number from 0 to 1.

    C is a power of two. What is usually written with `broadcast_mul`, `mean` and `max` over an axis
    stands here as products of matrices and maxima of pairs: the same numbers, whose gradients MXNet
    1.9.1 computes several times as fast.
    """

    def __init__(self, channels: int, **kwargs: Any):
        super().__init__(**kwargs)
        self._channels = channels
        with self.name_scope():
            self.which = nn.HybridSequential(prefix="which_")
            units = {"in_units": channels, "use_bias": False}
            self.which.add(nn.Dense(channels // REDUCED, activation="relu", **units))
            self.which.add(nn.Dense(channels, in_units=channels // REDUCED, use_bias=False))
            self.where = nn.Conv2D(1, WIDE, padding=WIDE // 2, in_channels=2, use_bias=False)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        whole = {"kernel": (1, 1), "global_pool": True}  # a kernel is asked for, and then ignored
        mean, top = (F.Pooling(x, pool_type=kind, **whole) for kind in ("avg", "max"))
        channels = F.sigmoid(self.which(F.Flatten(mean)) + self.which(F.Flatten(top)))
        channels = F.expand_dims(channels, 2)  # (N, C, 1)
        # The mean over the weighed channels: (N, 1, C) times (N, C, H W).
        mean = F.batch_dot(channels, F.reshape(x, (0, 0, -1)), transpose_a=True) / self._channels
        x = x * _outer(F, channels, F.ones_like(mean), x)
        top = self._top(F, x)
        places = F.sigmoid(self.where(F.concat(F.reshape_like(mean, top), top, dim=1)))
        return x * _outer(F, F.ones_like(channels), F.reshape(places, (0, 1, -1)), x)

    def _top(self, F: Any, x: Any) -> Any:
        """The largest of the channels at each place, (N, 1, H, W): half against half."""
        for _ in range(self._channels.bit_length() - 1):
            x = F.maximum(*F.split(x, 2, axis=1))
        return x


def _outer(F: Any, channels: Any, places: Any, like: Any) -> Any:
    """(N, C, 1) and (N, 1, H W) -> their products, shaped as `like` (N, C, H, W)."""
    return F.reshape_like(F.batch_dot(channels, places), like)


def attentive() -> type:
    """gluoncv's bottleneck block with attention before its sum."""

    class Attentive(gluoncv("resnet").BottleneckV1):  # type: ignore[misc]
        def __init__(self, channels: int, *args: Any, **kwargs: Any):
            super().__init__(channels, *args, **kwargs)
            with self.name_scope():
                self.body.add(Attention(channels))

    return Attentive


@register(
    "resnet50cbam",
    size=48,
    bfloat16=False,
    features=stages(THIRTY_FOUR),
    note="ResNet50 with CBAM attention (Woo et al. 2018)",
)
def resnet50cbam(net: Net) -> Iterator[HybridBlock]:
    """Three, four, six and three bottlenecks, each with attention before its sum."""
    yield from residual(net, attentive(), THIRTY_FOUR, (64, 256, 512, 1024, 2048))
