"""The networks of the zoo: their sizes against their sources, a step of learning, their files."""

import json
import warnings
from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest

from ferlib import nets, runtime, training
from ferlib.data import images
from ferlib.data.dataset import Dataset
from ferlib.errors import FerlibError
from ferlib.evaluation import explain
from ferlib.nets import graph
from ferlib.nets.info import Info
from ferlib.nets.zoo import repvgg
from ferlib.nets.zoo.cbam import Attention
from ferlib.training.loop import Run, step

mx = runtime.import_mxnet()
from mxnet.gluon import nn  # noqa: E402  (after import_mxnet has prepared it)

HEAVY = ("resmasking", "resnet50cbam", "vgg19", "densenet121", "resnet34", "baseline_cnn")
NAMES = ("baseline_cnn", "web_cnn", "deep_emotion", "resnet18", "resnet34", "vgg19", "densenet121")
NAMES += ("googlenet", "mobilenetv2", "resnet50cbam", "resmasking", "repvgg", "repvgg_plain")
LR = {"baseline_cnn": 1e-5, "repvgg_plain": 1e-4}
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


FIFTY = ((3, 256), (4, 512), (6, 1024), (3, 2048))  # blocks of ResNet50's stages, their channels
# CBAM: two dense layers without bias, to a sixteenth and back, and a 7 x 7 kernel for two maps.
ATTENTION = sum(count * (2 * new * new // 16 + convolution(2, 1, 7)) for count, new in FIFTY)
BIASES = sum(count * (new // 4 + new) for count, new in FIFTY)  # gluoncv's 1 x 1 kernels have them
# As torchvision counts them for 1,000 classes of 224 x 224 RGB pictures, first and last layer too.
WHOLE = {
    "vgg19": 143_678_248 - dense(25088, 4096, 4096, 1000) + dense(512, 1000),
    "googlenet": 6_624_904,
    "resnet50cbam": 25_557_032 + ATTENTION + BIASES,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "densenet121": 7_978_856,
    "mobilenetv2": 3_504_872,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WHOLE)
def test_for_large_pictures_a_borrowed_net_is_its_source(name):
    whole = nets.find(name, channels=3, classes=1000, size=224)
    found = nets.registry.assembled(whole).collect_params().values()
    counts = [int(np.prod(one.shape)) for one in found if one.grad_req != "null"]
    assert sum(counts) == WHOLE[name]


@pytest.mark.slow
def test_a_net_is_trained_and_stored_for_larger_pictures_than_its_own(drawn_splits, tmp_path):
    learn, valid = (part.take(range(16)) for part in drawn_splits)
    how = {"channels": 3, "side": 112, "epochs": 1, "batch_size": 8, "precision": "float32"}
    recipe = training.Recipe(net="resnet18", grow=(), **how)
    training.train_to(tmp_path / "net", learn, valid, recipe)
    net, info = nets.load(tmp_path / "net")
    assert (info.network, info.input_size, info.channels) == ("resnet18", 112, 3)
    assert info.trained.machine["precision"] == "float32"  # not what the machine would choose
    assert nets.predict(net, valid.pictures, info).shape == (16, 8)
    nets.save(net, tmp_path / "again", replace(info, trained=None))
    assert nets.load(tmp_path / "again")[1].input_size == 112


@pytest.mark.slow
def test_pictures_that_a_network_cannot_take_are_told(drawn_splits):
    recipe = training.Recipe(net="vgg19", precision="float32", batch_size=8)
    with pytest.raises(FerlibError, match="pictures of 8 pixels: expected 24 to 512"):
        replace(recipe, side=8)
    with pytest.raises(FerlibError, match="resmasking cannot take pictures of 100 pixels"):
        nets.registry.assembled(nets.find("resmasking", size=100))
    smaller = replace(recipe, grow=((0.5, 0.5),))
    with pytest.raises(FerlibError, match=r"vgg19 cannot take pictures of 24 pixels: .*full-size"):
        training.Run(smaller, [mx.cpu()], drawn_splits[0])


# Channels, and the side for 48 x 48 and for 224 x 224 pixels, where each stage ends.
STAGES = {
    "resnet18": ((64, 24, 56), (128, 12, 28), (256, 6, 14), (512, 3, 7)),
    "resnet34": ((64, 24, 56), (128, 12, 28), (256, 6, 14), (512, 3, 7)),
    "resmasking": ((64, 24, 56), (128, 12, 28), (256, 6, 14), (512, 3, 7)),
    "resnet50cbam": ((256, 24, 56), (512, 12, 28), (1024, 6, 14), (2048, 3, 7)),
    "vgg19": ((64, 48, 224), (128, 24, 112), (256, 12, 56), (512, 6, 28), (512, 3, 14)),
    "densenet121": ((256, 24, 56), (512, 12, 28), (1024, 6, 14), (1024, 3, 7)),
    "googlenet": ((480, 12, 28), (832, 6, 14), (1024, 3, 7)),
    "mobilenetv2": ((144, 24, 56), (192, 12, 28), (576, 6, 14), (1280, 3, 7)),
}


@pytest.mark.slow
@pytest.mark.parametrize("size", [48, 224])
@pytest.mark.parametrize("name", STAGES)
def test_stages_end_with_the_shapes_of_their_sources(name, size):
    net = nets.find(name, channels=3, size=size)
    inner = nets.registry.assembled(net)(mx.sym.var("data")).get_internals()
    shapes = inner.infer_shape(data=(1, 3, size, size))[1]
    known = dict(zip(inner.list_outputs(), shapes, strict=True))
    ends = [net.prefix + one for one in net.features]
    found = [known.get(f"{end}_output") or known[f"{end}_fwd_output"] for end in ends]
    wanted = [(width, small if size == 48 else large) for width, small, large in STAGES[name]]
    assert [(shape[1], shape[2]) for shape in found] == wanted


@pytest.mark.slow
def test_vgg19_has_sixteen_convolutions():
    found = graph.layers(nets.create("vgg19"), nets.find("vgg19"))
    widths = [layer.shape[0] for layer in found if layer.op == "Convolution"]
    assert widths == [64] * 2 + [128] * 2 + [256] * 4 + [512] * 8


# ---------------------------------------------------------------- trained one way, used another


@cache
def used(channels: int = 1, classes: int = 8):
    """A `repvgg` as trainings leave one: each BatchNorm has statistics, scale and shift."""
    net, rng = nets.create(nets.find("repvgg", channels, classes), seed=1), np.random.default_rng(1)
    for name, value in net.collect_params().items():
        if name.endswith(("gamma", "beta")):
            low, high = (0.3, 1.2) if name.endswith("gamma") else (-0.5, 0.5)
            value.set_data(mx.nd.array(rng.uniform(low, high, value.shape)))
    for _ in range(20):
        with mx.autograd.train_mode():
            net(mx.nd.array(rng.normal(0.3, 1, (4, channels, 48, 48)))).wait_to_read()
    return net


def test_repvgg_by_hand():
    widths, counts = (1, 32, 64, 128, 256), (2, 4, 6, 4)
    plain = ways = 0
    for (old, new), count in zip(pairwise(widths), counts, strict=True):
        plain += convolution(old, new, bias=True) + (count - 1) * convolution(new, new, bias=True)
        first = normed(old, new) + (old > 1) * normed(old, new, 1)  # nothing else sees the picture
        ways += first + (count - 1) * (normed(new, new) + normed(new, new, 1) + 2 * new)
    assert learnt("repvgg_plain") == plain + dense(256, 8)
    assert learnt("repvgg") == ways + dense(256, 8)


def test_repvgg_halves_three_times_where_it_widens():
    for name in ("repvgg", "repvgg_plain"):
        declared = nets.find(name)
        shapes = {one.name: one.shape for one in graph.layers(nets.create(name), declared)}
        ends = [shapes.get(end) or shapes[end + "_fwd"] for end in declared.features]
        assert ends == [(32, 48, 48), (64, 24, 24), (128, 12, 12), (256, 6, 6)]


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
def test_merged_it_gives_the_same_logits(channels):
    net = used(channels)
    x = mx.nd.array(np.random.default_rng(2).normal(0.3, 1, (8, channels, 48, 48)))
    plain, wanted = repvgg.merged(net), net(x).asnumpy()
    assert wanted.std() > 0.1
    np.testing.assert_allclose(plain(x).asnumpy(), wanted, atol=1e-4)


def test_merged_kernels_by_hand():
    """One channel, so that each way is a number: 9 a + 1 b at the middle + the input itself."""
    block = repvgg.Block(1, 1, 1, first=False)
    block.initialize(mx.init.One())
    block.wide.weight.set_data(mx.nd.arange(9).reshape((1, 1, 3, 3)))
    for norm, (gamma, beta, mean, variance) in {
        block.wide_norm: (2, 1, 3, 4),
        block.small_norm: (3, 0, 1, 1),
        block.same_norm: (5, 2, 0, 25),
    }.items():
        for name, value in {"gamma": gamma, "beta": beta}.items():
            getattr(norm, name).set_data(mx.nd.array([value]))
        norm.running_mean.set_data(mx.nd.array([mean]))
        norm.running_var.set_data(mx.nd.array([variance]))
    kernel, bias = block.merged()
    # scales 2/2, 3/1 and 5/5; shifts 1 - 3, 0 - 3 and 2 - 0
    np.testing.assert_allclose(kernel.ravel(), [0, 1, 2, 3, 4 + 3 + 1, 5, 6, 7, 8], atol=1e-4)
    np.testing.assert_allclose(bias, [-3], atol=1e-4)


@pytest.mark.slow
def test_stored_weights_are_merged_and_then_as_any_others(tmp_path):
    classes = ("calm", "glad", "sad")
    net, declared = used(classes=3), nets.find("repvgg", classes=3)
    nets.save(net, tmp_path / "net", replace(Info.of(declared, classes), temperature=1.5))
    info = repvgg.merge(tmp_path / "net", tmp_path / "plain")
    pictures = np.random.default_rng(3).integers(0, 256, (16, 48, 48), dtype=np.uint8)
    wanted = nets.predict(net, pictures, info)
    nets.quantize(tmp_path / "plain", pictures)
    for precision, near in (("float32", 1e-4), ("fused", 1e-4), ("int8", 0.1)):
        plain, stored = nets.load(tmp_path / "plain", precision=precision)
        assert stored == info and info.network == "repvgg_plain" and info.temperature == 1.5
        np.testing.assert_allclose(nets.predict(plain, pictures, info), wanted, atol=near)
    with pytest.raises(FerlibError, match="plain holds repvgg_plain: only repvgg is merged"):
        repvgg.merge(tmp_path / "plain", tmp_path / "again")
    assert not list(tmp_path.glob("again*"))


# ---------------------------------------------------------------- in bfloat16, and in eight bits


def kernels(graph_, places: int) -> set[str]:
    """Of convolutions of stride 1 that give maps of so many places, for pictures of 48 pixels."""
    inner = graph_.get_internals()
    sides = dict(zip(inner.list_outputs(), inner.infer_shape(data=(1, 1, 48, 48))[1], strict=True))
    nodes = json.loads(graph_.tojson())["nodes"]
    convolutions = [node for node in nodes if node["op"] == "Convolution"]
    return {
        node["attrs"]["kernel"]
        for node in convolutions
        if node["attrs"]["stride"] == "(1, 1)"
        and np.prod(sides[node["name"] + "_output"][2:]) == places
    }


def test_small_kernels_on_six_by_six_maps_are_thickened_and_mean_the_same():
    net, data = nets.create("repvgg", seed=1), mx.sym.var("data")
    plain = net(data)
    thick = training.precision.thickened(plain)
    assert kernels(plain, 36) == {"(3, 3)", "(1, 1)"} and kernels(thick, 36) == {"(3, 3)", "(1, 3)"}
    assert kernels(thick, 144) == {"(3, 3)", "(1, 1)"}  # elsewhere they stay
    assert training.precision.thickened(plain, {40}) is plain  # 20, 10 and 5 pixels
    x = mx.nd.random.normal(shape=(2, 1, 48, 48))
    again = mx.gluon.SymbolBlock(thick, data, params=net.collect_params())
    wanted = net(x).asnumpy()
    np.testing.assert_allclose(again(x).asnumpy(), wanted, rtol=1e-4, atol=1e-4 * wanted.std())


@pytest.mark.slow
@pytest.mark.skipif(not runtime.fast_bfloat16(), reason="this CPU has no bfloat16")
@pytest.mark.parametrize("name", ["repvgg", "googlenet", "densenet121", "resnet50cbam"])
def test_a_step_in_bfloat16_ends_near_that_in_float32(name):
    """1 x 1 kernels on 6 x 6 maps killed the process here: `precision.thickened`."""
    mx.random.seed(0)  # whatever ran before
    x = mx.nd.random.normal(shape=(16, 1, 48, 48))
    targets = mx.nd.one_hot(mx.nd.arange(16) % 8, 8)
    losses = []
    for half in (False, True):
        net = nets.create(name, seed=1)
        fast = training.in_bfloat16(net) if half else net
        trainer = mx.gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.02})
        for _ in range(2):
            mx.random.seed(3)  # the same dropout
            with mx.autograd.record():
                loss = -(mx.nd.log_softmax(fast(x)) * targets).sum()
            loss.backward()
            trainer.step(16)
        losses.append(loss.asscalar() / 16)
    assert losses[1] == pytest.approx(losses[0], abs=0.25)


@pytest.mark.slow
def test_a_net_in_bfloat16_does_not_ask_which_nets_came_before():
    """Maps put together are float32 in `resmasking`, and in no other net."""
    casts = []
    for name in ("googlenet", "resmasking", "googlenet"):
        graph = training.in_bfloat16(nets.create(name, seed=1))(mx.sym.var("data"))
        casts.append(graph.tojson(remove_amp_cast=False).count('"op": "amp_cast"'))
    assert casts[0] == casts[2] > 50


def test_products_of_maps_stay_float32_in_eight_bits(own_nets, tmp_path):
    """As attention makes them: of maps without a sign, for which MXNet has no eight-bit product."""

    class Gate(mx.gluon.HybridBlock):
        def hybrid_forward(self, F, x):
            return x * F.sigmoid(x)

    @nets.register("gated", size=48)
    def gated(net):
        for old in (1, 16, 16, 16):
            yield nn.Conv2D(16, 3, in_channels=old, activation="relu")
            yield Gate()
        yield nn.GlobalAvgPool2D()
        yield nn.Dense(net.classes, in_units=16)

    net, info = nets.create("gated", seed=1), Info.of(nets.find("gated"))
    pictures = np.random.default_rng(0).integers(0, 256, (4, 48, 48), dtype=np.uint8)
    nets.save(net, tmp_path / "net", info)
    nets.quantize(tmp_path / "net", pictures)
    small, _ = nets.load(tmp_path / "net", precision="int8")
    wanted = nets.predict(net, pictures, info)
    np.testing.assert_allclose(nets.predict(small, pictures, info), wanted, atol=0.01)


# ---------------------------------------------------------------- what only one of them has


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
def test_in_training_the_transformer_moves_a_hundredth_as_far():
    rng, ways = np.random.default_rng(0), {}
    x = rng.normal(size=(8, 1, 48, 48)).astype(np.float32)
    y = np.eye(8, dtype=np.float32)
    unseen = Dataset(np.zeros((8, 48, 48), np.uint8), y)
    recipe = training.Recipe(net="deep_emotion", batch_size=8, precision="float32")
    for pace in ("patient", "full"):
        run = Run(recipe, [mx.cpu()], unseen)
        bias = run.net[0].where[-1].bias
        if pace == "full":
            run.net[0].collect_params().setattr("lr_mult", 1)
        before = bias.data().asnumpy()
        mx.random.seed(3)  # the same dropout
        step(run, x, y).wait_to_read()
        ways[pace] = bias.data().asnumpy() - before
    assert np.abs(ways["full"]).max() > 1e-6
    np.testing.assert_allclose(ways["patient"], ways["full"] / 100, rtol=0.01, atol=1e-7)


def test_attention_is_that_of_its_paper():
    """Equations 2 and 3 in NumPy: sigmoid(MLP(mean) + MLP(max)), then a 7 x 7 convolution."""
    weigh = Attention(32)
    weigh.initialize(mx.init.Normal(0.5))
    x = np.random.default_rng(0).normal(size=(2, 32, 6, 6)).astype(np.float32)
    first, second = (layer.weight.data().asnumpy() for layer in weigh.which)
    mlp = [np.maximum(v @ first.T, 0) @ second.T for v in (x.mean((2, 3)), x.max((2, 3)))]
    y = x / (1 + np.exp(-sum(mlp)))[:, :, None, None]
    both = np.stack([y.mean(1), y.max(1)], axis=1)
    where = weigh.where.weight.data()
    how = {"kernel": (7, 7), "pad": (3, 3), "num_filter": 1, "no_bias": True}
    places = mx.nd.Convolution(mx.nd.array(both), where, **how).asnumpy()
    wanted = y / (1 + np.exp(-places))
    np.testing.assert_allclose(weigh(mx.nd.array(x)).asnumpy(), wanted, atol=1e-5)


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
def test_heat_maps_are_of_true_gradients(name):
    """Finite differences along 24 directions, behind each of the layers that a network declares.

    Its BatchNorms have seen the pictures: with statistics from chance the signal of a deep net
    fades, until differences are of rounding alone.
    """
    net, info = nets.create(name, seed=1), Info.of(nets.find(name))
    pictures = np.random.default_rng(0).integers(0, 256, (4, 48, 48), dtype=np.uint8)
    batch = images.prepare(pictures, 48, info.normalise)
    for _ in range(20):
        with mx.autograd.train_mode():
            net(mx.nd.array(batch)).wait_to_read()
    heat = explain.grad_cam(net, pictures[:2], info, "fear")
    assert heat.shape == (2, 48, 48) and np.isfinite(heat).all() and heat.max() <= 1
    for layer in range(len(info.features)):
        halves = explain.split(net, info, layer)
        cells, slopes = explain._slopes(halves, batch[:1], [4])
        ways = cells * np.random.default_rng(2).uniform(-1, 1, (24, *cells.shape[1:]))
        ahead, behind = (
            halves[1](mx.nd.array(cells + step * ways))[:, 4].asnumpy() for step in (5e-4, -5e-4)
        )
        wanted, found = (ahead - behind) / 1e-3, (slopes * ways).sum(axis=(1, 2, 3))
        assert np.corrcoef(wanted, found)[0, 1] > 0.98, layer
        assert (wanted * found).sum() / (wanted**2).sum() == pytest.approx(1, abs=0.1)
