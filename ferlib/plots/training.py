"""How a net learns, what a step costs, what seeds differ in."""

import csv
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ferlib.plots.style import BLUES, FAINT, MARK, lying_bars, new_figure, styled

# What oneDNN calls its work, in plain words.
WORK = {
    "convolution forward_training": "convolutions, forwards",
    "convolution backward_data": "convolutions, back to their input",
    "convolution backward_weights": "convolutions, back to their weights",
    "batch_normalization": "BatchNorm",
    "reorder": "changing the order in memory",
    "eltwise": "ReLU",
    "pooling_v2": "pooling",
    "inner_product": "dense layers",
}


@styled
def learning_curves(log: list[dict] | str | Path, constant: float | None = None) -> Figure:
    """Loss, accuracy and learning rate by epoch; log: list of dicts, or the path of log.csv.

    constant: the loss of an answer that looks at no picture, drawn as a line to be beaten.
    """
    if isinstance(log, str | Path):
        with open(log, newline="") as file:
            log = list(csv.DictReader(file))
    column = {name: np.array([float(row[name]) for row in log]) for name in log[0]}
    epochs = column["epoch"]
    figure = new_figure(10.5, 3.8)
    loss, accuracy = figure.subplots(1, 2)
    for name, colour in (("train", FAINT), ("valid", BLUES[3])):
        loss.plot(epochs, column[f"{name}_loss"], colour, marker="o", ms=4, label=name)
    if constant is not None:
        loss.axhline(constant, color=MARK, lw=1, ls="--", label="constant answer")
    loss.set(title="loss", xlabel="epoch", ylabel="cross-entropy", ylim=(0, None))
    loss.legend()
    end = 100 * column["valid_accuracy"][-1]  # of the net that is kept
    rate = accuracy.twinx()
    rate.fill_between(epochs, column["lr"], color=MARK, alpha=0.10, lw=0)
    rate.set(ylim=(0, 1.3 * column["lr"].max()), ylabel="learning rate (shaded)")
    accuracy.plot(epochs, 100 * column["valid_accuracy"], BLUES[3], marker="o", ms=4)
    accuracy.axhline(end, color=MARK, lw=1, ls="--")
    words = f"validation accuracy, {end:.1f} % at the end"
    accuracy.set(title=words, xlabel="epoch", ylabel="accuracy (%)")
    for ax in (loss, accuracy):
        ax.grid()
        ax.xaxis.get_major_locator().set_params(integer=True)
    return figure


@styled
def step_time(spent: dict[str, float], whole: float) -> Figure:
    """Kind of work -> milliseconds of one training step that takes `whole`.

    The kinds as oneDNN names them, which are told in plain words, or any others.
    """
    names = [*(WORK.get(kind, kind) for kind in spent), "everything else"]
    values = [*spent.values(), max(whole - sum(spent.values()), 0.0)]
    figure = new_figure(8, 0.36 * len(names) + 0.9)
    ax = figure.subplots()
    texts = [f"{value:.1f} ms, {value / whole:.0%}" for value in values]
    shares = [value / whole for value in values]
    lying_bars(ax, shares, names, [BLUES[2]] * len(spent) + [FAINT], texts)
    ax.set(xlabel=f"share of one training step, {whole:.0f} ms", ylabel="work")
    return figure


@styled
def over_seeds(panels: dict[str, dict], beside: dict[str, tuple] | None = None) -> Figure:
    """A panel for each title, a row for each name: the seeds' values, their mean and deviation.

    A dot is one seed, the upright stroke the mean, the line through it a deviation to each side.
    panels: title -> name -> values; beside, for some of the panels: title -> (what it is, name ->
    one more value), drawn as a diamond.
    """
    names = list(next(iter(panels.values())))
    figure = new_figure(3.7 * len(panels) + 1, 0.55 * len(names) + 1.8)
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for ax, (title, rows) in zip(axes, panels.items(), strict=True):
        for name, values in rows.items():
            y = names.index(name)
            spread = np.std(values, ddof=1) if len(values) > 1 else None
            mean = ax.errorbar(
                np.mean(values), y, xerr=spread, fmt="|", color=BLUES[3], ms=18, mew=2.5
            )
            (dots,) = ax.plot(
                values, [y] * len(values), "o", color=BLUES[1], ms=6, mec="white", mew=0.6
            )
        what, others = (beside or {}).get(title, ("", {}))
        for name, value in others.items():
            ax.plot(value, names.index(name), "D", mfc="none", mec=MARK, mew=1.6, ms=7)
        ax.set_title(title)
        ax.set_xlabel(what and f"\N{WHITE DIAMOND} {what}", color=MARK)
        ax.locator_params(axis="x", nbins=5)
        ax.grid(axis="x")
    axes[0].set_yticks(range(len(names)), names)
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    words = ("one seed", "mean and standard deviation of the seeds")
    figure.legend((dots, mean), words, loc="outside lower center", ncols=2)
    return figure
