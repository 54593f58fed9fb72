"""Make MXNet 1.9.1 run, and run well, on today's Python, NumPy, CPU and GPU.

MXNet is retired upstream. Its wheel is pure ctypes, so any Python 3 runs it once the names that
newer NumPys and Pythons dropped are back; its oneDNN 2.4 knows AMX, but only if asked for before
its first primitive. `import_mxnet()` does both and is how every module here gets MXNet.

    ferlib info        prints what was found
"""

import ctypes
import importlib.metadata
import importlib.util
import os
import platform
import re
import sys
import types
from functools import cache, total_ordering
from pathlib import Path

import numpy as np

from ferlib.errors import FerlibError

# ---------------------------------------------------------------- names that MXNet misses


def restore_names() -> None:
    """Put back what `import mxnet` looks for; nothing that is there is touched. No mxnet import."""
    for name, value in _numpy_names().items():
        if name not in vars(np):
            setattr(np, name, value)
    if sys.version_info >= (3, 12) and "distutils" not in sys.modules:  # it left Python then
        if importlib.util.find_spec("distutils") is None:  # setuptools brings one of its own
            _restore_distutils()


def _numpy_names() -> dict:
    names = {"bool": bool, "PZERO": 0.0, "NZERO": -0.0, "PINF": np.inf, "NINF": -np.inf}
    names |= {"Inf": np.inf, "NaN": np.nan, "NAN": np.nan, "round_": np.round, "product": np.prod}
    names |= {"alltrue": np.all, "sometrue": np.any, "msort": lambda a: np.sort(a, axis=0)}
    names["in1d"] = lambda a, b, **how: np.isin(np.ravel(a), b, **how)
    names["trapz"] = getattr(np, "trapezoid", None)
    # The financial functions moved to numpy-financial; MXNet only mentions their names.
    names |= {name: _moved(name) for name in ("mirr", "npv", "pmt", "ppmt", "pv", "rate")}
    return names


def _moved(name: str):
    def moved(*_args, **_kwargs):
        raise NotImplementedError(f"numpy.{name} moved to the package numpy-financial")

    return moved


@total_ordering
class _Version:
    """Stands in for distutils.version's two classes: MXNet only compares release numbers."""

    def __init__(self, text: str):
        self.numbers = [int(part) for part in re.findall(r"\d+", text)]

    def __eq__(self, other) -> bool:
        return self.numbers == _Version(str(other)).numbers

    def __lt__(self, other) -> bool:
        return self.numbers < _Version(str(other)).numbers

    def __str__(self) -> str:
        return ".".join(map(str, self.numbers))


def _restore_distutils() -> None:
    package, module = types.ModuleType("distutils"), types.ModuleType("distutils.version")
    module.LooseVersion = module.StrictVersion = _Version
    package.version, package.__path__ = module, []
    sys.modules |= {"distutils": package, "distutils.version": module}


# ---------------------------------------------------------------- importing MXNet


@cache
def import_mxnet() -> types.ModuleType:
    """The `mxnet` module, ready: names restored, GPU libraries found, threads set, AMX on.

    Raises FerlibError in plain words when MXNet or what it needs is missing.
    """
    restore_names()
    if gpu_build():
        _load_cuda_libraries()
    added = "OMP_NUM_THREADS" not in os.environ
    os.environ.setdefault("OMP_NUM_THREADS", str(cores()))  # MXNet alone would halve it
    try:
        import mxnet
    except ModuleNotFoundError as error:
        raise FerlibError(_missing(error.name)) from None
    except OSError as error:
        raise FerlibError(_cannot_load(str(error))) from None
    _latch_amx(mxnet)
    if added:
        del os.environ["OMP_NUM_THREADS"]  # a child process decides for itself
    return mxnet


def _missing(name: str) -> str:
    if name == "mxnet":
        return "MXNet is not installed: pip install --no-deps mxnet==1.9.1 (Linux x86-64 only)"
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


def cores() -> int:
    """Physical cores that this process may use (two hyperthreads share one AVX-512 unit)."""
    allowed = os.sched_getaffinity(0)
    siblings = set()
    for cpu in allowed:
        path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        siblings.add(path.read_text().strip() if path.exists() else str(cpu))
    return max(1, len(siblings))


# ---------------------------------------------------------------- CPU: AMX and bfloat16

_AMX_FLAGS = {"amx_tile", "amx_bf16", "amx_int8"}
_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA = 158, 0x1023, 18
_LIMIT = "DNNL_MAX_CPU_ISA"  # the bundled oneDNN 2.4.4 does not know ONEDNN_MAX_CPU_ISA


@cache
def cpu_flags() -> frozenset[str]:
    """The instruction sets that Linux reports for the first processor."""
    return frozenset(_cpuinfo("flags").split())


