"""The networks of the zoo: their sizes against their sources, a step of learning, their files."""

import warnings
from itertools import pairwise

import numpy as np
import pytest

from ferlib import nets, runtime, training
from ferlib.data.dataset import Dataset
from ferlib.evaluation import explain
from ferlib.nets import graph
from ferlib.nets.info import Info
from ferlib.training.loop import Run, step

mx = runtime.import_mxnet()

HEAVY = ("resmasking", "resnet50cbam", "vgg19", "densenet121", "resnet34", "baseline_cnn")
NAMES = ("baseline_cnn", "web_cnn", "deep_emotion", "resnet18", "resnet34", "vgg19", "densenet121")
NAMES += ("googlenet", "mobilenetv2", "resnet50cbam", "resmasking")
LR = {"baseline_cnn": 1e-5}
EACH = [pytest.param(name, marks=pytest.mark.slow) for name in NAMES]


def learnt(name: str) -> int:
    """The numbers that training changes: without BatchNorm's running means and variances."""
    found = nets.create(name).collect_params().values()
    return sum(int(np.prod(one.shape)) for one in found if one.grad_req != "null")


def convolution(old: int, new: int, side: int = 3, bias: bool = False) -> int:
    return old * new * side * side + new * bias


def normed(old: int, new: int, side: int = 3) -> int:
    """A convolution without bias, and its BatchNorm."""
    return convolution(old, new, side) + 2 * new


def block(old: int, new: int, shortcut: bool) -> int:
    """Of ResNet34: two convolutions, and a 1 x 1 one where the way around needs it."""
    return normed(old, new) + normed(new, new) + shortcut * normed(old, new, 1)


def dense(*units: int) -> int:
    return sum((old + 1) * new for old, new in pairwise(units))


def test_baseline_by_hand():
    widths = (1, 8, 16, 32, 64, 128, 256, 256)
    pairs = pairwise(widths)
    by_hand = sum(convolution(a, b, bias=True) + 2 * b for a, b in pairs)
    # 48 is 44 after four poolings of stride 1, and 5 after three that halve.
    assert learnt("baseline_cnn") == by_hand + dense(256 * 5 * 5, 1024, 512, 256, 8)


def test_web_by_hand():
    plan = ((1, 64, 3), (64, 128, 5), (128, 512, 3), (512, 512, 3))
    by_hand = sum(convolution(a, b, side, True) + 2 * b for a, b, side in plan)
    by_hand += dense(512 * 3 * 3, 256, 512, 8) + 2 * (256 + 512)
    assert learnt("web_cnn") == by_hand


def test_deep_emotion_by_hand():
    warp = convolution(1, 8, 7, True) + convolution(8, 10, 5, True) + dense(640, 32, 6)
    maps = convolution(1, 10, bias=True) + 3 * convolution(10, 10, bias=True) + 2 * 10
    assert learnt("deep_emotion") == warp + maps + dense(810, 50, 8)


@pytest.mark.parametrize("name, counts", [("resnet18", (2, 2, 2, 2)), ("resnet34", (3, 4, 6, 3))])
def test_residual_nets_by_hand(name, counts):
    widths = (64, 64, 128, 256, 512)
    by_hand = normed(1, 64) + dense(512, 8)
    for old, new, count in zip(widths, widths[1:], counts, strict=False):
        by_hand += block(old, new, old != new) + (count - 1) * block(new, new, False)
    assert learnt(name) == by_hand


@pytest.mark.slow
def test_resmasking_by_hand():
    by_hand = learnt("resnet34")
    for channels, depth in ((64, 4), (128, 3), (256, 2), (512, 1)):
        widths = [channels * 2**level for level in range(depth + 1)]
        pairs = list(pairwise(widths))
        by_hand += sum(block(a, b, True) + block(b, a, True) for a, b in pairs)
        by_hand += sum(convolution(b, a, 2, True) + 2 * a for a, b in pairs[1:])  # upwards
    assert learnt("resmasking") == by_hand


