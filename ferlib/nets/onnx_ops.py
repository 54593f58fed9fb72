"""MXNet's operators as nodes of an ONNX graph, a small function for each.

A function is given the graph, the name of MXNet's node, its inputs and its settings. What it adds
last has that name, or is several outputs, whose names it gives.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ferlib.runtime.onnx import Nodes

Settings = dict[str, Any]
Convert = Callable[["Graph", str, Sequence[str], Settings], str | Sequence[str]]
OPERATORS: dict[str, Convert] = {}


class Unsupported(Exception):
    """Which setting of an operator has no counterpart."""


class Graph(Nodes):
    """Nodes, and the arrays that MXNet's graph names: `known`."""

    def __init__(self, known: dict[str, np.ndarray]):
        super().__init__()
        self.known = known


def _converts(*names: str) -> Callable[[Convert], Convert]:
    def add(convert: Convert) -> Convert:
        OPERATORS.update(dict.fromkeys(names, convert))
        return convert

    return add


def _only(how: Settings, **settings: tuple) -> None:
    """Raises Unsupported where a setting is none of these, of which the first is the default."""
    for key, known in settings.items():
        if how.get(key, known[0]) not in known:
            raise Unsupported(f"{key}={how[key]}")


# ---------------------------------------------------------------- layers


def _windows(how: Settings) -> Settings:
    """Kernel, strides and padding of what slides over maps."""
    _only(how, layout=(None, "NCHW"))
    axes = len(how["kernel"])
    pads = tuple(how.get("pad") or (0,) * axes) * 2  # of both ends of each axis
    strides = how.get("stride") or (1,) * axes
    return {"kernel_shape": how["kernel"], "strides": strides, "pads": pads}


def _kernels(how: Settings) -> Settings:
    dilations = how.get("dilate") or (1,) * len(how["kernel"])
    return _windows(how) | {"dilations": dilations, "group": how.get("num_group", 1)}


@_converts("Convolution")
def _convolution(g: Graph, name: str, given: Sequence[str], how: Settings) -> str:
    return g.node("Conv", *given, name=name, **_kernels(how))


@_converts("Deconvolution")
def _deconvolution(g: Graph, name: str, given: Sequence[str], how: Settings) -> str:
    _only(how, target_shape=((), None))
    more = {"output_padding": how["adj"]} if how.get("adj") else {}
    return g.node("ConvTranspose", *given, name=name, **_kernels(how), **more)


@_converts("FullyConnected")
def _dense(g: Graph, name: str, given: Sequence[str], how: Settings) -> str:
    _only(how, flatten=(True,))
    return g.node("Gemm", g.node("Flatten", given[0]), *given[1:], name=name, transB=1)


@_converts("BatchNorm")
def _batch_norm(g: Graph, name: str, given: Sequence[str], how: Settings) -> str:
    _only(how, axis=(1,))
    x, gamma, *others = given
    if how.get("fix_gamma", True):  # then MXNet takes it for ones, whatever is stored
        gamma = g.array(np.ones_like(g.known[gamma]))
    eps = how.get("eps", 1e-3)
    return g.node("BatchNormalization", x, gamma, *others, name=name, epsilon=eps)


@_converts("Pooling")
def _pooling(g: Graph, name: str, given: Sequence[str], how: Settings) -> str:
    _only(how, pool_type=("max", "avg"), pooling_convention=("valid", "full"))
    mean, full = how.get("pool_type") == "avg", how.get("pooling_convention") == "full"
    if how.get("global_pool"):
        return g.node("GlobalAveragePool" if mean else "GlobalMaxPool", *given, name=name)
    if not mean:
        return g.node("MaxPool", *given, name=name, ceil_mode=int(full), **_windows(how))
    _only(how, pooling_convention=("valid",))  # the others count what lies outside differently
    outside = int(how.get("count_include_pad") is not False)
    return g.node("AveragePool", *given, name=name, count_include_pad=outside, **_windows(how))


