"""Recognizer: the same array as in training, boxes where the face is, calls that may overlap."""

import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from common import ROOT, any_weights, astronaut, encoded, tiny_weights
from PIL import Image

import ferlib
from ferlib import nets, runtime
from ferlib.data import images
from ferlib.errors import FerlibError
from ferlib.faces import network, search
from ferlib.faces.face import CROP, crop
from ferlib.faces.turning import LOOKS
from ferlib.nets.places import DEFAULT_WEIGHTS
from ferlib.serving import handler

# From the astronaut's hairline to her chin and from cheek to cheek, read off by eye.
FACE = (183, 75, 86, 103)


@pytest.fixture(scope="module")
def fer(tmp_path_factory):
    return ferlib.Recognizer(any_weights(tmp_path_factory.mktemp("weights")))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_weights(tmp_path_factory.mktemp("tiny"))


def copied(prefix, target: Path, change: dict) -> Path:
    """A net's three files under another name, with another JSON."""
    for tail in ("-symbol.json", "-0000.params", ".json"):
        Path(f"{target}{tail}").write_bytes(Path(f"{prefix}{tail}").read_bytes())
    info = json.loads(Path(f"{target}.json").read_text())
    Path(f"{target}.json").write_text(json.dumps(info | change))
    return target


def overlap(a, b) -> float:
    """Intersection over union of two boxes x, y, w, h."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    common = max(width, 0) * max(height, 0)
    return common / (a[2] * a[3] + b[2] * b[3] - common)


def test_the_astronaut_has_one_face_where_people_see_it(fer):
    (face,) = fer(astronaut())
    assert overlap(face.box, FACE) > 0.7
    assert face.emotion == max(face.scores, key=face.scores.get)
    assert tuple(face.scores) == ferlib.EMOTIONS
    assert sum(face.scores.values()) == pytest.approx(1, abs=1e-4)
    assert all(type(value) is int for value in face.box)


def test_the_shipped_net_sees_the_astronaut_smile(fer):
    if fer.name != DEFAULT_WEIGHTS:
        pytest.skip("no net is shipped yet: model_store/ferplus.json is not there")
    (face,) = fer(astronaut())
    assert face.emotion == "happiness" and face.scores["happiness"] > 0.8


def test_path_bytes_pil_and_array_give_the_same_faces(fer, tmp_path):
    path = tmp_path / "photo.png"
    head = astronaut()[20:220, 120:320]
    path.write_bytes(encoded(head))
    wanted = fer(head)
    assert len(wanted) == 1
    for photo in (path, str(path), path.read_bytes(), Image.fromarray(head)):
        assert fer(photo) == wanted


@pytest.mark.parametrize("size", [(48, 128), (384, 1024), (192, 300)])
def test_boxes_are_in_pixels_of_the_picture_given(fer, size):
    """Enlarged for the detector, shrunk for it, and out of proportion."""
    part = Image.fromarray(astronaut()[:, 130:322])
    (face,) = fer(part.resize(size))
    across, down = size[0] / 192, size[1] / 512
    wanted = ((FACE[0] - 130) * across, FACE[1] * down, FACE[2] * across, FACE[3] * down)
    assert overlap(face.box, wanted) > 0.6


def test_a_box_is_clipped_to_the_picture(fer):
    cut = astronaut()[90:, 190:]  # through brow and cheek
    for face in fer(cut):
        left, top, width, height = face.box
        assert left >= 0 and top >= 0 and width > 0 and height > 0
        assert left + width <= cut.shape[1] and top + height <= cut.shape[0]


def test_two_faces_come_largest_first_and_each_as_if_alone(fer):
    small = np.asarray(Image.fromarray(astronaut()).resize((256, 256)))
    picture = np.full((512, 768, 3), 128, np.uint8)
    picture[:256, 512:] = small
    picture[:, :512] = astronaut()
    first, second = fer(picture)
    assert first.box[2] > second.box[2]
    assert overlap(first.box, FACE) > 0.65
    assert overlap(second.box, (512 + FACE[0] / 2, FACE[1] / 2, FACE[2] / 2, FACE[3] / 2)) > 0.6


class Watched:
    """A net that keeps every array it is given."""

    def __init__(self, net):
        self.net, self.seen = net, []
        self.collect_params = net.collect_params

    def __call__(self, batch):
        self.seen.append(batch.asnumpy())
        return self.net(batch)


def watch(fer) -> Watched:
    ((net, info),) = fer.nets
    fer.nets = [(Watched(net), info)]
    return fer.nets[0][0]


def test_many_photographs_are_one_batch_and_each_as_if_alone(tiny, tmp_path):
    fer = ferlib.Recognizer(tiny)
    path = tmp_path / "photo.png"
    path.write_bytes(encoded(astronaut()))
    head = astronaut()[20:220, 120:320]
    twice = np.hstack([head, head[:, ::-1]])
    photos = [head, np.full((90, 90, 3), 50, np.uint8), twice, path]
    alone = [fer(photo) for photo in photos]
    net = watch(fer)
    together = fer.many(iter(photos))
    assert [len(array) for array in net.seen] == [4]
    assert [len(found) for found in together] == [1, 0, 2, 1]
    for found, wanted in zip(together, alone, strict=True):
        assert [f.box for f in found] == [f.box for f in wanted]
        for one, other in zip(found, wanted, strict=True):
            assert one.scores == pytest.approx(other.scores, abs=2e-6)
    assert fer.many([]) == []
    with pytest.raises(FerlibError, match="cannot read"):
        fer.many([astronaut(), tmp_path / "none.png"])


LACKING = ("matplotlib", "gluoncv", "skimage", "scipy", "tqdm")  # on a server


@pytest.fixture(scope="module")
def elsewhere(tiny):
    """The astronaut's faces as another process sees them, one that is as bare as a server."""
    (tiny.parent / "photo.png").write_bytes(encoded(astronaut()))
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({LACKING}));"
        "import ferlib; assert 'mxnet' not in sys.modules;"
        f"fer = ferlib.Recognizer({str(tiny)!r}, flip=True);"
        f"print(fer({str(tiny.parent / 'photo.png')!r}))"
    )
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.slow
def test_the_same_photograph_gives_the_same_numbers(tiny, elsewhere):
    """Another process is asked too: nothing may hang on what was read before."""
    wanted = ferlib.Recognizer(tiny, flip=True)
    first = wanted(astronaut())
    wanted.classify(np.zeros((7, 48, 48), np.uint8))
    assert wanted(astronaut()) == first
    assert elsewhere.stdout.strip() == str(first)


