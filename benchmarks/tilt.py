"""What a tilted head costs from end to end, and what looking and reading turned gives back.

    FERLIB_DATA=... python benchmarks/tilt.py [--n 1000]

Validation pictures are enlarged to a side of 120 to 200 pixels, laid over photographs without
faces, their borders faded, and turned about their middle by up to 45 degrees to either side: the
same faces, sizes and backgrounds at each angle. `before` looks at pictures and reads crops as they
are; `now` is `Recognizer.many`, which looks at turned copies of what it cannot see and turns faces
upright. A face counts as found where a box shares more than 0.3 with it; the largest such share is
read. Also: two photographs of people, turned; boxes where no face is; and what it all takes.
Needs the real data, scikit-image and matplotlib. Writes results/tilt.json.
"""

import argparse
import time
from contextlib import contextmanager
from functools import partial
from itertools import product

import cv2
import matplotlib.cbook
import numpy as np
import scenes
from conditions import conditions, plainly, write
from PIL import Image
from tqdm import tqdm

from ferlib import Recognizer
from ferlib.cli import arguments
from ferlib.faces import roll, turning
from ferlib.faces.face import crop, overlaps

ANGLES = (0, 10, -10, 20, -20, 30, -30, 45, -45)
SIDES = (120, 200)  # pixels of an enlarged picture
AROUND = (2.0, 1.8)  # of that side: width and height of a scene
FADE = 0.1  # of the side
FOUND = 0.3  # share of boxes in common
FACELESS = 150  # scenes without a face, besides the photographs that they are cut from
TIMED = 40  # calls of each kind, in turns


# ---------------------------------------------------------------- scenes


def scene(picture: np.ndarray, side: int, background: np.ndarray, degrees: float) -> np.ndarray:
    """uint8 (H, W, 3): a picture brought to a side and turned, in the middle of a background."""
    (height, width), small = background.shape[:2], len(picture)
    old, new = turning.middle(small, small), turning.middle(width, height)
    matrix = turning.turn(degrees, old, new, side / small)
    ramp = (np.minimum(np.arange(small), np.arange(small)[::-1]) + 0.5) / (FADE * small)
    mask = np.minimum.outer(ramp, ramp).clip(0, 1)
    mask = cv2.warpAffine(mask, matrix, (width, height))[..., None]
    how = {"flags": cv2.INTER_CUBIC, "borderMode": cv2.BORDER_REPLICATE}
    face = cv2.warpAffine(picture.astype(np.float64), matrix, (width, height), **how)
    return (mask * face[..., None] + (1 - mask) * background).round().clip(0, 255).astype(np.uint8)


def drawn(n: int, rng) -> tuple[list, np.ndarray]:
    """n faces of the validation split: functions angle -> (scene, box), and their emotions."""
    pictures, truth = scenes.validation()
    made, rows = [], rng.choice(len(pictures), min(n, len(pictures)), replace=False)
    for row in rows:
        side = int(rng.integers(SIDES[0], SIDES[1] + 1))
        width, height = (round(times * side) for times in AROUND)
        background = scenes.background((width, height), rng)
        box = scenes.face_box((width - side) / 2, (height - side) / 2, side)
        made.append((partial(scene, pictures[row], side, background), box))
    return made, truth[rows]


# ---------------------------------------------------------------- the two ways


@contextmanager
def looking_once():
    """Nothing is looked for in turned copies."""
    kept, turning.LOOKS = turning.LOOKS, ()
    try:
        yield
    finally:
        turning.LOOKS = kept


def before(fer: Recognizer, picture: np.ndarray) -> tuple[np.ndarray, list[str], list[int]]:
    """Boxes (N, 4), emotions and rolls, found and read as they stand."""
    with looking_once():
        boxes, _ = fer.find(picture)
    read = fer.classify([crop(picture, box) for box in boxes]).argmax(axis=1)
    return boxes, [fer.classes[row] for row in read], [0] * len(boxes)


