"""The bench: duplicates, its columns and figures, rows, and other people's predictions."""

import csv
import json
import os
import re
import sys
from argparse import Namespace
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from command import ferlib as command
from command import mistake

from ferlib import nets, training
from ferlib.data import duplicates, fer2013, labels, sample
from ferlib.data.dataset import Dataset
from ferlib.data.sources import to_train
from ferlib.errors import FerlibError
from ferlib.evaluation import bench, contest
from ferlib.metrics import measure

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "experiments"))
import bench_page  # noqa: E402
import pages  # noqa: E402


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
    which, there = duplicates.nearest(duplicates.hashes(changed(faces, how)), codes)
    assert (there <= duplicates.NEAR).mean() > 0.9
    assert (faces[which] == faces).all(axis=(1, 2)).mean() > 0.9
    apart = [duplicates.nearest(codes[[k]], np.delete(codes, k, axis=0))[1][0] for k in range(40)]
    same = [(faces == face).all(axis=(1, 2)).sum() > 1 for face in faces]
    assert np.mean(np.array(apart)[~np.array(same)] > duplicates.NEAR) > 0.5


def test_half_of_a_hashs_bits_are_set():
    noise = np.random.default_rng(0).integers(0, 256, (5, 48, 48), np.uint8)
    assert duplicates.hashes(noise).sum(axis=1).tolist() == [duplicates.BITS // 2] * 5


def test_nearest_by_hand():
    some, others = np.eye(4, 8, dtype=bool), np.zeros((3, 8), bool)
    others[1, :2] = True
    which, bits = duplicates.nearest(some, others)
    assert which.tolist() == [0, 0, 0, 0] and bits.tolist() == [1, 1, 1, 1]
    which, bits = duplicates.nearest(others[1:2], some[::-1])
    assert (which.tolist(), bits.tolist()) == ([2], [1])  # of two equally near the first


def test_each_picture_outside_training_has_its_nearest_there(data):
    found = duplicates.in_training(data)
    assert (data.usage[found.rows] > 0).all() and (data.usage[found.train] == 0).all()
    same = (data.pictures[found.rows] == data.pictures[found.train]).all(axis=(1, 2))
    assert found.exact.any() and (same == found.exact).all()
    one, other = (duplicates.hashes(data.pictures[rows]) for rows in (found.rows, found.train))
    assert ((one ^ other).sum(axis=1) == found.bits).all()
    assert (found.near == (found.exact | (found.bits <= duplicates.NEAR))).all()


def test_duplicates_of_pictures_that_are_not_there_are_not_known(data):
    with pytest.raises(FerlibError, match="lack FER2013's training split"):
        duplicates.in_training(replace(data, usage=np.full(len(data.usage), 2)))


def test_columns_leave_out_what_training_has_seen(data):
    part = bench.split_of(data, "test", "ferplus")
    kept = bench.columns(data, part)
    counts = [int(kept[name].sum()) for name in bench.COLUMNS]
    assert counts[0] == len(part) >= counts[1] >= counts[2] > 0
    train = data.pictures[data.usage == 0]
    seen = [(train == picture).all(axis=(1, 2)).any() for picture in part.pictures]
    assert kept["without exact"].tolist() == [not one for one in seen]
    codes, theirs = duplicates.hashes(part.pictures), duplicates.hashes(train)
    far = [(code ^ theirs).sum(axis=1).min() > duplicates.NEAR for code in codes]
    both = zip(seen, far, strict=True)
    assert kept["without near"].tolist() == [not one and away for one, away in both]
    assert counts[1] > counts[2]


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


def test_precision_is_of_the_classes_that_are_there():
    part = Dataset(np.zeros((4, 48, 48), np.uint8), np.array([0, 0, 1, 1]), classes=tuple("abc"))
    found = bench.scored(np.eye(3)[[0, 0, 1, 2]], part)
    assert found.precision == 1 and found.balanced_accuracy == 0.75


def test_predictions_of_others_are_scored_whatever_their_order(data, tmp_path):
    part = bench.split_of(data, "test", "fer2013")
    scores = np.random.default_rng(0).random((len(part), 7)) + np.eye(7)[part.truth]
    scores[0, part.truth[0] - 1] = -1e-9  # rounding
    order = np.random.default_rng(1).permutation(len(part))
    path = written(tmp_path / "p.csv", part, scores[order], part.rows[order])
    found = bench.read_predictions(path, part)
    wanted = scores / scores.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("between, mark", [(";", ","), ("\t", "."), (";", ".")])
def test_predictions_may_come_from_a_spreadsheet(data, tmp_path, between, mark):
    """Its cells are parted otherwise, names are in capitals, and there is room around them."""
    part = bench.split_of(data, "test", "fer2013")
    scores = np.random.default_rng(0).integers(1, 9, (len(part), 7)) / 2
    path = written(tmp_path / "p.csv", part, scores)
    text = (path.read_text() + ",,,,,,,\n").replace(",", between).replace(".", mark)
    path.write_text(text.replace(between + "fear", between + " Fear ").replace("row", "Row"))
    found = bench.read_predictions(path, part)
    np.testing.assert_allclose(found, scores / scores.sum(axis=1, keepdims=True), rtol=1e-6)


@pytest.mark.parametrize(
    "harm, says",
    [
        ("missing", "1 of {n} rows are missing, row {last} first"),
        ("doubled", "line 3: row {first} stands there twice"),
        ("stranger", "line 2: row 0 is none of the {n} test rows"),
        ("word", "line 2: 'x' is no row number"),
        ("nan", "line 2: surprise is 'nan', expected a score of 0 or more"),
        ("class", "no column 'fear'"),
        ("logit", "line 2: surprise is '-1.0', expected a score of 0 or more (no logits)"),
        ("nothing", "line 2: all 7 scores are 0"),
        ("quote", "unexpected end of data"),
        ("commas", "line 2: 15 cells, expected 8"),
        ("long", "no row number"),
        ("no column", "no column 'row' in its header, 'line,neutral,"),
        ("twice", "two columns are called 'fear'"),
        ("eighth", "a column 'contempt', which is none of neutral, happiness"),
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
    elif harm in ("nan", "logit", "nothing"):
        scores[0, 2:] = {"nan": np.nan, "logit": -1, "nothing": 0}[harm]
        scores[0, :2] *= harm != "nothing"
    path = written(tmp_path / "p.csv", part, scores, rows)
    if harm == "class":
        path.write_text(path.read_text().replace("fear", "terror"))
    elif harm == "commas":
        path.write_text(path.read_text().replace("1.0", "1,0"))
    elif harm == "quote":
        path.write_text(path.read_text().replace("\n", '\n"', 1))
    elif harm == "long":
        path.write_text(path.read_text().replace("\n", "\n" + 5000 * "9", 1))
    elif harm == "no column":
        path.write_text(path.read_text().replace("row,", "line,"))
    elif harm == "eighth":
        path.write_text(path.read_text().replace("row,", "row,contempt,"))
    elif harm == "twice":
        path.write_text(path.read_text().replace("row,", "row,fear,"))
    with pytest.raises(FerlibError) as told:
        bench.read_predictions(path, part)
    known = {"n": len(part), "first": part.rows[0], "last": part.rows[-1]}
    assert says.format(**known) in str(told.value)


def test_rows_that_do_not_count_are_passed_over(data, tmp_path):
    """As of a file for all of the test split, and FER+'s majorities."""
    part = bench.split_of(data, "test", "ferplus")
    every = np.flatnonzero(data.usage == 2)
    passed = bench.besides(data, part)
    assert 0 < len(passed) == len(every) - len(part) and not passed & set(part.rows)
    scores = np.random.default_rng(0).random((len(every), len(part.classes)))
    path = written(tmp_path / "p.csv", part, scores, every)
    found = bench.read_predictions(path, part, passed)
    own = scores[np.isin(every, part.rows)]
    np.testing.assert_allclose(found, own / own.sum(axis=1, keepdims=True), rtol=1e-6)
    with pytest.raises(FerlibError, match="none of the"):
        bench.read_predictions(path, part)
    assert not bench.besides(data, bench.split_of(data, "test", "fer2013"))


def test_predictions_may_come_through_a_pipe(data, tmp_path):
    part = bench.split_of(data, "test", "fer2013")
    path, (read, write) = written(tmp_path / "p.csv", part, np.eye(7)[part.truth]), os.pipe()
    with ThreadPoolExecutor() as pool, open(read) as held, open(write, "wb") as pipe:
        found = pool.submit(bench.read_predictions, f"/dev/fd/{held.fileno()}", part)
        pipe.write(path.read_bytes())
        pipe.close()
        np.testing.assert_array_equal(found.result(60), np.eye(7)[part.truth])


def test_usual_names_of_emotions_and_numbers_of_rows_are_known(data, tmp_path):
    part = bench.split_of(data, "test", "fer2013")
    scores = np.random.default_rng(0).random((len(part), 7))
    path = written(tmp_path / "p.csv", part, scores, [f"{row}.0" for row in part.rows])
    text = path.read_text().replace("happiness", "Happy").replace("sadness", "sad")
    path.write_text(text.replace("anger", "Angry"))
    found = bench.read_predictions(path, part)
    np.testing.assert_allclose(found, scores / scores.sum(axis=1, keepdims=True), rtol=1e-6)
    for odd in (f"{part.rows[0] // 10}_{part.rows[0] % 10}", "-1", "1.5", ""):
        written(path, part, scores, [odd, *part.rows[1:]])
        with pytest.raises(FerlibError, match=r"line 2: .* is no row number"):
            bench.read_predictions(path, part)


def test_own_labels_and_their_softening(data):
    hard, soft = data.labelled("train"), data.labelled("train", soft=0.5)
    assert hard.classes == soft.classes == labels.SEVEN and hard.kind == "class"
    np.testing.assert_allclose(soft.labels.sum(axis=1), 1, atol=1e-6)
    assert (soft.labels[np.arange(len(soft)), hard.labels] >= 0.5 - 1e-6).all()


def check_measured(row: dict, prefix: Path, data) -> None:
    """Against the stored net, each split by itself, without the temperature and bias it has."""
    net, info = nets.load(prefix)
    assert info.temperature != 1
    for split in ("train", "valid", "test"):
        part = bench.split_of(data, split, "fer2013")
        found = measure(nets.predict(net, part.pictures, info.raw()), part)
        told = row[split]["published"] if split == "test" else row[split]
        assert told["n"] == found.n and told["loss"] == pytest.approx(found.loss, abs=1e-3)
        assert told["accuracy"] == pytest.approx(found.accuracy, abs=0.01)
    assert row["machine"]["precision"] == info.trained.machine["precision"]
    assert row["commit"] == info.trained.machine["commit"]


@pytest.mark.slow
def test_a_row_of_the_bench_and_predictions_from_the_command_line(folder, tmp_path):
    how = ["--data", folder, "--out", tmp_path / "runs", "--epochs", 1, "--json"]
    done = command("bench", "vgg-tiny", "--labels", "fer2013", *how)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout.splitlines()[-1])["rows"]
    kept = json.loads((tmp_path / "runs" / "vgg-tiny-fer2013-0-row.json").read_text())
    assert kept == row and row["parameters"] > 50_000 and set(row["test"]) == set(bench.COLUMNS)
    (log,) = contest.read_log(tmp_path / "runs" / "vgg-tiny-fer2013-0-run" / "log.csv")
    assert row["images_per_s"] == log["images_per_s"]
    place = tmp_path / "runs" / "vgg-tiny-fer2013-0-row.json"
    place.write_text(json.dumps(row | {"commit": "abc1234"}))  # as of a clean tree
    done = command("bench", "vgg-tiny", "--labels", "fer2013", *how)  # measures nothing again
    assert json.loads(done.stdout.splitlines()[-1])["rows"] == [row | {"commit": "abc1234"}]
    counts = {"fer2013": {name: figures["n"] for name, figures in row["test"].items()}}
    (taken,) = bench_page.gathered(tmp_path / "runs", counts)
    assert taken["curve"]["valid_accuracy"] == [log["valid_accuracy"]]
    check_measured(row, tmp_path / "runs" / "vgg-tiny-fer2013-0", fer2013.load(folder))
    part = bench.split_of(fer2013.load(folder), "test", "fer2013")
    answers = bench.read_predictions(tmp_path / "runs" / "vgg-tiny-fer2013-0-test.csv", part)
    for name, figures in bench.in_columns(answers, fer2013.load(folder), part).items():
        assert figures == pytest.approx(row["test"][name], abs=1e-4), name
    path = written(tmp_path / "p.csv", part, np.eye(7)[part.truth])
    done = command(
        "bench", "--predictions", path, "--labels", "fer2013", "--data", folder, "--json"
    )
    found = json.loads(done.stdout.splitlines()[-1])["test"]["published"]
    assert found["accuracy"] == 1 and found["n"] == len(part)
    place.write_text("{")
    said = mistake(command("bench", "vgg-tiny", "--labels", "fer2013", *how))
    assert "vgg-tiny-fer2013-0-row.json is damaged: remove it" in said


@pytest.mark.skipif("FERLIB_DATA" not in os.environ, reason="FERLIB_DATA names no real data")
@pytest.mark.slow
def test_the_columns_of_the_real_test_split_are_as_docs_own_data_tells():
    data = fer2013.load_or_sample()
    counts = {
        labels: [int(kept.sum()) for kept in bench.columns(data, part).values()]
        for labels in labels.LABEL_SETS
        for part in [bench.split_of(data, "test", labels)]
    }
    assert counts == {"ferplus": [3153, 2894, 2659], "fer2013": [3589, 3301, 3030]}


@pytest.mark.skipif("FERLIB_DATA" not in os.environ, reason="FERLIB_DATA names no real data")
@pytest.mark.slow
def test_the_page_counts_the_pictures_of_an_epoch_as_a_training_does():
    data = fer2013.load_or_sample()
    learnt = {labels: to_train(data, labels)[0] for labels in labels.LABEL_SETS}
    counts = {labels: int(part.trainable("cross-entropy").sum()) for labels, part in learnt.items()}
    assert counts == bench_page.LEARNT


def test_predictions_from_a_spreadsheet_and_of_any_size_are_read(data, tmp_path):
    part = bench.split_of(data, "test", "fer2013")
    path = written(tmp_path / "p.csv", part, np.full((len(part), 7), 1e308))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())  # the mark that some programs write
    np.testing.assert_allclose(bench.read_predictions(path, part), 1 / 7)
    with pytest.raises(FerlibError, match=r"none\.csv: No such file"):
        bench.read_predictions(tmp_path / "none.csv", part)


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
    assert refused.returncode == 2 and "--protocol is one of FER+'s votes" in refused.stderr


def test_a_budget_is_counted_once_for_a_folder(data, tmp_path, monkeypatch):
    """A stopwatch tells another number of epochs each time, which would be another training."""
    rates = iter([100, 50])
    monkeypatch.setattr(contest, "speed", lambda net, data: next(rates))
    pictures = len(data.labelled("train"))
    minutes = 3 * pictures / 100 / 60
    for _ in range(2):
        assert contest.epochs_for("vgg-tiny", data, minutes, tmp_path) == 3
    assert contest.epochs_for("vgg-tiny", data, 4 * minutes, tmp_path) == 6
    monkeypatch.setattr(contest, "speed", lambda net, data: 200)
    fewer = replace(data, usage=np.where(np.arange(len(data.usage)) % 2, data.usage, 2))
    assert contest.epochs_for("vgg-tiny", fewer, minutes, tmp_path) > 6
    (tmp_path / "vgg-tiny-epochs.json").write_text("{")
    with pytest.raises(FerlibError, match=r"vgg-tiny-epochs\.json is damaged"):
        contest.epochs_for("vgg-tiny", data, minutes, tmp_path)


@pytest.mark.slow
def test_the_speed_of_a_training_is_told_for_few_pictures_too(data):
    few = replace(data, usage=np.where(np.cumsum(data.usage == 0) > 200, 1, data.usage))
    assert contest.speed("vgg-tiny", few) > 100


def test_a_net_that_diverges_does_not_keep_the_others_out(monkeypatch, tmp_path, capsys):
    from ferlib.cli import bench as called

    asked = []

    def row(net, *_how):
        asked.append(net)
        if net == "vgg13":
            raise training.Diverged("no numbers any more")
        return {"net": net}

    monkeypatch.setattr(called, "_row", row)
    args = Namespace(nets=["vgg13", "vgg-tiny"], labels=["fer2013"], sample=True, out=tmp_path)
    with pytest.raises(FerlibError, match="no rows of vgg13, fer2013: they diverged"):
        called.bench(Namespace(**vars(args), predictions=None, data=None, json=True))
    assert asked == ["vgg13", "vgg-tiny"]
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"rows": [{"net": "vgg-tiny"}]}


