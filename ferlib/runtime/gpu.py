"""NVIDIA cards: the libraries that MXNet's CUDA build needs, and which cards it can run on."""

import ctypes
import importlib.metadata
import importlib.util
from functools import cache
from pathlib import Path

CUDA_LIBRARIES = (  # in the order in which they need each other
    "cuda_runtime/lib/libcudart.so.11.0",
    "cublas/lib/libcublasLt.so.11",
    "cublas/lib/libcublas.so.11",
    "cufft/lib/libcufft.so.10",
    "curand/lib/libcurand.so.10",
    "cusolver/lib/libcusolver.so.11",
    "cuda_nvrtc/lib/libnvrtc.so.11.2",
    "nvtx/lib/libnvToolsExt.so.1",
    "nccl/lib/libnccl.so.2",
    "cudnn/lib/libcudnn.so.8",
)
# mxnet-cu112 holds machine code for compute capability 5.0 to 8.6 and no PTX to compile further.
_OLDEST, _NEWEST = (5, 0), (8, 9)


@cache
def gpu_build() -> bool:
    """Whether the installed MXNet is mxnet-cu112."""
    try:
        importlib.metadata.version("mxnet-cu112")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def load_cuda_libraries() -> None:
    """mxnet-cu112 bundles no CUDA: load what NVIDIA's CUDA 11 packages installed."""
    spec = importlib.util.find_spec("nvidia")
    places = spec.submodule_search_locations if spec else None
    folders = [Path(folder) for folder in places or ()]
    for library in CUDA_LIBRARIES:
        for path in (folder / library for folder in folders):
            if path.exists():
                ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)


def card_problem(name: str, capability: tuple[int, int]) -> str | None:
    """Why MXNet 1.9.1 cannot use a card of this compute capability, or None if it can."""
    if _OLDEST <= capability <= _NEWEST:
        return None
    age = "new" if capability > _NEWEST else "old"
    return (
        f"{name} (compute capability {capability[0]}.{capability[1]}) is too {age} for MXNet 1.9.1,"
        f" which runs on 5.0 to 8.9 (T4, V100, A100, L4, RTX 20 to 40): using the CPU"
    )


@cache
def cards() -> tuple[tuple[str, tuple[int, int]], ...]:
    """Name and compute capability of every card, asked of the driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return ()
    count, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return ()
    found = []
    for number in range(count.value):
        name = ctypes.create_string_buffer(100)
        driver.cuDeviceGetName(name, 100, number)
        driver.cuDeviceGetAttribute(ctypes.byref(major), 75, number)
        driver.cuDeviceGetAttribute(ctypes.byref(minor), 76, number)
        found.append((name.value.decode(), (major.value, minor.value)))
    return tuple(found)