def now(fer: Recognizer, picture: np.ndarray) -> tuple[np.ndarray, list[str], list[int]]:
    """The same, as `Recognizer` does it."""
    faces = fer(picture)
    boxes = np.array([face.box for face in faces], float).reshape(-1, 4)
    return boxes, [face.emotion for face in faces], [face.roll for face in faces]


WAYS = {"before": before, "now": now}


def seen(way, fer: Recognizer, made: list, degrees: float) -> list[tuple[str, int, int]]:
    """For each scene the emotion read in its face, "" where it was missed; roll; extra boxes."""
    rows = []
    for draw, box in made:
        boxes, emotions, rolls = way(fer, draw(degrees))
        shared = overlaps(box, boxes)
        best = shared.argmax() if len(boxes) else 0
        hit = len(boxes) > 0 and shared[best] > FOUND
        extra = int((shared <= FOUND).sum())
        rows.append((emotions[best], rolls[best], extra) if hit else ("", 0, extra))
    return rows


# ---------------------------------------------------------------- figures


def figures(rows: list, wanted: list[str]) -> dict:
    """Shares of all faces found and read right, of those found read right, and what was told."""
    found = np.array([row[0] != "" for row in rows])
    right = np.array([row[0] == emotion for row, emotion in zip(rows, wanted, strict=True)])
    rolls = np.array([row[1] for row in rows])[found]
    return {
        "n": len(rows),
        "found": round(float(found.mean()), 4),
        "accuracy": round(float(right.mean()), 4),
        "accuracy_of_found": round(float(right[found].mean()), 4),
        "extra_boxes": sum(row[2] for row in rows),
        "told_as_turned": round(float((rolls != 0).mean()), 4),
    }


def to_upright(rows: list, upright: list, wanted: list[str]) -> dict:
    """Points lost against the same faces upright, with the error of that mean."""
    right, stood = (
        np.array([row[0] == emotion for row, emotion in zip(some, wanted, strict=True)], float)
        for some in (rows, upright)
    )
    gap = 100 * (right - stood)
    return {
        "points_to_upright": round(float(gap.mean()), 2),
        "standard_error": round(float(gap.std(ddof=1) / np.sqrt(len(gap))), 2),
    }


def by_angle(fer: Recognizer, n: int) -> dict:
    """For each way and angle, both directions together, what the functions above say."""
    made, truth = drawn(n, np.random.default_rng(0))
    wanted, every = [fer.classes[row] for row in truth], {}
    for degrees in tqdm(ANGLES, "angles", disable=None):
        for name, way in WAYS.items():
            every[name, degrees] = seen(way, fer, made, degrees)
    report: dict = {name: {} for name in WAYS}
    for name, angle in product(WAYS, sorted({abs(degrees) for degrees in ANGLES})):
        ways = [angle, -angle] if angle else [0]
        rows = [row for degrees in ways for row in every[name, degrees]]
        report[name][str(angle)] = figures(rows, wanted * len(ways)) | (
            to_upright(rows, every[name, 0] * len(ways), wanted * len(ways)) if angle else {}
        )
        report[name][str(angle)] |= {"roll": told(every, name, ways)}
    report["upright"] = changed(every["before", 0], every["now", 0], wanted)
    return report


def told(every: dict, name: str, ways: list[int]) -> dict:
    """Quartiles of the roll that was told, for each direction."""
    rolls = {way: [row[1] for row in every[name, way] if row[0]] for way in ways}
    return {str(way): np.percentile(each, (25, 50, 75)).tolist() for way, each in rolls.items()}


def changed(old: list, new: list, wanted: list[str]) -> dict:
    """What became of faces that stand upright but for their own lean."""
    pairs = [(a[0], b[0], emotion) for a, b, emotion in zip(old, new, wanted, strict=True)]
    both = [pair for pair in pairs if pair[0] and pair[1]]
    return {
        "found_before_and_lost": sum(bool(a) and not b for a, b, _ in pairs),
        "found_only_now": sum(bool(b) and not a for a, b, _ in pairs),
        "found_both_times": len(both),
        "of_these_other_emotion": sum(a != b for a, b, _ in both),
        "of_these_right_before": sum(a == emotion for a, _, emotion in both),
        "of_these_right_now": sum(b == emotion for _, b, emotion in both),
    }


