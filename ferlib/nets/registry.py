"""Networks by name: what one declares about itself is all that the rest of ferlib knows of it.

A network is a function that yields its layers, in one file of `zoo` or anywhere else:

    @register("tiny", size=48, features=("relu0",), note="one convolution")
    def tiny(net):
        yield nn.Conv2D(16, 3, padding=1, in_channels=net.channels)
        yield nn.Activation("relu")
        yield nn.GlobalAvgPool2D()
        yield nn.Flatten()
        yield nn.Dense(net.classes, in_units=16)

From then on `ferlib train --net tiny` trains it, and it is stored, quantised, explained, packed and
served as the others are.
"""

import pkgutil
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from ferlib import runtime
from ferlib.data.images import LARGEST, NORMALISATIONS
from ferlib.data.labels import EMOTIONS
from ferlib.errors import FerlibError, check_choice, check_kind, number

mx = runtime.import_mxnet()
from mxnet.gluon import HybridBlock, nn  # noqa: E402  (after import_mxnet has prepared it)


@dataclass(frozen=True)
class Net:
    """A network's declaration.

    layers:    gives the layers, made for this declaration: float32 (N, channels, size, size) in,
               logits (N, classes) out. What in-channels and in-units are not given `assembled`
               finds, so that shapes are complete and nothing waits for a first batch
    size:      the side of its input picture, in pixels
    channels:  1 for gray pictures, 3 for RGB
    classes:   how many it tells apart
    normalise: one of `images.NORMALISATIONS`
    features:  the layers at the ends of its stages, by name, the last holding its features: what
               heat maps are made of. Names are those of the graph without the net's own prefix;
               `graph.layers` lists them
    any_size:  whether smaller pictures go through as well, so that training can start with them
    bfloat16:  whether training is faster so, where the CPU has it: it is not where most of the time
               goes into joining maps, into attention, into convolutions in groups or narrow ones
    note:      what it is and where it is from, for people
    """

    name: str
    layers: Callable[["Net"], Iterable[HybridBlock]]
    size: int
    channels: int = 1
    classes: int = len(EMOTIONS)
    normalise: str = "standardise"
    features: tuple[str, ...] = ()
    any_size: bool = True
    bfloat16: bool = True
    note: str = ""

    def __post_init__(self):
        check_kind("features", self.features, (tuple, list), "the names of layers")
        object.__setattr__(self, "features", tuple(self.features))
        check_choice("normalisation", self.normalise, NORMALISATIONS)
        for name, allowed in {"size": range(1, LARGEST + 1), "channels": (1, 3)}.items():
            if number(f"{self.name}'s {name}", getattr(self, name), whole=True) not in allowed:
                expected = "1 or 3" if name == "channels" else f"1 to {LARGEST}"
                raise FerlibError(f"{self.name}: {name} {getattr(self, name)}, expected {expected}")
        if number(f"{self.name}'s classes", self.classes, whole=True) < 2:
            raise FerlibError(f"{self.name}: {self.classes} classes, expected two or more")

    @property
    def prefix(self) -> str:
        """With which the names of its parameters start."""
        return self.name.replace("-", "_") + "_"


_REGISTERED: dict[str, Net] = {}


def register(name: str, **declared: Any) -> Callable:
    """A decorator for the function that yields a network's layers; see `Net` for the rest."""

    def add(layers: Callable[[Net], Iterable[HybridBlock]]) -> Callable:
        _REGISTERED[name] = Net(name, layers, **declared)
        return layers

    return add


@cache
def _import_all() -> None:
    """Each file of the zoo, so that what it registers is known."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent / "zoo")]):
        import_module(f"{__package__}.zoo.{module.name}")


def names() -> list[str]:
    """The names of all networks there are."""
    _import_all()
    return list(_REGISTERED)


def find(
    name: str, channels: int | None = None, classes: int | None = None, size: int | None = None
) -> Net:
    """The network called `name`, with other channels, classes or size than its own where given.

    FerlibError lists the names there are.
    """
    check_choice("network", name, names())
    net = _REGISTERED[name]
    channels, classes = channels or net.channels, net.classes if classes is None else classes
    return replace(net, channels=channels, classes=classes, size=size or net.size)


def create(net: str | Net, ctx: Any = None, seed: int | None = None) -> nn.HybridSequential:
    """A network with He-initialised weights: float32 (N, channels, size, size) -> logits.

    The same `seed` gives the same weights.
    """
    net = find(net) if isinstance(net, str) else net
    if seed is not None:
        mx.random.seed(seed)
        np.random.seed(seed)  # MXNet's initialisers draw from both
    block = assembled(net)
    block.initialize(mx.init.MSRAPrelu(slope=0), ctx=ctx)
    return block


def assembled(net: Net) -> nn.HybridSequential:
    """A network without weights, its parameters' shapes complete."""
    block = nn.HybridSequential(prefix=net.prefix)  # a prefix, so that stored names never vary
    with block.name_scope():
        for layer in net.layers(net):
            block.add(layer)
    taken = (1, net.channels, net.size, net.size)
    try:  # to tell the shapes that are not told
        with redirect_stdout(None):  # MXNet prints there what it then raises
            block.infer_shape(mx.nd.zeros(taken))
        made = block(mx.sym.var("data")).infer_shape(data=taken)[1][0]
    except mx.MXNetError:
        raise FerlibError(f"{net.name} cannot take pictures of {net.size} pixels") from None
    if made != (1, net.classes):
        raise FerlibError(f"{net.name} makes {made} of a picture: expected (1, {net.classes})")
    return block


def parameters(net: Any) -> int:
    """How many numbers a net has learnt or keeps."""
    return sum(p.list_data()[0].size for p in net.collect_params().values())
