"""How well probabilities agree with the voters: the figures, and `ferlib evaluate`."""

from itertools import pairwise

import numpy as np
from tqdm import tqdm

from ferlib import labels
from ferlib.errors import FerlibError

AGREEING = (0.0, 0.6, 0.8, 1.0, 1.01)  # shares of the voters; the last class is all of them

COST = 0.002  # accuracy that `fit_bias` may give for the rare emotions


def evaluate(
    weights=None,
    split: str = "valid",
    protocol: str = "fer2013new.csv",
    folder=None,
    flip: bool = False,
    raw: bool = False,
    precision: str = "auto",
) -> dict:
    """Measure stored weights (default: the shipped net; a list is averaged) on majority images.

    `protocol` names the vote file that decides which images count and what they show;
    `raw` gives the net as it was trained, without its bias and temperature; `precision` is that of
    `models.load_weights`.
    """
    from ferlib import fer2013, models
    from ferlib.faces import Recognizer

    fer = Recognizer(weights=weights, flip=flip, precision=precision)
    for _, info in fer.nets:
        info |= models.RAW if raw else {}
    data = fer2013.load(folder)
    pictures, votes, _ = data.split(split, protocol)
    result = {"weights": fer.name, "split": split, "protocol": protocol}
    result |= {"tta": "flip" if flip else "none", "raw": raw}
    result["precision"] = ", ".join(sorted({*fer.precisions}))
    parts = range(0, len(pictures), 256)
    bar = tqdm(parts, desc=f"{split} split", unit_scale=256, unit="img", disable=None, leave=False)
    scores = np.concatenate([fer.classify(pictures[start : start + 256]) for start in bar])
    return result | measure(scores, votes)


def report(result: dict) -> str:
    """The figures of `evaluate` as a few lines of text."""
    lines = [
        f"{result['split']} split by {result['protocol']}, majority images, n = {result['n']}, "
        f"in {result['precision']}",
        f"accuracy {result['accuracy']:.4f}   balanced {result['balanced_accuracy']:.4f}"
        f"   KL to the voters {result['kl']:.4f}   calibration error {result['ece']:.4f}",
    ]
    counts = np.sum(result["confusion"], axis=1)
    return "\n".join(lines + emotion_lines(result["per_emotion"], counts))


def emotion_lines(per_emotion: dict, counts) -> list[str]:
    """A line for each emotion: its accuracy and how many there are."""
    return [
        f"  {name:10} {'-' if accuracy is None else f'{accuracy:.3f}':>6}  n = {count}"
        for (name, accuracy), count in zip(per_emotion.items(), counts, strict=True)
    ]


# ---------------------------------------------------------------- figures


def measure(scores: np.ndarray, votes: np.ndarray) -> dict:
    """Probabilities (N, 8) and votes (N, 10) -> figures over the n images with a majority.

    accuracy, accuracy per emotion (None where there are no images) and their mean; loss and kl,
    the mean cross-entropy and divergence (Kullback-Leibler) to the shares; ece, the calibration
    error in 15 equal bins (Guo et al. 2017); confusion, majority in rows and prediction in columns;
    agreement, see `agreement`.
    """
    majority = labels.majority(votes)
    kept = majority >= 0
    scores, truth, share = scores[kept], majority[kept], labels.shares(votes[kept])
    if not len(truth):
        raise FerlibError("none of these images has a majority emotion: nothing to measure")
    guess = scores.argmax(axis=1)
    logs = np.log(np.maximum(scores, 1e-12))
    entropy = -(share * np.log(np.maximum(share, 1e-12))).sum(axis=1)
    loss = -(share * logs).sum(axis=1)
    return {
        "n": len(truth),
        "accuracy": round(float((guess == truth).mean()), 5),
        "loss": round(float(loss.mean()), 5),
        "kl": round(float((loss - entropy).mean()), 5),
        "ece": round(calibration_error(scores.max(axis=1), guess == truth), 5),
        **by_emotion(guess, truth),
        "agreement": agreement(guess == truth, votes[kept], truth),
    }


def by_emotion(guess: np.ndarray, truth: np.ndarray) -> dict:
    """Answers and truth, indices (N,) into EMOTIONS -> balanced_accuracy, per_emotion, confusion.

    An answer of -1 is none at all: wrong, and in no column of the confusion.
    """
    size = len(labels.EMOTIONS)
    confusion = np.zeros((size, size + 1), int)
    np.add.at(confusion, (truth, guess), 1)  # -1 is the last column
    with np.errstate(invalid="ignore"):
        recall = confusion.diagonal() / confusion.sum(axis=1)
    return {
        "balanced_accuracy": round(float(np.nanmean(recall)), 5),
        "per_emotion": {
            name: None if np.isnan(value) else round(float(value), 5)
            for name, value in zip(labels.EMOTIONS, recall, strict=True)
        },
        "confusion": confusion[:, :size].tolist(),
    }


def agreement(correct: np.ndarray, votes: np.ndarray, truth: np.ndarray) -> list[dict]:
    """How often the net finds the majority (N,), where more or fewer of the ten voters share it.

    One dict for each of AGREEING: from `from` to below `below` of the votes are for the majority's
    emotion; n; net, the share found; voter, the share of single voters who chose that emotion.
    """
    cast = votes[np.arange(len(votes)), truth] / np.maximum(votes.sum(axis=1), 1)
    rows = []
    for low, high in pairwise(AGREEING):
        there = (cast >= low) & (cast < high)
        means = (round(float(x[there].mean()), 5) if there.any() else None for x in (correct, cast))
        rows.append({"from": low, "below": high, "n": int(there.sum())})
        rows[-1] |= dict(zip(("net", "voter"), means, strict=True))
    return rows


def calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> float:
    """Mean distance between confidence (N,) and accuracy over equal bins, weighted by size."""
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(which, confidence - correct, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))


def fit_temperature(logits: np.ndarray, share: np.ndarray) -> float:
    """The one temperature whose softmax(logits / T) fits the targets (N, 8) best (Guo et al. 2017).

    Targets are vote shares, or one-hot majorities; the loss is the cross-entropy.
    """
    tried = np.exp(np.linspace(np.log(0.3), np.log(3), 200))

    def loss(temperature: float) -> float:
        scaled = logits / temperature
        scaled = scaled - scaled.max(axis=1, keepdims=True)
        return -(share * (scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True)))).sum()

    return round(float(min(tried, key=loss)), 3)


def fit_bias(logits: np.ndarray, truth: np.ndarray, rarity: np.ndarray) -> np.ndarray:
    """What to add to logits (N, 8) so that rare emotions are not overlooked: float32 (8,).

    A net that has learnt how rare an emotion is asks for more before it says so, also where it is
    not rare. Dividing probabilities by a power of the emotions' shares takes some of that back
    (Menon et al. 2021, section 4.1); `rarity` (8,) is that of `labels.rarity`. Taken is the largest
    power, in steps of a twentieth, up to which the accuracy on `truth` (N,) stays within COST of
    what it was.
    """
    power = 0.0
    least = (logits.argmax(axis=1) == truth).mean() - COST
    for tried in np.arange(1, 21) / 20:
        if ((logits + tried * rarity).argmax(axis=1) == truth).mean() < least:
            break
        power = tried
    return (power * rarity).astype(np.float32)
