"""How good a net is: confusion, calibration, classes, worse pictures; the data in counts."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from ferlib.data import labels
from ferlib.data.labels import EMOTIONS, colours
from ferlib.errors import FerlibError
from ferlib.metrics import calibration_error
from ferlib.plots.style import BLUES, FAINT, INK, MARK, lying_bars, new_figure, plain, styled

PARTS = {
    "kept": "kept",
    "no_majority": "no majority",
    "unknown": "most say unknown",
    "non_face": "most say not a face",
    "no_votes": "no votes in this file",
    "no_name": "no name in FER+",
}


@styled
def split_counts(account: dict[str, dict[str, int]]) -> Figure:
    """What became of every row: `ferlib.data.account.account`, one lying stack for each split.

    The legend gives each part's rows over all splits, and leaves out the parts without any.
    """
    figure = new_figure(10, 0.6 * len(account) + 1.6)
    ax = figure.subplots()
    shades = (BLUES[3], BLUES[1], "#E2E2E2", "#5A5A5A", "#C9B79C", FAINT)
    left = np.zeros(len(account))
    for (part, text), shade in zip(PARTS.items(), shades, strict=True):
        counts = np.array([split.get(part, 0) for split in account.values()])
        share = counts / [max(split["rows"], 1) for split in account.values()]
        label = f"{text} ({counts.sum():,})" if counts.any() else None
        ax.barh(list(account), share, left=left, color=shade, label=label)
        left = left + share
    for y, split in enumerate(account.values()):
        kept, rows = split.get("kept", 0), split["rows"]
        wide = kept > 0.25 * rows  # the words fit into it
        x, colour = (0.01, "w") if wide else (kept / max(rows, 1) + 0.01, INK)
        ax.text(x, y, f"{kept:,} of {rows:,}", color=colour, va="center")
    ax.set(xlim=(0, 1), xlabel="share of the split's rows")
    ax.xaxis.set_major_formatter("{x:.0%}")
    ax.tick_params("y", length=0)
    ax.invert_yaxis()
    entries = len(ax.get_legend_handles_labels()[0])
    ax.legend(ncols=-(-entries // 2), loc="lower center", bbox_to_anchor=(0.5, 1))
    return figure


@styled
def confusion(
    matrix: Sequence,
    classes: Sequence[str] = EMOTIONS,
    key: bool = True,
    truth: str = "the voters' majority",
) -> Figure:
    """Counts (K, K), truth in rows, prediction in columns; the shade is the row's share.

    key: with a bar that tells the shades; truth: what the rows are, in words.
    """
    counts = np.asarray(matrix)
    if counts.shape != (len(classes), len(classes)):
        raise FerlibError(f"counts {counts.shape} of {len(classes)} classes: give their names too")
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = max(7.0, 0.55 * len(classes) + 2.6)
    figure = new_figure(side, side - 1)
    ax = figure.subplots()
    edges = np.arange(len(classes) + 1) - 0.5
    cells = ax.pcolormesh(edges, edges, share, cmap="Blues", vmin=0, vmax=1)  # vectors, in a PDF
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if share[row, column] > 0.55 else INK if count else FAINT
        ax.text(column, row, f"{count:,}", ha="center", va="center", color=colour)
    words = list(map(plain, classes))
    ax.set_xticks(range(len(classes)), words, rotation=40, ha="right", rotation_mode="anchor")
    names = [f"{e} ({n:,})" for e, n in zip(words, counts.sum(1), strict=True)]
    ax.set_yticks(range(len(classes)), names)
    ax.set(xlabel="the net's answer", ylabel=truth, aspect="equal")
    ax.invert_yaxis()
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    if key:
        bar = figure.colorbar(cells, label="share of the row", shrink=0.8)
        bar.outline.set_visible(False)
    return figure


@styled
def reliability(confidences: ArrayLike, correct: ArrayLike, bins: int = 15) -> Figure:
    """Accuracy over confidence (N,), correct bool (N,), in equal bins (Guo et al. 2017).

    Below it the share of the pictures in each bin. A bin without any has no bar.
    """
    confidences, correct = np.asarray(confidences, float), np.asarray(correct, float)
    if not ((confidences >= 0) & (confidences <= 1)).all():
        raise FerlibError("confidences are shares from 0 to 1, not percent")
    which = np.minimum((confidences * bins).astype(int), bins - 1)
    size = np.bincount(which, minlength=bins)
    with np.errstate(invalid="ignore"):
        accuracy = np.bincount(which, correct, minlength=bins) / size
    middle = (np.arange(bins) + 0.5) / bins
    figure = new_figure(5.2, 6)
    ax, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    ax.bar(middle, np.nan_to_num(accuracy), 0.92 / bins, color=BLUES[2])
    ax.plot((0, 1), (0, 1), color=MARK, ls="--", label="as sure as right")
    error = calibration_error(confidences, correct, bins)
    ax.set(title=f"calibration error {error:.3f}", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    figure.legend(loc="outside lower center")
    below.bar(middle, size / max(size.sum(), 1), 0.92 / bins, color=FAINT)
    below.set(xlabel="confidence", ylabel="pictures")
    below.yaxis.set_major_formatter("{x:.0%}")
    return figure


@styled
def confidence(votes: np.ndarray, answers: dict) -> Figure:
    """How sure nets are where voters agree more and less: votes (N, 10), name -> scores (N, 8)."""
    top = labels.shares(votes).max(axis=1).round(1)
    levels = [level for level in np.unique(top) if (top == level).sum() >= 5]  # fewer are chance
    figure = new_figure(8.4, 4.4)
    ax = figure.subplots()
    looks = zip((FAINT, BLUES[1], BLUES[3], MARK), ("s", "^", "o", "D"), strict=True)
    for (name, scores), (colour, marker) in zip(answers.items(), looks, strict=False):
        sure = [np.max(scores, axis=1)[top == level].mean() for level in levels]
        ax.plot(levels, sure, color=colour, marker=marker, label=name)
    ax.plot((levels[0], 1), (levels[0], 1), color=INK, ls="--", lw=1, label="as sure as the voters")
    ax.set(xlabel="the voters' largest share", ylabel="the net's largest score, on average")
    ax.grid()
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


@styled
def per_emotion(accuracy: dict[str, float | None]) -> Figure:
    """Emotion -> accuracy, a fraction or None where there were no pictures."""
    figure = new_figure(7, 0.4 * len(accuracy) + 0.9)
    values = [value or 0.0 for value in accuracy.values()]
    texts = ["-" if value is None else f"{value:.1%}" for value in accuracy.values()]
    ax = figure.subplots()
    hues = colours(tuple(accuracy))
    names = list(map(plain, accuracy))
    lying_bars(ax, values, names, [hues[name] for name in accuracy], texts)
    ax.set_xlabel("share of each emotion's pictures that was found")
    return figure


@styled
def robustness(table: list[dict]) -> Figure:
    """Rows of name and accuracy, the pictures as they are first: what each degradation costs."""
    figure = new_figure(8, 0.36 * len(table) + 0.9)
    ax = figure.subplots()
    first = table[0]["accuracy"]
    values, names = [row["accuracy"] for row in table], [row["name"] for row in table]
    lost = [""] + [f" ({100 * (value - first):+.1f})" for value in values[1:]]
    texts = [f"{value:.1%}{less}" for value, less in zip(values, lost, strict=True)]
    lying_bars(ax, values, names, [BLUES[3]] + [BLUES[1]] * len(values[1:]), texts)
    ax.set_xlabel("accuracy (and its change in points)")
    return figure


# What `prior_trade` shows of a curve: which answers are allowed, which figure, in which colour.
TRADED = {
    "accuracy, emotions as frequent as in FER+": ("all", "accuracy", INK),
    "all eight equally frequent": ("all", "balanced_accuracy", BLUES[1]),
    "seven of them, never contempt": ("without contempt", "posed", BLUES[3]),
    "six, nor neutral": ("without neutral and contempt", "posed", MARK),
}


@styled
def prior_trade(report: dict) -> Figure:
    """What a prior from the net's own (0) to the uniform one (1) gives: results/prior.json.

    On the left accuracies, dashed for the second set of pictures, which are worse; on the right
    what is found of each emotion in the first.
    """
    figure = new_figure(12, 5)
    ax, each = figure.subplots(1, 2, sharey=True)
    (name, first), (other, second), *_ = report["curves"].items()
    power, worse = [row["power"] for row in first["all"]], {"ls": (0, (2, 1.5)), "lw": 1.5}
    for label, (which, key, colour) in TRADED.items():
        ax.plot(power, [row[key] for row in first[which]], color=colour, label=label)
        ax.plot(power, [row[key] for row in second[which]], color=colour, **worse)
    ax.plot([], [], color=FAINT, label=f"dashed: {other}", **worse)
    for emotion, count in report["conditions"]["counts"].items():
        found = [row["per_emotion"][emotion] for row in first["all"]]
        each.plot(power, found, color=colours((emotion,))[emotion], label=f"{emotion} ({count:,})")
    ax.set(title="accuracy", ylim=(0.2, 1))
    each.set(title=f"each emotion, pictures {name}")
    ax.legend(loc="lower left")
    each.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    for one in (ax, each):
        one.axvline(1, ymin=0.36, color=FAINT, lw=1)
        one.set_xticks(np.arange(0, power[-1] + 0.1, 0.5))
        one.set(
            xlabel="step from the net's own prior (0) to the uniform one (1)", xlim=(0, power[-1])
        )
        one.yaxis.set_major_formatter("{x:.0%}")
        one.grid(axis="y")
    return figure
