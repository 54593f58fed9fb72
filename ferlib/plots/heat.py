"""Faces under the heat of what speaks for their emotion, and emotions over time."""

import textwrap
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ferlib.data.images import to_gray
from ferlib.data.labels import EMOTIONS, colours
from ferlib.plots.style import HEAT, new_figure, plain, show, styled


def _alpha(heat):
    return 0.85 * heat**0.7  # cold places show the face


def _overlay(ax, picture, heat, title: str = ""):
    """The picture in gray under its heat (h, w): hot places glow, cold ones stay as they are."""
    picture = to_gray(picture) if np.ndim(picture) == 3 else np.asarray(picture)
    show(ax, picture, title)
    heat = np.clip(heat, 0, None) / max(np.max(heat), 1e-12)
    height, width = picture.shape
    edges = (-0.5, width - 0.5, height - 0.5, -0.5)  # the whole picture, whatever the map's size
    how = {"vmin": 0, "vmax": 1, "extent": edges, "interpolation": "bilinear"}
    return ax.imshow(heat, HEAT, alpha=_alpha(heat), **how)


def _heat_bar(figure, axes) -> None:
    """The key: the colours as they look over a gray of the middle."""
    heat = np.linspace(0, 1, 256)[:, None]
    alpha = _alpha(heat)
    seen = alpha * colormaps[HEAT](heat[:, 0])[:, :3] + (1 - alpha) * 0.6
    scale = ScalarMappable(Normalize(0, 1), ListedColormap(seen))
    bar = figure.colorbar(scale, ax=axes, location="bottom", fraction=0.02, shrink=0.35, aspect=25)
    bar.set_ticks([])
    bar.outline.set_visible(False)
    how = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "center_baseline"}
    bar.ax.annotate("no evidence", (0, 0.5), (-6, 0), ha="right", **how)
    bar.ax.annotate("most", (1, 0.5), (6, 0), ha="left", **how)


@styled
def explained(
    crops: Sequence,
    heats: np.ndarray,
    titles: Sequence[str] | None = None,
    columns: int = 4,
    beside: bool = True,
) -> Figure:
    """Each crop, gray or RGB, beside itself under its heat: maps (N, h, w) of `explain`.

    Each map is drawn from 0, or below, to its own maximum. With `beside` False the plain crops are
    left out, where readers know them already.
    """
    columns, each = min(columns, len(crops)), 1 + beside
    rows = -(-len(crops) // columns)
    lines = max((len(textwrap.wrap(title, 11 * each)) for title in titles or ()), default=0)
    height = (1.17 + 0.17 * lines + 0.06 * bool(lines)) * rows + 0.35
    figure = new_figure(1.2 * each * columns, height)
    axes = figure.subplots(rows, each * columns, squeeze=False)
    places = axes.reshape(-1, each)
    for k, place in enumerate(places[: len(crops)]):
        if beside:
            show(place[0], crops[k])
        _overlay(place[-1], crops[k], heats[k])
        title = textwrap.fill(plain(titles[k]), 11 * each) if titles is not None else ""
        place[0].set_title(title, loc="left")
    _heat_bar(figure, axes)
    for ax in places[len(crops) :].ravel():
        ax.remove()
    return figure


@styled
def surest(crops: Sequence, found: SimpleNamespace) -> Figure:
    """A row for each emotion: the crops with its highest probability, and where it was seen.

    `found` is what `explain.surest` gave for these crops.
    """
    count = found.rows.shape[1]
    figure = new_figure(1.25 * count + 1.5, 1.42 * len(found.classes) + 0.4)
    axes = figure.subplots(len(found.classes), count, squeeze=False)
    hues = colours(found.classes)
    for row, name in enumerate(found.classes):
        for column, ax in enumerate(axes[row]):
            score = f"{found.scores[row, column]:.0%}"
            _overlay(ax, crops[found.rows[row, column]], found.heats[row, column], score)
        first = axes[row, 0]
        beside = {"transform": first.transAxes, "clip_on": False}
        first.plot([-0.1, -0.1], [0, 1], color=hues[name], lw=5, **beside)
        first.text(-0.2, 0.5, plain(name), ha="right", va="center", fontweight="bold", **beside)
    _heat_bar(figure, axes)
    return figure


@styled
def timeline(faces: dict[str, tuple], most: int = 12, classes: Sequence[str] = EMOTIONS) -> Figure:
    """One band for each face of a video: name -> seconds (T,) and probabilities (T, K), stacked.

    Where a face was out of sight its band is empty. The `most` faces seen longest are drawn.
    """
    steps = {name: _step(seconds) for name, (seconds, _) in faces.items()}
    shown = sorted(faces, key=lambda name: -len(faces[name][0]) * steps[name])[:most]
    shown = [name for name in faces if name in shown]
    figure = new_figure(10, 1.3 * len(shown) + 1.2)
    axes = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    hues = [colours(classes)[name] for name in classes]
    for ax, name in zip(axes, shown, strict=True):
        seconds, rows = (np.asarray(part, float) for part in faces[name])
        step = steps[name]
        gaps = np.flatnonzero(np.diff(seconds) > 4 * step) + 1
        for part, values in zip(np.split(seconds, gaps), np.split(rows, gaps), strict=True):
            lasting = [*part, part[-1] + step]  # a frame lasts: one alone is seen, too
            ax.stackplot(lasting, *values.T[:, [*range(len(values)), -1]], colors=hues, lw=0)
        ax.set(ylim=(0, 1), yticks=(0, 1), yticklabels=("0", "100 %"))
        ax.margins(x=0)
        ax.set_title(plain(name), fontsize=10.5, loc="left")
    axes[-1].set_xlabel("seconds")
    figure.supylabel("probability", fontsize=11)
    left_out = len(faces) - len(shown)
    some = "face" if len(shown) == 1 else f"{len(shown)} faces"
    title = f"the {some} seen longest, of {len(faces)}" if left_out else None
    keys = [Rectangle((0, 0), 1, 1, color=colour) for colour in hues]
    how = {"loc": "outside upper center", "title": title, "fontsize": 9}
    columns = int(9.6 / (0.48 + 0.078 * max(map(len, classes))))  # of letters of that height
    figure.legend(keys, list(map(plain, classes)), ncols=min(8, max(1, columns)), **how)
    return figure


def _step(seconds: Sequence[float]) -> float:
    """Seconds from one frame of a face to the next; one alone is taken for one of 25 a second."""
    return float(np.median(np.diff(seconds))) if len(seconds) > 1 else 0.04
