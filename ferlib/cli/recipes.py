"""What commands that train have in common: their data, their recipe, and the options for both."""

from argparse import ArgumentParser, Namespace
from dataclasses import fields, replace
from typing import Any

from ferlib.cli.arguments import (
    PROTOCOLS,
    add_folders,
    add_source,
    amount,
    number,
    place,
    seed,
    share,
)
from ferlib.data.labels import EMOTIONS, LABEL_SETS, SCHEMES
from ferlib.errors import FerlibError
from ferlib.nets.places import find_weights, stored_files

IMAGENET = "imagenet"  # instead of a prefix of weights

# What loads MXNet is imported where it runs: `ferlib --help` must not wait for it.


def recipe(args: Namespace) -> Any:
    """The `training.Recipe` that the options ask for, with what --recipe's file has beside.

    FerlibError for what does not exist, before any data is read.
    """
    from ferlib import training
    from ferlib.nets import registry

    base = training.read_recipe(args.recipe) if args.recipe else training.Recipe()
    given = {f.name: getattr(args, f.name, None) for f in fields(training.Recipe)}
    given["teacher"] = args.teacher and tuple(args.teacher)
    for name in ("teacher_share", "teacher_views"):
        if getattr(args, name) is not None and not (args.teacher or base.teacher):
            args.refuse(f"--{name.replace('_', '-')} needs --teacher")
    found = replace(base, **{key: value for key, value in given.items() if value is not None})
    network, placed = found.network(), found.placed()
    registry.assembled(network)  # it may lack a package, or be of no use at that size
    if args.start == "":  # an unset variable of a shell
        find_weights("")
    for prefix in (*placed.teacher, placed.start):
        if prefix not in ("", IMAGENET):
            stored_files(prefix)
    if found.start == IMAGENET:
        from ferlib.nets import imagenet

        imagenet.check(network)
    return found


def splits(args: Namespace, size: int, channels: int) -> list:
    """What to learn from and what to judge by: two `Dataset`, their pictures framed as faces.

    `size` and `channels` are those of the net that is to see them. What is left out is printed.
    """
    from ferlib.data.fer2013 import Fer2013
    from ferlib.data.sources import DRAWN, open_data, to_train

    names = dict(args.map or ()) or None
    data = open_data(DRAWN if args.sample else args.data, names, args.own_classes)
    own = args.labels == "fer2013"
    if own and args.protocol:
        args.refuse("--protocol is one of FER+'s votes: leave it out with --labels fer2013")
    if own and not isinstance(data, Fer2013):
        args.refuse("--labels fer2013 is for FER2013 itself, these are other pictures")
    if isinstance(data, Fer2013):
        _check_no_folders(args)
        protocol = args.protocol or PROTOCOLS[0]
        return to_train(data, args.labels, protocol, args.without_duplicates)
    if args.protocol or args.without_duplicates:
        args.refuse("--protocol and --without-duplicates are for FER2013 with its votes")
    return _framed([data.split(split) for split in ("train", "valid")], size, channels, args.faces)


def for_net(args: Namespace, info: Any) -> list:
    """As `splits`, for a stored net with this `Info`: what shows its classes."""
    from ferlib.data.fer2013 import Fer2013
    from ferlib.data.sources import DRAWN, open_data, shown_to

    names = dict(args.map or ()) or None
    own = args.own_classes or not set(info.classes) <= set(EMOTIONS)
    data = open_data(DRAWN if args.sample else args.data, names, own)
    if isinstance(data, Fer2013):
        _check_no_folders(args)
    parts = [shown_to(data, split, info.classes) for split in ("train", "valid")]
    if isinstance(data, Fer2013):
        return parts
    return _framed(parts, info.input_size, info.channels, args.faces)


def of_folders(args: Namespace) -> bool:
    """Whether one of the options of `add_folders` is given."""
    return bool(args.map or args.own_classes or args.faces != "auto")


def _check_no_folders(args: Namespace) -> None:
    if of_folders(args):
        args.refuse("--map, --own-classes and --faces are for pictures in folders")


