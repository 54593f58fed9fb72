"""Pictures to arrays: against formulas and other libraries, never against ourselves alone."""

import importlib
import io
import os
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image

from ferlib.data import images
from ferlib.data.augment import NONE, WEAR, Augmentation, augment
from ferlib.errors import FerlibError

augmentation = importlib.import_module("ferlib.data.augment")  # `data.augment` is its function

RNG = np.random.default_rng(0)
PICTURES = RNG.integers(0, 256, (70, 48, 48), dtype=np.uint8)
RGB = np.random.default_rng(1).integers(0, 256, (9, 48, 48, 3), dtype=np.uint8)


def encoded(array, kind="PNG", mode=None, **how) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array, mode).save(buffer, kind, **how)
    return buffer.getvalue()


def test_standardised_is_mean_zero_deviation_one():
    out = images.normalised(PICTURES, "standardise")
    wanted = (PICTURES - PICTURES.mean(axis=(1, 2), keepdims=True)) / PICTURES.std(
        axis=(1, 2), keepdims=True
    )
    np.testing.assert_allclose(out[:, 0], wanted, atol=1e-5)


def test_colours_are_standardised_together_and_channels_come_first():
    colours = RNG.integers(0, 256, (5, 48, 48, 3), dtype=np.uint8)
    out = images.normalised(colours, "standardise")
    whole = {"axis": (1, 2, 3), "keepdims": True}
    wanted = (colours - colours.mean(**whole)) / colours.std(**whole)
    np.testing.assert_allclose(out, wanted.transpose(0, 3, 1, 2), atol=1e-5)
    with pytest.raises(FerlibError, match="gray"):
        images.normalised(colours, "equalise")


def test_gray_and_colour_become_what_the_net_takes():
    colours = RNG.integers(0, 256, (3, 60, 50, 3), dtype=np.uint8)
    mixed = [colours[0], PICTURES[0]]
    gray, three = (images.resize(mixed, 48, channels) for channels in (1, 3))
    assert gray.shape == (2, 48, 48) and three.shape == (2, 48, 48, 3)
    assert (gray[1] == PICTURES[0]).all() and (three[1] == PICTURES[0][..., None]).all()
    small = Image.fromarray(colours[0]).resize((48, 48), Image.Resampling.BILINEAR)
    assert (three[0] == np.asarray(small)).all()
    assert images.prepare(mixed, 48, "standardise", 3).shape == (2, 3, 48, 48)


