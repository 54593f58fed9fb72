"""How much each setting of a search mattered: what it explains of the order of the trials (fANOVA).

Hutter et al. 2014, "An efficient approach for assessing hyperparameter importance": a forest is
fitted to figure by settings, and the variance of its answers over the whole space is divided among
the settings, each by itself. Here to the ranks of the figures: a few broken trials, as every search
has them, would else be all there is to explain. Computed by `optuna.importance`, on a study made
for it: with logarithmic ranges as they were drawn, and with the trials that were ended early.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata

from ferlib.training.space import Space, distribution, quietly

LEAST = 8  # trials: with fewer a forest says nothing
TREES = 32  # of the forest: twice as many gave the same shares to a hundredth on 24 trials
SHUFFLES = 20


def importances(
    settings: Sequence[Mapping[str, Any]], figures: Sequence[float], space: Space, seed: int = 0
) -> tuple[dict[str, float], float]:
    """Settings and figure of each trial -> name: share of the variance, largest first; by chance.

    The shares add up to 1. `by chance` is how large the largest would be if no setting mattered, at
    most, nine times in ten: found by shuffling the figures among the trials. ({}, nan) where there
    are fewer than LEAST trials, or none is better than another.
    """
    ranks = rankdata(figures)
    if len(ranks) < LEAST or len(np.unique(ranks)) < 2:
        return {}, math.nan
    found = _shares(settings, ranks, space, seed)
    rng = np.random.default_rng(seed)
    shuffled = [rng.permutation(ranks) for _ in range(SHUFFLES)]
    largest = [max(_shares(settings, each, space, seed).values()) for each in shuffled]
    return found, round(float(np.quantile(largest, 0.9)), 4)


def at_the_end(logs: Sequence[Mapping[int, float]], epochs: int) -> list[float]:
    """What each trial's figure would be after all epochs, from its figures by epoch.

    A trial that was ended early is taken to gain, from its last epoch on, as much as those that
    went to the end did on average: without it, what makes trials bad would be out of sight.
    nan for a trial without a figure.
    """
    whole = [log for log in logs if epochs in log]
    found = []
    for log in logs:
        last = max(log, default=0)
        gains = [log_[epochs] - log_[last] for log_ in whole if last in log_]
        found.append(log[last] + float(np.mean(gains)) if last and gains else math.nan)
    return found


@quietly()
def _shares(settings: Sequence[Mapping], values: np.ndarray, space: Space, seed: int) -> dict:
    import optuna

    study = optuna.create_study()
    logs = {name for name, it in space.items() if isinstance(it, dict) and it["log"]}
    ranges = {name: distribution(_as_drawn(it)) for name, it in space.items()}
    for one, value in zip(settings, values, strict=True):
        drawn = {name: math.log(it) if name in logs else it for name, it in one.items()}
        trial = optuna.trial.create_trial(params=drawn, distributions=ranges, value=float(value))
        study.add_trial(trial)
    evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=TREES, seed=seed)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: round(share, 4) for name, share in found.items()}


def _as_drawn(wanted: dict | list) -> dict | list:
    """The range of the logarithm, where a range is logarithmic: Optuna's forest has none."""
    if isinstance(wanted, list) or not wanted["log"]:
        return wanted
    return {"low": math.log(wanted["low"]), "high": math.log(wanted["high"]), "log": False}
