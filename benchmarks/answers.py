"""The same pictures by two ways: how far answers lie from those of the server's handler.

The handler answers by MXNet in float32. The pictures are 200 of FER2013's validation faces, and the
photographs of benchmarks/photos in their sizes (fetched once, into the user's cache), as PNG: every
way is given the same pixels.
"""

import io
import itertools
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
from photos import fetch
from PIL import Image
from tqdm import tqdm

from ferlib.data import fer2013, images
from ferlib.faces.recognizer import Recognizer
from ferlib.files import cache_folder
from ferlib.serving import handler

FACES = 200  # of the validation split
KINDS = ("validation faces", "photographs")


def pictures(kind: str) -> Iterator[np.ndarray]:
    """Gray faces (48, 48), or photographs as RGB."""
    if kind == "validation faces":
        valid = fer2013.load().split("valid")
        yield from valid.array(48)[np.linspace(0, len(valid) - 1, FACES).astype(int)]
        return
    folder = cache_folder() / "photos" / "photographs"
    fetch.fetch(folder)
    known = fetch.truth()
    for size, one in itertools.product(known["sizes"], known["photographs"]):
        yield images.read_picture(folder / str(size) / f"{one['name']}.jpg")


def png(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def apart(ask: Callable[[bytes], list[dict]], weights: str | None = None) -> dict:
    """KINDS -> how `ask`, which tells what it reads in a PNG file, compares with the handler.

    What is read are the faces, or the whole of a small picture without one: each with "emotion" and
    "scores", faces with "box" as well. `weights` are of the net that `ask` has.
    """
    mxnet = Recognizer(weights, precision="float32", engine="mxnet")
    return {kind: _compared(mxnet, ask, kind) for kind in KINDS}


def read(answer: dict) -> list[dict]:
    """What `apart` compares, of an answer of the server's shape."""
    return answer["faces"] or [answer["whole_picture"]] * ("whole_picture" in answer)


def _compared(mxnet: Recognizer, ask: Callable, kind: str) -> dict:
    counts: Counter = Counter()
    largest = 0.0
    for picture in tqdm(list(map(png, pictures(kind))), kind, disable=None):
        told, mine = handler.read(mxnet, picture), ask(picture)
        pairs = list(zip(read(told), mine, strict=False))
        counts["pictures"] += 1
        counts["faces"] += len(told["faces"])
        counts["other faces"] += len(told["faces"] or mine) != len(mine)
        counts["same box"] += sum(a["box"] == b["box"] for a, b in pairs if "box" in a)
        counts["read"] += len(pairs)
        counts["same emotion"] += sum(a["emotion"] == b["emotion"] for a, b in pairs)
        gaps = (
            abs(a["scores"][name] - b["scores"][name]) for a, b in pairs for name in a["scores"]
        )
        largest = max(largest, *gaps, 0.0)
    return dict(counts) | {"largest": float(f"{largest:.1e}")}
