"""Choose the nets whose answers are averaged, on validation, and ship them.

    python benchmarks/ensemble.py runs/a runs/b runs/c runs/d ... [--size 3] [--test]

Of all sets of three of these finished nets, with flip averaging, the one is taken whose mean
probabilities, as trained, lie closest to the voters' shares on the validation split (by
`fer2013new.csv`). Not the one with the best accuracy: of so many sets that would mostly be the
luckiest. The net that is shipped as ferplus must be among them and stays where it is; the others
go to model_store as ferplus-2, ferplus-3. Then they are measured together, on validation and, with
`--test`, on the test split; what was read of it for other sets before is kept beside that, as
read_before. Writes results/ensemble.json and the training logs; the int8 ranges of
nets that went are gone, so `benchmarks/rounding.py` comes next.
"""

import argparse
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pages
from compare import keep_logs, trained
from conditions import ROOT, conditions, plainly, write
from record import check, describe, measure, ship

from ferlib import evaluate as evaluating
from ferlib import fer2013, models
from ferlib.errors import FerlibError

FIRST = ROOT / "model_store" / "ferplus"


def figures(scores: np.ndarray, votes: np.ndarray) -> dict:
    found = evaluating.measure(scores, votes)
    return {key: found[key] for key in ("accuracy", "loss", "kl", "ece")}


def answers(prefixes: list[str]) -> tuple[dict, np.ndarray]:
    """Each net's raw probabilities on validation, with flip averaging, and the votes."""
    pictures, votes, _ = fer2013.load().split("valid")
    nets = {prefix: models.load_weights(prefix, precision="fused") for prefix in prefixes}
    return {
        prefix: models.predict(net, pictures, info | models.RAW, flip=True)
        for prefix, (net, info) in nets.items()
    }, votes


def sets(scores: dict, votes: np.ndarray, size: int) -> list[dict]:
    """Every set of so many nets with its figures, the closest to the voters first."""
    rows = []
    for nets in combinations(scores, size):
        mean = sum(scores[net] for net in nets) / size
        rows.append({"nets": [Path(net).name for net in nets]} | figures(mean, votes))
    return sorted(rows, key=lambda row: row["kl"])


def shipped_one(prefixes: list[str]) -> str:
    """The candidate that is shipped as ferplus already; FerlibError when it is none of them."""
    same = models.weight_files(FIRST)[1].read_bytes()
    for prefix in prefixes:
        if models.weight_files(prefix)[1].read_bytes() == same:
            return prefix
    raise FerlibError("none of these nets is model_store/ferplus: name it as well")


def together(members: list[str], splits: list[str]) -> list[dict]:
    """The figures of the average, by split, votes and flip."""
    runs = measure(members, splits)
    return [{key: value for key, value in run.items() if key != "weights"} for run in runs]


def read_before(members: list[str], again: bool) -> list[dict]:
    """All earlier looks at the test split, but one that is now done again: nothing is left out."""
    earlier = pages.result("ensemble")
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
    first = shipped_one(args.nets)
    command = f"python benchmarks/ensemble.py {' '.join(sys.argv[1:])}"
    known = conditions(command, measured_in="float32", split="valid", tta="flip")
    scores, votes = answers(args.nets)
    tried = sets(scores, votes, args.size)
    names = chosen(tried, args.nets, first)
    known |= {"protocol": "fer2013new.csv", "n": len(votes)}
    report = {"conditions": known, "members": {name: Path(net).name for net, name in names.items()}}
    report["single"] = {Path(net).name: figures(row, votes) for net, row in scores.items()}
    report |= {"sets": tried, "nets": {Path(net).name: trained(net) for net in names}}
    report["parameters"] = sum(describe(net)["parameters"] for net in names)
    report["read_before"] = read_before([*report["members"].values()], args.test)
    report["runs"] = together(list(names), ["valid", "test"] if args.test else ["valid"])
    write("ensemble", report)
    ship_others(names)


def ship_others(names: dict[str, str]) -> None:
    """All but the first, with their logs; then the pages."""
    _, *others = names
    for net in others:
        ship(net, names[net])
    keep_logs("", others)
    pages.main()


if __name__ == "__main__":
    main()
