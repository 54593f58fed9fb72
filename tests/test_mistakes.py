"""Mistakes that cross rooms: places that cannot be written, classes and sizes that differ."""

import csv
import io
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from command import ferlib, mistake
from common import free_port
from PIL import Image

from ferlib import FerlibError, files, runtime, training
from ferlib.data import cartoon, fer2013, folders, images, sample
from ferlib.data.labels import EMOTIONS, SEVEN
from ferlib.evaluation import bench, contest, evaluate
from ferlib.faces.face import Face
from ferlib.reading.tables import Row, Table
from ferlib.serving import forms, notes, web_server
from ferlib.serving.limits import Limits
from ferlib.training.callbacks import EarlyStop

QUICK = ("--net", "vgg-tiny", "--epochs", "1", "--batch-size", "8")
PETS = ("bird", "cat", "dog")
FACE = Face((1, 2, 3, 4), "happiness", dict.fromkeys(EMOTIONS, 0.125))


def shade(number: int, side: int, rng: np.random.Generator) -> Image.Image:
    pixels = rng.integers(0, 60, (side, side)) + 90 * number
    return Image.fromarray(pixels.astype(np.uint8))


@pytest.fixture(scope="module")
def pets(tmp_path_factory):
    """bird/0.png ... of three shades, 36 of each class and 96 pixels."""
    folder, rng = tmp_path_factory.mktemp("pets"), np.random.default_rng(0)
    for number, name in enumerate(PETS):
        (folder / name).mkdir()
        for row in range(36):
            shade(number, 96, rng).save(folder / name / f"{row}.png")
    return folder


@pytest.fixture(scope="module")
def two_sizes(pets, tmp_path_factory):
    """Prefixes of a net for 48 pixels and one for 64."""
    places = [tmp_path_factory.mktemp("sizes") / str(size) / "net" for size in (48, 64)]
    for place in places:
        words = ("train", "--data", pets, "--faces", "crop", *QUICK, "--size", place.parent.name)
        done = ferlib(*words, "--out", place)
        assert done.returncode == 0, done.stderr
    return places


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    sample.write(folder, (60, 20, 20))
    return folder


@pytest.fixture(scope="module")
def seven(raw, tmp_path_factory):
    """A net of FER2013's own classes."""
    place = tmp_path_factory.mktemp("seven") / "net"
    done = ferlib("train", "--data", raw, "--labels", "fer2013", *QUICK, "--out", place)
    assert done.returncode == 0, done.stderr
    return place


# ---------------------------------------------------------------- places


@pytest.mark.parametrize("kind", ["pipe", "link to a pipe", "folder"])
def test_only_files_are_replaced(kind, pets, two_sizes, tmp_path):
    pipe, out = tmp_path / "pipe", tmp_path / "out"
    os.mkfifo(pipe)
    if kind == "folder":
        out.mkdir()
    elif kind == "pipe":
        pipe.rename(out)
    else:
        out.symlink_to(pipe)
    before = os.lstat(out).st_mode
    told = mistake(ferlib("evaluate", "--folder", pets, "--weights", two_sizes[0], "--out", out))
    assert f"cannot write {out}" in told and os.lstat(out).st_mode == before


@pytest.mark.parametrize("name", ["net.json", "net-symbol.json", "net-0000.params"])
def test_a_folder_in_the_nets_place_is_told_before_training(name, pets, tmp_path):
    (tmp_path / name).mkdir()
    told = mistake(ferlib("train", "--data", pets, *QUICK, "--out", tmp_path / "net"))
    assert f"{name}: it is a folder" in told
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_folder_in_a_figures_place_is_told_before_the_search(pets, tmp_path):
    pytest.importorskip("optuna")
    (tmp_path / "settings.png").mkdir()
    told = mistake(ferlib("tune", "--data", pets, "--net", "vgg-tiny", "--out", tmp_path))
    assert "settings.png: it is a folder" in told
    assert [file.name for file in tmp_path.iterdir()] == ["settings.png"]


@pytest.mark.parametrize("name", ["", ".", "/"])
@pytest.mark.parametrize(
    "words", [("export", "--onnx"), ("export", "--detector"), ("pack", "--out")]
)
def test_a_name_is_wanted(words, name):
    assert "expected a file's name" in mistake(ferlib(*words, name))


EMPTY = [("export", "--hub"), ("explain", "a.png", "--out"), ("tune", "--out")]
EMPTY += [
    ("tune", "--space"),
    ("evaluate", "--figures"),
    ("evaluate", "--out"),
    ("train", "--data"),
]
EMPTY += [("train", "--recipe"), ("train", "--tensorboard"), ("train", "--run-folder")]


