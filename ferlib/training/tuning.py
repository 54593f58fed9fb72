"""A search for better settings: trial after trial drawn by Optuna, hopeless ones ended early.

    found = tune(learn, valid, Recipe(epochs=8), {"lr": {"low": 0.02, "high": 0.8, "log": True}})
    found.recipe  # the best one's

The first trial is the recipe as it is, nine are drawn at random, and what follows by a
tree-structured Parzen estimator (Bergstra et al. 2011). From the middle of its epochs on a trial is
ended where the best figure that it has shown is worse than the median of the finished trials at
that epoch. Not by Hyperband: its brackets share the trials among themselves, and each would need
more of them than an evening has. Not before the middle: while the rate is high a figure jumps
(three seeds of one recipe read 38, 56 and 66 % after epoch 4 of 24: results/schemes).

All chance comes from the recipe's seed and the number of trials before: what comes next follows
from their results, not from whether the search was interrupted.
"""

import gc
import json
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from ferlib import runtime
from ferlib.data.dataset import Dataset, check_dataset, fingerprint
from ferlib.errors import FerlibError, check_choice, check_kind, need, number
from ferlib.files import check_folder
from ferlib.training import checkpoints, settings, study, teachers
from ferlib.training.callbacks import Callback, Row
from ferlib.training.loop import Diverged, fit
from ferlib.training.recipe import Recipe
from ferlib.training.space import Space, checked, default_space

SHOWN = 6  # settings in a trial's line; all stand in trials.csv


def _say(line: str) -> None:
    print(line, flush=True)  # where it goes into a file, too, somebody may look how far it is


class Prune(Callback):
    """Tells an Optuna trial the figure of each epoch, and ends the run where its pruner says so.

    Also where the loss is no number any more; never after the last epoch, when all is paid for.
    """

    def __init__(self, trial: Any, figure: str = "accuracy"):
        self.trial, self.figure = trial, f"valid_{figure}"

    def on_start(self, run: Any) -> None:
        for row in run.log:  # after a restart
            self.on_epoch(run, row)

    def on_batch(self, run: Any, epoch: int, number: int, loss: Any) -> None:
        if not math.isfinite(loss.asscalar()):
            self._end("diverged")

    def on_epoch(self, run: Any, row: Row) -> None:
        self.trial.report(row[self.figure], int(row["epoch"]))
        self.trial.set_user_attr("last", row)
        if row["epoch"] < run.recipe.epochs and self.trial.should_prune():
            self._end("ended early")

    def _end(self, why: str) -> None:
        import optuna

        self.trial.set_user_attr("state", why)
        raise optuna.TrialPruned


def tune(
    learn: Dataset,
    valid: Dataset,
    recipe: Recipe,
    space: Mapping[str, Any] | None = None,
    trials: int = 20,
    folder: str | Path = "runs/tune",
    figure: str = "accuracy",
    minutes: float = math.inf,
    data_options: str = "",
    told: Callable[[str], None] = _say,
) -> study.Search:
    """Search for settings until `trials` are done in all, or for so many minutes; -> what is found.

    `space` as in `ferlib.training.space` (default: `default_space(recipe)`), the rest of `recipe`
    stays; the first trial is the recipe as it is. `figure`, "accuracy" or "loss", is the one of the
    last epoch on `valid`: smoothing, mixup, schemes and teachers change how sure a net is, which
    the loss charges for and one temperature mends after a training; accuracy does not. Where a
    space leaves these alone the loss is the steadier of the two. After `minutes` no trial begins.

    `folder` keeps study.db, a log for each trial, trials.csv, and best.json for
    `ferlib train --recipe` with `data_options`. The same call after a kill goes on from the last
    epoch; more `trials` go on from the last one. FerlibError for a folder with a search of other
    settings, ranges or data, or in use.
    """
    need("optuna", "tune", "a search for settings")
    need("sklearn", "tune", "telling which settings mattered")
    check_choice("figure", figure, study.FIGURES)
    check_kind("recipe", recipe, Recipe, "a Recipe")
    check_kind("data_options", data_options, str, "a text")
    if not callable(told):
        raise FerlibError(f"told: expected a function of a line, found {type(told).__name__}")
    check_folder(folder)
    if number("trials", trials, whole=True) < 1 or not number("minutes", minutes) >= 0:
        raise FerlibError(
            f"{trials} trials, {minutes:g} minutes: expected 1 trial or more, 0 minutes or more"
        )
    check_dataset(learn, "learn")
    check_dataset(valid, "valid")
    wanted = default_space(recipe, _fewest(learn, [recipe.scheme])) if space is None else space
    ranges = checked(wanted, recipe)
    learn, valid = (_in_memory(data, recipe) for data in (learn, valid))
    _check_batches(learn, recipe, ranges)
    identity = _identity(learn, valid, recipe, ranges, figure)
    folder, ends = Path(folder), time.monotonic() + 60 * minutes
    with checkpoints.locked(folder), study.opened(folder, identity, recipe) as kept:
        if kept.done():
            told(f"going on after trial {kept.done() - 1}")
        while kept.done() < trials and time.monotonic() < ends:
            drawn = kept.next()
            if drawn is None:
                told("every setting there is has been tried")
                break
            _run(kept, *drawn, learn, valid, told)
            found = kept.search()
            told(_line(found))
            study.write(folder, found, data_options)
        found = kept.search()
    if not found.best:
        raise FerlibError(
            f"no trial in {folder} went to its end: ask for more (--trials, --minutes), or lower "
            "the rates and name another folder"
        )
    study.write(folder, found, data_options)
    return found


