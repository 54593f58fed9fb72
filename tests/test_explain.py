"""Maps that lie where the net looks: by gradients, checked by formula, and by hiding places."""

import json
import os
import resource
from dataclasses import replace
from functools import cache, partial

import numpy as np
import pytest
from common import any_weights, astronaut, tiny_weights
from PIL import Image

from ferlib import EMOTIONS, nets, runtime
from ferlib.cli.main import main
from ferlib.data import fer2013, images
from ferlib.data.cartoon import draw
from ferlib.errors import FerlibError
from ferlib.evaluation import explain
from ferlib.faces import crop
from ferlib.nets.places import DEFAULT_WEIGHTS

mx = runtime.import_mxnet()
from mxnet.gluon import nn  # noqa: E402  (after import_mxnet has prepared it)

# The paper's own net has more weights than the others together.
# Plain stacks, whose maps can be worked by hand; tests/test_zoo.py asks the others.
FAMILY = [name for name in nets.names() if name.startswith("vgg") and name != "vgg19"]
EACH = [pytest.param(name, marks=[pytest.mark.slow] * (name == "vgg13")) for name in FAMILY]
FACE = (183, 75, 86, 103)  # of the astronaut: x, y, width, height
METHODS = (explain.grad_cam, explain.occlusion)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    prefix = any_weights(tmp_path_factory.mktemp("weights"))
    if prefix.name != DEFAULT_WEIGHTS:
        pytest.skip("no net is shipped yet: model_store/ferplus.json is not there")
    return nets.load(prefix)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return nets.load(tiny_weights(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="module")
def drawn():
    rng = np.random.default_rng(0)
    return np.array([draw(EMOTIONS[k % 8], rng) for k in range(10)])


def info_of(name: str) -> nets.Info:
    return nets.Info.of(nets.find(name))


@cache
def used(name: str):
    """A net whose BatchNorm has seen pictures, so that its statistics are not 0 and 1."""
    net, rng = nets.create(name, seed=5), np.random.default_rng(5)
    for key, value in net.collect_params().items():
        if "running" in key:
            low, high = (0.5, 2) if key.endswith("var") else (-0.3, 0.3)
            value.set_data(mx.nd.array(rng.uniform(low, high, value.shape)))
    return net


def rank_correlation(a, b) -> float:
    a, b = (x.ravel().argsort().argsort() for x in (a, b))
    return float(np.corrcoef(a, b)[0, 1])


# ---------------------------------------------------------------- the map lies on the face


def canvas(ground: str, top: int, left: int, side: int = 28) -> np.ndarray:
    """A 48 x 48 picture of flat gray or noise with the astronaut's face small at one place."""
    face = Image.fromarray(images.to_gray(crop(astronaut(), FACE))).resize((side, side))
    noise = np.random.default_rng(0).normal(0, 12 if ground == "noise" else 0, (48, 48))
    picture = (np.mean(face) + noise).clip(0, 255).astype(np.uint8)
    picture[top : top + side, left : left + side] = face
    return picture


@pytest.mark.slow
@pytest.mark.parametrize("ground", ["flat", "noise"])
@pytest.mark.parametrize("method", METHODS)
def test_the_map_lies_on_the_face_and_moves_with_it(shipped, method, ground):
    places = [(2, 2), (2, 18), (18, 2), (18, 18)]
    pictures = np.array([canvas(ground, *place) for place in places])
    heats = method(shipped[0], pictures, shipped[1], "happiness").clip(0)
    heats /= heats.sum(axis=(1, 2), keepdims=True)
    inside = [
        h[top : top + 28, x : x + 28].sum() for h, (top, x) in zip(heats, places, strict=True)
    ]
    assert min(inside) > 0.55  # the face is 0.34 of the picture
    down, across = (heats.sum(axis=axis) @ np.arange(48) for axis in (2, 1))
    moved = [across[1] - across[0], across[3] - across[2], down[2] - down[0], down[3] - down[1]]
    assert min(moved) > 16 / 3 and np.mean(moved) > 16 / 2  # the face moves by 16 pixels


def variants(count: int = 4) -> list[np.ndarray]:
    """The astronaut's face cut a little differently each time, every second time mirrored."""
    rng = np.random.default_rng(1)
    boxes = np.array(FACE) + rng.integers(-9, 10, (count, 4))
    return [crop(astronaut(), box)[:, :: -1 if k % 2 else 1] for k, box in enumerate(boxes)]


@pytest.mark.slow
def test_gradients_and_hiding_agree(shipped):
    by_gradient, by_hiding = (method(shipped[0], variants(), shipped[1]) for method in METHODS)
    pairs = zip(by_gradient, by_hiding, strict=True)
    assert np.mean([rank_correlation(*pair) for pair in pairs]) > 0.15


def hottest_hidden(pictures, heats, share: float = 0.2) -> np.ndarray:
    """The hottest places of each picture painted in its mean gray."""
    limits = np.quantile(heats, 1 - share, axis=(1, 2), keepdims=True)
    gray = pictures.mean(axis=(1, 2), keepdims=True).round().astype(np.uint8)
    return np.where(heats >= limits, gray, pictures)


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("FERLIB_DATA"), reason="needs FER2013 (FERLIB_DATA)")
def test_what_is_hot_matters_more_than_the_middle_and_than_the_last_layer(shipped):
    net, info = shipped
    valid, rng = fer2013.load().split("valid", "fer2013new.csv"), np.random.default_rng(0)
    rows = [rng.permutation(np.flatnonzero(valid.truth == k))[:8] for k in range(8)]
    pictures = valid.pictures[np.concatenate(rows)]
    before = nets.predict(net, pictures, info)
    rows, best = np.arange(len(before)), before.argmax(axis=1)
    middle = -np.hypot(*(np.mgrid[:48, :48] - 23.5))[None].repeat(len(pictures), 0)
    maps = {"middle": middle, "last": explain.grad_cam(net, pictures, info, layer=-1)}
    maps["default"] = explain.grad_cam(net, pictures, info)
    left = {
        name: nets.predict(net, hottest_hidden(pictures, heat), info)[rows, best].mean()
        for name, heat in maps.items()
    }
    assert left["default"] + 0.05 < min(left["middle"], left["last"]), left


