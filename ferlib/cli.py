"""Read facial expressions: prepare FER2013, train, evaluate, predict, pack and serve."""

import argparse
import json
import os
import subprocess
import sys
from dataclasses import asdict, fields
from datetime import date
from pathlib import Path

from ferlib import __version__
from ferlib.errors import FerlibError
from ferlib.labels import EMOTIONS, SCHEMES

PROTOCOLS = ("fer2013new.csv", "label.csv")
MAPPING = f"what a folder's name means: {', '.join(EMOTIONS)} or skip"


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand; 0 done, 1 failed, 2 wrong usage. A user's mistake is two plain lines."""
    args = _parser().parse_args(argv)
    try:
        result = args.run(args)
        if args.json and result is not None:
            print(json.dumps(result))
        sys.stdout.flush()
    except BrokenPipeError:  # `ferlib ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except FerlibError as error:
        return _failed(str(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else "cannot write: "
        return _failed(f"{where}{error.strerror or error}")
    except KeyboardInterrupt:
        return _failed("stopped")
    return 0


def _failed(message: str) -> int:
    lines = message.strip().splitlines()[:2]
    print("\n".join(["ferlib: " + lines[0], *lines[1:]]), file=sys.stderr)
    return 1


# ---------------------------------------------------------------- subcommands


def _prepare(args) -> dict:
    from ferlib import fer2013

    data = fer2013.prepare(args.fer2013, args.ferplus, args.out)
    print(fer2013.table(data))
    return {protocol: fer2013.account(data, protocol) for protocol in data.votes}


def _train(args) -> dict:
    from ferlib import faces, fer2013, labels, models, runtime, train

    given = {f.name: getattr(args, f.name, None) for f in fields(train.Recipe)}
    given["teacher"] = tuple(str(faces.find_weights(each)) for each in args.teacher or ())
    given["start"] = None if args.start is None else str(faces.find_weights(args.start))
    for name in ("teacher_share", "teacher_views"):
        if getattr(args, name) is not None and not args.teacher:
            args.refuse(f"--{name.replace('_', '-')} needs --teacher")
    recipe = train.Recipe(**{key: value for key, value in given.items() if value is not None})
    models.spec(recipe.net)
    data = fer2013.sample_data() if args.sample else fer2013.load(args.data)
    models.check_prefix(args.out)  # makes its folder
    learnt = data.split("train", args.protocol, "usable", args.without_duplicates)[:2]
    valid = data.split("valid", args.protocol)[:2]
    found = runtime.describe() | {"commit": _commit()}  # the commit before hours pass
    count = int(labels.trainable(learnt[1], recipe.scheme).sum())
    print(
        f"training {recipe.net} on {count} pictures of {Path(data.source).name}: "
        f"{found['device']}, {found['threads']} threads, {found['precision']}",
        flush=True,
    )
    run = Path(args.run_folder or f"{args.out}-run")
    net, log = train.fit(learnt, valid, recipe, run)
    info = train.describe_net(net, recipe, log, valid, args.protocol)
    info["trained"] = {
        "command": "ferlib " + " ".join(sys.argv[1:]),
        "date": date.today().isoformat(),
        "data": Path(data.source).name,
        "pictures": count,
        "recipe": asdict(recipe) | _named(args),
        "machine": found,
    }
    models.save_weights(net, args.out, info)
    print(f"wrote {args.out}-symbol.json, {args.out}-0000.params and {args.out}.json")
    return {"weights": args.out, "valid": info["valid"], "log": str(run / "log.csv")}


def _named(args) -> dict:
    """The nets a training took from, as the user named them, not where they were found."""
    return {"teacher": args.teacher or [], "start": args.start or ""}


def _commit() -> str:
    """The checkout's commit, "" outside one; "+" when tracked files differ from it."""
    call = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+"]
    try:
        return subprocess.run(call, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def _evaluate(args) -> dict | None:
    from ferlib import evaluate

    _check_together(args)
    if args.folder is not None:
        return _evaluate_folder(args)
    split, protocol = args.split or "valid", args.protocol or PROTOCOLS[0]
    result = evaluate.evaluate(
        args.weights, split, protocol, args.data, args.tta == "flip", precision=args.precision
    )
    print(evaluate.report(result))
    return result


def _quantize(args) -> dict:
    from ferlib import faces, fer2013, int8

    prefix = faces.find_weights(args.weights)
    data = fer2013.sample_data() if args.sample else fer2013.load(args.data)
    print(f"finding the ranges of {prefix.name}'s layers", flush=True)
    path = int8.quantize(prefix, data.split("train", keep="usable")[0])
    result = int8.compare(prefix, *data.split("valid")[:2])
    print(f"wrote {path}\n{int8.report(result)}")
    return {"int8": str(path)} | result


def _check_together(args) -> None:
    """Exit 2 where an option of splits meets --folder, or one of folders has none."""
    if args.folder is None:
        only = ("kind", "faces", "map", "emotions", "out")
        says = "works only with --folder"
    else:
        only, says = ("split", "protocol"), "does not go with --folder, which has its own labels"
    given = [name for name in only if getattr(args, name) is not None]
    if given:
        args.refuse(f"--{given[0]} {says}")


def _evaluate_folder(args) -> dict | None:
    from ferlib import generalise

    result = generalise.evaluate_folder(
        args.weights,
        args.folder,
        args.kind or "auto",
        args.faces or "auto",
        emotions=args.emotions,
        flip=args.tta == "flip",
        names=dict(args.map or ()),
        out=args.out,
        data=args.data,
        precision=args.precision,
    )
    print(generalise.report(result))
    if not result["unreadable"]:
        return result
    if args.json:  # the others are done, and the failure is told after them
        print(json.dumps(result))
    (path, reason), *rest = result["unreadable"]
    more = f" (and {len(rest)} more)" if rest else ""
    raise FerlibError(f"left out as unreadable: {path}{more}\n{reason}")


def _predict(args) -> None:
    if not args.photos and args.camera is None:
        args.parser.error("name pictures, videos or folders, or give --camera")
    from ferlib import predict

    predict.run(args)


def _explain(args) -> None:
    from ferlib import explain

    explain.run(args)


def _pack(args) -> dict:
    from ferlib import archive

    path = archive.pack(args.weights, args.out)
    print(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")
    return {"archive": str(path)}


def _serve(args) -> dict:
    from ferlib import server

    print("starting Multi Model Server: a few seconds", flush=True)
    started = server.start(args.archive, args.port)
    print(f"serving {started.address}\nlogs: {started.logs}", flush=True)
    if args.foreground:
        server.wait(started)
    return {"address": started.address, "port": started.port, "logs": started.logs}


def _stop(args) -> dict:
    from ferlib import server

    stopped = [one.port for one in server.stop(args.port)]
    ports = ", ".join(map(str, stopped))
    print(f"stopped the server on port {ports}" if stopped else "no server is running")
    return {"stopped": stopped}


def _models(args) -> dict:
    from ferlib import models

    for name, spec in models.SPECS.items():
        print(f"{name:10} {spec.size} x {spec.size} pixels, {spec.note}")
    return {name: asdict(spec) for name, spec in models.SPECS.items()}


def _info(args) -> dict:
    from ferlib import runtime

    found = runtime.describe()
    for key, value in found.items():
        print(f"{key:10} {value}")
    return found


# ---------------------------------------------------------------- arguments


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Show defaults where there are any, and nothing where there are none."""

    def _get_help_string(self, action):
        return action.help if action.default in (None, False) else super()._get_help_string(action)


class _Parser(argparse.ArgumentParser):
    """Wrong usage is two lines as well: argparse alone would print the whole usage."""

    def error(self, message: str):
        self.exit(2, f"{self.prog}: {message}\nSee `{self.prog} --help`.\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="ferlib", description=__doc__)
    parser.add_argument("--version", action="version", version=f"ferlib {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _data_commands(commands)
    _use_commands(commands)
    return parser


def _add(commands, name: str, run, text: str) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=text, formatter_class=_Formatter)
    command.set_defaults(run=run)
    command.add_argument("--json", action="store_true", help="end with one JSON object on stdout")
    return command


def _data_commands(commands) -> None:
    prepare = _add(commands, "prepare", _prepare, "read FER2013 and its FER+ votes, once")
    prepare.add_argument(
        "--fer2013", required=True, metavar="FILE", help="fer2013.tar.gz, a .csv of FER2013"
    )
    prepare.add_argument(
        "--ferplus", required=True, metavar="FILE", help="fer2013new.csv, or the folder with it"
    )
    prepare.add_argument("--out", default="data", metavar="FOLDER", help="where to keep it")
    train = _add(commands, "train", _train, "train a net on the FER+ votes")
    _train_arguments(train)
    quantize = _add(commands, "quantize", _quantize, "find the ranges that int8 needs")
    _quantize_arguments(quantize)
    evaluate = _add(commands, "evaluate", _evaluate, "measure a net on a split, or on a folder")
    _evaluate_arguments(evaluate)


def _train_arguments(train) -> None:
    add = train.add_argument
    add("--out", default="runs/net/net", metavar="PREFIX", help="the net's three files")
    add("--run-folder", metavar="FOLDER", help="checkpoints and log.csv (default: PREFIX-run)")
    source = train.add_mutually_exclusive_group()
    source.add_argument("--data", metavar="FOLDER", help="instead of $FERLIB_DATA or data/")
    source.add_argument("--sample", action="store_true", help="train on drawn faces instead")
    add("--protocol", choices=PROTOCOLS, default=PROTOCOLS[0], help="the votes")
    add("--without-duplicates", action="store_true", help="leave out pictures of later splits")
    add("--net", help="see `ferlib models` (default: vgg13lean)")
    add("--scheme", choices=SCHEMES, help="the targets (default: cross-entropy)")
    add("--epochs", type=number, help="passes over the pictures (default: 32)")
    add("--batch-size", type=number, help="pictures in one step (default: 128)")
    add("--lr", type=amount, help="its peak (default: 0.2; without BatchNorm try a tenth)")
    add("--weight-decay", type=amount, help="pulls weights to zero (default: 0.0005)")
    add(
        "--full-size",
        dest="grow",
        action="store_const",
        const=(),
        help="start with pictures of full size too; slower",
    )
    train.set_defaults(refuse=train.error)
    add("--start", metavar="PREFIX", help="weights of the same net to go on from")
    add("--teacher", nargs="+", metavar="PREFIX", help="nets whose mean answers are learnt too")
    add("--teacher-share", type=share, help="of the targets, the rest are votes (default: 0.5)")
    about = "at full size the teachers, in turns, answer for each picture as augmented; slower"
    add("--teacher-views", action="store_true", default=None, help=about)
    add("--seed", type=seed, help="of all chance: the same seed, the same net (default: 0)")
    precisions = ("auto", "float32", "bfloat16")
    add("--precision", choices=precisions, help="of the convolutions; auto: the faster one")


def _quantize_arguments(quantize) -> None:
    add = quantize.add_argument
    add("weights", metavar="PREFIX", help="the net; PREFIX-int8.json is written")
    source = quantize.add_mutually_exclusive_group()
    source.add_argument("--data", metavar="FOLDER", help="instead of $FERLIB_DATA or data/")
    source.add_argument("--sample", action="store_true", help="calibrate on drawn faces instead")


def _evaluate_arguments(evaluate) -> None:
    add = evaluate.add_argument
    add("--split", choices=("train", "valid", "test"), help="of FER2013 (default: valid)")
    add("--protocol", choices=PROTOCOLS, help=f"the votes (default: {PROTOCOLS[0]})")
    _weights_arguments(evaluate, nargs="+")
    add("--data", metavar="FOLDER", help="FER2013, instead of $FERLIB_DATA or data/")
    evaluate.set_defaults(refuse=evaluate.error)
    add = evaluate.add_argument_group("other data sets, instead of a split").add_argument
    add("--folder", metavar="PATH", help="emotion/picture.png, CK+, JAFFE or FERG")
    kinds = ("auto", "folders", "ckplus", "ckextended", "jaffe", "ferg")
    add("--kind", choices=kinds, help="what it is (default: auto)")
    ways = "take pictures as crops, or find the face (default: auto, small squares are crops)"
    add("--faces", choices=("auto", "crop", "find"), help=ways)
    add("--map", action="append", type=mapping, metavar="NAME=EMOTION", help=MAPPING)
    add("--emotions", type=emotions, metavar="NAME,...", help="answers allowed (default: all)")
    add("--out", metavar="FILE", help="write a CSV: each picture's path, truth, answer, scores")


def mapping(text: str) -> tuple[str, str]:
    name, equals, emotion = text.rpartition("=")
    if not (equals and name and emotion.lower() in (*EMOTIONS, "skip")):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=EMOTION. {MAPPING}")
    return name, emotion.lower()


def emotions(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in EMOTIONS]
    if unknown:
        known = ", ".join(EMOTIONS)
        raise argparse.ArgumentTypeError(f"unknown emotion {unknown[0]!r}; known: {known}")
    return names


def seed(text: str) -> int:
    if not 0 <= int(text) < 2**31:
        raise argparse.ArgumentTypeError(f"{text} is not a seed (0 to 2147483647)")
    return int(text)


def number(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return int(text)


def amount(text: str) -> float:
    if not 0 <= float(text) < float("inf"):  # also refuses nan
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 on")
    return float(text)


def share(text: str) -> float:
    if not 0 <= float(text) <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a share (0 to 1)")
    return float(text)


def port(text: str) -> int:
    if not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text} is not a port (1 to 65535)")
    return int(text)


def _use_commands(commands) -> None:
    predict = _add(commands, "predict", _predict, "read the emotions in photographs and videos")
    _predict_arguments(predict)
    explain = _add(commands, "explain", _explain, "draw what in a face speaks for its emotion")
    _explain_arguments(explain)
    pack = _add(commands, "pack", _pack, "pack a net into an archive for Multi Model Server")
    pack.add_argument("--weights", default=None, metavar="PREFIX", help="default: the shipped net")
    pack.add_argument("--out", default="model_store/fer.mar", metavar="FILE")
    serve = _add(commands, "serve", _serve, "serve the archive with Multi Model Server")
    serve.add_argument("--port", type=port, default=8080, help="on 127.0.0.1")
    serve.add_argument(
        "--archive", metavar="FILE", help="default: model_store/fer.mar, else the shipped net"
    )
    serve.add_argument("--foreground", action="store_true", help="stay until Ctrl-C")
    stop = _add(commands, "stop", _stop, "stop the servers that `ferlib serve` started")
    stop.add_argument("--port", type=int, help="only the one on this port")
    _add(commands, "models", _models, "list the networks")
    _add(commands, "info", _info, "say what MXNet runs on here: device, precision, threads")


def _predict_arguments(predict) -> None:
    predict.set_defaults(parser=predict)
    add = predict.add_argument
    add("photos", nargs="*", metavar="PHOTO", help="picture, video, folder or 'pattern*'")
    add(
        "--camera", nargs="?", const="0", metavar="NUMBER", help="or a file or address; Ctrl-C ends"
    )
    add("--out", metavar="FOLDER", help="also write annotated copies there")
    add(
        "--jsonl", metavar="FILE", help="append a JSON line for each picture and frame; - is stdout"
    )
    add(
        "--csv",
        metavar="FILE",
        help="append a row for each face in a picture or frame; - is stdout",
    )
    add("--timeline", metavar="FILE.png", help="draw the emotions of each face of the videos")
    add(
        "--every",
        type=number,
        default=5,
        metavar="N",
        help="in videos, look for faces at each Nth frame",
    )
    add(
        "--smooth",
        type=amount,
        default=0.5,
        metavar="SECONDS",
        help="over how long videos' scores are averaged",
    )
    _weights_arguments(predict, action="append")  # with nargs it would swallow photographs


def _explain_arguments(explain) -> None:
    explain.set_defaults(jsonl=None, csv=None, timeline=None)  # what predict writes besides
    add = explain.add_argument
    add("photos", nargs="+", metavar="PHOTO", help="picture, folder or 'pattern*'")
    add("--out", default="explained", metavar="FOLDER", help="where the heat maps go")
    about = f"one of {', '.join(EMOTIONS)} (default: each face's own)"
    add("--emotion", choices=EMOTIONS, metavar="NAME", help=about)
    add("--crop", action="store_true", help="pictures are faces already, framed as FER2013's")
    add("--occlusion", action="store_true", help="hide one place after another: slower, plainer")
    shipped = "default: the shipped net; several are averaged"
    add("--weights", action="append", metavar="PREFIX", help=shipped)


def _weights_arguments(command, **how) -> None:
    add = command.add_argument
    add("--weights", metavar="PREFIX", help="default: the shipped net; several are averaged", **how)
    add("--tta", choices=("none", "flip"), default="none", help="also read mirrored")
    about = "of the convolutions; auto: the fastest here"
    add("--precision", choices=("auto", "int8", "fused", "float32"), default="auto", help=about)


if __name__ == "__main__":
    sys.exit(main())
