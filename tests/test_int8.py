"""Answers in eight-bit numbers: close to float32's, made for one net, and refused when damaged."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from common import astronaut, encoded
from PIL import Image

from ferlib import Recognizer, nets, runtime
from ferlib.cli.main import main
from ferlib.data import images, labels, sample
from ferlib.data.dataset import Dataset
from ferlib.errors import FerlibError
from ferlib.evaluation import rounding
from ferlib.metrics import measure
from ferlib.nets import calibration, int8, store
from ferlib.nets.places import int8_file, weight_files
from ferlib.nets.zoo import vgg
from ferlib.serving import archive, handler

pytestmark = pytest.mark.slow  # trains, if only for seconds

mx = runtime.import_mxnet()
INFO = nets.Info.of(nets.find("vgg-tiny"))


@pytest.fixture(autouse=True)
def _on_the_cpu(monkeypatch):
    """A GPU has no int8 graph."""
    monkeypatch.setattr("ferlib.runtime.devices.contexts", lambda: [mx.cpu()])


@pytest.fixture(scope="module")
def drawn(drawn_splits):
    """Drawn faces and votes: 300 to calibrate with, 200 to look at."""
    learn, held_out = drawn_splits
    return learn.take(range(300)), held_out.take(range(200))


@pytest.fixture(scope="module")
def tiny(drawn, learnt, tmp_path_factory):
    """The prefix of a net that has learnt a little, and its int8 file."""
    prefix = tmp_path_factory.mktemp("weights") / "tiny"
    nets.save(nets.load(learnt[0])[0], prefix, INFO)
    nets.quantize(prefix, drawn[0].pictures)
    return prefix


@pytest.fixture
def copied(tiny, tmp_path):
    for path in (*weight_files(tiny), int8_file(tiny)):
        shutil.copy(path, tmp_path)
    return tmp_path / "tiny"


@pytest.fixture
def vnni(monkeypatch):
    """A CPU that multiplies eight-bit numbers, whatever this one does."""
    monkeypatch.setattr("ferlib.runtime.devices.fast_int8", lambda: True)


def answers(prefix, pictures, precision: str, ctx=None) -> np.ndarray:
    net, info = nets.load(prefix, ctx, precision)
    return nets.predict(net, pictures, info)


def contents(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# ---------------------------------------------------------------- what it answers


def test_the_answers_are_float32s_but_for_rounding(tiny, drawn):
    full, rounded = (answers(tiny, drawn[1].pictures, k) for k in ("float32", "int8"))
    truth = labels.majority(drawn[1].votes)
    assert (full.argmax(axis=1) == truth)[truth >= 0].mean() > 0.4  # of eight: it knows something
    assert (full.argmax(axis=1) == rounded.argmax(axis=1)).mean() >= 0.97
    difference = np.abs(full - rounded)
    assert 1e-5 < difference.mean() < 0.01 and difference.max() < 0.15


def test_fused_answers_are_float32s(tiny, drawn):
    full, fused = (answers(tiny, drawn[1].pictures, k) for k in ("float32", "fused"))
    np.testing.assert_allclose(fused, full, atol=1e-5)


@pytest.mark.parametrize(("precision", "atol"), [("fused", 1e-5), ("int8", 0.01)])
def test_a_picture_gets_one_answer_in_any_batch(tiny, drawn, precision, atol):
    net, info = nets.load(tiny, precision=precision)
    pictures = drawn[1].pictures[:70]  # one whole batch and one of six
    alone = np.concatenate([nets.predict(net, pictures[i : i + 1], info) for i in range(70)])
    threes = np.concatenate([nets.predict(net, pictures[i : i + 3], info) for i in range(0, 70, 3)])
    together = nets.predict(net, pictures, info)
    np.testing.assert_allclose(alone, together, atol=atol)
    np.testing.assert_allclose(threes, together, atol=atol)
    assert (nets.predict(net, pictures, info) == together).all()


def test_convolutions_are_rounded_except_the_first(tiny):
    nodes = json.loads(int8.graph(tiny).tojson())["nodes"]
    convolutions = [n for n in nodes if n["op"] == "_sg_mkldnn_conv"]
    rounded = [n.get("attrs", {}).get("quantized") == "true" for n in convolutions]
    assert rounded == [False, True, True, True]
    (last,) = (n for n in nodes if n["op"] == "_sg_mkldnn_fully_connected")
    assert "quantized" not in last.get("attrs", {})
    calibrated = [n for n in nodes if "max_calib_range" in n.get("attrs", {})]
    assert len(calibrated) == 4  # the three convolutions, and what the first of them is given


OTHER_CPUS = ("AVX2", "AVX2_VNNI", "AVX512_CORE")
ASK = """
import sys, numpy as np
from ferlib import nets
net, info = nets.load(sys.argv[1], precision="int8")
np.save(sys.argv[3], nets.predict(net, np.load(sys.argv[2]), info))
"""


@pytest.fixture(scope="module")
def elsewhere(tiny, drawn, tmp_path_factory):
    """What CPUs of fewer instructions answer: a process each, as oneDNN asks once, at a time."""
    folder = tmp_path_factory.mktemp("elsewhere")
    np.save(folder / "pictures.npy", drawn[1].pictures)
    started = []
    for limit in OTHER_CPUS:
        words = [tiny, folder / "pictures.npy", folder / f"{limit}.npy"]
        environment = dict(os.environ, DNNL_MAX_CPU_ISA=limit)
        call = [sys.executable, "-c", ASK, *words]
        started.append(subprocess.Popen(call, env=environment))
    assert [process.wait() for process in started] == [0, 0, 0]
    return {limit: np.load(folder / f"{limit}.npy") for limit in OTHER_CPUS}


@pytest.mark.slow
@pytest.mark.parametrize("limit", OTHER_CPUS)
def test_other_cpus_answer_alike(tiny, drawn, elsewhere, limit):
    """oneDNN limited to older instructions; without VNNI it multiplies in two steps."""
    here, there = answers(tiny, drawn[1].pictures, "int8"), elsewhere[limit]
    assert (here.argmax(axis=1) == there.argmax(axis=1)).mean() >= 0.98
    np.testing.assert_allclose(there, here, atol=0.05)


def test_compare_counts_what_changes(tiny, drawn):
    full, rounded = (answers(tiny, drawn[1].pictures, k) for k in ("float32", "int8"))
    found = rounding.compare(tiny, drawn[1])
    assert found.n == len(drawn[1]) == 200
    assert found.same == pytest.approx((full.argmax(1) == rounded.argmax(1)).mean(), abs=1e-5)
    assert found.drift == pytest.approx((full * np.log(full / rounded)).sum(1).mean(), abs=1e-6)
    wanted = [measure(scores, drawn[1]).accuracy for scores in (full, rounded)]
    assert list(found.accuracy.values()) == wanted
    assert f"{found.same:.2%} of 200" in found.text()


# ---------------------------------------------------------------- making it


@pytest.mark.slow
def test_ranges_are_of_pictures_from_all_over_a_data_set(copied, monkeypatch):
    seen = []
    monkeypatch.setattr(calibration, "CALIBRATED_ON", 5)
    monkeypatch.setattr(calibration, "prepare", lambda pictures, *_how: pictures)
    monkeypatch.setattr(calibration, "_ranges", lambda _prefix, batch: seen.append(batch) or {})
    pictures = np.arange(101, dtype=np.uint8)[:, None, None].repeat(48, 1).repeat(48, 2)
    nets.quantize(copied, pictures)
    assert seen[0][:, 0, 0].tolist() == [0, 25, 50, 75, 100]


def test_the_drift_is_away_from_float32():
    data = Dataset(np.zeros((1, 1, 1), np.uint8), np.array([0]), ("a", "b"))
    found = rounding.between(np.array([[0.9, 0.1]]), np.array([[0.5, 0.5]]), data)
    assert found.drift == pytest.approx(0.9 * np.log(1.8) + 0.1 * np.log(0.2), abs=1e-6)


def test_only_the_ranges_are_written_and_the_same_each_time(copied, drawn):
    before = contents(copied.parent)
    int8_file(copied).unlink()
    assert nets.quantize(copied, drawn[0].pictures) == int8_file(copied)
    assert contents(copied.parent) == before  # same bytes, nothing else touched, nothing left
    assert len(before["tiny-int8.json"]) < 2000


@pytest.mark.slow
@pytest.mark.parametrize(("count", "least"), [(1, 0.6), (5, 0.85), (70, 0.9)])  # batches of 64
def test_a_few_pictures_are_enough_to_run(copied, drawn, count, least):
    nets.quantize(copied, drawn[0].pictures[:count])
    full, rounded = (answers(copied, drawn[1].pictures, k) for k in ("float32", "int8"))
    assert (full.argmax(axis=1) == rounded.argmax(axis=1)).mean() > least


def test_no_picture_is_told_before_anything_is_done(copied, drawn):
    before = contents(copied.parent)
    with pytest.raises(FerlibError, match="no pictures"):
        nets.quantize(copied, drawn[0].pictures[:0])
    assert contents(copied.parent) == before


def test_weights_that_do_not_load_are_told(copied, drawn):
    weight_files(copied)[1].write_bytes(b"half")
    before = contents(copied.parent)
    with pytest.raises(FerlibError, match=r"tiny-0000\.params"):
        nets.quantize(copied, drawn[0].pictures)
    assert contents(copied.parent) == before


def of_a_plan(folder, blocks, dense=(), batch_norm=True, size=16):
    """The prefix of somebody's own small net, random."""
    plan = vgg.Plan(blocks, dense, batch_norm)
    declared = nets.Net("own", partial(vgg.layers, plan=plan), size, normalise="equalise")
    prefix = folder / "own"
    nets.save(nets.create(declared, seed=2), prefix, nets.Info.of(declared))
    return prefix


