"""FER2013 with its FER+ votes: pictures and votes joined, split and kept.

FER2013 (Goodfellow et al. 2013, arXiv 1307.0414) is a CSV of 48x48 grey faces; FER+ (Barsoum et al.
2016, arXiv 1608.01041) asked ten people about each. Microsoft published the votes twice, and the
two differ in about 1,600 rows: `fer2013new.csv` joins FER2013 by row position; the `label.csv` of
the folders FER2013Train, FER2013Valid and FER2013Test join by picture name through the former.

    read -> Fer2013 -> split        prepare, load: the same, kept as one .npz

What the files hold, and what can be wrong in them, is `ferlib.data.published`'s;
`ferlib.data.account` counts every row.
"""

import hashlib
import io
import os
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ferlib.data import cartoon, published, sample
from ferlib.data.dataset import SPLITS, Dataset
from ferlib.data.labels import OWN, SEVEN, majority, softened, usable
from ferlib.data.published import (
    SIDE,
    TEST_FILE,
    TRAIN_FILE,
    USAGES,
    label_files,
    read_labels,
    read_new,
    read_pictures,
)
from ferlib.errors import FerlibError, check_choice
from ferlib.files import cache_folder, version_of, whole_file

PROTOCOLS = ("fer2013new.csv", "label.csv")
OWN_FORMS = ("fer2013.csv", "fer2013.tar.gz", "fer2013.tar", "icml_face_data.csv")
FORMS = (*OWN_FORMS, "train.csv", "test.csv", "fer2013/fer2013.csv")
KEEPS = ("majority", "usable", "all")
PREPARED = "fer2013.npz"


@dataclass(frozen=True, eq=False, repr=False)
class Fer2013:
    """FER2013's N pictures in their published order, with all that is known about each.

    pictures: uint8 (N, 48, 48)
    usage:    uint8 (N,), index into SPLITS
    classes:  int8 (N,), FER2013's own label 0..6 (anger, disgust, fear, happiness, sadness,
              surprise, neutral), -1 where it is not published
    names:    str (N,), FER+'s name 'ferNNNNNNN.png', '' where it has none
    votes:    protocol -> uint8 (N, 10), columns as in COLUMNS, all zero where a source has no row
    twins:    int32 (N,), the first row with exactly the same picture (its own number if unique)
    source:   where the data came from, for people
    lacking:  why the votes of one protocol are not there, for people; '' where it is not known
    """

    pictures: np.ndarray
    usage: np.ndarray
    classes: np.ndarray
    names: np.ndarray
    votes: dict[str, np.ndarray]
    twins: np.ndarray
    source: str = ""
    lacking: str = ""

    def __repr__(self) -> str:
        counts = np.bincount(self.usage, minlength=len(SPLITS))
        parts = ", ".join(f"{n} {split}" for n, split in zip(counts, SPLITS, strict=True))
        return f"<Fer2013: {parts}; votes of {' and '.join(self.votes)}; {self.source}>"

    def split(
        self,
        split: str,
        protocol: str = "fer2013new.csv",
        keep: str = "majority",
        without_duplicates: bool = False,
    ) -> Dataset:
        """One of SPLITS -> its pictures uint8 (n, 48, 48) with their votes uint8 (n, 10).

        keep: "majority", the paper's rule for every accuracy (`labels.majority`); "usable", the
        wider one for training (`labels.usable`); "all".
        without_duplicates leaves out what also occurs, pixel by pixel, in a later split: from
        train what is also in valid or test, from valid what is also in test.
        """
        check_choice("split", split, SPLITS)
        check_choice("keep", keep, KEEPS)
        votes = self.votes_of(protocol)
        part = SPLITS.index(split)
        chosen = self.usage == part
        if keep != "all":
            chosen &= majority(votes) >= 0 if keep == "majority" else usable(votes)
        if without_duplicates:
            chosen &= ~self.also_in(*SPLITS[part + 1 :])
        rows = np.flatnonzero(chosen)
        return Dataset(
            self.pictures[rows],
            votes[rows],
            source=self.source,
            form="fer2013",
            rows=rows,
            about={"split": split, "protocol": protocol},
        )

    def labelled(self, split: str, without_duplicates: bool = False, soft: float = 0.0) -> Dataset:
        """One of SPLITS with FER2013's own labels: one class each, int (n,), of seven (SEVEN).

        Rows without a label are left out; `without_duplicates` as in `split`. `soft`: that share of
        each label is given to what FER+'s voters saw of the seven; labels are shares (n, 7) then.
        FerlibError where the labels were not published with these pictures.
        """
        check_choice("split", split, SPLITS)
        part = SPLITS.index(split)
        chosen = (self.usage == part) & (self.classes >= 0)
        if not chosen.any():
            raise FerlibError(f"{self.source or 'these data'}: no {split} row has FER2013's label")
        if without_duplicates:
            chosen &= ~self.also_in(*SPLITS[part + 1 :])
        rows = np.flatnonzero(chosen)
        own = OWN[self.classes[rows]]
        return Dataset(
            self.pictures[rows],
            own if not soft else softened(own, self.votes_of(PROTOCOLS[0])[rows], soft),
            classes=SEVEN,
            source=self.source,
            form="fer2013",
            rows=rows,
            about={"split": split, "labels": "fer2013"},
        )

    def votes_of(self, protocol: str) -> np.ndarray:
        """uint8 (N, 10) votes of one of PROTOCOLS; FerlibError where these data lack it."""
        check_choice("protocol", protocol, PROTOCOLS)
        if protocol not in self.votes:
            reason = self.lacking or (
                "these data were prepared without them.\n"
                "Run `ferlib prepare` with --ferplus FOLDER, the folder that holds both."
            )
            raise FerlibError(f"no votes of {protocol}: {reason}")
        return self.votes[protocol]

    def also_in(self, *splits: str) -> np.ndarray:
        """bool (N,): the same picture occurs somewhere in one of these splits."""
        there = np.isin(self.usage, [SPLITS.index(split) for split in splits])
        return np.isin(self.twins, self.twins[there])


