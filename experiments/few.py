"""Few pictures: the features of the shipped net, frozen, against other ways to learn from twenty.

    python experiments/few.py

What docs/own-data.md tells. Faces and background from Labeled Faces in the Wild (scikit-image), ten
of each to learn from, drawn anew by each seed; and handwritten digits (scikit-learn), ten of each,
for pictures that are unlike faces. Every training has seed 0. Writes results/few.json.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from skimage.data import lfw_subset
from sklearn.datasets import load_digits

from benchmarks.conditions import conditions, plainly, write
from ferlib import nets, training
from ferlib.data.dataset import Dataset

LEARNT, JUDGED = 10, 10  # of each class; the rest is for the test
FROZEN = {"start": "ferplus", "freeze": "features"}
FACES = {
    "frozen features": FROZEN | {"epochs": 20},
    "from chance": {"epochs": 20},
    "from chance, longer": {"epochs": 60},
    "nothing frozen": {"start": "ferplus", "lr": 0.02, "epochs": 20},
}
DIGITS = {"frozen features": FROZEN | {"epochs": 40}, "from chance": {"epochs": 40}}


def faces(seed: int) -> list[Dataset]:
    """25 x 25 pictures, half of them of faces: to learn from, to judge by, and for a test."""
    pictures = (255 * lfw_subset()).astype(np.uint8)
    return drawn(pictures, np.repeat([0, 1], 100), ("face", "no face"), seed)


def digits(seed: int) -> list[Dataset]:
    """8 x 8 pictures of handwritten digits, in the same parts."""
    known = load_digits()
    pictures = (known.images * (255 / 16)).astype(np.uint8)
    return drawn(pictures, known.target, tuple("0123456789"), seed)


def drawn(pictures: np.ndarray, truth: np.ndarray, classes: tuple, seed: int) -> list[Dataset]:
    """Pictures (N, S, S) with a class each, int (N,) -> LEARNT and JUDGED of each, and the rest."""
    rng, whole = np.random.default_rng(seed), Dataset(pictures, truth, classes)
    order = [rng.permutation(np.flatnonzero(truth == k)) for k in range(len(classes))]
    ends = (0, LEARNT, LEARNT + JUDGED, None)
    return [
        whole.take(np.concatenate([rows[begin:end] for rows in order]))
        for begin, end in pairwise(ends)
    ]


def accuracy(parts: list[Dataset], how: dict) -> float:
    """Of the test, after a training on the first part."""
    learn, valid, test = parts
    recipe = training.Recipe(**{"batch_size": 10, "lr": 0.05} | how)
    net, _ = training.fit(learn, valid, recipe, progress=False)
    info = nets.Info.of(recipe.network(len(learn.classes)), learn.classes, recipe.normalisation)
    right = nets.predict(net, test.pictures, info).argmax(axis=1) == test.truth
    return round(float(right.mean()), 5)


def measured(data: Callable, ways: dict, seeds: range) -> dict:
    """Accuracy by way and seed of the draw, and how many pictures were for each part."""
    found = {"pictures": [len(part) for part in data(0)], "ways": ways, "accuracy": {}}
    for way, how in ways.items():
        found["accuracy"][way] = [accuracy(data(seed), how) for seed in seeds]
        print(way, found["accuracy"][way], flush=True)
    return found


@plainly
def main() -> None:
    known = conditions("python experiments/few.py")
    report = {
        "faces": measured(faces, FACES, range(3)),
        "digits": measured(digits, DIGITS, range(1)),
    }
    write("few", {"conditions": known} | report)


if __name__ == "__main__":
    main()