@pytest.mark.slow
@pytest.mark.parametrize(
    ("blocks", "dense", "batch_norm"),
    [
        (((2, 8), (1, 8)), (32, 32), False),  # hidden dense layers are rounded, too
        (((1, 8),), (), True),  # nothing between first and last
    ],
)
def test_other_nets_can_be_rounded(tmp_path, drawn, blocks, dense, batch_norm):
    prefix = of_a_plan(tmp_path, blocks, dense, batch_norm)
    nets.quantize(prefix, drawn[0].pictures[:64])
    full, fused, rounded = (
        answers(prefix, drawn[1].pictures, k) for k in ("float32", "fused", "int8")
    )
    np.testing.assert_allclose(fused, full, atol=1e-5)
    np.testing.assert_allclose(rounded, full, atol=0.15)
    assert np.abs(rounded - full).mean() < 0.005


@pytest.mark.slow
def test_a_layer_that_is_always_zero_does_no_harm(tiny, tmp_path, drawn):
    net = nets.create("vgg-tiny")
    store.take_over(net, tiny)
    for name, value in net.collect_params().items():
        if name.endswith("batchnorm1_beta"):
            value.set_data(value.data() - 100)  # ReLU lets nothing pass
    nets.save(net, tmp_path / "tiny", INFO)
    nets.quantize(tmp_path / "tiny", drawn[0].pictures[:64])
    full, rounded = (
        answers(tmp_path / "tiny", drawn[1].pictures[:9], k) for k in ("float32", "int8")
    )
    np.testing.assert_allclose(rounded, full, atol=0.03)


