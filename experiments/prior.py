"""What it gives and costs to tell a net that all emotions are equally frequent, on validation.

    FERLIB_DATA=... OMP_NUM_THREADS=1 python experiments/prior.py

The shipped net reads the validation split's majority images by fer2013new.csv, as they are and made
worse in ways in which faces from elsewhere differ. From 0, the net's own prior, to 1, the uniform
one, and beyond: accuracy, what is found of each emotion, and the accuracy where all emotions are
equally frequent, as in collections of posed ones. Then other ways to read a face than one look:
mirrored, in several sizes, equalised, with several nets. No net is trained, and the test split is
not read. Writes results/prior.json and results/prior.png.
"""

import argparse
from collections.abc import Callable

import cv2
import numpy as np
from tqdm import tqdm

from benchmarks.conditions import ROOT, conditions, plainly, write
from ferlib import nets
from ferlib.data import fer2013, images
from ferlib.data.dataset import Dataset
from ferlib.data.labels import EMOTIONS
from ferlib.files import whole_file
from ferlib.metrics import recall
from ferlib.nets.answer import softmax
from ferlib.nets.info import Info
from ferlib.nets.prior import Prior, shift, under
from ferlib.plots.evaluation import prior_trade

SPLIT, PROTOCOL, SEED = "valid", "fer2013new.csv", 0
NETS = ("ferplus", "ferplus-2", "ferplus-3")
POWERS = np.arange(16) / 10
# What may be answered: few collections of posed emotions have contempt, some have no neutral.
ALLOWED = {
    "all": EMOTIONS,
    "without contempt": EMOTIONS[:7],
    "without neutral and contempt": EMOTIONS[1:7],
}

# ---------------------------------------------------------------- pictures


def reframed(picture: np.ndarray, zoom: float, across: float = 0, down: float = 0) -> np.ndarray:
    """Enlarged about its middle and moved by shares of its side; the border repeats."""
    height, width = picture.shape
    matrix = np.array(
        [
            [zoom, 0, (1 - zoom) * (width - 1) / 2 + across * width],
            [0, zoom, (1 - zoom) * (height - 1) / 2 + down * height],
        ]
    )
    how = {"flags": cv2.INTER_LINEAR, "borderMode": cv2.BORDER_REPLICATE}
    return cv2.warpAffine(picture, matrix, (width, height), **how)


def flattened(picture: np.ndarray, share: float) -> np.ndarray:
    """With this share of its contrast, about middle gray."""
    return (128 + share * (picture - 128.0)).round().astype(np.uint8)


def coarse(picture: np.ndarray, side: int = 32) -> np.ndarray:
    """Brought to so many pixels, and to its size again."""
    return images.resize(images.resize(picture[None], side), len(picture))[0]


