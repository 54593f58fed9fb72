"""ferlib.data.fer2013: each published form gives the same arrays, every row is accounted for."""

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from command import no_file_larger_than
from published import (
    CLASSES,
    HEADER,
    NEW_HEADER,
    PICTURES,
    ROWS,
    USAGE,
    lines,
    new_lines,
    rows,
    text,
    write_archive,
    write_votes,
)

from ferlib.data import account, fer2013, sample
from ferlib.data.labels import SEVEN
from ferlib.data.published import read_pictures
from ferlib.data.sources import to_train
from ferlib.errors import FerlibError

DATA = os.environ.get("FERLIB_DATA")
real = pytest.mark.skipif(not DATA, reason="FERLIB_DATA does not name the published data")


@pytest.fixture
def votes(tmp_path):
    (tmp_path / "votes").mkdir()
    return write_votes(tmp_path / "votes")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def as_published(tmp_path, name="fer2013.csv", content=None):
    path = tmp_path / name
    path.write_bytes((content or text(rows())).encode())
    return path


def test_every_column_comes_out_as_it_was_written(tmp_path, votes):
    data = fer2013.read(as_published(tmp_path), votes.parent)
    assert data.pictures.dtype == np.uint8
    np.testing.assert_array_equal(data.pictures, PICTURES)
    assert data.usage.tolist() == USAGE
    assert data.classes.tolist() == CLASSES
    assert data.names.tolist() == [row[2] for row in ROWS]
    assert data.votes["fer2013new.csv"].tolist() == [list(row[3]) for row in ROWS]
    assert data.votes["label.csv"].tolist() == [list(row[4] or [0] * 10) for row in ROWS]
    assert data.twins.tolist() == [0, 1, 2, 3, 4, 5, 6, 6, 8, 2, 10, 11, 12, 13, 2]


def test_a_votes_file_means_that_source_alone(tmp_path, votes):
    data = fer2013.read(as_published(tmp_path), votes)
    assert list(data.votes) == ["fer2013new.csv"]
    with pytest.raises(FerlibError, match=r"no votes of label\.csv: .* prepared without") as error:
        data.split("train", "label.csv")
    assert "--ferplus FOLDER" in str(error.value)


