"""Odd but plausible ways to use the recogniser, the reader and the tracker from Python."""

import os
import subprocess
import sys
from array import array
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
import pytest
from common import astronaut, encoded, tiny_weights
from PIL import Image

import ferlib
from ferlib import EMOTIONS
from ferlib.cli import main as cli
from ferlib.data.images import read_picture
from ferlib.errors import FerlibError
from ferlib.faces import frames, network, tracking, video
from ferlib.reading import HeatJob, Job
from ferlib.reading import timeline as drawing
from ferlib.reading.inputs import expand


@pytest.fixture(scope="module")
def fer(tmp_path_factory):
    return ferlib.Recognizer(tiny_weights(tmp_path_factory.mktemp("tiny")))


def head() -> np.ndarray:
    return np.ascontiguousarray(astronaut()[30:200, 140:300])


def film(path: Path, count: int, fps: float = 25) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), fps, (160, 170))
    assert writer.isOpened()
    for _ in range(count):
        writer.write(cv2.cvtColor(head(), cv2.COLOR_RGB2BGR))
    writer.release()
    return path


# ---------------------------------------------------------------- pictures


def test_no_picture_sees_the_face_of_the_one_before(fer):
    whole = astronaut()
    assert len(fer.find(whole)[0]) == 1
    assert len(fer.find(np.zeros(whole.shape[:2], np.uint8))[0]) == 0
    gray = np.asarray(Image.fromarray(whole).convert("L"))
    np.testing.assert_array_equal(fer.look(gray), fer.look(gray[..., None].repeat(3, axis=2)))
    for other in (np.dstack([whole, whole[..., :1]]), whole / 255.0):
        with pytest.raises(FerlibError, match="expected"):
            fer.find(other)
    with pytest.raises(FerlibError, match="expected RGB"):
        network.canvas([gray])


@pytest.mark.parametrize("one", [str, Path, bytes, Image.fromarray, np.asarray])
def test_one_photograph_is_not_many(fer, one):
    given = {str: "photo.png", Path: Path("photo.png"), bytes: b"photo"}.get(one)
    with pytest.raises(FerlibError, match="several photographs"):
        fer.many(one(astronaut()) if given is None else given)


def test_many_photographs_may_be_one_array(fer):
    both = fer.many(np.stack([head(), head()]))
    assert len(both) == 2 and both[0] == both[1] == fer(head())


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_a_damaged_tag_does_not_spoil_a_picture(kind):
    how = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(head(), kind, exif=b"Exif\0\0garbage!", **how)
    np.testing.assert_array_equal(read_picture(data), head())


def test_floats_may_go_a_little_beyond_white_and_hold_holes():
    gray = np.asarray(Image.fromarray(head()).convert("L"))
    floats = (gray / 255).astype(np.float32)
    odd = floats.copy()
    odd[0, :3] = 1.05, np.nan, np.inf
    got = read_picture(Image.fromarray(odd))[..., 0]
    np.testing.assert_array_equal(got[1:], gray[1:])
    assert got[0, :3].tolist() == [255, 0, 255]


def test_faces_to_draw_may_come_one_by_one(fer):
    photo = astronaut()
    faces = fer(photo)
    drawn = fer.draw(photo, (face for face in faces))
    np.testing.assert_array_equal(np.asarray(drawn), np.asarray(fer.draw(photo, faces)))


# ---------------------------------------------------------------- faces over time


def still(_picture):
    return np.array([[40.0, 40, 80, 90]]), np.array([0.9])


@pytest.mark.parametrize("every", [1, 5])
def test_a_face_stays_itself_where_frames_are_far_apart(every):
    tracker = tracking.Tracker(still, every)
    ids = [[track.id for track in tracker.update(head(), 2.0 * k)] for k in range(8)]
    assert ids == [[1]] * 8


def test_time_may_start_again():
    """As where two films are chained: what the first said no longer counts."""
    tracker, told = tracking.Tracker(still), []
    for share, seconds in ((1.0, range(500, 510)), (0.0, range(10))):
        for second in seconds:
            (track,) = tracker.update(head(), float(second))
            told.append(track.smooth(np.array([share, 1 - share]), float(second), 0.5))
    assert np.isfinite(told).all()
    np.testing.assert_allclose(told[-1], [0, 1], atol=1e-6)


def test_films_may_be_chained(fer, tmp_path):
    path = film(tmp_path / "a.avi", 4)
    both = chain(frames.frames(path), frames.frames(path))
    assert [len(found) for _, found in video.follow(both, fer)] == [1] * 8


# ---------------------------------------------------------------- films


def test_a_slow_film_keeps_its_pace(fer, tmp_path):
    path = film(tmp_path / "slow.avi", 4, fps=0.5)
    with frames.Video(path) as read:
        assert read.fps == 0.5
    Job(fer, out=tmp_path / "out", say=print).run(path)
    (copy,) = (tmp_path / "out").iterdir()
    with frames.Video(copy) as read:
        assert (read.fps, read.count) == (0.5, 4)


