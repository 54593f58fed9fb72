"""Draw the line from a photograph to an answer, chapter 1: notebooks/images/01_meet.svg."""

from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.patches import ConnectionPatch, Rectangle
from PIL import Image
from skimage import data

from ferlib import Recognizer, nets, plots
from ferlib.data import images
from ferlib.data.labels import EMOTIONS, HUES
from ferlib.faces.face import crop
from ferlib.nets.answer import softmax
from ferlib.plots import style
from ferlib.runtime import import_mxnet

mx = import_mxnet()
OUT = Path(__file__).parents[2] / "notebooks/images/01_meet.svg"
HEADS = (
    ("1. Find", "a box around the face"),
    ("2. Cut", "a square around it"),
    ("3. Shrink", "grey, 48 x 48 pixels"),
    ("4. Normalise", "mean 0, deviation 1"),
    ("5. Ask the net", "eight logits"),
    ("6. Softmax", "eight probabilities"),
)


def steps(photo: np.ndarray) -> tuple:
    """Box, square, small grey picture, normalised one, logits and probabilities."""
    fer = Recognizer(precision="float32")
    box = fer.look(photo)[0, :4]
    square = crop(photo, box)
    small = images.resize([square], 48)
    x = images.normalised(small, "standardise")
    net, _ = nets.load(fer.weights[0])
    logits = net(mx.nd.array(x)).asnumpy()
    return box, square, small[0], x[0, 0], logits[0], softmax(logits)[0]


def bars(ax, values, low: float, high: float, form: str) -> None:
    ax.barh(EMOTIONS, values, color=HUES, height=0.7)
    for y, value in enumerate(values):
        ax.text(max(value, 0) + 0.03 * (high - low), y, f"{value:{form}}", va="center", fontsize=9)
    ax.set(xlim=(low, high), xticks=[])
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.tick_params("y", length=0, labelsize=9)
    ax.axvline(0, color=plots.FAINT, lw=1)
    ax.invert_yaxis()


def main() -> None:
    photo = data.astronaut()
    box, square, small, x, logits, probabilities = steps(photo)
    figure = style.new_figure(13.2, 2.45)
    figure.get_layout_engine().set(w_pad=0.13)
    axes = figure.subplots(1, 6, width_ratios=(1, 1, 1, 1, 0.98, 0.98))
    few = Image.fromarray(photo).resize((200, 200), Image.Resampling.LANCZOS)
    axes[0].imshow(few, extent=(0, 512, 512, 0))
    axes[0].add_patch(Rectangle(box[:2], *box[2:], fc="none", ec=plots.MARK, lw=2.5))
    axes[1].imshow(square)
    axes[2].imshow(small, cmap="gray", vmin=0, vmax=255)
    axes[3].imshow(x, cmap="gray", vmin=-2.5, vmax=2.5)
    for ax in axes[:4]:
        ax.set_axis_off()
    bars(axes[4], logits, -3.5, 12.5, ".1f")
    bars(axes[5], probabilities, 0, 1.5, ".3f")
    for ax, (head, what) in zip(axes, HEADS, strict=True):
        ax.set_box_aspect(1)
        ax.set_title(f"{head}\n", loc="center")
        ax.text(0.5, 1.03, what, transform=ax.transAxes, ha="center", fontsize=10)
    for left, right in pairwise(axes[:4]):
        line = {"arrowstyle": "-|>", "mutation_scale": 16, "lw": 1.8, "color": style.INK}
        ends = {"coordsA": left.transAxes, "coordsB": right.transAxes}
        figure.add_artist(ConnectionPatch((1.03, 0.5), (-0.03, 0.5), **ends, **line))
    figure.savefig(OUT, metadata={"Date": None})
    print(OUT.name, OUT.stat().st_size, "bytes")


if __name__ == "__main__":
    style.styled(main)()
