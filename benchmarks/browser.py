"""The browser page in a real Chromium: what its tests, timings and pictures share.

Needs the Python package playwright, and a Chromium: that of the system, the one that $CHROMIUM
names, or playwright's own.
"""

import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ferlib.serving import web_server

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
CAMERA = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
READ = """async ([pixels, side, threads]) => {
  const { start } = await import("./js/engine.js");
  globalThis.engine ??= await start("wasm", threads);
  const { resize } = await import("./js/resize.js");
  const size = side * side;
  const data = Uint8Array.from(atob(pixels), (one) => one.charCodeAt(0));
  const crops = Array.from({ length: data.length / size }, (_, k) =>
    resize({ width: side, height: side, data: data.slice(k * size, (k + 1) * size) }, engine.side));
  const rows = await engine.read(crops);
  return rows.map((row) => Array.from(row));
}"""
SHOWN = """cards => cards.map(card => ({
  box: card.dataset.box.split(",").map(Number),
  roll: Number(card.dataset.roll),
  emotion: card.querySelector("h3").textContent,
  scores: Object.fromEntries(Array.from(card.querySelectorAll("li"),
    bar => [bar.dataset.name, Number(bar.dataset.probability)])),
}))"""


@contextmanager
def driver() -> Iterator[Any]:
    """Playwright, one at a time. ImportError where it is not installed."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as opened:
        yield opened


def executable(opened: Any) -> str | None:
    """The path of a Chromium; None where there is none."""
    names = (os.environ.get("CHROMIUM"), *map(shutil.which, NAMES))
    own = opened.chromium.executable_path
    return next(filter(None, names), own if Path(own).is_file() else None)


@contextmanager
def chromium(opened: Any, *flags: str) -> Iterator[Any]:
    """A browser without a window, of what `driver` gives."""
    browser = opened.chromium.launch(executable_path=executable(opened), args=list(flags))
    try:
        yield browser
    finally:
        browser.close()


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a built page while it is served."""
    server = web_server.server(folder)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield web_server.address(server)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def opened(page: Any, address: str) -> None:
    """Open the page; back once it can read, or has told why not."""
    page.goto(address)
    page.wait_for_selector("#state.ready, #alert:not([hidden])", timeout=60_000)


def read(page: Any, name: str, data: bytes, kind: str = "image/png") -> list[dict]:
    """The faces that the page shows for a picture file: box, roll, emotion, scores."""
    page.set_input_files("#file", [{"name": name, "mimeType": kind, "buffer": data}])
    page.wait_for_selector(f'[data-read="{name}"]', timeout=120_000)
    return shown(page)


def shown(page: Any) -> list[dict]:
    """The faces that the page shows now."""
    return page.eval_on_selector_all(".face", SHOWN)


def probabilities(page: Any, crops: np.ndarray, threads: int = 1) -> np.ndarray:
    """Gray uint8 crops (N, S, S) -> float32 (N, K), by the page's own code in WebAssembly."""
    import base64

    rows = []
    for part in np.array_split(crops, -(-len(crops) // 64)):  # no text of megabytes at once
        pixels = base64.b64encode(np.ascontiguousarray(part).tobytes()).decode()
        rows += page.evaluate(READ, [pixels, crops.shape[1], threads])
    return np.array(rows, np.float32)


def camera(file: Path, frames: Sequence[np.ndarray], fps: int = 30) -> list[str]:
    """Write RGB frames of one size as a Y4M video; the flags that make it Chromium's camera."""
    height, width = frames[0].shape[:2]
    with open(file, "wb") as out:
        out.write(f"YUV4MPEG2 W{width} H{height} F{fps}:1 Ip A1:1 C420mpeg2\n".encode())
        for frame in frames:
            out.write(b"FRAME\n" + cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420).tobytes())
    return [*CAMERA, f"--use-file-for-fake-video-capture={file}"]


def scenes(count: int = 60) -> list[np.ndarray]:
    """RGB frames (480, 640, 3): the astronaut's head on its way round a gray wall."""
    from skimage import data

    head = cv2.resize(data.astronaut()[30:230, 120:330], (340, 320))
    frames = np.full((count, 480, 640, 3), (90, 110, 130), np.uint8)
    for frame, angle in zip(frames, np.linspace(0, 2 * np.pi, count, endpoint=False), strict=True):
        x, y = 150 + int(80 * np.sin(angle)), 80 + int(40 * np.cos(angle))
        frame[y : y + 320, x : x + 340] = head
    return list(frames)