def test_equalised_is_flat_in_rank_and_free_of_any_plane():
    dark_to_light = np.linspace(0, 120, 48)[None, :, None] + PICTURES / 4
    out = images.normalised(dark_to_light.astype(np.uint8), "equalise")[:, 0].astype(np.float64)
    down, across = np.mgrid[:48, :48]
    design = np.stack([np.ones(48 * 48), down.ravel(), across.ravel()], axis=1)
    fitted, *_ = np.linalg.lstsq(design, out.reshape(70, -1).T, rcond=None)
    np.testing.assert_allclose(fitted, 0, atol=1e-5)
    np.testing.assert_allclose(out.std(axis=(1, 2)), 1, atol=1e-5)
    # A change of exposure that keeps the order of the grays is gone altogether.
    brighter = (PICTURES // 2 + 100).astype(np.uint8)
    same = images.normalised((brighter - 100) * 2, "equalise")
    assert (images.normalised(brighter, "equalise") == same).all()


@pytest.mark.parametrize("kind", images.NORMALISATIONS)
@pytest.mark.parametrize("size", [48, 64])
def test_a_picture_gives_the_same_bits_alone_and_in_any_batch(kind, size):
    assert_same_alone_and_together(PICTURES, size, kind, 1)


@pytest.mark.parametrize("size", [48, 64])
def test_so_does_a_picture_in_colour(size):
    assert_same_alone_and_together(RGB, size, "standardise", 3)


def assert_same_alone_and_together(pictures, size, kind, channels):
    together = images.prepare(pictures, size, kind, channels)
    assert together.shape == (len(pictures), channels, size, size)
    assert together.dtype == np.float32
    for row in (0, len(pictures) // 2, len(pictures) - 1):
        for alone in (pictures[row : row + 1], [pictures[row]]):
            assert (images.prepare(alone, size, kind, channels) == together[row]).all()


@pytest.mark.parametrize("kind", images.NORMALISATIONS)
def test_a_flat_picture_becomes_zeros(kind):
    assert not images.prepare(np.full((1, 48, 48), 7, np.uint8), 48, kind).any()


def test_gray_is_pillows_gray():
    picture = RNG.integers(0, 256, (60, 50, 3), dtype=np.uint8)
    assert (images.to_gray(picture) == np.asarray(Image.fromarray(picture).convert("L"))).all()


def test_no_augmentation_changes_nothing():
    assert (augment(PICTURES, 48, np.random.default_rng(1), NONE) == PICTURES).all()


def test_augmentation_differs_by_picture_and_epoch_and_repeats_with_its_seed():
    same = np.repeat(PICTURES[:1], 8, axis=0)
    first, second = (augment(same, 48, np.random.default_rng(s)) for s in (1, 2))
    assert len(np.unique(first.reshape(8, -1), axis=0)) == 8
    assert (first != second).any()
    assert (first == augment(same, 48, np.random.default_rng(1))).all()


def test_a_picture_in_colour_is_moved_as_its_channels_are():
    how = Augmentation(erase=0, wear=0)
    moved = augment(RGB, 40, np.random.default_rng(5), how)
    assert moved.shape == (9, 40, 40, 3)
    for channel in range(3):
        alone = augment(RGB[..., channel], 40, np.random.default_rng(5), how)
        # OpenCV may round interpolated numbers of several channels otherwise.
        np.testing.assert_allclose(moved[..., channel].astype(int), alone, atol=1)


def centre(picture) -> np.ndarray:
    """Centre of light (row, column), measured from the middle."""
    down, across = np.mgrid[: picture.shape[0], : picture.shape[1]] - (picture.shape[0] - 1) / 2
    light = picture / picture.sum()
    return np.array([(down * light).sum(), (across * light).sum()])


def test_each_movement_does_what_its_name_says():
    spot = np.zeros((200, 48, 48), np.uint8)
    spot[:, 20:23, 28:31] = 255  # 2.5 rows above the middle, 5.5 columns to the right
    away = centre(spot[0])

    def moved(**how):
        how = replace(NONE, **how)
        out = augment(spot, 48, np.random.default_rng(3), how)
        return np.array([centre(picture) for picture in out])

    flipped = moved(flip=1.0)
    np.testing.assert_allclose(flipped, [[away[0], -away[1]]] * 200, atol=0.1)
    turned = moved(rotation=20)
    np.testing.assert_allclose(np.hypot(*turned.T), np.hypot(*away), atol=0.3)
    angles = np.rad2deg(np.arctan2(*turned.T) - np.arctan2(*away))
    assert 15 < angles.max() < 21 and -21 < angles.min() < -15
    scaled = np.hypot(*moved(scale=1.2).T) / np.hypot(*away)
    assert 1.1 < scaled.max() < 1.25 and 1 / 1.25 < scaled.min() < 1 / 1.1
    shifted = moved(shift=0.1) - away
    assert 4 < abs(shifted).max() < 5.2 and abs(shifted.mean()) < 0.5


def spots(count: int, top: int, left: int, side: int) -> np.ndarray:
    pictures = np.zeros((count, 48, 48), np.uint8)
    pictures[:, top : top + side, left : left + side] = 255
    return pictures


def moved(pictures: np.ndarray, how: Augmentation) -> np.ndarray:
    """By how much their light went down and across (N, 2)."""
    found = augment(pictures, 48, np.random.default_rng(3), how)
    return np.array([centre(picture) for picture in found]) - centre(pictures[0])


def test_shear_moves_rows_across_by_their_height():
    down, across = np.abs(moved(spots(100, 5, 22, 3), replace(NONE, shear=0.3))).max(axis=0)
    assert down < 0.2 and 4 < across < 5.4  # 17.5 rows above the middle


def test_shifts_down_and_across_are_drawn_apart():
    found = moved(spots(200, 23, 23, 2), replace(NONE, shift=0.1))
    assert abs(np.corrcoef(found.T)[0, 1]) < 0.3


def test_a_smaller_picture_shows_all_of_the_large_one():
    (small,) = augment(spots(1, 6, 30, 6), 24, np.random.default_rng(0), NONE)
    assert small[3:6, 15:18].min() > 200 and small.sum(dtype=int) < 1.3 * 255 * 9


def test_erasing_paints_rectangles_of_the_stated_size_in_the_stated_share():
    flat = np.full((1000, 48, 48), 100, np.uint8)
    how = replace(NONE, erase=0.3)
    changed = augment(flat, 48, np.random.default_rng(0), how) != 100
    share = changed.any(axis=(1, 2)).mean()
    assert 0.25 < share < 0.35
    heights = changed.any(axis=2).sum(axis=1)
    assert heights.max() <= 15 and heights[heights > 0].min() >= 5


# ---------------------------------------------------------------- people's pictures


def test_floats_from_0_to_1_are_not_black():
    ramp = np.linspace(0, 1, 64, dtype=np.float32)[None].repeat(64, axis=0)
    shown = [images.read_picture(encoded(scaled, "TIFF")) for scaled in (ramp, 255 * ramp)]
    assert np.array_equal(*shown) and shown[0].max() == 255


def test_sixteen_bit_palette_cmyk_and_alpha_are_read():
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    deep = images.read_picture(encoded(ramp))
    assert deep.shape == (64, 64, 3) and deep.min() == 0 and deep.max() == 255
    clear = np.zeros((4, 4, 4), np.uint8)  # transparent black lies on white
    assert (images.read_picture(encoded(clear)) == 255).all()
    photo = RNG.integers(0, 256, (9, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(photo).convert("CMYK").save(buffer, "TIFF")
    assert abs(images.read_picture(buffer.getvalue()).astype(int) - photo).max() <= 2
    buffer = io.BytesIO()
    Image.fromarray(photo).convert("P").save(buffer, "PNG", transparency=0)
    assert images.read_picture(buffer.getvalue()).shape == (9, 8, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_turned_upright(orientation):
    upright = np.zeros((40, 24, 3), np.uint8)
    upright[:10, :8] = 255  # a mark at the top left
    turns = [None, *(Image.Transpose(i) for i in (0, 3, 1, 5, 2, 6, 4))]  # as a camera stores it
    stored = Image.fromarray(upright)
    if turns[orientation - 1] is not None:
        stored = stored.transpose(turns[orientation - 1])
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    stored.save(buffer, "PNG", exif=exif)
    read = images.read_picture(buffer.getvalue())
    assert read.shape == (40, 24, 3)
    assert (read == upright).all()


def test_bad_pictures_say_what_is_wrong(tmp_path):
    photo = encoded(RNG.integers(0, 256, (50, 50, 3), dtype=np.uint8), "JPEG")
    for data, code in [
        (b"", "empty_body"),
        (RNG.bytes(10_000), "not_a_picture"),
        (b'{"a": 1}', "not_a_picture"),
        (photo[: len(photo) // 2], "truncated_picture"),
        (encoded(np.zeros((10_000, 10_000), np.uint8)), "picture_too_large"),
    ]:
        with pytest.raises(FerlibError) as caught:
            images.read_picture(data)
        assert caught.value.code == code, data[:20]
        assert len(str(caught.value).splitlines()) <= 2
    with pytest.raises(FerlibError, match=r"absent\.jpg"):
        images.read_picture(tmp_path / "absent.jpg")
    with pytest.raises(FerlibError, match="float64"):
        images.read_picture(np.zeros((4, 4)))


def test_pictures_of_another_type_are_not_augmented():
    with pytest.raises(FerlibError, match="uint8 pictures, found float64"):
        augment(np.zeros((2, 48, 48)), 48, np.random.default_rng(0))


def test_a_picture_for_which_memory_is_too_small_is_not_called_damaged(monkeypatch):
    def fail(_picture):
        raise MemoryError

    monkeypatch.setattr(images, "_upright_rgb", fail)
    with pytest.raises(FerlibError, match="memory") as caught:
        images.read_picture(encoded(np.zeros((50, 50), np.uint8)))
    assert caught.value.code == "picture_too_large"


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("way", WEAR)
def test_each_way_of_wear_changes_a_picture_and_keeps_what_it_shows(way, colour):
    rng = np.random.default_rng(0)
    picture = cv2.GaussianBlur(rng.integers(0, 256, (48, 48)).astype(np.uint8), (0, 0), 3)
    picture = cv2.normalize(picture, None, 40, 215, cv2.NORM_MINMAX)
    if colour:
        picture = (picture[..., None] * (1, 0.8, 0.9)).astype(np.uint8)
    for _ in range(20):
        worn = way(picture, rng)
        assert worn.dtype == np.uint8 and worn.shape == picture.shape
        assert np.corrcoef(worn.ravel(), picture.ravel())[0, 1] > 0.6
        assert (worn != picture).any()


def test_every_way_of_wear_is_taken(monkeypatch):
    taken = set()
    ways = [lambda picture, rng, k=k: taken.add(k) or picture for k in range(len(WEAR))]
    monkeypatch.setattr(augmentation, "WEAR", tuple(ways))
    augment(spots(100, 0, 0, 8), 48, np.random.default_rng(0), replace(NONE, wear=1.0))
    assert taken == set(range(len(WEAR)))


def test_noise_on_white_stays_light():
    white = np.full((48, 48), 250, np.uint8)
    assert augmentation._noisy(white, np.random.default_rng(0)).min() > 100


def test_a_compressed_picture_keeps_its_colours():
    red = np.full((48, 48, 3), (200, 0, 40), np.uint8)
    found = augmentation._compressed(red, np.random.default_rng(0))
    assert np.abs(found.astype(int) - red).max() < 20


def test_the_stated_share_of_pictures_is_worn():
    pictures = np.random.default_rng(0).integers(0, 256, (1000, 48, 48)).astype(np.uint8)
    how = replace(NONE, wear=0.3)
    changed = (augment(pictures, 48, np.random.default_rng(0), how) != pictures).any((1, 2))
    assert 0.25 < changed.mean() < 0.35


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "photo.jpg")
    with pytest.raises(FerlibError, match="pipe"):
        images.read_picture(tmp_path / "photo.jpg")