@cache
def amx_granted() -> bool:
    """Whether CPU and kernel let this process use AMX tiles; asks the kernel for them."""
    if platform.machine() != "x86_64" or not cpu_flags() >= _AMX_FLAGS:
        return False
    call = ctypes.CDLL(None, use_errno=True).syscall
    return call(_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA) == 0


@cache
def _latch_amx(mx) -> bool:
    """Let oneDNN choose AMX kernels; whether it may. It reads the variable at its first primitive.

    The variable without the kernel's grant is a SIGILL, so it is gone again before any child
    process could inherit it. A limit that the user set is kept, unless it would be that SIGILL.
    """
    granted, limit = amx_granted(), os.environ.get(_LIMIT, "")
    if "AMX" in limit.upper() and not granted:
        del os.environ[_LIMIT]
        return False
    if limit or not granted:
        return granted and "AMX" in limit.upper()
    os.environ[_LIMIT] = "AVX512_CORE_AMX"
    try:
        data, weight = mx.nd.ones((1, 16, 8, 8)), mx.nd.ones((16, 16, 3, 3))
        mx.nd.Convolution(data, weight, kernel=(3, 3), num_filter=16, no_bias=True).wait_to_read()
    finally:
        del os.environ[_LIMIT]
    return True


@cache
def _cpuinfo(field: str) -> str:
    """One field of the first processor, "" where Linux does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    found = (line.partition(":")[2].strip() for line in lines if line.startswith(field))
    return next(found, "")


def fast_bfloat16() -> bool:
    """Whether bfloat16 training beats float32 here, by what was measured.

    With AMX 3 to 4 times float32. AMD's AVX512-BF16 (Zen 4 and later) gave 1.6 to 1.9 times
    (benchmarks/augment.py, results/augment.json). Intel's without AMX was slower than float32.
    """
    amd = _cpuinfo("vendor_id") == "AuthenticAMD" and "avx512_bf16" in cpu_flags()
    return amd or _latch_amx(import_mxnet())


def fast_int8() -> bool:
    """Whether this CPU multiplies eight-bit numbers in one step: VNNI (2019 and later), or AMX.

    Without it oneDNN's int8 convolutions add in 16 bits, which can overflow.
    """
    return bool(cpu_flags() & {"avx512_vnni", "avx_vnni"}) or _latch_amx(import_mxnet())


# ---------------------------------------------------------------- GPU

_CUDA_LIBRARIES = (  # in the order in which they need each other
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


def _load_cuda_libraries() -> None:
    """mxnet-cu112 bundles no CUDA: load what NVIDIA's CUDA 11 packages installed."""
    spec = importlib.util.find_spec("nvidia")
    folders = [Path(folder) for folder in spec.submodule_search_locations] if spec else []
    for library in _CUDA_LIBRARIES:
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
def _cards() -> tuple[tuple[str, tuple[int, int]], ...]:
    """Name and compute capability of every card, asked of the driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return ()
    count, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return ()
    cards = []
    for number in range(count.value):
        name = ctypes.create_string_buffer(100)
        driver.cuDeviceGetName(name, 100, number)
        driver.cuDeviceGetAttribute(ctypes.byref(major), 75, number)
        driver.cuDeviceGetAttribute(ctypes.byref(minor), 76, number)
        cards.append((name.value.decode(), (major.value, minor.value)))
    return tuple(cards)


def contexts() -> list:
    """The MXNet contexts to train on: every usable card, else [mx.cpu()]. Says why one is not."""
    mx = import_mxnet()
    if not gpu_build():
        return [mx.cpu()]
    cards = [card_problem(*card) for card in _cards()]
    for problem in filter(None, cards):
        print(problem, file=sys.stderr)
    return [mx.gpu(i) for i, problem in enumerate(cards) if problem is None] or [mx.cpu()]


# ---------------------------------------------------------------- what was found


def describe() -> dict:
    """What MXNet runs on here: device, precision, threads, AMX and the versions.

    "precision" is what `ferlib train` uses, "inference" what answers are computed in where a net
    has an int8 graph; weights are stored in float32.
    """
    mx = import_mxnet()
    devices = contexts()
    on_cpu = devices[0].device_type == "cpu"
    return {
        "device": "cpu" if on_cpu else f"{len(devices)} x {_cards()[devices[0].device_id][0]}",
        "precision": "bfloat16" if on_cpu and fast_bfloat16() else "float32",
        "inference": "int8" if on_cpu and fast_int8() else "float32",
        "amx": _latch_amx(mx),
        "threads": int(os.environ.get("OMP_NUM_THREADS", cores())),
        "cpu": f"{_cpuinfo('model name') or platform.processor()}, {cores()} cores",
        "mxnet": mx.__version__ + ("-cu112" if gpu_build() else ""),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
