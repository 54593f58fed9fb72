"""Loss, loop and checkpoints."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from ferlib import evaluate, fer2013, images, labels, models, runtime, sample, train
from ferlib.errors import FerlibError

mx = models.mx
QUICK = train.Recipe(net="vgg-tiny", epochs=2, batch_size=32, lr=0.05, precision="float32")


@pytest.fixture(scope="module")
def drawn():
    """A small train and valid split of drawn faces, as (pictures, votes)."""
    made = sample.sample((256, 64, 1), seed=3)
    return [(made.pictures[made.usage == i], made.votes[made.usage == i]) for i in (0, 1)]


def weights(net) -> dict[str, np.ndarray]:
    return {name: p.data(p.list_ctx()[0]).asnumpy() for name, p in net.collect_params().items()}


# ---------------------------------------------------------------- loss

LOGITS = np.log([[0.5, 0.2, 0.1, 0.05, 0.05, 0.04, 0.03, 0.03]])


def loss(scheme, targets) -> float:
    return train.VoteLoss(scheme)(mx.nd.array(LOGITS), mx.nd.array([targets])).asscalar()


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
        value = train.VoteLoss("multi-target")(logits, mx.nd.array([[0, 1, 1, 0, 0, 0, 0, 0]]))
    value.backward()
    # softmax minus the one-hot of happiness
    wanted = np.exp(LOGITS[0]) - np.eye(8)[1]
    np.testing.assert_allclose(logits.grad.asnumpy()[0], wanted, atol=1e-5)


# ---------------------------------------------------------------- loop


def test_learning_rate_climbs_then_falls_to_zero():
    run = train.Run(replace(QUICK, epochs=10, lr=0.1, warmup=0.1), [mx.cpu()])
    run.steps = 100
    rates = [run.rate(step) for step in range(1001)]
    assert max(rates) == pytest.approx(0.1) and rates.index(max(rates)) == 100
    assert rates[50] == pytest.approx(0.05, abs=1e-3) and rates[-1] == 0
    assert rates[550] == pytest.approx(0.05, abs=1e-3)  # half-way down the cosine
    assert all(a >= b for a, b in pairwise(rates[100:]))


def test_pictures_grow_to_the_nets_own_size():
    sides = [train.Recipe(net="vgg13bn", epochs=8).size(epoch) for epoch in range(1, 9)]
    assert sides == [32, 32, 32, 32, 40, 40, 48, 48]
    assert {train.Recipe(net="vgg13", epochs=8).size(epoch) for epoch in range(1, 9)} == {64}
    assert train.Recipe(net="vgg13bn", epochs=8, grow=()).size(1) == 48


def test_small_and_large_pictures_train_one_net(drawn, monkeypatch):
    sides, augment = set(), images.augment
    watched = lambda crops, size, *rest: sides.add(size) or augment(crops, size, *rest)  # noqa: E731
    monkeypatch.setattr(images, "augment", watched)
    _, log = train.fit(*drawn, replace(QUICK, epochs=4), progress=False)
    assert sides == {32, 40, 48}
    assert np.isfinite([row["train_loss"] for row in log]).all()
    assert log[-1]["train_loss"] < log[0]["train_loss"]


def some(drawn, count: int):
    x = models.prepare(drawn[0][0][:count], 48, "standardise")
    return x, labels.targets(drawn[0][1][:count], "cross-entropy")


@pytest.mark.parametrize("name", ["vgg-tiny", "vgg13lean"])
def test_the_widened_graph_is_the_same_net(drawn, name):
    """Fed 16 equal channels, fifteen of them times zero: in float32 nothing may change."""
    net, data = models.create(name, seed=0), mx.sym.var("data")
    wide = mx.gluon.SymbolBlock(train._widened(net, data), data, params=net.collect_params())
    x = mx.nd.array(some(drawn, 8)[0])
    np.testing.assert_allclose(wide(x).asnumpy(), net(x).asnumpy(), rtol=1e-4, atol=1e-5)


def test_bfloat16_gives_nearly_the_same_gradients_and_leaves_the_net_alone(drawn, monkeypatch):
    certain = replace(models.SPECS["vgg-tiny"], dropout=(0, 0, 0), last_dropout=0)
    monkeypatch.setitem(models.SPECS, "vgg-tiny", certain)
    net = models.create("vgg-tiny", seed=0)
    x = mx.nd.array(models.prepare(drawn[0][0][:32], 48, "standardise"))
    y = mx.nd.array(labels.targets(drawn[0][1][:32], "cross-entropy"))
    gradients = []
    for one in (net, train.in_bfloat16(net)):
        with mx.autograd.record():
            value = train.VoteLoss()(one(x), y).mean()
        value.backward()
        gradients.append(net.collect_params()["vgg_tiny_conv2_weight"].grad().asnumpy().ravel())
    exact, rounded = gradients
    assert np.dot(exact, rounded) / np.linalg.norm(exact) / np.linalg.norm(rounded) > 0.98
    assert (exact != rounded).any()  # it really was another precision
    assert "amp_cast" not in net(mx.sym.var("data")).tojson()


@pytest.mark.parametrize("scheme", labels.SCHEMES)
def test_every_scheme_trains(drawn, scheme):
    recipe = replace(QUICK, scheme=scheme, epochs=3)
    _, log = train.fit(*drawn, recipe, progress=False)
    assert [row["epoch"] for row in log] == [1, 2, 3]
    assert log[-1]["train_loss"] < log[0]["train_loss"]


def test_two_devices_learn_what_one_learns(drawn, monkeypatch):
    plain = replace(models.SPECS["vgg-tiny"], batch_norm=False, dropout=(0, 0, 0), last_dropout=0)
    monkeypatch.setitem(models.SPECS, "vgg-tiny", plain)
    one, _ = train.fit(*drawn, QUICK, ctx=[mx.cpu(0)], progress=False)
    two, _ = train.fit(*drawn, QUICK, ctx=[mx.cpu(0), mx.cpu(1)], progress=False)
    start = weights(models.create("vgg-tiny", seed=0))
    for name, value in weights(one).items():
        np.testing.assert_allclose(weights(two)[name], value, atol=1e-3, err_msg=name)
        assert abs(value - start[name]).max() > 0.01, name


def test_too_few_pictures_are_a_plain_error(drawn):
    few = tuple(part[:10] for part in drawn[0])
    with pytest.raises(FerlibError, match="batch"):
        train.fit(few, drawn[1], QUICK, progress=False)


# ---------------------------------------------------------------- checkpoints


def test_another_recipe_does_not_go_on_in_the_same_folder(drawn, tmp_path):
    train.fit(*drawn, QUICK, tmp_path, progress=False)
    with pytest.raises(FerlibError, match="another lr"):
        train.fit(*drawn, replace(QUICK, lr=0.2), tmp_path, progress=False)


def test_other_data_do_not_go_on_in_the_same_folder(drawn, tmp_path):
    train.fit(*drawn, QUICK, tmp_path, progress=False)
    other = [tuple(part[5:] for part in drawn[0]), drawn[1]]
    with pytest.raises(FerlibError, match="another data"):
        train.fit(*other, QUICK, tmp_path, progress=False)


def test_a_second_training_keeps_out_of_the_folder(drawn, tmp_path):
    with train._locked(tmp_path), pytest.raises(FerlibError, match="another training"):
        train.fit(*drawn, QUICK, tmp_path, progress=False)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_keeps_the_last_checkpoint(drawn, tmpfs):
    with pytest.raises(FerlibError, match="disk full"):
        train.fit(*drawn, QUICK, tmpfs / "run", progress=False)
    assert not list((tmpfs / "run").glob("*"))


COMMAND = "train --sample --net vgg-tiny --epochs 4 --batch-size 64 --seed 7"


def start(folder, tmp_path) -> subprocess.Popen:
    names = ["--run-folder", str(folder), "--out", str(folder / "net")]
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "FERLIB_DATA": ""}
    call = [sys.executable, "-m", "ferlib.cli", *COMMAND.split(), *names]
    return subprocess.Popen(call, env=environment, stdout=subprocess.DEVNULL)


def test_kill_nine_and_the_same_command_end_with_the_same_weights(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(whole, tmp_path).wait() == 0
    for epoch in (1, 2):  # once just after a checkpoint, once somewhere within an epoch
        process = start(killed, tmp_path)
        deadline = time.time() + 200
        while not (killed / f"epoch-{epoch:04d}").exists() and time.time() < deadline:
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.01)
        time.sleep(0.4 * (epoch - 1))
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert not (killed / "net.json").exists()
    assert start(killed, tmp_path).wait() == 0
    assert (killed / "net-0000.params").read_bytes() == (whole / "net-0000.params").read_bytes()
    log = [line.split(",") for line in (killed / "log.csv").read_text().splitlines()]
    assert [row[0] for row in log] == ["epoch", "1", "2", "3", "4"]
    assert [p.name for p in killed.glob("epoch-*")] == ["epoch-0004"]


def test_the_drawn_faces_teach_a_net_in_two_minutes(tmp_path, monkeypatch):
    """The embedded default's promise: nine in ten of the held-out drawn faces, without AMX."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data = fer2013.sample_data()
    recipe = replace(QUICK, epochs=10, batch_size=64, lr=0.1, grow=())
    started = time.perf_counter()
    net, _ = train.fit(
        data.split("train", keep="usable", without_duplicates=True)[:2],
        data.split("valid")[:2],
        recipe,
        progress=False,
    )
    seconds = time.perf_counter() - started
    pictures, votes, _ = data.split("test")
    result = evaluate.measure(models.predict(net, pictures, recipe.served()), votes)
    assert result["n"] > 300 and result["accuracy"] >= 0.9
    assert seconds < 120