def test_wrong_usage_of_the_bench_is_one_plain_line(tmp_path):
    said = mistake(command("bench", "resnet1000", "--sample"))
    assert "resnet1000" in said and "resnet34" in said
    done = command("bench", "--predictions", tmp_path / "none.csv", "--sample")
    assert done.returncode == 2 and "--labels" in done.stderr
    said = mistake(command("bench", "--predictions", "", "--labels", "fer2013", "--sample"), 2)
    assert "--predictions: the name is empty" in said
    done = command("bench", "vgg13", "--predictions", tmp_path / "none.csv", "--sample")
    assert done.returncode == 2 and "leave out vgg13" in done.stderr
    how = ["--labels", "fer2013", "--epochs", "3", "--sample"]
    done = command("bench", "--predictions", tmp_path / "none.csv", *how)
    assert done.returncode == 2 and "leave out --epochs" in done.stderr


def test_a_damaged_row_is_told_before_the_training(data, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "train_to", None)
    (tmp_path / "vgg-tiny-fer2013-0-row.json").write_text("{")
    with pytest.raises(FerlibError, match=r"row\.json is damaged"):
        contest.row("vgg-tiny", "fer2013", data, 1, folder=tmp_path)


def test_the_pace_by_hand():
    log = [{"images_per_s": rate} for rate in (100.0, 50.0, 60.0)]
    told = contest.pace(log, 6000)
    assert told == {"minutes": round((60 + 120 + 100) / 60, 1), "images_per_s": 60.0}


