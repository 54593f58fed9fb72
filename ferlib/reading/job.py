"""Pictures, folders, patterns, videos and a camera in; rows and annotated copies out.

    job = Job(Recognizer(), out="annotated", csv="faces.csv")
    answer = job.run(["album/", "clip.mp4"])

What cannot be read is told and skipped. A row once written stays, whatever happens to the rest.
"""

import os
import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ferlib import runtime
from ferlib.data import images
from ferlib.errors import FerlibError
from ferlib.faces import frames, video
from ferlib.faces.face import Face
from ferlib.faces.recognizer import Recognizer
from ferlib.files import check_place, whole_file
from ferlib.reading.inputs import PICTURES, VIDEOS, expand, size_of
from ferlib.reading.tables import Lines, Row, Table
from ferlib.reading.timeline import check_figure, draw_timeline
from ferlib.reading.watched import Watched
from ferlib.reading.words import faces_line, free_stem, printable

Words = str | os.PathLike
LARGEST = 1_000_000_000  # bytes of a picture, which is read as a whole
NAMED = 8  # of the files that failed, so many are named at the end


class Job:
    """One run over pictures and videos: what it writes to, and what it says in the end.

    `out` is a folder for annotated copies; `csv` and `jsonl` are files that get a row for each face
    and for each picture or frame ("-" is standard output); `timeline` is a figure of the videos'
    faces; `every` and `smooth` are those of `video.follow`; `say` is called with a line a file.
    FerlibError, before anything is read, for what cannot be written.
    """

    kinds: tuple[str, ...] = PICTURES + VIDEOS

    def __init__(
        self,
        fer: Recognizer,
        out: str | Path | None = None,
        csv: str | None = None,
        jsonl: str | None = None,
        timeline: str | Path | None = None,
        every: int = video.EVERY,
        smooth: float = video.SMOOTHING,
        say: Callable[[str], Any] = tqdm.write,
    ):
        self.fer, self.out, self.timeline = fer, out, timeline
        self.every, self.smooth, self.say = every, smooth, say
        self.answer: dict[str, Any] = {"photos": [], "videos": [], "failed": []}
        # face of a video -> seconds, K probabilities, seconds...
        self.moments: dict[str, array] = {}
        if timeline:
            check_figure(Path(timeline))
        _check_apart({"--csv": csv, "--jsonl": jsonl, "--timeline": timeline})
        for path in filter(None, (csv, jsonl)):
            if Path(path).is_dir():
                raise FerlibError(f"{path} is a folder, expected a file")
        if out and Path(out).exists() and not Path(out).is_dir():
            raise FerlibError(f"{out} is a file, expected a folder (which need not exist yet)")
        if out:
            check_place(Path(out, "copy"))
        self.rows: list[Lines | Table] = [Table(csv, fer.classes)] if csv else []
        self.rows += [Lines(jsonl)] if jsonl else []

    def run(
        self, words: Words | Sequence[Words], camera: str | int | None = None
    ) -> dict[str, Any]:
        """Read all that the words name, then a camera until it ends; what was found.

        `words`: files, folders or patterns, or a single one.
        photos, videos and failed: a dict for each file. Stopped by Ctrl-C or `kill`, it still
        finishes what it has, and `answer` holds that.
        """
        words = [words] if isinstance(words, Words) else words
        with runtime.ends_like_ctrl_c():
            try:
                names = self._expand([os.fspath(word) for word in words])
                some = None if len(names) > 1 else True
                reading = runtime.ahead(self._begun, names)
                for name, seen in tqdm(reading, total=len(names), unit="file", disable=some):
                    self.read(name, seen)
                if camera is not None:
                    self.camera(str(camera))
            finally:
                self.finish()
        return self.answer

    def _expand(self, words: Sequence[str]) -> list[str]:
        """Files, folders and patterns -> files, each once; what gives none is a failure."""
        names: dict[tuple[str, str], str] = {}
        for word in words:
            count = len(self.answer["failed"])
            found = expand(word, self._fail_folder, self.kinds)
            if not found and len(self.answer["failed"]) == count:
                also = " and no video" if VIDEOS[0] in self.kinds else ""
                self.fail(word, f"{word} holds no picture{also}")
            for name in found:  # `**` and links may lead to one file in many ways
                folder, last = os.path.split(name)
                names.setdefault((os.path.realpath(folder), last), name)
        return list(names.values())

    def _begun(self, name: str) -> Any:
        """What a picture holds, found in a thread of its own; nothing yet of what is none."""
        return None if name.lower().endswith(VIDEOS) or size_of(name) > LARGEST else self.seen(name)

    def seen(self, name: str) -> Any:
        """What `told` needs of a picture. FerlibError when it is none."""
        picture = images.read_picture(name)
        return picture, self.fer(picture)

    def read(self, name: str, seen: Future) -> None:
        """One picture or video: its rows, its copy, its line. A failure is noted, not raised.

        `seen` is the Future of what `seen` gives for a picture.
        """
        with self.noted(name):
            size = size_of(name)
            if name.lower().endswith(VIDEOS):
                self._video(name, name)
            elif size <= LARGEST:
                self._picture_or_video(name, seen)
            elif name.lower().endswith(PICTURES):
                raise FerlibError(f"{name} has {size / 1e9:.0f} GB: too large for a picture")
            else:
                self._video(name, name)

    def camera(self, word: str) -> None:
        """A camera's number, or a file or address in its place, until it ends or Ctrl-C."""
        number = re.fullmatch(r"(?:/dev/video)?([0-9]{1,4})", word)
        source = int(number[1]) if number else word
        name = f"camera {source}" if number else word
        with self.noted(name), suppress(KeyboardInterrupt):  # this is how a camera ends
            self._video(name, source)

    @contextmanager
    def noted(self, name: str) -> Iterator[None]:
        """What goes wrong with one file is kept for the end; a table that cannot grow ends all."""
        try:
            yield
        except FerlibError as error:
            self.fail(name, str(error))
            if error.code == "table_failed":
                raise

    def _picture_or_video(self, name: str, seen: Future) -> None:
        """By what it holds, where its name does not tell."""
        try:
            self.told(name, *seen.result())
        except FerlibError as error:
            if error.code != "not_a_picture" or name.lower().endswith(PICTURES):
                raise
            try:
                self._video(name, name)
            except FerlibError as other:
                raise (error if other.code.startswith("not_") else other) from None

    def told(self, name: str, picture: np.ndarray, found: list[Face]) -> None:
        """The rows, the copy and the line of a picture."""
        entry: dict[str, Any] = {"photo": name, "faces": [asdict(face) for face in found]}
        self.answer["photos"].append(entry)
        for rows in self.rows:
            rows.add(Row(name, found))
        self.say(printable(faces_line(name, found)))
        if self.out:
            entry["drawn"] = self._drawn(name, picture, found)

    def _drawn(self, name: str, picture: np.ndarray, found: list[Face]) -> str:
        """Write an annotated copy under a name that no other picture has; gives its path."""
        path = Path(f"{free_stem(Path(str(self.out)), name)}.png")
        with whole_file(path) as partial:
            self.fer.draw(picture, found).save(partial, "PNG")
        return str(path)

    def _video(self, name: str, source: str | int) -> None:
        with frames.Video(source) as read:
            one = Watched(self, name, read)
            bar = tqdm(total=read.count, unit="frame", leave=False, disable=None)
            try:
                for frame, found in video.follow(read, self.fer, self.every, self.smooth):
                    one.add(frame, found)
                    bar.update()
            finally:
                bar.close()
                one.finish()
        if read.read and read.broke_off:
            where = f"after {read.read} of {read.count} frames"
            raise FerlibError(f"{name} breaks off {where}; what was read is kept", "broken_off")
        if not read.read:
            raise FerlibError(f"{name} holds no frame that can be read", "not_a_video")

    def fail(self, name: str, message: str) -> None:
        """Note that a file was not done, and say so."""
        self.answer["failed"].append({"photo": name, "message": message})
        self.say(printable(f"{name}: not done, {message}"))

    def _fail_folder(self, error: OSError) -> None:
        self.fail(error.filename, f"cannot read {error.filename}: {error.strerror}")

    def finish(self) -> None:
        """The timeline, also of a run that was stopped."""
        if self.timeline and self.moments:
            with self.noted(str(self.timeline)):
                drawn = draw_timeline(Path(self.timeline), self.moments, self.fer.classes)
                self.answer["timeline"] = drawn
        elif self.timeline:
            self.say(f"no face in a video: {self.timeline} was not drawn")

    def tell_failed(self) -> None:
        """Raise with the first message, and the names of the others below it."""
        failed = self.answer["failed"]
        if not failed:
            return
        lines = [printable(failed[0]["message"].replace(".\n", ". "))]
        if len(failed) > 1:
            names = [printable(one["photo"]) for one in failed[1:]]
            more = len(names) - NAMED
            lines[0] += f" (and {len(names)} more)"
            lines.append("also not done: " + ", ".join(names[:NAMED]))
            lines[1] += f" and {more} more" if more > 0 else ""
        raise FerlibError("\n".join(lines))


def _check_apart(named: dict[str, Any]) -> None:
    """FerlibError where two options name one file."""
    places: dict[str, str] = {}
    for option, path in named.items():
        if not path:
            continue
        place = os.path.realpath(path)
        if place in places:
            raise FerlibError(f"{places[place]} and {option} name one file, {path}: name two")
        places[place] = option
