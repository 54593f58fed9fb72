"""Turned heads: what the net of angles says, crops cut upright, looks at turned copies."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from common import ROOT, astronaut
from PIL import Image

from ferlib import Recognizer, nets
from ferlib.errors import FerlibError
from ferlib.faces import roll, turning
from ferlib.faces.face import crop
from ferlib.nets.places import DEFAULT_WEIGHTS, weight_files

FACE = (183, 75, 86, 103)  # of the astronaut: x, y, width, height
MIDDLE = (FACE[0] + FACE[2] / 2, FACE[1] + FACE[3] / 2)
STORED = ROOT / "model_store" / roll.NAME
needs_the_net = pytest.mark.skipif(
    not STORED.with_suffix(".json").is_file(), reason="model_store/roll.json is not there"
)


def turned(degrees: float) -> np.ndarray:
    """The astronaut turned clockwise about the middle of her face, by Pillow instead of OpenCV."""
    picture = Image.fromarray(astronaut())
    return np.asarray(picture.rotate(-degrees, Image.Resampling.BICUBIC, center=MIDDLE))


@pytest.fixture(scope="module")
def upright() -> roll.Upright:
    return roll.Upright()


# ---------------------------------------------------------------- the net


@needs_the_net
@pytest.mark.parametrize("degrees", [-45, -30, -20, 0, 20, 30, 45])
def test_the_angle_of_a_turned_face(upright, degrees):
    found = upright.angles([crop(turned(degrees), FACE)])
    assert found.shape == (1,) and found.dtype == np.float32
    assert found[0] == pytest.approx(degrees, abs=6)


@needs_the_net
def test_a_mirrored_face_leans_the_other_way(upright):
    there, back = upright.angles([crop(turned(25), FACE), crop(turned(25), FACE)[:, ::-1]])
    assert there > 15 and there + back == pytest.approx(0, abs=6)


@needs_the_net
def test_rolls_are_whole_and_0_for_small_angles(upright, monkeypatch):
    said = np.array([-14.4, -15.2, 14.6, 3, 30.4], np.float32)
    monkeypatch.setattr(upright, "angles", lambda crops: said)
    assert upright.rolls([None] * 5).tolist() == [0, -15, 15, 0, 30]


@needs_the_net
def test_what_lies_in_the_corners_does_not_matter(upright):
    face = np.asarray(Image.fromarray(crop(turned(30), FACE)).convert("L").resize((48, 48)))
    across = np.arange(48) - 23.5
    corners = np.hypot(across, across[:, None]) > 0.47 * 48
    others = np.where(corners, np.random.default_rng(0).integers(0, 256, (48, 48)), face)
    alone, same = upright.angles([face]), upright.angles([others.astype(np.uint8)])
    assert corners.mean() > 0.25 and alone == same


@needs_the_net
def test_the_net_is_small():
    assert weight_files(STORED)[1].stat().st_size < 300_000
    assert nets.parameters(nets.load(STORED)[0]) < 75_000


@needs_the_net
def test_threads_share_one(upright):
    crops = [crop(turned(degrees), FACE) for degrees in (-30, 0, 30, 45)]
    alone = [upright.angles([one])[0] for one in crops]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda one: upright.angles([one])[0], crops * 8))
    assert together == alone * 8


def test_nothing_is_turned_where_the_net_is_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(roll, "STORES", (tmp_path,))
    alone = roll.Upright()
    assert alone.prefix is None
    assert alone.rolls([crop(turned(40), FACE)] * 3).tolist() == [0, 0, 0]


def test_no_crops_have_no_angles(upright):
    assert upright.angles([]).shape == upright.rolls([]).shape == (0,)


@needs_the_net
def test_the_net_beside_other_weights_is_taken(tmp_path):
    for path in weight_files(STORED):
        shutil.copy(path, tmp_path)
    beside = roll.Upright(tmp_path)
    assert beside.prefix == tmp_path / "roll"
    assert beside.rolls([crop(turned(30), FACE)])[0] == pytest.approx(30, abs=6)
    assert roll.Upright(tmp_path / "other").prefix == STORED


@needs_the_net
@pytest.mark.parametrize("change", [{"classes": ["a", "b"]}, {"classes": [*"abcdefghijk"]}])
def test_another_nets_files_are_told(tmp_path, change):
    for path in weight_files(STORED):
        shutil.copy(path, tmp_path)
    info = tmp_path / "roll.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | change))
    with pytest.raises(FerlibError, match="belongs to another net"):
        roll.Upright(tmp_path).angles([crop(turned(0), FACE)])


# ---------------------------------------------------------------- crops


@pytest.mark.parametrize("box", [FACE, (-20.5, 300, 61, 80), (490, 480.25, 90, 70)])
def test_a_face_that_is_not_turned_is_cut_byte_for_byte_as_ever(box):
    picture = astronaut()
    assert np.array_equal(turning.part(picture, box).upright(0), crop(picture, box))


@pytest.mark.parametrize("degrees", [-90, 90, 180])
@pytest.mark.parametrize("box", [(20, 14, 25, 25), (20.5, 14.5, 24, 30), (-4, 40, 25, 25)])
@pytest.mark.parametrize("shape", [(60, 80), (60, 80, 3)])
def test_right_angles_are_numpys(degrees, box, shape):
    picture = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    wanted = np.rot90(crop(picture, box), degrees // 90)  # counter-clockwise
    np.testing.assert_array_equal(turning.part(picture, box).upright(degrees), wanted)


def test_a_face_in_a_very_long_picture_is_cut_out():
    picture = np.zeros((40, 40_000, 3), np.uint8)
    picture[:, 39_000:] = astronaut()[100:140, :1].mean()
    assert turning.part(picture, (39_500, 5, 30, 30)).upright(30).min() > 0


@pytest.mark.parametrize("degrees", [-40, 17, 30])
def test_a_turned_face_is_cut_out_as_it_stood(degrees):
    found = turning.part(turned(degrees), FACE).upright(degrees).astype(float)
    wanted = crop(astronaut(), FACE).astype(float)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).mean() < 4  # of 255: interpolated twice
    assert np.abs(found - crop(turned(degrees), FACE)).mean() > 20


@needs_the_net
def test_a_turned_face_reads_as_upright(upright):
    if not (ROOT / "model_store" / f"{DEFAULT_WEIGHTS}.json").is_file():
        pytest.skip("no net of emotions is shipped")
    fer = Recognizer()
    straight = fer.classify([crop(astronaut(), FACE)])[0]
    for degrees in (-45, -30, 30, 45):
        told = upright.rolls([crop(turned(degrees), FACE)])[0]
        read = fer.classify([turning.part(turned(degrees), FACE).upright(told)])[0]
        assert read.argmax() == straight.argmax()
        assert np.abs(read - straight).max() < 0.25


# ---------------------------------------------------------------- looks at turned copies


def bright(picture: np.ndarray):
    """A detector of the one bright square of a picture, with landmarks: its middle five times."""
    down, across = np.nonzero(picture[..., 0] > 128)
    if not len(down):
        return np.zeros((0, 4)), np.zeros(0), np.zeros((0, 5, 2))
    x, y = across.mean() + 0.5, down.mean() + 0.5
    box = np.array([[x - 5, y - 8, 10, 16]])
    return box, np.array([0.9]), np.full((1, 5, 2), (x, y))


@pytest.mark.parametrize("x, y", [(60, 45), (40, 30), (75, 60)])
def test_what_is_found_in_turned_copies_is_told_in_the_pictures_pixels(x, y):
    picture = np.zeros((90, 120, 3), np.uint8)
    picture[y - 4 : y + 4, x - 4 : x + 4] = 255
    rows, none = turning.turned_looks(bright, [picture, np.zeros_like(picture)])
    assert rows.shape == (1, 15) and none.shape == (0, 15)  # two looks at the same thing
    np.testing.assert_allclose(rows[0, :4], [x - 5, y - 8, 10, 16], atol=0.3)
    np.testing.assert_allclose(rows[0, 5:], [x, y] * 5, atol=0.3)
    assert rows[0, 4] == 0.9


def test_copies_are_turned_by_the_angles_named_and_keep_their_size():
    shown = []

    def watched(picture):
        shown.append(picture)
        return np.zeros((0, 4)), np.zeros(0)

    picture = turned(0)[:200]
    assert turning.turned_looks(watched, [picture])[0].shape == (0, 15)
    assert [copy.shape for copy in shown] == [(200, 512, 3)] * 2
    for copy, degrees in zip(shown, turning.LOOKS, strict=True):
        wanted = np.asarray(Image.fromarray(picture).rotate(-degrees, Image.Resampling.BILINEAR))
        assert np.abs(copy.astype(float) - wanted).mean() < 2


def test_what_the_detector_is_not_sure_of_does_not_count():
    def unsure(picture):
        return np.array([[9.0, 9, 10, 10]]), np.array([turning.SURE - 0.01])

    assert not len(turning.turned_looks(unsure, [np.zeros((40, 40, 3), np.uint8)])[0])
    assert turning.turned_looks(unsure, []) == []
