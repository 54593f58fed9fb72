"""MXNet on this machine: what importing does, and what it leaves behind."""

import json
import os
import subprocess
import sys

import psutil
import pytest

from ferlib import runtime
from ferlib.runtime import cpu, gpu
from ferlib.runtime.mxnet import _cannot_load


def python(code: str, **environment) -> str:
    """What a fresh interpreter prints; its exit must be 0."""
    call = [sys.executable, "-W", "ignore", "-c", code]
    inherited = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    run = subprocess.run(
        call, env=inherited | environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


# ---------------------------------------------------------------- import ferlib, import_mxnet()

# What NumPy 2 and Python 3.12 lack is taken away here; `make pythons` tries the real ones.
DROPPED = ("bool", "NaN", "product", "alltrue", "msort", "in1d", "trapz", "round_")
WHERE_NAMES_ARE_GONE = f"""
import importlib.util, json, os, sys, types
import numpy as np
for name in {DROPPED}:
    vars(np).pop(name, None)

def state():
    return dict(vars(np)), dict(os.environ), list(sys.path), list(sys.meta_path)

class Gone:  # distutils is nowhere to be found
    def find_spec(name, *rest):
        if name.split(".")[0] == "distutils":
            raise ModuleNotFoundError(name=name)

find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: (
    None if name == "distutils" and name not in sys.modules else find(name, *rest))
sys.meta_path.insert(0, Gone)

before, modules = state(), dict(sys.modules)
import ferlib
new = {{name.split(".")[0] for name in set(sys.modules) - set(modules)}}
told = {{
    "same": state() == before,
    "others": all(sys.modules[name] is module for name, module in modules.items()),
    "new": sorted(new - sys.stdlib_module_names),
}}
from ferlib import runtime
from ferlib.runtime import names
names.sys = types.SimpleNamespace(version_info=(3, 12, 1), modules=sys.modules)
mx = runtime.import_mxnet()
from distutils.version import LooseVersion
told["restored"] = [name for name in {DROPPED} if hasattr(np, name)]
told["answers"] = [LooseVersion("1.9") < LooseVersion("1.10"), np.in1d([1, 2], [2]).tolist()]
told["answers"] += [float((mx.nd.ones((2, 2)) * 3).asnumpy().sum()), float(mx.np.ones(3).sum())]
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def where_names_are_gone() -> dict:
    return json.loads(python(WHERE_NAMES_ARE_GONE).splitlines()[-1])


@pytest.mark.slow
def test_importing_ferlib_is_light_and_changes_nothing(where_names_are_gone):
    """Not NumPy's names, the environment or the path, and it brings no package but itself."""
    assert where_names_are_gone["same"] and where_names_are_gone["others"]
    assert where_names_are_gone["new"] == ["ferlib"]


def test_import_mxnet_restores_what_numpy_and_python_dropped(where_names_are_gone):
    assert where_names_are_gone["restored"] == list(DROPPED)
    assert where_names_are_gone["answers"] == [True, [False, True], 12.0, 3.0]


# Which of the variables that `import_mxnet` sets for a moment a child process would inherit.
LEFT_FOR_CHILDREN = """
import subprocess
child = subprocess.run(["env"], capture_output=True, text=True).stdout
print([n for n in ("DNNL_MAX_CPU_ISA", "OMP_NUM_THREADS") if n + "=" in child])
"""


# ---------------------------------------------------------------- AMX


@pytest.mark.slow
def test_amx_is_asked_of_the_kernel_never_assumed_and_nothing_is_left_for_children():
    # The flags of a CPU with AMX, wherever this runs: only the kernel's answer may decide.
    code = """
from ferlib import runtime
from ferlib.runtime import cpu
real = cpu.cpu_flags() >= cpu._AMX_FLAGS
cpu.cpu_flags = lambda: frozenset(cpu._AMX_FLAGS)
print(real or not cpu.amx_granted())
mx = runtime.import_mxnet()
x, w = mx.nd.ones((4, 16, 9, 9)), mx.nd.ones((32, 16, 3, 3))
print(mx.nd.Convolution(x, w, kernel=(3, 3), num_filter=32, no_bias=True).asnumpy().max())
"""
    assert python(code + LEFT_FOR_CHILDREN).splitlines() == ["True", "144.0", "[]"]


@pytest.mark.slow
@pytest.mark.skipif(not cpu.amx_granted(), reason="needs a CPU with AMX")
def test_amx_kernels_really_run():
    code = """
import numpy as np
from ferlib import runtime
mx = runtime.import_mxnet()
bfloat16 = np.dtype([("bfloat16", np.uint16)])  # MXNet's name for it; NumPy has none
x = mx.nd.amp_cast(mx.nd.ones((8, 32, 16, 16)), dtype=bfloat16)
w = mx.nd.amp_cast(mx.nd.ones((32, 32, 3, 3)), dtype=bfloat16)
mx.nd.Convolution(x, w, kernel=(3, 3), num_filter=32, no_bias=True).wait_to_read()
"""
    assert "amx" in python(code, DNNL_VERBOSE="1")


@pytest.mark.slow
def test_a_limit_that_would_crash_is_lifted_and_a_users_threads_stay():
    # The variable without the kernel's grant is an illegal instruction on a CPU with the flags.
    code = """
from ferlib import runtime
from ferlib.runtime import cpu
cpu.amx_granted = lambda: False
runtime.import_mxnet()
found = runtime.describe()
print(found["amx"], found["threads"])
"""
    said = python(code + LEFT_FOR_CHILDREN, DNNL_MAX_CPU_ISA="AVX512_CORE_AMX", OMP_NUM_THREADS="3")
    assert said.splitlines() == ["False 3", "['OMP_NUM_THREADS']"]


@pytest.mark.slow
@pytest.mark.parametrize("vendor", ["AuthenticAMD", "GenuineIntel"])
def test_under_a_limit_without_bfloat16_nothing_is_trained_in_it(vendor):
    # The flags of a CPU that has it, wherever this runs: the user's limit decides.
    code = f"""
from ferlib import runtime
from ferlib.runtime import cpu, devices
flags = cpu.cpu_flags() | {{"avx512_bf16"}}
devices.cpu_flags = lambda: flags
real = devices.cpuinfo
devices.cpuinfo = lambda name: "{vendor}" if name == "vendor_id" else real(name)
print(runtime.describe()["precision"])
"""
    assert python(code, DNNL_MAX_CPU_ISA="AVX2") == "float32"
    if vendor == "AuthenticAMD":
        assert python(code) == "bfloat16"


def test_an_array_that_ctrl_c_cut_off_is_silent_and_others_are_freed(monkeypatch):
    mx, told = runtime.import_mxnet(), []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    mx.nd.NDArray.__new__(mx.nd.NDArray)
    before = psutil.Process().memory_info().rss
    for _ in range(100):
        mx.nd.ones((2500, 1000)).wait_to_read()  # 10 MB
    assert psutil.Process().memory_info().rss - before < 200e6
    assert not told


def test_describe_says_what_was_found():
    found = runtime.describe()
    assert found["device"] == "cpu" or "x" in found["device"]
    assert found["precision"] in ("float32", "bfloat16")
    assert 1 <= found["threads"] <= os.cpu_count()


@pytest.mark.parametrize(
    ("capability", "verdict"),
    [((7, 5), None), ((8, 0), None), ((8, 9), None), ((9, 0), "new"), ((3, 7), "old")],
)
def test_cards_that_mxnet_holds_no_code_for_are_named(capability, verdict):
    problem = gpu.card_problem("NVIDIA card", capability)
    assert (problem is None) if verdict is None else (f"too {verdict}" in problem)


def test_a_missing_mxnet_or_driver_is_said_in_plain_words():
    run = subprocess.run(
        [sys.executable, "-c", "import sys; sys.modules['mxnet'] = None\n"
         "from ferlib.cli.main import main; sys.exit(main(['train', '--sample']))"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 1 and "pip install --no-deps mxnet==1.9.1" in run.stderr
    assert len(run.stderr.splitlines()) <= 2
    missing = "libcuda.so.1: cannot open shared object file: No such file or directory"
    assert "no NVIDIA driver" in _cannot_load(missing)
