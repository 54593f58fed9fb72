"""Is our own face tracker worth its lines? The same clips for it, norfair and ByteTrack.

    pip install --no-deps norfair==2.3.0 filterpy rich supervision==0.30.9 pydeprecate av
    python benchmarks/tracking.py [--seeds 2]

Drawn clips of 25 frames/s in which every face's box and owner are known: astronaut, cartoons and
faces of LFW, cut out and moved over a photograph. The real detector looks at every frame once and
each tracker gets these rows, of every 5th frame (as `ferlib predict` asks for them) or of every
frame; some clips drop, shake or add rows by a fixed seed. True is the detector's own box of the
same head before a plain wall, so that only the tracking is judged. Between two looks norfair and
ByteTrack predict by their Kalman filters. ByteTrack left supervision with 0.31; its new home, the
package trackers, wants numpy >= 2. Writes results/tracking.json.
"""

import argparse
import importlib.metadata
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise

import cv2
import numpy as np
from conditions import conditions, write
from scipy.optimize import linear_sum_assignment
from skimage import data

from ferlib.cli import arguments
from ferlib.data import cartoon
from ferlib.faces.detectors import default_detector
from ferlib.faces.search import SURE
from ferlib.faces.tracking import EVERY, FORGET, Tracker, overlap

try:
    import norfair
    import supervision
    from supervision.tracker.byte_tracker.single_object_track import STrack
except ImportError as error:
    raise SystemExit(f"tracking: {error.name} is missing; see the top of {__file__}") from None

FPS, SIZE, ROOM = 25, (640, 480), 320  # ROOM: pixels around the picture, to come from and go to
SEEN, HIDDEN = 0.6, 0.25  # shares of a face: to be found from, and not to be found below
ENOUGH = 0.5  # IoU of a box that is right
PERSISTS = 5  # frames with a number from which it counts as given to a person

# ---------------------------------------------------------------- actors


@dataclass(frozen=True)
class Head:
    """`mask` float (H, W), 1 where the head is; `box` (x, y, w, h) of its face by the detector."""

    picture: np.ndarray
    mask: np.ndarray
    box: np.ndarray


@cache
def detector() -> Callable:
    return default_detector()


