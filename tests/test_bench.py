"""The bench: duplicates, its columns and figures, rows, and other people's predictions."""

import csv
import json
import os

import cv2
import numpy as np
import pytest
from command import ferlib as command
from command import mistake

from ferlib.data import duplicates, fer2013, labels, sample
from ferlib.data.dataset import Dataset
from ferlib.errors import FerlibError
from ferlib.evaluation import bench


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("bench") / "data"
    sample.write(place)
    return place


@pytest.fixture(scope="module")
def data(folder):
    return fer2013.load(folder)


def changed(pictures: np.ndarray, how: str) -> np.ndarray:
    if how == "darker":
        return (pictures * 0.7).astype(np.uint8)
    if how == "coarser":
        return np.stack([cv2.resize(cv2.resize(p, (36, 36)), (48, 48)) for p in pictures])
    moved = np.float32([[1.03, 0, -1], [0, 1.03, -1]])
    return np.stack([cv2.warpAffine(p, moved, (48, 48), borderMode=1) for p in pictures])


@pytest.mark.parametrize("how", ["darker", "coarser", "closer"])
def test_near_duplicates_are_found_and_strangers_are_not(data, how):
    faces = data.pictures[:40]
    codes = duplicates.hashes(faces)
    there = duplicates.nearest(duplicates.hashes(changed(faces, how)), codes)
    assert (there <= duplicates.NEAR).mean() > 0.9
    apart = [duplicates.nearest(codes[[k]], np.delete(codes, k, axis=0))[0] for k in range(40)]
    same = [(faces == face).all(axis=(1, 2)).sum() > 1 for face in faces]
    assert np.mean(np.array(apart)[~np.array(same)] > duplicates.NEAR) > 0.5


def test_nearest_by_hand():
    some, others = np.eye(4, 8, dtype=bool), np.zeros((3, 8), bool)
    others[1, :2] = True
    assert duplicates.nearest(some, others).tolist() == [1, 1, 1, 1]
    assert duplicates.nearest(others[1:2], some).tolist() == [1]


def test_columns_leave_out_what_training_has_seen(data):
    part = bench.split_of(data, "test", "ferplus")
    kept = bench.columns(data, part)
    counts = [int(kept[name].sum()) for name in bench.COLUMNS]
    assert counts[0] == len(part) >= counts[1] >= counts[2] > 0
    train = data.pictures[data.usage == 0]
    seen = [(train == picture).all(axis=(1, 2)).any() for picture in part.pictures]
    assert kept["without exact"].tolist() == [not one for one in seen]


def test_figures_by_hand():
    part = Dataset(
        np.zeros((6, 48, 48), np.uint8), np.array([0, 0, 0, 1, 1, 2]), classes=tuple("abc")
    )
    scores = np.eye(3)[[0, 0, 1, 1, 2, 2]]
    found = bench.scored(scores, part)
    # recall 2/3, 1/2, 1; precision 1, 1/2, 1/2; F1 4/5, 1/2, 2/3 of sizes 3, 2, 1
    assert found.accuracy == pytest.approx(4 / 6, abs=1e-5)
    assert found.balanced_accuracy == pytest.approx((2 / 3 + 1 / 2 + 1) / 3, abs=1e-5)
    assert found.precision == pytest.approx((1 + 1 / 2 + 1 / 2) / 3, abs=1e-5)
    assert found.weighted_f1 == pytest.approx((3 * 4 / 5 + 2 * 1 / 2 + 2 / 3) / 6, abs=1e-5)
    assert found.kl is None


