"""notebooks/images/11_losses.gif: one answer moves, and with it the loss of the four schemes.

From the root: python book/pictures/11_losses.py
"""

import moving
import numpy as np
from matplotlib import rc_context
from PIL import Image

from ferlib.data import fer2013, labels
from ferlib.plots.style import BLUES, COLOURS, FAINT, INK, MARK, STYLE, new_figure, show

SHARES = np.linspace(0.01, 0.99, 99)
ORDER = ("majority", "cross-entropy", "probability", "multi-target")


def along(share: np.ndarray) -> np.ndarray:
    """Answers (99, 8): the winner's share grows, the others divide the rest as the voters did."""
    winner = np.eye(8)[share.argmax()]
    others = share * (1 - winner)
    return SHARES[:, None] * winner + (1 - SHARES[:, None]) * others / others.sum()


def curves(votes: np.ndarray, share: np.ndarray) -> dict[str, np.ndarray]:
    costs = -np.log(np.maximum(along(share), 1e-9))
    accepted = labels.targets(votes[None], "multi-target")[0] > 0
    return {
        "majority": costs[:, share.argmax()],
        "cross-entropy": costs @ share,
        "probability": costs @ share,
        "multi-target": costs[:, accepted].min(axis=1),
    }


def hill(ax, scheme: str, share: np.ndarray, loss: np.ndarray, at: int) -> None:
    costs = -np.log(np.maximum(along(share), 1e-9))
    for k in np.flatnonzero(share) if scheme == "probability" else ():
        ax.plot(SHARES, costs[:, k], color=COLOURS[labels.EMOTIONS[k]], lw=1)
    ax.plot(SHARES, loss, color=INK if scheme != "probability" else BLUES[3])
    ax.plot(SHARES[at], min(loss[at], 3), "o", color=MARK, ms=9, clip_on=False, zorder=3)
    ax.set(title=scheme, xlim=(0, 1), ylim=(0, 3), xticks=(0, 0.5, 1), yticks=(0, 1, 2, 3))
    ax.grid()


def frame(picture: np.ndarray, votes: np.ndarray, share: np.ndarray, at: int) -> Image.Image:
    losses, answer = curves(votes, share), along(share)[at]
    figure = new_figure(7.2, 4.2)
    panels = figure.subplot_mosaic(
        [["face", ORDER[0], ORDER[1]], ["bars", ORDER[2], ORDER[3]]], width_ratios=(1.15, 1, 1)
    )
    show(panels["face"], picture)
    counts = [f"{n} {name}" for n, name in zip(votes, labels.COLUMNS, strict=True) if n]
    panels["face"].set_title("votes: " + ", ".join(counts), fontsize=9)
    shown = np.flatnonzero(share)
    names = [labels.EMOTIONS[k] for k in shown]
    panels["bars"].barh(names, answer[shown], color=[COLOURS[name] for name in names])
    panels["bars"].plot(share[shown], names, "D", color=INK, ms=5)
    panels["bars"].set(xlim=(0, 1), xlabel="the answer (\N{BLACK DIAMOND} voters)")
    panels["bars"].tick_params("y", length=0)
    panels["bars"].spines["left"].set_color(FAINT)
    for scheme in ORDER:
        hill(panels[scheme], scheme, share, losses[scheme], at)
    for scheme in ORDER[2:]:
        panels[scheme].set_xlabel(f"share of {labels.EMOTIONS[share.argmax()]}")
    for scheme in ORDER[::2]:
        panels[scheme].set_ylabel("loss")
    return moving.frame(figure)


def main() -> None:
    learn = fer2013.sample_data().split("train", keep="usable")
    ranked = np.sort(learn.votes[:, :8], axis=1)[:, ::-1]
    one = np.flatnonzero((ranked[:, :3] == (5, 3, 2)).all(axis=1))[0]
    share = learn.shares[one].astype(float)
    forth = [*range(5, 49, 5), 49, *range(54, 98, 5), 98]
    path = [*forth, *forth[-2:0:-1]]
    with rc_context(STYLE):
        frames = [frame(learn.pictures[one], learn.votes[one], share, at) for at in path]
    lasting = [1500 if at in (49, 98) else 180 for at in path]
    few = moving.named_colours(frames, (*labels.HUES, MARK, BLUES[3]), pale=0.6, greys=32)
    moving.write("11_losses.gif", few, lasting)


if __name__ == "__main__":
    main()
