"""The moving pictures of chapter 4: gradient descent on two weights, and back-propagation.

`python book/pictures/04_one_layer.py` from the repository's root writes both into notebooks/images.
"""

import moving
import numpy as np

from ferlib.data import fer2013
from ferlib.data.labels import EMOTIONS
from ferlib.plots import style

plt = style.pyplot()
FORWARD, BACKWARD = style.BLUES[3], style.MARK


# ------------------------------------------------------------------ descent on two weights

PAIR = ("happiness", "surprise")
SPOTS = ((17, 11), (17, 15))  # row and column in 24 x 24, the middle and the corner of the mouth


def two_numbers():
    """Faces of the PAIR -> how bright their two SPOTS are (n, 2), and 1 for the first emotion."""
    faces = fer2013.sample_data().split("train")
    small = faces.pictures.reshape(-1, 24, 2, 24, 2).mean((2, 4))
    small -= small.mean((1, 2), keepdims=True)
    small /= small.std((1, 2), keepdims=True) + 1e-6
    classes = [EMOTIONS.index(name) for name in PAIR]
    rows = np.concatenate([np.flatnonzero(faces.truth == k)[:60] for k in classes])
    x = np.stack([small[rows, r : r + 2, c : c + 2].mean((1, 2)) for r, c in SPOTS], 1)
    x = (x - x.mean(0)) / x.std(0)
    return x, (faces.truth[rows] == classes[0]).astype(float), faces.pictures[rows[7]]


def loss(w, x, y):
    """Mean cross-entropy of weights (..., 2)."""
    z = np.einsum("...k,nk->...n", w, x)
    return (np.logaddexp(0, z) - y * z).mean(-1)


def descend(x, y, start, lr, steps):
    path = [np.array(start, float)]
    for _ in range(steps):
        p = 1 / (1 + np.exp(-x @ path[-1]))
        path.append(path[-1] - lr * (p - y) @ x / len(x))
    return np.array(path)


