"""notebooks/images/08_valley.gif: steps down a narrow valley, plain and with momentum."""

import moving
import numpy as np
from matplotlib import rc_context
from PIL import Image

from ferlib.plots.style import BLUES, FAINT, INK, MARK, STYLE, new_figure

STEEP = np.array([1.0, 25.0])  # the height is (x^2 + 25 y^2) / 2
STEPS, RATE = 30, 0.072


def path(momentum: float) -> np.ndarray:
    """Where each step arrives, (STEPS + 1, 2)."""
    at, speed = np.array([-9.0, 1.3]), np.zeros(2)
    seen = [at]
    for _ in range(STEPS):
        speed = momentum * speed - RATE * STEEP * at
        at = at + speed
        seen.append(at)
    return np.array(seen)


def frame(paths: dict[str, np.ndarray], step: int) -> Image.Image:
    x, y = np.meshgrid(np.linspace(-10, 4, 140), np.linspace(-1.7, 1.7, 70))
    height = (x**2 + 25 * y**2) / 2
    figure = new_figure(6.4, 3.6)
    axes = figure.subplots(2, 1, sharex=True)
    for ax, (name, points) in zip(axes, paths.items(), strict=True):
        ax.contour(x, y, height, levels=[0.3, 2, 6, 13, 23, 36, 52], colors=FAINT, linewidths=0.8)
        seen = points[: step + 1]
        ax.plot(*seen.T, color=BLUES[2], lw=1.3, marker="o", ms=3)
        ax.plot(*seen[-1], "o", color=MARK, ms=8)
        ax.plot(0, 0, "+", color=INK, ms=11, mew=2)
        ax.set(ylabel="$w_2$", yticks=[-1, 0, 1], ylim=(-1.7, 1.7), xlim=(-10, 4))
        ax.set_title(f"{name}, step {step}: height {(STEEP * seen[-1] ** 2).sum() / 2:.2f}")
    axes[1].set_xlabel("$w_1$ (the cross is the lowest point)")
    return moving.frame(figure)


def main() -> None:
    paths = {"plain": path(0.0), "momentum 0.75": path(0.75)}
    with rc_context(STYLE):
        frames = [frame(paths, step) for step in range(STEPS + 1)]
    lasting = [180] * STEPS + [3000]
    moving.write("08_valley.gif", moving.own_colours(frames, 32), lasting)


if __name__ == "__main__":
    main()
