"""ferlib bench: networks under one protocol, and anybody's predictions."""

import json
from argparse import Namespace
from itertools import product
from typing import Any

from ferlib.cli.arguments import add_command, amount, number, place, seed
from ferlib.data.labels import LABEL_SETS
from ferlib.errors import FerlibError


def bench(args: Namespace) -> dict:
    if args.predictions is not None:
        return _score(args)
    from ferlib.data.sources import DRAWN, open_data
    from ferlib.evaluation import contest
    from ferlib.nets import registry
    from ferlib.training import Diverged

    chosen = args.nets or contest.contenders()
    for name in chosen:
        registry.assembled(registry.find(name))  # before hours of training: it may need a package
    data = _fer2013(open_data(DRAWN if args.sample else args.data))
    found, diverged = [], []
    for net, labels in product(chosen, args.labels or LABEL_SETS):
        try:
            found.append(_row(net, labels, data, args))
        except Diverged:  # the rate is not chosen for it: the others are wanted all the same
            diverged.append(f"{net}, {labels}")
            print(f"{diverged[-1]}: its weights grew beyond all bounds", flush=True)
    if diverged and args.json:  # the others are done, and the failure is told after them
        print(json.dumps({"rows": found}))
    if diverged:
        raise FerlibError(f"no rows of {'; '.join(diverged)}: they diverged")
    return {"rows": found}


def _row(net: str, labels: str, data: Any, args: Namespace) -> dict:
    from ferlib.evaluation import contest

    minutes = contest.MINUTES if args.minutes is None else args.minutes
    epochs = args.epochs or contest.epochs_for(net, data, minutes, args.out)
    told = contest.row(net, labels, data, epochs, args.seed or 0, args.out)
    print(_line(f"{net}, {labels}, {epochs} epochs", told["test"]), flush=True)
    return told


def _score(args: Namespace) -> dict:
    from ferlib.data.sources import DRAWN, open_data
    from ferlib.evaluation import bench as scoring

    options = ("minutes", "epochs", "seed")
    given = [f"--{name}" for name in options if getattr(args, name) is not None]
    for word in (*args.nets, *given):
        args.refuse(f"--predictions are not of a network to be trained: leave out {word}")
    if len(args.labels or ()) != 1:
        args.refuse(f"--predictions needs --labels, one of {' and '.join(LABEL_SETS)}")
    data = _fer2013(open_data(DRAWN if args.sample else args.data))
    part = scoring.split_of(data, "test", args.labels[0])
    scores = scoring.read_predictions(args.predictions, part, scoring.besides(data, part))
    found = scoring.in_columns(scores, data, part)
    print(_line(args.predictions, found))
    return {"predictions": args.predictions, "labels": args.labels[0], "test": found}


def _fer2013(data: Any) -> Any:
    from ferlib.data.fer2013 import Fer2013

    if not isinstance(data, Fer2013):
        raise FerlibError("the bench is on FER2013: these are other pictures")
    return data


def _line(title: str, test: dict[str, dict]) -> str:
    told = (f"{name} {row['accuracy']:.2%} (n = {row['n']})" for name, row in test.items())
    return f"{title}: {', '.join(told)}"


def add_commands(commands: Any) -> None:
    about = "train and measure networks under one protocol; or score a file of predictions"
    command = add_command(commands, "bench", bench, about)
    add = command.add_argument
    add(
        "nets",
        nargs="*",
        metavar="NET",
        help="networks (default: all that are no part of another or of a lesson)",
    )
    add("--labels", action="append", choices=LABEL_SETS, help="default: both, one after the other")
    add("--minutes", type=amount, help="of training for each, on these threads (default: 30)")
    add("--epochs", type=number, help="instead of what fits into --minutes: repeats a row")
    add("--seed", type=seed, help="of all chance (default: 0)")
    add("--out", type=place, default="runs/bench", metavar="FOLDER", help="nets, logs and rows")
    add(
        "--predictions",
        type=place,
        metavar="FILE",
        help="a CSV: row of FER2013, then a score for each class",
    )
    source = command.add_mutually_exclusive_group()
    source.add_argument(
        "--data", type=place, metavar="FOLDER", help="default: $FERLIB_DATA or data/"
    )
    source.add_argument("--sample", action="store_true", help="drawn faces instead")
