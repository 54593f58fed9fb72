"""What a recipe can do beside: softer targets, mean weights, centres, a frozen net, TensorBoard."""

import struct
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from learning import PLAIN, QUICK, assert_same, fit, half, weights

from ferlib import files, nets, runtime, training
from ferlib.cli.main import main
from ferlib.data import images, labels, sample
from ferlib.data.dataset import Dataset
from ferlib.errors import FerlibError
from ferlib.metrics import measure
from ferlib.nets import Info, find, predict
from ferlib.nets.answer import softmax
from ferlib.nets.zoo import vgg
from ferlib.training import averaging, batches, graphs, loop, mixing, precision, teachers
from ferlib.training.centres import Centres

mx = runtime.import_mxnet()


@pytest.fixture(scope="module")
def drawn(drawn_splits):
    """A small train and valid split of drawn faces."""
    learn, held_out = drawn_splits
    return learn.take(range(160)), held_out.take(range(48))


class Interrupt(training.Callback):
    """Ctrl-C after an epoch is kept."""

    def on_epoch(self, run, row):
        raise KeyboardInterrupt


def after_a_stop(splits, recipe, folder):
    """The net of a run that was stopped after each epoch and started again."""
    for _ in range(recipe.epochs):
        with pytest.raises(KeyboardInterrupt):
            fit(splits, recipe, folder, callbacks=[Interrupt()])
    return fit(splits, recipe, folder)[0]


class Steps(training.Callback):
    """The net's values after each step."""

    def __init__(self):
        self.values = []

    def on_batch(self, run, epoch, number, loss):
        mx.nd.waitall()
        self.values.append(weights(run.net))


# ---------------------------------------------------------------- softer targets


def test_smoothing_by_hand():
    """A tenth of each target goes to all four classes alike: 0.025 each."""
    votes = np.array([[1, 0, 0, 0], [0.5, 0, 0.5, 0]], np.float32)
    wanted = [[0.925, 0.025, 0.025, 0.025], [0.475, 0.025, 0.475, 0.025]]
    found = mixing.smoothed(votes, 0.1)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert found.dtype == np.float32


@pytest.mark.slow
def test_a_smoothed_run_is_trained_towards_smoothed_votes(drawn, monkeypatch):
    seen, step = [], loop.step
    monkeypatch.setattr(loop, "step", lambda *args: seen.append(args[2]) or step(*args))
    fit(drawn, replace(QUICK, epochs=1, smoothing=0.2))
    votes = labels.targets(drawn[0].votes, QUICK.scheme)
    known = {tuple(row) for row in (0.8 * votes + 0.2 / 8).round(5)}
    assert {tuple(row) for row in np.concatenate(seen).round(5)} <= known


def told_apart(count: int) -> np.ndarray:
    """As many pictures as pixels, each with one that is 1: a mixture tells its shares itself."""
    return np.eye(count, dtype=np.float32).reshape(count, 1, 1, count)


def test_pictures_and_targets_are_mixed_alike():
    how, targets = replace(QUICK, mixup=0.4), np.eye(16, dtype=np.float32)
    batch, wanted = mixing.mixup(told_apart(16), targets, how, 1, 0)
    np.testing.assert_array_equal(batch.reshape(16, 16), wanted)
    np.testing.assert_allclose(wanted.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(wanted.sum(axis=0), 1, rtol=1e-6)  # each is the other of one
    assert batch.dtype == wanted.dtype == np.float32
    again, other = (mixing.mixup(told_apart(16), targets, how, 1, at)[1] for at in (0, 1))
    np.testing.assert_array_equal(again, wanted)
    assert (other != wanted).any()


def order_of(seed: int, epoch: int) -> np.ndarray:
    learn = Dataset(np.zeros((64, 1, 1), np.uint8), np.arange(64) % 8)
    how = replace(QUICK, seed=seed, batch_size=8)
    alone = {"taught": None, "teachers": [], "steps": 8}
    return loop._drawn(SimpleNamespace(recipe=how, learn=learn, **alone), epoch)[0]


def batch_of(seed: int, epoch: int) -> np.ndarray:
    pictures = np.random.default_rng(0).integers(0, 256, (8, 48, 48), np.uint8)
    return batches.batch(pictures, np.arange(8), replace(QUICK, seed=seed, grow=()), epoch, 0)


def mixture_of(seed: int, epoch: int) -> np.ndarray:
    whole = np.eye(8, dtype=np.float32)
    return mixing.mixup(whole, whole, replace(QUICK, seed=seed, mixup=0.4), epoch, 0)[0]


@pytest.mark.parametrize("made", [order_of, batch_of, mixture_of])
def test_what_chance_gives_differs_by_seed_and_by_epoch(made):
    first = made(0, 1)
    np.testing.assert_array_equal(first, made(0, 1))
    assert (first != made(1, 1)).any() and (first != made(0, 2)).any()


def test_first_weights_differ_by_seed():
    begun = [
        loop.Run._begun(
            SimpleNamespace(network=find(QUICK.net), ctx=[mx.cpu()], recipe=replace(QUICK, seed=k))
        )
        for k in (0, 1)
    ]
    first, second = (next(iter(net.collect_params().values())).data().asnumpy() for net in begun)
    assert (first != second).any()


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_shares_are_of_the_beta_distribution(alpha):
    """Half of them in the mean, and of variance 1 / (4 (2 alpha + 1))."""
    how, one = replace(QUICK, mixup=alpha), np.float32([[0], [1]])
    drawn = [mixing.mixup(one, one, how, 1, number)[0] for number in range(4000)]
    shares = np.array([x[1, 0] for x in drawn if x[0, 0] != 0])  # mixed with itself tells nothing
    assert len(shares) > 1500 and shares.mean() == pytest.approx(0.5, abs=0.03)
    assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), abs=0.01)


