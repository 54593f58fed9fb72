"""What a command finds in a place that it writes to, and is not of ferlib, stays as it is."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from command import ferlib, mistake

from ferlib import files
from ferlib.data import sample

TINY = ("--net", "vgg-tiny", "--epochs", "1", "--batch-size", "8")


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    sample.write(folder, (60, 20, 20))
    return folder


def own(*places: Path) -> None:
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("mine")


def train(raw, out, *words):
    return ferlib("train", "--data", raw, *TINY, "--out", out, *words)


def test_folders_beside_the_checkpoints_stay(raw, tmp_path):
    """Whatever they are called; and a training that goes on does not take them for its own."""
    mine = [tmp_path / name / "a.txt" for name in ("epoch-photos", "epoch-2024-holiday", "partial")]
    own(*mine)
    for _ in range(2):
        done = train(raw, tmp_path / "out" / "net", "--run-folder", tmp_path)
        assert done.returncode == 0, done.stderr
    assert [place.read_text() for place in mine] == ["mine"] * 3
    assert (tmp_path / "epoch-0001" / "state.json").is_file() and (tmp_path / "log.csv").is_file()


def test_a_log_of_another_kind_is_not_written_over(raw, tmp_path):
    own(tmp_path / "run" / "log.csv")
    told = mistake(train(raw, tmp_path / "net", "--run-folder", tmp_path / "run"))
    assert "holds another log.csv" in told and not (tmp_path / "net.json").exists()
    assert (tmp_path / "run" / "log.csv").read_text() == "mine"


def test_a_prefix_of_somebodys_own_json_is_refused(raw, tmp_path):
    own(tmp_path / "package.json")
    told = mistake(train(raw, tmp_path / "package"))
    assert "package.json does not describe a net" in told
    assert [file.name for file in tmp_path.iterdir()] == ["package.json"]


def test_a_search_does_not_replace_what_is_anothers(raw, tmp_path):
    pytest.importorskip("optuna")
    own(tmp_path / "trials.csv")
    told = mistake(ferlib("tune", "--data", raw, "--net", "vgg-tiny", "--out", tmp_path))
    assert "holds another trials.csv" in told
    assert [file.name for file in tmp_path.iterdir()] == ["trials.csv"]


def test_threads_that_write_one_file_leave_one_whole(tmp_path):
    place, texts = tmp_path / "a.txt", [letter * 100_000 for letter in "abcd"]

    def write(text):
        for _ in range(20):
            with files.whole_file(place) as partial:
                partial.write_text(text)

    failed: list = []
    before, threading.excepthook = threading.excepthook, failed.append
    try:
        threads = [threading.Thread(target=write, args=(text,)) for text in texts]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    finally:
        threading.excepthook = before
    assert not failed and place.read_text() in texts
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_what_a_killed_thread_left_is_swept(tmp_path):
    code = """if True:
        import os, sys
        from ferlib import files
        with files.whole_file(sys.argv[1]) as partial:
            partial.write_text("half")
            os.kill(os.getpid(), 9)"""
    place = tmp_path / "a.txt"
    subprocess.run([sys.executable, "-c", code, place], check=False, timeout=60)
    assert len([*tmp_path.iterdir()]) == 1 and not place.exists()
    with files.whole_file(place) as partial:
        partial.write_text("whole")
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]
