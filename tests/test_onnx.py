"""Nets as ONNX: MXNet's files and operators without MXNet, from pixels to answers, bad files."""

import json
import os
import shutil
import struct
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from command import ferlib, mistake, no_file_larger_than
from common import astronaut, tiny_weights
from onnx import TensorProto, helper
from PIL import Image

from ferlib import Recognizer, nets, runtime
from ferlib.data.images import prepare
from ferlib.errors import FerlibError
from ferlib.nets import onnx_graph, onnx_int8, onnx_net, onnx_params, onnx_whole
from ferlib.nets.info import Info
from ferlib.nets.places import find_weights, weight_files
from ferlib.runtime.onnx import Model
from ferlib.serving import onnx as export

mx = runtime.import_mxnet()

NEAR = 1e-4


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_weights(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def copied(tiny, tmp_path):
    for path in weight_files(tiny):
        shutil.copy(path, tmp_path)
    return tmp_path / "tiny"


# ---------------------------------------------------------------- MXNet's arrays


def test_arrays_are_read_as_mxnet_wrote_them(tmp_path):
    rng = np.random.default_rng(0)
    wanted = {
        f"arg:{kind}{shape}": mx.nd.array(rng.integers(0, 99, shape), dtype=kind)
        for kind in ("float32", "float64", "float16", "uint8", "int8", "int32", "int64")
        for shape in ((1,), (3,), (4, 1, 2, 3))
    }
    mx.nd.save(str(tmp_path / "a.params"), wanted)
    found = onnx_params.read(tmp_path / "a.params")
    assert list(found) == list(wanted)
    for name, value in wanted.items():
        assert found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value.asnumpy())


def test_a_file_of_arrays_cut_anywhere_is_refused(tmp_path):
    whole, cut = tmp_path / "a.params", tmp_path / "b.params"
    mx.nd.save(str(whole), {"arg:a": mx.nd.ones((2, 3)), "aux:b": mx.nd.ones((1,))})
    data = whole.read_bytes()
    for length in range(len(data)):
        cut.write_bytes(data[:length])
        with pytest.raises(ValueError):
            onnx_params.read(cut)
    cut.write_bytes(data + b"more")
    with pytest.raises(ValueError):
        onnx_params.read(cut)


def test_a_file_that_promises_more_than_there_is_takes_no_memory(tmp_path):
    file = tmp_path / "a.params"
    shape = struct.pack("<IiIqq", 0xF993FAC9, 0, 2, 2**40, 2**40)
    file.write_bytes(struct.pack("<QQQ", 0x112, 0, 1) + shape + struct.pack("<iii", 1, 0, 0))
    with pytest.raises(ValueError):
        onnx_params.read(file)


# ---------------------------------------------------------------- MXNet's operators

x = mx.sym.var("data")
w = mx.sym.var("w")
SQUARE = {"kernel": (3, 3), "pad": (1, 1)}


def halves(symbol):
    return mx.sym.split(symbol, 2, axis=1)


def attended(symbol):
    """Products of matrices, of shapes taken from others, as in CBAM."""
    flat = mx.sym.reshape(symbol, (0, 0, -1))
    weights = mx.sym.expand_dims(mx.sym.reshape(mx.sym.mean(symbol, axis=(2, 3)), (0, -1)), 2)
    mean = mx.sym.batch_dot(weights, flat, transpose_a=True)
    outer = mx.sym.batch_dot(weights, mx.sym.ones_like(mean)) + 0 * flat
    return symbol * mx.sym.reshape_like(outer, symbol)


def warped(symbol):
    return mx.sym.FullyConnected(symbol, num_hidden=6, name="where")


def by_grid(symbol):
    how = {"transform_type": "affine", "target_shape": (5, 7)}
    return mx.sym.BilinearSampler(symbol, mx.sym.GridGenerator(warped(symbol), **how))


