"""Measure finished nets once, and keep their figures where README and model card read them.

    python benchmarks/record.py runs/ferplus/ferplus [--seeds PREFIX ...] [--clean PREFIX] [--test]

The first net is the one that ships. Validation by both vote sources, without and with flip
averaging; `--test` reads the test split too, once. `--seeds` are nets of the same recipe with other
seeds, for the mean and the spread; `--clean` is one trained without the pictures that also occur in
validation or test. Writes results/<name>.json and the training logs as results/<name>*.csv, and the
tables between the markers of README.md and model_store/README.md.
"""

import argparse
import json
import re
import shutil
import statistics
from itertools import product
from pathlib import Path

from conditions import ROOT, conditions, write

from ferlib import evaluate, fer2013

MARKERS = "<!-- results: begin -->", "<!-- results: end -->"
PAGES = ("README.md", "model_store/README.md")
SPLITS = {"valid": "validation (PublicTest)", "test": "test (PrivateTest)"}


def measure(weights: str, splits: list[str]) -> list[dict]:
    """One dict for every split, vote source and kind of averaging."""
    runs = []
    for split, protocol in product(splits, fer2013.PROTOCOLS):
        for flip in (False, True):
            runs.append(evaluate.evaluate(weights, split, protocol, flip=flip))
        raw = evaluate.evaluate(weights, split, protocol, temperature=1.0)
        runs[-2]["before_temperature"] = {key: raw[key] for key in ("loss", "kl", "ece")}
    return runs


def brief(weights: str, splits: list[str]) -> list[dict]:
    """The accuracies of one more net, as `measure` orders them."""
    keys = ("split", "protocol", "tta", "n", "accuracy", "balanced_accuracy")
    return [{key: run[key] for key in keys} for run in measure(weights, splits)]


def over_seeds(nets: list[list[dict]]) -> list[dict]:
    """The accuracies of several nets in one dict for every split, vote source and averaging."""
    rows = []
    for runs in zip(*nets, strict=True):
        values = [run["accuracy"] for run in runs]
        row = {key: runs[0][key] for key in ("split", "protocol", "tta", "n")}
        row |= {"accuracies": values, "mean": round(statistics.mean(values), 5)}
        rows.append(row | {"deviation": round(statistics.stdev(values), 5)})
    return rows


# ---------------------------------------------------------------- as Markdown


