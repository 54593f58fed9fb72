"""A step that learns the last layers only, `--freeze features`, beside one that learns them all.

    OMP_NUM_THREADS=1 python benchmarks/freeze.py [--turns 5]

Both start from the shipped net and draw their pictures' changes as a training does; a process each,
in turns, for small and for usual batches. Writes results/freeze.json.
"""

import argparse
import itertools
import sys

import numpy as np
from conditions import conditions, plainly, spread, write
from turns import race, take_turns

from ferlib.cli import arguments

BATCHES = (10, 32, 128)
PICTURES = 640  # a turn


def work(size: int, freeze: str) -> None:
    """The other end of `compare`: steps of training."""
    from ferlib import training
    from ferlib.data import fer2013
    from ferlib.runtime import contexts
    from ferlib.training.batches import batch
    from ferlib.training.loop import Run, step

    learn = fer2013.load_or_sample().split("train", keep="usable")
    recipe = training.Recipe(start="ferplus", freeze=freeze, batch_size=size, grow=())
    run = Run(recipe, contexts(), learn)
    numbers = itertools.count()

    def one() -> None:
        number = next(numbers)
        rows = (np.arange(size) + size * number) % len(learn)
        made = batch(run.pictures, rows, recipe, 1, number)
        step(run, made, learn.targets(recipe.scheme)[rows]).wait_to_read()

    take_turns(one)


def compare(size: int, turns: int) -> dict:
    """Milliseconds a step, and the share of its time that is left, turn by turn."""
    command, steps = [sys.executable, __file__, "--work", size], PICTURES // size
    seconds = race(command, ["features", ""], str(steps), turns)
    best = [round(1000 * min(each) / steps, 1) for each in zip(*seconds, strict=True)]
    share = spread([ours / theirs for ours, theirs in seconds])
    return {"batch": size, "frozen_ms": best[0], "whole_ms": best[1], "share": share}


@plainly
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=arguments.number, default=5)
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        return work(int(args.work[0]), args.work[1])
    known = conditions(f"python benchmarks/freeze.py --turns {args.turns}")
    write("freeze", {"conditions": known, "rows": [compare(size, args.turns) for size in BATCHES]})


if __name__ == "__main__":
    main()
