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
    """Maps (N, C, H, W) -> the same, each channel and each place times a number from 0 to 1."""

    def __init__(self, channels: int, **kwargs: Any):
        super().__init__(**kwargs)
        with self.name_scope():
            self.which = nn.HybridSequential(prefix="which_")
            units = {"in_units": channels, "use_bias": False}
            self.which.add(nn.Dense(channels // REDUCED, activation="relu", **units))
            self.which.add(nn.Dense(channels, in_units=channels // REDUCED, use_bias=False))
            self.where = nn.Conv2D(1, WIDE, padding=WIDE // 2, in_channels=2, use_bias=False)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        mean, top = (F.Pooling(x, pool_type=kind, global_pool=True) for kind in ("avg", "max"))
        channels = F.sigmoid(self.which(F.Flatten(mean)) + self.which(F.Flatten(top)))
        x = F.broadcast_mul(x, channels.expand_dims(2).expand_dims(3))
        both = F.concat(x.mean(axis=1, keepdims=True), x.max(axis=1, keepdims=True), dim=1)
        return F.broadcast_mul(x, F.sigmoid(self.where(both)))


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
