"""Finding the ranges that int8 needs: on some pictures, once for a net's weights."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from ferlib import runtime
from ferlib.data.images import check_several, prepare, spread
from ferlib.errors import FerlibError
from ferlib.files import whole_file
from ferlib.nets import int8, store
from ferlib.nets.places import check_prefix, int8_file

mx = runtime.import_mxnet()
from mxnet.contrib import quantization  # noqa: E402  (after import_mxnet has prepared it)

CALIBRATED_ON = 2048  # pictures: with 512, a few answers more changed when it was tried
# How much wider than on those pictures the ranges are made. FER2013's answers do not mind; on the
# drawn faces, which the nets never saw, 2.7 % of ferplus's changed instead of 4.6 % when tried
# (with the net that shipped then).
HEADROOM = 1.4


def quantize(prefix: str | Path, pictures: Any) -> Path:
    """Calibrate a stored net on pictures and write PREFIX-int8.json; its path.

    `pictures` are those of `nets.predict`, or what `Dataset.array` gives. Of more than 2048
    as many are taken, evenly spaced. `store.load` uses the file for "int8", and for "auto" where
    the CPU is fast at it. FerlibError when the weights do not load, there is no picture, or the
    file cannot be written.
    """
    check_several(pictures)
    if not len(pictures):
        raise FerlibError("no pictures to calibrate with: expected some hundred")
    _, info = store.load(prefix)
    check_prefix(prefix)  # before the work, not after it
    some = spread(pictures, CALIBRATED_ON)
    batch = prepare(some, info.input_size, info.normalise, info.channels)
    ranges = _ranges(prefix, batch)
    kept = {"weights": int8.fingerprint(prefix), "ranges": ranges}
    path = int8_file(prefix)
    with whole_file(path) as partial:
        partial.write_text(json.dumps(kept, indent=2) + "\n")
    return path


def _ranges(prefix, batch: np.ndarray) -> dict[str, list[float]]:
    """Each layer's range, cut where that loses the least (by entropy), as [lowest, highest]."""
    symbol, weights, statistics = mx.model.load_checkpoint(str(prefix), 0)
    fused, _, layers = int8.unranged(symbol)
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