# ---------------------------------------------------------------- the page


def test_a_row_trained_again_stands_beside_the_recorded_one(tmp_path):
    before = [recorded("a", 0.8), recorded("b", 0.7)]
    stored(tmp_path, recorded("b", 0.71, date="2026-11-23", commit="abc1234"))
    (told,) = bench_page.again(tmp_path, before, COUNTS)
    assert (told["net"], told["commit"]) == ("b", "abc1234")
    assert told["then"] == {"valid": 0.7, "published": 0.7}
    assert told["now"] == {"valid": 0.71, "published": 0.71}
    with pytest.raises(FerlibError, match="no row of ferplus, b, 0 with 3 epochs was recorded"):
        bench_page.again(tmp_path, before[:1], COUNTS)


COUNTS = {
    "ferplus": dict(zip(bench.COLUMNS, (100, 90, 80), strict=True)),
    "fer2013": dict(zip(bench.COLUMNS, (90, 80, 75), strict=True)),
}


def recorded(net: str, accuracy: float, seed: int = 0, labels: str = "ferplus", **more) -> dict:
    """A row as `ferlib bench` writes it."""
    names = ("accuracy", "balanced_accuracy", "precision", "weighted_f1", "loss", "ece")
    figures = dict.fromkeys(names, accuracy) | {"kl": 0.25 if labels == "ferplus" else None}
    test = {name: figures | {"n": n} for name, n in COUNTS[labels].items()}
    row = {"net": net, "labels": labels, "seed": seed, "epochs": 3, "minutes": 29.5}
    row |= {"commit": "abc1234"}
    row |= {"recipe": bench_page.recipe() | {"net": net, "epochs": 3, "seed": seed}}
    row |= {"parameters": 1_234_567, "multiply_adds": 89_000_000, "ms": {"1": 1.5, "64": 40.0}}
    row |= {"train": figures | {"n": 5}, "valid": figures | {"n": 5}, "test": test}
    row |= {"machine": {"cpu": "some, 2 cores", "threads": 1, "precision": "float32"}}
    return row | more


