"""A net's graph in bfloat16, sharing the float32 parameters of the net."""

import ast
import json
import warnings
from typing import Any

from ferlib import runtime
from ferlib.training.recipe import Recipe

mx = runtime.import_mxnet()
from mxnet import gluon  # noqa: E402  (after import_mxnet has prepared it)

CHANNELS = 16  # that fill one block of oneDNN's layout


def chosen(recipe: Recipe, ctx: list) -> str:
    """The precision of a training's convolutions: the recipe's, or the faster one that is sound."""
    if recipe.precision != "auto":
        return recipe.precision
    on_cpu = ctx[0].device_type == "cpu"
    sound = on_cpu and runtime.fast_bfloat16() and recipe.network().bfloat16
    return "bfloat16" if sound else "float32"


def in_bfloat16(net: Any) -> gluon.SymbolBlock:
    """The same parameters (float32) behind a graph that convolves in bfloat16.

    MXNet's `amp.init` would change every net of the process, and what they export; converting
    one graph leaves `net` as it was.
    """
    return block(net(mx.sym.var("data")), net, "bfloat16")


def block(graph: Any, net: Any, precision: str = "float32") -> gluon.SymbolBlock:
    """A graph of some of a net's layers with the net's own parameters, float32."""
    (data,) = (name for name in graph.list_inputs() if name not in net.collect_params())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "cannot decide type": it is decided at the first batch
        if precision == "bfloat16":
            from mxnet.contrib import amp  # here: it takes a second to load

            graph = amp.convert_symbol(
                widened(graph), target_dtype=precision, cast_optional_params=False
            )
        return gluon.SymbolBlock(graph, mx.sym.var(data), params=net.collect_params())


def widened(graph: Any):
    """A graph whose first convolution, if it sees the picture, is fed 16 channels.

    All but the picture's own are copies of it with weights of zero. For fewer channels oneDNN 2.4
    has no bfloat16 kernel of its own blocked layout; what follows then runs in plain layout,
    BatchNorm at a tenth of its speed.
    """
    whole = json.loads(graph.tojson())
    nodes = whole["nodes"]
    first = next((node for node in nodes if node["op"] == "Convolution"), None)
    if first is None or not _sees_the_picture(first, nodes):
        return graph
    data, weight = (nodes[source[0]] for source in first["inputs"][:2])
    filters, channels, *kernel = ast.literal_eval(weight["attrs"]["__shape__"])
    if channels >= CHANNELS or int(first["attrs"].get("num_group", 1)) > 1:
        return graph
    blanks = mx.sym.zeros((filters, CHANNELS - channels, *kernel))
    wide = {
        "wide_data": _repeated(mx.sym.var("data"), channels),
        "wide_weight": mx.sym.concat(mx.sym.var(weight["name"]), blanks, dim=1),
    }
    data["name"], weight["name"] = wide  # now they can be told what to stand for
    return mx.sym.load_json(json.dumps(whole))(**wide)


def _sees_the_picture(node: dict, nodes: list[dict]) -> bool:
    """Whether a node's input is the picture, which nothing else looks at."""
    source = node["inputs"][0][0]
    uses = sum(each[0] == source for other in nodes for each in other["inputs"])
    return nodes[source]["name"] == "data" and uses == 1


def _repeated(data, channels: int):
    """Pictures (N, 1 or 3, H, W) -> (N, 16, H, W)."""
    if channels == 1:
        return mx.sym.broadcast_axis(data, axis=1, size=CHANNELS)
    many = mx.sym.concat(*[data] * -(-CHANNELS // channels), dim=1)
    return mx.sym.slice_axis(many, axis=1, begin=0, end=CHANNELS)