# Of the models as published for 1,000 classes of RGB pictures, without their last layer: what
# torchvision and the papers count. The stem differs: 7 x 7 x 3 channels there, 3 x 3 x 1 here.
PUBLISHED = {
    "densenet121": 7_978_856 - dense(1024, 1000) - convolution(3, 64, 7) + convolution(1, 64),
    "mobilenetv2": 3_504_872 - dense(1280, 1000) - convolution(3, 32) + convolution(1, 32),
}
LAST = {"densenet121": dense(1024, 8), "mobilenetv2": dense(1280, 8)}


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_borrowed_nets_have_their_published_sizes(name):
    assert learnt(name) == PUBLISHED[name] + LAST[name]


@pytest.mark.slow
def test_vgg19_has_sixteen_convolutions():
    found = graph.layers(nets.create("vgg19"), nets.find("vgg19"))
    widths = [layer.shape[0] for layer in found if layer.op == "Convolution"]
    assert widths == [64] * 2 + [128] * 2 + [256] * 4 + [512] * 8


@pytest.mark.slow
def test_the_transformer_begins_by_changing_nothing():
    net, x = nets.create("deep_emotion", seed=1), mx.nd.random.uniform(shape=(3, 1, 48, 48))
    np.testing.assert_allclose(net[0](x).asnumpy(), x.asnumpy(), atol=1e-5)


@pytest.mark.slow
def test_the_transformer_learns_to_look_elsewhere():
    """A small bright square says by its place what it is: the warp has to move towards it."""
    net, x = nets.create("deep_emotion", seed=1)[0], np.zeros((4, 1, 48, 48), np.float32)
    first = 0.0
    x[:, 0, 14:24, 24:34] = 1
    trainer = mx.gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.02})
    for _ in range(10):
        with mx.autograd.record():
            middle = net(mx.nd.array(x))[:, :, 20:28, 20:28].mean()
            loss = -middle
        loss.backward()
        trainer.step(1)
        first = first or middle.asscalar()
    assert middle.asscalar() > 1.1 * first


@pytest.mark.slow
def test_attention_weighs_between_zero_and_one():
    from ferlib.nets.zoo.cbam import Attention

    weigh = Attention(32)
    weigh.initialize()
    x = mx.nd.random.uniform(0.1, 1, shape=(2, 32, 6, 6))
    ratio = (weigh(x) / x).asnumpy()
    assert (ratio > 0).all() and (ratio < 1).all()


@pytest.mark.parametrize("name", EACH)
def test_a_few_steps_lower_the_loss(name):
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (16, 48, 48), dtype=np.uint8)
    data = Dataset(pictures, np.arange(16) % 8)
    recipe = training.Recipe(net=name, optimiser="adam", lr=LR.get(name, 1e-3), batch_size=16)
    run = Run(recipe, [mx.cpu()], data)
    batch = ((pictures - 127.5) / 75).astype(np.float32)[:, None]
    targets = np.eye(8, dtype=np.float32)[data.labels]
    losses = [step(run, batch, targets).asscalar() / 16 for _ in range(4 if name in HEAVY else 12)]
    assert np.isfinite(losses).all() and min(losses[1:]) < losses[0]


@pytest.mark.parametrize("name", EACH)
def test_what_is_stored_answers_alike(name, tmp_path):
    declared = nets.find(name)
    net, info = nets.create(name, seed=2), Info.of(declared)
    x = mx.nd.array(np.random.default_rng(1).normal(size=(2, 1, 48, 48)).astype(np.float32))
    wanted = net(x).asnumpy()
    nets.save(net, tmp_path / "net", info)
    for precision in ("float32", "fused"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            loaded, _ = nets.load(tmp_path / "net", precision=precision)
        found = loaded(x).asnumpy()
        np.testing.assert_allclose(found, wanted, atol=1e-3 * max(1, np.abs(wanted).max()))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name != "resmasking"])
def test_heat_maps_are_of_the_pictures_size(name):
    info = Info.of(nets.find(name))
    pictures = np.random.default_rng(0).integers(0, 256, (2, 48, 48), dtype=np.uint8)
    heat = explain.grad_cam(nets.create(name, seed=1), pictures, info, "fear")
    assert heat.shape == (2, 48, 48) and np.isfinite(heat).all() and heat.max() <= 1
