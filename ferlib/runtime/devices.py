"""What to train and answer on here; `ferlib info` prints what was found."""

import platform
import sys
from importlib.metadata import version
from typing import Any

import numpy as np

from ferlib.errors import FerlibError, check_kind
from ferlib.runtime.cpu import bfloat16_allowed, cores, cpu_flags, cpuinfo, latch_amx, threads
from ferlib.runtime.gpu import card_problem, cards, gpu_build
from ferlib.runtime.mxnet import engine, import_mxnet


def amx() -> bool:
    """Whether oneDNN may use this CPU's AMX tiles (Intel, from 2023 on)."""
    return latch_amx(import_mxnet())


def fast_bfloat16() -> bool:
    """Whether bfloat16 training beats float32 here, by what was measured.

    With AMX 3 to 4 times float32. AMD's AVX512-BF16 (Zen 4 and later) gave 1.6 to 1.9 times
    (benchmarks/augment.py, results/augment.json). Intel's without AMX was slower than float32.
    """
    amd = cpuinfo("vendor_id") == "AuthenticAMD" and "avx512_bf16" in cpu_flags()
    return (amd and bfloat16_allowed()) or amx()


def fast_int8() -> bool:
    """Whether this CPU multiplies eight-bit numbers in one step: VNNI (2019 and later), or AMX.

    Without it oneDNN's int8 convolutions add in 16 bits, which can overflow.
    """
    return bool(cpu_flags() & {"avx512_vnni", "avx_vnni"}) or amx()


def contexts() -> list:
    """The MXNet contexts to train on: every usable card, else [mx.cpu()]. Says why one is not."""
    mx = import_mxnet()
    if not gpu_build():
        return [mx.cpu()]
    problems = [card_problem(*card) for card in cards()]
    for problem in filter(None, problems):
        print(problem, file=sys.stderr)
    return [mx.gpu(i) for i, problem in enumerate(problems) if problem is None] or [mx.cpu()]


def check_context(ctx: Any) -> None:
    """FerlibError unless `ctx` is a device of MXNet's that is here."""
    mx = import_mxnet()
    check_kind("ctx", ctx, mx.Context, "a device such as mx.cpu(), see ferlib.runtime.contexts()")
    there = len(cards()) if gpu_build() else 0
    if ctx.device_type == "gpu" and ctx.device_id >= there:
        raise FerlibError(
            f"ctx: no card for {ctx} here; ferlib.runtime.contexts() tells what there is"
        )


def describe() -> dict:
    """What MXNet runs on here: device, precision, threads, AMX and the versions.

    "precision" is what `ferlib train` uses, "inference" what answers are computed in where a net
    has an int8 graph; weights are stored in float32. Without MXNet: what stands in for it.
    """
    here = {
        "threads": threads(),
        "cpu": f"{cpuinfo('model name') or platform.processor()}, {cores()} cores",
    }
    versions = {"numpy": np.__version__, "python": platform.python_version()}
    if engine() == "onnx":
        answers = f"float32, by onnxruntime {version('onnxruntime')}"
        return {"device": "cpu", "inference": answers} | here | {"mxnet": "missing"} | versions
    mx = import_mxnet()
    devices = contexts()
    on_cpu = devices[0].device_type == "cpu"
    told = {
        "device": "cpu" if on_cpu else f"{len(devices)} x {cards()[devices[0].device_id][0]}",
        "precision": "bfloat16" if on_cpu and fast_bfloat16() else "float32",
        "inference": "int8" if on_cpu and fast_int8() else "float32",
        "amx": amx(),
    }
    mxnet = {"mxnet": mx.__version__ + ("-cu112" if gpu_build() else "")}
    return told | here | mxnet | versions
