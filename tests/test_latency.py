"""The benchmark of answers: its parts, that every competitor answers alike, and its figures."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from learning import half

from ferlib import nets, runtime
from ferlib.data import cartoon
from ferlib.data.dataset import Dataset
from ferlib.data.labels import EMOTIONS
from ferlib.errors import FerlibError
from ferlib.nets.answer import softmax

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
import latency  # noqa: E402
import step  # noqa: E402
from conditions import result  # noqa: E402

TORCH = ROOT / "build" / "torch"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A small net with an int8 graph, and the folder that its competitors share."""
    folder = tmp_path_factory.mktemp("latency")
    prefix, rng = folder / "tiny", np.random.default_rng(0)
    info = nets.Info.of(nets.find("vgg-tiny"))
    nets.save(lively(nets.create("vgg-tiny", seed=1), rng), prefix, info)
    faces = np.stack([cartoon.draw(emotion, rng) for emotion in EMOTIONS * 8])
    nets.quantize(prefix, faces)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latency.fer2013, "load_or_sample", lambda: Faces(faces))
        latency.prepare(prefix, folder)
    return prefix, folder


class Faces:
    def __init__(self, pictures):
        self.data = Dataset(pictures, np.arange(len(pictures)) % len(EMOTIONS))

    def split(self, _name):
        return self.data


def lively(net, rng):
    """Statistics and shifts as after training; fresh ones would hide a mix-up of parameters."""
    for name, value in net.collect_params().items():
        if name.endswith(("gamma", "beta", "mean", "var")):
            value.set_data(runtime.import_mxnet().nd.array(rng.uniform(0.5, 1.5, value.shape)))
    return net


def answers(tiny, how: str) -> np.ndarray:
    found = latency.caller(*tiny[:1], how, tiny[1], 64)()
    return np.log(found) if how.endswith("crops") else found


@pytest.mark.parametrize(
    ("how", "change"),
    [
        ("fused", 1e-4),
        half("bfloat16", 0.02),
        ("int8", 0.1),
        ("int8 crops", 0.1),
        ("int8 static", 0.1),
    ],
)
def test_our_competitors_give_the_answers_of_float32(tiny, how, change):
    truth, mine = (softmax(answers(tiny, each)) for each in ("float32", how))
    assert mine.shape == (64, 8) and np.ptp(truth, axis=0).max() > change
    assert abs(mine - truth).max() < change
    sure = np.diff(np.sort(truth, axis=1)[:, -2:], axis=1)[:, 0] > 2 * change
    assert (truth.argmax(axis=1) == mine.argmax(axis=1))[sure].all()


@pytest.mark.parametrize(
    ("precision", "how", "change"),
    [("float32", "eager", 1e-4), ("bfloat16", "traced", 0.05), ("int8", "traced", 0.1)],
)
def test_pytorch_answers_alike(tiny, precision, how, change):
    if not (TORCH / "installed").exists():
        pytest.skip("build/torch is made by benchmarks/step.py")
    folder = tiny[1]
    script, out = ROOT / "benchmarks" / "torch_infer.py", folder / f"torch-{precision}-{how}.npy"
    command = [TORCH / "bin" / "python", script, folder, precision, how, "64", out]
    ended = subprocess.run(command, input="2\n", capture_output=True, text=True, check=True)
    assert float(ended.stdout.split()[-1]) > 0
    truth = softmax(answers(tiny, "float32"))
    assert abs(softmax(np.load(out)) - truth).max() < change


def test_the_work_of_a_net_is_that_of_its_convolutions():
    # 48 x 48 from 1 to 16 channels; 24 x 24 from 16 to 32; 12 x 12 from 32 to 64 and 64 to 64.
    first, *rest = 9 * 2304 * 16, 9 * 576 * 16 * 32, 9 * 144 * 32 * 64, 9 * 144 * 64 * 64
    layers = step.convolutions(nets.find("vgg-tiny"))
    assert [layer.multiply_adds for layer in layers] == [first, *rest]
    # A training step does it thrice; the pictures themselves need no gradient.
    assert step.multiplications("vgg-tiny") == 2 * first + 3 * sum(rest)


