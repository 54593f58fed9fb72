"""What worse pictures and crops cost the default net: accuracy under blur, noise, turning and more.

    FERLIB_DATA=... python benchmarks/robust.py

Takes the validation split's majority images by fer2013new.csv, each degraded at its own 48x48
pixels before the net's preparation. Needs the real data. Writes results/robust.json and
results/robust.png.
"""

import argparse
import io
from collections.abc import Callable

import cv2
import numpy as np
from conditions import ROOT, conditions, write
from PIL import Image
from tqdm import tqdm

from ferlib import Recognizer, plots
from ferlib.data import fer2013
from ferlib.errors import FerlibError
from ferlib.files import whole_file
from ferlib.metrics import recall

SPLIT, PROTOCOL = "valid", "fer2013new.csv"

# Each takes one picture uint8 (H, W), a strength, 0 for none, and a generator.
Degradation = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]


def blur(picture: np.ndarray, deviation: float, _rng) -> np.ndarray:
    """Gaussian; `deviation` in pixels."""
    return cv2.GaussianBlur(picture, (0, 0), deviation) if deviation else picture


def noise(picture: np.ndarray, deviation: float, rng) -> np.ndarray:
    """Gaussian and independent for each pixel; `deviation` in gray levels of 256."""
    noisy = picture + deviation * rng.standard_normal(picture.shape)
    return noisy.round().clip(0, 255).astype(np.uint8)


def compress(picture: np.ndarray, loss: float, _rng) -> np.ndarray:
    """JPEG of quality 100 - `loss`."""
    if not loss:
        return picture
    with io.BytesIO() as file:
        Image.fromarray(picture).save(file, "JPEG", quality=round(100 - loss))
        return np.asarray(Image.open(file))


def darken(picture: np.ndarray, share: float, _rng) -> np.ndarray:
    """Take a share of every pixel's brightness."""
    return (picture * (1 - share)).round().astype(np.uint8)


def turn(picture: np.ndarray, degrees: float, rng) -> np.ndarray:
    """About the middle, to either side by chance; the border is reflected."""
    height, width = picture.shape
    middle = (width - 1) / 2, (height - 1) / 2
    matrix = cv2.getRotationMatrix2D(middle, degrees * rng.choice((-1, 1)), 1)
    size, flags = (width, height), cv2.INTER_LINEAR
    return cv2.warpAffine(picture, matrix, size, flags=flags, borderMode=cv2.BORDER_REFLECT_101)


def cover(picture: np.ndarray, share: float, rng) -> np.ndarray:
    """A middle-gray rectangle, nearly square, over a share of the picture, somewhere inside."""
    covered, area = picture.copy(), share * picture.size
    height = round(area**0.5)
    width = round(area / max(height, 1))
    top, left = (
        rng.integers(side - taken + 1)
        for side, taken in zip(picture.shape, (height, width), strict=True)
    )
    covered[top : top + height, left : left + width] = 128
    return covered


def coarsen(picture: np.ndarray, share: float, _rng) -> np.ndarray:
    """Take a share of the side's pixels away, and bring the picture to its size again."""
    height, width = picture.shape
    small = max(1, round(width * (1 - share))), max(1, round(height * (1 - share)))
    shrunk = Image.fromarray(picture).resize(small, Image.Resampling.BILINEAR)
    return np.asarray(shrunk.resize((width, height), Image.Resampling.BILINEAR))


def tighten(picture: np.ndarray, share: float, _rng) -> np.ndarray:
    """Cut a share of the side away, evenly all around, and enlarge what is left."""
    height, width = picture.shape
    across, down = share * width / 2, share * height / 2
    box = across, down, width - across, height - down
    size, how = (width, height), Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(picture).resize(size, how, box))


def move(picture: np.ndarray, share: float, rng) -> np.ndarray:
    """By a share of the side, up, down, left or right by chance; the border repeats."""
    by = round(share * picture.shape[0])
    down, across = ((by, 0), (-by, 0), (0, by), (0, -by))[rng.integers(4)]
    padded = np.pad(picture, by, mode="edge")
    height, width = picture.shape
    return padded[by - down : by - down + height, by - across : by - across + width]


DEGRADATIONS: dict[str, tuple[Degradation, float]] = {
    "as they are": (darken, 0),
    "Gaussian blur, 1 pixel": (blur, 1),
    "Gaussian blur, 2 pixels": (blur, 2),
    "noise, 10 of 255": (noise, 10),
    "noise, 25 of 255": (noise, 25),
    "JPEG, quality 20": (compress, 80),
    "half brightness": (darken, 0.5),
    "turned by 10 degrees": (turn, 10),
    "turned by 20 degrees": (turn, 20),
    "20 % covered": (cover, 0.2),
    "half resolution": (coarsen, 0.5),
    "crop tighter by a fifth": (tighten, 0.2),
    "crop moved by a tenth": (move, 0.1),
}


def degraded(pictures: np.ndarray, name: str, seed: int = 0) -> np.ndarray:
    """uint8 (N, H, W) -> the same under one of DEGRADATIONS; a seed gives the same chance."""
    how, strength = DEGRADATIONS[name]
    rng = np.random.default_rng(seed)
    return np.stack([how(picture, strength, rng) for picture in pictures])


def table(fer, pictures: np.ndarray, truth: np.ndarray) -> list[dict]:
    """Name, accuracy and balanced accuracy under each degradation, the plain pictures first."""
    rows = []
    for name in tqdm(DEGRADATIONS, unit="degradation", disable=None):
        guess = fer.classify(degraded(pictures, name)).argmax(axis=1)
        balanced = recall(guess, truth).balanced_accuracy
        accuracy = round(float((guess == truth).mean()), 5)
        rows.append({"name": name, "accuracy": accuracy, "balanced_accuracy": balanced})
    return rows


def main() -> None:
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    try:
        valid = fer2013.load().split(SPLIT, PROTOCOL)
    except FerlibError as error:
        print(f"skipped: {error}")
        return
    fer = Recognizer(precision="float32")  # figures that hold on every machine
    known = conditions("python benchmarks/robust.py", weights=fer.name, split=SPLIT)
    known |= {"protocol": PROTOCOL, "n": len(valid), "seed": 0}
    rows = table(fer, valid.pictures, valid.truth)
    write("robust", {"conditions": known, "table": rows})
    with whole_file(ROOT / "results" / "robust.png") as partial:
        plots.robustness(rows).savefig(partial)


if __name__ == "__main__":
    main()
