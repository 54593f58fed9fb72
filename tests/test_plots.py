"""Every picture shows the numbers it was given."""

import csv
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
import zlib
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from skimage.color import deltaE_ciede2000, rgb2lab

from ferlib import nets, plots
from ferlib.data import cartoon
from ferlib.data.labels import COLUMNS, EMOTIONS
from ferlib.errors import FerlibError
from ferlib.evaluation import figures
from ferlib.files import recorded
from ferlib.nets.zoo import vgg
from ferlib.plots import __main__ as command
from ferlib.plots import bench as plots_bench
from ferlib.plots import evaluation

VOTES = np.array(
    [
        [4, 0, 0, 1, 3, 2, 0, 0, 0, 0],
        [0, 9, 1, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 2, 0, 0, 0, 8, 0, 0, 0],
    ]
)


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    return np.array([cartoon.draw(emotion, rng) for emotion in ("anger", "happiness", "fear")])


def heights(ax) -> list[float]:
    return [bar.get_height() for bar in ax.patches]


def names(ax) -> list[str]:
    return [label.get_text() for label in ax.get_xticklabels()]


def texts(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


def colours(ax) -> list[tuple]:
    return [bar.get_facecolor()[:3] for bar in ax.patches]


def drawn(figure) -> Figure:
    """The figure after matplotlib has really drawn it."""
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()  # the canvas of a Figure without pyplot draws nothing
    return figure


def test_faces_stand_over_their_votes(pictures):
    axes = drawn(plots.faces_with_votes(pictures, VOTES, columns=2)).axes
    faces = [ax for ax in axes if ax.images]
    bars = [ax for ax in axes if not ax.images]
    assert [ax.get_title() for ax in faces] == ["no majority", "happiness", "fear"]
    for ax, picture in zip(faces, pictures, strict=True):
        np.testing.assert_array_equal(ax.images[0].get_array(), picture)
    for ax, votes in zip(bars, VOTES, strict=True):
        assert heights(ax) == votes.tolist() and names(ax) == list(COLUMNS)
        assert colours(ax) == [to_rgb(plots.COLOURS[name]) for name in COLUMNS]
    for ax, face in zip(bars, faces, strict=True):
        assert ax.get_position().y1 <= face.get_position().y0


def test_grid_shows_every_picture_once(pictures):
    axes = drawn(plots.grid(pictures, ["a", "b", "c"], columns=2)).axes
    assert [ax.get_title() for ax in axes] == ["a", "b", "c"]
    assert [ax.images[0].get_array().mean() for ax in axes] == [p.mean() for p in pictures]
    assert len(drawn(plots.grid(pictures)).axes) == 3


def test_black_and_white_mean_0_and_255():
    image = plots.grid(np.full((1, 4, 4), 128, np.uint8)).axes[0].images[0]
    assert image.get_clim() == (0, 255)


def test_split_counts_are_stacked_shares():
    account = {
        "train": {"rows": 100, "kept": 80, "no_majority": 15, "no_name": 5, "usable": 90},
        "test": {"rows": 10, "kept": 10},
    }
    ax = drawn(plots.split_counts(account)).axes[0]
    widths = np.array([bar.get_width() for bar in ax.patches]).reshape(len(evaluation.PARTS), 2)
    np.testing.assert_allclose(widths[0], [0.8, 1.0])
    np.testing.assert_allclose(widths.sum(axis=0), 1.0)
    assert texts(ax) == ["80 of 100", "10 of 10"]
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels[:2] == ["kept (90)", "no majority (15)"]


def test_targets_of_the_four_schemes(pictures):
    axes = drawn(plots.targets_by_scheme(VOTES[0], pictures[0])).axes
    titles = [
        "the picture",
        "ten votes",
        "majority",
        "probability",
        "cross-entropy",
        "multi-target",
    ]
    assert [ax.get_title() for ax in axes] == titles
    assert heights(axes[1]) == VOTES[0].tolist()
    assert heights(axes[2]) == [1, 0, 0, 0, 0, 0, 0, 0]
    one = heights(axes[3])
    assert sum(one) == 1 and one.index(1) in (0, 4, 5)
    np.testing.assert_allclose(heights(axes[4]), [4 / 9, 0, 0, 0, 3 / 9, 2 / 9, 0, 0], atol=1e-6)
    assert heights(axes[5]) == [1, 0, 0, 0, 1, 0, 0, 0]
    assert texts(axes[4]) == ["0.44", "0.33", "0.22"]
    assert len(plots.targets_by_scheme(VOTES[0]).axes) == 5


def test_answers_stand_beside_the_votes(pictures):
    answers = {"one": np.eye(8)[4], "other": np.full(8, 0.125)}
    axes = drawn(plots.answers_by_scheme(pictures[0], VOTES[0], answers)).axes
    assert [ax.get_title() for ax in axes] == ["the picture", "ten votes", "one", "other"]
    assert heights(axes[1]) == VOTES[0].tolist() and heights(axes[2]) == np.eye(8)[4].tolist()
    assert texts(axes[2]) == ["1.00"] and len(texts(axes[3])) == 8


def test_loss_curves_mark_their_lowest_point():
    share = np.linspace(0.05, 0.95, 19)
    answers = np.zeros((19, 8))
    answers[:, 3], answers[:, 0] = share, 1 - share
    losses = {"majority": -np.log(share), "probability": (share - 0.6) ** 2}
    draws = {"sadness": share, "neutral": 1 - share}
    first, *axes = drawn(plots.loss_curves(answers, losses, draws)).axes
    assert [text.get_text() for text in first.get_legend().get_texts()] == ["neutral", "sadness"]
    assert {ax.get_xlabel() for ax in (first, *axes)} == {"share of sadness"}
    for ax, (scheme, loss), best in zip(axes, losses.items(), (0.95, 0.6), strict=True):
        *thin, curve, mark = ax.lines
        assert ax.get_title() == scheme and len(thin) == 2 * (scheme == "probability")
        np.testing.assert_allclose(curve.get_ydata(), loss)
        assert mark.get_xdata()[0] == pytest.approx(best)
    assert to_rgb(axes[1].lines[0].get_color()) == to_rgb(plots.COLOURS["sadness"])


def test_augmented_pictures_stand_beside_the_first(pictures):
    batch = np.random.default_rng(0).standard_normal((7, 1, 48, 48)).astype(np.float32)
    first, *rest = drawn(plots.augmented(pictures[0], batch, columns=4)).axes
    np.testing.assert_array_equal(first.images[0].get_array(), pictures[0])
    assert len(rest) == 7
    np.testing.assert_array_equal(rest[6].images[0].get_array(), batch[6, 0])
    assert first.get_window_extent().width > 1.5 * rest[0].get_window_extent().width


LOG = [
    {"epoch": 1, "lr": 0.1, "images_per_s": 300.0, "train_loss": 2.0, "valid_loss": 1.9,
     "valid_accuracy": 0.5},
    {"epoch": 2, "lr": 0.05, "images_per_s": 310.0, "train_loss": 1.5, "valid_loss": 1.6,
     "valid_accuracy": 0.75},
    {"epoch": 3, "lr": 0.0, "images_per_s": 305.0, "train_loss": 1.2, "valid_loss": 1.7,
     "valid_accuracy": 0.7},
]  # fmt: skip


@pytest.mark.parametrize("kept", ["list", "file", "text"])
def test_learning_curves_of_a_list_or_a_file(tmp_path, kept):
    log = LOG
    if kept != "list":
        log = tmp_path / "log.csv"
        with open(log, "w", newline="") as file:
            writer = csv.DictWriter(file, LOG[0].keys())
            writer.writeheader()
            writer.writerows(LOG)
    figure = drawn(plots.learning_curves(str(log) if kept == "text" else log))
    loss, accuracy, rate = figure.axes
    assert [line.get_ydata().tolist() for line in loss.lines] == [[2, 1.5, 1.2], [1.9, 1.6, 1.7]]
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["train", "valid"]
    np.testing.assert_allclose(accuracy.lines[0].get_ydata(), [50, 75, 70])
    np.testing.assert_array_equal(accuracy.lines[0].get_xdata(), [1, 2, 3])
    assert "70.0 % at the end" in accuracy.get_title()
    assert not any(text == "constant answer" for text in texts(loss.get_legend()))
    loss, *_ = drawn(plots.learning_curves(LOG, constant=1.87)).axes
    assert set(loss.lines[-1].get_ydata()) == {1.87} and "constant answer" in texts(
        loss.get_legend()
    )
    assert rate.get_ylabel().startswith("learning rate")


def test_confusion_writes_counts_and_shades_shares():
    matrix = np.diag([30, 10, 8, 6, 4, 1, 2, 0])
    matrix[0, 3] = 10
    ax = drawn(plots.confusion(matrix.tolist())).axes[0]
    shade = ax.collections[0].get_array()
    assert shade[0, 0] == 0.75 and shade[0, 3] == 0.25 and shade[1, 1] == 1
    assert shade[7].sum() == 0  # no picture of contempt: no share, and no warning
    assert [int(text) for text in texts(ax)] == matrix.ravel().tolist()
    assert names(ax) == list(EMOTIONS)
    assert ax.get_yticklabels()[0].get_text() == "neutral (40)"
    assert ax.get_ylabel() == "the voters' majority"
    own = plots.confusion([[3, 1], [0, 4]], ("cat", "dog"), truth="the label").axes[0]
    assert own.get_ylabel() == "the label"
    assert names(own) == ["cat", "dog"] and [int(text) for text in texts(own)] == [3, 1, 0, 4]


def test_reliability_by_hand():
    confidences = np.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.55])
    correct = np.array([True, True, True, False, False, True])
    above, below = drawn(plots.reliability(confidences, correct, bins=10)).axes
    expected = np.zeros(10)
    expected[5], expected[9] = 0.5, 0.75
    np.testing.assert_allclose(heights(above), expected)
    np.testing.assert_allclose(heights(below)[5], 2 / 6)
    error = 4 / 6 * abs(0.95 - 0.75) + 2 / 6 * abs(0.55 - 0.5)
    assert above.get_title() == f"calibration error {error:.3f}"


