"""The degradations of benchmarks/robust.py: each changes a picture as its name says."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from ferlib import Recognizer, plots
from ferlib.data import cartoon

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import robust

FACE = cartoon.draw("fear", np.random.default_rng(3), intensity=1.0)
HOW = (robust.blur, robust.noise, robust.compress, robust.darken, robust.turn, robust.cover)
HOW += (robust.coarsen, robust.tighten, robust.move)


def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("how", HOW)
def test_no_strength_changes_nothing(how):
    np.testing.assert_array_equal(how(FACE, 0, rng()), FACE)


@pytest.mark.parametrize("name", robust.DEGRADATIONS)
def test_every_degradation_keeps_form_and_source(name):
    pictures = np.stack([FACE, FACE[:, ::-1]])
    kept = pictures.copy()
    worse = robust.degraded(pictures, name)
    assert worse.dtype == np.uint8 and worse.shape == pictures.shape
    np.testing.assert_array_equal(pictures, kept)
    np.testing.assert_array_equal(worse, robust.degraded(pictures, name))
    assert np.array_equal(worse, pictures) == (name == "as they are")


@pytest.mark.parametrize("deviation", [1, 2])
def test_blur_is_scipys(deviation):
    wanted = ndimage.gaussian_filter(FACE.astype(float), deviation, mode="mirror")
    assert np.abs(robust.blur(FACE, deviation, None) - wanted).max() <= 3


@pytest.mark.parametrize("deviation", [10, 25])
def test_noise_has_its_deviation_and_no_bias(deviation):
    gray = np.full((400, 400), 128, np.uint8)
    added = robust.noise(gray, deviation, rng()) - 128.0
    assert added.std() == pytest.approx(deviation, rel=0.02)
    assert added.mean() == pytest.approx(0, abs=0.2)
    assert np.corrcoef(added[:, 1:].ravel(), added[:, :-1].ravel())[0, 1] == pytest.approx(
        0, abs=0.01
    )


def test_jpeg_is_of_that_quality():
    with io.BytesIO() as file:
        Image.fromarray(FACE).save(file, "JPEG", quality=20)
        wanted = np.asarray(Image.open(file))
    np.testing.assert_array_equal(robust.compress(FACE, 80, None), wanted)
    assert np.abs(wanted - FACE.astype(int)).mean() > 1


def test_half_brightness_is_half():
    dark = robust.darken(FACE, 0.5, None)
    np.testing.assert_allclose(dark, FACE / 2, atol=0.5)


@pytest.mark.parametrize("degrees", [10, 20])
def test_a_turn_is_of_that_many_degrees_to_both_sides(degrees):
    down, across = np.mgrid[:97, :97] - 48
    line = np.where((abs(down) < 2) & (abs(across) < 40), 255, 0).astype(np.uint8)
    angles = set()
    for seed in range(8):
        turned = robust.turn(line, degrees, np.random.default_rng(seed))
        y, x = np.nonzero(turned > 128)
        slope = np.polyfit(x, y, 1)[0]
        angles.add(round(np.degrees(np.arctan(slope))))
        assert np.abs([y.mean() - 48, x.mean() - 48]).max() < 0.5  # about the middle
    assert angles == {-degrees, degrees}


def test_a_fifth_is_covered_by_one_rectangle_inside():
    places = set()
    for seed in range(20):
        marked = robust.cover(np.zeros((48, 48), np.uint8), 0.2, np.random.default_rng(seed))
        y, x = np.nonzero(marked)
        assert len(y) == (np.ptp(y) + 1) * (np.ptp(x) + 1) == 21 * 22  # of 48 x 48
        assert set(marked[y, x]) == {128}
        places.add((y.min(), x.min()))
    assert len(places) > 10


def test_half_resolution_keeps_large_things_and_loses_small_ones():
    dots = (np.indices((48, 48)).sum(axis=0) % 2 * 255).astype(np.uint8)
    assert np.ptp(robust.coarsen(dots, 0.5, None)[4:-4, 4:-4].astype(int)) < 20
    ramp = np.tile(np.linspace(0, 255, 48).astype(np.uint8), (48, 1))
    assert np.abs(robust.coarsen(ramp, 0.5, None)[:, 2:-2] - ramp[:, 2:-2].astype(int)).max() <= 3


def test_a_tighter_crop_is_the_enlarged_middle():
    picture = np.zeros((100, 100), np.uint8)
    picture[10:90, 10:90], picture[30:70, 30:70] = 100, 200
    tight = robust.tighten(picture, 0.2, None)
    assert (tight[1:-1, 1:-1] >= 100).all() and (tight[26:74, 26:74] == 200).all()
    assert (tight > 150).sum() == 50 * 50


def test_a_moved_crop_is_moved_to_every_side_and_its_border_repeats():
    ramp = np.add.outer(3 * np.arange(48), np.arange(48)).astype(np.uint8)
    wanted = {(5, 0): 0, (-5, 0): 0, (0, 5): 0, (0, -5): 0}
    for seed in range(20):
        moved = robust.move(ramp, 0.1, np.random.default_rng(seed))
        for down, across in wanted:
            rows = (np.arange(48) - down).clip(0, 47)
            columns = (np.arange(48) - across).clip(0, 47)
            wanted[down, across] += np.array_equal(moved, ramp[np.ix_(rows, columns)])
    assert sum(wanted.values()) == 20 and min(wanted.values()) > 0


@pytest.mark.slow
def test_table_and_plot(tmp_path):
    pictures = np.stack([cartoon.draw("happiness", rng()), FACE])
    fer = Recognizer()
    truth = fer.classify(pictures).argmax(axis=1)
    rows = robust.table(fer, pictures, truth)
    assert [row["name"] for row in rows] == list(robust.DEGRADATIONS)
    assert rows[0]["accuracy"] == rows[0]["balanced_accuracy"] == 1
    rows[3]["accuracy"] = 0.25
    figure = plots.robustness(rows)
    ax = figure.axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == list(robust.DEGRADATIONS)
    assert [bar.get_width() for bar in ax.patches] == [row["accuracy"] for row in rows]
    assert "25.0% (-75.0)" in [text.get_text() for text in ax.texts]
    assert not ax.images  # bars only: no face is shown
    figure.savefig(tmp_path / "robust.png")
    assert Image.open(tmp_path / "robust.png").width > 400
