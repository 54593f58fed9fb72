"""The networks, what they declare, their three files, their graphs."""

import json
import os
import shutil
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from learning import needs_bfloat16

from ferlib import EMOTIONS, nets, runtime
from ferlib.data.images import prepare
from ferlib.errors import FerlibError
from ferlib.nets import graph
from ferlib.nets.info import Info, Trained
from ferlib.nets.places import check_prefix, weight_files
from ferlib.training import precision

mx = runtime.import_mxnet()
from mxnet.gluon import nn  # noqa: E402  (after import_mxnet has prepared it)

INFO = Info.of(nets.find("vgg-tiny"))
INFO = replace(INFO, temperature=1.3)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    prefix = tmp_path_factory.mktemp("weights") / "tiny"
    nets.save(nets.create("vgg-tiny", seed=1), prefix, INFO)
    return prefix


@pytest.fixture
def copied(stored, tmp_path):
    for path in weight_files(stored):
        shutil.copy(path, tmp_path)
    return tmp_path / "tiny"


def some(count: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)


# ---------------------------------------------------------------- networks by name


def test_vgg13_has_the_papers_layers():
    net = nets.create("vgg13")
    shapes = [p.shape for name, p in net.collect_params().items() if name.endswith("weight")]
    channels = (1, 64, 64, 128, 128, 256, 256, 256, 256, 256, 256)
    convolutions = [(o, i, 3, 3) for i, o in pairwise(channels)]
    # Four poolings leave 4 x 4 of 64 x 64; then 1024, 1024 and the eight emotions.
    assert shapes == [*convolutions, (1024, 256 * 16), (1024, 1024), (8, 1024)]
    by_hand = sum(int(np.prod(s)) + s[0] for s in shapes)
    assert nets.parameters(net) == by_hand == 8_757_704


# vgg13 has more weights than the others together.
EACH = [
    pytest.param(name, marks=[pytest.mark.slow] * (not name.startswith("vgg") or name == "vgg13"))
    for name in nets.names()
]


@pytest.mark.parametrize("name", EACH)
def test_every_net_gives_eight_logits_and_repeats_with_its_seed(name):
    size = nets.find(name).size
    x = mx.nd.random.normal(shape=(2, 1, size, size))
    first, again, other = (nets.create(name, seed=s)(x).asnumpy() for s in (4, 4, 5))
    assert first.shape == (2, 8) and np.isfinite(first).all()
    assert (first == again).all() and (first != other).any()


@pytest.mark.parametrize("name", EACH)
def test_every_net_is_there_for_colours_and_other_classes(name):
    declared = nets.find(name, channels=3, classes=5)
    shapes = [p.shape for p in nets.create(declared).collect_params().values()]
    assert shapes[0][1] == 3 and shapes[-1] == (5,)
    assert (nets.find(name).channels, nets.find(name).classes) == (1, 8)  # as it was


def register_own() -> None:
    """A network as a reader adds one."""

    @nets.register("my-own", size=20, channels=3, classes=4, features=("relu0",), any_size=False)
    def layers(net):
        yield nn.Conv2D(5, 3, padding=1, in_channels=net.channels)
        yield nn.Activation("relu")
        yield nn.Flatten()
        yield nn.Dense(net.classes, in_units=5 * net.size**2)


def test_a_network_of_ones_own_is_found_created_stored_and_loaded(tmp_path, own_nets):
    before = nets.names()
    register_own()
    assert nets.names() == [*before, "my-own"]
    declared = nets.find("my-own")
    net, info = nets.create("my-own", seed=1), Info.of(declared, ("a", "b", "c", "d"))
    nets.save(net, tmp_path / "net", info)
    loaded, known = nets.load(tmp_path / "net")
    assert known == info and known.features == ("relu0",) and known.input_size == 20
    crops = some(5, 20, 20, 3)
    scores = nets.predict(loaded, crops, known)
    logits = net(mx.nd.array(prepare(crops, 20, "standardise", 3))).asnumpy()
    wanted = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(scores, wanted, atol=1e-5)


def test_stored_weights_of_ones_own_network_load_where_it_is_not_registered(tmp_path, own_nets):
    register_own()
    nets.save(nets.create("my-own"), tmp_path / "net", Info.of(nets.find("my-own"), tuple("abcd")))
    del nets.registry._REGISTERED["my-own"]
    net, info = nets.load(tmp_path / "net")
    assert nets.predict(net, some(2, 20, 20, 3), info).shape == (2, 4)


