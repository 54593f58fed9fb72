"""Draw the moving pictures of notebook 2: ten votes coming in, and faces with their votes.

From the root: python book/pictures/02_votes.py
"""

import moving
import numpy as np
from matplotlib import rc_context
from PIL import Image

from ferlib.data import fer2013, labels
from ferlib.plots import style


def save(frames: list[Image.Image], name: str, milliseconds: list[int]) -> None:
    few = moving.named_colours(frames, [*style.COLOURS.values()], pale=0.75, greys=86)
    moving.write(name, few, milliseconds)


def frame(picture: np.ndarray, votes: np.ndarray, title: str, pale: np.ndarray) -> Image.Image:
    """A face beside its bars; those of the columns in `pale` are drawn faintly."""
    figure = style.new_figure(7, 3)
    face, ax = figure.subplots(1, 2, width_ratios=(1, 1.6))
    style.show(face, picture)
    style.bars(ax, votes, labels.COLUMNS, 10)
    for bar, faint in zip(ax.patches, pale, strict=True):
        bar.set_alpha(0.25 if faint else 1)
    ax.set_ylabel("votes")
    ax.set_title(title, fontsize=12)
    return moving.frame(figure)


def ballots(picture: np.ndarray, votes: np.ndarray) -> None:
    """The ten votes one by one, then the majority rule: drop single votes, ask for half."""
    cast = np.random.default_rng(7).permutation(np.repeat(np.arange(10), votes))
    nothing = np.zeros(10, bool)
    frames = [frame(picture, np.zeros(10, int), "What do ten people see?", nothing)]
    for number, column in enumerate(cast, start=1):
        so_far = np.bincount(cast[:number], minlength=10)
        title = f"vote {number} of 10: {labels.COLUMNS[column]}"
        frames.append(frame(picture, so_far, title, nothing))
    left = np.where(votes > 1, votes, 0)
    top = left.argmax()
    frames.append(frame(picture, votes, "single votes are dropped", votes == 1))
    verdict = f"{labels.COLUMNS[top]} holds {left[top]} of the {left.sum()} left: a majority"
    frames.append(frame(picture, votes, verdict, np.arange(10) != top))
    save(frames, "02_votes.gif", [1200] + [500] * 10 + [1800, 3500])


def faces(pictures: np.ndarray, votes: np.ndarray) -> None:
    """One face after another with its votes."""
    frames = []
    for picture, row in zip(pictures, votes, strict=True):
        won = int(labels.majority(row[None])[0])
        title = labels.EMOTIONS[won] if won >= 0 else "no majority"
        frames.append(frame(picture, row, title, np.zeros(10, bool)))
    save(frames, "02_faces.gif", [1500] * len(frames))


if __name__ == "__main__":
    data = fer2013.sample_data()
    votes = data.votes_of("fer2013new.csv").astype(int)
    sizes = np.sort(votes)[:, ::-1]
    split = (sizes[:, :4] == (5, 3, 1, 1)).all(axis=1) & (votes.argmax(axis=1) == 6)
    divided = sizes[:, 0] < 5
    with rc_context(style.STYLE):
        one = np.flatnonzero(split & (votes[:, 2] == 3))[0]
        ballots(data.pictures[one], votes[one])
        won = labels.majority(votes) >= 0
        some = np.concatenate([np.flatnonzero(won)[4:14], np.flatnonzero(~won & divided)[:3]])
        faces(data.pictures[some], votes[some])
