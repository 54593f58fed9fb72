"""Does it pay to prepare pictures in threads, beside the training step, on this CPU?

    python benchmarks/workers.py [--turns 5] [--nets vgg13lean vgg-tiny] [--pictures 3000]

Trains on drawn faces at full size, as `ferlib train` does. Epochs take turns with no thread, one
and two (`ferlib.training.batches.workers_for`), so that what else the machine does hits all alike;
each turn's ratio is to its own epoch without threads. Writes results/workers.json.
"""

import argparse
import statistics

from conditions import conditions, plainly, spread, write

from ferlib import training
from ferlib.cli import arguments
from ferlib.data import fer2013
from ferlib.data.dataset import Dataset
from ferlib.training import batches

WORKERS = (0, 1, 2)


class Turns(training.Callback):
    """Lets each epoch of a training have its number of threads, and keeps its images/s."""

    def __init__(self):
        self.rates: dict[int, list[float]] = {count: [] for count in WORKERS}
        self._now = WORKERS[0]

    def workers_for(self, _ctx) -> int:
        """In place of `batches.workers_for`."""
        return self._now

    def on_epoch(self, run, row) -> None:
        self.rates[self._now].append(row["images_per_s"])
        self._now = WORKERS[len(run.log) % len(WORKERS)]


def measure(net: str, turns: int, learn: Dataset, valid: Dataset) -> dict:
    """Images/s by number of threads, and the ratio of each to none."""
    told, usual = Turns(), batches.workers_for
    epochs = (turns + 1) * len(WORKERS)  # the first turn compiles and fills the caches
    recipe = training.Recipe(net=net, epochs=epochs, grow=())
    batches.workers_for = told.workers_for
    try:
        training.fit(learn, valid, recipe, callbacks=[told], progress=False)
    finally:
        batches.workers_for = usual
    return {"batch": recipe.batch_size, "pictures": len(learn)} | figures(told.rates)


def figures(rates: dict[int, list[float]]) -> dict:
    """What the report says of the rates of every turn, without the first."""
    rates = {count: each[1:] for count, each in rates.items()}
    alone = rates.pop(0)
    medians = {count: round(statistics.median(each), 1) for count, each in rates.items()}
    return {
        "images_per_s": {0: round(statistics.median(alone), 1)} | medians,
        "to_none": {
            count: spread([a / b for a, b in zip(each, alone, strict=True)])
            for count, each in rates.items()
        },
    }


@plainly
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=arguments.number, default=5)
    parser.add_argument("--nets", nargs="+", default=["vgg13lean", "vgg-tiny"], metavar="NAME")
    parser.add_argument(
        "--pictures", type=arguments.number, default=3000, help="drawn faces to train on"
    )
    args = parser.parse_args()
    command = f"python benchmarks/workers.py --turns {args.turns} --nets {' '.join(args.nets)}"
    known = conditions(f"{command} --pictures {args.pictures}", unit="images/s, median of turns")
    faces = fer2013.sample_data()
    learn, valid = faces.split("train", keep="usable"), faces.split("valid")
    learn = learn.take(range(min(args.pictures, len(learn))))
    write(
        "workers",
        {"conditions": known} | {net: measure(net, args.turns, learn, valid) for net in args.nets},
    )


if __name__ == "__main__":
    main()
