"""A search for settings: its space, its trials, what ends them, and what is said of them."""

import csv
import json
import math
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import optuna
import pytest
from command import ferlib, mistake, no_file_larger_than

from ferlib import errors, nets, plots, runtime, training
from ferlib.data import fer2013, labels, sample
from ferlib.data.augment import NONE
from ferlib.errors import FerlibError
from ferlib.plots import tune as drawing
from ferlib.training import importance, settings, space, study, tuning

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "experiments")]
import compare  # noqa: E402
import search  # noqa: E402

mx = runtime.import_mxnet()
QUICK = training.Recipe(
    net="vgg-tiny", epochs=3, batch_size=16, lr=0.05, precision="float32", augmentation=NONE
)
RATES = {"lr": {"low": 1e-6, "high": 0.3, "log": True}, "batch_size": [16, 32]}


# ---------------------------------------------------------------- settings and spaces


def test_settings_are_changed_where_they_stand():
    found = settings.changed(QUICK, {"lr": 0.3, "augmentation.erase": 0.5})
    assert found == replace(QUICK, lr=0.3, augmentation=replace(NONE, erase=0.5))
    assert settings.value(found, "augmentation.erase") == 0.5


def test_what_trials_must_share_cannot_be_searched():
    names = settings.names()
    assert {"lr", "mixup", "optimiser", "augmentation.wear"} <= {*names}
    assert not {"net", "epochs", "seed", "start", "teacher_views"} & {*names}


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"optimiser": "adam", "lr": 0.001},
        {"scheme": "multi-target"},
        {"centre": 0.003},
        {"batch_size": 1},
        {"warmup": 0.5, "smoothing": 0.3, "mixup": 1.0},
        {"augmentation": replace(NONE, rotation=45, shift=0.3, scale=2, shear=0.4, erase=0.9)},
    ],
)
def test_the_default_space_is_around_the_recipe(how):
    recipe = training.Recipe(**how)
    found = space.checked(training.default_space(recipe), recipe)
    assert study._as_it_is(recipe, found) == {name: settings.value(recipe, name) for name in found}
    assert ("mixup" in found) == (recipe.scheme != "multi-target" and not recipe.centre)


def test_the_default_space_tries_no_batch_without_pictures():
    recipe = training.Recipe(batch_size=100)
    sizes = [training.default_space(recipe, most).get("batch_size") for most in (1000, 150, 100)]
    assert sizes == [[50, 100, 200], [50, 100], [50, 100]]
    assert "batch_size" not in training.default_space(training.Recipe(batch_size=1), 1)


def test_what_of_a_recipe_lies_outside_the_space_is_drawn():
    recipe = training.Recipe(lr=0.0, weight_decay=0.0)
    found = space.checked(training.default_space(recipe), recipe)
    assert {"lr", "weight_decay"} == {*found} - {*study._as_it_is(recipe, found)}


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({}, "names settings"),
        ([1, 2], "names settings"),
        ({"lrr": [1, 2]}, "unknown setting 'lrr': expected one of .*lr, .*augmentation.rotation"),
        ({"epochs": [1, 2]}, "unknown setting 'epochs'"),
        ({"lr": 0.1}, "expected .* not 0.1"),
        ({"lr": {"low": 0.1}}, "expected .* not {'low': 0.1}"),
        ({"lr": {"low": 0.1, "high": 1, "step": 2}}, "step"),
        ({"lr": {"low": 1, "high": 0.1}}, "from 1.0 to 0.1 is no range"),
        ({"lr": {"low": 0, "high": 0.1, "log": True}}, "begins above 0"),
        ({"lr": {"low": "a", "high": 0.1}}, "expected a number, not 'a'"),
        ({"lr": {"low": 0.1, "high": math.nan}}, "expected a number, not nan"),
        ({"lr": {"low": 0.1, "high": 10**400}}, "expected a number"),
        ({"lr": [True, 0.1]}, "not True"),
        ({"lr": [0.1]}, "two choices or more"),
        ({"lr": [0.1, 0.1]}, "each once"),
        ({"lr": {"low": -1, "high": 1}}, "-1 cannot be, expected 0 or more"),
        ({"warmup": {"low": 0, "high": 1.5}}, "1.5 cannot be, expected 0 to 1"),
        ({"batch_size": {"low": 8, "high": 12.5}}, "expected a whole number, not 12.5"),
        ({"batch_size": [0, 8]}, "0 cannot be, expected 1 or more"),
        ({"lr": [0.1, 1e39]}, "lr 1e.39: expected 0 to 1e.38"),
        ({"optimiser": {"low": 0, "high": 1}}, "expected a name, not 0"),
        ({"optimiser": ["nag", "lamb"]}, "unknown optimiser 'lamb'"),
        ({"teacher_share": {"low": 0, "high": 1}}, "no teacher"),
        ({"optimiser": ["adam"] * 2, "momentum": {"low": 0, "high": 1}}, "each once"),
        ({"scheme": ["majority", "multi-target"], "mixup": {"low": 0, "high": 1}}, "multi-target"),
    ],
)
def test_a_space_that_cannot_be_is_one_plain_line(wanted, told):
    with pytest.raises(FerlibError, match=told) as found:
        space.checked(wanted, QUICK)
    assert len(str(found.value).splitlines()) == 1


