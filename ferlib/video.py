"""Videos and cameras: faces followed from frame to frame, their emotions smoothed over time.

The detector is slow, so it looks at every n-th frame; between two looks a face is followed by the
flow of points in its box. The net reads every face of every frame. Needs OpenCV.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from ferlib import faces
from ferlib.errors import FerlibError

EVERY = 5  # frames from one look of the detector to the next (benchmarks/video.py)
SMOOTHING = 0.5  # seconds: the time constant of the probabilities


# ---------------------------------------------------------------- frames


@dataclass(frozen=True)
class Frame:
    """`picture` is RGB uint8 (H, W, 3); `seconds` since the first frame."""

    number: int
    seconds: float
    picture: np.ndarray


class Video:
    """The frames of a file, a stream's address or a camera's number, by iteration, once.

    `fps`, `size` (width, height) and `count`, the frames that its header promises: None for a
    camera. After the iteration `broke_off` says whether it gave far fewer. Raises FerlibError when
    there is nothing to read.
    """

    def __init__(self, source):
        self.name, self.live = str(source), isinstance(source, int)
        _check_file(source)
        with _quiet():
            self._capture = cv2.VideoCapture(source if self.live else str(source))
        if not self._capture.isOpened():
            self._capture.release()
            what = f"no camera {source} can be opened" if self.live else f"{source} is not a video"
            why = "" if self.live else " that can be read, or broke off before its index"
            raise FerlibError(what + why, "not_a_video")
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 1 <= fps <= 1000 else 25.0  # cameras may say 0, damaged files anything
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.count = int(count) if not self.live and 0 < count < 1e9 else None
        self.read = 0

    @property
    def broke_off(self) -> bool:
        # Some formats hold no count and OpenCV works it out from the duration, a little off.
        return self.count is not None and self.read < self.count - max(2, 0.02 * self.count)

    def __iter__(self) -> Iterator[Frame]:
        started, seconds = time.monotonic(), -1 / self.fps
        while True:
            with _quiet():
                sound, picture = self._capture.read()
            if not sound:
                return
            if self.live:
                now = time.monotonic() - started
            else:
                now = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            # Time goes forward whatever a damaged file says.
            seconds = now if seconds < now < 1e7 else seconds + 1 / self.fps
            self.read += 1
            yield Frame(self.read - 1, round(seconds, 4), cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))

    def close(self) -> None:
        self._capture.release()

    def __enter__(self) -> "Video":
        return self

    def __exit__(self, *_error) -> None:
        self.close()


def frames(source) -> Iterator[Frame]:
    """The frames of a video file, a stream's address or a camera's number."""
    with Video(source) as video:
        yield from video


def _check_file(source) -> None:
    if isinstance(source, int) or "://" in str(source):
        return
    try:
        with open(source, "rb") as file:
            empty = Path(source).is_file() and not file.read(1)
    except OSError as error:
        raise FerlibError(f"cannot read {source}: {error.strerror}", "not_readable") from None
    if empty:
        raise FerlibError(f"{source} is empty: expected a video", "empty_body")


class _quiet:
    """OpenCV and FFmpeg say nothing: what is wrong is told in our own words."""

    def __enter__(self) -> None:
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # read once, at the first video
        self._level = cv2.getLogLevel()
        cv2.setLogLevel(0)

    def __exit__(self, *_error) -> None:
        cv2.setLogLevel(self._level)


# ---------------------------------------------------------------- tracks

FORGET = 1.0  # seconds that a face may be unseen and keep its number
MISSES = 2  # looks in a row without the face before the flow alone is no longer believed
_SAME, _SAME_GUESSED = 0.3, 0.1  # least IoU with a followed box, and with one that was guessed
_CROSSING = 0.05  # IoU of two boxes from which the flow may follow the wrong face
_STEADY = 0.2  # seconds: the time constant of a box's speed


@dataclass
class Track:
    """One face over time. `box` is float (x, y, w, h); `id` counts from 1 and is never reused."""

    id: int
    box: np.ndarray
    confidence: float
    seen: float  # seconds
    visible: bool = True
    misses: int = 0
    speed: np.ndarray = field(default_factory=lambda: np.zeros(2))  # pixels per second
    looked: tuple[np.ndarray, float] | None = None  # box and seconds when last detected
    _mean: np.ndarray | None = None
    _weight: float = 0.0
    _read: float = 0.0

    def smooth(self, probabilities: np.ndarray, seconds: float, constant: float) -> np.ndarray:
        """The mean of this face's readings (8,), each counting exp(-age / constant).

        Plain means, not of logarithms: there one surely wrong frame could rule an emotion out.
        """
        kept = np.exp(-(seconds - self._read) / constant) if constant > 0 else 0.0
        old = 0.0 if self._mean is None else self._weight * kept
        mean = probabilities if self._mean is None else self._mean
        self._mean = (old * mean + probabilities) / (old + 1)
        self._weight, self._read = old + 1, seconds
        return self._mean


class Tracker:
    """Follows faces: `find(picture) -> boxes, confidences` every n-th frame, flow between.

    It also looks when a face was lost and while two boxes touch: then speed, not flow, tells who
    is who.
    """

    def __init__(self, find: Callable, every: int = EVERY):
        self._find, self._every, self._due, self._last = find, every, 0, 0
        self._tracks: list[Track] = []
        self._gray, self._seconds = None, 0.0

    def update(self, picture: np.ndarray, seconds: float) -> list[Track]:
        """The next frame, RGB (H, W, 3), and its time -> the tracks seen in it, by id."""
        gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        if self._follow(gray, seconds - self._seconds) or self._due <= 0:
            self._look(picture, seconds)
            self._due = self._every
        self._due -= 1
        self._tracks = [t for t in self._tracks if _alive(t, gray.shape, seconds)]
        for track in self._shown():
            track.seen = seconds
        self._gray, self._seconds = gray, seconds
        return self._shown()

    def _shown(self) -> list[Track]:
        return [t for t in self._tracks if t.visible]

    def _follow(self, gray: np.ndarray, passed: float) -> bool:
        """Move every box to the new frame; True when the detector should look at the result."""
        shown = self._shown()
        apart = [t for t in shown if not self._touched(t)]
        moved = iter(flow(self._gray, gray, [t.box for t in apart]))
        for track in self._tracks:
            box = next(moved) if track in apart else _shifted(track.box, track.speed * passed)
            if box is None:
                _hide(track, self._seconds + passed)
            else:
                track.box = box
        return len(apart) < len(shown) or not all(t.visible for t in apart)

    def _touched(self, track: Track) -> bool:
        others = (t for t in self._tracks if t is not track)
        return any(overlap(track.box, other.box) > _CROSSING for other in others)

    def _look(self, picture: np.ndarray, seconds: float) -> None:
        """Bring the tracks in line with the detector; faces that belong to none start new ones."""
        boxes, confidences = self._find(picture)
        free, shown, confirmed = set(range(len(boxes))), self._shown(), set()
        followed = [(t, t.box) for t in shown]
        guessed = [(t, _guess(t, seconds)) for t in self._tracks]
        for places, least in ((followed, _SAME), (guessed, _SAME_GUESSED)):
            places = [(t, place) for t, place in places if t.id not in confirmed]
            for track, row in _pairs(places, boxes, free, least):
                free.remove(row)
                confirmed.add(track.id)
                _confirm(track, boxes[row], float(confidences[row]), seconds)
        for track in shown:
            if track.id not in confirmed:
                track.misses += 1
                doubled = any(overlap(track.box, box) > _SAME for box in boxes)
                if doubled or track.misses >= MISSES:
                    _hide(track, seconds)
        for row in sorted(free):
            self._last += 1
            self._tracks.append(Track(self._last, boxes[row], 0.0, seconds))
            _confirm(self._tracks[-1], boxes[row], float(confidences[row]), seconds)


def _pairs(places, boxes, free: set[int], least: float) -> list[tuple[Track, int]]:
    """Tracks and rows of boxes that belong together, the best overlap first, each used once."""
    every = [(overlap(place, boxes[row]), t, row) for t, place in places for row in sorted(free)]
    tracks, rows = {}, set()
    for common, track, row in sorted(every, key=lambda one: -one[0]):
        if common >= least and track.id not in tracks and row not in rows:
            tracks[track.id] = track, row
            rows.add(row)
    return list(tracks.values())


def _confirm(track: Track, box: np.ndarray, confidence: float, seconds: float) -> None:
    """Halfway to the detector's box, as its boxes tremble; all the way after a gap."""
    track.box = (track.box + box) / 2 if track.visible else box
    if track.looked and seconds > track.looked[1]:
        passed = seconds - track.looked[1]
        moved = (track.box - track.looked[0])[:2] + (track.box - track.looked[0])[2:] / 2
        track.speed = track.speed + (1 - np.exp(-passed / _STEADY)) * (moved / passed - track.speed)
    track.looked = track.box, seconds
    track.confidence, track.misses, track.visible = confidence, 0, True