def table(report: dict) -> str:
    """The figures of the shipped net."""
    trained, runs = report["trained"], report["runs"]
    lines = [
        f"The shipped net (`{report['network']}`, {report['parameters']:,} numbers): "
        f"{trained['recipe']['epochs']} epochs on {trained['pictures']:,} pictures, "
        f"seed {trained['recipe']['seed']}. Images with a majority emotion, all eight "
        "emotions allowed as answers. The temperature is fitted to the validation majorities; "
        "KL is of the scores before it.",
        "",
        "| split | votes | n | accuracy | with flip | balanced | KL to the voters "
        "| calibration error before, after temperature |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for plain, flip in zip(runs[::2], runs[1::2], strict=True):
        before = plain["before_temperature"]
        lines.append(
            f"| {SPLITS[plain['split']]} | `{plain['protocol']}` | {plain['n']:,} "
            f"| {plain['accuracy']:.2%} | {flip['accuracy']:.2%} "
            f"| {plain['balanced_accuracy']:.2%} | {before['kl']:.3f} "
            f"| {before['ece']:.3f}, {plain['ece']:.3f} |"
        )
    return "\n".join(lines)


def seeds_table(report: dict) -> str:
    """Mean and deviation over the seeds, and the net that never saw the duplicates."""
    rows, clean = report["seeds"], report["without_duplicates"]
    count = len(rows[0]["accuracies"])
    lines = [
        f"Over {count} seeds of the same recipe (the one that did best on validation by "
        f"`{rows[0]['protocol']}` ships), mean and standard deviation; and one net trained without "
        f"the {clean['left_out']} pictures that also occur in validation or test:",
        "",
        "| split | votes | accuracy | with flip | without duplicates | with flip |",
        "|---|---|---|---|---|---|",
    ]
    pairs = zip(rows[::2], rows[1::2], clean["runs"][::2], clean["runs"][1::2], strict=True)
    for plain, flip, clean_plain, clean_flip in pairs:
        lines.append(
            f"| {SPLITS[plain['split']]} | `{plain['protocol']}` | {spread(plain)} "
            f"| {spread(flip)} | {clean_plain['accuracy']:.2%} | {clean_flip['accuracy']:.2%} |"
        )
    return "\n".join(lines)


def spread(row: dict) -> str:
    return f"{row['mean']:.2%} \u00b1 {100 * row['deviation']:.2f}"


def agreement(report: dict) -> str:
    """The net beside single voters, where voters agree more and less."""
    run = report["runs"][-2]
    head = (
        f"Where voters agree, {SPLITS[run['split']]} by `{run['protocol']}`: how often the net, "
        "and how often a single one of the ten voters, names the majority's emotion:"
    )
    lines = [head, "", "| voters who share it | n | net | one voter |", "|---|---|---|---|"]
    for row in run["agreement"]:
        low, high = row["from"], row["below"]
        who = "all" if low == 1 else f"under {high:.0%}" if low == 0 else f"{low:.0%} to {high:.0%}"
        shown = f"{row['net']:.1%} | {row['voter']:.1%}" if row["n"] else "- | -"
        lines.append(f"| {who} | {row['n']:,} | {shown} |")
    return "\n".join(lines)


def per_emotion(report: dict) -> str:
    """Accuracy of each emotion on the last split that was read."""
    run = report["runs"][-2]
    counts = [sum(row) for row in run["confusion"]]
    head = f"Per emotion, {SPLITS[run['split']]} by `{run['protocol']}`:"
    lines = [head, "", "| emotion | n | found |", "|---|---|---|"]
    for (name, value), count in zip(run["per_emotion"].items(), counts, strict=True):
        lines.append(f"| {name} | {count} | {value:.1%} |" if count else f"| {name} | 0 | - |")
    return "\n".join(lines)


def block(report: dict) -> str:
    """What stands between the markers."""
    parts = [table(report), seeds_table(report), per_emotion(report), agreement(report)]
    return "\n".join([MARKERS[0], "\n\n".join(parts), MARKERS[1]])


def insert(page: Path, report: dict) -> None:
    pattern = re.compile(f"{MARKERS[0]}.*{MARKERS[1]}", re.DOTALL)
    text, count = pattern.subn(lambda _: block(report), page.read_text())
    if not count:
        raise SystemExit(f"{page} lacks the markers {MARKERS}")
    page.write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("weights", help="the prefix of the net's three files")
    parser.add_argument(
        "--log", type=Path, help="log.csv of the run (default: WEIGHTS-run/log.csv)"
    )
    parser.add_argument("--seeds", nargs="+", required=True, metavar="PREFIX")
    parser.add_argument("--clean", required=True, metavar="PREFIX")
    parser.add_argument("--test", action="store_true", help="read the test split as well")
    args = parser.parse_args()
    splits = ["valid", "test"] if args.test else ["valid"]
    name = Path(args.weights).name
    report = describe(args.weights, name)
    report["measured"] = conditions(
        f"python benchmarks/record.py {args.weights} --seeds {' '.join(args.seeds)} "
        f"--clean {args.clean}{' --test' * args.test}"
    ) | {"dataset": "FER2013 with the FER+ votes"}
    report["runs"] = measure(args.weights, splits)
    others = [brief(prefix, splits) for prefix in args.seeds]
    report["seeds"] = over_seeds([report["runs"], *others])
    report["trained_seeds"] = [trained(prefix) for prefix in (args.weights, *args.seeds)]
    clean = trained(args.clean)
    left_out = report["trained"]["pictures"] - clean["pictures"]
    report["without_duplicates"] = {"left_out": left_out, "trained": clean}
    report["without_duplicates"]["runs"] = brief(args.clean, splits)
    write(name, report)
    for prefix in (args.weights, *args.seeds, args.clean):
        log = args.log if prefix == args.weights else None
        log = log or Path(f"{prefix}-run") / "log.csv"
        shutil.copyfile(log, ROOT / "results" / f"{Path(prefix).name}.csv")
    for page in PAGES:
        insert(ROOT / page, report)


def describe(weights: str, name: str) -> dict:
    from ferlib import models

    net, info = models.load_weights(weights)
    report = {"name": name, "network": info["network"], "parameters": models.parameters(net)}
    return report | {"trained": info["trained"], "temperature": info["temperature"]}


def trained(prefix: str) -> dict:
    return json.loads(Path(f"{prefix}.json").read_text())["trained"]


if __name__ == "__main__":
    main()
