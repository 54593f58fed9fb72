"""The `ferlib` command: help, exit codes, plain errors.

Run in this process, but for the two tests that show that it works as a process.
"""

import json
import subprocess
import sys

import numpy as np
import pytest
from command import ferlib, mistake
from PIL import Image

from ferlib import nets
from ferlib.data import sample, sources
from ferlib.nets.places import weight_files

INFO = nets.Info(network="vgg-tiny")
COMMANDS = (
    *("prepare", "train", "quantize", "evaluate", "predict", "explain"),
    *("pack", "serve", "stop", "web", "models", "info"),
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def process(*words: str) -> subprocess.CompletedProcess:
    call = [sys.executable, "-m", "ferlib.cli", *words]
    return subprocess.run(call, capture_output=True, text=True, check=False)


def test_every_command_explains_itself():
    overview = ferlib("--help").stdout
    for command in COMMANDS:
        assert command in overview
        assert f"ferlib {command}" in ferlib(command, "--help").stdout


def test_as_a_process_it_ends_with_that_status_and_those_lines(tmp_path):
    assert process("--help").stdout == ferlib("--help").stdout
    words = ("evaluate", "--weights", str(tmp_path / "missing"))
    assert mistake(process(*words)) == mistake(ferlib(*words))
    assert mistake(process("nonsense"), 2) == mistake(ferlib("nonsense"), 2)


def test_help_waits_for_no_mxnet():
    code = "import sys; from ferlib.cli.main import main\ntry: main(['--help'])\n"
    code += "finally: print('mxnet' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert shown.stdout.splitlines()[-1] == "False", shown.stderr


@pytest.mark.parametrize(
    "words",
    [(), ("nonsense",), ("train", "--epochs", "0"), ("train", "--epochs", "many"),
     ("train", "--lr", "-1"), ("train", "--lr", "nan"), ("train", "--seed", "-1"),
     ("train", "--seed", "9" * 20), ("train", "--sample", "--teacher-views"),
     ("train", "--sample", "--teacher-share", "0.3"),
     ("train", "--sample", "--data", "x"), ("evaluate", "--split", "both"),
     ("predict",), ("prepare",), ("serve", "--port", "99999")],
)  # fmt: skip
def test_wrong_usage_is_exit_2(words):
    mistake(ferlib(*words), 2)


def test_json_is_the_last_line():
    found = json.loads(ferlib("info", "--json").stdout.splitlines()[-1])
    assert found["mxnet"].startswith("1.9.1")
    listed = json.loads(ferlib("models", "--json").stdout.splitlines()[-1])
    assert list(listed) == nets.names()
    paper = listed["vgg13"]
    assert (paper["size"], paper["channels"], paper["classes"]) == (64, 1, 8)
    assert paper["features"] == [f"relu{last}" for last in (1, 3, 6, 9)]  # 2, 2, 3, 3 layers


@pytest.fixture
def no_data(monkeypatch):
    """Reading data can take minutes: what is wrong without them must be told before."""
    monkeypatch.setattr(sources, "open_data", lambda *_: pytest.fail("data were read first"))
    monkeypatch.setattr("ferlib.data.fer2013.load", lambda *_: pytest.fail("data were read first"))


@pytest.mark.parametrize("words", ["train --data {}/none", "evaluate --data {}/none"])
def test_a_folder_that_is_not_there_is_named(words, tmp_path):
    done = ferlib(
        *words.format(tmp_path).split(), *(["--out", tmp_path / "net"] * ("train" in words))
    )
    assert f"{tmp_path}/none" in mistake(done)
    assert not list(tmp_path.glob("net*"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train", "--sample", "--net", "resnet", "--out", "{}/net"), "vgg13bn"),
        (("evaluate", "--weights", "{}/missing"), "missing.json"),
        (("evaluate", "--weights", "ferplus", "{}/missing"), "missing.json"),
        (("quantize", "{}/missing", "--sample"), "missing.json"),
        (("predict", "--weights", "{}/missing", "a.jpg"), "missing.json"),
        (("pack", "--weights", "{}/missing"), "missing.json"),
        (("train", "--sample", "--out", ""), "cannot write"),
        (("train", "--sample", "--out", "{}/net/"), "/net/': expected a prefix"),
        (("train", "--sample", "--out", "/proc/net"), "cannot write /proc/net"),
        (("train", "--sample", "--out", "{}/net", "--run-folder", "/proc/run"), "/proc/run"),
        (("train", "--sample", "--teacher", "{}/missing", "--out", "{}/net"), "missing.json"),
        (("train", "--sample", "--start", "{}/missing", "--out", "{}/net"), "missing.json"),
        (("train", "--sample", "--teacher", "", "--out", "{}/net"), "no weights called (empty)"),
        (("train", "--sample", "--start", "", "--out", "{}/net"), "no weights called (empty)"),
    ],
)
def test_a_users_mistake_is_two_plain_lines_before_any_data_are_read(
    words, said, tmp_path, no_data
):
    assert said in mistake(ferlib(*(word.format(tmp_path) for word in words)))
    assert not list(tmp_path.glob("net*"))


@pytest.fixture
def few_faces(monkeypatch):
    """`--sample` with fewer faces: thousands take seconds to draw, once a user."""
    write = sample.write
    monkeypatch.setattr(sample, "write", lambda folder: write(folder, n=(96, 24, 24)))


@pytest.mark.slow
def test_a_shipped_net_teaches_by_its_name_what_the_student_sees(tmp_path, few_faces):
    words = "train --sample --net vgg-tiny --epochs 1 --batch-size 32 --full-size"
    words += " --teacher ferplus --teacher-views"
    done = ferlib(*words.split(), "--out", tmp_path / "net")
    assert done.returncode == 0, done.stderr
    trained = json.loads((tmp_path / "net.json").read_text())["trained"]
    assert trained["command"] == f"ferlib {words} --out {tmp_path / 'net'}"
    recipe = trained["recipe"]
    assert recipe["teacher_views"] and recipe["teacher"] == ["ferplus"]  # no path of a machine


def test_predict_does_the_good_ones_and_tells_of_the_others(tmp_path):
    nets.save(nets.create("vgg-tiny", seed=0), tmp_path / "net", INFO)
    for name in ("a/face.png", "b/face.png", "b/face.gif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (60, 60), "gray").save(tmp_path / name)
    Image.fromarray(np.zeros((10_000, 10_000), bool)).save(tmp_path / "bomb.png")
    photos = [str(tmp_path / n) for n in ("a/face.png", "bomb.png", "b/face.png", "b/face.gif")]
    words = ["predict", "--weights", tmp_path / "net", "--out", tmp_path / "o", "--json"]
    done = ferlib(*words, *photos)
    assert "megapixels" in mistake(done)
    answer = json.loads(done.stdout.splitlines()[-1])
    assert [one["photo"] for one in answer["photos"]] == [photos[0], *photos[2:]]
    assert [one["photo"] for one in answer["failed"]] == [photos[1]]
    assert len({one["drawn"] for one in answer["photos"]}) == len(list((tmp_path / "o").iterdir()))
    assert len(list((tmp_path / "o").iterdir())) == 3


def test_damaged_weights_are_told_without_a_traceback(tmp_path):
    nets.save(nets.create("vgg-tiny", seed=0), tmp_path / "net", INFO)
    whole = {path: path.read_bytes() for path in weight_files(tmp_path / "net")}
    for path, data in whole.items():
        for damaged in (b"", data[: len(data) // 2], data.replace(b"e", b"x", 1)[:50]):
            path.write_bytes(damaged)
            done = ferlib("predict", "--weights", tmp_path / "net", "any.png")
            assert str(tmp_path / "net") in mistake(done)
        path.write_bytes(data)