# ---------------------------------------------------------------- gradients


@pytest.mark.parametrize("layer", [None, -1, 0])
@pytest.mark.parametrize("name", EACH)
def test_slopes_are_those_of_finite_differences(name, layer, drawn):
    """Along 24 directions at once: each row of the batch is the same features, pushed its way."""
    net, info = used(name), info_of(name)
    size = info.input_size
    halves = explain.split(net, info, layer)
    batch = images.prepare(drawn[:1], size, info.normalise)
    cells, slopes = explain._slopes(halves, batch, [4])
    ways = cells * np.random.default_rng(2).uniform(-1, 1, (24, *cells.shape[1:]))  # zeros stay
    ahead, behind = (
        halves[1](mx.nd.array(cells + step * ways))[:, 4].asnumpy() for step in (5e-4, -5e-4)
    )
    wanted, found = (ahead - behind) / 1e-3, (slopes * ways).sum(axis=(1, 2, 3))
    assert np.corrcoef(wanted, found)[0, 1] > 0.98
    assert (wanted * found).sum() / (wanted**2).sum() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("name", [name for name in FAMILY if nets.find(name).any_size])
def test_with_averaged_features_grad_cam_is_cam(name, drawn):
    """Zhou et al. 2016: then the dense layer's weights are the gradients' means, but for a factor.

    True for max pooling before the average too: each channel's gradient has the same sum.
    """
    net, info = used(name), info_of(name)
    rows = np.arange(len(drawn)) % 8
    asked = [EMOTIONS[row] for row in rows]
    found = explain.grad_cam(net, drawn, info, asked, layer=-1, pooled=True)
    batch = mx.nd.array(images.prepare(drawn, info.input_size, info.normalise))
    last = max(k for k, part in enumerate(net) if type(part).__name__ == "MaxPool2D")
    cells = net[:last](batch).asnumpy()
    weights = net[-1].weight.data().asnumpy()[rows]
    cam = np.einsum("nchw,nc->nhw", cells, weights)
    wanted = explain._enlarged(cam, info.input_size)
    np.testing.assert_allclose(found, wanted, atol=1e-3)
    assert wanted.max() == 1 and wanted.std() > 0.05


