"""What a search for settings has found: its course, which settings mattered, and how.

All take `rows`, a dict for each trial as `training.Search` has it: trial, state, valid_accuracy or
valid_loss, settings. Trials that were ended early or diverged stand at the bad edge of the axis,
since their figures are of earlier epochs, and so do finished ones that are far worse than the rest:
three times as far from the best as the median is.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, PercentFormatter

from ferlib.errors import FerlibError
from ferlib.plots.style import BLUES, FAINT, INK, MARK, lying_bars, new_figure, styled

LATER = LinearSegmentedColormap.from_list("later", BLUES)  # from the first trial to the last
NAMES = {"accuracy": "validation accuracy (%)", "loss": "validation loss"}
STEPS = (1, 2, 5, 10)  # of ticks
EARLY, OFF = "ended early", "finished, far off"


@styled
def search_history(rows: Sequence[Mapping[str, Any]], figure: str = "accuracy") -> Figure:
    """The figure of each trial in their order, and the best so far among the finished ones."""
    drawn = new_figure(8.5, 4)
    ax = drawn.subplots()
    found = _Figures(rows, figure)
    numbers = np.array([row["trial"] for row in rows])
    finished = np.where(found.whole, found.values, np.nan)
    best = (np.fmax if figure == "accuracy" else np.fmin).accumulate(finished)
    ax.step(numbers, best, where="post", color=MARK, lw=1.5, label="best so far")
    near = found.whole & ~found.off
    ax.plot(numbers[near], found.values[near], "o", color=BLUES[2], label="finished")
    found.at_the_edge(ax, numbers)
    ends = numbers[0] - 0.5, numbers[-1] + 0.5
    ax.set(xlabel="trial", ylabel=NAMES[figure], xlim=ends, ylim=found.limits)
    ax.xaxis.set_major_locator(MaxNLocator(steps=STEPS, integer=True, min_n_ticks=1))
    ax.grid()
    drawn.legend(loc="outside lower center", ncols=4)
    return drawn


@styled
def setting_importances(shares: Mapping[str, float], chance: float, count: int) -> Figure:
    """Bars: name -> what a setting explains of the order of `count` trials, largest first.

    chance: as in `training.importances`, drawn as a line; bars that end before it are faint.
    """
    if not shares:
        raise FerlibError(f"{count} trials say nothing of settings: it takes 8 that differ")
    drawn = new_figure(8, 0.36 * len(shares) + 1.5)
    ax = drawn.subplots()
    values = list(shares.values())
    colours = [BLUES[2] if value > chance else FAINT for value in values]
    names = [_short(name) for name in shares]
    lying_bars(ax, values, names, colours, [f"{value:.0%}" for value in values])
    for text in ax.texts:
        text.set_bbox({"fc": "white", "ec": "none", "pad": 1})
    words = "if no setting mattered, the longest bar would end before this nine times in ten"
    ax.axvline(chance, color=MARK, lw=1.5, ls="--", label=words)
    ax.set_xlim(0, 1.15 * max(*values, chance))
    ax.xaxis.set_major_locator(MaxNLocator(6, steps=STEPS))
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    ax.set_xlabel(f"share of the order of {count} trials that it explains")
    drawn.legend(loc="outside lower center")
    return drawn


@styled
def setting_slices(
    rows: Sequence[Mapping[str, Any]], space: Mapping[str, Any], figure: str = "accuracy"
) -> Figure:
    """A panel for each setting: the figures of the trials by its value, later trials darker.

    space: name -> range or choices, as in `training.space`.
    """
    columns = min(len(space), 4)
    lines = -(-len(space) // columns)
    wide = columns if columns < 3 else 4  # what fits below
    drawn = new_figure(3 * columns + 0.8, 2.6 * lines + 0.7 + 0.9 / wide)
    axes = drawn.subplots(lines, columns, sharey=True, squeeze=False)
    found = _Figures(rows, figure)
    for ax, name in zip(axes.ravel(), space, strict=False):
        _slice(ax, [row["settings"][name] for row in rows], found, space[name])
        ax.set_title(_short(name))
    for ax in axes.ravel()[len(space) :]:
        ax.remove()
    for ax in axes[:, 0]:
        ax.set_ylabel(NAMES[figure])
    marks = [("finished: first trials", "o", BLUES[0]), ("last trials", "o", BLUES[3])]
    marks += [(name, mark, hue) for name, some, mark, hue in found.edge_kinds() if some.any()]
    keys = [Line2D([], [], ls="", marker=mark, color=hue) for _, mark, hue in marks]
    drawn.legend(keys, [name for name, *_ in marks], loc="outside lower center", ncols=wide)
    return drawn


class _Figures:
    """Those of trials, which of them are finished, and the scale that shows the better ones."""

    def __init__(self, rows: Sequence[Mapping], figure: str):
        scale = 100 if figure == "accuracy" else 1
        self.values = scale * np.array([row[f"valid_{figure}"] for row in rows], float)
        self.whole = np.array([row["state"] == "finished" for row in rows])
        values, sign = self.values[self.whole], 1 if figure == "accuracy" else -1
        best = max(sign * values)
        worst = max(min(sign * values), best - 3 * (best - np.median(sign * values)))
        self.off = self.whole & (sign * self.values < worst)
        pad = 0.12 * (best - worst) or 0.01 * abs(best) or 1.0
        self.edge, end = sign * (worst - 1.5 * pad), sign * (best + pad)
        self.limits = sorted((self.edge - sign * pad / 2, end))

    def edge_kinds(self) -> list[tuple[str, np.ndarray, str, str]]:
        """What the scale does not hold: its name, which trials, their mark and its colour."""
        return [(EARLY, ~self.whole, "x", INK), (OFF, self.off, "v", BLUES[1])]

    def at_the_edge(self, ax: Any, xs: np.ndarray) -> None:
        """Mark the trials that the scale does not hold."""
        for name, some, mark, hue in self.edge_kinds():
            if some.any():
                at = np.full(some.sum(), self.edge)
                ax.plot(xs[some], at, mark, color=hue, ms=6, mew=1.5, label=name)


def _slice(ax: Any, given: list, found: _Figures, wanted: Any) -> None:
    choices = isinstance(wanted, Sequence)
    xs = np.array([wanted.index(value) for value in given] if choices else given, float)
    later = np.linspace(0, 1, max(len(xs), 2))[: len(xs)]
    near = found.whole & ~found.off
    how = {"cmap": LATER, "vmin": 0, "vmax": 1, "s": 36, "ec": "white", "lw": 0.5}
    ax.scatter(xs[near], found.values[near], c=later[near], **how)
    found.at_the_edge(ax, xs)
    ax.set_ylim(found.limits)
    ax.grid()
    if choices:
        ax.set_xticks(range(len(wanted)), [str(value) for value in wanted])
        ax.set_xlim(-0.6, len(wanted) - 0.4)
    else:
        _range(ax, wanted)


def _range(ax: Any, wanted: Mapping) -> None:
    """The whole range, so that one can see whether the best trials crowd at an end of it."""
    low, high = wanted["low"], wanted["high"]
    if not wanted.get("log"):
        pad = 0.05 * (high - low)
        ax.set_xlim(low - pad, high + pad)
        ax.xaxis.set_major_locator(MaxNLocator(4, steps=STEPS))
        return
    pad = (high / low) ** 0.05
    ax.set_xscale("log")
    ax.set_xlim(low / pad, high * pad)
    few = high / low < 100  # two decades; beyond, ticks ten times apart
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    ax.xaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))


def _short(name: str) -> str:
    return name.removeprefix("augmentation.").replace("_", " ")
