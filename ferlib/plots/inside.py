"""What a net holds inside: its features on a plane, its warps, what its masks add."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from matplotlib import patheffects
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from ferlib.data.images import to_gray
from ferlib.data.labels import EMOTIONS, colours
from ferlib.plots.style import HEAT, INK, MARK, new_figure, plain, show, styled


@styled
def embedding(
    points: ArrayLike | Mapping[str, ArrayLike],
    truth: ArrayLike,
    classes: Sequence[str] = EMOTIONS,
) -> Figure:
    """Places (N, 2) of `evaluation.embedding`, coloured by truth (N,), each class named in its
    middle; or several of them side by side, title -> places of the same pictures.

    A truth of -1 is left out.
    """
    panels = points if isinstance(points, Mapping) else {"": points}
    truth = np.asarray(truth)
    figure = new_figure(5.6 * len(panels), 5.6 + 0.3 * (len(panels) > 1))
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for ax, (title, places) in zip(axes, panels.items(), strict=True):
        _scatter(ax, np.asarray(places), truth, classes)
        ax.set_title(title)
    return figure


def _scatter(ax, places: np.ndarray, truth: np.ndarray, classes: Sequence[str]) -> None:
    hues = [colours(classes)[name] for name in classes]
    shown = np.random.default_rng(0).permutation(np.flatnonzero(truth >= 0))  # none on top of all
    many = len(shown) > 1000
    ax.scatter(*places[shown].T, 8 if many else 18, [hues[k] for k in truth[shown]], lw=0)
    halo = [patheffects.withStroke(linewidth=3.5, foreground="white")]
    names = []
    for k in np.unique(truth[shown]):
        middle = np.median(places[truth == k], axis=0)
        how = {"ha": "center", "va": "center", "fontweight": "bold", "path_effects": halo}
        names.append(ax.text(*middle, plain(classes[k]), color=INK, **how))
    ax.set(xticks=[], yticks=[])
    ax.margins(0.08)
    ax.set_aspect("equal", adjustable="datalim")  # panels stay of one size
    ax.spines[:].set_visible(False)
    _part(ax, names)


def _part(ax, names: list) -> None:
    """Push names that lie on each other apart, the lower one down and the other up."""
    ax.figure.draw_without_rendering()
    for pair in [*combinations(names, 2)] * 5:
        low, high = sorted(pair, key=lambda name: name.get_window_extent().y0)
        below, above = low.get_window_extent(), high.get_window_extent()
        if below.overlaps(above):
            push = (below.y1 - above.y0) / 2 + 1
            for name, by in ((low, -push), (high, push)):
                x, y = ax.transData.transform(name.get_position())
                name.set_position(ax.transData.inverted().transform((x, y + by)))


@styled
def warps(pictures: Sequence, matrices: np.ndarray, warped: np.ndarray) -> Figure:
    """Pictures with the outline of what a spatial transformer takes of them, above the result.

    Matrices (N, 2, 3) and warped pictures (N, C, H, W) are those of `nets.features.warps`. The
    thick side of the outline is the upper one of the warped picture.
    """
    figure = new_figure(1.5 * len(pictures) + 0.4, 3.3)
    axes = figure.subplots(2, len(pictures), squeeze=False)
    for (above, below), picture, matrix, result in zip(
        axes.T, pictures, matrices, warped, strict=True
    ):
        show(above, picture)
        _outline(above, matrix, *np.shape(picture)[:2])
        show(below, result.mean(axis=0))
    for ax, words in zip(axes[:, 0], ("picture", "warped"), strict=True):
        _beside(ax, words)
    return figure


def _outline(ax, matrix: np.ndarray, height: int, width: int) -> None:
    """The grid's border, and a few of its lines, where they lie in the picture."""
    along = np.linspace(-1, 1, 9)
    for at in (-1, -0.5, 0, 0.5, 1):
        edge = abs(at) == 1
        for upright in (False, True):
            line = (np.full(9, at), along) if upright else (along, np.full(9, at))
            x, y = (np.column_stack([*line, np.ones(9)]) @ matrix.T + 1).T / 2
            upper = at == -1 and not upright
            wide = 3.5 if upper else 1.5 if edge else 0.5
            ax.plot(x * (width - 1), y * (height - 1), MARK, lw=wide, solid_capstyle="butt")
    # One frame for all, and a warp that has run away does not take the picture with it.
    ax.set(xlim=(-0.2 * width, 1.2 * width), ylim=(1.2 * height, -0.2 * height))


@styled
def masks(pictures: Sequence, added: Sequence[np.ndarray]) -> Figure:
    """Pictures, and a row for each stage of what its mask adds there, over them.

    `added` is what `nets.features.masks` gave for these pictures. The colours of a row run from the
    least to the most of that row, as the scale beside it says.
    """
    count, stages = len(pictures), len(added)
    figure = new_figure(1.35 * count + 2.2, 1.4 * (stages + 1) + 0.2)
    axes = figure.subplots(1 + stages, count, squeeze=False)
    for ax, picture in zip(axes[0], pictures, strict=True):
        show(ax, picture)
    _beside(axes[0, 0], "picture")
    for number, (row, stage) in enumerate(zip(axes[1:], added, strict=True), 1):
        for ax, picture, one in zip(row, pictures, stage, strict=True):
            image = _over(ax, picture, 100 * one, 100 * stage.min(), 100 * stage.max())
        _beside(row[0], f"stage {number}\n{stage.shape[1]} x {stage.shape[2]}")
        bar = figure.colorbar(image, ax=row, fraction=0.03, aspect=10, format="+%.3g %%")
        bar.outline.set_visible(False)
    return figure


def _over(ax, picture, values: np.ndarray, low: float, high: float):
    """A picture in gray under a map of values (h, w)."""
    picture = to_gray(picture) if np.ndim(picture) == 3 else np.asarray(picture)
    show(ax, picture)
    height, width = picture.shape
    edges = (-0.5, width - 0.5, height - 0.5, -0.5)  # the whole picture, whatever the map's size
    how = {"vmin": low, "vmax": max(high, low + 1e-9), "extent": edges}
    return ax.imshow(values, HEAT, alpha=0.6, interpolation="bilinear", **how)


def _beside(ax, words: str) -> None:
    """What a row of pictures shows, left of it."""
    how = {"transform": ax.transAxes, "ha": "right", "va": "center", "fontweight": "bold"}
    ax.text(-0.12, 0.5, words, clip_on=False, **how)
