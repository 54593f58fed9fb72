"""What a search may try: settings by name, each with a range or choices.

    {"lr": {"low": 0.02, "high": 0.8, "log": true},
     "batch_size": [64, 128, 256],
     "augmentation.erase": {"low": 0, "high": 0.5}}

With "log" the logarithm is drawn evenly, so that 0.05 to 0.1 is tried as often as 0.1 to 0.2: that
suits a learning rate.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ferlib.errors import FerlibError, check_choice
from ferlib.training import settings
from ferlib.training.recipe import Recipe

Space = dict[str, "dict[str, Any] | list"]
KEYS = {"low", "high", "log"}
FORM = 'expected {"low": 0.1, "high": 0.5} or a list of choices'


def default_space(recipe: Recipe, pictures: float = math.inf) -> Space:
    """What is worth trying around a recipe, as far as there is such a setting.

    Every range holds the recipe's own value; no batch beside its own has more than `pictures`.
    `augmentation.wear` is left out: it makes pictures worse so that the net reads bad ones, which
    costs accuracy on good ones; a search on good ones would give it up.
    """
    rate, decay, batch = recipe.lr, recipe.weight_decay, recipe.batch_size
    batches = sorted({max(batch // 2, 1), batch, 2 * batch})
    found: Space = {
        "lr": {"low": rate / 10 or 0.02, "high": 4 * rate or 0.8, "log": True},
        "batch_size": [size for size in batches if size == batch or size <= pictures],
        "weight_decay": {"low": decay / 10 or 1e-6, "high": 10 * decay or 1e-2, "log": True},
        "warmup": {"low": 0, "high": 0.3},
        "smoothing": {"low": 0, "high": 0.2},
        "mixup": {"low": 0, "high": 0.4},
        "augmentation.rotation": {"low": 0, "high": 30},
        "augmentation.shift": {"low": 0, "high": 0.16},
        "augmentation.scale": {"low": 1, "high": 1.4},
        "augmentation.shear": {"low": 0, "high": 0.15},
        "augmentation.erase": {"low": 0, "high": 0.5},
    }
    for name, wanted in found.items():
        if isinstance(wanted, dict) and name not in ("lr", "weight_decay"):
            wanted["high"] = max(wanted["high"], settings.value(recipe, name))
    there = set(settings.names())
    if len(found["batch_size"]) < 2:
        there -= {"batch_size"}
    if recipe.scheme == "multi-target":  # has no use for shares of emotions
        there -= {"smoothing", "mixup"}
    if recipe.centre:  # a mixed picture belongs to two classes
        there -= {"mixup"}
    return {name: found[name] for name in found if name in there}


def read_space(path: str | Path, recipe: Recipe) -> Space:
    """A space from a JSON file; FerlibError, with the file's name, unless `checked` takes it."""
    found = settings.read_json(path, "a search space")
    try:
        return checked(found, recipe)
    except FerlibError as error:
        raise FerlibError(f"{path}: {error}") from None


def checked(space: Mapping[str, Any], recipe: Recipe) -> Space:
    """The space with every number in its type; FerlibError unless a recipe can have all of it."""
    if not isinstance(space, Mapping) or not space:
        raise FerlibError(f"a search space names settings, and for each: {FORM}")
    found = {name: _checked(name, wanted) for name, wanted in space.items()}
    _check_used(found, recipe)
    ends = {name: _ends(wanted) for name, wanted in found.items()}
    for at in (0, -1):  # some settings do not go along with others
        rest = {name: values[at] for name, values in ends.items()}
        for name, values in ends.items():
            for end in values:
                settings.changed(recipe, rest | {name: end})
    return found


def _check_used(space: Space, recipe: Recipe) -> None:
    """FerlibError for a setting that would change nothing."""
    if "teacher_share" in space and not recipe.teacher:
        raise FerlibError("teacher_share: the recipe has no teacher")
    optimisers = space.get("optimiser", [recipe.optimiser])
    if "momentum" in space and set(optimisers) == {"adam"}:
        raise FerlibError("momentum: adam has none")


def _ends(wanted: dict | list) -> list:
    return wanted if isinstance(wanted, list) else [wanted["low"], wanted["high"]]


def _checked(name: str, wanted: Any) -> dict | list:
    check_choice("setting", name, settings.names())
    if isinstance(wanted, Mapping):
        return _range(name, wanted)
    if not isinstance(wanted, Sequence) or isinstance(wanted, str):
        raise FerlibError(f"{name}: {FORM}, not {wanted!r}")
    found = [settings.fitting(name, one) for one in wanted]
    if len(set(found)) < max(len(found), 2):
        raise FerlibError(f"{name}: expected two choices or more, each once, not {found}")
    return found


def _range(name: str, wanted: Mapping) -> dict[str, Any]:
    if not {"low", "high"} <= wanted.keys() <= KEYS or not isinstance(
        wanted.get("log", False), bool
    ):
        raise FerlibError(f"{name}: {FORM}, not {dict(wanted)}")
    low, high = (settings.fitting(name, wanted[key]) for key in ("low", "high"))
    if isinstance(low, str):
        raise FerlibError(f"{name}: expected a list of choices, not a range")
    if not low < high:
        raise FerlibError(f"{name}: from {low} to {high} is no range")
    log = wanted.get("log", False)
    if log and low <= 0:
        raise FerlibError(f"{name}: a logarithmic range begins above 0, not at {low}")
    return {"low": low, "high": high, "log": log}


def distribution(wanted: dict | list) -> Any:
    """A range or choices, checked, as Optuna draws from them."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(wanted, list):
        return CategoricalDistribution(wanted)
    return (IntDistribution if isinstance(wanted["low"], int) else FloatDistribution)(**wanted)


@contextmanager
def quietly() -> Iterator[None]:
    """Without Optuna's own lines: ours tell of a search."""
    from optuna import logging

    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(before)
