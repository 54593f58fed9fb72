"""Gather finished rows of the bench in results/bench.json, and write its page and figures.

    python experiments/bench_page.py [runs/bench ...] [--own LABELS=NET,NET ...] [--again FOLDER]

A row (`ferlib bench`) is taken with its log; a row of the same net, labels and seed that was
recorded before is replaced, all others stay. `--again` holds rows that were trained once more
beside the recorded ones. `--own` measures a net that was trained otherwise, or the average of
several, on validation and test, without and with flip averaging: that needs FERLIB_DATA. Without
arguments the page and the figures are made again from results/bench.json.

The words stand in bench.md.jinja beside this file, what others report in bench_sources.json.
"""

import argparse
import json
import shutil
import statistics
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pages
from compare import differing

from benchmarks.conditions import ROOT, conditions, plainly
from ferlib import files, nets, plots
from ferlib.data import fer2013
from ferlib.data.fer2013 import Fer2013
from ferlib.data.labels import LABEL_SETS
from ferlib.errors import FerlibError, check_choice
from ferlib.evaluation import bench, contest
from ferlib.files import whole_file, whole_files
from ferlib.nets.places import find_weights

NAME = ROOT / "results" / "bench"
SOURCES = Path(__file__).with_name("bench_sources.json")
FREE = {"net", "epochs", "seed"}  # of the recipe: what rows may differ in
LEARNT = {"ferplus": 28_344, "fer2013": 28_709}  # pictures of an epoch, as `ferlib train` tells
CURVES = ("valid_accuracy", "valid_loss")
DPI = 150


# ---------------------------------------------------------------- gathering


def recipe() -> dict:
    """What all rows have in common."""
    whole = json.loads(json.dumps(asdict(contest.recipe("vgg13lean", 1))))
    return {key: value for key, value in whole.items() if key not in FREE}


def gathered(folder: Path, counts: dict) -> list[dict]:
    """The finished rows in a folder of `ferlib bench`; FerlibError where one is not of the bench.

    counts: labels -> column -> how many test pictures it has, as in results/duplicates.json.
    """
    paths = sorted(folder.glob("*-row.json"))
    if not paths:
        raise FerlibError(f"{folder} holds no rows of `ferlib bench`: NET-LABELS-SEED-row.json")
    return [_checked(path, _read(path), counts) for path in paths]


def _read(path: Path) -> dict:
    """A row with its learning curve."""
    try:
        row = json.loads(path.read_text())
        log = contest.read_log(contest.log_of(str(path).removesuffix("-row.json")))
        row["curve"] = {name: [epoch[name] for epoch in log] for name in CURVES}
        rates = [epoch["images_per_s"] for epoch in log]
        of_row(row), row["recipe"], row["test"]  # without these it is no row
        if len(log) != row["epochs"]:
            raise ValueError("the log of another run")
        return {"images_per_s": statistics.median(rates)} | row
    except FileNotFoundError as error:
        raise FerlibError(f"{error.filename} is missing: a row comes with its log") from None
    except (ValueError, KeyError, TypeError):
        raise FerlibError(f"{path} or its log is damaged: run that row again") from None


def _checked(path: Path, row: dict, counts: dict) -> dict:
    wrong = differing(recipe(), recipe() | row["recipe"]) - FREE
    if wrong:
        raise FerlibError(f"{path}: not the bench's recipe, {', '.join(sorted(wrong))} differ")
    if row["commit"].endswith("+"):
        raise FerlibError(f"{path}: trained with changes that were not committed")
    measured = {name: figures.get("n") for name, figures in row["test"].items()}
    if measured != counts.get(row["labels"]):
        raise FerlibError(f"{path}: not measured on FER2013's whole test split")
    return row


def check_seeds(rows: list[dict]) -> None:
    """FerlibError where two rows of a net differ in more than the seed."""
    epochs: dict[tuple, int] = {}
    for row in rows:
        if epochs.setdefault(of_row(row)[:2], row["epochs"]) != row["epochs"]:
            what = " and ".join(map(str, of_row(row)[:2]))
            raise FerlibError(f"{what}: {row['epochs']} epochs here, others there: no seeds of one")


