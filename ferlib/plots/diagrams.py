"""Drawings of a network and of the whole line."""

from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Polygon, Rectangle
from matplotlib.transforms import Affine2D

from ferlib.data import cartoon, labels
from ferlib.data.labels import EMOTIONS
from ferlib.plots.style import BLUES, FAINT, INK, MARK, new_figure, styled

if TYPE_CHECKING:  # only `architecture` needs MXNet
    from ferlib.nets.graph import Layer
    from ferlib.nets.registry import Net

# The line from the files to the answer. Upper row: learning, lower row: answering.
UP = 2.3  # from the lower row to the upper one
STEPS = (
    ("fer2013.csv\nfer2013new.csv", "faces, ten votes each"),
    ("ferlib.data", "join, and account\nfor every row"),
    ("ferlib.data.labels", "votes to targets"),
    ("ferlib.data.images", "normalise, augment"),
    ("ferlib.training", "VGG13 in Gluon"),
    ("ferlib.evaluation", "accuracy, confusion,\ncalibration"),
    ("photograph", "POST\n/predictions/fer"),
    ("ferlib.serving", "handler in the\nMulti Model Server"),
    ("ferlib.faces", "find the faces"),
    ("ferlib.data.images", "normalise"),
    ("the net", "weights from\nmodel_store/"),
    ("answer", "JSON over HTTP"),
)


LABEL = 1.12  # inches that two lines below a stage may take
BAR = 0.13  # inches: the width of a dense layer


@styled
def architecture(net: "str | Net") -> Figure:
    """Any network by its name or declaration: what its graph says of convolutions and dense layers.

    One scale for all, told below the drawing: a box is as high and as deep as its maps in pixels,
    and as wide as their number; a bar is as high as a layer has outputs.
    """
    from ferlib.nets import graph, registry

    net = registry.find(net) if isinstance(net, str) else net
    found = graph.layers(registry.assembled(net), net)
    stages, scale = _stages(found), _Scale.of(net.size, found)
    figure = new_figure(12, 4)
    ax = figure.subplots()
    place = _Place(ax, scale)
    place.picture(net)
    for k, (group, smaller) in enumerate(zip(stages, _shrinks(net.size, stages), strict=True)):
        place.stage(group, BLUES[min(k, 3)], smaller)
    place.dense(found, stages)
    low, high = scale.low - 0.5, 0.8 * scale.inches * net.size
    ax.set(xlim=(-0.1, place.x), ylim=(low, high), aspect="equal")
    ax.set_axis_off()
    figure.set_size_inches(place.x + 0.3, high - low + (0.6 if place.x > 12 else 1.0))
    _legend(figure, scale)
    return figure


@dataclass(frozen=True)
class _Scale:
    """inches: of one pixel; maps: how many of them are as wide as one pixel is high."""

    inches: float
    maps: int
    low: float  # where the words below begin

    @classmethod
    def of(cls, size: int, found: "list[Layer]") -> "_Scale":
        inches = 2.4 / size
        channels = sum(layer.shape[0] for layer in found if layer.op == "Convolution")
        maps = 2 ** max(round(np.log2(max(channels, 1) * inches / 4.5)), 0)
        return cls(inches, maps, -1.2 - 0.12)

    def __str__(self) -> str:
        return f" ({self.maps} as one pixel)" if self.maps > 1 else ""

    def count(self, number: int) -> float:
        """So many maps, or outputs, in inches."""
        return number / self.maps * self.inches


def _slab(ax, x: float, width: float, side: float, colour: str) -> float:
    """A box seen from its front left, on both sides of y = 0; gives where its right side ends."""
    y, deep = side / 2, 0.28 * side
    front = [(x, -y), (x + width, -y), (x + width, y), (x, y)]
    lid = [(x, y), (x + width, y), (x + width + deep, y + deep), (x + deep, y + deep)]
    flank = [(x + width, -y), (x + width + deep, deep - y), (x + width + deep, y + deep)]
    for corners, light in ((front, 1.0), (lid, 0.55), ([*flank, (x + width, y)], 0.75)):
        ax.add_patch(Polygon(corners, fc="white", ec="none"))
        ax.add_patch(Polygon(corners, fc=colour, ec="white", lw=0.8, alpha=light))
    return x + width + deep


def _stages(found: "list[Layer]") -> "list[list[Layer]]":
    """Convolutions that give maps of one size and number, one after another."""
    convolutions = [layer for layer in found if layer.op == "Convolution"]
    return [list(group) for _, group in groupby(convolutions, key=lambda layer: layer.shape)]


def _shrinks(size: int, stages: "list[list[Layer]]") -> list[bool]:
    """For each stage, whether its maps are smaller than those, or the picture, before it."""
    sides = [size, *(group[0].shape[-1] for group in stages)]
    return [after < before for before, after in pairwise(sides)]


