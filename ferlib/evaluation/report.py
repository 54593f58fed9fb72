"""What `evaluate` found, as a dataclass, as JSON and as lines of text."""

import os
from dataclasses import asdict, dataclass, field
from typing import Any

from ferlib.metrics import Figures


@dataclass
class Known:
    """How many of the pictures are FER2013's own for training: n, None where it is not at hand."""

    compared: int = 0
    n: int | None = None
    of: str | None = None
    accuracy_without: float | None = None


@dataclass
class Adapted:
    """The accuracy once the net knows how frequent the classes are here, by `evaluation.adapt`."""

    accuracy: float
    shares: dict[str, float]


@dataclass
class Report:
    """Figures over n pictures, with all that they depend on.

    accuracy counts a face that was not found as wrong; balanced_accuracy, per_emotion and
    confusion are those of `metrics.Recall`; counts are pictures by class. loss, kl, ece and
    agreement (`metrics.Figures`) are there where each picture had an answer of all classes.
    """

    weights: str
    source: str
    form: str
    n: int
    accuracy: float
    balanced_accuracy: float
    per_emotion: dict[str, float | None]
    confusion: list[list[int]]
    counts: dict[str, int]
    about: dict[str, str] = field(default_factory=dict)  # split, protocol
    faces: str = "auto"
    precision: str = ""
    tta: str = "none"
    raw: bool = False
    prior: str | None = None  # how frequent the answers take classes to be, if not as the net does
    emotions: list[str] = field(default_factory=list)  # that were allowed as answers
    loss: float | None = None
    kl: float | None = None
    ece: float | None = None
    agreement: list[dict] | None = None
    cropped: int = 0
    not_found: int = 0
    accuracy_where_found: float | None = None
    training_pictures: Known = field(default_factory=Known)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    adapted: Adapted | None = None

    def add(self, figures: Figures) -> None:
        """What needs the scores of all classes."""
        for name in ("loss", "kl", "ece", "agreement"):
            setattr(self, name, getattr(figures, name))

    def as_dict(self) -> dict[str, Any]:
        """For JSON: split and protocol beside the rest."""
        known = asdict(self)
        return known.pop("about") | known

    def text(self) -> str:
        """The figures in a few lines."""
        lines = [self._what(), self._figures()]
        lines += [f"by the prior {self.prior}"] * (self.prior is not None)
        lines += [
            f"  {name:10} {'-' if found is None else f'{found:.3f}':>6}  n = {count}"
            for (name, found), count in zip(
                self.per_emotion.items(), self.counts.values(), strict=True
            )
        ]
        return "\n".join(lines if "protocol" in self.about else lines + self._faces())

    def _what(self) -> str:
        if "protocol" in self.about:
            where = f"{self.about['split']} split by {self.about['protocol']}, majority images"
            return f"{where}, n = {self.n}, in {self.precision}"
        folder = os.fsencode(self.source).decode(errors="replace")  # it can be any bytes
        if "split" in self.about:
            folder = f"split {self.about['split']} of {folder}"
        return (
            f"{folder} ({self.form}), n = {self.n}: {self.cropped} crops, "
            f"{self.n - self.cropped} pictures searched for a face"
        )

    def _figures(self) -> str:
        line = f"accuracy {self.accuracy:.4f}   balanced {self.balanced_accuracy:.4f}"
        if self.agreement is not None:
            line += f"   KL to the voters {self.kl:.4f}   calibration error {self.ece:.4f}"
        return line

    def _faces(self) -> list[str]:
        """What matters for pictures that are not FER2013's."""
        lines = []
        if self.adapted:
            known = self.adapted.accuracy
            lines.append(f"adapted, without labels, to how frequent emotions are here: {known:.4f}")
        if self.not_found:
            where = self.accuracy_where_found
            also = "" if where is None else f"; {where:.4f} where one was found"
            lines.append(f"no face found in {self.not_found}, counted as wrong{also}")
        same = self.training_pictures
        if same.compared and same.n is None:
            lines.append("not compared with FER2013's training pictures: they are not here")
        elif same.compared:
            rest = same.accuracy_without
            also = "" if not same.n or rest is None else f"; accuracy without them {rest:.4f}"
            lines.append(f"{same.n} are FER2013's own training pictures, pixel by pixel{also}")
        return lines + [f"left out: {count} x {reason}" for reason, count in self.skipped.items()]