def test_a_space_is_read_from_a_file(tmp_path):
    place = tmp_path / "space.json"
    place.write_text(
        '{"lr": {"low": 1, "high": 2}, "batch_size": {"low": 8, "high": 64, "log": true}}'
    )
    found = training.read_space(place, QUICK)
    assert found["lr"] == {"low": 1.0, "high": 2.0, "log": False}
    assert all(type(found["batch_size"][end]) is int for end in ("low", "high"))
    for text, told in (("{", "is no JSON"), ("[]", "no JSON object"), ('{"a": 1}', "space.json: ")):
        place.write_text(text)
        with pytest.raises(FerlibError, match=told):
            training.read_space(place, QUICK)
    with pytest.raises(FerlibError, match="cannot read"):
        training.read_space(tmp_path / "nowhere.json", QUICK)


def test_a_recipe_comes_back_from_its_file(tmp_path):
    place, recipe = tmp_path / "best.json", replace(QUICK, teacher=("a", "b"), lr=0.123)
    for whole in ({"recipe": asdict(recipe)}, {"trained": {"recipe": asdict(recipe)}}):
        place.write_text(json.dumps(whole))
        assert training.read_recipe(place) == recipe


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({}, "holds no recipe"),
        ({"trained": 3}, "holds no recipe"),
        ({"recipe": {"augmentation": 5}}, "holds no recipe"),
        ({"recipe": {"lrr": 1}}, "unknown setting in .*best.json 'lrr'"),
        ({"recipe": {"augmentation": {"spin": 1}}}, "unknown setting"),
        ({"recipe": {"lr": "fast"}}, "best.json: lr: expected a number, not 'fast'"),
        ({"recipe": {"lr": None}}, "lr: expected a number, not None"),
        ({"recipe": {"epochs": 2.5}}, "epochs: expected a whole number, not 2.5"),
        ({"recipe": {"epochs": 0}}, "epochs: 0 cannot be"),
        ({"recipe": {"net": 3}}, "net: expected a name, not 3"),
        ({"recipe": {"teacher": "abc"}}, "teacher: expected a list of names, not 'abc'"),
        ({"recipe": {"teacher_views": 1}}, "teacher_views: expected true or false, not 1"),
        ({"recipe": {"grow": [0.5, 0.7]}}, "grow: expected a list of pairs of shares"),
        ({"recipe": {"augmentation": {"erase": "x"}}}, "erase: expected a number, not 'x'"),
        ({"recipe": {"augmentation": {"erase_side": [0.1]}}}, "erase_side: expected a pair"),
        (
            {"recipe": {"augmentation": {"erase_side": [0.5, 0.2]}}},
            "erase_side 0.5 to 0.2: expected the smaller share first",
        ),
        ({"recipe": {"optimiser": "lamb"}}, "best.json: unknown optimiser 'lamb'"),
    ],
)
def test_what_is_no_recipe_is_one_plain_line(tmp_path, wrong, told):
    place = tmp_path / "best.json"
    place.write_text(json.dumps(wrong))
    with pytest.raises(FerlibError, match=told) as found:
        training.read_recipe(place)
    assert len(str(found.value).splitlines()) == 1


# ---------------------------------------------------------------- what ends a trial


