"""notebooks/images/06_augment.gif: what the net sees of six drawn faces, epoch by epoch."""

import moving
import numpy as np
from matplotlib import rc_context
from PIL import Image

from ferlib.data import cartoon
from ferlib.data.augment import augment
from ferlib.plots.style import BLUES, STYLE, new_figure, show

SHOWN = ("happiness", "surprise", "anger", "sadness", "neutral", "fear")
EPOCHS = 10


def frame(faces: np.ndarray, seen: np.ndarray, epoch: int) -> Image.Image:
    figure = new_figure(7.0, 2.85)
    upper, lower = figure.subplots(2, len(faces))
    for k, name in enumerate(SHOWN):
        show(upper[k], faces[k], name)
        show(lower[k], seen[k])
    words = (("stored", 0.66, "#666666"), (f"epoch {epoch}", 0.22, BLUES[3]))
    for text, y, colour in words:
        figure.text(0.012, y, text, rotation=90, va="center", fontweight="bold", color=colour)
    figure.get_layout_engine().set(rect=(0.045, 0, 0.955, 1))
    return moving.frame(figure)


def main() -> None:
    rng = np.random.default_rng(6)
    faces = np.array([cartoon.draw(name, rng, 48, intensity=1) for name in SHOWN])
    with rc_context(STYLE):
        seen = [augment(faces, 48, np.random.default_rng([6, epoch])) for epoch in range(EPOCHS)]
        frames = [frame(faces, one, epoch) for epoch, one in enumerate(seen, start=1)]
    lasting = [600] * (EPOCHS - 1) + [2000]
    moving.write("06_augment.gif", moving.own_colours(frames, 40), lasting)


if __name__ == "__main__":
    main()
