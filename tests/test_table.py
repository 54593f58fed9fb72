"""A CSV of votes or labels beside its pictures: what it says, what is told of its mistakes."""

import csv
import json
import os

import numpy as np
import pytest
from command import ferlib, mistake
from common import tiny_weights
from PIL import Image

from ferlib.data import cartoon, folders, labels
from ferlib.data.labels import EMOTIONS
from ferlib.data.sources import open_data
from ferlib.errors import FerlibError

RNG = np.random.default_rng(0)
FACES = [cartoon.draw(name, RNG, intensity=1.0) for name in ("happiness", "sadness", "anger")]


def written(folder, *rows, between=",", name="faces.csv", encoding="utf-8"):
    """A CSV of these rows in a folder with a.png ... f.png."""
    for number, letter in enumerate("abcdef"):
        if not (folder / f"{letter}.png").exists():
            Image.fromarray(FACES[number % 3]).save(folder / f"{letter}.png")
    with open(folder / name, "w", newline="", encoding=encoding) as file:
        csv.writer(file, delimiter=between).writerows(row.split() for row in rows)
    return folder / name


def names(data) -> str:
    """The pictures' letters."""
    return "".join(os.path.basename(path)[0] for path in data.names)


# ---------------------------------------------------------------- what it says


@pytest.mark.parametrize(("between", "half"), [(",", "0.5"), (";", "0,5"), ("\t", "0.5")])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_votes_become_shares(tmp_path, between, half, encoding):
    how = {"between": between, "encoding": encoding}
    rows = ("File cat dog bird", "a.png 3 1 0", f"b.png 0 {half} {half}", "c.png 0 0 7")
    found = open_data(written(tmp_path, *rows, **how))
    assert found.kind == "shares" and found.form == "table"
    assert found.classes == ("bird", "cat", "dog")
    wanted = [[0, 0.75, 0.25], [0.5, 0, 0.5], [1, 0, 0]]
    np.testing.assert_allclose(found.shares, wanted)
    np.testing.assert_array_equal(found.pictures[1][..., 0], FACES[1])
    # Two classes have as many votes for b.png: it is learnt from, but shows neither.
    assert found.truth.tolist() == [1, -1, 0]
    assert found.trainable("cross-entropy").tolist() == [True] * 3
    assert found.trainable("majority").tolist() == [True, False, True]


def test_labels_are_a_class_each(tmp_path):
    """The rest of such a file is left alone; an empty label is none."""
    rows = ("label file width", "cat a.png 48", "dog ./b.png x", "Cat c.png 1")
    file = written(tmp_path, *rows)
    with open(file, "a") as more:
        more.write(",d.png,\n,,\n\n")
    found = open_data(file)
    assert found.classes == ("Cat", "dog") and found.labels.tolist() == [0, 1, 0]
    assert [(path[-14:], why[:8]) for path, why in found.skipped] == [
        ("d.png (line 5)", "no label")
    ]


def test_emotions_by_their_usual_words(tmp_path):
    rows = ("file happy 0_sad NEUTRAL fearful", "a.png 3 1 0 0", "b.png 1 1 1 2")
    found = open_data(written(tmp_path, *rows))
    assert found.classes == EMOTIONS and found.kind == "shares"
    assert found.shares[0].tolist() == [0, 0.75, 0, 0.25, 0, 0, 0, 0]
    assert found.truth.tolist() == [1, 6]
    named = open_data(written(tmp_path, "file label", "a.png joy", "b.png scorn", name="b.csv"))
    assert named.classes == EMOTIONS and named.labels.tolist() == [1, 7]
    assert open_data(tmp_path / "b.csv", own=True).classes == ("joy", "scorn")


@pytest.mark.parametrize("last", ["NF", "non-face"])
def test_the_columns_of_ferplus_bring_its_rules(tmp_path, last):
    """A single vote is dropped, more than half of the rest wins, with unknown counted."""
    rows = (f"file {' '.join(EMOTIONS)} unknown {last}",)
    rows += ("a.png 1 6 0 0 3 0 0 0 0 0", "b.png 3 0 0 0 0 0 0 0 5 2")
    found = open_data(written(tmp_path, *rows))
    assert found.kind == "votes" and found.classes == EMOTIONS
    assert found.votes[1].tolist() == [3, 0, 0, 0, 0, 0, 0, 0, 5, 2]
    assert found.truth.tolist() == [1, -1]
    np.testing.assert_allclose(found.shares[0], labels.shares(found.votes)[0])
    assert found.shares[0, 1] == pytest.approx(6 / 9)
    shares = open_data(tmp_path / "faces.csv", names={"unknown": "skip", last: "skip"})
    assert shares.kind == "shares" and shares.shares[0, 0] == pytest.approx(0.1)


