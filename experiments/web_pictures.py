"""Take pictures of the browser page, and draw the samples that it offers.

    python experiments/web_pictures.py [samples | screens]

Samples go into deploy/web/samples: scikit-image's astronaut and drawn faces. Screens are of the
page in Chromium on a desktop and on a phone, in light and in dark: docs/images/web-*.png.
"""

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from skimage import data

from benchmarks import browser
from benchmarks.conditions import ROOT, plainly
from ferlib.data.cartoon import draw
from ferlib.files import whole_file
from ferlib.serving import web

SAMPLES, SCREENS = ROOT / "deploy" / "web" / "samples", ROOT / "docs" / "images"
# Emotion and seed: faces that people tell apart.
FOUR = {"happiness": 5, "surprise": 2, "sadness": 7, "anger": 3}
SIDE, GAP, PAPER = 260, 28, 236  # pixels of a drawn face and around it; the gray below
PERSON = 16  # seed of the one in the film
SIZES = {"desktop": ((1200, 800), 1), "phone": ((390, 844), 1.5)}  # and pixels to a CSS pixel
SHOTS = (
    ("desktop", "light", "Astronaut"),
    ("desktop", "dark", "camera"),
    ("phone", "light", "camera"),
    ("phone", "dark", "Drawn faces"),
)
SECONDS = 16  # of the camera's film that are read before its picture is taken


def samples() -> None:
    keep("astronaut.jpg", data.astronaut())
    width = len(FOUR) * (SIDE + GAP) + GAP
    sheet = np.full((SIDE + 2 * GAP, width), PAPER, np.uint8)
    for k, (emotion, seed) in enumerate(FOUR.items()):
        left = GAP + k * (SIDE + GAP)
        sheet[GAP:-GAP, left : left + SIDE] = drawn(emotion, seed, SIDE)
    keep("four.jpg", sheet)
    leaning = Image.new("L", (640, 520), PAPER)
    leaning.paste(Image.fromarray(drawn("happiness", 10, 420)), (110, 50))
    bicubic = Image.Resampling.BICUBIC
    keep("leaning.jpg", np.asarray(leaning.rotate(-30, fillcolor=PAPER, resample=bicubic)))


def drawn(emotion: str, seed: int, side: int) -> np.ndarray:
    return draw(emotion, np.random.default_rng(seed), side, 1.0)


def keep(name: str, picture: np.ndarray) -> None:
    with whole_file(SAMPLES / name) as partial:
        Image.fromarray(picture).save(partial, quality=86, optimize=True)


def film() -> list[np.ndarray]:
    """Frames (480, 640, 3) in which one drawn person makes one face after the other."""
    frames = []
    for emotion in FOUR:
        frame = np.full((480, 640, 3), (222, 214, 200), np.uint8)
        frame[90:390, 170:470] = drawn(emotion, PERSON, 300)[..., None]
        frames += [frame] * 110
    return frames


def screens() -> None:
    with tempfile.TemporaryDirectory() as place, browser.driver() as opened:
        flags = browser.camera(Path(place, "film.y4m"), film())
        folder = web.build(Path(place, "page"))
        with (
            browser.chromium(opened, *flags) as one,
            browser.served(folder) as address,
        ):
            for size, scheme, shown in SHOTS:
                with shot(one, address, size, scheme) as page:
                    show(page, shown)


@contextmanager
def shot(one: Any, address: str, size: str, scheme: str) -> Iterator[Any]:
    """A ready page; its picture is taken in the end."""
    (width, height), ratio = SIZES[size]
    how = {"device_scale_factor": ratio, "color_scheme": scheme}
    page = one.new_page(viewport={"width": width, "height": height}, **how)
    browser.opened(page, address)
    page.wait_for_selector("#state:has-text('without a network')")
    yield page
    page.mouse.move(0, 0)
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_timeout(500)
    with whole_file(SCREENS / f"web-{size}-{scheme}.png") as partial:
        page.screenshot(path=partial, full_page=size == "desktop")
        Image.open(partial).convert("RGB").save(partial, optimize=True)
    page.close()


def show(page: Any, what: str) -> None:
    if what == "camera":
        page.click("#camera")
        page.wait_for_selector("[data-read^=camera] .face")
        page.wait_for_timeout(1000 * SECONDS)
    else:
        page.click(f"#samples button:has-text('{what}')")
        page.wait_for_selector(".face")


@plainly
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", nargs="?", choices=("samples", "screens"), help="default: both")
    what = parser.parse_args().what
    if what != "screens":
        samples()
    if what != "samples":
        screens()


if __name__ == "__main__":
    main()
