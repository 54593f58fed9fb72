"""Eight-bit whole numbers in the convolutions: the same weights, several times as fast.

MXNet fuses each convolution with its BatchNorm and ReLU, and needs to know in which range each
layer's numbers lie. Those ranges, found on some pictures, are all that PREFIX-int8.json holds: the
graph is made of the net's own again at each loading, and the weights stay the float32 ones, which
oneDNN rounds when it first runs. The first convolution, which sees the picture, and the last layer,
which gives the logits, stay float32: there rounding costs most answers, for little of the time.
"""

import contextlib
import hashlib
import json
import os
from pathlib import Path

import numpy as np

from ferlib import models, runtime
from ferlib.errors import FerlibError
from ferlib.images import prepare

mx = runtime.import_mxnet()
from mxnet.contrib import quantization  # noqa: E402  (after import_mxnet has prepared it)

CALIBRATED_ON = 2048  # pictures: with 512, a few answers more changed when it was tried
# How much wider than on those pictures the ranges are made. FER2013's answers do not mind; on the
# drawn faces, which the nets never saw, 2.7 % of ferplus's changed instead of 4.6 % when tried.
HEADROOM = 1.4


def quantize(prefix, pictures: np.ndarray) -> Path:
    """Calibrate a stored net on pictures uint8 (N, H, W) and write PREFIX-int8.json; its path.

    Of more than 2048 pictures as many are taken, evenly spaced. `models.load_weights` uses the file
    for "int8", and for "auto" where the CPU is fast at it. FerlibError when the weights do not
    load, there is no picture, or the file cannot be written.
    """
    if not len(pictures):
        raise FerlibError("no pictures to calibrate with: expected some hundred")
    _, info = models.load_weights(prefix)
    models.check_prefix(prefix)  # before the work, not after it
    rows = np.linspace(0, len(pictures) - 1, min(CALIBRATED_ON, len(pictures))).astype(int)
    ranges = _ranges(prefix, prepare(pictures[rows], info["input_size"], info["normalise"]))
    kept = {"weights": _fingerprint(prefix), "ranges": ranges}
    path, beside = file(prefix), Path(f"{prefix}-int8.{os.getpid()}.tmp")
    try:
        beside.write_text(json.dumps(kept, indent=2) + "\n")
        os.replace(beside, path)
    except OSError as error:
        raise FerlibError(f"cannot write {path}: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()
    return path


def _ranges(prefix, batch: np.ndarray) -> dict[str, list[float]]:
    """Each layer's range, cut where that loses the least (by entropy), as [lowest, highest]."""
    symbol, weights, statistics = mx.model.load_checkpoint(str(prefix), 0)
    fused, _, layers = _unranged(symbol)
    # The default batch size of an iterator is 1; what is left over after whole ones wraps around.
    data = mx.io.NDArrayIter({"data": batch}, batch_size=min(64, len(batch)))
    net = mx.mod.Module(fused, data_names=["data"], label_names=None)
    os.environ.setdefault("MXNET_SUBGRAPH_VERBOSE", "0")  # it would tell of it on stderr
    net.bind(data.provide_data, for_training=False)
    net.set_params(weights, statistics)
    seen = quantization._LayerHistogramCollector(include_layer=layers)
    quantization._collect_layer_statistics(net, data, seen)
    ranges = {}
    for layer, histogram in seen.hist_dict.items():
        lowest, _, highest, _ = quantization._get_optimal_threshold(histogram, "auto")
        highest = HEADROOM * float(highest[0])
        ranges[layer] = [0.0 if lowest >= 0 else -highest, highest]
    return ranges


def _unranged(symbol):
    """The fused graph, the same in int8 but for the ranges, and the layers that need one."""
    fused = symbol.get_backend_symbol("MKLDNN_QUANTIZE")
    graph, layers = quantization._quantize_symbol(
        fused,
        mx.cpu(),
        _ends(symbol),
        offline_params=[name for name in fused.list_arguments() if name != "data"],
        quantized_dtype="auto",
        quantize_mode="smart",
        quantize_granularity="channel-wise",
    )
    return fused, graph, layers


def _ends(graph) -> list[str]:
    """The names of the first convolution and of the last dense layer."""
    nodes = json.loads(graph.tojson())["nodes"]
    names = {op: [n["name"] for n in nodes if n["op"] == op] for op in {n["op"] for n in nodes}}
    return names.get("Convolution", [])[:1] + names.get("FullyConnected", [])[-1:]


def file(prefix) -> Path:
    """`model_store/ferplus` -> model_store/ferplus-int8.json, which need not be there."""
    return Path(f"{prefix}-int8.json")


def graph(prefix):
    """A stored net's graph in int8; FerlibError when its ranges are missing, damaged or others'."""
    ranges = _read(prefix)
    symbol = mx.sym.load_json(models.weight_files(prefix)[0].read_text())
    _, graph, layers = _unranged(symbol)
    if set(ranges) != set(layers):
        raise _damaged(prefix)
    graph = quantization._calibrate_quantized_sym(graph, ranges)
    return graph.get_backend_symbol("MKLDNN_QUANTIZE")


def _read(prefix) -> dict[str, tuple[float, float]]:
    path = file(prefix)
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
    if weights != _fingerprint(prefix):
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
        f"{file(prefix)} is damaged: make it again with `ferlib quantize {prefix}`",
        "weights_invalid",
    )


def _fingerprint(prefix) -> str:
    return hashlib.sha256(models.weight_files(prefix)[1].read_bytes()).hexdigest()


def compare(prefix, pictures: np.ndarray, votes: np.ndarray) -> dict:
    """What int8 changes on pictures with a majority emotion, beside float32.

    n, both accuracies, the share of equal answers, and the mean divergence (Kullback-Leibler) of
    int8's probabilities from float32's.
    """
    from ferlib.evaluate import measure

    scores, accuracy = {}, {}
    for precision in ("float32", "int8"):
        net, info = models.load_weights(prefix, precision=precision)
        scores[precision] = models.predict(net, pictures, info)
        accuracy[precision] = measure(scores[precision], votes)["accuracy"]
    full, rounded = scores.values()
    same = (full.argmax(axis=1) == rounded.argmax(axis=1)).mean()
    drift = (full * np.log(np.maximum(full, 1e-12) / np.maximum(rounded, 1e-12))).sum(axis=1).mean()
    counts = {"n": len(pictures), "same": round(float(same), 5), "drift": round(float(drift), 6)}
    return counts | {"accuracy": accuracy}


def report(result: dict) -> str:
    """The figures of `compare` in one line."""
    full, rounded = result["accuracy"].values()
    return (
        f"accuracy {full:.4f} in float32, {rounded:.4f} in int8; the same emotion on "
        f"{result['same']:.2%} of {result['n']:,} pictures"
    )