# ---------------------------------------------------------------- reading both and joining them


def read(fer2013: str | Path, ferplus: str | Path) -> Fer2013:
    """Published files -> Fer2013.

    fer2013: fer2013.tar.gz, fer2013.csv, icml_face_data.csv, or train.csv / test.csv, which are
    read together when they lie side by side; or a folder with one of these.
    ferplus: fer2013new.csv; or the folder with it and FER2013{Train,Valid,Test}/label.csv, and
    then both sources are kept, label.csv's first.
    Raises FerlibError, with file, row and line, for whatever is not as published.
    """
    fer2013, ferplus = _pictures_file(Path(fer2013)), Path(ferplus)
    folder = ferplus.is_dir()
    new = ferplus / "fer2013new.csv" if folder else ferplus
    usage, names, votes = read_new(new)
    tables = {"fer2013new.csv": votes}
    if folder:
        tables = {"label.csv": read_labels(ferplus, names, usage, new)} | tables
    files = _with_sibling(fer2013)
    parts = [read_pictures(path) for path in files]
    flat, classes, known = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    rows = _matching_rows(known, usage, " and ".join(map(str, files)), new)
    return Fer2013(
        pictures=flat.reshape(-1, SIDE, SIDE),
        usage=usage[rows],
        classes=classes,
        names=np.array(names)[rows],
        votes={protocol: table[rows] for protocol, table in tables.items()},
        twins=_twins(flat),
        source=str(fer2013),
    )


def _pictures_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    for form in FORMS:
        if (path / form).is_file():
            return path / form
    raise FerlibError(f"{path} holds no FER2013: expected one of {', '.join(FORMS)}")


def _with_sibling(path: Path) -> list[Path]:
    """train.csv and test.csv are one data set in two files: both, where both are there."""
    if path.name not in ("train.csv", "test.csv"):
        return [path]
    pair = [path.with_name("train.csv"), path.with_name("test.csv")]
    return [one for one in pair if one == path or one.is_file()]