def test_confidence_is_grouped_by_the_voters_share():
    votes = np.repeat([[5, 5] + [0] * 8, [8, 2] + [0] * 8, [2, 4, 4] + [0] * 7], [6, 5, 4], axis=0)
    scores = np.full((15, 8), 0.05)
    scores[:, 0] = np.linspace(0.2, 0.9, 15)
    net, voters = drawn(plots.confidence(votes, {"net": scores})).axes[0].lines
    np.testing.assert_allclose(net.get_xdata(), [0.5, 0.8])  # 0.4: four faces are too few
    np.testing.assert_allclose(net.get_ydata(), [scores[:6, 0].mean(), scores[6:11, 0].mean()])
    np.testing.assert_allclose(voters.get_xdata(), voters.get_ydata())


def test_seeds_stand_beside_their_mean_and_deviation():
    panels = {"accuracy": {"a": [0.5, 0.7], "b": [0.6]}, "KL": {"a": [1.0, 2.0], "b": [3.0]}}
    one, other = drawn(plots.over_seeds(panels, {"accuracy": ("the paper's", {"b": 0.4})})).axes
    assert [ax.get_title() for ax in (one, other)] == ["accuracy", "KL"]
    assert [label.get_text() for label in one.get_yticklabels()] == ["a", "b"]
    points = [(line.get_marker(), *line.get_xdata()) for line in one.lines]
    assert points == [("|", 0.6), ("o", 0.5, 0.7), ("|", 0.6), ("o", 0.6), ("D", 0.4)]
    assert one.lines[-1].get_ydata() == [1] and one.get_xlabel() == "\u25c7 the paper's"
    (bar,) = one.collections[0].get_segments()
    spread = np.std([0.5, 0.7], ddof=1)
    np.testing.assert_allclose(bar[:, 0], [0.6 - spread, 0.6 + spread])
    assert not other.get_xlabel() and len(other.lines) == 4


