"""Images/s of augmentation and normalisation beside the training step that consumes them.

    python benchmarks/augment.py [--repeat 5]

In turns, in one run: batches of 128 drawn faces are augmented and normalised, and the same number
is trained on. Writes results/augment.json.
"""

import argparse
import statistics
import time

import numpy as np
from conditions import conditions, write

from ferlib import images, labels, models, runtime, sample, train

BATCH = 128


def rate(work, batches: int) -> float:
    """Images/s of calling `work` so many times."""
    started = time.perf_counter()
    for _ in range(batches):
        work()
    return batches * BATCH / (time.perf_counter() - started)


def competitors(net: str) -> dict:
    """Name -> (one call of work on a batch, how many to time)."""
    mx = runtime.import_mxnet()
    recipe, rng = train.Recipe(net=net, batch_size=BATCH), np.random.default_rng(0)
    made = sample.sample((BATCH, 1, 1))
    pictures, votes = made.pictures[:BATCH], made.votes[:BATCH]
    size, run = models.spec(net).size, train._Run(recipe, runtime.contexts())
    batch = images.prepare(pictures, size, recipe.normalisation)
    targets = labels.targets(votes, recipe.scheme)

    def prepare():
        augmented = images.augment(pictures, size, rng, recipe.augmentation)
        return images.normalised(augmented, recipe.normalisation)

    def step():
        train._step(run, batch, targets).wait_to_read()
        mx.nd.waitall()

    return {"augment": (prepare, 100), "train_step": (step, 10)}


def measure(net: str, repeat: int) -> dict:
    works = competitors(net)
    for work, _ in works.values():
        rate(work, 3)  # compile, fill the caches
    turns = [{name: rate(*pair) for name, pair in works.items()} for _ in range(repeat)]
    medians = {name: round(statistics.median(t[name] for t in turns), 1) for name in works}
    ratios = [turn["augment"] / turn["train_step"] for turn in turns]
    extremes = [round(min(ratios), 1), round(max(ratios), 1)]
    return medians | {"ratio": round(statistics.median(ratios), 1), "ratio_range": extremes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args()
    command = f"python benchmarks/augment.py --repeat {args.repeat}"
    known = conditions(command, batch=BATCH, unit="images/s, median of the turns")
    write(
        "augment",
        {"conditions": known} | {n: measure(n, args.repeat) for n in ("vgg13bn", "vgg13")},
    )


if __name__ == "__main__":
    main()
