"""Draw the moving picture of notebook 3: labels drawn epoch after epoch, and their mean.

From the root: python book/pictures/03_targets.py
"""

import io
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.colors import to_rgb
from PIL import Image

from ferlib.data import fer2013, labels
from ferlib.plots import style

IMAGES = Path(__file__).parents[2] / "notebooks" / "images"
SHOWN = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 30, 50, 100, 200, 500, 1000)  # epochs


def in_few_colours(picture: Image.Image) -> Image.Image:
    """With the emotions' colours, the same a quarter as strong, and greys: every pixel's nearest.

    A palette of its own for each frame would merge colours that cover few pixels.
    """
    hues = 255 * np.array([to_rgb(hue) for hue in style.COLOURS.values()])
    greys = np.linspace(0, 255, 86)[:, None].repeat(3, axis=1)
    colours = np.concatenate([hues, 0.25 * hues + 0.75 * 255, greys]).round()
    pixels = np.asarray(picture)
    known, which = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True)
    nearest = ((known[:, None] - colours) ** 2).sum(axis=2).argmin(axis=1).astype(np.uint8)
    found = Image.fromarray(nearest[which].reshape(pixels.shape[:2]))
    found.putpalette(colours.astype(np.uint8).tobytes())
    return found


def image(figure) -> Image.Image:
    with io.BytesIO() as file:
        figure.savefig(file, format="png", dpi=100)
        return in_few_colours(Image.open(file).convert("RGB"))


def frame(picture: np.ndarray, shares: np.ndarray, drawn: np.ndarray) -> Image.Image:
    """The face, the label of this epoch, and the mean of the labels so far over the shares."""
    figure = style.new_figure(7.2, 3)
    face, now, mean = figure.subplots(1, 3, width_ratios=(1, 1.15, 1.15))
    style.show(face, picture)
    style.bars(now, np.eye(8)[drawn[-1]], labels.EMOTIONS, 1)
    now.set_title(f"the label of epoch {len(drawn)}", fontsize=11)
    so_far = np.eye(8)[drawn].mean(axis=0)
    style.bars(mean, so_far, labels.EMOTIONS, 1, 2)
    seen = np.flatnonzero(shares)
    mean.bar(seen, shares[seen], width=0.8, color="none", edgecolor=style.INK, lw=1.5)
    for text, k in zip(mean.texts, np.flatnonzero(so_far), strict=True):
        text.set_y(max(so_far[k], shares[k]) + 0.02)  # above the outline, too
    mean.set_title("mean of the labels so far", fontsize=11)
    mean.set_xlabel("outlined: the voters' shares", fontsize=9)
    return image(figure)


if __name__ == "__main__":
    learn = fer2013.sample_data().split("train", keep="usable")
    emotions = np.sort(learn.votes[:, :8])[:, -3:]
    one = np.flatnonzero((emotions == (2, 3, 5)).all(axis=1))[0]
    shares = labels.shares(learn.votes[[one]])[0]
    drawn = np.random.default_rng(1).choice(8, p=shares.astype(float), size=max(SHOWN))
    with rc_context(style.STYLE):
        frames = [frame(learn.pictures[one], shares, drawn[:epoch]) for epoch in SHOWN]
    path = IMAGES / "03_targets.gif"
    holds = [700] * (len(frames) - 1) + [4000]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=holds, loop=0)
    print(path.name, path.stat().st_size)
