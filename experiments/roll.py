"""Train the small net that says by how much a head is turned.

    FERLIB_DATA=... OMP_NUM_THREADS=1 python experiments/roll.py [--epochs 12] [--seed 0]

It learns from the training split's faces, turned by up to 70 degrees, enlarged, moved, mirrored
and worn, afresh in each epoch. FER2013's faces lean by themselves, by degrees that nobody wrote
down. So there are two rounds. What the first round's net says of a training face, less the angle by
which it was turned, is that face's own lean, and the second round's targets include it.

Writes model_store/roll and results/roll.json.
"""

import argparse
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from benchmarks.conditions import ROOT, conditions, plainly, write
from ferlib import files, nets, runtime
from ferlib.data import fer2013, images
from ferlib.data.augment import Augmentation, augment
from ferlib.faces import roll, turning
from ferlib.nets.info import Info, Trained
from ferlib.training.loss import VoteLoss
from ferlib.training.recipe import Recipe

mx = runtime.import_mxnet()
from mxnet import autograd, gluon  # noqa: E402  (after import_mxnet has prepared it)

CLASSES = tuple(str(angle) for angle in range(-roll.LARGEST, roll.LARGEST + 1, roll.STEP))
FURTHEST = 70.0  # degrees by which faces are turned
SCALE, SHIFT = 1.2, 0.08  # a detector's box is larger or smaller, and beside the face
WORN = Augmentation(rotation=0, shift=0, scale=1, shear=0, flip=0, erase=0.3, wear=0.3)
ASKED = (-40, -20, 0, 20, 40)  # degrees by which a face is turned to learn its own lean
RECIPE = Recipe(net="roll", lr=0.1, grow=(), augmentation=WORN, precision="float32")


def targets(angles: np.ndarray) -> np.ndarray:
    """Degrees (N,) -> float32 (N, K): shared by the two classes beside each angle."""
    places = (np.clip(angles, -roll.LARGEST, roll.LARGEST) + roll.LARGEST) / roll.STEP
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(len(CLASSES)))).astype(np.float32)


def turned(pictures: np.ndarray, angles: np.ndarray, rng=None) -> np.ndarray:
    """uint8 (N, 48, 48): each turned clockwise by so many degrees; with `rng` moved as well."""
    middle, out = ((roll.SIDE - 1) / 2,) * 2, np.empty_like(pictures)
    for row, (picture, angle) in enumerate(zip(pictures, angles, strict=True)):
        scale, to = 1.0, middle
        if rng is not None:
            scale = SCALE ** rng.uniform(-1, 1)
            to = middle + rng.uniform(-SHIFT, SHIFT, 2) * roll.SIDE
        matrix = turning.turn(angle, middle, to, scale)
        cv2.warpAffine(
            picture, matrix, (roll.SIDE,) * 2, out[row], borderMode=cv2.BORDER_REFLECT_101
        )
    return out


def drawn(pictures: np.ndarray, leans: np.ndarray, rng) -> tuple[np.ndarray, np.ndarray]:
    """A batch as the net sees it, float32 (N, 1, 48, 48), and its targets (N, K)."""
    angles, mirrored = rng.uniform(-FURTHEST, FURTHEST, len(pictures)), rng.random(len(pictures))
    mirrored = mirrored < 0.5
    faces = np.where(mirrored[:, None, None], pictures[..., ::-1], pictures)
    faces = augment(turned(faces, angles, rng), roll.SIDE, rng, WORN)
    batch = images.normalised(roll.seen(faces), "standardise")
    return batch, targets(angles + np.where(mirrored, -leans, leans))


