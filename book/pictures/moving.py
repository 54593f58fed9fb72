"""What the scripts of this folder share: a figure as a frame, few colours, a looping GIF.

Each script, run from the repository's root, writes its chapter's pictures into notebooks/images.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
IMAGES = NOTEBOOKS / "images"


def frame(figure: Figure) -> Image.Image:
    """The figure as RGB, a hundred pixels to its inch; it is closed."""
    with io.BytesIO() as file:
        figure.savefig(file, format="png", dpi=100)
        plt.close(figure)
        return Image.open(file).convert("RGB")


def write(name: str, frames: Sequence[Image.Image], milliseconds: Sequence[int]) -> None:
    """notebooks/images/NAME, round and round; a time for each frame."""
    first, *others = frames
    how = {"save_all": True, "loop": 0, "optimize": True}
    first.save(IMAGES / name, append_images=others, duration=list(milliseconds), **how)
    size = (IMAGES / name).stat().st_size
    print(f"{name}: {size / 1000:.0f} kB, {len(frames)} frames of {first.size}")


def own_colours(frames: Sequence[Image.Image], count: int) -> list[Image.Image]:
    """Each frame with so many colours of its own."""
    how = {"method": Image.Quantize.MAXCOVERAGE, "dither": Image.Dither.NONE}
    return [each.quantize(count, **how) for each in frames]


def shared_colours(
    frames: Sequence[Image.Image], count: int, chosen: Sequence[int] = (0, -1), kmeans: int = 0
) -> list[Image.Image]:
    """All with so many colours, those of the chosen frames: what does not move is stored once."""
    strip = np.concatenate([np.asarray(frames[k]) for k in chosen])
    palette = Image.fromarray(strip).quantize(count, kmeans=kmeans)
    colours = np.array(palette.getpalette()).reshape(-1, 3)
    colours[colours.min(axis=1) > 245] = 255  # white stays white
    palette.putpalette(colours.ravel().tolist())
    return [each.quantize(palette=palette, dither=Image.Dither.NONE) for each in frames]


def named_colours(
    frames: Sequence[Image.Image], names: Sequence[str], pale: float, greys: int
) -> list[Image.Image]:
    """With named colours, the same paler by `pale` (0 to 1), and greys: every pixel's nearest.

    A palette from the pixels would merge colours that cover few of them.
    """
    full = 255 * np.array([to_rgb(name) for name in names])
    grey = np.linspace(0, 255, greys)[:, None].repeat(3, axis=1)
    colours = np.concatenate([full, (1 - pale) * full + pale * 255, grey]).round()
    return [_nearest(each, colours) for each in frames]


def _nearest(picture: Image.Image, colours: np.ndarray) -> Image.Image:
    pixels = np.asarray(picture)
    known, which = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True)
    nearest = ((known[:, None] - colours) ** 2).sum(axis=2).argmin(axis=1).astype(np.uint8)
    found = Image.fromarray(nearest[which].reshape(pixels.shape[:2]))
    found.putpalette(colours.astype(np.uint8).tobytes())
    return found