@cache
def head(name: str) -> Head:
    """`name`: astronaut, darker (her mirror image), lfw 42, cartoon 3, or hand (no face)."""
    kind, _, number = name.partition(" ")
    if kind in ("astronaut", "darker"):
        picture = data.astronaut()[30:200, 140:300]
        picture = picture if kind == "astronaut" else (picture[:, ::-1] * 0.7).astype(np.uint8)
    elif kind == "cartoon":
        drawn = cartoon.draw("happiness", np.random.default_rng(int(number)), 160)
        picture = cv2.cvtColor(drawn, cv2.COLOR_GRAY2RGB)
    elif kind == "lfw":
        small = (data.lfw_subset()[int(number)].clip(0, 1) * 255).astype(np.uint8)
        large = cv2.resize(small, (150, 150), interpolation=cv2.INTER_CUBIC)
        picture = cv2.cvtColor(large, cv2.COLOR_GRAY2RGB)
    else:
        grain = np.random.default_rng(0).normal(0, 25, (170, 160, 1))
        grain = cv2.GaussianBlur(grain, (0, 0), 3)[..., None] * 3
        picture = (np.array([190, 140, 110]) + grain).clip(0, 255).astype(np.uint8)
    height, width = picture.shape[:2]
    mask = np.zeros((height, width), np.float32)
    middle, axes = (width // 2, height // 2), (width // 2 - 6, height // 2 - 6)
    cv2.ellipse(mask, middle, axes, 0, 0, 360, 1, -1)
    mask = cv2.GaussianBlur(mask, (0, 0), 2)
    return Head(picture, mask, np.zeros(4) if kind == "hand" else _face_in(picture, mask))


def _face_in(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    height, width = mask.shape
    wall, part = np.full((480, 640, 3), 110.0), np.s_[150 : 150 + height, 240 : 240 + width]
    wall[part] += mask[..., None] * (picture - wall[part])
    boxes, sure, *_ = detector()(wall.astype(np.uint8))
    return boxes[sure.argmax()] - (240, 150, 0, 0)


@dataclass(frozen=True)
class Actor:
    """A head whose face has its middle at (x, y) of the scene; `person` tells equal heads apart."""

    name: str
    x: float
    y: float
    scale: float = 1.0
    angle: float = 0.0
    person: str = ""


def paint(ground: np.ndarray, actors: list[Actor], camera=(0, 0), light: float = 1.0):
    """The camera's picture, RGB uint8, and [(person, box, share that is seen)]. Later in front."""
    scene, owner = ground.astype(np.float32), np.zeros(ground.shape[:2], np.int16)
    places, whole = [], []
    for k, actor in enumerate(actors, 1):
        one = head(actor.name)
        size = one.box[2:] * actor.scale if one.box.any() else np.full(2, 100.0)
        centre = one.box[:2] + one.box[2:] / 2 if one.box.any() else np.array(one.mask.shape) / 2
        middle = np.array([actor.x, actor.y]) + ROOM
        low, reach = np.floor(middle).astype(int), int(130 * actor.scale) + 2
        if (low < reach).any() or (low + reach >= scene.shape[1::-1]).any():
            continue
        matrix = cv2.getRotationMatrix2D(tuple(map(float, centre)), actor.angle, actor.scale)
        matrix[:, 2] += middle - low + reach - centre
        part = np.s_[low[1] - reach : low[1] + reach, low[0] - reach : low[0] + reach]
        window = 2 * reach, 2 * reach
        picture, mask = (cv2.warpAffine(x, matrix, window) for x in (one.picture, one.mask))
        scene[part] += mask[..., None] * (picture - scene[part])
        owner[part][mask > 0.5] = k
        if one.box.any():
            box = np.concatenate([middle - size / 2, size])
            places.append((k, actor, box))
            whole.append((_within(owner, box) == k).sum())
    x, y = np.round(camera).astype(int) + ROOM
    view = np.zeros_like(owner)
    frame = np.s_[y : y + SIZE[1], x : x + SIZE[0]]
    view[frame] = owner[frame]
    shares = [
        (_within(view, box) == k).sum() / pixels
        for (k, _, box), pixels in zip(places, whole, strict=True)
    ]
    truth = [
        (actor.person or actor.name, box - (x, y, 0, 0), share)
        for (_, actor, box), share in zip(places, shares, strict=True)
    ]
    return (light * scene[frame]).clip(0, 255), truth


def _within(pixels: np.ndarray, box: np.ndarray) -> np.ndarray:
    x, y, width, height = box.round().astype(int)
    return pixels[y : y + height, x : x + width]


# ---------------------------------------------------------------- clips


@dataclass(frozen=True)
class Clip:
    """`act(i)` the actors of frame i; rows are missed, shaken (in widths) and invented."""

    name: str
    count: int
    act: Callable[[int], list[Actor]]
    camera: Callable = lambda i: (0, 0)
    light: Callable = lambda i: 1.0
    ground: Callable = lambda i: "coffee"
    misses: float = 0.0
    shaken: float = 0.0
    strays: float = 0.0

    @property
    def random(self) -> bool:
        return bool(self.misses or self.shaken or self.strays or self.name == "shaking camera")


def curve(name: str, i: float, x=320, y=240, wide=180, high=70, frames=100, **more) -> Actor:
    turn = 2 * np.pi * i / frames
    return Actor(name, x + wide * np.sin(turn), y + high * np.sin(1.6 * turn), **more)


def pair(i: int) -> list[Actor]:
    left = curve("astronaut", i, x=180, wide=70, high=60, frames=90)
    return [left, curve("cartoon 14", i + 30, x=460, wide=70, high=60, frames=90)]


def crossing(i: int, below: float = 0, names=("darker", "astronaut")) -> list[Actor]:
    back = Actor(names[0], 540 - 4 * i, 200)
    return [back, Actor(names[1], 100 + 4 * i, 200 + below)]


def meeting(i: int) -> list[Actor]:
    """They come together until they touch, stay half a second and go back."""
    apart = max(0, abs(i - 50) - 6)
    return [Actor("lfw 42", 270 - 4 * apart, 220), Actor("lfw 70", 370 + 4 * apart, 230)]


def leaving(i: int) -> list[Actor]:
    """Out on the right and, two seconds later, back: another number by our rule of one second."""
    if i < 30:
        return [Actor("astronaut", 300 + 15 * i, 220)]
    back = Actor("astronaut", 300 + 15 * (110 - i), 220, person="astronaut again")
    return [back] if i > 80 else []


def covered(i: int) -> list[Actor]:
    """A hand comes from below, covers the face for half a second and goes."""
    away = 25 * max(0, abs(i - 40) - 6)
    return [curve("astronaut", i, wide=30, high=10), Actor("hand", 320, 240 + away, 0.95)]


def group(i: int) -> list[Actor]:
    names = ("lfw 0", "cartoon 14", "lfw 42", "cartoon 10", "lfw 70")
    small = {"wide": 28, "high": 90, "scale": 0.7}
    return [
        curve(name, i + 23 * k, x=70 + 125 * k, y=240, frames=80 + 9 * k, **small)
        for k, name in enumerate(names)
    ]


def shaking(i: int, seed: int = 0) -> np.ndarray:
    """A hand-held camera: a slow sway and a tremor of some pixels from frame to frame."""
    tremor = np.random.default_rng([seed, i]).normal(0, 7, 2)
    return np.array([25 * np.sin(i / 7), 15 * np.sin(i / 5)]) + tremor


def clips(seed: int) -> list[Clip]:
    one = "astronaut"
    cut = [Actor(name, 320, 230) for name in (one, "lfw 0", "lfw 42", "lfw 70")]
    good, bad = ("cartoon 10", "cartoon 18"), ("cartoon 1", "cartoon 6")  # for the detector
    other = {True: "coffee", False: "rocket"}
    return [
        Clip("still", 75, lambda i: [Actor(one, 320, 230)]),
        Clip("slow curve", 100, lambda i: [curve(one, i)]),
        Clip("cartoon, slow curve", 100, lambda i: [curve("cartoon 0", i)]),
        Clip("fast curve", 75, lambda i: [curve(one, i, high=120, frames=35)]),
        Clip("to and fro, 1.6 a second", 75, lambda i: [curve(one, i, high=20, frames=16)]),
        Clip("nodding and tilting", 75, lambda i: [
            Actor(one, 320 + 12 * np.sin(i / 2), 230 + 25 * np.sin(i / 3), 1, 18 * np.sin(i / 6))
        ]),
        Clip("comes closer", 90, lambda i: [Actor(one, 200 + i, 230, 0.5 + 1.2 * i / 90)]),
        Clip("crossing, 0 px", 111, crossing),
        Clip("crossing, 40 px", 111, partial(crossing, below=40)),
        Clip("crossing, 80 px", 111, partial(crossing, below=80)),
        Clip("crossing cartoons, 0 px", 111, partial(crossing, names=good)),
        Clip("crossing cartoons, 40 px", 111, partial(crossing, below=40, names=good)),
        Clip("badly found, crossing", 111, partial(crossing, below=40, names=bad)),
        Clip("badly found, slow curve", 100, lambda i: [curve("cartoon 3", i)]),
        Clip("meet and turn back", 100, meeting),
        Clip("leaves, comes back", 111, leaving),
        Clip("away for 0.5 s", 60,
             lambda i: [] if 20 <= i < 33 else [Actor(one, 200 + 3 * i, 230)]),
        Clip("covered by a hand", 80, covered),
        Clip("cuts, same place", 80, lambda i: [cut[i // 20]]),
        Clip("cut, other scene", 60,
             lambda i: [curve(one if i < 27 else "lfw 42", i, wide=60)],
             ground=lambda i: other[i < 27]),
        Clip("shaking camera", 90, pair, camera=partial(shaking, seed=seed)),
        Clip("panning camera", 90, pair, camera=lambda i: (120 * np.sin(i / 14), 0)),
        Clip("flickering light", 75, pair, light=lambda i: 0.75 + 0.25 * np.sin(i)),
        Clip("five faces", 100, group),
        Clip("20 % missed", 100, pair, misses=0.2),
        Clip("40 % missed", 100, pair, misses=0.4),
        Clip("boxes shake by 3 %", 100, pair, shaken=0.03),
        Clip("boxes shake by 8 %", 100, pair, shaken=0.08),
        Clip("strays in 10 %", 100, pair, strays=0.1),
        Clip("crossing, 20 % missed", 111, partial(crossing, below=40), misses=0.2, shaken=0.03),
    ]  # fmt: skip


@cache
def ground_of(name: str) -> np.ndarray:
    size = SIZE[0] + 2 * ROOM, SIZE[1] + 2 * ROOM
    return cv2.resize(getattr(data, name)(), size, interpolation=cv2.INTER_CUBIC)


def film(clip: Clip) -> tuple[list[np.ndarray], list[list]]:
    """Its frames, with a little grain, and the truth of each."""
    pictures, truth = [], []
    grain = np.random.default_rng(0).normal(0, 3, (8, SIZE[1], SIZE[0], 3)).astype(np.float32)
    for i in range(clip.count):
        ground = ground_of(clip.ground(i))
        picture, faces = paint(ground, clip.act(i), clip.camera(i), clip.light(i))
        pictures.append((picture + grain[i % 8]).clip(0, 255).astype(np.uint8))
        truth.append(faces)
    return pictures, truth


def looks_of(clip: Clip, pictures, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Boxes and confidences of every frame, as the detector or a worse one gives them."""
    return [
        _worse(clip, *detector()(picture)[:2], np.random.default_rng([seed, i]))
        for i, picture in enumerate(pictures)
    ]


def _worse(clip: Clip, boxes, sure, rng) -> tuple[np.ndarray, np.ndarray]:
    boxes = boxes + rng.normal(0, 1, boxes.shape) * clip.shaken * boxes[:, 2:3]
    keep = rng.random(len(boxes)) >= clip.misses
    boxes, sure = boxes[keep], sure[keep]
    if rng.random() < clip.strays:
        stray = [*rng.uniform((0, 0), (540, 360)), *rng.uniform(60, 110, 2)]
        boxes, sure = np.vstack([boxes, stray]), np.append(sure, 0.8)
    return boxes, sure


# ---------------------------------------------------------------- trackers


class Looks:
    """The detector's rows of the frame that is on; it counts how often it was asked."""

    def __init__(self, rows):
        self.rows, self.number, self.asked = rows, 0, 0

    def __call__(self, least: float = SURE) -> tuple[np.ndarray, np.ndarray]:
        self.asked += 1
        boxes, sure = self.rows[self.number]
        return boxes[sure >= least], sure[sure >= least]


def ours(looks: Looks, every: int) -> Callable:
    tracker = Tracker(lambda _: looks(), every)
    return lambda picture: {
        track.id: track.box for track in tracker.update(picture, looks.number / FPS)
    }


def norfairs(looks: Looks, every: int, least=0.1, noise=4.0, agility=0.1, misses=1, delay=0,
             camera=False) -> Callable:  # fmt: skip
    """Least IoU; the filter's R and Q; looks without a face that is still shown; first looks not
    shown; `camera`: with norfair's own estimate of the camera's motion."""
    filters = norfair.OptimizedKalmanFilterFactory(R=noise, Q=agility)
    tracker = norfair.Tracker(
        "iou", 1 - least, hit_counter_max=max(round(FORGET * FPS), every + 1),
        initialization_delay=delay * every, filter_factory=filters, past_detections_length=0,
    )  # fmt: skip
    motion = norfair.camera_motion.MotionEstimator() if camera else None

    def update(picture) -> dict[int, np.ndarray]:
        rows = looks()[0] if looks.number % every == 0 else []
        corners = (np.array([row[:2], row[:2] + row[2:]]) for row in rows)
        found = [norfair.Detection(each, data=looks.number) for each in corners]
        moved = motion.update(picture) if motion else None
        shown = [
            (track.id, track.estimate)
            for track in tracker.update(found, every, moved)
            if looks.number - track.last_detection.data < (1 + misses) * every
        ]
        return {number: np.concatenate([low, high - low]) for number, (low, high) in shown}

    return update


def bytetracks(looks: Looks, every: int, least=0.1, misses=1, unsure=0.2, at_once=True) -> Callable:
    """Least IoU times confidence; as for norfair; the least confidence of ByteTrack's second look;
    `at_once`: faces are shown from their first look on. It is told of looks only, as a frame
    without rows would be a miss; its filter takes the steps between."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # deprecated
        forget = round(FORGET * FPS / every)
        tracker = supervision.ByteTrack(SURE - 0.1, forget, 1 - least)

    def update(picture) -> dict[int, np.ndarray]:
        if looks.number % every:
            tracks = tracker.tracked_tracks + tracker.lost_tracks
            STrack.multi_predict(tracks, tracker.shared_kalman)
        else:
            boxes, sure = looks(unsure)
            rows = np.column_stack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:], sure])
            tracker.update_with_tensors(rows)
        lost = [t for t in tracker.lost_tracks if tracker.frame_id - t.frame_id <= misses]
        shown = [t for t in tracker.tracked_tracks + lost if at_once or t.is_activated]
        return {t.internal_track_id: t.tlwh for t in shown}

    return update


# The best by IDF1 of some sixty and thirty settings, on these very clips, which favours the two.
NORFAIR = {
    EVERY: {"least": 0.02, "noise": 4, "agility": 1, "misses": 0, "delay": 0},
    1: {"least": 0.02, "noise": 20, "agility": 10, "misses": 1, "delay": 0},
}
BYTETRACK = {
    EVERY: {"least": 0.02, "misses": 0, "unsure": 0.2, "at_once": False},
    1: {"least": 0.1, "misses": 1, "unsure": 0.2, "at_once": False},
}
TRACKERS = {
    "ours": ours,
    "norfair": lambda looks, every: norfairs(looks, every, **NORFAIR[every]),
    "norfair, camera's motion": lambda looks, every: norfairs(
        looks, every, camera=True, **NORFAIR[every]
    ),
    "bytetrack": lambda looks, every: bytetracks(looks, every, **BYTETRACK[every]),
}


def run(make: Callable, every: int, pictures, rows) -> tuple[list[dict], float, int]:
    """For each frame the boxes by number; milliseconds a frame; how often the detector looked."""
    looks = Looks(rows)
    update, found, spent = make(looks, every), [], []
    for looks.number, picture in enumerate(pictures):
        started = time.perf_counter()
        boxes = update(picture)
        spent.append(time.perf_counter() - started)
        found.append({number: np.array(box) for number, box in boxes.items() if _inside(box)})
    return found, 1000 * float(np.mean(spent)), looks.asked


def _inside(box: np.ndarray) -> bool:
    """Its middle is in the picture: our tracker ends the others by itself."""
    x, y = box[:2] + box[2:] / 2
    return 0 <= x < SIZE[0] and 0 <= y < SIZE[1]


# ---------------------------------------------------------------- figures


def judge(truth: list[list], found: list[dict]) -> dict[str, float]:
    """Counts of one clip; a face that is seen in part may have a box or none."""
    numbers, pairs, ious = defaultdict(list), defaultdict(int), []
    wanted = boxes = false = 0
    for faces, tracks in zip(truth, found, strict=True):
        faces = [face for face in faces if face[2] >= HIDDEN]
        matched = _matched(faces, tracks)
        wanted += sum(share >= SEEN for _, _, share in faces)
        false += len(tracks) - len(matched)
        boxes += len(tracks)
        for (person, _, share), number, iou in matched:
            if share >= SEEN:
                numbers[person].append(number)
                pairs[person, number] += 1
                ious.append(iou)
            else:
                boxes -= 1
    owners = defaultdict(set)
    for (person, number), times in pairs.items():
        if times >= PERSISTS:
            owners[number].add(person.removesuffix(" again"))
    people = {person for faces in truth for person, _, share in faces if share >= SEEN}
    return {
        "switches": sum(a != b for row in numbers.values() for a, b in pairwise(row)),
        "shared": sum(len(each) - 1 for each in owners.values()),
        "people": len(people),
        "numbers": sum(len(set(row)) for row in numbers.values()),
        "wanted": wanted, "right": len(ious), "iou": sum(ious), "boxes": boxes, "false": false,
        "frames": len(truth), "own": _own(pairs),
    }  # fmt: skip


def _matched(faces, tracks: dict) -> list[tuple[tuple, int, float]]:
    table = np.array([[overlap(face[1], box) for box in tracks.values()] for face in faces])
    if not table.size:
        return []
    rows = zip(*linear_sum_assignment(-table * (table >= ENOUGH)), strict=True)
    numbers = list(tracks)
    return [(faces[i], numbers[j], table[i, j]) for i, j in rows if table[i, j] >= ENOUGH]


def _own(pairs: dict) -> int:
    """Boxes under the number that fits best, each person having one and each number one person."""
    people, numbers = (sorted({key[k] for key in pairs}) for k in (0, 1))
    table = np.array([[pairs.get((who, n), 0) for n in numbers] for who in people])
    return int(table[linear_sum_assignment(-table)].sum()) if table.size else 0


def figures(counts: list[dict], spent: list[float], looks: int) -> dict:
    """Of one clip or of many: the counts are added first."""
    total = {key: sum(each[key] for each in counts) for key in counts[0]}
    return {
        "switches": total["switches"],
        "shared": total["shared"],
        "numbers_per_person": round(total["numbers"] / total["people"], 2),
        "recall": round(total["right"] / total["wanted"], 4),
        "iou": round(total["iou"] / max(1, total["right"]), 3),
        "false_per_frame": round(total["false"] / total["frames"], 4),
        "idf1": round(2 * total["own"] / (total["wanted"] + total["boxes"]), 4),
        "looks_per_frame": round(looks / total["frames"], 3),
        "ms_per_frame": round(float(np.mean(spent)), 2),
    }


def measure(trackers: dict[str, Callable], seeds: int, only: str = "") -> dict:
    """{"every 5": {tracker: {"all": figures, "clips": {clip: figures}}}}; random clips by seed."""
    kept = defaultdict(list)
    for seed in range(seeds):
        for clip in clips(seed):
            if only not in clip.name or (seed and not clip.random):
                continue
            pictures, truth = film(clip)
            rows = looks_of(clip, pictures, seed)
            for name, make in trackers.items():
                for every in (EVERY, 1):
                    found, ms, asked = run(make, every, pictures, rows)
                    kept[every, name, clip.name].append((judge(truth, found), ms, asked))
    report = {}
    for every in (EVERY, 1):
        report[f"every {every}"] = {name: _tables(kept, every, name) for name in trackers}
    return report


def _tables(kept: dict, every: int, name: str) -> dict:
    mine = {clip: rows for (n, who, clip), rows in kept.items() if (n, who) == (every, name)}
    everything = [row for rows in mine.values() for row in rows]
    return {
        "all": _figures(everything),
        "clips": {clip: _figures(rows) for clip, rows in mine.items()},
    }


def _figures(rows: list[tuple]) -> dict:
    counts, spent, asked = zip(*rows, strict=True)
    return figures(counts, spent, sum(asked))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--seeds", type=arguments.number, default=2, help="runs of each clip with chance in it"
    )
    args = parser.parse_args()
    report = {"conditions": conditions(f"python benchmarks/tracking.py --seeds {args.seeds}")}
    packages = "norfair", "supervision"
    report["versions"] = {name: importlib.metadata.version(name) for name in packages}
    report["settings"] = {"norfair": NORFAIR, "bytetrack": BYTETRACK}
    write("tracking", report | measure(TRACKERS, args.seeds))


if __name__ == "__main__":
    main()