def _matching_rows(known: np.ndarray, usage: np.ndarray, files: str, new: Path) -> np.ndarray:
    """Numbers (N,) of the vote rows that belong to the N pictures, by position.

    All of them for the whole FER2013; those of Training for train.csv alone; the others, which
    begin at row 28,709, for test.csv alone. FerlibError where count or Usage contradict that.
    """
    training = usage == 0
    wanted = np.ones(len(usage), bool)
    if (known == TRAIN_FILE).all():
        wanted = training
    if (known == TEST_FILE).all():
        wanted = ~training
    rows = np.flatnonzero(wanted)
    if len(rows) != len(known):
        raise FerlibError(
            f"{files}: {len(known)} pictures, but {new} votes on {len(rows)} of them.\n"
            "They belong together row by row: one of them is cut short, or of another data set."
        )
    found = usage[rows]
    cases = [known == TRAIN_FILE, known == TEST_FILE]
    differs = np.select(cases, [found != 0, found == 0], found != known)
    if differs.any():
        row = int(differs.argmax())
        here = {TRAIN_FILE: "Training", TEST_FILE: "a test picture"} | dict(enumerate(USAGES))
        raise FerlibError(
            f"{new}, row {rows[row] + 1} (line {rows[row] + 2}): {USAGES[found[row]]}, but "
            f"picture {row + 1} of {files} is {here[known[row]]}.\n"
            "They belong together row by row: use the two files as published, in their own order."
        )
    return rows


def _twins(flat: np.ndarray) -> np.ndarray:
    """(N, 2304) -> int32 (N,) first row with the same bytes."""
    first: dict[bytes, int] = {}
    rows = (first.setdefault(row.tobytes(), number) for number, row in enumerate(flat))
    return np.fromiter(rows, np.int32, len(flat))


# ---------------------------------------------------------------- keeping the result

_KEPT = ("pictures", "usage", "classes", "names", "twins")


def prepare(fer2013: str | Path, ferplus: str | Path, out: str | Path) -> Fer2013:
    """`read`, and write `out`/fer2013.npz, which `load` takes from then on.

    Raises FerlibError; then `out` is as it was before, not made or with nothing new in it.
    """
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise FerlibError(f"{out} is a file, expected a folder (which need not exist yet)")
    data = read(fer2013, ferplus)
    _store(out / PREPARED, data)
    return data


def load(folder: str | Path | None = None) -> Fer2013:
    """The data of `folder`, or of $FERLIB_DATA, or of data/.

    A folder holds what `prepare` wrote, or the published files as they are; those are read once
    and kept in the user's cache folder. Raises FerlibError where there is neither.
    """
    named = folder or os.environ.get("FERLIB_DATA")
    folders = [Path(named)] if named else _default_folders()
    for place in folders:
        if (place / PREPARED).is_file():
            return _load_prepared(place / PREPARED)
        sources = _published(place)
        if sources:
            return _load_published(place, *sources)
    if named and not Path(named).is_dir():
        raise FerlibError(f"no such folder: {named}")
    raise FerlibError(
        f"no FER2013 with FER+ votes in {folders[0]}/ (data/README.md says where to get both).\n"
        "Run `ferlib prepare --fer2013 FILE --ferplus FILE`, or let FERLIB_DATA name their folder."
    )


def load_or_sample(folder: str | Path | None = None) -> Fer2013:
    """`load`; or `ferlib.data.sample`'s drawn faces when no folder was named and none is found.

    `.source` of the result says which it is.
    """
    if folder or os.environ.get("FERLIB_DATA") or any(map(holds_data, _default_folders())):
        return load(folder)
    return sample_data()


def _default_folders() -> list[Path]:
    """data/ here, and beside the package in a checkout: notebooks run in their own folder."""
    return [Path("data"), Path(__file__).resolve().parents[2] / "data"]


def holds_data(folder: Path) -> bool:
    """Whether a folder holds what `prepare` wrote, or the published files."""
    return (folder / PREPARED).is_file() or _published(folder) is not None


def _published(folder: Path) -> tuple[Path, Path] | None:
    """(pictures, votes) as `read` takes them, None where the folder does not hold both."""
    pictures = [folder / form for form in FORMS if (folder / form).is_file()]
    if not pictures or not (folder / "fer2013new.csv").is_file():
        return None
    return pictures[0], folder / "fer2013new.csv" if _missing_labels(folder) else folder