def _in_memory(data: Dataset, recipe: Recipe) -> Dataset:
    """The pictures read and resized once, not for each trial, where they are not too many."""
    network = recipe.network()
    pictures = data.array(network.size, network.channels)
    return replace(data, pictures=pictures) if isinstance(pictures, np.ndarray) else data


def _check_batches(learn: Dataset, recipe: Recipe, ranges: Space) -> None:
    wanted = ranges.get("batch_size", [recipe.batch_size])
    largest = max(wanted) if isinstance(wanted, list) else wanted["high"]
    schemes = ranges.get("scheme", [recipe.scheme])
    count = _fewest(learn, schemes if isinstance(schemes, list) else [recipe.scheme])
    if largest > count:
        raise FerlibError(
            f"{count} pictures to train on are fewer than one batch of {largest}, the largest that "
            f"is to be tried: use more data or smaller batch sizes"
        )


def _fewest(learn: Dataset, schemes: Sequence[str]) -> int:
    """Pictures that any of these schemes can be trained on."""
    return min(int(learn.trainable(scheme).sum()) for scheme in schemes)


def _identity(learn, valid, recipe: Recipe, ranges: Space, figure: str) -> dict[str, Any]:
    """What must be the same for a search to go on."""
    shape = recipe.network().size, recipe.network().channels
    prints = [fingerprint(data, data.array(*shape)) for data in (learn, valid)]
    known = {"recipe": asdict(recipe.placed()), "space": ranges, "figure": figure}
    known["weights"] = teachers.weights(recipe.placed())
    known |= {"data": " ".join(prints), "classes": learn.classes}
    return json.loads(json.dumps(known))


def _run(
    kept: study.Study,
    trial: Any,
    folder: Path,
    learn: Dataset,
    valid: Dataset,
    told: Callable[[str], None],
) -> None:
    """One trial to its end, from where it was left."""
    import optuna

    recipe = settings.changed(kept.recipe, trial.params)
    try:
        watched = [Prune(trial, kept.figure)]
        _, log = fit(learn, valid, recipe, folder, callbacks=watched, progress=False)
        kept.tell(trial, log[-1][f"valid_{kept.figure}"])
    except Diverged:
        trial.set_user_attr("state", "diverged")
        kept.tell(trial, None)
    except optuna.TrialPruned:
        kept.tell(trial, None)
    except (FerlibError, runtime.import_mxnet().MXNetError) as error:
        if not kept.done() or getattr(error, "code", "") == "not_written":
            raise  # the recipe's own fault, or the disk's: no other settings would do better
        told(f"it cannot be trained: {str(error).strip().splitlines()[0]}")
        trial.set_user_attr("state", "failed")
        kept.tell(trial, None)
    # Of a large net tens of megabytes each, some maybe from before a kill; log.csv stays.
    for left in folder.parent.glob("*/epoch-*"):
        shutil.rmtree(left, ignore_errors=True)
    gc.collect()  # the net and its graphs refer to each other


def _line(found: study.Search) -> str:
    """About the last trial."""
    row = found.rows[-1]
    value = row[f"valid_{found.figure}"]
    what = [] if math.isnan(value) else [f"{found.figure} {value:.4f}"]
    if row["state"] != "finished":
        what.append(f"{row['state']} after epoch {row['epochs']}")
    if row is found.best:
        what.append("the best so far")
    return f"trial {row['trial']:3}: {', '.join(what)}; {study.said(row['settings'], SHOWN)}"