def stored(folder: Path, row: dict, rates=(100.0, 120.0, 60.0)) -> Path:
    """The files of a finished row."""
    prefix = folder / f"{row['net']}-{row['labels']}-{row['seed']}"
    contest.log_of(prefix).parent.mkdir(parents=True)
    lines = [f"{at},{rate},0.{at},1.{at}" for at, rate in enumerate(rates, 5)]
    header = "epoch,images_per_s,valid_accuracy,valid_loss"
    contest.log_of(prefix).write_text("\n".join([header, *lines]) + "\n")
    path = Path(f"{prefix}-row.json")
    path.write_text(json.dumps(row))
    return path


def test_rows_are_gathered_with_their_curves_and_none_is_lost(tmp_path):
    for row in (recorded("a", 0.8), recorded("b", 0.7)):
        stored(tmp_path, row)
    new = bench_page.gathered(tmp_path, COUNTS)
    curve = {"valid_accuracy": [0.5, 0.6, 0.7], "valid_loss": [1.5, 1.6, 1.7]}
    assert [row["net"] for row in new] == ["a", "b"]
    assert all(row["curve"] == curve and row["images_per_s"] == 100 for row in new)
    before = [recorded("b", 0.1), recorded("b", 0.2, seed=1), recorded("b", 0.3, labels="fer2013")]
    rows = bench_page.merged(before, new, bench_page.of_row)
    known = {bench_page.of_row(row): row["valid"]["accuracy"] for row in rows}
    assert known == {
        ("fer2013", "b", 0): 0.3,
        ("ferplus", "a", 0): 0.8,
        ("ferplus", "b", 0): 0.7,
        ("ferplus", "b", 1): 0.2,
    }