OPERATORS = {
    "convolution": mx.sym.Convolution(x, num_filter=6, **SQUARE),
    "groups, strides, dilation": mx.sym.Convolution(
        x, num_filter=8, kernel=(3, 3), stride=(2, 1), dilate=(1, 2), num_group=4, no_bias=True
    ),
    "deconvolution": mx.sym.Deconvolution(
        x, num_filter=4, kernel=(3, 3), stride=(2, 2), pad=(1, 1), adj=(1, 1), num_group=2
    ),
    "batch norm": mx.sym.BatchNorm(x, fix_gamma=False, eps=1e-3),
    "batch norm without scale": mx.sym.BatchNorm(x),
    "max pooling": mx.sym.Pooling(x, kernel=(3, 3), stride=(2, 2), pool_type="max", pad=(1, 1)),
    "max pooling, full": mx.sym.Pooling(
        x, kernel=(3, 3), stride=(2, 2), pool_type="max", pooling_convention="full"
    ),
    "mean pooling": mx.sym.Pooling(x, kernel=(2, 2), stride=(2, 2), pool_type="avg"),
    "mean pooling, padded": mx.sym.Pooling(x, kernel=(3, 3), pool_type="avg", pad=(1, 1)),
    "mean pooling, what is there": mx.sym.Pooling(
        x, kernel=(3, 3), pool_type="avg", pad=(1, 1), count_include_pad=False
    ),
    "largest of all": mx.sym.Pooling(x, kernel=(1, 1), global_pool=True, pool_type="max"),
    "mean of all": mx.sym.Pooling(x, kernel=(1, 1), global_pool=True, pool_type="avg"),
    "doubled": mx.sym.UpSampling(x, scale=2, sample_type="nearest"),
    **{one: mx.sym.Activation(x, act_type=one) for one in ("relu", "sigmoid", "tanh", "softrelu")},
    **{one: mx.sym.LeakyReLU(x, act_type=one, slope=0.3) for one in ("leaky", "elu")},
    "a slope a channel": mx.sym.LeakyReLU(x, act_type="prelu"),
    "clipped": mx.sym.clip(x, -0.5, 1.25),
    "softmax over channels": mx.sym.softmax(x, axis=1),
    "softmax over the last axis": mx.sym.softmax(x),
    "dropout": mx.sym.Dropout(x, p=0.5),
    "numbers before and behind": 2 - (1.5 / (mx.sym.exp(x) + 3)) * 2 - 0.25,
    "powers, roots": mx.sym.sqrt(mx.sym.abs(x)) + x**3 + mx.sym.log(mx.sym.abs(x) + 2),
    "sums, products": (x + x * x - x) / (x * x + 1) + mx.sym.add_n(x, x, x),
    "broadcast": mx.sym.broadcast_mul(x, mx.sym.mean(x, axis=1, keepdims=True)),
    "mean over an axis": mx.sym.mean(x, axis=1),
    "largest over axes": mx.sym.max(x, axis=(2, 3), keepdims=True),
    "smallest": mx.sym.min(x, axis=2) + mx.sym.broadcast_minimum(x, -x).mean(axis=2),
    "largest of two": mx.sym.maximum(*halves(x)) - mx.sym.minimum(*halves(x)),
    "largest with a number": mx.sym.maximum(x, 0.2) + mx.sym.minimum(x, 0.1),
    "joined": mx.sym.concat(x, 2 * x, dim=1),
    "turned": mx.sym.transpose(x, (0, 2, 3, 1)),
    "attended": attended(x),
    "warped": mx.sym.SpatialTransformer(
        x, warped(x), target_shape=(5, 7), transform_type="affine", sampler_type="bilinear"
    ),
    "by a grid": by_grid(x),
}


