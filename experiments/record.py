"""Measure finished nets once, ship the best, and keep the figures for the results page.

    python experiments/record.py runs/a runs/b runs/c [--clean runs/d] [--name ferplus] [--test]

The nets a, b and c have different seeds, and mostly one recipe (results/README.md says where they
have not, as in the third round): their mean and spread are recorded, and the one with the best
accuracy on validation (by `fer2013new.csv`) goes to model_store/NAME. d, if given, was trained
without the pictures that also occur in validation or test. Read are validation and, with `--test`,
the test split, by both vote sources, without and with flip averaging. Writes results/NAME.json, the
training logs as results/<net>.csv (those of the nets that these went on from, too), and
results/README.md.
"""

import argparse
import shutil
import sys
from dataclasses import asdict
from itertools import product
from pathlib import Path

import pages
from compare import keep_logs, summary, trained

from benchmarks.conditions import ROOT, conditions, plainly, write
from ferlib.data import fer2013
from ferlib.errors import FerlibError
from ferlib.evaluation import evaluate
from ferlib.files import whole_files
from ferlib.nets import load, parameters
from ferlib.nets.places import int8_file, weight_files

MEASURED = ("accuracy", "balanced_accuracy", "loss", "kl", "ece")
KEPT = ("weights", "split", "protocol", "tta", "precision", "n", *MEASURED)
KEPT += ("per_emotion", "confusion", "agreement")


def measure(weights: str | list[str], splits: list[str]) -> list[dict]:
    """One dict for every split, vote source and kind of averaging."""
    data, how = fer2013.load(), {"precision": "float32"}
    rows = []
    for split, protocol in product(splits, fer2013.PROTOCOLS):
        part = data.split(split, protocol)
        for flip in (False, True):
            found = evaluate(part, weights, "crop", flip=flip, **how).as_dict()
            rows.append({key: found[key] for key in KEPT})
    return rows


def add_raw(weights: str, runs: list[dict]) -> None:
    """What the figures without flip were before bias and temperature."""
    data = fer2013.load()
    for run in runs[::2]:
        part = data.split(run["split"], run["protocol"])
        raw = vars(evaluate(part, weights, "crop", raw=True, precision="float32"))
        run["raw"] = {key: raw[key] for key in MEASURED}


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
    args = arguments()
    learnt = [*args.nets, *filter(None, [args.clean])]
    learnt += sorted({start for prefix in args.nets for start in starts(prefix)} - {*learnt})
    check(learnt)
    best, report = recorded(args, ["valid", "test"] if args.test else ["valid"])
    write(args.name, report)
    ship(best, args.name)
    keep_logs("", learnt)
    pages.main()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("nets", nargs="+", metavar="PREFIX", help="several seeds")
    parser.add_argument("--clean", metavar="PREFIX", help="without duplicates")
    parser.add_argument("--name", default="ferplus", help="what ships is called so")
    parser.add_argument("--test", action="store_true", help="read the test split as well")
    return parser.parse_args()


def recorded(args: argparse.Namespace, splits: list[str]) -> tuple[str, dict]:
    """The best net's prefix, and what results/NAME.json says."""
    command = f"python experiments/record.py {' '.join(sys.argv[1:])}"
    known = conditions(command, dataset="FER2013 with the FER+ votes")
    found = {prefix: measure(prefix, splits) for prefix in args.nets}
    best = max(args.nets, key=lambda prefix: found[prefix][0]["accuracy"])
    add_raw(best, found[best])
    report = {"name": args.name} | describe(best) | {"measured": known, "runs": found[best]}
    report["shipped"] = Path(best).name
    report["seeds"] = over_seeds(list(found.values()))
    report["trained_seeds"] = {Path(prefix).name: trained(prefix) for prefix in found}
    report["started_from"] = [trained(start) for start in starts(best)]
    if args.clean:
        report["without_duplicates"] = without_duplicates(args.clean, splits, report["trained"])
    return best, report


def starts(prefix: str) -> list[str]:
    """The nets that this one went on from, the latest first."""
    found = []
    while (prefix := trained(prefix)["recipe"].get("start")) and prefix not in found:
        found.append(prefix)
    return found


def ship(prefix: str, name: str) -> None:
    with whole_files(*weight_files(ROOT / "model_store" / name)) as targets:
        for source, target in zip(weight_files(prefix), targets, strict=True):
            shutil.copyfile(source, target)
    int8_file(ROOT / "model_store" / name).unlink(missing_ok=True)  # that of other weights


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
    net, info = load(prefix)
    known = asdict(info)
    report = {"network": info.network, "parameters": parameters(net)}
    return report | {key: known[key] for key in ("trained", "temperature", "bias")}


if __name__ == "__main__":
    main()
