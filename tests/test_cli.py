"""The `ferlib` command: help, exit codes, plain errors."""

import json
import os
import subprocess
import sys

import pytest

from ferlib import models

INFO = {"network": "vgg-tiny", "input_size": 48, "normalise": "standardise", "temperature": 1.0}
COMMANDS = (
    *("prepare", "train", "quantize", "evaluate", "predict", "explain"),
    *("pack", "serve", "stop", "models", "info"),
)


def ferlib(*words: str, **environment) -> subprocess.CompletedProcess:
    call = [sys.executable, "-m", "ferlib.cli", *words]
    environment = os.environ | environment
    return subprocess.run(call, env=environment, capture_output=True, text=True, check=False)


def mistake(run: subprocess.CompletedProcess, status: int) -> str:
    """The message of a user's mistake: at most two plain lines."""
    assert run.returncode == status, run.stderr
    assert "Traceback" not in run.stderr
    assert 1 <= len(run.stderr.strip().splitlines()) <= 2
    return run.stderr


def test_every_command_explains_itself():
    overview = ferlib("--help").stdout
    for command in COMMANDS:
        assert command in overview
        assert f"ferlib {command}" in ferlib(command, "--help").stdout


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
    assert listed["vgg13"]["blocks"] == [[2, 64], [2, 128], [3, 256], [3, 256]]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train", "--data", "{}/none"), "none"),
        (("evaluate", "--data", "{}/none"), "none"),
        (("train", "--sample", "--net", "resnet", "--out", "{}/net"), "vgg13bn"),
        (("evaluate", "--weights", "{}/missing"), "missing.json"),
        (("predict", "--weights", "{}/missing", "a.jpg"), "missing.json"),
        (("pack", "--weights", "{}/missing"), "missing.json"),
        (("train", "--sample", "--out", ""), "cannot write"),
        (("train", "--sample", "--teacher", "{}/missing", "--out", "{}/net"), "missing.json"),
        (("train", "--sample", "--teacher", "", "--out", "{}/net"), "no weights called (empty)"),
        (("train", "--sample", "--start", "", "--out", "{}/net"), "no weights called (empty)"),
    ],
)
def test_a_users_mistake_is_two_plain_lines(words, said, tmp_path):
    run = ferlib(*(word.format(tmp_path) for word in words), XDG_CACHE_HOME=str(tmp_path / "c"))
    assert said in mistake(run, 1)
    assert not list(tmp_path.glob("net*"))


def test_a_shipped_net_teaches_by_its_name_what_the_student_sees(tmp_path):
    words = "train --sample --net vgg-tiny --epochs 1 --full-size --teacher ferplus --teacher-views"
    run = ferlib(*words.split(), "--out", str(tmp_path / "net"), XDG_CACHE_HOME=str(tmp_path))
    assert run.returncode == 0, run.stderr
    recipe = json.loads((tmp_path / "net.json").read_text())["trained"]["recipe"]
    assert recipe["teacher_views"] and recipe["teacher"] == ["ferplus"]  # no path of a machine


def test_unwritable_output_is_a_plain_error(tmp_path):
    words = "train --sample --net vgg-tiny --epochs 1 --out /proc/net --run-folder /proc/run"
    mistake(ferlib(*words.split(), XDG_CACHE_HOME=str(tmp_path)), 1)


def test_predict_does_the_good_ones_and_tells_of_the_others(tmp_path):
    from PIL import Image

    models.save_weights(models.create("vgg-tiny", seed=0), tmp_path / "net", INFO)
    for name in ("a/face.png", "b/face.png", "b/face.gif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (60, 60), "gray").save(tmp_path / name)
    (tmp_path / "bomb.png").write_bytes(b"")
    Image.new("L", (10_000, 10_000)).save(tmp_path / "bomb.png")
    photos = [str(tmp_path / n) for n in ("a/face.png", "bomb.png", "b/face.png", "b/face.gif")]
    words = ["predict", "--weights", str(tmp_path / "net"), "--out", str(tmp_path / "o"), "--json"]
    run = ferlib(*words, *photos)
    assert "megapixels" in mistake(run, 1)
    answer = json.loads(run.stdout.splitlines()[-1])
    assert [one["photo"] for one in answer["photos"]] == [photos[0], *photos[2:]]
    assert [one["photo"] for one in answer["failed"]] == [photos[1]]
    assert len({one["drawn"] for one in answer["photos"]}) == len(list((tmp_path / "o").iterdir()))
    assert len(list((tmp_path / "o").iterdir())) == 3


def test_damaged_weights_are_told_without_a_traceback(tmp_path):
    models.save_weights(models.create("vgg-tiny", seed=0), tmp_path / "net", INFO)
    whole = {path: path.read_bytes() for path in models.weight_files(tmp_path / "net")}
    for path, data in whole.items():
        for damaged in (b"", data[: len(data) // 2], data.replace(b"e", b"x", 1)[:50]):
            path.write_bytes(damaged)
            run = ferlib("predict", "--weights", str(tmp_path / "net"), "any.png")
            assert str(tmp_path / "net") in mistake(run, 1)
        path.write_bytes(data)
