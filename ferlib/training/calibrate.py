"""What is fitted to the validation split once a net is trained: a bias and one temperature."""

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.special import log_softmax

from ferlib.data import labels
from ferlib.data.dataset import Dataset
from ferlib.metrics import measure
from ferlib.nets.answer import predict
from ferlib.nets.info import Info

COST = 0.002  # accuracy that `fit_bias` may give for the rare emotions


def fit_temperature(logits: np.ndarray, share: np.ndarray) -> float:
    """The one temperature whose softmax(logits / T) fits the targets (N, K) best (Guo et al. 2017).

    Targets are vote shares, or one-hot majorities; the loss is the cross-entropy.
    """
    tried = np.exp(np.linspace(np.log(0.3), np.log(3), 200))

    def loss(temperature: float) -> float:
        return -(share * log_softmax(logits / temperature, axis=1)).sum()

    return round(float(min(tried, key=loss)), 3)


def fit_bias(logits: np.ndarray, truth: np.ndarray, rarity: np.ndarray) -> np.ndarray:
    """What to add to logits (N, K) so that rare emotions are not overlooked: float32 (K,).

    A net that has learnt how rare an emotion is asks for more before it says so, also where it is
    not rare. Dividing probabilities by a power of the emotions' shares takes some of that back
    (Menon et al. 2021, section 4.1); `rarity` (K,) is that of `labels.rarity`. Taken is the largest
    power, in steps of a twentieth, up to which the accuracy on `truth` (N,) stays within COST of
    what it was. Fewer than 1 / COST pictures cannot tell so small a cost: nothing is added.
    """
    power = 0.0
    if len(truth) * COST < 1:
        return np.zeros(len(rarity), np.float32)
    least = (logits.argmax(axis=1) == truth).mean() - COST
    for tried in np.arange(1, 21) / 20:
        if ((logits + tried * rarity).argmax(axis=1) == truth).mean() < least:
            break
        power = tried
    return (power * rarity).astype(np.float32)


def calibrated(net: Any, info: Info, valid: Dataset) -> Info:
    """`info` with what is fitted to the agreed classes of the validation split.

    bias, for rare classes; temperature, so that confidence means accuracy; and shares, how often
    the net expects each class. No answer depends on the temperature, but the distance to all
    voters (kl) grows with it. What no picture there shows is not favoured: nothing would tell what
    that costs; and it counts as shown by half a picture, so that a prior cannot blow it up.
    """
    known = valid.take(valid.truth >= 0)
    seen = known.array(info.input_size, info.channels)[np.arange(len(known))]
    # Upright and mirrored: less chance in it.
    seen, truth = np.concatenate([seen, seen[:, :, ::-1]]), np.tile(known.truth, 2)
    logits = np.log(np.maximum(predict(net, seen, info.raw()), 1e-12))
    shown = np.isin(np.arange(len(info.classes)), truth)
    rarity = np.where(shown, labels.rarity(valid.shares, info.classes), 0)
    bias = fit_bias(logits, truth, rarity).astype(float).round(4)
    temperature = fit_temperature(logits + bias, np.eye(len(info.classes))[truth])
    fitted = replace(info, bias=tuple(bias.tolist()), temperature=temperature)
    shares = predict(net, seen, fitted).mean(axis=0, dtype=float)
    shares = np.maximum(shares, np.where(shown, 0, 0.5 / len(known))).round(5)
    return replace(fitted, shares=tuple(shares.tolist()))


def described(net: Any, info: Info, valid: Dataset, seed: int) -> Info:
    """What goes with trained weights: calibrated, and with the figures on the validation split."""
    info = calibrated(net, info, valid)
    pictures = valid.array(info.input_size, info.channels)[np.arange(len(valid))]
    figures, raw = (vars(measure(predict(net, pictures, how), valid)) for how in (info, info.raw()))
    keys = ("accuracy", "balanced_accuracy", "loss", "kl", "ece")
    # As JSON has it, whatever somebody told of data of their own.
    about = {name: it if isinstance(it, str) else f"{it}" for name, it in valid.about.items()}
    conditions = {"split": "valid"} | about | {"seeds": [seed]}
    more = {"raw": {key: raw[key] for key in keys}}
    return replace(info, valid=conditions | figures | more)
