"""Every picture of the notebooks and the README: arrays in, a matplotlib Figure out.

One colour stands for one emotion everywhere; the colours stay apart for colour-blind readers, and
names are always written beside them. Figures have a white ground of their own, so that they read
the same in light and dark notebooks. Serving never imports this module.

    python -m ferlib.plots notebooks/images/pipeline.svg        draws the README's diagram
"""

import csv
import functools
import io
import os
import sys
from pathlib import Path

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Polygon, Rectangle
from matplotlib.transforms import Affine2D

from ferlib import labels
from ferlib.evaluate import calibration_error
from ferlib.images import to_gray
from ferlib.labels import COLUMNS, EMOTIONS, SCHEMES, majority, targets

COLOURS = labels.COLOURS | {"unknown": "#E2E2E2", "non-face": "#5A5A5A"}
INK, FAINT, MARK = "#2B2B2B", "#B4B4B4", "#C2410C"
BLUES = ("#A9CBE8", "#6FA5D8", "#3F7FBF", "#1F5C99")  # for all that is no emotion
HEAT = "inferno"  # even steps to the eye, and nowhere gray as faces are

STYLE = {
    "figure.facecolor": "white", "savefig.facecolor": "white", "axes.facecolor": "white",
    "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.edgecolor": FAINT, "axes.spines.top": False, "axes.spines.right": False,
    "axes.titlesize": 12, "axes.titleweight": "bold", "axes.labelsize": 11, "font.size": 10.5,
    "xtick.labelsize": 10, "ytick.labelsize": 10, "figure.titlesize": 14, "figure.dpi": 110,
    "legend.frameon": False, "lines.linewidth": 2, "font.family": "DejaVu Sans",
    "svg.hashsalt": "ferlib", "axes.axisbelow": True, "grid.color": "#E8E8E8",
}  # fmt: skip


class Picture(Figure):
    """A Figure that notebooks show without pyplot and its global state."""

    def _repr_png_(self) -> bytes:
        with io.BytesIO() as file:
            self.savefig(file, format="png")
            return file.getvalue()


