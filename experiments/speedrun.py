"""From nothing to a net beyond the paper's, with the mirror images' answers, against the clock.

    FERLIB_DATA=... python experiments/speedrun.py [--seed 0]

The clock starts with this process: imports, reading the (cached) data, compiling and validation
count. The recipe and the mark on the validation split were fixed before the runs. The mark, for
answers averaged with those to the mirror images, is 84.99 %, the paper's best on the test split,
and the 1.2 points by which three runs of an earlier recipe read the test split worse than the
validation split (results/search.md): so the test split was read for two recipes. Only a net that
passes the mark is shown it, once, after the clock has stopped. Adds the run to
results/speedrun.json.
"""

import time

STARTED = time.perf_counter()  # before the imports

import argparse  # noqa: E402
import json  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from dataclasses import asdict  # noqa: E402
from itertools import product  # noqa: E402
from operator import itemgetter  # noqa: E402

import numpy as np  # noqa: E402

from benchmarks.conditions import conditions, plainly, result, write  # noqa: E402
from ferlib import metrics, nets, runtime, training  # noqa: E402
from ferlib.data import fer2013  # noqa: E402
from ferlib.data.augment import Augmentation  # noqa: E402
from ferlib.nets.zoo.vgg import convolution  # noqa: E402

mx = runtime.import_mxnet()
from mxnet.gluon import HybridBlock, nn  # noqa: E402  (after import_mxnet has prepared it)

MARK = 0.862
PAPER = 0.8499
TTA = ("none", "flip")
WAVES = 16  # kernels of the first layer, each with either sign
GLANCED = 256  # pictures of the validation split seen after each epoch: all of them cost a tenth
# In so few epochs nothing is learnt by heart: pictures hardly moved, none worn, did better.
GENTLE = Augmentation(rotation=8, shift=0.05, scale=1.1, shear=0, erase=0, wear=0)
# Epochs by the sides of their pictures, in pixels.
SIDES = ((8, 24), (6, 32), (6, 48))


@nets.register("sprint", size=48, any_size=True)
def sprint(net: nets.Net) -> Iterator[HybridBlock]:
    """A VGG whose first layer halves the picture; the channels fill AMX's tiles."""
    yield from waves(net.channels)
    channels = 2 * WAVES
    for count, width in ((1, 64), (2, 160), (2, 320)):
        for _ in range(count):
            yield from convolution(channels, width)
            channels = width
        if width < 320:
            yield nn.MaxPool2D(2)
    yield nn.GlobalAvgPool2D()
    yield nn.Flatten()
    yield nn.Dropout(0.2)
    yield nn.Dense(net.classes, in_units=channels)


def waves(channels: int) -> Iterator[HybridBlock]:
    """A convolution that does not learn, and a BatchNorm that makes its maps alike in strength.

    Its kernels are the slowest waves of a cosine transform, near what PCA finds in patches of
    pictures, and the same with the other sign. A step takes a tenth less time so.
    """
    half = cosines(5)[:WAVES]
    kernels = mx.nd.array(np.repeat(np.concatenate([half, -half]), channels, axis=1))
    fixed = {"use_bias": False, "weight_initializer": mx.init.Constant(kernels)}
    first = nn.Conv2D(2 * WAVES, 5, 2, 2, in_channels=channels, **fixed)
    first.weight.grad_req = "null"
    yield first
    yield nn.BatchNorm(in_channels=2 * WAVES)
    yield nn.Activation("relu")


def cosines(side: int) -> np.ndarray:
    """Kernels (side * side, 1, side, side) of length one, from the mean to the fastest wave."""
    one = [np.cos(k * np.pi * (np.arange(side) + 0.5) / side) for k in range(side)]
    pairs = sorted(product(range(side), repeat=2), key=lambda pair: (sum(pair), pair))
    both = np.stack([np.outer(one[down], one[across]) for down, across in pairs])
    return both[:, None] / np.linalg.norm(both, axis=(1, 2))[:, None, None, None]


def recipe(seed: int) -> training.Recipe:
    """Pictures that grow; a rate that falls in a line."""
    ends, epochs = np.cumsum([count for count, _ in SIDES]), sum(count for count, _ in SIDES)
    grow = tuple(
        (float(end / epochs), side / 48) for end, (_, side) in zip(ends, SIDES, strict=True)
    )
    how = {"batch_size": 256, "lr": 0.4, "schedule": "linear", "augmentation": GENTLE}
    return training.Recipe(net="sprint", epochs=epochs, seed=seed, grow=grow, **how)


def run(how: training.Recipe):
    """Train -> (data, net, log, accuracy on validation by `tta`, seconds since the start)."""
    data = fer2013.load()
    valid = data.split("valid")
    glance = valid.take(np.flatnonzero(valid.truth >= 0)[:GLANCED])
    net, log = training.fit(data.split("train", keep="usable"), glance, how)
    accuracy = {tta: measured(net, valid, how, tta).accuracy for tta in TTA}
    return data, net, log, accuracy, time.perf_counter() - STARTED


def measured(net, part, how: training.Recipe, tta: str) -> metrics.Figures:
    info = nets.Info.of(how.network(), normalise=how.normalisation)
    return metrics.measure(nets.predict(net, part.pictures, info, tta == "flip"), part)


def test(data: fer2013.Fer2013, net, how: training.Recipe) -> list[dict]:
    """The test split by both vote sources, without and with flip averaging."""
    rows = []
    for protocol in fer2013.PROTOCOLS:
        part = data.split("test", protocol)
        for tta in TTA:
            found = measured(net, part, how, tta)
            row = {"protocol": protocol, "tta": tta, "n": found.n}
            rows.append(row | {"accuracy": found.accuracy})
    return rows


def with_this(row: dict, known: dict, same: dict) -> list[dict]:
    """The recorded runs of the same recipe on the same machine, this one among them."""
    old = result("speedrun")
    default = json.loads(json.dumps(asdict(training.Recipe())))
    old["recipe"] = default | old["recipe"]  # an option may be younger than the runs
    alike = all(old["conditions"][each] == known[each] for each in ("cpu", "threads"))
    kept = old["runs"] if alike and same.items() <= old.items() else []
    others = [one for one in kept if one["seed"] != row["seed"]]
    return sorted([*others, row], key=itemgetter("seed"))


@plainly
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    known = conditions(f"python experiments/speedrun.py --seed {args.seed}")
    how = recipe(args.seed)
    data, net, log, accuracy, seconds = run(how)
    passed = accuracy["flip"] >= MARK
    row = {"seed": args.seed, "minutes": round(seconds / 60, 2), "valid_accuracy": accuracy}
    row |= {"passed": passed, "test": test(data, net, how) if passed else None, "log": log}
    settings = json.loads(json.dumps(asdict(how) | {"seed": None}))  # tuples as they are read back
    same = {"mark": MARK, "paper": PAPER, "recipe": settings}
    write("speedrun", {"conditions": known} | same | {"runs": with_this(row, known, same)})


if __name__ == "__main__":
    main()
