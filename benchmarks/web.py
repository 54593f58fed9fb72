"""The browser page in Chromium: milliseconds a frame, frames a second, the first answer, bytes.

    FERLIB_DATA=... python benchmarks/web.py [--frames 200] [--seconds 10] [--turns 5]
    python benchmarks/web.py --film 20000

Everything in WebAssembly. A frame is 640x480 with one face that moves; the page's worker is given
one after another, as fast as it takes them, in turns with one and with two threads. Told apart are
frames in which the detector looks at the whole and those between, in which it looks where the face
was. Then the page itself follows a camera that films at 60 frames a second, for a while, and then
for long: memory is that of all the browser's processes. The first answer counts from opening the
page to the bars of a sample, its files kept by the service worker, in a browser that was started
anew. What the page reads is held against what the server's handler answers with the same net
(answers.py). Writes results/web.json.
"""

import argparse
import itertools
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import answers
import browser
import numpy as np
import psutil
from conditions import conditions, plainly, result, write
from tqdm import tqdm

from ferlib.cli import arguments
from ferlib.data import fer2013
from ferlib.serving import web

THREADS = (1, 2)
# The head of the astronaut goes round in a canvas, whose pictures the worker is sent.
WORK = """async ([count, threads]) => {
  const worker = new Worker("js/worker.js", { type: "module" });
  const ask = (message, given = []) => new Promise((resolve) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.postMessage(message, given);
  });
  await ask({ kind: "start", wanted: "wasm", threads });
  const image = new Image();
  image.src = "samples/astronaut.jpg";
  await image.decode();
  const canvas = new OffscreenCanvas(640, 480);
  const context = canvas.getContext("2d");
  const rows = [];
  for (let k = 0; k < count; k += 1) {
    const angle = (k / 60) * 2 * Math.PI;
    context.fillStyle = "rgb(90 110 130)";
    context.fillRect(0, 0, 640, 480);
    const [x, y] = [150 + 80 * Math.sin(angle), 80 + 40 * Math.cos(angle)];
    context.drawImage(image, 120, 30, 210, 200, x, y, 340, 320);
    const bitmap = await createImageBitmap(canvas);
    const started = performance.now();
    const told = await ask({ kind: "frame", bitmap, seconds: k / 60 }, [bitmap]);
    const round = performance.now() - started;
    rows.push([told.looked ? 1 : 0, told.milliseconds, round, told.faces.length]);
  }
  worker.terminate();
  return rows;
}"""
WARM = 20  # frames that are not counted


def frames(page: Any, count: int, threads: int) -> np.ndarray:
    """(count, 4): looked at the whole, milliseconds in the worker, and there and back, faces."""
    rows = np.array(page.evaluate(WORK, [count + WARM, threads]), float)[WARM:]
    if (rows[:, 3] != 1).mean() > 0.02:
        raise SystemExit("web: the face was lost")
    return rows


def spent(turns: list[np.ndarray]) -> dict:
    """Milliseconds a frame: medians of the turns' medians, and the slowest twentieth."""
    kinds = {"look": lambda rows: rows[:, 0] == 1, "between": lambda rows: rows[:, 0] == 0}
    kinds["all"] = lambda rows: np.full(len(rows), True)
    told = {}
    for name, chosen in kinds.items():
        each = [rows[chosen(rows), 2] for rows in turns]
        told[name] = {
            "median": round(statistics.median(map(np.median, each)), 2),
            "lowest_turn": round(min(map(np.median, each)), 2),
            "highest_turn": round(max(map(np.median, each)), 2),
            "p95": round(float(np.percentile(np.concatenate(each), 95)), 2),
        }
    mean = statistics.median(float(rows[:, 2].mean()) for rows in turns)
    return told | {"frames_per_second": round(1000 / mean, 1)}


def live(driver: Any, address: str, seconds: float, place: Path) -> dict:
    """Frames a second that the page reads of a camera with 60."""
    flags = browser.camera(place / "film.y4m", browser.scenes(), fps=60)
    with browser.chromium(driver, *flags) as opened:
        page = opened.new_page()
        browser.opened(page, f"{address}?engine=wasm")
        page.click("#camera")
        page.wait_for_selector("[data-read^=camera] .face")
        page.wait_for_timeout(1000)
        first, started = _frame(page), time.monotonic()
        page.wait_for_timeout(1000 * seconds)
        passed = time.monotonic() - started
        return {"frames_per_second": round((_frame(page) - first) / passed, 1), "camera": 60}


