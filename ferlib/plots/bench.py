"""Networks beside each other: how they learn, what they cost; and which pictures are nearly one."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from numpy.typing import ArrayLike

from ferlib.plots.style import BLUES, FAINT, INK, MARK, new_figure, show, styled

WIDTH = 5.6  # inches: letters can still be read on a telephone
LINE = 0.17  # inches from a line of small letters to the next


# ---------------------------------------------------------------- how they learn


@styled
def accuracy_by_epoch(curves: Mapping[str, ArrayLike]) -> Figure:
    """Name -> validation accuracy after each epoch, fractions (E,): all on one plot, named.

    Nets may have different numbers of epochs: the x axis is the share of each net's own.
    """
    percent = {name: 100 * np.asarray(curve, float) for name, curve in curves.items()}
    names = sorted(percent, key=lambda name: percent[name][-1])
    figure = new_figure(WIDTH, max(4.2, LINE * len(names) + 1.6))
    ax = figure.subplots()
    low, high = _range(percent)
    gap = (high - low) * LINE / (figure.get_figheight() - 0.7)
    heights = _apart(np.array([percent[name][-1] for name in names]), gap, low, high)
    shades = matplotlib.colormaps["viridis"](np.linspace(0.05, 0.82, len(names))[::-1])
    for name, height, colour in zip(names, heights, shades, strict=True):
        curve = percent[name]
        ax.plot(100 * np.arange(1, len(curve) + 1) / len(curve), curve, color=colour, lw=1.5)
        ax.plot((100, 105), (curve[-1], height), color=colour, lw=0.8, clip_on=False)
        ax.text(106, height, f"{name} {curve[-1]:.1f}", color=colour, va="center", fontsize=9)
    ax.set(xlabel="share of the training (%)", ylabel="validation accuracy (%)")
    ax.set(xlim=(0, 100), ylim=(low, high))
    ax.grid()
    return figure


def _range(curves: Mapping[str, np.ndarray]) -> tuple[float, float]:
    """From where the worst net is half-way to a little above the best."""
    low = min(curve[(len(curve) - 1) // 2 :].min() for curve in curves.values())
    high = max(curve.max() for curve in curves.values())
    room = 0.1 * (high - low) + 1
    return low - room, high + room / 2


def _apart(wanted: np.ndarray, gap: float, low: float, high: float) -> np.ndarray:
    """Rising places (n,) -> the closest ones, in squares, that are `gap` apart, between two ends.

    Less the gaps below each, places must not fall: isotonic regression, which pools neighbours
    that do (Barlow et al. 1972).
    """
    steps = gap * np.arange(len(wanted))
    pools: list[list[float]] = []
    for value in wanted - steps:
        pools.append([value])
        while len(pools) > 1 and np.mean(pools[-2]) > np.mean(pools[-1]):
            last = pools.pop()
            pools[-1] += last
    places = np.concatenate([np.full(len(pool), np.mean(pool)) for pool in pools]) + steps
    places = np.minimum(places, high - gap / 2 - steps[::-1])
    return np.maximum(places, low + gap / 2 + steps)


# ---------------------------------------------------------------- what they cost


@styled
def accuracy_by_cost(nets: Sequence[Mapping[str, Any]], what: str = "test accuracy (%)") -> Figure:
    """Dicts of name, accuracy, multiply_adds (of one picture) and parameters: a dot each.

    The line joins those that no cheaper net equals (Pareto).
    """
    figure = new_figure(WIDTH, 4.8)
    ax = figure.subplots()
    best = best_for_cost(nets)
    if len(best) > 1:
        line = {"color": MARK, "lw": 1, "ls": "--", "label": "none cheaper is as good"}
        ax.plot(*zip(*map(_place, best), strict=True), **line)
    for net in nets:
        colour = MARK if net in best else BLUES[2]
        how = {"color": colour, "alpha": 0.5, "lw": 0, "clip_on": False}
        ax.scatter(*_place(net), s=_area(net["parameters"]), **how)
        ax.plot(*_place(net), ".", color=colour, ms=3)
    ax.set(xscale="log", xlabel="multiply-adds of one picture, in millions", ylabel=what)
    lowest, highest = ax.get_xlim()
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 3) if highest > 100 * lowest else (1, 2, 5)))
    ax.xaxis.set_major_formatter("{x:,g}")
    ax.xaxis.set_minor_formatter("")
    ax.margins(0.14, 0.1)
    ax.grid()
    for millions in (1, 10):
        how = {"s": _area(1e6 * millions), "color": FAINT, "alpha": 0.5, "lw": 0}
        ax.scatter([], [], label=f"{millions} million parameters", **how)
    figure.legend(loc="outside upper left", ncols=2, fontsize=9)
    figure.draw_without_rendering()  # names must know where dots have come to lie
    _name_dots(ax, nets, ax.transData.transform([_place(net) for net in best]))
    return figure


def best_for_cost(nets: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those that no other of their cost or less equals in accuracy, the cheapest first."""
    found: list[Mapping[str, Any]] = []
    for net in sorted(nets, key=lambda net: (net["multiply_adds"], -net["accuracy"])):
        if not found or net["accuracy"] > found[-1]["accuracy"]:
            found.append(net)
    return found


def _place(net: Mapping[str, Any]) -> tuple[float, float]:
    return net["multiply_adds"] / 1e6, 100 * net["accuracy"]


def _area(parameters: float) -> float:
    """Of a dot, in square points."""
    return 14 * parameters / 1e6 + 10