@pytest.mark.slow
def test_a_teacher_answers_for_the_mixed_picture(drawn, learnt, monkeypatch):
    shown, learnt_from, mixed, step = [], [], teachers.mixed, loop.step
    watch = lambda *args: shown.append(args[2]) or mixed(*args)  # noqa: E731
    monkeypatch.setattr(teachers, "mixed", watch)
    monkeypatch.setattr(loop, "step", lambda *args: learnt_from.append(args[1]) or step(*args))
    how = replace(QUICK, epochs=1, grow=(), mixup=1.0, teacher=(learnt[0],), teacher_views=True)
    fit(drawn, how)
    plain = batches.batch(drawn[0].pictures, loop_order(drawn, how), how, 1, 0)
    assert len(shown) >= 4 and all(map(np.array_equal, shown, learnt_from))
    assert plain.shape == shown[0].shape and np.abs(plain - shown[0]).mean() > 0.05


def loop_order(drawn, how) -> np.ndarray:
    """The rows of the first step."""
    return loop._drawn(loop.Run(how, [mx.cpu()], drawn[0]), 1)[0][0]


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("smoothing", 1.0), ("smoothing", -0.1), ("average", 1.0), ("mixup", -1.0)],
)
def test_numbers_out_of_range_are_a_plain_error(name, wrong):
    for number in (wrong, float("nan"), float("inf")):
        with pytest.raises(FerlibError, match=f"{name} {number}: expected"):
            training.Recipe(**{name: number})


@pytest.mark.parametrize("soft", [{"smoothing": 0.1}, {"mixup": 0.2}])
def test_the_scheme_of_whole_targets_takes_no_shares(soft):
    with pytest.raises(FerlibError, match=f"multi-target.*leave out {str(*soft)}"):
        training.Recipe(scheme="multi-target", **soft)


# ---------------------------------------------------------------- mean weights


@pytest.mark.slow
@pytest.mark.parametrize(("decay", "every"), [(0.9, 1), (0.996, 2)])
def test_the_average_by_hand(drawn, decay, every):
    """The weights after each step, or each second, each counting decay times as much as the next,
    BatchNorm's statistics with them; and the net in training learns what it learns without."""
    steps, plain = Steps(), Steps()
    net, log = fit(drawn, replace(QUICK, average=decay), callbacks=[steps])
    fit(drawn, QUICK, callbacks=[plain])
    taken = steps.values[::every]
    counts = decay ** (every * np.arange(len(taken))[::-1])
    for name, value in weights(net).items():
        wanted = sum(c * x[name].astype(float) for c, x in zip(counts, taken, strict=True))
        np.testing.assert_allclose(value, wanted / counts.sum(), rtol=1e-4, atol=1e-6, err_msg=name)
        np.testing.assert_array_equal(steps.values[-1][name], plain.values[-1][name])
    judged = measure(predict(net, drawn[1].pictures, PLAIN), drawn[1])
    assert log[-1]["valid_loss"] == judged.loss


def test_only_a_tenth_of_the_steps_is_taken_where_the_mean_is_long():
    counts = (0.9, 0.99, 0.998, 0.999, 0.99999)
    made = [averaging.Average({}, decay, mx.cpu()).every for decay in counts]
    assert made == [1, 1, 5, 10, 10]


