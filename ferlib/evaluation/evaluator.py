"""Any data set -> what a net makes of it. The one evaluator, for splits, folders and data sets."""

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ferlib.data import fer2013, images
from ferlib.data.dataset import Dataset, check_dataset
from ferlib.data.fer2013 import Fer2013
from ferlib.errors import FerlibError, check_choice, check_kind
from ferlib.evaluation import figures as drawings
from ferlib.evaluation.report import Adapted, Known, Report
from ferlib.faces.framing import FACES, is_crop
from ferlib.faces.recognizer import Recognizer
from ferlib.files import check_place, whole_file
from ferlib.metrics import measure, recall
from ferlib.nets.info import Info
from ferlib.nets.prior import Prior, shift, told

ENOUGH = 100  # fewer pictures say little about how frequent eight emotions are
PART = 256  # crops read at a time


def evaluate(
    data: Dataset,
    weights: str | Path | Sequence[str | Path] | None = None,
    faces: str = "auto",
    emotions: Iterable[str] | None = None,
    flip: bool = False,
    raw: bool = False,
    precision: str = "auto",
    out: str | Path | None = None,
    known: Fer2013 | None = None,
    prior: Prior | None = None,
    figures: str | Path | None = None,
) -> Report:
    """Measure stored weights (default: the shipped net; several are averaged) on a data set.

    `faces`: "crop" takes the pictures for crops framed as FER2013's, "find" looks for the largest
    face and turns it upright as `Recognizer` does, and none found is a wrong answer; "auto" crops
    small squares (`framing.CROP_SIDE`) and finds faces in the rest. `emotions` names the answers
    that are allowed (default: all classes); `raw` gives the net as it was trained, without bias,
    temperature and prior; `precision` is that of `store.load`. `out` is a CSV to write, one row a
    picture. `known` is FER2013, whose training pictures are told apart in other data sets. `prior`
    says how frequent classes are, as for `Recognizer`; those that do not occur are not allowed as
    answers. `figures` is a folder for PDFs that are fit for print (`ferlib.evaluation.figures`).
    Raises FerlibError; pictures that cannot be read are in the report's `unreadable`.
    """
    check_choice("way to faces", faces, FACES)
    check_dataset(data, "data")
    if known is not None:
        check_kind("known", known, Fer2013, "FER2013 as a whole, such as fer2013.load() gives")
    if figures:
        drawings.check(figures)
    fer = Recognizer(weights=weights, flip=flip, precision=precision, prior=prior)
    if raw:
        fer.nets = [(net, info.raw()) for net, info in fer.nets]
    info = fer.nets[0][1]
    allowed, out = _allowed(emotions, info), _checked_file(out)
    data = _in_classes(data, fer.classes)
    read = _Reading(fer, data, faces)
    report = _report(read, allowed, known)
    report.tta, report.raw, report.prior = "flip" if flip else "none", raw, told(info) or None
    if out:
        _write_answers(out, read, allowed)
    if figures:
        drawings.write(figures, report, *_sure(read, allowed), data.kind)
    return report


