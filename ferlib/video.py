"""Videos and cameras: faces followed from frame to frame, their emotions smoothed over time.

The detector is slow, so it looks at every n-th frame; between two looks a face is followed by the
flow of points in its box. The net reads every face of every frame. Needs OpenCV.
"""

import os
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from ferlib import faces, images
from ferlib.errors import FerlibError

EVERY = 5  # frames from one look of the detector to the next (benchmarks/video.py)
SMOOTHING = 0.5  # seconds: the time constant of the probabilities
_SIDES = cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT


# ---------------------------------------------------------------- frames


@dataclass(frozen=True)
class Frame:
    """`picture` is RGB uint8 (H, W, 3); `seconds` since the first frame."""

    number: int
    seconds: float
    picture: np.ndarray


class Video:
    """The frames of a file, a stream's address or a camera's number, by iteration, once.

    `fps`, and `count`, the frames that its header promises: None for a camera. After the iteration
    `broke_off` says whether it gave far fewer. Frames are turned as the file says that they were
    filmed. Raises FerlibError when there is nothing to read.
    """

    def __init__(self, source):
        self.name, self.live = str(source), isinstance(source, int)
        self._capture = _captured(source)
        if not self._capture.isOpened():
            self._capture.release()
            what = f"no camera {source} can be opened" if self.live else f"{source} is not a video"
            why = ": is one there?" if self.live else " that can be read, or has lost its index"
            raise FerlibError(what + why, "not_a_video")
        self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)  # some builds of OpenCV leave it off
        width, height = (int(self._capture.get(side)) for side in _SIDES)
        if width * height > images.MAX_PIXELS:
            self._capture.release()
            found = f"{width} x {height} pixels"
            raise FerlibError(f"{source} has frames of {found}: too large", "picture_too_large")
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 1 <= fps <= 1000 else 25.0  # cameras may say 0, damaged files anything
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.count = int(count) if not self.live and 0 < count < 1e9 else None
        self.read, self._seconds = 0, 0.0

    @property
    def broke_off(self) -> bool:
        # Where a format holds no count, OpenCV makes one of duration and rate. It misleads if the
        # rate varies, so the time has to be short as well, and by more than sound may be longer.
        if self.count is None:
            return False
        least = self.count - max(0.3 * self.fps, 0.02 * self.count)
        return self.read < least and self._seconds * self.fps < least

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
            self.read, self._seconds = self.read + 1, seconds
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


def _captured(source) -> cv2.VideoCapture:
    """OpenCV's reader, opened or not. Raises FerlibError for a file that cannot be one."""
    if isinstance(source, int) or "://" in str(source):
        with _quiet():
            return cv2.VideoCapture(source)
    try:
        with open(_regular(source), "rb") as file, _quiet():
            if not file.read(1):
                raise FerlibError(f"{source} is empty: expected a video", "empty_body")
            return cv2.VideoCapture(_name_for_opencv(source, file.fileno()))
    except OSError as error:
        raise FerlibError(f"cannot read {source}: {error.strerror}", "not_readable") from None


