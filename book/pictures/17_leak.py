"""Draws notebooks/images/17_leak.gif: ever more test pictures stand in training as well.

A reader that learns by heart (nearest neighbour) and a small net are asked about the same drawn
faces. The reader's accuracy is measured in every frame, the net's at five shares, between which
the line is straight.
"""

import moving
import numpy as np
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter
from PIL import Image

from ferlib import nets, training
from ferlib.data import fer2013
from ferlib.data.augment import Augmentation
from ferlib.data.dataset import Dataset
from ferlib.plots import style

plt = style.pyplot()
SHARES = np.linspace(0, 1, 21)
TRAINED = (0, 0.25, 0.5, 0.75, 1)
ROWS, COLUMNS = 5, 6


def by_heart(stored: Dataset, asked: Dataset) -> np.ndarray:
    """The label of the stored picture whose pixels correlate most, for each one asked about."""
    flat = [each.pictures.reshape(len(each), -1).astype("float32") for each in (asked, stored)]
    flat = [each - each.mean(axis=1, keepdims=True) for each in flat]
    some, all_of_them = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in flat)
    return stored.truth[(some @ all_of_them.T).argmax(axis=1)]


def taught(learn: Dataset, valid: Dataset, test: Dataset) -> float:
    """The accuracy of a small net on the test split."""
    still = Augmentation(erase=0, wear=0)
    recipe = training.Recipe("vgg-tiny", epochs=3, batch_size=32, lr=0.2, augmentation=still)
    net, _ = training.fit(learn, valid, recipe, progress=False)
    scores = nets.predict(net, test.pictures, nets.Info.of(recipe.network()))
    return float((scores.argmax(axis=1) == test.truth).mean())


def together(*parts: Dataset) -> Dataset:
    pictures, votes = zip(*((part.pictures, part.votes) for part in parts), strict=True)
    return Dataset(np.concatenate(pictures), np.concatenate(votes))


def measured() -> tuple[np.ndarray, np.ndarray, list[float], list[float]]:
    """The faces shown, the share at which each leaks, and the two accuracies over SHARES."""
    data = fer2013.sample_data()
    learn, valid, test = (data.split(name) for name in ("train", "valid", "test"))
    order = np.random.default_rng(0).permutation(len(test))
    leaks = [order[: round(share * len(test))] for share in SHARES]
    hits = [by_heart(together(learn, test.take(some)), test) == test.truth for some in leaks]
    known = data.split("train", keep="usable")
    ends = [order[: round(share * len(test))] for share in TRAINED]
    net = [taught(together(known, test.take(some)), valid, test) for some in ends]
    when = np.argsort(order) / len(test)
    shown = np.sort(order[:: len(order) // (ROWS * COLUMNS)][: ROWS * COLUMNS])
    line = np.interp(SHARES, TRAINED, net).tolist()
    return test.pictures[shown], when[shown], [float(each.mean()) for each in hits], line


def page(
    faces: np.ndarray, when: np.ndarray, reader: list[float], net: list[float], done: int
) -> Image.Image:
    """One frame: the faces, those that leak framed, and the two curves as far as they are."""
    figure = plt.figure(figsize=(7.2, 3.4))
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
    figure.subplots_adjust(0.01, 0.17, 0.985, 0.86, wspace=0.22)
    tiles = faces.reshape(ROWS, COLUMNS, 48, 48)
    wide = np.pad(tiles, ((0, 0), (0, 0), (3, 3), (3, 3)), constant_values=255)
    left.imshow(np.hstack(np.hstack(wide)), cmap="gray", vmin=0, vmax=255)
    for number in np.flatnonzero(when < SHARES[done]):
        row, column = divmod(int(number), COLUMNS)
        corner = (54 * column + 0.5, 54 * row + 0.5)
        left.add_patch(Rectangle(corner, 52, 52, fill=False, color=style.MARK, lw=2.5))
    left.set_axis_off()
    left.set_title(f"{SHARES[done]:.0%} of the test pictures\nalso stand in training", fontsize=11)
    lines = (("learns by heart", reader, style.MARK), ("net", net, style.BLUES[3]))
    for name, curve, colour in lines:
        right.plot(SHARES[: done + 1], curve[: done + 1], color=colour, label=name)
        right.plot(SHARES[done], curve[done], "o", color=colour)
    right.set(xlim=(-0.03, 1.03), ylim=(0.3, 1.03), xlabel="share in training", title="accuracy")
    right.xaxis.set_major_formatter(PercentFormatter(1))
    right.yaxis.set_major_formatter(PercentFormatter(1))
    right.legend(loc="lower right", fontsize=10)
    return moving.frame(figure)


def main() -> None:
    measurements = measured()
    pages = [page(*measurements, done) for done in range(len(SHARES))]
    times = [1500] + [220] * (len(pages) - 2) + [3500]
    moving.write("17_leak.gif", moving.shared_colours(pages, 64), times)


if __name__ == "__main__":
    main()
