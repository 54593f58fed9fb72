"""A training step whose last pooling is a mean beside one on oneDNN's (ferlib/training/pooling.py).

    python benchmarks/pooling.py [--turns 5]

Two processes for each net and size of pictures, with the same batch, in turns: three convolutions
with BatchNorm, whose last maps have a quarter of the picture's side. (Most of ferlib's own nets
end with 3 x 3 places, and are trained as they are.) Writes results/pooling.json.
"""

import argparse
import sys

from conditions import conditions, plainly, spread, write
from step import our_step
from turns import race, take_turns

from ferlib.cli import arguments

BATCH = 64
STEPS = 4  # a turn
NAME = "three-convolutions"
SIZES = (24, 32, 48)


def work(size: str, precision: str, kind: str) -> None:
    """The other end of `compare`: steps of training."""
    from ferlib import nets, runtime
    from ferlib.training import pooling

    runtime.import_mxnet()
    from mxnet.gluon import nn

    @nets.register(NAME, size=48)
    def small(net):
        channels = net.channels
        for width, stride in ((16, 2), (32, 2), (64, 1)):
            yield nn.Conv2D(width, 3, stride, 1, in_channels=channels, use_bias=False)
            yield nn.BatchNorm(in_channels=width)
            yield nn.Activation("relu")
            channels = width
        yield nn.GlobalAvgPool2D()
        yield nn.Flatten()
        yield nn.Dense(net.classes, in_units=channels)

    if kind == "onednn":
        pooling.QUICK = 10**6
    take_turns(our_step(NAME, precision, BATCH, int(size), on_cpu=True))


def compare(size: int, precision: str, turns: int) -> dict:
    """Milliseconds a step, and how many times as quick the one with a mean is, turn by turn."""
    command = [sys.executable, __file__, "--work", size, precision]
    seconds = race(command, ["mean", "onednn"], str(STEPS), turns)
    best = [round(1000 * min(each) / STEPS, 1) for each in zip(*seconds, strict=True)]
    ratio = spread([theirs / ours for ours, theirs in seconds])
    known = {"size": size, "precision": precision}
    return known | {"mean_ms": best[0], "onednn_ms": best[1], "times": ratio}


@plainly
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=arguments.number, default=5)
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        return work(*args.work)
    from ferlib import runtime

    kinds = ["float32", *(["bfloat16"] if runtime.fast_bfloat16() else [])]
    known = conditions(f"python benchmarks/pooling.py --turns {args.turns}", batch=BATCH)
    rows = [compare(size, kind, args.turns) for size in SIZES for kind in kinds]
    write("pooling", {"conditions": known, "rows": rows})


if __name__ == "__main__":
    main()