def test_each_panel_of_seeds_has_its_own_order():
    panels = {"accuracy": {"A": [0.9], "B": [0.8]}, "loss": {"B": [0.7], "A": [0.1]}}
    _, loss = plots.over_seeds(panels).axes
    assert {(*line.get_xdata(), *line.get_ydata()) for line in loss.lines} == {(0.1, 0), (0.7, 1)}


def test_accuracy_per_emotion():
    accuracy = dict(zip(EMOTIONS, [0.9, 0.93, 0.88, 0.7, 0.82, 0.4, None, 0.2], strict=True))
    ax = drawn(plots.per_emotion(accuracy)).axes[0]
    widths = [bar.get_width() for bar in ax.patches]
    np.testing.assert_allclose(widths, [0.9, 0.93, 0.88, 0.7, 0.82, 0.4, 0, 0.2])
    assert texts(ax)[5:] == ["40.0%", "-", "20.0%"]
    assert [label.get_text() for label in ax.get_yticklabels()] == list(EMOTIONS)
    assert colours(ax) == [to_rgb(plots.COLOURS[name]) for name in EMOTIONS]


def test_the_time_of_a_step_adds_up_to_the_whole():
    ax = drawn(plots.step_time({"convolution": 75.0, "pooling": 5.0}, 100.0)).axes[0]
    np.testing.assert_allclose([bar.get_width() for bar in ax.patches], [0.75, 0.05, 0.2])
    assert texts(ax) == ["75.0 ms, 75%", "5.0 ms, 5%", "20.0 ms, 20%"]


