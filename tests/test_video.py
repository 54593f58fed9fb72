"""Videos: frames, tracks that keep their faces, smoothed scores, copies, `ferlib predict`."""

import csv
import json
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time
from array import array
from functools import cache, partial
from threading import Event, Thread

import cv2
import numpy as np
import pytest
from common import astronaut, encoded, tiny_weights
from PIL import Image

import ferlib
from ferlib.cli import main as cli
from ferlib.errors import FerlibError
from ferlib.faces import flow, frames, tracking, video
from ferlib.reading import timeline
from ferlib.reading.inputs import expand
from ferlib.reading.tables import Row, Table

FACE = (43, 45, 86, 103)  # of `head()`, read off by eye
GROUND = (90, 110, 130)


def head() -> np.ndarray:
    return astronaut()[30:200, 140:300]


@cache
def photo_bytes() -> bytes:
    """A PNG with one face, small so that it is soon searched."""
    return encoded(head())


def scene(*places, heads=(None, None), size=(640, 480)) -> np.ndarray:
    """A frame with heads whose left upper corners are at these places; later ones in front."""
    width, height = size
    wide = np.full((height + 400, width + 400, 3), GROUND, np.uint8)
    for (x, y), one in zip(places, heads, strict=False):
        one = head() if one is None else one
        x, y = np.clip((x, y), -200, (width, height)) + 200
        wide[y : y + 170, x : x + 160] = one
    return np.ascontiguousarray(wide[200 : height + 200, 200 : width + 200])


