"""A row of the bench: one network trained under the common recipe and budget, and measured."""

import csv
import json
import operator
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ferlib import nets, runtime, training
from ferlib.data.dataset import SPLITS
from ferlib.data.fer2013 import Fer2013
from ferlib.data.labels import EMOTIONS
from ferlib.data.sources import to_train
from ferlib.errors import FerlibError
from ferlib.evaluation import bench
from ferlib.files import whole_file
from ferlib.nets.catalogue import counted
from ferlib.nets.info import Info
from ferlib.training.batches import batch
from ferlib.training.loop import Run, step

mx = runtime.import_mxnet()

MOST_MINUTES = 1_000_000
MINUTES = 30.0  # of training for each net, on one core
# A head's turn is another task; the second is for drawn faces; the third is repvgg after training.
LEFT_OUT = ("roll", "vgg-tiny", "repvgg_plain")
_TRIED = 12  # steps, after which a training's speed is known
_WARMING = 4  # of them: the first steps prepare


def contenders() -> list[str]:
    """The networks that the bench trains where none is named."""
    return [name for name in nets.names() if name not in LEFT_OUT]


def recipe(net: str, epochs: int, seed: int = 0) -> training.Recipe:
    """The common one: nothing in it is chosen for a network.

    Full-size pictures throughout, as some nets take no others; a smaller rate than the shipped
    net's, at which deep nets without shortcuts do not diverge.
    """
    how: dict[str, Any] = {"batch_size": 64, "lr": 0.05, "weight_decay": 5e-4, "grow": ()}
    return training.Recipe(net=net, epochs=epochs, seed=seed, **how)


def speed(net: str, data: Fer2013) -> float:
    """Pictures that a training step of the bench takes in a second, preparation included."""
    learn = data.split("train", keep="usable")
    run = Run(recipe(net, 1), [mx.cpu()], learn.take(np.arange(min(64 * _TRIED, len(learn)))))
    targets = np.eye(len(EMOTIONS), dtype=np.float32)[np.zeros(64, int)]
    spent = []
    for number in range(_TRIED):
        began = time.perf_counter()
        rows = (np.arange(64) + 64 * number) % len(run.learn)
        step(run, batch(run.pictures, rows, run.recipe, 1, number), targets).wait_to_read()
        spent.append(time.perf_counter() - began)
    return 64 / float(np.median(spent[_WARMING:]))


def epochs_for(
    net: str, data: Fer2013, minutes: float = MINUTES, folder: str | Path = "runs/bench"
) -> int:
    """How many epochs of the training split fit into so many minutes; at least one.

    Counted once for a folder: with another number of epochs a training would not go on.
    """
    if not minutes < MOST_MINUTES:
        raise FerlibError(f"{minutes:g} minutes: expected fewer than {MOST_MINUTES}")
    place = Path(folder) / f"{net}-epochs.json"
    pictures = len(data.labelled("train"))
    budget = f"{minutes:g} minutes, {pictures} pictures"
    try:
        known = dict(json.loads(place.read_text())) if place.is_file() else {}
        known = {budget: operator.index(epochs) for budget, epochs in known.items()}
        sound = min(known.values(), default=1) >= 1
    except (ValueError, TypeError):
        sound = False
    if not sound:
        raise FerlibError(f"{place} is damaged: remove it")
    if budget not in known:
        known[budget] = max(1, round(60 * minutes * speed(net, data) / pictures))
        with whole_file(place) as partial:
            partial.write_text(json.dumps(known) + "\n")
    return known[budget]


