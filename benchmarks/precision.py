"""Does bfloat16 learn what float32 learns? Loss curves of both, over several seeds.

    FERLIB_DATA=... python benchmarks/precision.py [--net vgg13lean] [--steps 120] [--seeds 3]

The same steps (pictures, augmentation, dropout, learning rates) in both precisions, one run for
each seed. Writes results/precision.json: the mean training loss in windows of 20 steps, the spread
between float32's seeds, and how far bfloat16's mean curve is from float32's. Takes drawn faces
where the real data is not at hand.
"""

import argparse

import numpy as np
from conditions import conditions, write

from ferlib import runtime, training
from ferlib.cli import arguments
from ferlib.data import fer2013, images
from ferlib.data.augment import augment
from ferlib.data.dataset import Dataset

WINDOW = 20


def curve(net: str, precision: str, seed: int, steps: int, learn: Dataset) -> list[float]:
    """Train for some steps of a one-epoch recipe -> the mean loss of each window."""
    recipe = training.Recipe(net=net, precision=precision, seed=seed, epochs=1)
    run = training.Run(recipe, runtime.contexts(), learn)
    rng = np.random.default_rng(seed)
    runtime.import_mxnet().random.seed(seed)
    targets, size = learn.targets(recipe.scheme), recipe.network().size
    losses = []
    for at in range(steps):
        rows = rng.choice(len(learn), recipe.batch_size, replace=False)
        batch = augment(learn.pictures[rows], size, rng, recipe.augmentation)
        run.trainer.set_learning_rate(recipe.rate(at, steps))
        loss = training.step(run, images.normalised(batch, recipe.normalisation), targets[rows])
        losses.append(float(loss.asscalar()) / recipe.batch_size)
    return np.reshape(losses, (-1, WINDOW)).mean(axis=1).round(4).tolist()


def compare(net: str, seeds: int, steps: int) -> dict:
    learn = fer2013.load_or_sample().split("train", keep="usable")
    curves = {"float32": [], "bfloat16": []}
    for seed in range(seeds):
        for precision, each in curves.items():
            each.append(curve(net, precision, seed, steps, learn))
            print(f"seed {seed}, {precision}: {each[-1]}", flush=True)
    full, half = (np.array(each) for each in curves.values())
    return {
        "net": net,
        "window": WINDOW,
        "curves": curves,
        "float32_seed_range": np.ptp(full, axis=0).round(4).tolist(),
        "float32_seed_deviation": full.std(axis=0, ddof=1).round(4).tolist(),
        "mean_difference": (half.mean(axis=0) - full.mean(axis=0)).round(4).tolist(),
        "last_window_same_seed": (half - full)[:, -1].round(4).tolist(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--net", default="vgg13lean")
    parser.add_argument("--steps", type=arguments.number, default=120)
    parser.add_argument("--seeds", type=arguments.number, default=3)
    args = parser.parse_args()
    if args.steps < WINDOW or args.steps % WINDOW:
        parser.error(f"--steps {args.steps} is not a multiple of {WINDOW}")
    if args.seeds < 2:
        parser.error("--seeds: expected 2 or more, for their deviation")
    command = f"python benchmarks/precision.py --net {args.net} --steps {args.steps}"
    known = conditions(f"{command} --seeds {args.seeds}")
    write("precision", {"conditions": known} | compare(args.net, args.seeds, args.steps))


if __name__ == "__main__":
    main()
