"""What rounding to eight bits changes in a net's answers."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ferlib.data.dataset import Dataset
from ferlib.metrics import measure
from ferlib.nets.answer import predict


@dataclass(frozen=True)
class Rounding:
    """On n pictures: the share of equal answers, both accuracies by precision, and the drift, the
    mean divergence (Kullback-Leibler) of int8's probabilities from float32's."""

    n: int
    same: float
    drift: float
    accuracy: dict[str, float]

    def text(self) -> str:
        """In one line."""
        full, rounded = self.accuracy.values()
        return (
            f"accuracy {full:.4f} in float32, {rounded:.4f} in int8; the same emotion on "
            f"{self.same:.2%} of {self.n:,} pictures"
        )


def compare(prefix: str | Path, data: Dataset) -> Rounding:
    """Int8 beside float32, on pictures whose class is agreed on."""
    from ferlib.nets import store  # here: `between` needs no MXNet

    scores = {}
    for precision in ("float32", "int8"):
        net, info = store.load(prefix, precision=precision)
        pictures = data.array(info.input_size, info.channels)
        scores[precision] = predict(net, pictures, info)
    full, rounded = scores.values()
    return between(full, rounded, data)


def between(full: np.ndarray, rounded: np.ndarray, data: Dataset) -> Rounding:
    """What two nets make of the same pictures: probabilities (N, K), of which the second rounds."""
    accuracy = {
        precision: measure(scores, data).accuracy
        for precision, scores in (("float32", full), ("int8", rounded))
    }
    same = (full.argmax(axis=1) == rounded.argmax(axis=1)).mean()
    drift = (full * np.log(np.maximum(full, 1e-12) / np.maximum(rounded, 1e-12))).sum(axis=1).mean()
    return Rounding(len(data), round(float(same), 5), round(float(drift), 6), accuracy)
