"""The mean over a whole map, computed so that its gradient comes back fast.

oneDNN 2.4 has no quick way back through a pooling of more than sixteen places, and hands on its
gradient in a layout in which it has none through the BatchNorm before it either: five sixths of a
small net's step (results/pooling.json). MXNet's own `mean` gives the same numbers without it.
"""

import json
from collections.abc import Collection
from math import prod
from typing import Any

from ferlib import runtime
from ferlib.nets.graph import shapes

mx = runtime.import_mxnet()

PASSING = ("Activation", "LeakyReLU", "elemwise_add", "broadcast_add", "Dropout")
QUICK = 16  # places of a map that oneDNN pools quickly, forwards and back


def averaged(graph: Any, sizes: Collection[int] = (48,), channels: int = 1) -> Any:
    """A graph with `mean` for global average poolings of large maps that come from a BatchNorm;
    itself where it has none.

    `sizes` are the sides of the pictures that it will see, `channels` theirs. Where such a map goes
    elsewhere too, its gradient is a sum, and comes in another layout anyway.
    """
    whole = json.loads(graph.tojson())
    nodes = whole["nodes"]
    slow = [node for node in nodes if _pools_all(node) and _reads_alone(node, nodes)]
    slow = [node for node in slow if _from_batchnorm(node, nodes)]
    if not slow:
        return graph
    known = shapes(graph, {"data": (1, channels, max(sizes), max(sizes))})
    slow = [node for node in slow if _places(node, nodes, known) > QUICK]
    for node in slow:
        node |= {"op": "mean", "attrs": {"axis": "(2, 3)", "keepdims": "True"}}
    return mx.sym.load_json(json.dumps(whole)) if slow else graph


def _pools_all(node: dict) -> bool:
    attrs = node.get("attrs", {})
    kind = attrs.get("global_pool"), attrs.get("pool_type")
    return node["op"] == "Pooling" and kind == ("True", "avg")


def _reads_alone(node: dict, nodes: list[dict]) -> bool:
    """Whether its maps go nowhere else."""
    mine = node["inputs"][0][0]
    return sum(source == mine for other in nodes for source, *_ in other["inputs"]) == 1


def _from_batchnorm(node: dict, nodes: list[dict]) -> bool:
    """Whether nothing but activations and sums lies between a node and a BatchNorm before it."""
    sources = [nodes[source] for source, *_ in node["inputs"]]
    return any(
        source["op"] == "BatchNorm" or (source["op"] in PASSING and _from_batchnorm(source, nodes))
        for source in sources
    )


def _places(node: dict, nodes: list[dict], known: dict) -> int:
    """How many places its maps have."""
    source = nodes[node["inputs"][0][0]]["name"]
    return prod(known.get(f"{source}_output", known.get(source, (QUICK + 1,) * 4))[2:])
