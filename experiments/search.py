"""Search for settings on FER+, then hold the best against the recipe as it is over three seeds.

    FERLIB_DATA=... OMP_NUM_THREADS=1 python experiments/search.py
    FERLIB_DATA=... OMP_NUM_THREADS=1 python experiments/search.py --confirm [--epochs 12]

The search is `ferlib tune`'s, of the default net in short trainings on all of the training split,
and can be killed and gone on with. `--confirm` trains with other seeds than the search's, whose
luck the best has had, and may take more epochs; finished nets are not trained again. Only the
validation split is read, by both: it has chosen the best, so a gain on it is at most that.

Writes results/tune.json: `--confirm` adds to it. results/tune/ keeps the logs of its nets.
"""

import argparse
import math
from dataclasses import asdict, replace
from pathlib import Path

import compare

from benchmarks.conditions import conditions, plainly, result, write
from ferlib import training
from ferlib.data import fer2013
from ferlib.data.sources import to_train
from ferlib.errors import FerlibError
from ferlib.nets.places import weight_files
from ferlib.training import settings

EPOCHS, TRIALS, MINUTES = 5, 24, 90.0
SEEDS = (1, 2, 3)
# Eight settings, for so few trials. Not `wear`, which is there for worse pictures than these.
SPACE = {
    "lr": {"low": 0.03, "high": 0.8, "log": True},
    "batch_size": [64, 128, 256],
    "weight_decay": {"low": 1e-4, "high": 2e-3, "log": True},
    "smoothing": {"low": 0, "high": 0.15},
    "mixup": {"low": 0, "high": 0.4},
    "augmentation.rotation": {"low": 0, "high": 30},
    "augmentation.scale": {"low": 1, "high": 1.35},
    "augmentation.erase": {"low": 0, "high": 0.5},
}


def search(folder: Path, recipe: training.Recipe, trials: int, minutes: float) -> dict:
    """The search as results/tune.json tells it."""
    learn, valid = to_train(fer2013.load())
    found = training.tune(learn, valid, recipe, SPACE, trials, folder, minutes=minutes)
    shares, chance = found.importances()
    rows = [{key: told(value) for key, value in row.items()} for row in found.rows]
    report = {"net": recipe.net, "epochs": recipe.epochs, "pictures": len(learn)}
    report |= {
        "split": "valid",
        "protocol": fer2013.PROTOCOLS[0],
        "n": int((valid.truth >= 0).sum()),
    }
    report |= {"recipe": asdict(recipe), "space": found.space, "figure": found.figure}
    report |= {"best": found.best, "importances": shares, "by_chance": told(chance)}
    return report | {"trials": rows}


def told(value):
    """JSON has no nan."""
    return None if isinstance(value, float) and math.isnan(value) else value


def confirm(folder: Path, found: dict, epochs: int, command: str = "") -> dict:
    """The recipe as it is and with the best settings, trained by each of SEEDS, and compared."""
    data = fer2013.load()
    default = training.Recipe(net=found["net"], epochs=epochs)
    recipes = {"default": default, "best": settings.changed(default, found["best"]["settings"])}
    groups = {}
    for label, recipe in recipes.items():
        nets = {seed: f"{folder}/{label}-{epochs}-seed{seed}" for seed in SEEDS}
        for seed, prefix in nets.items():
            mine = replace(recipe, seed=seed)
            if not weight_files(prefix)[2].exists():
                training.train_to(prefix, *to_train(data), mine, command=command)
            elif training.read_recipe(f"{prefix}.json") != mine:
                raise FerlibError(f"{prefix} was trained by another recipe: remove it")
        prefixes = list(nets.values())
        compare.keep_logs("tune", prefixes)
        hows = [compare.trained(prefix) for prefix in prefixes]
        groups[label] = compare.group(prefixes, hows, data, ["valid"])
    return {"epochs": epochs, "groups": groups, "differences": compare.differences(groups)}


@plainly
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--confirm", action="store_true", help="the best over three seeds")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of each training")
    parser.add_argument("--trials", type=int, default=TRIALS, help="in all")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="then no trial begins")
    parser.add_argument("--out", type=Path, default=Path("runs/search"))
    args = parser.parse_args()
    command = f"python experiments/search.py --epochs {args.epochs}"
    if args.confirm:
        command += " --confirm"
        known, found = conditions(command, measured_in="float32"), result("tune")
        done = confirm(args.out, found, args.epochs, command)
        write("tune", found | {"confirmed": {"conditions": known} | done})
        return
    command += f" --trials {args.trials} --minutes {args.minutes:g}"
    known = conditions(command)
    recipe = training.Recipe(epochs=args.epochs)
    write("tune", {"conditions": known} | search(args.out, recipe, args.trials, args.minutes))


if __name__ == "__main__":
    main()