@pytest.mark.slow
def test_a_disk_that_takes_nothing_is_told_and_left_as_it_was(tmpfs, drawn):
    prefix = of_a_plan(tmpfs, ((1, 8), (1, 8)))
    nets.quantize(prefix, drawn[0].pictures[:10])
    before = contents(tmpfs)
    with open(tmpfs / "filler", "wb", buffering=0) as file, pytest.raises(OSError):
        while True:
            file.write(bytes(1000))
    with pytest.raises(FerlibError, match=r"cannot write .*own-int8\.json.*disk"):
        nets.quantize(prefix, drawn[0].pictures[:20])
    (tmpfs / "filler").unlink()
    assert contents(tmpfs) == before
    subprocess.run(["mount", "-o", "remount,ro", str(tmpfs)], check=True)
    with pytest.raises(FerlibError, match=r"cannot write .*own"):
        nets.quantize(prefix, drawn[0].pictures[:20])
    assert contents(tmpfs) == before


# ---------------------------------------------------------------- which precision is used


NO_VNNI, VNNI = {"avx2", "avx512f", "avx512bw"}, {"avx2", "avx512f", "avx512bw", "avx512_vnni"}


@pytest.mark.parametrize(
    ("flags", "amx", "there", "wanted"),
    [
        (VNNI, False, True, "int8"),
        ({"avx2", "avx_vnni"}, False, True, "int8"),
        (NO_VNNI, True, True, "int8"),
        (NO_VNNI, False, True, "fused"),
        (VNNI, True, False, "fused"),
    ],
)
def test_int8_where_it_is_there_and_fast(copied, drawn, monkeypatch, flags, amx, there, wanted):
    monkeypatch.setattr("ferlib.runtime.devices.cpu_flags", lambda: frozenset(flags))
    monkeypatch.setattr("ferlib.runtime.devices.latch_amx", lambda _: amx)
    if not there:
        int8_file(copied).unlink()
    assert store.fastest(copied) == store.fastest(copied, mx.cpu()) == wanted
    assert store.fastest(copied, mx.gpu(0)) == "float32"
    pictures = drawn[1].pictures[:9]
    automatic = answers(copied, pictures, "auto")
    np.testing.assert_array_equal(automatic, answers(copied, pictures, wanted))
    np.testing.assert_array_equal(Recognizer(copied).classify(pictures), automatic)


