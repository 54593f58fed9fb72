"""Pictures in folders, with classes of one's own and in colour: from training to HTTP."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import requests
from common import free_port
from PIL import Image

from ferlib import Recognizer, nets
from ferlib.cli.main import main
from ferlib.data import folders, sources
from ferlib.evaluation import evaluate, figures
from ferlib.serving import server

SCHEMA = json.loads((Path(server.__file__).parent / "schema.json").read_text())
CLASSES = ("blue", "green", "red")  # gray alone cannot tell them: each is as bright as the others
pytestmark = pytest.mark.slow


def picture(colour: str, rng: np.random.Generator) -> np.ndarray:
    """A noisy disk of one colour on gray, uint8 (H, W, 3), of some size of its own."""
    height, width = rng.integers(50, 90, 2)
    down, across = np.mgrid[:height, :width]
    disk = np.hypot(down - height / 2, across - width / 2) < rng.uniform(0.25, 0.45) * height
    hue = {"red": (200, 60, 60), "green": (12, 150, 12), "blue": (60, 100, 255)}[colour]
    flat = np.where(disk[..., None], hue, 110) + rng.normal(0, 12, (height, width, 3))
    return flat.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """train/red/0.png ... and test/red/0.png ..., 40 and 8 of each class."""
    folder, rng = tmp_path_factory.mktemp("disks"), np.random.default_rng(0)
    for split, count in (("train", 40), ("test", 8)):
        for name in CLASSES:
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                path = folder / split / name / f"{number}.png"
                Image.fromarray(picture(name, rng)).save(path)
    return folder


@pytest.fixture(scope="module")
def prefix(folder, tmp_path_factory):
    """What `ferlib train --data FOLDER` makes of it."""
    prefix = tmp_path_factory.mktemp("nets") / "disks"
    words = f"train --data {folder} --rgb --faces crop --net vgg-tiny --epochs 14 --batch-size 16"
    assert main([*words.split(), "--lr", "0.05", "--out", str(prefix)]) == 0
    return prefix


def last_line(capsys) -> dict:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_the_weights_say_what_they_tell_apart(prefix):
    stored = json.loads(prefix.with_name("disks.json").read_text())
    assert tuple(stored["classes"]) == CLASSES and stored["channels"] == 3
    assert stored["valid"]["n"] == 24  # a fifth of what is there to learn from, held out
    assert stored["trained"]["pictures"] == 96


def test_a_class_that_no_picture_judges_is_told(folder, tmp_path, capsys):
    for split, names in (("train", CLASSES), ("valid", CLASSES[:2])):
        for name in names:
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(4):
                target = folder / "train" / name / f"{number}.png"
                (tmp_path / split / name / f"{split}{number}.png").symlink_to(target)
    words = f"train --data {tmp_path} --rgb --faces crop --net vgg-tiny --epochs 1 --batch-size 4"
    assert main([*words.split(), "--out", str(tmp_path / "net")]) == 0
    assert "no picture to judge red by" in capsys.readouterr().out


def test_it_is_evaluated_by_the_folders_names(prefix, folder, tmp_path, capsys):
    words = ["evaluate", "--weights", str(prefix), "--folder", str(folder / "test")]
    answers = tmp_path / "answers.csv"
    assert main([*words, "--faces", "crop", "--json", "--out", str(answers)]) == 0
    report = last_line(capsys)
    assert report["accuracy"] > 0.9 and report["n"] == 24
    assert report["counts"] == dict.fromkeys(CLASSES, 8)
    assert answers.read_text().splitlines()[0] == "path,truth,answer,blue,green,red"


def test_other_folders_names_are_refused(prefix, folder, tmp_path, capsys):
    (tmp_path / "yellow").mkdir()
    Image.new("RGB", (50, 50), "yellow").save(tmp_path / "yellow" / "0.png")
    assert main(["evaluate", "--weights", str(prefix), "--folder", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "yellow" in said and "blue; green; red" in said
    assert main(["evaluate", "--weights", str(prefix)]) == 1  # FER2013, or none at hand
    assert len(capsys.readouterr().err.splitlines()) <= 2


def test_it_is_quantised_and_explained(prefix, folder, tmp_path, capsys):
    assert main(["quantize", str(prefix), "--data", str(folder), "--faces", "crop", "--json"]) == 0
    assert last_line(capsys)["same"] > 0.9
    photo = str(folder / "test" / "red" / "0.png")
    words = ["explain", photo, "--crop", "--weights", str(prefix), "--out", str(tmp_path)]
    assert main([*words, "--emotion", "red", "--json"]) == 0
    (one,) = last_line(capsys)["photos"]
    assert one["faces"][0]["emotion"] == "red" and one["drawn"].endswith(".png")


def test_its_eight_bits_can_be_exported(prefix, folder, tmp_path, capsys):
    words = ["export", "--onnx", str(tmp_path / "net.onnx"), "--weights", str(prefix)]
    told = ["--data", str(folder), "--faces", "crop"]
    assert main([*words, "--int8", *told, "--json"]) == 0
    assert last_line(capsys)["same"] > 0.9
    with pytest.raises(SystemExit):
        main([*words, "--faces", "crop"])
    assert "--faces goes with --int8" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["quantize", str(prefix), "--sample", "--faces", "crop"])
    assert "for pictures in folders" in capsys.readouterr().err


def test_emotions_in_another_order_are_still_those_classes(tmp_path):
    classes = ("anger", "happiness")
    for name in classes:
        (tmp_path / name).mkdir()
        for number in range(5):
            Image.new("L", (9, 9)).save(tmp_path / name / f"{number}.png")
    data = sources.open_data(tmp_path, own=True)
    turned = sources.shown_to(data, "train", classes[::-1])
    assert turned.classes == classes[::-1] and turned.truth.tolist() == [1] * 4 + [0] * 4


def test_copies_on_both_sides_are_told(folder, tmp_path, capsys):
    for split, name in itertools.product(("train", "valid"), CLASSES):
        (tmp_path / split / name).mkdir(parents=True)
        for number in range(4):
            picture = folder / "train" / name / f"{number + (split == 'valid')}.png"
            with Image.open(picture) as shown:
                shown.resize((40, 40)).save(tmp_path / split / name / f"{split}{number}.png")
    words = f"train --data {tmp_path} --rgb --net vgg-tiny --epochs 1 --batch-size 4"
    assert main([*words.split(), "--out", str(tmp_path / "net")]) == 0
    assert "9 of 12 pictures to judge by are also among those" in capsys.readouterr().out


def test_dollars_in_a_name_are_no_formula(prefix, folder, tmp_path):
    odd = ("a$", r"$\frac$", "b")
    report = evaluate(folders.read(folder / "test", classes=CLASSES), prefix, "crop")
    per = dict(zip(odd, report.per_emotion.values(), strict=True))
    (file, *_) = figures.write(tmp_path, replace(report, per_emotion=per), np.ones(1), np.ones(1))
    assert file.stat().st_size > 1000


def test_python_and_http_answer_with_its_names(prefix, folder, tmp_path):
    fer = Recognizer(prefix)
    assert fer.classes == CLASSES
    photos = [folder / "test" / name / "1.png" for name in CLASSES]
    rows = fer.classify([np.asarray(Image.open(photo)) for photo in photos])
    assert [CLASSES[row.argmax()] for row in rows] == list(CLASSES)
    mar = tmp_path / "fer.mar"
    assert main(["pack", "--weights", str(prefix), "--out", str(mar)]) == 0
    started = server.start(mar, free_port())
    try:
        answers = [requests.post(started.address, p.read_bytes(), timeout=30) for p in photos]
    finally:
        server.stop(started.port)
    found = [answer.json()["whole_picture"] for answer in answers]  # no face in a disk
    assert [one["emotion"] for one in found] == list(CLASSES)
    assert all(set(one["scores"]) == set(CLASSES) for one in found)
    for answer in answers:
        jsonschema.validate(answer.json(), SCHEMA)


def test_a_drawn_copy_has_a_bar_for_each_class(prefix, folder):
    fer = Recognizer(prefix)
    photo = np.asarray(Image.open(folder / "test" / "green" / "2.png").resize((400, 400)))
    row = np.array([120, 150, 90, 90, 1])
    face = fer.face(row, fer.classify([photo])[0], (400, 400))
    assert face.emotion == "green" and set(face.scores) == set(CLASSES)
    drawn = np.asarray(fer.draw(photo, [face])).astype(int)
    changed = np.abs(drawn - photo).sum(axis=2) > 60
    assert (
        changed.mean() > 0.02 and not changed[200:220, 150:180].all()
    )  # beside the face, not on it


def test_it_can_be_gone_on_from_by_the_same_classes_only(prefix, folder, tmp_path, capsys):
    words = f"train --data {folder} --rgb --faces crop --net vgg-tiny --epochs 1 --batch-size 16"
    start = ["--start", str(prefix), "--out", str(tmp_path / "more")]
    assert main([*words.split(), "--lr", "0.001", *start]) == 0
    assert nets.load(tmp_path / "more")[1].classes == CLASSES
    gray = words.replace("--rgb ", "").split()
    assert main([*gray, "--start", str(prefix), "--out", str(tmp_path / "gray")]) == 1
    assert "cannot start from it" in capsys.readouterr().err
    assert not (tmp_path / "gray.json").exists()