def test_scores_beside_their_picture(pictures):
    scores = [0.02, 0.8, 0.05, 0.03, 0.04, 0.01, 0.04, 0.01]
    face, ax = drawn(plots.scores_bars(pictures[1], scores)).axes
    assert face.get_title() == "happiness"
    np.testing.assert_allclose([bar.get_width() for bar in ax.patches], scores)
    shuffled = dict(sorted(zip(EMOTIONS, scores, strict=True)))
    _, same = plots.scores_bars(pictures[1], shuffled).axes
    np.testing.assert_allclose([bar.get_width() for bar in same.patches], scores)
    assert [label.get_text() for label in same.get_yticklabels()] == list(EMOTIONS)


def test_scores_of_classes_of_ones_own(pictures):
    """In the order given; a class that is an emotion keeps that emotion's colour."""
    face, ax = drawn(plots.scores_bars(pictures[1], {"dog": 0.3, "cat": 0.6, "fear": 0.1})).axes
    assert face.get_title() == "cat"
    names = [label.get_text() for label in ax.get_yticklabels()]
    widths = dict(zip(names, (bar.get_width() for bar in ax.patches), strict=True))
    assert names == ["fear", "dog", "cat"] and widths == {"dog": 0.3, "cat": 0.6, "fear": 0.1}
    assert colours(ax)[0] == to_rgb(plots.COLOURS["fear"]) and len(set(colours(ax))) == 3


def tiny_vgg(name: str, **declared) -> nets.Net:
    """Of one's own, not registered: two blocks and a hidden dense layer."""
    plan = vgg.Plan(((2, 64), (3, 256)), dense=(512,), batch_norm=False)
    return nets.Net(name, partial(vgg.layers, plan=plan), **declared)


def test_architecture_names_every_block():
    words = texts(drawn(plots.architecture("vgg13")).axes[0])
    assert [w for w in words if "conv" in w] == [
        "2 x conv 3x3\n64 x 64 x 64",
        "2 x conv 3x3\n128 x 32 x 32",
        "3 x conv 3x3\n256 x 16 x 16",
        "3 x conv 3x3\n256 x 8 x 8",
    ]
    assert words.count("dense\n1024") == 2 and words[-1] == "dense\n8 emotions"
    pooled = texts(drawn(plots.architecture("vgg13bn")).axes[0])
    assert "mean of\neach map" in pooled and "256 x 6 x 6" in "".join(pooled)


def test_architecture_of_a_net_of_ones_own():
    own = tiny_vgg("own", size=32, channels=3, classes=5)
    words = texts(drawn(plots.architecture(own)).axes[0])
    assert words == [
        "picture\n3 x 32 x 32",
        "2 x conv 3x3\n64 x 32 x 32",
        "3 x conv 3x3\n256 x 16 x 16",
        "dense\n512",
        "dense\n5",
    ]


@pytest.fixture(scope="module")
def pipeline():
    return drawn(plots.pipeline())


def test_pipeline_names_the_modules_there_are(pipeline):
    words = "\n".join(texts(pipeline.axes[0])).split()
    modules = {word for word in words if word.startswith("ferlib.")}
    assert len(modules) >= 6
    assert [module for module in modules if find_spec(module) is None] == []


def test_no_text_of_the_diagrams_overlaps(pipeline):
    for figure in (pipeline, drawn(plots.architecture(tiny_vgg("small", size=48)))):
        boxes = [text.get_window_extent() for text in figure.axes[0].texts if text.get_text()]
        for k, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[k + 1 :])