@pytest.mark.parametrize("precision", ["int8", "fused"])
def test_what_only_a_cpu_does_is_not_asked_of_a_gpu(tiny, precision):
    with pytest.raises(FerlibError, match=f"{precision}.*CPU"):
        nets.load(tiny, mx.gpu(0), precision)


def test_weights_load_as_they_were_trained_unless_asked_otherwise(tiny, drawn, vnni):
    """A teacher, a start and the gradients of `explain` need float32."""
    pictures = drawn[1].pictures[:9]
    net, info = nets.load(tiny)
    full = answers(tiny, pictures, "float32")
    np.testing.assert_array_equal(nets.predict(net, pictures, info), full)
    batch = mx.nd.array(images.prepare(pictures, 48, "standardise"))
    batch.attach_grad()
    with mx.autograd.record():
        net(batch).sum().backward()
    assert np.abs(batch.grad.asnumpy()).sum() > 0


def test_recognizer_takes_each_precision_and_no_other(tiny, drawn, vnni):
    pictures = drawn[1].pictures[:9]
    for precision in ("int8", "fused", "float32"):
        fer = Recognizer(tiny, precision=precision)
        wanted = answers(tiny, pictures, precision)
        np.testing.assert_array_equal(fer.classify(pictures), wanted)
    both = Recognizer([tiny, tiny], precision="int8").classify(pictures)
    np.testing.assert_allclose(both, answers(tiny, pictures, "int8"), atol=1e-6)
    with pytest.raises(ValueError, match="unknown precision 'bfloat16'"):
        Recognizer(tiny, precision="bfloat16")


