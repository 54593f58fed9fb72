"""MXNet on this machine: what importing does, and what it leaves behind."""

import os
import subprocess
import sys

import pytest

from ferlib import runtime


def python(code: str, **environment) -> str:
    """What a fresh interpreter prints; its exit must be 0."""
    call = [sys.executable, "-W", "ignore", "-c", code]
    inherited = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    run = subprocess.run(
        call, env=inherited | environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def test_importing_ferlib_is_light():
    heavy = "mxnet matplotlib cv2 gluoncv PIL scipy"
    code = f"import sys, ferlib; print([m for m in '{heavy}'.split() if m in sys.modules])"
    assert python(code) == "[]"


def test_serving_needs_no_opencv_matplotlib_or_gluoncv():
    code = """
import sys
for name in ("cv2", "matplotlib", "gluoncv", "scipy", "skimage", "tqdm", "pandas"):
    sys.modules[name] = None  # importing it now fails
import numpy as np
from ferlib import service, faces, models
net = models.create("vgg-tiny")
crops = np.zeros((2, 60, 50, 3), np.uint8)
info = {"input_size": 48, "normalise": "standardise"}
print(models.predict(net, crops, info).shape, faces.default_detector()(crops[0])[0].shape)
"""
    assert python(code) == "(2, 8) (0, 4)"


def test_mxnet_imports_after_ferlib_where_numpy_and_python_dropped_its_names():
    # What NumPy 2 and Python 3.12 lack is taken away here; `make pythons` tries the real ones.
    code = """
import importlib.util, sys, numpy as np
for name in ("bool", "NaN", "product", "alltrue", "msort", "in1d", "trapz", "round_"):
    vars(np).pop(name, None)
find = importlib.util.find_spec
real, sys.version_info = sys.version_info, (3, 12, 1, "final", 0)

class Gone:  # distutils is nowhere to be found
    def find_spec(name, *rest):
        if name.split(".")[0] == "distutils":
            raise ModuleNotFoundError(name=name)

importlib.util.find_spec = lambda name, *rest: (
    None if name == "distutils" and name not in sys.modules else find(name, *rest))
sys.meta_path.insert(0, Gone)
import ferlib
sys.version_info = real
import mxnet as mx
from ferlib import runtime
runtime.import_mxnet()  # restores once more
from distutils.version import LooseVersion
print(LooseVersion("1.9") < LooseVersion("1.10"), np.in1d([1, 2], [2]).tolist())
print((mx.nd.ones((2, 2)) * 3).asnumpy().sum(), mx.np.ones(3).sum())
"""
    assert python(code).splitlines() == ["True [False, True]", "12.0 3.0"]


def test_nothing_is_left_for_children_and_a_users_choice_stays():
    code = """
import os, subprocess
from ferlib import runtime
runtime.import_mxnet()
child = subprocess.run(["env"], capture_output=True, text=True).stdout
print([n for n in ("DNNL_MAX_CPU_ISA", "OMP_NUM_THREADS") if n + "=" in child])
"""
    assert python(code) == "[]"
    assert python(code, OMP_NUM_THREADS="1") == "['OMP_NUM_THREADS']"


def test_amx_is_asked_of_the_kernel_never_assumed():
    # The flags of a CPU with AMX, wherever this runs: only the kernel's answer may decide.
    code = """
from ferlib import runtime
real = runtime.cpu_flags() >= runtime._AMX_FLAGS
runtime.cpu_flags = lambda: frozenset(runtime._AMX_FLAGS)
print(real or not runtime.amx_granted())
mx = runtime.import_mxnet()
x, w = mx.nd.ones((4, 16, 9, 9)), mx.nd.ones((32, 16, 3, 3))
print(mx.nd.Convolution(x, w, kernel=(3, 3), num_filter=32, no_bias=True).asnumpy().max())
"""
    assert python(code).splitlines() == ["True", "144.0"]


@pytest.mark.skipif(not runtime.amx_granted(), reason="needs a CPU with AMX")
def test_amx_kernels_really_run():
    code = """
from ferlib import runtime
mx = runtime.import_mxnet()
x = mx.nd.ones((8, 32, 16, 16)).astype("bfloat16")
w = mx.nd.ones((32, 32, 3, 3)).astype("bfloat16")
mx.nd.Convolution(x, w, kernel=(3, 3), num_filter=32, no_bias=True).wait_to_read()
"""
    assert "amx" in python(code, DNNL_VERBOSE="1")


def test_a_limit_that_would_crash_is_lifted():
    # The variable without the kernel's grant is an illegal instruction on a CPU with the flags.
    code = """
import os
from ferlib import runtime
runtime.amx_granted = lambda: False
mx = runtime.import_mxnet()
print("DNNL_MAX_CPU_ISA" in os.environ, runtime.describe()["amx"])
"""
    assert python(code, DNNL_MAX_CPU_ISA="AVX512_CORE_AMX") == "False False"


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
    problem = runtime.card_problem("NVIDIA card", capability)
    assert (problem is None) if verdict is None else (f"too {verdict}" in problem)


def test_a_missing_mxnet_or_driver_is_said_in_plain_words():
    run = subprocess.run(
        [sys.executable, "-c", "import sys; sys.modules['mxnet'] = None\n"
         "from ferlib import cli; sys.exit(cli.main(['info']))"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 1 and "pip install --no-deps mxnet==1.9.1" in run.stderr
    assert len(run.stderr.splitlines()) <= 2
    missing = "libcuda.so.1: cannot open shared object file: No such file or directory"
    assert "no NVIDIA driver" in runtime._cannot_load(missing)