def _regular(path):
    """The path, unless it is a folder, pipe or device, where reading might wait for ever."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise FerlibError(f"{path} is no regular file: expected a video", "not_a_video")
    return path


def _name_for_opencv(path, opened: int) -> str:
    """Absolute, as `a:b.mp4` reads like a protocol; by number where the name is not Unicode."""
    name = os.path.abspath(path)
    try:
        name.encode()
    except UnicodeEncodeError:  # OpenCV would crash
        return f"/dev/fd/{opened}"
    return name


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
# Least correlation of two patches of one face: 3 of 100 pairs of different FER2013 faces are more
# alike, 2 of 100 faces that were turned, blurred and darkened are less.
_ALIKE = 0.6
_TINY = (32, 24)  # to which frames are shrunk to see a cut,
_CHANGED, _SHOT = 12.0, 0.4  # by gray levels changed more, and correlation less than these


@dataclass(eq=False)
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
    patch: np.ndarray | None = None  # gray (24, 24): what it was like in the last frame
    look: np.ndarray | None = None  # the same, a running mean over the detections
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
    is who. A number ends at a cut, and is not passed on to a face that looks otherwise.
    """

    def __init__(self, find: Callable, every: int = EVERY):
        self._find, self._every, self._due, self._last = find, every, 0, 0
        self._tracks: list[Track] = []
        self._gray, self._seconds = None, 0.0

    def update(self, picture: np.ndarray, seconds: float) -> list[Track]:
        """The next frame, RGB (H, W, 3), and its time -> the tracks seen in it, by id."""
        gray = _Gray(picture)
        if self._gray is not None and is_cut(self._gray.pixels, gray.pixels):
            self._tracks, self._due = [], 0
        if self._follow(gray, seconds - self._seconds) or self._due <= 0:
            self._look(picture, gray, seconds)
            self._due = self._every
        self._due -= 1
        self._tracks = [t for t in self._tracks if _alive(t, picture.shape, seconds)]
        for track in self._shown():
            track.seen = seconds
            track.patch = None if self._touched(track) else gray.patch(track.box)
        self._gray, self._seconds = gray, seconds
        return self._shown()

    def _shown(self) -> list[Track]:
        return [t for t in self._tracks if t.visible]

    def _follow(self, gray: "_Gray", passed: float) -> bool:
        """Move every box to the new frame; True when the detector should look at the result."""
        shown = self._shown()
        apart = [t for t in shown if not self._touched(t)]
        moved = iter(_flow(self._gray, gray, apart))
        for track in self._tracks:
            box = next(moved) if track in apart else _shifted(track.box, track.speed * passed)
            if box is None:
                _hide(track, self._seconds + passed)
            else:
                track.box = box
        return len(apart) < len(shown) or not all(t.visible for t in apart)

    def _touched(self, track: Track) -> bool:
        others = (t.box for t in self._tracks if t is not track)
        return _touches(track.box, others)

    def _look(self, picture: np.ndarray, gray: "_Gray", seconds: float) -> None:
        """Bring the tracks in line with the detector; faces that belong to none start new ones."""
        found, shown, confirmed = _detections(gray, *self._find(picture)), self._shown(), set()
        free = list(found)
        followed = [(t, t.box) for t in shown]
        guessed = [(t, _guess(t, seconds)) for t in self._tracks]
        for places, least in ((followed, _SAME), (guessed, _SAME_GUESSED)):
            places = [(t, place) for t, place in places if t not in confirmed]
            for track, one in _pairs(places, free, least):
                free.remove(one)
                confirmed.add(track)
                _confirm(track, one, seconds)
        for track in shown:
            if track not in confirmed:
                _miss(track, found, seconds)
        for one in free:
            self._last += 1
            self._tracks.append(Track(self._last, one.box, one.confidence, seconds))
            _confirm(self._tracks[-1], one, seconds)


@dataclass(frozen=True, eq=False)
class _Detection:
    box: np.ndarray
    confidence: float
    patch: np.ndarray | None  # None where another head may cover it


def _detections(gray: "_Gray", boxes, confidences) -> list[_Detection]:
    wide = [_wider(box) for box in boxes]
    alone = [not _touches(box, wide[:row] + wide[row + 1 :]) for row, box in enumerate(wide)]
    patches = [gray.patch(box) if lone else None for box, lone in zip(boxes, alone, strict=True)]
    rows = zip(boxes, confidences, patches, strict=True)
    return [_Detection(box, float(sure), patch) for box, sure, patch in rows]


def _pairs(places, found: list[_Detection], least: float) -> list[tuple[Track, _Detection]]:
    """Tracks and detections that belong together, the best overlap first, each used once."""
    every = [
        (overlap(place, one.box), track, one)
        for track, place in places
        for one in found
        if track.visible or alike(track.look, one.patch)
    ]
    pairs = {}
    for common, track, one in sorted(every, key=lambda each: -each[0]):
        if common >= least and track not in pairs and one not in pairs.values():
            pairs[track] = one
    return list(pairs.items())


def _confirm(track: Track, found: _Detection, seconds: float) -> None:
    """Halfway to the detector's box, as its boxes tremble; all the way after a gap."""
    track.box = (track.box + found.box) / 2 if track.visible else found.box
    if track.looked and seconds > track.looked[1]:
        passed = seconds - track.looked[1]
        moved = (track.box - track.looked[0])[:2] + (track.box - track.looked[0])[2:] / 2
        track.speed = track.speed + (1 - np.exp(-passed / _STEADY)) * (moved / passed - track.speed)
    track.looked = track.box, seconds
    if found.patch is not None:  # a mean, as a hand may half cover a face that is still found
        track.look = found.patch if track.look is None else (track.look + found.patch) / 2
    track.confidence, track.misses, track.visible = found.confidence, 0, True