def rotated(picture: np.ndarray, tag: int) -> bytes:
    """A JPEG stored on its side or head that says by its EXIF tag how it is to be turned."""
    undone = {3: Image.ROTATE_180, 6: Image.ROTATE_90, 8: Image.ROTATE_270}[tag]
    exif = Image.Exif()
    exif[0x0112] = tag
    return encoded(Image.fromarray(picture).transpose(undone), "JPEG", quality=95, exif=exif)


@pytest.mark.parametrize("tag", [3, 6, 8])
def test_boxes_of_a_turned_photograph_are_in_pixels_of_the_upright_one(fer, tag):
    (face,) = fer(rotated(astronaut()[:400], tag))  # not square: sides must not be mixed up
    assert overlap(face.box, FACE) > 0.65


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 700, 3), (3, 2, 3), (48, 48, 3), (2000, 5, 3)])
def test_pictures_without_a_face(fer, shape):
    assert fer(np.full(shape, 90, np.uint8)) == []


def test_a_crop_repeats_the_border_where_it_leaves_the_picture():
    picture = np.arange(100, dtype=np.uint8).reshape(10, 10)
    cut = crop(picture, (-4, 3, 8, 8))
    side = round(CROP * 8)
    assert cut.shape == (side, side)
    left = round(0 - side / 2)
    rows = np.clip(np.arange(side) + round(7 - side / 2), 0, 9)
    for column in range(side):
        assert (cut[:, column] == picture[rows, max(left + column, 0)]).all()