def stored(symbol, prefix: Path, shape: tuple[int, ...] = (4, 6, 6)) -> dict:
    """A graph with random numbers as a net of three classes; its arrays."""
    symbol = mx.sym.FullyConnected(mx.sym.Flatten(symbol), num_hidden=3, name="last")
    rng = np.random.default_rng(0)
    arguments, _, auxiliary = symbol.infer_shape(data=(2, *shape))
    shapes = dict(zip(symbol.list_arguments(), arguments, strict=True))
    del shapes["data"]
    arrays = {f"arg:{name}": rng.uniform(-0.6, 0.6, form) for name, form in shapes.items()}
    for name, form in zip(symbol.list_auxiliary_states(), auxiliary, strict=True):
        low, high = (0.5, 2) if name.endswith("var") else (-1, 1)
        arrays[f"aux:{name}"] = rng.uniform(low, high, form)
    arrays = {name: mx.nd.array(value) for name, value in arrays.items()}
    files = weight_files(prefix)
    files[0].write_text(symbol.tojson())
    mx.nd.save(str(files[1]), arrays)
    Info(input_size=shape[1], classes=("a", "b", "c")).write(files[2])
    return arrays


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_gives_what_mxnets_gives(name, tmp_path):
    prefix = tmp_path / "net"
    arrays = stored(OPERATORS[name], prefix)
    model, _ = onnx_graph.model(prefix)
    run = Model(unchecked(model))
    with warnings.catch_warnings():  # of types that the first batch decides
        warnings.simplefilter("ignore")
        block = mx.gluon.SymbolBlock(mx.sym.load(str(weight_files(prefix)[0])), mx.sym.var("data"))
    for key, value in arrays.items():
        parameter = block.collect_params()[key[4:]]
        parameter.shape = value.shape
        parameter.initialize()
        parameter.set_data(value)
    for count in (1, 3):
        batch = np.random.default_rng(count).normal(0, 1, (count, 4, 6, 6)).astype(np.float32)
        wanted = block(mx.nd.array(batch)).asnumpy()
        np.testing.assert_allclose(run(data=batch)[0], wanted, atol=1e-5 * np.abs(wanted).max())


def unchecked(model) -> bytes:
    """Four channels, which no picture has."""
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 4
    return model.SerializeToString()


