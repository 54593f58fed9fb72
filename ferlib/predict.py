"""`ferlib predict`: pictures, folders, patterns, videos and a camera in; rows and copies out.

What cannot be read is told and skipped. A row once written stays, whatever happens to the rest.
"""

import csv
import glob
import io
import json
import os
import re
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
COLUMNS = ("source", "frame", "seconds", "id", "x", "y", "width", "height", "confidence", "emotion")
_OURS = re.compile(r"-ferlib\d*\.(png|mp4|avi)$")  # copies of an earlier run


def run(args) -> None:
    """Do all that `ferlib predict` was asked for. Raises FerlibError at the end if any failed."""
    if args.timeline:
        _check_figure(Path(args.timeline))
    job = Job(args, Recognizer(weights=args.weights, flip=args.tta == "flip"))
    try:
        names = job.expand(args.photos)
        for name in tqdm(names, unit="file", disable=None if len(names) > 1 else True):
            job.read(name)
        if args.camera is not None:
            job.camera(args.camera)
    finally:
        job.finish()
    job.tell_failed()


class Job:
    """One call of `ferlib predict`: what it writes to, and what it says in the end."""

    def __init__(self, args, fer: Recognizer):
        self.args, self.fer = args, fer
        self.answer = {"photos": [], "videos": [], "failed": []}
        self.moments: dict[str, list] = {}  # face of a video -> (seconds, probabilities)
        self.rows = [Lines(args.jsonl)] if args.jsonl else []
        self.rows += [Table(args.csv)] if args.csv else []

    def expand(self, words: list[str]) -> list[str]:
        """Files, folders and patterns -> files; what gives none is a failure."""
        names = []
        for word in words:
            found = expand(word)
            if not found:
                self._fail(word, f"{word} holds no picture and no video")
            names += found
        return list(dict.fromkeys(names))

    def read(self, name: str) -> None:
        """One picture or video: its rows, its copy, its line. A failure is noted, not raised."""
        try:
            if name.lower().endswith(VIDEOS):
                self._video(name, name)
            else:
                self._picture(name)
        except FerlibError as error:
            if error.code == "table_failed":
                raise
            self._fail(name, str(error))

    def camera(self, word: str) -> None:
        """A camera's number, or a file or address in its place, until it ends or Ctrl-C."""
        name = f"camera {word}" if word.isdigit() else word
        try:
            self._video(name, int(word) if word.isdigit() else word)
        except FerlibError as error:
            if error.code == "table_failed":
                raise
            self._fail(name, str(error))
        except KeyboardInterrupt:
            pass  # this is how a camera ends

    def _picture(self, name: str) -> None:
        picture = images.read_picture(name)
        found = self.fer(picture)
        entry = {"photo": name, "faces": [asdict(face) for face in found]}
        self.answer["photos"].append(entry)
        for rows in self.rows:
            rows.add({"source": name}, found)
        self._say(_faces_line(name, found))
        if self.args.out:
            entry["drawn"] = self._drawn(name, picture, found)

    def _drawn(self, name: str, picture: np.ndarray, found: list[Face]) -> str:
        """Write an annotated copy under a name that no other picture has; gives its path."""
        path = Path(f"{_free_stem(Path(self.args.out), name)}.png")
        partial = path.with_name(f".{os.getpid()}{path.name}")
        try:
            self.fer.draw(picture, found).save(partial, "PNG")
            os.replace(partial, path)
        except OSError as error:
            raise FerlibError(f"cannot write {path}: {error.strerror or error}") from None
        finally:
            partial.unlink(missing_ok=True)
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
        if not self.args.json:
            tqdm.write(line)

    def _fail(self, name: str, message: str) -> None:
        self.answer["failed"].append({"photo": name, "message": message})
        self._say(f"{name}: not done, {message.splitlines()[0]}")

    def finish(self) -> None:
        """The timeline and the JSON line, also of a run that was stopped."""
        if self.args.timeline and self.moments:
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
        lines = [" ".join(failed[0]["message"].split())]
        if len(failed) > 1:
            lines[0] += f" (and {len(failed) - 1} more)"
            lines.append("also not done: " + ", ".join(one["photo"] for one in failed[1:]))
        raise FerlibError("\n".join(lines))


