"""Small maps woven into wide ones: the same net, other kernels (ferlib/training/weaving.py)."""

import json

import numpy as np
import pytest

from ferlib import nets, runtime, training
from ferlib.training import graphs, precision, weaving

mx = runtime.import_mxnet()
from mxnet.gluon import nn  # noqa: E402  (after import_mxnet has prepared it)

BATCH = 32


def inputs(graph, size=48, channels=1):
    shape = (weaving.TOGETHER, channels, size, size)
    return dict(zip(graph.list_arguments(), graph.infer_shape(data=shape)[0], strict=True))


def kernels(graph) -> dict[str, str]:
    """How far the columns of each convolution lie apart, by its name."""
    nodes = json.loads(graph.tojson())["nodes"]
    return {
        node["name"]: node["attrs"].get("dilate", "(1, 1)")
        for node in nodes
        if node["op"] == "Convolution"
    }


class Knot(nn.HybridBlock):
    """All that a woven map can meet: ways beside each other, sums, other kernels, its borders."""

    def __init__(self):
        super().__init__()
        with self.name_scope():
            self.wide = nn.Conv2D(8, (3, 5), padding=(1, 2), in_channels=8)
            self.thin = nn.Conv2D(8, 1, in_channels=8)
            self.tall = nn.Conv2D(8, (3, 1), padding=(1, 0), in_channels=8)
            self.norm = nn.BatchNorm(in_channels=24)
            self.valid = nn.Conv2D(8, 3, in_channels=24)
            self.halved = nn.Conv2D(8, 3, strides=2, padding=1, in_channels=8)
            self.grouped = nn.Conv2D(8, 3, padding=1, groups=4, in_channels=8)
            self.drop = nn.Dropout(0.0)

    def hybrid_forward(self, F, x):
        x = x + self.wide(x)
        x = F.concat(x, self.tall(x), self.thin(F.relu(x)), dim=1)
        x = self.drop(self.valid(F.relu(self.norm(x))))
        return x * F.sigmoid(x) + self.grouped(x), F.mean(self.halved(x), axis=(2, 3))


def learnt(net, graph, x, wanted):
    """One step's answers and gradients, with a graph of the net."""
    block = mx.gluon.SymbolBlock(graph, mx.sym.var("data"), params=net.collect_params())
    with mx.autograd.record():
        answers = block(x)
        loss = sum((answer * by).sum() for answer, by in zip(answers, wanted, strict=True))
    loss.backward()
    known = net.collect_params().items()
    slopes = {name: value.grad().asnumpy() for name, value in known if value.grad_req != "null"}
    return [answer.asnumpy() for answer in answers] + list(slopes.values())


def test_woven_maps_give_the_same_answers_and_gradients():
    net = Knot()
    net.initialize(mx.init.Xavier())
    data = mx.sym.var("data")
    graph = mx.sym.Group(list(net(data)))
    woven = weaving.woven(graph, inputs(graph, 8, 8), BATCH)
    apart = {name.rpartition("_conv")[2]: gap for name, gap in kernels(woven).items()}
    assert apart == {
        "0_fwd": "(1, 16)",  # 3 x 5
        "2_fwd": "(1, 1)",  # 3 x 1 and 1 x 1 go along
        "1_fwd": "(1, 1)",
        "3_fwd": "(1, 16)",  # without a border
        "4_fwd": "(1, 1)",  # steps of two, and groups: plain
        "5_fwd": "(1, 1)",
    }
    rng = np.random.default_rng(0)
    x = mx.nd.array(rng.normal(size=(BATCH, 8, 8, 8)))
    wanted = [mx.nd.array(rng.normal(size=(BATCH, *rest))) for rest in ((8, 6, 6), (8,))]
    for was, now in zip(learnt(net, graph, x, wanted), learnt(net, woven, x, wanted), strict=True):
        np.testing.assert_allclose(now, was, rtol=1e-4, atol=1e-4 * max(1, np.abs(was).max()))


def test_pictures_of_several_sizes_go_through_one_woven_graph():
    net, data = nets.create("vgg13small", seed=1), mx.sym.var("data")
    graph = net(data)
    woven = weaving.woven(graph, inputs(graph), BATCH)
    assert set(kernels(woven).values()) == {"(1, 1)", "(1, 16)"}
    again = mx.gluon.SymbolBlock(woven, data, params=net.collect_params())
    for size in (32, 40, 48):
        x = mx.nd.random.normal(shape=(BATCH, 1, size, size))
        wanted = net(x).asnumpy()
        np.testing.assert_allclose(again(x).asnumpy(), wanted, rtol=1e-3, atol=1e-4 * wanted.std())


def test_a_graph_with_nothing_to_weave_stays_as_it_is():
    graph = nets.create("vgg13small", seed=1)(mx.sym.var("data"))
    assert weaving.woven(graph, inputs(graph), 24) is graph  # not by sixteen
    large = nets.create("vgg-tiny", seed=1)(mx.sym.var("data"))
    assert weaving.woven(large, inputs(large, 96), 32) is large


def slopes(net, block, x, wanted) -> np.ndarray:
    mx.random.seed(3)  # the same dropout
    with mx.autograd.record():
        loss = (mx.nd.log_softmax(block(x)) * wanted).sum()
    loss.backward()
    values = net.collect_params().values()
    return np.concatenate([v.grad().asnumpy().ravel() for v in values if v.grad_req != "null"])


@pytest.mark.slow
@pytest.mark.skipif(not runtime.amx(), reason="this CPU has no AMX")
@pytest.mark.parametrize("name", ["vgg13lean", "resnet18", "googlenet", "densenet121"])
def test_a_woven_step_in_bfloat16_is_as_near_to_float32_as_a_plain_one(name):
    net = nets.create(name, seed=1)
    x = mx.nd.random.normal(shape=(BATCH, 1, 48, 48))
    wanted = mx.nd.one_hot(mx.nd.arange(BATCH) % 8, 8)
    blocks = net, training.in_bfloat16(net), training.in_bfloat16(net, batch=BATCH)
    exact, plain, woven = (slopes(net, block, x, wanted) for block in blocks)
    assert not np.array_equal(plain, woven)
    strayed = [np.linalg.norm(one - exact) / np.linalg.norm(exact) for one in (plain, woven)]
    assert strayed[1] < 1.2 * strayed[0] + 0.01


def test_a_training_weaves_where_there_is_amx(monkeypatch):
    recipe = training.Recipe(net="vgg13small", batch_size=BATCH, precision="bfloat16")
    net, seen = nets.create("vgg13small", seed=1), []
    monkeypatch.setattr(weaving, "woven", lambda graph, inputs, batch: seen.append(batch) or graph)
    monkeypatch.setattr(runtime, "can_bfloat16", lambda: True, raising=False)  # nothing is computed
    for there in (False, True):
        monkeypatch.setattr(runtime, "amx", lambda there=there: there)
        graphs.for_training(net, nets.find("vgg13small"), recipe, [mx.cpu()])
    assert seen == [BATCH]
    precision.in_bfloat16(net)  # answers are for as many pictures as there are
    assert seen == [BATCH]
