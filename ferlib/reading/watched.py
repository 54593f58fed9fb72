"""What is kept of one video while it runs: rows, a copy, who was seen and for how long."""

from array import array
from pathlib import Path
from typing import Any

import numpy as np

from ferlib.errors import FerlibError
from ferlib.faces.face import scores
from ferlib.faces.frames import Copy, Frame, Video
from ferlib.faces.video import TrackedFace
from ferlib.reading.tables import Row
from ferlib.reading.words import free_stem, printable, video_line


class Watched:
    """One video of a `Job`."""

    def __init__(self, job: Any, name: str, frames: Video):
        self.job, self.name, self.frames = job, name, frames
        self.entry: dict[str, Any] = {"video": name, "frames": 0, "seconds": 0.0, "faces": []}
        self.faces: dict[int, dict] = {}
        self.copy: Copy | None = None
        self.no_copy: FerlibError | None = None
        job.answer["videos"].append(self.entry)

    def add(self, frame: Frame, found: list[TrackedFace]) -> None:
        """Rows first: a copy can be made again."""
        self.entry |= {"frames": frame.number + 1, "seconds": frame.seconds}
        for face in found:
            self._count(face, frame.seconds)
        for rows in self.job.rows:
            rows.add(Row(self.name, found, frame.number, frame.seconds))
        if self.job.out and not self.no_copy:
            try:
                self._draw(frame, found)
            except FerlibError as error:  # the rows go on
                self.no_copy = error

    def _count(self, face: TrackedFace, seconds: float) -> None:
        """Sums, as a camera may run for days; every moment only for the timeline."""
        row = [face.scores[name] for name in self.job.fer.classes]
        first = {"id": face.id, "from": seconds, "to": seconds, "frames": 0}
        seen = self.faces.setdefault(face.id, first | {"sum": np.zeros(len(row))})
        seen |= {"to": seconds, "frames": seen["frames"] + 1, "sum": seen["sum"] + row}
        if self.job.timeline:
            band = f"{self.name}, face {face.id}"
            self.job.moments.setdefault(band, array("d")).extend((seconds, *row))

    def _draw(self, frame: Frame, found: list[TrackedFace]) -> None:
        picture = frame.picture
        if self.copy is None:
            stem = free_stem(Path(self.job.out), self.name)
            self.copy = Copy(stem, self.frames.fps, (picture.shape[1], picture.shape[0]))
        picture = np.asarray(self.job.fer.draw(picture, found)) if found else picture
        self.copy.write(picture, frame.seconds, least=0 if self.frames.live else 1)

    def finish(self) -> None:
        """Close the copy and say who was seen, also when the video was stopped.

        A copy that failed is noted rather than raised, so that a Ctrl-C remains one.
        """
        for seen in self.faces.values():
            mean = scores(seen.pop("sum") / seen["frames"], self.job.fer.classes)
            most = {"emotion": max(mean, key=mean.__getitem__), "scores": mean}
            self.entry["faces"].append(seen | most)
        with self.job.noted(self.name):
            if self.copy:
                self.entry["drawn"] = self.copy.close()
        if self.no_copy:
            self.job.fail(self.name, str(self.no_copy))
        self.job.say(printable(video_line(self.entry)))