class _Place:
    """Draws from left to right; x is where the next thing may begin, end where the last ended."""

    def __init__(self, ax, scale: _Scale):
        self.ax, self.scale, self.x, self.end = ax, scale, 0.0, 0.0

    def _words(self, x: float, words: str) -> None:
        self.ax.text(x, self.scale.low, words, ha="center", va="top")

    def _arrow(self, to: float, smaller: bool) -> None:
        colour = MARK if smaller else INK
        line = {"arrowstyle": "-|>", "mutation_scale": 13, "lw": 1.6, "color": colour, "zorder": 5}
        ends = (self.end + 0.05, 0), (to - 0.04, 0)
        self.ax.add_patch(FancyArrowPatch(*ends, shrinkA=0, shrinkB=0, **line))

    def picture(self, net: "Net") -> None:
        side = net.size * self.scale.inches
        x = LABEL / 2 - 0.2
        self.end = _slab(self.ax, x, max(self.scale.count(net.channels), 0.03), side, FAINT)
        self._words(LABEL / 2, f"picture\n{net.channels} x {net.size} x {net.size}")
        self.x = max(LABEL, self.end) + 0.32

    def stage(self, group: "list[Layer]", colour: str, smaller: bool) -> None:
        """The boxes of one stage and what is written below."""
        channels, height, side = group[0].shape
        width, tall = self.scale.count(channels), side * self.scale.inches
        step = width + 0.1 * tall + 0.06
        whole = step * (len(group) - 1) + width
        x = self.x + max(LABEL - whole, 0) / 2
        self._arrow(x, smaller)
        for k in range(len(group)):
            self.end = _slab(self.ax, x + k * step, width, tall, colour)
        kernels = dict.fromkeys(f"{one.kernel[2]}x{one.kernel[3]}" for one in group)
        words = f"{len(group)} x conv {', '.join(kernels)}\n{channels} x {height} x {side}"
        self._words(x + whole / 2, words)
        self.x = max(self.x + LABEL, self.end) + 0.32

    def _bar(self, words: str, count: int, colour: str, smaller: bool = False) -> None:
        x, tall = self.x + 0.4, self.scale.count(count)
        self._arrow(x, smaller)
        self.ax.add_patch(Rectangle((x, -tall / 2), BAR, tall, fc=colour))
        self._words(x + BAR / 2, words)
        self.end, self.x = x + BAR, x + 0.62

    def dense(self, found: "list[Layer]", stages: "list[list[Layer]]") -> None:
        """What comes after the convolutions, down to the answers."""
        maps = [layer for layer in found if len(layer.shape) == 3 and layer.shape[1] > 1]
        smaller = bool(stages) and maps[-1].shape[-1] < stages[-1][-1].shape[-1]
        last = maps[-1].shape[0] if maps else 0
        spatial = [layer.shape for layer in found if len(layer.shape) > 1]
        if any(a[1:] > b[1:] == (1, 1) for a, b in pairwise(spatial)):
            self._bar("mean of\neach map", last, FAINT, smaller)
            smaller = False
        units = [layer.shape[0] for layer in found if layer.op == "FullyConnected"]
        for count in units[:-1]:
            self._bar(f"dense\n{count}", count, FAINT, smaller)
            smaller = False
        if units:
            self._answers(units[-1], smaller)

    def _answers(self, count: int, smaller: bool) -> None:
        """The last layer: a square for each answer where there are few."""
        emotions = count == len(EMOTIONS)
        words = f"dense\n{count}{' emotions' if emotions else ''}"
        if count > 16:
            return self._bar(words, count, BLUES[3], smaller)
        x, hues = self.x + 0.4, labels.HUES if emotions else [BLUES[3]] * count
        self._arrow(x, smaller)
        for k, hue in enumerate(hues):
            corner = (x, BAR * (count / 2 - 1 - k))
            self.ax.add_patch(Rectangle(corner, BAR, BAR, fc=hue, ec="white", lw=0.8))
        self._words(x + BAR / 2, words)
        self.x = x + 0.62
        return None


def _legend(figure: Figure, scale: _Scale) -> None:
    """What heights, widths and arrows mean, below the drawing."""
    blue, gray = (Rectangle((0, 0), 1, 1, fc=colour) for colour in (BLUES[1], FAINT))
    flat, down = (Line2D([], [], color=c, marker=">", ms=6, lw=1.6) for c in (INK, MARK))
    lines = {
        f"box: height and depth show the side of its maps, width their number{scale}": blue,
        f"bar: its height shows the number of outputs{scale}": gray,
        "on to the next layer": flat,
        "on to the next layer, maps made smaller by pooling or a stride": down,
    }
    wide = figure.get_figwidth() > 12.3
    how = {"loc": "outside lower left", "ncols": 1 + wide, "fontsize": 9.5, "columnspacing": 1.5}
    figure.legend(list(lines.values()), list(lines), **how)


