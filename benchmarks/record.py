"""Measure a finished net once, and keep its figures where README and model card read them.

    python benchmarks/record.py runs/ferplus/ferplus [--test]

Validation by both vote sources, without and with flip averaging; `--test` reads the test split too,
once, for the net that ships. Writes results/<name>.json and results/<name>.csv (the training log),
and the tables between the markers of README.md and model_store/README.md.
"""

import argparse
import re
import shutil
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


def table(report: dict) -> str:
    """The figures as Markdown: what README.md and the model card show."""
    trained, runs = report["trained"], report["runs"]
    lines = [
        f"The shipped net (`{report['network']}`, {report['parameters']:,} numbers): "
        f"{trained['recipe']['epochs']} epochs on {trained['pictures']:,} pictures, "
        f"seed {trained['recipe']['seed']}, one run. Images with a majority emotion, all eight "
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
    return "\n".join([MARKERS[0], table(report), "", per_emotion(report), MARKERS[1]])


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
    parser.add_argument("--test", action="store_true", help="read the test split as well")
    args = parser.parse_args()
    from ferlib import models

    net, info = models.load_weights(args.weights)
    name = Path(args.weights).name
    known = conditions(f"python benchmarks/record.py {args.weights}{' --test' * args.test}")
    known["dataset"] = "FER2013 with the FER+ votes"
    report = {"name": name, "network": info["network"], "parameters": models.parameters(net)}
    report |= {"trained": info["trained"], "temperature": info["temperature"]}
    report |= {"measured": known}
    runs = measure(args.weights, ["valid", "test"] if args.test else ["valid"])
    write(name, report | {"runs": runs})
    log = args.log or Path(f"{args.weights}-run") / "log.csv"
    shutil.copyfile(log, ROOT / "results" / f"{name}.csv")
    for page in PAGES:
        insert(ROOT / page, report | {"runs": runs})


if __name__ == "__main__":
    main()