def _sure(read: "_Reading", allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How sure each answer is, and whether it is right, (n,), where a face was found."""
    seen = np.array(read.seen, int)
    scores = read.stacked(read.seen) * allowed if len(seen) else np.zeros((0, len(allowed)))
    return scores.max(axis=1, initial=0), scores.argmax(axis=1) == read.data.truth[seen]


def _in_classes(data: Dataset, classes: tuple[str, ...]) -> Dataset:
    if data.classes != classes:
        ours, theirs = ", ".join(data.classes), ", ".join(classes)
        raise FerlibError(f"these pictures show {ours}; the net tells apart {theirs}")
    return data


class _Reading:
    """Scores (K,) by row of a data set, None where no face was found; crops go in batches."""

    def __init__(self, fer: Recognizer, data: Dataset, faces: str):
        self.fer, self.data, self.faces = fer, data, faces
        self.scores: dict[int, np.ndarray | None] = {}
        self.crops: dict[int, np.ndarray] = {}  # waiting
        self.cropped: set[int] = set()
        self.as_trained: dict[int, bytes] = {}  # gray 48x48 pictures, to be compared
        self.unreadable: list[tuple[str, str]] = []
        self.asked = np.flatnonzero(data.truth >= 0)
        name = data.about.get("split", data.form)
        for row in tqdm(self.asked, desc=name, unit="img", disable=None, leave=False):
            self._take(row)
        self._flush()

    def _take(self, row: int) -> None:
        try:
            picture = self.data.pictures[row]
        except FerlibError as error:
            self.unreadable.append((self.data.name(row), str(error).replace("\n", " ")))
            return
        height, width = picture.shape[:2]
        if height == width == 48 and self.data.form != "fer2013":
            self.as_trained[row] = images.resize([picture], 48).tobytes()
        if is_crop(picture, self.faces):
            self.cropped.add(row)
        else:
            picture = self._largest_face(picture)
        if picture is None:
            self.scores[row] = None
            return
        sizes = {info.input_size for _, info in self.fer.nets}
        if len(sizes) == 1:  # what `classify` would do, kept small
            channels = max(info.channels for _, info in self.fer.nets)
            picture = images.resize([picture], min(sizes), channels)[0]
        self.crops[row] = picture
        if len(self.crops) == PART:
            self._flush()

    def _largest_face(self, picture: np.ndarray) -> np.ndarray | None:
        """Its crop, turned upright as in every answer to a photograph; None where there is none."""
        crops = self.fer.upright(self.fer.seen(picture).parts[:1])[1]
        return crops[0] if crops else None

    def _flush(self) -> None:
        if self.crops:
            scores = self.fer.classify(list(self.crops.values()))
            self.scores |= dict(zip(self.crops, scores, strict=True))
            self.crops.clear()

    def stacked(self, rows: list[int]) -> np.ndarray:
        """The scores of rows with a face, (n, K)."""
        return np.stack([scores for row in rows if (scores := self.scores[row]) is not None])

    @property
    def rows(self) -> list[int]:
        """Those that could be read, in order."""
        return sorted(self.scores)

    @property
    def seen(self) -> list[int]:
        """Those with a face."""
        return [row for row in self.rows if self.scores[row] is not None]


def _allowed(emotions: Iterable[str] | None, info: Info) -> np.ndarray:
    """bool (K,): the classes that may be answered."""
    given = [emotions] if isinstance(emotions, str) else emotions
    wanted = info.classes if given is None else tuple(given)
    unknown = [name for name in wanted if name not in info.classes]
    if unknown or not wanted:
        known = ", ".join(info.classes)
        raise FerlibError(f"unknown emotion {''.join(unknown[:1])!r}: expected some of {known}")
    allowed = np.isin(info.classes, wanted) & np.isfinite(shift(info))
    if not allowed.any():
        raise FerlibError(f"none of {', '.join(wanted)} occurs by the prior {told(info)}")
    return allowed


def _guess(scores: np.ndarray | None, allowed: np.ndarray) -> int:
    return -1 if scores is None else int(np.where(allowed, scores, -1).argmax())


def _report(read: _Reading, allowed: np.ndarray, known: Fer2013 | None) -> Report:
    data, rows = read.data, read.rows
    if not rows:
        raise _nothing(read)
    truth = data.truth[rows]
    guess = np.array([_guess(read.scores[row], allowed) for row in rows])
    found = guess >= 0
    counts = np.bincount(truth, minlength=len(data.classes)).tolist()
    report = Report(
        weights=read.fer.name,
        source=data.source,
        form=data.form,
        about=dict(data.about),
        faces=read.faces,
        precision=", ".join(sorted({*read.fer.precisions})),
        emotions=[data.classes[k] for k in np.flatnonzero(allowed)],
        n=len(rows),
        accuracy=round(float((guess == truth).mean()), 5),
        **vars(recall(guess, truth, data.classes)),
        counts=dict(zip(data.classes, counts, strict=True)),
        cropped=len(read.cropped),
        not_found=int((~found).sum()),
        accuracy_where_found=_mean((guess == truth)[found]),
        training_pictures=_training(read, guess == truth, known),
        unreadable=[*data.damaged, *read.unreadable],
        skipped=dict(Counter(reason for _, reason in data.skipped)),
        adapted=_adapted(read, allowed) if allowed.all() or data.kind == "class" else None,
    )
    if found.all() and allowed.all():
        report.add(measure(read.stacked(rows), data.take(rows)))
    return report


def _nothing(read: _Reading) -> FerlibError:
    if not read.unreadable:
        return FerlibError("none of these images has a majority emotion: nothing to measure")
    path, reason = read.unreadable[0]
    count = len(read.data)
    return FerlibError(f"none of the {count} pictures can be read: {reason or path}")


def _mean(correct: np.ndarray) -> float | None:
    return round(float(correct.mean()), 5) if len(correct) else None


def _training(read: _Reading, correct: np.ndarray, known: Fer2013 | None) -> Known:
    """How many of the 48x48 pictures are, pixel by pixel, FER2013's for training."""
    found = Known(compared=len(read.as_trained))
    try:
        real = known or (fer2013.load() if read.as_trained else None)
    except FerlibError:  # it need not be there
        return found
    if real is None or not read.as_trained:
        found.n = 0
        return found
    theirs = {picture.tobytes() for picture in real.pictures[real.usage == 0]}
    new = np.array([read.as_trained.get(row) not in theirs for row in read.rows])
    found.n, found.of = int((~new).sum()), Path(real.source).name
    found.accuracy_without = _mean(correct[new])
    return found


def adapt(scores: np.ndarray, usual: np.ndarray, rounds: int = 100) -> np.ndarray:
    """Scores (N, K), as they were if the net knew how frequent emotions are among these pictures.

    No label is used. The mean of the scores is a better guess of the frequencies than `usual` (K,),
    those where the net was calibrated; scores weighted accordingly make a better one yet, and so on
    (Saerens, Latinne and Decaestecker 2002, section 2.2: expectation and maximisation).
    """
    shares, usual = usual, np.maximum(usual, 1e-12)  # what cannot occur stays at 0
    for _ in range(rounds):
        weighted = scores * (shares / usual)
        weighted /= weighted.sum(axis=1, keepdims=True)
        shares = weighted.mean(axis=0)
    return weighted


def _adapted(read: _Reading, allowed: np.ndarray) -> Adapted | None:
    """What `adapt` changes, a face not found being wrong, and the frequencies it guesses.

    None where the weights do not tell their usual frequencies, or the pictures are too few.
    """
    usual: list = [info.prior or info.shares for _, info in read.fer.nets]
    if not all(usual) or len(read.seen) < ENOUGH:
        return None
    scores = (read.stacked(read.seen) * allowed).astype(float)
    some = scores.any(axis=1)  # a net may be so sure of what is not allowed that nothing is left
    if some.sum() < ENOUGH:
        return None
    scores = adapt(scores[some], np.mean(usual, axis=0))
    correct = scores.argmax(axis=1) == read.data.truth[read.seen][some]
    shares = scores.mean(axis=0).round(4).tolist()
    return Adapted(
        accuracy=round(float(correct.sum() / len(read.scores)), 5),
        shares=dict(zip(read.data.classes, shares, strict=True)),
    )


def _checked_file(out: str | Path | None) -> Path | None:
    """Asked before the work, not after it."""
    out = Path(out) if out else None
    if out and (out.is_dir() or not out.parent.is_dir()):
        raise FerlibError(f"cannot write {out}: expected a file's name in a folder that exists")
    if out:
        check_place(out)
    if out and out.is_file() and not out.read_bytes().startswith(b"path,truth,answer"):
        raise FerlibError(f"{out} exists and holds no answers of `ferlib evaluate`: name another")
    return out


def _write_answers(out: Path, read: _Reading, allowed: np.ndarray) -> None:
    # Names need not be Unicode on Linux: they come out as the bytes that they are.
    how: dict = {"newline": "", "errors": "surrogateescape", "encoding": "utf-8"}
    with whole_file(out) as partial, open(partial, "w", **how) as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["path", "truth", "answer", *read.data.classes])
        table.writerows(_answers(read, allowed))


def _answers(read: _Reading, allowed: np.ndarray) -> Iterator[list[str]]:
    classes, truth = read.data.classes, read.data.truth
    for row in read.rows:
        scores = read.scores[row]
        best = _guess(scores, allowed)
        cells = [""] * len(classes) if scores is None else [f"{score:.6f}" for score in scores]
        answer = classes[best] if best >= 0 else ""
        yield [read.data.name(row), classes[truth[row]], answer, *cells]