@pytest.mark.parametrize("ask", [nets.find, nets.create])
def test_an_unknown_net_lists_those_there_are(ask, own_nets):
    register_own()
    with pytest.raises(FerlibError) as told:
        ask("resnet50")
    assert all(name in str(told.value) for name in ("resnet50", "my-own", *nets.names()))


# ---------------------------------------------------------------- graphs


def test_layers_and_multiply_adds_by_hand(own_nets):
    register_own()
    declared = nets.find("my-own")
    found = graph.layers(nets.create(declared), declared)
    assert [layer.op for layer in found] == [
        "Convolution",
        "Activation",
        "Flatten",
        "FullyConnected",
    ]
    assert [layer.shape for layer in found] == [(5, 20, 20), (5, 20, 20), (2000,), (4,)]
    assert found[0].kernel == (5, 3, 3, 3) and found[3].kernel == (4, 2000)
    # Each of 20 x 20 places takes 3 x 3 of 3 channels for 5; the dense layer 2000 for 4.
    by_hand = 20 * 20 * 3 * 3 * 3 * 5 + 2000 * 4
    assert graph.multiply_adds(nets.create(declared), declared) == by_hand == 62_000


def test_a_transposed_convolution_works_once_for_each_place_it_is_given(own_nets):
    @nets.register("spread", size=8)
    def layers(net):
        yield nn.Conv2DTranspose(3, 2, strides=2, in_channels=1)
        yield nn.Dense(net.classes, in_units=3 * 16 * 16)

    net = nets.create("spread", seed=1)
    assert net(mx.nd.zeros((1, 1, 8, 8))).shape == (1, 8)
    assert graph.layers(net, nets.find("spread"))[0].shape == (3, 16, 16)
    by_hand = 8 * 8 * 2 * 2 * 3 + 3 * 16 * 16 * 8
    assert graph.multiply_adds(net, nets.find("spread")) == by_hand


def test_the_halves_of_a_graph_one_after_the_other_are_the_whole(own_nets):
    @nets.register("around", size=8)
    def layers(net):
        yield nn.Conv2D(4, 3, padding=1, in_channels=1, activation="relu")
        yield Around()
        yield nn.Dense(net.classes, in_units=4 * 64)

    net, data = nets.create("around", seed=1), mx.nd.random.normal(shape=(2, 1, 8, 8))
    whole = net(mx.sym.var("data"))
    names = [node["name"] for node in json.loads(whole.tojson())["nodes"]]
    body, head = graph.cut(whole, names.index("around_conv0_relu_fwd"), "around")
    first, second = precision.block(body, net), precision.block(head, net)
    assert first(data).shape == (2, 4, 8, 8)
    np.testing.assert_allclose(second(first(data)).asnumpy(), net(data).asnumpy(), rtol=1e-5)
    with pytest.raises(FerlibError, match="made of more than around_around0_inner_output"):
        graph.cut(whole, names.index("around_around0_inner"), "around")


class Around(mx.gluon.HybridBlock):
    """Something, and a way around it."""

    def hybrid_forward(self, F, x):
        return x + F.tanh(x, name="inner")


def test_multiply_adds_of_vgg_tiny_by_hand():
    """Halved three times: 48, 24, 12 pixels; 16, 32, 64, 64 channels."""
    first, second = 48**2 * 9 * 16, 24**2 * 9 * 16 * 32
    third, fourth, last = 12**2 * 9 * 32 * 64, 12**2 * 9 * 64 * 64, 64 * 8
    declared = nets.find("vgg-tiny")
    found = graph.multiply_adds(nets.create(declared), declared)
    assert found == first + second + third + fourth + last


def outputs(net, graph, x) -> np.ndarray:
    """What a graph gives with the net's parameters."""
    block = mx.gluon.SymbolBlock(graph, mx.sym.var("data"), params=net.collect_params())
    return block(mx.nd.array(x)).asnumpy()


def seen_by_the_first_convolution(symbol) -> tuple[int, ...]:
    """The shape of its input, for eight pictures in RGB."""
    nodes = json.loads(symbol.tojson())["nodes"]
    source = next(node for node in nodes if node["op"] == "Convolution")["inputs"][0][0]
    name = nodes[source]["name"] + ("" if nodes[source]["op"] == "null" else "_output")
    return symbol.get_internals()[name].infer_shape(data=(8, 3, 48, 48))[1][0]


@pytest.fixture
def colours():
    return prepare(some(8, 48, 48, 3), 48, "standardise", 3)


