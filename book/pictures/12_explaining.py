"""The moving picture of chapter 12: a gray square wanders over a face, and its map grows.

`python book/pictures/12_explaining.py` from the repository's root writes it into notebooks/images.
"""

import moving
import numpy as np
from PIL import Image

from ferlib import Recognizer, nets
from ferlib.data import cartoon, images
from ferlib.data.labels import COLOURS, EMOTIONS
from ferlib.plots import style

plt = style.pyplot()
EMOTION, PERSON = "anger", 2
SIDE, STEP, SIZE = 12, 6, 48


def read():
    """The face, each square's place (rows and columns), and anger as it is and under each."""
    rng = np.random.default_rng(PERSON)
    face = cartoon.draw(EMOTION, rng, size=192, intensity=1.0)
    net, info = Recognizer(precision="float32").nets[0]
    small = images.resize([face], SIZE)[0]
    starts = range(STEP - SIDE, SIZE, STEP)
    spans = [(max(0, start), min(SIZE, start + SIDE)) for start in starts]
    places = [(down, across) for down in spans for across in spans]
    hidden = np.repeat(small[None], len(places), axis=0)
    for picture, (down, across) in zip(hidden, places, strict=True):
        picture[slice(*down), slice(*across)] = round(small.mean())
    scores = nets.predict(net, np.concatenate([small[None], hidden]), info)
    return face, places, scores[:, EMOTIONS.index(EMOTION)]


def page(face, places, scores, done: int) -> Image.Image:
    """The picture after so many squares."""
    figure, axes = plt.subplots(1, 3, figsize=(7.2, 2.55), width_ratios=(1, 1.75, 1))
    figure.subplots_adjust(0.01, 0.2, 0.99, 0.87, wspace=0.3)
    left, curve, right = axes
    grow = len(face) // SIZE
    shown = face.copy()
    (top, bottom), (first, last) = places[done - 1]
    shown[top * grow : bottom * grow, first * grow : last * grow] = round(face.mean())
    falls, covered = np.zeros((2, SIZE, SIZE))
    for (down, across), now in zip(places[:done], scores[1:], strict=False):
        falls[slice(*down), slice(*across)] += scores[0] - now
        covered[slice(*down), slice(*across)] += 1
    heat = (falls / covered.clip(1)).clip(0) / 0.45
    for ax, title in ((left, "hide a place"), (right, "the map so far")):
        ax.imshow(shown if ax is left else face, cmap="gray", vmin=0, vmax=255)
        ax.set_title(title, fontsize=10.5)
        ax.set_axis_off()
    if done < len(places):
        edge = plt.Rectangle(
            (first * grow - 0.5, top * grow - 0.5), (last - first) * grow, (bottom - top) * grow,
            fill=False, color=style.MARK, lw=1.8,
        )  # fmt: skip
        left.add_patch(edge)
    else:
        left.images[0].set_data(face)
    edges = (-0.5, len(face) - 0.5, len(face) - 0.5, -0.5)
    alpha = 0.85 * heat.clip(0, 1) ** 0.7
    right.imshow(heat, style.HEAT, alpha=alpha, vmin=0, vmax=1, extent=edges)
    curve.plot(np.arange(1, done + 1), scores[1 : done + 1], color=COLOURS[EMOTION])
    curve.plot(done, scores[done], "o", color=COLOURS[EMOTION], ms=7, clip_on=False)
    curve.axhline(scores[0], color=style.FAINT, lw=1, ls="--")
    curve.text(len(places), scores[0] + 0.08, "nothing hidden", ha="right", fontsize=9)
    curve.set(xlim=(1, len(places)), ylim=(0, 1.2), yticks=(0, 0.5, 1), xlabel="place")
    curve.set_yticks((0, 0.5, 1), ("0", "50 %", "100 %"))
    curve.set_title(f"{EMOTION}, says the net", fontsize=10.5)
    return moving.frame(figure)


def main() -> None:
    face, places, scores = read()
    pages = [page(face, places, scores, done) for done in range(1, len(places) + 1)]
    few = moving.shared_colours(pages, 96, (0, len(pages) // 2, -1), kmeans=2)
    durations = [140] * (len(pages) - 1) + [3000]
    moving.write("12_hiding.gif", few, durations)


if __name__ == "__main__":
    main()