# ---------------------------------------------------------------- centre loss


def test_centre_loss_by_hand():
    """Equations 2 and 4 of Wen et al. 2016, for three pictures, two of them of one class."""
    features, targets = mx.nd.array([[1, 0], [0, 2], [3, 3]]), mx.nd.array(np.eye(3)[[0, 1, 0]])
    centres = Centres(3, 2, 0.1, mx.cpu())
    np.testing.assert_allclose(centres.loss(features, targets).asnumpy(), [0.05, 0.2, 0.9])
    centres.move(features, targets)
    # Half of: the sums (4, 3) and (0, 2), by one more than the pictures there are.
    np.testing.assert_allclose(centres.values.asnumpy(), [[2 / 3, 0.5], [0, 0.5], [0, 0]])
    features.attach_grad()
    with mx.autograd.record():
        lost = centres.loss(features, targets)
    lost.backward()
    away = [[1 / 3, -0.5], [0, 1.5], [7 / 3, 2.5]]
    np.testing.assert_allclose(features.grad.asnumpy(), 0.1 * np.array(away), rtol=1e-5)


ENDS = ("vgg-tiny", "vgg13small", "deep_emotion", "web_cnn", "resnet18")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["float32", half("bfloat16")])
@pytest.mark.parametrize("name", ENDS)
def test_features_are_what_the_last_layer_sees(name, kind):
    net = nets.create(name, seed=1)
    both = precision.block(graphs.with_features(net(mx.sym.var("data"))), net, kind)
    logits, features = both(mx.nd.random.normal(shape=(4, 1, 48, 48)))
    weight, bias = list(weights(net).values())[-2:]
    atol = 2e-2 if kind == "bfloat16" else 1e-5
    np.testing.assert_allclose(logits.asnumpy(), features.asnumpy() @ weight.T + bias, atol=atol)


def scattered(net, learn) -> float:
    """How far features lie from their class's mean, as a share of how far from that of all."""
    both = precision.block(graphs.with_features(net(mx.sym.var("data"))), net)
    batch = images.prepare(learn.pictures, 48, "standardise")
    features, own = both(mx.nd.array(batch))[1].asnumpy(), learn.shares.argmax(axis=1)
    within = sum(len(x) * x.var(axis=0).sum() for x in (features[own == k] for k in set(own)))
    return within / ((features - features.mean(axis=0)) ** 2).sum()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["float32", half("bfloat16")])
def test_a_centre_loss_draws_classes_together(drawn_splits, learnt, kind):
    splits = drawn_splits[0].take(range(512)), drawn_splits[1].take(range(48))
    how = replace(QUICK, epochs=3, start=learnt[0], grow=((1, 2 / 3),), precision=kind)
    apart, together = (fit(splits, replace(how, centre=weight))[0] for weight in (0, 0.5))
    assert scattered(together, splits[0]) < 0.9 * scattered(apart, splits[0])


def noise(count: int) -> Dataset:
    """Pictures of nothing, of eight classes in turn."""
    pictures = np.random.default_rng(0).integers(0, 256, (count, 48, 48), dtype=np.uint8)
    return Dataset(pictures, np.arange(count) % 8)


def test_centres_are_for_one_device():
    with pytest.raises(FerlibError, match="one device, here are 2"):
        loop.Run(replace(QUICK, centre=0.01), [mx.cpu(0), mx.cpu(1)], noise(32))


# ---------------------------------------------------------------- frozen features


def register_certain() -> str:
    """vgg-tiny without Dropout, and with a dense layer that learns before the last."""
    plan = vgg.Plan(((1, 8), (2, 16)), dense=(12,), last_dropout=0)
    nets.register("certain", size=48, features=plan.features)(partial(vgg.layers, plan=plan))
    return "certain"


@pytest.fixture
def certain(own_nets, tmp_path):
    """The prefix of a stored net whose BatchNorm's statistics are not those it is made with."""
    net = nets.create(register_certain(), seed=3)
    for name, value in net.collect_params().items():
        if "running" in name:
            least = 0.5 if "var" in name else 0.0
            value.set_data(mx.nd.random.uniform(least, least + 0.2, shape=value.shape))
    nets.save(net, tmp_path / "certain", Info.of(find("certain")))
    return str(tmp_path / "certain")


