"""A search's folder: Optuna's study in SQLite, what is drawn next, and what has been found."""

import csv
import json
import math
import shlex
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from ferlib import files
from ferlib.errors import FerlibError
from ferlib.training import importance, settings
from ferlib.training.recipe import Recipe
from ferlib.training.space import Space, distribution, quietly

# Both of the last epoch, on validation; and which way is better.
FIGURES: dict[str, Any] = {"accuracy": "maximize", "loss": "minimize"}
STARTUP = 5  # finished trials before one is ended early
TRIES = 100  # to draw settings that were not tried before
NAME = "ferlib"  # of the only study in study.db


@dataclass(frozen=True)
class Search:
    """What a search has found so far.

    rows:   a dict for each trial: trial (its number), state (finished, ended early, diverged or
            failed), epochs, valid_accuracy and valid_loss after the last of them (nan without
            one), settings
    logs:   for each trial its figure by epoch
    best:   the row of the best finished trial, {} without any
    recipe: that trial's
    """

    figure: str
    space: Space
    rows: list[dict[str, Any]]
    logs: list[dict[int, float]]
    best: dict[str, Any]
    recipe: Recipe

    def importances(self) -> tuple[dict[str, float], float]:
        """See `importance.importances`. A diverged trial is worse than all others."""
        found = importance.at_the_end(self.logs, self.recipe.epochs)
        worst = -math.inf if self.figure == "accuracy" else math.inf
        figures = [
            worst if row["state"] in ("diverged", "failed") or math.isnan(value) else value
            for row, value in zip(self.rows, found, strict=True)
        ]
        given = [row["settings"] for row in self.rows]
        return importance.importances(given, figures, self.space, self.recipe.seed)


class Study:
    """Optuna's study with the recipe that it is about; see `opened`."""

    def __init__(self, study: Any, folder: Path, identity: dict, recipe: Recipe):
        self._study, self._folder, self.recipe = study, folder, recipe
        self.figure, self.space = identity["figure"], identity["space"]
        self._ranges = {name: distribution(it) for name, it in sorted(self.space.items())}
        self._give_up()

    def _finished(self) -> list:
        return [trial for trial in self._study.get_trials(deepcopy=False) if _counts(trial)]

    def done(self) -> int:
        """How many trials have been finished or ended early."""
        return len(self._finished())

    def _give_up(self) -> None:
        """What a kill left in the middle is put down as failed, and its settings come next."""
        from optuna.trial import TrialState

        for left in self._study.get_trials(states=(TrialState.RUNNING,)):
            self._study.tell(left.number, state=TrialState.FAIL)
            if left.params.keys() == self._ranges.keys():
                self._study.enqueue_trial(left.params)

    def next(self) -> tuple[Any, Path] | None:
        """A trial with its settings, and its folder: the same again after a kill.

        None where all settings that can be drawn were tried: all trials have one seed, so a second
        time would tell nothing new.
        """
        from optuna.trial import TrialState

        if not self._study.get_trials(states=(TrialState.WAITING,)):
            known = [trial.params for trial in self._finished()]
            fresh = (one for one in map(self._drawn, range(TRIES)) if one not in known)
            if (drawn := next(fresh, None)) is None:
                return None
            self._study.enqueue_trial(drawn)  # first as a whole: a kill leaves no half
        trial = self._study.ask(self._ranges)
        trial.set_user_attr("trial", self.done())  # Optuna also counts what a kill has ended
        return trial, self._folder / "trials" / f"{self.done():04d}"

    def _drawn(self, attempt: int) -> dict[str, Any]:
        """From the results so far, the seed and their number alone; three digits are enough.

        By chance alone where the estimator does not come up with anything new.
        """
        import optuna

        done = self._finished()
        given = [self.recipe.seed, len(done), *([attempt] if attempt else [])]
        seed = int(np.random.SeedSequence(given).generate_state(1)[0])
        by_chance = attempt > TRIES // 4
        sampling = optuna.samplers.RandomSampler if by_chance else optuna.samplers.TPESampler
        passing = optuna.create_study(direction=FIGURES[self.figure], sampler=sampling(seed=seed))
        passing.add_trials(done)
        drawn = passing.ask(self._ranges).params
        found = {name: _rounded(drawn[name], self.space[name]) for name in drawn}
        return found if done else found | _as_it_is(self.recipe, self.space)

    def tell(self, trial: Any, value: float | None) -> None:
        """End a trial with its figure, or before its end without one."""
        from optuna.trial import TrialState

        state = TrialState.PRUNED if value is None else TrialState.COMPLETE
        self._study.tell(trial, value, state)

    def search(self) -> Search:
        """What has been found so far."""
        done = self._finished()
        rows = [_row(number, trial, self.space) for number, trial in enumerate(done)]
        key, sign = f"valid_{self.figure}", 1 if self.figure == "accuracy" else -1
        whole = [row for row in rows if row["state"] == "finished"]
        best = max(whole, key=lambda row: sign * row[key], default={})
        recipe = settings.changed(self.recipe, best.get("settings", {}))
        logs = [dict(trial.intermediate_values) for trial in done]
        return Search(self.figure, self.space, rows, logs, best, recipe)


def _counts(trial: Any) -> bool:
    return trial.state.name in ("COMPLETE", "PRUNED")


def _row(number: int, trial: Any, space: Space) -> dict[str, Any]:
    last = trial.user_attrs.get("last", {})
    row = {"trial": number, "state": trial.user_attrs.get("state", "finished")}
    row["epochs"] = last.get("epoch", 0)
    row |= {key: last.get(key, math.nan) for key in ("valid_accuracy", "valid_loss")}
    return row | {"settings": {name: trial.params[name] for name in space}}


