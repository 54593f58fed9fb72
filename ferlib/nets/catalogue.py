"""All networks side by side: what they declare, their size, and what the bench measured of them."""

import json
from dataclasses import asdict
from math import prod
from pathlib import Path
from statistics import mean
from typing import Any

from ferlib.errors import FerlibError
from ferlib.files import recorded
from ferlib.nets import graph
from ferlib.nets.registry import Net, assembled, find, names


def catalogue(bench: str | Path | None = None) -> dict[str, dict[str, Any]]:
    """Each network by name: its declaration, `counted`, and `measured` where the bench has it.

    A network whose package is not installed has `needs`, a line that says so, instead of a size.
    `bench` is a file of the bench's rows; by default the recorded one, if there is one.
    """
    known = measured(bench)
    return {name: _told(find(name)) | known.get(name, {}) for name in names()}


def _told(net: Net) -> dict[str, Any]:
    told = asdict(net)
    del told["layers"], told["name"]
    try:
        return told | counted(net)
    except FerlibError as error:
        if error.code != "package_missing":
            raise
        return told | {"needs": str(error)}


def counted(net: Net) -> dict[str, int]:
    """Numbers learnt or kept, and multiply-adds for one picture: from shapes, without weights."""
    block = assembled(net)
    parameters = sum(prod(parameter.shape) for parameter in block.collect_params().values())
    return {"parameters": parameters, "multiply_adds": graph.multiply_adds(block, net)}


def measured(bench: str | Path | None = None) -> dict[str, dict[str, Any]]:
    """What the bench says of each network it has rows of, each figure the mean over the rows.

    images_per_s: pictures in a second of training; ms: for one picture; accuracy: on the test split
    as published, by labels (ferplus, fer2013).
    """
    try:
        rows = json.loads(Path(bench or recorded("bench.json")).read_text())["rows"]
    except FerlibError:  # nothing is recorded yet
        rows = []
    by_net: dict[str, list[dict]] = {}
    for row in rows:
        by_net.setdefault(row["net"], []).append(row)
    return {net: _means(some) for net, some in by_net.items()}


def _means(rows: list[dict]) -> dict[str, Any]:
    accuracy: dict[str, list[float]] = {}
    for row in rows:
        accuracy.setdefault(row["labels"], []).append(row["test"]["published"]["accuracy"])
    return {
        "images_per_s": round(mean(row["images_per_s"] for row in rows), 1),
        "ms": round(mean(row["ms"]["1"] for row in rows), 2),
        "accuracy": {labels: round(mean(some), 5) for labels, some in accuracy.items()},
    }