def test_explain_draws_the_same_with_and_without_the_int8_file(copied, drawn, tmp_path, vnni):
    Image.fromarray(drawn[1].pictures[0]).save(tmp_path / "face.png")
    for name in ("with", "without"):
        words = ["--crop", "--weights", str(copied), "--out", str(tmp_path / name)]
        assert main(["explain", str(tmp_path / "face.png"), *words]) == 0
        int8_file(copied).unlink(missing_ok=True)
    (one,), (other,) = contents(tmp_path / "with").values(), contents(tmp_path / "without").values()
    assert one == other


# ---------------------------------------------------------------- the file and its weights


def test_new_weights_take_the_old_ranges_away(copied):
    nets.save(nets.create("vgg-tiny", seed=9), copied, INFO)
    assert not int8_file(copied).exists()
    assert len(contents(copied.parent)) == 3


def test_weights_that_cannot_be_written_take_nothing_away(copied):
    before = contents(copied.parent)
    with pytest.raises(FerlibError, match="set is not JSON"):
        nets.save(nets.create("vgg-tiny", seed=9), copied, replace(INFO, valid={"n": {1, 2}}))
    assert contents(copied.parent) == before


@pytest.fixture
def stale(copied, tmp_path):
    """Other weights, copied over those that the int8 file was made for."""
    (tmp_path / "other").mkdir()
    nets.save(nets.create("vgg-tiny", seed=9), tmp_path / "other" / "tiny", INFO)
    for path in weight_files(tmp_path / "other" / "tiny"):
        shutil.copy(path, tmp_path)
    shutil.rmtree(tmp_path / "other")
    return copied


@pytest.mark.slow
def test_ranges_of_other_weights_are_refused_with_the_remedy(stale, drawn, vnni):
    for precision in ("int8", "auto"):
        with pytest.raises(FerlibError, match=r"tiny-int8\.json was made for other") as error:
            nets.load(stale, precision=precision)
        assert f"`ferlib quantize {stale}`" in str(error.value)
        assert error.value.code == "weights_invalid"
    answers(stale, drawn[1].pictures[:3], "float32")  # as before
    nets.quantize(stale, drawn[0].pictures[:64])
    answers(stale, drawn[1].pictures[:3], "auto")


def test_missing_ranges_are_told_with_the_remedy(copied):
    int8_file(copied).unlink()
    with pytest.raises(FerlibError, match=r"tiny-int8\.json is missing") as error:
        nets.load(copied, precision="int8")
    assert f"`ferlib quantize {copied}`" in str(error.value)
    assert error.value.code == "weights_missing"


def ranges(**change):
    """The whole file with other ranges: None takes a layer's away."""

    def changed(kept: dict) -> str:
        new = kept["ranges"] | change
        new = {name: pair for name, pair in new.items() if pair is not None}
        return json.dumps(kept | {"ranges": new})

    return changed