# ---------------------------------------------------------------- photographs, false boxes, time


def people() -> dict[str, Image.Image]:
    """Photographs of one upright face each, freely licensed."""
    hopper = matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    with Image.open(hopper) as file:
        return {"astronaut": scenes.photograph("astronaut"), "hopper": file.convert("RGB")}


def photographs(fer: Recognizer) -> dict:
    """What is told of each when the whole photograph is turned: emotion, roll, confidence."""
    report = {}
    for name, photo in people().items():
        rows = {}
        for degrees in sorted(ANGLES):
            turned = photo.rotate(-degrees, Image.Resampling.BICUBIC, expand=True)
            told = {}
            for way, read in WAYS.items():
                _, emotions, rolls = read(fer, np.asarray(turned))
                told[way] = [f"{e} {r}" for e, r in zip(emotions, rolls, strict=True)]
            rows[f"{degrees:+d}" if degrees else "0"] = told
        report[name] = rows
    return report


def false_boxes(fer: Recognizer) -> dict:
    """Boxes in pictures without a face."""
    rng = np.random.default_rng(1)
    sizes = rng.integers(240, 640, (FACELESS, 2))
    pictures = [np.asarray(scenes.photograph(name)) for name in scenes.FACELESS]
    pictures += [scenes.background((int(w), int(h)), rng) for w, h in sizes]
    counts = {name: sum(len(way(fer, p)[0]) for p in pictures) for name, way in WAYS.items()}
    return {"pictures": len(pictures)} | counts


def costs(fer: Recognizer) -> dict:
    """Milliseconds, medians of calls in turns: the roll net, a turned crop, and whole pictures."""
    made, _ = drawn(64, np.random.default_rng(2))
    upright, faces = roll.Upright(), [draw(0) for draw, _ in made]
    crops = [crop(picture, box) for picture, (_, box) in zip(faces, made, strict=True)]
    turned, empty = (
        made[0][0](30),
        np.asarray(scenes.background((640, 480), np.random.default_rng(3))),
    )
    calls = {
        "roll_of_one_face": lambda: upright.angles(crops[:1]),
        "roll_of_64_faces": lambda: upright.angles(crops),
        "crop_as_it_stands": lambda: crop(faces[0], made[0][1]),
        "crop_turned": lambda: turning.part(faces[0], made[0][1]).upright(30),
    }
    for name, way in WAYS.items():
        calls |= {
            f"upright_face_{name}": lambda way=way: way(fer, faces[0]),
            f"face_at_30_{name}": lambda way=way: way(fer, turned),
            f"no_face_640x480_{name}": lambda way=way: way(fer, empty),
        }
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(TIMED + 3):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            if turn >= 3:  # the first ones prepare shapes
                seconds[name].append(time.perf_counter() - started)
    return {name: round(1000 * float(np.median(each)), 3) for name, each in seconds.items()}


@plainly
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--n", type=arguments.number, default=1000, help="validation pictures, by seed 0"
    )
    args = parser.parse_args()
    known = conditions(f"python benchmarks/tilt.py --n {args.n}", seed=0)
    fer = Recognizer()
    settings = {"looks": turning.LOOKS, "sure": turning.SURE, "turned_from": roll.TURNED}
    known |= {"net": fer.name, "precision": fer.precisions[0]} | settings
    report = {"conditions": known, "angles": by_angle(fer, args.n)}
    report |= {"photographs": photographs(fer), "without_a_face": false_boxes(fer)}
    write("tilt", report | {"milliseconds": costs(fer)})


if __name__ == "__main__":
    main()
