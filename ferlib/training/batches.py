"""Batches for the loop: pictures augmented and normalised, beside the training where that pays."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from ferlib import runtime
from ferlib.data import images
from ferlib.data.augment import augment
from ferlib.training.recipe import Recipe

MOST_WORKERS = 4


def workers_for(ctx: list) -> int:
    """How many threads prepare pictures while a net trains.

    None on a CPU, whose cores the net's own threads use: when they wait for each other they spin,
    and another busy thread then costs more than it brings (results/workers.json). A GPU must not
    wait for Python; NumPy and OpenCV leave the interpreter's lock to others.
    """
    return 0 if ctx[0].device_type == "cpu" else min(MOST_WORKERS, runtime.cores())


def in_order(make: Callable[[int], tuple], count: int, workers: int) -> Iterator[tuple]:
    """make(0), make(1) ... make(count - 1), by so many threads that run ahead, or none."""
    if not workers:
        yield from map(make, range(count))
        return
    with ThreadPoolExecutor(workers) as pool:
        ahead: deque = deque()
        for number in range(count):
            ahead.append(pool.submit(make, number))
            if len(ahead) > 2 * workers:  # so much and no more lies in memory
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def batch(pictures: Any, rows: np.ndarray, recipe: Recipe, epoch: int, number: int) -> np.ndarray:
    """The pictures of some rows as one step of the net sees them: float32 (n, C, size, size).

    All chance comes from (seed, epoch, number), so that a batch is the same after a restart, and
    whichever thread makes it.
    """
    rng = np.random.default_rng([recipe.seed, epoch, number])
    moved = augment(pictures[rows], recipe.size(epoch), rng, recipe.augmentation)
    return images.normalised(moved, recipe.normalisation)
