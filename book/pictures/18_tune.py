"""notebooks/images/18_tpe.gif: twenty trials of one setting, ten at random and ten by an estimator.

The formula, its noise and the estimator are those of chapter 18.
"""

import moving
import numpy as np
from matplotlib import rc_context
from PIL import Image

from ferlib.plots.style import BLUES, FAINT, INK, MARK, STYLE, new_figure

RANDOM, TRIALS, WIDTH = 10, 20, 0.1
LINE = np.linspace(0, 1, 300)


def truth(x: np.ndarray) -> np.ndarray:
    width = np.where(x < 0.6, 0.15, 0.07)
    return 1.9 - 0.9 * np.exp(-(((x - 0.6) / width) ** 2))


def density(at: np.ndarray, trials: np.ndarray) -> np.ndarray:
    bells = np.exp(-(((at[:, None] - trials) / WIDTH) ** 2) / 2) / (WIDTH * np.sqrt(2 * np.pi))
    return (1 + bells.sum(axis=1)) / (1 + len(trials))


def parted(losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows of the best quarter and of the rest."""
    order, cut = losses.argsort(), -(-len(losses) // 4)
    return order[:cut], order[cut:]


def proposed(tried: np.ndarray, losses: np.ndarray, rng: np.random.Generator) -> float:
    good, rest = (tried[rows] for rows in parted(losses))
    at = rng.choice(good, 24) + WIDTH * rng.normal(size=24)
    at = np.where(rng.random(24) < 1 / (1 + len(good)), rng.random(24), at)
    at = at[(at >= 0) & (at <= 1)]
    return at[(density(at, good) / density(at, rest)).argmax()]


def frame(tried: np.ndarray, losses: np.ndarray, x: float | None, title: str) -> Image.Image:
    """The trials so far; below, once there are ten, their densities; the next one as a line."""
    figure = new_figure(6.4, 4.6)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    above.plot(LINE, truth(LINE), "--", color=FAINT, lw=1.5)
    above.set(ylim=(0.85, 2.1), ylabel="loss", title=title)
    below.set(xlim=(0, 1), ylim=(0, 4.2), xlabel="the setting", yticks=[], ylabel="density")
    if len(tried) < RANDOM:
        above.plot(tried, losses, "o", color=BLUES[2], ms=8)
    else:
        names = ("where the best quarter lies", "where the rest lie")
        for rows, colour, name in zip(parted(losses), (MARK, BLUES[2]), names, strict=True):
            above.plot(tried[rows], losses[rows], "o", color=colour, ms=8)
            below.plot(LINE, density(LINE, tried[rows]), color=colour, label=name)
        below.legend(loc="upper left", fontsize=10)
    if x is not None:
        for ax in (above, below):
            ax.axvline(x, color=INK, lw=1.2)
    return moving.frame(figure)


def main() -> None:
    rng = np.random.default_rng(3)
    tried = rng.random(RANDOM)
    losses = truth(tried) + 0.05 * rng.normal(size=RANDOM)
    frames, lasting = [], []
    with rc_context(STYLE):
        for count in range(1, RANDOM + 1):
            frames.append(frame(tried[:count], losses[:count], None, f"trial {count}: at random"))
            lasting.append(300)
        lasting[-1] = 1800
        while len(tried) < TRIALS:
            x = proposed(tried, losses, rng)
            title = f"trial {len(tried) + 1}: good ones near, bad ones far"
            frames.append(frame(tried, losses, x, title))
            tried = np.append(tried, x)
            losses = np.append(losses, truth(x) + 0.05 * rng.normal())
            frames.append(frame(tried, losses, x, title))
            lasting += [900, 500]
        frames.append(frame(tried, losses, None, "twenty trials"))
    lasting.append(3500)
    moving.write("18_tpe.gif", moving.shared_colours(frames, 48, [RANDOM - 1, -1]), lasting)


if __name__ == "__main__":
    main()
