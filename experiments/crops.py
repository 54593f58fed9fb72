"""What more views of a face than one give: its mirror image, and ten crops of several sizes.

    FERLIB_DATA=... OMP_NUM_THREADS=1 python experiments/crops.py [--test]

Ten crops are the four corners and the middle of a picture, each mirrored as well, brought back to
the picture's size (Krizhevsky et al. 2012). The answers of all views are averaged. Read is the
validation split, by the shipped net for FER+ and by that for FER2013's own labels, with bias and
temperature. With `--test` the test split as well, once: for FER2013's own labels, by the views that
did best on validation. Writes results/crops.json.
"""

import argparse
from itertools import product

import numpy as np
from tqdm import tqdm

from benchmarks.conditions import conditions, plainly, write
from ferlib import nets
from ferlib.data import fer2013
from ferlib.data.dataset import Dataset
from ferlib.data.labels import LABEL_SETS
from ferlib.evaluation import bench
from ferlib.nets.places import find_weights

SIDES = (46, 44, 42)  # of the crops; the picture has 48


def crops(pictures: np.ndarray, side: int) -> list[np.ndarray]:
    """Pictures (N, 48, 48) -> five arrays (N, side, side): their corners and middles."""
    over = pictures.shape[1] - side
    places = [*product((0, over), repeat=2), (over // 2, over // 2)]
    return [pictures[:, y : y + side, x : x + side] for y, x in places]


def answers(name: str, part: Dataset) -> dict[str, np.ndarray]:
    """What was looked at -> a net's probabilities (N, K): single ones first, then means of them."""
    net, info = nets.load(find_weights(name), precision="auto")
    pictures = np.asarray(part.pictures)

    def mean(views: list[np.ndarray]) -> np.ndarray:
        return np.mean([nets.predict(net, view, info, flip=True) for view in views], axis=0)

    found = {"the picture": nets.predict(net, pictures, info)}
    found["and its mirror image"] = mean([pictures])
    for side in tqdm(SIDES, unit="side"):
        ten = mean(crops(pictures, side))
        found[f"ten crops of {side}"] = ten
        found[f"all twelve, crops of {side}"] = (2 * found["and its mirror image"] + 10 * ten) / 12
    return found


def read(labels: str, split: str, only: str | None = None) -> dict:
    """The accuracy of each kind of looking; of one of them where `only` names it."""
    part = bench.split_of(fer2013.load(), split, labels)
    found = answers(labels, part)  # the nets that ship are called as what they learnt
    figures = {name: (each.argmax(axis=1) == part.truth).mean() for name, each in found.items()}
    shown = figures if only is None else {only: figures[only]}
    return {"n": len(part), "accuracy": {name: round(float(one), 5) for name, one in shown.items()}}


@plainly
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--test", action="store_true", help="read the test split, once")
    args = parser.parse_args()
    command = "python experiments/crops.py" + " --test" * args.test
    report = {"conditions": conditions(command, dataset="FER2013")}
    report["valid"] = {labels: read(labels, "valid") for labels in LABEL_SETS}
    if args.test:
        known = report["valid"]["fer2013"]["accuracy"]
        report["test"] = {"fer2013": read("fer2013", "test", max(known, key=known.get))}
    write("crops", report)


if __name__ == "__main__":
    main()
