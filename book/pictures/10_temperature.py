"""notebooks/images/10_temperature.gif: a temperature moves one answer and the reliability diagram.

From the root: python book/pictures/10_temperature.py. The net is the one of notebook 10, trained
here where its checkpoint is not there.
"""

import moving
import numpy as np
from matplotlib import rc_context
from PIL import Image

from ferlib import nets, training
from ferlib.data import fer2013, labels
from ferlib.metrics import calibration_error
from ferlib.plots.style import BLUES, FAINT, INK, MARK, STYLE, new_figure, show

BINS = 10


def soften(scores: np.ndarray, temperature: float) -> np.ndarray:
    powers = scores ** (1 / temperature)
    return powers / powers.sum(axis=1, keepdims=True)


def answer(face, ours, data, scores: np.ndarray, one: int) -> None:
    """The face over its votes in words; the net's answer as bars, the shares as diamonds."""
    show(face, data.pictures[one])
    votes = sorted(zip(-data.votes[one].astype(int), labels.COLUMNS, strict=True))
    words = [f"{-count} say {name}" for count, name in votes if count]
    face.set_title("\n".join(words), fontsize=10.5, y=-0.08, va="top")
    names = labels.EMOTIONS
    ours.barh(names, scores[one], color=labels.HUES)
    ours.plot(data.shares[one], names, "D", color=INK, ms=4, clip_on=False)
    ours.set(xlim=(0, 1), title="the net's answer", xlabel="probability (\N{BLACK DIAMOND} voters)")
    ours.invert_yaxis()
    ours.tick_params("y", length=0)


def reliability(ax, scores: np.ndarray, truth: np.ndarray) -> None:
    sure, right = scores.max(axis=1), scores.argmax(axis=1) == truth
    which = np.minimum((sure * BINS).astype(int), BINS - 1)
    for b in np.unique(which):
        there = which == b
        shade = BLUES[2] if there.sum() >= 5 else BLUES[0]
        ax.bar((b + 0.5) / BINS, right[there].mean(), 0.092, color=shade)
    ax.plot([0, 1], [0, 1], "--", color=MARK)
    error = calibration_error(sure, right, BINS)
    ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="accuracy")
    ax.set_title(f"calibration error {error:.3f}")


def slider(ax, temperature: float, grid: np.ndarray) -> None:
    ax.plot(grid[[0, -1]], [0, 0], color=FAINT, lw=3, solid_capstyle="round")
    ax.plot(temperature, 0, "o", color=MARK, ms=11, clip_on=False)
    ax.set(xscale="log", xlim=grid[[0, -1]], yticks=[], ylim=(-1, 1))
    ax.set_xticks([0.3, 0.5, 1, 2, 3], ["0.3", "0.5", "1", "2", "3"])
    ax.minorticks_off()
    ax.spines[:].set_visible(False)
    ax.set_xlabel(f"temperature {temperature:.2f}", color=INK)


def frame(temperature: float, grid: np.ndarray, data, scores: np.ndarray, one: int) -> Image.Image:
    softer = soften(scores, temperature)
    figure = new_figure(7.2, 3.7)
    above, below = figure.subfigures(2, 1, height_ratios=(4, 1))
    face, ours, right = above.subplots(1, 3, width_ratios=(0.75, 1, 1.25))
    answer(face, ours, data, softer, one)
    reliability(right, softer, data.truth)
    slider(below.subplots(), temperature, grid)
    return moving.frame(figure)


def main() -> None:
    data = fer2013.sample_data()
    learn, valid = data.split("train", keep="usable"), data.split("valid")
    recipe = training.Recipe(net="vgg-tiny", epochs=8, batch_size=64, lr=0.1)
    net, _ = training.fit(learn, valid, recipe, moving.NOTEBOOKS / "runs" / "drawn", progress=False)
    info = nets.Info.of(recipe.network())
    scores = nets.predict(net, valid.pictures, info).astype(float)
    right = scores.argmax(axis=1) == valid.truth
    top = valid.shares.max(axis=1)
    divided = np.flatnonzero(right & (top > 0.5) & (top < 0.7))
    gaps = abs(scores[divided].max(axis=1) - top[divided])
    best = training.fit_temperature(np.log(scores), valid.targets("majority"))
    grid = np.geomspace(0.3, 3, 19)
    down, up = grid[grid < 1][::-1], grid[grid > 1]
    path = [1.0, *up, *up[::-1], 1.0, *down, *grid[grid < best], best]
    with rc_context(STYLE):
        frames = [frame(t, grid, valid, scores, divided[gaps.argmin()]) for t in path]
    lasting = [1500 if t == 1 else 160 for t in path[:-1]] + [3500]
    moving.write("10_temperature.gif", moving.own_colours(frames, 64), lasting)


if __name__ == "__main__":
    main()
