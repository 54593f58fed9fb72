"""The same nets in MXNet and in onnxruntime: time, size, start, and whether they say the same.

    FERLIB_DATA=... python benchmarks/runtimes.py [--nets ferplus ferplus-small] [--turns 9]

Each kind (MXNet in float32, fused and in int8, onnxruntime in float32 and int8) with each number of
threads is a process that waits for its turn and is then asked alone, for one crop and for 64: from
uint8 to probabilities, the first calls of a turn not counted. A ratio is of one turn. `start` is
from an empty process to its first answer, several times in turns as well. What each says of 200 of
FER2013's validation faces is held against MXNet's float32, and the accuracy is of all of them; then
the whole path, detector and turned heads included, on the photographs of benchmarks/photos (fetched
into the user's cache). Writes results/onnx.json.
"""

import argparse
import importlib.metadata
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from conditions import conditions, plainly, spread, write
from photos import fetch
from tqdm import tqdm
from turns import Rival

from ferlib.cli import arguments

KINDS = ("mxnet float32", "mxnet fused", "mxnet int8", "onnxruntime float32", "onnxruntime int8")
BASE = "mxnet fused"  # that a ratio is to: what MXNet takes where eight bits are no faster
CALLS = {1: 60, 64: 4}  # crops at once -> calls a turn
FACES = 200  # of the validation split that are compared
STARTS = 5


def loaded(kind: str, prefix: str, file: str) -> tuple:
    """(net, info) of one kind; `file` is the int8 file of onnxruntime's."""
    from ferlib.nets.answer import opened

    engine, precision = kind.split()
    weights = file if kind == "onnxruntime int8" else prefix
    net, info, _ = opened(weights, "mxnet" if engine == "mxnet" else "onnx", None, precision)
    return net, info


# ---------------------------------------------------------------- the other end