@pytest.mark.parametrize("words", EMPTY)
def test_an_empty_name_is_not_the_working_folder(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "the name is empty" in mistake(ferlib(*words, ""), 2)
    assert not list(tmp_path.iterdir())


def test_a_net_is_not_called_like_a_file_for_onnxruntime(pets, tmp_path):
    told = mistake(ferlib("train", "--data", pets, *QUICK, "--out", tmp_path / "net.onnx"))
    assert "expected a prefix" in told and not list(tmp_path.iterdir())


def test_a_runs_folder_has_a_name_in_text(pets, tmp_path):
    strange = os.fsdecode(os.fsencode(tmp_path) + b"/r\xff")
    words = ("train", "--data", pets, *QUICK, "--out", tmp_path / "net")
    assert "not in UTF-8" in mistake(ferlib(*words, "--run-folder", strange))
    assert not list(tmp_path.iterdir())


def test_the_stored_command_can_be_repeated(pets, tmp_path):
    place = tmp_path / "my net"
    words = ["train", "--data", str(pets), *QUICK, "--out", str(place)]
    assert ferlib(*words).returncode == 0
    stored = json.loads(place.with_name("my net.json").read_text())["trained"]["command"]
    assert shlex.split(stored) == ["ferlib", *words]


# ---------------------------------------------------------------- what is learnt from


def test_fer2013s_table_keeps_its_splits(raw):
    data, whole = folders.read(raw / "fer2013.csv"), fer2013.load(raw)
    assert np.array_equal(data.parts, whole.usage) and len(data.split("train")) == 60


def test_an_unknown_usage_is_told_by_its_row(raw, tmp_path):
    lines = (raw / "fer2013.csv").read_text().splitlines()
    lines[3] = lines[3].rpartition(",")[0] + ",Sometimes"
    (tmp_path / "fer2013.csv").write_text("\n".join(lines))
    with pytest.raises(FerlibError, match="row 3: the usage is 'Sometimes'"):
        folders.read(tmp_path / "fer2013.csv")


def test_missing_votes_are_named(raw, tmp_path):
    (tmp_path / "fer2013.csv").write_bytes((raw / "fer2013.csv").read_bytes())
    told = mistake(ferlib("train", "--data", tmp_path, *QUICK, "--out", tmp_path / "net"))
    assert "put fer2013new.csv there" in told


def test_a_class_that_is_held_out_as_a_whole_is_told(pets, tmp_path):
    people = {"bird": ("q4",), "cat": ("a", "b", "c"), "dog": ("a", "b", "c")}
    rows = [
        f"{pets / name / f'{row}.png'},{name},{people[name][row % len(people[name])]}"
        for name in PETS
        for row in range(12)
    ]
    table = tmp_path / "pets.csv"
    table.write_text("\n".join(["file,label,person", *rows]) + "\n")
    told = mistake(ferlib("train", "--data", table, *QUICK, "--out", tmp_path / "net"))
    assert "nothing is left to learn bird from" in told and "--map bird=skip" in told


def test_folders_options_are_not_for_drawn_faces(tmp_path):
    words = ("train", "--sample", "--faces", "find", *QUICK, "--out", tmp_path / "net")
    assert "are for pictures in folders" in mistake(ferlib(*words), 2)


@pytest.mark.parametrize(
    "setting",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"warmup": -1},
        {"warmup": float("nan")},
        {"momentum": float("nan")},
        {"teacher_share": 3},
    ],
)
def test_impossible_settings(setting):
    with pytest.raises(FerlibError, match=f"{next(iter(setting))} .*: expected"):
        training.Recipe(**setting)


def test_an_unknown_figure_stops_nothing_in_silence():
    run = type("Run", (), {"log": [{"valid_loss": 1.0}]})
    with pytest.raises(FerlibError, match="it has valid_loss"):
        EarlyStop(1, "nope").on_epoch(run, run.log[0])


# ---------------------------------------------------------------- nets that differ


@pytest.mark.parametrize("hide", [(), ("--occlusion",)])
def test_heat_of_nets_of_two_sizes(hide, pets, two_sizes, tmp_path):
    weights = [word for place in two_sizes for word in ("--weights", place)]
    done = ferlib("explain", pets / "cat" / "0.png", "--crop", *hide, *weights, "--out", tmp_path)
    assert done.returncode == 0 and len(list(tmp_path.glob("*.png"))) == 1, done.stderr


def test_the_order_of_nets_of_two_sizes_does_not_matter(pets, two_sizes):
    data = folders.read(pets, classes=PETS)
    reports = [asdict(evaluate(data, order, "crop")) for order in (two_sizes, two_sizes[::-1])]
    for figure in ("accuracy", "kl", "ece"):
        assert reports[0][figure] == pytest.approx(reports[1][figure], abs=1e-5)


