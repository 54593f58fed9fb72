"""Loss, loop, callbacks, checkpoints and teachers."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from learning import PLAIN, QUICK, assert_same, fit, needs_bfloat16, weights
from skimage.transform import resize

from ferlib import nets, runtime, training
from ferlib.cli.main import main
from ferlib.data import images, labels, sample
from ferlib.data.augment import NONE
from ferlib.data.dataset import Dataset
from ferlib.errors import FerlibError
from ferlib.metrics import measure
from ferlib.nets import places
from ferlib.nets.answer import softmax
from ferlib.nets.places import weight_files
from ferlib.nets.zoo import vgg
from ferlib.runtime import cpu
from ferlib.training import batches, checkpoints, loop, precision, teachers

pytestmark = pytest.mark.slow  # trains, if only for seconds

mx = runtime.import_mxnet()


@pytest.fixture(scope="module")
def drawn(drawn_splits):
    """A small train and valid split of drawn faces."""
    learn, held_out = drawn_splits
    return learn.take(range(256)), held_out.take(range(64))


# ---------------------------------------------------------------- loss

LOGITS = np.log([[0.5, 0.2, 0.1, 0.05, 0.05, 0.04, 0.03, 0.03]])


def loss(scheme, targets) -> float:
    return training.VoteLoss(scheme)(mx.nd.array(LOGITS), mx.nd.array([targets])).asscalar()


def test_losses_of_the_paper_by_hand():
    assert loss("majority", [0, 1, 0, 0, 0, 0, 0, 0]) == pytest.approx(-np.log(0.2), rel=1e-5)
    # 3.4: minus the sum of p log q
    wanted = -(0.75 * np.log(0.5) + 0.25 * np.log(0.1))
    assert loss("cross-entropy", [0.75, 0, 0.25, 0, 0, 0, 0, 0]) == pytest.approx(wanted, rel=1e-5)
    # 3.2: only the likeliest of the accepted emotions counts
    assert loss("multi-target", [0, 1, 1, 0, 0, 0, 0, 0]) == pytest.approx(-np.log(0.2), rel=1e-5)


def test_multi_target_teaches_only_the_accepted_emotion_it_likes_best():
    logits = mx.nd.array(LOGITS)
    logits.attach_grad()
    with mx.autograd.record():
        value = training.VoteLoss("multi-target")(logits, mx.nd.array([[0, 1, 1, 0, 0, 0, 0, 0]]))
    value.backward()
    # softmax minus the one-hot of happiness
    wanted = np.exp(LOGITS[0]) - np.eye(8)[1]
    np.testing.assert_allclose(logits.grad.asnumpy()[0], wanted, atol=1e-5)


# ---------------------------------------------------------------- recipe: rates, sizes, optimisers


def test_learning_rate_climbs_then_falls_to_zero(drawn):
    run = training.Run(replace(QUICK, epochs=10, lr=0.1, warmup=0.1), [mx.cpu()], drawn[0])
    run.steps = 100
    rates = [run.rate(step) for step in range(1001)]
    assert max(rates) == pytest.approx(0.1) and rates.index(max(rates)) == 100
    assert rates[50] == pytest.approx(0.05, abs=1e-3) and rates[-1] == 0
    assert rates[550] == pytest.approx(0.05, abs=1e-3)  # half-way down the cosine
    assert all(a >= b for a, b in pairwise(rates[100:]))


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"seed": 2**40}, "seed 1099511627776: expected 0 to"),
        ({"lr": 1e39}, "lr 1e.39: expected 0 to"),
        ({"precision": "float64"}, "unknown precision 'float64'"),
        ({"normalise": "none"}, "unknown normalisation 'none'"),
        ({"grow": ((0.5, 0.01),)}, "pictures of 0.01 of the net's side"),
    ],
)
def test_what_cannot_be_trained_is_told_before(how, told):
    with pytest.raises(FerlibError, match=told):
        training.Recipe(**how)


@pytest.mark.parametrize(
    ("schedule", "warmup", "wanted"),
    [
        # A quarter of the way down the cosine: 0.4 (1 + cos 45 degrees) / 2.
        ("cosine", 0.1, {0: 0, 50: 0.2, 100: 0.4, 325: 0.341421, 550: 0.2, 1000: 0}),
        ("cosine", 0, {0: 0.4, 250: 0.341421, 500: 0.2, 1000: 0}),
        ("linear", 0.1, {0: 0, 50: 0.2, 100: 0.4, 325: 0.3, 550: 0.2, 1000: 0}),
        ("linear", 0, {0: 0.4, 250: 0.3, 500: 0.2, 1000: 0}),
        ("cosine", 1, {0: 0, 500: 0.2002, 999: 0.4}),  # up to the last step
        ("linear", 1, {0: 0, 500: 0.2002, 999: 0.4}),
        ("constant", 0.1, {0: 0.004, 49: 0.2, 99: 0.4, 100: 0.4, 550: 0.4, 1000: 0.4}),
        ("constant", 0, {0: 0.4, 500: 0.4, 1000: 0.4}),
    ],
)
def test_rates_of_each_schedule_by_hand(schedule, warmup, wanted):
    recipe = training.Recipe(lr=0.4, warmup=warmup, schedule=schedule)
    found = {step: recipe.rate(step, 1000) for step in wanted}
    assert found == pytest.approx(wanted, abs=2e-6)


def test_a_small_rate_falls_as_a_large_one_does():
    large, small = (training.Recipe(lr=lr) for lr in (0.4, 4e-7))
    for step in range(0, 1000, 50):
        assert small.rate(step, 1000) == pytest.approx(1e-6 * large.rate(step, 1000), rel=1e-4)


def momentum(slopes):
    held = 0
    for slope in slopes:
        held = 0.9 * held + slope
        yield held


def nesterov(slopes):
    """Looks ahead by the momentum that there will be."""
    slopes = list(slopes)
    yield from (one + 0.9 * held for one, held in zip(slopes, momentum(slopes), strict=True))


def adam(slopes):
    """Kingma and Ba 2015, algorithm 1."""
    first, second = 0, 0
    for step, slope in enumerate(slopes, 1):
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        yield first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)


@pytest.mark.parametrize(
    ("optimiser", "wanted"), [("sgd", momentum), ("nag", nesterov), ("adam", adam)]
)
def test_steps_of_each_optimiser_by_hand(drawn, optimiser, wanted):
    recipe = replace(QUICK, optimiser=optimiser, weight_decay=0.01)
    run = training.Run(recipe, [mx.cpu()], drawn[0])
    weight = run.net.collect_params()["vgg_tiny_conv1_weight"]
    run.trainer.set_learning_rate(0.01)
    batch, values, slopes = some(drawn, 32), [weight.data().asnumpy()], []
    for _ in range(3):
        training.step(run, *batch)
        slopes.append(weight.grad().asnumpy() / 32 + 0.01 * values[-1])
        values.append(weight.data().asnumpy())
    plain = np.abs(slopes).min(axis=0) > 1e-4  # where Adam's epsilon does not count
    for (old, new), way in zip(pairwise(values), wanted(slopes), strict=True):
        np.testing.assert_allclose((old - new)[plain], 0.01 * way[plain], rtol=1e-2, atol=1e-7)


@pytest.mark.parametrize(
    ("optimiser", "lr", "schedule"), [("sgd", 0.1, "linear"), ("adam", 0.003, "constant")]
)
def test_other_optimisers_and_schedules_train_at_their_rates(drawn, optimiser, lr, schedule):
    how = replace(QUICK, optimiser=optimiser, schedule=schedule, lr=lr, epochs=3, batch_size=16)
    recorder = Recorder()
    _, log = fit(drawn, how, callbacks=[recorder])
    steps = len(recorder.rates)
    assert recorder.rates == [how.rate(step, steps) for step in range(steps)]
    assert log[-1]["train_loss"] < log[0]["train_loss"]
    assert log[-1]["lr"] == (0 if schedule == "linear" else lr)


@pytest.mark.parametrize(
    "wrong", [{"optimiser": "lamb"}, {"schedule": "steps"}, {"scheme": "vote"}, {"channels": 2}]
)
def test_a_recipe_of_what_there_is_not_is_a_plain_error(wrong):
    with pytest.raises(FerlibError, match=str(*wrong.values())):
        training.Recipe(**wrong)


def test_pictures_grow_to_the_nets_own_size():
    sides = [training.Recipe(net="vgg13bn", epochs=8).size(epoch) for epoch in range(1, 9)]
    assert sides == [32, 32, 32, 32, 40, 40, 48, 48]
    assert {training.Recipe(net="vgg13", epochs=8).size(epoch) for epoch in range(1, 9)} == {64}
    assert training.Recipe(net="vgg13bn", epochs=8, grow=()).size(1) == 48


# ---------------------------------------------------------------- loop


def test_the_drawn_faces_teach_a_net_within_two_minutes(drawn_splits, learnt):
    """Four in five of the held-out drawn faces, without AMX; who says neutral finds a quarter.

    The embedded default's ten epochs of 2,945 pictures take two minutes at 245 images/s.
    """
    prefix, log = learnt
    net, info = nets.load(prefix)
    scores = nets.predict(net, drawn_splits[1].pictures, info.raw())
    figures = measure(scores, drawn_splits[1])
    assert figures.n > 300 and figures.accuracy >= 0.8
    # The epochs of 48 x 48 pixels, after two of smaller ones; what else runs may slow one of them.
    assert max(row["images_per_s"] for row in log[2:]) > 245


def test_small_and_large_pictures_train_one_net(drawn, monkeypatch):
    sides, augment = set(), batches.augment
    watched = lambda crops, size, *rest: sides.add(size) or augment(crops, size, *rest)  # noqa: E731
    monkeypatch.setattr(batches, "augment", watched)
    _, log = fit(drawn, replace(QUICK, epochs=4))
    assert sides == {32, 40, 48}
    assert np.isfinite([row["train_loss"] for row in log]).all()
    assert log[-1]["train_loss"] < log[0]["train_loss"]


def some(drawn, count: int):
    x = images.prepare(drawn[0].pictures[:count], 48, "standardise")
    return x, labels.targets(drawn[0].votes[:count], "cross-entropy")


@pytest.mark.parametrize("name", ["vgg-tiny", "vgg13lean"])
def test_the_widened_graph_is_the_same_net(drawn, name):
    """Fed 16 equal channels, fifteen of them times zero: in float32 nothing may change."""
    net, data = nets.create(name, seed=0), mx.sym.var("data")
    graph = precision.widened(net(data))
    wide = mx.gluon.SymbolBlock(graph, data, params=net.collect_params())
    x = mx.nd.array(some(drawn, 8)[0])
    np.testing.assert_allclose(wide(x).asnumpy(), net(x).asnumpy(), rtol=1e-4, atol=1e-5)


def register_certain(batch_norm: bool) -> str:
    """vgg-tiny without Dropout, whose chance would hide what is looked for."""
    plan = vgg.Plan(((1, 16), (1, 32), (2, 64)), batch_norm=batch_norm, last_dropout=0)
    nets.register("certain", size=48, features=plan.features)(partial(vgg.layers, plan=plan))
    return "certain"


@needs_bfloat16
def test_bfloat16_gives_nearly_the_same_gradients_and_leaves_the_net_alone(drawn, own_nets):
    net = nets.create(register_certain(batch_norm=True), seed=0)
    x, y = map(mx.nd.array, some(drawn, 32))
    gradients = []
    for one in (net, training.in_bfloat16(net)):
        with mx.autograd.record():
            value = training.VoteLoss()(one(x), y).mean()
        value.backward()
        gradients.append(net.collect_params()["certain_conv2_weight"].grad().asnumpy().ravel())
    exact, rounded = gradients
    assert np.dot(exact, rounded) / np.linalg.norm(exact) / np.linalg.norm(rounded) > 0.98
    assert (exact != rounded).any()  # it really was another precision
    assert "amp_cast" not in net(mx.sym.var("data")).tojson()


@pytest.mark.parametrize("scheme", labels.SCHEMES)
def test_every_scheme_trains(drawn, scheme):
    _, log = fit(drawn, replace(QUICK, scheme=scheme, epochs=3))
    assert [row["epoch"] for row in log] == [1, 2, 3]
    assert log[-1]["train_loss"] < log[0]["train_loss"]


def test_two_devices_learn_what_one_learns(drawn, own_nets):
    how = replace(QUICK, net=register_certain(batch_norm=False))
    one, _ = fit(drawn, how, ctx=[mx.cpu(0)])
    two, _ = fit(drawn, how, ctx=[mx.cpu(0), mx.cpu(1)])
    start = weights(nets.create("certain", seed=0))
    for name, value in weights(one).items():
        np.testing.assert_allclose(weights(two)[name], value, atol=1e-3, err_msg=name)
        assert abs(value - start[name]).max() > 0.01, name


def tinted(count: int, rng: np.random.Generator) -> Dataset:
    """Noise with more red, green or blue in it, in colours as bright as each other when gray."""
    truth = np.arange(count) % 3
    hues = np.array([(64, -25, -25), (-25, 20, -25), (-35, -35, 270)])
    noise = rng.uniform(90, 130, (count, 48, 48, 3)) + 0.4 * hues[truth][:, None, None]
    pictures = noise.clip(0, 255).astype(np.uint8)
    return Dataset(pictures, truth, classes=("warm", "fresh", "cold"))


def test_colours_and_classes_of_ones_own_go_through(tmp_path):
    splits = [tinted(count, np.random.default_rng(count)) for count in (96, 30)]
    net, log = fit(splits, replace(QUICK, epochs=4, batch_size=16, channels=3, augmentation=NONE))
    assert log[-1]["valid_accuracy"] > 0.9  # a third by chance
    info = nets.Info.of(nets.find("vgg-tiny", 3, 3), splits[0].classes)
    nets.save(net, tmp_path / "net", training.described(net, info, splits[1], seed=0))
    loaded, info = nets.load(tmp_path / "net")
    assert info.classes == splits[0].classes and info.channels == 3
    scores = nets.predict(loaded, splits[1].pictures, info)
    assert scores.shape == (30, 3) and measure(scores, splits[1]).accuracy > 0.9
    usual = nets.predict(loaded, splits[1].pictures, info, flip=True).mean(axis=0)
    assert info.shares == pytest.approx(usual, abs=1e-4)  # calibrated in colour, too
    _, log = fit(splits, replace(QUICK, epochs=1, batch_size=16))  # a gray net takes them too
    assert np.isfinite(log[0]["valid_loss"])


def test_too_few_pictures_are_a_plain_error(drawn):
    with pytest.raises(FerlibError, match="batch"):
        fit((drawn[0].take(range(10)), drawn[1]), QUICK)


def test_one_class_alone_is_no_task(drawn):
    pictures, classes = drawn[0].pictures, ("cat", "dog")
    same = Dataset(pictures, np.ones(len(pictures), int), classes)
    with pytest.raises(FerlibError, match="one class"):
        fit((same, same), QUICK)


@pytest.mark.parametrize("lr, told", [(1e-9, True), (0.2, False)])
def test_a_net_that_answers_the_same_to_all_is_told(drawn, tmp_path, capsys, lr, told):
    recipe = replace(QUICK, lr=lr, weight_decay=0.0)
    info = training.train_to(tmp_path / "net", *drawn, recipe)
    answered = np.array(info.valid["confusion"]).any(axis=0)
    same = "answers {} to every validation picture".format(*np.array(info.classes)[answered])
    assert (answered.sum() == 1) == told and (same in capsys.readouterr().out) == told


def test_classes_of_both_splits_are_the_same(drawn, tmp_path):
    truth = np.arange(len(drawn[0])) % 2
    learn = Dataset(drawn[0].pictures, truth, ("cat", "dog"))
    for classes in (("dog", "cat"), ("cat", "dog", "hare")):
        with pytest.raises(FerlibError, match=f"cat, dog;.*{', '.join(classes)}"):
            fit((learn, Dataset(drawn[0].pictures, truth, classes)), QUICK, tmp_path)
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- batches beside the training


def slow_first(number: int) -> tuple:
    """Of three neighbours the first is ready last."""
    time.sleep(0.003 * (2 - number % 3))
    return number, number**2


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_batches_come_in_order_whoever_makes_them(workers):
    made = list(batches.in_order(slow_first, 20, workers))
    assert made == [(number, number**2) for number in range(20)]
    assert list(batches.in_order(slow_first, 0, workers)) == []


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_few_batches_lie_in_memory_and_none_is_made_after_the_end(workers):
    started = []
    ready = batches.in_order(lambda number: started.append(number) or (number,), 100, workers)
    for taken in itertools.islice(ready, 5):
        assert len(started) <= taken[0] + 2 * workers + 1
    ready.close()
    count = len(started)
    time.sleep(0.02)
    assert len(started) == count < 20


@pytest.mark.parametrize("workers", [0, 3])
def test_what_goes_wrong_in_a_worker_comes_at_its_place(workers):
    ready = batches.in_order(lambda number: (1 / (5 - number),), 20, workers)
    assert len(list(itertools.islice(ready, 5))) == 5
    with pytest.raises(ZeroDivisionError):
        next(ready)


def test_workers_change_nothing_in_the_weights(drawn, monkeypatch):
    alone, _ = fit(drawn, QUICK)
    monkeypatch.setattr(batches, "workers_for", lambda ctx: 3)
    assert_same(alone, fit(drawn, QUICK)[0])


# ---------------------------------------------------------------- callbacks


class Recorder(training.Callback):
    """What it was told, in order, and the losses and rates of the batches."""

    def __init__(self, folder=None):
        self.told, self.losses, self.rates, self.kept = [], [], [], []
        self.folder = folder

    def on_start(self, run):
        self.told.append(("start", len(run.log)))

    def on_batch(self, run, epoch, number, loss):
        self.told.append(("batch", epoch, number))
        self.losses.append(loss.asscalar() / run.recipe.batch_size)
        self.rates.append(run.trainer.learning_rate)

    def on_epoch(self, run, row):
        assert row is run.log[-1]
        self.told.append(("epoch", row["epoch"]))
        if self.folder:
            self.kept += [path.name for path in self.folder.glob("epoch-*")]

    def on_end(self, run):
        self.told.append(("end", len(run.log)))


def test_a_callback_is_told_of_each_batch_and_epoch_in_order(drawn, tmp_path):
    first, second = Recorder(tmp_path), Recorder()
    _, log = fit(drawn, QUICK, tmp_path, callbacks=[first, second])
    steps = len(first.losses) // 2
    epochs = [[*(("batch", e, k) for k in range(steps)), ("epoch", e)] for e in (1, 2)]
    assert steps >= 4 and first.told == second.told
    assert first.told == [("start", 0), *epochs[0], *epochs[1], ("end", 2)]
    assert first.kept == ["epoch-0001", "epoch-0002"]  # there when it is told
    means = np.mean(np.reshape(first.losses, (2, steps)), axis=1)
    assert means == pytest.approx([row["train_loss"] for row in log], abs=1e-4)


@pytest.mark.parametrize(
    ("figure", "values", "patience", "wanted"),
    [
        ("valid_loss", [3, 2, 1, 0.5], 1, 4),
        ("valid_loss", [3, 2, 2, 1], 1, 3),  # as good as before is not better
        ("valid_loss", [3, 1, 2, 2, 2], 2, 4),
        ("valid_loss", [3, 1, 2, 0.5, 2, 2], 2, 6),
        ("valid_accuracy", [0.1, 0.3, 0.2, 0.4, 0.3], 1, 3),
        ("valid_accuracy", [0.3, 0.2, 0.1, 0.2], 3, 4),
    ],
)
def test_when_it_stops(figure, values, patience, wanted):
    stop, run = training.EarlyStop(patience, figure), SimpleNamespace(log=[], stopped="")
    run.stop = lambda reason: setattr(run, "stopped", reason)
    stop.on_start(run)
    for value in values:
        run.log.append({figure: value})
        stop.on_epoch(run, run.log[-1])
        if run.stopped:
            break
    assert len(run.log) == wanted


def test_a_stopped_run_does_not_train_on_when_it_is_started_again(drawn, tmp_path):
    how, stop = replace(QUICK, epochs=5), training.EarlyStop(1, "epoch")  # 1 is the least
    net, log = fit(drawn, how, tmp_path, callbacks=[stop])
    assert [row["epoch"] for row in log] == [1, 2]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("epoch-*/*")}
    recorder = Recorder()
    again, same = fit(drawn, how, tmp_path, callbacks=[stop, recorder])
    assert same == log and recorder.told == [("start", 2), ("end", 2)]
    assert_same(net, again)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("epoch-*/*")} == before


def test_no_patience_is_a_plain_error():
    with pytest.raises(FerlibError, match="0 epochs"):
        training.EarlyStop(0)


class Prune(training.Callback):
    """Gives up after an epoch, as a search for settings does with a bad trial."""

    class Pruned(Exception):
        pass

    def on_epoch(self, run, row):
        raise self.Pruned


def test_what_a_callback_raises_passes_through_and_the_run_goes_on_from_there(drawn, tmp_path):
    whole, log = fit(drawn, QUICK)
    with pytest.raises(Prune.Pruned):
        fit(drawn, QUICK, tmp_path, callbacks=[Prune()])
    assert [path.name for path in tmp_path.glob("epoch-*")] == ["epoch-0001"]
    recorder = Recorder()
    again, same = fit(drawn, QUICK, tmp_path, callbacks=[recorder])
    assert recorder.told[:2] == [("start", 1), ("batch", 2, 0)]
    assert_same(whole, again)
    timeless = [[row | {"images_per_s": 0} for row in rows] for rows in (log, same)]
    assert timeless[0] == timeless[1]


# ---------------------------------------------------------------- checkpoints


@pytest.fixture(scope="module")
def kept(drawn, tmp_path_factory):
    """The folder of a finished run, and its recipe."""
    folder, how = tmp_path_factory.mktemp("kept"), replace(QUICK, epochs=1)
    fit(drawn, how, folder)
    return folder, how


def test_another_recipe_does_not_go_on_in_the_same_folder(drawn, kept):
    folder, how = kept
    with pytest.raises(FerlibError, match="another lr"):
        fit(drawn, replace(how, lr=0.2), folder)
    assert len(fit(drawn, how, folder)[1]) == 1  # it was left as it is


def test_a_training_says_of_which_folder_and_classes(drawn, tmp_path, capsys, monkeypatch):
    (tmp_path / "pets").mkdir()
    monkeypatch.chdir(tmp_path / "pets")
    cats = Dataset(drawn[0].pictures, np.arange(256) % 2, ("cat", "dog"), source=".")
    training.train_to(tmp_path / "net", cats, cats, replace(QUICK, epochs=1))
    told = capsys.readouterr().out
    assert "on 256 pictures of pets:" in told and "\nclasses: cat, dog\n" in told


def test_another_programs_net_is_left_as_it_is(drawn, tmp_path):
    symbol = tmp_path / "net-symbol.json"
    symbol.write_text("of another program")
    with pytest.raises(FerlibError, match=r"net-symbol\.json is of another program"):
        training.train_to(tmp_path / "net", *drawn, QUICK)
    assert [path.name for path in tmp_path.iterdir()] == [symbol.name]


def test_other_names_of_classes_are_another_run():
    def identity(classes: tuple) -> dict:
        learn = Dataset(np.zeros((4, 2, 2), np.uint8), np.arange(4) % 2, classes)
        run = {"learn": learn, "pictures": learn.pictures, "valid": None, "judged": None}
        run |= {"recipe": QUICK, "classes": classes, "ctx": [None]}
        run |= {"graphs": SimpleNamespace(precision="float32")}
        return loop.Run.identity.func(SimpleNamespace(**run))

    assert identity(("a", "b")) == identity(("a", "b")) != identity(("b", "a"))


def test_other_data_do_not_go_on_in_the_same_folder(drawn, kept):
    folder, how = kept
    learn, valid = drawn
    others = [(learn.take(range(5, 256)), valid), (learn, valid.take(range(5, 64)))]
    votes = replace(learn, labels=np.roll(learn.votes, 1, axis=0))
    for other in (*others, (votes, valid)):
        with pytest.raises(FerlibError, match="another data"):
            fit(other, how, folder)


def test_a_second_training_keeps_out_of_the_folder(drawn, tmp_path):
    with checkpoints.locked(tmp_path), pytest.raises(FerlibError, match="another training"):
        fit(drawn, QUICK, tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_error_inside_a_locked_folder_stays_what_it_is(tmp_path):
    with pytest.raises(BlockingIOError), checkpoints.locked(tmp_path):
        raise BlockingIOError("a pipe is full")


def test_a_batch_that_devices_cannot_share_is_told(drawn):
    mx = training.precision.mx
    with pytest.raises(FerlibError, match="15 cannot be shared evenly among 2 devices"):
        training.Run(replace(QUICK, batch_size=15), [mx.cpu(0), mx.cpu(1)], drawn[0])


def test_a_full_disk_keeps_the_last_checkpoint(drawn, tmpfs):
    with pytest.raises(FerlibError, match="disk"):
        fit(drawn, QUICK, tmpfs / "run")
    assert not list((tmpfs / "run").glob("*"))


def test_a_run_of_which_nothing_came_leaves_no_folder(drawn, tmp_path):
    class Refuse(training.Callback):
        def on_start(self, run):
            raise FerlibError("no")

    with pytest.raises(FerlibError, match="no"):
        fit(drawn, QUICK, tmp_path / "new" / "run", callbacks=[Refuse()])
    assert not list(tmp_path.iterdir())


def test_pictures_for_validation_that_nobody_agrees_on_are_told_before_the_training(drawn):
    learn, valid = drawn
    torn = np.zeros_like(valid.labels)
    torn[:, 0], torn[:, 1] = 5, 5
    with pytest.raises(FerlibError, match="no picture for validation has a class agreed on"):
        fit((learn, replace(valid, labels=torn)), QUICK)


def command(data, folder) -> list[str]:
    words = f"train --data {data} --net vgg-tiny --epochs 5 --batch-size 32 --seed 7"
    return [*words.split(), "--run-folder", str(folder), "--out", str(folder / "net")]


def kill_after(epoch: int, delay: float, words: list[str], folder) -> None:
    """Start a training of its own and kill -9 it so long after it has kept an epoch."""
    call = [sys.executable, "-m", "ferlib.cli", *words]
    process = subprocess.Popen(call, stdout=subprocess.DEVNULL)
    deadline = time.time() + 200
    while not (folder / f"epoch-{epoch:04d}").exists() and time.time() < deadline:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    time.sleep(delay)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


@pytest.mark.slow
def test_kill_nine_and_the_same_command_end_with_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data, whole, killed = (tmp_path / name for name in ("data", "whole", "killed"))
    sample.write(data, (260, 30, 5), seed=1)
    assert main(command(data, whole)) == 0
    kill_after(1, 0, command(data, killed), killed)
    kill_after(2, 0.1, command(data, killed), killed)  # somewhere within an epoch
    assert not (killed / "net.json").exists()
    assert main(command(data, killed)) == 0
    assert (killed / "net-0000.params").read_bytes() == (whole / "net-0000.params").read_bytes()
    log = [line.split(",") for line in (killed / "log.csv").read_text().splitlines()]
    assert [row[0] for row in log] == ["epoch", "1", "2", "3", "4", "5"]
    assert [p.name for p in killed.glob("epoch-*")] == ["epoch-0005"]


# ---------------------------------------------------------------- a second round


@pytest.fixture
def first(learnt):
    """The prefix of a net that has learnt a little."""
    return learnt[0]


def test_a_run_starts_from_stored_weights(drawn, first):
    still = replace(QUICK, epochs=1, lr=1e-9, weight_decay=0, momentum=0, start=first)
    net, _ = fit(drawn, still)
    stored = weights(nets.load(first)[0])
    for name, value in weights(net).items():
        if "running" not in name:  # BatchNorm's statistics follow the pictures
            np.testing.assert_allclose(value, stored[name], atol=1e-6)


def test_a_start_and_a_teacher_are_found_by_name(drawn, first, monkeypatch):
    monkeypatch.setattr(places, "STORES", [Path(first).parent])
    name = Path(first).name
    how = replace(QUICK, epochs=1, start=name, teacher=(name,))
    (net, _), (placed, _) = (
        fit(drawn, one) for one in (how, replace(how, start=first, teacher=(first,)))
    )
    assert_same(net, placed)
    with pytest.raises(FerlibError, match="no weights called ghost"):
        fit(drawn, replace(how, start="ghost"))


def test_weights_of_another_network_are_no_start(drawn, first):
    with pytest.raises(FerlibError, match="another network"):
        fit(drawn, replace(QUICK, net="vgg13small", start=first))


def test_a_start_for_other_classes_keeps_what_both_know(drawn, first):
    """The last layer's rows go by the classes' names; all before it is taken over as it is."""
    net, stored = nets.create(nets.find("vgg-tiny", classes=3), seed=9), nets.load(first)[0]
    fresh, theirs = weights(net), weights(stored)
    nets.store.take_over(net, first, ("fear", "boredom", "neutral"))
    taken = weights(net)
    *body, weight, bias = taken
    rows = [nets.load(first)[1].classes.index(name) for name in ("fear", "neutral")]
    for name in body:
        np.testing.assert_array_equal(taken[name], theirs[name])
    for name in (weight, bias):
        np.testing.assert_array_equal(taken[name][[0, 2]], theirs[name][rows])
        np.testing.assert_array_equal(taken[name][1], fresh[name][1])
    with pytest.raises(FerlibError, match="another network"):
        nets.store.take_over(nets.create("vgg13small"), first, ("a", "b"))


@pytest.mark.slow
def test_a_student_learns_from_its_teacher_what_wrong_votes_do_not_tell(
    drawn_splits, first, tmp_path, monkeypatch
):
    """It comes nearer to the teacher than the best answer that is the same for every picture,
    which is all that votes of other pictures can teach."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    learn, seen = drawn_splits[0].take(range(512)), drawn_splits[1].take(range(64)).pictures
    wrong = replace(learn, labels=np.random.default_rng(0).permutation(learn.votes))
    how = replace(QUICK, epochs=4, batch_size=16, lr=0.1, augmentation=NONE, grow=((1, 2 / 3),))
    how = replace(how, teacher=(first,), teacher_share=1.0)
    taught, _ = fit((wrong, drawn_splits[1].take(range(64))), how)
    teacher, info = nets.load(first)
    answers = nets.predict(teacher, seen, info.raw())

    def distance(scores):
        return (answers * np.log(answers / scores)).sum(axis=1).mean()

    assert distance(nets.predict(taught, seen, PLAIN)) < 0.7 * distance(answers.mean(axis=0))
    (cached,) = (tmp_path / "cache/ferlib").glob("teacher-*.npy")
    pictures = learn.pictures[wrong.trainable(how.scheme)]
    mean = nets.predict(teacher, pictures, info.raw(), flip=True)
    np.testing.assert_allclose(np.load(cached), mean, atol=1e-6)


