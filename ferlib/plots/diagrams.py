"""Drawings of a network and of the whole line."""

from itertools import groupby, pairwise
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
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


def _slab(ax, x: float, width: float, side: float, colour: str) -> None:
    """A box seen from its front left, standing on both sides of y = 0."""
    y, deep = side / 2, 0.28 * side
    front = [(x, -y), (x + width, -y), (x + width, y), (x, y)]
    lid = [(x, y), (x + width, y), (x + width + deep, y + deep), (x + deep, y + deep)]
    flank = [(x + width, -y), (x + width + deep, deep - y), (x + width + deep, y + deep)]
    for corners, light in ((front, 1.0), (lid, 0.55), ([*flank, (x + width, y)], 0.75)):
        ax.add_patch(Polygon(corners, fc="white", ec="none"))
        ax.add_patch(Polygon(corners, fc=colour, ec="white", lw=0.8, alpha=light))


@styled
def architecture(net: "str | Net") -> Figure:
    """Any network by its name or declaration: what its graph says of convolutions and dense layers.

    A slab is as high as its maps; its thickness grows with the square root of their number.
    """
    from ferlib.nets import graph, registry

    net = registry.find(net) if isinstance(net, str) else net
    found = graph.layers(registry.create(net), net)
    figure = new_figure(12, 4.2)
    ax = figure.subplots()
    low = -net.size / 2 - 5
    x = _picture(ax, net, low)
    for k, (layer, count) in enumerate(_stages(found)):
        x = _stage(ax, x, low, layer, count, BLUES[min(k, 3)])
    pooled = any(
        a.shape[1:] > b.shape[1:] == (1, 1) for a, b in pairwise(found) if len(b.shape) > 1
    )
    if pooled:
        ax.text(x - 1, 0, "mean of\neach map", ha="center", va="center", fontsize=9)
        x += 11
    dense = [layer.shape[0] for layer in found if layer.op == "FullyConnected"]
    for number, units in enumerate(dense, start=1):
        last = number == len(dense)
        words = f"{units} emotions" if last and units == len(EMOTIONS) else str(units)
        _slab(ax, x, 1.2, 8 if last else 20, MARK if last else FAINT)
        ax.text(x + 1, low, f"dense\n{words}", ha="center", va="top")
        x += 21
    ax.set(xlim=(-8, x - 8), ylim=(low - 11, 0.85 * net.size), aspect="equal")
    ax.set_axis_off()
    return figure


def _picture(ax, net: "Net", low: float) -> float:
    """The input; gives where the next slab begins."""
    _slab(ax, 0.0, 0.6, net.size, FAINT)
    ax.text(0, low, f"picture\n{net.channels} x {net.size} x {net.size}", ha="center", va="top")
    return 0.32 * net.size + 9


def _stages(found: "list[Layer]") -> "list[tuple[Layer, int]]":
    """Convolutions that give maps of one size and number, one after another, with their count."""
    convolutions = [layer for layer in found if layer.op == "Convolution"]
    groups = (list(group) for _, group in groupby(convolutions, key=lambda layer: layer.shape))
    return [(group[-1], len(group)) for group in groups]


def _stage(ax, x: float, low: float, layer: "Layer", count: int, colour: str) -> float:
    """The slabs of one stage and what is written below; gives where the next begins."""
    channels, side, _ = layer.shape
    start, width = x, channels**0.5 / 3
    for _ in range(count):
        _slab(ax, x, width, side, colour)
        x += width + 0.1 * side + 1
    kernel = f"{layer.kernel[2]}x{layer.kernel[3]}"
    words = f"{count} x conv {kernel}\n{channels} x {side} x {side}"
    ax.text((start + x) / 2, low, words, ha="center", va="top")
    return x + 0.2 * side + 9


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
