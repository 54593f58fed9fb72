"""The moving pictures of chapter 5: a kernel that slides over a patch, and max pooling.

`python book/pictures/05_convolution.py` from the repository's root writes both into
notebooks/images.
"""

import moving
import numpy as np

from ferlib.data import fer2013
from ferlib.plots import style

plt = style.pyplot()
KERNEL = np.array([[-1, -1, -1], [0, 0, 0], [1, 1, 1]])


def signed(number) -> str:
    return f"{number:d}".replace("-", "\N{MINUS SIGN}")


def table(axes, values, left, top, colours, known=None, size=12) -> None:
    """Squares with numbers, the first at (left, top); only those `known` show theirs."""
    for (row, column), value in np.ndenumerate(values):
        hidden = known is not None and not known[row, column]
        fill = "white" if hidden else colours(value)
        square = plt.Rectangle((left + column, top + row), 1, 1, fc=fill, ec=style.FAINT, lw=0.8)
        axes.add_patch(square)
        if not hidden:
            ink = "white" if sum(fill[:3]) < 1.35 else style.INK
            place = (left + column + 0.5, top + row + 0.53)
            axes.text(*place, signed(value), ha="center", va="center", color=ink, fontsize=size)


def outline(axes, left, top, width, height, colour) -> None:
    axes.add_patch(plt.Rectangle((left, top), width, height, fc="none", ec=colour, lw=3))


def gray(value):
    return plt.get_cmap("gray")(0.12 + value / 11)


def edges(value):
    return plt.get_cmap("RdBu_r")(0.5 + value / 44)


def warm(value):
    return plt.get_cmap("Blues")(value / 13)


# ------------------------------------------------------------------ a kernel slides


def patch():
    """A mouth's corner, 6 x 6 numbers from 0 to 9; the face that it is from, and where."""
    faces = fer2013.sample_data().split("train")
    face, row, column = faces.pictures[0], 15, 13
    small = face.reshape(24, 2, 24, 2).mean((1, 3))
    part = small[row : row + 6, column : column + 6]
    part = (part - part.min()) / (part.max() - part.min())
    return np.rint(9 * part).astype(int), face, (row, column)


def slide() -> None:
    numbers, face, place = patch()
    result = np.array(
        [[(numbers[i : i + 3, j : j + 3] * KERNEL).sum() for j in range(4)] for i in range(4)]
    )
    frames = [window(numbers, face, place, result, step) for step in range(17)]
    few = moving.shared_colours(frames, 200, (0, len(frames) // 2, -1), kmeans=3)
    moving.write("05_slide.gif", few, [1600, 1100, 900] + [600] * 13 + [3500])


def window(numbers, face, place, result, step):
    figure, axes = plt.subplots(figsize=(7.2, 3.1))
    figure.subplots_adjust(0, 0, 1, 1)
    axes.set(xlim=(-0.3, 22.3), ylim=(8.4, -1.33), aspect="equal")
    axes.set_axis_off()
    axes.imshow(face, cmap="gray", vmin=0, vmax=255, extent=(0, 4.6, 5.3, 0.7))
    row, column = place
    corner = (column / 24 * 4.6, 0.7 + row / 24 * 4.6)
    axes.add_patch(plt.Rectangle(corner, 1.15, 1.15, fc="none", ec=style.MARK, lw=2))
    heads = ((2.3, "a face"), (8.6, "6 x 6 of its pixels"), (14.4, "kernel"), (19.4, "result"))
    for x, text in heads:
        axes.text(x, -0.5, text, ha="center", weight="bold", fontsize=11)
    table(axes, numbers, 5.6, 0, gray)
    table(axes, KERNEL, 12.9, 1.5, lambda value: edges(9 * value))
    known = np.arange(16).reshape(4, 4) <= step
    table(axes, result, 17.4, 1, edges, known, size=10)
    if step < 16:
        i, j = divmod(step, 4)
        outline(axes, 5.6 + j, i, 3, 3, style.MARK)
        outline(axes, 12.9, 1.5, 3, 3, style.MARK)
        outline(axes, 17.4 + j, 1 + i, 1, 1, style.MARK)
        above, below = numbers[i, j : j + 3], numbers[i + 2, j : j + 3]
        sums = [" + ".join(map(str, part)) for part in (below, above)]
        text = f"below  {sums[0]}   less above  ({sums[1]})   =   {signed(result[i, j])}"
    else:
        text = "red: darker above than below; blue: brighter above"
    axes.text(11, 7.9, text, ha="center", fontsize=13)
    return moving.frame(figure)


# ------------------------------------------------------------------ max pooling

MAP = np.array(
    [
        [0, 1, 0, 0, 2, 0],
        [7, 2, 0, 0, 6, 1],
        [0, 0, 1, 0, 0, 0],
        [0, 0, 0, 8, 1, 0],
        [3, 0, 4, 0, 0, 0],
        [1, 0, 9, 2, 0, 1],
    ]
)


def pooled(values):
    return values.reshape(3, 2, 3, 2).max((1, 3))


def pooling() -> None:
    moved = np.pad(MAP, ((0, 0), (1, 0)))[:, :6]
    first = "max pooling: of each 2 x 2 block keep the largest number"
    steps = [(done, None, first) for done in range(9)]
    steps += [(8, -1, "now everything moves one to the right ...")]
    steps += [(8, done, "now everything moves one to the right ...") for done in range(9)]
    steps += [(8, 9, "... but most of the large numbers are found in the same place")]
    frames = [blocks(moved, *step) for step in steps]
    few = moving.shared_colours(frames, 200, (0, len(frames) // 2, -1), kmeans=3)
    moving.write("05_pooling.gif", few, [1500] + [550] * 8 + [1800] + [400] * 9 + [4500])


def blocks(moved, done, again, text):
    figure, axes = plt.subplots(figsize=(7.2, 2.8))
    figure.subplots_adjust(0, 0, 1, 1)
    axes.set(xlim=(-0.4, 22.4), ylim=(8.05, -0.82), aspect="equal")
    axes.set_axis_off()
    axes.text(11, 7.6, text, ha="center", fontsize=12.5)
    halves = [(MAP, 0, done)] + ([] if again is None else [(moved, 12, again)])
    for values, left, last in halves:
        known = np.arange(9).reshape(3, 3) <= last
        axes.text(left + 3, -0.2, "moved by one" if left else "a map", ha="center", weight="bold")
        axes.text(left + 8.5, -0.2, "pooled", ha="center", weight="bold")
        table(axes, values, left, 0.3, warm)
        table(axes, pooled(values), left + 7, 1.8, warm, known)
        for k in range(1, 3):
            for x, y in (([2 * k, 2 * k], [0, 6]), ([0, 6], [2 * k, 2 * k])):
                axes.plot(np.array(x) + left, np.array(y) + 0.3, color=style.INK, lw=1.4)
        if (values is MAP and again is None) or (left and 0 <= last < 9):
            i, j = divmod(last, 3)
            outline(axes, left + 2 * j, 0.3 + 2 * i, 2, 2, style.MARK)
            outline(axes, left + 7 + j, 1.8 + i, 1, 1, style.MARK)
    if again == 9:
        for i, j in np.argwhere((pooled(MAP) == pooled(moved)) & (pooled(MAP) > 0)):
            for left in (7, 19):
                outline(axes, left + j, 1.8 + i, 1, 1, style.MARK)
    return moving.frame(figure)


if __name__ == "__main__":
    slide()
    pooling()