def _framed(parts: list, size: int, channels: int, faces: str) -> list:
    """The faces of both splits; tells which pictures are left out and why, and what is missing.

    FerlibError where nothing is left to learn one of somebody's own classes from.
    """
    from ferlib.faces.framing import framed

    parts = [framed(part, size, channels, faces) for part in parts]
    left_out: dict[str, set[str]] = {}
    for name, reason in (one for part in parts for one in (*part.skipped, *part.damaged)):
        left_out.setdefault(reason, set()).add(name)
    for reason, names in sorted(left_out.items()):
        first = ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "")
        print(f"left out: {len(names)} x {reason} ({first})")
    _check_learnt(parts[0])
    learnt, judged = ({part.classes[k] for k in set(part.truth) - {-1}} for part in parts)
    if unseen := sorted(learnt - judged):
        print(f"no picture to judge {', '.join(unseen)} by: how well they are read is not known")
    if copies := _also_learnt(*parts):
        print(
            f"{copies} of {len(parts[1])} pictures to judge by are also among those to learn from: "
            "figures will be too good"
        )
    return parts


def _also_learnt(learn: Any, valid: Any) -> int:
    """How many pictures of `valid` are in `learn` as well, of those that are in memory."""
    if not all(hasattr(part.pictures, "tobytes") for part in (learn, valid)):
        return 0
    known = {picture.tobytes() for picture in learn.pictures}
    return sum(picture.tobytes() in known for picture in valid.pictures)


def _check_learnt(learn: Any) -> None:
    shown = learn.shares.any(axis=0)
    if learn.classes == EMOTIONS or shown.all():
        return
    name = learn.classes[int((~shown).argmax())]
    raise FerlibError(
        f"{learn.source}: nothing is left to learn {name} from (people are held out as a whole).\n"
        f"Give the split train some of each class, or leave this one out with --map {name}=skip"
    )


def add_data(command: ArgumentParser) -> None:
    """Which pictures and labels."""
    add_source(command)
    add = command.add_argument
    add("--protocol", choices=PROTOCOLS, help=f"FER2013's votes (default: {PROTOCOLS[0]})")
    about = "FER+'s votes for eight emotions, or FER2013's own labels, one of seven a picture"
    add("--labels", choices=LABEL_SETS, default=LABEL_SETS[0], help=about)
    add("--without-duplicates", action="store_true", help="leave out pictures of later splits")
    add_folders(command)


def add_recipe(command: ArgumentParser, epochs: int = 32, patience: bool = True) -> None:
    """The settings that a training most often changes; `epochs` are the command's default."""
    add = command.add_argument_group("recipe").add_argument
    about = "best.json of `ferlib tune`, or a net's JSON: settings that other options change"
    add("--recipe", type=place, metavar="FILE", help=about)
    add("--net", help="see `ferlib models` (default: vgg13lean)")
    about = "the pictures are RGB, not gray"
    add("--rgb", dest="channels", action="store_const", const=3, help=about)
    about = "side of the pictures that the net sees (default: its own, 48 for most)"
    add("--size", dest="side", type=number, metavar="PIXELS", help=about)
    add("--scheme", choices=SCHEMES, help="the targets (default: cross-entropy)")
    add("--epochs", type=number, help=f"passes over the pictures (default: {epochs})")
    add("--batch-size", type=number, help="pictures in one step (default: 128)")
    add("--lr", type=amount, help="its peak (default: 0.2; without BatchNorm try a tenth)")
    add("--weight-decay", type=amount, help="pulls weights to zero (default: 0.0005)")
    add("--optimiser", choices=("nag", "sgd", "adam"), help="default: nag; adam wants --lr 0.001")
    add("--schedule", choices=("cosine", "linear", "constant"), help="default: cosine")
    about = "start with pictures of full size too; slower"
    add("--full-size", dest="grow", action="store_const", const=(), help=about)
    about = "stop when the validation loss has not become better for so many epochs"
    if patience:
        add("--patience", type=number, metavar="N", help=about)
    add("--seed", type=seed, help="of all chance: the same seed, the same net (default: 0)")
    precisions = ("auto", "float32", "bfloat16")
    add("--precision", choices=precisions, help="of the convolutions; auto: the faster one")


def add_teacher(command: ArgumentParser) -> None:
    """Nets that are learnt from."""
    add = command.add_argument_group("other nets").add_argument
    about = f"weights of the same net to go on from; {IMAGENET}: gluoncv's, with --rgb"
    add("--start", metavar="PREFIX", help=about)
    about = "keep the layers up to the features as they are in --start; what comes after learns"
    add("--freeze", choices=("features",), help=about)
    add("--teacher", nargs="+", metavar="PREFIX", help="nets whose mean answers are learnt too")
    add("--teacher-share", type=share, help="of the targets, the rest are votes (default: 0.5)")
    about = "at full size the teachers, in turns, answer for each picture as augmented; slower"
    add("--teacher-views", action="store_true", default=None, help=about)