def work(kind: str, prefix: str, file: str) -> None:
    """For each line [crops, calls] the seconds of a call."""
    from ferlib.nets.answer import predict

    net, info = loaded(kind, prefix, file)
    crops = np.random.default_rng(0).integers(0, 256, (max(CALLS), 48, 48), np.uint8)
    predict(net, crops[:1], info)
    print("ready", flush=True)
    for line in sys.stdin:
        count, calls = json.loads(line)
        some = crops[:count]
        for _ in range(1 + calls // 4):  # caches and threads come back from others' turns
            predict(net, some, info)
        started = time.perf_counter()
        for _ in range(calls):
            predict(net, some, info)
        print((time.perf_counter() - started) / calls, flush=True)


def rival(kind: str, threads: int, *files: str) -> Rival:
    """A kind in a process of its own."""
    command = [sys.executable, __file__, "--work", kind, *files]
    return Rival(command, os.environ | {"OMP_NUM_THREADS": str(threads)})


# ---------------------------------------------------------------- time and size


def race(files: tuple[str, str], turns: int, threads: tuple[int, ...]) -> dict[tuple, list[float]]:
    """{(kind, threads, crops): seconds of a call, a figure a turn}."""
    with ExitStack() as ends:
        rivals = {
            (kind, count): ends.enter_context(rival(kind, count, *files))
            for kind, count in itertools.product(KINDS, threads)
        }
        spent: dict[tuple, list[float]] = {}
        for _ in tqdm(range(turns), desc="turns", unit="turn", disable=None):
            for (crops, calls), (who, one) in itertools.product(CALLS.items(), rivals.items()):
                asked = json.dumps([crops, calls])
                spent.setdefault((*who, crops), []).append(one.ask(asked))
    return spent


def table(spent: dict[tuple, list[float]], threads: tuple[int, ...]) -> dict:
    """By threads and crops: ms of a call, and how many times as fast as BASE."""
    report: dict[str, dict] = {}
    for count, crops in itertools.product(threads, CALLS):
        row = report.setdefault(f"threads: {count}", {})[f"crops: {crops}"] = {}
        base = spent[BASE, count, crops]
        for kind in KINDS:
            mine = spent[kind, count, crops]
            times = spread([a / b for a, b in zip(base, mine, strict=True)])
            row[kind] = {"ms": round(1000 * statistics.median(mine), 2), "times": times}
    return report


def starts(files: tuple[str, str], rounds: int) -> dict[str, float]:
    """Median seconds from an empty process to the first answer of each kind."""
    spent: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _, kind in itertools.product(range(rounds), KINDS):
        began = time.perf_counter()
        with rival(kind, 1, *files):
            spent[kind].append(time.perf_counter() - began)
    return {kind: round(statistics.median(values), 2) for kind, values in spent.items()}


def sizes(prefix: Path, folder: Path) -> dict[str, int]:
    """Bytes on the disk of what each kind reads."""
    from ferlib.nets.places import int8_file, weight_files

    plain = sum(path.stat().st_size for path in weight_files(prefix))
    return {
        "mxnet": plain,
        "mxnet int8": plain + int8_file(prefix).stat().st_size,
        "onnx": (folder / "net.onnx").stat().st_size,
        "onnx, whole": (folder / "whole.onnx").stat().st_size,
        "onnx int8": (folder / "int8.onnx").stat().st_size,
    }


# ---------------------------------------------------------------- the same answers


def parity(files: tuple[str, str], whole: Path) -> dict:
    """On FACES validation faces against MXNet's float32, and the accuracy on all of the split."""
    from ferlib.data import fer2013
    from ferlib.metrics import measure
    from ferlib.nets.answer import predict
    from ferlib.serving.onnx import reader

    valid = fer2013.load().split("valid")
    pictures = valid.array(48)
    said = {}
    for kind in KINDS:
        net, info = loaded(kind, *files)
        said[kind] = predict(net, pictures, info)
    said["onnxruntime float32, whole"] = reader(whole, info, whole=True)(pictures)
    rows = np.linspace(0, len(valid) - 1, FACES).astype(int)
    full, report = said[KINDS[0]], {}
    for kind, scores in said.items():
        apart = np.abs(scores[rows] - full[rows]).max()
        same = (scores.argmax(axis=1) == full.argmax(axis=1)).mean()
        accuracy = measure(scores, valid).accuracy
        report[kind] = {"largest": float(f"{apart:.1e}"), "same": round(float(same), 5)}
        report[kind] |= {"accuracy": accuracy}
    return {"faces": FACES, "n": len(valid), "kinds": report}


def whole_path(prefix: Path, folder: Path) -> dict:
    """Photographs read by both engines in float32, from JPEG to probabilities."""
    import ferlib

    fetch.fetch(folder)
    mxnet = ferlib.Recognizer(prefix, precision="float32", engine="mxnet")
    onnx = ferlib.Recognizer(prefix, engine="onnx")
    known = fetch.truth()
    counts = {"pictures": 0, "faces": 0, "same box": 0, "same roll": 0, "same emotion": 0}
    largest, other = 0.0, 0
    for size, one in itertools.product(known["sizes"], known["photographs"]):
        file = folder / str(size) / f"{one['name']}.jpg"
        theirs, mine = mxnet(file), onnx(file)
        counts["pictures"] += 1
        counts["faces"] += len(theirs)
        other += len(theirs) != len(mine)
        for a, b in zip(theirs, mine, strict=False):
            counts["same box"] += a.box == b.box
            counts["same roll"] += a.roll == b.roll
            counts["same emotion"] += a.emotion == b.emotion
            largest = max(largest, *(abs(a.scores[name] - b.scores[name]) for name in a.scores))
    return counts | {"pictures with other faces": other, "largest": float(f"{largest:.1e}")}


# ---------------------------------------------------------------- all of it


def exported(prefix: Path, folder: Path) -> None:
    """The files that are compared."""
    from ferlib.data import fer2013
    from ferlib.serving import onnx

    learn = fer2013.load().split("train").array(48)
    onnx.export(prefix, folder / "net.onnx")
    onnx.export(prefix, folder / "whole.onnx", whole=True)
    onnx.export(prefix, folder / "int8.onnx", pictures=learn)


def measured(prefix: Path, photos: Path, args: argparse.Namespace) -> dict:
    """Everything about one net."""
    from ferlib import runtime

    threads = tuple(dict.fromkeys((1, runtime.cores())))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        exported(prefix, folder)
        files = (str(prefix), str(folder / "int8.onnx"))
        report = {"bytes": sizes(prefix, folder), "start_s": starts(files, args.starts)}
        report |= table(race(files, args.turns, threads), threads)
        report["validation"] = parity(files, folder / "whole.onnx")
    return report | {"photographs": whole_path(prefix, photos)}


@plainly
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--nets", nargs="+", default=["ferplus", "ferplus-small"], metavar="NAME")
    parser.add_argument("--turns", type=arguments.number, default=9)
    parser.add_argument("--starts", type=arguments.number, default=STARTS, help="of each kind")
    parser.add_argument("--print", action="store_true", help="only print, for a try")
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        return work(*args.work)
    from ferlib.files import cache_folder
    from ferlib.nets.places import find_weights

    versions = {one: importlib.metadata.version(one) for one in ("onnx", "onnxruntime")}
    command = f"python benchmarks/runtimes.py --nets {' '.join(args.nets)} --turns {args.turns}"
    report: dict = {"conditions": conditions(command, **versions), "ratios_to": BASE, "nets": {}}
    for name in args.nets:
        report["nets"][name] = measured(
            find_weights(name), cache_folder() / "photos" / "photographs", args
        )
    print(json.dumps(report, indent=1)) if args.print else write("onnx", report)


if __name__ == "__main__":
    main()
