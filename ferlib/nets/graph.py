"""What a network's graph says of itself, its layers with shapes and work; and its two halves."""

import json
from dataclasses import dataclass
from math import prod
from typing import Any

from ferlib import runtime
from ferlib.errors import FerlibError
from ferlib.nets.registry import Net

mx = runtime.import_mxnet()


@dataclass(frozen=True)
class Layer:
    """One node: `shape` is that of its output for one picture, without the first axis."""

    op: str  # MXNet's operator, such as Convolution
    name: str  # without the net's prefix
    shape: tuple[int, ...]
    kernel: tuple[int, ...] = ()  # the shape of its weights, where it has some
    places: int = 1  # of a map, at which each weight is used

    @property
    def multiply_adds(self) -> int:
        """For one picture, forward: each weight once for each place."""
        return prod(self.kernel) * self.places if self.kernel else 0


def layers(block: Any, net: Net) -> list[Layer]:
    """The nodes of a network's graph in the order in which they are computed."""
    graph = block(mx.sym.var("data"))
    known = shapes(graph, {"data": (1, net.channels, net.size, net.size)})
    nodes = json.loads(graph.tojson())["nodes"]
    found = []
    for node in nodes:
        if node["op"] != "null":
            given = (nodes[source[0]]["name"] for source in node["inputs"])
            kernel = next((known[name] for name in given if name.endswith("weight")), ())
            name = node["name"].removeprefix(net.prefix)
            shape = _shape(node, known)
            # A transposed convolution lays its kernel down at each place of what it is given.
            spread = node["op"] == "Deconvolution"
            counted = _shape(nodes[node["inputs"][0][0]], known) if spread else shape
            found.append(Layer(node["op"], name, shape[1:], kernel, prod(counted[2:])))
    return found


def _shape(node: dict, known: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
    return known.get(output(node)) or known[output(node) + "0"]


def shapes(graph: Any, inputs: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """The shapes of a graph's outputs, inner ones too, and of its parameters, by their names.

    `inputs` are those of its `data`, and of what it does not know by itself.
    """
    inner = graph.get_internals()
    return dict(zip(inner.list_outputs(), inner.infer_shape(**inputs)[1], strict=True))


def multiply_adds(block: Any, net: Net) -> int:
    """The multiply-adds of one picture's way through the convolutions and dense layers."""
    return sum(layer.multiply_adds for layer in layers(block, net))


def cut(graph: Any, at: int, network: str) -> tuple[Any, Any]:
    """A graph of `data` -> (`data` -> the maps of its node number `at`, `features` -> logits).

    FerlibError, with the network's name, where the logits are made of more than these maps.
    """
    known = json.loads(graph.tojson())
    name = output(known["nodes"][at])
    known["nodes"][at] = {"op": "null", "name": "features", "inputs": []}
    head = mx.sym.load_json(json.dumps(known))
    if "data" in head.list_inputs():
        raise FerlibError(
            f"{network}'s answer is made of more than {name}: it cannot be cut there.\n"
            "Name other layers with register(..., features=(...))"
        )
    return graph.get_internals()[name], head


def output(node: dict) -> str:
    """What a node of a graph's JSON calls its one output."""
    return node["name"] + ("" if node["op"] == "null" else "_output")