def test_the_widened_graph_of_a_net_for_colours_is_the_same_net(colours):
    """Fed 16 channels, thirteen of them times zero: in float32 nothing may change."""
    net = nets.create(nets.find("vgg-tiny", channels=3), seed=0)
    plain = net(mx.sym.var("data"))
    wide = precision.widened(plain, 3)
    assert seen_by_the_first_convolution(wide) == (8, 16, 48, 48)
    assert seen_by_the_first_convolution(plain) == (8, 3, 48, 48)
    np.testing.assert_allclose(
        outputs(net, wide, colours), outputs(net, plain, colours), rtol=1e-4, atol=1e-5
    )


@needs_bfloat16
def test_a_net_for_colours_in_bfloat16_answers_alike(colours):
    net = nets.create(nets.find("vgg-tiny", channels=3), seed=0)
    x = mx.nd.array(colours)
    full, rounded = (one(x).asnumpy() for one in (net, precision.in_bfloat16(net, channels=3)))
    assert (full != rounded).any()  # it really was another precision
    assert np.abs(full - rounded).max() < 0.03 * np.abs(full).max()


def in_groups():
    """Three gray nets side by side."""
    yield nn.Conv2D(24, 3, padding=1, groups=3, in_channels=3)


def spread():
    """Blocks of 2 x 2 pixels as channels, before any convolution."""
    yield nn.HybridLambda(lambda F, x: F.space_to_depth(x, 2))
    yield nn.Conv2D(24, 3, padding=1, in_channels=12)


@pytest.mark.parametrize("layers", [in_groups, spread])
@needs_bfloat16
def test_in_bfloat16_a_first_convolution_may_see_other_channels_than_the_picture(colours, layers):
    net = nn.HybridSequential()
    net.add(*layers(), nn.BatchNorm(in_channels=24), nn.Activation("relu"), nn.Flatten())
    net.initialize(mx.init.Xavier())
    x = mx.nd.array(np.repeat(colours, 16, axis=0)[:16])
    half = precision.in_bfloat16(net, batch=16, channels=3)
    with mx.autograd.record():
        full, rounded = (one(x).asnumpy() for one in (net, half))
    assert np.abs(full - rounded).max() < 0.03 * np.abs(full).max()


def first_is_dense():
    yield nn.Flatten()
    yield nn.Dense(8, in_units=48 * 48)


def first_is_pooled():
    """Its convolution does not see the picture itself."""
    yield nn.MaxPool2D(2)
    yield nn.Conv2D(8, 3, in_channels=1)


def first_is_wide():
    yield nn.Conv2D(8, 3, in_channels=16)


@pytest.mark.parametrize(
    ("layers", "channels"), [(first_is_dense, 1), (first_is_pooled, 1), (first_is_wide, 16)]
)
def test_what_need_not_be_widened_is_left_as_it_is(layers, channels):
    net = nn.HybridSequential()
    net.add(*layers())
    net.initialize()
    plain = net(mx.sym.var("data"))
    assert precision.widened(plain, channels).tojson() == plain.tojson()


# ---------------------------------------------------------------- answers


def test_stored_net_gives_the_same_answers_and_the_same_bytes(stored, tmp_path):
    net = nets.create("vgg-tiny", seed=1)
    loaded, info = nets.load(stored)
    crops = some(5, 48, 48)
    assert nets.parameters(loaded) == nets.parameters(net)
    np.testing.assert_allclose(
        nets.predict(loaded, crops, info), nets.predict(net, crops, INFO), atol=1e-6
    )
    nets.save(net, tmp_path / "tiny", INFO)
    for mine, theirs in zip(weight_files(tmp_path / "tiny"), weight_files(stored), strict=True):
        assert mine.read_bytes() == theirs.read_bytes()
    assert len(list(tmp_path.iterdir())) == 3


def test_predict_is_a_softmax_with_temperature_and_flip_averages(stored):
    net, info = nets.load(stored)
    crops = some(70, 48, 48)
    scores = nets.predict(net, crops, info)
    logits = net(mx.nd.array(prepare(crops, 48, "standardise"))).asnumpy() / 1.3
    wanted = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(scores, wanted, atol=1e-5)
    flipped = nets.predict(net, crops[:, :, ::-1], info)
    both = nets.predict(net, crops, info, flip=True)
    np.testing.assert_allclose(both, (scores + flipped) / 2, atol=1e-5)
    assert nets.predict(net, crops[:0], info).shape == (0, 8)
    bias = np.linspace(-1, 1, 8)
    favoured = np.exp(logits + bias / 1.3)
    favoured /= favoured.sum(axis=1, keepdims=True)
    biased = nets.predict(net, crops, replace(info, bias=tuple(bias)))
    np.testing.assert_allclose(biased, favoured, atol=1e-5)
    raw = nets.predict(net, crops, replace(info, bias=tuple(bias)).raw())
    np.testing.assert_allclose(raw, nets.answer.softmax(logits * 1.3), atol=1e-5)


