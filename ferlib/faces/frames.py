"""Videos and cameras in, annotated copies out, by OpenCV."""

import os
import re
import shutil
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from uuid import uuid4

import cv2
import numpy as np

from ferlib.data import images
from ferlib.errors import FerlibError, check_kind
from ferlib.files import check_text, sweep

_HEAD = 4096  # bytes by which a text is told
_LISTS = b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD", b"v=0"  # which FFmpeg takes other files from
_BLANK, _RAW = b"\xef\xbb\xbf \t\n\f\r", b"YUV4MPEG2 "  # before a text; of raw pictures
_LONGEST = 60  # seconds for which a copy repeats a file's frame
_SIDES = cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT


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

    def __init__(self, source: str | Path | int):
        wanted = "a file's name, an address or a camera's number"
        check_kind("video", source, (str, os.PathLike, Integral), wanted)
        source = int(source) if isinstance(source, Integral) else source
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
        self.fps = fps if 0.01 <= fps <= 1000 else 25.0  # cameras may say 0, damaged files anything
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
        seconds, first = -1 / self.fps, 0.0
        while True:
            with _quiet():
                sound, picture = self._capture.read()
            if not sound:
                return
            clock = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            clock = time.monotonic() if self.live else clock
            first = first if self.read else clock  # cameras warm up, a part of a film begins late
            now = clock - first
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


def frames(source: str | Path | int) -> Iterator[Frame]:
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
            head = file.read(_HEAD)
            if not head:
                raise FerlibError(f"{source} is empty: expected a video", "empty_body")
            if _is_text(head):  # FFmpeg draws its letters, or opens what it names
                raise FerlibError(f"{source} is not a video: it holds text", "not_a_video")
            return cv2.VideoCapture(_name_for_opencv(source, file.fileno()))
    except OSError as error:
        raise FerlibError(f"cannot read {source}: {error.strerror}", "not_readable") from None


def _is_text(head: bytes) -> bool:
    """Whether a file that begins so is for people, in whatever encoding, or a list of files."""
    plain = not any(byte < 32 and byte not in b"\t\n\f\r\x1b" for byte in head)
    listing = head.lstrip(_BLANK).startswith(_LISTS)
    return listing or (plain and not head.startswith(_RAW))


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

    _lock = threading.Lock()  # the level is the whole process's
    _inside = _level = 0

    def __enter__(self) -> None:
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # read once, at the first video
        with _quiet._lock:
            if not _quiet._inside:
                _quiet._level = cv2.setLogLevel(0)
            _quiet._inside += 1

    def __exit__(self, *_error) -> None:
        with _quiet._lock:
            _quiet._inside -= 1
            if not _quiet._inside:
                cv2.setLogLevel(_quiet._level)


class Copy:
    """A video file that takes pictures one by one and has its name only once it is whole.

    `stem` is its path without a suffix: .mp4 (MPEG-4), or .avi (MJPEG) where OpenCV lacks that. It
    stops, still readable, before the disk is full; `close` tells.
    """

    def __init__(self, stem: str | Path, fps: float, size: tuple[int, int]):
        check_text(stem)  # OpenCV would crash
        stem = Path(stem)
        self.fps, self.size, self.written, self.full = fps, size, 0, False
        self._left_out = 0.0  # seconds
        for suffix, code in ((".mp4", "mp4v"), (".avi", "MJPG")):
            self.path = stem.with_name(stem.name + suffix)
            mine = f".{os.getpid()}.{uuid4().hex[:8]}."  # a process can have many threads
            self._partial = stem.with_name(mine + stem.name + suffix)
            self._over = self.path.exists()
            sweep(self.path)
            with _quiet():
                code = cv2.VideoWriter_fourcc(*code)
                self._writer = cv2.VideoWriter(str(self._partial), code, fps, size)
            if self._writer.isOpened():
                return
            self._partial.unlink(missing_ok=True)
        raise FerlibError(f"cannot write {stem}.mp4: is the folder writable, the disk full?")

    def write(self, picture: np.ndarray, seconds: float | None = None, least: int = 0) -> None:
        """RGB uint8 (H, W, 3), of the size given at first.

        With its time the picture is repeated or left out, so that the copy runs at the speed of
        life, whether a camera was read slower than it films or a file's rate varies. `least`: 1
        where each picture counts. None stands for more than a minute.
        """
        times = 1 if seconds is None else max(self._due(seconds), least)
        if picture.shape[1::-1] != self.size:  # some videos change theirs, which OpenCV drops
            picture = cv2.resize(picture, self.size, interpolation=cv2.INTER_AREA)
        for _ in range(times):
            self._write(picture)

    def _due(self, seconds: float) -> int:
        """How often a picture of this time is to be written."""
        times = round((seconds - self._left_out) * self.fps) + 1 - self.written
        too_many = max(0, times - round(_LONGEST * self.fps))  # damaged files say any time
        self._left_out += too_many / self.fps
        return times - too_many

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

        Where another run has taken the name since, the next number is added to it. Raises
        FerlibError where the disk was full, after keeping what could be kept.
        """
        try:
            whole = self._named()
        except KeyboardInterrupt:  # the second one: what was written is wanted all the same
            self._named()
            raise
        finally:
            self._partial.unlink(missing_ok=True)
        if self.full or (self.written and not whole):
            kept = f"it holds the first {self.written} frames" if whole else "nothing could be kept"
            raise FerlibError(f"cannot write {self.path}, the disk is full: {kept}", "disk_full")
        return str(self.path) if whole else None

    def _named(self) -> bool:
        """Whether it is whole, and so has its name."""
        self._writer.release()
        whole = bool(self.written) and _readable_frames(self._partial) >= self.written
        while whole and not self._over and self.path.exists():
            self.path = _numbered(self.path)
        if whole:
            os.replace(self._partial, self.path)
        return whole


def _numbered(path: Path) -> Path:
    """a.mp4 -> a2.mp4 -> a3.mp4."""
    base, number = re.fullmatch(r"(.*?)([2-9]|[1-9]\d+)?", path.stem, re.DOTALL).groups()  # type: ignore[union-attr]
    return path.with_name(f"{base}{int(number or 1) + 1}{path.suffix}")


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
