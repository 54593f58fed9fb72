"""The one exception that stands for a mistake its reader can mend."""

from collections.abc import Collection
from importlib.util import find_spec
from numbers import Integral, Real
from typing import Any


class FerlibError(ValueError):
    """What was wrong, in which file and row, and what to do, in one or two plain lines.

    `code` is a short name for programs, such as the `error.code` of an HTTP answer.
    """

    def __init__(self, message: str, code: str = "error"):
        super().__init__(message)
        self.code = code


def check_choice(what: str, value: str, choices: Collection[str]) -> None:
    """FerlibError unless `value` is one of the choices, which it names."""
    if not isinstance(value, str) or value not in choices:
        raise FerlibError(f"unknown {what} {_told(value)}: expected one of {', '.join(choices)}")


def check_kind(what: str, value: Any, kind: type | tuple[type, ...], wanted: str) -> None:
    """FerlibError unless `value` is of a type, or of one of several; `wanted` says it in words."""
    if not isinstance(value, kind) or isinstance(value, bool):
        raise FerlibError(f"{what}: expected {wanted}, found {type(value).__name__} {_told(value)}")


def _told(value: Any) -> str:
    """A value in one short line, also where it is an array or a net."""
    return " ".join(repr(value).split())[:60]


def number(what: str, value: Any, whole: bool = False) -> Any:
    """A number, one of NumPy's as Python's own; FerlibError for anything else."""
    kind: type = Integral if whole else Real
    check_kind(what, value, kind, "a whole number" if whole else "a number")
    if type(value) in (int, float):
        return value
    return int(value) if whole else float(value)


def need(package: str, extra: str, what: str) -> None:
    """FerlibError where an optional package is missing: asked before the work, not after it.

    `extra` is the one of pyproject.toml that brings the package, `what` cannot be done without it.
    """
    if find_spec(package) is None:
        raise FerlibError(
            f"{what} needs the package {package}, which is not installed: "
            f"pip install 'ferlib[{extra}]'",
            "package_missing",
        )