# ---------------------------------------------------------------- what travels with the weights

FULL = Info(
    network="vgg-tiny",
    input_size=64,
    channels=3,
    normalise="equalise",
    classes=("cat", "Hündin"),
    features=("relu0", "relu1"),
    bias=(0.25, -1.0),
    temperature=1.5,
    shares=(0.75, 0.25),
    valid={"split": "valid", "accuracy": 0.9, "per_emotion": {"cat": None}, "seeds": [0]},
    epochs=7,
    trained=Trained("ferlib train", "2026-01-31", "cats", 20, {"lr": 0.1}, {"device": "cpu"}),
)


@pytest.mark.parametrize("info", [FULL, Info(), INFO, replace(FULL, trained=None)])
def test_info_is_read_as_it_was_written(info, tmp_path):
    info.write(tmp_path / "net.json")
    assert Info.read(tmp_path / "net.json") == info
    stored = json.loads((tmp_path / "net.json").read_text())
    assert None not in stored.values() and stored["classes"] == list(info.classes)


def test_info_of_before_there_were_other_classes_is_read(tmp_path):
    old = {"network": "vgg-tiny", "input_size": 48, "normalise": "equalise", "temperature": 2}
    old |= {"emotions": list(EMOTIONS), "someone's": "note", "bias": None}
    (tmp_path / "net.json").write_text(json.dumps(old))
    info = Info.read(tmp_path / "net.json")
    assert info == Info(network="vgg-tiny", normalise="equalise", temperature=2.0)
    assert info.classes == EMOTIONS and info.channels == 1


DAMAGED_TEXTS = ["", "{", "null", "3", "[]", '"text"', "\0\1", "<html>", '{"input_size": 48}']
DAMAGED = {
    "size as text": {"input_size": "48"},
    "size in parts": {"input_size": 48.5},
    "size of nothing": {"input_size": 0},
    "a size below nothing": {"input_size": -48},
    "a size that is true": {"input_size": True},
    "two channels": {"channels": 2},
    "unknown normalisation": {"normalise": "whiten"},
    "temperature as text": {"temperature": "warm"},
    "temperature 0": {"temperature": 0},
    "temperature below 0": {"temperature": -1},
    "no temperature": {"temperature": None},
    "temperature not a number": {"temperature": float("nan")},
    "endless temperature": {"temperature": float("inf")},
    "long temperature": {"temperature": 10**400},
    "one bias": {"bias": [0.5]},
    "bias as text": {"bias": "12345678"},
    "bias not a number": {"bias": [float("nan")] * 8},
    "bias in rows": {"bias": [[0.0]] * 8},
    "two shares": {"shares": [0.5, 0.5]},
    "a number of emotions": {"emotions": 5},
    "a number of classes": {"classes": 5},
    "no classes": {"classes": []},
    "one class": {"classes": ["cat"], "bias": None, "shares": None},
    "a class twice": {"classes": ["cat"] * 8},
    "numbers for classes": {"classes": list(range(8))},
    "classes in one text": {"classes": "abcdefgh"},
    "network in a list": {"network": ["vgg-tiny"]},
    "network null": {"network": None},
    "features a number": {"features": 3},
    "pictures without end": {"input_size": 60_000},
    "features of numbers": {"features": [3]},
    "trained a list": {"trained": [1]},
    "trained something else": {"trained": {"colour": "red"}},
}


def assert_refused(path):
    with pytest.raises(FerlibError, match=path.name) as told:
        Info.read(path)
    assert told.value.code == "weights_invalid" and len(str(told.value).splitlines()) <= 2


@pytest.mark.parametrize("text", DAMAGED_TEXTS)
def test_what_is_no_info_is_refused(text, tmp_path):
    (tmp_path / "net.json").write_text(text)
    assert_refused(tmp_path / "net.json")


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_info_is_refused(kind, tmp_path):
    path = tmp_path / "net.json"
    replace(INFO, bias=(0.0,) * 8, shares=(0.125,) * 8).write(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | DAMAGED[kind]))
    assert_refused(path)


def test_a_side_is_that_of_what_the_net_sees(tmp_path):
    path = tmp_path / "net.json"
    replace(INFO, input_size=48, side=48).write(path)
    assert Info.read(path).side == 48
    path.write_text(json.dumps(json.loads(path.read_text()) | {"side": 64}))
    assert_refused(path)


