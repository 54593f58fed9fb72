"""A training step on woven small maps beside one on plain maps (ferlib/training/weaving.py).

    python benchmarks/weaving.py [--turns 5]

Two processes for each net and size of pictures, with the same batch, in turns. Writes
results/weaving.json.
"""

import argparse
import sys

from conditions import conditions, plainly, spread, write
from step import our_step
from turns import race, take_turns

from ferlib.cli import arguments

BATCH = 64
STEPS = 4  # a turn
NETS = [("vgg13lean", size) for size in (24, 32, 40, 48)]
NETS += [(name, 48) for name in ("resnet18", "resnet34", "vgg19", "googlenet", "densenet121")]


def work(name: str, size: str, kind: str) -> None:
    """The other end of `compare`: steps of training."""
    from ferlib.training import weaving

    if kind == "plain":
        weaving.SMALL = 0
    take_turns(our_step(name, "bfloat16", BATCH, int(size), on_cpu=True))


def compare(name: str, size: int, turns: int) -> dict:
    """Milliseconds a step, and how many times as quick the woven one is, turn by turn."""
    command = [sys.executable, __file__, "--work", name, size]
    seconds = race(command, ["woven", "plain"], str(STEPS), turns)
    best = [round(1000 * min(each) / STEPS) for each in zip(*seconds, strict=True)]
    ratio = spread([theirs / ours for ours, theirs in seconds])
    return {"net": name, "size": size, "woven_ms": best[0], "plain_ms": best[1], "times": ratio}


@plainly
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=arguments.number, default=5)
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        return work(*args.work)
    from ferlib import runtime

    if not runtime.amx():
        raise SystemExit("weaving: this CPU has no AMX, so nothing is woven on it")
    known = conditions(f"python benchmarks/weaving.py --turns {args.turns}", batch=BATCH)
    rows = [compare(name, size, args.turns) for name, size in NETS]
    write("weaving", {"conditions": known, "rows": rows})


if __name__ == "__main__":
    main()
