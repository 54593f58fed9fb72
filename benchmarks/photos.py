"""From JPEG files to the emotions of every face: ferlib beside fer, face-api and human, in turns.

    python benchmarks/photos.py [--rounds 3] [--rivals FOLDER] [--ferlib before=CHECKOUT ...]

Fifteen photographs with 43 faces (photos/truth.json: nine of groups, four with one or two faces,
two with none), at 480, 640, 1024 and 1600 pixels on the longer side, JPEG quality 90. Some are
smaller than that by nature and thus enlarged. Each system is a process that runs alone: it loads,
reads one picture to warm up, then all of them at each size, decoding included, with as many threads
as it takes by itself; then the next system's turn comes. Several rounds, and a rate is that of the
median round.

A face is found when a box of its own overlaps its true one by more than 0.3 of their union, or "by
centre" when the centre of each lies in the other; every other box is extra. The rivals and the
photographs are fetched once into FOLDER, by default in the user's cache (photos/rivals.py and
photos/fetch.py do it alone). ferlib is measured with `many` and with one call for each; several
--ferlib NAME=CHECKOUT, or NAME=PYTHON, compare versions. Writes results/photos.json; with --only or
--sizes only prints.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

from conditions import ROOT, conditions, plainly, spread, write
from photos import fetch, rivals, scoring, sides
from PIL import Image

from ferlib.cli import arguments
from ferlib.errors import FerlibError
from ferlib.files import cache_folder

WAYS = ("many", "one", "thorough")  # the last where a version has it


def systems(versions: dict[str, Path], folder: Path, backends: list[str]) -> dict[str, tuple]:
    """Each system's command and environment, in the order of their turns."""
    known = {
        f"{name}, {how}": sides.ours(where, how) for name, where in versions.items() for how in WAYS
    }
    known |= {f"fer, {one}": sides.fer(folder, one) for one in ("haar", "mtcnn")}
    names = {"ssd": "face-api, ssd", "tiny": "face-api, tiny", "human": "human"}
    names["human-mesh"] = "human, mesh"
    for backend in backends:
        for key, name in names.items():
            known[f"{name} ({backend})"] = sides.node(folder, key, backend)
    return known


# ---------------------------------------------------------------- one turn


def turn(name: str, how: tuple, folder: Path, sizes: list[int]) -> dict | None:
    """Load, warm up, read all photographs at each size; None where a version has no such way."""
    truth = fetch.truth()["photographs"]
    with sides.Side(name, *how) as side:
        if side.ready.get("absent"):
            return None
        files = {size: [folder / f"{size}/{one['name']}.jpg" for one in truth] for size in sizes}
        side.read(files[sizes[0]][:1])
        report = {"load_seconds": round(side.ready["load_seconds"], 1), "sizes": {}}
        for size in sizes:
            answer = side.read(files[size])
            rate = len(truth) / answer["seconds"]
            counts = score(truth, files[size], answer["faces"])
            report["sizes"][size] = {"pictures_per_second": rate} | counts
            print(f"  {name} at {size}: {rate:.2f}/s, {counts}", file=sys.stderr)
        return report | {"peak_mb": side.peak(), "versions": side.ready["versions"]}


def score(truth: list[dict], files: list[Path], answers: list) -> dict[str, int]:
    """True faces found and extra boxes, by overlap and by centre."""
    if not all(face[4] for faces in answers for face in faces):
        raise FerlibError("a face came back without its emotion: the comparison would not be fair")
    boxes = sum(map(len, answers))
    counts = {"boxes": boxes}
    for how, ending in ((scoring.by_overlap, ""), (scoring.by_centre, "_by_centre")):
        pairs = zip(truth, files, answers, strict=True)
        found = sum(scoring.found(true_boxes(one, file), got, how) for one, file, got in pairs)
        counts |= {f"found{ending}": found, f"extra{ending}": boxes - found}
    return counts


def true_boxes(one: dict, file: Path) -> list[list[float]]:
    """In pixels of this file."""
    with Image.open(file) as picture:
        width, height = picture.size
    return [[x * width, y * height, w * width, h * height] for x, y, w, h in one["faces"]]


# ---------------------------------------------------------------- all of them


