"""Draws notebooks/images/14_bits.gif: a net's weights with fewer and fewer bits, and its answers.

The face is a drawn one, the net `ferplus-small`. Every convolution is rounded, with a scale for
each channel.
"""

import moving
import numpy as np
from matplotlib import rc_context
from PIL import Image

from ferlib import nets, runtime
from ferlib.data import cartoon, images
from ferlib.data.labels import EMOTIONS
from ferlib.nets.answer import softmax
from ferlib.plots import style

mx = runtime.import_mxnet()

BITS = (None, 8, 6, 5, 4, 3, 2)  # None: 32, as they were learnt


def rounded(weights: np.ndarray, bits: int | None) -> np.ndarray:
    """Kernels (D, C, h, w) with a scale for each of the D output channels."""
    if bits is None:
        return weights
    scale = np.abs(weights).max(axis=(1, 2, 3), keepdims=True) / (2 ** (bits - 1) - 1)
    return scale * np.rint(weights / scale)


def answers(face: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each of BITS the weights of one channel, and the net's answer."""
    net, info = nets.load(nets.find_weights("ferplus-small"))
    batch = mx.nd.array(images.prepare(face[None], info.input_size, info.normalise))
    kernels = [p for p in net.collect_params().values() if "conv" in p.name and p.data().ndim == 4]
    kept = [p.data().asnumpy() for p in kernels]
    found = []
    for bits in BITS:
        for parameter, weights in zip(kernels, kept, strict=True):
            parameter.set_data(mx.nd.array(rounded(weights, bits)))
        logits = net(batch).asnumpy() + np.array(info.bias or 0.0, np.float32)
        found.append((rounded(kept[4], bits)[7].ravel(), softmax(logits / info.temperature)[0]))
    return found


def frame(
    face: np.ndarray, bits: int | None, weights: np.ndarray, scores: np.ndarray
) -> Image.Image:
    """One picture: the face, the weights as strokes on a line, the answer as bars."""
    figure = style.new_figure(7.2, 3.4)
    grid = figure.add_gridspec(2, 2, height_ratios=(2.6, 1), width_ratios=(1, 1.5))
    style.show(figure.add_subplot(grid[0, 0]), face)
    ax = figure.add_subplot(grid[0, 1])
    ax.barh(EMOTIONS, 100 * scores, color=[style.COLOURS[name] for name in EMOTIONS])
    ax.set(xlim=(0, 100), xlabel="answer, %")
    ax.invert_yaxis()
    ax = figure.add_subplot(grid[1, :])
    ax.vlines(weights, 0, 1, color=style.BLUES[3], lw=0.8)
    most = 1.05 * np.abs(weights).max()
    ax.set(xlim=(-most, most), yticks=[], xlabel="weights of one channel")
    ax.spines["left"].set_visible(False)
    steps = f"{bits} bits: {2**bits - 1} values" if bits else "32 bits: as they were learnt"
    figure.suptitle(steps)
    return moving.frame(figure)


if __name__ == "__main__":
    face = cartoon.draw("happiness", np.random.default_rng(5), intensity=0.8)
    with rc_context(style.STYLE):
        rows = zip(BITS, answers(face), strict=True)
        frames = [frame(face, bits, *found) for bits, found in rows]
    times = [1500] + [1200] * (len(frames) - 2) + [2500]
    moving.write("14_bits.gif", moving.shared_colours(frames, 128), times)