def test_a_text_is_no_film(fer, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("Subject 7: smiles — seldom.\n" * 300)
    weights = str(tiny_weights(tmp_path))
    assert cli.main(["predict", str(tmp_path / "notes.txt"), "--weights", weights]) == 1
    assert "notes.txt is not a picture" in capsys.readouterr().err
    with pytest.raises(FerlibError, match="holds text"):
        frames.Video(tmp_path / "notes.txt")


def test_films_may_be_read_side_by_side(fer, tmp_path):
    """Of one name, into one folder: each keeps its copy; OpenCV may warn again afterwards."""
    places = [tmp_path / name for name in ("a", "b")]
    for place, count in zip(places, (5, 9), strict=True):
        place.mkdir()
        film(place / "clip.avi", count)
    level = cv2.getLogLevel()

    def read(place: Path) -> dict:
        return Job(fer, out=tmp_path / "out", say=print).run([place / "clip.avi"])

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(read, places))
    assert cv2.getLogLevel() == level and not any(answer["failed"] for answer in answers)
    copies = [answer["videos"][0]["drawn"] for answer in answers]
    assert len(set(copies)) == 2 and set(expand(str(tmp_path / "out"))) == set()
    for copy, count in zip(copies, (5, 9), strict=True):
        with frames.Video(copy) as kept:
            assert kept.count == count


def test_copies_that_meet_at_the_end_are_numbered(tmp_path):
    first, second = (frames.Copy(tmp_path / "x-ferlib", 25, (160, 170)) for _ in range(2))
    first.write(head())
    second.write(head())
    kept = [first.close(), second.close()]
    suffix = first.path.suffix
    assert kept == [str(tmp_path / f"x-ferlib{end}{suffix}") for end in ("", "2")]
    over = frames.Copy(tmp_path / "x-ferlib", 25, (160, 170))  # a name that was there before
    over.write(head())
    assert over.close() == kept[0]


# ---------------------------------------------------------------- jobs


def test_a_job_takes_paths_and_a_single_name(fer, tmp_path, monkeypatch):
    Image.fromarray(head()).save(tmp_path / "p.png")
    monkeypatch.chdir(tmp_path)
    for words in ("p.png", Path("p.png"), [Path("p.png")], (Path(),)):
        (photo,) = Job(fer, say=print).run(words)["photos"]
        assert Path(photo["photo"]) == Path("p.png") and len(photo["faces"]) == 1
    assert Job(fer, say=print).run([], camera=77)["failed"][0]["photo"] == "camera 77"


@pytest.mark.parametrize("name", ["x.jfif", "x.pnm"])
def test_a_folder_shows_all_that_can_be_read(name, tmp_path):
    Image.fromarray(head()).save(tmp_path / name, "JPEG" if name == "x.jfif" else "PPM")
    assert expand(str(tmp_path)) == [str(tmp_path / name)]


@pytest.mark.parametrize("option", ["csv", "jsonl"])
def test_where_no_rows_can_be_written_is_told_at_once(fer, option, tmp_path):
    for place in (tmp_path, "/proc/faces.csv"):
        with pytest.raises(FerlibError, match=r"cannot write|is a folder"):
            Job(fer, **{option: str(place)})


@pytest.mark.parametrize("option", ["--csv", "--jsonl", "--timeline", "--out"])
def test_an_empty_name_is_refused(option, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["predict", "photo.png", option, ""])
    assert stopped.value.code == 2 and "empty" in capsys.readouterr().err


def test_faces_of_films_with_long_names_are_all_drawn(tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(drawing.plots, "timeline", lambda faces, classes: drawn.update(faces))
    long = "a" * 60
    moment = array("d", [0.0, *np.eye(len(EMOTIONS))[0]])
    moments = {f"{long}/P{k}/{long}.mp4, face 1": moment for k in range(3)}
    with pytest.raises(AttributeError):  # the stand-in gives nothing that could be saved
        drawing.draw_timeline(tmp_path / "t.png", moments, EMOTIONS)
    assert len(drawn) == 3 and not list(tmp_path.iterdir())


def test_gradients_ask_for_full_precision(tmp_path):
    fused = ferlib.Recognizer(tiny_weights(tmp_path), precision="fused")
    with pytest.raises(FerlibError, match="float32"):
        HeatJob(fused, tmp_path / "heat")


def test_no_table_is_begun_where_another_cannot_be(tmp_path):
    """From the command line too: nothing is read, no table begun."""
    call = [sys.executable, "-m", "ferlib.cli", "predict", "p.png", "--csv", "c", "--jsonl", "/"]
    done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 1 and "/ is a folder" in done.stderr and "Trace" not in done.stderr
    assert not (tmp_path / "c").exists()