def _rounded(value: Any, wanted: dict | list) -> Any:
    if not isinstance(value, float) or isinstance(wanted, list):
        return value
    return min(max(float(f"{value:.3g}"), wanted["low"]), wanted["high"])


def _as_it_is(recipe: Recipe, space: Space) -> dict[str, Any]:
    """The recipe's own settings, as far as they lie in the space."""
    mine = {name: settings.value(recipe, name) for name in space}
    return {name: value for name, value in mine.items() if _holds(space[name], value)}


def _holds(wanted: dict | list, value: Any) -> bool:
    if isinstance(wanted, list):
        return value in wanted
    return wanted["low"] <= value <= wanted["high"]


# ---------------------------------------------------------------- the folder


@contextmanager
def opened(folder: Path, identity: dict, recipe: Recipe) -> Iterator[Study]:
    """The search in a folder, begun or gone on with; FerlibError where it is another one."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    files.check_text(folder)
    place = folder / "study.db"
    with quietly():
        try:
            if not place.exists():
                _begin(place, identity)
            _check_ours(place)
            study = _loaded(place, recipe)
            known = study.user_attrs.get("identity", {})
            if known != identity and not study.get_trials(deepcopy=False):  # nothing to compare yet
                _begin(place, identity)
                study, known = _loaded(place, recipe), identity
            _check_same(folder, identity, known)
            yield Study(study, folder, identity, recipe)
        except (SQLAlchemyError, StorageInternalError) as error:
            raise FerlibError(f"cannot write {place}: {_first_line(error)}") from None


def _storage(place: Path) -> Any:
    from optuna.storages import RDBStorage

    return RDBStorage(f"sqlite:///{quote(str(place))}")


def _begin(place: Path, identity: dict) -> None:
    """An empty study that says what it is about, there as a whole or not at all."""
    import optuna

    with files.whole_file(place) as partial:
        storage, way = _storage(partial), FIGURES[identity["figure"]]
        study = optuna.create_study(storage=storage, study_name=NAME, direction=way)
        study.set_user_attr("identity", identity)
        storage.remove_session()
        storage.engine.dispose()


def _loaded(place: Path, recipe: Recipe) -> Any:
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    middle = math.ceil(recipe.epochs / 2)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=middle)
    none = optuna.samplers.RandomSampler()  # never asked: see `Study._drawn`
    try:
        storage = _storage(place)
        return optuna.load_study(study_name=NAME, storage=storage, sampler=none, pruner=pruner)
    except (KeyError, RuntimeError, SQLAlchemyError, optuna.exceptions.OptunaError) as error:
        raise _not_ours(place, _first_line(error)) from None


def _check_ours(place: Path) -> None:
    """FerlibError for another program's file, in which Optuna would begin to write."""
    try:
        with closing(sqlite3.connect(f"{place.absolute().as_uri()}?mode=ro", uri=True)) as file:
            names = {name for (name,) in file.execute("SELECT name FROM sqlite_master")}
    except sqlite3.Error as error:
        raise _not_ours(place, str(error)) from None
    if "studies" not in names:
        raise _not_ours(place, "it holds no study")


def _not_ours(place: Path, why: str) -> FerlibError:
    return FerlibError(
        f"{place} is not the study of a search that can go on: {why}.\n"
        "Name another folder, or remove it"
    )


def _first_line(error: BaseException) -> str:
    """What SQLite says; what stands around it guesses."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _check_same(folder: Path, mine: dict, theirs: dict) -> None:
    default = json.loads(json.dumps(asdict(Recipe())))
    then = default | theirs.get("recipe", {})  # what is younger than it had its default in it
    differs = [key for key in mine["recipe"] if mine["recipe"][key] != then.get(key)]
    theirs = {"weights": mine["weights"]} | theirs  # what is older than that is taken on trust
    differs += [key for key in ("figure", "data", "classes") if mine[key] != theirs.get(key)]
    differs += ["start or teacher"] if mine["weights"] != theirs["weights"] else []
    ours, others = mine["space"], theirs.get("space", {})
    names = sorted(name for name in ours | others if ours.get(name) != others.get(name))
    differs += [f"space ({', '.join(names)})"] if names else []
    if differs:
        raise FerlibError(
            f"{folder} holds a search with another {', '.join(differs)}: "
            f"name another folder, or remove this one"
        )


def said(given: Mapping[str, Any], most: int | None = None) -> str:
    """Settings in a line, the first ones at most."""
    told = [f"{name.removeprefix(settings.MOVED)} {value}" for name, value in given.items()]
    return ", ".join(told[:most]) + (", ..." if most and len(told) > most else "")


def write(folder: Path, found: Search, data_options: str = "") -> None:
    """trials.csv, and best.json where a trial has finished: its recipe, and how to train by it."""
    with files.whole_file(folder / "trials.csv") as partial, open(partial, "w", newline="") as file:
        rows = [row | row["settings"] for row in found.rows]
        plain = [{key: row[key] for key in row if key != "settings"} for row in rows]
        writer = csv.DictWriter(file, plain[0] if plain else ["trial"])
        writer.writeheader()
        writer.writerows(plain)
    if not found.best:
        return
    place = folder / "best.json"
    known = {"command": command(folder, data_options), **found.best, "of": len(found.rows)}
    known |= {"space": found.space, "recipe": asdict(found.recipe)}
    with files.whole_file(place) as partial:
        partial.write_text(json.dumps(known, indent=1) + "\n")


def command(folder: str | Path, data_options: str = "") -> str:
    """The call that trains a net by the best settings of the search in a folder."""
    words = ["ferlib train --recipe", shlex.quote(f"{folder}/best.json"), data_options, "--out"]
    return " ".join(filter(None, [*words, shlex.quote(f"{folder}/best/net")]))