SPACED = "emotion, Usage, pixels"
FORMS = {
    "windows": text(rows()).replace("\n", "\r\n"),
    "byte order mark": "\ufeff" + text(rows()),
    "no final newline": text(rows()).rstrip("\n"),
    "blank lines": text(rows()).replace("Training\n", "Training\n\n") + "\n\n",
    "quoted": text([row | {"pixels": f'"{row["pixels"]}"'} for row in rows()]),
    "icml": text(rows(), SPACED),
    "icml, spaced rows": text([{k: f" {v} " for k, v in row.items()} for row in rows()], SPACED),
    "two spaces, leading zeros": text(rows()).replace(" 7 ", "  007 ").replace(" 31 ", " 031 "),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_the_csv(form, tmp_path, votes):
    data = fer2013.read(as_published(tmp_path, content=FORMS[form]), votes)
    np.testing.assert_array_equal(data.pictures, PICTURES)
    assert data.usage.tolist() == USAGE
    assert data.classes.tolist() == CLASSES


def test_the_archive_is_read_without_unpacking(tmp_path, votes):
    archive = write_archive(tmp_path / "fer2013.tar.gz", text(rows()).encode())
    before = sorted(tmp_path.rglob("*"))
    np.testing.assert_array_equal(fer2013.read(archive, votes).pictures, PICTURES)
    assert sorted(tmp_path.rglob("*")) == before


def test_train_and_test_csv(tmp_path, votes):
    """test.csv has no labels, and its rows follow Training's in the votes."""
    train = [row for row in rows() if row["Usage"] == "Training"]
    test = [row for row in rows() if row["Usage"] != "Training"]
    alone, both = tmp_path / "alone", tmp_path / "both"
    for folder in (alone, both):
        folder.mkdir()
        as_published(folder, "test.csv", text(test, "pixels"))
    last = fer2013.read(alone / "test.csv", votes)
    np.testing.assert_array_equal(last.pictures, PICTURES[8:])
    assert last.usage.tolist() == USAGE[8:]
    assert last.names[0] == "fer0000005.png"
    assert last.votes["fer2013new.csv"].tolist() == [list(row[3]) for row in ROWS[8:]]
    assert set(last.classes) == {-1}

    as_published(both, "train.csv", text(train, "emotion,pixels"))
    for name in ("train.csv", "test.csv"):
        data = fer2013.read(both / name, votes.parent)
        np.testing.assert_array_equal(data.pictures, PICTURES)
        assert data.usage.tolist() == USAGE
        assert data.classes.tolist() == CLASSES[:8] + [-1] * 7
        assert data.votes["label.csv"].tolist() == [list(row[4] or [0] * 10) for row in ROWS]

    (both / "test.csv").unlink()
    (both / "train.csv").rename(both / "faces.csv")
    first = fer2013.read(both / "faces.csv", votes.parent)
    np.testing.assert_array_equal(first.pictures, PICTURES[:8])
    assert first.usage.tolist() == [0] * 8
    assert first.votes["label.csv"].tolist() == [list(row[4] or [0] * 10) for row in ROWS[:8]]


def test_splits(tmp_path, votes):
    data = fer2013.read(as_published(tmp_path), votes.parent)
    for split, expected in {
        "train": [0, 2, 3, 4, 5, 7],
        "valid": [9, 10],
        "test": [13, 14],
    }.items():
        found = data.split(split)
        assert found.rows.tolist() == expected
        np.testing.assert_array_equal(found.pictures, PICTURES[expected])
        assert found.votes.tolist() == [list(ROWS[row][3]) for row in expected]
    assert data.split("test", "label.csv").rows.tolist() == [14]
    assert data.split("train", keep="all").rows.tolist() == list(range(8))
    # Row 6, five neutral and five happiness, has no majority, but its shares can be learnt.
    assert data.split("train", keep="usable").rows.tolist() == [0, 2, 3, 4, 5, 6, 7]


def test_duplicates_leave_the_earlier_split(tmp_path, votes):
    data = fer2013.read(as_published(tmp_path), votes)
    assert data.split("train", without_duplicates=True).rows.tolist() == [0, 3, 4, 5, 7]
    assert data.split("valid", without_duplicates=True).rows.tolist() == [10]
    assert data.split("test", without_duplicates=True).rows.tolist() == [13, 14]


@pytest.mark.parametrize(
    "choice", [{"split": "dev"}, {"protocol": "labels"}, {"keep": "some"}], ids=str
)
def test_an_unknown_choice_names_the_known_ones(choice, tmp_path, votes):
    data = fer2013.read(as_published(tmp_path), votes)
    with pytest.raises(FerlibError, match="expected one of"):
        data.split(**{"split": "train"} | choice)


BY_HAND = {
    "fer2013new.csv": {
        "train": {"rows": 8, "no_name": 1, "no_majority": 1, "kept": 6, "repeated": 1},
        "valid": {"rows": 3, "unknown": 1, "kept": 2, "also_in_train": 1, "also_in_test": 1},
        "test": {"rows": 4, "non_face": 1, "no_majority": 1, "kept": 2, "also_in_train": 1},
    },
    "label.csv": {
        "train": {"rows": 8, "no_name": 1, "no_votes": 2, "no_majority": 1, "kept": 4},
        "valid": {"rows": 3, "unknown": 1, "kept": 2, "kept_without_duplicates": 1},
        "test": {"rows": 4, "non_face": 1, "no_majority": 2, "kept": 1},
    },
}
PARTS = ("no_name", "no_votes", "unknown", "non_face", "no_majority", "kept")


@pytest.mark.parametrize("protocol", fer2013.PROTOCOLS)
def test_account_against_a_count_by_hand(protocol, tmp_path, votes):
    counts = account.account(fer2013.read(as_published(tmp_path), votes.parent), protocol)
    for split, expected in BY_HAND[protocol].items():
        parts = {name: expected.get(name, 0) for name in PARTS}
        assert {name: counts[split][name] for name in (*PARTS, *expected)} == parts | expected


# ---------------------------------------------------------------- its own labels


def seven_kinds() -> fer2013.Fer2013:
    """Six training pictures, one of each class but neutral; row 7, of test, is row 2 again."""
    usage = np.array([1, 0, 0, 0, 0, 0, 0, 2, 1], np.uint8)
    classes = np.array([6, 0, 1, 2, 3, 4, 5, 1, 2], np.int8)
    pictures = np.arange(9, dtype=np.uint8)[:, None, None].repeat(48, 1).repeat(48, 2)
    pictures[7] = pictures[2]
    votes = 10 * np.eye(10, dtype=np.uint8)[[0, 4, 5, 6, 1, 3, 2, 5, 6]]
    votes[1] = [4, 1, 0, 3, 0, 0, 0, 2, 0, 0]
    twins = fer2013._twins(pictures.reshape(9, -1))
    both = {"fer2013new.csv": votes}
    return fer2013.Fer2013(pictures, usage, classes, np.array([""] * 9), both, twins)


def test_own_labels_mean_what_fer2013_says():
    learn, valid = (seven_kinds().labelled(split) for split in ("train", "valid"))
    said = ["anger", "disgust", "fear", "happiness", "sadness", "surprise"]
    assert [SEVEN[k] for k in learn.truth] == said and SEVEN[valid.truth[0]] == "neutral"


def test_softened_labels_are_of_the_pictures_own_votes():
    soft, plain = (seven_kinds().labelled("train", soft=share) for share in (1.0, 0.0))
    wanted = np.eye(7)[plain.truth]
    neutral, sadness = SEVEN.index("neutral"), SEVEN.index("sadness")
    wanted[0] = 4 / 7 * np.eye(7)[neutral] + 3 / 7 * np.eye(7)[sadness]  # no slip, no contempt
    np.testing.assert_allclose(soft.labels, wanted, atol=1e-6)


@pytest.mark.parametrize("which", ["ferplus", "fer2013"])
def test_what_is_learnt_is_of_training_and_what_judges_of_validation(which):
    learn, valid = to_train(seven_kinds(), which)
    assert learn.rows.tolist() == [1, 2, 3, 4, 5, 6]  # row 1 without a majority, but of use
    assert valid.rows.tolist() == [0, 8]
    learn, valid = to_train(seven_kinds(), which, without_duplicates=True)
    assert learn.rows.tolist() == [1, 3, 4, 5, 6] and valid.rows.tolist() == [0, 8]


def random_data(rng, n=500):
    votes = rng.integers(0, 4, (2, n, 10)) * rng.integers(0, 4, (2, n, 10))
    votes[1, rng.random(n) < 0.1] = 0
    names = np.where(rng.random(n) < 0.1, "", "fer0000001.png")
    pictures = rng.integers(0, 255, (n, 48, 48)).astype(np.uint8)
    pictures[rng.integers(0, n, n)] = pictures[rng.integers(0, n, n)]
    found = dict(zip(fer2013.PROTOCOLS, votes.astype(np.uint8), strict=True))
    twins = fer2013._twins(pictures.reshape(n, -1))
    usage = rng.integers(0, 3, n).astype(np.uint8)
    return fer2013.Fer2013(pictures, usage, np.zeros(n, np.int8), names, found, twins)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("protocol", fer2013.PROTOCOLS)
def test_the_parts_add_up_to_the_rows(seed, protocol):
    data = random_data(np.random.default_rng(seed))
    counts = account.account(data, protocol)
    for split, count in counts.items():
        assert sum(count[part] for part in PARTS) == count["rows"]
        assert count["kept"] == len(data.split(split, protocol).rows)
        assert count["usable"] == len(data.split(split, protocol, "usable").rows)
    assert sum(count["rows"] for count in counts.values()) == len(data.usage)


def test_twins_against_comparing_all_pairs():
    data = random_data(np.random.default_rng(9), 80)
    equal = (data.pictures[:, None] == data.pictures).all(axis=(2, 3))
    assert data.twins.tolist() == equal.argmax(axis=1).tolist()
    assert len(set(data.twins)) < 80
    in_test = [(equal[i] & (data.usage == 2)).any() for i in range(80)]
    assert data.also_in("test").tolist() == in_test


def test_the_table_is_plain_and_names_the_known_lines(tmp_path, votes):
    table = account.table(fer2013.read(as_published(tmp_path), votes.parent))
    assert table.isascii()
    assert "PublicTest rows that also occur in Training: 1\n" in table
    assert "PrivateTest rows that also occur in Training: 1" in table
    assert re.findall(r"majority images +(\d+) +(\d+) +(\d+)", table) == [
        ("4", "2", "1"),
        ("6", "2", "2"),
    ]


# ---------------------------------------------------------------- parsing, against plain Python


def plain_reader(content):
    """Row by row, number by number; ValueError on anything unexpected."""
    found = []
    for line in content.decode("latin-1").split("\n")[1:]:
        cells = [cell.strip(' "\t\r') for cell in line.split(",")]
        if not any(cells):
            continue
        emotion, pixels, usage = cells
        numbers = pixels.split()
        good = re.fullmatch("[0-9]*", "".join(numbers)) and max(map(len, numbers), default=0) < 10
        known = usage in ("Training", "PublicTest", "PrivateTest")
        if not (good and known and re.fullmatch("[0-6]", emotion) and len(numbers) == 2304):
            raise ValueError
        if max(map(int, numbers)) > 255:
            raise ValueError
        found.append([int(number) for number in numbers])
    return np.array(found).reshape(-1, 48, 48)


def test_spoilt_bytes_are_read_as_a_plain_reader_does_or_refused(tmp_path):
    rng = np.random.default_rng(1)
    few = [rows()[0], rows()[8], rows()[11]]
    votes = tmp_path / "fer2013new.csv"
    votes.write_text("\n".join([NEW_HEADER, *(new_lines()[1 + row] for row in (0, 8, 11))]))
    good, refused = text(few).encode(), 0
    for _ in range(400):
        spoilt = bytearray(good)
        for at in rng.integers(len(HEADER) + 1, len(good), rng.integers(1, 4)):
            how, what = rng.integers(3), b'0123456789   ,"\r\tx\x00\xff'[rng.integers(20)]
            if how == 0:
                spoilt[at] = what
            elif how == 1:
                spoilt.insert(at, what)
            else:
                del spoilt[at]
        path = tmp_path / "fer2013.csv"
        path.write_bytes(spoilt)
        try:
            expected = plain_reader(bytes(spoilt))
        except ValueError:
            refused += 1
            with pytest.raises(FerlibError):
                fer2013.read(path, votes)
        else:
            np.testing.assert_array_equal(fer2013.read(path, votes).pictures, expected)
    assert 100 < refused < 390  # both outcomes were tried


def test_a_wrong_row_is_named_however_far_down(tmp_path):
    """200 rows are several blocks; a person's editor counts the header as line 1."""
    many = [row | {"Usage": "Training", "emotion": "0"} for row in rows()] * 14
    pixels = many[150]["pixels"].split()
    many[150] = many[150] | {"pixels": " ".join(["7", "300", *pixels[2:]])}
    votes = tmp_path / "fer2013new.csv"
    votes.write_text("\n".join([NEW_HEADER, *[f"Training,,{'0,' * 9}10"] * 210]))
    for newline in ("\n", "\r\n"):
        path = as_published(tmp_path, content=text(many).replace("\n", newline))
        with pytest.raises(FerlibError, match=r"row 151 \(line 152\): pixel 2 is '300'"):
            fer2013.read(path, votes)
    content = "\n\n".join(lines(many))
    with pytest.raises(FerlibError, match=r"row 151 \(line 303\): pixel 2 is '300'"):
        fer2013.read(as_published(tmp_path, content=content), votes)


def test_a_row_too_long_does_not_make_up_for_one_too_short(tmp_path, votes):
    spoilt = rows()
    first, second = spoilt[3]["pixels"].split(), spoilt[4]["pixels"].split()
    spoilt[3]["pixels"], spoilt[4]["pixels"] = " ".join(first[:-1]), " ".join([*second, "9"])
    with pytest.raises(FerlibError, match=r"row 4 .*2303 pixels where 2304 were expected"):
        fer2013.read(as_published(tmp_path, content=text(spoilt)), votes)


def test_a_file_that_may_not_be_read(tmp_path, votes):
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = as_published(Path(folder))
        path.chmod(0)
        root = os.geteuid() == 0
        if root:  # root may read everything; nobody may not
            os.seteuid(65534)
        try:
            with pytest.raises(FerlibError, match=r"cannot read .*: Permission denied"):
                read_pictures(path)
        finally:
            if root:
                os.seteuid(0)


# ---------------------------------------------------------------- kept files


def equal(one, other):
    arrays = ("pictures", "usage", "classes", "names", "twins")
    same = [np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays]
    same += [np.array_equal(v, other.votes[p]) for p, v in one.votes.items()]
    return all(same) and list(one.votes) == list(other.votes)


def test_prepare_then_load(tmp_path, votes):
    written = fer2013.prepare(as_published(tmp_path), votes.parent, tmp_path / "a" / "data")
    assert [path.name for path in (tmp_path / "a" / "data").iterdir()] == ["fer2013.npz"]
    assert equal(written, fer2013.load(tmp_path / "a" / "data"))


def test_a_damaged_prepared_file_says_so(tmp_path, votes):
    fer2013.prepare(as_published(tmp_path), votes, tmp_path / "data")
    path = tmp_path / "data" / "fer2013.npz"
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(FerlibError, match="damaged"):
        fer2013.load(tmp_path / "data")


@pytest.mark.parametrize(
    ("error", "wanted", "words"),
    [
        (MemoryError("Unable to allocate 1 GiB"), MemoryError, "allocate"),
        (PermissionError(13, "Permission denied"), FerlibError, "cannot read .*Permission denied"),
    ],
)
def test_a_prepared_file_that_cannot_be_read_now_is_not_called_damaged(
    tmp_path, votes, monkeypatch, error, wanted, words
):
    def fail(*_how):
        raise error

    fer2013.prepare(as_published(tmp_path), votes, tmp_path / "data")
    monkeypatch.setattr(fer2013, "_load_npz", fail)
    with pytest.raises(wanted, match=words):
        fer2013.load(tmp_path / "data")


@pytest.fixture
def published(tmp_path):
    folder = tmp_path / "published"
    folder.mkdir()
    write_votes(folder)
    as_published(folder)
    return folder


def cached(tmp_path):
    (path,) = (tmp_path / "cache" / "ferlib").iterdir()
    return path


def test_published_files_are_cached_elsewhere(published, tmp_path):
    before = sorted(published.rglob("*"))
    first = fer2013.load(published)
    assert sorted(published.rglob("*")) == before
    path = cached(tmp_path)
    stamp = path.stat().st_mtime_ns
    assert equal(first, fer2013.load(published))
    assert path.stat().st_mtime_ns == stamp  # read, not made again
    assert list(first.votes) == ["label.csv", "fer2013new.csv"]


@pytest.mark.parametrize(
    "damage", [b"", b"PK\x03\x04 nonsense", None], ids=["empty", "other", "bit"]
)
def test_a_corrupt_cache_is_made_again(damage, published, tmp_path):
    first = fer2013.load(published)
    path = cached(tmp_path)
    good = path.read_bytes()
    spoilt = bytearray(good)
    spoilt[20000] ^= 1  # one bit of one pixel
    path.write_bytes(spoilt if damage is None else damage)
    assert equal(first, fer2013.load(published))
    assert cached(tmp_path).read_bytes() == good


def test_changed_sources_are_read_again(published, tmp_path):
    fer2013.load(published)
    changed = rows()
    changed[5]["pixels"] = changed[4]["pixels"]
    as_published(published, content=text(changed))
    np.testing.assert_array_equal(fer2013.load(published).pictures[5], PICTURES[4])
    cached(tmp_path)  # still one file: the stale one was replaced


def said_without_a_cache(folder, cache, monkeypatch):
    """What `load` tells a command's reader while it keeps its cache in `cache`."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    with contextlib.redirect_stderr(io.StringIO()) as told:
        assert len(fer2013.load(folder).pictures) == 15
    return told.getvalue()


def test_where_no_cache_can_be_kept_one_line_says_so(published, tmp_path, monkeypatch):
    """Whether its folder cannot be made or its disk is full, for a command's reader: one line."""
    cache = tmp_path / "full"
    with no_file_larger_than(8192):
        said = said_without_a_cache(published, cache, monkeypatch)
    assert str(cache / "ferlib") in said and "File too large" in said
    assert said.count("\n") == 1 and said.endswith("reading the files again next time\n")
    assert not list(cache.rglob("*"))
    assert said_without_a_cache(published, cache, monkeypatch) == ""
    (tmp_path / "file").write_text("")
    said = said_without_a_cache(published, tmp_path / "file", monkeypatch)
    assert "Not a directory" in said
    assert said.count("\n") == 1


def test_what_a_killed_writer_left_is_swept_by_the_next(tmp_path, votes):
    out = tmp_path / "data"
    out.mkdir()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()  # its number is no process's any more
    kept = [f".{os.getppid()}.fer2013.npz", ".mine.fer2013.npz", f".{gone.pid}.other.npz"]
    kept.append(f".{'9' * 30}.fer2013.npz")
    for name in [*kept, f".{gone.pid}.fer2013.npz"]:
        (out / name).write_bytes(b"half")
    fer2013.prepare(as_published(tmp_path), votes, out)
    assert sorted(path.name for path in out.iterdir()) == sorted([*kept, "fer2013.npz"])


def test_killed_while_writing(tmp_path, votes):
    """kill -9 just before the new file takes its place; the next run leaves that file alone."""
    out = tmp_path / "data"
    code = """if True:
        import os, signal, sys
        from ferlib.data import fer2013
        os.replace = lambda *paths: os.kill(os.getpid(), signal.SIGKILL)
        fer2013.prepare(*sys.argv[1:])"""
    run = [sys.executable, "-c", code, str(as_published(tmp_path)), str(votes), str(out)]
    assert subprocess.run(run, timeout=120, check=False).returncode == -signal.SIGKILL
    (left,) = out.iterdir()
    assert left.name != "fer2013.npz"
    fer2013.prepare(tmp_path / "fer2013.csv", votes, out)
    assert [path.name for path in out.iterdir()] == ["fer2013.npz"]


def test_a_published_folder_without_one_label_csv_names_it(published):
    missing = published / "FER2013Valid" / "label.csv"
    missing.rename(published / "elsewhere.csv")
    for data in (fer2013.load(published), fer2013.load(published)):  # read, then from the cache
        assert list(data.votes) == ["fer2013new.csv"]
        with pytest.raises(FerlibError, match=f"label.csv: {re.escape(str(missing))} is missing"):
            data.split("test", "label.csv")
    (published / "elsewhere.csv").rename(missing)
    assert fer2013.load(published).split("test", "label.csv").rows.tolist() == [14]


def test_the_repository_of_the_votes_is_read_as_it_was_cloned(published, tmp_path):
    (published / "data").mkdir()
    for part in ("Train", "Valid", "Test"):
        (published / f"FER2013{part}").rename(published / "data" / f"FER2013{part}")
    for data in (fer2013.load(published), fer2013.read(published, published)):
        assert data.split("test", "label.csv").rows.tolist() == [14]


def test_where_load_looks(published, tmp_path, monkeypatch):
    monkeypatch.setenv("FERLIB_DATA", str(published))
    assert len(fer2013.load().pictures) == 15
    monkeypatch.setenv("FERLIB_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FerlibError, match="no such folder"):
        fer2013.load()
    with pytest.raises(FerlibError, match="no such folder"):
        fer2013.load_or_sample()  # a folder was named: no drawn faces in its stead
    (tmp_path / "empty").mkdir()
    with pytest.raises(FerlibError, match="ferlib prepare"):
        fer2013.load(tmp_path / "empty")


def test_drawn_faces_stand_in_only_where_nothing_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("FERLIB_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fer2013, "__file__", str(tmp_path / "ferlib" / "data" / "fer2013.py"))
    write = sample.write
    monkeypatch.setattr(sample, "write", lambda folder: write(folder, n=(40, 20, 160)))
    drawn = fer2013.load_or_sample()
    assert "drawn" in drawn.source
    assert equal(drawn, fer2013.load_or_sample())
    assert len(drawn.split("test")) > 100
    with pytest.raises(FerlibError, match=r"label\.csv: the drawn faces come with .*new\.csv only"):
        drawn.split("test", "label.csv")
    fer2013.prepare(as_published(tmp_path), write_votes(tmp_path), tmp_path / "data")
    assert len(fer2013.load_or_sample().pictures) == 15


# ---------------------------------------------------------------- the published data themselves


@pytest.fixture(scope="module")
def whole():
    return fer2013.load()


@real
def test_the_known_counts(whole):
    assert np.bincount(whole.usage).tolist() == [28709, 3589, 3589]
    classes = [np.bincount(whole.classes[whole.usage == part]).tolist() for part in range(3)]
    assert classes == [
        [3995, 436, 4097, 7215, 4830, 3171, 4965],
        [467, 56, 496, 895, 653, 415, 607],
        [491, 55, 528, 879, 594, 416, 626],
    ]
    new, label = (account.account(whole, protocol) for protocol in fer2013.PROTOCOLS)
    assert [label[split]["kept"] for split in fer2013.SPLITS] == [25045, 3191, 3137]
    assert new["test"]["kept"] == 3153
    assert new["train"]["usable"] == 28344
    assert [new[split]["no_name"] for split in fer2013.SPLITS] == [148, 10, 15]
    assert [new[split]["also_in_train"] for split in ("valid", "test")] == [280, 288]


@real
def test_both_sources_of_votes_name_the_same_pictures(whole):
    """35,710 names, of which each label.csv has all of its split: a file cut short is refused."""
    named = whole.votes["label.csv"].any(axis=1)
    assert len(set(whole.names[whole.names != ""])) == named.sum() == 35710
    assert set(whole.names[named]) == set(whole.names) - {""}


@real
def test_the_known_duplicates(whole):
    _, sizes = np.unique(whole.twins, return_counts=True)
    assert (sizes > 1).sum() == 1516
    assert sizes[sizes > 1].sum() == 3369


@real
def test_nothing_of_the_later_splits_stays_in_training(whole):
    later = {picture.tobytes() for picture in whole.pictures[whole.usage > 0]}
    training = np.flatnonzero(whole.usage == 0)
    expected = [row for row in training if whole.pictures[row].tobytes() not in later]
    assert whole.split("train", keep="all", without_duplicates=True).rows.tolist() == expected
    assert len(expected) < len(training) - 280
