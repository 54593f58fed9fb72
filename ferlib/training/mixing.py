"""Softer targets and pictures between pictures: label smoothing and mixup."""

import numpy as np

from ferlib.training.recipe import Recipe

LEAST = 0.001  # alpha: below it nothing is mixed anyway, and NumPy draws for ever
_CHANCE = 1  # after (seed, epoch, number): another chance than the augmentation's


def smoothed(targets: np.ndarray, share: float) -> np.ndarray:
    """Targets (N, K), each with that share of it spread over all classes alike: float32 (N, K).

    Label smoothing: Szegedy et al. 2016 (arXiv 1512.00567), section 7.
    """
    return targets * np.float32(1 - share) + np.float32(share / targets.shape[1])


def mixup(
    batch: np.ndarray, targets: np.ndarray, recipe: Recipe, epoch: int, number: int
) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (n, C, H, W) and targets (n, K), each mixed with another of the batch.

    One share for all, drawn from Beta(alpha, alpha) with alpha `recipe.mixup`, and one order of the
    others: Zhang et al. 2018 (arXiv 1710.09412), figure 1. Unchanged where alpha is 0. All chance
    comes from (seed, epoch, number), as in `batches.batch`.
    """
    if not recipe.mixup:
        return batch, targets
    rng = np.random.default_rng([recipe.seed, epoch, number, _CHANCE])
    alpha = max(recipe.mixup, LEAST)
    share = np.float32(rng.beta(alpha, alpha))
    others = rng.permutation(len(batch))
    batch, targets = (x * share + x[others] * (1 - share) for x in (batch, targets))
    return batch, targets
