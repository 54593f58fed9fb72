"""Compare groups of finished nets that were trained alike but for their targets.

    FERLIB_DATA=... python experiments/compare.py NAME LABEL=PREFIX,PREFIX ... [--test] [--lengths]

A group is one way to make targets, its nets differ in their seeds. Between groups may differ the
scheme, the teacher and its views, and with `--lengths` the number of epochs; any other difference
is refused.

Each net is measured as it was trained, without bias, temperature and flip averaging, on validation
and, with `--test`, on the test split, by both vote sources. `ece_tempered` is the calibration error
after one temperature, fitted to the majorities of the validation split by fer2013new.csv; nothing
else is fitted. The test split is read because the paper's table is of it; no net, epoch or setting
is chosen by these figures.

`differences` pairs nets of the same seed, which start from the same weights: the mean gap in
validation accuracy and its standard error, for each two groups of the same length.

Writes results/NAME.json and copies the training logs to results/NAME/<net>.csv. results/README.md
shows NAMEs "schemes", "teacher" and "views" (`python experiments/pages.py`).
"""

import argparse
import json
import shlex
import shutil
import statistics
import sys
from dataclasses import asdict
from itertools import combinations, product
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.conditions import ROOT, conditions, plainly, write
from ferlib import training
from ferlib.data import fer2013
from ferlib.data.dataset import Dataset
from ferlib.errors import FerlibError
from ferlib.metrics import measure
from ferlib.nets import load, predict
from ferlib.nets.places import weight_files

# Barsoum et al. 2016 (arXiv 1608.01041): mean accuracy on the test split by label.csv.
PAPER = {"majority": 0.8385, "multi-target": 0.8397, "cross-entropy": 0.8472, "probability": 0.8499}

# What the nets may differ in.
FREE = ("seed", "scheme", "teacher", "teacher_share", "teacher_views")
MEASURED = ("accuracy", "balanced_accuracy", "loss", "kl", "ece", "ece_tempered", "confidence")


# ---------------------------------------------------------------- what is compared


def groups_of(words: list[str]) -> dict[str, list[str]]:
    """LABEL=PREFIX,PREFIX ... -> label: prefixes."""
    groups = {}
    for word in words:
        label, _, nets = word.partition("=")
        if not label or not nets or label in groups:
            raise FerlibError(f"{word!r}: expected LABEL=PREFIX,PREFIX, and each label once")
        groups[label] = nets.split(",")
    names = [Path(prefix).name for nets in groups.values() for prefix in nets]
    if len(set(names)) < len(names):
        raise FerlibError("a net is named twice, or two nets share a name")
    return groups


def trained(prefix: str) -> dict:
    """How a net came about, from its JSON."""
    path = weight_files(prefix)[2]
    try:
        return json.loads(path.read_text())["trained"]
    except FileNotFoundError:
        raise FerlibError(f"{path} is missing: is that net finished?") from None
    except (ValueError, KeyError):
        raise FerlibError(f"{path} does not say how its net was trained") from None


def recipe(how: dict) -> dict:
    """Whole, though an option be younger than the net, and with what "auto" came to."""
    default = json.loads(json.dumps(asdict(training.Recipe())))
    return default | how["recipe"] | {"precision": how["machine"]["precision"]}


def check(groups: dict[str, list[dict]], lengths: bool = False) -> None:
    """FerlibError unless the nets, by group and as `trained` gives them, have one recipe."""
    free = freed(lengths)
    first = recipe(next(iter(groups.values()))[0])
    for label, nets in groups.items():
        recipes = [recipe(how) for how in nets]
        for one in recipes:
            refuse(label, differing(first, one) - free)
            refuse(label, differing(recipes[0], one) - {"seed"})
        if len({one["seed"] for one in recipes}) < len(recipes):
            raise FerlibError(f"{label}: two nets have the same seed")


def freed(lengths: bool) -> set[str]:
    return {*FREE, "epochs"} if lengths else {*FREE}


def differing(one: dict, other: dict) -> set[str]:
    return {key for key in one | other if one.get(key) != other.get(key)}


def refuse(label: str, keys: set[str]) -> None:
    if keys:
        what = ", ".join(sorted(keys)) + (" (see --lengths)" if keys == {"epochs"} else "")
        raise FerlibError(f"{label}: not one recipe, the nets differ in {what}")


# ---------------------------------------------------------------- figures


def figures(prefix: str, data: fer2013.Fer2013, splits: list[str]) -> list[dict]:
    """Those of one net, a dict for every split and vote source."""
    net, info = load(prefix)
    info, valid = info.raw(), data.split("valid")
    logits = np.log(np.maximum(predict(net, valid.pictures, info), 1e-12))
    temperature = training.fit_temperature(logits, valid.targets("majority"))
    rows = []
    for split, protocol in product(splits, fer2013.PROTOCOLS):
        part = data.split(split, protocol)
        row = measured(predict(net, part.pictures, info), part, temperature)
        row |= {"split": split, "protocol": protocol, "temperature": temperature}
        rows.append(row)
    return rows


