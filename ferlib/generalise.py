"""Does a net generalise? Its accuracy on other people's labelled faces, for `evaluate --folder`."""

import csv
import os
from collections import Counter
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ferlib import datasets, evaluate, fer2013, images, labels
from ferlib.errors import FerlibError
from ferlib.faces import Recognizer, crop

FACES = ("auto", "crop", "find")  # how `evaluate_folder` comes to a face
CROP_SIDE = 100  # "auto": a square picture of at most this side, in pixels, is a crop
ENOUGH = 100  # fewer pictures say little about how frequent eight emotions are


def evaluate_folder(
    weights=None,
    folder=".",
    kind: str = "auto",
    faces: str = "auto",
    emotions=None,
    flip: bool = False,
    names: dict[str, str] | None = None,
    out=None,
    data=None,
    precision: str = "auto",
) -> dict:
    """Measure stored weights (default: the shipped net) on a folder that `datasets.read` reads.

    `faces`: "crop" takes the pictures for crops framed as FER2013's, "find" looks for the largest
    face, and none found is a wrong answer; "auto" crops small squares (CROP_SIDE) and finds faces
    in the rest. `emotions` names the answers that are allowed (default: all eight). `out` is a CSV
    to write, one row a picture. `data` holds FER2013, whose training pictures are told apart.
    `precision` is that of `models.load_weights`.
    `accuracy` is of each picture for itself; `adapted`, of the set as a whole, see `adapt`.
    Raises FerlibError; pictures that cannot be read are in the result's `unreadable`.
    """
    if faces not in FACES:
        raise FerlibError(f"unknown way to faces {faces!r}: expected one of {', '.join(FACES)}")
    allowed, out = _allowed(emotions), _checked_file(out)
    found = datasets.read(folder, kind, names)
    read = _Reading(Recognizer(weights=weights, flip=flip, precision=precision), faces)
    rows = tqdm(range(len(found.paths)), desc=found.kind, unit="img", disable=None, leave=False)
    for row in rows:
        read.take(found, row)
    read.flush()
    result = {"weights": read.fer.name, "folder": str(folder), "kind": found.kind, "faces": faces}
    result["precision"] = ", ".join(sorted({*read.fer.precisions}))
    result |= {"tta": "flip" if flip else "none"}
    result |= {"emotions": [labels.EMOTIONS[k] for k in np.flatnonzero(allowed)]}
    result |= _figures(read, found, allowed, data)
    result["adapted"] = _adapted(read, found, allowed)
    if out:
        _write_answers(out, read, found, allowed)
    return result


class _Reading:
    """Scores (8,) by row of a data set, None where no face was found; crops go in batches."""

    def __init__(self, fer, faces: str):
        self.fer, self.faces = fer, faces
        self.scores: dict[int, np.ndarray | None] = {}
        self.crops: dict[int, np.ndarray] = {}  # waiting
        self.cropped: set[int] = set()
        self.as_trained: dict[int, bytes] = {}  # gray 48x48 pictures, to be compared
        self.unreadable: list[tuple[str, str]] = []

    def take(self, found, row: int) -> None:
        try:
            picture = found.picture(row)
        except FerlibError as error:
            self.unreadable.append((found.paths[row], str(error).replace("\n", " ")))
            return
        height, width = picture.shape[:2]
        if height == width == 48:
            self.as_trained[row] = images.resize([picture], 48).tobytes()
        small = height == width <= CROP_SIDE
        if self.faces == "find" or (self.faces == "auto" and not small):
            picture = self.largest(picture)
        else:
            self.cropped.add(row)
        if picture is None:
            self.scores[row] = None
            return
        size = self.fer.nets[0][1]["input_size"]
        self.crops[row] = images.resize([picture], size)[0]  # what `classify` would do, kept small
        if len(self.crops) == 256:
            self.flush()

    def largest(self, photo: np.ndarray) -> np.ndarray | None:
        """The largest face as a crop, None where there is none."""
        photo = images.read_picture(photo)  # RGB, where a CSV is gray
        boxes, _ = self.fer.find(photo)
        return crop(photo, boxes[0]) if len(boxes) else None

    def flush(self) -> None:
        if self.crops:
            scores = self.fer.classify(np.stack(list(self.crops.values())))
            self.scores |= dict(zip(self.crops, scores, strict=True))
            self.crops.clear()


def _allowed(emotions) -> np.ndarray:
    """bool (8,): the emotions that may be answered."""
    wanted = labels.EMOTIONS if emotions is None else tuple(emotions)
    unknown = [name for name in wanted if name not in labels.EMOTIONS]
    if unknown or not wanted:
        known = ", ".join(labels.EMOTIONS)
        raise FerlibError(f"unknown emotion {''.join(unknown[:1])!r}: expected some of {known}")
    return np.isin(labels.EMOTIONS, wanted)


def _guess(scores: np.ndarray | None, allowed: np.ndarray) -> int:
    return -1 if scores is None else int(np.where(allowed, scores, -1).argmax())


def _figures(read: _Reading, found, allowed: np.ndarray, data) -> dict:
    rows = sorted(read.scores)
    if not rows:
        path, reason = read.unreadable[0]
        raise FerlibError(f"none of the {len(found.paths)} pictures can be read: {reason or path}")
    truth = np.array(found.emotions)[rows]
    guess = np.array([_guess(read.scores[row], allowed) for row in rows])
    seen = guess >= 0
    return {
        "n": len(rows),
        "accuracy": _mean(guess == truth),
        **evaluate.by_emotion(guess, truth),
        "counts": dict(zip(labels.EMOTIONS, np.bincount(truth, minlength=8).tolist(), strict=True)),
        "cropped": len(read.cropped),
        "not_found": int((~seen).sum()),
        "accuracy_where_found": _mean((guess == truth)[seen]),
        "training_pictures": _training(read, guess == truth, rows, data),
        "unreadable": [*found.damaged, *read.unreadable],
        "skipped": dict(Counter(reason for _, reason in found.skipped)),
    }


