"""A report as figures for print: vector PDFs as wide as a column, with their letters in them."""

import io
from pathlib import Path
from typing import Any

import numpy as np

from ferlib.errors import need
from ferlib.evaluation.report import Report
from ferlib.files import check_place, whole_files

WIDTH = 3.35  # inches (85 mm): a column of a page of two
LETTERS = 7.5  # points
MANY = 12  # classes: a confusion of more is as wide as two columns
FIGURES = ("confusion", "reliability", "per_emotion")
# What the rows of a confusion are, by the kind of a data set's labels.
TRUTHS = {"votes": "the voters' majority", "shares": "what most people saw", "class": "the label"}


def check(folder: str | Path) -> None:
    """FerlibError where figures cannot be drawn or written there: asked before the work."""
    need("matplotlib", "plots", "drawing figures")
    check_place(*(Path(folder, f"{name}.pdf") for name in FIGURES))


def write(
    folder: str | Path,
    report: Report,
    confidences: np.ndarray,
    correct: np.ndarray,
    kind: str = "votes",
) -> list[Path]:
    """FOLDER/confusion.pdf, reliability.pdf and per_emotion.pdf, all of them or none.

    confidences: the answers' scores (n,); correct: bool (n,); without any there is no
    reliability.pdf. kind: `Dataset.kind` of what was measured on. Letters are stored as letters, in
    TrueType (type 42, as journals ask), and the same figures give the same bytes. FerlibError where
    the folder cannot be written.
    """
    from matplotlib import rc_context

    from ferlib import plots

    classes = tuple(report.per_emotion)
    rows = {"key": False, "truth": TRUTHS[kind]}
    made = {"confusion": plots.confusion(report.confusion, classes, **rows)}
    if len(confidences):
        made["reliability"] = plots.reliability(confidences, correct)
    made["per_emotion"] = plots.per_emotion(report.per_emotion)
    places = [Path(folder, f"{name}.pdf") for name in made]
    with whole_files(*places) as partial, rc_context({"pdf.fonttype": 42}):
        for (name, figure), place in zip(made.items(), partial, strict=True):
            wide = name == "confusion" and len(classes) > MANY
            pdf = io.BytesIO()  # on a full disk Matplotlib's own words would be about a stream
            narrow(figure, WIDTH * (1 + wide))
            figure.savefig(pdf, format="pdf", metadata={"CreationDate": None})
            place.write_bytes(pdf.getvalue())
    return places


def narrow(figure: Any, width: float = WIDTH, letters: float = LETTERS) -> Any:
    """The figure so many inches wide, its letters so many points high, numbers in cells less."""
    from matplotlib.text import Text

    shrunk = width / figure.get_figwidth()
    figure.set_size_inches(width, shrunk * figure.get_figheight())
    figure.get_layout_engine().set(w_pad=0.04, h_pad=0.04)
    for text in figure.findobj(Text):
        text.set_fontsize(letters)
    for ax in figure.axes:
        ax.tick_params(labelsize=letters, width=0.5, pad=2)
        for text in ax.texts:
            text.set_fontsize(letters - 1)
        for line in (*ax.lines, *ax.spines.values()):
            line.set_linewidth(shrunk * line.get_linewidth())
    figure.draw_without_rendering()  # the layout of square axes comes closer with each drawing
    return figure
