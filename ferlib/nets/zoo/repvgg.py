"""`repvgg`: a plain VGG that is trained with ways around each convolution, and then is plain again.

After Ding et al. 2021, "RepVGG: Making VGG-style ConvNets Great Again" (arXiv 2101.03697). While it
learns, a block sums a convolution of 3 x 3, one of 1 x 1 and its own input, each behind a BatchNorm
of its own. All three are linear, so that afterwards they are one convolution of 3 x 3 with a bias
(section 3.3): `repvgg_plain`, with the same answers for less work. `merge` makes it of stored
weights:

    from ferlib.nets.zoo import repvgg
    repvgg.merge("runs/mine/net", "runs/mine/plain")
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ferlib import runtime
from ferlib.errors import FerlibError
from ferlib.nets import store
from ferlib.nets.info import Info
from ferlib.nets.places import check_prefix, stored_files
from ferlib.nets.registry import Net, create, find, register
from ferlib.nets.zoo.borrowed import head

mx = runtime.import_mxnet()
from mxnet.gluon import HybridBlock, nn  # noqa: E402  (after import_mxnet has prepared it)

# (blocks, channels) for pictures of 48, 24, 12 and 6 pixels: each block is about the same work. The
# paper's are for 224 pixels, and halve the picture in the first block already.
STAGES = ((2, 32), (4, 64), (6, 128), (4, 256))
LAST = tuple(sum(count for count, _ in STAGES[: stage + 1]) - 1 for stage in range(len(STAGES)))
PLAIN = "repvgg_plain"


def plan(channels: int) -> Iterator[tuple[int, int, int]]:
    """Each block's (channels in, channels out, stride)."""
    for stage, (count, width) in enumerate(STAGES):
        for number in range(count):
            yield channels, width, 2 if stage and not number else 1
            channels = width


class Block(HybridBlock):
    """Maps (N, old, H, W) -> (N, new, H / stride, W / stride): the sum of up to three ways.

    The first block, which sees the picture, has but one: there is little to mix at one place, and a
    picture that several layers look at is slow in bfloat16 (`training.precision.widened`).
    """

    def __init__(self, old: int, new: int, stride: int, first: bool, **kwargs: Any):
        super().__init__(**kwargs)
        with self.name_scope():
            self.wide, self.wide_norm = _convolution(old, new, 3, stride), _norm(new)
            self.small: Any = None if first else _convolution(old, new, 1, stride)
            self.small_norm: Any = None if first else _norm(new)
            self.same_norm: Any = _norm(new) if old == new and stride == 1 else None

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        total = self.wide_norm(self.wide(x))
        if self.small is not None:
            total = total + self.small_norm(self.small(x))
        if self.same_norm is not None:
            total = total + self.same_norm(x)
        return F.Activation(total, act_type="relu", name="out")

    def merged(self) -> tuple[np.ndarray, np.ndarray]:
        """Kernels float (new, old, 3, 3) and biases (new,) of the one convolution that it is."""
        wide = _values(self.wide.weight)
        parts = [_folded(wide, self.wide_norm)]
        around = ((0, 0), (0, 0), (1, 1), (1, 1))  # zeros, so that 1 x 1 becomes 3 x 3
        if self.small is not None:
            parts.append(_folded(np.pad(_values(self.small.weight), around), self.small_norm))
        if self.same_norm is not None:
            same = np.eye(len(wide))[:, :, None, None]
            parts.append(_folded(np.pad(same, around), self.same_norm))
        kernels, biases = zip(*parts, strict=True)
        return np.sum(kernels, axis=0), np.sum(biases, axis=0)


def _convolution(old: int, new: int, side: int, stride: int) -> nn.Conv2D:
    return nn.Conv2D(new, side, stride, side // 2, in_channels=old, use_bias=False)


def _norm(channels: int) -> nn.BatchNorm:
    return nn.BatchNorm(in_channels=channels)


def _values(parameter: Any) -> np.ndarray:
    return parameter.data(parameter.list_ctx()[0]).asnumpy().astype(float)


def _folded(kernels: np.ndarray, norm: nn.BatchNorm) -> tuple[np.ndarray, np.ndarray]:
    """Kernels (new, old, 3, 3) with the BatchNorm after them -> the same, scaled, and biases."""
    known = norm.gamma, norm.beta, norm.running_mean, norm.running_var
    gamma, beta, mean, variance = map(_values, known)
    scale = gamma / np.sqrt(variance + norm._kwargs["eps"])
    return kernels * scale[:, None, None, None], beta - mean * scale


@register(
    "repvgg",
    size=48,
    features=tuple(f"block{last}_out" for last in LAST),
    note="convolutions with ways around, merged after training (Ding et al. 2021)",
)
def repvgg(net: Net) -> Iterator[HybridBlock]:
    """Sixteen blocks in four stages."""
    for number, sizes in enumerate(plan(net.channels)):
        yield Block(*sizes, first=number == 0)
    yield from head(net, 0.2)


@register(
    PLAIN,
    size=48,
    features=tuple(f"relu{last}" for last in LAST),
    note="what repvgg is after training: sixteen convolutions of 3x3 without BatchNorm",
)
def plain(net: Net) -> Iterator[HybridBlock]:
    """The same with one convolution for each block."""
    for old, new, stride in plan(net.channels):
        yield nn.Conv2D(new, 3, stride, 1, in_channels=old)
        yield nn.Activation("relu")
    yield from head(net, 0.2)


def merged(net: nn.HybridSequential) -> nn.HybridSequential:
    """A `repvgg` -> the `repvgg_plain` that gives the same logits in prediction."""
    mx.nd.waitall()  # BatchNorm's running statistics are written late
    blocks = [layer.merged() for layer in net if isinstance(layer, Block)]
    last = [_values(parameter) for parameter in net[-1].collect_params().values()]
    made = create(find(PLAIN, channels=blocks[0][0].shape[1], classes=len(last[0])))
    values = [*chain(*blocks), *last]
    for parameter, value in zip(made.collect_params().values(), values, strict=True):
        parameter.set_data(mx.nd.array(value))
    return made


def merge(prefix: str | Path, out: str | Path) -> Info:
    """Stored weights of `repvgg` -> the same net as `repvgg_plain`, stored as `out`.

    FerlibError when they are another network's, or `out` cannot be written.
    """
    info = Info.read(stored_files(prefix)[2])
    if info.network != "repvgg":
        raise FerlibError(f"{prefix} holds {info.network or 'another net'}: only repvgg is merged")
    check_prefix(out)
    net = create(find("repvgg", info.channels, len(info.classes)))
    store.take_over(net, prefix)
    info = replace(info, network=PLAIN, features=find(PLAIN).features)
    store.save(merged(net), out, info)
    return info