class Watched:
    """What is kept of one video while it runs."""

    def __init__(self, job: Job, name: str, frames):
        self.job, self.name, self.frames = job, name, frames
        self.entry = {"video": name, "frames": 0, "seconds": 0.0, "faces": []}
        self.faces: dict[int, list] = {}  # id -> (seconds, probabilities)
        self.copy, self.no_copy = None, None
        job.answer["videos"].append(self.entry)

    def add(self, frame, found: list) -> None:
        """Rows first: a copy can be made again."""
        self.entry |= {"frames": frame.number + 1, "seconds": frame.seconds}
        for face in found:
            row = np.array([face.scores[name] for name in EMOTIONS], np.float32)
            self.faces.setdefault(face.id, []).append((frame.seconds, row))
        where = {"source": self.name, "frame": frame.number, "seconds": frame.seconds}
        for rows in self.job.rows:
            rows.add(where, found)
        if self.job.args.out and not self.no_copy:
            try:
                self._draw(frame, found)
            except FerlibError as error:  # the rows go on
                self.no_copy = error

    def _draw(self, frame, found: list) -> None:
        from ferlib import video

        picture = frame.picture
        if self.copy is None:
            stem = _free_stem(Path(self.job.args.out), self.name)
            self.copy = video.Copy(stem, self.frames.fps, picture.shape[1::-1])
        picture = np.asarray(self.job.fer.draw(picture, found)) if found else picture
        self.copy.write(picture, frame.seconds if self.frames.live else None)

    def finish(self) -> None:
        """Say who was seen and close the copy, also when the video was stopped."""
        for number, moments in self.faces.items():
            self.job.moments[f"{self.name}, face {number}"] = moments
            mean = scores(np.mean([row for _, row in moments], axis=0))
            span = {"from": moments[0][0], "to": moments[-1][0], "frames": len(moments)}
            most = max(mean, key=mean.get)
            self.entry["faces"].append({"id": number} | span | {"emotion": most, "scores": mean})
        self.job._say(_video_line(self.entry))
        if self.copy:
            self.entry["drawn"] = self.copy.close()
        if self.no_copy:
            raise self.no_copy


# ---------------------------------------------------------------- what is to be read


def expand(word: str) -> list[str]:
    """A file, a folder (its pictures and videos, below it too) or a pattern -> files, sorted.

    A name that is nothing of these is given back: reading it says what is wrong with it.
    """
    if os.path.isdir(word):
        return _inside(word)
    if os.path.exists(word) or not glob.has_magic(word):
        return [word]
    found = sorted(glob.glob(word, recursive=True))
    return [name for one in found for name in (_inside(one) if os.path.isdir(one) else [one])]


def _inside(folder: str) -> list[str]:
    names = []
    for place, _, files in os.walk(folder):
        names += [os.path.join(place, name) for name in files if not name.startswith(".")]
    kinds = PICTURES + VIDEOS
    return sorted(n for n in names if n.lower().endswith(kinds) and not _OURS.search(n))


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
    """A file that only grows, by whole texts, each on the disk before the next begins."""

    def __init__(self, path, start: bytes):
        self.path = Path(path)
        self.empty = not (self.path.is_file() and self.path.stat().st_size)
        head, end = (start, b"\n") if self.empty else self._ends(len(start))
        if head != start:
            raise FerlibError(f"{path} exists and is no table of `ferlib predict`: name another")
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115 - open as long as the run
        if end != b"\n":  # its writer was killed
            self.add("\n")

    def _ends(self, length: int) -> tuple[bytes, bytes]:
        with open(self.path, "rb") as file:
            head = file.read(length)
            file.seek(-1, os.SEEK_END)
            return head, file.read(1)

    def add(self, text: str) -> None:
        left, size = text.encode(), os.fstat(self._file.fileno()).st_size
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            if self.path.is_file():
                os.ftruncate(self._file.fileno(), size)
            raise FerlibError(
                f"cannot write {self.path}: {error.strerror}; the rows before it are whole",
                "table_failed",
            ) from None


# ---------------------------------------------------------------- copies and words


def _free_stem(folder: Path, name: str) -> Path:
    """folder/<name>-ferlib, numbered when there is a file with this stem."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FerlibError(f"cannot make {folder}: {error.strerror}") from None
    base, number = re.sub(r"[^\w.() +-]", "_", Path(name).name), 1
    while True:
        stem = folder / f"{base}-ferlib{'' if number == 1 else number}"
        if not any(Path(f"{stem}{end}").exists() for end in (".png", ".mp4", ".avi")):
            return stem
        number += 1


def _faces_line(name: str, found: list[Face]) -> str:
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
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FerlibError(f"cannot make {path.parent}: {error.strerror}") from None


def _draw_timeline(path: Path, moments: dict[str, list]) -> str:
    from ferlib import plots

    faces = {name: tuple(map(np.array, zip(*each, strict=True))) for name, each in moments.items()}
    partial = path.with_name(f".{os.getpid()}{path.name}")
    try:
        plots.timeline(faces).savefig(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return str(path)