def write(path, pictures, code: str = "MJPG", fps: float = 25):
    size = pictures[0].shape[1::-1]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), fps, size)
    assert writer.isOpened()
    for picture in pictures:
        writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return tiny_weights(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def fer(weights):
    return ferlib.Recognizer(weights)


@pytest.fixture(scope="module")
def find(fer):
    """As `video.follow` looks at frames."""
    return partial(fer.find, quick=True)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Thirty frames of 320 x 240, one face that moves 2 pixels a frame."""
    pictures = [scene((20 + 2 * i, 30), size=(320, 240)) for i in range(30)]
    return write(tmp_path_factory.mktemp("clip") / "clip.avi", pictures)


# ---------------------------------------------------------------- frames


@pytest.mark.parametrize(("name", "code"), [("a.mp4", "mp4v"), ("a.avi", "MJPG")])
def test_frames_come_in_order_with_their_times_in_rgb(tmp_path, name, code):
    pictures = [np.full((120, 160, 3), (8 * i, 20, 200 - 5 * i), np.uint8) for i in range(20)]
    path = write(tmp_path / name, pictures, code, fps=10)
    with video.Video(path) as source:
        assert (source.count, source.fps) == (20, 10)
        found = list(source)
        assert not source.broke_off
    assert [frame.number for frame in found] == list(range(20))
    np.testing.assert_allclose([frame.seconds for frame in found], np.arange(20) / 10, atol=1e-3)
    for frame, wanted in zip(found, pictures, strict=True):
        assert abs(frame.picture.astype(int) - wanted).mean() < 6
    assert [frame.number for frame in video.frames(str(path))] == list(range(20))


def test_what_is_no_video_is_named(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mp4").write_bytes(b"")
    for name, said in (("text", "is not a video"), ("empty", "is empty"), ("none", "cannot read")):
        with pytest.raises(FerlibError, match=rf"{name}\.mp4.*{said}|{said}.*{name}\.mp4"):
            video.Video(tmp_path / f"{name}.mp4")
    with pytest.raises(FerlibError, match="no camera 77"):
        video.Video(77)


@pytest.mark.parametrize("letter", ["", "é", "\x01"])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_texts_are_no_videos(tmp_path, clip, letter, encoding):
    """FFmpeg would draw them, or open what they name."""
    listing = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#{letter}\n#EXTINF:1,\n{clip}\n#EXT-X-ENDLIST\n"
    joined = f"ffconcat version 1.0\n# {letter}\nfile '{clip}'\n"
    words = "" if letter == "\x01" else f"a caf{letter}, or two\n" * 40
    for name, text in (("l.mp4", listing), ("j.mp4", joined), ("t.nfo", words), ("t.asc", words)):
        if text:
            (tmp_path / name).write_bytes(text.encode(encoding))
            with pytest.raises(FerlibError, match="holds text"):
                video.Video(tmp_path / name)


def test_what_could_wait_for_ever_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    for name in (tmp_path / "pipe.mp4", tmp_path, "/dev/zero"):
        with pytest.raises(FerlibError, match="no regular file"):
            video.Video(name)


@pytest.mark.parametrize("name", ["a:b.avi", "http:.avi", "100%d.avi", "a b\n.avi", "\udcff.avi"])
def test_any_name_may_be_a_videos(tmp_path, clip, monkeypatch, name):
    """Also relative ones, which read like a protocol, and bytes that are no text."""
    shutil.copy(clip, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert len(list(video.frames(name))) == 30


def turned(mp4: bytes) -> bytes:
    """The track header's matrix (ISO 14496-12, 8.3.2) says: turn a quarter, as telephones do."""
    place = mp4.index(b"tkhd") + 4 + 40
    matrix = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    return mp4[:place] + matrix + mp4[place + 36 :]


def test_a_video_filmed_upright_is_read_upright(tmp_path):
    picture = np.zeros((120, 160, 3), np.uint8)
    picture[:, :40] = (250, 0, 0)  # the left side, which turns to the top
    plain = write(tmp_path / "plain.mp4", [picture] * 3, "mp4v")
    (tmp_path / "turned.mp4").write_bytes(turned(plain.read_bytes()))
    for frame in video.frames(tmp_path / "turned.mp4"):
        assert frame.picture.shape == (160, 120, 3)
        assert (frame.picture[:36, :, 0] > 200).all() and (frame.picture[44:, :, 0] < 50).all()


def test_a_video_that_breaks_off_gives_what_it_has(tmp_path, clip):
    whole = clip.read_bytes()
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole[: len(whole) // 2])
    with video.Video(cut) as source:
        found = list(source)
        assert source.broke_off
    wanted = list(video.frames(clip))
    assert 5 < len(found) < 25
    for one, other in zip(found[:-1], wanted, strict=False):  # the last may be half a picture
        assert (one.picture == other.picture).all()


# ---------------------------------------------------------------- tracks


def run(tracker, pictures, fps: float = 25) -> list[dict[int, np.ndarray]]:
    """For each frame the boxes by id."""
    return [
        {track.id: track.box.copy() for track in tracker.update(picture, i / fps)}
        for i, picture in enumerate(pictures)
    ]


def test_between_two_looks_a_face_is_followed(find):
    """To a pixel or two of what the detector finds when it looks at every frame."""
    places = [(40 + round(150 * np.sin(i / 12)) + 150, 100 + 3 * i) for i in range(50)]
    pictures = [scene(place) for place in places]
    looks = []

    def counted(picture):
        looks.append(len(looks))
        return find(picture)

    found = run(tracking.Tracker(counted, every=10), pictures)
    assert len(looks) == 5
    assert [list(boxes) for boxes in found] == [[1]] * 50
    for (x, y), boxes in zip(places, found, strict=True):
        box = boxes[1]
        middle = box[:2] + box[2:] / 2 - (x, y)
        assert np.abs(middle - (FACE[0] + 43, FACE[1] + 51)).max() < 6
        assert tracking.overlap(box, (x + FACE[0], y + FACE[1], 86, 103)) > 0.7


def test_flow_gives_shift_and_scale():
    rng = np.random.default_rng(0)
    old = cv2.GaussianBlur(rng.integers(0, 256, (240, 320), dtype=np.uint8), (0, 0), 2)
    matrix = np.array([[1.05, 0, 4.0], [0, 1.05, -7.0]])
    new = cv2.warpAffine(old, matrix, (320, 240))
    (box,) = flow.flow(old, new, [np.array([100.0, 80, 60, 70])])
    wanted = (1.05 * 100 + 4, 1.05 * 80 - 7, 1.05 * 60, 1.05 * 70)
    np.testing.assert_allclose(box, wanted, atol=0.5)
    other = rng.integers(0, 256, (240, 320), dtype=np.uint8)
    assert flow.flow(old, other, [np.array([100.0, 80, 60, 70])]) == [None]


def test_a_face_that_leaves_ends_and_comes_back_as_another(find):
    places = [(300 + 30 * i, 30) for i in range(13)]  # out on the right
    places = places + [(700, 30)] * 15 + places[::-1]
    pictures = [scene(place, size=(640, 240)) for place in places]
    found = run(tracking.Tracker(find, every=2), pictures, fps=12.5)
    ids = [next(iter(boxes), None) for boxes in found]
    assert set(ids[:8]) == {1} and set(ids[15:29]) == {None} and set(ids[-8:]) == {2}


def test_a_face_hidden_for_a_moment_keeps_its_number(find):
    pictures = [scene((200 + 2 * i, 30), size=(640, 240)) for i in range(40)]
    for i in range(14, 26):
        pictures[i] = scene(size=(640, 240))  # 0.5 s
    found = run(tracking.Tracker(find), pictures)
    assert not any(found[18:26])
    assert set().union(*found) == {1} and found[-1]


@pytest.mark.parametrize(
    ("below", "fps"), [pytest.param(0, 25, marks=pytest.mark.slow), (40, 12.5), (80, 12.5)]
)
def test_two_faces_that_cross_keep_their_numbers(find, below, fps):
    """One passes in front of the other, which is hidden for a moment (below = 0)."""
    darker = np.ascontiguousarray(head()[:, ::-1] * 0.7).astype(np.uint8)
    moves = np.arange(0, 440, round(100 / fps))  # pixels: each head goes 100 a second
    pictures = [
        scene((460 - x, 30), (20 + x, 30 + below), heads=(darker, None), size=(640, 300))
        for x in moves
    ]
    found = run(tracking.Tracker(find), pictures, fps)
    first, last = found[0], found[-1]
    assert set().union(*found) == {1, 2} == set(first) == set(last)
    to_right, to_left = sorted(first, key=lambda number: first[number][0])
    assert last[to_right][0] > 400 and last[to_left][0] < 120


def another_head(row: int) -> np.ndarray:
    """One of scikit-image's small faces, in a gray picture of the size of `head()`."""
    from skimage import data

    small = (data.lfw_subset()[row].clip(0, 1) * 255).astype(np.uint8)
    one = np.full((170, 160, 3), 110, np.uint8)
    one[25:145, 20:140] = cv2.resize(small, (120, 120), interpolation=cv2.INTER_CUBIC)[..., None]
    return one


@pytest.mark.parametrize("row", [0, 42, 70])
def test_a_cut_to_another_face_at_the_same_place_ends_the_number(fer, row):
    """Even before the same wall, where only the face changes; its scores start afresh."""
    shots = head(), another_head(row)
    pictures = [scene((200 + i, 60), heads=[shots[i > 7]], size=(640, 300)) for i in range(16)]
    assert not flow.is_cut(*(cv2.cvtColor(p, cv2.COLOR_RGB2GRAY) for p in pictures[7:9]))
    shown = [video.Frame(i, i / 25, picture) for i, picture in enumerate(pictures)]
    found = [faces for _, faces in video.follow(shown, fer)]
    assert [[face.id for face in faces] for faces in found] == [[1]] * 8 + [[2]] * 8
    after = video.Frame(0, 0.0, pictures[8])
    (fresh,) = next(video.follow([after], fer))[1]
    assert found[8][0].scores == pytest.approx(fresh.scores, abs=1e-6)


def test_cuts_are_told_from_what_moves():
    from skimage import data

    names = ("astronaut", "chelsea", "coffee", "rocket", "camera")
    shots = [cv2.resize(getattr(data, name)(), (640, 480)) for name in names]
    shots = [shot if shot.ndim == 2 else cv2.cvtColor(shot, cv2.COLOR_RGB2GRAY) for shot in shots]
    for k, old in enumerate(shots):
        assert all(flow.is_cut(old, new) for new in shots[k + 1 :])
        assert flow.is_cut(old, old[:-2]) and not flow.is_cut(old, old)
        panned = cv2.warpAffine(old, np.float32([[1, 0, 12], [0, 1, -8]]), (640, 480))
        assert not flow.is_cut(old, panned)
        assert not flow.is_cut(old, (old * 0.5 + 100).astype(np.uint8))  # a lamp, a flash
    assert not flow.is_cut(shots[0] * 0, shots[0] * 0)  # a black film


def test_a_video_may_change_its_size(find):
    pictures = [scene((100, 100)), scene((20, 60), size=(320, 240)), scene((100, 100))]
    assert [list(boxes) for boxes in run(tracking.Tracker(find), pictures)] == [[1], [2], [3]]


def test_a_large_picture_is_followed_as_a_small_one(find):
    pictures = [scene((200 + 4 * i, 100)) for i in range(12)]
    large = [cv2.resize(picture, (1600, 1200)) for picture in pictures]
    small, wide = (run(tracking.Tracker(find, 100), each) for each in (pictures, large))
    for one, other in zip(small, wide, strict=True):
        assert tracking.overlap(2.5 * one[1], other[1]) > 0.8


# ---------------------------------------------------------------- smoothed scores


def test_smoothing_by_hand():
    """Weights exp(-age / constant), normalised: a weighted mean of all readings so far."""
    track = tracking.Track(1, np.zeros(4), 1.0, 0.0)
    rng = np.random.default_rng(0)
    rows, times = rng.dirichlet(np.ones(8), 6), np.array([0, 0.04, 0.1, 0.5, 0.52, 2.0])
    for k in range(6):
        got = track.smooth(rows[k], times[k], 0.5)
        weights = np.exp((times[: k + 1] - times[k]) / 0.5)
        np.testing.assert_allclose(got, weights @ rows[: k + 1] / weights.sum(), atol=1e-12)
    rough = tracking.Track(2, np.zeros(4), 1.0, 0.0)
    assert all((rough.smooth(row, t, 0) == row).all() for row, t in zip(rows, times, strict=True))


class Counted:
    """A recognizer that counts how often the net is called, and with how many faces."""

    def __init__(self, fer):
        self.find, self.face, self.upright = fer.find, fer.face, fer.upright
        self._classify, self.calls = fer.classify, []

    def classify(self, crops):
        self.calls.append(len(crops))
        return self._classify(crops)


def test_one_call_of_the_net_for_all_faces_of_a_frame(fer):
    pictures = [scene((20, 100 + i), (400, 100)) for i in range(8)]
    shown = [video.Frame(i, i / 25, picture) for i, picture in enumerate(pictures)]
    counted = Counted(fer)
    followed = list(video.follow(shown, counted, smoothing=0))
    assert counted.calls == [2] * 8
    for _, found in followed:
        assert [face.id for face in found] == [1, 2]
        for face in found:  # as a picture of its own would be read
            assert sum(face.scores.values()) == pytest.approx(1, abs=1e-4)
            assert face.caption == f"{face.id}: {face.emotion} {face.scores[face.emotion]:.0%}"
    frame, found = followed[0]
    alone = sorted(fer(frame.picture), key=lambda face: face.box[0])
    by_place = sorted(found, key=lambda face: face.box[0])
    for one, other in zip(by_place, alone, strict=True):
        assert one.box == other.box
        assert one.scores == pytest.approx(other.scores, abs=2e-6)


def test_a_tilted_head_is_read_in_a_video_as_in_a_photograph(fer):
    middle = (80, 85)
    turned = cv2.warpAffine(head(), cv2.getRotationMatrix2D(middle, -25, 1), (160, 170))
    picture = scene((200, 60), heads=[turned])
    (found,) = next(video.follow([video.Frame(0, 0.0, picture)], fer))[1]
    (alone,) = fer(picture)
    assert 15 < found.roll == alone.roll < 35
    assert found.box == alone.box and found.scores == pytest.approx(alone.scores, abs=1e-6)


def test_smoothed_scores_tremble_less(fer):
    rng = np.random.default_rng(0)
    noisy = [scene((80, 30), size=(320, 240)) + rng.normal(0, 20, (240, 320, 3)) for _ in range(25)]
    noisy = [picture.clip(0, 255).astype(np.uint8) for picture in noisy]
    shown = [video.Frame(i, i / 25, picture) for i, picture in enumerate(noisy)]

    def tremble(smoothing: float) -> float:
        found = (each[0] for _, each in video.follow(shown, fer, smoothing=smoothing) if each)
        rows = np.array([list(face.scores.values()) for face in found])
        return np.abs(np.diff(rows[5:], axis=0)).mean()

    assert tremble(0.5) < 0.4 * tremble(0)


# ---------------------------------------------------------------- copies


def test_a_copy_has_its_name_when_it_is_whole(tmp_path):
    copy = frames.Copy(tmp_path / "a.b", 25, (160, 120))
    for i in range(12):
        copy.write(np.full((120, 160, 3), (200, 10 * i, 0), np.uint8))
    assert not list(tmp_path.glob("[!.]*"))
    assert copy.close() == str(tmp_path / "a.b.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["a.b.mp4"]
    found = list(video.frames(tmp_path / "a.b.mp4"))
    assert len(found) == 12
    assert abs(found[9].picture.astype(int) - (200, 90, 0)).mean() < 8


def test_a_cameras_copy_keeps_time(tmp_path):
    """Read at 10 frames/s, kept at 25: two seconds stay two seconds."""
    copy = frames.Copy(tmp_path / "a", 25, (160, 120))
    for i in range(20):
        copy.write(np.full((120, 160, 3), 12 * i, np.uint8), seconds=i / 10)
    copy.close()
    assert [frame.seconds for frame in video.frames(tmp_path / "a.mp4")][-1] == pytest.approx(1.92)


def test_a_copy_of_a_varying_rate_keeps_time_and_every_frame(tmp_path):
    """As of a recorded screen: on a grid of 60 Hz, a frame only where something changed."""
    gaps = np.random.default_rng(0).choice([0.5, 1, 2, 8, 10], 60)
    times = np.cumsum(gaps) / 60 - gaps[0] / 60
    copy = frames.Copy(tmp_path / "a", 60, (160, 120))
    for i, seconds in enumerate(times):
        copy.write(np.full((120, 160, 3), 4 * i, np.uint8), seconds, least=1)
    copy.close()
    found = list(video.frames(tmp_path / "a.mp4"))
    assert found[-1].seconds == pytest.approx(times[-1], abs=0.05)
    shades = {round(frame.picture.mean() / 4) for frame in found}
    assert len(shades) >= 58  # all, but for what compression mixes up


def test_a_damaged_time_does_not_fill_the_disk(tmp_path):
    copy = frames.Copy(tmp_path / "a", 5, (160, 120))
    for seconds in (0, 0.2, 9e6, 9e6 + 0.2):
        copy.write(np.zeros((120, 160, 3), np.uint8), seconds, least=1)
    assert copy.written == 2 + 300 + 1
    copy.close()


def test_a_copy_survives_a_second_ctrl_c(tmp_path, monkeypatch):
    copy, count, asked = frames.Copy(tmp_path / "a", 25, (160, 120)), frames._readable_frames, []

    def stopped(path):
        asked.append(path)
        if len(asked) == 1:
            raise KeyboardInterrupt
        return count(path)

    monkeypatch.setattr(frames, "_readable_frames", stopped)
    for _ in range(9):
        copy.write(np.zeros((120, 160, 3), np.uint8))
    with pytest.raises(KeyboardInterrupt):
        copy.close()
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    assert len(list(video.frames(tmp_path / "a.mp4"))) == 9


def test_what_a_killed_run_left_is_swept(tmp_path):
    left = tmp_path / ".4194304.0123abcd.a.mp4"  # no process has so high a number
    left.write_bytes(b"half")
    frames.Copy(tmp_path / "a", 25, (160, 120)).close()
    assert not left.exists()


def test_a_cameras_clock_starts_with_its_first_frame(monkeypatch):
    class Camera:
        """One that needs a while for its first frame."""

        def __init__(self, _source):
            self.left = 3

        def isOpened(self):
            return True

        def get(self, what):
            sides = {cv2.CAP_PROP_FRAME_WIDTH: 64, cv2.CAP_PROP_FRAME_HEIGHT: 48}
            return sides.get(what, 0)

        def set(self, *_):
            return True

        def read(self):
            time.sleep(0.3 if self.left == 3 else 0.01)
            self.left -= 1
            return self.left >= 0, np.zeros((48, 64, 3), np.uint8)

    monkeypatch.setattr(frames, "_captured", Camera)
    seconds = [frame.seconds for frame in video.Video(0)]
    assert len(seconds) == 3 and seconds[0] == 0 and seconds[1] < 0.2


def test_a_copy_of_a_video_that_changes_its_size_is_whole(tmp_path):
    copy = frames.Copy(tmp_path / "a", 25, (160, 120))
    for size in ((120, 160), (240, 320), (90, 100)):
        copy.write(np.full((*size, 3), 120, np.uint8))
    copy.close()
    sizes = [frame.picture.shape for frame in video.frames(tmp_path / "a.mp4")]
    assert sizes == [(120, 160, 3)] * 3


def test_a_limit_for_one_file_keeps_the_frames_written(tmp_path):
    rng, before = np.random.default_rng(0), resource.getrlimit(resource.RLIMIT_FSIZE)
    copy = frames.Copy(tmp_path / "a", 25, (160, 120))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        for _ in range(200):
            copy.write(rng.integers(0, 256, (120, 160, 3), dtype=np.uint8))
        with pytest.raises(FerlibError, match="it holds the first"):
            copy.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert len(list(video.frames(tmp_path / "a.mp4"))) == copy.written > 3


def test_a_full_disk_keeps_the_frames_written(tmpfs):
    subprocess.run(["mount", "-o", "remount,size=1m", str(tmpfs)], check=True)
    rng = np.random.default_rng(0)
    copy = frames.Copy(tmpfs / "a", 25, (160, 120))
    for _ in range(200):
        copy.write(rng.integers(0, 256, (120, 160, 3), dtype=np.uint8))
    with pytest.raises(FerlibError, match="disk is full: it holds the first"):
        copy.close()
    assert [path.name for path in tmpfs.iterdir()] == ["a.mp4"]
    assert len(list(video.frames(tmpfs / "a.mp4"))) == copy.written > 3


# ---------------------------------------------------------------- ferlib predict


@pytest.fixture
def predict(weights, capsys):
    """`ferlib predict ...` in this process: exit status, standard output, standard error."""

    def call(*words) -> tuple[int, str, str]:
        status = cli.main(["predict", "--weights", str(weights), *map(str, words)])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return status, said.out, said.err

    return call


def test_the_looks_default_is_the_librarys():
    args = cli._parser().parse_args(["predict", "a.jpg"])
    assert (args.every, args.smooth) == (video.EVERY, video.SMOOTHING)


def test_a_camera_or_a_photograph_is_asked_for(predict):
    with pytest.raises(SystemExit) as stopped:
        predict("--json")
    assert stopped.value.code == 2


def test_a_video_gives_rows_a_copy_and_a_timeline(predict, clip, tmp_path):
    words = ("--out", tmp_path / "o", "--jsonl", tmp_path / "j", "--csv", tmp_path / "c", "--json")
    status, out, err = predict(clip, *words, "--timeline", tmp_path / "t" / "line.png")
    assert status == 0, err
    answer = json.loads(out.splitlines()[-1])
    (entry,) = answer["videos"]
    assert (entry["video"], entry["frames"], answer["failed"]) == (str(clip), 30, [])
    assert entry["seconds"] == pytest.approx(29 / 25)
    (face,) = entry["faces"]
    assert (face["id"], face["from"], face["to"], face["frames"]) == (1, 0, 1.16, 30)
    lines = [json.loads(line) for line in (tmp_path / "j").read_text().splitlines()]
    assert [(line["source"], line["frame"]) for line in lines] == [
        (str(clip), i) for i in range(30)
    ]
    assert [line["seconds"] for line in lines] == pytest.approx([i / 25 for i in range(30)])
    with open(tmp_path / "c", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 30
    for line, row in zip(lines, rows, strict=True):
        (one,) = line["faces"]
        assert [int(row[key]) for key in ("x", "y", "width", "height")] == one["box"]
        assert {name: float(row[name]) for name in ferlib.EMOTIONS} == one["scores"]
        assert (row["id"], row["emotion"]) == ("1", one["emotion"])
        assert (int(row["frame"]), float(row["seconds"])) == (line["frame"], line["seconds"])
        assert float(row["confidence"]) == one["confidence"]
    mean = np.mean([[line["faces"][0]["scores"][e] for e in ferlib.EMOTIONS] for line in lines], 0)
    np.testing.assert_allclose(list(face["scores"].values()), mean, atol=1e-5)
    assert entry["drawn"] == str(tmp_path / "o" / "clip.avi-ferlib.mp4")
    plain, drawn = list(video.frames(clip)), list(video.frames(entry["drawn"]))
    assert len(drawn) == 30
    left, top, _, height = lines[20]["faces"][0]["box"]
    edge = np.s_[top + 10 : top + height - 10, left : left + 2]
    assert abs(drawn[20].picture[edge].astype(int) - plain[20].picture[edge]).mean() > 30
    assert Image.open(answer["timeline"]).size[0] > 500


def test_a_video_stands_in_for_the_camera(predict, clip, tmp_path):
    status, out, err = predict("--camera", clip, "--json", "--jsonl", tmp_path / "j")
    assert status == 0, err
    (entry,) = json.loads(out.splitlines()[-1])["videos"]
    assert entry["frames"] == 30 and entry["faces"][0]["frames"] == 30
    assert len((tmp_path / "j").read_text().splitlines()) == 30
    status, out, err = predict("--camera", "77")
    assert status == 1 and "no camera 77" in err and len(err.strip().splitlines()) <= 2


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory):
    """Twenty seconds: nobody waits for its end."""
    pictures = [scene((20 + i, 30), size=(320, 240)) for i in range(90)]
    return write(tmp_path_factory.mktemp("long") / "long.avi", (pictures * 6)[:500])


def rows_there(rows) -> bool:
    """Whether a run has got so far that some frames' rows are written."""
    return rows.exists() and rows.read_text().count("\n") > 8


def check_what_is_kept(answer: str, rows) -> None:
    """Of a run that was stopped: whole rows, and a copy of as many frames."""
    (entry,) = json.loads(answer)["videos"]
    assert 8 <= entry["frames"] < 500
    drawn = len(list(frames.frames(entry["drawn"])))
    assert entry["frames"] - 1 <= drawn <= entry["frames"]
    lines = rows.read_text().splitlines()
    assert entry["frames"] <= len(lines) <= entry["frames"] + 1
    assert {len(row) for row in csv.reader(lines)} == {18}


@pytest.fixture
def ctrl_c():
    """Sends this process a SIGINT once a run has got far enough, unless it is over by then."""
    over = Event()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in background jobs

    def send(rows) -> None:
        while not over.is_set() and not rows_there(rows):
            time.sleep(0.01)
        if not over.is_set():
            os.kill(os.getpid(), signal.SIGINT)

    def start(rows) -> Event:
        Thread(target=send, args=[rows], daemon=True).start()
        return over

    yield start
    over.set()
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(("words", "wanted"), [(("--camera",), 0), ((), 1)])
def test_a_run_that_is_stopped_keeps_all(predict, ctrl_c, long_clip, tmp_path, words, wanted):
    """A camera ends like this; in a file it is a run that was stopped."""
    rows = tmp_path / "rows"
    over = ctrl_c(rows)
    where = (*words, long_clip, "--json", "--csv", rows, "--out", tmp_path / "o")
    status, out, err = predict(*where)
    over.set()
    assert status == wanted
    assert err == ("ferlib: stopped\n" if wanted else "")
    check_what_is_kept(out, rows)


@pytest.mark.slow
def test_a_process_that_is_killed_keeps_all(weights, long_clip, tmp_path):
    """By `kill`, whose default is to end at once."""
    rows, out = tmp_path / "rows", tmp_path / "o"
    call = [sys.executable, "-m", "ferlib.cli", "predict", "--weights", weights, "--camera"]
    call += [long_clip, "--json", "--csv", rows, "--out", out]
    process = subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not rows_there(rows):
        time.sleep(0.05)
    process.terminate()
    said, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    check_what_is_kept(said, rows)


def test_folders_patterns_and_bad_files(predict, clip, tmp_path):
    """Everything good is done, everything bad is told by name at the end, exit 1."""
    whole = clip.read_bytes()
    (tmp_path / "in" / "deep").mkdir(parents=True)
    good = tmp_path / "in" / "deep" / "B.PNG"
    good.write_bytes(photo_bytes())
    (tmp_path / "in" / "cut.avi").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "in" / "empty.mp4").write_bytes(b"")
    (tmp_path / "in" / "text.mov").write_text("no video")
    (tmp_path / "in" / "half.png").write_bytes(photo_bytes()[: len(photo_bytes()) // 2])
    (tmp_path / "in" / "notes.txt").write_text("nothing to predict")
    (tmp_path / "in" / ".hidden.png").write_bytes(b"")
    names = [tmp_path / "in", tmp_path / "in" / "**" / "*.PNG", tmp_path / "none*.jpg"]
    status, out, err = predict(*names, "--json", "--jsonl", tmp_path / "j")
    answer = json.loads(out.splitlines()[-1])
    assert status == 1
    assert [one["photo"] for one in answer["photos"]] == [str(good)]  # once, though named twice
    (cut,) = answer["videos"]
    assert cut["video"].endswith("cut.avi") and 5 < cut["frames"] < 25
    failed = {one["photo"].rpartition("/")[2]: one["message"] for one in answer["failed"]}
    assert set(failed) == {"none*.jpg", "cut.avi", "empty.mp4", "half.png", "text.mov"}
    assert "breaks off after" in failed["cut.avi"] and "is kept" in failed["cut.avi"]
    assert len(err.strip().splitlines()) == 2
    assert all(name in err for name in failed)
    assert len((tmp_path / "j").read_text().splitlines()) == cut["frames"] + 1


def test_what_could_wait_for_ever_is_skipped(predict, tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mkfifo(tmp_path / "pipe.mp4")
    with open(tmp_path / "huge.jpg", "wb") as file:
        file.truncate(10**12)  # a hole
    (tmp_path / "photo.png").write_bytes(photo_bytes())
    status, out, _ = predict(tmp_path, "/dev/zero", "--json")
    answer = json.loads(out)
    assert status == 1 and len(answer["photos"]) == 1
    failed = {one["photo"].rpartition("/")[2]: one["message"] for one in answer["failed"]}
    assert set(failed) == {"pipe.jpg", "pipe.mp4", "huge.jpg", "zero"}
    assert "too large" in failed.pop("huge.jpg")
    assert all("no regular file" in message for message in failed.values())


def test_any_name_may_be_a_files(predict, clip, tmp_path):
    """Line breaks, terminal codes, bytes that are no text, and as many as fit."""
    folder = tmp_path / "in"
    folder.mkdir()
    names = ["new\nline.png", "red\x1b[31m.png", "\udcff.png", "-dash.png", "x" * 251 + ".png"]
    for name in names:
        (folder / name).write_bytes(photo_bytes())
    shutil.copy(clip, folder / "\udcfe$x$.avi")
    (folder / "bad\n\udcfd.png").write_bytes(b"")
    words = ("--jsonl", tmp_path / "j", "--csv", tmp_path / "c", "--out", tmp_path / "o")
    status, out, err = predict(folder, *words, "--timeline", tmp_path / "t.png")
    assert status == 1 and len(err.splitlines()) == 1 and r"bad\n\udcfd.png" in err
    assert len(out.splitlines()) == len(names) + 2 and out.isprintable() is False
    assert all(line.isprintable() for line in out.splitlines())
    sources = {json.loads(line)["source"] for line in (tmp_path / "j").read_text().splitlines()}
    assert sources == {str(folder / name) for name in [*names, "\udcfe$x$.avi"]}
    with open(tmp_path / "c", newline="") as file:
        assert len({row["source"] for row in csv.DictReader(file)}) == len(names) + 1
    assert len(list((tmp_path / "o").glob("[!-.]*"))) == len(names) + 1
    assert (tmp_path / "t.png").stat().st_size > 5000


def test_folders_that_hold_themselves_are_read_once(predict, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "photo.png").write_bytes(photo_bytes())
    for name in ("loop", "again"):
        (tmp_path / "a" / name).symlink_to("..")
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    _, out, _ = predict(tmp_path, tmp_path / "**", tmp_path / "**" / "*.png", "--json")
    answer = json.loads(out)
    assert [one["photo"] for one in answer["photos"]] == [str(tmp_path / "a" / "photo.png")]
    assert [one["photo"] for one in answer["failed"]] == [str(tmp_path / "gone.png")]


def test_a_folder_that_may_not_be_read_is_told(tmp_path, monkeypatch):
    tmp_path.chmod(0o755)
    (tmp_path / "closed").mkdir(mode=0)
    (tmp_path / "photo.png").touch()
    monkeypatch.chdir(tmp_path)
    root, failed = os.geteuid() == 0, []  # root may read everything
    if root:
        os.seteuid(65534)
    try:
        assert expand(".", failed.append) == ["./photo.png"]
        assert expand("closed", failed.append) == []
    finally:
        if root:
            os.seteuid(0)
    assert [error.filename for error in failed] == ["./closed", "closed"]
    assert all(isinstance(error, PermissionError) for error in failed)


def test_a_file_without_a_known_ending_is_what_is_in_it(predict, clip, tmp_path):
    (tmp_path / "photo").write_bytes(photo_bytes())
    shutil.copy(clip, tmp_path / "film.vob")
    (tmp_path / "notes.txt").write_text("neither")
    names = [tmp_path / name for name in ("photo", "film.vob", "notes.txt")]
    status, out, err = predict(*names, "--json")
    answer = json.loads(out)
    assert len(answer["photos"]) == 1 and answer["videos"][0]["frames"] == 30
    assert status == 1 and "notes.txt is not a picture" in err


def test_rows_may_go_to_standard_output(weights, clip, capfd):
    """To its file descriptor, past what Python keeps back."""
    assert cli.main(["predict", "--weights", str(weights), str(clip), "--csv", "-"]) == 0
    assert len(list(csv.DictReader(capfd.readouterr().out.splitlines()))) == 30


@pytest.mark.slow
def test_a_reader_may_leave_before_the_end(weights, clip):
    call = [sys.executable, "-m", "ferlib.cli", "predict", "--weights", weights, clip]
    with subprocess.Popen([*call, "--jsonl", "-"], stdout=-1, stderr=-1, text=True) as process:
        assert json.loads(process.stdout.readline())["frame"] == 0
        process.stdout.close()  # `| head -1`
        assert process.stderr.read() == ""
    assert process.returncode == 1


def test_copies_of_an_earlier_run_are_not_read_again(predict, tmp_path):
    (tmp_path / "photo.png").write_bytes(photo_bytes())
    for count in (1, 2):
        _, out, _ = predict(tmp_path, "--out", tmp_path, "--json")
        assert len(json.loads(out)["photos"]) == 1
        assert len(list(tmp_path.glob("photo.png-ferlib*.png"))) == count


def test_hidden_folders_and_copies_named_by_a_pattern_are_passed_over(tmp_path):
    for name in ("a.png", "b/c.png", ".thumbs/a.png", "a.png-ferlib.png", "b/.d.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    both = [str(tmp_path / "a.png"), str(tmp_path / "b/c.png")]
    assert expand(str(tmp_path)) == both
    for pattern in ("**/*.png", "**/**.png", "*"):
        assert expand(f"{tmp_path}/{pattern}") == both


def test_a_folder_for_copies_whose_name_is_no_text_is_told(predict, clip, tmp_path):
    status, _, said = predict(clip, "--out", tmp_path / "\udcff", "--csv", tmp_path / "c")
    assert status == 1 and "not in UTF-8" in said
    assert (tmp_path / "c").read_text().count("\n") > 20  # the rows went on


def test_a_class_may_have_a_comma(tmp_path):
    face = ferlib.Face((1, 2, 3, 4), "happy", {"sad, tired": 0.25, "happy": 0.75})
    for _ in range(2):
        Table(str(tmp_path / "t.csv"), tuple(face.scores)).add(Row("a.png", [face]))
    with open(tmp_path / "t.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["sad, tired"], row["happy"]) for row in rows] == [("0.25", "0.75")] * 2


def test_rows_are_appended_and_other_files_left_alone(predict, tmp_path):
    photo = tmp_path / "photo.png"
    photo.write_bytes(photo_bytes())
    rows, table = tmp_path / "j", tmp_path / "c"
    for _ in range(2):
        assert predict(photo, "--jsonl", rows, "--csv", table)[0] == 0
    first, second = rows.read_text().splitlines()
    assert first == second
    header, one, other = table.read_text().splitlines()
    assert header.startswith("source,frame") and one == other
    before = photo.read_bytes()
    for kind in ("--jsonl", "--csv"):
        status, _, err = predict(photo, kind, photo)
        assert status == 1 and "name another" in err
    status, _, err = predict(photo, "--csv", tmp_path / "x", "--jsonl", tmp_path / "x")
    assert status == 1 and "name two" in err and not (tmp_path / "x").exists()
    assert photo.read_bytes() == before
    rows.write_bytes(rows.read_bytes()[:-30])  # its writer was killed in the middle of a row
    predict(photo, "--jsonl", rows)
    assert [json.loads(line) for line in rows.read_text().splitlines()[::2]] == [
        json.loads(first)
    ] * 2


@pytest.mark.parametrize("kind", ["--jsonl", "--csv"])
def test_a_full_disk_leaves_whole_rows(predict, clip, tmpfs, kind):
    (tmpfs / "filler").write_bytes(bytes(200_000))
    status, out, err = predict(clip, kind, tmpfs / "rows", "--json")
    lines = (tmpfs / "rows").read_text()
    assert status == 1 and "rows before it are whole" in err and len(err.strip().splitlines()) <= 2
    assert lines.endswith("\n") and len(lines) > 3000
    if kind == "--jsonl":
        assert [json.loads(line)["frame"] for line in lines.splitlines()] == list(
            range(len(lines.splitlines()))
        )
    else:
        assert {len(row) for row in csv.reader(lines.splitlines())} == {18}
    assert json.loads(out.splitlines()[-1])["videos"]


def test_a_full_disk_for_copies_does_not_stop_the_rows(predict, clip, tmpfs, tmp_path):
    (tmpfs / "filler").write_bytes(bytes(190_000))
    photo = tmp_path / "photo.png"
    photo.write_bytes(photo_bytes())
    status, out, err = predict(photo, clip, "--out", tmpfs, "--jsonl", tmp_path / "j", "--json")
    assert status == 1 and "disk" in err + out
    assert len((tmp_path / "j").read_text().splitlines()) == 31
    assert [path.name for path in tmpfs.iterdir()] == ["filler"]


def test_a_wrong_timeline_is_told_before_anything_is_read(predict, tmp_path):
    status, _, err = predict("none.mp4", "--timeline", tmp_path / "line.txt")
    assert status == 1 and "line.txt" in err and ".png" in err


@pytest.mark.parametrize("ending", timeline.FIGURES)
def test_a_timeline_may_be_drawn_again(clip, tmp_path, ending):
    moments = {"face 1": array("d", [*range(9), *range(1, 10)])}
    path = tmp_path / f"line{ending}"
    for _ in range(2):
        timeline.check_figure(path)
        timeline.draw_timeline(path, moments, ferlib.EMOTIONS)
    assert path.stat().st_size > 1000


def test_nobodys_file_is_written_over(predict, clip, tmp_path):
    photo = tmp_path / "photo.png"
    Image.fromarray(astronaut()).save(photo)
    before = photo.read_bytes()
    status, _, err = predict(clip, "--timeline", photo)
    assert status == 1 and "no drawing of" in err and photo.read_bytes() == before
    twice = ("--csv", tmp_path / "a.csv", "--jsonl", f"{tmp_path}/./a.csv")
    status, _, err = predict(photo, *twice)
    assert status == 1 and "name two" in err and not (tmp_path / "a.csv").exists()