@pytest.mark.slow
def test_the_command_writes_the_same_svg_twice(tmp_path):
    """In this process and in another, where what Python scatters by chance is scattered anew.

    The diagram needs no MXNet, which is not there for every Python.
    """
    one, other = (tmp_path / "new" / f"{name}.svg" for name in ("a", "b"))
    assert command.main([str(one)]) == 0
    call = [sys.executable, "-X", "importtime", "-m", "ferlib.plots", other]
    told = subprocess.run(call, check=True, capture_output=True, text=True).stderr
    imported = {line.rpartition("|")[2].strip() for line in told.splitlines()}
    assert "matplotlib" in imported and "mxnet" not in imported
    assert [path.name for path in sorted((tmp_path / "new").iterdir())] == ["a.svg", "b.svg"]
    assert one.read_bytes() == other.read_bytes()
    assert ElementTree.parse(one).getroot().tag.endswith("svg")


def test_the_command_tells_its_usage(capsys):
    assert command.main([]) == 2
    assert "usage" in capsys.readouterr().err


# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB.
BLINDNESS = {
    "none": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


@pytest.mark.parametrize("kind", BLINDNESS)
def test_colours_of_the_emotions_stay_apart(kind):
    rgb = np.array([to_rgb(plots.COLOURS[name]) for name in EMOTIONS])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(BLINDNESS[kind]).T, 0, 1)
    seen = np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055)
    lab = rgb2lab(seen[None])[0]
    first, second = np.triu_indices(8, 1)
    assert deltaE_ciede2000(lab[first], lab[second]).min() >= 17


def test_explained_crops_stand_beside_their_heat(pictures):
    heats = np.random.default_rng(0).uniform(-1, 3, (3, 12, 12))
    axes = drawn(plots.explained(pictures, heats, ["a", "b", "c"], columns=2)).axes
    shown = [ax for ax in axes if ax.images]
    assert [ax.get_title("left") for ax in shown] == ["a", "", "b", "", "c", ""]
    for k, (plain, hot) in enumerate(zip(shown[::2], shown[1::2], strict=True)):
        np.testing.assert_array_equal(plain.images[0].get_array(), pictures[k])
        below, above = hot.images
        np.testing.assert_array_equal(below.get_array(), pictures[k])
        wanted = heats[k].clip(0) / heats[k].max()
        np.testing.assert_allclose(above.get_array(), wanted)
        assert above.get_extent() == below.get_extent() and above.get_clim() == (0, 1)
        assert (above.get_alpha()[wanted == 0] == 0).all()  # cold places show the face
        assert plain.get_window_extent().x1 <= hot.get_window_extent().x0
    (key,) = [ax for ax in axes if not ax.images]
    assert texts(key) == ["no evidence", "most"]


def test_explained_crops_can_be_left_out(pictures):
    heats = np.ones((3, 12, 12))
    axes = drawn(plots.explained(pictures, heats, ["a", "b", "c"], beside=False)).axes
    assert [len(ax.images) for ax in axes if ax.images] == [2, 2, 2]


def test_explained_colour_is_gray_under_its_heat():
    red = np.zeros((1, 20, 30, 3), np.uint8)
    red[..., 0] = 200
    plain, hot, _ = drawn(plots.explained(red, np.zeros((1, 5, 5)))).axes
    assert plain.images[0].get_array().shape == (20, 30, 3)
    assert (hot.images[0].get_array() == 60).all()  # its luma, 0.299 * 200
    assert not hot.images[1].get_array().any()  # a map of nothing is no division by zero


def test_surest_has_a_row_for_each_emotion(pictures):
    rng = np.random.default_rng(0)
    rows, scores = rng.integers(0, 3, (8, 2)), rng.uniform(0, 1, (8, 2))
    heats = rng.uniform(0, 1, (8, 2, 48, 48))
    found = SimpleNamespace(rows=rows, scores=scores, heats=heats, classes=EMOTIONS)
    figure = drawn(plots.surest(list(pictures), found))
    shown = [ax for ax in figure.axes if ax.images]
    assert [ax.get_title() for ax in shown] == [f"{score:.0%}" for score in scores.ravel()]
    for ax, row, heat in zip(shown, rows.ravel(), found.heats.reshape(16, 48, 48), strict=True):
        np.testing.assert_array_equal(ax.images[0].get_array(), pictures[row])
        np.testing.assert_allclose(ax.images[1].get_array(), heat / heat.max())
    assert [texts(ax)[0] for ax in shown[::2]] == list(EMOTIONS)
    bars = [ax.lines[0].get_color() for ax in shown[::2]]
    assert bars == [plots.COLOURS[name] for name in EMOTIONS]
    inside = figure.get_window_extent()
    assert all(ax.texts[0].get_window_extent().x0 >= inside.x0 for ax in shown[::2])


