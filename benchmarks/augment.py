"""Images/s of augmentation and normalisation beside the training step that consumes them.

    python benchmarks/augment.py [--repeat 5]

In turns, in one run: batches of 128 drawn faces are augmented and normalised, and the same number
is trained on, in the precision that training takes here and in float32. Writes
results/augment.json.
"""

import argparse
import statistics
import time
from functools import partial

import numpy as np
from conditions import conditions, spread, write

from ferlib import nets, runtime, training
from ferlib.cli import arguments
from ferlib.data import images, sample
from ferlib.data.augment import augment
from ferlib.data.dataset import Dataset

BATCH = 128


def rate(work, batches: int) -> float:
    """Images/s of calling `work` so many times."""
    started = time.perf_counter()
    for _ in range(batches):
        work()
    return batches * BATCH / (time.perf_counter() - started)


def competitors(net: str) -> dict:
    """Name -> (one call of work on a batch, how many to time)."""
    rng = np.random.default_rng(0)
    made = sample.sample((BATCH, 1, 1))
    learn = Dataset(made.pictures[:BATCH], made.votes[:BATCH])
    size, kind = nets.find(net).size, training.Recipe(net=net).normalisation

    def prepare():
        return images.normalised(augment(learn.pictures, size, rng), kind)

    works = {"augment": (prepare, 100)}
    for precision in ("auto", "float32"):
        recipe = training.Recipe(net=net, batch_size=BATCH, precision=precision)
        run = training.Run(recipe, runtime.contexts(), learn)
        targets = learn.targets(recipe.scheme)
        works[f"step_{precision}"] = partial(one_step, run, prepare(), targets), 10
    return works


def one_step(run, batch, targets) -> None:
    training.step(run, batch, targets).wait_to_read()
    runtime.import_mxnet().nd.waitall()


def measure(net: str, repeat: int) -> dict:
    works = competitors(net)
    for work, _ in works.values():
        rate(work, 3)  # compile, fill the caches
    turns = [{name: rate(*pair) for name, pair in works.items()} for _ in range(repeat)]
    medians = {name: round(statistics.median(t[name] for t in turns), 1) for name in works}
    return medians | {
        "augment_to_step": spread([t["augment"] / t["step_auto"] for t in turns]),
        "auto_to_float32": spread([t["step_auto"] / t["step_float32"] for t in turns]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeat", type=arguments.number, default=5)
    args = parser.parse_args()
    command = f"python benchmarks/augment.py --repeat {args.repeat}"
    known = conditions(command, batch=BATCH, unit="images/s, median of the turns")
    write(
        "augment",
        {"conditions": known} | {n: measure(n, args.repeat) for n in ("vgg13bn", "vgg13")},
    )


if __name__ == "__main__":
    main()
