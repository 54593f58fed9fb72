"""A recipe's settings by their names: which there are, changed, and read from a file.

A name is that of a field of `Recipe`, or `augmentation.` and a field of its `Augmentation`.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from ferlib.data.augment import Augmentation
from ferlib.errors import FerlibError, check_choice
from ferlib.training.recipe import Recipe

MOVED = "augmentation."
# What trials that are to be compared have in common: the net, what it begins with and what it sees.
COMMON = ("net", "channels", "normalise", "epochs", "seed", "precision", "start", "freeze")


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


def changed(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """The recipe with some settings changed; FerlibError where they do not go together."""
    own = {name: it for name, it in settings.items() if not name.startswith(MOVED)}
    moved = {name.removeprefix(MOVED): settings[name] for name in settings if name not in own}
    return replace(recipe, **own, augmentation=replace(recipe.augmentation, **moved))


def read_json(path: str | Path, what: str) -> dict:
    """The JSON object in a file; FerlibError where there is none."""
    try:
        found = json.loads(Path(path).read_text())
    except OSError as error:
        raise FerlibError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise FerlibError(f"{path} is no JSON ({error}): expected {what}") from None
    if not isinstance(found, dict):
        raise FerlibError(f"{path} holds no JSON object: expected {what}")
    return found


def read_recipe(path: str | Path) -> Recipe:
    """The recipe in a JSON file: best.json of a search, or what stands beside a trained net.

    What the file does not name has its default. FerlibError for what no recipe has.
    """
    whole = read_json(path, "a recipe")
    found = whole.get("trained", whole).get("recipe")
    if not isinstance(found, dict):
        raise FerlibError(f"{path} holds no recipe: expected best.json of a search, or a net's")
    known = asdict(Recipe())
    moved = found.get("augmentation", {})
    for name in found:
        check_choice(f"setting in {path}", name, known)
    for name in moved:
        check_choice(f"setting in {path}", name, known["augmentation"])
    frozen = {name: _frozen(it) for name, it in found.items() if name != "augmentation"}
    moved = {name: _frozen(it) for name, it in moved.items()}
    return Recipe(**frozen, augmentation=Augmentation(**moved))


def _frozen(found: Any) -> Any:
    """JSON's lists as the tuples that a recipe has."""
    return tuple(map(_frozen, found)) if isinstance(found, list) else found
