"""What a net holds inside for given pictures: its features, its warps, what its masks add.

    net, info = nets.load("runs/mine/net")
    features(net, info, crops)  # (N, F), for `evaluation.embedding`

Each reads the graph of stored weights, in float32, and runs the part of it that is asked for.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ferlib import runtime
from ferlib.data.images import Crops, check_several, prepare
from ferlib.errors import FerlibError
from ferlib.nets.answer import BATCH
from ferlib.nets.info import Info

mx = runtime.import_mxnet()


def features(net: Any, info: Info, pictures: Crops) -> np.ndarray:
    """What the last dense layer is given for each picture, float32 (N, F).

    `net` and `info` as `nets.load` gives them in float32, `pictures` as for `nets.predict`.
    FerlibError where a net has no dense layer.
    """
    graph = _graph(net)
    last = _nodes(graph, "FullyConnected", info, "dense layer")[-1]
    (found,) = _inside(net, info, pictures, graph, [last["inputs"][0]])
    return found.reshape(len(found), -1)


def warps(net: Any, info: Info, pictures: Crops) -> tuple[np.ndarray, np.ndarray]:
    """What a spatial transformer makes of each picture (Jaderberg et al. 2015).

    -> float32 (N, 2, 3), the affine matrices, and (N, C, size, size), the warped pictures in the
    net's own units (`images.prepare`). A matrix leads from a place (x, y, 1) of the warped picture
    to that of the picture, both from -1, the middle of the first pixel, to 1, that of the last.
    FerlibError where a net has no spatial transformer; `deep_emotion` has.
    """
    graph = _graph(net)
    node = _nodes(graph, "SpatialTransformer", info, "spatial transformer")[0]
    ends = [node["inputs"][1], [graph["nodes"].index(node), 0, 0]]
    matrices, warped = _inside(net, info, pictures, graph, ends)
    return matrices.reshape(-1, 2, 3), warped


def masks(net: Any, info: Info, pictures: Crops) -> list[np.ndarray]:
    """What the mask of each stage of `resmasking` adds at each place: float32 (N, h, w) a stage.

    As a share of what is there: the sum of |maps| * mask over the channels, divided by that of
    |maps|. The mean of a mask would say nothing: it is a softmax over C channels, 1/C everywhere.
    An even mask adds 1/C, one that keeps to the channels that are active here up to 1.
    FerlibError where a net has no such masks.
    """
    graph = _graph(net)
    found = [node for node in graph["nodes"] if node["name"].endswith("_mask")]
    outs = {node["name"]: node for node in graph["nodes"]}
    pairs = [(node, outs.get(node["name"].removesuffix("mask") + "out")) for node in found]
    ends = [[out["inputs"][0], [graph["nodes"].index(node), 0, 0]] for node, out in pairs if out]
    if not ends:
        raise _lacks(info, "residual mask")
    parts = _inside(net, info, pictures, graph, [one for pair in ends for one in pair])
    stages = zip(map(np.abs, parts[::2]), parts[1::2], strict=True)
    return [(x * mask).sum(1) / np.maximum(x.sum(1), 1e-12) for x, mask in stages]


# ---------------------------------------------------------------- a part of a graph


def function(symbol: Any, net: Any, ctx: Any) -> Callable:
    """The graph with the net's parameters, as a function of its one other input."""
    run, parameters, names = mx.nd.CachedOp(symbol), net.collect_params(), symbol.list_inputs()
    # Detached, without copying: a backward pass must not write into the net's own gradients.
    values = [parameters[x].data(ctx).detach() if x in parameters else None for x in names]
    return lambda batch: run(*(batch if value is None else value for value in values))


def _graph(net: Any) -> dict:
    return json.loads(net(mx.sym.var("data")).tojson())


def _nodes(graph: dict, op: str, info: Info, what: str) -> list[dict]:
    found = [node for node in graph["nodes"] if node["op"] == op]
    if not found:
        raise _lacks(info, what)
    return found


def _lacks(info: Info, what: str) -> FerlibError:
    name = info.network or "this net"
    return FerlibError(
        f"{name} has no {what} to look at: load another net, and in precision float32"
    )


def _inside(net: Any, info: Info, pictures: Crops, graph: dict, ends: Sequence) -> list[np.ndarray]:
    """For each end, the place of a node's output in the graph, what it gives for all pictures."""
    check_several(pictures)
    if not len(pictures):
        raise FerlibError("no pictures to look at: expected one or more")
    symbol = mx.sym.load_json(json.dumps(graph | {"heads": list(ends)}))
    ctx = next(iter(net.collect_params().values())).list_ctx()[0]
    run, found = function(symbol, net, ctx), []
    for start in range(0, len(pictures), BATCH):
        some = pictures[start : start + BATCH]
        batch = prepare(some, info.input_size, info.normalise, info.channels)
        given = run(mx.nd.array(batch, ctx=ctx))
        found.append([one.asnumpy() for one in (given if len(ends) > 1 else [given])])
    return [np.concatenate(parts) for parts in zip(*found, strict=True)]
