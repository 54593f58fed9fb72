"""From nothing to a net beyond the paper's, against the clock.

    FERLIB_DATA=... python experiments/speedrun.py [--seed 0]

The clock starts with this process: imports, reading the (cached) data and compiling count. The
recipe and the mark on the validation split were fixed before the run; the mark is 84.99 %, the
paper's best on the test split, and the 0.8 points by which an earlier shipped net read its test
split worse than its validation split. Only a net that passes the mark is shown the test split,
once, after the clock has stopped. Writes results/speedrun.json with the whole log.
"""

import time

STARTED = time.perf_counter()  # before the imports

import argparse  # noqa: E402
from dataclasses import asdict  # noqa: E402

from benchmarks.conditions import conditions, plainly, write  # noqa: E402
from ferlib import metrics, nets, runtime, training  # noqa: E402
from ferlib.data import fer2013  # noqa: E402
from ferlib.data.augment import Augmentation  # noqa: E402

MARK = 0.858
PAPER = 0.8499
EPOCHS = 14
# Twelve epochs did better with gentler pictures, one seed (results/search.md).
GENTLE = Augmentation(rotation=12, shift=0.07, scale=1.15, shear=0.05, erase=0, wear=0)


def run(recipe: training.Recipe):
    """Train -> (data, net, log, seconds since the process began)."""
    data = fer2013.load()
    net, log = training.fit(data.split("train", keep="usable"), data.split("valid"), recipe)
    runtime.import_mxnet().nd.waitall()
    return data, net, log, time.perf_counter() - STARTED


@plainly
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    known = conditions(f"python experiments/speedrun.py --seed {args.seed}")
    recipe = training.Recipe(epochs=EPOCHS, seed=args.seed, augmentation=GENTLE)
    data, net, log, seconds = run(recipe)
    passed = log[-1]["valid_accuracy"] >= MARK
    report = {"conditions": known, "recipe": asdict(recipe), "mark": MARK, "passed": passed}
    report |= {"minutes": round(seconds / 60, 2), "valid_accuracy": log[-1]["valid_accuracy"]}
    report |= {"paper": PAPER, "test": test(data, net, recipe) if passed else None, "log": log}
    write("speedrun", report)


def test(data: fer2013.Fer2013, net, recipe: training.Recipe) -> list[dict]:
    """The test split by both vote sources, without and with flip averaging."""
    info, rows = nets.Info.of(recipe.network(), normalise=recipe.normalisation), []
    for protocol in fer2013.PROTOCOLS:
        part = data.split("test", protocol)
        for flip in (False, True):
            found = metrics.measure(nets.predict(net, part.pictures, info, flip), part)
            row = {"protocol": protocol, "tta": "flip" if flip else "none"}
            rows.append(row | {"n": found.n, "accuracy": found.accuracy})
    return rows


if __name__ == "__main__":
    main()