@_converts("UpSampling")
def _up_sampling(g: Graph, name: str, given: Sequence[str], how: Settings) -> str:
    _only(how, sample_type=("nearest",), num_args=(1,))
    scale = g.array(np.array([1, 1, how["scale"], how["scale"]], np.float32))
    places = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return g.node("Resize", given[0], "", scale, name=name, mode="nearest", **places)


# ---------------------------------------------------------------- number by number

_ALIKE = {
    "Relu": "relu",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Softplus": "softrelu",
    "Softsign": "softsign",
    "Exp": "exp",
    "Log": "log",
    "Sqrt": "sqrt",
    "Abs": "abs",
    "Flatten": "Flatten flatten",
    "Identity": "Dropout identity _copy BlockGrad",  # what only training or gradients know
    "Add": "elemwise_add _plus broadcast_add broadcast_plus",
    "Sub": "elemwise_sub _minus broadcast_sub broadcast_minus",
    "Mul": "elemwise_mul _mul broadcast_mul",
    "Div": "elemwise_div _div broadcast_div",
    "Max": "_maximum broadcast_maximum",
    "Min": "_minimum broadcast_minimum",
    "Sum": "add_n",
}
_NAMED = {one: kind for kind, names in _ALIKE.items() for one in names.split()}
_WITH_NUMBER = {"plus": "Add", "minus": "Sub", "mul": "Mul", "div": "Div", "power": "Pow"}
_WITH_NUMBER |= {"maximum": "Max", "minimum": "Min"}


def _alike(kind: str) -> Convert:
    return lambda g, name, given, how: g.node(kind, *given, name=name)


def _with_number(kind: str, turned: bool) -> Convert:
    """An operator whose second operand, or first one where it is turned, is a number."""

    def convert(g: Graph, name: str, given: Sequence[str], how: Settings) -> str:
        both = given[0], g.array(np.array(how["scalar"], np.float32))
        return g.node(kind, *(both[::-1] if turned else both), name=name)

    return convert


def _tables() -> Iterator[tuple[str, Convert]]:
    for one, kind in _NAMED.items():
        yield one, _alike(kind)
    for word, kind in _WITH_NUMBER.items():
        yield f"_{word}_scalar", _with_number(kind, False)
        yield f"_r{word}_scalar", _with_number(kind, True)


OPERATORS.update(_tables())


@_converts("Activation")
def _activation(g: Graph, name: str, given: Sequence[str], how: Settings) -> str:
    return g.node(_NAMED[how["act_type"]], *given, name=name)


@_converts("LeakyReLU")
def _leaky(g: Graph, name: str, given: Sequence[str], how: Settings) -> str:
    _only(how, act_type=("leaky", "prelu", "elu"))
    if how.get("act_type") == "prelu":  # a slope for each channel
        slopes = g.node("Unsqueeze", given[1], g.integers(1, 2))
        return g.node("PRelu", given[0], slopes, name=name)
    kind = "Elu" if how.get("act_type") == "elu" else "LeakyRelu"
    return g.node(kind, given[0], name=name, alpha=how.get("slope", 0.25))


@_converts("clip")
def _clip(g: Graph, name: str, given: Sequence[str], how: Settings) -> str:
    ends = (g.array(np.array(how[end], np.float32)) for end in ("a_min", "a_max"))
    return g.node("Clip", *given, *ends, name=name)


@_converts("softmax")
def _softmax(g: Graph, name: str, given: Sequence[str], how: Settings) -> str:
    _only(how, temperature=(None, 1), use_length=(None, False))
    return g.node("Softmax", *given, name=name, axis=how.get("axis", -1))


# ---------------------------------------------------------------- over axes, and shapes


def _over_axes(kind: str) -> Convert:
    def convert(g: Graph, name: str, given: Sequence[str], how: Settings) -> str:
        _only(how, exclude=(None, False))
        axes = how.get("axis")
        axes = (axes,) if isinstance(axes, int) else axes
        return g.node(kind, *given, name=name, axes=axes, keepdims=int(bool(how.get("keepdims"))))

    return convert


for _op, _kind in {"mean": "ReduceMean", "max": "ReduceMax", "min": "ReduceMin"}.items():
    OPERATORS[_op] = _over_axes(_kind)