def test_notebooks_can_show_a_figure(pictures):
    assert plots.grid(pictures)._repr_png_().startswith(b"\x89PNG")


def test_the_readers_own_settings_are_left_alone(pictures):
    before = dict(matplotlib.rcParams)
    with matplotlib.rc_context({"figure.facecolor": "black", "text.color": "white"}):
        figure = plots.grid(pictures)
        assert figure.get_facecolor() == (1, 1, 1, 1)
        assert matplotlib.rcParams["figure.facecolor"] == "black"
    assert dict(matplotlib.rcParams) == before


def test_a_timeline_has_a_band_for_each_face_and_gaps():
    seconds = np.array([0, 0.04, 0.08, 0.12, 1.0, 1.04, 1.08])
    rows = np.random.default_rng(0).dirichlet(np.ones(8), 7)
    figure = plots.timeline({"face 1": (seconds, rows), "face 2": (seconds[:4], rows[:4])})
    first, second = figure.axes
    assert [first.get_title("left"), second.get_title("left")] == ["face 1", "face 2"]
    assert (len(first.collections), len(second.collections)) == (16, 8)  # two spans, one
    x, y = first.collections[7].get_paths()[0].vertices.T  # contempt, on top, first span
    assert x.max() == pytest.approx(0.16) and y.max() == pytest.approx(1)  # its last frame, too
    assert figure.legends[0].get_texts()[0].get_text() == "neutral"
    once = plots.timeline({"face 1": (seconds[:1], rows[:1])}).axes[0].collections[0]
    assert np.ptp(once.get_paths()[0].vertices[:, 0]) == pytest.approx(0.04)
    many = {f"face {k}": (seconds[: 2 + k % 5], rows[: 2 + k % 5]) for k in range(20)}
    crowd = plots.timeline(many)
    assert len(crowd.axes) == 12 and "of 20" in crowd.legends[0].get_title().get_text()


# ---------------------------------------------------------------- the bench's

NETS = {  # million parameters, million multiply-adds, accuracy
    "lean": (3, 110, 0.85), "small": (0.4, 40, 0.845), "wide": (40, 890, 0.83),
    "twin": (3, 112, 0.851), "masks": (142, 1500, 0.86), "tiny": (0.07, 6, 0.7),
    "as cheap": (1, 40, 0.8),
}  # fmt: skip


def no_overlap(some: list) -> bool:
    boxes = [text.get_window_extent() for text in some if text.get_text()]
    return not any(box.overlaps(other) for k, box in enumerate(boxes) for other in boxes[k + 1 :])


def test_the_faces_seen_longest_are_those_of_most_seconds():
    many = np.arange(480) / 60, np.full((480, 8), 0.125)
    long = np.arange(300) / 5, np.full((300, 8), 0.125)
    figure = plots.timeline({"8 s": many, "60 s": long}, most=1)
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["60 s"]
    assert figure.legends[0].get_title().get_text() == "the face seen longest, of 2"


def test_many_classes_with_long_names_find_room():
    classes = tuple(f"expression of kind {k:02}$x^$" for k in range(20))
    some = np.arange(20) / 5, np.full((20, 20), 0.05)
    figure = plots.timeline({"a": some}, classes=classes)
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.width
    shades = [handle.get_facecolor() for handle in figure.legends[0].get_patches()]
    assert len(set(shades)) == 20
    matrix = np.full((20, 20), 100)
    assert not overlapping(plots.confusion(matrix, classes))
    assert not overlapping(figures.narrow(plots.confusion(matrix, classes, key=False), 6.7))
    assert not overlapping(plots.scores_bars(np.zeros((48, 48)), dict.fromkeys(classes, 0.05)))