UNKNOWN = {
    "_random_uniform_like": mx.sym.random.uniform_like(x),
    "LRN": mx.sym.LRN(x, nsize=3),
    "Pooling with pool_type=sum": mx.sym.Pooling(x, kernel=(2, 2), pool_type="sum"),
    "Reshape with shape=": mx.sym.reshape(x, (0, -3, -2)),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_operator_without_counterpart_is_named(name, tmp_path):
    stored(UNKNOWN[name], tmp_path / "net")
    with pytest.raises(FerlibError, match=name) as told:
        onnx_graph.model(tmp_path / "net")
    assert told.value.code == "unsupported_operator" and "\n" not in str(told.value)


# ---------------------------------------------------------------- every network

EACH = [
    pytest.param(name, marks=[pytest.mark.slow] * (name not in ("vgg-tiny", "roll")))
    for name in nets.names()
]


def used(name: str):
    """A net as trainings leave one: BatchNorm has statistics, and a warp moves."""
    net, rng = nets.create(name, seed=3), np.random.default_rng(0)
    for key, parameter in net.collect_params().items():
        value = parameter.data().asnumpy()
        if key.endswith(("gamma", "running_var")):
            value = rng.uniform(0.5, 1.0, value.shape)
        elif key.endswith(("beta", "running_mean", "bias")):
            value = value + rng.uniform(-0.2, 0.2, value.shape)
        elif not value.any():
            value = rng.normal(0, 0.02, value.shape)
        parameter.set_data(mx.nd.array(value))
    return net


@pytest.mark.parametrize("name", EACH)
def test_every_network_gives_mxnets_logits_at_any_batch_size(name, tmp_path):
    net, info = used(name), Info.of(nets.find(name))
    nets.save(net, tmp_path / "net", info)
    found, known = onnx_net.load(tmp_path / "net")
    assert known == info
    for count in (1, 3, 7):
        shape = (count, info.channels, info.input_size, info.input_size)
        batch = np.random.default_rng(count).normal(size=shape).astype(np.float32)
        wanted = net(mx.nd.array(batch)).asnumpy()
        assert wanted.std() > 0
        near = NEAR * max(1, np.abs(wanted).max())
        np.testing.assert_allclose(found.logits(batch), wanted, atol=near)


# ---------------------------------------------------------------- from pixels to probabilities


def odd(size: int, channels: int) -> np.ndarray:
    """Noise, a flat picture, one that is flat but for a pixel, a plane, black and white halves."""
    crops = np.random.default_rng(0).integers(0, 256, (6, size, size), dtype=np.uint8)
    crops[1] = 77
    crops[2], crops[2, 0, 0] = 100, 101
    crops[3] = np.arange(size) * 2 + np.arange(size)[:, None]
    crops[4], crops[4, : size // 2] = 255, 0
    return crops if channels == 1 else np.stack([crops, crops[::-1], crops], axis=-1)


SHARES = tuple(np.linspace(1, 2, 8) / np.linspace(1, 2, 8).sum())
CHANGED = {"bias": tuple(np.linspace(-1, 1, 8)), "temperature": 0.7, "shares": SHARES}


@pytest.mark.parametrize("prior", [None, "uniform", "happiness=3,neutral=1"])
@pytest.mark.parametrize("kind", ["standardise", "equalise", "RGB"])
def test_a_whole_graph_prepares_and_tempers_as_ferlib_does(kind, prior, tmp_path):
    channels = 3 if kind == "RGB" else 1
    declared = nets.find("vgg-tiny", channels=channels)
    normalise = "standardise" if kind == "RGB" else kind
    info = replace(Info.of(declared, normalise=normalise), **CHANGED)
    nets.save(nets.create(declared, seed=1), tmp_path / "net", info)
    model, known = onnx_graph.model(tmp_path / "net", prior)
    run = Model(onnx_whole.whole(model, known).SerializeToString())
    crops = odd(48, channels)
    net, _ = nets.load(tmp_path / "net")
    wanted = nets.predict(net, crops, known)
    assert (wanted[:, 2] == 0).all() == (prior not in (None, "uniform"))
    np.testing.assert_allclose(run(crops=crops)[0], wanted, atol=NEAR)
    np.testing.assert_allclose(run(crops=crops[:1])[0], wanted[:1], atol=NEAR)


# ---------------------------------------------------------------- files


def test_a_file_holds_what_travels_with_the_weights(tiny, tmp_path):
    done = export.export(tiny, tmp_path / "a.onnx")
    assert done.apart <= NEAR and done.size == (tmp_path / "a.onnx").stat().st_size
    net, info = onnx_net.load(tmp_path / "a.onnx")
    loaded, wanted = nets.load(tiny)
    assert info == wanted == done.info and info.temperature == 1.25
    crops = odd(48, 1)
    given = nets.predict(net, crops, info)
    np.testing.assert_allclose(given, nets.predict(loaded, crops, wanted), atol=NEAR)
    model = onnx.load(tmp_path / "a.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [one.version for one in model.opset_import] == [17] and model.ir_version == 8
    assert [one.name for one in model.graph.input] == ["data"]  # no weights among them


def test_the_same_net_gives_the_same_bytes(tiny, tmp_path):
    files = [export.export(tiny, tmp_path / f"{name}.onnx", whole=True).file for name in "ab"]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_recognizer_reads_a_file_as_the_net(tiny, tmp_path):
    export.export(tiny, tmp_path / "tiny.onnx")
    one, other = Recognizer(tmp_path / "tiny.onnx"), Recognizer(tiny, precision="float32")
    assert (one.engine, one.name, one.precisions) == ("onnx", "tiny", ["float32"])
    assert (other.engine, other.name) == ("mxnet", "tiny")
    (mine,), (theirs,) = one(astronaut()), other(astronaut())
    assert (mine.box, mine.landmarks, mine.roll) == (theirs.box, theirs.landmarks, theirs.roll)
    for name, score in theirs.scores.items():
        assert mine.scores[name] == pytest.approx(score, abs=1e-3)
    both = Recognizer([tiny, tmp_path / "tiny.onnx"], flip=True, engine="onnx")
    wanted = Recognizer(tiny, flip=True, precision="float32").classify(odd(48, 1))
    assert both.name == "tiny+tiny"
    np.testing.assert_allclose(both.classify(odd(48, 1)), wanted, atol=NEAR)


def test_a_net_beside_the_file_turns_faces_upright(tiny, tmp_path):
    export.export(tiny, tmp_path / "tiny.onnx")
    export.export("roll", tmp_path / "roll.onnx")
    tilted = Image.fromarray(astronaut()).rotate(-30)
    fer, other = Recognizer(tmp_path / "tiny.onnx"), Recognizer(tiny)
    (mine,), (theirs,) = fer(tilted), other(tilted)
    assert mine.roll == theirs.roll and 20 < mine.roll < 40
    (tmp_path / "roll.onnx").write_text("no graph")
    with pytest.raises(FerlibError, match=r"roll\.onnx is no ONNX file"):
        Recognizer(tmp_path / "tiny.onnx")(tilted)


# ---------------------------------------------------------------- eight bits


@pytest.mark.slow
def test_eight_bits_change_few_answers_and_quarter_the_size(learnt, drawn_splits, tmp_path):
    pytest.importorskip("ml_dtypes")
    (prefix, _), (learn, held_out) = learnt, drawn_splits
    full = export.export(prefix, tmp_path / "full.onnx")
    pictures = learn.array(48)[:128]
    done = export.export(prefix, tmp_path / "int8.onnx", pictures=pictures)
    whole = export.export(prefix, tmp_path / "whole.onnx", whole=True, pictures=pictures)
    assert done.size < 0.45 * full.size  # the names of a small net's nodes weigh as well
    fer = Recognizer(done.file, precision="int8")
    assert fer.precisions == ["int8"]
    crops = held_out.array(48)
    rounded, exact = fer.classify(crops), Recognizer(full.file).classify(crops)
    assert (rounded.argmax(1) == exact.argmax(1)).mean() > 0.95 and (rounded != exact).any()
    told = export.reader(whole.file, whole.info, whole=True)(crops)
    assert np.abs(told - rounded).mean() < 0.01
    model = onnx.load(done.file)
    assert {one.domain for one in model.opset_import} == {""}
    made = {name: node.op_type for node in model.graph.node for name in node.output}
    layers = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
    kinds = [made.get(node.input[1], "float32") for node in layers]
    assert kinds == ["float32", *["DequantizeLinear"] * 3, "float32"]  # the ends stay as they are


def test_eight_bits_need_pictures(tiny):
    model, info = onnx_graph.model(tiny)
    with pytest.raises(FerlibError, match="no pictures"):
        onnx_int8.quantised(model, info, np.zeros((0, 48, 48), np.uint8))


# ---------------------------------------------------------------- what is wrong with files


def others(path: Path) -> None:
    """A sound graph that another program might have written."""
    value = helper.make_tensor_value_info
    ends = value("data", TensorProto.FLOAT, ["N", 8]), value("y", TensorProto.FLOAT, ["N", 8])
    graph = helper.make_graph(
        [helper.make_node("Relu", ["data"], ["y"])], "g", *map(list, zip(ends))
    )
    how = {"opset_imports": [helper.make_opsetid("", 17)], "ir_version": 8}
    path.write_bytes(helper.make_model(graph, **how).SerializeToString())


def wrong_files(tiny, folder: Path) -> dict[str, str]:
    """Name of a file -> what is to be told of it."""
    code = export.export(tiny, folder / "sound.onnx").file.read_bytes()
    (folder / "cut.onnx").write_bytes(code[: len(code) // 2])
    (folder / "short.onnx").write_bytes(code[:5])
    (folder / "empty.onnx").write_bytes(b"")
    (folder / "text.onnx").write_text("no graph")
    others(folder / "other.onnx")
    export.export(tiny, folder / "whole.onnx", whole=True)
    told = {"cut": "damaged or cut short", "short": "damaged or cut short"}
    told |= {"empty": "no ONNX file", "text": "no ONNX file", "none": "is missing"}
    return told | {"other": "another program's graph", "whole": "without --whole"}


@pytest.mark.parametrize("name", ["notes.txt", "tiny.json", "tiny"])
def test_only_files_of_its_own_kind_are_written(tiny, tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(FerlibError, match=r"expected a file's name that ends in \.onnx"):
        export.export(tiny, tmp_path / name)
    assert (tmp_path / name).read_text() == "mine"


def test_a_wrong_file_is_told_in_a_sentence(tiny, tmp_path):
    for name, what in wrong_files(tiny, tmp_path).items():
        with pytest.raises(FerlibError, match=what) as told:
            Recognizer(tmp_path / f"{name}.onnx")
        assert f"{name}.onnx" in str(told.value) and len(str(told.value).splitlines()) <= 2
        assert told.value.code in ("weights_invalid", "weights_missing")


def test_a_file_is_not_for_mxnet_nor_in_another_precision(tiny, tmp_path):
    export.export(tiny, tmp_path / "a.onnx")
    with pytest.raises(FerlibError, match=r"a\.onnx is not for MXNet"):
        Recognizer(tmp_path / "a.onnx", engine="mxnet")
    with pytest.raises(FerlibError, match=r"answers in float32.*not in int8"):
        Recognizer(tiny, engine="onnx", precision="int8")
    with pytest.raises(FerlibError, match="engine 'tensorflow'"):
        Recognizer(tiny, engine="tensorflow")


@pytest.mark.parametrize("change", ["symbol", "nested", "params", "cut"])
def test_damaged_files_of_a_net_are_named(copied, change):
    symbol, params, _ = weight_files(copied)
    if change == "symbol":
        symbol.write_text(symbol.read_text()[:-20])
    if change == "nested":
        graph = json.loads(symbol.read_text())
        first = next(node for node in graph["nodes"] if node["op"] == "Convolution")
        first["attrs"]["kernel"] = "-" * 10**5 + "1"
        symbol.write_text(json.dumps(graph))
    if change == "params":
        nets.save(nets.create("roll"), copied.with_name("other"), Info.of(nets.find("roll")))
        shutil.copy(weight_files(copied.with_name("other"))[1], params)
    if change == "cut":
        params.write_bytes(params.read_bytes()[:-9])
    with pytest.raises(FerlibError, match=r"tiny-0000\.params.*tiny-symbol\.json"):
        Recognizer(copied, engine="onnx")


def test_settings_of_another_net_are_named(copied):
    info = weight_files(copied)[2]
    info.write_text(json.dumps(json.loads(info.read_text()) | {"classes": ["a", "b"]}))
    with pytest.raises(FerlibError, match="other settings"):
        Recognizer(copied, engine="onnx")


def test_a_full_disk_leaves_nothing(tiny, tmp_path):
    with no_file_larger_than(50_000), pytest.raises(FerlibError, match="cannot write"):
        export.export(tiny, tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


def test_answers_that_are_not_mxnets_are_not_written(tiny, tmp_path, monkeypatch):
    """As if an operator were converted wrongly: here the bias of a class is forgotten."""
    arrays = onnx_params.read(weight_files(tiny)[1])
    last = list(arrays)[-1]
    monkeypatch.setattr(
        onnx_params, "read", lambda _: arrays | {last: arrays[last] + np.eye(8, dtype="f4")[0]}
    )
    with pytest.raises(FerlibError, match="otherwise in ONNX"):
        export.export(tiny, tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- the command


def test_the_command_writes_a_file_and_tells_of_it(tiny, tmp_path):
    done = ferlib("export", "--onnx", tmp_path / "a.onnx", "--weights", tiny, "--whole", "--json")
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["apart"] <= NEAR and told["bytes"] == (tmp_path / "a.onnx").stat().st_size
    run = export.reader(told["file"], nets.load(tiny)[1], whole=True)
    assert run(odd(48, 1)).shape == (6, 8)


def test_the_command_refuses_what_does_not_go_together(tiny, tmp_path):
    for words in (
        ["--detector", "--int8"], ["--hub", "a", "--whole"], ["--onnx", "a", "--wheel", "b"],
        ["--onnx", "a", "--sample"], ["--onnx", "a", "--hub", "b"], [],
    ):  # fmt: skip
        mistake(ferlib("export", *words), status=2)
    assert "is missing" in mistake(ferlib("export", "--onnx", "a.onnx", "--weights", "runs/none"))


def test_predict_takes_the_engine_and_the_file(tiny, tmp_path):
    photo = tmp_path / "a.png"
    Image.fromarray(astronaut()).save(photo)
    export.export(tiny, tmp_path / "tiny.onnx")
    lines = [
        ferlib("predict", photo, "--weights", *words).stdout
        for words in ([tiny, "--precision", "float32"], [tiny, "--engine", "onnx"])
    ]
    lines.append(ferlib("predict", photo, "--weights", tmp_path / "tiny.onnx").stdout)
    assert lines[0] and lines[0] == lines[1] == lines[2]


def test_a_file_is_measured_as_its_net_and_other_commands_say_what_they_take(tiny, tmp_path):
    (tmp_path / "set" / "happy").mkdir(parents=True)
    Image.fromarray(astronaut()).save(photo := tmp_path / "set" / "happy" / "a.png")
    export.export(tiny, file := tmp_path / "tiny.onnx")
    how = ["evaluate", "--folder", tmp_path / "set", "--emotions", "anger,happiness", "--json"]
    found = [
        json.loads(ferlib(*how, "--weights", weights, *more).stdout.splitlines()[-1])
        for weights, *more in ([file], [tiny, "--precision", "float32"])
    ]
    assert found[0]["n"] == 1 and found[0]["accuracy"] == found[1]["accuracy"]
    for command in (["quantize"], ["pack", "--out", tmp_path / "a.mar", "--weights"]):
        assert "is a file for onnxruntime" in mistake(ferlib(*command, file))
    _explained_by_hiding_alone(photo, tmp_path / "maps", file)


def _explained_by_hiding_alone(photo, out, file) -> None:
    how = ["explain", photo, "--out", out, "--weights", file]
    assert "--occlusion" in mistake(ferlib(*how))
    assert ferlib(*how, "--occlusion").returncode == 0
    assert list(out.glob("*.png"))


def test_a_file_in_eight_bits_is_explained_by_hiding(tiny, tmp_path):
    pytest.importorskip("ml_dtypes")
    Image.fromarray(astronaut()).save(photo := tmp_path / "a.png")
    pictures = np.random.default_rng(0).integers(0, 256, (64, 48, 48), np.uint8)
    export.export(tiny, file := tmp_path / "int8.onnx", pictures=pictures)
    _explained_by_hiding_alone(photo, tmp_path / "maps", file)


# ---------------------------------------------------------------- real faces


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ferplus", "ferplus-small"])
def test_real_validation_faces_are_read_as_by_mxnet(name, tmp_path):
    if "FERLIB_DATA" not in os.environ:
        pytest.skip("needs FER2013: set FERLIB_DATA")
    from ferlib.data import fer2013

    valid = fer2013.load().split("valid")
    rows = np.linspace(0, len(valid) - 1, 200).astype(int)
    crops = valid.array(48)[rows]
    net, info = nets.load(find_weights(name))
    wanted = nets.predict(net, crops, info)
    batch = prepare(crops, info.input_size, info.normalise)
    logits = onnx_net.load(find_weights(name))[0].logits(batch)
    np.testing.assert_allclose(logits, net(mx.nd.array(batch)).asnumpy(), atol=NEAR)
    whole = export.export(name, tmp_path / "whole.onnx", whole=True)
    given = export.reader(whole.file, info, whole=True)(crops)
    np.testing.assert_allclose(given, wanted, atol=NEAR)