def test_splits_and_people(tmp_path):
    rows = ("file label split person", "a.png cat train ann", "b.png dog Training bob")
    rows += ("c.png cat val eve", "d.png dog test kim", "e.png dog PrivateTest kim")
    found = open_data(written(tmp_path, *rows))
    assert [names(found.split(one)) for one in ("train", "valid", "test")] == ["ab", "c", "de"]
    assert found.groups == ["ann", "bob", "eve", "kim", "kim"]


def test_a_single_person_cannot_be_in_two_splits(tmp_path):
    rows = ("file label person", "a.png cat ann", "b.png dog ann", "c.png dog ann")
    with pytest.raises(FerlibError, match="'valid': all are of one person"):
        open_data(written(tmp_path, *rows)).split("valid")


def test_whole_people_are_held_out(tmp_path):
    people = ("ann", "bob", "eve", "kim", "joe")
    rows = [f"{letter}.png {'cat' if k < 3 else 'dog'} {people[k % 5]}" for k, letter in
            enumerate("abcdef")]  # fmt: skip
    found = open_data(written(tmp_path, "file label person", *rows))
    learn, valid = found.split("train"), found.split("valid")
    assert len(set(valid.groups)) == 1 and not set(valid.groups) & set(learn.groups)
    assert len(learn) + len(valid) == 6


def test_pictures_elsewhere_and_columns_without_a_name(tmp_path):
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "all.csv").write_text(
        f',file,cat,dog\n0,../a.png,1,0\n1,"{tmp_path}/b.png",0,1\n'
    )
    written(tmp_path, "file")
    assert names(open_data(tmp_path / "lists" / "all.csv")) == "ab"


def test_the_classes_of_a_net_are_in_its_own_order(tmp_path):
    file = written(tmp_path, "file dog cat", "a.png 1 0", "b.png 1 3")
    found = folders.read(file, classes=("cat", "bird", "dog"))
    np.testing.assert_allclose(found.shares, [[0, 0, 1], [0.75, 0, 0.25]])
    with pytest.raises(FerlibError, match=r"line 1: no class is known as 'dog'.*=CLASS"):
        folders.read(file, classes=("cat", "bird"))


def test_a_mapping_renames_and_leaves_out(tmp_path):
    rows = ("file cat kitten dog note", "a.png 1 2 1 x", "b.png 0 0 1 y", "c.png 1 0 0 z")
    file = written(tmp_path, *rows)
    found = open_data(file, {"kitten": "cat", "note": "skip"}, own=True)
    np.testing.assert_allclose(found.shares, [[0.75, 0.25], [0, 1], [1, 0]])
    assert open_data(file, {"note": "skip"}).classes == ("cat", "dog", "kitten")
    with pytest.raises(FerlibError, match="no column called mouse"):
        open_data(file, {"mouse": "cat"}, own=True)
    by_label = written(tmp_path, "file label", "a.png cat", "b.png dog", "c.png ?", name="b.csv")
    left = open_data(by_label, {"?": "skip"})
    assert left.classes == ("cat", "dog") and names(left) == "ab" and len(left.skipped) == 1


def test_a_mapping_may_leave_out_a_number_before_a_name(tmp_path):
    file = written(tmp_path, "file label", "a.png 1_cat", "b.png 2_dog", "c.png 3_bird")
    left = open_data(file, {"bird": "skip"})
    assert left.classes == ("1_cat", "2_dog") and names(left) == "ab"
    assert open_data(file, {"bird": "2_dog"}, own=True).labels.tolist() == [0, 1, 1]


def test_shares_may_be_as_small_as_numbers_are(tmp_path):
    file = written(tmp_path, "file cat dog", "a.png 1e-15 0", "b.png 0 1")
    np.testing.assert_allclose(open_data(file).shares, [[1, 0], [0, 1]])


def test_pixels_in_a_csv_are_another_form(tmp_path):
    pixels = "7 " * 2304
    (tmp_path / "k.csv").write_text(f"emotion,pixels,Usage\n3,{pixels},Training\n")
    assert open_data(tmp_path / "k.csv").form == "ckextended"


# ---------------------------------------------------------------- what is wrong with it