@pytest.mark.parametrize(("kind", "within"), [("float32", 1e-5), half("bfloat16", 2e-2)])
def test_a_step_beside_frozen_features_by_hand(certain, kind, within):
    """The last layer's gradient is (softmax - targets) times its input, that of prediction."""
    how = {"momentum": 0, "weight_decay": 0, "lr": 1, "batch_size": 16, "precision": kind}
    recipe = replace(QUICK, net="certain", start=certain, freeze="features", grow=(), **how)
    run, data = loop.Run(recipe, [mx.cpu()], noise(16)), noise(16)
    batch, targets = images.prepare(data.pictures, 48, "standardise"), data.shares
    stored = nets.load(certain)[0]
    both = precision.block(graphs.with_features(stored(mx.sym.var("data"))), stored)
    logits, seen = (x.asnumpy() for x in both(mx.nd.array(batch)))
    loop.step(run, batch, targets)
    before, after = weights(stored), weights(run.net)
    slope = (softmax(logits) - targets).T @ seen / 16
    moved = before["certain_dense1_weight"] - after["certain_dense1_weight"]
    assert np.linalg.norm(moved - slope) < within * np.linalg.norm(slope)
    assert all(
        np.array_equal(after[name], value) == ("dense" not in name)
        for name, value in before.items()
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "how",
    [{}, {"average": 0.9}, half({"precision": "bfloat16"})],
    ids=str,
)
def test_what_is_frozen_stays_bit_by_bit(drawn, learnt, how, tmp_path):
    """With classes of one's own as well; and the head learns what features tell."""
    first = learnt[0]
    truth = np.minimum(drawn[0].shares.argmax(axis=1), 2)
    learn = Dataset(drawn[0].pictures, truth, ("calm", "glad", "other"))
    recipe = replace(QUICK, start=first, freeze="features", lr=0.5, epochs=4, **how)
    net, log = fit((learn, learn), recipe)
    before, after = weights(nets.load(first)[0]), weights(net)
    for name, value in before.items():
        if "dense" not in name:
            np.testing.assert_array_equal(after[name], value, err_msg=name)
    assert after["vgg_tiny_dense0_weight"].shape == (3, 64)
    assert log[-1]["valid_loss"] < log[0]["valid_loss"] - 0.05
    assert_same(net, after_a_stop((learn, learn), recipe, tmp_path))


def test_a_net_without_features_cannot_be_frozen(certain):
    nets.register("certain", size=48, any_size=False)(find("certain").layers)
    with pytest.raises(FerlibError, match="declares no features"):
        how = replace(QUICK, net="certain", start=certain, freeze="features")
        loop.Run(how, [mx.cpu()], noise(32))


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"freeze": "features"}, "--start"),
        ({"freeze": "all", "start": "any"}, "'all': expected features"),
        ({"freeze": "features", "start": "any", "centre": 0.1}, "centre and freeze"),
        ({"mixup": 0.2, "centre": 0.1}, "centre and mixup"),
    ],
)
def test_what_does_not_go_along_is_a_plain_error(how, told):
    with pytest.raises(FerlibError, match=told):
        training.Recipe(**how)


def test_the_smallest_share_of_mixup_is_drawn_at_once():
    pictures, targets = np.arange(8.0).reshape(8, 1), np.eye(8)
    how = training.Recipe(mixup=1e-300)
    for number in range(50):
        mixed, _ = mixing.mixup(pictures, targets, how, 1, number)
        assert np.allclose(np.sort(mixed[:, 0]), np.arange(8))  # nothing is between two


# ---------------------------------------------------------------- TensorBoard


class StopAfter(training.Callback):
    """Ends the run after an epoch."""

    def on_epoch(self, run, row):
        run.stop("for the test")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"start": None}, "weights of chance"), ({"augmentation": None}, r"augment\.NONE")],
)
def test_none_is_no_other_default(wrong, words):
    with pytest.raises(FerlibError, match=words):
        training.Recipe(**wrong)


@pytest.mark.parametrize(
    ("began", "then", "told"), [("aaa+", "bbb", "aaa+"), ("aaa", "bbb+", "aaa+"), ("aaa",) * 3]
)
def test_a_training_that_went_on_tells_the_commit_it_began_with(
    drawn, tmp_path, monkeypatch, began, then, told
):
    """And a "+" where either part of it was trained by code that no commit has."""
    how, place = replace(QUICK, grow=()), tmp_path / "net"
    for commit, some in ((began, [StopAfter()]), (then, []), ("ccc", [])):
        monkeypatch.setattr(files, "commit", lambda commit=commit: commit)
        info = training.train_to(place, *drawn, how, callbacks=some)
    assert info.epochs == how.epochs and info.trained.machine["commit"] == told


