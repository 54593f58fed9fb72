"""Measure finished nets once, ship the best, and keep the figures where the pages read them.

    python benchmarks/record.py runs/a runs/b runs/c [--clean runs/d] [--name ferplus] [--test]

The nets a, b and c have different seeds, and mostly one recipe (README.md says where they have not,
as in the third round): their mean and spread are recorded, and the one with the best accuracy on validation (by `fer2013new.csv`) goes to model_store/NAME. d, if
given, was trained without the pictures that also occur in validation or test. Read are validation
and, with `--test`, the test split, by both vote sources, without and with flip averaging. Writes
results/NAME.json, the training logs as results/<net>.csv (those of the nets that these went on
from, too), and the tables of README.md and model_store/README.md.
"""

import argparse
import shutil
import sys
from itertools import product
from pathlib import Path

import pages
from compare import keep_logs, summary, trained
from conditions import ROOT, conditions, plainly, write

from ferlib import evaluate, fer2013, int8, models
from ferlib.errors import FerlibError


def measure(weights: str, splits: list[str]) -> list[dict]:
    """One dict for every split, vote source and kind of averaging."""
    return [
        evaluate.evaluate(weights, split, protocol, flip=flip, precision="float32")
        for split, protocol in product(splits, fer2013.PROTOCOLS)
        for flip in (False, True)
    ]


def add_raw(weights: str, runs: list[dict]) -> None:
    """What the figures without flip were before bias and temperature."""
    for run in runs[::2]:
        raw = evaluate.evaluate(
            weights, run["split"], run["protocol"], raw=True, precision="float32"
        )
        keys = ("accuracy", "balanced_accuracy", "loss", "kl", "ece")
        run["raw"] = {key: raw[key] for key in keys}


def brief(runs: list[dict]) -> list[dict]:
    keys = ("split", "protocol", "tta", "n", "accuracy", "balanced_accuracy")
    return [{key: run[key] for key in keys} for run in runs]


def over_seeds(nets: list[list[dict]]) -> list[dict]:
    """The accuracies of several nets in one dict for every split, vote source and averaging."""
    rows = []
    for runs in zip(*nets, strict=True):
        found = summary([run["accuracy"] for run in runs])
        row = {key: runs[0][key] for key in ("split", "protocol", "tta", "n")}
        rows.append(row | {"accuracies": found.pop("values")} | found)
    return rows


@plainly
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("nets", nargs="+", metavar="PREFIX", help="several seeds")
    parser.add_argument("--clean", metavar="PREFIX", help="without duplicates")
    parser.add_argument("--name", default="ferplus", help="what ships is called so")
    parser.add_argument("--test", action="store_true", help="read the test split as well")
    args = parser.parse_args()
    learnt = [*args.nets, *filter(None, [args.clean])]
    learnt += sorted({start for prefix in args.nets for start in starts(prefix)} - {*learnt})
    check(learnt)
    splits = ["valid", "test"] if args.test else ["valid"]
    command = f"python benchmarks/record.py {' '.join(sys.argv[1:])}"
    known = conditions(command, dataset="FER2013 with the FER+ votes")
    nets = {prefix: measure(prefix, splits) for prefix in args.nets}
    best = max(args.nets, key=lambda prefix: nets[prefix][0]["accuracy"])
    add_raw(best, nets[best])
    report = {"name": args.name} | describe(best) | {"measured": known, "runs": nets[best]}
    report["shipped"] = Path(best).name
    report["seeds"] = over_seeds(list(nets.values()))
    report["trained_seeds"] = {Path(prefix).name: trained(prefix) for prefix in nets}
    report["started_from"] = [trained(start) for start in starts(best)]
    if args.clean:
        report["without_duplicates"] = without_duplicates(args.clean, splits, report["trained"])
    write(args.name, report)
    ship(best, args.name)
    keep_logs("", learnt)
    pages.main()


def starts(prefix: str) -> list[str]:
    """The nets that this one went on from, the latest first."""
    found = []
    while (prefix := trained(prefix)["recipe"].get("start")) and prefix not in found:
        found.append(prefix)
    return found


def ship(prefix: str, name: str) -> None:
    targets = models.weight_files(ROOT / "model_store" / name)
    for source, target in zip(models.weight_files(prefix), targets, strict=True):
        shutil.copyfile(source, target)
    int8.file(ROOT / "model_store" / name).unlink(missing_ok=True)  # that of other weights


def check(prefixes: list[str]) -> None:
    """FerlibError before hours of measuring, unless nets have their own names, JSONs and logs."""
    if len({Path(prefix).name for prefix in prefixes}) < len(prefixes):
        raise FerlibError("a net is named twice, or two nets share a name")
    for prefix in prefixes:
        trained(prefix)
        if not Path(f"{prefix}-run/log.csv").is_file():
            raise FerlibError(f"{prefix}-run/log.csv is missing: a net ships with how it learnt")


def without_duplicates(prefix: str, splits: list[str], all_of_them: dict) -> dict:
    how = trained(prefix)
    left_out = all_of_them["pictures"] - how["pictures"]
    return {"left_out": left_out, "trained": how, "runs": brief(measure(prefix, splits))}


def describe(prefix: str) -> dict:
    net, info = models.load_weights(prefix)
    report = {"network": info["network"], "parameters": models.parameters(net)}
    return report | {key: info[key] for key in ("trained", "temperature", "bias")}


if __name__ == "__main__":
    main()
