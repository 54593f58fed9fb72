"""Features, warps and masks are what the net itself computes, and the figures show them."""

from itertools import combinations

import numpy as np
import pytest
from common import tiny_weights

from ferlib import nets, runtime
from ferlib.data import cartoon
from ferlib.data.images import prepare
from ferlib.data.labels import EMOTIONS
from ferlib.errors import FerlibError
from ferlib.evaluation.embedding import embedded
from ferlib.nets.features import features, masks, warps
from ferlib.nets.registry import register
from ferlib.plots import inside

mx = runtime.import_mxnet()
from mxnet.gluon import nn  # noqa: E402

FACES = np.stack([cartoon.draw(name, np.random.default_rng(k)) for k, name in enumerate(EMOTIONS)])


def stored(net, name, tmp_path):
    """A net as it comes back from its files."""
    nets.save(net, tmp_path / "net", nets.Info.of(nets.find(name)))
    return nets.load(tmp_path / "net")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return nets.load(tiny_weights(tmp_path_factory.mktemp("tiny")))


def test_features_lead_to_the_logits(tiny):
    """By the last layer's own weights; in one batch or several, of pictures of any size."""
    net, info = tiny
    many = np.concatenate([FACES] * 9)
    found = features(net, info, many)
    last = net.collect_params(".*dense0_.*")
    weight, bias = (last[f"vgg_tiny_dense0_{part}"].data().asnumpy() for part in ("weight", "bias"))
    assert found.dtype == np.float32 and found.shape == (72, weight.shape[1])
    scores = nets.answer.softmax((found @ weight.T + bias) / info.temperature)
    np.testing.assert_allclose(scores, nets.predict(net, many, info), atol=1e-5)
    np.testing.assert_allclose(features(net, info, list(FACES[:1])), found[:1], atol=1e-5)


def test_what_a_net_does_not_have_is_told(tiny):
    for look, what in ((warps, "spatial transformer"), (masks, "residual mask")):
        with pytest.raises(FerlibError, match=f"vgg-tiny has no {what}"):
            look(*tiny, FACES)
    with pytest.raises(FerlibError, match="no pictures"):
        features(*tiny, FACES[:0])


def test_warps_are_those_by_hand(tmp_path):
    net = nets.create("deep_emotion", seed=1)
    last = net[0].where[-1].collect_params()
    mx.random.seed(0)
    for name, value in last.items():  # turns, shifts and scales of each picture's own
        draw = mx.nd.random.normal(0, 0.3, value.shape)
        value.set_data(value.data() + draw if name.endswith("bias") else draw)
    matrices, warped = warps(*stored(net, "deep_emotion", tmp_path), FACES)
    assert np.ptp(matrices, axis=0).min() > 0.01
    whole = prepare(FACES, 48, "standardise")[:, 0]
    unit = np.array([[2 / 47, 0, -1], [0, 2 / 47, -1], [0, 0, 1]])  # pixels -> from -1 to 1
    for matrix, picture, one in zip(matrices, whole, warped, strict=True):
        pixels = (np.linalg.inv(unit) @ np.vstack([matrix, [0, 0, 1]]) @ unit)[:2]
        down, across = np.mgrid[:48, :48].astype(np.float64)
        x, y = np.einsum("ij,jhw->ihw", pixels, np.stack([across, down, np.ones((48, 48))]))
        np.testing.assert_allclose(one[0], sampled(picture, x, y), atol=1e-4)