def test_a_net_that_is_too_sure_gives_sound_figures(pets, two_sizes, tmp_path):
    """Its scores of all allowed answers can be exactly 0."""
    for file in filter(Path.is_file, two_sizes[0].parent.iterdir()):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    info = json.loads((tmp_path / "net.json").read_text())
    (tmp_path / "net.json").write_text(json.dumps(info | {"temperature": 1e-4}))
    words = ("evaluate", "--folder", pets, "--weights", tmp_path / "net", "--emotions", "cat,bird")
    done = ferlib(*words, "--faces", "crop", "--json")
    assert done.returncode == 0 and "NaN" not in done.stdout, done.stderr


# ---------------------------------------------------------------- FER2013's own classes


def test_a_net_of_seven_classes_is_measured_by_its_labels(seven, raw):
    done = ferlib("evaluate", "--weights", seven, "--data", raw, "--split", "test", "--json")
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["n"] == len(fer2013.load(raw).labelled("test")) and len(told["confusion"]) == 7
    words = ("evaluate", "--weights", seven, "--data", raw, "--protocol", "label.csv")
    assert "--protocol is one of FER+'s votes" in mistake(ferlib(*words), 2)


def test_a_net_of_seven_classes_reads_folders_by_their_usual_names(seven, tmp_path):
    rng = np.random.default_rng(0)
    for word, name in {"happy": "happiness", "sad": "sadness", "scorn": "contempt"}.items():
        (tmp_path / word).mkdir()
        Image.fromarray(cartoon.draw(name, rng)).save(tmp_path / word / "0.png")
    data = folders.read(tmp_path, classes=SEVEN)
    assert data.classes == SEVEN and len(data.skipped) == 1
    assert sorted(SEVEN[k] for k in data.truth) == ["happiness", "sadness"]
    assert ferlib("evaluate", "--weights", seven, "--folder", tmp_path).returncode == 0


@pytest.mark.parametrize("words", [("quantize",), ("export", "--int8", "--weights")])
def test_a_net_of_seven_classes_is_rounded(words, seven, tmp_path):
    last = ("--onnx", tmp_path / "net.onnx") if words[0] == "export" else ()
    done = ferlib(*words, seven, "--sample", *last)
    assert done.returncode == 0 and "the same emotion" in done.stdout, done.stderr


def test_only_some_classes_of_votes(raw):
    whole = fer2013.load(raw).split("train")
    part = whole.only(EMOTIONS[:3])
    assert part.kind == "shares" and np.allclose(part.shares.sum(axis=1), 1)
    assert set(part.truth) <= {0, 1, 2} and 0 < len(part.skipped) == len(whole) - len(part)


# ---------------------------------------------------------------- the bench


def test_a_budget_beyond_all_bounds(raw):
    with pytest.raises(FerlibError, match="expected fewer than"):
        contest.epochs_for("vgg-tiny", fer2013.load(raw), 1e308)


def test_counted_epochs_of_none_are_damaged(raw, tmp_path):
    data = fer2013.load(raw)
    budget = f"30 minutes, {len(data.labelled('train'))} pictures"
    (tmp_path / "vgg-tiny-epochs.json").write_text(json.dumps({budget: 0}))
    with pytest.raises(FerlibError, match="is damaged: remove it"):
        contest.epochs_for("vgg-tiny", data, 30, tmp_path)


def test_an_endless_cell_is_told_by_its_line(raw, tmp_path):
    part = fer2013.load(raw).labelled("test")
    header = ",".join(["row", *part.classes])
    (tmp_path / "mine.csv").write_text(f"{header}\n{'1' * 200_000}\n")
    with pytest.raises(FerlibError, match=r"mine\.csv, line 2: field larger"):
        bench.read_predictions(tmp_path / "mine.csv", part)


# ---------------------------------------------------------------- pictures


def test_a_deep_picture_is_read_in_little_memory():
    """Sixteen bits a pixel, twelve million pixels: copies in float64 would take 96 MB each."""
    picture = Image.fromarray(np.full((3000, 4000), 40_000, np.uint16))
    tracemalloc.start()
    read = images.read_picture(picture)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (read == round(40_000 * 255 / 65_535)).all() and peak < 10 * 3000 * 4000


def test_transparency_is_laid_on_white_band_by_band():
    pixels = np.random.default_rng(0).integers(0, 256, (700, 50, 4)).astype(np.uint8)
    picture = Image.fromarray(pixels, "RGBA")
    whole = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    assert np.array_equal(images.read_picture(picture), np.asarray(whole.convert("RGB")))


