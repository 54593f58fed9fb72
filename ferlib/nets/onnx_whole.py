"""A net's ONNX graph with what stands before and after it: from pixels to probabilities.

It takes `crops`, uint8 (N, size, size), or (N, size, size, 3) for RGB, and gives `probabilities`
(N, K), so that nobody can prepare pictures in another way than those that the net has learnt from.
The numbers are those of `images.normalised` and of `answer.predict`. Crops of other sizes are for
the caller to bring to this one: what each runtime does when it shrinks a picture differs.
"""

from typing import Any

import numpy as np

from ferlib.nets.info import Info
from ferlib.nets.onnx_graph import DATA, KEY, LOGITS
from ferlib.nets.prior import shift
from ferlib.runtime.onnx import Nodes

CROPS, PROBABILITIES = "crops", "probabilities"
_FLAT = 1e-6  # the least deviation that is divided by, as in `images`


def whole(model: Any, info: Info) -> Any:
    """What `onnx_graph.model` gives -> an onnx.ModelProto from CROPS to PROBABILITIES."""
    before, after, g = Nodes("before_"), Nodes("after_"), Nodes()
    _prepared(before, info)
    _answered(after, info)
    g.nodes = [*before.nodes, *model.graph.node, *after.nodes]
    g.arrays = [*before.arrays, *model.graph.initializer, *after.arrays]
    shape = ("N", info.input_size, info.input_size) + (3,) * (info.channels == 3)
    about = {one.key: one.value for one in model.metadata_props} | {f"{KEY}.gives": PROBABILITIES}
    told = {PROBABILITIES: ("N", len(info.classes))}
    return g.model({CROPS: (np.uint8, shape)}, told, about)


def _prepared(g: Nodes, info: Info) -> None:
    """CROPS -> DATA, float32 (N, channels, size, size)."""
    if info.normalise == "equalise":
        flat, side = _equalised(g, info.input_size), info.input_size
        g.node("Reshape", flat, g.integers(-1, 1, side, side), name=DATA)
    elif info.channels == 1:
        g.node("Unsqueeze", _standardised(g, (1, 2)), g.integers(1), name=DATA)
    else:
        g.node("Transpose", _standardised(g, (1, 2, 3)), perm=(0, 3, 1, 2), name=DATA)


def _answered(g: Nodes, info: Info) -> None:
    """LOGITS -> PROBABILITIES, with bias, temperature and prior."""
    bias = np.array(info.bias or (0.0,) * len(info.classes), np.float32)
    biased = g.node("Add", LOGITS, g.array(bias))
    tempered = g.node("Div", biased, g.array(np.array(info.temperature, np.float32)))
    shifted = g.node("Add", tempered, g.array(shift(info)))
    g.node("Softmax", shifted, axis=1, name=PROBABILITIES)


def _standardised(g: Nodes, axes: tuple[int, ...]) -> str:
    pixels = _cast(g, CROPS, np.float32)
    mean = g.node("ReduceMean", pixels, axes=axes, keepdims=1)
    return _scaled(g, g.node("Sub", pixels, mean), axes)


def _scaled(g: Nodes, x: str, axes: tuple[int, ...], kind: type = np.float32) -> str:
    """What has the mean 0, brought to deviation 1."""
    variance = g.node("ReduceMean", g.node("Mul", x, x), axes=axes, keepdims=1)
    least = g.array(np.array(_FLAT, kind))
    return g.node("Div", x, g.node("Max", g.node("Sqrt", variance), least))


def _equalised(g: Nodes, size: int) -> str:
    """(N, size * size): the rank of each pixel among its picture's, less its plane.

    In float64, since of a picture without contrast nothing but rounding is left.
    """
    count = size * size
    levels = g.node("Reshape", _cast(g, CROPS, np.int64), g.integers(0, count))
    rows = g.node("Concat", g.node("Shape", levels, start=0, end=1), g.integers(256), axis=0)
    ones, none = _filled(g, g.node("Shape", levels), 1), _filled(g, rows, 0)
    counts = g.node("ScatterElements", none, levels, ones, axis=1, reduction="add")
    below = g.node("CumSum", counts, g.array(np.array(1, np.int64)))
    ranks = g.node("Mul", below, g.array(np.array(1 / count)))
    light = g.node("GatherElements", ranks, levels, axis=1)
    flat = _scaled(g, _without_plane(g, light, size), (1,), np.float64)
    return _cast(g, flat, np.float32)


def _without_plane(g: Nodes, light: str, size: int) -> str:
    """Less what is level or slopes evenly: its projection on three directions."""
    down, across = np.indices((size, size)).reshape(2, -1)
    directions, _ = np.linalg.qr(np.column_stack([np.ones(size * size), down, across]))
    shares = g.node("MatMul", light, g.array(directions))
    return g.node("Sub", light, g.node("MatMul", shares, g.array(directions.T)))


def _filled(g: Nodes, shape: str, value: float) -> str:
    from onnx import numpy_helper

    return g.node("ConstantOfShape", shape, value=numpy_helper.from_array(np.array([value], float)))


def _cast(g: Nodes, x: str, kind: type) -> str:
    from onnx import helper

    return g.node("Cast", x, to=helper.np_dtype_to_tensor_dtype(np.dtype(kind)))