@pytest.fixture(scope="module")
def second(tmp_path_factory):
    """The prefix of a net with other answers than `first`, which nothing has taught."""
    prefix = str(tmp_path_factory.mktemp("second") / "net")
    nets.save(nets.create(QUICK.net, seed=5), prefix, PLAIN)
    return prefix


@pytest.fixture
def given(monkeypatch):
    """The pictures and targets of every step."""
    steps, step = [], loop.step
    monkeypatch.setattr(loop, "step", lambda *args: steps.append(args[1:]) or step(*args))
    return steps


def votes_behind(targets, answers, share):
    return (targets - share * answers) / (1 - share)


def among(rows, known):
    """Whether each of the rows (N, 8) is one of the known (M, 8)."""
    return (np.abs(rows[:, None] - known).max(axis=2).min(axis=1) < 1e-4).all()


def targets_of(drawn, scheme: str) -> np.ndarray:
    votes = drawn[0].votes
    return labels.targets(votes[labels.trainable(votes, scheme)], scheme)


def test_teachers_answer_in_turns_for_what_the_student_sees(
    drawn, first, second, given, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    both = (first, second)
    how = replace(QUICK, epochs=1, teacher=both, teacher_share=0.7, grow=(), teacher_views=True)
    fit(drawn, how)
    loaded = [nets.load(prefix)[0] for prefix in both]
    votes = targets_of(drawn, how.scheme)
    assert len(given) == len(votes) // 32 >= 4
    for at, (batch, wanted) in enumerate(given):
        answers = [softmax(net(mx.nd.array(batch)).asnumpy()) for net in loaded]
        assert among(votes_behind(wanted, answers[at % 2], 0.7), votes)
        assert not among(votes_behind(wanted, answers[1 - at % 2], 0.7), votes)
    assert not (tmp_path / "cache").exists(), "nothing to keep: no epoch needs fixed answers"


def test_small_pictures_are_taught_by_fixed_answers(drawn, first, given, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    how = replace(QUICK, teacher=(first,), grow=((0.5, 2 / 3),), teacher_views=True)
    fit(drawn, how)
    (cached,) = (tmp_path / "cache/ferlib").glob("teacher-*.npy")
    fixed, (net, _) = np.load(cached), nets.load(first)
    votes = targets_of(drawn, how.scheme)
    half = len(given) // 2
    for batch, wanted in given[:half]:
        assert batch.shape[2] == 32 and among(wanted, (votes + fixed) / 2)
    for batch, wanted in given[half:]:
        answers = softmax(net(mx.nd.array(batch)).asnumpy())
        assert batch.shape[2] == 48 and among(votes_behind(wanted, answers, 0.5), votes)


def copy_net(source, target):
    for one, other in zip(weight_files(source), weight_files(target), strict=True):
        shutil.copyfile(one, other)


class Interrupt(training.Callback):
    """Ctrl-C after an epoch is kept."""

    def on_epoch(self, run, row):
        raise KeyboardInterrupt


@pytest.mark.slow
def test_a_run_with_views_is_the_same_after_a_stop_and_refuses_other_teachers(
    drawn, first, second, tmp_path
):
    teacher, run = tmp_path / "teacher", tmp_path / "run"
    copy_net(first, teacher)
    how = replace(QUICK, teacher=(str(teacher),), grow=(), teacher_views=True)
    whole, _ = fit(drawn, how)
    with pytest.raises(KeyboardInterrupt):
        fit(drawn, how, run, callbacks=[Interrupt()])
    copy_net(second, teacher)
    with pytest.raises(FerlibError, match="another teacher's weights"):
        fit(drawn, how, run)
    copy_net(first, teacher)
    again, log = fit(drawn, how, run)
    assert len(log) == how.epochs
    assert_same(whole, again)


def test_what_a_teacher_answers_with_is_part_of_a_run(first, tmp_path, monkeypatch):
    copy_net(first, tmp_path / "net")
    seen = replace(QUICK, teacher=(str(tmp_path / "net"),), teacher_views=True)
    fixed = replace(seen, teacher_views=False)
    before = [teachers.taught_by(how, mx.cpu()) for how in (seen, fixed)]
    monkeypatch.setattr("ferlib.runtime.devices.fast_int8", lambda: True)
    (tmp_path / "net-int8.json").write_text("{}")
    after = [teachers.taught_by(how, mx.cpu()) for how in (seen, fixed)]
    assert before[0] != after[0] and before[1] == after[1] != ""
    assert teachers.taught_by(QUICK, mx.cpu()) == ""


def test_a_teacher_needs_a_scheme_of_shares_and_views_need_a_teacher():
    with pytest.raises(FerlibError, match="multi-target"):
        training.Recipe(scheme="multi-target", teacher=("any",))
    with pytest.raises(FerlibError, match="--teacher"):
        training.Recipe(teacher_views=True)


def test_a_teacher_of_another_size_sees_the_same_views_at_its_own(drawn, first, given, monkeypatch):
    asked = []
    monkeypatch.setattr(teachers, "softmax", lambda logits: asked.append(logits) or softmax(logits))
    how = replace(QUICK, side=64, epochs=1, grow=(), teacher=(first,), teacher_views=True)
    fit(drawn, how)
    net, _ = nets.load(first, precision="auto")
    assert len(asked) == len(given)
    for logits, (batch, _) in zip(asked, given, strict=True):
        assert batch.shape[2] == 64
        views = np.stack([resize(view, (48, 48), anti_aliasing=False) for view in batch[:, 0]])
        views = views - views.mean(axis=(1, 2), keepdims=True)
        views /= views.std(axis=(1, 2), keepdims=True)
        expected = net(mx.nd.array(views[:, None])).asnumpy()
        seen = teachers._at(48, mx.nd.array(batch)).asnumpy()
        np.testing.assert_allclose((seen**2).mean(axis=(1, 2, 3)), 1, atol=1e-3)
        unlike = np.abs(softmax(logits) - softmax(expected)).mean()
        assert unlike < 0.01, unlike


def test_a_teacher_of_another_normalisation_cannot_see_what_the_student_sees(drawn, first):
    how = replace(QUICK, teacher=(first,), teacher_views=True, normalise="equalise")
    with pytest.raises(FerlibError, match=r"\(standardise\).*\(equalise\).*--teacher-views"):
        fit(drawn, how)


@pytest.mark.parametrize("views", [False, True])
def test_a_teacher_of_other_classes_cannot_teach(drawn, first, views):
    truth = np.arange(len(drawn[0])) % 2
    splits = [Dataset(drawn[0].pictures, truth, ("cat", "dog"))] * 2
    with pytest.raises(FerlibError, match="cat, dog"):
        fit(splits, replace(QUICK, teacher=(first,), teacher_views=views, grow=()))


def test_a_run_from_before_an_option_goes_on_without_it_only(drawn, first, tmp_path):
    how = replace(QUICK, epochs=1, teacher=(first,))
    fit(drawn, how, tmp_path)
    (state,) = tmp_path.glob("epoch-*/state.json")
    kept = json.loads(state.read_text())
    for younger in ("teacher_views", "taught_by", "begun_from", "optimiser"):
        del kept["identity"][younger]
    state.write_text(json.dumps(kept))
    for name, value in {"teacher_views": True, "optimiser": "sgd"}.items():
        with pytest.raises(FerlibError, match=name):
            fit(drawn, replace(how, **{name: value}), tmp_path)
    _, log = fit(drawn, how, tmp_path)
    assert log == kept["log"]


def test_a_run_does_not_pass_for_one_from_other_weights(drawn, first, second, tmp_path):
    copy_net(first, tmp_path / "start")
    how = replace(QUICK, epochs=1, start=str(tmp_path / "start"))
    fit(drawn, how, tmp_path / "run")
    copy_net(second, tmp_path / "start")
    with pytest.raises(FerlibError, match="another start"):
        fit(drawn, how, tmp_path / "run")


@pytest.mark.parametrize("name", ["state.json", "net.params", "trainer.states", "kept.params"])
@pytest.mark.parametrize("harm", ["cut off", "other", "gone"])
def test_a_damaged_checkpoint_is_told(drawn, tmp_path, name, harm):
    how = replace(QUICK, epochs=1, average=0.9)
    fit(drawn, how, tmp_path)
    (path,) = tmp_path.glob(f"epoch-*/{name}")
    whole = path.read_bytes()
    if harm == "gone" and name != "state.json":  # without that there is no checkpoint
        path.unlink()
    else:
        path.write_bytes(whole[: len(whole) // 2] if harm == "cut off" else b"{}")
    with pytest.raises(FerlibError, match=r"epoch-0001 is damaged: remove"):
        fit(drawn, how, tmp_path)


def test_a_net_that_equalises_gray_pictures_standardises_rgb_ones():
    assert training.Recipe(net="vgg13").normalisation == "equalise"
    assert training.Recipe(net="vgg13", channels=3).normalisation == "standardise"
    assert (
        training.Recipe(net="vgg13", channels=3, normalise="equalise").normalisation == "equalise"
    )


def test_what_cannot_be_trained_leaves_no_folder(drawn, tmp_path):
    learn, valid = drawn
    few = learn.take(np.arange(8))
    with pytest.raises(FerlibError, match="fewer than one batch"):
        training.fit(few, valid, QUICK, tmp_path / "run", progress=False)
    assert not list(tmp_path.iterdir())


def test_a_processor_without_bfloat16_is_told(monkeypatch):
    monkeypatch.setattr(training.precision.runtime, "can_bfloat16", lambda: False, raising=False)
    with pytest.raises(FerlibError, match="cannot compute in bfloat16"):
        training.precision.chosen(training.Recipe(precision="bfloat16"), [mx.cpu()])
    assert training.precision.chosen(training.Recipe(), [mx.cpu()]) == (
        "bfloat16" if training.precision.runtime.fast_bfloat16() else "float32"
    )


@pytest.mark.parametrize(
    ("flags", "limit", "able"),
    [
        ("avx2", "", False),
        ("avx2 avx512f avx512bw avx512dq avx512vl", "", True),
        ("avx2 avx512f avx512bw avx512dq avx512vl", "AVX2", False),
        ("avx2 avx512f avx512bw avx512dq avx512vl", "avx512_core_vnni", True),
    ],
)
def test_bfloat16_takes_avx512(flags, limit, able, monkeypatch):
    monkeypatch.setenv("DNNL_MAX_CPU_ISA", limit)
    monkeypatch.setattr(cpu, "cpu_flags", lambda: frozenset(flags.split()))
    assert cpu.can_bfloat16() == able
