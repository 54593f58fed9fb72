"""What every figure shares: its look, pictures, bars.

One colour stands for one emotion everywhere; the colours stay apart for colour-blind readers, and
names are always written beside them. Figures have a white ground of their own, so that they read
the same in light and dark notebooks.
"""

import functools
import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ferlib.data import labels
from ferlib.errors import FerlibError, need

need("matplotlib", "plots", "drawing a plot")
from matplotlib import rc_context  # noqa: E402  (after `need` has told of its absence)
from matplotlib.figure import Figure  # noqa: E402

COLOURS = labels.COLOURS | {"unknown": "#E2E2E2", "non-face": "#5A5A5A"}
INK, FAINT, MARK = "#2B2B2B", "#B4B4B4", "#C2410C"
BLUES = ("#A9CBE8", "#6FA5D8", "#3F7FBF", "#1F5C99")  # for all that is no emotion
HEAT = "inferno"  # even steps to the eye, and nowhere gray as faces are

STYLE = {
    "figure.facecolor": "white", "savefig.facecolor": "white", "axes.facecolor": "white",
    "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.edgecolor": FAINT, "axes.spines.top": False, "axes.spines.right": False,
    "axes.titlesize": 12, "axes.titleweight": "bold", "axes.labelsize": 11, "font.size": 10.5,
    "xtick.labelsize": 10, "ytick.labelsize": 10, "figure.titlesize": 14, "figure.dpi": 110,
    "legend.frameon": False, "lines.linewidth": 2, "font.family": "DejaVu Sans",
    "svg.hashsalt": "ferlib", "axes.axisbelow": True, "grid.color": "#E8E8E8",
}  # fmt: skip


class Picture(Figure):
    """A Figure that notebooks show without pyplot and its global state."""

    def _repr_png_(self) -> bytes:
        with io.BytesIO() as file:
            self.savefig(file, format="png")
            return file.getvalue()


# What drawing raises where it is given something else, or fewer of one than of another.
_UNDRAWN = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, OSError)


def styled(function: Callable) -> Callable:
    """Draw under STYLE without changing the reader's own settings; say so where it cannot be."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs) -> Figure:
        with rc_context(STYLE):
            try:
                return function(*args, **kwargs)
            except FerlibError:
                raise
            except _UNDRAWN as error:
                what = f"plots.{function.__name__} cannot draw this"
                raise FerlibError(f"{what} ({type(error).__name__}: {error})") from error

    return wrapper


def pyplot() -> Any:
    """matplotlib's pyplot, from here on in the look of this package's figures."""
    from matplotlib import pyplot as plt

    plt.rcParams.update(STYLE)
    return plt


def plain(text: str) -> str:
    """A name as Matplotlib draws it: it takes what stands between two dollars for a formula."""
    return text.replace("$", r"\$")


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches, its parts laid out without overlap."""
    figure = Picture(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.07, h_pad=0.07)
    return figure


def show(ax: Any, picture: Any, title: str = "") -> None:
    """A gray (H, W), (1, H, W) or coloured (H, W, 3) picture without axes."""
    picture = np.asarray(picture)
    picture = picture[0] if picture.ndim == 3 and picture.shape[0] == 1 else picture
    limits = {"vmin": 0, "vmax": 255} if picture.dtype == np.uint8 else {}
    ax.imshow(picture, cmap="gray", **limits)
    ax.set_title(title, fontsize=10.5)
    ax.set_axis_off()


def bars(ax: Any, values: Any, names: Sequence[str], top: float, decimals: int = 0) -> None:
    """Upright bars in the emotions' colours; `top` is the axis' upper end."""
    ax.bar(names, values, color=[COLOURS[name] for name in names], width=0.8)
    for x, value in enumerate(values):
        if value > 0:
            ax.text(x, value + 0.02 * top, f"{value:.{decimals}f}", ha="center", fontsize=8.5)
    ax.set_ylim(0, 1.15 * top)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.tick_params("x", rotation=90, length=0, labelsize=9)


def lying_bars(
    ax: Any,
    values: Any,
    names: Sequence[str],
    colours: Sequence[str],
    texts: Sequence[str],
) -> None:
    """Bars from the left, first one on top, with a text at each end."""
    ax.barh(names, values, color=colours)
    for y, (value, text) in enumerate(zip(values, texts, strict=True)):
        ax.text(value + 0.015, y, text, va="center")
    ax.set_xlim(0, 1.15)
    ax.set_xticks(np.linspace(0, 1, 5), ["0", "25 %", "50 %", "75 %", "100 %"])
    ax.invert_yaxis()
    ax.grid(axis="x")
    ax.tick_params("y", length=0)