@pytest.mark.parametrize(
    "harm", ["none", "recipe", "other data", "no log", "another's log", "damaged", "changes"]
)
def test_what_is_no_row_of_the_bench_is_told(tmp_path, harm):
    row = recorded("a", 0.8)
    if harm == "recipe":
        row["recipe"]["lr"] = 0.2
    if harm == "changes":
        row["commit"] += "+"
    if harm == "other data":
        row["test"]["published"]["n"] = 58
    if harm != "none":
        path = stored(tmp_path, row)
    if harm == "another's log":
        lines = contest.log_of(tmp_path / "a-ferplus-0").read_text().splitlines()
        contest.log_of(tmp_path / "a-ferplus-0").write_text("\n".join(lines[:-1]) + "\n")
    if harm == "no log":
        contest.log_of(tmp_path / "a-ferplus-0").unlink()
    if harm == "damaged":
        path.write_text(path.read_text()[:-9])
    says = {"none": "holds no rows", "recipe": "not the bench's recipe, lr differ"}
    says |= {
        "changes": "not committed",
        "other data": "whole test split",
        "no log": r"log\.csv is missing",
    }
    with pytest.raises(FerlibError, match=says.get(harm, "is damaged")):
        bench_page.gathered(tmp_path, COUNTS)


def test_rows_of_several_seeds_are_one_net_and_the_better_net_comes_first():
    rows = [recorded("vgg19", 0.8), recorded("web_cnn", 0.7), recorded("web_cnn", 0.76, seed=1)]
    first, second = bench_page.nets_of(rows, "ferplus")
    assert (first["name"], first["several"], len(first["seeds"])) == ("vgg19", False, 1)
    assert (second["name"], second["several"], len(second["seeds"])) == ("web_cnn", True, 2)
    assert second["valid"]["accuracy"] == pytest.approx(0.73)
    assert second["test"]["without near"]["balanced_accuracy"] == pytest.approx(0.73)
    assert not bench_page.nets_of(rows, "fer2013")
    assert bench_page.ranged([0.7, 0.76]) == "73.00% (70.00% to 76.00%)"