def trained(pictures: np.ndarray, leans: np.ndarray, recipe: Recipe, told: str):
    """One round -> the net, and the mean loss of each epoch."""
    rng = np.random.default_rng(recipe.seed)
    net = nets.create(nets.find(recipe.net, classes=len(CLASSES)), seed=recipe.seed)
    net.hybridize(static_alloc=True)
    loss, steps, log = VoteLoss(), len(pictures) // recipe.batch_size, []
    trainer = gluon.Trainer(net.collect_params(), recipe.optimiser, recipe.optimiser_settings())
    for epoch in range(recipe.epochs):
        order = rng.permutation(len(pictures))[: steps * recipe.batch_size].reshape(steps, -1)
        total = 0.0
        for number, rows in enumerate(tqdm(order, f"{told}, epoch {epoch + 1}", disable=None)):
            trainer.set_learning_rate(recipe.rate(epoch * steps + number, recipe.epochs * steps))
            batch, wanted = (mx.nd.array(part) for part in drawn(pictures[rows], leans[rows], rng))
            with autograd.record():
                losses = loss(net(batch), wanted)
            losses.backward()
            trainer.step(len(rows))
            total += float(losses.mean().asscalar())
        log.append(round(total / steps, 5))
        print(f"{told}, epoch {epoch + 1}: loss {log[-1]}", flush=True)
    return net, log


def said(net, pictures: np.ndarray, info: Info) -> np.ndarray:
    """float (N,): the angle that the net gives each picture."""
    return nets.predict(net, roll.seen(pictures), info) @ np.array(CLASSES, np.float32)


def leans(net, pictures: np.ndarray, info: Info) -> np.ndarray:
    """By how much each face leans itself: the mean of what is said of turned copies."""
    every = [said(net, turned(pictures, np.full(len(pictures), a)), info) - a for a in ASKED]
    return np.mean(every, axis=0)


def judged(net, pictures: np.ndarray, info: Info) -> dict:
    """Errors in degrees on pictures turned by known angles, their own lean taken off."""
    own, rows = leans(net, pictures, info), []
    for angle in (0, 10, 20, 30, 45, 60):
        for way in {angle, -angle}:
            wrong = said(net, turned(pictures, np.full(len(pictures), way)), info) - way
            figures = {"lean_included": np.abs(wrong), "lean_taken_off": np.abs(wrong - own)}
            rows.append(
                {"turned": way, "mean": round(float(wrong.mean()), 2)}
                | {f"median_{name}": round(float(np.median(e)), 2) for name, e in figures.items()}
                | {"within_15": round(float((figures["lean_taken_off"] < 15).mean()), 4)}
            )
    rows.sort(key=lambda row: row["turned"])
    lean = {"mean": round(float(own.mean()), 2), "deviation": round(float(own.std()), 2)}
    return {"n": len(pictures), "own_lean": lean, "angles": rows}


@plainly
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=12, help="of each of the two rounds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default=str(ROOT / "model_store" / roll.NAME), help="prefix")
    args = parser.parse_args()
    command = f"python experiments/roll.py --epochs {args.epochs} --seed {args.seed}"
    known, started = conditions(command), time.perf_counter()
    data = fer2013.load()
    learn, valid = data.split("train", keep="usable"), data.split("valid", "fer2013new.csv")
    recipe = replace(RECIPE, epochs=args.epochs, seed=args.seed)
    info = Info.of(nets.find("roll"), CLASSES)
    net, first = trained(learn.pictures, np.zeros(len(learn)), recipe, "first round")
    own = leans(net, learn.pictures, info)
    before = judged(net, valid.pictures, info)
    net, second = trained(learn.pictures, own - own.mean(), recipe, "second round")
    report = {"conditions": known, "minutes": round((time.perf_counter() - started) / 60, 1)}
    report |= {"pictures": len(learn), "loss": {"first": first, "second": second}}
    report |= {"valid": {"first": before, "second": judged(net, valid.pictures, info)}}
    keep(net, Path(args.out), info, recipe, report)
    write("roll", report)


def keep(net, prefix: Path, info: Info, recipe: Recipe, report: dict) -> None:
    """The net's three files, with how it came about."""
    machine = runtime.describe() | {"commit": files.commit()}
    about = Trained(
        command=report["conditions"]["command"],
        date=date.today().isoformat(),
        data="FER2013's training split, turned",
        pictures=report["pictures"],
        recipe={"epochs": recipe.epochs, "rounds": 2, "lr": recipe.lr, "seed": recipe.seed},
        machine=machine,
    )
    nets.save(net, prefix, replace(info, epochs=2 * recipe.epochs, trained=about))


if __name__ == "__main__":
    main()
