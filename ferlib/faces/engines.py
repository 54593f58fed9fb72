"""What runs the detector's network: onnxruntime where it is installed, else MXNet.

Each engine is a function: BGR float32 (N, 3, H, W), sides multiples of 32 -> what
`network.decode` takes. Threads may share one.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ferlib import runtime
from ferlib.errors import need
from ferlib.faces import network
from ferlib.runtime.onnx import Model, Nodes

Engine = Callable[[np.ndarray], Sequence[np.ndarray]]
ENGINES = ("onnxruntime", "mxnet")


def engine(layers: Sequence[tuple[np.ndarray, np.ndarray]], name: str | None = None) -> Engine:
    """The engine of that name, or the fastest that works here, for the network's 53 layers.

    FerlibError where none does.
    """
    makers = {"onnxruntime": in_onnxruntime, "mxnet": in_mxnet}
    if name is not None:
        return makers[name](layers)
    try:
        return in_onnxruntime(layers)
    except Exception:  # not there, or there and broken: what is raised hangs on what does not fit
        return in_mxnet(layers)


def in_mxnet(layers: Sequence[tuple[np.ndarray, np.ndarray]]) -> Engine:
    """As a Gluon block. Unfused, as fused graphs slow down when pictures have many sizes."""
    mx = runtime.import_mxnet()
    ops = _Symbols(mx)
    pixels = mx.sym.var("data", dtype="float32")
    net = mx.gluon.SymbolBlock(mx.sym.Group(network.draw(ops, pixels, layers)), pixels)
    for name, parameter in net.collect_params().items():
        parameter.shape = ops.arrays[name].shape
        parameter.initialize()
        parameter.set_data(mx.nd.array(ops.arrays[name]))
    net.hybridize(static_alloc=True, static_shape=True)
    lock = threading.Lock()  # MXNet's cached graph is not for two threads at once

    def run(pixels: np.ndarray) -> list[np.ndarray]:
        with lock:
            parts = [[level.asnumpy() for level in net(mx.nd.array(p))] for p in _parts(pixels)]
        return [np.concatenate(level) for level in zip(*parts, strict=True)]

    return run


def _parts(pixels: np.ndarray) -> list[np.ndarray]:
    """By 8, 4, 2 and 1, as oneDNN prepares itself anew for each number of pictures."""
    count = next(size for size in (8, 4, 2, 1) if size <= len(pixels))
    rest = pixels[count:]
    return [pixels[:count], *(_parts(rest) if len(rest) else [])]


class _Symbols:
    """The network as an MXNet symbol."""

    def __init__(self, mx: Any):
        self.mx = mx
        self.arrays: dict[str, np.ndarray] = {}

    def _array(self, value: np.ndarray) -> Any:
        name = f"array{len(self.arrays)}"
        self.arrays[name] = value
        return self.mx.sym.var(name)

    def conv(self, x: Any, weight: np.ndarray, bias: np.ndarray, relu: bool, stride: int) -> Any:
        x = self.mx.sym.Convolution(
            x,
            self._array(weight),
            self._array(bias),
            num_filter=len(weight),
            kernel=weight.shape[2:],
            pad=(weight.shape[2] // 2,) * 2,
            stride=(stride, stride),
            num_group=_groups(weight),
        )
        return self.mx.sym.Activation(x, act_type="relu") if relu else x

    def pool(self, x: Any) -> Any:
        return self.mx.sym.Pooling(x, kernel=(2, 2), stride=(2, 2), pool_type="max")

    def double(self, x: Any) -> Any:
        """As a transposed convolution with ones: oneDNN has it, and UpSampling not."""
        ones = self._array(np.ones((64, 1, 2, 2), np.float32))
        how = {"kernel": (2, 2), "stride": (2, 2), "num_filter": 64, "num_group": 64}
        return self.mx.sym.Deconvolution(x, ones, no_bias=True, **how)

    def add(self, x: Any, y: Any) -> Any:
        return x + y


def _groups(weight: np.ndarray) -> int:
    return len(weight) if weight.shape[1] == 1 else 1


def in_onnxruntime(layers: Sequence[tuple[np.ndarray, np.ndarray]]) -> Engine:
    """As an ONNX graph."""
    need("onnxruntime", "onnx", "this engine")
    return in_model(Model(onnx_model(layers).SerializeToString()))


def in_model(model: Model) -> Engine:
    """As an ONNX graph that is there already."""
    return lambda pixels: model(data=pixels)


def onnx_model(
    layers: Sequence[tuple[np.ndarray, np.ndarray]], metadata: Mapping[str, str] | None = None
) -> Any:
    """The network as an onnx.ModelProto: `data` (N, 3, H, W) in, one output a level."""
    ops = _Nodes()
    levels = network.draw(ops, "data", layers)
    given = {"data": (np.float32, ("N", 3, "H", "W"))}
    return ops.model(given, {one: ("N", 16, None, None) for one in levels}, metadata)


class _Nodes(Nodes):
    """The network as nodes of an ONNX graph."""

    def conv(self, x: str, weight: np.ndarray, bias: np.ndarray, relu: bool, stride: int) -> str:
        how: dict = {"pads": [weight.shape[2] // 2] * 4, "strides": [stride] * 2}
        x = self.node("Conv", x, self.array(weight), self.array(bias), group=_groups(weight), **how)
        return self.node("Relu", x) if relu else x

    def pool(self, x: str) -> str:
        return self.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])

    def double(self, x: str) -> str:
        how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric"}
        scale = self.array(np.array([1, 1, 2, 2], np.float32))
        return self.node("Resize", x, "", scale, nearest_mode="floor", **how)

    def add(self, x: str, y: str) -> str:
        return self.node("Add", x, y)