def descent() -> None:
    x, y, face = two_numbers()
    path = descend(x, y, (-2.2, 2.6), 0.9, 60)
    shown = np.unique(np.round(np.geomspace(1, 61, 26)).astype(int) - 1)
    grid = np.stack(np.meshgrid(np.linspace(-3.2, 4.4, 120), np.linspace(-3.6, 3.6, 120)), -1)
    surface = loss(grid, x, y)
    frames = [one_step(x, y, face, grid, surface, path, step) for step in shown]
    few = moving.shared_colours(frames, 200, (0, len(frames) // 2, -1), kmeans=3)
    moving.write("04_descent.gif", few, [900] + [220] * (len(frames) - 2) + [2500])


def one_step(x, y, face, grid, surface, path, step):
    figure, (photo, faces, hill) = plt.subplots(
        1, 3, figsize=(7.2, 2.9), width_ratios=(0.72, 1, 1), layout="constrained"
    )
    style.show(photo, face, "two numbers\nof each face")
    for (r, c), name in zip(SPOTS, ("$x_1$", "$x_2$"), strict=True):
        photo.add_patch(
            plt.Rectangle((2 * c - 0.5, 2 * r - 0.5), 4, 4, fc="none", ec="#FF8A3D", lw=1.8)
        )
        photo.text(2 * c + 1.5, 2 * r + 8, name, color="white", ha="center", fontsize=12)
    w = path[step]
    for name, which, marker in zip(PAIR, (1, 0), "os", strict=True):
        there = y == which
        faces.scatter(*x[there].T, s=15, marker=marker, color=style.COLOURS[name], label=name)
    line = np.array([[-9, 9]]).T * np.array([-w[1], w[0]]) / np.hypot(*w)
    faces.plot(*line.T, color=style.INK)
    faces.set(xlim=(-2.9, 2.9), ylim=(-3.4, 2.4), xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
    right = ((x @ w > 0) == (y > 0)).mean()
    faces.set_title(f"{right:.0%} on the right side", fontsize=10.5)
    faces.legend(
        loc="lower center", fontsize=8, ncols=2, handletextpad=0, columnspacing=0.6,
        frameon=True, facecolor="white", framealpha=1, edgecolor="none", borderpad=0.15,
    )  # fmt: skip
    levels = np.geomspace(surface.min() * 0.9, surface.max(), 13)
    hill.contourf(*np.moveaxis(grid, -1, 0), surface, levels, cmap="Blues_r")
    hill.plot(*path[: step + 1].T, ".-", color=BACKWARD, lw=1.2, ms=3)
    hill.plot(*w, "o", color=BACKWARD, ms=8, mec="white")
    hill.set(xlabel="weight $w_1$", ylabel="weight $w_2$", xlim=(-3.2, 4.4), ylim=(-3.6, 3.6))
    hill.set_aspect("equal", adjustable="box")
    hill.set_title(f"step {step}: loss {loss(w, x, y):.2f}", fontsize=10.5)
    for axes in (faces, hill):
        axes.tick_params(labelsize=8)
    return moving.frame(figure)


# ------------------------------------------------------------------ back-propagation

X, W, B = np.array([1, -2.0]), np.array([[1, 0], [0, -1], [-1, 0.5]]), np.array([0, 0, 1.0])
Y = np.array([0.8, 0.2, 0])
Z = W @ X + B
P = np.exp(Z) / np.exp(Z).sum()
LOSS = -(Y * np.log(P)).sum()
PLACES = {  # name: (x, y, width, formula)
    "W": (2.9, 5.0, 1.7, "$W$"),
    "b": (4.75, 5.0, 1.1, "$b$"),
    "y": (9.9, 5.0, 1.2, "$y$ (votes)"),
    "x": (0.9, 2.1, 1.2, "$x$"),
    "z": (3.7, 2.1, 1.3, "$z=Wx+b$"),
    "p": (6.8, 2.1, 1.3, "$p=$softmax$(z)$"),
    "L": (9.9, 2.1, 1.3, "$L=-\\sum_k y_k\\,\\log\\,p_k$"),
}
EDGES = (("x", "z"), ("W", "z"), ("b", "z"), ("z", "p"), ("p", "L"), ("y", "L"))
VALUES = {"x": X, "W": W, "b": B, "z": Z, "p": P, "y": Y, "L": LOSS}
GRADIENTS = {
    "L": (None, "$1$"),
    "p": (-Y / P, "$-y/p$"),
    "z": (P - Y, "$p-y$"),
    "W": (np.outer(P - Y, X), "$(p-y)\\,x^T$"),
    "b": (P - Y, "$p-y$"),
    "x": (W.T @ (P - Y), "$W^T(p-y)$"),
}
STORY = (  # (values known, gradients known, edges in use, what happens)
    ("xWby", "", "", "What is known before: the face, the weights, the votes"),
    ("xWbyz", "", "xz Wz bz", "Forward: scores"),
    ("xWbyzp", "", "zp", "Forward: probabilities"),
    ("xWbyzpL", "", "pL yL", "Forward: the loss"),
    ("xWbyzpL", "L", "", "Backward: how does the loss change with each number?"),
    ("xWbyzpL", "Lp", "pL", "Backward: through the logarithm"),
    ("xWbyzpL", "Lpz", "zp", "Backward: through the softmax"),
    ("xWbyzpL", "LpzWb", "Wz bz", "Backward: to the weights, which is what we wanted"),
    ("xWbyzpL", "LpzWbx", "xz", "Backward: and to an earlier layer, if there were one"),
    ("xWbyzpL", "LpzWbx", "", "Forward the values, backward the gradients"),
)


def written(values) -> str:
    rows = [np.atleast_1d(row) for row in np.atleast_1d(values)]
    lines = (" ".join(f"{number + 0:5.2f}" for number in row) for row in rows)
    return "\n".join(lines).replace("-", "\N{MINUS SIGN}")


def backprop() -> None:
    frames = [graph(*scene) for scene in STORY]
    few = moving.shared_colours(frames, 200, (0, len(frames) // 2, -1), kmeans=3)
    moving.write("04_backprop.gif", few, [1800] * 3 + [2200] * 6 + [4000])


def graph(known, slopes, used, story):
    figure, axes = plt.subplots(figsize=(7.2, 4.4))
    figure.subplots_adjust(0, 0, 1, 1)
    axes.set(xlim=(-0.45, 11.1), ylim=(-0.15, 7.0))
    axes.set_axis_off()
    back = story.startswith("Backward")
    axes.text(5.33, 6.8, story, ha="center", va="top", weight="bold", fontsize=12.5)
    for start, end in EDGES:
        connect(axes, start, end, f"{start}{end}" in used.split(), back)
    for name, (x, y, width, formula) in PLACES.items():
        box = dict(boxstyle="round,pad=0.1", fc="white", ec=FORWARD, lw=1.6)
        axes.add_patch(
            plt.matplotlib.patches.FancyBboxPatch((x - width / 2, y - 0.62), width, 1.24, **box)
        )
        axes.text(x, y + 0.83, formula, ha="center", va="bottom", fontsize=11.5)
        if name in known:
            number(axes, x, y, VALUES[name], FORWARD, "center")
        if name in slopes:
            values, rule = GRADIENTS[name]
            aside = {"W": -2.05, "b": 1.55}.get(name, 0)
            top = y + 0.5 if aside else y - 0.85
            label = f"$\\partial L/\\partial {name}=$" + rule
            axes.text(x + aside, top, label, ha="center", va="top", color=BACKWARD, fontsize=10.5)
            if values is not None:
                number(axes, x + aside, top - 0.42, values, BACKWARD, "top")
    return moving.frame(figure)


def number(axes, x, y, values, colour, va) -> None:
    how = dict(ha="center", va=va, color=colour, family="DejaVu Sans Mono", fontsize=10)
    axes.text(x, y, written(values), **how)


def connect(axes, start, end, used, back) -> None:
    """An arrow from one box to another; the other way round while gradients flow."""
    (x, y, width, _), (u, v, span, _) = PLACES[start], PLACES[end]
    first = (x + width / 2 + 0.15, y) if y == v else (x, y - 0.78)
    last = (u - span / 2 - 0.15, v) if y == v else (u + (x - u) * 0.3, v + 1.5)
    if used and back:
        first, last = last, first
    colour = (BACKWARD if back else FORWARD) if used else style.FAINT
    how = dict(arrowstyle="-|>", color=colour, lw=3 if used else 1.5, mutation_scale=16)
    axes.annotate("", last, first, arrowprops=how)


if __name__ == "__main__":
    descent()
    backprop()
