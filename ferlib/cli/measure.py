"""ferlib evaluate."""

import json
from argparse import Namespace
from typing import Any

from ferlib.cli.arguments import (
    MAPPING,
    PROTOCOLS,
    add_command,
    add_prior,
    add_weights,
    mapping,
    names,
    place,
)
from ferlib.data.labels import SEVEN
from ferlib.errors import FerlibError
from ferlib.nets.places import find_weights

ONLY_FOLDERS = ("kind", "faces", "map", "emotions", "out")
ONLY_SPLITS = ("protocol",)


def evaluate(args: Namespace) -> dict | None:
    _check_together(args)
    _check_nets(args)
    from ferlib.evaluation import evaluate

    how = {"flip": args.tta == "flip", "precision": args.precision, "prior": args.prior}
    how |= {"figures": args.figures}
    if args.folder is None:
        report = evaluate(_split(args), args.weights, "crop", **how)
    else:
        how |= {"emotions": args.emotions, "out": args.out, "known": _known(args)}
        report = evaluate(_folder(args), args.weights, args.faces or "auto", **how)
    print(report.text())
    if not report.unreadable:
        return report.as_dict()
    if args.json:  # the others are done, and the failure is told after them
        print(json.dumps(report.as_dict()))
    (path, reason), *rest = report.unreadable
    more = f" (and {len(rest)} more)" if rest else ""
    raise FerlibError(f"left out as unreadable: {path}{more}\n{reason}")


def _check_nets(args) -> None:
    """The weights and the prior, before data are read, which can take minutes."""
    from ferlib.nets.answer import info_of
    from ferlib.nets.prior import under

    for weights in args.weights or [None]:
        under(info_of(find_weights(weights)), args.prior)


def _split(args):
    from ferlib.data import fer2013

    split, data = args.split or "valid", fer2013.load(args.data)
    if _classes(args) != SEVEN:
        return data.split(split, args.protocol or PROTOCOLS[0])
    if args.protocol:
        args.refuse("--protocol is one of FER+'s votes, this net tells FER2013's own classes apart")
    return data.labelled(split)


def _folder(args):
    """The pictures with the classes of the net that is to read them."""
    from ferlib.data import folders

    data = folders.read(args.folder, args.kind or "auto", dict(args.map or ()), _classes(args))
    return data.split(args.split) if args.split else data


def _known(args):
    """FER2013, where it was named: else it is looked for when it is needed."""
    from ferlib.data import fer2013

    return fer2013.load(args.data) if args.data else None


def _check_together(args) -> None:
    """Exit 2 where an option of splits meets --folder, or one of folders has none."""
    if args.folder is None:
        only: tuple[str, ...] = ONLY_FOLDERS
        says = "works only with --folder"
    else:
        only, says = ONLY_SPLITS, "does not go with --folder, which has its own labels"
    given = [name for name in only if getattr(args, name) is not None]
    if given:
        args.refuse(f"--{given[0]} {says}")
    unknown = [name for name in args.emotions or () if name not in _classes(args)]
    if unknown:
        args.refuse(f"unknown emotion {unknown[0]!r}; known: {', '.join(_classes(args))}")


def _classes(args) -> tuple[str, ...]:
    """What the net tells apart."""
    from ferlib.nets.answer import info_of

    return info_of(find_weights(args.weights[0] if args.weights else None)).classes


def add_commands(commands: Any) -> None:
    about = "measure a net on a split, or on a folder"
    command = add_command(commands, "evaluate", evaluate, about)
    add = command.add_argument
    about = "of FER2013 (default: valid), or of --folder (default: all of it)"
    add("--split", choices=("train", "valid", "test"), help=about)
    add("--protocol", choices=PROTOCOLS, help=f"the votes (default: {PROTOCOLS[0]})")
    add_weights(command, nargs="+")
    add_prior(command)
    add("--data", type=place, metavar="FOLDER", help="FER2013, instead of $FERLIB_DATA or data/")
    about = "write confusion.pdf, reliability.pdf and per_emotion.pdf, fit for print"
    add("--figures", type=place, metavar="FOLDER", help=about)
    add = command.add_argument_group("other data sets, instead of a split").add_argument
    add("--folder", metavar="PATH", help="class/picture.png, a CSV of votes, CK+, JAFFE or FERG")
    kinds = ("auto", "folders", "table", "ckplus", "ckextended", "jaffe", "ferg")
    add("--kind", choices=kinds, help="what it is (default: auto)")
    ways = "take pictures as crops, or find the face (default: auto, small squares are crops)"
    add("--faces", choices=("auto", "crop", "find"), help=ways)
    add("--map", action="append", type=mapping, metavar="NAME=EMOTION", help=MAPPING)
    add("--emotions", type=names, metavar="NAME,...", help="answers allowed (default: all)")
    add(
        "--out",
        type=place,
        metavar="FILE",
        help="write a CSV: each picture's path, truth, answer, scores",
    )
