"""Faces of a video over time: followed by `tracking`, read in every frame, their scores smoothed.

The detector is slow, so it looks at every n-th frame; between two looks a face is followed by the
flow of points in its box. The net reads every face of every frame.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from ferlib.errors import FerlibError, number
from ferlib.faces import turning
from ferlib.faces.face import Face
from ferlib.faces.frames import Frame, Video, frames
from ferlib.faces.recognizer import Recognizer
from ferlib.faces.tracking import EVERY, Tracker

__all__ = ["EVERY", "SMOOTHING", "Frame", "TrackedFace", "Video", "follow", "frames"]

SMOOTHING = 0.5  # seconds: the time constant of the probabilities


@dataclass(frozen=True)
class TrackedFace(Face):
    """A face of a video: `scores` are smoothed over time, `id` stays with it over frames."""

    id: int = 0

    @property
    def caption(self) -> str:
        return f"{self.id}: {super().caption}"


def follow(
    frames: Iterable[Frame], fer: Recognizer, every: int = EVERY, smoothing: float = SMOOTHING
) -> Iterator[tuple[Frame, list[TrackedFace]]]:
    """Each frame with its faces, by id: one call of the net for all faces of a frame.

    The detector looks at every n-th frame; `smoothing` is the time constant of the scores in
    seconds, 0 for none. A face unseen for FORGET seconds gets a new id when it comes back.
    """
    if isinstance(frames, str | bytes | os.PathLike | int):
        raise FerlibError("expected frames, such as video.frames(file) gives, not the file itself")
    if not hasattr(fer, "classify"):
        raise FerlibError(f"fer: expected a Recognizer, found {type(fer).__name__}")
    if number("every", every, whole=True) < 1 or not number("smoothing", smoothing) >= 0:
        wanted = "expected every from 1 on, smoothing from 0 on"
        raise FerlibError(f"every {every}, smoothing {smoothing}: {wanted}")
    return _followed(frames, fer, every, smoothing)


def _followed(
    frames: Iterable[Frame], fer: Recognizer, every: int, smoothing: float
) -> Iterator[tuple[Frame, list[TrackedFace]]]:
    # Frames come one after another: a face missed in one look is found in the next.
    tracker = Tracker(partial(fer.find, quick=True), every)
    for frame in frames:
        tracks = tracker.update(frame.picture, frame.seconds)
        rolls, crops = fer.upright([turning.part(frame.picture, t.box) for t in tracks])
        rows, size = fer.classify(crops), frame.picture.shape[1::-1]
        smooth = (t.smooth(p, frame.seconds, smoothing) for t, p in zip(tracks, rows, strict=True))
        yield (
            frame,
            [
                fer.face(t.row, row, size, kind=TrackedFace, id=t.id, roll=roll)
                for t, row, roll in zip(tracks, smooth, rolls.tolist(), strict=True)
            ],
        )
