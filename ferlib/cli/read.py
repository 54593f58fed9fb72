"""ferlib predict, explain."""

import json
from argparse import Namespace
from typing import Any

from ferlib.cli.arguments import add_command, add_prior, add_weights, amount, number, place
from ferlib.data.labels import EMOTIONS
from ferlib.runtime import ENGINES


def predict(args: Namespace) -> None:
    from ferlib import Recognizer
    from ferlib.reading import Job

    if not args.photos and args.camera is None:
        args.refuse("name pictures, videos or folders, or give --camera")
    known = {"precision": args.precision, "thorough": args.thorough, "prior": args.prior}
    known |= {"engine": args.engine, "detector": args.detector}
    fer = Recognizer(args.weights, flip=args.tta == "flip", **known)
    writes = {name: getattr(args, name) for name in ("out", "csv", "jsonl", "timeline")}
    silent = args.json or "-" in (args.jsonl, args.csv)
    how = {"every": args.every, "smooth": args.smooth} | ({"say": _nothing} if silent else {})
    _finished(Job(fer, **writes, **how), args, args.camera)


def explain(args: Namespace) -> None:
    from ferlib import Recognizer
    from ferlib.nets.places import is_onnx
    from ferlib.reading import HeatJob

    # Gradients need float32; a file for onnxruntime has none, and may hold int8.
    files = any(map(is_onnx, args.weights or ()))
    fer = Recognizer(args.weights, precision="auto" if files else "float32")
    how = {"say": _nothing} if args.json else {}
    what = {"emotion": args.emotion, "crop": args.crop, "hide": args.occlusion}
    _finished(HeatJob(fer, args.out, **what, **how), args)


def _finished(job, args, camera: str | None = None) -> None:
    """Run it and print what it found, also when it is stopped; then raise if a file failed."""
    try:
        job.run(args.photos, camera)
    finally:
        if args.json:
            print(json.dumps(job.answer), flush=True)
    job.tell_failed()


def _nothing(_line: str) -> None:
    """Standard output is for something else."""


def add_commands(commands: Any) -> None:
    about = "read the emotions in photographs and videos"
    command = add_command(commands, "predict", predict, about)
    add = command.add_argument
    add("photos", nargs="*", metavar="PHOTO", help="picture, video, folder or 'pattern*'")
    about = "or a file or address; Ctrl-C ends"
    add("--camera", nargs="?", const="0", metavar="NUMBER", help=about)
    add("--out", type=place, metavar="FOLDER", help="also write annotated copies there")
    about = "append a JSON line for each picture and frame; - is stdout"
    add("--jsonl", type=place, metavar="FILE", help=about)
    about = "append a row for each face in a picture or frame; - is stdout"
    add("--csv", type=place, metavar="FILE", help=about)
    about = "draw the emotions of each face of the videos"
    add("--timeline", type=place, metavar="FILE.png", help=about)
    about = "photographs: look for small and tilted faces where nothing hints at them"
    add("--thorough", action="store_true", help=about)
    about = "what reads the faces: MXNet, or onnxruntime (default: MXNet where it is installed)"
    add("--engine", choices=ENGINES, help=about)
    about = "what finds them: a file of `ferlib export --detector` (default: the installed one)"
    add("--detector", metavar="FILE", help=about)
    about = "in videos, look for faces at each Nth frame"
    add("--every", type=number, default=5, metavar="N", help=about)
    about = "over how long videos' scores are averaged"
    add("--smooth", type=amount, default=0.5, metavar="SECONDS", help=about)
    add_weights(command, action="append")  # with nargs it would swallow photographs
    add_prior(command)
    about = "draw what in a face speaks for its emotion"
    command = add_command(commands, "explain", explain, about)
    add = command.add_argument
    add("photos", nargs="+", metavar="PHOTO", help="picture, folder or 'pattern*'")
    add("--out", type=place, default="explained", metavar="FOLDER", help="where the heat maps go")
    about = f"one of {', '.join(EMOTIONS)}, or of the net's own (default: each face's)"
    add("--emotion", metavar="NAME", help=about)
    add("--crop", action="store_true", help="pictures are faces already, framed as FER2013's")
    add("--occlusion", action="store_true", help="hide one place after another: slower, plainer")
    shipped = "default: the shipped net; several are averaged"
    add("--weights", action="append", metavar="PREFIX", help=shipped)