# ---------------------------------------------------------------- searching a picture


class Seeing:
    """A detector that answers from a list, call by call, and keeps the sizes it was shown.

    Its rows are x, y, width, height and confidence, and landmarks where there are more columns.
    """

    def __init__(self, *answers):
        self.answers, self.shown = list(answers), []

    def __call__(self, picture):
        self.shown.append(picture.shape[1::-1])
        rows = np.array(self.answers[min(len(self.shown), len(self.answers)) - 1], float)
        rows = rows.reshape(len(rows), -1) if len(rows) else np.zeros((0, 5))
        landmarks = (rows[:, 5:].reshape(-1, 5, 2),) if rows.shape[1] > 5 else ()
        return rows[:, :4], rows[:, 4], *landmarks


LARGE = np.zeros((2000, 2000, 3), np.uint8)  # as many as MOST_PIXELS
LARGE_FACE, SMALL_FACE = (72, 72, 108, 108, 0.95), (360, 216, 18, 18, 0.9)  # at the first look


def test_a_small_face_asks_for_a_closer_look_and_the_looks_are_joined():
    """Worked by hand: the first look is at 0.36 of the picture's size, the next at all of it."""
    closer = [(204, 200, 296, 300, 0.99), (1000, 600, 52, 50, 0.96), (1500, 900, 40, 40, 0.91)]
    detect = Seeing([LARGE_FACE, SMALL_FACE], closer)
    rows = search.search(detect, LARGE)
    assert detect.shown == [(720, 720), (2000, 2000)]
    # The large face is the first look's, however sure the other is; the small ones the closer's.
    wanted = [(200, 200, 300, 300, 0.95), (1000, 600, 52, 50, 0.96), (1500, 900, 40, 40, 0.91)]
    np.testing.assert_allclose(rows[:, :5], wanted)
    assert np.isnan(rows[:, 5:]).all() and rows.shape == (3, 15)