def styled(function):
    """Draw under STYLE without changing the reader's own settings."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs) -> Figure:
        with rc_context(STYLE):
            return function(*args, **kwargs)

    return wrapper


def _figure(width: float, height: float) -> Figure:
    figure = Picture(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.07, h_pad=0.07)
    return figure


def _show(ax, picture: np.ndarray, title: str = "") -> None:
    """A gray (H, W), (1, H, W) or coloured (H, W, 3) picture without axes."""
    picture = np.asarray(picture)
    picture = picture[0] if picture.ndim == 3 and picture.shape[0] == 1 else picture
    limits = {"vmin": 0, "vmax": 255} if picture.dtype == np.uint8 else {}
    ax.imshow(picture, cmap="gray", **limits)
    ax.set_title(title, fontsize=10.5)
    ax.set_axis_off()


def _bars(ax, values, names, top: float, decimals: int = 0) -> None:
    """Upright bars in the emotions' colours; `top` is the axis' upper end."""
    ax.bar(names, values, color=[COLOURS[name] for name in names], width=0.8)
    for x, value in enumerate(values):
        if value > 0:
            ax.text(x, value + 0.02 * top, f"{value:.{decimals}f}", ha="center", fontsize=8.5)
    ax.set_ylim(0, 1.15 * top)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.tick_params("x", rotation=90, length=0, labelsize=9)


def _lying_bars(ax, values, names, colours, texts) -> None:
    """Bars from the left, first one on top, with a text at each end."""
    ax.barh(names, values, color=colours)
    for y, (value, text) in enumerate(zip(values, texts, strict=True)):
        ax.text(value + 0.015, y, text, va="center")
    ax.set_xlim(0, 1.15)
    ax.set_xticks(np.linspace(0, 1, 5), ["0", "25 %", "50 %", "75 %", "100 %"])
    ax.invert_yaxis()
    ax.grid(axis="x")
    ax.tick_params("y", length=0)


@styled
def grid(pictures, titles=None, columns: int = 8) -> Figure:
    """Pictures (N, H, W) or (N, H, W, 3) side by side, each under its title."""
    rows = -(-len(pictures) // columns)
    figure = _figure(1.3 * columns, (1.6 if titles is not None else 1.35) * rows)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes[len(pictures) :]:
        ax.remove()
    for k, (ax, picture) in enumerate(zip(axes, pictures, strict=False)):
        _show(ax, picture, titles[k] if titles is not None else "")
    return figure


@styled
def faces_with_votes(pictures, votes, columns: int = 6) -> Figure:
    """Each picture of (N, H, W) over its ten votes (N, 10); the title is the majority."""
    votes, rows = np.asarray(votes), -(-len(pictures) // columns)
    figure = _figure(2.0 * columns, 4.2 * rows)
    axes = figure.subplots(2 * rows, columns, squeeze=False, height_ratios=[1.7, 1] * rows)
    for k, (face, bars) in enumerate(zip(axes[::2].ravel(), axes[1::2].ravel(), strict=True)):
        if k >= len(pictures):
            face.remove(), bars.remove()
            continue
        won = majority(votes[k : k + 1])[0]
        _show(face, pictures[k], EMOTIONS[won] if won >= 0 else "no majority")
        _bars(bars, votes[k], COLUMNS, 10)
    return figure


PARTS = ("kept", "no_majority", "unknown", "non_face", "no_votes", "no_name")


@styled
def split_counts(account: dict[str, dict[str, int]]) -> Figure:
    """What became of every row: `ferlib.fer2013.account`, one lying stack for each split."""
    figure = _figure(10, 0.6 * len(account) + 1.6)
    ax = figure.subplots()
    shades = (BLUES[3], BLUES[1], "#E2E2E2", "#5A5A5A", "#C9B79C", FAINT)
    left = np.zeros(len(account))
    for part, shade in zip(PARTS, shades, strict=True):
        counts = np.array([split.get(part, 0) for split in account.values()])
        share = counts / [max(split["rows"], 1) for split in account.values()]
        label = f"{part.replace('_', ' ')} ({counts.sum():,})"
        ax.barh(list(account), share, left=left, color=shade, label=label)
        left = left + share
    for y, split in enumerate(account.values()):
        ax.text(0.01, y, f"{split.get('kept', 0):,} of {split['rows']:,}", color="w", va="center")
    ax.set(xlim=(0, 1), xlabel="share of the rows")
    ax.invert_yaxis()
    ax.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))
    return figure


@styled
def targets_by_scheme(votes, picture=None, rng: np.random.Generator | None = None) -> Figure:
    """One face's votes (10,) and the targets that the four schemes make of them."""
    votes, rng = np.asarray(votes).reshape(1, 10), rng or np.random.default_rng(0)
    figure = _figure(13.5, 3.4)
    axes = figure.subplots(1, 5 + (picture is not None))
    if picture is not None:
        _show(axes[0], picture, "the picture")
        axes = axes[1:]
    _bars(axes[0], votes[0], COLUMNS, votes.max())
    axes[0].set_title("ten votes")
    for ax, scheme in zip(axes[1:], SCHEMES, strict=True):
        _bars(ax, targets(votes, scheme, rng)[0], EMOTIONS, 1, 0 if scheme != SCHEMES[2] else 2)
        ax.set_title(scheme)
    axes[1 + SCHEMES.index("probability")].set_xlabel("drawn afresh every epoch", color="#666666")
    return figure


@styled
def answers_by_scheme(picture, votes, answers: dict) -> Figure:
    """One face (H, W), its votes (10,), and what nets said: scheme -> scores (8,)."""
    figure = _figure(2.25 * (2 + len(answers)), 3.4)
    face, voters, *axes = figure.subplots(1, 2 + len(answers))
    _show(face, picture, "the picture")
    _bars(voters, votes, COLUMNS, max(votes))
    voters.set_title("ten votes")
    for ax, (scheme, scores) in zip(axes, answers.items(), strict=True):
        _bars(ax, np.round(scores, 2), EMOTIONS, 1, 2)
        ax.set_title(scheme)
    return figure