def _arrow(ax, start, stop, words: str = "", style: str = "-|>", colour: str = INK) -> None:
    line = {"arrowstyle": style, "mutation_scale": 16, "lw": 1.8, "color": colour}
    ax.add_patch(FancyArrowPatch(start, stop, shrinkA=0, shrinkB=0, **line))
    x, y = np.mean([start, stop], axis=0)
    ax.text(x + 0.1, y + 0.1, words, va="center", color=colour, fontweight="bold")


def _sketches(ax) -> None:
    """Small drawings inside the boxes of `pipeline`, whose middles are 2 apart."""

    def face(x: float, y: float, half: float, emotion: str = "happiness", seed: int = 39, turn=1):
        drawn = cartoon.draw(emotion, np.random.default_rng(seed), 120, intensity=1)[:, ::turn]
        box = (x - half, x + half, y - half, y + half)
        return ax.imshow(drawn, cmap="gray", vmin=0, vmax=255, extent=box, zorder=3)

    for k, emotion in enumerate(("surprise", "sadness", "anger", "happiness")):
        face(0.34 * (k % 2) - 0.17, UP + 0.17 + 0.34 * (k // 2), 0.16, emotion, 40 + k)
    face(5.68, UP + 0.32, 0.27)
    tilted = face(6.32, UP + 0.32, 0.27, turn=-1)
    tilted.set_transform(Affine2D().rotate_deg_around(6.32, UP + 0.32, 14) + ax.transData)
    for x, half in ((0, 0.42), (4, 0.42), (6, 0.3)):
        face(x, 0.32, half)
    ax.add_patch(Rectangle((3.7, -0.08), 0.6, 0.64, fc="none", ec=MARK, lw=2, zorder=4))
    for row in range(4):  # a table, and the server's shelves
        for column in range(4):
            cell = (1.6 + 0.21 * column, UP + 0.02 + 0.16 * row)
            ax.add_patch(Rectangle(cell, 0.19, 0.14, fc=BLUES[0 if column else 2]))
        if row < 3:
            shelf = (1.65, 0.05 + 0.22 * row)
            ax.add_patch(Rectangle(shelf, 0.7, 0.18, fc=BLUES[3]))
            ax.plot(shelf[0] + np.array([0.08, 0.16]), [shelf[1] + 0.09] * 2, "w.", ms=4)
    ax.bar(3.7 + 0.2 * np.arange(4), (0.1, 0.6, 0.15, 0.05), 0.16, UP + 0.02, color=labels.HUES[:4])
    for y in (UP + 0.32, 0.32):
        for k in range(4):
            tall = 0.66 - 0.14 * k
            ax.add_patch(Rectangle((7.62 + 0.21 * k, y - tall / 2), 0.15, tall, fc=BLUES[k]))
    ax.imshow(np.eye(4) + 0.15, cmap="Blues", extent=(9.67, 10.33, UP, UP + 0.66), zorder=3)
    ax.text(10, 0.32, '"emotion":\n"happiness"', ha="center", va="center", family="monospace")


@styled
def pipeline() -> Figure:
    """The whole line, from the published CSV files to the answer over HTTP, for the README."""
    figure = new_figure(12.5, 5.2)
    ax = figure.subplots()
    server = {"boxstyle": "round,pad=0.1", "fc": "#EAF2FA", "ec": BLUES[1], "lw": 1.5}
    ax.add_patch(FancyBboxPatch((1.1, -0.92), 7.8, 1.84, zorder=0, **server))
    box = {"boxstyle": "round,pad=0.08", "fc": "white", "ec": FAINT, "lw": 1.2}
    for k, (name, what) in enumerate(STEPS):
        x, y = 2 * (k % 6), UP * (k < 6)
        ax.add_patch(FancyBboxPatch((x - 0.7, y - 0.77), 1.4, 1.54, zorder=1, **box))
        ax.text(x, y - 0.26, name, ha="center", va="center", fontweight="bold")
        ax.text(x, y - 0.59, what, ha="center", va="center", fontsize=9.5, color="#555555")
        if k % 6 < 5:
            _arrow(ax, (x + 0.79, y), (x + 1.21, y))
    _sketches(ax)
    _arrow(ax, (8, UP - 0.86), (8, 0.86), "packed as fer.mar", colour=MARK)
    _arrow(ax, (6, UP - 0.86), (6, 0.86), "one code for both", "<|-|>", BLUES[3])
    ax.set(xlim=(-0.85, 10.85), ylim=(-1.08, UP + 0.92), aspect="equal")
    ax.set_axis_off()
    return figure