def test_pytorchs_side_is_told_a_vgg_and_refuses_other_nets():
    plan = step.vgg(nets.find("vgg-tiny", channels=3, classes=5))
    assert plan["blocks"] == ((1, 16), (1, 32), (2, 64))
    assert (plan["size"], plan["channels"], plan["classes"]) == (48, 3, 5)
    with pytest.raises(FerlibError, match="mine is no VGG"):
        step.vgg(nets.Net("mine", lambda net: [], 48))


def test_primitives_take_the_median_of_equal_calls():
    line = "dnnl_verbose,exec,cpu,{},{},forward,data,,,shape,{}\n"
    call = ("convolution", "brgconv:vnni"), ("convolution", "brgconv:vnni"), ("reorder", "jit:uni")
    text = "another line\n"
    for spent in ((1, 2, 3), (1, 2, 90), (1, 8, 3)):
        text += "".join(line.format(*one, ms) for one, ms in zip(call, spent, strict=True))
    spent, calls = latency.primitives(text, 3)
    assert spent == {"convolution brgconv:vnni": 3, "reorder jit:uni": 3}
    assert calls == {"convolution brgconv:vnni": 2, "reorder jit:uni": 1}


def test_answers_are_compared_with_those_of_float32(tmp_path):
    truth = np.eye(8)[[0, 1, 2, 3]] * 3
    np.save(tmp_path / f"{latency.REFERENCE}-4.npy", truth)
    np.save(tmp_path / "other-4.npy", truth[[0, 1, 2, 0]] + 5)  # a shift changes no answer
    found = latency.agreement(tmp_path, "other", 4)
    high, low = np.exp(3) / (np.exp(3) + 7), 1 / (np.exp(3) + 7)
    assert (found["same"], found["of"]) == (3, 4)
    assert found["largest_change"] == pytest.approx(high - low, rel=0.01)


ECHO = (
    "import sys\nprint('{}', flush=True)\nfor line in sys.stdin: print(int(line) / N, flush=True)"
)


def test_a_race_goes_in_turns_and_leaves_no_process(monkeypatch):
    seen = watched(monkeypatch)
    started = {n: ([sys.executable, "-c", ECHO.replace("N", n)], {}) for n in ("100", "400")}
    assert latency.race(started, 64, 3) == {"100": [10.0] * 3, "400": [2.5] * 3}
    assert len(seen) == 2 and all(one.poll() is not None for one in seen)


def test_a_competitor_that_fails_ends_the_others(monkeypatch):
    seen = watched(monkeypatch)
    started = {"good": ([sys.executable, "-c", ECHO], {}), "bad": ([sys.executable, "-c", ""], {})}
    with pytest.raises(SystemExit):
        latency.race(started, 1, 1)
    assert len(seen) == 2 and all(one.wait(5) is not None for one in seen)


def watched(monkeypatch) -> list[subprocess.Popen]:
    seen, popen = [], subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda *args, **how: seen.append(popen(*args, **how)) or seen[-1]
    )
    return seen


def test_the_recorded_figures_belong_together():
    report = result("latency")
    assert next(iter(report["nets"])) == "ferplus"
    for name, net in report["nets"].items():
        assert net["goals"] == latency.goals(net), name
        for batch in latency.CALLS:
            check(net[f"batch {batch}"], batch, f"{name}, batch {batch}")


def check(row: dict, batch: int, what: str) -> None:
    assert set(row["ms"]) >= set(latency.OURS) | {"torch bfloat16", "torch bfloat16, traced"}, what
    for rival, ms in row["ms"].items():
        assert 0 < ms["lowest"] <= ms["median"] <= ms["highest"], f"{what}, {rival}"
        rate = 1000 * batch / ms["median"]
        assert row["pictures_per_s"][rival] == pytest.approx(rate, rel=0.01), f"{what}, {rival}"
        found = row["answers"][rival]
        assert found["of"] == batch and found["same"] >= 0.9 * batch, f"{what}, {rival}"
    assert row["answers"]["torch float32"]["largest_change"] < 1e-3, what
    assert set(row["ferlib_to"]) == set(row["ms"]) - {"ferlib int8"}, what
    if batch > 1:
        assert 0 < row["anatomy"]["convolutions_share"] <= 1, what
