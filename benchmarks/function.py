"""The function for AWS Lambda, by AWS's own client: size, start, time, memory, the same answers.

    FERLIB_DATA=... python benchmarks/function.py [--turns 15] [--events 2000] [--print]

The package is built as deploy/lambda/pack.py does it, and run in a process in which nothing else
can be imported, with the runtime API of Lambda emulated on loopback (lambda_api.py). `start_s` is
from an empty process to its first answer, files read before. An event's time is from its going out
to its answer's coming in, beside Recognizer's own in the same package and Python, in turns; a ratio
is of one turn. Memory is the process's after WARM events and at the end, one in five of them bad.
The answers are held against those of the server's handler (answers.py).
Writes results/function.json.
"""

import argparse
import base64
import io
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import answers
import numpy as np
import psutil
from conditions import ROOT, conditions, plainly, spread, write
from lambda_api import BARE, Lambda
from PIL import Image
from skimage import data
from tqdm import tqdm
from turns import Rival

from ferlib.cli import arguments

sys.path[:0] = [str(ROOT / "deploy" / "lambda"), str(ROOT / "scripts")]
import pack  # noqa: E402
import try_pythons  # noqa: E402

STARTS = 9
CALLS = 10  # a turn
WARM = 300  # events until when the memory may still grow
# Recognizer's own time, in a process with nothing but the package.
OWN = """
import sys; sys.path.insert(0, ".")
import time
from ferlib import Recognizer
fer = Recognizer("model_store/ferplus.onnx", detector="model_store/faces.onnx")
picture = open(sys.argv[1], "rb").read()
fer(picture)
print("ready", flush=True)
for line in sys.stdin:
    began = time.perf_counter()
    for _ in range(int(line)):
        fer(picture)
    print((time.perf_counter() - began) / int(line), flush=True)
"""


def encoded(picture: np.ndarray, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, kind, quality=90)
    return buffer.getvalue()


def direct(picture: bytes) -> dict:
    return {"image": base64.b64encode(picture).decode()}


def over_http(picture: bytes) -> dict:
    context = {"http": {"method": "POST", "path": "/", "protocol": "HTTP/1.1"}}
    fields = {"headers": {"content-type": "image/jpeg"}, "requestContext": context}
    body = {"body": base64.b64encode(picture).decode(), "isBase64Encoded": True}
    return {"version": "2.0", "rawPath": "/"} | fields | body


EVENTS = {"direct": direct, "over HTTP": over_http}


# ---------------------------------------------------------------- time


def start(package: Path, python: str, event: dict) -> float:
    """Seconds from an empty process to its first answer."""
    began = time.perf_counter()
    with Lambda(package, python) as function:
        told = function.ask(event)
        seconds = time.perf_counter() - began
    if told.kind != "response":
        raise SystemExit(f"function: {told.body.decode()}")
    return seconds


def warm(package: Path, python: str, picture: bytes, turns: int) -> dict:
    """ms of an event and of Recognizer's own call, and how many times as long the event takes."""
    with ExitStack() as ends:
        file = Path(ends.enter_context(tempfile.TemporaryDirectory()), "picture.jpg")
        file.write_bytes(picture)
        function = ends.enter_context(Lambda(package, python))
        own = ends.enter_context(Rival([python, "-S", "-c", OWN, file], BARE, package))
        spent: dict[str, list[float]] = {name: [] for name in ("Recognizer", *EVENTS)}
        for _ in tqdm(range(turns), desc="turns", unit="turn", disable=None):
            spent["Recognizer"].append(own.ask(str(CALLS)))
            for name, event in EVENTS.items():
                some = [function.ask(event(picture)).seconds for _ in range(CALLS)]
                spent[name].append(statistics.fmean(some))
    report: dict = {"ms": {n: round(1000 * statistics.median(s), 2) for n, s in spent.items()}}
    for name in EVENTS:
        pairs = zip(spent[name], spent["Recognizer"], strict=True)
        report[f"times, {name}"] = spread([mine / theirs for mine, theirs in pairs])
    return report


# ---------------------------------------------------------------- memory


def mixed(picture: bytes) -> Iterator[dict | bytes]:
    """Good events of all forms and sizes, and one bad one in five, without end."""
    sizes = [encoded(data.astronaut()[: 512 - 40 * step, 40 * step :]) for step in range(6)]
    good = [event(one) for one in (picture, *sizes) for event in EVENTS.values()]
    bad = [b"{", {"image": "?"}, {"url": "http://127.0.0.1/"}, direct(picture[:3000]), [5]]
    for number in itertools.count():
        yield good[number % len(good)] if number % 5 else bad[number // 5 % len(bad)]


def memory(package: Path, python: str, picture: bytes, events: int) -> dict:
    """MB after WARM events and at the end, and the curve between."""
    curve: dict[int, float] = {}
    with Lambda(package, python) as function:
        process = psutil.Process(function.process.pid)
        some = itertools.islice(mixed(picture), events)
        for number, event in enumerate(tqdm(some, "events", events, disable=None), 1):
            function.ask(event)
            if number % 100 == 0:
                curve[number] = round(process.memory_info().rss / 1e6, 1)
    warm, end = curve[min(WARM, max(curve))], curve[max(curve)]
    return {"mb_warm": warm, "mb_end": end, "growth": round(end / warm - 1, 4), "mb": curve}


def asked(function: Lambda, png: bytes) -> list[dict]:
    """What `answers.apart` compares."""
    return answers.read(function.ask(direct(png)).answer)


# ---------------------------------------------------------------- all of it


@plainly
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=arguments.number, default=15)
    parser.add_argument("--events", type=arguments.number, default=2000, help="for the memory")
    parser.add_argument("--print", action="store_true", help="only print, for a try")
    args = parser.parse_args()
    found = try_pythons.find(pack.PYTHON)
    version = pack.PYTHON if found else ".".join(map(str, sys.version_info[:2]))
    python, picture = found or sys.executable, encoded(data.astronaut())
    command = f"python benchmarks/function.py --turns {args.turns} --events {args.events}"
    with tempfile.TemporaryDirectory() as name:
        package = Path(name, "package")
        pack.assemble(package, version, "x86_64", container=True)
        parts = pack.sizes(package)
        report: dict = {"conditions": conditions(command, package_python=version)}
        report["mb"] = {name: round(mb, 1) for name, mb in parts.most_common(6)}
        report["mb"]["in all"] = round(parts.total(), 1)
        start(package, python, direct(picture))  # the files are read once
        spent = [start(package, python, direct(picture)) for _ in range(STARTS)]
        report["start_s"] = {"median": statistics.median(spent), "longest": max(spent)}
        report["start_s"] = {key: round(value, 2) for key, value in report["start_s"].items()}
        report |= warm(package, python, picture, args.turns)
        report["memory"] = memory(package, python, picture, args.events)
        with Lambda(package, python) as function:
            report["apart"] = answers.apart(lambda png: asked(function, png))
    print(json.dumps(report, indent=1)) if args.print else write("function", report)


if __name__ == "__main__":
    main()