def again(folder: Path, recorded: list[dict], counts: dict) -> list[dict]:
    """What rows of a folder, trained once more, read beside the recorded ones."""
    before = {of_row(row): row for row in recorded}
    found = []
    for row in gathered(folder, counts):
        then = before.get(of_row(row), {})
        if then.get("epochs") != row["epochs"]:
            what = ", ".join(map(str, of_row(row)))
            raise FerlibError(f"no row of {what} with {row['epochs']} epochs was recorded before")
        known = {key: row[key] for key in ("labels", "net", "seed", "date", "commit", "machine")}
        known["then"], known["now"] = (
            {"valid": one["valid"]["accuracy"], "published": one["test"]["published"]["accuracy"]}
            for one in (then, row)
        )
        found.append(known)
    return found


def merged(recorded: Iterable[dict], new: Iterable[dict], key: Callable[[dict], Any]) -> list[dict]:
    """All of both, the new one where both have the same key, in the keys' order."""
    found = {key(row): row for row in (*recorded, *new)}
    return [found[each] for each in sorted(found)]


def of_row(row: dict) -> tuple:
    return row["labels"], row["net"], row["seed"]


# ---------------------------------------------------------------- nets that were trained otherwise


def own(asked: str, data: Fer2013) -> list[dict]:
    """LABELS=NET,NET -> the average of these nets, without and with flip averaging."""
    labels, _, names = asked.partition("=")
    check_choice("labels", labels, LABEL_SETS)
    loaded = [nets.load(find_weights(name), precision="fused") for name in names.split(",")]
    wanted = bench.split_of(data, "test", labels).classes
    for _, info in loaded:
        if info.classes != wanted:
            raise FerlibError(f"{asked}: a net there tells {', '.join(info.classes)}")
    known = {"labels": labels, "nets": [Path(name).name for name in names.split(",")]}
    known |= {"parameters": sum(nets.parameters(net) for net, _ in loaded)}
    known |= {"date": date.today().isoformat(), "commit": files.commit()}
    return [known | {"flip": flip} | figures(loaded, data, labels, flip) for flip in (False, True)]


def figures(loaded: list[tuple], data: Fer2013, labels: str, flip: bool) -> dict:
    """What the bench says of the mean answer of several (net, info)."""

    def answer(pictures: Any) -> np.ndarray:
        each = [nets.predict(net, pictures, info, flip=flip) for net, info in loaded]
        return np.mean(each, axis=0)

    return contest.measured(answer, data, labels, ("valid", "test"))


def of_own(row: dict) -> tuple:
    return row["labels"], row["flip"], len(row["nets"]), tuple(row["nets"])


# ---------------------------------------------------------------- what the page tells


def nets_of(rows: list[dict], labels: str) -> list[dict]:
    """A dict for each net: its rows by seed, and their mean figures; the best on test first.

    "Best" is without near-duplicates.
    """
    found = []
    for name in sorted({row["net"] for row in rows if row["labels"] == labels}):
        seeds = pages.pick(rows, net=name, labels=labels)
        means = {key: mean([row[key] for row in seeds]) for key in MEANT}
        copies = on_copies(means["test"])
        known = {"name": name, "seeds": seeds, "several": len(seeds) > 1, "copies": copies}
        known["gain"] = copies - means["test"]["without exact"]["accuracy"]
        found.append(seeds[0] | means | known)
    return sorted(found, key=lambda net: -net["test"]["without near"]["accuracy"])


def shown(copies: dict, labels: str) -> dict[str, int]:
    """How many test pictures show each class, of the shares in results/duplicates.json."""
    columns, shares = copies["columns"][labels], copies["classes"][labels]
    kept = columns["without near"]
    away = columns["published"] - kept
    return {
        name: round(kept * share + away * shares["left out"][name])
        for name, share in shares["kept"].items()
    }


def on_copies(test: dict) -> float:
    """The accuracy on the exact copies alone, of those with and without them."""
    columns = [test[name] for name in ("published", "without exact")]
    (whole, right), (rest, others) = ((one["n"], one["accuracy"] * one["n"]) for one in columns)
    return (right - others) / (whole - rest)


MEANT = ("train", "valid", "test")  # over seeds


def mean(values: list) -> Any:
    """Of numbers, or of each number in dicts alike; None stays None."""
    if isinstance(values[0], dict):
        return {key: mean([value[key] for value in values]) for key in values[0]}
    return None if None in values else statistics.mean(values)


def ranged(values: Iterable[float]) -> str:
    """Mean, lowest and highest of accuracies."""
    values = list(values)
    return f"{mean(values):.2%} ({min(values):.2%} to {max(values):.2%})"