@styled
def loss_curves(answers, losses: dict, draws: dict) -> Figure:
    """How each scheme's loss wants one face to be answered.

    answers: (K, 8) probabilities, the share of one emotion growing from one to the next; losses:
    scheme -> (K,); draws: emotion -> (K,), what "probability" costs when that one is drawn.
    """
    answers = np.asarray(answers)
    shown = answers.max(axis=0) > 0.005
    moved = np.diff(answers, axis=0).mean(axis=0).argmax()
    share = answers[:, moved]
    figure = _figure(2.7 * (1 + len(losses)), 3.3)
    first, *axes = figure.subplots(1, 1 + len(losses))
    names, hues = np.array(EMOTIONS)[shown], np.array(labels.HUES)[shown]
    first.stackplot(share, *answers.T[shown], colors=hues, labels=names)
    first.set(title="the net's answer", ylim=(0, 1))
    first.legend(loc="upper left", fontsize=9, frameon=True, framealpha=0.8)
    for ax, (scheme, loss) in zip(axes, losses.items(), strict=True):
        for name, one in draws.items() if scheme == "probability" else ():
            ax.plot(share, one, COLOURS[name], lw=1.2)
        ax.plot(share, loss, INK)
        best = share[loss.argmin()], loss.min()
        ax.plot(*best, "o", color=MARK, ms=8, clip_on=False, zorder=3)
        ax.set(title=scheme, ylim=(0, 3))
        ax.grid()
    for ax in (first, *axes):
        ax.set(xlim=(0, 1), xticks=(0, 0.5, 1), xlabel=f"share of {EMOTIONS[moved]}")
    axes[0].set_ylabel("loss")
    return figure