def written(path, part, scores, rows=None):
    with open(path, "w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["row", *part.classes])
        for row, values in zip(part.rows if rows is None else rows, scores, strict=True):
            out.writerow([row, *values])
    return path


def test_predictions_of_others_are_scored_whatever_their_order(data, tmp_path):
    part = bench.split_of(data, "test", "fer2013")
    scores = np.random.default_rng(0).random((len(part), 7)) + np.eye(7)[part.truth]
    order = np.random.default_rng(1).permutation(len(part))
    path = written(tmp_path / "p.csv", part, scores[order], part.rows[order])
    found = bench.read_predictions(path, part)
    np.testing.assert_allclose(found, scores / scores.sum(axis=1, keepdims=True), rtol=1e-6)


@pytest.mark.parametrize(
    "harm, says",
    [
        ("missing", "1 of {n} rows are missing, row {last} first"),
        ("doubled", "line 3: row {first} stands there twice"),
        ("stranger", "line 2: row 0 is none of the {n} test rows"),
        ("word", "line 2: 'x' is no row number"),
        ("nan", "line 2: expected 7 scores"),
        ("class", "no column 'fear'"),
    ],
)
def test_bad_predictions_are_told_by_line(data, tmp_path, harm, says):
    part = bench.split_of(data, "test", "fer2013")
    rows, scores = list(part.rows), np.ones((len(part), 7))
    if harm == "missing":
        rows, scores = rows[:-1], scores[:-1]
    elif harm in ("doubled", "stranger", "word"):
        new = {"doubled": rows[0], "stranger": 0, "word": "x"}[harm]
        rows[1 if harm == "doubled" else 0] = new
    elif harm == "nan":
        scores[0, 2] = np.nan
    path = written(tmp_path / "p.csv", part, scores, rows)
    if harm == "class":
        path.write_text(path.read_text().replace("fear", "terror"))
    with pytest.raises(FerlibError) as told:
        bench.read_predictions(path, part)
    known = {"n": len(part), "first": part.rows[0], "last": part.rows[-1]}
    assert says.format(**known) in str(told.value)


def test_own_labels_and_their_softening(data):
    hard, soft = data.labelled("train"), data.labelled("train", soft=0.5)
    assert hard.classes == soft.classes == labels.SEVEN and hard.kind == "class"
    np.testing.assert_allclose(soft.labels.sum(axis=1), 1, atol=1e-6)
    assert (soft.labels[np.arange(len(soft)), hard.labels] >= 0.5 - 1e-6).all()


@pytest.mark.slow
def test_a_row_of_the_bench_and_predictions_from_the_command_line(folder, tmp_path):
    how = ["--data", folder, "--out", tmp_path / "runs", "--epochs", 1, "--json"]
    done = command("bench", "vgg-tiny", "--labels", "fer2013", *how)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout.splitlines()[-1])["rows"]
    kept = json.loads((tmp_path / "runs" / "vgg-tiny-fer2013-0-row.json").read_text())
    assert kept == row and row["parameters"] > 50_000 and set(row["test"]) == set(bench.COLUMNS)
    part = bench.split_of(fer2013.load(folder), "test", "fer2013")
    path = written(tmp_path / "p.csv", part, np.eye(7)[part.truth])
    done = command(
        "bench", "--predictions", path, "--labels", "fer2013", "--data", folder, "--json"
    )
    found = json.loads(done.stdout.splitlines()[-1])["test"]["published"]
    assert found["accuracy"] == 1 and found["n"] == len(part)


@pytest.mark.skipif("FERLIB_DATA" not in os.environ, reason="FERLIB_DATA names no real data")
@pytest.mark.slow
def test_the_columns_of_the_real_test_split_are_as_docs_own_data_tells():
    data = fer2013.load_or_sample()
    counts = {
        labels: [int(kept.sum()) for kept in bench.columns(data, part).values()]
        for labels in bench.LABELS
        for part in [bench.split_of(data, "test", labels)]
    }
    assert counts == {"ferplus": [3153, 2894, 2659], "fer2013": [3589, 3301, 3030]}


def test_a_file_of_predictions_that_is_no_text_is_told(data, tmp_path):
    (tmp_path / "p.csv").write_bytes(b"row,\xff\xfe\x00")
    with pytest.raises(FerlibError, match=r"p\.csv is no CSV in UTF-8"):
        bench.read_predictions(tmp_path / "p.csv", bench.split_of(data, "test", "fer2013"))


@pytest.mark.slow
def test_a_net_of_the_seven_labels_from_the_command_line(folder, tmp_path):
    how = ["--data", folder, "--net", "vgg-tiny", "--epochs", 1, "--labels", "fer2013"]
    done = command("train", *how, "--out", tmp_path / "net")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "net.json").read_text())["classes"] == list(labels.SEVEN)
    refused = command("train", *how, "--protocol", "label.csv", "--out", tmp_path / "other")
    assert refused.returncode == 2 and "without --protocol" in refused.stderr


def test_the_command_line_knows_the_labels():
    from ferlib.cli.bench import LABELS  # where nothing heavy may be imported

    assert LABELS == bench.LABELS


def test_wrong_usage_of_the_bench_is_one_plain_line(tmp_path):
    said = mistake(command("bench", "resnet1000", "--sample"))
    assert "resnet1000" in said and "resnet34" in said
    done = command("bench", "--predictions", tmp_path / "none.csv", "--sample")
    assert done.returncode == 2 and "--labels" in done.stderr