def all_at_once(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another size and place in the crop, less contrast, fewer pixels."""
    zoom = 1.25 ** rng.uniform(-1, 1)
    picture = reframed(picture, zoom, *rng.uniform(-0.1, 0.1, 2))
    return coarse(flattened(picture, rng.uniform(0.25, 1)))


Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]
FLAT = "32 pixels, a quarter of the contrast"
SETS: dict[str, Change] = {
    "as they are": lambda picture, _: picture,
    "wider crop (0.8)": lambda picture, _: reframed(picture, 0.8),
    "tighter crop (1.25)": lambda picture, _: reframed(picture, 1.25),
    "moved by up to a tenth": lambda picture, rng: reframed(picture, 1, *rng.uniform(-0.1, 0.1, 2)),
    FLAT: lambda picture, _: coarse(flattened(picture, 0.25)),
    "all of it, by chance": all_at_once,
}
CURVES = ("as they are", FLAT, "all of it, by chance")

# ---------------------------------------------------------------- ways to read

VIEWS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "plain": lambda picture: picture,
    "mirrored": lambda picture: picture[:, ::-1],
    "closer": lambda picture: reframed(picture, 1.1),
    "wider": lambda picture: reframed(picture, 1 / 1.1),
    "equalised": cv2.equalizeHist,
}
LOOKS = [(NETS[0], view) for view in VIEWS] + [(name, "plain") for name in NETS[1:]]
WAYS = {
    "one look": LOOKS[:1],
    "mirrored too": LOOKS[:2],
    "closer and wider too": [LOOKS[0], *LOOKS[2:4]],
    "equalised": LOOKS[4:5],
    "three nets": [LOOKS[0], *LOOKS[5:]],
}
Look = tuple[str, str]


def read(pictures: np.ndarray, known: dict) -> dict[Look, np.ndarray]:
    """The raw logits (N, K) of each look at the pictures, but for a constant in each row."""
    found = {}
    for name, view in tqdm(LOOKS, leave=False, unit="look", disable=None):
        net, info = known[name]
        crops = np.stack([VIEWS[view](picture) for picture in pictures])
        found[name, view] = np.log(np.maximum(nets.predict(net, crops, info.raw()), 1e-12))
    return found


def answered(logits: np.ndarray, info: Info) -> np.ndarray:
    """Raw logits -> probabilities (N, K), as `nets.predict` gives them."""
    return softmax((logits + np.array(info.bias)) / info.temperature + shift(info))


# ---------------------------------------------------------------- figures


def part_of_the_way(info: Info, allowed: tuple[str, ...], power: float) -> Info:
    """From the net's own prior (0) to the uniform one (1), in equal steps of its logarithm."""
    usual = dict(zip(info.classes, info.shares or (), strict=True))
    return under(info, {name: usual[name] ** (1 - power) for name in allowed})


def equally(values: np.ndarray, truth: np.ndarray, names: tuple[str, ...]) -> tuple[float, float]:
    """The mean of values (N,) if these emotions were equally frequent, and its standard error."""
    each = [values[truth == EMOTIONS.index(name)] for name in names]
    error = sum(one.var() / len(one) for one in each) ** 0.5 / len(each)
    return round(float(np.mean([one.mean() for one in each])), 5), round(float(error), 5)


def average(values: np.ndarray) -> tuple[float, float]:
    """The mean of values (N,), and its standard error."""
    return round(float(values.mean()), 5), round(float(values.std() / len(values) ** 0.5), 5)


def curve(
    logits: np.ndarray, info: Info, truth: np.ndarray, allowed: tuple[str, ...]
) -> list[dict]:
    """A row for each of POWERS, over the pictures of the emotions that may be answered.

    `posed` is the accuracy where those but contempt are equally frequent.
    """
    kept = np.isin(truth, [EMOTIONS.index(name) for name in allowed])
    logits, truth = logits[kept], truth[kept]
    wanted = tuple(name for name in allowed if name != "contempt")
    rows = []
    for power in POWERS.tolist():
        guess = answered(logits, part_of_the_way(info, allowed, power)).argmax(axis=1)
        found, (posed, error) = recall(guess, truth), equally(guess == truth, truth, wanted)
        row = {"power": power, "accuracy": average(guess == truth)[0]}
        row |= {"posed": posed, "posed_error": error}
        keys = ("balanced_accuracy", "per_emotion")
        rows.append(row | {key: getattr(found, key) for key in keys})
    return rows


def right(
    looks: dict[Look, np.ndarray], infos: dict[str, Info], truth: np.ndarray, prior: Prior | None
) -> np.ndarray:
    """Whether the mean answer of these looks is the truth: float (N,)."""
    scores = [answered(raw, under(infos[net], prior)) for (net, _), raw in looks.items()]
    return (np.mean(scores, axis=0).argmax(axis=1) == truth).astype(float)


def ways(looks: dict[Look, np.ndarray], infos: dict[str, Info], truth: np.ndarray) -> list[dict]:
    """Each of WAYS beside one look: accuracy, and `posed` by the uniform prior without contempt."""
    names, rows, first = ALLOWED["without contempt"], [], None
    for way, members in WAYS.items():
        chosen = {one: looks[one] for one in members}
        plain, even = (
            right(chosen, infos, truth, prior) for prior in (None, dict.fromkeys(names, 1))
        )
        first = first or (plain, even)
        row = {"way": way, "accuracy": average(plain)[0], "posed": equally(even, truth, names)[0]}
        row["change"], row["change_error"] = average(plain - first[0])
        changed = equally(even - first[1], truth, names)
        rows.append(row | {"posed_change": changed[0], "posed_change_error": changed[1]})
    return rows


def measured(valid: Dataset) -> dict:
    """The curves and the ways of each of the SETS."""
    known = {name: nets.load(nets.find_weights(name), precision="fused") for name in NETS}
    infos = {name: info for name, (_, info) in known.items()}
    report: dict = {"curves": {}, "ways": {}}
    for name, change in tqdm(SETS.items(), unit="set", disable=None):
        rng = np.random.default_rng(SEED)
        looks = read(np.stack([change(picture, rng) for picture in valid.pictures]), known)
        report["ways"][name] = ways(looks, infos, valid.truth)
        if name in CURVES:
            raw, info = looks[LOOKS[0]], infos[LOOKS[0][0]]
            report["curves"][name] = {
                which: curve(raw, info, valid.truth, allowed) for which, allowed in ALLOWED.items()
            }
    return report


@plainly
def main() -> None:
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    valid = fer2013.load().split(SPLIT, PROTOCOL)
    about = {"split": SPLIT, "protocol": PROTOCOL, "n": len(valid), "seed": SEED}
    known = conditions("python experiments/prior.py", weights=NETS[0], measured_in="fused")
    counts = dict(zip(EMOTIONS, np.bincount(valid.truth, minlength=8).tolist(), strict=True))
    report = {"conditions": known | about | {"counts": counts}} | measured(valid)
    write("prior", report)
    with whole_file(ROOT / "results" / "prior.png") as partial:
        prior_trade(report).savefig(partial, dpi=150)


if __name__ == "__main__":
    main()