def described() -> dict:
    """How many photographs and faces, and the packages that they come from."""
    known = fetch.truth()["photographs"]
    faces = sum(len(one["faces"]) for one in known)
    packages = sorted({one["package"] for one in known})
    return {"photographs": len(known), "true_faces": faces, "packages": packages}


def summary(turns: list[dict]) -> dict:
    """One system's rounds as one: rates with their spread, counts of the last, the highest peak."""
    last = turns[-1]
    rows = {}
    for size, counts in last["sizes"].items():
        rates = [one["sizes"][size]["pictures_per_second"] for one in turns]
        rows[size] = counts | {"pictures_per_second": spread(rates)}
    load = statistics.median(one["load_seconds"] for one in turns)
    peak = max(one["peak_mb"] for one in turns)
    return {
        "versions": last["versions"],
        "load_seconds": load,
        "peak_mb": peak,
        "sizes": rows,
    }


def beside(rounds: dict[str, list[dict]], ours: list[str], sizes: list[int]) -> dict:
    """At each size the fastest of the others, and our rate to its rate in each round."""

    def rates(name: str, size: int) -> list[float]:
        return [one["sizes"][size]["pictures_per_second"] for one in rounds[name]]

    report = {}
    others = [name for name in rounds if name not in ours]
    for size in sizes if others else []:
        best = max(others, key=lambda name: statistics.median(rates(name, size)))
        ratios = {
            name: [a / b for a, b in zip(rates(name, size), rates(best, size), strict=True)]
            for name in ours
        }
        report[size] = {"fastest": best} | {name: spread(row) for name, row in ratios.items()}
    return report


def measure(known: dict[str, tuple], count: int, folder: Path, sizes: list[int]) -> dict:
    """All systems in turns, so many rounds -> each one's turns."""
    rounds: dict[str, list[dict]] = {name: [] for name in known}
    for number in range(count):
        print(f"round {number + 1} of {count}", file=sys.stderr)
        for name in list(rounds):
            found = turn(name, known[name], folder, sizes)
            if found is None:
                del rounds[name]
            else:
                rounds[name].append(found)
    return rounds


def version(given: str) -> tuple[str, Path]:
    """NAME=CHECKOUT or NAME=PYTHON."""
    name, _, where = given.partition("=")
    if not name or not where or not Path(where).exists():
        raise FerlibError(f"--ferlib {given}: give NAME=CHECKOUT or NAME=PYTHON")
    return name, Path(where)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--rounds", type=arguments.number, default=3)
    add("--rivals", type=Path, default=cache_folder() / "photos", metavar="FOLDER")
    add("--ferlib", action="append", metavar="NAME=CHECKOUT", help="or NAME=PYTHON; repeatable")
    add("--wasm", action="store_true", help="WebAssembly too, where tfjs-node is there")
    add("--sizes", type=arguments.number, nargs="+", help="only these; prints, writes nothing")
    add("--only", nargs="+", metavar="WORD", help="systems with these in their names; prints")
    return parser.parse_args()


@plainly
def main() -> None:
    args = parsed()
    versions = dict(map(version, args.ferlib or [f"ferlib={ROOT}"]))
    folder, sizes = args.rivals.resolve(), args.sizes or fetch.truth()["sizes"]
    backends = [rivals.install(folder)] + ["wasm"] * args.wasm
    fetch.fetch(folder / "photographs")
    known = systems(versions, folder, list(dict.fromkeys(backends)))
    if args.only:
        known = {name: how for name, how in known.items() if any(w in name for w in args.only)}
    compared = "".join(f" --ferlib {name}=CHECKOUT" for name in versions if args.ferlib)
    state = conditions(f"python benchmarks/photos.py --rounds {args.rounds}{compared}")
    rounds = measure(known, args.rounds, folder / "photographs", sizes)
    report = {"conditions": state, "photographs": described()}
    report["systems"] = {name: summary(turns) for name, turns in rounds.items()}
    ours = [name for name in rounds if name.partition(",")[0] in versions]
    report["to_the_fastest_other"] = beside(rounds, ours, sizes)
    if args.only or args.sizes:
        print(json.dumps(report, indent=1))
    else:
        write("photos", report)


if __name__ == "__main__":
    main()
