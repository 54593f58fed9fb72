"""Eight-bit whole numbers in the convolutions: the same weights, several times as fast.

MXNet fuses each convolution with its BatchNorm and ReLU, and needs to know in which range each
layer's numbers lie. Those ranges, found on some pictures, are all that PREFIX-int8.json holds: the
graph is made of the net's own again at each loading, and the weights stay the float32 ones, which
oneDNN rounds when it first runs. The first convolution, which sees the picture, and the last layer,
which gives the logits, stay float32: there rounding costs most answers, for little of the time.
So do products of maps: MXNet 1.9.1 has them in eight bits for numbers with a sign only.
"""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from ferlib import runtime
from ferlib.errors import FerlibError
from ferlib.nets.places import damaged, int8_file, weight_files

mx = runtime.import_mxnet()
from mxnet.contrib import quantization  # noqa: E402  (after import_mxnet has prepared it)


def original(prefix: str | Path):
    """A stored net's graph as it was trained; FerlibError where MXNet would crash on it."""
    symbol = mx.sym.load_json(weight_files(prefix)[0].read_text())
    nodes = json.loads(symbol.tojson())["nodes"]
    used = {(nodes[at]["name"], output) for node in nodes for at, output, *_ in node["inputs"]}
    beyond = {one for one in used if one[1]}  # most layers have one output, number 0
    outputs = Counter(one.name for one in symbol.get_internals()) if beyond else Counter()
    if any(output >= outputs[name] for name, output in beyond):
        raise damaged(prefix)
    return symbol


def graph(prefix: str | Path):
    """A stored net's graph in int8; FerlibError when its ranges are missing, damaged or others'."""
    ranges = _read(prefix)
    _, graph, layers = unranged(original(prefix))
    if set(ranges) != set(layers):
        raise _damaged(prefix)
    graph = quantization._calibrate_quantized_sym(graph, ranges)
    return graph.get_backend_symbol("MKLDNN_QUANTIZE")


def unranged(symbol: Any):
    """The fused graph, the same in int8 but for the ranges, and the layers that need one."""
    fused = symbol.get_backend_symbol("MKLDNN_QUANTIZE")
    graph, layers = quantization._quantize_symbol(
        fused,
        mx.cpu(),
        _kept(symbol),
        offline_params=[name for name in fused.list_arguments() if name != "data"],
        quantized_dtype="auto",
        quantize_mode="smart",
        quantize_granularity="channel-wise",
    )
    return fused, graph, layers


def _kept(graph) -> list[str]:
    """The names of what stays float32: first convolution, last dense layer, products of maps."""
    nodes = json.loads(graph.tojson())["nodes"]
    names = {op: [n["name"] for n in nodes if n["op"] == op] for op in {n["op"] for n in nodes}}
    ends = names.get("Convolution", [])[:1] + names.get("FullyConnected", [])[-1:]
    return ends + names.get("elemwise_mul", [])


def _read(prefix) -> dict[str, tuple[float, float]]:
    path = int8_file(prefix)
    if not path.is_file():
        raise FerlibError(
            f"{path} is missing: make it with `ferlib quantize {prefix}`", "weights_missing"
        )
    try:
        kept = json.loads(path.read_text())
        weights = kept["weights"]
        ranges = {name: (float(low), float(high)) for name, (low, high) in kept["ranges"].items()}
    except Exception:  # ValueError, KeyError, RecursionError ... by what is wrong
        raise _damaged(prefix) from None
    if weights != fingerprint(prefix):
        raise FerlibError(
            f"{path} was made for other weights: make it again with `ferlib quantize {prefix}`, "
            "or delete it",
            "weights_invalid",
        )
    most = np.finfo(np.float32).max
    if not all(-most <= low <= 0 <= high <= most for low, high in ranges.values()):
        raise _damaged(prefix)
    return ranges


def _damaged(prefix) -> FerlibError:
    return FerlibError(
        f"{int8_file(prefix)} is damaged: make it again with `ferlib quantize {prefix}`",
        "weights_invalid",
    )


def fingerprint(prefix: str | Path) -> str:
    """SHA-256 of the weights that the ranges belong to, in hexadecimal digits."""
    return hashlib.sha256(weight_files(prefix)[1].read_bytes()).hexdigest()