def test_pillows_own_errors_are_told_as_ours():
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (90, 90, 3)).astype(np.uint8)
    Image.fromarray(noise).save(file, "JPEG")
    broken = Image.open(io.BytesIO(file.getvalue()[:2000]))
    for picture, code in (
        (broken, "truncated_picture"),
        (Image.new("RGB", (0, 5)), "not_a_picture"),
    ):
        with pytest.raises(FerlibError) as told:
            images.read_picture(picture)
        assert told.value.code == code
    with pytest.raises(FerlibError, match="null byte"):
        images.read_picture("a\0b")


def test_a_carriage_return_in_a_name_stays_in_its_cell(tmp_path):
    table = tmp_path / "faces.csv"
    Table(str(table)).add(Row(str(tmp_path / "a\rb.png"), [FACE]))
    with open(table, newline="") as file:
        rows = list(csv.reader(file))
    assert len(rows) == 2 and rows[1][0].endswith("a\rb.png")


@pytest.mark.parametrize("options", [("--csv", "--timeline"), ("--jsonl", "--timeline")])
def test_rows_and_drawing_are_two_files(options, tmp_path):
    words = [word for option in options for word in (option, tmp_path / "x.png")]
    assert "name one file" in mistake(ferlib("predict", "clip.mp4", *words))
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- servers


@pytest.mark.parametrize(
    "note", ["[]", '{"port": 1, "pid": 1, "folder": null, "logs": "/x"}', '{"port": "1"}', "{"]
)
def test_an_odd_note_is_no_server(note, tmp_path):
    (tmp_path / "1.json").write_text(note)
    assert notes.noted(tmp_path / "1.json") is None


def test_a_zero_byte_in_an_address_is_not_found(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "about.json").write_text('{"runtime": {}}')
    (tmp_path / "files.js").write_text('self.FILES = ["./"];\n')
    with web_server.server(tmp_path) as one:
        threading.Thread(target=one.serve_forever, daemon=True).start()
        with socket.create_connection(("127.0.0.1", one.server_port), 5) as connection:
            connection.sendall(b"GET /%00 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert connection.makefile("rb").readline().split()[1] == b"404"
        one.shutdown()


def test_a_files_name_in_a_form_may_be_in_any_encoding():
    head = b'--x\r\nContent-Disposition: form-data; name="data"; filename="\xff.jpg"\r\n\r\n'
    kind = {"content-type": "multipart/form-data; boundary=x"}
    assert forms.pieces(kind, [head + b"PICTURE\r\n--x--\r\n"], Limits()) == [b"PICTURE"]


def test_a_hub_folder_does_not_replace_what_is_another_s(tmp_path):
    (tmp_path / "README.md").write_text("mine")
    assert "holds another README.md" in mistake(ferlib("export", "--hub", tmp_path))
    assert [file.name for file in tmp_path.iterdir()] == ["README.md"]


@pytest.mark.slow
def test_a_server_that_is_ended_while_it_starts_leaves_nothing(tmp_path):
    port = free_port(high=True)
    words = [sys.executable, "-m", "ferlib.cli", "serve", "--port", str(port), "--workers", "1"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while notes.noted(notes.state_file(port)) is None:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        started = notes.noted(notes.state_file(port))
        process.terminate()
        assert process.wait(60) == 1 and b"stopped" in process.stderr.read()
    assert not notes.processes(started) and not Path(started.folder).exists()


def test_code_that_is_in_no_commit_is_told(tmp_path, monkeypatch):
    """As a network of one's own in a new file, by which a row was trained."""
    calls = (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "x"])
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for call in calls:
        subprocess.run(["git", *who, *call], cwd=tmp_path, check=True)
    monkeypatch.setattr(files, "__file__", str(tmp_path / "files.py"))
    clean = files.commit()
    assert re.fullmatch("[0-9a-f]{7,}", clean)
    (tmp_path / "notes.txt").write_text("no code")
    assert files.commit() == clean
    (tmp_path / "mine.py").write_text("a = 1")
    assert files.commit() == clean + "+"
    (tmp_path / "ferlib").mkdir()  # as the package lies in it: the whole checkout counts
    monkeypatch.setattr(files, "__file__", str(tmp_path / "ferlib" / "files.py"))
    assert files.commit() == clean + "+"


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch):
    def unknown():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", unknown)
    with pytest.raises(FerlibError, match="set HOME"):
        files.cache_folder()


@pytest.mark.parametrize(
    "room", [np.zeros, lambda shape: runtime.import_mxnet().nd.zeros(shape).asnumpy()]
)
def test_too_little_memory_is_told_in_plain_words(tmp_path, monkeypatch, room):
    """NumPy's and MXNet's own errors, of an array of terabytes."""
    monkeypatch.setattr(training, "train_to", lambda *_how: room((2**21, 2**21)))
    said = mistake(ferlib("train", "--sample", "--out", tmp_path / "net"))
    assert "memory" in said and "Smaller batches" in said
