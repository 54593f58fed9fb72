"""Choose the nets whose answers are averaged, on validation, and ship them.

    python experiments/ensemble.py runs/a runs/b runs/c runs/d ... [--size 3] [--test]

Of all sets of three of these finished nets, with flip averaging, the one is taken whose mean
probabilities, as trained, lie closest to the voters' shares on the validation split (by
`fer2013new.csv`). Not the one with the best accuracy: of so many sets that would mostly be the
luckiest. The net that is shipped as ferplus must be among them and stays where it is; the others
go to model_store as ferplus-2, ferplus-3. Then they are measured together, on validation and, with
`--test`, on the test split; what was read of it for other sets before is kept beside that, as
read_before. Writes results/ensemble.json and the training logs; the int8 ranges of nets that went
are gone, so `experiments/rounding.py` comes next.
"""

import argparse
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pages
from compare import keep_logs, trained
from record import check, describe, measure, ship

from benchmarks.conditions import ROOT, conditions, plainly, result, write
from ferlib import metrics, nets
from ferlib.data import fer2013
from ferlib.data.dataset import Dataset
from ferlib.errors import FerlibError
from ferlib.nets.places import weight_files

FIRST = ROOT / "model_store" / "ferplus"


def figures(scores: np.ndarray, data: Dataset) -> dict:
    found = vars(metrics.measure(scores, data))
    return {key: found[key] for key in ("accuracy", "loss", "kl", "ece")}


def answers(prefixes: list[str], data: Dataset) -> dict[str, np.ndarray]:
    """Each net's raw probabilities, with flip averaging."""
    loaded = {prefix: nets.load(prefix, precision="fused") for prefix in prefixes}
    return {
        prefix: nets.predict(net, data.pictures, info.raw(), flip=True)
        for prefix, (net, info) in loaded.items()
    }


def sets(scores: dict, data: Dataset, size: int) -> list[dict]:
    """Every set of so many nets with its figures, the closest to the voters first."""
    rows = []
    for names in combinations(scores, size):
        mean = sum(scores[name] for name in names) / size
        rows.append({"nets": [Path(name).name for name in names]} | figures(mean, data))
    return sorted(rows, key=lambda row: row["kl"])


def shipped_one(prefixes: list[str]) -> str:
    """The candidate that is shipped as ferplus already; FerlibError when it is none of them."""
    same = weight_files(FIRST)[1].read_bytes()
    for prefix in prefixes:
        if weight_files(prefix)[1].read_bytes() == same:
            return prefix
    raise FerlibError("none of these nets is model_store/ferplus: name it as well")


def together(members: list[str], splits: list[str]) -> list[dict]:
    """The figures of the average, by split, votes and flip."""
    runs = measure(members, splits)
    return [{key: value for key, value in run.items() if key != "weights"} for run in runs]


def read_before(members: list[str], again: bool) -> list[dict]:
    """All earlier looks at the test split, but one that is now done again: nothing is left out."""
    earlier = result("ensemble")
    seen = [run for run in earlier["runs"] if run["split"] == "test"]
    names = list(earlier["members"].values())
    if not seen or (again and names == members):
        return earlier["read_before"]
    return [*earlier["read_before"], {"nets": names, "runs": seen}]


def chosen(tried: list[dict], candidates: list[str], first: str) -> dict[str, str]:
    """The best set with the shipped net in it: prefix -> name in model_store."""
    best = next(row["nets"] for row in tried if Path(first).name in row["nets"])
    others = [net for net in candidates if Path(net).name in best and net != first]
    return {first: "ferplus"} | {net: f"ferplus-{at}" for at, net in enumerate(others, 2)}


@plainly
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("nets", nargs="+", metavar="PREFIX")
    parser.add_argument("--size", type=int, default=3)
    parser.add_argument("--test", action="store_true", help="read the test split as well")
    args = parser.parse_args()
    if not 1 <= args.size <= len(args.nets):
        parser.error(f"--size {args.size} of {len(args.nets)} nets")
    check(args.nets)
    names, report = recorded(args.nets, args.size, ["valid", "test"] if args.test else ["valid"])
    write("ensemble", report)
    ship_others(names)


def recorded(candidates: list[str], size: int, splits: list[str]) -> tuple[dict[str, str], dict]:
    """What is shipped under which names, and what results/ensemble.json says."""
    first = shipped_one(candidates)
    command = f"python experiments/ensemble.py {' '.join(sys.argv[1:])}"
    known = conditions(command, measured_in="float32", split="valid", tta="flip")
    valid = fer2013.load().split("valid")
    scores = answers(candidates, valid)
    tried = sets(scores, valid, size)
    names = chosen(tried, candidates, first)
    known |= {"protocol": "fer2013new.csv", "n": len(valid)}
    report = {"conditions": known, "members": {name: Path(net).name for net, name in names.items()}}
    report["single"] = {Path(net).name: figures(row, valid) for net, row in scores.items()}
    report |= {"sets": tried, "nets": {Path(net).name: trained(net) for net in names}}
    report["parameters"] = sum(describe(net)["parameters"] for net in names)
    report["read_before"] = read_before([*report["members"].values()], "test" in splits)
    return names, report | {"runs": together(list(names), splits)}


def ship_others(names: dict[str, str]) -> None:
    """All but the first, with their logs; then the pages."""
    _, *others = names
    for net in others:
        ship(net, names[net])
    keep_logs("", others)
    pages.main()


if __name__ == "__main__":
    main()