def measured(scores: np.ndarray, data: Dataset, temperature: float) -> dict:
    """The figures of a net's raw probabilities (N, 8) by name, those of MEASURED among them."""
    row = vars(measure(scores, data)) | {"confidence": float(scores.max(axis=1).mean())}
    return row | {"ece_tempered": measure(tempered(scores, temperature), data).ece}


def tempered(scores: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities (N, 8) -> the same with their logits divided by a temperature."""
    powers = np.maximum(scores, 1e-12) ** (1 / temperature)
    return powers / powers.sum(axis=1, keepdims=True)


def over_seeds(nets: list[list[dict]]) -> list[dict]:
    """The figures of a group in one dict for every split and vote source."""
    rows = []
    for runs in zip(*nets, strict=True):
        row = {key: runs[0][key] for key in ("split", "protocol", "n")}
        rows.append(row | {key: summary([run[key] for run in runs]) for key in MEASURED})
    return rows


def summary(values: list[float]) -> dict:
    """One value for each seed; their mean and deviation, which a single one does not have."""
    deviation = round(statistics.stdev(values), 5) if len(values) > 1 else None
    mean = round(statistics.mean(values), 5)
    return {"values": [round(value, 5) for value in values], "mean": mean, "deviation": deviation}


def group(prefixes: list[str], hows: list[dict], data, splits: list[str]) -> dict:
    """What results/NAME.json says about one group."""
    nets = [figures(prefix, data, splits) for prefix in tqdm(prefixes, unit="net", disable=None)]
    first = hows[0]["recipe"]
    known = {key: first[key] for key in ("scheme", "teacher", "teacher_share", "epochs")}
    known |= {"pictures": hows[0]["pictures"], "seeds": [how["recipe"]["seed"] for how in hows]}
    known["nets"] = {
        Path(prefix).name: {"temperature": rows[0]["temperature"], "trained": how}
        for prefix, rows, how in zip(prefixes, nets, hows, strict=True)
    }
    return known | {"figures": over_seeds(nets)}


def differences(groups: dict[str, dict]) -> list[dict]:
    """Gaps in validation accuracy, the other group's minus this one's, seed by seed."""
    rows = []
    for (label, one), (other_label, other) in combinations(groups.items(), 2):
        mine, theirs = (
            dict(zip(each["seeds"], each["figures"][0]["accuracy"]["values"], strict=True))
            for each in (one, other)
        )
        seeds = sorted(mine.keys() & theirs.keys())
        if one["epochs"] == other["epochs"] and seeds:
            row = summary([theirs[seed] - mine[seed] for seed in seeds])
            deviation = row.pop("deviation")
            error = None if deviation is None else round(deviation / len(seeds) ** 0.5, 5)
            rows.append({"from": label, "to": other_label, "seeds": seeds})
            rows[-1] |= row | {"standard_error": error}
    return rows


# ---------------------------------------------------------------- the report


def keep_logs(name: str, prefixes: list[str]) -> None:
    """Copy the nets' logs to results/NAME/; FerlibError where one is missing."""
    folder = ROOT / "results" / name
    folder.mkdir(parents=True, exist_ok=True)
    for prefix in prefixes:
        log = Path(f"{prefix}-run", "log.csv")
        if not log.is_file():
            raise FerlibError(f"{log} is missing: a net is shown with how it was trained")
        shutil.copyfile(log, folder / f"{Path(prefix).name}.csv")


def compare(name: str, groups: dict[str, list[str]], splits: list[str], lengths: bool) -> dict:
    """Check, keep the logs, measure; FerlibError when the groups are not of one recipe."""
    hows = {label: [trained(prefix) for prefix in nets] for label, nets in groups.items()}
    check(hows, lengths)
    keep_logs(name, [prefix for nets in groups.values() for prefix in nets])
    data = fer2013.load()
    first = recipe(next(iter(hows.values()))[0])
    known = {key: value for key, value in first.items() if key not in freed(lengths)}
    report = {"recipe": known}
    if len({each[0]["recipe"]["scheme"] for each in hows.values()}) > 1:
        report["paper"] = {"accuracy": PAPER}
    measured = {label: group(groups[label], hows[label], data, splits) for label in groups}
    return report | {"groups": measured, "differences": differences(measured)}


@plainly
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("name", help="the report is results/NAME.json")
    parser.add_argument("groups", nargs="+", metavar="LABEL=PREFIX,PREFIX")
    parser.add_argument("--test", action="store_true", help="read the test split as well")
    parser.add_argument("--lengths", action="store_true", help="groups may differ in their epochs")
    args = parser.parse_args()
    splits = ["valid", "test"] if args.test else ["valid"]
    command = f"python experiments/compare.py {shlex.join(sys.argv[1:])}"
    known = conditions(command, measured_in="float32")
    report = compare(args.name, groups_of(args.groups), splits, args.lengths)
    write(args.name, {"conditions": known} | report)


if __name__ == "__main__":
    main()