def row(
    net: str,
    labels: str,
    data: Fer2013,
    epochs: int,
    seed: int = 0,
    folder: str | Path = "runs/bench",
) -> dict:
    """Train `net` and measure it on all splits -> the row, as in FOLDER/NET-LABELS-SEED-row.json.

    Its answers to the test split are kept beside it, in FOLDER/NET-LABELS-SEED-test.csv, so that
    two nets can be compared picture by picture. Killed and called again it goes on. A row that is
    there is not measured again: remove its file for that.
    """
    prefix = Path(folder) / f"{net}-{labels}-{seed}"
    learn, valid = to_train(data, labels)
    how = recipe(net, epochs, seed)
    known = _known(Path(f"{prefix}-row.json"), how)  # a damaged one is told before the training
    info = training.train_to(prefix, learn, valid, how, log_of(prefix).parent)
    if known:
        return known
    told = {"net": net, "labels": labels, "seed": seed, "epochs": epochs}
    told |= pace(read_log(log_of(prefix)), int(learn.trainable(how.scheme).sum()))
    told |= {"recipe": asdict(how)} | _answers(prefix, labels, data)
    assert info.trained is not None  # `train_to` tells it
    machine = dict(info.trained.machine)  # with the precision that the net was trained in
    told |= {"date": info.trained.date, "commit": machine.pop("commit"), "machine": machine}
    with whole_file(f"{prefix}-row.json") as partial:
        partial.write_text(json.dumps(told, indent=1) + "\n")
    return told


def _known(path: Path, how: training.Recipe) -> dict | None:
    """A finished row of this recipe. Of which data it is, the training before it has asked."""
    if not path.is_file():
        return None
    try:
        told = json.loads(path.read_text())
        same = told["recipe"] == json.loads(json.dumps(asdict(how)))
    except (ValueError, TypeError, LookupError):
        raise FerlibError(f"{path} is damaged: remove it") from None
    return told if same else None


def _answers(prefix: Path, labels: str, data: Fer2013) -> dict[str, Any]:
    """What a trained net costs and how it answers, as it is: without temperature and bias."""
    net, info = nets.load(prefix, precision="fused")
    told: dict[str, Any] = counted(
        nets.find(info.network, info.channels, len(info.classes), info.input_size)
    )
    told |= {"ms": latency(net, info)}
    raw, keep = info.raw(), Path(f"{prefix}-test.csv")
    return told | measured(lambda some: nets.predict(net, some, raw), data, labels, keep=keep)


def log_of(prefix: str | Path) -> Path:
    """Where the training of a row writes its log."""
    return Path(f"{prefix}-run", "log.csv")


def read_log(path: Path) -> list[dict[str, float]]:
    """A training's log, a dict an epoch."""
    with open(path, newline="") as file:
        return [{name: float(cell) for name, cell in row.items()} for row in csv.DictReader(file)]


def pace(log: list[dict[str, float]], pictures: int) -> dict[str, float]:
    """Minutes of training, by the log, so that a break does not count, and the usual images/s."""
    rates = np.array([row["images_per_s"] for row in log])
    minutes = float((pictures / rates).sum() / 60)
    return {"minutes": round(minutes, 1), "images_per_s": round(float(np.median(rates)), 1)}


def measured(
    answer: Callable[[Any], np.ndarray],
    data: Fer2013,
    labels: str,
    splits: Sequence[str] = SPLITS,
    keep: Path | None = None,
) -> dict:
    """What the bench says of a function from pictures to scores (n, K), by split.

    `keep`: where its answers to the test split are written, as `bench.read_predictions` reads them.
    """
    found: dict[str, Any] = {}
    for split in splits:
        part = bench.split_of(data, split, labels)
        scores = answer(part.pictures)
        if split == "test":
            found[split] = bench.in_columns(scores, data, part)
            if keep:
                bench.write_predictions(keep, scores, part)
        else:
            found[split] = asdict(bench.scored(scores, part))
    return found


def latency(net: Any, info: Info, rounds: int = 20) -> dict[str, float]:
    """Median milliseconds for a batch of 1 and of 64 pictures, on the threads there are."""
    found = {}
    for count in (1, 64):
        x = mx.nd.zeros((count, info.channels, info.input_size, info.input_size))
        spent = []
        for _ in range(rounds + 3):
            began = time.perf_counter()
            net(x).wait_to_read()
            spent.append(1000 * (time.perf_counter() - began))
        found[str(count)] = round(float(np.median(spent[3:])), 3)
    return found