@_converts("batch_dot")
def _batch_dot(g: Graph, name: str, given: Sequence[str], how: Settings) -> str:
    turned = [
        g.node("Transpose", one, perm=(0, 2, 1)) if how.get(f"transpose_{side}") else one
        for one, side in zip(given, "ab", strict=True)
    ]
    return g.node("MatMul", *turned, name=name)


@_converts("Concat", "concat")
def _concat(g: Graph, name: str, given: Sequence[str], how: Settings) -> str:
    return g.node("Concat", *given, name=name, axis=how.get("dim", 1))


@_converts("SliceChannel", "split")
def _split(g: Graph, name: str, given: Sequence[str], how: Settings) -> Sequence[str]:
    _only(how, squeeze_axis=(False,))
    names = [f"{name}_output{number}" for number in range(how["num_outputs"])]
    return g.several("Split", given, names, axis=how.get("axis", 1))


@_converts("Reshape", "reshape")
def _reshape(g: Graph, name: str, given: Sequence[str], how: Settings) -> str:
    _only(how, reverse=(False,))
    if min(how["shape"]) < -1:  # 0 and -1 are ONNX's as well, the others MXNet's own
        raise Unsupported(f"shape={how['shape']}")
    return g.node("Reshape", *given, g.integers(*how["shape"]), name=name)


@_converts("reshape_like")
def _reshape_like(g: Graph, name: str, given: Sequence[str], how: Settings) -> str:
    _only(how, **dict.fromkeys(("lhs_begin", "lhs_end", "rhs_begin", "rhs_end"), (None,)))
    return g.node("Reshape", given[0], g.node("Shape", given[1]), name=name)


@_converts("expand_dims")
def _expand_dims(g: Graph, name: str, given: Sequence[str], how: Settings) -> str:
    return g.node("Unsqueeze", *given, g.integers(how["axis"]), name=name)


@_converts("transpose")
def _transpose(g: Graph, name: str, given: Sequence[str], how: Settings) -> str:
    more = {"perm": how["axes"]} if how.get("axes") else {}
    return g.node("Transpose", *given, name=name, **more)


@_converts("ones_like")
def _ones_like(g: Graph, name: str, given: Sequence[str], how: Settings) -> str:
    from onnx import numpy_helper

    one = numpy_helper.from_array(np.ones(1, np.float32))
    return g.node("ConstantOfShape", g.node("Shape", *given), name=name, value=one)


# ---------------------------------------------------------------- spatial transformers


@_converts("SpatialTransformer")
def _transformer(g: Graph, name: str, given: Sequence[str], how: Settings) -> str:
    _only(how, sampler_type=("bilinear",))
    picture, matrices = given
    return _sampled(g, name, picture, _places(g, matrices, how))


@_converts("GridGenerator")
def _grid(g: Graph, name: str, given: Sequence[str], how: Settings) -> str:
    return g.node("Transpose", _places(g, given[0], how), name=name, perm=(0, 3, 1, 2))


@_converts("BilinearSampler")
def _sampler(g: Graph, name: str, given: Sequence[str], how: Settings) -> str:
    picture, places = given
    return _sampled(g, name, picture, g.node("Transpose", places, perm=(0, 2, 3, 1)))


def _places(g: Graph, matrices: str, how: Settings) -> str:
    """Affine matrices (N, 6) -> where each pixel is taken from, (N, H, W, 2), from -1 to 1."""
    _only(how, transform_type=("affine",))
    height, width = how["target_shape"]
    down, across = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    pixels = np.stack([across, down, np.ones_like(down)], axis=-1).reshape(-1, 3)
    turned = g.node("Transpose", g.node("Reshape", matrices, g.integers(-1, 2, 3)), perm=(0, 2, 1))
    places = g.node("MatMul", g.array(pixels.astype(np.float32)), turned)
    return g.node("Reshape", places, g.integers(-1, height, width, 2))


def _sampled(g: Graph, name: str, picture: str, places: str) -> str:
    """Between four pixels, zero outside; -1 and 1 are the middles of the outermost ones."""
    return g.node("GridSample", picture, places, name=name, align_corners=1, mode="bilinear")
