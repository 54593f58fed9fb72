"""The crop given to the net: how FER2013 frames its faces, and what other crops cost.

    FERLIB_DATA=... python benchmarks/crop.py [--frames 2000] [--n 1200]

First, where `ferlib.faces.face.CROP` comes from: finds the face in training pictures that are
enlarged six times, and compares the frame's side with the square root of the box's area. Then,
whether it is right: validation pictures are enlarged, shifted and padded into scenes, the default
detector finds the faces again, and the default net reads them in crops of many kinds. Needs the
real data. Writes results/crop.json.
"""

import argparse

import numpy as np
import scenes
from conditions import conditions, write
from PIL import Image
from tqdm import tqdm

from ferlib import Recognizer
from ferlib.cli import arguments
from ferlib.data import fer2013, images
from ferlib.errors import FerlibError
from ferlib.faces.detectors import default_detector
from ferlib.faces.face import CROP, crop, overlaps
from ferlib.faces.search import SURE

ENLARGED = 6
SCALES = (0.8, 0.9, 1.0, 1.06, CROP, 1.2, 1.3, 1.4, 1.5)
OFFSETS = (-0.1, -0.05, 0.05, 0.1)  # of the crop's side; the face lies off its centre
AROUND = 1.3  # box sides kept to each side of a face's middle: more than any crop takes


def quartiles(values: np.ndarray) -> list[float]:
    return [round(float(v), 3) for v in np.percentile(values, (25, 50, 75))]


# ---------------------------------------------------------------- FER2013's own frames


def frames(pictures: np.ndarray) -> dict:
    """How the frame sits around the face: quartiles, where one face is sure."""
    found, side = boxes(pictures), pictures.shape[1]
    left, top, width, height = found.T
    return {
        "n": len(pictures),
        "one_face_found": len(found),
        "frame_to_box": quartiles(side / np.sqrt(width * height)),
        "centre_off_across": quartiles((left + width / 2 - side / 2) / height),
        "centre_off_down": quartiles((top + height / 2 - side / 2) / height),
    }


def boxes(pictures: np.ndarray) -> np.ndarray:
    """float (M, 4) boxes in pixels of the small pictures, of those where one face is sure."""
    detect, found = default_detector(), []
    for picture in tqdm(pictures, desc="frames", unit="picture", disable=None):
        large = Image.fromarray(scenes.enlarged(picture, len(picture) * ENLARGED))
        box, confidence, *_ = detect(np.asarray(large.convert("RGB")))
        sure = box[confidence >= SURE]
        if len(sure) == 1:
            found.append(sure[0] / ENLARGED)
    return np.array(found)


# ---------------------------------------------------------------- found again in a scene


def found_again(fer, pictures: np.ndarray, rng) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """The surroundings of each face that is found, its box in them, and which were found (N,)."""
    around, places, found = [], [], []
    for picture in tqdm(pictures, desc="scenes", unit="scene", disable=None):
        scene, frame = scenes.padded(picture, rng)
        candidates, _ = fer.find(scene)
        shared = overlaps(scenes.face_box(*frame), candidates)
        found.append(bool(len(shared)) and shared.max() > 0.3)
        if found[-1]:
            region, box = surroundings(images.to_gray(scene), candidates[shared.argmax()])
            around.append(region)
            places.append(box)
    return around, np.array(places), np.array(found)


