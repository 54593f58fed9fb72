"""Eight-bit whole numbers in the convolutions: the same weights, several times as fast.

MXNet's `quantize_net_v2` fuses each convolution with its BatchNorm and ReLU and finds, on some
pictures, the range in which each layer's numbers lie. Only that is kept, as PREFIX-int8.json: the
weights stay the float32 ones, which oneDNN rounds when it first runs. The first convolution, which
sees the picture, and the last layer, which gives the logits, stay float32: there rounding costs
answers, and time is hardly spent.
"""

import hashlib
import json
import logging
import os
import warnings
from pathlib import Path

import numpy as np

from ferlib import models, runtime
from ferlib.errors import FerlibError
from ferlib.images import prepare

mx = runtime.import_mxnet()

CALIBRATED_ON = 2048  # pictures: with 512, a few answers more change


def quantize(prefix, pictures: np.ndarray) -> Path:
    """Calibrate a stored net on pictures uint8 (N, H, W) and write PREFIX-int8.json; its path.

    Of more than 2048 pictures as many are taken, evenly spaced. `models.load_weights` uses the file
    for "int8", and for "auto" where the CPU is fast at it. FerlibError when the weights do not
    load, there is no picture, or the file cannot be written.
    """
    if not len(pictures):
        raise FerlibError("no pictures to calibrate with: expected some hundred")
    net, info = models.load_weights(prefix)
    rows = np.linspace(0, len(pictures) - 1, min(CALIBRATED_ON, len(pictures))).astype(int)
    graph = _quantized(net, prepare(pictures[rows], info["input_size"], info["normalise"]))
    kept = {"weights": _fingerprint(prefix), "graph": json.loads(graph.tojson())}
    path, beside = file(prefix), Path(f"{prefix}-int8.{os.getpid()}.tmp")
    try:
        beside.write_text(json.dumps(kept))
        os.replace(beside, path)
    except OSError as error:
        raise FerlibError(f"cannot write {path}: {error.strerror}") from None
    finally:
        beside.unlink(missing_ok=True)
    return path


def _quantized(net, batch: np.ndarray):
    from mxnet.contrib import quantization

    # The default batch size of an iterator is 1; what is left over after whole ones wraps around.
    data = mx.io.NDArrayIter({"data": batch}, batch_size=min(64, len(batch)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "cannot decide type": the first batch decides it
        quantized = quantization.quantize_net_v2(
            net,
            quantized_dtype="auto",
            quantize_mode="smart",
            quantize_granularity="channel-wise",
            exclude_layers=_ends(net(mx.sym.var("data"))),
            calib_data=data,
            calib_mode="entropy",
            num_calib_examples=len(batch),
            ctx=mx.cpu(),
            logger=logging.getLogger(__name__),
        )
        return quantized(mx.sym.var("data"))


def _ends(graph) -> list[str]:
    """The names of the first convolution and of the last dense layer."""
    nodes = json.loads(graph.tojson())["nodes"]
    names = {op: [n["name"] for n in nodes if n["op"] == op] for op in {n["op"] for n in nodes}}
    return names.get("Convolution", [])[:1] + names.get("FullyConnected", [])[-1:]


def file(prefix) -> Path:
    """`model_store/ferplus` -> model_store/ferplus-int8.json, which need not be there."""
    return Path(f"{prefix}-int8.json")


def graph(prefix):
    """The stored int8 graph; FerlibError when it is missing, damaged or made for other weights."""
    path = file(prefix)
    try:
        kept = json.loads(path.read_text())
        found, graph = kept["weights"], mx.sym.load_json(json.dumps(kept["graph"]))
    except OSError:
        raise FerlibError(
            f"{path} is missing: make it with `ferlib quantize {prefix}`", "weights_missing"
        ) from None
    except (ValueError, KeyError, TypeError, mx.MXNetError):
        raise FerlibError(
            f"{path} is damaged: make it again with `ferlib quantize {prefix}`", "weights_invalid"
        ) from None
    if found != _fingerprint(prefix):
        raise FerlibError(
            f"{path} was made for other weights: make it again with `ferlib quantize {prefix}`, "
            "or delete it",
            "weights_invalid",
        )
    return graph


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
