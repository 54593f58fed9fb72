"""Tell which test pictures of FER2013 also stand in its training split, exactly or nearly.

    FERLIB_DATA=... python experiments/duplicates.py

Writes results/duplicates.json: counts, and by row number (from 0, in the published order) each
picture of PublicTest and PrivateTest that occurs in Training, with the training row and the bits in
which their hashes differ. No pictures. results/duplicates.png shows on drawn faces what the bits
mean, and how far the real pictures lie from their nearest.
"""

import argparse

import cv2
import numpy as np
import pages
from matplotlib.figure import Figure

from benchmarks.conditions import ROOT, conditions, plainly
from ferlib import plots
from ferlib.data import duplicates, fer2013
from ferlib.data.dataset import SPLITS
from ferlib.data.fer2013 import Fer2013
from ferlib.data.labels import LABEL_SETS
from ferlib.evaluation import bench
from ferlib.files import whole_files

NAME = ROOT / "results" / "duplicates"
SHOWN = (0, 20, 40, duplicates.NEAR, 70)  # bits, of the changed copies that are drawn
FACE = 4  # the drawn face that is shown
DPI = 150


def report(data: Fer2013) -> dict:
    """What results/duplicates.json says, but for the conditions."""
    found = duplicates.in_training(data)
    names = dict(enumerate(SPLITS))
    known: dict = {"hash": {"bits": duplicates.BITS, "near": duplicates.NEAR}}
    known["rows"] = {name: int((data.usage == part).sum()) for part, name in names.items()}
    known["columns"] = {labels: columns(data, labels) for labels in LABEL_SETS}
    known["classes"] = {labels: classes(data, labels) for labels in LABEL_SETS}
    bits = found.bits[~found.exact]
    counts, edges = np.histogram(bits, np.arange(-1, bits.max() + 2, 2))  # they are all even
    known["nearest"] = {"edges": edges.tolist(), "pictures": counts.tolist()}
    split, pairs = data.usage[found.rows], np.stack([found.rows, found.train, found.bits], axis=1)
    known["pairs"] = ["row", "row in training", "bits"]
    known["alike"] = {}
    for what, there in {"exact": found.exact, "near": found.near & ~found.exact}.items():
        known[what] = {
            name: pairs[there & (split == part)].tolist() for part, name in names.items() if part
        }
        known["alike"][what] = alike(data, pairs[there & (split == SPLITS.index("test"))])
    known["kept"] = kept(data, found)
    return known


def alike(data: Fer2013, pairs: np.ndarray) -> dict[str, int]:
    """How many of these (row, row in training, bits) have the same votes, and the same label."""
    rows, others, _ = pairs.T
    votes = data.votes_of("fer2013new.csv")
    same = {"ferplus": (votes[rows] == votes[others]).all(axis=1)}
    same["fer2013"] = data.classes[rows] == data.classes[others]
    return {labels: int(each.sum()) for labels, each in same.items()}


def kept(data: Fer2013, found: duplicates.Nearest) -> dict[str, int]:
    """How many test pictures that the last column keeps are near to something else."""
    rows = found.rows[~found.near & (data.usage[found.rows] == SPLITS.index("test"))]
    codes, mirrored = (duplicates.hashes(p) for p in (data.pictures, data.pictures[rows, :, ::-1]))
    train, valid = (codes[data.usage == SPLITS.index(name)] for name in ("train", "valid"))
    bits = {"mirrored, to training": duplicates.nearest(mirrored, train)[1]}
    bits["to validation"] = duplicates.nearest(codes[rows], valid)[1]
    return {what: int((each <= duplicates.NEAR).sum()) for what, each in bits.items()}


def columns(data: Fer2013, labels: str) -> dict[str, int]:
    """How many test pictures each column of the bench counts."""
    part = bench.split_of(data, "test", labels)
    return {name: int(kept.sum()) for name, kept in bench.columns(data, part).items()}


def classes(data: Fer2013, labels: str) -> dict[str, dict[str, float]]:
    """Which share of the test pictures shows each class, in the last column and left out of it."""
    part = bench.split_of(data, "test", labels)
    kept = bench.columns(data, part)["without near"]
    found = {"kept": part.truth[kept], "left out": part.truth[~kept]}
    return {
        what: {name: round(float((truth == k).mean()), 4) for k, name in enumerate(part.classes)}
        for what, truth in found.items()
    }


# ---------------------------------------------------------------- the picture


def changed(face: np.ndarray, amount: float) -> np.ndarray:
    """Zoomed, moved, lit and compressed again, all the more the larger `amount` is."""
    zoom = 1 + 0.1 * amount
    place = np.float32([[zoom, 0, -2 * amount], [0, zoom, -3 * amount]])
    moved = cv2.warpAffine(face, place, face.shape[::-1], borderMode=cv2.BORDER_REFLECT_101)
    lit = np.clip(moved * (1 + 0.25 * amount) + 20 * amount, 0, 255).astype(np.uint8)
    _, packed = cv2.imencode(".jpg", lit, [cv2.IMWRITE_JPEG_QUALITY, round(95 - 30 * amount)])
    return cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE)


def copies(face: np.ndarray) -> list[np.ndarray]:
    """Changed ever more, as near to each of SHOWN as they come."""
    tried = [changed(face, amount) for amount in np.linspace(0.02, 1.6, 300)]
    bits = differing(face, tried)
    return [tried[int(np.abs(bits - wanted).argmin())] for wanted in SHOWN]


def differing(face: np.ndarray, others: list[np.ndarray] | np.ndarray) -> np.ndarray:
    codes = duplicates.hashes(np.stack([face, *others]))
    return (codes[0] ^ codes[1:]).sum(axis=1)


def figure(nearest: dict) -> Figure:
    """Copies of a drawn face, the most similar other face, and the real pictures' histogram."""
    faces = fer2013.sample_data().pictures
    face = faces[FACE]
    strangers = faces[(faces != face).any(axis=(1, 2))]
    others = [*copies(face), strangers[differing(face, strangers).argmin()]]
    bits = differing(face, others).tolist()
    pairs = [(face, other) for other in others]
    counts = nearest["edges"], nearest["pictures"]
    return plots.look_alikes(pairs, bits, duplicates.NEAR, counts)


@plainly
def main() -> None:
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    command = "python experiments/duplicates.py"
    known = {"conditions": conditions(command)} | report(fer2013.load())
    with whole_files(f"{NAME}.json", f"{NAME}.png") as (table, picture):
        table.write_text(pages.compact(known) + "\n")
        figure(known["nearest"]).savefig(picture, dpi=DPI)


if __name__ == "__main__":
    main()
