"""A net's graph in bfloat16, sharing the float32 parameters of the net."""

import ast
import json
import warnings
from collections.abc import Collection
from math import prod
from typing import Any

from ferlib import runtime
from ferlib.errors import FerlibError
from ferlib.nets.graph import shapes
from ferlib.training import weaving
from ferlib.training.recipe import Recipe
from ferlib.training.weaving import pair

mx = runtime.import_mxnet()
from mxnet import gluon  # noqa: E402  (after import_mxnet has prepared it)

CHANNELS = 16  # that fill one block of oneDNN's layout
THREE_TILES = range(33, 49)  # places of a map that AMX takes in three tiles of sixteen


def chosen(recipe: Recipe, ctx: list) -> str:
    """The precision of a training's convolutions: the recipe's, or the faster one that is sound.

    FerlibError for bfloat16 where the processor has none.
    """
    on_cpu = ctx[0].device_type == "cpu"
    if recipe.precision == "bfloat16" and on_cpu and not runtime.can_bfloat16():
        raise FerlibError(
            "this processor cannot compute in bfloat16, which takes AVX-512: "
            "choose the precision auto or float32"
        )
    if recipe.precision != "auto":
        return recipe.precision
    sound = on_cpu and runtime.fast_bfloat16() and recipe.network().bfloat16
    return "bfloat16" if sound else "float32"


def in_bfloat16(
    net: Any, sizes: Collection[int] = (48,), batch: int = 0, channels: int = 1
) -> gluon.SymbolBlock:
    """The same parameters (float32) behind a graph that convolves in bfloat16.

    `sizes` are the sides of the pictures that it will see, `channels` theirs, and `batch` how many
    come at a time, if that is always the same: then small maps may be woven (`weaving`). MXNet's
    `amp.init` would change every net of the process, and what they export; converting one graph
    leaves `net` as it was.
    """
    return block(net(mx.sym.var("data")), net, "bfloat16", sizes, batch, channels)


def block(
    graph: Any,
    net: Any,
    precision: str = "float32",
    sizes: Collection[int] = (48,),
    batch: int = 0,
    channels: int = 1,
) -> gluon.SymbolBlock:
    """A graph of some of a net's layers with the net's own parameters, float32."""
    (data,) = (name for name in graph.list_inputs() if name not in net.collect_params())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "cannot decide type": it is decided at the first batch
        if precision == "bfloat16":
            inputs = _input_shapes(graph, max(sizes), channels)  # converted it has forgotten them
            graph = _converted(widened(thickened(graph, sizes, channels), channels))
            if batch and runtime.amx():
                graph = weaving.woven(graph, inputs, batch)
        return gluon.SymbolBlock(graph, mx.sym.var(data), params=net.collect_params())


def _converted(graph: Any):
    from mxnet.contrib import amp  # here: it takes a second to load

    full = list(amp.list_fp32_ops(amp.amp.bfloat16))  # a copy: theirs is of the whole process
    if any(node["op"] == "Deconvolution" for node in json.loads(graph.tojson())["nodes"]):
        full.append("Concat")  # what that gives is float32, and only alike maps are put together
    how = {"target_dtype": "bfloat16", "cast_optional_params": False}
    return amp.convert_symbol(graph, fp32_ops=full, **how)


def thickened(graph: Any, sizes: Collection[int] = (48,), channels: int = 1):
    """A graph with 1 x 3 kernels, zeros beside the weights, for 1 x 1 ones on maps of 33 to 48
    places, of which 6 x 6 is one.

    There oneDNN 2.4's bfloat16 kernel for 1 x 1 writes past its answer's end, and the process dies.
    """
    risky = {name for size in sizes for name in _in_three_tiles(graph, size, channels)}
    whole = json.loads(graph.tojson())
    thick = {}
    for node in whole["nodes"]:
        if node["name"] in risky:
            weight = whole["nodes"][node["inputs"][1][0]]
            name, shape = weight["name"], ast.literal_eval(weight["attrs"]["__shape__"])
            weight["name"], blank = f"thick_{name}", mx.sym.zeros(shape)
            wide = mx.sym.concat(blank, mx.sym.var(name, shape=shape), blank, dim=3)
            thick[weight["name"]] = wide
            node["attrs"] |= {"kernel": "(1, 3)", "pad": "(0, 1)"}
    return mx.sym.load_json(json.dumps(whole))(**thick) if thick else graph


def _in_three_tiles(graph: Any, size: int, channels: int) -> list[str]:
    """The names of the 1 x 1 convolutions on such maps, for pictures of a side."""
    nodes = json.loads(graph.tojson())["nodes"]
    all_of_them = [node for node in nodes if node["op"] == "Convolution"]
    small = [one for one in all_of_them if pair(one, "kernel") == pair(one, "stride") == (1, 1)]
    if not small:
        return []
    found = shapes(graph, _input_shapes(graph, size, channels))
    places = {one["name"]: prod(found[one["name"] + "_output"][2:]) for one in small}
    return [name for name, count in places.items() if count in THREE_TILES]


def _input_shapes(graph: Any, size: int, channels: int) -> dict[str, tuple[int, ...]]:
    """The shapes of a graph's parameters, and of sixteen pictures of that side as its `data`."""
    known = graph.infer_shape(data=(weaving.TOGETHER, channels, size, size))[0]
    return dict(zip(graph.list_arguments(), known, strict=True))


def widened(graph: Any, channels: int = 1):
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
    filters, _, *kernel = ast.literal_eval(weight["attrs"]["__shape__"])
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
