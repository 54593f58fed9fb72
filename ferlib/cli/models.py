"""ferlib models."""

from argparse import Namespace
from typing import Any

from ferlib.cli.arguments import add_command

LABELS = {"ferplus": "FER+", "fer2013": "FER2013"}
TITLES = ("network", "input", "M weights", "M mult-adds", "images/s", "ms", *LABELS.values())
ABOUT = """M: millions. images/s in training and ms for one picture are of one core, accuracy is of
the test splits of FER+ and FER2013 as published: the bench (results/bench.md); -: not measured."""


def models(args: Namespace) -> dict:
    from ferlib.nets.catalogue import catalogue  # here: `ferlib --help` must not wait for MXNet

    found = catalogue()
    rows = [TITLES, *(_cells(name, net) for name, net in found.items())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *cells in rows:
        aligned = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        print("  ".join((name.ljust(widths[0]), *aligned)))
    print(f"\n{ABOUT}\n")
    for name, net in found.items():
        print(f"{name.ljust(widths[0])}  {net['note']}")
    return found


def _cells(name: str, net: dict[str, Any]) -> tuple[str, ...]:
    """A network's row of the table."""
    if "needs" in net:
        size = ("needs", "gluoncv")
    else:
        size = f"{net['parameters'] / 1e6:.2f}", f"{net['multiply_adds'] / 1e6:.0f}"
    speed = f"{net['images_per_s']:.0f}" if "images_per_s" in net else "-"
    time = f"{net['ms']:.1f}" if "ms" in net else "-"
    right = net.get("accuracy", {})
    shares = (f"{right[labels]:.2%}" if labels in right else "-" for labels in LABELS)
    return name, f"{net['size']} x {net['size']}", *size, speed, time, *shares


def add_commands(commands: Any) -> None:
    about = "list the networks, with their size, speed and accuracy"
    add_command(commands, "models", models, about)
