"""Small maps of sixteen pictures woven into one wide map, where AMX's kernels are quick.

oneDNN 2.4 finds the gradient of a convolution's weights row by row, in tiles of 32 places, of which
a row of three pixels fills a tenth. Woven, the first columns of sixteen pictures lie beside each
other, then the second ones: (N, C, H, W) -> (N / 16, C, H, W * 16). A kernel whose columns lie
sixteen places apart (dilation) sees in them what it saw before.
"""

import ast
import json
from typing import Any

import numpy as np

from ferlib import runtime
from ferlib.nets.graph import shapes

mx = runtime.import_mxnet()

TOGETHER = 16  # pictures: with 32 it was slower
SMALL = 8  # pixels of a map's side: at 12 two threads lost by it
PLAIN, WOVEN = "plain", "woven"
# To a form, of C channels. MXNet's own `transpose`, by oneDNN, fails on gradients that come in one
# of oneDNN's layouts, and in bfloat16 writes past its end. The one for NumPy's arrays does neither.
STEPS = {
    WOVEN: (
        ("Reshape", "shape", f"(-4, -1, {TOGETHER}, -3, 0)"),
        ("_np_transpose", "axes", "(0, 2, 3, 1)"),
        ("Reshape", "shape", "(0, -4, C, -1, -3)"),
    ),
    PLAIN: (
        ("Reshape", "shape", f"(0, -3, -4, -1, {TOGETHER})"),
        ("_np_transpose", "axes", "(0, 3, 1, 2)"),
        ("Reshape", "shape", "(-3, -4, C, -1, 0)"),
    ),
}


def woven(graph: Any, inputs: dict[str, tuple[int, ...]], batch: int) -> Any:
    """The same graph, for batches of that size, with kernels of stride 1 on woven small maps.

    `inputs` are the shapes of its parameters, and of the largest pictures that it will see as
    `data`. What treats all places alike (BatchNorm, ReLU, sums) takes maps as they come; all else
    gets plain ones. A graph without such kernels stays as it is, and so it does for a batch that is
    no multiple of sixteen.
    """
    if batch % TOGETHER:
        return graph
    loom = _Loom(graph, inputs)
    known = json.loads(graph.tojson(remove_amp_cast=False))
    if not any(loom.gains(node) for node in known["nodes"]):
        return graph
    for node in known["nodes"]:
        loom.add(node)
    heads = [loom.place(head, PLAIN) for head in known["heads"]]
    arguments = [at for at, node in enumerate(loom.nodes) if node["op"] == "null"]
    whole = {"nodes": loom.nodes, "arg_nodes": arguments, "heads": heads}
    return mx.sym.load_json(json.dumps(whole | {"attrs": known["attrs"]}))


class _Loom:
    """Writes a graph's nodes anew, each in the form that suits it, and what is between forms."""

    def __init__(self, graph: Any, inputs: dict[str, tuple[int, ...]]):
        inner = graph.get_internals()
        self.shapes = shapes(graph, inputs)
        types = inner.infer_type(data="float32")[1]
        self.types = dict(zip(inner.list_outputs(), types, strict=True))
        self.nodes: list[dict] = []
        self.written: list[tuple[int, str]] = []  # of each node in the old graph: its place, form
        self.changed: dict[tuple[int, int], list[int]] = {}  # outputs in their other form

    def gains(self, node: dict) -> bool:
        """Whether a node is a convolution that is quicker on woven maps."""
        if node["op"] != "Convolution" or not _common(node) or 1 in pair(node, "kernel"):
            return False
        return self.shapes[node["name"] + "_output"][-1] <= SMALL

    def add(self, node: dict) -> None:
        """The next of the old graph's nodes."""
        maps, gains = _maps(node), self.gains(node)
        forms = {self.written[source[0]][1] for source in node["inputs"][:maps]}
        form = WOVEN if gains or WOVEN in forms else PLAIN
        inputs = [
            self.place(source, form if at < maps else PLAIN)
            for at, source in enumerate(node["inputs"])
        ]
        new = node | {"inputs": inputs}
        if form == WOVEN and node["op"] == "Convolution":
            new["attrs"] = node["attrs"] | _apart(node)
        self.written.append((self._write(new), form))

    def place(self, source: list[int], form: str) -> list[int]:
        """Where an output of the old graph stands in that form."""
        node, output = source[:2]
        at, native = self.written[node]
        if form == native:
            return [at, output, 0]
        if (node, output) not in self.changed:
            name = self.nodes[at]["name"]
            names = (name + end for end in ("", "_output", f"_output{output}"))
            name = next(name for name in names if name in self.shapes)
            self.changed[node, output] = self._change([at, output, 0], name, form)
        return self.changed[node, output]

    def _change(self, given: list[int], name: str, form: str) -> list[int]:
        kind = "float32" if self.types[name] is np.float32 else "bfloat16"
        casts = [(("amp_cast", "dtype", dtype),) for dtype in ("float32", kind)]
        for op, what, value in casts[0] + STEPS[form] + casts[1]:
            attrs = {what: value.replace("C", str(self.shapes[name][1]))}
            new = {"op": op, "name": f"{form}{len(self.nodes)}", "attrs": attrs, "inputs": [given]}
            given = [self._write(new), 0, 0]
        return given

    def _write(self, node: dict) -> int:
        self.nodes.append(node)
        return len(self.nodes) - 1


def _common(node: dict) -> bool:
    """Whether a convolution is of the common kind: no steps, gaps or groups."""
    ones = {pair(node, "stride"), pair(node, "dilate")} == {(1, 1)}
    return ones and int(node["attrs"].get("num_group", 1)) == 1


def pair(node: dict, name: str) -> tuple[int, ...]:
    """A convolution's kernel, stride, dilate or pad: down and across."""
    usual = "(0, 0)" if name == "pad" else "(1, 1)"
    return ast.literal_eval(node["attrs"].get(name, usual))


def _apart(node: dict) -> dict[str, str]:
    """A kernel's attributes where its columns lie sixteen places apart."""
    above, beside = pair(node, "pad")
    step = 1 if pair(node, "kernel")[1] == 1 else TOGETHER
    return {"dilate": f"(1, {step})", "pad": f"({above}, {beside * TOGETHER})"}


def _maps(node: dict) -> int:
    """How many of a node's inputs, the first ones, are maps that it takes in either form."""
    op, attrs = node["op"], node.get("attrs", {})
    if op == "elemwise_add" or (op == "Concat" and attrs.get("dim", "1") == "1"):
        return len(node["inputs"])
    common = op == "Convolution" and _common(node)
    whole = op == "Dropout" and attrs.get("axes", "()") in ("()", "[]")
    return int(common or whole or op in ("BatchNorm", "Activation", "amp_cast"))