def surroundings(picture: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The part of a picture that crops of a box can touch, and the box in it."""
    middle, reach = box[:2] + box[2:] / 2, AROUND * np.sqrt(box[2:].prod())
    left, top = np.maximum(middle - reach, 0).astype(int)
    right, bottom = np.ceil(middle + reach).astype(int)
    return picture[top:bottom, left:right], box - (left, top, 0, 0)


def cut(picture: np.ndarray, box, scale: float, across: float = 0, down: float = 0) -> np.ndarray:
    """`crop`, `scale` instead of CROP wide, its centre moved by shares of its side."""
    side = scale * np.sqrt(box[2:].prod())
    moved = box + np.array([across * side, down * side, 0, 0])
    larger = scale / CROP
    middle = moved[:2] + moved[2:] / 2
    return crop(picture, [*(middle - box[2:] * larger / 2), *(box[2:] * larger)])


def stretched(picture: np.ndarray, box, margin: float) -> np.ndarray:
    """The box with a margin on each of its sides, taken for a square as naive code does."""
    left, top = np.maximum(box[:2] - margin * box[2:], 0).round().astype(int)
    right, bottom = (box[:2] + (1 + margin) * box[2:]).round().astype(int)
    return picture[top:bottom, left:right]


def ways() -> dict:
    """Name -> (picture, box) -> crop."""
    how = {f"square of {s:g}": lambda p, b, s=s: cut(p, b, s) for s in SCALES}
    for margin in (0, 0.1, 0.2, 0.4):
        how[f"box with a margin of {margin:.0%}"] = lambda p, b, m=margin: stretched(p, b, m)
    for off in OFFSETS:
        how[f"moved across by {off:g}"] = lambda p, b, o=off: cut(p, b, CROP, o)
        how[f"moved down by {off:g}"] = lambda p, b, o=off: cut(p, b, CROP, 0, o)
    return how


def resized(crops, size: int, resample) -> np.ndarray:
    small = (Image.fromarray(crop).resize((size, size), resample) for crop in crops)
    return np.stack([np.asarray(one) for one in small])


def answers(fer, around, places) -> dict[str, np.ndarray]:
    """What the net reads in each kind of crop: name -> emotions (M,)."""
    rows = {}
    for name, how in tqdm(ways().items(), desc="crops", unit="way", disable=None):
        rows[name] = fer.classify([how(p, b) for p, b in zip(around, places, strict=True)])
    used = f"square of {CROP:g}"
    three = sum(rows[f"square of {s:g}"] for s in (1.06, CROP, 1.2))
    rows["mean of squares of 1.06, 1.12, 1.2"] = three
    crops = [ways()[used](p, b) for p, b in zip(around, places, strict=True)]
    mirrored = fer.classify([crop[:, ::-1] for crop in crops])
    rows["with its mirror image"] = rows[used] + mirrored
    for kind in ("BOX", "HAMMING", "BICUBIC", "LANCZOS"):
        small = resized(crops, fer.nets[0][1].input_size, Image.Resampling[kind])
        rows[f"resized by {kind}"] = fer.classify(small)
    return {name: row.argmax(axis=1) for name, row in rows.items()}


# ---------------------------------------------------------------- figures


def against(right: np.ndarray, used: np.ndarray) -> dict:
    """Accuracy, and the difference to the crop in use on the same pictures, with its error."""
    gap = right.astype(float) - used
    return {
        "accuracy": round(float(right.mean()), 4),
        "to_used": round(float(gap.mean()), 4),
        "standard_error": round(float(gap.std(ddof=1) / np.sqrt(len(gap))), 4),
    }


def redetected(fer, pictures: np.ndarray, truth: np.ndarray, rng) -> dict:
    """Accuracy of every kind of crop where the face was found; the ceiling; a check by halves."""
    around, places, found = found_again(fer, pictures, rng)
    right = {k: row == truth[found] for k, row in answers(fer, around, places).items()}
    right["as FER2013 framed it"] = fer.classify(pictures[found]).argmax(axis=1) == truth[found]
    used = right[f"square of {CROP:g}"]
    return {
        "n": len(pictures),
        "found": round(float(found.mean()), 4),
        "accuracy_not_found_is_wrong": round(float(used.sum() / len(found)), 4),
        "crops": {name: against(row, used) for name, row in right.items()},
        "halves": halves(right, used),
    }


def halves(right: dict, used: np.ndarray) -> dict:
    """The square or shift that is best on the even pictures, judged on the odd ones."""
    names = [name for name in right if name.startswith(("square", "moved"))]
    best = max(names, key=lambda name: right[name][::2].mean())
    return {"best_on_one": best, "on_the_other": against(right[best][1::2], used[1::2])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--frames", type=arguments.number, default=2000, help="training pictures, by seed 0"
    )
    parser.add_argument(
        "--n", type=arguments.number, default=1200, help="validation pictures, by seed 0"
    )
    args = parser.parse_args()
    try:
        train = fer2013.load().split("train").pictures
        valid, truth = scenes.validation()
    except FerlibError as error:
        print(f"skipped: {error}")
        return
    fer, rng = Recognizer(precision="float32"), np.random.default_rng(0)
    command = f"python benchmarks/crop.py --frames {args.frames} --n {args.n}"
    report = {"conditions": conditions(command, weights=fer.name, seed=0), "used": CROP}
    report["frames"] = frames(train[rng.choice(len(train), args.frames, replace=False)])
    chosen = rng.choice(len(valid), min(args.n, len(valid)), replace=False)
    report["found_again"] = redetected(fer, valid[chosen], truth[chosen], rng)
    write("crop", report)


if __name__ == "__main__":
    main()
