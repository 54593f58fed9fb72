"""Draw requests on their way, chapter 16: notebooks/images/16_serving.gif."""

import moving
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from PIL import Image

from ferlib import plots
from ferlib.plots import style

FRAMES, HOLD, SPEED = 78, 1800, 120  # frames; milliseconds: of the last one, of the others
CLIENTS = ((0.9, 2.75), (0.9, 1.6), (0.9, 0.45))
GATE, SERVER = (3.5, 1.6), (5.9, 1.6)
WORKERS = ((8.6, 2.55), (8.6, 0.65))
DIES, STARTS, READY = 33, 39, 54  # frames in the second worker's life
# Frame, client, what is sent, which worker takes it (None: the gate refuses it), the answer.
SENT = (
    (0, 0, "photo", 0, "200"),
    (3, 1, "text", 1, "400"),
    (10, 2, "/nowhere", None, "404"),
    (22, 0, "photo", 1, "503"),
    (25, 1, "photo", 0, "200"),
    (45, 0, "photo", 0, "200"),
    (55, 2, "photo", 1, "200"),
)


def way(client: int, worker: int | None, answer: str) -> list[tuple[int, tuple[float, float]]]:
    """Frames since the start, and where the request is then."""
    start = CLIENTS[client][0], CLIENTS[client][1] - 0.12  # below the name
    if worker is None:
        return [(0, start), (4, GATE), (6, GATE), (10, start)]
    work = WORKERS[worker][0], WORKERS[worker][1] - 0.2
    there = [(0, start), (4, GATE), (7, SERVER), (10, work)]
    stay = 11 if answer == "503" else 13
    back = [(stay, work), (stay + 3, SERVER), (stay + 6, GATE), (stay + 10, start)]
    return there + back


def token(ax, frame: int, sent: tuple) -> None:
    begin, client, what, worker, answer = sent
    stops = way(client, worker, answer)
    since = frame - begin
    if not 0 <= since <= stops[-1][0] + 2:
        return
    frames, places = zip(*stops, strict=True)
    x, y = (np.interp(since, frames, each) for each in zip(*places, strict=True))
    turned = since >= stops[len(stops) // 2][0]
    good = what == "photo" if not turned else answer == "200"
    colour = plots.BLUES[3] if good else plots.MARK
    ax.text(
        x, y, answer if turned else what, ha="center", va="center", fontsize=9.5, color="white",
        fontweight="bold", zorder=5,
        bbox={"boxstyle": "round,pad=0.35", "fc": colour, "ec": "w"},
    )  # fmt: skip


def box(ax, place, width: float, height: float, text: str, colour: str, ink: str) -> None:
    x, y = place
    how = {"boxstyle": "round,pad=0.05", "fc": colour, "ec": plots.FAINT, "lw": 1.2}
    ax.add_patch(FancyBboxPatch((x - width / 2, y - height / 2), width, height, **how))
    ax.text(x, y + height / 2 - 0.08, text, ha="center", va="top", color=ink, fontsize=9.5)


def scene(ax, frame: int) -> None:
    for k, place in enumerate(CLIENTS):
        box(ax, place, 1.5, 0.8, f"client {k + 1}", "white", style.INK)
        ax.plot([place[0] + 0.8, GATE[0]], [place[1], GATE[1]], color=plots.FAINT, lw=1, zorder=0)
    for place in WORKERS:
        line = (SERVER[0], place[0]), (SERVER[1], place[1])
        ax.plot(*line, color=plots.FAINT, lw=1, zorder=0)
    ax.plot([GATE[0], SERVER[0]], [1.6, 1.6], color=plots.FAINT, lw=1, zorder=0)
    box(ax, GATE, 1.5, 2.2, "gate\nlooks, refuses", "#EAF2FA", style.INK)
    box(ax, SERVER, 1.95, 2.2, "Multi Model Server\nhands out", "#EAF2FA", style.INK)
    box(ax, WORKERS[0], 1.7, 1.25, "worker 1\nhandler and net", "white", style.INK)
    if DIES <= frame < STARTS:
        box(ax, WORKERS[1], 1.7, 1.25, "kill -9", "#F6E3DA", plots.MARK)
        x, y = WORKERS[1]
        ax.plot([x - 0.3, x + 0.3], [y - 0.45, y + 0.15], color=plots.MARK, lw=4)
        ax.plot([x - 0.3, x + 0.3], [y + 0.15, y - 0.45], color=plots.MARK, lw=4)
    elif STARTS <= frame < READY:
        words = "starting" + "." * (1 + (frame - STARTS) // 3 % 3)
        box(ax, WORKERS[1], 1.7, 1.25, words, "#EEEEEE", "#777777")
    else:
        box(ax, WORKERS[1], 1.7, 1.25, "worker 2\nhandler and net", "white", style.INK)


def picture(frame: int) -> Image.Image:
    figure = Figure(figsize=(7.2, 2.6), dpi=100)
    ax = figure.add_axes((0, 0, 1, 1))
    scene(ax, frame)
    for sent in SENT:
        token(ax, frame, sent)
    ax.set(xlim=(0, 9.6), ylim=(-0.1, 3.35))
    ax.set_axis_off()
    return moving.frame(figure)


@style.styled
def main() -> None:
    frames = [picture(frame) for frame in range(FRAMES)]
    few = moving.shared_colours(frames, 32, (13, 34, 48))  # in which each colour is seen
    times = [SPEED] * (FRAMES - 1) + [HOLD]
    moving.write("16_serving.gif", few, times)


if __name__ == "__main__":
    main()
