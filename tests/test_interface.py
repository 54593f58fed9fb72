"""Mistakes of who imports ferlib: what is wrong is told before any work, in a plain line."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from PIL import Image

from ferlib import FerlibError, Recognizer, nets, plots, runtime, training
from ferlib.data import folders, images, labels
from ferlib.data.augment import Augmentation
from ferlib.data.dataset import Dataset, Files
from ferlib.data.fer2013 import Fer2013
from ferlib.evaluation import bench, evaluate, explain
from ferlib.faces import detectors, video
from ferlib.faces.face import Face
from ferlib.nets.features import features
from ferlib.training.recipe import Recipe

mx = runtime.import_mxnet()
GRAY = np.random.default_rng(0).integers(0, 256, (6, 48, 48), np.uint8)
PHOTO = np.full((200, 160, 3), 128, np.uint8)
PETS = ("cat", "dog", "bird")
TINY = Recipe(net="vgg-tiny", epochs=1, batch_size=2)


@pytest.fixture(scope="module")
def small():
    """A shipped net in float32, and its Info."""
    return nets.load(nets.find_weights("ferplus-small"))


def pets(**more) -> Dataset:
    return Dataset(GRAY, np.arange(6) % 3, **({"classes": PETS} | more))


# ---------------------------------------------------------------- pictures

NO_CROPS = {
    "shares of white": (GRAY / 255, "uint8 crops.*float64"),
    "one gray": (GRAY[0], r"crops \(N, H, W\).*\(48, 48\)"),
    "one in colours": (PHOTO, r"\(200, 160, 3\)"),
    "one of Pillow's": (Image.new("L", (48, 48)), "a list of crops, found Image"),
    "see-through": ([np.zeros((48, 48, 4), np.uint8)], r"uint8 \(48, 48, 4\)"),
    "none": (None, "found NoneType"),
}
READERS = {
    "predict": lambda net, info, crops: nets.predict(net, crops, info),
    "features": features,
    "grad_cam": lambda net, info, crops: explain.grad_cam(net, crops, info),
    "occlusion": lambda net, info, crops: explain.occlusion(net, crops, info),
    "surest": lambda net, info, crops: explain.surest(net, crops, info),
    "quantize": lambda net, info, crops: nets.quantize(nets.find_weights("ferplus-small"), crops),
    "prepare": lambda net, info, crops: images.prepare(crops, 48, "standardise"),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("crops", NO_CROPS)
def test_every_reader_of_crops_refuses_what_are_none(crops, reader, small):
    given, told = NO_CROPS[crops]
    with pytest.raises(FerlibError, match=told):
        READERS[reader](*small, given)


def test_pictures_of_pillows_are_read_like_their_pixels(small):
    net, info = small
    seen = nets.predict(net, [Image.fromarray(crop).convert("P") for crop in GRAY], info)
    np.testing.assert_allclose(seen, nets.predict(net, GRAY, info), atol=1e-5)


@pytest.mark.parametrize("make", [detectors.libfacedetection, detectors.haar])
@pytest.mark.parametrize("picture", [PHOTO / 255, PHOTO[:0]], ids=["shares", "empty"])
def test_a_detector_called_directly_refuses_what_is_no_picture(make, picture):
    detect = make()
    assert len(detect(PHOTO[..., 0])[0]) == 0  # gray is one
    with pytest.raises(FerlibError, match="expected a uint8 array"):
        detect(picture)


# ---------------------------------------------------------------- detectors of one's own

BOX, SURE = [[20, 20, 60, 80]], [0.9]
NO_ANSWERS = {
    "boxes alone": np.zeros((2, 4)),
    "nothing": None,
    "five columns": (np.zeros((2, 5)), np.ones(2)),
    "fewer confidences": (np.ones((2, 4)), [1.0]),
    "no number": ([[0, 0, np.nan, 5]], SURE),
    "less than nothing": ([[50, 50, -20, 20]], SURE),
    "beyond all bounds": ([[0, 0, 1e9, 1e9]], SURE),
    "words": (["here"], SURE),
}


@pytest.mark.parametrize("answer", NO_ANSWERS)
def test_a_detector_of_ones_own_is_told_what_it_should_give(answer):
    fer = Recognizer("ferplus-small", detector=lambda picture: NO_ANSWERS[answer])
    with pytest.raises(FerlibError, match=r"the detector gave .*: expected boxes \(N, 4\)"):
        fer(PHOTO)


def test_a_detector_may_answer_with_lists():
    fer = Recognizer("ferplus-small", detector=lambda picture: (BOX, SURE))
    assert [face.box for face in fer(PHOTO)] == [(20, 20, 60, 80)]
    for none in ([], []), ([], [], None):
        assert Recognizer("ferplus-small", detector=lambda picture, none=none: none)(PHOTO) == []


# ---------------------------------------------------------------- what is trained with, and on


@pytest.mark.parametrize(
    "wrong",
    [
        {"scale": 0},
        {"scale": 0.8},
        {"flip": 2},
        {"erase": -0.1},
        {"rotation": "far"},
        {"wear": float("nan")},
        {"erase_side": 0.2},
        {"erase_side": (0.3, 0.1)},
        {"erase_side": (0.1, 0.2, 0.3)},
        {"erase_side": ("a", "b")},
    ],
    ids=str,
)
def test_augmentation_within_its_bounds(wrong):
    with pytest.raises(FerlibError, match=f"{next(iter(wrong))}.*expected"):
        Augmentation(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"lr": "0.1"},
        {"epochs": 1.5},
        {"seed": True},
        {"mixup": None},
        {"start": 5},
        {"net": None},
        {"teacher": 5},
        {"teacher": (5,)},
        {"grow": 0.5},
        {"grow": (0.5,)},
        {"augmentation": {}},
    ],
    ids=str,
)
def test_a_recipe_of_wrong_types(wrong):
    with pytest.raises(FerlibError, match=f"{next(iter(wrong))}: expected"):
        Recipe(**wrong)


def test_a_recipe_keeps_numpys_numbers_and_single_names_as_json_has_them(tmp_path):
    recipe = Recipe(epochs=np.int64(3), lr=np.float32(0.5), teacher="ferplus", start=tmp_path)
    assert [type(one) for one in (recipe.epochs, recipe.lr, recipe.start)] == [int, float, str]
    assert recipe.teacher == ("ferplus",)
    assert type(Augmentation(scale=np.float64(1.2)).scale) is float


def test_a_search_takes_numpys_numbers(tmp_path):
    space = {"lr": list(np.float32([0.25, 0.5])), "batch_size": {"low": np.int64(1), "high": 2}}
    found = training.tune(pets(), pets(), TINY, space, 1, tmp_path / "tune", told=lambda line: None)
    assert len(found.rows) == 1


DATA = {
    "parts": (np.zeros(3, np.uint8), "6 pictures, but parts of 3"),
    "names": (["one"], "6 pictures, but names of 1"),
    "groups": (list("abcdefg"), "6 pictures, but groups of 7"),
    "rows": (np.arange(2), "6 pictures, but rows of 2"),
    "classes": ("abc", "classes: expected.*str 'abc'"),
}


@pytest.mark.parametrize("field", DATA)
def test_a_data_set_of_parts_that_do_not_fit(field):
    given, told = DATA[field]
    with pytest.raises(FerlibError, match=told):
        pets(**{field: given})


def test_what_a_data_set_takes():
    assert pets(classes=list(PETS)).classes == PETS
    assert len(pets(parts=[0, 0, 0, 1, 1, 2]).split("valid")) == 2
    for wrong in ({"parts": [0, 0, 0, 0, 0, 7]}, {"classes": (1, 2, 3)}):
        with pytest.raises(FerlibError, match=r"are told by|classes: expected"):
            pets(**wrong)


FITTED = {
    "a list for a data set": (lambda: training.fit([], pets(), TINY), "learn: expected a Dataset"),
    "a dict for a recipe": (lambda: training.fit(pets(), pets(), {}), "recipe: expected a Recipe"),
    "no folder's name": (lambda: training.fit(pets(), pets(), TINY, ""), "name is empty"),
    "a word for a device": (lambda: training.fit(pets(), pets(), TINY, ctx="cpu"), "ctx: expected"),
    "numbers for callbacks": (
        lambda: training.fit(pets(), pets(), TINY, callbacks=3),
        "callbacks: expected",
    ),
    "nothing to search in": (
        lambda: training.tune(pets(), pets(), TINY, folder=""),
        "name is empty",
    ),
    "no place for a net": (
        lambda: training.train_to(None, pets(), pets(), TINY),
        "prefix: expected",
    ),
}


@pytest.mark.parametrize("case", FITTED)
def test_a_training_that_cannot_begin(case):
    call, told = FITTED[case]
    with pytest.raises(FerlibError, match=told):
        call()


def test_fer2013_as_a_whole_is_no_data_set():
    whole = Fer2013(GRAY, *np.zeros((2, 6), np.uint8), [""] * 6, {}, np.arange(6))
    for call in (
        lambda: training.fit(whole, pets(), TINY),
        lambda: training.tune(pets(), whole, TINY),
        lambda: evaluate(whole),
    ):
        with pytest.raises(FerlibError, match="found Fer2013: take one of its splits, by `split`"):
            call()


def test_a_callback_may_come_alone():
    ends = []
    told = training.Callback()
    told.on_end = ends.append
    training.fit(pets(), pets(), TINY, callbacks=told, progress=False)
    assert len(ends) == 1


def test_a_network_of_ones_own_must_tell_the_classes_apart(own_nets):
    from mxnet.gluon import nn

    for name, layers in {
        "other": [nn.Flatten(), nn.Dense(5)],
        "maps": [nn.Conv2D(8, 3)],
    }.items():
        nets.register(name, size=48)(partial(lambda made, net: made, layers))
        with pytest.raises(FerlibError, match=rf"{name} makes \(1, .*: expected \(1, 3\)"):
            nets.create(nets.find(name, classes=3))


# ---------------------------------------------------------------- nets and devices


def test_a_device_that_is_not_here_is_not_told_as_damaged_files():
    prefix = nets.find_weights("ferplus-small")
    for call in (nets.load, partial(Recognizer)):
        with pytest.raises(FerlibError, match="ctx: expected a device"):
            call(prefix, ctx="cpu")
    with pytest.raises(FerlibError, match=r"no card for gpu\(99\) here"):
        nets.load(prefix, mx.gpu(99))


def test_a_net_is_kept_only_where_it_would_load_again(small, tmp_path):
    net, info = small
    other = nets.Info.of(nets.find("vgg-tiny"), PETS)
    for prefix, given, told in (
        (None, info, "prefix: expected"),
        (f"{tmp_path}/few/", info, "cannot write"),
        (tmp_path / "net", other, r"makes \(1, 8\): expected \(1, 3\)"),
        (tmp_path / "net", "ferplus", "info: expected"),
    ):
        with pytest.raises(FerlibError, match=told):
            nets.save(net, prefix, given)
    assert not list(tmp_path.iterdir())


def test_a_shipped_nets_name_alone_leads_to_its_prefix(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FerlibError, match=r"find_weights\('ferplus'\)"):
        nets.load("ferplus")


def test_heat_by_gradients_asks_for_the_graph_as_it_was_trained():
    net, info = nets.load(nets.find_weights("ferplus-small"), precision="fused")
    with pytest.raises(FerlibError, match="load it in float32"):
        explain.grad_cam(net, GRAY, info)


# ---------------------------------------------------------------- asked in the singular


def test_one_where_several_are_meant():
    fer = Recognizer("ferplus-small")
    face = Face((20, 20, 60, 80), "happiness", dict.fromkeys(fer.classes, 0.125))
    assert fer.draw(PHOTO, face).size == (160, 200)
    for call, told in (
        (lambda: fer.many(None), "expected several photographs"),
        (lambda: video.follow("clip.mp4", fer), "expected frames"),
        (lambda: folders.read(".", classes="happiness"), "classes: expected a list of names"),
        (lambda: Recognizer(detector=5), "a function or a file's name, found int"),
    ):
        with pytest.raises(FerlibError, match=told):
            call()


@pytest.mark.parametrize(
    ("draw", "told"),
    [
        (lambda: plots.confusion(np.eye(7)), "7, 7.*8 classes"),
        (lambda: plots.grid([]), "no pictures"),
        (lambda: plots.reliability([50, 90.0], [1, 0]), "not percent"),
        (lambda: plots.setting_importances({}, float("nan"), 2), "2 trials say nothing"),
    ],
)
def test_plots_of_what_cannot_be_drawn(draw, told):
    with pytest.raises(FerlibError, match=told):
        draw()


# ---------------------------------------------------------------- before hours of work, not after


def layers(net):
    from mxnet.gluon import nn

    return nn.Flatten(), nn.Dense(net.classes)


@pytest.mark.parametrize(
    "wrong",
    [{"features": "relu0"}, {"size": 600}, {"channels": 2}, {"classes": 1}, {"normalise": "none"}],
    ids=str,
)
def test_a_network_is_declared_so_that_its_weights_will_load(wrong, own_nets):
    with pytest.raises(FerlibError, match="expected"):
        nets.register("mine", **({"size": 48} | wrong))(layers)


@pytest.mark.parametrize(
    "wrong",
    [
        {"classes": ("a", "a")},
        {"normalise": "none"},
        {"temperature": 0},
        {"temperature": np.float32(2)},
        {"bias": (0.0,)},
    ],
    ids=str,
)
def test_an_info_that_could_not_be_read_is_not_written(wrong, small, tmp_path):
    net, info = small
    with pytest.raises(FerlibError, match="could not be read again"):
        nets.save(net, tmp_path / "net", replace(info, **wrong))
    assert not list(tmp_path.iterdir())


def test_a_fused_net_is_not_kept_as_the_one_that_was_trained(tmp_path):
    net, info = nets.load(nets.find_weights("ferplus-small"), precision="fused")
    with pytest.raises(FerlibError, match="load it in float32"):
        nets.save(net, tmp_path / "net", info)


def test_what_a_training_is_told_of_is_looked_at_first(tmp_path):
    with pytest.raises(FerlibError, match="command: expected a text"):
        training.train_to(tmp_path / "net", pets(), pets(), TINY, command=tmp_path)
    with pytest.raises(FerlibError, match="about: expected"):
        pets(about=None)
    for none in (training.EarlyStop, None):
        with pytest.raises(FerlibError, match="callbacks: expected each to be a Callback"):
            training.fit(pets(), pets(), TINY, callbacks=[none])
    with pytest.raises(FerlibError, match="folder: expected"):
        training.fit(pets(), pets(), TINY, [training.EarlyStop(3)])
    with pytest.raises(FerlibError, match="folder: expected"):
        training.train_to(tmp_path / "net", pets(), pets(), TINY, folder=5)
    with pytest.raises(FerlibError, match="known: expected FER2013"):
        evaluate(pets(), "ferplus-small", known=pets())


@pytest.mark.parametrize("classes", [{"cat"}, (), 5, [1, 2]], ids=str)
def test_classes_are_a_list_of_names(classes, tmp_path):
    with pytest.raises(FerlibError, match="classes: expected"):
        folders.read(tmp_path, classes=classes)


def test_votes_are_not_shares():
    shares = np.eye(8)
    for ask in (labels.majority, labels.shares, partial(labels.targets, scheme="majority")):
        for wrong in (shares, np.full((3, 10), 0.1), np.arange(10)):
            with pytest.raises(FerlibError, match=r"FER\+'s votes, whole numbers \(N, 10\)"):
                ask(wrong)
    with pytest.raises(FerlibError, match="unknown scheme"):
        labels.trainable(np.full((3, 10), 1), "nope")


@pytest.mark.parametrize("scores", [np.ones((6, 2)), np.ones((5, 3)), np.full((6, 3), np.nan)])
def test_predictions_that_could_not_be_read_are_not_written(scores, tmp_path):
    with pytest.raises(FerlibError, match=r"expected numbers \(6, 3\)"):
        bench.write_predictions(tmp_path / "p.csv", scores, pets(rows=np.arange(6)))
    assert not list(tmp_path.iterdir())


def test_gray_is_made_of_colours():
    for wrong in (GRAY, PHOTO / 255):
        with pytest.raises(FerlibError, match="expected RGB uint8"):
            images.to_gray(wrong)
    with pytest.raises(FerlibError, match="2 channels"):
        images.prepare(GRAY, 48, "standardise", 2)


def test_some_rows_of_a_data_set():
    assert len(pets().take([])) == 0
    for wrong in ([10], [-7], ["a"], [True, False], None):
        with pytest.raises(FerlibError, match="expected rows of 6"):
            pets().take(wrong)
    with pytest.raises(FerlibError, match="unknown class 'mouse'"):
        pets().only(("cat", "mouse"))
    with pytest.raises(FerlibError, match="paths: expected a list"):
        Files("faces/happy/0.png")


def test_a_thing_in_its_names_place_is_told_in_a_short_line(small):
    for call in (
        lambda: Recognizer(5),
        lambda: Recognizer(GRAY),
        lambda: nets.load(None),
        lambda: nets.find(nets.find("vgg-tiny")),
        lambda: explain.surest(*small[:1], GRAY, small[1], 0),
    ):
        with pytest.raises(FerlibError, match=r"expected|unknown") as told:
            call()
        assert len(str(told.value)) < 600 and "\n" not in str(told.value)


def test_net_and_info_in_each_others_place(small):
    net, info = small
    for call in (
        lambda: nets.predict(info, GRAY, net),
        lambda: nets.predict(net, GRAY, None),
        lambda: nets.predict("ferplus", GRAY, info),
    ):
        with pytest.raises(FerlibError, match=r"expected the Info|expected a net"):
            call()


@pytest.mark.parametrize(
    "wrong",
    [
        {"trials": 0},
        {"trials": "2"},
        {"minutes": "5"},
        {"told": None},
        {"data_options": 5},
        {"folder": None},
        {"recipe": "vgg-tiny"},
    ],
    ids=str,
)
def test_a_search_that_cannot_begin(wrong, tmp_path):
    how = {"recipe": TINY, "folder": tmp_path / "tune"} | wrong
    with pytest.raises(FerlibError, match="expected"):
        training.tune(pets(), pets(), space={"lr": [0.1, 0.2]}, **how)
    assert not list(tmp_path.iterdir())


def test_people_may_be_numbered():
    parts = pets(groups=np.repeat([1, 2, 3], 2))
    assert set(parts.split("train").groups).isdisjoint(parts.split("valid").groups)


def test_a_video_is_named_and_followed_by_what_can():
    fer = Recognizer("ferplus-small")
    for wrong in (None, ["clip.mp4"], PHOTO):
        with pytest.raises(FerlibError, match="video: expected"):
            list(video.frames(wrong))
    with pytest.raises(FerlibError, match="no camera 99"):
        list(video.frames(np.int64(99)))
    for wrong in ({"every": 0}, {"every": "5"}, {"smoothing": -1}):
        with pytest.raises(FerlibError, match="expected"):
            video.follow([], fer, **wrong)
    with pytest.raises(FerlibError, match="fer: expected a Recognizer"):
        video.follow([], "ferplus")


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plots.grid(GRAY, ["one"]),
        lambda: plots.learning_curves("nowhere.csv"),
        lambda: plots.learning_curves([]),
        lambda: plots.accuracy_by_epoch({}),
    ],
)
def test_what_cannot_be_drawn_names_the_plot(draw):
    with pytest.raises(FerlibError, match=r"plots\.\w+ cannot draw this"):
        draw()
