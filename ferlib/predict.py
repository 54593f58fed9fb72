"""`ferlib predict`: pictures, folders, patterns, videos and a camera in; rows and copies out.

What cannot be read is told and skipped. A row once written stays, whatever happens to the rest.
"""

import csv
import glob
import io
import json
import os
import re
import signal
import stat
import sys
import warnings
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ferlib import images
from ferlib.errors import FerlibError
from ferlib.faces import Face, Recognizer, scores
from ferlib.labels import EMOTIONS

PICTURES = (".jpg", ".jpeg", ".jpe", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".ppm")
PICTURES += (".pgm", ".pbm")
VIDEOS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp")
VIDEOS += (".ogv", ".ts", ".mts", ".m2ts")
FIGURES = (".png", ".svg", ".pdf", ".jpg")
_SIGNED = b"Matplotlib"  # stands in its figures, except for JPEGs, where we put it
COLUMNS = ("source", "frame", "seconds", "id", "x", "y", "width", "height", "confidence", "emotion")
LARGEST = 1_000_000_000  # bytes of a picture, which is read as a whole
NAMED = 8  # of the files that failed, so many are named at the end
_OURS = re.compile(r"-ferlib\d*\.(png|mp4|avi)$")  # copies of an earlier run


def run(args) -> None:
    """Do all that `ferlib predict` was asked for. Raises FerlibError at the end if any failed."""
    if args.timeline:
        _check_figure(Path(args.timeline))
    flip, precision = args.tta == "flip", args.precision
    job = Job(args, Recognizer(weights=args.weights, flip=flip, precision=precision))
    with ends_like_ctrl_c():
        try:
            names = job.expand(args.photos)
            for name in tqdm(names, unit="file", disable=None if len(names) > 1 else True):
                job.read(name)
            if args.camera is not None:
                job.camera(args.camera)
        finally:
            job.finish()
    job.tell_failed()


