"""benchmarks/workers.py: epochs take turns with their numbers of threads, and are told apart."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ferlib import training
from ferlib.data.dataset import Dataset
from ferlib.data.labels import EMOTIONS
from ferlib.training import batches

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import workers


def test_epochs_take_turns_and_keep_their_rates():
    told, run, seen = workers.Turns(), SimpleNamespace(log=[]), []
    for rate in (1, 2, 3, 40, 80, 20):
        seen.append(told.workers_for(None))
        run.log.append({"images_per_s": rate})
        told.on_epoch(run, run.log[-1])
    assert seen == [0, 1, 2, 0, 1, 2]
    assert workers.figures(told.rates) == {  # the first turn warms up
        "images_per_s": {0: 40, 1: 80, 2: 20},
        "to_none": {
            1: {"median": 2, "lowest": 2, "highest": 2},
            2: {"median": 0.5, "lowest": 0.5, "highest": 0.5},
        },
    }


@pytest.mark.slow
def test_the_training_itself_asks_for_the_threads_and_is_left_as_it_was(monkeypatch):
    asked, in_order, usual = [], batches.in_order, batches.workers_for

    def watched(make, count, threads):
        asked.append(threads)
        return in_order(make, count, threads)

    monkeypatch.setattr(batches, "in_order", watched)
    data = Dataset(np.zeros((128, 48, 48), np.uint8), np.arange(128) % len(EMOTIONS))
    found = workers.measure("vgg-tiny", 1, data, data.take(range(8)))
    assert asked == [0, 1, 2] * 2 and batches.workers_for is usual
    assert found["pictures"] == found["batch"] == training.Recipe().batch_size
    assert all(rate > 0 for rate in found["images_per_s"].values())
