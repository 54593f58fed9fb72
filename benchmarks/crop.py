"""How FER2013's frames sit around the faces in them: where `ferlib.faces.CROP` comes from.

    python benchmarks/crop.py [--n 2000]

Finds the face in training pictures that are enlarged six times, and compares the frame's side with
the square root of the box's area. Needs the real data. Writes results/crop.json.
"""

import argparse

import numpy as np
from conditions import conditions, write
from PIL import Image
from tqdm import tqdm

from ferlib import faces, fer2013
from ferlib.errors import FerlibError

ENLARGED = 6


def boxes(pictures: np.ndarray) -> np.ndarray:
    """float (M, 4) boxes in pixels of the small pictures, of those where one face is sure."""
    detect, found = faces.default_detector(), []
    for picture in tqdm(pictures, unit="picture", disable=None):
        side = picture.shape[0] * ENLARGED
        large = Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC)
        box, confidence = detect(np.asarray(large.convert("RGB")))
        sure = box[confidence >= faces.MIN_CONFIDENCE]
        if len(sure) == 1:
            found.append(sure[0] / ENLARGED)
    return np.array(found)


def quartiles(values: np.ndarray) -> list[float]:
    return [round(float(v), 3) for v in np.percentile(values, (25, 50, 75))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--n", type=int, default=2000, help="pictures, drawn by seed 0")
    args = parser.parse_args()
    try:
        pictures, _, _ = fer2013.load().split("train")
    except FerlibError as error:
        print(f"skipped: {error}")
        return
    chosen = np.random.default_rng(0).choice(len(pictures), args.n, replace=False)
    found, side = boxes(pictures[chosen]), pictures.shape[1]
    left, top, width, height = found.T
    known = conditions(f"python benchmarks/crop.py --n {args.n}", n=args.n, seed=0)
    report = {"conditions": known, "one_face_found": len(found), "used": faces.CROP}
    report["frame_to_box"] = quartiles(side / np.sqrt(width * height))
    report["centre_off_across"] = quartiles((left + width / 2 - side / 2) / height)
    report["centre_off_down"] = quartiles((top + height / 2 - side / 2) / height)
    write("crop", report)


if __name__ == "__main__":
    main()