@contextmanager
def ends_like_ctrl_c() -> Iterator[None]:
    """A `kill` and a closed terminal stop the run as Ctrl-C does: what was read is kept."""
    kinds = [getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP")]
    before = {}
    for kind in filter(None, kinds):
        if signal.getsignal(kind) == signal.SIG_DFL:  # `nohup` ignores one of them
            before[kind] = signal.signal(kind, signal.default_int_handler)
    try:
        yield
    finally:
        for kind, old in before.items():
            signal.signal(kind, old)


class Job:
    """One call of `ferlib predict`: what it writes to, and what it says in the end."""

    def __init__(self, args, fer: Recognizer):
        self.args, self.fer = args, fer
        self.answer = {"photos": [], "videos": [], "failed": []}
        # face of a video -> seconds, 8 probabilities, seconds...
        self.moments: dict[str, array] = {}
        if args.csv and args.jsonl and os.path.realpath(args.csv) == os.path.realpath(args.jsonl):
            raise FerlibError(f"--csv and --jsonl name one file, {args.csv}: name two")
        self.rows = [Lines(args.jsonl)] if args.jsonl else []
        self.rows += [Table(args.csv)] if args.csv else []

    def expand(self, words: list[str], kinds: tuple[str, ...] = PICTURES + VIDEOS) -> list[str]:
        """Files, folders and patterns -> files, each once; what gives none is a failure."""
        names = {}
        for word in words:
            count = len(self.answer["failed"])
            found = expand(word, self._fail_folder, kinds)
            if not found and len(self.answer["failed"]) == count:
                also = " and no video" if VIDEOS[0] in kinds else ""
                self._fail(word, f"{word} holds no picture{also}")
            for name in found:  # `**` and links may lead to one file in many ways
                folder, last = os.path.split(name)
                names.setdefault((os.path.realpath(folder), last), name)
        return list(names.values())

    def read(self, name: str) -> None:
        """One picture or video: its rows, its copy, its line. A failure is noted, not raised."""
        with self._noted(name):
            size = _size(name)
            if name.lower().endswith(VIDEOS):
                self._video(name, name)
            elif size <= LARGEST:
                self._picture_or_video(name)
            elif name.lower().endswith(PICTURES):
                raise FerlibError(f"{name} has {size / 1e9:.0f} GB: too large for a picture")
            else:
                self._video(name, name)

    def camera(self, word: str) -> None:
        """A camera's number, or a file or address in its place, until it ends or Ctrl-C."""
        number = re.fullmatch(r"(?:/dev/video)?([0-9]{1,4})", word)
        source = int(number[1]) if number else word
        name = f"camera {source}" if number else word
        with self._noted(name), suppress(KeyboardInterrupt):  # this is how a camera ends
            self._video(name, source)

    @contextmanager
    def _noted(self, name: str) -> Iterator[None]:
        """What goes wrong with one file is kept for the end; a table that cannot grow ends all."""
        try:
            yield
        except FerlibError as error:
            self._fail(name, str(error))
            if error.code == "table_failed":
                raise
        except MemoryError:
            self._fail(name, f"{name} needs more memory than there is")

    def _picture_or_video(self, name: str) -> None:
        """By what is in it where its name does not say that it is a picture."""
        try:
            self._picture(name)
        except FerlibError as error:
            if error.code != "not_a_picture" or name.lower().endswith(PICTURES):
                raise
            try:
                self._video(name, name)
            except FerlibError as other:
                raise (error if other.code.startswith("not_") else other) from None

    def _picture(self, name: str) -> None:
        # One by one: the detector takes most of the time (benchmarks/video.py), so reading many
        # pictures' faces in one call would save little, and rows would come late.
        picture = images.read_picture(name)
        found = self.fer(picture)
        entry = {"photo": name, "faces": [asdict(face) for face in found]}
        self.answer["photos"].append(entry)
        for rows in self.rows:
            rows.add({"source": name}, found)
        self._say(faces_line(name, found))
        if self.args.out:
            entry["drawn"] = self._drawn(name, picture, found)

    def _drawn(self, name: str, picture: np.ndarray, found: list[Face]) -> str:
        """Write an annotated copy under a name that no other picture has; gives its path."""
        path = Path(f"{free_stem(Path(self.args.out), name)}.png")
        with whole_file(path) as partial:
            self.fer.draw(picture, found).save(partial, "PNG")
        return str(path)

    def _video(self, name: str, source) -> None:
        from ferlib import video

        with video.Video(source) as frames:
            one = Watched(self, name, frames)
            bar = tqdm(total=frames.count, unit="frame", leave=False, disable=None)
            try:
                found = video.follow(frames, self.fer, self.args.every, self.args.smooth)
                for frame, faces in found:
                    one.add(frame, faces)
                    bar.update()
            finally:
                bar.close()
                one.finish()
        if frames.broke_off:
            where = f"after {frames.read} of {frames.count} frames"
            raise FerlibError(f"{name} breaks off {where}; what was read is kept", "broken_off")
        if not frames.read:
            raise FerlibError(f"{name} holds no frame that can be read", "not_a_video")

    def _say(self, line: str) -> None:
        if not self.args.json and "-" not in (self.args.jsonl, self.args.csv):
            tqdm.write(_printable(line))

    def _fail(self, name: str, message: str) -> None:
        self.answer["failed"].append({"photo": name, "message": message})
        self._say(f"{name}: not done, {message}")

    def _fail_folder(self, error: OSError) -> None:
        self._fail(error.filename, f"cannot read {error.filename}: {error.strerror}")

    def finish(self) -> None:
        """The timeline and the JSON line, also of a run that was stopped."""
        if self.args.timeline and self.moments:
            with self._noted(self.args.timeline):
                self.answer["timeline"] = _draw_timeline(Path(self.args.timeline), self.moments)
        elif self.args.timeline:
            self._say(f"no face in a video: {self.args.timeline} was not drawn")
        if self.args.json:
            print(json.dumps(self.answer), flush=True)

    def tell_failed(self) -> None:
        """Raise with the first message, and the names of the others below it."""
        failed = self.answer["failed"]
        if not failed:
            return
        lines = [_printable(failed[0]["message"])]
        if len(failed) > 1:
            names = [_printable(one["photo"]) for one in failed[1:]]
            more = len(names) - NAMED
            lines[0] += f" (and {len(names)} more)"
            lines.append("also not done: " + ", ".join(names[:NAMED]))
            lines[1] += f" and {more} more" if more > 0 else ""
        raise FerlibError("\n".join(lines))


class Watched:
    """What is kept of one video while it runs."""

    def __init__(self, job: Job, name: str, frames):
        self.job, self.name, self.frames = job, name, frames
        self.entry = {"video": name, "frames": 0, "seconds": 0.0, "faces": []}
        self.faces: dict[int, dict] = {}
        self.copy, self.no_copy = None, None
        job.answer["videos"].append(self.entry)

    def add(self, frame, found: list) -> None:
        """Rows first: a copy can be made again."""
        self.entry |= {"frames": frame.number + 1, "seconds": frame.seconds}
        for face in found:
            self._count(face, frame.seconds)
        where = {"source": self.name, "frame": frame.number, "seconds": frame.seconds}
        for rows in self.job.rows:
            rows.add(where, found)
        if self.job.args.out and not self.no_copy:
            try:
                self._draw(frame, found)
            except FerlibError as error:  # the rows go on
                self.no_copy = error

    def _count(self, face, seconds: float) -> None:
        """Sums, as a camera may run for days; every moment only for the timeline."""
        row = [face.scores[name] for name in EMOTIONS]
        first = {"id": face.id, "from": seconds, "to": seconds, "frames": 0, "sum": np.zeros(8)}
        seen = self.faces.setdefault(face.id, first)
        seen |= {"to": seconds, "frames": seen["frames"] + 1, "sum": seen["sum"] + row}
        if self.job.args.timeline:
            band = f"{self.name}, face {face.id}"
            self.job.moments.setdefault(band, array("d")).extend((seconds, *row))

    def _draw(self, frame, found: list) -> None:
        from ferlib import video

        picture = frame.picture
        if self.copy is None:
            stem = free_stem(Path(self.job.args.out), self.name)
            self.copy = video.Copy(stem, self.frames.fps, picture.shape[1::-1])
        picture = np.asarray(self.job.fer.draw(picture, found)) if found else picture
        self.copy.write(picture, frame.seconds if self.frames.live else None)

    def finish(self) -> None:
        """Close the copy and say who was seen, also when the video was stopped.

        A copy that failed is noted rather than raised, so that a Ctrl-C remains one.
        """
        for seen in self.faces.values():
            mean = scores(seen.pop("sum") / seen["frames"])
            self.entry["faces"].append(seen | {"emotion": max(mean, key=mean.get), "scores": mean})
        with self.job._noted(self.name):
            if self.copy:
                self.entry["drawn"] = self.copy.close()
        if self.no_copy:
            self.job._fail(self.name, str(self.no_copy))
        self.job._say(_video_line(self.entry))


# ---------------------------------------------------------------- what is to be read


def expand(word: str, failed: Callable | None = None, kinds=PICTURES + VIDEOS) -> list[str]:
    """A file, a folder (what in it ends in `kinds`, below it too) or a pattern -> files, sorted.

    A name that is nothing of these is given back: reading it says what is wrong with it.
    `failed` is told the OSError of each folder that cannot be read.
    """
    if os.path.isdir(word):
        return _inside(word, failed, kinds)
    if os.path.exists(word) or not glob.has_magic(word):
        return [word]
    both = [_inside(one, failed, kinds) if os.path.isdir(one) else [one] for one in _matching(word)]
    return [name for names in both for name in names]


def _matching(pattern: str) -> list[str]:
    """As `glob` does, but `**` follows no links: there are folders that hold themselves."""
    parts = Path(pattern).parts
    if "**" not in parts:
        return sorted(glob.glob(pattern))
    first = parts.index("**")
    names = []
    for start in glob.glob(os.path.join(*parts[:first])) if first else ["."]:
        for found in Path(start).glob(os.path.join(*parts[first:])):
            if not any(part.startswith(".") for part in found.relative_to(start).parts):
                names.append(str(found))
    return sorted(names)


def _inside(folder: str, failed: Callable | None, kinds) -> list[str]:
    names = []
    for place, _, files in os.walk(folder, onerror=failed):
        names += [os.path.join(place, name) for name in files if not name.startswith(".")]
    return sorted(n for n in names if n.lower().endswith(kinds) and not _OURS.search(n))


def _size(name: str) -> int:
    """Bytes of a file. Raises FerlibError for a pipe or device, which may keep us for ever."""
    try:
        found = os.stat(name)
    except OSError as error:
        raise FerlibError(f"cannot read {name}: {error.strerror}", "not_readable") from None
    if not stat.S_ISREG(found.st_mode):
        raise FerlibError(f"{name} is no regular file: expected a picture or video", "not_readable")
    return found.st_size


# ---------------------------------------------------------------- rows


class Lines:
    """JSON lines: one object for each picture or frame, its faces in a list. Appended."""

    def __init__(self, path):
        self._file = _Appended(path, b'{"source"')

    def add(self, where: dict, found: list[Face]) -> None:
        self._file.add(json.dumps(where | {"faces": [asdict(face) for face in found]}) + "\n")


class Table:
    """CSV: one row for each face, `frame`, `seconds` and `id` empty for pictures. Appended."""

    def __init__(self, path):
        header = ",".join((*COLUMNS, *EMOTIONS)) + "\n"
        self._file = _Appended(path, header.strip().encode())
        if self._file.empty:
            self._file.add(header)

    def add(self, where: dict, found: list[Face]) -> None:
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        for face in found:
            place = [where.get(name, "") for name in COLUMNS[:3]] + [getattr(face, "id", "")]
            values = [*face.box, face.confidence, face.emotion, *face.scores.values()]
            rows.writerow(place + values)
        if found:
            self._file.add(text.getvalue())


class _Appended:
    """A file that only grows, by whole texts, each with the system before the next; - is stdout."""

    def __init__(self, path: str, start: bytes):
        self.path = Path(path)
        self.empty = path == "-" or not (self.path.is_file() and self.path.stat().st_size)
        head, end = (start, b"\n") if self.empty else self._ends(len(start))
        if head != start:
            raise FerlibError(f"{path} exists and is no table of `ferlib predict`: name another")
        self._file = self._opened()
        if end != b"\n":  # its writer was killed
            self.add("\n")

    def _ends(self, length: int) -> tuple[bytes, bytes]:
        with open(self.path, "rb") as file:
            head = file.read(length)
            file.seek(-1, os.SEEK_END)
            return head, file.read(1)

    def _opened(self):
        if str(self.path) == "-":
            return open(os.dup(sys.stdout.fileno()), "ab", buffering=0)
        _make_folder(self.path.parent)
        return open(self.path, "ab", buffering=0)

    def add(self, text: str) -> None:
        # Linux names may hold bytes that are no text: they are written as backslash and digits.
        left, size = text.encode(errors="backslashreplace"), os.fstat(self._file.fileno()).st_size
        try:
            while left:
                left = left[self._file.write(left) :]
        except BrokenPipeError:  # `--csv - | head`
            raise
        except OSError as error:
            if stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
                os.ftruncate(self._file.fileno(), size)
            raise FerlibError(
                f"cannot write {self.path}: {error.strerror}; the rows before it are whole",
                "table_failed",
            ) from None


# ---------------------------------------------------------------- copies and words


def free_stem(folder: Path, name: str) -> Path:
    """folder/<name>-ferlib, numbered when there is a file with this stem."""
    _make_folder(folder)
    base, number = re.sub(r"[^\w.() +-]", "_", Path(name).name), 1
    base = base.encode()[-200:].decode(errors="ignore").lstrip(".-")  # 255 bytes are the most
    while True:
        stem = folder / f"{base}-ferlib{'' if number == 1 else number}"
        if not any(Path(f"{stem}{end}").exists() for end in (".png", ".mp4", ".avi")):
            return stem
        number += 1


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FerlibError(f"cannot make {folder}: {error.strerror}") from None


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Where to write a file that gets its name only once it is whole."""
    partial = path.with_name(f".{os.getpid()}{path.name}")
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise FerlibError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        partial.unlink(missing_ok=True)


def _printable(line: str) -> str:
    """One line that any terminal takes: what a file's name may hold besides is escaped."""
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    encoding = sys.stdout.encoding or "utf-8"
    return safe.encode(encoding, "backslashreplace").decode(encoding)


def faces_line(name: str, found: list[Face]) -> str:
    if not found:
        return f"{name}: no face found"
    each = (f"{f.emotion} {f.scores[f.emotion]:.2f} at {tuple(f.box)}" for f in found)
    return f"{name}: " + ", ".join(each)


def _video_line(entry: dict) -> str:
    each = (
        f"face {face['id']} {face['emotion']} {face['scores'][face['emotion']]:.2f}"
        f" ({face['from']:.1f} to {face['to']:.1f} s)"
        for face in entry["faces"]
    )
    found = ", ".join(each) or "no face found"
    return f"{entry['video']}: {entry['frames']} frames, {found}"


def _check_figure(path: Path) -> None:
    if path.suffix.lower() not in FIGURES:
        raise FerlibError(f"{path}: expected a name that ends in {', '.join(FIGURES)}")
    _make_folder(path.parent)
    if path.is_file() and _SIGNED not in path.read_bytes():
        raise FerlibError(f"{path} exists and is no drawing of `ferlib predict`: name another")


def _draw_timeline(path: Path, moments: dict[str, array]) -> str:
    from ferlib import plots

    faces = {}
    for name, moment in moments.items():
        table = np.array(moment).reshape(-1, 1 + len(EMOTIONS))
        title = _printable(name)
        title = title if len(title) <= 80 else f"{title[:38]} ... {title[-38:]}"
        faces[title.replace("$", r"\$")] = table[:, 0], table[:, 1:]  # no formula
    with whole_file(path) as partial, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a letter that the font lacks is drawn as a box
        signed = {"pil_kwargs": {"comment": _SIGNED}} if path.suffix.lower() == ".jpg" else {}
        plots.timeline(faces).savefig(partial, **signed)
    return str(path)
