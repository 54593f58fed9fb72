"""How well probabilities agree with what people saw: pure NumPy, on arrays."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ferlib.data.dataset import Dataset
from ferlib.data.labels import EMOTIONS
from ferlib.errors import FerlibError

AGREEING = (0.0, 0.6, 0.8, 1.0, 1.01)  # shares of the voters; the last class is all of them


@dataclass(frozen=True)
class Recall:
    """What was found of each class.

    balanced_accuracy is the mean of per_emotion, the accuracy of each class by name (None where
    there are no pictures); confusion has the truth in rows and the answer in columns (K, K).
    """

    balanced_accuracy: float
    per_emotion: dict[str, float | None]
    confusion: list[list[int]]


@dataclass(frozen=True)
class Figures(Recall):
    """The figures over the n pictures whose class is agreed on.

    loss and kl are the mean cross-entropy and divergence (Kullback-Leibler) to the shares; ece is
    the calibration error in 15 equal bins (Guo et al. 2017); agreement: see `agreement`, None
    where the labels are no votes.
    """

    n: int = 0
    accuracy: float = 0.0
    loss: float = 0.0
    kl: float = 0.0
    ece: float = 0.0
    agreement: list[dict] | None = None


def measure(scores: np.ndarray, data: Dataset) -> Figures:
    """Probabilities (N, K) for N pictures -> figures; FerlibError where no class is agreed on."""
    truth = data.truth
    kept = truth >= 0
    if not kept.any():
        raise FerlibError("none of these images has a majority emotion: nothing to measure")
    scores, truth, share = scores[kept], truth[kept], data.shares[kept]
    guess = scores.argmax(axis=1)
    entropy = -(share * np.log(np.maximum(share, 1e-12))).sum(axis=1)
    loss = -(share * np.log(np.maximum(scores, 1e-12))).sum(axis=1)
    voted = data.kind == "votes"
    return Figures(
        **vars(recall(guess, truth, data.classes)),
        n=len(truth),
        accuracy=round(float((guess == truth).mean()), 5),
        loss=round(float(loss.mean()), 5),
        kl=round(float((loss - entropy).mean()), 5),
        ece=round(calibration_error(scores.max(axis=1), guess == truth), 5),
        agreement=agreement(guess == truth, data.votes[kept], truth) if voted else None,
    )


def recall(guess: np.ndarray, truth: np.ndarray, classes: Sequence[str] = EMOTIONS) -> Recall:
    """Answers and truth, indices (N,) into the classes -> what was found of each.

    An answer of -1 is none at all: wrong, and in no column of the confusion.
    """
    size = len(classes)
    confusion = np.zeros((size, size + 1), int)
    np.add.at(confusion, (truth, guess), 1)  # -1 is the last column
    with np.errstate(invalid="ignore"):
        found = confusion.diagonal() / confusion.sum(axis=1)
    return Recall(
        balanced_accuracy=round(float(np.nanmean(found)), 5),
        per_emotion={
            name: None if np.isnan(value) else round(float(value), 5)
            for name, value in zip(classes, found, strict=True)
        },
        confusion=confusion[:, :size].tolist(),
    )


def agreement(correct: np.ndarray, votes: np.ndarray, truth: np.ndarray) -> list[dict]:
    """How often the net finds the majority (N,), where more or fewer of the ten voters share it.

    One dict for each step of AGREEING: from `from` to below `below` of the votes are for the
    majority's emotion; n; net, the share found; voter, the share of single voters who chose that
    emotion.
    """
    cast = votes[np.arange(len(votes)), truth] / np.maximum(votes.sum(axis=1), 1)
    rows = []
    for low, high in pairwise(AGREEING):
        there = (cast >= low) & (cast < high)
        means: Iterable = (
            round(float(x[there].mean()), 5) if there.any() else None for x in (correct, cast)
        )
        rows.append({"from": low, "below": high, "n": int(there.sum())})
        rows[-1] |= dict(zip(("net", "voter"), means, strict=True))
    return rows


def calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> float:
    """Mean distance between confidence (N,) and accuracy over equal bins, weighted by size."""
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(which, confidence - correct, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))