@pytest.mark.parametrize("name", EACH)
def test_the_second_half_gives_the_nets_logits(name, drawn):
    net, info = used(name), info_of(name)
    batch = mx.nd.array(images.prepare(drawn, info.input_size, info.normalise))
    features, head, _ = explain.split(net, info)
    cells = features(batch)
    assert cells.shape[2] * explain.CELL == info.input_size
    with mx.autograd.record():
        logits = head(cells)
    np.testing.assert_allclose(logits.asnumpy(), net(batch).asnumpy(), atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_the_net_is_left_as_it_was(method, drawn):
    net, info = used.__wrapped__("vgg-tiny"), info_of("vgg-tiny")  # one that nobody else uses
    net.hybridize(static_alloc=True)
    before = nets.predict(net, drawn, info)
    values = {name: p.data().asnumpy() for name, p in net.collect_params().items()}
    for value in net.collect_params().values():
        if value.grad_req != "null":
            value.grad()[:] = 7
    method(net, drawn[:3], info)
    for name, value in net.collect_params().items():
        assert value.data().asnumpy().tobytes() == values[name].tobytes(), name
        assert value.grad_req == "null" or (value.grad().asnumpy() == 7).all(), name
    assert (nets.predict(net, drawn, info) == before).all()


# ---------------------------------------------------------------- hiding


def test_squares_side_by_side_show_each_ones_fall(tiny, drawn):
    net, info = tiny
    heats = explain.occlusion(net, drawn[:2], info, "sadness", side=16, stride=16)
    for picture, heat in zip(drawn[:2], heats, strict=True):
        for top, left in ((0, 0), (16, 32), (32, 16)):
            hidden = picture.copy()
            hidden[top : top + 16, left : left + 16] = round(float(picture.mean()))
            plain, changed = nets.predict(net, np.array([picture, hidden]), info)[:, 3]
            square = heat[top : top + 16, left : left + 16]
            np.testing.assert_allclose(square, plain - changed, atol=1e-5)


@pytest.mark.parametrize(("side", "stride"), [(12, 4), (12, 6), (48, 24), (1, 1), (9, 9), (7, 5)])
def test_squares_cover_every_pixel_alike(side, stride):
    squares = explain._squares(48, side, stride)
    often = squares.sum(axis=0)
    assert often.min() >= (side // stride) ** 2
    assert often.max() <= (-(-side // stride)) ** 2
    assert squares.sum(axis=(1, 2)).max() == side**2 and squares.any(axis=(1, 2)).all()
    assert len({square.tobytes() for square in squares}) == len(squares)


@pytest.mark.parametrize("size", [48, 64])
def test_hiding_takes_81_predictions(size):
    assert explain._squares(size, None, None).shape == (81, size, size)


@pytest.mark.parametrize(("side", "stride"), [(0, 1), (49, 1), (8, 0), (8, 9), (-3, -3)])
def test_squares_that_cannot_be_are_named(tiny, drawn, side, stride):
    with pytest.raises(FerlibError, match="squares of"):
        explain.occlusion(tiny[0], drawn, tiny[1], side=side, stride=stride)


# ---------------------------------------------------------------- batches, emotions, nets


@pytest.mark.parametrize("name", EACH)
def test_every_net_stored_or_new(name, drawn, tmp_path):
    net, info = used(name), info_of(name)
    nets.save(net, tmp_path / "net", info)
    loaded, info = nets.load(tmp_path / "net")
    size = info.input_size
    heats = explain.grad_cam(net, drawn[:3], info)
    assert heats.shape == (3, size, size) and heats.dtype == np.float32
    assert heats.min() >= 0 and (heats.max(axis=(1, 2)) == 1).all()
    np.testing.assert_allclose(explain.grad_cam(loaded, drawn[:3], info), heats, atol=1e-3)
    falls = explain.occlusion(loaded, drawn[:1], info, side=size // 2, stride=size // 4)
    assert falls.shape == (1, size, size) and falls.dtype == np.float32 and falls.any()


def test_a_batch_is_as_its_crops_one_by_one(tiny, drawn):
    net, info = tiny
    many = np.concatenate([drawn] * 7)  # more than one batch of 64
    heats = explain.grad_cam(net, many, info)
    for row in (0, 9, 63, 64, 69):
        alone = explain.grad_cam(net, many[row : row + 1], info)[0]
        np.testing.assert_allclose(heats[row], alone, atol=1e-3)
    falls = explain.occlusion(net, drawn, info, side=16)  # more than one step of 8
    for row in (0, 7, 8, 9):
        alone = explain.occlusion(net, drawn[row : row + 1], info, side=16)[0]
        np.testing.assert_allclose(falls[row], alone, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_gray_colour_and_lists_agree(tiny, drawn, method):
    net, info = tiny
    wanted = method(net, drawn[:3], info)
    colour = drawn[:3, ..., None].repeat(3, axis=3)
    np.testing.assert_allclose(method(net, colour, info), wanted, atol=1e-5)
    np.testing.assert_allclose(method(net, [drawn[0], *colour[1:]], info), wanted, atol=1e-5)
    large = method(net, [np.asarray(Image.fromarray(drawn[0]).resize((97, 131)))], info)
    assert large.shape == (1, 48, 48)
    assert method(net, [], info).shape == method(net, drawn[:0], info).shape == (0, 48, 48)


@pytest.mark.parametrize("method", METHODS)
def test_one_emotion_many_or_the_answer(tiny, drawn, method):
    net, info = tiny
    names = [EMOTIONS[k % 8] for k in range(3, 8)]
    each = method(net, drawn[:5], info, names)
    for row, name in enumerate(names):
        alike = method(net, drawn[row:5], info, name)[0]
        np.testing.assert_allclose(each[row], alike, atol=1e-5, err_msg=name)
    answers = [EMOTIONS[k] for k in nets.predict(net, drawn[:5], info).argmax(axis=1)]
    np.testing.assert_array_equal(
        method(net, drawn[:5], info), method(net, drawn[:5], info, answers)
    )
    assert not np.allclose(each[0], method(net, drawn[:1], info, "neutral")[0])


@pytest.mark.parametrize("method", METHODS)
def test_the_answer_is_that_of_prediction_which_has_a_bias(tiny, drawn, method):
    net, info = tiny
    info = replace(info, bias=(0, 0, 0, 0, 0, 0, 4.0, 0))
    assert (nets.predict(net, drawn[:3], info).argmax(axis=1) == EMOTIONS.index("fear")).all()
    found = method(net, drawn[:3], info)
    np.testing.assert_array_equal(found, method(net, drawn[:3], info, "fear"))
    assert found.any() and not np.allclose(found, method(net, drawn[:3], info, "neutral"))


def test_each_of_many_crops_is_asked_for_its_own_emotion(monkeypatch):
    """Also those of later batches."""
    monkeypatch.setattr(explain, "BATCH", 2)
    net, info = nets.create("vgg-tiny", seed=3), info_of("vgg-tiny")
    crops = np.random.default_rng(0).integers(0, 256, (9, 48, 48), np.uint8)
    hidden = partial(explain.occlusion, side=24, stride=24)
    for maps, atol in ((hidden, 1e-5), (explain.grad_cam, 1e-3)):
        many = maps(net, crops, info, ["neutral"] * 8 + ["fear"])
        alone = maps(net, crops[8:], info, "fear")
        np.testing.assert_allclose(many[8], alone[0], atol=atol)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "wrong", ["joy", ["fear", "joy"], ["Fear", "anger"], [None, "fear"], [3, 4]]
)
def test_an_unknown_emotion_is_named(tiny, drawn, method, wrong):
    with pytest.raises(FerlibError, match=r"unknown emotion .*expected one of neutral, "):
        method(tiny[0], drawn[:2], tiny[1], wrong)


@pytest.mark.parametrize("method", METHODS)
def test_an_emotion_is_for_every_crop_or_one_for_each(tiny, drawn, method):
    with pytest.raises(FerlibError, match="1 emotions for 2 crops"):
        method(tiny[0], drawn[:2], tiny[1], ["fear"])
    with pytest.raises(FerlibError, match="unknown emotion 'joy'"):
        method(tiny[0], [], tiny[1], "joy")


@pytest.mark.parametrize("layer", [3, -4])
def test_a_layer_that_is_not_there_is_named(tiny, drawn, layer):
    with pytest.raises(FerlibError, match=r"this net has 3, from -3 to -1"):
        explain.grad_cam(tiny[0], drawn, tiny[1], layer=layer)


def dense_alone():
    net = nn.HybridSequential()
    net.add(nn.Flatten(), nn.Dense(8, in_units=48 * 48))
    net.initialize()
    return net


def test_a_net_that_declares_no_features_is_named(drawn):
    with pytest.raises(FerlibError, match=r"own.* no features"):
        explain.grad_cam(dense_alone(), drawn, nets.Info(network="own"))


def test_a_layer_that_the_net_does_not_have_is_named(tiny, drawn):
    net, info = tiny
    for other in (net, dense_alone()):
        with pytest.raises(FerlibError, match="no layer relu9"):
            explain.grad_cam(other, drawn, replace(info, features=("relu9",)))


def test_features_beside_which_the_picture_goes_on_are_named(drawn):
    """A map of one of two ways to the answer would hide the other."""

    class Two(nn.HybridBlock):
        def __init__(self):
            super().__init__(prefix="two_")
            with self.name_scope():
                self.left, self.right = (nn.Conv2D(8, 48, in_channels=1) for _ in range(2))

        def hybrid_forward(self, F, x):
            return F.flatten(self.left(x) + self.right(x))

    net = Two()
    net.initialize()
    with pytest.raises(FerlibError, match="conv0"):
        explain.grad_cam(net, drawn, nets.Info(network="two", features=("conv0",)))


def test_a_net_for_colours_with_other_classes_is_explained():
    declared = nets.find("vgg-tiny", channels=3, classes=2)
    info = nets.Info.of(declared, ("cat", "dog"))
    crops = np.random.default_rng(0).integers(0, 256, (3, 60, 60, 3), dtype=np.uint8)
    net = nets.create(declared, seed=0)
    for method in METHODS:
        found = method(net, crops, info, ["cat", "dog", "cat"])
        assert found.shape == (3, 48, 48) and found.any()
        np.testing.assert_allclose(found[1], method(net, crops[1:2], info, "dog")[0], atol=1e-5)
        with pytest.raises(FerlibError, match="unknown emotion 'fear'"):
            method(net, crops, info, "fear")
    assert explain.surest(net, crops, info, count=2).heats.shape == (2, 2, 48, 48)


def test_the_surest_crops_of_each_emotion(tiny, drawn):
    net, info = tiny
    found = explain.surest(net, drawn, info, count=3)
    scores = nets.predict(net, drawn, info)
    for k, name in enumerate(EMOTIONS):
        np.testing.assert_array_equal(found.scores[k], np.sort(scores[:, k])[::-1][:3])
        np.testing.assert_array_equal(scores[found.rows[k], k], found.scores[k])
        wanted = explain.grad_cam(net, drawn[found.rows[k]], info, name)
        np.testing.assert_allclose(found.heats[k], wanted, atol=1e-3)
    assert explain.surest(net, drawn[:2], info).rows.shape == (8, 2)


# ---------------------------------------------------------------- ferlib explain


@pytest.fixture(scope="module")
def album(tmp_path_factory, drawn):
    """A net that has learnt nothing, and pictures: one face, a crop, no face, and no pictures."""
    folder = tmp_path_factory.mktemp("album")
    Image.fromarray(astronaut()).save(folder / "astronaut.png")
    Image.fromarray(drawn[1]).save(folder / "crop.png")
    Image.new("RGB", (80, 60), "gray").save(folder / "empty.png")
    (folder / "broken.png").write_bytes(b"\x89PNG and no more")
    (folder / "clip.mp4").write_bytes(b"frames")
    tiny_weights(folder)
    return folder


def told(album, out, *words) -> int:
    """The exit status of `ferlib explain` on pictures of the album, by name."""
    names = [str(album / word) if (album / word).is_file() else word for word in words]
    return main(["explain", *names, "--weights", str(album / "tiny"), "--out", str(out)])


def picture(path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"), int)


def coloured(array) -> float:
    """The share of pixels whose red is well above their blue, as only in hot places."""
    return float((array[..., 0] - array[..., 2] > 60).mean())


def test_a_photograph_gives_a_picture_of_its_face_under_heat(album, tmp_path, capsys):
    assert told(album, tmp_path / "o", "astronaut.png", "empty.png", "--json") == 0
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    face, empty = answer["photos"]
    assert len(face["faces"]) == 1 and empty["faces"] == [] and "drawn" not in empty
    assert [str(path) for path in (tmp_path / "o").iterdir()] == [face["drawn"]]
    drawn = picture(face["drawn"])
    assert drawn.shape[1] > 450 and coloured(drawn[:, drawn.shape[1] // 2 :]) > 0.02


def test_what_is_drawn_depends_on_what_was_asked(album, tmp_path, capsys):
    asked = [(), ("--emotion", "fear"), ("--occlusion",), ("--crop", "--emotion", "fear")]
    for words in asked:
        assert told(album, tmp_path, "astronaut.png", *words) == 0
    made = [tmp_path / f"astronaut.png-ferlib{k}.png" for k in ("", 2, 3, 4)]
    assert sorted(tmp_path.iterdir()) == sorted(made)  # none written over, nothing half done
    assert len({path.read_bytes() for path in made}) == 4
    assert capsys.readouterr().out.count("(0, 0, 512, 512)") == 1  # the whole picture as a crop


def test_maps_of_several_nets_are_averaged(album, tmp_path):
    nets.save(nets.create("vgg-tiny", seed=8), album / "other", info_of("vgg-tiny"))
    for name in (None, "tiny", "other"):  # told() adds tiny
        more = ("--weights", str(album / name)) if name else ()
        assert told(album, tmp_path, "crop.png", "--crop", "--emotion", "anger", *more) == 0
    one, twice, two = (picture(tmp_path / f"crop.png-ferlib{k}.png") for k in ("", 2, 3))
    assert (one == twice).all() and (one.shape != two.shape or (one != two).any())


def test_crops_are_not_cut_again(album, tmp_path, capsys):
    assert told(album, tmp_path, "crop.png", "--crop", "--json") == 0
    (photo,) = json.loads(capsys.readouterr().out.splitlines()[-1])["photos"]
    assert photo["faces"][0]["box"] == [0, 0, 48, 48]
    net, info = nets.load(album / "tiny")
    scores = nets.predict(net, [np.asarray(Image.open(album / "crop.png"))], info)[0]
    assert list(photo["faces"][0]["scores"].values()) == pytest.approx(scores, abs=1e-5)


def test_what_cannot_be_explained_is_told_and_the_others_done(album, tmp_path, capsys):
    words = ("broken.png", "astronaut.png", "clip.mp4", "--json")
    assert told(album, tmp_path / "o", *words) == 1
    out, error = capsys.readouterr()
    assert len(error.strip().splitlines()) <= 2 and "broken.png is not a picture" in error
    answer = json.loads(out.splitlines()[-1])
    assert [len(one["faces"]) for one in answer["photos"]] == [1]
    assert len(list((tmp_path / "o").iterdir())) == 1
    assert "is a video" in answer["failed"][1]["message"]


def test_a_full_disk_leaves_nothing_half_written(album, tmp_path, capsys):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        assert told(album, tmp_path / "o", "astronaut.png") == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "cannot write" in capsys.readouterr().err
    assert list((tmp_path / "o").iterdir()) == []


def test_a_file_in_the_folders_place_is_a_plain_error(album, capsys):
    assert told(album, album / "crop.png", "astronaut.png") == 1
    assert "is a file, expected a folder" in capsys.readouterr().err


def test_a_place_where_nothing_can_be_written_is_told_before_anything_is_read(album, capsys):
    assert told(album, "/proc/ferlib", "astronaut.png") == 1
    told_of = capsys.readouterr()
    assert "/proc/ferlib" in told_of.err and "astronaut" not in told_of.err + told_of.out


def test_no_picture_is_wrong_usage(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["explain"])
    assert stopped.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 2


def test_an_emotion_that_the_net_does_not_know_is_told_before_anything_is_drawn(
    album, tmp_path, capsys
):
    assert told(album, tmp_path / "o", "crop.png", "--crop", "--emotion", "joy") == 1
    error = capsys.readouterr().err
    assert "'joy'" in error and "contempt" in error and len(error.strip().splitlines()) <= 2
    assert not (tmp_path / "o").exists()


@pytest.mark.slow
def test_a_small_face_is_explained_and_a_video_in_its_folder_passed_by(album, tmp_path, capsys):
    """`ferlib predict` finds it by looking closer: so must this."""
    head = Image.fromarray(astronaut()[30:200, 140:300]).resize((75, 80))
    scene = Image.new("RGB", (1600, 1000), "gray")
    scene.paste(head, (800, 600))
    (tmp_path / "in").mkdir()
    scene.save(tmp_path / "in" / "small.png")
    (tmp_path / "in" / "clip.mp4").write_bytes(b"frames")
    assert told(album, tmp_path / "out", str(tmp_path / "in")) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["small.png-ferlib.png"]
    assert "clip" not in capsys.readouterr().out