def _name_dots(ax: Any, nets: Sequence[Mapping[str, Any]], line: np.ndarray) -> None:
    """Write each name near its dot, where it hides least of names, dots and a line (n, 2)."""
    point = ax.figure.dpi / 72  # pixels
    radii = [(_area(net["parameters"]) / np.pi) ** 0.5 for net in nets]
    middles = ax.transData.transform([_place(net) for net in nets])
    taken = [_box(middle, point * r, point * r) for middle, r in zip(middles, radii, strict=True)]
    for start, end in pairwise(line):
        taken += [_box(middle, 1.5, 1.5) for middle in np.linspace(start, end, 100)]
    for number, (net, middle, radius) in enumerate(zip(nets, middles, radii, strict=True)):
        text = _named(ax, net, (0, 0))
        size = text.get_window_extent().size / 2
        offsets = [(radius + far) * np.array(way) for far, way in PLACES]
        at = [middle + point * one + np.sign(one) * (1, 0) * size for one in offsets]
        boxes = [_box(one, *size) for one in at]
        hidden = np.array([_hidden(box, np.array(taken), ax.bbox.extents) for box in boxes])
        others = np.array(taken[:number] + taken[number + 1 :])
        leads = [_lead(middle, point * one) for one in offsets]
        hidden[len(AROUND) :] += [
            sum(_shared(box, others).sum() for box in lead) for lead in leads[len(AROUND) :]
        ]
        best = int(np.argmin(hidden))
        taken.append(boxes[best])
        text.set_position(offsets[best])
        text.set_ha(("right", "center", "left")[int(np.sign(offsets[best][0])) + 1])
        if best >= len(AROUND):  # too far off to be seen as this dot's
            taken += leads[best]
            lead = {"arrowstyle": "-", "color": FAINT, "lw": 0.7, "shrinkA": 7, "shrinkB": radius}
            _named(ax, {**net, "name": ""}, offsets[best], arrowprops=lead)


# Where a name may stand: around its dot, near and farther off, in points.
AROUND = ((1, 0), (-1, 0), (0, 1.3), (0, -1.3), (1, 1), (1, -1), (-1, 1), (-1, -1))
PLACES = [(far, way) for far in (4, 14, 26) for way in AROUND]


def _named(ax: Any, net: Mapping[str, Any], offset: Any, **how) -> Any:
    how |= {"textcoords": "offset points", "va": "center", "fontsize": 9}
    text = ax.annotate(net["name"], _place(net), tuple(offset), **how)
    text.set_in_layout(False)
    return text


def _box(middle: np.ndarray, across: float, up: float) -> np.ndarray:
    """Left, bottom, right and top, so far from a middle."""
    x, y = middle
    return np.array([x - across, y - up, x + across, y + up])


def _hidden(box: np.ndarray, taken: np.ndarray, frame: np.ndarray) -> float:
    """Square pixels of a name that lie on one of the boxes (n, 4), or outside the axes."""
    (width, height), inside = box[2:] - box[:2], _shared(box, frame[None]).sum()
    return float(_shared(box, taken).sum() + width * height - inside)


def _lead(middle: np.ndarray, offset: np.ndarray) -> list[np.ndarray]:
    """The boxes under a line from a dot towards its name."""
    return [_box(one, 1.5, 1.5) for one in np.linspace(middle, middle + offset, 20)[4:]]


def _shared(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The area that a box has in common with each of others (n, 4)."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    return sides.clip(0).prod(axis=1)


# ---------------------------------------------------------------- what is nearly the same


@styled
def look_alikes(
    pairs: Sequence[tuple[ArrayLike, ArrayLike]],
    bits: Sequence[int],
    near: int,
    counts: tuple[ArrayLike, ArrayLike] | None = None,
) -> Figure:
    """Pairs of gray pictures, one above the other, with the bits in which their hashes differ.

    Those above `near` do not count as copies. counts: edges (k + 1,) in bits and how many pictures
    lie between them (k,), drawn below the pairs.
    """
    figure = new_figure(WIDTH, 2.1 if counts is None else 4.3)
    parts = figure.subfigures(1 if counts is None else 2, squeeze=False)[:, 0]
    axes = parts[0].subplots(2, len(pairs), squeeze=False)
    for (above, below), (first, second), differ in zip(axes.T, pairs, bits, strict=True):
        show(above, first, f"{differ} bits")
        show(below, second)
        above.title.set_color(INK if differ <= near else MARK)
    if counts is not None:
        _distances(parts[1].subplots(), *counts, near)
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.05)
    return figure


def _distances(ax: Any, edges: ArrayLike, counts: ArrayLike, near: int) -> None:
    edges, counts = np.asarray(edges), np.asarray(counts)
    colours = [BLUES[2] if edge <= near else FAINT for edge in edges[:-1]]
    ax.bar(edges[:-1], counts, np.diff(edges), align="edge", color=colours, ec="white", lw=0.5)
    ax.axvline(near + 1, color=MARK, lw=1, ls="--")
    how = {"transform": ax.get_xaxis_transform(), "va": "top", "fontsize": 9}
    ax.text(near, 0.97, f"{near} bits and fewer:\ncounted as copies", ha="right", **how)
    ax.set(xlabel="bits to the nearest training picture", ylabel="pictures", yscale="log")
    ax.yaxis.set_major_formatter("{x:,.0f}")
    ax.margins(x=0.02)
