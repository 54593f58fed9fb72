"""A stored net as an ONNX graph, made of its three files, without MXNet.

    model, info = onnx_graph.model("model_store/ferplus")

The graph takes `data`, float32 (N, channels, size, size) as `images.prepare` makes it, and gives
`logits` (N, K), for any N. What travels with the weights is in the model's metadata.
"""

import json
from ast import literal_eval
from pathlib import Path
from typing import Any

import numpy as np

from ferlib import __version__
from ferlib.errors import FerlibError
from ferlib.nets import onnx_params
from ferlib.nets.info import Info
from ferlib.nets.onnx_ops import OPERATORS, Graph, Unsupported
from ferlib.nets.places import damaged, stored_files
from ferlib.nets.prior import Prior, under

DATA, LOGITS = "data", "logits"
KEY = "ferlib"  # under which the metadata have the net's JSON


def model(prefix: str | Path, prior: Prior | None = None) -> tuple[Any, Info]:
    """An onnx.ModelProto, and what travels with the weights. The same files give the same bytes.

    `prior` as for `nets.prior.under`. FerlibError where a file is missing or damaged, or where the
    net has an operator that is not known here.
    """
    symbol_file, params_file, info_file = stored_files(prefix)
    info = under(Info.read(info_file), prior)
    try:
        symbol, arrays = json.loads(symbol_file.read_bytes()), onnx_params.read(params_file)
    except (ValueError, RecursionError, MemoryError):
        raise damaged(prefix) from None
    g = Graph({name.partition(":")[2]: value.astype("f4") for name, value in arrays.items()})
    _convert(g, symbol, prefix)
    size = info.input_size
    given = {DATA: (np.float32, ("N", info.channels, size, size))}
    about = metadata(info, Path(prefix).name, LOGITS)
    return g.model(given, {LOGITS: ("N", len(info.classes))}, about), info


def metadata(info: Info, name: str, gives: str, precision: str = "float32") -> dict[str, str]:
    """What travels with a graph, and tells it from other programs'."""
    more = {"name": name, "gives": gives, "precision": precision, "version": __version__}
    return {KEY: info.text()} | {f"{KEY}.{key}": value for key, value in more.items()}


def _convert(g: Graph, symbol: dict, prefix: str | Path) -> None:
    """Add MXNet's nodes, in their order, from DATA to LOGITS."""
    names: list[list[str]] = []
    taken: set[str] = set()
    try:
        for number, node in enumerate(symbol["nodes"]):
            if node["name"] in taken:  # a layer that is used twice
                node = node | {"name": f"{node['name']}_{number}"}
            taken.add(node["name"])
            names.append(_added(g, node, [names[at][output] for at, output, *_ in node["inputs"]]))
        ((last, output, *_),) = symbol["heads"]
        g.node("Identity", names[last][output], name=LOGITS)
    except Unsupported as error:
        raise FerlibError(f"{prefix}-symbol.json: {error}", "unsupported_operator") from None
    except (ValueError, LookupError, TypeError, AttributeError, MemoryError, RecursionError):
        raise damaged(prefix) from None


def _added(g: Graph, node: dict, given: list[str]) -> list[str]:
    """The names of a node's outputs, once it is in the graph."""
    op, name = node["op"], node["name"]
    if op == "null":
        if name in g.known:
            return [g.array(g.known[name], name)]
        if name != DATA:
            raise KeyError(name)
        return [DATA]
    if op not in OPERATORS:
        raise Unsupported(f"MXNet's operator {op} (at {name}) is not known to the ONNX export")
    how = {key: _value(text) for key, text in node.get("attrs", {}).items()}
    try:
        made = OPERATORS[op](g, name, given, how)
    except Unsupported as error:
        why = f"{op} with {error} (at {name}) is not known to the ONNX export"
        raise Unsupported(why) from None
    return [made] if isinstance(made, str) else list(made)


def _value(text: str) -> Any:
    """MXNet writes numbers, truths and tuples as Python does, and words without quotes."""
    try:
        return literal_eval(text)
    except (ValueError, SyntaxError):
        return text