@styled
def augmented(picture, batch, columns: int = 6) -> Figure:
    """A picture (H, W), large, beside what augmentation makes of it, (N, H, W) or (N, 1, H, W)."""
    rows = -(-len(batch) // columns)
    figure = _figure(1.35 * (columns + rows), 1.35 * rows + 0.4)
    left, right = figure.subfigures(1, 2, width_ratios=(rows, columns))
    _show(left.subplots(), picture, "as it is")
    axes = np.ravel(right.subplots(rows, columns))
    for ax, one in zip(axes, batch, strict=False):
        _show(ax, one)
    for ax in axes[len(batch) :]:
        ax.remove()
    right.suptitle("as the net sees it, never twice the same", fontsize=10.5)
    return figure


@styled
def learning_curves(log) -> Figure:
    """Loss, accuracy and learning rate by epoch; log: list of dicts, or the path of log.csv."""
    if isinstance(log, str | Path):
        with open(log, newline="") as file:
            log = list(csv.DictReader(file))
    column = {name: np.array([float(row[name]) for row in log]) for name in log[0]}
    epochs = column["epoch"]
    figure = _figure(10.5, 3.8)
    loss, accuracy = figure.subplots(1, 2)
    for name, colour in (("train", FAINT), ("valid", BLUES[3])):
        loss.plot(epochs, column[f"{name}_loss"], colour, marker="o", ms=4, label=name)
    loss.set(title="loss", xlabel="epoch")
    loss.legend()
    best = column["valid_accuracy"].argmax()
    rate = accuracy.twinx()
    rate.fill_between(epochs, column["lr"], color=MARK, alpha=0.10, lw=0)
    rate.set(ylim=(0, 1.3 * column["lr"].max()), ylabel="learning rate (shaded)")
    accuracy.plot(epochs, 100 * column["valid_accuracy"], BLUES[3], marker="o", ms=4)
    accuracy.axhline(100 * column["valid_accuracy"][best], color=MARK, lw=1, ls="--")
    words = f"validation accuracy, best {100 * column['valid_accuracy'][best]:.1f} %"
    accuracy.set(title=words, xlabel="epoch", ylabel="%")
    for ax in (loss, accuracy):
        ax.grid()
        ax.xaxis.get_major_locator().set_params(integer=True)
    return figure


@styled
def confusion(matrix) -> Figure:
    """Counts (8, 8), majority in rows, prediction in columns; the shade is the row's share."""
    matrix = np.asarray(matrix)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    figure = _figure(7, 6)
    ax = figure.subplots()
    image = ax.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(matrix):
        colour = "white" if share[row, column] > 0.55 else INK if count else FAINT
        ax.text(column, row, f"{count:,}", ha="center", va="center", color=colour)
    ax.set_xticks(range(8), EMOTIONS, rotation=40, ha="right")
    ax.set_yticks(range(8), [f"{e} ({n:,})" for e, n in zip(EMOTIONS, matrix.sum(1), strict=True)])
    ax.set(xlabel="the net's answer", ylabel="the voters' majority")
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    figure.colorbar(image, label="share of the row", shrink=0.8).outline.set_visible(False)
    return figure


@styled
def reliability(confidences, correct, bins: int = 15) -> Figure:
    """Accuracy over confidence (N,), correct bool (N,), in equal bins (Guo et al. 2017)."""
    confidences, correct = np.asarray(confidences, float), np.asarray(correct, float)
    which = np.minimum((confidences * bins).astype(int), bins - 1)
    size = np.bincount(which, minlength=bins)
    with np.errstate(invalid="ignore"):
        accuracy = np.bincount(which, correct, minlength=bins) / size
    middle = (np.arange(bins) + 0.5) / bins
    figure = _figure(5.2, 5.6)
    ax, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    ax.bar(middle, np.nan_to_num(accuracy), 0.92 / bins, color=BLUES[2])
    ax.plot((0, 1), (0, 1), color=MARK, ls="--", label="as sure as right")
    error = calibration_error(confidences, correct, bins)
    ax.set(title=f"calibration error {error:.3f}", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    ax.legend(loc="upper left")
    below.bar(middle, size / size.sum(), 0.92 / bins, color=FAINT)
    below.set(xlabel="confidence", ylabel="images")
    below.yaxis.set_major_formatter("{x:.0%}")
    return figure


@styled
def confidence(votes, answers: dict) -> Figure:
    """How sure nets are where voters agree more and less: votes (N, 10), name -> scores (N, 8)."""
    top = labels.shares(votes).max(axis=1).round(1)
    levels = [level for level in np.unique(top) if (top == level).sum() >= 5]  # fewer are chance
    figure = _figure(6.4, 4.6)
    ax = figure.subplots()
    looks = zip((FAINT, BLUES[1], BLUES[3], MARK), ("s", "^", "o", "D"), strict=True)
    for (name, scores), (colour, marker) in zip(answers.items(), looks, strict=False):
        sure = [np.max(scores, axis=1)[top == level].mean() for level in levels]
        ax.plot(levels, sure, color=colour, marker=marker, label=name)
    ax.plot((levels[0], 1), (levels[0], 1), color=INK, ls="--", lw=1, label="as sure as the voters")
    ax.set(xlabel="the voters' largest share", ylabel="the net's, on average")
    ax.grid()
    ax.legend()
    return figure


@styled
def per_emotion(accuracy: dict[str, float | None]) -> Figure:
    """Emotion -> accuracy, a fraction or None where there were no images."""
    figure = _figure(7, 0.4 * len(accuracy) + 0.9)
    values = [value or 0.0 for value in accuracy.values()]
    texts = ["-" if value is None else f"{value:.1%}" for value in accuracy.values()]
    ax = figure.subplots()
    _lying_bars(ax, values, list(accuracy), [COLOURS[name] for name in accuracy], texts)
    ax.set_xlabel("accuracy")
    return figure


@styled
def step_time(spent: dict[str, float], whole: float) -> Figure:
    """Kind of work -> milliseconds of one training step that takes `whole`."""
    names = [*spent, "everything else"]
    values = [*spent.values(), max(whole - sum(spent.values()), 0.0)]
    figure = _figure(8, 0.36 * len(names) + 0.9)
    ax = figure.subplots()
    texts = [f"{value:.1f} ms, {value / whole:.0%}" for value in values]
    shares = [value / whole for value in values]
    _lying_bars(ax, shares, names, [BLUES[2]] * len(spent) + [FAINT], texts)
    ax.set_xlabel(f"share of a step of {whole:.0f} ms")
    return figure


@styled
def robustness(table: list[dict]) -> Figure:
    """Rows of name and accuracy, the pictures as they are first: what each degradation costs."""
    figure = _figure(8, 0.36 * len(table) + 0.9)
    ax = figure.subplots()
    first = table[0]["accuracy"]
    values, names = [row["accuracy"] for row in table], [row["name"] for row in table]
    lost = [""] + [f" ({100 * (value - first):+.1f})" for value in values[1:]]
    texts = [f"{value:.1%}{less}" for value, less in zip(values, lost, strict=True)]
    _lying_bars(ax, values, names, [BLUES[3]] + [BLUES[1]] * len(values[1:]), texts)
    ax.set_xlabel("accuracy (and its change in points)")
    return figure


@styled
def over_seeds(panels: dict[str, dict], beside: dict[str, tuple] | None = None) -> Figure:
    """A panel for each title, a row for each name: the seeds' values, their mean and deviation.

    panels: title -> name -> values; beside, for some of the panels: title -> (what it is, name ->
    one more value), drawn as a diamond.
    """
    names = list(next(iter(panels.values())))
    figure = _figure(3.7 * len(panels) + 1, 0.55 * len(names) + 1.5)
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for ax, (title, rows) in zip(axes, panels.items(), strict=True):
        for y, values in enumerate(rows.values()):
            spread = np.std(values, ddof=1) if len(values) > 1 else None
            ax.errorbar(np.mean(values), y, xerr=spread, fmt="|", color=BLUES[3], ms=18, mew=2.5)
            ax.plot(values, [y] * len(values), "o", color=BLUES[1], ms=6, mec="white", mew=0.6)
        what, others = (beside or {}).get(title, ("", {}))
        for name, value in others.items():
            ax.plot(value, names.index(name), "D", mfc="none", mec=MARK, mew=1.6, ms=7)
        ax.set_title(title)
        ax.set_xlabel(what and f"\N{WHITE DIAMOND} {what}", color=MARK)
        ax.grid(axis="x")
    axes[0].set_yticks(range(len(names)), names)
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    return figure


@styled
def scores_bars(picture, scores) -> Figure:
    """One picture and its eight scores: (8,) or a dict of emotion -> score."""
    if isinstance(scores, dict):
        scores = [scores[name] for name in EMOTIONS]
    figure = _figure(8, 3.2)
    face, ax = figure.subplots(1, 2, width_ratios=(1, 1.5))
    _show(face, picture, EMOTIONS[int(np.argmax(scores))])
    texts = [f"{score:.1%}" for score in scores]
    _lying_bars(ax, scores, EMOTIONS, [COLOURS[name] for name in EMOTIONS], texts)
    return figure


def _alpha(heat):
    return 0.85 * heat**0.7  # cold places show the face


def _overlay(ax, picture, heat, title: str = ""):
    """The picture in gray under its heat (h, w): hot places glow, cold ones stay as they are."""
    picture = to_gray(picture) if np.ndim(picture) == 3 else np.asarray(picture)
    _show(ax, picture, title)
    heat = np.clip(heat, 0, None) / max(np.max(heat), 1e-12)
    height, width = picture.shape
    edges = (-0.5, width - 0.5, height - 0.5, -0.5)  # the whole picture, whatever the map's size
    how = {"vmin": 0, "vmax": 1, "extent": edges, "interpolation": "bilinear"}
    return ax.imshow(heat, HEAT, alpha=_alpha(heat), **how)


def _heat_bar(figure, axes) -> None:
    """The key: the colours as they look over a gray of the middle."""
    heat = np.linspace(0, 1, 256)[:, None]
    alpha = _alpha(heat)
    seen = alpha * colormaps[HEAT](heat[:, 0])[:, :3] + (1 - alpha) * 0.6
    scale = ScalarMappable(Normalize(0, 1), ListedColormap(seen))
    bar = figure.colorbar(scale, ax=axes, location="bottom", fraction=0.02, shrink=0.35, aspect=25)
    bar.set_ticks([])
    bar.outline.set_visible(False)
    bar.ax.text(-0.03, 0.4, "no evidence", ha="right", va="center")
    bar.ax.text(1.03, 0.4, "most", ha="left", va="center")


@styled
def explained(crops, heats, titles=None, columns: int = 4) -> Figure:
    """Each crop, gray or RGB, beside itself under its heat: maps (N, h, w) of `ferlib.explain`.

    Each map is drawn from 0, or below, to its own maximum.
    """
    columns = min(columns, len(crops))
    rows = -(-len(crops) // columns)
    figure = _figure(2.9 * columns, (1.62 if titles is not None else 1.42) * rows + 0.3)
    axes = figure.subplots(rows, 2 * columns, squeeze=False)
    pairs = axes.reshape(-1, 2)
    for k, (left, right) in enumerate(pairs[: len(crops)]):
        _show(left, crops[k])
        _overlay(right, crops[k], heats[k])
        left.set_title(titles[k] if titles is not None else "", loc="left")
    _heat_bar(figure, axes)
    for ax in pairs[len(crops) :].ravel():
        ax.remove()
    return figure


@styled
def surest(crops, found) -> Figure:
    """A row for each emotion: the crops with its highest probability, and where it was seen.

    `found` is what `ferlib.explain.surest` gave for these crops.
    """
    count = found.rows.shape[1]
    figure = _figure(1.25 * count + 1.5, 1.42 * len(EMOTIONS) + 0.4)
    axes = figure.subplots(len(EMOTIONS), count, squeeze=False)
    for row, name in enumerate(EMOTIONS):
        for column, ax in enumerate(axes[row]):
            score = f"{found.scores[row, column]:.0%}"
            _overlay(ax, crops[found.rows[row, column]], found.heats[row, column], score)
        first = axes[row, 0]
        beside = {"transform": first.transAxes, "clip_on": False}
        first.plot([-0.1, -0.1], [0, 1], color=COLOURS[name], lw=5, **beside)
        first.text(-0.2, 0.5, name, ha="right", va="center", fontweight="bold", **beside)
    _heat_bar(figure, axes)
    return figure


@styled
def timeline(faces: dict[str, tuple], most: int = 12) -> Figure:
    """One band for each face of a video: name -> seconds (T,) and probabilities (T, 8), stacked.

    Where a face was out of sight its band is empty. The `most` faces seen longest are drawn.
    """
    shown = sorted(faces, key=lambda name: -len(faces[name][0]))[:most]
    shown = [name for name in faces if name in shown]
    figure = _figure(10, 1.3 * len(shown) + 1.2)
    axes = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for ax, name in zip(axes, shown, strict=True):
        seconds, rows = (np.asarray(part, float) for part in faces[name])
        step = np.median(np.diff(seconds)) if len(seconds) > 1 else 0.04
        gaps = np.flatnonzero(np.diff(seconds) > 4 * step) + 1
        for part, values in zip(np.split(seconds, gaps), np.split(rows, gaps), strict=True):
            part = [*part, part[-1] + step]  # a frame lasts: one alone is seen, too
            ax.stackplot(part, *values.T[:, [*range(len(values)), -1]], colors=labels.HUES, lw=0)
        ax.set(ylim=(0, 1), yticks=(0, 1), yticklabels=("0", "100 %"))
        ax.set_title(name, fontsize=10.5, loc="left")
    axes[-1].set_xlabel("seconds")
    left_out = len(faces) - len(shown)
    title = f"the {len(shown)} faces seen longest, of {len(faces)}" if left_out else None
    keys = [Rectangle((0, 0), 1, 1, color=colour) for colour in labels.HUES]
    figure.legend(keys, EMOTIONS, ncols=8, loc="outside upper center", title=title, fontsize=9)
    return figure


def _slab(ax, x: float, width: float, side: float, colour: str) -> None:
    """A box seen from its front left, standing on both sides of y = 0."""
    y, deep = side / 2, 0.28 * side
    front = [(x, -y), (x + width, -y), (x + width, y), (x, y)]
    lid = [(x, y), (x + width, y), (x + width + deep, y + deep), (x + deep, y + deep)]
    flank = [(x + width, -y), (x + width + deep, deep - y), (x + width + deep, y + deep)]
    for corners, light in ((front, 1.0), (lid, 0.55), ([*flank, (x + width, y)], 0.75)):
        ax.add_patch(Polygon(corners, fc="white", ec="none"))
        ax.add_patch(Polygon(corners, fc=colour, ec="white", lw=0.8, alpha=light))


@styled
def architecture(blocks, size: int = 48, dense: tuple[int, ...] = ()) -> Figure:
    """A VGG as its blocks ((convolutions, channels), ...), or a Spec of `ferlib.models.SPECS`."""
    if hasattr(blocks, "blocks"):
        blocks, size, dense = blocks.blocks, blocks.size, blocks.dense
    figure = _figure(12, 4.2)
    ax = figure.subplots()
    x, side, low = 0.0, size, -size / 2 - 5
    _slab(ax, x, 0.6, side, FAINT)
    ax.text(x, low, f"picture\n1 x {size} x {size}", ha="center", va="top")
    x += 0.32 * side + 9
    for k, (count, channels) in enumerate(blocks):
        start, width = x, channels**0.5 / 3
        for _ in range(count):
            _slab(ax, x, width, side, BLUES[min(k, 3)])
            x += width + 0.1 * side + 1
        words = f"{count} x conv 3x3\n{channels} x {side} x {side}"
        ax.text((start + x) / 2, low, words, ha="center", va="top")
        x += 0.2 * side + 9
        side //= 2
        ax.text(x - 6, side + 2, "pool", ha="center", color="#666666", fontsize=9)
    for words in [*(f"dense\n{units}" for units in dense or ()), "dense\n8 emotions"]:
        if not dense:
            ax.text(x - 1, 0, "mean of\neach map", ha="center", va="center", fontsize=9)
            x += 11
        last = words.endswith("emotions")
        _slab(ax, x, 1.2, 8 if last else 20, MARK if last else FAINT)
        ax.text(x + 1, low, words, ha="center", va="top")
        x += 21
    ax.set(xlim=(-8, x - 8), ylim=(low - 11, 0.85 * size), aspect="equal")
    ax.set_axis_off()
    return figure


# The line from the files to the answer. Upper row: learning, lower row: answering.
UP = 2.3  # from the lower row to the upper one
STEPS = (
    ("fer2013.csv\nfer2013new.csv", "faces, ten votes each"),
    ("ferlib.fer2013", "join, and account\nfor every row"),
    ("ferlib.labels", "votes to targets"),
    ("ferlib.images", "normalise, augment"),
    ("ferlib.train", "VGG13 in Gluon"),
    ("ferlib.evaluate", "accuracy, confusion,\ncalibration"),
    ("photograph", "POST\n/predictions/fer"),
    ("ferlib.service", "handler in the\nMulti Model Server"),
    ("ferlib.faces", "find the faces"),
    ("ferlib.images", "normalise"),
    ("the net", "weights from\nmodel_store/"),
    ("answer", "JSON over HTTP"),
)


def _arrow(ax, start, stop, words: str = "", style: str = "-|>", colour: str = INK) -> None:
    line = {"arrowstyle": style, "mutation_scale": 16, "lw": 1.8, "color": colour}
    ax.add_patch(FancyArrowPatch(start, stop, shrinkA=0, shrinkB=0, **line))
    x, y = np.mean([start, stop], axis=0)
    ax.text(x + 0.1, y + 0.1, words, va="center", color=colour, fontweight="bold")


def _sketches(ax) -> None:
    """Small drawings inside the boxes of `pipeline`, whose middles are 2 apart."""
    from ferlib import sample

    def face(x: float, y: float, half: float, emotion: str = "happiness", seed: int = 39, turn=1):
        drawn = sample.draw(emotion, np.random.default_rng(seed), 120, intensity=1)[:, ::turn]
        box = (x - half, x + half, y - half, y + half)
        return ax.imshow(drawn, cmap="gray", vmin=0, vmax=255, extent=box, zorder=3)

    for k, emotion in enumerate(("surprise", "sadness", "anger", "happiness")):
        face(0.34 * (k % 2) - 0.17, UP + 0.17 + 0.34 * (k // 2), 0.16, emotion, 40 + k)
    face(5.68, UP + 0.32, 0.27)
    tilted = face(6.32, UP + 0.32, 0.27, turn=-1)
    tilted.set_transform(Affine2D().rotate_deg_around(6.32, UP + 0.32, 14) + ax.transData)
    for x, half in ((0, 0.42), (4, 0.42), (6, 0.3)):
        face(x, 0.32, half)
    ax.add_patch(Rectangle((3.7, -0.08), 0.6, 0.64, fc="none", ec=MARK, lw=2, zorder=4))
    for row in range(4):  # a table, and the server's shelves
        for column in range(4):
            cell = (1.6 + 0.21 * column, UP + 0.02 + 0.16 * row)
            ax.add_patch(Rectangle(cell, 0.19, 0.14, fc=BLUES[0 if column else 2]))
        if row < 3:
            shelf = (1.65, 0.05 + 0.22 * row)
            ax.add_patch(Rectangle(shelf, 0.7, 0.18, fc=BLUES[3]))
            ax.plot(shelf[0] + np.array([0.08, 0.16]), [shelf[1] + 0.09] * 2, "w.", ms=4)
    ax.bar(3.7 + 0.2 * np.arange(4), (0.1, 0.6, 0.15, 0.05), 0.16, UP + 0.02, color=labels.HUES[:4])
    for y in (UP + 0.32, 0.32):
        for k in range(4):
            tall = 0.66 - 0.14 * k
            ax.add_patch(Rectangle((7.62 + 0.21 * k, y - tall / 2), 0.15, tall, fc=BLUES[k]))
    ax.imshow(np.eye(4) + 0.15, cmap="Blues", extent=(9.67, 10.33, UP, UP + 0.66), zorder=3)
    ax.text(10, 0.32, '"emotion":\n"happiness"', ha="center", va="center", family="monospace")


@styled
def pipeline() -> Figure:
    """The whole line, from the published CSV files to the answer over HTTP, for the README."""
    figure = _figure(12.5, 5.2)
    ax = figure.subplots()
    server = {"boxstyle": "round,pad=0.1", "fc": "#EAF2FA", "ec": BLUES[1], "lw": 1.5}
    ax.add_patch(FancyBboxPatch((1.1, -0.92), 7.8, 1.84, zorder=0, **server))
    box = {"boxstyle": "round,pad=0.08", "fc": "white", "ec": FAINT, "lw": 1.2}
    for k, (name, what) in enumerate(STEPS):
        x, y = 2 * (k % 6), UP * (k < 6)
        ax.add_patch(FancyBboxPatch((x - 0.7, y - 0.77), 1.4, 1.54, zorder=1, **box))
        ax.text(x, y - 0.26, name, ha="center", va="center", fontweight="bold")
        ax.text(x, y - 0.59, what, ha="center", va="center", fontsize=9.5, color="#555555")
        if k % 6 < 5:
            _arrow(ax, (x + 0.79, y), (x + 1.21, y))
    _sketches(ax)
    _arrow(ax, (8, UP - 0.86), (8, 0.86), "packed as fer.mar", colour=MARK)
    _arrow(ax, (6, UP - 0.86), (6, 0.86), "one code for both", "<|-|>", BLUES[3])
    ax.set(xlim=(-0.85, 10.85), ylim=(-1.08, UP + 0.92), aspect="equal")
    ax.set_axis_off()
    return figure


def main(arguments: list[str]) -> int:
    """Write `pipeline` to the one file named, beside it first and then in its place."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python -m ferlib.plots FILE.svg (or .png, .pdf)", file=sys.stderr)
        return 2
    place = Path(arguments[0])
    beside = place.with_name(f".{os.getpid()}{place.name}")
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        with rc_context(STYLE):  # no date, so that the same code writes the same bytes
            dates = {"Date": None} if place.suffix == ".svg" else None
            pipeline().savefig(beside, dpi=150, metadata=dates)
        os.replace(beside, place)
    finally:
        beside.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
