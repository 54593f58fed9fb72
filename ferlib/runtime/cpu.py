"""The processor: its cores, its instruction sets, and AMX, which oneDNN must be told about."""

import ctypes
import os
import platform
import threading
from functools import cache
from math import ceil, inf
from pathlib import Path
from typing import Any


def cores() -> int:
    """Physical cores that this process may use (two hyperthreads share one AVX-512 unit), no more
    than a container's `quota`."""
    if not hasattr(os, "sched_getaffinity"):  # not Linux
        return os.cpu_count() or 1
    allowed = os.sched_getaffinity(0)
    siblings = set()
    for cpu in allowed:
        path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        siblings.add(path.read_text().strip() if path.exists() else str(cpu))
    return max(1, ceil(min(len(siblings), quota())))


def quota(file: Path = Path("/sys/fs/cgroup/cpu.max")) -> float:
    """Processors' worth of time that the container, or whatever else, may take: inf where no
    limit is set (Linux, cgroups of version 2)."""
    try:
        share, period = file.read_text().split()
        return int(share) / int(period)
    except (OSError, ValueError):  # "max 100000"
        return inf


_beside = threading.local()


def alone_on_a_core() -> None:
    """The calling thread is one of several that share the cores: `threads` tells it one."""
    _beside.others = True


def threads() -> int:
    """For one computation: those that were asked for, else one for each core."""
    return 1 if getattr(_beside, "others", False) else asked_threads() or cores()


def asked_threads() -> int:
    """OMP_NUM_THREADS, or the first number of such a list; 0 where it says nothing."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if first.isdecimal() else 0


_AMX_FLAGS = {"amx_tile", "amx_bf16", "amx_int8"}
_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA = 158, 0x1023, 18
_AVX512 = {"avx512f", "avx512bw", "avx512dq", "avx512vl"}  # oneDNN's AVX512_CORE
_LIMIT = "DNNL_MAX_CPU_ISA"  # the bundled oneDNN 2.4.4 does not know ONEDNN_MAX_CPU_ISA
_WITH_BFLOAT16 = ("", "ALL", "AVX512_CORE_BF16", "AVX512_CORE_AMX")


def bfloat16_allowed() -> bool:
    """Whether the user's limit, if there is one, leaves oneDNN the CPU's own bfloat16."""
    return os.environ.get(_LIMIT, "").upper() in _WITH_BFLOAT16


def can_bfloat16() -> bool:
    """Whether oneDNN computes in bfloat16 here at all, fast or not: from AVX-512 on."""
    limit = os.environ.get(_LIMIT, "").upper()
    return cpu_flags() >= _AVX512 and limit.startswith(("ALL", "AVX512_CORE") if limit else "")


@cache
def cpu_flags() -> frozenset[str]:
    """The instruction sets that Linux reports for the first processor."""
    return frozenset(cpuinfo("flags").split())


@cache
def amx_granted() -> bool:
    """Whether CPU and kernel let this process use AMX tiles; asks the kernel for them."""
    if platform.machine() != "x86_64" or not cpu_flags() >= _AMX_FLAGS:
        return False
    call = ctypes.CDLL(None, use_errno=True).syscall
    return call(_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA) == 0


@cache
def latch_amx(mx: Any) -> bool:
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
def cpuinfo(field: str) -> str:
    """One field of the first processor, "" where Linux does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    found = (line.partition(":")[2].strip() for line in lines if line.startswith(field))
    return next(found, "")
