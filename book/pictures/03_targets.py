"""Draw the moving picture of notebook 3: labels drawn epoch after epoch, and their mean.

From the root: python book/pictures/03_targets.py
"""

import moving
import numpy as np
from matplotlib import rc_context
from PIL import Image

from ferlib.data import fer2013, labels
from ferlib.plots import style

SHOWN = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 30, 50, 100, 200, 500, 1000)  # epochs


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
    return moving.frame(figure)


if __name__ == "__main__":
    learn = fer2013.sample_data().split("train", keep="usable")
    emotions = np.sort(learn.votes[:, :8])[:, -3:]
    one = np.flatnonzero((emotions == (2, 3, 5)).all(axis=1))[0]
    shares = labels.shares(learn.votes[[one]])[0]
    drawn = np.random.default_rng(1).choice(8, p=shares.astype(float), size=max(SHOWN))
    with rc_context(style.STYLE):
        frames = [frame(learn.pictures[one], shares, drawn[:epoch]) for epoch in SHOWN]
    few = moving.named_colours(frames, [*style.COLOURS.values()], pale=0.75, greys=86)
    holds = [700] * (len(frames) - 1) + [4000]
    moving.write("03_targets.gif", few, holds)
