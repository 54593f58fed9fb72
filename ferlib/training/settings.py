"""A recipe's settings by their names: which there are, changed, and read from a file.

A name is that of a field of `Recipe`, or `augmentation.` and a field of its `Augmentation`.
"""

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from ferlib.data.augment import Augmentation
from ferlib.errors import FerlibError, check_choice
from ferlib.training.recipe import Recipe

MOVED = "augmentation."
LEAST = {"batch_size": 1, "epochs": 1, "augmentation.scale": 1}  # the rest from 0
SHARES = {"warmup", "momentum", "teacher_share"} | {
    MOVED + name for name in ("flip", "erase", "wear")
}
HUGE = 1e300
# What trials that are to be compared have in common: the net, what it begins with and what it sees.
COMMON = ("net", "channels", "side", "normalise", "epochs", "seed", "precision", "start", "freeze")


def names() -> list[str]:
    """The settings that can differ between runs that are compared: numbers and names, no more."""
    own = [name for name in _plain(Recipe()) if name not in COMMON]
    return own + [MOVED + name for name in _plain(Augmentation())]


def _plain(what: Any) -> list[str]:
    given = {field.name: getattr(what, field.name) for field in fields(what)}
    return [name for name, value in given.items() if type(value) in (int, float, str)]


def value(recipe: Recipe, name: str) -> Any:
    """What a recipe has under a name."""
    if name.startswith(MOVED):
        return getattr(recipe.augmentation, name.removeprefix(MOVED))
    return getattr(recipe, name)


def fitting(name: str, given: Any) -> Any:
    """A value in the type that a recipe has under a name; FerlibError where it is none for it."""
    usual = value(Recipe(), name)
    given = given.item() if isinstance(given, np.generic) else given
    if isinstance(usual, tuple):
        return _tuple(name, given)
    if isinstance(usual, str | bool):
        if type(given) is not type(usual):
            what = "a name" if isinstance(usual, str) else "true or false"
            raise FerlibError(f"{name}: expected {what}, not {given!r}")
        return given
    return _number(name, given, whole=isinstance(usual, int))


def _number(name: str, given: Any, whole: bool) -> int | float:
    numeric = isinstance(given, int | float) and not isinstance(given, bool)
    if not numeric or not abs(given) < HUGE or (whole and given != int(given)):
        raise FerlibError(f"{name}: expected a {'whole ' * whole}number, not {given!r}")
    least, most = LEAST.get(name, 0), 1 if name in SHARES else HUGE
    if not least <= given <= most:
        told = f"{least} to 1" if name in SHARES else f"{least} or more"
        raise FerlibError(f"{name}: {given} cannot be, expected {told}")
    return int(given) if whole else float(given)


def _tuple(name: str, given: Any) -> tuple:
    """One of a recipe's tuples, which JSON has as lists."""
    what, sound = {
        "teacher": ("a list of names", lambda all_: all(isinstance(one, str) for one in all_)),
        "grow": ("a list of pairs of shares", lambda all_: all(map(_two_shares, all_))),
        MOVED + "erase_side": ("a pair of shares", _two_shares),
    }[name]
    if not isinstance(given, list) or not sound(given):
        raise FerlibError(f"{name}: expected {what}, not {given!r}")
    return tuple(tuple(one) if isinstance(one, list) else one for one in given)


def _two_shares(given: Any) -> bool:
    numbers = isinstance(given, list) and all(isinstance(one, int | float) for one in given)
    return numbers and len(given) == 2 and all(0 < one <= 1 for one in given)


def changed(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """The recipe with some settings changed; FerlibError where they do not go together."""
    own = {name: it for name, it in settings.items() if not name.startswith(MOVED)}
    moved = {name.removeprefix(MOVED): settings[name] for name in settings if name not in own}
    return replace(recipe, **own, augmentation=replace(recipe.augmentation, **moved))


def read_json(path: str | Path, what: str) -> dict:
    """The JSON object in a file; FerlibError where there is none."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise FerlibError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise FerlibError(f"{path} is no JSON ({error}): expected {what}") from None
    if not isinstance(found, dict):
        raise FerlibError(f"{path} holds no JSON object: expected {what}")
    return found


def read_recipe(path: str | Path) -> Recipe:
    """The recipe in a JSON file: best.json of a search, or what stands beside a trained net.

    What the file does not name has its default. FerlibError for what no recipe has.
    """
    whole = read_json(path, "a recipe")
    trained = whole.get("trained", whole)
    found = trained.get("recipe") if isinstance(trained, dict) else None
    if not isinstance(found, dict) or not isinstance(found.get("augmentation", {}), dict):
        raise FerlibError(f"{path} holds no recipe: expected best.json of a search, or a net's")
    named = {name: it for name, it in found.items() if name != "augmentation"}
    named |= {MOVED + name: it for name, it in found.get("augmentation", {}).items()}
    known = _every()
    for name in named:
        check_choice(f"setting in {path}", name, known)
    try:
        return changed(Recipe(), {name: fitting(name, it) for name, it in named.items()})
    except FerlibError as error:
        raise FerlibError(f"{path}: {error}") from None


def _every() -> list[str]:
    """The names of all settings, also of those that trials have in common."""
    own = [field.name for field in fields(Recipe) if field.name != "augmentation"]
    return own + [MOVED + field.name for field in fields(Augmentation)]