ONE = "sg_mkldnn_conv_bn_act_1_output"
DAMAGED = {
    "empty": lambda kept: "",
    "cut": lambda kept: json.dumps(kept)[:150],
    "no JSON": lambda kept: "<html>Please log in</html>",
    "no text": lambda kept: "\0\1\2",
    "a list": lambda kept: json.dumps([kept]),
    "a number": lambda kept: "3",
    "null": lambda kept: "null",
    "no weights": lambda kept: json.dumps({"ranges": kept["ranges"]}),
    "no ranges": lambda kept: json.dumps({"weights": kept["weights"]}),
    "a list of ranges": lambda kept: json.dumps(kept | {"ranges": [*kept["ranges"].values()]}),
    "ranges of nothing": lambda kept: json.dumps(kept | {"ranges": {}}),
    "nested": lambda kept: '{"weights":' + "[" * 100_000,
    "long number": ranges(**{ONE: [0, 10**400]}),
    "a layer less": ranges(**{ONE: None}),
    "a layer more": ranges(other_output=[0, 1]),
    "another net's": ranges(**{ONE: None}, vgg13_pool0_fwd_output=[0, 1]),
    "one number": ranges(**{ONE: 1.0}),
    "three numbers": ranges(**{ONE: [0, 1, 2]}),
    "text": ranges(**{ONE: ["low", "high"]}),
    "nan": ranges(**{ONE: [0, float("nan")]}),
    "infinite": ranges(**{ONE: [0, float("inf")]}),
    "more than float32 holds": ranges(**{ONE: [0, 1e300]}),
    "turned round": ranges(**{ONE: [3, -3]}),
    "without zero": ranges(**{ONE: [1, 2]}),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_ranges_are_refused_with_the_remedy(copied, vnni, kind):
    path = int8_file(copied)
    path.write_text(DAMAGED[kind](json.loads(path.read_text())))
    for precision in ("int8", "auto"):
        with pytest.raises(FerlibError, match=r"tiny-int8\.json is damaged") as error:
            nets.load(copied, precision=precision)
        assert f"`ferlib quantize {copied}`" in str(error.value)
        assert error.value.code == "weights_invalid" and len(str(error.value).splitlines()) == 1
    nets.load(copied)  # float32 asks for no ranges


def test_a_folder_in_its_place_is_no_file(copied, vnni):
    int8_file(copied).unlink()
    int8_file(copied).mkdir()
    assert store.fastest(copied) == "fused"
    with pytest.raises(FerlibError, match=r"tiny-int8\.json is missing"):
        nets.load(copied, precision="int8")


@pytest.mark.parametrize("precision", ["float32", "fused", "int8"])
def test_a_graph_that_fails_when_it_runs_is_refused_at_loading(copied, precision):
    """MXNet works in the background: without waiting the error would come with the first face."""
    path = weight_files(copied)[0]
    graph = json.loads(path.read_text())
    first = next(node for node in graph["nodes"] if node["op"] == "Pooling")
    first["attrs"]["pad"] = "(2, 2)"  # as wide as the kernel: oneDNN takes less only
    path.write_text(json.dumps(graph))
    with pytest.raises(FerlibError, match="tiny"):
        nets.load(copied, precision=precision)


# ---------------------------------------------------------------- the commands


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "drawn"
    sample.write(folder, (90, 60, 10), seed=5)
    return folder


def test_predict_answers_in_each_precision(tiny, tmp_path, vnni, capsys):
    photo = tmp_path / "photo.png"
    photo.write_bytes(encoded(astronaut()))
    for precision in ("float32", "int8", "auto"):
        words = [str(photo), "--weights", str(tiny), "--precision", precision, "--json"]
        assert main(["predict", *words]) == 0
        (face,) = json.loads(capsys.readouterr().out.splitlines()[-1])["photos"][0]["faces"]
        (wanted,) = Recognizer(tiny, precision=precision)(photo)
        assert face["scores"] == wanted.scores
        if precision == "float32":
            plain = wanted.scores
    assert wanted.scores != plain, "auto is int8 here"


def test_evaluate_measures_in_each_precision(tiny, folder, tmp_path, monkeypatch, vnni, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = {}
    for precision in ("int8", "fused", "float32", "auto"):
        words = ["--data", str(folder), "--weights", str(tiny), "--precision", precision, "--json"]
        assert main(["evaluate", *words]) == 0
        found[precision] = json.loads(capsys.readouterr().out.splitlines()[-1])
        used = "int8" if precision == "auto" else precision
        assert found[precision].pop("precision") == used
    assert found["fused"]["loss"] == pytest.approx(found["float32"]["loss"], abs=2e-5)
    assert found["int8"]["loss"] != found["float32"]["loss"]
    assert found["auto"] == found["int8"]
    with pytest.raises(SystemExit) as wrong:
        main(["evaluate", "--precision", "bfloat16"])
    assert wrong.value.code == 2


@pytest.mark.slow
def test_quantize_says_what_it_made_and_nothing_else(copied, folder, tmp_path):
    """In a process of its own: MXNet's C++ tells of each layer on stderr if it is let."""
    int8_file(copied).unlink()
    words = ["quantize", str(copied), "--data", str(folder), "--json"]
    run = subprocess.run(
        [sys.executable, "-m", "ferlib.cli", *words],
        env=dict(os.environ, XDG_CACHE_HOME=str(tmp_path / "cache")),
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0 and run.stderr == ""
    first, *said, last = run.stdout.splitlines()
    assert first.startswith("finding the ranges of tiny's layers")
    assert said[0] == f"wrote {int8_file(copied)}" and said[1].startswith("accuracy ")
    result = json.loads(last)
    assert result["int8"] == str(int8_file(copied)) and len(said) == 2
    assert set(result) == {"int8", "n", "same", "drift", "accuracy"}
    nets.load(copied, precision="int8")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("{}/missing", "--data", "{data}"), "missing.json is missing"),
        (("nosuchnet", "--data", "{data}"), "no weights called nosuchnet"),
        (("{}/tiny", "--data", "{}/nowhere"), "no such folder"),
    ],
)
def test_quantize_tells_what_is_missing(copied, folder, monkeypatch, capsys, words, said):
    monkeypatch.setenv("XDG_CACHE_HOME", str(copied.parent / "cache"))
    before = contents(copied.parent)
    given = [word.format(copied.parent, data=folder) for word in words]
    assert main(["quantize", *given]) == 1
    error = capsys.readouterr().err
    assert said in error and len(error.strip().splitlines()) <= 2
    shutil.rmtree(copied.parent / "cache", ignore_errors=True)
    assert contents(copied.parent) == before


