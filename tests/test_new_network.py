"""A network added in one file, tests/residual.py, does all that the others do."""

import importlib.util
import timeit
from pathlib import Path

import numpy as np
import pytest
import requests
from common import free_port
from learning import needs_bfloat16
from PIL import Image

from ferlib import Recognizer, nets, plots, runtime, training
from ferlib.data.augment import NONE
from ferlib.evaluation import evaluate, explain, rounding
from ferlib.nets import graph
from ferlib.serving import archive, server
from ferlib.training import pooling, precision

mx = runtime.import_mxnet()
FILE = Path(__file__).with_name("residual.py")
RECIPE = training.Recipe(net="residual", epochs=4, batch_size=32, lr=0.1, augmentation=NONE)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def registered():
    """As `import residual` in a reader's notebook; gone again after these tests."""
    spec = importlib.util.spec_from_file_location("residual", FILE)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    yield
    del nets.registry._REGISTERED["residual"]


@pytest.fixture(scope="module")
def drawn(drawn_splits):
    return drawn_splits


@pytest.fixture(scope="module")
def prefix(registered, drawn, tmp_path_factory):
    """Trained, stored and quantised: seconds."""
    prefix = tmp_path_factory.mktemp("residual") / "net"
    training.train_to(prefix, *drawn, RECIPE)
    nets.quantize(prefix, drawn[0].pictures)
    return prefix


def test_it_is_known_by_name_with_its_layers():
    net = nets.find("residual", channels=3, classes=5)
    found = graph.layers(nets.create(net), net)
    assert found[0].kernel == (16, 3, 3, 3) and found[-1].shape == (5,)
    assert [layer.shape for layer in found if layer.name in net.features] == [
        (32, 12, 12),
        (64, 6, 6),
    ]
    assert "residual" in nets.names()
    plots.architecture(net).canvas.draw()


def test_it_learns_from_drawn_faces(prefix, drawn):
    report = evaluate(drawn[1], prefix, "crop", precision="float32")
    assert report.accuracy > 0.5  # the commonest emotion is 0.27 of them


def test_a_wide_last_pooling_is_a_mean_in_training_and_the_same_net():
    """Of 6 x 6 places here: oneDNN's way back through it is slow."""
    net, data = nets.create("residual", seed=0), mx.sym.var("data")
    plain = net(data)
    quick = pooling.averaged(plain)
    assert quick is not plain and '"mean"' in quick.tojson()
    assert pooling.averaged(plain, {24}) is plain  # 3 x 3 places
    again = precision.block(quick, net)
    x = mx.nd.random.normal(shape=(4, 1, 48, 48))
    gradients = []
    for one in (net, again):
        with mx.autograd.record():
            loss = (one(x) ** 2).sum()
        loss.backward()
        learnt = [p for p in net.collect_params().values() if p.grad_req != "null"]
        gradients.append([p.grad().asnumpy().copy() for p in learnt])
    for wanted, found in zip(*gradients, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())


def test_the_way_back_through_it_is_quick():
    seconds = {}
    for kind in ("plain", "mean"):
        net = nets.create("residual", seed=0)
        graph_of_it = net(mx.sym.var("data"))
        quick = pooling.averaged(graph_of_it) if kind == "mean" else graph_of_it
        one, x = precision.block(quick, net), mx.nd.zeros((32, 1, 48, 48))
        one.hybridize(static_alloc=True, static_shape=True)
        seconds[kind] = min(timeit.repeat(lambda one=one, x=x: _step(one, x), number=1, repeat=7))
    assert seconds["mean"] < 0.8 * seconds["plain"], seconds


def _step(net, x):
    with mx.autograd.record():
        loss = net(x).sum()
    loss.backward()
    mx.nd.waitall()


@needs_bfloat16
def test_its_graph_in_bfloat16_is_the_same_net(drawn):
    net = nets.create("residual", seed=0)
    x = np.random.default_rng(0).standard_normal((8, 1, 48, 48)).astype(np.float32)
    mx = training.precision.mx
    full, half = (f(mx.nd.array(x)).asnumpy() for f in (net, training.in_bfloat16(net)))
    assert np.abs(full - half).max() < 0.05 * np.abs(full).max() + 0.02


def test_rounded_to_eight_bits_it_answers_alike(prefix, drawn):
    found = rounding.compare(prefix, drawn[1])
    assert found.same > 0.95
    assert nets.store.fastest(prefix) == ("int8" if runtime.fast_int8() else "fused")


def test_maps_are_made_of_the_layers_that_it_declares(prefix, drawn):
    net, info = nets.load(prefix)
    crops = drawn[1].pictures[:4]
    heats = explain.grad_cam(net, crops, info)
    assert heats.shape == (4, 48, 48) and heats.max() == 1
    coarse, fine = (explain.split(net, info, layer)[0] for layer in (-1, -2))
    batch = training.precision.mx.nd.zeros((1, 1, 48, 48))
    assert coarse(batch).shape == (1, 64, 6, 6) and fine(batch).shape == (1, 32, 12, 12)


def test_it_is_packed_and_served(prefix, drawn, tmp_path):
    mar = archive.pack(prefix, tmp_path / "fer.mar")
    face = np.kron(drawn[1].pictures[0], np.ones((4, 4), np.uint8))
    Image.fromarray(face).save(tmp_path / "face.png")
    started = server.start(mar, free_port())
    try:
        picture = (tmp_path / "face.png").read_bytes()
        answer = requests.post(started.address, picture, timeout=30).json()
    finally:
        server.stop(started.port)
    assert answer["model"] == "net"
    said = answer["faces"][0] if answer["faces"] else answer["whole_picture"]
    assert list(said["scores"]) == list(Recognizer(prefix).classes)
