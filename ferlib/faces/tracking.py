"""Faces followed from frame to frame: the detector looks now and then, the flow moves the boxes."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from ferlib.faces.face import overlaps
from ferlib.faces.flow import Gray, alike, flow, is_cut

EVERY = 5  # frames from one look of the detector to the next (benchmarks/video.py)
FORGET = 1.0  # seconds that a face may be unseen and keep its number
MISSES = 2  # looks in a row without the face before the flow alone is no longer believed
_SAME, _SAME_GUESSED = 0.3, 0.1  # least IoU with a followed box, and with one that was guessed
_CROSSING = 0.05  # IoU of two boxes from which the flow may follow the wrong face
_STEADY = 0.2  # seconds: the time constant of a box's speed


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

    @property
    def row(self) -> np.ndarray:
        """float (5,): x, y, w, h in pixels, and the confidence, 0 to 1."""
        return np.array([*self.box, self.confidence])

    def smooth(self, probabilities: np.ndarray, seconds: float, constant: float) -> np.ndarray:
        """The mean of this face's readings (K,), each counting exp(-age / constant).

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
        self._gray: Gray | None = None
        self._seconds = 0.0

    def update(self, picture: np.ndarray, seconds: float) -> list[Track]:
        """The next frame, RGB (H, W, 3), and its time -> the tracks seen in it, by id."""
        gray = Gray(picture)
        if seconds < self._seconds:  # another film begins
            self._tracks, self._due = [], 0
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

    def _follow(self, gray: "Gray", passed: float) -> bool:
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

    def _look(self, picture: np.ndarray, gray: "Gray", seconds: float) -> None:
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


def _flow(old: Gray | None, new: Gray, tracks: list[Track]) -> list[np.ndarray | None]:
    """The tracks' boxes in the new frame; None for one that was lost, or looks otherwise there."""
    if not tracks or old is None:
        return []
    boxes = flow(old.pixels, new.pixels, [track.box * new.scale for track in tracks])
    boxes = [None if box is None else box / new.scale for box in boxes]
    return [
        box if box is not None and alike(track.patch, new.patch(box)) else None
        for track, box in zip(tracks, boxes, strict=True)
    ]


@dataclass(frozen=True, eq=False)
class _Detection:
    box: np.ndarray
    confidence: float
    patch: np.ndarray | None  # None where another head may cover it


def _detections(gray: "Gray", boxes, confidences) -> list[_Detection]:
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
    pairs: dict[Track, _Detection] = {}
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
    box, when = track.looked or (track.box, seconds)
    return _shifted(box, track.speed * (seconds - when))


def _hide(track: Track, seconds: float) -> None:
    track.box, track.visible = _guess(track, seconds), False


def _shifted(box: np.ndarray, shift: np.ndarray) -> np.ndarray:
    return np.concatenate([box[:2] + shift, box[2:]])


def _alive(track: Track, shape: tuple[int, ...], seconds: float) -> bool:
    """Seen now or lately, and its centre is in the picture."""
    x, y = track.box[:2] + track.box[2:] / 2
    lately = track.visible or seconds - track.seen <= FORGET
    return lately and 0 <= x < shape[1] and 0 <= y < shape[0]


def _wider(box: np.ndarray) -> np.ndarray:
    """With hair and shoulders, which cover what is behind them."""
    return np.concatenate([box[:2] - 0.3 * box[2:], 1.6 * box[2:]])


def _touches(box, others) -> bool:
    return any(overlap(box, other) > _CROSSING for other in others)


def overlap(a: ArrayLike, b: ArrayLike) -> float:
    """Intersection over union of two boxes (x, y, w, h)."""
    return float(overlaps(np.asarray(a), np.asarray(b)[None])[0])