def test_deeply_nested_info_and_other_bytes_are_refused(tmp_path):
    (tmp_path / "net.json").write_text('{"classes":' + "[" * 100_000)
    assert_refused(tmp_path / "net.json")
    (tmp_path / "net.json").write_bytes(b"\xff\xfe\x00")
    assert_refused(tmp_path / "net.json")


# ---------------------------------------------------------------- the three files


def test_a_missing_file_is_named(copied):
    for path in weight_files(copied):
        hidden = path.rename(path.with_name("hidden"))
        with pytest.raises(FerlibError, match=path.name):
            nets.load(copied)
        hidden.rename(path)


@pytest.mark.parametrize(
    "change",
    [
        {"input_size": 64},
        {"network": "vgg13bn"},
        {"channels": 3},
        {"classes": ["happy", "sad"]},
        {"input_size": "48"},
    ],
)
def test_a_json_of_another_net_is_refused(copied, change):
    path = weight_files(copied)[2]
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(FerlibError, match=path.name) as told:
        nets.load(copied)
    assert told.value.code == "weights_invalid"


def test_parameters_of_another_net_are_refused(copied):
    other = copied.parent / "other"
    nets.save(nets.create("vgg13small", seed=0), other, INFO)
    shutil.copy(weight_files(other)[1], weight_files(copied)[1])
    with pytest.raises(FerlibError, match="do not hold the same net"):
        nets.load(copied)


@pytest.mark.parametrize("content", [b"", b"not parameters", None])
def test_damaged_parameters_are_refused(copied, content):
    path = weight_files(copied)[1]
    path.write_bytes(path.read_bytes()[:5000] if content is None else content)
    with pytest.raises(FerlibError, match="do not hold the same net"):
        nets.load(copied)


def test_an_output_that_no_layer_has_is_refused(copied):
    """MXNet itself would crash on it."""
    path = weight_files(copied)[0]
    graph = json.loads(path.read_text())
    first = next(node for node in graph["nodes"] if node["op"] == "Activation")
    first["inputs"][0][1] = 77
    path.write_text(json.dumps(graph))
    with pytest.raises(FerlibError, match="do not hold the same net"):
        nets.load(copied)


def test_old_and_new_files_are_never_taken_for_one_net(copied, monkeypatch):
    """Ctrl-C after two of the three new files have their names."""
    renamed, replaced = [], os.replace

    def stopped(*places):
        if len(renamed) == 2:
            raise KeyboardInterrupt
        renamed.append(places)
        replaced(*places)

    monkeypatch.setattr(os, "replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        nets.save(nets.create("vgg-tiny", seed=9), copied, INFO)
    with pytest.raises(FerlibError, match=r"\.json is missing"):
        nets.load(copied)


@pytest.mark.parametrize("name", ["net-int8", "net-symbol"])
def test_a_net_is_not_called_as_a_part_of_another(tmp_path, name):
    with pytest.raises(FerlibError, match="parts of other nets"):
        check_prefix(tmp_path / name)


def test_a_failed_write_leaves_nothing(tmp_path, tmpfs):
    net = nets.create("vgg-tiny", seed=1)
    with pytest.raises(FerlibError, match="cannot write") as told:
        nets.save(net, tmpfs / "tiny", INFO)
    assert "disk" in str(told.value)
    with pytest.raises(FerlibError, match="set is not JSON"):
        nets.save(net, tmp_path / "tiny", replace(INFO, valid={"n": {1, 2}}))
    assert not list(tmp_path.iterdir()) and not list(tmpfs.iterdir())


# ---------------------------------------------------------------- batches of a fused net


@pytest.mark.parametrize("count", [1, 3, 4, 6, 64, 73])
def test_a_fused_net_reads_a_batch_of_any_size(stored, count):
    """Split into the sizes it is ready for, in whatever order they come."""
    (plain, info), (fused, _) = nets.load(stored), nets.load(stored, precision="fused")
    pictures = some(count, info.input_size, info.input_size)
    x = mx.nd.array(prepare(pictures, info.input_size, info.normalise))
    wanted = plain(x).asnumpy()
    assert fused(x).shape == wanted.shape == (count, len(info.classes))
    np.testing.assert_allclose(fused(x).asnumpy(), wanted, atol=1e-4)
    np.testing.assert_allclose(fused(x[:1]).asnumpy(), wanted[:1], atol=1e-4)


def test_the_sizes_of_a_fused_net_share_its_weights(stored):
    fused, _ = nets.load(stored, precision="fused")
    own = fused.collect_params()
    for size in fused.SIZES:
        ready = fused._for(size)
        assert ready is fused._for(size)
        assert all(value is own[name] for name, value in ready.collect_params().items())