def test_the_page_tells_seeds_repetitions_and_nets_without_a_speed():
    results = pages.results()
    rows = [recorded("web_cnn", 0.7), recorded("web_cnn", 0.76, seed=1)]
    before = {"then": {"valid": 0.7, "published": 0.7}, "now": {"valid": 0.71, "published": 0.72}}
    once_more = rows[0] | before | {"date": "2026-11-23", "commit": "abc1234"}
    known = results["bench"] | {"rows": rows, "own": [], "again": [once_more]}
    text = bench_page.page(known, results["duplicates"], results["zoo"])
    assert "73.00% (70.00% to 76.00%)" in text and "again 72.00%" in text
    assert "float32: `web_cnn`" in text
    rows.append(recorded("one_of_mine", 0.6))  # whose speed has not been measured
    assert "| `one_of_mine` | 3 | 1 |" in bench_page.page(
        known, results["duplicates"], results["zoo"]
    )


def test_seeds_of_one_net_learnt_alike():
    rows = [recorded("a", 0.8), recorded("a", 0.8, seed=1), recorded("a", 0.8, labels="fer2013")]
    bench_page.check_seeds([*rows[:2], rows[2] | {"epochs": 9}])
    with pytest.raises(FerlibError, match="ferplus and a: 9 epochs here"):
        bench_page.check_seeds([rows[0], rows[1] | {"epochs": 9}])