def quiet_minutes(row: dict, speed: dict) -> float:
    """What a row's training takes by a speed that was measured on a quiet machine."""
    return row["epochs"] * LEARNT[row["labels"]] / speed["images_per_s"] / 60


def page(found: dict, copies: dict, speeds: dict) -> str:
    """results/bench.md of what results/bench.json, duplicates.json and zoo.json hold."""
    known = {labels: nets_of(found["rows"], labels) for labels in LABEL_SETS}
    told = {"b": found, "d": copies, "z": speeds, "nets": known, "ranged": ranged}
    told |= {"learnt": LEARNT, "shown": {labels: shown(copies, labels) for labels in LABEL_SETS}}
    told["processors"] = Counter(row["machine"]["cpu"].split(",")[0] for row in found["rows"])
    timed = [row for row in found["rows"] if row["net"] in speeds["nets"]]
    told["quiet"] = [quiet_minutes(row, speeds["nets"][row["net"]]) for row in timed]
    return pages.rendered("bench.md.jinja", sources=json.loads(SOURCES.read_text()), **told)


def drawn(found: dict) -> dict[str, Any]:
    """Name of a picture -> the figure, for the labels that have rows."""
    made = {}
    for labels in LABEL_SETS:
        if some := nets_of(found["rows"], labels):
            curves = {net["name"]: net["curve"]["valid_accuracy"] for net in some}
            made[f"{labels}-curves"] = plots.accuracy_by_epoch(curves)
            near = [net | {"accuracy": net["test"]["without near"]["accuracy"]} for net in some]
            what = "test accuracy without near-duplicates (%)"
            made[f"{labels}-cost"] = plots.accuracy_by_cost(near, what)
    return made


# ---------------------------------------------------------------- the command


@plainly
def main() -> None:
    args = arguments()
    results = pages.results()
    copies, speeds, found = results["duplicates"], results["zoo"], results.get("bench")
    if args.folders or args.own or args.again or not found:
        found = gather(args, found or {"rows": [], "own": []}, copies["columns"])
    made = drawn(found)
    places = [f"{NAME}.json", f"{NAME}.md", *(f"{NAME}-{name}.png" for name in made)]
    with whole_files(*places) as (table, words, *pictures):
        table.write_text(pages.compact(found) + "\n")
        words.write_text(page(found, copies, speeds))
        for place, figure in zip(pictures, made.values(), strict=True):
            figure.savefig(place, dpi=DPI)
    keep_logs(args.folders)


def keep_logs(folders: list[Path]) -> None:
    """Copy the rows' logs to results/bench/."""
    for row in (path for folder in folders for path in folder.glob("*-row.json")):
        prefix = str(row).removesuffix("-row.json")
        with whole_file(NAME / f"{Path(prefix).name}.csv") as partial:
            shutil.copyfile(contest.log_of(prefix), partial)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folders", nargs="*", type=Path, help="of `ferlib bench --out`")
    parser.add_argument("--own", action="append", default=[], metavar="LABELS=NET,NET")
    parser.add_argument("--again", type=Path, metavar="FOLDER", help="rows trained once more")
    about = "of training that the rows' epochs were counted for"
    parser.add_argument("--minutes", type=float, help=about)
    return parser.parse_args()


def gather(args: argparse.Namespace, recorded: dict, counts: dict) -> dict:
    """What results/bench.json is to hold."""
    rows = [row for folder in args.folders for row in gathered(folder, counts)]
    data = fer2013.load() if args.own else None
    others = [row for asked in args.own for row in own(asked, data)]
    known = merged(recorded["rows"], rows, of_row)
    check_seeds(known)
    once_more = again(args.again, known, counts) if args.again else []
    return {
        "conditions": conditions(command(args), dataset="FER2013, with the FER+ votes"),
        "minutes": args.minutes or recorded.get("minutes", contest.MINUTES),
        "recipe": recipe(),
        "rows": known,
        "own": merged(recorded["own"], others, of_own),
        "again": merged(recorded.get("again", []), once_more, of_row),
    }


def command(args: argparse.Namespace) -> str:
    """What was called, with only the last two names of each folder."""
    folders = [str(Path(*folder.parts[-2:])) for folder in args.folders]
    others = [f"--own {asked}" for asked in args.own]
    others += [f"--again {Path(*args.again.parts[-2:])}"] if args.again else []
    budget = [f"--minutes {args.minutes:g}"] if args.minutes else []
    return " ".join(["python experiments/bench_page.py", *folders, *others, *budget])


if __name__ == "__main__":
    main()
