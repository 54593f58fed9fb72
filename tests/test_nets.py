"""The networks and their three files."""

import json
import shutil
from itertools import pairwise

import numpy as np
import pytest

from ferlib import models
from ferlib.errors import FerlibError

mx = models.mx
INFO = {"network": "vgg-tiny", "input_size": 48, "normalise": "standardise", "temperature": 1.3}


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    prefix = tmp_path_factory.mktemp("weights") / "tiny"
    models.save_weights(models.create("vgg-tiny", seed=1), prefix, INFO)
    return prefix


@pytest.fixture
def copied(stored, tmp_path):
    for path in models.weight_files(stored):
        shutil.copy(path, tmp_path)
    return tmp_path / "tiny"


def test_vgg13_has_the_papers_layers():
    net = models.create("vgg13")
    shapes = [p.shape for name, p in net.collect_params().items() if name.endswith("weight")]
    channels = (1, 64, 64, 128, 128, 256, 256, 256, 256, 256, 256)
    convolutions = [(o, i, 3, 3) for i, o in pairwise(channels)]
    # Four poolings leave 4 x 4 of 64 x 64; then 1024, 1024 and the eight emotions.
    assert shapes == [*convolutions, (1024, 256 * 16), (1024, 1024), (8, 1024)]
    by_hand = sum(int(np.prod(s)) + s[0] for s in shapes)
    assert models.parameters(net) == by_hand == 8_757_704


@pytest.mark.parametrize("name", models.SPECS)
def test_every_net_gives_eight_logits_and_repeats_with_its_seed(name):
    size = models.spec(name).size
    x = mx.nd.random.normal(shape=(3, 1, size, size))
    first, again, other = (models.create(name, seed=s)(x).asnumpy() for s in (4, 4, 5))
    assert first.shape == (3, 8) and np.isfinite(first).all()
    assert (first == again).all() and (first != other).any()


def test_stored_net_gives_the_same_answers_and_the_same_bytes(stored, tmp_path):
    net = models.create("vgg-tiny", seed=1)
    loaded, info = models.load_weights(stored)
    crops = np.random.default_rng(0).integers(0, 256, (5, 48, 48), dtype=np.uint8)
    assert models.parameters(loaded) == models.parameters(net)
    np.testing.assert_allclose(
        models.predict(loaded, crops, info), models.predict(net, crops, INFO), atol=1e-6
    )
    models.save_weights(net, tmp_path / "tiny", INFO)
    for mine, theirs in zip(
        models.weight_files(tmp_path / "tiny"), models.weight_files(stored), strict=True
    ):
        assert mine.read_bytes() == theirs.read_bytes()
    assert len(list(tmp_path.iterdir())) == 3


def test_predict_is_a_softmax_with_temperature_and_flip_averages(stored):
    net, info = models.load_weights(stored)
    crops = np.random.default_rng(0).integers(0, 256, (70, 48, 48), dtype=np.uint8)
    scores = models.predict(net, crops, info)
    logits = net(mx.nd.array(models.prepare(crops, 48, "standardise"))).asnumpy() / 1.3
    wanted = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(scores, wanted, atol=1e-5)
    flipped = models.predict(net, crops[:, :, ::-1], info)
    both = models.predict(net, crops, info, flip=True)
    np.testing.assert_allclose(both, (scores + flipped) / 2, atol=1e-5)
    assert models.predict(net, crops[:0], info).shape == (0, 8)
    bias = np.linspace(-1, 1, 8)
    favoured = np.exp(logits + bias / 1.3)
    favoured /= favoured.sum(axis=1, keepdims=True)
    biased = models.predict(net, crops, info | {"bias": list(bias)})
    np.testing.assert_allclose(biased, favoured, atol=1e-5)


def test_a_missing_file_is_named(copied):
    for path in models.weight_files(copied):
        hidden = path.rename(path.with_name("hidden"))
        with pytest.raises(FerlibError, match=path.name):
            models.load_weights(copied)
        hidden.rename(path)


@pytest.mark.parametrize(
    "change",
    [
        {"input_size": 64},
        {"network": "vgg13bn"},
        {"input_size": "48"},
        {"normalise": "whiten"},
        {"emotions": ["happy", "sad"]},
        {"temperature": "warm"},
        {"temperature": 0},
        {"bias": [0.5]},
        {"shares": [0.5, 0.5]},
        {"bias": [float("nan")] * 8},
        {"emotions": 5},
        {"network": ["vgg-tiny"]},
    ],
)
def test_a_json_of_another_net_is_refused(copied, change):
    path = models.weight_files(copied)[2]
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(FerlibError, match=path.name):
        models.load_weights(copied)


def test_parameters_of_another_net_are_refused(copied):
    other = copied.parent / "other"
    models.save_weights(models.create("vgg13bn", seed=0), other, INFO)
    shutil.copy(models.weight_files(other)[1], models.weight_files(copied)[1])
    with pytest.raises(FerlibError, match="do not hold the same net"):
        models.load_weights(copied)


@pytest.mark.parametrize("content", [b"", b"not parameters", None])
def test_damaged_parameters_are_refused(copied, content):
    path = models.weight_files(copied)[1]
    path.write_bytes(path.read_bytes()[:5000] if content is None else content)
    with pytest.raises(FerlibError, match="do not hold the same net"):
        models.load_weights(copied)


def test_an_unknown_net_lists_those_there_are():
    with pytest.raises(FerlibError, match="vgg13bn"):
        models.create("resnet50")


def test_a_failed_write_leaves_nothing(tmp_path, tmpfs):
    net = models.create("vgg-tiny", seed=1)
    with pytest.raises(FerlibError, match="disk full"):
        models.save_weights(net, tmpfs / "tiny", INFO)
    with pytest.raises(TypeError):  # no JSON for a set
        models.save_weights(net, tmp_path / "tiny", {"input_size": {1, 2}})
    assert not list(tmp_path.iterdir()) and not list(tmpfs.iterdir())