@pytest.mark.parametrize(
    ("how", "seen", "looks", "turned"),
    [
        ({}, [LARGE_FACE], 1, 0),
        ({}, [LARGE_FACE, SMALL_FACE], 2, 0),
        ({}, [], 1, len(LOOKS)),
        ({"thorough": True}, [LARGE_FACE], 2, len(LOOKS)),
        ({"thorough": True}, [], 2, len(LOOKS)),
        ({"quick": True}, [LARGE_FACE, SMALL_FACE], 1, 0),
        ({"quick": True}, [(*LARGE_FACE[:4], 0.5)], 1, 0),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else None,
)
def test_how_often_a_picture_is_looked_at(how, seen, looks, turned):
    """At the size of the first look, closer, and turned copies of the first."""
    detect = Seeing(seen, [])
    rows = search.search(detect, LARGE, **how)
    first = (960, 960) if how.get("quick") else (720, 720)
    assert detect.shown == [first, (2000, 2000)][:looks] + [first] * turned
    assert len(rows) == sum(row[4] >= search.SURE for row in seen)


def test_an_unsure_box_beside_the_picture_is_no_mistake():
    """As a function of one's own may tell."""
    detect = Seeing([(700, 100, 20, 20, 0.5)], [], [])
    assert len(search.search(detect, np.zeros((480, 640, 3), np.uint8), thorough=True)) == 0


@pytest.mark.parametrize(("seen", "kept"), [(0.9, 1), (0.3, 0), (None, 0)])
def test_an_unsure_face_is_looked_at_again_by_itself(seen, kept):
    """A face of 50 pixels in the middle of a picture: 101 are cut and enlarged to AGAIN."""
    enlarged = search.AGAIN / 101
    inside = [(25 * enlarged, 25 * enlarged, 50 * enlarged, 50 * enlarged, seen)] if seen else []
    small = np.zeros((480, 640, 3), np.uint8)
    detect = Seeing([(300, 200, 50, 50, 0.5)], inside, [])
    rows = search.search(detect, small, thorough=True)
    assert detect.shown[1] == (search.AGAIN, search.AGAIN)
    assert detect.shown[2] == (640 * search.CLOSER, 480 * search.CLOSER)
    assert len(rows) == kept
    if kept:
        np.testing.assert_allclose(rows[:, :4], [(300, 200, 50, 50)], atol=0.5)
        assert rows[0, 4] == 0.9


def test_landmarks_are_in_pixels_of_the_picture_from_whichever_look():
    """One face's are the first look's, the other's those of its window, cut at (275, 175)."""
    points = np.arange(10) + 0.5
    sure = (96, 144, 96, 96, 0.9, *points)
    enlarged = 317 / 100  # of 100 pixels to the nearest whole share of AGAIN
    inside = (25 * enlarged, 25 * enlarged, 50 * enlarged, 50 * enlarged, 0.8, *(enlarged * points))
    unsure = (150, 100, 25, 25, 0.5, *np.zeros(10))
    detect = Seeing([sure, unsure], [inside], [])
    picture = np.zeros((720, 1440, 3), np.uint8)  # the first look is at half of its size
    first, second = search.search(detect, picture)
    np.testing.assert_allclose(first[5:], 2 * points)
    np.testing.assert_allclose(second[5:], points + np.tile((275, 175), 5), atol=1e-6)


def test_of_two_faces_in_one_window_that_is_kept_which_was_looked_at():
    """The surer neighbour has a box of its own already; a face must not become another."""
    enlarged = 3.17
    neighbour = (75 * enlarged, 25 * enlarged, 50 * enlarged, 50 * enlarged, 0.99)
    itself = (25 * enlarged, 25 * enlarged, 50 * enlarged, 50 * enlarged, 0.8)
    detect = Seeing([(300, 200, 50, 50, 0.5)], [neighbour, itself])
    (row,) = search.search(detect, np.zeros((480, 640, 3), np.uint8))
    np.testing.assert_allclose(row[:5], (300, 200, 50, 50, 0.8), atol=0.5)


@pytest.mark.parametrize(("thorough", "sure", "looks"), [(True, 0.6, 2), (False, 0.6, 1)])
def test_what_a_picture_may_cost_is_bounded(thorough, sure, looks):
    """40 megapixels full of what could be faces: the detector is shown a fourth of them in all."""
    many = [(30 * (i % 30), 30 * (i // 30), 20, 20, sure) for i in range(600)]
    detect = Seeing(many)
    search.search(detect, np.zeros((5000, 8000, 3), np.uint8), thorough=thorough)
    assert len(detect.shown) == looks * (1 + search.MOST_AGAIN) + len(LOOKS)
    pixels = [width * height for width, height in detect.shown]
    windows = [one for one in pixels if one == search.AGAIN**2]
    whole = [one for one in pixels if one != search.AGAIN**2]
    assert len(windows) == looks * search.MOST_AGAIN
    assert whole[0] <= search.FULL**2 and max(whole) <= search.MOST_PIXELS * 1.01
    assert sum(pixels) < 1.1e7


def apart(boxes: np.ndarray, sure: np.ndarray, most: float) -> list[int]:
    """Greedy non-maximum suppression as everybody writes it: the surest first."""
    kept: list[int] = []
    for row in np.argsort(-sure, kind="stable"):
        if all(overlap(boxes[row], boxes[one]) <= most for one in kept):
            kept.append(row)
    return kept


@pytest.mark.parametrize("seed", range(20))
def test_of_boxes_that_overlap_only_the_surest_is_kept(seed):
    rng = np.random.default_rng(seed)
    corner, side = rng.uniform(0, 300, (40, 2)), rng.uniform(20, 120, (40, 2))
    sure, points = rng.permutation(np.linspace(0.01, 1, 40)), rng.uniform(0, 300, (40, 10))
    found = np.column_stack([corner, side, sure, points])
    rows = apart(found[:, :4], sure, 0.4)
    assert 5 < len(rows) < 40
    np.testing.assert_array_equal(network.apart(found, 0.4), found[rows])


@pytest.mark.parametrize("how", [{}, {"quick": True}, {"thorough": True}])
def test_no_boxes_stay_none(how):
    assert network.apart(np.zeros((0, 15)), 0.4).shape == (0, 15)
    assert search.search(Seeing([]), np.zeros((48, 64, 3), np.uint8), **how).shape == (0, 15)


def test_a_portrait_is_looked_at_once():
    detect = Seeing([(100, 80, 200, 250, 0.93)])
    assert len(search.search(detect, np.zeros((480, 640, 3), np.uint8))) == 1
    assert detect.shown == [(640, 480)]


@pytest.fixture(scope="module")
def thorough(fer):
    return ferlib.Recognizer(fer.weights, thorough=True)


def test_a_small_face_is_found_in_a_large_picture(fer, thorough):
    """Ten pixels wide: too small for the first look, which frames of a video are left with."""
    from skimage import data

    scene = np.array(Image.fromarray(data.coffee()).resize((1100, 733)))
    small = Image.fromarray(astronaut()).resize((60, 60), Image.Resampling.LANCZOS)
    scene[425:485, 792:852] = small
    assert len(fer.find(scene, quick=True)[0]) == 0
    (face,) = thorough(scene)
    scale = 60 / 512
    box = (792 + FACE[0] * scale, 425 + FACE[1] * scale, FACE[2] * scale, FACE[3] * scale)
    assert overlap(face.box, box) > 0.5


@pytest.mark.parametrize("name", ["coffee", "rocket", "brick", "page", "hubble_deep_field"])
def test_no_face_is_seen_where_there_is_none(fer, thorough, name):
    from skimage import data

    assert fer(getattr(data, name)()) == [] == thorough(getattr(data, name)())


# ---------------------------------------------------------------- landmarks

# Her eyes, nose and corners of the mouth, read off by eye.
POINTS = ((203, 101), (247, 104), (226, 127), (204, 140), (243, 141))


@pytest.mark.parametrize("scale", [0.5, 1, 2.5])
def test_landmarks_lie_where_people_see_them(fer, scale):
    """The eye at the left of the picture first, in pixels of the picture given."""
    side = round(512 * scale)
    (face,) = fer(Image.fromarray(astronaut()).resize((side, side)))
    np.testing.assert_allclose(face.landmarks, np.multiply(POINTS, scale), atol=8 * scale)
    assert all(type(value) is int for point in face.landmarks for value in point)


def test_landmarks_of_a_mirrored_face_start_at_the_left_too(fer):
    (face,) = fer(astronaut()[:, ::-1])
    wanted = [(511 - POINTS[k][0], POINTS[k][1]) for k in (1, 0, 2, 4, 3)]
    np.testing.assert_allclose(face.landmarks, wanted, atol=8)


def test_a_detector_without_landmarks_gives_faces_without(tiny):
    fer = ferlib.Recognizer(tiny, detector=Seeing([(*FACE, 0.9)]))
    (face,) = fer(astronaut())
    assert face.box == FACE and face.landmarks == ()


def test_look_tells_more_than_find(fer):
    picture = np.hstack([astronaut()[20:220, 120:320]] * 2)
    rows, (boxes, sure) = fer.look(picture), fer.find(picture)
    assert rows.shape == (2, 15) and np.isfinite(rows).all()
    np.testing.assert_array_equal(rows[:, :4], boxes)
    np.testing.assert_array_equal(rows[:, 4], sure)
    for face, row in zip(fer(picture), rows, strict=True):
        np.testing.assert_array_equal(np.ravel(face.landmarks), row[5:].round())


# ---------------------------------------------------------------- classify


def test_the_served_array_is_the_evaluated_one_to_the_bit(tiny):
    """Down to what reaches the net: a data set's rows in one batch, and the same rows as PNGs."""
    rows = np.random.default_rng(1).integers(0, 256, (5, 48, 48), dtype=np.uint8)
    fer = ferlib.Recognizer(tiny)
    net = watch(fer)
    fer.classify(rows)  # as `evaluate` does
    (evaluated,) = net.seen
    for row, wanted in zip(rows, evaluated, strict=True):
        net.seen.clear()
        answer = handler.read(fer, encoded(row))  # as the server does
        assert answer["faces"] == []  # noise: so the whole picture is read
        assert [array.tobytes() for array in net.seen] == [wanted.tobytes()]


def test_probabilities_are_the_nets_with_its_temperature(tiny):
    mx = runtime.import_mxnet()
    rows = np.random.default_rng(2).integers(0, 256, (3, 48, 48), dtype=np.uint8)
    net, info = nets.load(tiny)
    assert info.temperature == 1.25
    logits = net(mx.nd.array(images.prepare(rows, 48, "standardise"))) / info.temperature
    wanted = mx.nd.softmax(logits).asnumpy()  # MXNet's own softmax
    np.testing.assert_allclose(ferlib.Recognizer(tiny).classify(rows), wanted, atol=1e-6)


def test_pil_images_are_crops_too(tiny):
    rows = np.random.default_rng(5).integers(0, 256, (2, 48, 48), dtype=np.uint8)
    fer, gray = ferlib.Recognizer(tiny), [Image.fromarray(row) for row in rows]
    for crops in (
        gray,
        [one.convert("RGB") for one in gray],
        [one.convert("P") for one in gray],
    ):
        np.testing.assert_array_equal(fer.classify(crops), fer.classify(rows))


def test_several_nets_are_averaged(tiny, tmp_path):
    other = copied(tiny, tmp_path / "other", {"temperature": 3.0})
    rows = np.random.default_rng(4).integers(0, 256, (4, 48, 48), dtype=np.uint8)
    each = [ferlib.Recognizer(prefix).classify(rows) for prefix in (tiny, other)]
    fer = ferlib.Recognizer([tiny, other])
    np.testing.assert_allclose(fer.classify(rows), np.mean(each, axis=0), atol=1e-6)
    assert fer.name == f"{Path(tiny).name}+other"
    assert fer.classify(rows).dtype == np.float32


def test_flip_averages_with_the_mirror_image(tiny):
    rows = np.random.default_rng(3).integers(0, 256, (4, 48, 48), dtype=np.uint8)
    plain, flipped = ferlib.Recognizer(tiny), ferlib.Recognizer(tiny, flip=True)
    wanted = (plain.classify(rows) + plain.classify(rows[..., ::-1])) / 2
    np.testing.assert_allclose(flipped.classify(rows), wanted, atol=1e-6)
    np.testing.assert_allclose(flipped.classify(rows[..., ::-1]), wanted, atol=1e-6)


def test_gray_colour_and_lists_agree(tiny):
    fer = ferlib.Recognizer(tiny)
    rows = np.random.default_rng(4).integers(0, 256, (200, 48, 48), dtype=np.uint8)  # two batches
    wanted = fer.classify(rows)
    assert wanted.shape == (200, 8) and wanted.dtype == np.float32
    np.testing.assert_allclose(wanted.sum(axis=1), 1, atol=1e-5)
    colour = rows[..., None].repeat(3, axis=3)
    np.testing.assert_allclose(fer.classify(colour), wanted, atol=1e-6)
    np.testing.assert_allclose(fer.classify([rows[0], colour[1]]), wanted[:2], atol=1e-5)
    sizes = [np.zeros((5, 9), np.uint8), np.zeros((300, 200, 3), np.uint8)]
    assert fer.classify(sizes).shape == (2, 8)


@pytest.mark.parametrize("empty", [[], np.zeros((0, 48, 48), np.uint8)])
def test_no_crops_give_no_rows(fer, empty):
    assert fer.classify(empty).shape == (0, 8)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((48, 48), np.uint8),
        np.zeros((48, 48, 3), np.uint8),  # one picture, not forty-eight
        np.zeros((2, 48, 48), np.float32),
        np.zeros((2, 0, 48), np.uint8),
        [np.zeros((48, 48))],
        [np.zeros(48, np.uint8)],
        ["photo.png"],
    ],
    ids=["2d", "one colour", "float", "no rows", "float in list", "1d", "text"],
)
def test_wrong_crops_are_named(fer, wrong):
    with pytest.raises(FerlibError, match="expected"):
        fer.classify(wrong)


def test_threads_may_share_one_recognizer(fer):
    rows = np.random.default_rng(5).integers(0, 256, (8, 3, 48, 48), dtype=np.uint8)
    wanted = [fer.classify(batch) for batch in rows]
    head = astronaut()[20:220, 120:320]
    photos = [head, np.hstack([head, head[:, ::-1]])]
    alone = [fer(photo) for photo in photos]
    assert [len(found) for found in alone] == [1, 2]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            for got, one in zip(pool.map(fer.classify, rows), wanted, strict=True):
                assert (got == one).all()
        assert list(pool.map(fer, photos * 3)) == alone * 3


# ---------------------------------------------------------------- weights


def test_missing_weights_say_where_they_were_looked_for(tmp_path):
    with pytest.raises(FerlibError, match="model_store") as error:
        nets.find_weights("no-such-net")
    assert error.value.code == "weights_missing"
    for none, said in (([], "empty list"), ("", "(empty)"), ([""], "(empty)")):
        with pytest.raises(FerlibError, match=re.escape(said)):
            ferlib.Recognizer(none)
    with pytest.raises(FerlibError, match=r"net\.json is missing"):
        ferlib.Recognizer(tmp_path / "net")


def test_missing_json_is_named(tiny, tmp_path):
    for tail in ("-symbol.json", "-0000.params"):
        (tmp_path / f"net{tail}").write_bytes((tiny.parent / f"tiny{tail}").read_bytes())
    with pytest.raises(FerlibError, match=r"net\.json is missing"):
        ferlib.Recognizer(tmp_path / "net")


@pytest.mark.parametrize(
    "change",
    [
        {"classes": ["happy", "sad"]},  # the net tells eight apart
        {"classes": ["happy"] * 8},
        {"classes": list(range(8))},
        {"emotions": ["happy", "sad"]},  # as files called it before there were other classes
        {"channels": 3},
        {"bias": [0.5] * 7},
        {"normalise": "whiten"},
        {"input_size": 4},
        {"input_size": "48"},
        {"temperature": "hot"},
    ],
    ids=lambda change: f"{next(iter(change.items()))}"[:30],
)
def test_json_of_another_net_is_refused(tiny, tmp_path, change):
    copied(tiny, tmp_path / "net", change)
    with pytest.raises(FerlibError, match=r"net\.json"):
        ferlib.Recognizer(tmp_path / "net")


def test_a_nets_names_are_its_answers(tiny, tmp_path):
    """In their own order, whatever they are, also under the key that older files have."""
    picture = np.random.default_rng(6).integers(0, 256, (1, 48, 48), dtype=np.uint8)
    wanted = ferlib.Recognizer(tiny).classify(picture)
    turned = list(reversed(ferlib.EMOTIONS))
    for key in ("classes", "emotions"):
        fer = ferlib.Recognizer(copied(tiny, tmp_path / key, {key: turned}))
        assert fer.classes == tuple(turned)
        np.testing.assert_array_equal(fer.classify(picture), wanted)
        (face,) = fer(astronaut())
        assert list(face.scores) == turned
        assert face.emotion == max(face.scores, key=face.scores.get)


def test_nets_with_other_classes_cannot_be_averaged(tiny, tmp_path):
    """Nor with the same names in another order: columns would be added to others."""
    for name, classes in (("other", list("abcdefgh")), ("turned", ferlib.EMOTIONS[::-1])):
        copied(tiny, tmp_path / name, {"classes": list(classes)})
        with pytest.raises(FerlibError, match=f"tiny.{name}.*other classes"):
            ferlib.Recognizer([tiny, tmp_path / name])


# ---------------------------------------------------------------- imports


@pytest.mark.slow
def test_serving_loads_nothing_that_a_server_lacks(elsewhere):
    assert elsewhere.returncode == 0, elsewhere.stderr
    assert elsewhere.stdout.count("Face(") == 1
