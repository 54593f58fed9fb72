"""A start from ImageNet's weights: made-up ones, laid where gluoncv looks for its own."""

import hashlib

import numpy as np
import pytest
from command import ferlib, mistake
from PIL import ImageFile

from ferlib import nets, runtime, training
from ferlib.cli import recipes
from ferlib.data.dataset import Dataset
from ferlib.errors import FerlibError
from ferlib.nets import imagenet
from ferlib.nets.zoo.borrowed import gluoncv
from ferlib.training.loop import Run

mx = runtime.import_mxnet()
store = gluoncv("model_store")


@pytest.fixture(autouse=True)
def no_other_place(monkeypatch):
    monkeypatch.delenv("MXNET_HOME", raising=False)


def test_cut_pictures_stay_mistakes():
    """gluoncv tells Pillow to take them for whole ones."""
    gluoncv()
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def made_up(name: str, root, monkeypatch):
    """gluoncv's model with random parameters, whose file lies in `root` under the right name."""
    zoo, rng = gluoncv(), np.random.default_rng(0)
    only = {"pretrained_base": False} if name == "googlenet" else {}
    model = zoo.get_model(name, pretrained=False, **only)
    model.initialize()
    model(mx.nd.zeros((1, 3, 224, 224))).wait_to_read()
    for key, value in model.collect_params().items():
        low, high = (0.5, 2) if key.endswith(("gamma", "var")) else (-0.1, 0.1)
        value.set_data(mx.nd.array(rng.uniform(low, high, value.shape)))
    model.save_parameters(str(root / "made.params"))
    digest = hashlib.sha1((root / "made.params").read_bytes()).hexdigest()
    monkeypatch.setitem(store._model_sha1, name, digest)
    (root / "made.params").rename(root / f"{name}-{digest[:8]}.params")
    return model


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "densenet121", "googlenet", "mobilenetv2"])
def test_its_blocks_answer_as_gluoncvs(name, tmp_path, monkeypatch):
    model = made_up(imagenet.MODELS[name], tmp_path, monkeypatch)
    declared = nets.find(name, channels=3, classes=5)
    net = nets.create(declared, seed=1)
    before = {key: p.data().asnumpy() for key, p in net.collect_params().items()}
    taken = imagenet.take_over(net, declared, tmp_path)
    after = {key: p.data().asnumpy() for key, p in net.collect_params().items()}
    kept = [key for key in before if np.array_equal(before[key], after[key])]
    # the convolution and BatchNorm that see the picture, and the dense layer
    assert kept == [*list(before)[:5], *list(before)[-2:]] and taken == len(before) - len(kept)
    ours = list(net)[3:-4]  # after stem's three layers, before the head's four
    theirs = list(model._children.values())[1:] if name == "googlenet" else model.features[3:]
    x = y = mx.nd.random.uniform(shape=(2, 32 if name == "mobilenetv2" else 64, 24, 24))
    for mine, its in zip(ours, theirs, strict=False):
        x, y = mine(x), its(y)
    np.testing.assert_allclose(x.asnumpy(), y.asnumpy(), rtol=1e-4, atol=1e-5)
    assert x.asnumpy().std() > 0 and net(mx.nd.zeros((1, 3, 48, 48))).shape == (1, 5)


@pytest.mark.parametrize("name", ["resnet34", "vgg19", "resnet50cbam"])
def test_names_of_all_blocks_are_gluoncvs(name):
    model = gluoncv().get_model(imagenet.MODELS[name], pretrained=False)
    known = {key.removeprefix(model.prefix) for key in model.collect_params()}
    net = nets.create(nets.find(name, channels=3))
    mine = [key.removeprefix(net.prefix).partition("_")[2] for key in net.collect_params()]
    own = {"weight", "bias", "gamma", "beta", "running_mean", "running_var"}  # stem and head
    assert {key for key in mine if key not in known and "attention" not in key} == own


def test_without_a_network_it_is_one_plain_line(tmp_path, monkeypatch):
    monkeypatch.setenv("MXNET_GLUON_REPO", "http://127.0.0.1:9/")
    declared = nets.find("resnet18", channels=3)
    with pytest.raises(FerlibError, match="cannot fetch ImageNet's weights") as told:
        imagenet.take_over(nets.create(declared), declared, tmp_path)
    said = str(told.value)
    assert len(said.splitlines()) == 2 and "resnet18_v1-a0666292.params" in said
    assert not list(tmp_path.glob("*.params"))


@pytest.mark.parametrize(
    "name, channels, says",
    [("vgg13lean", 3, "no ImageNet weights for vgg13lean"), ("resnet18", 1, "RGB pictures")],
)
def test_what_has_no_such_weights_is_told(name, channels, says):
    with pytest.raises(FerlibError, match=says):
        imagenet.check(nets.find(name, channels=channels))


def test_a_missing_gluoncv_is_told(monkeypatch):
    monkeypatch.setattr("ferlib.errors.find_spec", lambda name: None)
    with pytest.raises(FerlibError, match="needs the package gluoncv"):
        imagenet.check(nets.find("resnet18", channels=3))


@pytest.mark.slow
def test_a_training_starts_from_them(tmp_path, monkeypatch):
    model = made_up("resnet18_v1", tmp_path, monkeypatch)
    monkeypatch.setattr(imagenet.take_over, "__defaults__", (tmp_path,))
    recipe = training.Recipe(net="resnet18", channels=3, start="imagenet", batch_size=8)
    run = Run(recipe, [mx.cpu()], Dataset(np.zeros((8, 48, 48), np.uint8), np.arange(8) % 8))
    theirs = model.features[5][0].body[0].weight.data().asnumpy()
    np.testing.assert_array_equal(run.net[5][0].body[0].weight.data().asnumpy(), theirs)


def test_the_command_line_knows_them_and_refuses_what_cannot_be(tmp_path):
    how = ["--net", "resnet18", "--start", "imagenet", "--sample", "--out", tmp_path / "net"]
    assert "add --rgb" in mistake(ferlib("train", *how))
    assert "have to learn" in mistake(ferlib("train", *how, "--rgb", "--freeze", "features"))
    assert recipes.IMAGENET == imagenet.START and not list(tmp_path.iterdir())