def sampled(picture: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Bilinear, with nothing around the picture."""
    wide = np.pad(picture, 1)
    x, y = (np.clip(v + 1, 0, 49 - 1e-6) for v in (x, y))
    left, top = x.astype(int), y.astype(int)
    x, y = x - left, y - top
    upper = (1 - x) * wide[top, left] + x * wide[top, left + 1]
    return (1 - y) * upper + y * ((1 - x) * wide[top + 1, left] + x * wide[top + 1, left + 1])


@pytest.fixture
def masked(own_nets):
    """A net of two masked stages: what `resmasking` has four of."""
    from ferlib.nets.zoo.resmasking import Mask

    @register("masked", size=48, any_size=False)
    def layers(net):
        for channels, depth in ((8, 2), (16, 1)):
            yield nn.Conv2D(channels, 3, 2, 1, in_channels=1 if channels == 8 else 8)
            yield nn.Activation("relu")
            yield Mask(channels, depth)
        yield nn.GlobalAvgPool2D()
        yield nn.Flatten()
        yield nn.Dense(net.classes, in_units=16)

    return nets.create("masked", seed=2)


def test_masks_tell_what_they_add(masked, tmp_path):
    found = masks(*stored(masked, "masked", tmp_path), FACES)
    x = mx.nd.array(prepare(FACES, 48, "standardise"))
    for number, stage in enumerate(found):
        before = masked[3 * number + 1](masked[3 * number](x))
        x = masked[3 * number + 2](before)
        added = x.sum(axis=1).asnumpy() / before.sum(axis=1).asnumpy() - 1
        np.testing.assert_allclose(stage, added, atol=1e-5)
    assert [stage.shape for stage in found] == [(8, 24, 24), (8, 12, 12)]


# ---------------------------------------------------------------- on a plane, and as figures


def test_clusters_stay_together_on_the_plane():
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(3), 40)
    points = embedded(10 * np.eye(20)[truth] + rng.normal(size=(120, 20)), seed=1)
    apart = np.linalg.norm(points[:, None] - points, axis=2) + np.diag(np.full(120, np.inf))
    assert points.shape == (120, 2) and (truth[apart.argmin(axis=1)] == truth).all()
    assert embedded(rng.normal(size=(5, 20))).shape == (5, 2)
    with pytest.raises(FerlibError, match="3 pictures"):
        embedded(np.zeros((3, 20)))


@pytest.mark.parametrize("features", [np.ones((20, 8)), 1e-30 * np.eye(20), np.ones((9, 1))])
def test_features_that_tell_nothing_apart_are_refused(features):
    """scikit-learn would end the process."""
    pytest.importorskip("sklearn")
    with pytest.raises(FerlibError, match=r"the same features|expected"):
        embedded(features)
    with pytest.raises(FerlibError, match="finite"):
        embedded(np.full((20, 8), np.nan))


def test_classes_are_named_at_their_medians():
    places = np.array([[0, 0], [1, 0], [5, 0], [9, 9], [9, 8]], float)
    truth = np.array([1, 1, 1, 0, -1])
    figure = inside.embedding({"a": places, "b": -places}, truth, ("cat", "dog"))
    figure.draw_without_rendering()
    for ax, sign in zip(figure.axes, (1, -1), strict=True):
        told = {text.get_text(): text.get_position() for text in ax.texts}
        assert told == {"dog": (sign, 0), "cat": (9 * sign, 9 * sign)}
        assert len(ax.collections[0].get_offsets()) == 4


def test_classes_of_one_place_are_named_beside_each_other():
    places, truth = np.array([[0, 0], [0.1, 0], [0.2, 0], [9, 9]]), np.arange(4)
    figure = inside.embedding(places, truth, ("surprise", "fear", "anger", "happiness"))
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == 4
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


def test_the_outline_is_where_the_warp_looks():
    """A matrix that halves the picture and moves right: its border in pixels, by hand."""
    matrix = np.array([[0.5, 0, 0.5], [0, 0.5, 0]], np.float32)
    figure = inside.warps(FACES[:1], matrix[None], np.zeros((1, 1, 48, 48)))
    lines = [np.column_stack(line.get_data()) for line in figure.axes[0].lines]
    corners = np.concatenate(lines)
    np.testing.assert_allclose(corners.min(axis=0), [23.5, 11.75])
    np.testing.assert_allclose(corners.max(axis=0), [47, 35.25])


def test_masks_are_told_in_percent():
    added = [np.full((2, 12, 12), 0.02), np.linspace(0, 1, 72).reshape(2, 6, 6)]
    figure = inside.masks(FACES[:2], added)
    figure.draw_without_rendering()
    shown = [ax.images[1] for ax in figure.axes if len(ax.images) == 2]
    assert [image.get_array().mean() for image in shown[:2]] == [2, 2]
    assert shown[2].get_clim() == (0, 100)
