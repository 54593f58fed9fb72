"""What commands share: the parser, kinds of values, options."""

import argparse
from collections.abc import Callable
from typing import Any

from ferlib.data.labels import EMOTIONS

PROTOCOLS = ("fer2013new.csv", "label.csv")
MAPPING = f"what a folder's name means: {', '.join(EMOTIONS)} or skip"


class Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Show defaults where there are any, and nothing where there are none."""

    def _get_help_string(self, action):
        return action.help if action.default in (None, False) else super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """Wrong usage is two lines as well: argparse alone would print the whole usage."""

    def error(self, message: str):
        self.exit(2, f"{self.prog}: {message}\nSee `{self.prog} --help`.\n")


def add_command(commands: Any, name: str, run: Callable, text: str) -> argparse.ArgumentParser:
    """A subcommand that calls `run` with its arguments."""
    command = commands.add_parser(name, help=text, description=text, formatter_class=Formatter)
    command.set_defaults(run=run, refuse=command.error)
    command.add_argument("--json", action="store_true", help="end with one JSON object on stdout")
    return command


def add_weights(command: argparse.ArgumentParser, **how) -> None:
    """Which nets answer, and how."""
    add = command.add_argument
    add("--weights", metavar="PREFIX", help="default: the shipped net; several are averaged", **how)
    add("--tta", choices=("none", "flip"), default="none", help="also read mirrored")
    about = "of the convolutions; auto: the fastest here"
    add("--precision", choices=("auto", "int8", "fused", "float32"), default="auto", help=about)


def add_prior(command: argparse.ArgumentParser) -> None:
    """How frequent the classes are where the pictures come from."""
    about = (
        "how frequent the classes are there: uniform, or happiness=3,neutral=1 (the others: never)"
    )
    command.add_argument("--prior", metavar="PRIOR", help=about)


def add_folders(command: argparse.ArgumentParser) -> None:
    """How pictures in folders are to be understood."""
    add = command.add_argument_group("pictures in folders").add_argument
    add("--map", action="append", type=mapping, metavar="NAME=CLASS", help=MAPPING)
    about = "the folders' names are the classes, also where they name emotions"
    add("--own-classes", action="store_true", help=about)
    about = "take pictures as they are, or find the face in them; auto: small squares are faces"
    add("--faces", choices=("auto", "crop", "find"), default="auto", help=about)


def add_source(command: argparse.ArgumentParser) -> None:
    """Where pictures to learn from lie."""
    source = command.add_mutually_exclusive_group()
    about = "FER2013, folders of classes, or a CSV of votes (default: $FERLIB_DATA or data/)"
    source.add_argument("--data", type=place, metavar="PATH", help=about)
    source.add_argument("--sample", action="store_true", help="drawn faces instead")


def mapping(text: str) -> tuple[str, str]:
    name, equals, emotion = text.rpartition("=")
    if not (equals and name and emotion):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=EMOTION. {MAPPING}")
    return name, emotion.lower()


def names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def place(text: str) -> str:
    if not text:  # an unset variable of a shell; Path("") would be the working folder
        raise argparse.ArgumentTypeError("the name is empty")
    return text


def seed(text: str) -> int:
    if not 0 <= int(text) < 2**31:
        raise argparse.ArgumentTypeError(f"{text} is not a seed (0 to 2147483647)")
    return int(text)


def number(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return int(text)


def amount(text: str) -> float:
    if not 0 <= float(text) < float("inf"):  # also refuses nan
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 on")
    return float(text)


def share(text: str) -> float:
    if not 0 <= float(text) <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a share (0 to 1)")
    return float(text)


def port(text: str) -> int:
    if not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text} is not a port (1 to 65535)")
    return int(text)
