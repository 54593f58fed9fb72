"""`import_mxnet()`, by which every module here gets MXNet, ready to run well; and what stands in.

MXNet is retired upstream. Its wheel is pure ctypes, so any Python 3 runs it once the names that
newer NumPys and Pythons dropped are back; its oneDNN 2.4 knows AMX, but only if asked for before
its first primitive.
"""

import os
import types
from functools import cache
from importlib.util import find_spec
from typing import Any

from ferlib.errors import FerlibError, check_choice
from ferlib.runtime.cpu import cores, latch_amx
from ferlib.runtime.gpu import gpu_build, load_cuda_libraries
from ferlib.runtime.names import restore_names


@cache
def import_mxnet() -> types.ModuleType:
    """The `mxnet` module, ready: names restored, GPU libraries found, threads set, AMX on.

    Raises FerlibError in plain words when MXNet or what it needs is missing.
    """
    restore_names()
    if gpu_build():
        load_cuda_libraries()
    added = "OMP_NUM_THREADS" not in os.environ
    os.environ.setdefault("OMP_NUM_THREADS", str(cores()))  # MXNet alone would halve it
    try:
        import mxnet
    except ModuleNotFoundError as error:
        raise FerlibError(_missing(error.name)) from None
    except OSError as error:
        raise FerlibError(_cannot_load(str(error))) from None
    _free_what_was_made(mxnet.ndarray.ndarray.NDArrayBase)
    latch_amx(mxnet)
    if added:
        del os.environ["OMP_NUM_THREADS"]  # a child process decides for itself
    return mxnet


def _free_what_was_made(kind: Any) -> None:
    """Ctrl-C can fall between an array's making and its getting a handle: then none is freed.

    MXNet would print a traceback of its own about that, after whatever the command has said.
    """
    free = kind.__del__

    def free_if_made(self: Any) -> None:
        if hasattr(self, "handle"):
            free(self)

    kind.__del__ = free_if_made


ENGINES = ("mxnet", "onnx")


def engine(name: str | None = None) -> str:
    """What trained nets answer in: `name`, or else MXNet, or onnxruntime where that is missing.

    FerlibError where there is no such engine, or neither of them.
    """
    if name is not None:
        check_choice("engine", name, ENGINES)
        return name
    try:
        import_mxnet()
    except FerlibError:
        if find_spec("onnxruntime") is None:
            raise
        return "onnx"
    return "mxnet"


def _missing(name: str | None) -> str:
    if name == "mxnet":
        return (
            "MXNet is not installed: pip install --no-deps mxnet==1.9.1 (Linux x86-64 only).\n"
            "To read faces without it: pip install 'ferlib[onnx]'"
        )
    return f"MXNet needs the package {name}: pip install {name}"


def _cannot_load(reason: str) -> str:
    if "libcuda.so" in reason:
        return (
            "no NVIDIA driver (libcuda.so.1) on this machine, and this is MXNet's GPU build.\n"
            "Install the driver, or the CPU build: make clean setup"
        )
    return (
        f"MXNet's library does not load: {reason}\nInstall the pinned set again: make clean setup"
    )
