"""`resmasking`: ResNet34 whose stages are each multiplied by one plus a mask.

After Pham, Vu and Tran, "Facial Expression Recognition Using Residual Masking Network", ICPR 2020:
the mask of each stage is a small U-Net over its maps, of depth 4, 3, 2 and 1, with a softmax over
the channels. Here for 48 x 48 pixels, with the stem of `borrowed`.
"""

from collections.abc import Iterator
from typing import Any

from ferlib import runtime
from ferlib.nets.registry import Net, register
from ferlib.nets.zoo.borrowed import NARROW, THIRTY_FOUR, gluoncv, head, stem

runtime.import_mxnet()
from mxnet.gluon import HybridBlock, nn  # noqa: E402  (after import_mxnet has prepared it)

DEPTHS = (4, 3, 2, 1)  # levels of each stage's mask


class Mask(HybridBlock):
    """Maps (N, C, H, W) -> themselves times 1 + mask, the mask by a U-Net of so many levels."""

    def __init__(self, channels: int, depth: int, **kwargs: Any):
        super().__init__(**kwargs)
        widths = [channels << level for level in range(depth + 1)]
        with self.name_scope():
            self.down = _sequence(map(_block, widths[:-1], widths[1:]))
            self.up = _sequence(map(_upwards, widths[:1:-1], widths[-2:0:-1]))
            self.back = _sequence(map(_block, widths[:0:-1], widths[-2::-1]))

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        seen = [self.down[0](x)]
        for block in list(self.down)[1:]:
            half = F.Pooling(seen[-1], kernel=(2, 2), stride=(2, 2), pool_type="max")
            seen.append(block(half))
        mask = seen.pop()
        for up, back in zip(self.up, self.back, strict=False):
            mask = back(F.concat(up(mask), seen.pop(), dim=1))
        mask = F.softmax(self.back[len(self.up)](mask), axis=1, name="mask")
        return F.elemwise_mul(x, 1 + mask, name="out")


def _sequence(layers: Any) -> nn.HybridSequential:
    found = nn.HybridSequential(prefix="")
    found.add(*layers)
    return found


def _block(old: int, new: int) -> HybridBlock:
    """Two convolutions and a shortcut, as in ResNet34."""
    kind = gluoncv("resnet").BasicBlockV1
    return kind(new, 1, downsample=True, in_channels=old, last_gamma=True)


def _upwards(old: int, new: int) -> nn.HybridSequential:
    """Maps of twice the side."""
    return _sequence(
        (
            nn.Conv2DTranspose(new, 2, 2, in_channels=old),
            nn.BatchNorm(in_channels=new),
            nn.Activation("relu"),
        )
    )


@register(
    "resmasking",
    size=48,
    features=tuple(f"mask{stage}_out" for stage in range(len(DEPTHS))),
    any_size=False,
    note="ResNet34 with a U-Net's mask over each stage (Pham et al. 2020), 138 M",
)
def resmasking(net: Net) -> Iterator[HybridBlock]:
    """The stem, then a stage of ResNet34 and its mask, four times."""
    zoo = gluoncv("resnet")
    model = zoo.ResNetV1(zoo.BasicBlockV1, THIRTY_FOUR, NARROW, last_gamma=True)
    layers = list(model.features)
    yield from stem(net, NARROW[0], layers[:3])
    yield nn.MaxPool2D(3, 2, 1)
    for stage, width, depth in zip(layers[4:8], NARROW[1:], DEPTHS, strict=True):
        yield stage
        yield Mask(width, depth)
    yield from head(net, 0.4)