def _miss(track: Track, found: list[_Detection], seconds: float) -> None:
    """The detector did not confirm it: believed once more, unless it is on another's box."""
    track.misses += 1
    doubled = any(overlap(track.box, one.box) > _SAME for one in found)
    if doubled or track.misses >= MISSES:
        _hide(track, seconds)


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


def _wider(box: np.ndarray) -> np.ndarray:
    """With hair and shoulders, which cover what is behind them."""
    return np.concatenate([box[:2] - 0.3 * box[2:], 1.6 * box[2:]])


def _touches(box, others) -> bool:
    return any(overlap(box, other) > _CROSSING for other in others)


def overlap(a, b) -> float:
    """Intersection over union of two boxes (x, y, w, h)."""
    return float(faces.overlaps(np.asarray(a), np.asarray(b)[None])[0])


# ---------------------------------------------------------------- likeness


class _Gray:
    """A frame as the tracker sees it, no larger than the detector does."""

    def __init__(self, picture: np.ndarray):
        self.scale = min(1.0, faces.LONGEST / max(picture.shape[:2]))
        gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        size = [max(1, round(side * self.scale)) for side in gray.shape[::-1]]
        self.pixels = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)

    def patch(self, box) -> np.ndarray:
        """float32 (24, 24): the face as the net would get it, smaller."""
        square = faces.crop(self.pixels, np.asarray(box) * self.scale)
        return cv2.resize(square, (24, 24), interpolation=cv2.INTER_AREA).astype(np.float32)


def alike(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    """Whether two patches may be one face, a little moved; True where one was not seen alone."""
    if one is None or other is None:
        return True
    return _correlation(one[2:-2, 2:-2], other) >= _ALIKE


def is_cut(old: np.ndarray, new: np.ndarray) -> bool:
    """Whether the gray frames `old` and `new`, one after the other, are of two shots."""
    if old.shape != new.shape:
        return True
    one, other = (cv2.resize(gray, _TINY, interpolation=cv2.INTER_AREA) for gray in (old, new))
    one, other = one.astype(np.float32), other.astype(np.float32)
    return np.abs(one - other).mean() > _CHANGED and _correlation(one, other) < _SHOT


def _correlation(part: np.ndarray, whole: np.ndarray) -> float:
    """Pearson's, at the best place of the part in the whole."""
    return float(cv2.matchTemplate(whole, part, cv2.TM_CCOEFF_NORMED).max())


# ---------------------------------------------------------------- flow

_GRID = (np.mgrid[:8, :8].reshape(2, -1).T[:, ::-1] + 0.5) / 8  # over the box
_PAIRS = np.triu_indices(len(_GRID), 1)
_WINDOW = {"winSize": (15, 15), "maxLevel": 3}  # pixels around a point; halvings, for far moves
_BACK = 1.0  # pixels: a point that does not come back this close went astray


def _flow(old: _Gray, new: _Gray, tracks: list[Track]) -> list[np.ndarray | None]:
    """The tracks' boxes in the new frame; None for one that was lost, or looks otherwise there."""
    if not tracks:
        return []
    boxes = flow(old.pixels, new.pixels, [track.box * new.scale for track in tracks])
    boxes = [None if box is None else box / new.scale for box in boxes]
    return [
        box if box is not None and alike(track.patch, new.patch(box)) else None
        for track, box in zip(tracks, boxes, strict=True)
    ]


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
    # Frames come one after another: a face missed in one look is found in the next.
    tracker = Tracker(partial(fer.find, thorough=False), every)
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
        if picture.shape[1::-1] != self.size:  # some videos change theirs, which OpenCV drops
            picture = cv2.resize(picture, self.size, interpolation=cv2.INTER_AREA)
        for _ in range(times):
            self._write(picture)

    def _write(self, picture: np.ndarray) -> None:
        width, height = self.size
        # OpenCV is silent on a full disk. Room is left for one large frame, what FFmpeg holds back
        # (256 kB), and the index that makes the file readable.
        needed = width * height + 300_000 + 64 * self.written
        self.full = self.full or _room(self._partial) < needed
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


def _room(path: Path) -> float:
    """Bytes by which the file may grow: of the disk, and of the limit for one file."""
    free = shutil.disk_usage(path.parent).free
    try:
        import resource  # not on Windows
    except ImportError:
        return free
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return free if limit == resource.RLIM_INFINITY else min(free, limit - path.stat().st_size)


def _readable_frames(path: Path) -> int:
    try:
        with Video(path) as video:
            return video.count or 0
    except FerlibError:
        return 0
