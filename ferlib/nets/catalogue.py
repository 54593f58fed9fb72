"""All networks side by side: what they declare, their size, and what the bench measured of them."""

import json
from dataclasses import asdict
from math import prod
from statistics import mean
from typing import Any

from ferlib.errors import FerlibError
from ferlib.files import recorded
from ferlib.nets import graph
from ferlib.nets.registry import Net, assembled, find, names


def catalogue() -> dict[str, dict[str, Any]]:
    """Each network by name: its declaration, `counted`, and what of it was `measured`.

    A network whose package is not installed has `needs`, a line that says so, instead of a size.
    """
    known = measured()
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


def measured() -> dict[str, dict[str, Any]]:
    """What is known of each network's speed, and its accuracy by the bench.

    images_per_s: pictures in a second of training; ms: for one picture, both on one core (zoo.json:
    rows are made beside other work); accuracy: on the test split as published, by labels (ferplus,
    fer2013), the mean over the seeds.
    """
    found = {name: _pace(row) for name, row in _recorded("zoo.json", "nets", {}).items()}
    right: dict[str, dict[str, list[float]]] = {}
    for row in _recorded("bench.json", "rows", []):
        by_labels = right.setdefault(row["net"], {}).setdefault(row["labels"], [])
        by_labels.append(row["test"]["published"]["accuracy"])
    for name, accuracy in right.items():
        means = {labels: round(mean(some), 5) for labels, some in accuracy.items()}
        found.setdefault(name, {})["accuracy"] = means
    return found


def _pace(row: dict) -> dict[str, Any]:
    return {"images_per_s": row["images_per_s"], "ms": row["ms"]["1"]}


def _recorded(name: str, key: str, otherwise: Any) -> Any:
    """What a file of results/ holds under a key; `otherwise` without the file."""
    try:
        return json.loads(recorded(name).read_text())[key]
    except FerlibError:  # nothing is recorded yet
        return otherwise