def events(folder) -> list:
    """What stands in a folder's event files: records of a length, its sum, the bytes, their sum."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted(folder.iterdir()):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            found.append(Event.FromString(data[at + 12 : at + 12 + length]))
            at += 16 + length
    return found


def shown(folder) -> dict[str, list[tuple[int, float]]]:
    """The curves: a start of a session hides what was told of its step and later ones before."""
    curves: dict = {}
    for event in events(folder):
        if event.session_log.status == 1:
            for name, points in curves.items():
                curves[name] = [point for point in points if point[0] < event.step]
        for value in event.summary.value:
            curves.setdefault(value.tag, []).append((event.step, value.simple_value))
    return curves


@pytest.mark.slow
def test_curves_go_on_after_a_restart_without_doubled_steps(drawn, tmp_path):
    board, how = tmp_path / "board", replace(QUICK, epochs=3)
    fit(drawn, how, tmp_path / "run", callbacks=[training.TensorBoard(board), StopAfter()])
    (old,) = board.iterdir()
    old.rename(old.with_name("events.out.tfevents.0000000001.here"))  # a while ago
    _, log = fit(drawn, how, tmp_path / "run", callbacks=[training.TensorBoard(board)])
    curves = shown(board)
    assert len(list(board.iterdir())) == 2
    for figure, name in training.callbacks.CURVES.items():
        steps, values = zip(*curves.pop(name), strict=True)
        assert steps == (1, 2, 3)
        assert values == pytest.approx([row[figure] for row in log], rel=1e-6)
    assert not curves


def test_curves_end_on_a_full_disk_and_the_training_goes_on(drawn, tmpfs):
    board = tmpfs / "board"
    told = training.TensorBoard(board)
    told.on_start(SimpleNamespace(log=[]))
    row = dict.fromkeys(training.callbacks.CURVES, 0.5)
    told.on_epoch(None, row | {"epoch": 1})
    (tmpfs / "filler").write_bytes(bytes(200_000 - 8192))
    with pytest.warns(UserWarning, match=r"no more curves: cannot .*disk is full") as said:
        for epoch in range(2, 200):
            told.on_epoch(None, row | {"epoch": epoch})
    told.on_end(None)
    assert [one.category for one in said].count(UserWarning) == 1
    assert len(list(board.iterdir())) == 1


def test_a_place_for_curves_that_is_none_is_told_before_the_training(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FerlibError, match="cannot"):
        training.TensorBoard(tmp_path / "file" / "board")
    training.TensorBoard(tmp_path / "board")
    assert not (tmp_path / "board").exists()  # until there is something to write


# ---------------------------------------------------------------- restarts


@pytest.mark.slow
@pytest.mark.parametrize(
    "how",
    [{"mixup": 0.4, "smoothing": 0.1, "average": 0.9}, {"centre": 0.1, "average": 0.9}],
    ids="-".join,
)
def test_stops_and_threads_change_nothing(drawn, how, tmp_path, monkeypatch):
    recipe = replace(QUICK, **how)
    whole, _ = fit(drawn, recipe)
    assert_same(whole, after_a_stop(drawn, recipe, tmp_path))
    monkeypatch.setattr(batches, "workers_for", lambda ctx: 3)
    assert_same(whole, fit(drawn, recipe)[0])
    with pytest.raises(FerlibError, match=f"another.*{next(iter(how))}"):
        fit(drawn, QUICK, tmp_path)


@pytest.mark.slow
def test_the_command_takes_them(tmp_path, capsys):
    data, out = tmp_path / "data", tmp_path / "net"
    sample.write(data, (160, 30, 5), seed=1)
    words = f"train --data {data} --net vgg-tiny --epochs 1 --batch-size 32 --out {out}".split()
    soft = ["--smoothing", "0.1", "--mixup", "0.2", "--average", "0.99"]
    assert main([*words, *soft, "--tensorboard", str(tmp_path / "board")]) == 0
    recipe = nets.load(out)[1].trained.recipe
    assert (recipe["smoothing"], recipe["mixup"], recipe["average"]) == (0.1, 0.2, 0.99)
    assert shown(tmp_path / "board")
    assert main([*words, "--freeze", "features"]) == 1
    assert "--start" in capsys.readouterr().err
    words[-1] = str(tmp_path / "head")
    assert main([*words, "--freeze", "features", "--start", str(out)]) == 0
    before, after = (weights(nets.load(prefix)[0]) for prefix in (out, tmp_path / "head"))
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {"vgg_tiny_dense0_weight", "vgg_tiny_dense0_bias"}