def _mean(correct: np.ndarray) -> float | None:
    return round(float(correct.mean()), 5) if len(correct) else None


def _training(read: _Reading, correct: np.ndarray, rows: list[int], data) -> dict:
    """How many of the 48x48 pictures are, pixel by pixel, FER2013's for training.

    compared; n, None where FER2013 is not at hand; of; accuracy_without them.
    """
    result = {"compared": len(read.as_trained), "n": None, "of": None, "accuracy_without": None}
    try:
        real = fer2013.load(data) if read.as_trained or data else None
    except FerlibError:
        if data:  # asked for; otherwise it need not be there
            raise
        return result
    if not read.as_trained:
        return result | {"n": 0}
    known = {picture.tobytes() for picture in real.pictures[real.usage == 0]}
    new = np.array([read.as_trained.get(row) not in known for row in rows])
    result |= {"n": int((~new).sum()), "of": Path(real.source).name}
    return result | {"accuracy_without": _mean(correct[new])}


def adapt(scores: np.ndarray, usual: np.ndarray, rounds: int = 100) -> np.ndarray:
    """Scores (N, 8), as they were if the net knew how frequent emotions are among these pictures.

    No label is used. The mean of the scores is a better guess of the frequencies than `usual` (8,),
    those where the net was calibrated; scores weighted accordingly make a better one yet, and so on
    (Saerens, Latinne and Decaestecker 2002, section 2.2: expectation and maximisation).
    """
    shares = usual
    for _ in range(rounds):
        weighted = scores * (shares / usual)
        weighted /= weighted.sum(axis=1, keepdims=True)
        shares = weighted.mean(axis=0)
    return weighted


def _adapted(read: _Reading, found, allowed: np.ndarray) -> dict | None:
    """accuracy by `adapt`, a face not found being wrong, and shares, the frequencies it guesses.

    None where the weights do not tell their usual frequencies, or the pictures are too few.
    """
    usual = [info.get("shares") for _, info in read.fer.nets]
    seen = [row for row, scores in sorted(read.scores.items()) if scores is not None]
    if not all(usual) or len(seen) < ENOUGH:
        return None
    scores = np.stack([read.scores[row] for row in seen]) * allowed
    scores = adapt(scores.astype(float), np.mean(usual, axis=0))
    correct = scores.argmax(axis=1) == np.array(found.emotions)[seen]
    shares = dict(zip(labels.EMOTIONS, scores.mean(axis=0).round(4).tolist(), strict=True))
    return {"accuracy": round(float(correct.sum() / len(read.scores)), 5), "shares": shares}


def report(result: dict) -> str:
    """The figures of `evaluate_folder` as a few lines of text."""
    folder = os.fsencode(result["folder"]).decode(errors="replace")  # it can be any bytes
    lines = [
        f"{folder} ({result['kind']}), n = {result['n']}: {result['cropped']} crops, "
        f"{result['n'] - result['cropped']} pictures searched for a face",
        f"accuracy {result['accuracy']:.4f}   balanced {result['balanced_accuracy']:.4f}",
        *evaluate.emotion_lines(result["per_emotion"], result["counts"].values()),
    ]
    if result["adapted"]:
        known = result["adapted"]["accuracy"]
        lines.append(f"adapted, without labels, to how frequent emotions are here: {known:.4f}")
    if result["not_found"]:
        where = result["accuracy_where_found"]
        also = "" if where is None else f"; {where:.4f} where one was found"
        lines.append(f"no face found in {result['not_found']}, counted as wrong{also}")
    same = result["training_pictures"]
    if same["compared"] and same["n"] is None:
        lines.append("not compared with FER2013's training pictures: they are not here")
    elif same["compared"]:
        rest = same["accuracy_without"]
        also = "" if not same["n"] or rest is None else f"; accuracy without them {rest:.4f}"
        lines.append(f"{same['n']} are FER2013's own training pictures, pixel by pixel{also}")
    lines += [f"left out: {count} x {reason}" for reason, count in result["skipped"].items()]
    return "\n".join(lines)


def _checked_file(out) -> Path | None:
    """Asked before the work, not after it."""
    out = Path(out) if out else None
    if out and (out.is_dir() or not os.access(out.parent, os.W_OK)):
        raise FerlibError(f"cannot write {out}: expected a file's name in a folder that exists")
    if out and out.is_file() and not out.read_bytes().startswith(b"path,truth,answer"):
        raise FerlibError(f"{out} exists and holds no answers of `ferlib evaluate`: name another")
    return out


def _write_answers(out: Path, read: _Reading, found, allowed: np.ndarray) -> None:
    beside = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        # Names need not be Unicode on Linux: they come out as the bytes that they are.
        with open(beside, "w", newline="", errors="surrogateescape", encoding="utf-8") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(["path", "truth", "answer", *labels.EMOTIONS])
            for row, scores in sorted(read.scores.items()):
                best = _guess(scores, allowed)
                answer = labels.EMOTIONS[best] if best >= 0 else ""
                cells = [""] * 8 if scores is None else [f"{score:.6f}" for score in scores]
                truth = labels.EMOTIONS[found.emotions[row]]
                table.writerow([found.paths[row], truth, answer, *cells])
        os.replace(beside, out)
    finally:
        beside.unlink(missing_ok=True)