def _missing_labels(folder: Path) -> list[Path]:
    return [file for file in label_files(folder) if not file.is_file()]


def _load_published(folder: Path, fer2013: Path, ferplus: Path) -> Fer2013:
    """Through the cache, which holds one file a folder and knows the sources it came from."""
    missing = _missing_labels(folder)
    labels = [] if missing else label_files(folder)
    sources = [*_with_sibling(fer2013), folder / "fer2013new.csv", *labels]
    stats = [(str(path), path.stat()) for path in sources]
    key = repr([(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats])
    key += version_of(published)
    place = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    cached = cache_folder() / f"fer2013-{place}.npz"
    try:
        data = _load_npz(cached, key)
    except Exception:  # missing, stale or damaged in whatever way: it is made again
        data = read(fer2013, ferplus)
        _keep(cached, data, key, "reading the files")
    lacking = f"{missing[0]} is missing.\nIt comes with FER+ (data/README.md)." if missing else ""
    return replace(data, source=str(fer2013), lacking=lacking)


def _keep(path: Path, data: Fer2013, key: str, otherwise: str) -> None:
    """`_store` in the cache folder; where that fails, one line says what follows."""
    try:
        _store(path, data, key)
    except FerlibError as error:
        problem = f"no cache is kept ({str(error).splitlines()[0]})"
        print(f"ferlib: {problem}: {otherwise} again next time", file=sys.stderr)


def sample_data() -> Fer2013:
    """`ferlib.data.sample`'s drawn faces, drawn once and kept in the user's cache folder."""
    kept = cache_folder() / f"sample-{version_of(sample, cartoon)}.npz"
    try:
        data = _load_npz(kept)
    except Exception:  # not drawn yet
        with tempfile.TemporaryDirectory() as folder:
            sample.write(folder)
            data = read(folder, Path(folder, "fer2013new.csv"))
        _keep(kept, data, "", "drawing the faces")
    return replace(
        data,
        source="drawn faces with simulated votes (ferlib.data.sample), not FER2013",
        lacking="the drawn faces come with those of fer2013new.csv only.",
    )


def _store(path: Path, data: Fer2013, key: str = "") -> None:
    """Write an uncompressed .npz whole or not at all; FerlibError tells what it takes.

    It is put together in memory first: a zip file that fails half-way complains once more when
    Python drops it.
    """
    packed = io.BytesIO()
    np.savez(packed, key=np.array(key), **_arrays(data))
    try:
        with whole_file(path) as partial:
            partial.write_bytes(packed.getbuffer())
    except FerlibError as error:
        size = sum(array.nbytes for array in _arrays(data).values()) / 1e6
        raise FerlibError(f"{error} ({size:.3g} MB are needed)", error.code) from None


def _arrays(data: Fer2013) -> dict[str, np.ndarray]:
    """All that a kept file holds, by the names in it."""
    arrays = {name: getattr(data, name) for name in _KEPT}
    return arrays | {f"votes {protocol}": votes for protocol, votes in data.votes.items()}


def _load_npz(path: Path, key: str | None = None) -> Fer2013:
    """Raises whatever NumPy and zipfile do on a bad file, ValueError on another `key`."""
    with np.load(path, allow_pickle=False) as arrays:
        if key is not None and str(arrays["key"]) != key:
            raise ValueError("made from other files")
        votes = {name[6:]: arrays[name] for name in arrays.files if name.startswith("votes ")}
        return Fer2013(**{name: arrays[name] for name in _KEPT}, votes=votes, source=str(path))


def _load_prepared(path: Path) -> Fer2013:
    try:
        return _load_npz(path)
    except MemoryError:  # told as such: nothing is wrong with the file
        raise
    except OSError as error:
        raise FerlibError(f"cannot read {path}: {error.strerror or error}") from None
    except Exception:
        raise FerlibError(
            f"{path} is damaged or not of `ferlib prepare`.\nDelete it and prepare the data again."
        ) from None
