"""ferlib prepare, train, quantize, info."""

from argparse import Namespace
from collections import Counter
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from ferlib.cli.arguments import (
    PROTOCOLS,
    add_command,
    add_folders,
    add_source,
    amount,
    number,
    seed,
    share,
)
from ferlib.data.labels import EMOTIONS, SCHEMES
from ferlib.errors import FerlibError
from ferlib.files import check_place
from ferlib.nets.places import check_prefix, find_weights, stored_files

IMAGENET = "imagenet"  # instead of a prefix of weights

# What loads MXNet is imported where it runs: `ferlib --help` must not wait for it.


def prepare(args: Namespace) -> dict:
    from ferlib.data import account, fer2013

    data = fer2013.prepare(args.fer2013, args.ferplus, args.out)
    print(account.table(data))
    return {protocol: account.account(data, protocol) for protocol in data.votes}


def train(args: Namespace) -> dict:
    from ferlib import training

    recipe = _recipe(args)
    network = recipe.network()
    folder = Path(args.run_folder or f"{args.out}-run")
    check_prefix(args.out)
    check_place(folder / "log.csv")
    told: list = [training.EarlyStop(args.patience)] if args.patience else []
    told += [training.TensorBoard(args.tensorboard)] if args.tensorboard else []
    learn, valid = _splits(args, network.size, network.channels)
    # The nets a training took from, as the user named them, not where they were found.
    named = {"teacher": args.teacher or recipe.teacher, "start": args.start or recipe.start}
    info = training.train_to(args.out, learn, valid, recipe, folder, told, args.command, named)
    print(f"wrote {args.out}-symbol.json, {args.out}-0000.params and {args.out}.json")
    return {"weights": args.out, "valid": info.valid, "log": str(folder / "log.csv")}


def _recipe(args):
    """FerlibError for what does not exist, before any data is read."""
    from ferlib import training

    given = {f.name: getattr(args, f.name, None) for f in fields(training.Recipe)}
    given["teacher"] = None if args.teacher is None else tuple(map(_stored, args.teacher))
    given["start"] = args.start if args.start in (None, IMAGENET) else _stored(args.start)
    for name in ("teacher_share", "teacher_views"):
        if getattr(args, name) is not None and not args.teacher:
            args.refuse(f"--{name.replace('_', '-')} needs --teacher")
    base = training.read_recipe(args.recipe) if args.recipe else training.Recipe()
    recipe = replace(base, **{key: value for key, value in given.items() if value is not None})
    network = recipe.network()
    if recipe.start == IMAGENET:
        from ferlib.nets import imagenet

        imagenet.check(network)
    return recipe


def _stored(weights: str) -> str:
    """The prefix of weights that are there."""
    prefix = find_weights(weights)
    stored_files(prefix)
    return str(prefix)


def _splits(args, size: int, channels: int) -> list:
    """What to learn from and what to judge by, the pictures framed as faces."""
    from ferlib.data.fer2013 import Fer2013
    from ferlib.data.sources import DRAWN, open_data
    from ferlib.faces.framing import framed

    names = dict(args.map or ()) or None
    data = open_data(DRAWN if args.sample else args.data, names, args.own_classes)
    own = args.labels == "fer2013"
    if own and (args.protocol or not isinstance(data, Fer2013)):
        args.refuse("--labels fer2013 is for FER2013 itself, without --protocol")
    if isinstance(data, Fer2013):
        if own:
            return [data.labelled("train", args.without_duplicates), data.labelled("valid")]
        protocol = args.protocol or PROTOCOLS[0]
        learn = data.split("train", protocol, "usable", args.without_duplicates)
        return [learn, data.split("valid", protocol)]
    if args.protocol or args.without_duplicates:
        args.refuse("--protocol and --without-duplicates are for FER2013 with its votes")
    how = {"size": size, "channels": channels, "faces": args.faces}
    parts = [framed(data.split(split), **how) for split in ("train", "valid")]
    left_out = {one for part in parts for one in (*part.skipped, *part.damaged)}
    for reason, count in sorted(Counter(reason for _, reason in left_out).items()):
        print(f"left out: {count} x {reason}")
    return parts


def quantize(args: Namespace) -> dict:
    from ferlib import nets
    from ferlib.evaluation import rounding

    prefix = find_weights(args.weights)
    _, info = nets.load(prefix)
    check_prefix(prefix)
    args.own_classes |= info.classes != EMOTIONS
    learn, valid = _splits(args, info.input_size, info.channels)
    if valid.classes != info.classes:
        told = ", ".join(info.classes)
        raise FerlibError(f"{prefix.name} tells apart {told}; these pictures show others")
    print(f"finding the ranges of {prefix.name}'s layers", flush=True)
    path = nets.quantize(prefix, learn.array(info.input_size, info.channels))
    found = rounding.compare(prefix, valid)
    print(f"wrote {path}\n{found.text()}")
    return {"int8": str(path)} | asdict(found)