def test_what_is_read_of_the_copies_alone_by_hand():
    """70 of 100 right with them, 65 of 90 without: so 5 of the 10."""
    test = {
        "published": {"n": 100, "accuracy": 0.7},
        "without exact": {"n": 90, "accuracy": 65 / 90},
    }
    assert bench_page.on_copies(test) == pytest.approx(0.5)
    rows = [recorded("vgg19", 0.8) | {"test": test | {"without near": test["without exact"]}}]
    (net,) = bench_page.nets_of(rows, "ferplus")
    assert net["gain"] == pytest.approx(0.5 - 65 / 90)


def test_the_bench_is_shown_as_recorded():
    """And its rows are of the whole test split, by the columns that results/duplicates.json has."""
    results = pages.results()
    found, copies = results["bench"], results["duplicates"]
    page = (ROOT / "results" / "bench.md").read_text()
    assert page == bench_page.page(found, copies, results["zoo"]), "run experiments/bench_page.py"
    for row in (*found["rows"], *found["own"]):
        measured = {name: figures["n"] for name, figures in row["test"].items()}
        assert measured == copies["columns"][row["labels"]]
    for row in found["rows"]:
        assert len(row["curve"]["valid_accuracy"]) == row["epochs"]
    for name in re.findall(r"\]\(([\w-]+\.png)\)", page):
        assert (ROOT / "results" / name).is_file()


def test_the_published_duplicates_add_up():
    path = ROOT / "results" / "duplicates.json"
    found = json.loads(path.read_text())
    assert path.stat().st_size < 100_000 and found["rows"]["train"] == 28_709
    ends = {"valid": (28_709, 32_298), "test": (32_298, 35_887)}
    for what in ("exact", "near"):
        for split, (first, last) in ends.items():
            rows, train, bits = np.array(found[what][split]).T
            assert (np.diff(rows) > 0).all() and first <= rows[0] and rows[-1] < last
            assert train.max() < 28_709
            assert bits.max() <= (found["hash"]["near"] if what == "near" else 0)
    counts = [len(found[what]["test"]) for what in ("exact", "near")]
    left = (3589 - np.cumsum([0, *counts])).tolist()
    assert list(found["columns"]["fer2013"].values()) == left == [3589, 3301, 3030]
    assert len(found["exact"]["valid"]) == 280  # by the data's own account


@pytest.mark.skipif("FERLIB_DATA" not in os.environ, reason="FERLIB_DATA names no real data")
@pytest.mark.slow
def test_copies_have_the_votes_of_their_twins_as_the_page_tells():
    data, found = fer2013.load_or_sample(), pages.results()["duplicates"]
    votes = [data.votes_of("fer2013new.csv"), data.classes[:, None]]
    for what, alike in found["alike"].items():
        rows, train, _ = np.array(found[what]["test"]).T
        same = [int((each[rows] == each[train]).all(axis=1).sum()) for each in votes]
        assert same == list(alike.values()), what
