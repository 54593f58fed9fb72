"""notebooks/images/19_shrink.gif: a drawn face comes nearer, and is shrunk for the net in two ways.

Each pixel of 48 x 48 is the mean of its surroundings, or whatever pixel lies at its place.
"""

import moving
import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from PIL import Image

from ferlib import nets
from ferlib.data import images
from ferlib.data.cartoon import draw
from ferlib.data.labels import EMOTIONS
from ferlib.plots.style import COLOURS, FAINT, STYLE, new_figure

EMOTION, LARGEST, SMALLEST, NET = "disgust", 480, 120, 48
# As a hand that holds a telephone comes nearer and goes back.
SIDES = np.geomspace(SMALLEST, LARGEST, 15).round().astype(int).tolist()


def photographed(side: int) -> np.ndarray:
    """The same face, so many pixels wide: uint8 (side, side)."""
    face = draw(EMOTION, np.random.default_rng(EMOTIONS.index(EMOTION)), LARGEST)
    return np.asarray(Image.fromarray(face).resize((side, side), Image.Resampling.LANCZOS))


def picked(face: np.ndarray) -> np.ndarray:
    """One pixel for each of the net's, the one in the middle of its place."""
    at = ((np.arange(NET) + 0.5) * len(face) / NET).astype(int)
    return face[np.ix_(at, at)]


def bars(figure: Figure, place: tuple, scores: np.ndarray) -> None:
    ax = figure.add_axes(place)
    ax.barh(EMOTIONS, scores, color=[COLOURS[name] for name in EMOTIONS], height=0.75)
    ax.set(xlim=(0, 1), xticks=[])
    ax.invert_yaxis()
    ax.tick_params(length=0, labelsize=9)
    best = int(scores.argmax())
    ax.text(scores[best] + 0.02, best, f"{scores[best]:.0%}", va="center", fontsize=9)


def frame(side: int, shrunk: list[np.ndarray], scores: np.ndarray) -> Image.Image:
    """The photograph in its size, and the two ways from it."""
    figure = new_figure(7.2, 4.1)
    figure.set_layout_engine("none")
    photo = figure.add_axes((0.02, 0.1, 0.4, 0.72))
    photo.imshow(photographed(side), cmap="gray", vmin=0, vmax=255)
    edge = LARGEST / 2
    photo.set(xlim=(side / 2 - edge, side / 2 + edge), ylim=(side / 2 + edge, side / 2 - edge))
    photo.set(xticks=[], yticks=[], title=f"{side} pixels")
    for spine in photo.spines.values():
        spine.set(visible=True, color=FAINT)
    names = ("each pixel a mean", "every so many pixels one")
    for row, name in enumerate(names):
        low = 0.54 - 0.5 * row
        small = figure.add_axes((0.45, low, 0.2, 0.36))
        small.imshow(shrunk[row], cmap="gray", vmin=0, vmax=255)
        small.set_axis_off()
        figure.text(0.46, low + 0.385, name, weight="bold")
        bars(figure, (0.78, low, 0.17, 0.36), scores[row])
    return moving.frame(figure)


def main() -> None:
    net, info = nets.load(nets.find_weights(), precision="float32")
    frames = []
    with rc_context(STYLE):
        for side in SIDES:
            face = photographed(side)
            shrunk = [images.resize([face], NET, 1)[0], picked(face)]
            frames.append(frame(side, shrunk, nets.predict(net, np.stack(shrunk), info)))
    there = moving.named_colours(frames, [COLOURS[name] for name in EMOTIONS], 0.5, 24)
    moving.write("19_shrink.gif", [*there, *there[-2:0:-1]], [300] * (2 * len(there) - 2))


if __name__ == "__main__":
    main()