def overlapping(figure) -> bool:
    """Whether numbers in cells, or names on the left, run into the next one."""
    figure.draw_without_rendering()
    ax = figure.axes[-1 if len(figure.axes) == 2 and not figure.axes[0].texts else 0]
    names = [label.get_window_extent() for label in ax.get_yticklabels()]
    names.sort(key=lambda box: box.y0)
    texts = {text.get_position(): text.get_window_extent() for text in ax.texts}
    return any(one.y1 > other.y0 + 1 for one, other in pairwise(names)) or any(
        box.x1 > texts[column + 1, row].x0
        for (column, row), box in texts.items()
        if (column + 1, row) in texts
    )


def test_curves_of_all_nets_carry_their_names():
    rng = np.random.default_rng(0)
    curves = {f"net{k}": 0.8 - rng.random(k + 2) / (10 * np.arange(1, k + 3)) for k in range(16)}
    ax = drawn(plots.accuracy_by_epoch(curves)).axes[0]
    named = {text.get_text().split()[0]: text for text in ax.texts}
    for line, lead in zip(ax.lines[::2], ax.lines[1::2], strict=True):
        name = f"net{len(line.get_ydata()) - 2}"
        np.testing.assert_allclose(line.get_ydata(), 100 * curves[name])
        assert line.get_xdata()[-1] == 100 == lead.get_xdata()[0]
        assert lead.get_ydata()[1] == named[name].get_position()[1]
        assert named[name].get_text() == f"{name} {100 * curves[name][-1]:.1f}"
        assert named[name].get_color() is line.get_color() is lead.get_color()
    assert no_overlap(ax.texts) and len(named) == 16
    low, high = ax.get_ylim()
    assert all(low < text.get_position()[1] < high for text in ax.texts)


def test_names_move_apart_no_farther_than_they_must():
    apart = partial(plots_bench._apart, gap=1.0, low=-9.0, high=9.0)
    np.testing.assert_allclose(apart(np.array([0.0, 2.0, 5.0])), [0, 2, 5])
    np.testing.assert_allclose(apart(np.array([0.0, 0.0, 0.0, 5.0])), [-1, 0, 1, 5])
    np.testing.assert_allclose(apart(np.array([8.9, 8.9])), [7.5, 8.5])  # half a gap to the end
    np.testing.assert_allclose(apart(np.array([-8.9, -8.9])), [-8.5, -7.5])


def test_cost_names_every_dot_and_joins_the_best():
    rows = [
        {"name": name, "parameters": 1e6 * size, "multiply_adds": 1e6 * cost, "accuracy": value}
        for name, (size, cost, value) in NETS.items()
    ]
    best = [net["name"] for net in plots.best_for_cost(rows)]
    assert best == ["tiny", "small", "lean", "twin", "masks"]
    figure = drawn(plots.accuracy_by_cost(rows))
    ax = figure.axes[0]
    named = [text for text in ax.texts if text.get_text()]
    assert [text.get_text() for text in named] == list(NETS) and no_overlap(named)
    assert all(ax.bbox.containsx(text.get_window_extent().x1) for text in named)
    line = ax.lines[0]
    assert list(line.get_xdata()) == [6, 40, 110, 112, 1500] and ax.get_xscale() == "log"
    sizes = [float(dot.get_sizes()[0]) for dot in ax.collections[: len(NETS)]]
    assert np.argsort(sizes).tolist() == np.argsort([size for size, *_ in NETS.values()]).tolist()


def test_a_line_from_a_dot_to_its_name_crosses_no_other_name():
    """Of the bench's own rows, as chapter 17 draws them."""
    known = json.loads(recorded("bench.json").read_text())["rows"]
    rows = [
        {"name": row["net"], "accuracy": row["test"]["without near"]["accuracy"]}
        | {key: row[key] for key in ("parameters", "multiply_adds")}
        for row in known
        if row["labels"] == "ferplus" and row["seed"] == 0
    ]
    figure = drawn(plots.accuracy_by_cost(rows, "accuracy (%)"))
    ax = figure.axes[0]
    boxes = [text.get_window_extent() for text in ax.texts if text.get_text()]
    leads = [text for text in ax.texts if not text.get_text()]
    assert leads and len(boxes) == len(rows)
    for lead in leads:
        start = ax.transData.transform(lead.xy)
        end = start + np.array(lead.get_position()) * figure.dpi / 72
        way = np.linspace(start, end, 50)
        crossed = [box for box in boxes if any(box.contains(*at) for at in way)]
        assert len(crossed) <= 1  # its own name, where the line ends