def judged(curve: list[float], epochs: int = 4) -> str:
    """How a trial ends after so many epochs, where five have read 50, 60, 70, 80 and 90 %."""
    pruner = optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=2)
    whole = optuna.create_study(direction="maximize", pruner=pruner)
    for value in (0.5, 0.6, 0.7, 0.8, 0.9):
        before = {epoch: value for epoch in range(1, epochs + 1)}
        done = optuna.trial.create_trial(value=value, intermediate_values=before)
        whole.add_trial(done)
    trial = whole.ask()
    rows = [
        {"epoch": epoch, "valid_accuracy": value, "valid_loss": 1.0}
        for epoch, value in enumerate(curve, 1)
    ]
    run = SimpleNamespace(log=rows, recipe=replace(QUICK, epochs=epochs))
    try:
        training.Prune(trial).on_start(run)
    except optuna.TrialPruned:
        seen = whole.trials[-1].intermediate_values
        return f"{trial.user_attrs['state']} after {len(seen)}"
    return "goes on"


@pytest.mark.parametrize(
    ("curve", "ending"),
    [
        ([0.1], "goes on"),  # before the middle
        ([0.1, 0.69], "ended early after 2"),  # the median is 0.7
        ([0.1, 0.71], "goes on"),
        ([0.75, 0.1], "goes on"),  # its best counts
        ([0.8, 0.8, 0.8, 0.1], "goes on"),
        ([0.1, 0.7, 0.7, 0.7], "goes on"),  # all is paid for
    ],
)
def test_a_trial_below_the_median_is_ended_from_the_middle_on(curve, ending):
    assert judged(curve) == ending


def test_a_loss_that_is_no_number_ends_a_trial():
    trial = optuna.create_study().ask()
    watched = training.Prune(trial)
    watched.on_batch(None, 1, 0, mx.nd.array([3]))
    with pytest.raises(optuna.TrialPruned):
        watched.on_batch(None, 1, 1, mx.nd.array([np.inf]))


# ---------------------------------------------------------------- which settings mattered


def test_what_a_trial_would_have_come_to_by_hand():
    logs = [{1: 0.2, 2: 0.5, 3: 0.8}, {1: 0.4, 2: 0.6, 3: 0.8}, {1: 0.1, 2: 0.3}, {1: 0.2}, {}]
    wanted = [0.8, 0.8, 0.3 + 0.25, 0.2 + 0.5, math.nan]
    assert importance.at_the_end(logs, 3) == pytest.approx(wanted, nan_ok=True)


def test_a_trial_that_diverged_is_worse_than_all_others(monkeypatch):
    asked = []
    monkeypatch.setattr(
        importance, "importances", lambda rows, figures, *how: asked.append(figures)
    )
    states = ["finished", "ended early", "diverged", "diverged"]
    rows = [{"state": state, "settings": {}} for state in states]
    logs = [{1: 0.5, 2: 0.7}, {1: 0.4}, {1: 0.5}, {}]
    for figure, worst in (("accuracy", -math.inf), ("loss", math.inf)):
        recipe = replace(QUICK, epochs=2)
        study.Search(figure, {}, rows, logs, rows[0], recipe).importances()
        assert asked.pop() == pytest.approx([0.7, 0.6, worst, worst])


@pytest.mark.slow
def test_a_trial_is_told_the_figure_of_its_last_epoch(tmp_path, monkeypatch):
    log = [{"epoch": k, "valid_accuracy": value} for k, value in enumerate((0.3, 0.9, 0.6), 1)]
    monkeypatch.setattr(tuning, "fit", lambda *_args, **_how: (None, log))
    told, recipe = [], training.Recipe(net="vgg-tiny")
    kept = SimpleNamespace(recipe=recipe, figure="accuracy", tell=lambda _t, one: told.append(one))
    trial = SimpleNamespace(params={}, set_user_attr=lambda *_args: None)
    tuning._run(kept, trial, tmp_path / "0000", None, None, print)
    assert told == [0.6]


def test_a_rounded_setting_stays_in_its_range():
    assert study._rounded(0.12345, {"low": 0.12345, "high": 1.0, "log": False}) == 0.12345
    assert study._rounded(0.9996, {"low": 0.1, "high": 0.9996, "log": False}) == 0.9996
    assert study._rounded(0.12345, {"low": 0.1, "high": 1.0, "log": False}) == 0.123