def _guess(track: Track, seconds: float) -> np.ndarray:
    """From where it was last detected: since then the flow may have followed another."""
    box, when = track.looked
    return _shifted(box, track.speed * (seconds - when))


def _hide(track: Track, seconds: float) -> None:
    track.box, track.visible = _guess(track, seconds), False


def _shifted(box: np.ndarray, shift: np.ndarray) -> np.ndarray:
    return np.concatenate([box[:2] + shift, box[2:]])


def _alive(track: Track, shape: tuple[int, int], seconds: float) -> bool:
    """Seen lately, and its centre is in the picture."""
    x, y = track.box[:2] + track.box[2:] / 2
    return seconds - track.seen <= FORGET and 0 <= x < shape[1] and 0 <= y < shape[0]


def overlap(a, b) -> float:
    """Intersection over union of two boxes (x, y, w, h)."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    common = max(width, 0) * max(height, 0)
    return float(common / max(a[2] * a[3] + b[2] * b[3] - common, 1e-9))


# ---------------------------------------------------------------- flow

_GRID = (np.mgrid[:8, :8].reshape(2, -1).T[:, ::-1] + 0.5) / 8  # over the box
_PAIRS = np.triu_indices(len(_GRID), 1)
_WINDOW = {"winSize": (15, 15), "maxLevel": 3}  # pixels around a point; halvings, for far moves
_BACK = 1.0  # pixels: a point that does not come back this close went astray


def flow(old: np.ndarray, new: np.ndarray, boxes) -> list[np.ndarray | None]:
    """Where boxes of the gray frame `old` are in `new`; None for one that was lost.

    Median flow (Kalal et al. 2010): a grid of points is followed forth and back (Lucas-Kanade), the
    worse half is dropped, and the medians of what is left give shift and scale.
    """
    if not len(boxes):
        return []
    points = np.concatenate([box[:2] + _GRID * box[2:] for box in boxes])
    start = points.astype(np.float32)[:, None]
    there, found, _ = cv2.calcOpticalFlowPyrLK(old, new, start, None, **_WINDOW)
    back, found_back, _ = cv2.calcOpticalFlowPyrLK(new, old, there, None, **_WINDOW)
    error = np.linalg.norm((back - start)[:, 0], axis=1)
    error[(found & found_back)[:, 0] == 0] = np.inf
    each = (part.reshape(len(boxes), len(_GRID), -1) for part in (start, there, error))
    return [_moved(*one) for one in zip(boxes, *each, strict=True)]


def _moved(box: np.ndarray, start: np.ndarray, there: np.ndarray, error: np.ndarray):
    good = error[:, 0] <= min(np.median(error), _BACK)
    if good.sum() < len(_GRID) // 4:
        return None
    shift = np.median((there - start)[good], axis=0)
    one, other = (side[good[_PAIRS[0]] & good[_PAIRS[1]]] for side in _PAIRS)
    apart = np.linalg.norm(start[one] - start[other], axis=1)
    scale = np.median(np.linalg.norm(there[one] - there[other], axis=1) / apart)
    size = box[2:] * np.clip(scale, 0.8, 1.25)  # of one frame: more is an error
    return np.concatenate([box[:2] + box[2:] / 2 + shift - size / 2, size])


# ---------------------------------------------------------------- faces over time


@dataclass(frozen=True)
class TrackedFace(faces.Face):
    """A face of a video: `scores` are smoothed over time, `id` stays with it over frames."""

    id: int = 0

    @property
    def caption(self) -> str:
        return f"{self.id}: {super().caption}"


def follow(
    frames: Iterable[Frame], fer: faces.Recognizer, every: int = EVERY, smoothing: float = SMOOTHING
) -> Iterator[tuple[Frame, list[TrackedFace]]]:
    """Each frame with its faces, by id: one call of the net for all faces of a frame.

    The detector looks at every n-th frame; `smoothing` is the time constant of the scores in
    seconds, 0 for none. A face unseen for FORGET seconds gets a new id when it comes back.
    """
    tracker = Tracker(fer.find, every)
    for frame in frames:
        tracks = tracker.update(frame.picture, frame.seconds)
        rows = fer.classify([faces.crop(frame.picture, t.box) for t in tracks])
        smooth = (t.smooth(p, frame.seconds, smoothing) for t, p in zip(tracks, rows, strict=True))
        size = frame.picture.shape[1::-1]
        yield (
            frame,
            [
                faces.face(t.box, t.confidence, row, size, TrackedFace, id=t.id)
                for t, row in zip(tracks, smooth, strict=True)
            ],
        )


# ---------------------------------------------------------------- annotated copies


class Copy:
    """A video file that takes pictures one by one and has its name only once it is whole.

    `stem` is its path without a suffix: .mp4 (MPEG-4), or .avi (MJPEG) where OpenCV lacks that. It
    stops, still readable, before the disk is full; `close` tells.
    """

    def __init__(self, stem, fps: float, size: tuple[int, int]):
        stem = Path(stem)
        self.fps, self.size, self.written, self.full = fps, size, 0, False
        for suffix, code in ((".mp4", "mp4v"), (".avi", "MJPG")):
            self.path = stem.with_name(stem.name + suffix)
            self._partial = stem.with_name(f".{os.getpid()}{stem.name}{suffix}")
            with _quiet():
                code = cv2.VideoWriter_fourcc(*code)
                self._writer = cv2.VideoWriter(str(self._partial), code, fps, size)
            if self._writer.isOpened():
                return
            self._partial.unlink(missing_ok=True)
        raise FerlibError(f"cannot write {stem}.mp4: is the folder writable, the disk full?")

    def write(self, picture: np.ndarray, seconds: float | None = None) -> None:
        """RGB uint8 (H, W, 3), of the size given at first.

        With its time the picture is repeated or left out, so that the copy of a camera that
        was read slower than it films runs at the speed of life.
        """
        times = 1 if seconds is None else round(seconds * self.fps) + 1 - self.written
        for _ in range(times):
            self._write(picture)

    def _write(self, picture: np.ndarray) -> None:
        width, height = self.size
        # OpenCV is silent on a full disk. Room is left for one large frame, what FFmpeg holds back
        # (256 kB), and the index that makes the file readable.
        needed = width * height + 300_000 + 64 * self.written
        self.full = self.full or shutil.disk_usage(self._partial.parent).free < needed
        if not self.full:
            self._writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
            self.written += 1

    def close(self) -> str | None:
        """Give the file its name, and say it; None when nothing was written.

        Raises FerlibError where the disk was full, after keeping what could be kept.
        """
        self._writer.release()
        try:
            whole = self.written and _readable_frames(self._partial) >= self.written
            if whole:
                os.replace(self._partial, self.path)
        finally:
            self._partial.unlink(missing_ok=True)
        if self.full or (self.written and not whole):
            kept = f"it holds the first {self.written} frames" if whole else "nothing could be kept"
            raise FerlibError(f"cannot write {self.path}, the disk is full: {kept}", "disk_full")
        return str(self.path) if whole else None


def _readable_frames(path: Path) -> int:
    try:
        with Video(path) as video:
            return video.count or 0
    except FerlibError:
        return 0