@pytest.mark.parametrize("most", [30, 4000])
def test_the_numbers_of_a_cost_axis_stay_apart(most):
    rows = [
        {"name": f"{cost}", "parameters": 1e6, "multiply_adds": 1e6 * cost, "accuracy": 0.5}
        for cost in (4, most)
    ]
    (ax,) = drawn(plots.accuracy_by_cost(rows)).axes
    low, high = ax.get_xlim()
    shown = zip(ax.get_xticks(), ax.get_xticklabels(), strict=True)
    labels = [label for at, label in shown if low <= at <= high]
    assert len(labels) > 2 and no_overlap(labels)


def test_look_alikes_tell_copies_from_strangers(pictures):
    pairs = [(pictures[0], pictures[0]), (pictures[0], pictures[1])]
    figure = drawn(plots.look_alikes(pairs, [0, 60], 56, ([-1, 1, 57, 61], [3, 2, 900])))
    *faces, below = figure.axes
    np.testing.assert_array_equal(faces[3].images[0].get_array(), pictures[1])
    assert [ax.get_title() for ax in faces] == ["0 bits", "60 bits", "", ""]
    assert [ax.title.get_color() for ax in faces[:2]] == [plots.INK, plots.MARK]
    assert heights(below) == [3, 2, 900] and "56 bits" in texts(below)[0]
    assert colours(below)[0] == colours(below)[1] != colours(below)[2]
    assert len(drawn(plots.look_alikes(pairs, [0, 60], 56)).axes) == 4


# ---------------------------------------------------------------- for print


def pdf_text(path) -> str:
    """What the pages show by letters, of any font: two bytes each."""
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", path.read_bytes(), re.S)
    pages = b"".join(zlib.decompress(one) for one in streams if one.startswith(b"x\x9c"))
    shown = re.findall(rb"\[ (.*?) \] TJ", pages, re.S)
    return " ".join("".join(re.findall(r"\x00(.)", one.decode("latin1"))) for one in shown)


@pytest.fixture
def report():
    matrix = np.diag([1030, 20, 8, 6, 4, 1, 2, 0])
    recall = dict(zip(EMOTIONS, [1.0] * 7 + [None], strict=True))
    return SimpleNamespace(confusion=matrix.tolist(), per_emotion=recall)


def test_figures_for_print_are_vectors_with_their_letters(report, tmp_path):
    sure, right = np.array([0.9, 0.6, 0.4]), np.array([True, False, True])
    paths = figures.write(tmp_path / "new", report, sure, right)
    assert [path.name for path in paths] == ["confusion.pdf", "reliability.pdf", "per_emotion.pdf"]
    for path in paths:
        raw = path.read_bytes()
        assert b"/Subtype /Image" not in raw and b"/Type3" not in raw
        assert b"/FontFile2" in raw and b"/CIDFontType2" in raw  # TrueType, inside
        width = re.search(rb"/MediaBox \[ 0 0 ([\d.]+)", raw)[1]
        assert float(width) == pytest.approx(72 * 3.35)
    confusion, reliability, recall = map(pdf_text, paths)
    assert all(name in confusion and name in recall for name in EMOTIONS)
    assert "1,030" in confusion and "confidence" in reliability
    again = figures.write(tmp_path / "again", report, sure, right)
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in paths]
    others = figures.write(tmp_path / "none", report, sure[:0], right[:0], "class")
    assert len(others) == 2 and "the label" in pdf_text(others[0])
    assert "majority" in confusion and "majority" not in pdf_text(others[0])


def test_figures_for_print_keep_inside_their_page_with_letters_of_one_size(report):
    figure = drawn(figures.narrow(plots.confusion(report.confusion, key=False)))
    (ax,) = figure.axes
    page = figure.get_window_extent()
    shown = [*ax.get_xticklabels(), *ax.get_yticklabels(), ax.xaxis.label, ax.yaxis.label]
    boxes = [text.get_window_extent() for text in shown]
    assert all(box.x0 >= page.x0 and box.x1 <= page.x1 for box in boxes)
    assert all(box.y0 >= page.y0 and box.y1 <= page.y1 for box in boxes)
    assert {text.get_fontsize() for text in shown} == {7.5} and no_overlap(ax.texts)


def test_figures_that_cannot_be_written_are_told_before_the_work(report, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FerlibError, match="cannot"):
        figures.check(tmp_path / "file")
    figures.check(tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]  # nothing of the attempt