GOOD = ("file cat dog split", "a.png 3 1 train", "b.png 0 1 train")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (("a.png cat", "b.png dog"), r"line 1: the header is 'a.png,cat'(?s:.*)columns file and"),
        (("file split", "a.png train"), r"line 1: the header is 'file,split'(?s:.*)label"),
        (("file cat cat", "a.png 1 1"), "line 1: two columns are called cat"),
        (("file cat", "a.png 1", "b.png 1"), "one class only, cat"),
        (("file label", "a.png cat", "b.png cat"), "one class only, cat"),
        (("file cat dog", "a.png 1 0", "b.png 1 0"), r"no picture to learn from shows dog\."),
        (
            (*GOOD[:2], "b.png 0 -1 train"),
            "line 3: dog is '-1', expected a number from 0 to 1,000,000,000",
        ),
        ((*GOOD[:2], "b.png 0 many train"), r"line 3: dog is 'many'(?s:.*)--map dog=skip"),
        ((*GOOD[:2], "b.png 0 nan train"), "line 3: dog is 'nan'"),
        ((*GOOD[:2], "b.png 0 1,000 train"), "line 3: dog is '1,000'"),
        ((*GOOD[:2], "b.png 0 inf train"), "line 3: dog is 'inf'"),
        ((*GOOD[:2], "b.png 0"), "line 3: 2 cells, expected 4"),
        ((*GOOD, "./a.png 1 0 train"), r"line 4: ./a.png is in line 2 already"),
        ((*GOOD, "c.png 1 0 later"), "line 4: the split is 'later', expected train, valid"),
        ((GOOD[0], "a.png 3 0 train", "b.png 0 1 test"), r"shows dog \(it is in test\)"),
        (GOOD[:1], "no rows below its header"),
        (("file cat dog", "a.png 0 0"), "none of 1 rows has a label"),
        (
            ("file cat dog", "x.png 1 0", "y.png 0 1"),
            r"none of its 2 pictures(?s:.*)x.png \(line 2",
        ),
        (
            ("file cat dog person split", "a.png 1 0 ann train", "b.png 0 1 ann test"),
            "line 3: ann is in test, in line 2 in train",
        ),
        (
            (f"file {' '.join(EMOTIONS)} unknown", "a.png .5 1 1 1 1 1 1 1 1"),
            "'.5', expected whole",
        ),
    ],
)
def test_a_mistake_is_told_by_file_and_line(tmp_path, rows, said):
    file = written(tmp_path, *rows)
    with pytest.raises(FerlibError, match=said) as error:
        open_data(file)
    assert str(file) in str(error.value) and len(str(error.value).splitlines()) <= 2


def test_a_file_that_is_no_text_is_told(tmp_path):
    file = written(tmp_path, "file label", "a.png fröhlich", encoding="latin-1")
    with pytest.raises(FerlibError, match="not UTF-8"):
        open_data(file)
    file.write_bytes(b"")
    with pytest.raises(FerlibError, match="line 1"):
        open_data(file)
    file.write_text('file,label\na.png,"' + "x" * 200_000)
    with pytest.raises(FerlibError, match="line 2: field larger"):
        open_data(file)


def test_what_is_missing_is_told_and_the_others_read(tmp_path):
    file = written(tmp_path, "file label", "a.png cat", "gone.png dog", "b.png dog")
    found = open_data(file)
    assert names(found) == "ab" and found.labels.tolist() == [0, 1]
    assert found.damaged == [(f"{tmp_path / 'gone.png'} (line 3)", "no such file")]


def test_what_is_missing_of_one_split_is_not_told_of_another(tmp_path):
    rows = ("a.png cat train", "gone.png dog train", "b.png dog train", "c.png ? train")
    rows += ("d.png cat test", "e.png dog test")
    found = open_data(written(tmp_path, "file label split", *rows), {"?": "skip"})
    learn, test = found.split("train"), found.split("test")
    assert names(test) == "de" and not test.damaged and not test.skipped
    assert len(learn.damaged) == len(learn.skipped) == 1


# ---------------------------------------------------------------- the commands


def test_it_is_measured_and_the_unreadable_told(tmp_path, monkeypatch):
    monkeypatch.setenv("FERLIB_DATA", str(tmp_path / "none"))
    rows = ("file happy sad angry", "a.png 8 1 1", "b.png 0 9 1", "c.png 0 4 6", "cut.png 1 0 0")
    file = written(tmp_path, *rows, "gone.png 1 0 0")
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:300])
    tiny, out = tiny_weights(tmp_path), tmp_path / "answers.csv"
    words = ("--weights", tiny, "--folder", file, "--json", "--out", out)
    run = ferlib("evaluate", *words)
    assert "(and 1 more)" in mistake(run, 1)
    told = json.loads(run.stdout.splitlines()[-1])
    assert told["form"] == "table" and told["n"] == 3 and told["kl"] > 0
    assert [told["counts"][name] for name in ("happiness", "sadness", "anger")] == [1, 1, 1]
    rows = list(csv.DictReader(out.open()))
    assert [row["truth"] for row in rows] == ["happiness", "sadness", "anger"]


def test_a_spoilt_csv_ends_a_training_before_it_begins(tmp_path):
    file = written(tmp_path, *GOOD, "c.png 1 x train")
    before = sorted(tmp_path.iterdir())
    run = ferlib("train", "--data", file, "--net", "vgg-tiny", "--out", tmp_path / "runs" / "net")
    assert "line 4" in mistake(run, 1) and sorted(tmp_path.iterdir()) == before
