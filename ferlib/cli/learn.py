"""ferlib prepare, train, quantize, info."""

import shlex
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ferlib.cli import recipes
from ferlib.cli.arguments import add_command, add_folders, add_source, amount, place, share
from ferlib.files import check_place, check_text
from ferlib.nets.places import check_prefix, find_weights

# What loads MXNet is imported where it runs: `ferlib --help` must not wait for it.


def prepare(args: Namespace) -> dict:
    from ferlib.data import account, fer2013

    data = fer2013.prepare(args.fer2013, args.ferplus, args.out)
    print(account.table(data))
    return {protocol: account.account(data, protocol) for protocol in data.votes}


def train(args: Namespace) -> dict:
    from ferlib import training

    recipe = recipes.recipe(args)
    network = recipe.network()
    folder = Path(args.run_folder or f"{args.out}-run")
    check_prefix(args.out)
    check_text(folder)
    check_place(folder / "log.csv")
    told: list = [training.EarlyStop(args.patience)] if args.patience else []
    told += [training.TensorBoard(args.tensorboard)] if args.tensorboard else []
    learn, valid = recipes.splits(args, network.size, network.channels)
    info = training.train_to(args.out, learn, valid, recipe, folder, told, args.command)
    print(f"wrote {args.out}-symbol.json, {args.out}-0000.params and {args.out}.json")
    net, archive = shlex.quote(args.out), shlex.quote(f"{args.out}.mar")
    if learn.form != "fer2013":
        faces = "" if args.faces == "auto" else f" --faces {args.faces}"
        print(f"measure it: ferlib evaluate --weights {net}{faces} --folder FOLDER_NOT_LEARNT_FROM")
    print(f"pack it for a server: ferlib pack --weights {net} --out {archive}")
    return {"weights": args.out, "valid": info.valid, "log": str(folder / "log.csv")}


def quantize(args: Namespace) -> dict:
    from ferlib import nets
    from ferlib.evaluation import rounding

    prefix = find_weights(args.weights)
    _, info = nets.load(prefix)
    check_prefix(prefix)
    learn, valid = recipes.for_net(args, info)
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
    add("--out", type=place, default="data", metavar="FOLDER", help="where to keep it")
    command = add_command(commands, "train", train, "train a net on votes, or on classes of yours")
    _files_arguments(command)
    recipes.add_data(command)
    recipes.add_recipe(command)
    _beside_arguments(command)
    recipes.add_teacher(command)
    command = add_command(commands, "quantize", quantize, "find the ranges that int8 needs")
    about = "the net; PREFIX-int8.json is written"
    command.add_argument("weights", metavar="PREFIX", help=about)
    add_source(command)
    add_folders(command)
    about = "say what MXNet runs on here: device, precision, threads"
    add_command(commands, "info", info, about)


def _files_arguments(command) -> None:
    add = command.add_argument
    add("--out", default="runs/net/net", metavar="PREFIX", help="the net's three files")
    add(
        "--run-folder",
        type=place,
        metavar="FOLDER",
        help="checkpoints and log.csv (default: PREFIX-run)",
    )
    add(
        "--tensorboard",
        type=place,
        metavar="FOLDER",
        help="where to write curves for TensorBoard, one run",
    )


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