def memory(driver: Any, address: str, frames: int, place: Path) -> dict:
    """MB of all of the browser's processes, every thousand frames before the camera.

    Medians of five: of 6,000 to 10,000 frames, when all has been called often, and of the last.
    """
    flags = browser.camera(place / "film.y4m", browser.scenes(), fps=60)
    curve: dict[int, float] = {}
    with browser.chromium(driver, *flags) as opened:
        page = opened.new_page()
        browser.opened(page, f"{address}?engine=wasm")
        page.click("#camera")
        page.wait_for_selector("[data-read^=camera] .face")
        for goal in tqdm(range(1000, frames + 1, 1000), "frames", disable=None, leave=False):
            while _frame(page) < goal:
                page.wait_for_timeout(200)
            curve[goal] = round(_resident() / 1e6, 1)
    known = list(curve.values())
    settled, last = (statistics.median(part) for part in (known[5:10], known[-5:]))
    return {
        "mb_settled": settled,
        "mb_last": last,
        "growth": round(last / settled - 1, 4),
        "mb": curve,
    }


def _resident() -> int:
    """Bytes that the browser's processes hold, what they share counted once."""
    ours = psutil.Process().children(recursive=True)
    return sum(one.memory_full_info().pss for one in ours if "chrom" in one.name())


def _frame(page: Any) -> int:
    return int(page.get_attribute("body", "data-read").split()[-1])


def first_answers(driver: Any, address: str, turns: int, place: Path) -> list[float]:
    """Seconds from opening the page to bars, each in a new browser that has the page's files."""
    told = []
    for turn in tqdm(range(turns + 1), "first answers", disable=None, leave=False):
        how = {"executable_path": browser.executable(driver), "headless": True}
        context = driver.chromium.launch_persistent_context(place / "profile", **how)
        page, started = context.pages[0], time.monotonic()
        browser.opened(page, f"{address}?engine=wasm")
        page.click("#samples button >> nth=0")
        page.wait_for_selector("[data-read='astronaut.jpg'] .face")
        told += [round(time.monotonic() - started, 2)] * (turn > 0)
        page.wait_for_selector("#state:has-text('without a network')")
        context.close()
    return told


def apart(page: Any, address: str) -> dict:
    """How far the page's answers lie from those of the server's handler."""
    browser.opened(page, f"{address}?engine=wasm")
    names = (f"{number}.png" for number in itertools.count())
    return answers.apart(lambda png: browser.read(page, next(names), png), web.NET)


def sizes(folder: Path) -> dict:
    """Bytes of the networks, of the page's own files, and of the runtimes it may load."""
    kinds = {"networks": "models/*.onnx", "code": "**/*.js", "wasm": "ort/*threaded.wasm"}
    kinds |= {"webgpu": "ort/*asyncify.wasm"}
    return {
        kind: sum(file.stat().st_size for file in folder.glob(pattern))
        for kind, pattern in kinds.items()
    }


def filmed(frames: int) -> dict:
    """`memory`, with the conditions of its own."""
    with tempfile.TemporaryDirectory() as name, browser.driver() as driver:
        place, folder = Path(name), web.build(Path(name, "page"))
        known = conditions(f"python benchmarks/web.py --film {frames}")
        with browser.served(folder) as address:
            return {"conditions": known} | memory(driver, address, frames, place)


@plainly
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--frames", type=arguments.number, default=200, help="of a turn")
    parser.add_argument("--seconds", type=float, default=10, help="of the camera")
    parser.add_argument("--turns", type=arguments.number, default=5)
    about = "instead: the memory over so many frames, added to what is recorded"
    parser.add_argument("--film", type=arguments.number, metavar="FRAMES", help=about)
    args = parser.parse_args()
    if args.film:
        return write("web", result("web") | {"memory": filmed(args.film)})
    command = f"python benchmarks/web.py --frames {args.frames} --seconds {args.seconds:g}"
    fer2013.load()  # where it is missing, that is told before anything is timed
    with tempfile.TemporaryDirectory() as name, browser.driver() as driver:
        place, folder = Path(name), web.build(Path(name, "page"))
        report = {"frame": "640x480, one face", "bytes": sizes(folder)}
        with browser.served(folder) as address:
            with browser.chromium(driver) as opened:
                known = conditions(f"{command} --turns {args.turns}", chromium=opened.version)
                page = opened.new_page()
                browser.opened(page, address)
                several: dict[int, list] = {threads: [] for threads in THREADS}
                for _ in tqdm(range(args.turns), "turns", disable=None, leave=False):
                    for threads, rows in several.items():
                        rows.append(frames(page, args.frames, threads))
            report["milliseconds"] = {f"threads: {k}": spent(v) for k, v in several.items()}
            report["live"] = live(driver, address, args.seconds, place)
            spans = first_answers(driver, address, args.turns, place)
            report["first_answer_s"] = {"median": statistics.median(spans), "all": spans}
            with browser.chromium(driver) as opened:
                report["apart"] = apart(opened.new_page(), address)
    kept = {"memory": result("web")["memory"]}  # of `--film`, which has conditions of its own
    write("web", {"conditions": known} | report | kept)


if __name__ == "__main__":
    main()
