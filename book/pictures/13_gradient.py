"""Draws notebooks/images/13_gradient.gif: a gradient's way back through twenty layers."""

import moving
import numpy as np
from matplotlib import rc_context
from PIL import Image

from ferlib.plots import style

DEPTH, WIDTH = 20, 64


def sizes(shortcut: bool) -> np.ndarray:
    """The gradient's size at the end and before each layer, the last layer first."""
    rng = np.random.default_rng(0)
    weights = rng.normal(0, 0.5 * np.sqrt(2 / WIDTH), (DEPTH, WIDTH, WIDTH))
    x, active = rng.normal(size=(32, WIDTH)), []
    for w in weights:
        f = np.maximum(x @ w, 0)
        active.append(f > 0)
        x = x + f if shortcut else f
    gradient, found = np.ones_like(x), []
    for w, on in zip(weights[::-1], active[::-1], strict=True):
        back = (gradient * on) @ w.T
        gradient = gradient + back if shortcut else back
        found.append(np.linalg.norm(gradient) / np.sqrt(x.size))
    return np.array(found)


def frame(done: int, rows: dict[str, np.ndarray]) -> Image.Image:
    """The bars of the `done` last layers."""
    figure = style.new_figure(7.2, 3.5)
    axes = figure.subplots(2, 1, sharex=True)
    layers = np.arange(DEPTH, 0, -1)
    for ax, (name, values), colour in zip(
        axes, rows.items(), (style.MARK, style.BLUES[2]), strict=True
    ):
        ax.bar(layers[:done], values[:done], color=colour, width=0.7)
        ax.set_yscale("log")
        ax.set(ylim=(1e-7, 1e3), xlim=(0.3, DEPTH + 0.7), yticks=[1e-6, 1e-3, 1])
        ax.minorticks_off()
        ax.set_title(name, loc="left", fontsize=11)
    axes[1].set(xlabel="before layer", xticks=[1, 5, 10, 15, 20])
    figure.supylabel("size of the gradient", fontsize=11)
    return moving.frame(figure)


if __name__ == "__main__":
    rows = {"plain: y = f(x)": sizes(False), "with shortcuts: y = x + f(x)": sizes(True)}
    with rc_context(style.STYLE):
        frames = [frame(done, rows) for done in range(DEPTH + 1)]
    times = [300] + [170] * (DEPTH - 1) + [2500]
    moving.write("13_gradient.gif", moving.shared_colours(frames, 64, [-1]), times)
