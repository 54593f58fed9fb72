"""Faces from 36 pixels on in whole scenes: how many are found, and what is taken for one.

    FERLIB_DATA=... python benchmarks/detector.py [--scenes 24]

Scenes of several sizes hold up to twelve of FER2013's validation faces each, 36 to 200 pixels
large, before faceless photographs; some hold none. Without the real data only the photographs that
come with scikit-image are looked at. Compares `Recognizer.find` with its quick way, for
frames of videos. Times are ratios, as the machine may be busy. Writes results/detector.json.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from itertools import chain, pairwise

import numpy as np
import scenes
from conditions import conditions, write
from tqdm import tqdm

from ferlib.errors import FerlibError
from ferlib.faces.detectors import default_detector
from ferlib.faces.face import overlaps
from ferlib.faces.search import search

SIZES = ((640, 480), (1024, 768), (1600, 1200), (3000, 2250))
BOUNDS = (36, 48, 72, 110, 201)  # classes of face sizes: the square root of the box's area
SAME = 0.4  # intersection over union, as the true box is FER2013's median one

Find = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def ways() -> dict[str, Find]:
    detect = default_detector()
    thorough, quick = (partial(search, detect, thorough=how) for how in (True, False))
    return {"find": thorough, "find, not thorough": quick}


def look(find: Find, scene: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, int, float]:
    """Which faces (N,) are found, how many boxes hold none of them, and the seconds it took."""
    started = time.perf_counter()
    boxes, _ = find(scene)
    seconds = time.perf_counter() - started
    shared = np.array([overlaps(face, boxes) for face in truth])
    shared = shared.reshape(len(truth), len(boxes))
    hit = (shared > SAME).any(axis=1)
    return hit, int((shared.max(axis=0, initial=0) <= SAME).sum()), seconds


def measure(size: tuple[int, int], pictures: np.ndarray, n: int, rng) -> dict[str, list]:
    """For each way what `look` says of n scenes, and the sizes of the faces in them."""
    found: dict[str, list] = {name: [] for name in ways()}
    found["sizes"] = []
    for _ in tqdm(range(n), desc=f"{size[0]} x {size[1]}", unit="scene", disable=None):
        scene, truth = scenes.crowd(pictures, size, BOUNDS[0], BOUNDS[-1] - 1, rng)
        found["sizes"].append(truth[:, 2].round())
        for name, find in ways().items():
            found[name].append(look(find, scene, truth))
    return found


def summary(found: dict[str, list]) -> dict:
    """Recall over all and by size of face, false boxes a scene, and time beside the quick way."""
    sizes = np.concatenate(found.pop("sizes"))
    seconds = {name: np.median([row[2] for row in rows]) for name, rows in found.items()}
    report = {"scenes": len(next(iter(found.values()))), "faces": len(sizes)}
    for name, rows in found.items():
        hit = np.concatenate([row[0] for row in rows])
        report[name] = {
            "recall": share(hit),
            "recall_by_size": by_size(hit, sizes),
            "false_a_scene": round(float(np.mean([row[1] for row in rows])), 3),
            "time": round(float(seconds[name] / seconds["find, not thorough"]), 1),
        }
    return report


def by_size(hit: np.ndarray, sizes: np.ndarray) -> dict[str, float]:
    classes = pairwise(BOUNDS)
    return {f"{a} to {b - 1}": share(hit[(sizes >= a) & (sizes < b)]) for a, b in classes}


def share(hit: np.ndarray) -> float | None:
    return round(float(hit.mean()), 3) if len(hit) else None


def photographs() -> dict:
    """False boxes in the faceless photographs, and whether the astronaut is found, by each way."""
    report = {}
    for name, find in ways().items():
        false = [len(find(np.asarray(scenes.photograph(one)))[0]) for one in scenes.FACELESS]
        found = len(find(np.asarray(scenes.photograph("astronaut")))[0])
        report[name] = {"faceless": len(false), "false": sum(false), "in_the_astronaut": found}
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--scenes", type=int, default=24, help="of each size")
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
