"""What each part of reading a video costs, and how many frames a second all of it makes.

    python benchmarks/video.py [--frames 250] [--cpu]

640x480, one face that moves. Each part alone, then all that `ferlib predict` does with the detector
at every n-th frame, without and with an annotated copy. Milliseconds a frame of wall clock, or with
`--cpu` of processor time in all threads, which a busy machine disturbs less. Writes
results/video.json (not with `--cpu`, which only prints).
"""

import argparse
import json
import tempfile
import time
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from conditions import conditions, write
from PIL import Image
from skimage import data

import ferlib
from ferlib.cli import arguments
from ferlib.faces import turning, video
from ferlib.faces.face import crop
from ferlib.faces.frames import Copy
from ferlib.faces.tracking import Tracker


def make(path: Path, count: int) -> None:
    """The astronaut's head over a striped ground, on a slow curve, 25 frames/s."""
    head = data.astronaut()[30:200, 140:300, ::-1]
    ground = np.tile(np.linspace(60, 190, 640, dtype=np.uint8)[:, None], (480, 1, 3))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 25, (640, 480))
    for i in range(count):
        frame = ground.copy()
        x, y = int(240 + 200 * np.sin(i / 20)), int(150 + 90 * np.sin(i / 31))
        frame[y : y + 170, x : x + 160] = head
        writer.write(frame)
    writer.release()


def parts(path: Path, fer, folder: Path, clock) -> dict[str, float]:
    """Milliseconds a frame of each part alone."""
    spent = {}

    def timed(name: str, work, items) -> list:
        work(items[0])
        started = clock()
        results = [work(item) for item in items]
        spent[name] = round(1000 * (clock() - started) / len(items), 2)
        return results

    started = clock()
    frames = list(video.frames(path))
    spent["decode"] = round(1000 * (clock() - started) / len(frames), 2)
    few = frames[::10]
    for width in (640, 480, 320):
        size = width, width * 3 // 4
        small = [np.asarray(Image.fromarray(f.picture).resize(size)) for f in few]
        timed(f"detect at {width}x{size[1]}", partial(fer.find, quick=True), small)
    boxes, sure = fer.find(frames[0].picture, quick=True)
    tracker = Tracker(lambda _: (boxes[:1], sure[:1]), every=len(frames) + 1)
    timed("track, one face", lambda f: tracker.update(f.picture, f.seconds), frames)
    crops = [[crop(frame.picture, boxes[0])] for frame in few]
    square = [[turning.part(frame.picture, boxes[0])] for frame in few]
    timed("upright, one face", fer.upright, square)
    timed("classify, one face", fer.classify, crops)
    timed("classify, four faces", fer.classify, [one * 4 for one in crops])
    found = fer(frames[0].picture)
    drawn = timed("draw", lambda frame: np.asarray(fer.draw(frame.picture, found)), few)
    copy = Copy(folder / "copy", 25, (640, 480))
    timed("encode", copy.write, drawn)
    copy.close()
    return spent


def whole(path: Path, fer, folder: Path, clock, every: int, copied: bool) -> float:
    """Milliseconds a frame of everything: decode, detect, track, classify; draw and encode."""
    count, started = 0, clock()
    copy = Copy(folder / "whole", 25, (640, 480)) if copied else None
    for frame, found in video.follow(video.frames(path), fer, every):
        count += 1
        if copy:
            copy.write(np.asarray(fer.draw(frame.picture, found)))
    if copy:
        copy.close()
    return round(1000 * (clock() - started) / count, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--frames", type=arguments.number, default=250)
    parser.add_argument("--cpu", action="store_true", help="processor time instead of wall clock")
    args = parser.parse_args()
    known = conditions(f"python benchmarks/video.py --frames {args.frames}{' --cpu' * args.cpu}")
    clock = time.process_time if args.cpu else time.perf_counter
    fer = ferlib.Recognizer()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        make(folder / "clip.mp4", args.frames)
        report = {"conditions": known, "net": fer.nets[0][1].network, "size": [640, 480]}
        report["parts_ms"] = parts(folder / "clip.mp4", fer, folder, clock)
        report["whole"] = [
            {"every": every, "copy": copied, "ms": ms, "frames_per_second": round(1000 / ms, 1)}
            for every, copied in ((1, False), (3, False), (5, False), (10, False), (5, True))
            for ms in [whole(folder / "clip.mp4", fer, folder, clock, every, copied)]
        ]
    if args.cpu:
        print(json.dumps(report, indent=1))
    else:
        write("video", report)


if __name__ == "__main__":
    main()
