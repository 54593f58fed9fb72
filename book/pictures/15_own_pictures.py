"""The moving picture of chapter 15: a drawn face changes, and its emotions over time grow.

`python book/pictures/15_own_pictures.py` from the repository's root writes it into
notebooks/images. The net is the one that chapters 8 to 16 share; it is trained if it is not there.
"""

import moving
import numpy as np
from PIL import Image

from ferlib import nets, training
from ferlib.data import cartoon, fer2013
from ferlib.data.labels import COLOURS, EMOTIONS
from ferlib.plots import style

plt = style.pyplot()
PLAN, LASTS, RATE = ("happiness", "surprise", "sadness"), 2.5, 8
TAU = 0.3  # seconds


def net():
    """The series' shared net, and what travels with it."""
    data = fer2013.sample_data()
    recipe = training.Recipe(net="vgg-tiny", epochs=8, batch_size=64, lr=0.1)
    learn, valid = data.split("train", keep="usable"), data.split("valid")
    trained, _ = training.fit(learn, valid, recipe, moving.NOTEBOOKS / "runs" / "drawn")
    return trained, nets.Info.of(recipe.network(), EMOTIONS, recipe.normalisation)


def film() -> tuple[np.ndarray, np.ndarray]:
    """Seconds (T,), and the frames (T, 160, 160)."""
    seconds = np.arange(0, LASTS * len(PLAN), 1 / RATE)
    faces = []
    for t in seconds:
        strength = max(0.0, np.sin(np.pi * (t % LASTS) / 2))
        rng = np.random.default_rng(1)
        faces.append(cartoon.draw(PLAN[int(t / LASTS)], rng, 160, strength))
    return seconds, np.array(faces)


def smoothed(rows: np.ndarray) -> np.ndarray:
    """Each reading counts exp(-age / TAU)."""
    keep, total, weight, out = np.exp(-1 / RATE / TAU), 0, 0, []
    for p in rows:
        total, weight = keep * total + p, keep * weight + 1
        out.append(total / weight)
    return np.array(out)


def page(face, seconds, rows, done: int) -> Image.Image:
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.4), width_ratios=(1, 2.3))
    figure.subplots_adjust(0.01, 0.21, 0.985, 0.82, wspace=0.14)
    left.imshow(face, cmap="gray", vmin=0, vmax=255)
    left.set_axis_off()
    hues = [COLOURS[name] for name in EMOTIONS]
    if done > 1:
        right.stackplot(seconds[:done], *rows[:done].T, colors=hues, lw=0)
    right.axvline(seconds[done - 1], color=style.INK, lw=1.5)
    right.set(xlim=(0, seconds[-1]), ylim=(0, 1), yticks=(0, 1), xlabel="seconds")
    right.set_yticks((0, 1), ("0", "100 %"))
    keys = [plt.Rectangle((0, 0), 1, 1, color=COLOURS[name]) for name in EMOTIONS[:4]]
    where = {"loc": "lower center", "bbox_to_anchor": (0.5, 0.98), "columnspacing": 1.2}
    right.legend(keys, EMOTIONS[:4], ncols=4, fontsize=9.5, handlelength=1, **where)
    return moving.frame(figure)


def main() -> None:
    trained, info = net()
    seconds, faces = film()
    rows = smoothed(nets.predict(trained, faces, info))
    pages = [page(face, seconds, rows, 1 + k) for k, face in enumerate(faces)]
    few = moving.shared_colours(pages, 80, (*range(0, len(pages), 12), -1), kmeans=2)
    durations = [round(1000 / RATE)] * (len(pages) - 1) + [2500]
    moving.write("15_clip.gif", few, durations)


if __name__ == "__main__":
    main()
