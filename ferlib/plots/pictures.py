"""Pictures side by side, faces with what voters and nets say of them."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from ferlib.data import labels
from ferlib.data.labels import COLUMNS, EMOTIONS, SCHEMES, colours, majority, targets
from ferlib.errors import FerlibError
from ferlib.plots.style import COLOURS, INK, MARK, bars, lying_bars, new_figure, plain, show, styled


@styled
def grid(pictures: Sequence, titles: Sequence[str] | None = None, columns: int = 8) -> Figure:
    """Pictures (N, H, W) or (N, H, W, 3) side by side, each under its title."""
    if not len(pictures):
        raise FerlibError("no pictures to show: expected one or more")
    rows = -(-len(pictures) // columns)
    figure = new_figure(1.3 * columns, (1.6 if titles is not None else 1.35) * rows)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes[len(pictures) :]:
        ax.remove()
    for k, (ax, picture) in enumerate(zip(axes, pictures, strict=False)):
        show(ax, picture, titles[k] if titles is not None else "")
    return figure


@styled
def faces_with_votes(pictures: Sequence, votes: np.ndarray, columns: int = 6) -> Figure:
    """Each picture of (N, H, W) over its ten votes (N, 10); the title is the majority."""
    votes, rows = np.asarray(votes), -(-len(pictures) // columns)
    figure = new_figure(2.0 * columns, 4.2 * rows)
    axes = figure.subplots(2 * rows, columns, squeeze=False, height_ratios=[1.7, 1] * rows)
    for k, (face, below) in enumerate(zip(axes[::2].ravel(), axes[1::2].ravel(), strict=True)):
        if k >= len(pictures):
            face.remove(), below.remove()
            continue
        won = majority(votes[k : k + 1])[0]
        show(face, pictures[k], EMOTIONS[won] if won >= 0 else "no majority")
        bars(below, votes[k], COLUMNS, 10)
        if k % columns == 0:
            below.set_ylabel("votes")
    return figure


@styled
def targets_by_scheme(
    votes: np.ndarray, picture: np.ndarray | None = None, rng: np.random.Generator | None = None
) -> Figure:
    """One face's votes (10,) and the targets that the four schemes make of them."""
    votes, rng = np.asarray(votes).reshape(1, 10), rng or np.random.default_rng(0)
    figure = new_figure(13.5, 3.4)
    axes = figure.subplots(1, 5 + (picture is not None))
    if picture is not None:
        show(axes[0], picture, "the picture")
        axes = axes[1:]
    bars(axes[0], votes[0], COLUMNS, votes.max())
    axes[0].set(title="ten votes", ylabel="votes")
    for ax, scheme in zip(axes[1:], SCHEMES, strict=True):
        bars(ax, targets(votes, scheme, rng)[0], EMOTIONS, 1, 0 if scheme != SCHEMES[2] else 2)
        ax.set_title(scheme)
    axes[1].set_ylabel("target")
    axes[1 + SCHEMES.index("probability")].set_xlabel("drawn afresh every epoch", color="#666666")
    return figure


@styled
def answers_by_scheme(picture: np.ndarray, votes: np.ndarray, answers: dict) -> Figure:
    """One face (H, W), its votes (10,), and what nets said: scheme -> scores (8,)."""
    figure = new_figure(2.25 * (2 + len(answers)), 3.4)
    face, voters, *axes = figure.subplots(1, 2 + len(answers))
    show(face, picture, "the picture")
    bars(voters, votes, COLUMNS, max(votes))
    voters.set(title="ten votes", ylabel="votes")
    for ax, (scheme, scores) in zip(axes, answers.items(), strict=True):
        bars(ax, np.round(scores, 2), EMOTIONS, 1, 2)
        for text in [text for text in ax.texts if float(text.get_text()) < 0.05]:
            text.remove()  # they would run into each other
        ax.set_title(scheme)
    if axes:
        axes[0].set_ylabel("probability")
    return figure


@styled
def loss_curves(answers: ArrayLike, losses: dict, draws: dict) -> Figure:
    """How each scheme's loss wants one face to be answered.

    answers: (K, 8) probabilities, the share of one emotion growing from one to the next; losses:
    scheme -> (K,); draws: emotion -> (K,), what "probability" costs when that one is drawn, a thin
    line in the emotion's colour. A dot marks the smallest loss.
    """
    answers = np.asarray(answers)
    shown = answers.max(axis=0) > 0.005
    moved = np.diff(answers, axis=0).mean(axis=0).argmax()
    share = answers[:, moved]
    figure = new_figure(2.7 * (1 + len(losses)), 3.9)
    first, *axes = figure.subplots(1, 1 + len(losses))
    names, hues = np.array(EMOTIONS)[shown], np.array(labels.HUES)[shown]
    first.stackplot(share, *answers.T[shown], colors=hues, labels=names)
    first.set(title="the net's answer", ylim=(0, 1), ylabel="probability")
    first.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=2, columnspacing=1)
    for ax, (scheme, loss) in zip(axes, losses.items(), strict=True):
        for name, one in draws.items() if scheme == "probability" else ():
            ax.plot(share, one, COLOURS[name], lw=1.2)
        ax.plot(share, loss, INK)
        best = share[loss.argmin()], loss.min()
        name = f"smallest at {best[0]:.2f}"
        ax.plot(*best, "o", color=MARK, ms=8, clip_on=False, zorder=3, label=name)
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), handletextpad=0.2)
        ax.set(title=scheme, ylim=(0, 3))
        ax.grid()
    for ax in (first, *axes):
        ax.set(xlim=(0, 1), xticks=(0, 0.5, 1), xlabel=f"share of {EMOTIONS[moved]}")
    axes[0].set_ylabel("loss")
    return figure


@styled
def scores_bars(picture: np.ndarray, scores: dict[str, float] | Sequence[float]) -> Figure:
    """One picture and its scores: of the eight emotions (8,), or a dict of class -> score.

    Emotions stand in their own order, whatever the dict's is, and other classes below them.
    """
    if not isinstance(scores, dict):
        scores = dict(zip(EMOTIONS, scores, strict=True))
    names = sorted(scores, key=lambda name: (*EMOTIONS, name).index(name))
    values = [scores[name] for name in names]
    figure = new_figure(8, max(3.2, 0.3 * len(names) + 0.6))
    face, ax = figure.subplots(1, 2, width_ratios=(1, 1.5))
    show(face, picture, plain(names[int(np.argmax(values))]))
    texts = [f"{score:.1%}" for score in values]
    hues = colours(names)
    lying_bars(ax, values, list(map(plain, names)), [hues[name] for name in names], texts)
    return figure


@styled
def augmented(picture: np.ndarray, batch: Sequence, columns: int = 6) -> Figure:
    """A picture (H, W), large, beside what augmentation makes of it, (N, H, W) or (N, 1, H, W)."""
    rows = -(-len(batch) // columns)
    figure = new_figure(1.35 * (columns + rows), 1.35 * rows + 0.4)
    left, right = figure.subfigures(1, 2, width_ratios=(rows, columns))
    show(left.subplots(), picture)
    axes = np.ravel(right.subplots(rows, columns))
    for ax, one in zip(axes, batch, strict=False):
        show(ax, one)
    for ax in axes[len(batch) :]:
        ax.remove()
    for part, words in ((left, "as it is"), (right, "as the net sees it: never twice the same")):
        part.suptitle(words, fontsize=10.5, fontweight="bold")
    return figure
