"""notebooks/images/07_dropout.gif: a small dense net, other units switched off at every step."""

import moving
import numpy as np
from matplotlib import rc_context
from PIL import Image

from ferlib.data.labels import EMOTIONS, HUES
from ferlib.plots.style import BLUES, FAINT, INK, STYLE, new_figure

UNITS, RATE, STEPS = (6, 10, 10, 8), 0.5, 8
NAMES = ("from the maps", "dense + dropout", "dense + dropout", "answers")


def frame(masks: list[np.ndarray], title: str) -> Image.Image:
    figure = new_figure(6.4, 3.9)
    ax = figure.subplots()
    heights = [np.linspace(1, -1, count) * (0.75 if count < 9 else 1) for count in UNITS]
    for k in range(3):
        for a, live in zip(heights[k], masks[k], strict=True):
            for b, too in zip(heights[k + 1], masks[k + 1], strict=True):
                if live and too:
                    ax.plot([k, k + 1], [a, b], color=BLUES[0], lw=0.7, zorder=1)
    for k, (ys, mask) in enumerate(zip(heights, masks, strict=True)):
        hues = HUES if k == 3 else [BLUES[2]] * len(ys)
        for y, live, hue in zip(ys, mask, hues, strict=True):
            face = hue if live else "white"
            edge = "white" if live else FAINT
            ax.plot(k, y, "o", ms=15, mfc=face, mec=edge, mew=1, zorder=2)
            if not live:
                ax.plot(k, y, "x", ms=7, color=FAINT, zorder=3)
        ax.text(k, -1.22, NAMES[k], ha="center", va="top", color=INK)
    for y, name in zip(heights[3], EMOTIONS, strict=True):
        ax.text(3.14, y, name, va="center", fontsize=9.5)
    ax.set(xlim=(-0.4, 3.75), ylim=(-1.4, 1.15), title=title)
    ax.set_axis_off()
    return moving.frame(figure)


def main() -> None:
    rng = np.random.default_rng(7)
    every = [np.ones(count, bool) for count in UNITS]
    frames = []
    with rc_context(STYLE):
        for step in range(1, STEPS + 1):
            chosen = [rng.random(count) >= RATE for count in UNITS[1:3]]
            frames.append(frame([every[0], *chosen, every[3]], f"training, step {step}"))
        frames.append(frame(every, "prediction: every unit takes part"))
    lasting = [500] * STEPS + [2500]
    moving.write("07_dropout.gif", moving.own_colours(frames, 40), lasting)


if __name__ == "__main__":
    main()