def test_importances_agree_with_known_variances(monkeypatch):
    """Of 3 log10(a) / 2 + b, a from 0.01 to 1 and b from 0 to 1, the variances are 9 to 1."""
    monkeypatch.setattr(importance, "SHUFFLES", 3)
    rng = np.random.default_rng(0)
    a, b, c = 10 ** rng.uniform(-2, 0, 150), rng.random(150), rng.integers(0, 2, 150)
    ranges = {"a": {"low": 0.01, "high": 1.0, "log": True}, "b": {"low": 0.0, "high": 1.0}}
    ranges = {name: {"log": False} | it for name, it in ranges.items()} | {"c": ["x", "y"]}
    given = [{"a": x, "b": y, "c": "xy"[z]} for x, y, z in zip(a, b, c, strict=True)]
    figures = 1.5 * np.log10(a) + b
    found, chance = training.importances(given, figures, ranges)
    assert list(found) == ["a", "b", "c"] and sum(found.values()) == pytest.approx(1, abs=1e-3)
    assert found["a"] == pytest.approx(0.9, abs=0.06) and found["c"] < 0.01
    assert found["c"] < chance < found["a"]
    # A few broken trials change the order little, and so what explains it.
    broken = np.where(np.arange(150) % 50 == 0, -1000, figures)
    assert training.importances(given, broken, ranges)[0]["a"] == pytest.approx(0.9, abs=0.1)


def test_no_importances_from_next_to_nothing():
    for given, figures in ((3, [1, 2, 3]), (20, [1.0] * 20)):
        rows = [{"lr": 0.1 + 0.01 * number} for number in range(given)]
        found, chance = training.importances(
            rows, figures, space.checked({"lr": [0.1, 0.2]}, QUICK)
        )
        assert found == {} and math.isnan(chance)


# ---------------------------------------------------------------- searching


@pytest.fixture(scope="module")
def drawn(drawn_splits):
    """A small train and valid split of drawn faces."""
    learn, held_out = drawn_splits
    return learn.take(range(128)), held_out.take(range(64))


def tune(drawn, folder, trials, ranges=None, recipe=QUICK, **how):
    """Without a line a trial."""
    told = how.pop("told", lambda line: None)
    return training.tune(*drawn, recipe, ranges or RATES, trials, folder, told=told, **how)


@pytest.fixture(scope="module")
def searched(drawn, tmp_path_factory):
    """A search of eight trials: its folder, and what it found."""
    folder = tmp_path_factory.mktemp("searched")
    return folder, tune(drawn, folder, 8)


@pytest.mark.slow
def test_hopeless_rates_are_given_up(searched):
    _, found = searched
    early = [row for row in found.rows if row["state"] == "ended early"]
    assert early and all(row["epochs"] == 2 for row in early)
    assert min(row["settings"]["lr"] for row in early) < 1e-3
    finished = [row for row in found.rows if row["state"] == "finished"]
    assert found.best["valid_accuracy"] == max(row["valid_accuracy"] for row in finished)
    assert found.best["settings"]["lr"] > 1e-3


@pytest.mark.slow
def test_the_first_trial_is_the_recipe_as_it_is(searched, drawn):
    _, found = searched
    assert found.rows[0]["settings"] == {"lr": 0.05, "batch_size": 16}
    _, log = training.fit(*drawn, QUICK, progress=False)
    assert found.rows[0]["valid_accuracy"] == log[-1]["valid_accuracy"]
    assert found.logs[0] == {row["epoch"]: row["valid_accuracy"] for row in log}


@pytest.mark.slow
def test_the_best_recipe_repeats_its_trial(searched, drawn):
    folder, found = searched
    recipe = training.read_recipe(folder / "best.json")
    assert recipe == found.recipe
    _, log = training.fit(*drawn, recipe, progress=False)
    assert log[-1]["valid_accuracy"] == found.best["valid_accuracy"]