# ---------------------------------------------------------------- a second round


@pytest.fixture(scope="module")
def first(drawn, tmp_path_factory):
    """The prefix of a net that has learnt a little."""
    recipe = replace(QUICK, epochs=6, batch_size=16)
    net, log = train.fit(*drawn, recipe, progress=False)
    prefix = str(tmp_path_factory.mktemp("first") / "net")
    models.save_weights(net, prefix, train.describe_net(net, recipe, log, drawn[1], "drawn"))
    return prefix


def test_a_run_starts_from_stored_weights(drawn, first):
    still = replace(QUICK, epochs=1, lr=1e-9, weight_decay=0, momentum=0, start=first)
    net, _ = train.fit(*drawn, still, progress=False)
    stored = weights(models.load_weights(first)[0])
    for name, value in weights(net).items():
        if "running" not in name:  # BatchNorm's statistics follow the pictures
            np.testing.assert_allclose(value, stored[name], atol=1e-6)


def test_weights_of_another_network_are_no_start(drawn, first):
    with pytest.raises(FerlibError, match="another network"):
        train.fit(*drawn, replace(QUICK, net="vgg13lean", start=first), progress=False)


def test_a_student_learns_from_its_teacher_what_wrong_votes_do_not_tell(
    drawn, first, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (pictures, votes), valid = drawn
    wrong = np.random.default_rng(0).permutation(votes)
    how = replace(QUICK, epochs=6, batch_size=16, teacher=(first,), teacher_share=1.0)
    taught, _ = train.fit((pictures, wrong), valid, how, tmp_path, progress=False)
    untaught, _ = train.fit((pictures, wrong), valid, replace(how, teacher=()), progress=False)
    teacher, info = models.load_weights(first)
    answers = models.predict(teacher, valid[0], info)

    def distance(net):
        scores = models.predict(net, valid[0], how.served())
        return (answers * np.log(answers / scores)).sum(axis=1).mean()

    assert distance(taught) < 0.7 * distance(untaught)
    (cached,) = (tmp_path / "cache/ferlib").glob("teacher-*.npy")
    kept = np.load(cached)
    rows = labels.trainable(wrong, how.scheme)
    served = info | models.RAW
    np.testing.assert_allclose(kept, models.predict(teacher, pictures[rows], served, flip=True))


@pytest.fixture(scope="module")
def second(drawn, tmp_path_factory):
    """The prefix of a net with other answers than `first`, which nothing has taught."""
    prefix = str(tmp_path_factory.mktemp("second") / "net")
    models.save_weights(models.create(QUICK.net, seed=5), prefix, QUICK.served())
    return prefix


@pytest.fixture
def given(monkeypatch):
    """The pictures and targets of every step."""
    steps, step = [], train.step
    monkeypatch.setattr(train, "step", lambda *args: steps.append(args[1:]) or step(*args))
    return steps


def votes_behind(targets, answers, share):
    return (targets - share * answers) / (1 - share)


def among(rows, known):
    """Whether each of the rows (N, 8) is one of the known (M, 8)."""
    return (np.abs(rows[:, None] - known).max(axis=2).min(axis=1) < 1e-4).all()


def test_teachers_answer_in_turns_for_what_the_student_sees(
    drawn, first, second, given, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    both = (first, second)
    how = replace(QUICK, epochs=1, teacher=both, teacher_share=0.7, grow=(), teacher_views=True)
    train.fit(*drawn, how, progress=False)
    nets = [models.load_weights(prefix)[0] for prefix in both]
    votes = labels.targets(drawn[0][1][labels.trainable(drawn[0][1], how.scheme)], how.scheme)
    assert len(given) == len(votes) // 32 >= 4
    for at, (batch, wanted) in enumerate(given):
        answers = [models.softmax(net(mx.nd.array(batch)).asnumpy()) for net in nets]
        assert among(votes_behind(wanted, answers[at % 2], 0.7), votes)
        assert not among(votes_behind(wanted, answers[1 - at % 2], 0.7), votes)
    assert not (tmp_path / "cache").exists(), "nothing to keep: no epoch needs fixed answers"


def test_small_pictures_are_taught_by_fixed_answers(drawn, first, given, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    how = replace(QUICK, teacher=(first,), grow=((0.5, 2 / 3),), teacher_views=True)
    train.fit(*drawn, how, progress=False)
    (cached,) = (tmp_path / "cache/ferlib").glob("teacher-*.npy")
    fixed, (net, _) = np.load(cached), models.load_weights(first)
    votes = labels.targets(drawn[0][1][labels.trainable(drawn[0][1], how.scheme)], how.scheme)
    half = len(given) // 2
    for batch, wanted in given[:half]:
        assert batch.shape[2] == 32 and among(wanted, (votes + fixed) / 2)
    for batch, wanted in given[half:]:
        answers = models.softmax(net(mx.nd.array(batch)).asnumpy())
        assert batch.shape[2] == 48 and among(votes_behind(wanted, answers, 0.5), votes)


def copy_net(source, target):
    for one, other in zip(models.weight_files(source), models.weight_files(target), strict=True):
        shutil.copyfile(one, other)


def test_a_run_with_views_is_the_same_after_a_stop_and_refuses_other_teachers(
    drawn, first, second, tmp_path
):
    def interrupt(*_):
        raise KeyboardInterrupt

    teacher, run = tmp_path / "teacher", tmp_path / "run"
    copy_net(first, teacher)
    how = replace(QUICK, teacher=(str(teacher),), grow=(), teacher_views=True)
    whole, _ = train.fit(*drawn, how, progress=False)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(train, "_line", interrupt)  # after an epoch is kept
        train.fit(*drawn, how, run)
    copy_net(second, teacher)
    with pytest.raises(FerlibError, match="another teacher's weights"):
        train.fit(*drawn, how, run, progress=False)
    copy_net(first, teacher)
    again, log = train.fit(*drawn, how, run, progress=False)
    assert len(log) == how.epochs
    for name, value in weights(whole).items():
        np.testing.assert_array_equal(value, weights(again)[name])


def test_what_a_teacher_answers_with_is_part_of_a_run(first, tmp_path, monkeypatch):
    copy_net(first, tmp_path / "net")
    seen = replace(QUICK, teacher=(str(tmp_path / "net"),), teacher_views=True)
    fixed = replace(seen, teacher_views=False)
    before = [train._taught_by(how, mx.cpu()) for how in (seen, fixed)]
    monkeypatch.setattr(runtime, "fast_int8", lambda: True)
    (tmp_path / "net-int8.json").write_text("{}")
    after = [train._taught_by(how, mx.cpu()) for how in (seen, fixed)]
    assert before[0] != after[0] and before[1] == after[1] != ""
    assert train._taught_by(QUICK, mx.cpu()) == ""


def test_a_teacher_needs_a_scheme_of_shares_and_views_need_a_teacher():
    with pytest.raises(FerlibError, match="multi-target"):
        train.Recipe(scheme="multi-target", teacher=("any",))
    with pytest.raises(FerlibError, match="--teacher"):
        train.Recipe(teacher_views=True)


def test_a_teacher_of_another_size_cannot_see_what_the_student_sees(drawn, tmp_path):
    models.save_weights(
        models.create("vgg13", seed=0),
        tmp_path / "large",
        {"input_size": 64, "normalise": "equalise", "network": "vgg13"},
    )
    how = replace(QUICK, teacher=(str(tmp_path / "large"),), teacher_views=True)
    with pytest.raises(FerlibError, match=r"64 pixels \(equalise\).*48.*--teacher-views"):
        train.fit(*drawn, how, progress=False)


def test_a_run_from_before_an_option_goes_on_without_it_only(drawn, first, tmp_path):
    how = replace(QUICK, epochs=1, teacher=(first,))
    train.fit(*drawn, how, tmp_path, progress=False)
    (state,) = tmp_path.glob("epoch-*/state.json")
    kept = json.loads(state.read_text())
    for younger in ("teacher_views", "taught_by"):
        del kept["identity"][younger]
    state.write_text(json.dumps(kept))
    with pytest.raises(FerlibError, match="teacher_views"):
        train.fit(*drawn, replace(how, teacher_views=True), tmp_path, progress=False)
    _, log = train.fit(*drawn, how, tmp_path, progress=False)
    assert log == kept["log"]
