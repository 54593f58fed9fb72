"""fer2013.csv -> arrays: `ferlib.data.fer2013.read` beside the csv module, in turns, in one run.

    python benchmarks/parse.py [--fer2013 FILE --ferplus FILE] [--repeat 5]

Both give the same arrays (checked). Each reading is a process of its own, so that its peak memory
is its own too; the time is that of reading alone, without starting Python and importing. Writes
results/parse.json. An archive is unpacked for the plain reader, which knows nothing else, and read
as it is, a third competitor, besides. `--rows 2000` is for a short try and writes nothing.
"""

import argparse
import csv
import hashlib
import json
import multiprocessing
import os
import resource
import shutil
import statistics
import sys
import tarfile
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np
from conditions import conditions, write

from ferlib.cli import arguments
from ferlib.data import fer2013

USAGES = ["Training", "PublicTest", "PrivateTest"]


def plain(pictures: str, votes: str) -> np.ndarray:
    """As most scripts do it: the csv module, and one array for each row's text."""
    found, usage = [], []
    with open(pictures, newline="") as file:
        for row in csv.DictReader(file):
            found.append(np.array(row["pixels"].split(), dtype=np.uint8).reshape(48, 48))
            usage.append(USAGES.index(row["Usage"]))
    with open(votes, newline="") as file:
        counts = [list(map(int, row[2:])) for row in islice(csv.reader(file), 1, None)]
    assert len(counts) == len(found) == len(usage)
    return np.stack(found)


def ours(pictures: str, votes: str) -> np.ndarray:
    return fer2013.read(pictures, votes).pictures


READERS = {"ferlib": ours, "row_by_row": plain, "ferlib_archive": ours}


def measure(name: str, pictures: str, votes: str, answer) -> None:
    """In a process of its own: seconds, CPU seconds, peak memory in MB, checksum."""
    start, cpu = time.perf_counter(), time.process_time()
    found = READERS[name](pictures, votes)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    answer.put((seconds, cpu, peak, len(found), hashlib.sha256(found.tobytes()).hexdigest()))


def in_turns(sources: dict[str, str], votes: str, repeat: int) -> dict[str, list[tuple]]:
    """Every reader once, then again: what else the machine does hits all of them alike."""
    spawn = multiprocessing.get_context("spawn")
    found = {name: [] for name in sources}
    for turn in range(repeat):
        for name, pictures in sources.items():
            answer = spawn.Queue()
            process = spawn.Process(target=measure, args=(name, pictures, votes, answer))
            process.start()
            found[name].append(answer.get(timeout=600))
            process.join()
            print(f"{turn + 1}/{repeat} {name:15} {found[name][-1][0]:7.2f} s", flush=True)
    return found


def shortened(pictures: Path, votes: Path, rows: int, folder: Path) -> tuple[Path, Path]:
    """The first `rows` rows of both."""
    made = []
    for path in (pictures, votes):
        made.append(folder / f"first-{path.name}")
        with open(path, "rb") as whole, open(made[-1], "wb") as part:
            part.writelines(islice(whole, rows + 1))
    return made[0], made[1]


def unpacked(archive: Path, folder: Path) -> Path:
    with tarfile.open(archive) as tar:
        member = next(m for m in tar if m.name.endswith("fer2013.csv"))
        with open(folder / "fer2013.csv", "wb") as file:
            shutil.copyfileobj(tar.extractfile(member), file, 1 << 20)
    return folder / "fer2013.csv"


def summary(found: dict[str, list[tuple]]) -> dict:
    """Medians with the extremes; the ratio is of the runs of one turn."""
    result = {}
    for name, runs in found.items():
        seconds, cpu, peak, _, _ = zip(*runs, strict=True)
        result[name] = {
            "seconds": round(statistics.median(seconds), 3),
            "seconds_all": [round(s, 3) for s in seconds],
            "cpu_seconds": round(statistics.median(cpu), 3),
            "peak_mb": round(max(peak)),
        }
    pairs = zip(found["ferlib"], found["row_by_row"], strict=True)
    result["times_faster"] = round(statistics.median(b[0] / a[0] for a, b in pairs), 2)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    data = Path(os.environ.get("FERLIB_DATA") or "data")
    parser.add_argument("--fer2013", type=Path, default=data / "fer2013.tar.gz")
    parser.add_argument("--ferplus", type=Path, default=data / "fer2013new.csv")
    parser.add_argument("--repeat", type=arguments.number, default=5)
    parser.add_argument("--rows", type=arguments.number, help="only so many, and write nothing")
    args = parser.parse_args()
    for path in (args.fer2013, args.ferplus):
        if not path.is_file():
            print(f"skipped: {path} is not there; name the published file, or set FERLIB_DATA")
            return
    with tempfile.TemporaryDirectory() as folder:
        pictures, votes, sources = args.fer2013, args.ferplus, {}
        if pictures.name.endswith(".tar.gz"):
            sources["ferlib_archive"] = str(pictures)
            pictures = unpacked(pictures, Path(folder))
        if args.rows:
            pictures, votes = shortened(pictures, votes, args.rows, Path(folder))
            sources = {}
        sources = {"ferlib": str(pictures), "row_by_row": str(pictures)} | sources
        known = conditions(shown(args), repeat=args.repeat)
        found = in_turns(sources, str(votes), args.repeat)
    results = {run[3:] for runs in found.values() for run in runs}
    assert len(results) == 1, f"the readers differ: {results}"
    report = {"conditions": known | {"n": results.pop()[0]}, **summary(found)}
    print(json.dumps(report, indent=1)) if args.rows else write("parse", report)


def shown(args: argparse.Namespace) -> str:
    """The command without this machine's folders."""
    files = f"--fer2013 {args.fer2013.name} --ferplus {args.ferplus.name}"
    return f"python benchmarks/parse.py {files} --repeat {args.repeat}"


if __name__ == "__main__":
    sys.exit(main())
