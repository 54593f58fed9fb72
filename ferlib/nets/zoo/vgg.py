"""The VGG family: the paper's VGG13 (Barsoum et al. 2016, figure 3), and leaner ones after it.

VGG is after Simonyan and Zisserman 2015 (arXiv 1409.1556), BatchNorm after Ioffe and Szegedy 2015
(arXiv 1502.03167), the mean of each map instead of dense layers after Lin et al. 2014 (arXiv
1312.4400).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, chain, repeat
from typing import Any

from ferlib import runtime
from ferlib.nets.registry import Net, register

runtime.import_mxnet()
from mxnet.gluon import HybridBlock, nn  # noqa: E402  (after import_mxnet has prepared it)


@dataclass(frozen=True)
class Plan:
    """A VGG as data: blocks of (convolutions, channels), then dense layers."""

    blocks: tuple[tuple[int, int], ...]
    dense: tuple[int, ...] = ()  # hidden layers; none means global average pooling
    batch_norm: bool = True
    dropout: tuple[float, ...] = ()  # after each block's pooling
    last_dropout: float = 0.5

    @property
    def features(self) -> tuple[str, ...]:
        """The last activation of each block."""
        return tuple(
            f"relu{count - 1}" for count in accumulate([count for count, _ in self.blocks])
        )


def layers(net: Net, plan: Plan) -> Iterator[HybridBlock]:
    """One loop over the plan."""
    channels, side = net.channels, net.size
    dropouts = chain(plan.dropout, repeat(0.0))
    for (count, width), dropout in zip(plan.blocks, dropouts, strict=False):
        for _ in range(count):
            yield from convolution(channels, width, plan.batch_norm)
            channels = width
        yield nn.MaxPool2D(2)
        if dropout:
            yield nn.Dropout(dropout)
        side //= 2
    yield from _head(net, plan, channels, side)


def convolution(old: int, new: int, batch_norm: bool = True) -> Iterator[HybridBlock]:
    """3 x 3, BatchNorm or a bias, ReLU: (N, old, side, side) -> (N, new, side, side)."""
    yield nn.Conv2D(new, 3, padding=1, in_channels=old, use_bias=not batch_norm)
    if batch_norm:  # its shift makes the convolution's bias superfluous
        yield nn.BatchNorm(in_channels=new)
    yield nn.Activation("relu")


def _head(net: Net, plan: Plan, channels: int, side: int) -> Iterator[HybridBlock]:
    """From the last maps to the logits."""
    if not plan.dense:
        yield nn.GlobalAvgPool2D()
        side = 1
    yield nn.Flatten()
    units = channels * side * side
    for width in plan.dense:
        yield nn.Dense(width, activation="relu", in_units=units)
        yield nn.Dropout(plan.last_dropout)
        units = width
    if not plan.dense:
        yield nn.Dropout(plan.last_dropout)
    yield nn.Dense(net.classes, in_units=units)


def _register(name: str, plan: Plan, size: int = 48, **declared: Any) -> None:
    how = {"features": plan.features, "any_size": not plan.dense} | declared
    register(name, size=size, **how)(partial(layers, plan=plan))


PAPER = ((2, 64), (2, 128), (3, 256), (3, 256))
_register(
    "vgg13",
    Plan(PAPER, dense=(1024, 1024), batch_norm=False, dropout=(0.25,) * 4),
    size=64,
    normalise="equalise",
    note="the paper's network (Barsoum et al. 2016, figure 3), 8.8 M parameters",
)
_register(
    "vgg13bn",
    Plan(PAPER),
    note="the same convolutions with BatchNorm, averaged instead of dense layers, 3.5 M",
)
_register(
    "vgg13lean",
    Plan(((2, 32), (2, 64), (3, 160), (3, 320)), last_dropout=0.2),
    note="fewer channels where pictures are large, more where they are small: twice as fast, 2.9 M",
)
_register(
    "vgg13small",
    Plan(((2, 16), (2, 32), (3, 64), (3, 128)), last_dropout=0.1),
    bfloat16=False,  # its layers are too narrow to fill AMX's tiles
    note="a quarter of the paper's channels, half in the last block: 0.48 M",
)
_register(
    "vgg13mini",
    Plan(((2, 32), (2, 48), (3, 80), (3, 96)), last_dropout=0.1),
    bfloat16=False,
    note="more channels than `vgg13small` where pictures are large, fewer at the end: 0.43 M",
)
_register(
    "vgg-tiny",
    Plan(((1, 16), (1, 32), (2, 64)), dropout=(0, 0.1, 0.1), last_dropout=0.2),
    note="for the drawn faces: trains in about a minute on two cores, 0.06 M",
)
