"""Faces from 36 pixels on in whole scenes: how many are found, and what is taken for one.

    FERLIB_DATA=... python benchmarks/detector.py [--scenes 24]

Scenes of several sizes hold up to twelve of FER2013's validation faces each, 36 to 200 pixels
large, before faceless photographs; some hold none. Without the real data only the photographs that
come with scikit-image are looked at. Compares `Recognizer.find` with its thorough way, and with its
quick way, for frames of videos. Times are ratios, as the machine may be busy. And in each scene as
it is libfacedetection's network in other engines is held against the library's own code: boxes and
landmarks that are the same to a pixel. Writes results/detector.json.
"""

import argparse
import time
from collections.abc import Callable
from functools import cache, partial
from itertools import chain, pairwise

import numpy as np
import scenes
from conditions import conditions, write
from tqdm import tqdm

from ferlib.cli import arguments
from ferlib.errors import FerlibError
from ferlib.faces.detectors import Detector, default_detector, found, libfacedetection
from ferlib.faces.engines import ENGINES
from ferlib.faces.face import overlaps
from ferlib.faces.search import search

SIZES = ((640, 480), (1024, 768), (1600, 1200), (3000, 2250))
BOUNDS = (36, 48, 72, 110, 201)  # classes of face sizes: the square root of the box's area
SAME = 0.4  # intersection over union, as the true box is FER2013's median one
TOLD = 0.2  # confidence from which on the library's own code tells a face
BOX, LANDMARKS = slice(0, 4), slice(5, 15)  # of a row

Find = Callable[[np.ndarray], np.ndarray]


@cache
def ways() -> dict[str, Find]:
    detect = default_detector()
    return {
        "find": partial(search, detect),
        "thorough": partial(search, detect, thorough=True),
        "quick": partial(search, detect, quick=True),
    }


@cache
def own() -> Detector:
    return libfacedetection("own")


@cache
def others() -> dict[str, Detector]:
    return {name: libfacedetection(name) for name in ENGINES}


def look(find: Find, scene: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, int, float]:
    """Which faces (N,) are found, how many boxes hold none of them, and the seconds it took."""
    started = time.perf_counter()
    boxes = find(scene)[:, BOX]
    seconds = time.perf_counter() - started
    shared = np.array([overlaps(face, boxes) for face in truth])
    shared = shared.reshape(len(truth), len(boxes))
    hit = (shared > SAME).any(axis=1)
    return hit, int((shared.max(axis=0, initial=0) <= SAME).sum()), seconds


def compare(scene: np.ndarray) -> dict[str, np.ndarray]:
    """For each engine bool (F, 2) of what it or the own code tells: same box, same landmarks."""
    (wanted,) = found(own(), [scene])
    return {name: alike(found(one, [scene])[0], wanted) for name, one in others().items()}


def alike(rows: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Those that only one side tells are not the same; the own code's are whole pixels."""
    told, same = rows[rows[:, 4] >= TOLD], []
    for face in wanted:
        shared = overlaps(face[BOX], told[:, BOX])
        if shared.max(initial=0) > SAME:
            off = np.abs(told[shared.argmax()] - face)
            told = np.delete(told, shared.argmax(), axis=0)
            same.append((off[BOX].max() <= 1, off[LANDMARKS].max() <= 1))
        else:
            same.append((False, False))
    return np.array(same + [(False, False)] * len(told), bool).reshape(-1, 2)


def measure(size: tuple[int, int], pictures: np.ndarray, n: int, rng) -> dict[str, list]:
    """For each way what `look` says of n scenes, the sizes of the faces in them, and `compare`."""
    seen: dict[str, list] = {name: [] for name in (*ways(), "sizes", "engines")}
    for _ in tqdm(range(n), desc=f"{size[0]} x {size[1]}", unit="scene", disable=None):
        scene, truth = scenes.crowd(pictures, size, BOUNDS[0], BOUNDS[-1] - 1, rng)
        seen["sizes"].append(truth[:, 2].round())
        seen["engines"].append(compare(scene))
        for name, find in ways().items():
            seen[name].append(look(find, scene, truth))
    return seen


def summary(seen: dict[str, list]) -> dict:
    """Recall over all and by size of face, false boxes a scene, and time beside the quick way."""
    sizes = np.concatenate(seen["sizes"])
    seconds = {name: np.median([row[2] for row in seen[name]]) for name in ways()}
    report = {"scenes": len(seen["sizes"]), "faces": len(sizes)}
    for name in ways():
        hit = np.concatenate([row[0] for row in seen[name]])
        report[name] = {
            "recall": share(hit),
            "recall_by_size": by_size(hit, sizes),
            "false_a_scene": round(float(np.mean([row[1] for row in seen[name]])), 3),
            "time": round(float(seconds[name] / seconds["quick"]), 1),
        }
    return report | {"as_the_own_code": {name: equal(seen["engines"], name) for name in others()}}


def equal(compared: list[dict[str, np.ndarray]], name: str) -> dict:
    """Of the faces that an engine or the own code tells the share that is the same to a pixel."""
    same = np.concatenate([one[name] for one in compared])
    return {"told": len(same), "box": share(same[:, 0], 4), "landmarks": share(same[:, 1], 4)}


def by_size(hit: np.ndarray, sizes: np.ndarray) -> dict[str, float]:
    classes = pairwise(BOUNDS)
    return {f"{a} to {b - 1}": share(hit[(sizes >= a) & (sizes < b)]) for a, b in classes}


def share(hit: np.ndarray, digits: int = 3) -> float | None:
    return round(float(hit.mean()), digits) if len(hit) else None


def photographs() -> dict:
    """False boxes in the faceless photographs, and whether the astronaut is found, by each way."""
    report = {}
    for name, find in ways().items():
        false = [len(find(np.asarray(scenes.photograph(one)))) for one in scenes.FACELESS]
        one = len(find(np.asarray(scenes.photograph("astronaut"))))
        report[name] = {"faceless": len(false), "false": sum(false), "in_the_astronaut": one}
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--scenes", type=arguments.number, default=24, help="of each size")
    args = parser.parse_args()
    command = f"python benchmarks/detector.py --scenes {args.scenes}"
    report = {"conditions": conditions(command, seed=0), "photographs": photographs()}
    try:
        pictures, _ = scenes.validation()
    except FerlibError as error:
        print(f"{report['photographs']}\nscenes skipped: {error}")
        return
    rng, every = np.random.default_rng(0), []
    for size in SIZES:
        every.append(measure(size, pictures, args.scenes, rng))
        report[f"{size[0]} x {size[1]}"] = summary(dict(every[-1]))
    joined = {name: list(chain.from_iterable(one[name] for one in every)) for name in every[0]}
    report["all"] = summary(joined)
    write("detector", report)


if __name__ == "__main__":
    main()