def test_quantize_takes_one_source(capsys):
    with pytest.raises(SystemExit) as wrong:
        main(["quantize", "ferplus", "--sample", "--data", "x"])
    assert wrong.value.code == 2 and "not allowed with" in capsys.readouterr().err


# ---------------------------------------------------------------- packed and served


def test_the_ranges_are_packed_if_there_are_any(copied, tmp_path):
    first, again = (archive.pack(copied, tmp_path / f"{k}.mar") for k in (1, 2))
    assert first.read_bytes() == again.read_bytes()
    archive.check(first)
    with zipfile.ZipFile(first) as packed:
        assert packed.read("weights/tiny-int8.json") == int8_file(copied).read_bytes()
    int8_file(copied).unlink()
    without = archive.pack(copied, tmp_path / "3.mar")
    archive.check(without)
    with zipfile.ZipFile(without) as packed:
        assert sum(name.startswith("weights/") for name in packed.namelist()) == 3


def test_ranges_of_other_weights_are_not_packed(stale, tmp_path):
    before = contents(tmp_path)
    with pytest.raises(FerlibError, match=r"tiny-int8\.json was made for other weights"):
        archive.pack(stale, tmp_path / "new" / "fer.mar")
    assert contents(tmp_path) == before


def test_damaged_ranges_are_not_packed(copied, tmp_path):
    int8_file(copied).write_text("{}")
    with pytest.raises(FerlibError, match=r"tiny-int8\.json is damaged"):
        archive.pack(copied, tmp_path / "fer.mar")
    assert not (tmp_path / "fer.mar").exists()


@pytest.mark.parametrize("precision", ["int8", "fused"])
def test_an_unpacked_archive_is_served_in_what_is_fastest(copied, drawn, tmp_path, vnni, precision):
    if precision == "fused":
        int8_file(copied).unlink()
    mar = archive.pack(copied, tmp_path / "fer.mar")
    zipfile.ZipFile(mar).extractall(tmp_path / "unpacked")
    served = handler._load(tmp_path / "unpacked")
    pictures = drawn[1].pictures[:9]
    wanted = answers(copied, pictures, precision)
    assert served.name == "tiny"
    np.testing.assert_array_equal(served.classify(pictures), wanted)
    np.testing.assert_array_equal(Recognizer(copied).classify(pictures), wanted)