def info(args: Namespace) -> dict:
    from ferlib import runtime

    found = runtime.describe()
    for key, value in found.items():
        print(f"{key:10} {value}")
    return found


def add_commands(commands: Any) -> None:
    command = add_command(commands, "prepare", prepare, "read FER2013 and its FER+ votes, once")
    add = command.add_argument
    add("--fer2013", required=True, metavar="FILE", help="fer2013.tar.gz, a .csv of FER2013")
    about = "fer2013new.csv, or the folder with it"
    add("--ferplus", required=True, metavar="FILE", help=about)
    add("--out", default="data", metavar="FOLDER", help="where to keep it")
    command = add_command(commands, "train", train, "train a net on votes, or on classes of yours")
    _files_arguments(command)
    _data_arguments(command)
    _recipe_arguments(command)
    _beside_arguments(command)
    _teacher_arguments(command)
    command = add_command(commands, "quantize", quantize, "find the ranges that int8 needs")
    about = "the net; PREFIX-int8.json is written"
    command.add_argument("weights", metavar="PREFIX", help=about)
    add_source(command)
    add_folders(command)
    command.set_defaults(protocol=None, without_duplicates=False, labels="ferplus")
    about = "say what MXNet runs on here: device, precision, threads"
    add_command(commands, "info", info, about)


def _files_arguments(command) -> None:
    add = command.add_argument
    add("--out", default="runs/net/net", metavar="PREFIX", help="the net's three files")
    add("--run-folder", metavar="FOLDER", help="checkpoints and log.csv (default: PREFIX-run)")
    add("--tensorboard", metavar="FOLDER", help="where to write curves for TensorBoard, one run")


def _data_arguments(command) -> None:
    add_source(command)
    add = command.add_argument
    add("--protocol", choices=PROTOCOLS, help=f"FER2013's votes (default: {PROTOCOLS[0]})")
    about = "FER+'s votes for eight emotions, or FER2013's own labels, one of seven a picture"
    add("--labels", choices=("ferplus", "fer2013"), default="ferplus", help=about)
    add("--without-duplicates", action="store_true", help="leave out pictures of later splits")
    add_folders(command)


def _recipe_arguments(command) -> None:
    add = command.add_argument_group("recipe").add_argument
    about = "best.json of `ferlib tune`, or a net's JSON: settings that other options change"
    add("--recipe", metavar="FILE", help=about)
    add("--net", help="see `ferlib models` (default: vgg13lean)")
    about = "the pictures are RGB, not gray"
    add("--rgb", dest="channels", action="store_const", const=3, help=about)
    add("--scheme", choices=SCHEMES, help="the targets (default: cross-entropy)")
    add("--epochs", type=number, help="passes over the pictures (default: 32)")
    add("--batch-size", type=number, help="pictures in one step (default: 128)")
    add("--lr", type=amount, help="its peak (default: 0.2; without BatchNorm try a tenth)")
    add("--weight-decay", type=amount, help="pulls weights to zero (default: 0.0005)")
    add("--optimiser", choices=("nag", "sgd", "adam"), help="default: nag; adam wants --lr 0.001")
    add("--schedule", choices=("cosine", "linear", "constant"), help="default: cosine")
    about = "start with pictures of full size too; slower"
    add("--full-size", dest="grow", action="store_const", const=(), help=about)
    about = "stop when the validation loss has not become better for so many epochs"
    add("--patience", type=number, metavar="N", help=about)
    add("--seed", type=seed, help="of all chance: the same seed, the same net (default: 0)")
    precisions = ("auto", "float32", "bfloat16")
    add("--precision", choices=precisions, help="of the convolutions; auto: the faster one")


def _beside_arguments(command) -> None:
    add = command.add_argument_group("beside the recipe").add_argument
    about = "share of the targets spread over all classes; 0.1 is usual"
    add("--smoothing", type=share, help=about)
    about = "mix pictures, and their targets, in shares drawn from Beta(ALPHA, ALPHA); 0.2 is mild"
    add("--mixup", type=amount, metavar="ALPHA", help=about)
    about = "keep the running mean of the weights, this the decay a step; 0.999 is usual"
    add("--average", type=share, metavar="DECAY", help=about)
    about = "weight of the centre loss, which draws features of one class together; 0.003 is usual"
    add("--centre", type=amount, metavar="WEIGHT", help=about)


def _teacher_arguments(command) -> None:
    add = command.add_argument_group("other nets").add_argument
    about = f"weights of the same net to go on from; {IMAGENET}: gluoncv's, with --rgb"
    add("--start", metavar="PREFIX", help=about)
    about = "keep the layers up to the features as they are in --start; what comes after learns"
    add("--freeze", choices=("features",), help=about)
    add("--teacher", nargs="+", metavar="PREFIX", help="nets whose mean answers are learnt too")
    add("--teacher-share", type=share, help="of the targets, the rest are votes (default: 0.5)")
    about = "at full size the teachers, in turns, answer for each picture as augmented; slower"
    add("--teacher-views", action="store_true", default=None, help=about)