@pytest.mark.slow
def test_a_search_leaves_logs_and_a_table_but_no_checkpoints(searched):
    folder, found = searched
    with open(folder / "trials.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["lr"]) for row in rows] == [row["settings"]["lr"] for row in found.rows]
    logs = sorted(folder.glob("trials/*/log.csv"))
    assert [len(log.read_text().splitlines()) - 1 for log in logs] == [
        row["epochs"] for row in found.rows
    ]
    assert not [*folder.glob("trials/*/epoch-*")]


@pytest.mark.slow
def test_more_trials_go_on_as_one_search_would(searched, drawn, tmp_path):
    told: list[str] = []
    tune(drawn, tmp_path, 3)
    found = tune(drawn, tmp_path, 5, told=told.append)
    assert found.rows == searched[1].rows[:5] and len(told) == 1 + 2
    assert tune(drawn, tmp_path, 5).rows == found.rows  # nothing is left to do
    assert tune(drawn, tmp_path, 9, minutes=0).rows == found.rows


@pytest.mark.slow
def test_another_search_is_refused(searched, drawn):
    folder, before = searched[0], (searched[0] / "study.db").read_bytes()
    wider = RATES | {"lr": {"low": 1e-6, "high": 0.4, "log": True}, "warmup": [0, 0.1]}
    fewer = drawn[0].take(range(100)), drawn[1]
    for splits, how, told in (
        (drawn, {"ranges": wider}, r"another space \(lr, warmup\): name another folder"),
        (drawn, {"recipe": replace(QUICK, momentum=0.8)}, "another momentum"),
        (drawn, {"figure": "loss"}, "another figure"),
        (fewer, {}, "another data"),
    ):
        with pytest.raises(FerlibError, match=told):
            tune(splits, folder, 12, **how)
    assert (folder / "study.db").read_bytes() == before


def test_a_search_does_not_go_on_from_other_weights(drawn, tmp_path):
    for name in ("first", "second"):
        seed, info = len(name), nets.Info.of(nets.find("vgg-tiny"))
        nets.save(nets.create("vgg-tiny", seed=seed), tmp_path / name / "net", info)
    begun = replace(QUICK, epochs=1, start=str(tmp_path / "first" / "net"))
    tune(drawn, tmp_path / "search", 1, recipe=begun)
    (tmp_path / "first").rename(tmp_path / "old")
    (tmp_path / "second").rename(tmp_path / "first")
    with pytest.raises(FerlibError, match="another start or teacher"):
        tune(drawn, tmp_path / "search", 2, recipe=begun)


@pytest.mark.slow
def test_a_search_of_what_cannot_be_leaves_nothing(drawn, tmp_path):
    for how, told in (
        ({"ranges": {"batch_size": [16, 256]}}, "fewer than one batch of 256"),
        ({"figure": "kl"}, "unknown figure"),
        ({"ranges": {"lrr": [1, 2]}}, "unknown setting"),
    ):
        with pytest.raises(FerlibError, match=told):
            tune(drawn, tmp_path / "new", 2, **how)
    assert not (tmp_path / "new").exists()
    (tmp_path / "study.db").write_text("no database")
    with pytest.raises(FerlibError, match="is not the study of a search"):
        tune(drawn, tmp_path, 2)


@pytest.mark.slow
def test_diverged_trials_are_told_and_the_search_goes_on(drawn, tmp_path):
    rates = {"lr": [0.05, 1e30]}
    found = tune(drawn, tmp_path, 4, rates, replace(QUICK, epochs=1))
    assert {row["state"] for row in found.rows if row["settings"]["lr"] > 1} == {"diverged"}
    assert found.best["settings"]["lr"] == 0.05
    assert not any(
        math.isfinite(row["valid_loss"]) for row in found.rows if row["state"] == "diverged"
    )


def killed_within(folder: Path, trial: int, words: list[str]) -> None:
    """Start a search of its own and kill -9 it once a trial has kept its first epoch."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ferlib.cli", *words], stdout=subprocess.DEVNULL
    )
    deadline = time.time() + 200
    while not (folder / "trials" / f"{trial:04d}" / "epoch-0001").exists():
        assert process.poll() is None and time.time() < deadline
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def trials_of(folder: Path) -> list[str]:
    return (folder / "trials.csv").read_text().splitlines()


@pytest.mark.slow
def test_of_few_settings_each_is_tried_once(drawn, tmp_path):
    told: list[str] = []
    how = {"trials": 9, "folder": tmp_path / "t", "told": told.append}
    recipe = replace(QUICK, epochs=1)
    found = training.tune(*drawn, recipe, {"batch_size": [16, 32]}, **how)
    assert sorted(row["settings"]["batch_size"] for row in found.rows) == [16, 32]
    assert told[-1] == "every setting there is has been tried"
    assert len(training.tune(*drawn, recipe, {"batch_size": [16, 32]}, **how).rows) == 2


def test_a_trial_that_cannot_be_trained_does_not_block_the_search(drawn, tmp_path, monkeypatch):
    """As where a card's memory is too small for a batch."""
    fit, told = tuning.fit, []

    def fails(learn, valid, recipe, *args, **how):
        if recipe.batch_size == 32:
            raise mx.MXNetError("out of memory\nstack")
        return fit(learn, valid, recipe, *args, **how)

    monkeypatch.setattr(tuning, "fit", fails)
    how = {"trials": 4, "folder": tmp_path / "t", "told": told.append}
    sizes = {"batch_size": [16, 24, 32]}
    found = training.tune(*drawn, replace(QUICK, epochs=1), sizes, **how)
    states = {row["settings"]["batch_size"]: row["state"] for row in found.rows}
    assert states == {16: "finished", 24: "finished", 32: "failed"}
    assert any("cannot be trained: out of memory" in line for line in told)
    with pytest.raises(mx.MXNetError):  # the recipe's own fault
        training.tune(*drawn, replace(QUICK, batch_size=32), {"lr": [0.1, 0.2]}, folder=tmp_path)


def test_batches_must_be_full_under_every_scheme_that_is_tried(drawn, tmp_path):
    learn, valid = drawn
    count = int(learn.trainable("majority").sum())
    assert count < learn.trainable("cross-entropy").sum()
    recipe = replace(QUICK, batch_size=count + 1)
    with pytest.raises(FerlibError, match=f"{count} pictures to train on are fewer"):
        schemes = {"scheme": ["cross-entropy", "majority"]}
        training.tune(learn, valid, recipe, schemes, folder=tmp_path / "t")


def test_a_search_without_a_trial_pins_nothing(drawn, tmp_path):
    with pytest.raises(FerlibError, match="no trial"):
        training.tune(*drawn, QUICK, RATES, minutes=0, folder=tmp_path)
    other = replace(QUICK, epochs=1)
    found = training.tune(*drawn, other, RATES, trials=2, folder=tmp_path, figure="loss")
    best = min(row["valid_loss"] for row in found.rows)
    kept = optuna.load_study(study_name=study.NAME, storage=f"sqlite:///{tmp_path}/study.db")
    assert len(found.rows) == 2 and found.best["valid_loss"] == kept.best_value == best


def test_another_programs_file_is_left_as_it_is(drawn, tmp_path):
    with closing(sqlite3.connect(tmp_path / "study.db")) as file:
        file.execute("CREATE TABLE mine (a)")
    before = (tmp_path / "study.db").read_bytes()
    with pytest.raises(FerlibError, match="is not the study of a search"):
        training.tune(*drawn, QUICK, RATES, folder=tmp_path)
    assert (tmp_path / "study.db").read_bytes() == before


def test_kill_nine_and_the_same_command_end_with_the_same_trials(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data, ranges, whole, killed = (
        tmp_path / name for name in ("data", "s.json", "whole", "killed")
    )
    sample.write(data, (160, 60, 5), seed=1)
    ranges.write_text(json.dumps(RATES))
    words = ["tune", "--data", data, "--space", ranges, "--net", "vgg-tiny", "--epochs", "4"]
    words = [str(word) for word in (*words, "--batch-size", 16, "--trials", 3, "--json", "--out")]
    done = ferlib(*words, whole)
    assert done.returncode == 0, done.stderr
    killed_within(killed, 0, [*words, str(killed)])
    killed_within(killed, 1, [*words, str(killed)])
    kept = max((killed / "trials" / "0001").glob("epoch-*/state.json"))
    before = json.loads(kept.read_text())["log"]
    again = ferlib(*words, killed)
    assert again.returncode == 0, again.stderr
    assert trials_of(killed) == trials_of(whole) and len(trials_of(killed)) == 1 + 3
    with open(killed / "trials" / "0001" / "log.csv", newline="") as file:
        speeds = [float(row["images_per_s"]) for row in csv.DictReader(file)]
    assert len(speeds) == 4  # and what was kept was not trained again
    assert speeds[: len(before)] == [row["images_per_s"] for row in before]
    left = optuna.load_study(study_name=study.NAME, storage=f"sqlite:///{killed / 'study.db'}")
    states = [trial.state.name for trial in left.trials]
    assert states.count("FAIL") == 2 and states.count("COMPLETE") == 3 and len(states) == 5
    # What it says to do gives that net.
    told = json.loads(again.stdout.splitlines()[-1])
    best = told["best"]
    call = told["command"].split()
    assert call[:2] == ["ferlib", "train"] and ferlib(*call[1:]).returncode == 0
    with open(killed / "best" / "net-run" / "log.csv", newline="") as file:
        assert float([*csv.DictReader(file)][-1]["valid_accuracy"]) == best["valid_accuracy"]


def test_a_search_on_a_full_disk_is_one_plain_line(tmp_path):
    known = {"recipe": asdict(QUICK), "space": RATES, "figure": "valid_accuracy"}
    opened = study.opened(tmp_path / "new", known | {"data": "", "classes": []}, QUICK)
    wanted = pytest.raises(FerlibError, match=r"cannot write .*study")
    with wanted, no_file_larger_than(50_000), opened:
        pass
    assert not list(tmp_path.iterdir())


def test_a_search_says_what_it_needs(monkeypatch):
    monkeypatch.setattr(errors, "find_spec", lambda name: None if name == "sklearn" else name)
    with pytest.raises(FerlibError, match=r"package sklearn.*ferlib\[tune\]"):
        training.tune(None, None, QUICK)


def test_mistakes_of_a_search_are_plain(tmp_path):
    call = ["tune", "--sample", "--out", tmp_path / "new", "--space"]
    assert "cannot read" in mistake(ferlib(*call, tmp_path / "nowhere.json"))
    (tmp_path / "space.json").write_text('{"rate": [1, 2]}')
    assert "expected one of scheme, batch_size, lr" in mistake(
        ferlib(*call, tmp_path / "space.json")
    )
    assert "--patience" in mistake(ferlib(*call[:2], "--patience", 3), 2)
    assert not (tmp_path / "new").exists()


# ---------------------------------------------------------------- the recorded search


@pytest.mark.slow
def test_the_best_is_held_against_the_recipe_as_it_is(tmp_path, monkeypatch):
    made = sample.sample((160, 60, 5), seed=2)
    votes, rows = dict.fromkeys(fer2013.PROTOCOLS, made.votes), np.arange(len(made.usage))
    data = fer2013.Fer2013(made.pictures, made.usage, made.classes, made.names, votes, rows)
    monkeypatch.setattr(fer2013, "load", lambda *_: data)
    monkeypatch.setattr(search, "SPACE", {"lr": [0.05, 0.01]})
    monkeypatch.setattr(search, "SEEDS", (1, 2))
    monkeypatch.setattr(compare, "ROOT", tmp_path)
    recipe = replace(training.Recipe(net="vgg-tiny", epochs=1), lr=0.05)
    found = search.search(tmp_path / "runs", replace(recipe, batch_size=32), 2, 10)
    found = json.loads(json.dumps(found)) | {"best": {"settings": {"lr": 0.01, "batch_size": 16}}}
    assert [row["trial"] for row in found["trials"]] == [0, 1] and found["n"] == 60 - no_class(data)
    done = search.confirm(tmp_path / "runs", found, 1)
    assert [row["from"] for row in done["differences"]] == ["default"]
    best = done["groups"]["best"]["figures"][0]["accuracy"]
    default = done["groups"]["default"]["figures"][0]["accuracy"]
    assert done["differences"][0]["mean"] == pytest.approx(best["mean"] - default["mean"], abs=2e-5)
    assert len(best["values"]) == 2


def no_class(data: fer2013.Fer2013) -> int:
    """Validation rows without a majority."""
    return int(((data.usage == 1) & (labels.majority(data.votes[fer2013.PROTOCOLS[0]]) < 0)).sum())


# ---------------------------------------------------------------- what the guide tells


def test_the_guide_tells_how_seeds_deviate_as_recorded():
    """Of the four kinds of targets on validation, 24 epochs each; the shipped kind by its logs."""
    text = " ".join((ROOT / "docs" / "tuning.md").read_text().split())
    recorded = json.loads((ROOT / "results" / "schemes.json").read_text())["groups"]
    known = {name: group["figures"][0] for name, group in recorded.items()}
    assert all((row["split"], row["n"]) == ("valid", 3199) for row in known.values())
    accuracy = sorted(100 * row["accuracy"]["deviation"] for row in known.values())
    assert text.count(f"by {accuracy[0]:.1f} to {accuracy[-1]:.1f} points") == 2
    deviation = known["cross-entropy"]["loss"]["deviation"]
    assert f"over those seeds its deviation was {deviation:.3f}" in text
    logs = [csv.DictReader((ROOT / path).open()) for path in sorted(SEEDS)]
    curves = [[100 * float(row["valid_accuracy"]) for row in log] for log in logs]
    early = sorted(curve[3] for curve in curves)
    told = "{:.0f}, {:.0f} and {:.0f} % after epoch 4 of".format(*early)
    apart = max(curve[-1] for curve in curves) - min(curve[-1] for curve in curves)
    assert f"{told} {len(curves[0])}, and ended within {apart:.1f} points" in text


SEEDS = [f"results/schemes/cross-entropy-seed{seed}.csv" for seed in range(3)]


# ---------------------------------------------------------------- pictures


ROWS = [
    {"trial": 0, "state": "finished", "valid_accuracy": 0.80},
    {"trial": 1, "state": "finished", "valid_accuracy": 0.82},
    {"trial": 2, "state": "ended early", "valid_accuracy": 0.5},
    {"trial": 3, "state": "finished", "valid_accuracy": 0.81},
    {"trial": 4, "state": "finished", "valid_accuracy": 0.3},
    {"trial": 5, "state": "diverged", "valid_accuracy": math.nan},
]
TRIED = [
    row | {"settings": {"lr": 0.1 * 2**number, "optimiser": ("nag", "adam")[number % 2]}}
    for number, row in enumerate(ROWS)
]
SPACE = {"lr": {"low": 0.1, "high": 3.2, "log": True}, "optimiser": ["nag", "adam"]}


def test_the_history_shows_trials_and_the_best_so_far():
    ax = plots.search_history(TRIED).axes[0]
    best, finished, early, off = ax.get_lines()
    assert best.get_ydata().tolist() == pytest.approx([80, 82, 82, 82, 82, 82])
    assert finished.get_xdata().tolist() == [0, 1, 3]
    assert finished.get_ydata().tolist() == pytest.approx([80, 82, 81])
    assert early.get_xdata().tolist() == [2, 5] and off.get_xdata().tolist() == [4]
    low, high = ax.get_ylim()
    assert 70 < low < early.get_ydata()[0] < 80 and 82 < high < 90


def test_of_losses_the_lowest_is_the_best():
    rows = [row | {"valid_loss": 1 - row["valid_accuracy"]} for row in TRIED]
    ax = plots.search_history(rows, "loss").axes[0]
    assert ax.get_lines()[0].get_ydata().tolist() == pytest.approx([0.2, *[0.18] * 5])
    assert ax.get_lines()[2].get_ydata()[0] > 0.2  # the bad edge is the upper one


def test_slices_show_each_trial_at_its_setting():
    rate, optimiser = plots.setting_slices(TRIED, SPACE).axes
    xs, ys = rate.collections[0].get_offsets().T
    assert xs.tolist() == pytest.approx([0.1, 0.2, 0.8]) and ys.tolist() == [80, 82, 81]
    assert rate.collections[0].get_array().tolist() == pytest.approx([0, 0.2, 0.6])  # later, darker
    first, last = (sum(drawing.LATER(share)[:3]) for share in (0.0, 1.0))
    assert last < first - 1 and rate.get_xscale() == "log"
    assert [text.get_text() for text in optimiser.get_xticklabels()] == ["nag", "adam"]
    assert optimiser.collections[0].get_offsets()[:, 0].tolist() == [0, 1, 1]


def test_the_slices_legend_names_only_what_is_there():
    for rows, more in ((TRIED, ["ended early", "finished, far off"]), (TRIED[:2], [])):
        (legend,) = plots.setting_slices(rows, SPACE).legends
        told = [text.get_text() for text in legend.get_texts()]
        assert told == ["finished: first trials", "last trials", *more]


def test_bars_of_importance_beyond_chance_are_marked():
    shares = {"lr": 0.6, "augmentation.erase": 0.3, "mixup": 0.1}
    ax = plots.setting_importances(shares, 0.35, 24).axes[0]
    assert [bar.get_width() for bar in ax.patches] == [0.6, 0.3, 0.1]
    colours = [bar.get_facecolor() for bar in ax.patches]
    assert colours[1] == colours[2] != colours[0]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["lr", "erase", "mixup"]
    assert ax.get_lines()[0].get_xdata() == [0.35, 0.35]
