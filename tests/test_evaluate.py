"""The figures, against hand-made cases and SciPy, and the one evaluator that gives them."""

import csv
import os

import numpy as np
import pytest
from common import tiny_weights
from PIL import Image
from scipy.stats import entropy

from ferlib import Recognizer, metrics, nets, training
from ferlib.data import fer2013, folders, labels
from ferlib.data.dataset import Dataset
from ferlib.errors import FerlibError
from ferlib.evaluation import evaluate, figures
from ferlib.nets.answer import softmax
from ferlib.training import calibrate

RNG = np.random.default_rng(0)


def voted(votes: np.ndarray) -> Dataset:
    return Dataset(np.zeros((len(votes), 1, 1), np.uint8), votes)


def test_accuracy_counts_only_images_with_a_majority():
    votes = np.zeros((4, 10), int)
    votes[[0, 1, 2], [0, 1, 1]] = 10  # neutral, happiness, happiness
    votes[3, :4] = (3, 3, 2, 2)  # nobody agrees
    scores = np.eye(8, dtype=np.float32)[[0, 1, 3, 2]]
    result = vars(metrics.measure(scores, voted(votes)))
    assert result["n"] == 3 and result["accuracy"] == pytest.approx(2 / 3, abs=1e-5)
    assert result["per_emotion"]["neutral"] == 1 and result["per_emotion"]["happiness"] == 0.5
    assert result["per_emotion"]["fear"] is None
    assert result["balanced_accuracy"] == 0.75
    assert result["confusion"][1][:4] == [0, 1, 0, 1]


def test_agreement_by_hand():
    votes = np.zeros((5, 10), int)
    votes[:3, 0], votes[2, 3] = (10, 10, 9), 1  # two unanimous, one of nine in ten
    votes[3:, :2] = (7, 3), (7, 3)
    correct = np.array([True, False, True, True, False])
    rows = metrics.agreement(correct, votes, np.zeros(5, int))
    assert [row["n"] for row in rows] == [0, 2, 1, 2]
    assert [row["net"] for row in rows] == [None, 0.5, 1.0, 0.5]
    assert [row["voter"] for row in rows] == [None, 0.7, 0.9, 1.0]


def test_divergence_is_scipys():
    scores = RNG.dirichlet(np.ones(8), 50).astype(np.float32)
    votes = np.zeros((50, 10), int)
    votes[:, :8] = RNG.multinomial(10, [0.7, 0.2, 0.02, 0.02, 0.02, 0.02, 0.01, 0.01], 50)
    kept = labels.majority(votes) >= 0
    wanted = entropy(labels.shares(votes[kept]), scores[kept], axis=1).mean()
    assert metrics.measure(scores, voted(votes)).kl == pytest.approx(wanted, abs=1e-4)


def test_calibration_error_by_hand():
    # ten answers at 0.95 of which eight are right, ten at 0.55 of which five are
    confidence = np.repeat([0.95, 0.55], 10)
    correct = np.array([1] * 8 + [0] * 2 + [1] * 5 + [0] * 5)
    assert metrics.calibration_error(confidence, correct) == pytest.approx((0.15 + 0.05) / 2)


def test_calibration_has_fifteen_bins_and_certainty_is_in_the_last():
    apart = metrics.calibration_error(np.array([0.45, 0.49]), np.array([1, 0]))
    assert apart == pytest.approx((0.55 + 0.49) / 2)  # in one of ten bins they would make up
    together = metrics.calibration_error(np.array([1.0, 0.95]), np.array([0, 1]))
    assert together == pytest.approx(0.95 / 2)


def test_voters_who_saw_no_emotion_are_voters():
    votes = np.array([[6, 0, 0, 0, 0, 0, 0, 0, 4, 0]])
    rows = metrics.agreement(np.array([True]), votes, np.array([0]))
    assert [row["n"] for row in rows] == [0, 1, 0, 0] and rows[1]["voter"] == 0.6


def test_a_probability_of_zero_is_a_finite_loss():
    data = Dataset(np.zeros((1, 1, 1), np.uint8), np.array([0]), ("a", "b"))
    found = metrics.measure(np.array([[0.0, 1.0]]), data)
    assert found.loss == pytest.approx(-np.log(1e-12), abs=1e-4)


def test_a_net_that_is_too_unsure_is_mended_as_well():
    logits = np.random.default_rng(0).normal(size=(2000, 8)) * 2
    assert calibrate.fit_temperature(0.6 * logits, softmax(logits)) == pytest.approx(0.6, abs=0.02)


def test_bias_then_temperature_are_fitted_to_upright_and_mirrored_pictures(monkeypatch):
    """The net's answer is its picture's first three numbers, which a mirror image has turned."""
    rng, usual = np.random.default_rng(0), np.log((0.6, 0.3, 0.1))
    truth = rng.choice(3, 1000, p=np.exp(usual))
    pictures = rng.integers(0, 256, (1000, 4, 4), np.uint8)
    pictures[np.arange(1000), 0, truth] = pictures[np.arange(1000), 0, truth] // 2 + 127

    def answer(net, some, info):
        logits = some[:, 0, :3] / 30 + usual
        return softmax((logits + np.array(info.bias or (0, 0, 0))) / info.temperature)

    monkeypatch.setattr(calibrate, "predict", answer)
    monkeypatch.setattr(calibrate, "COST", 0.05)
    info = nets.Info(classes=("a", "b", "c"), input_size=4)
    found = calibrate.calibrated(None, info, Dataset(pictures, truth, info.classes))
    both, twice = np.concatenate([pictures, pictures[:, :, ::-1]]), np.tile(truth, 2)
    logits = np.log(answer(None, both, info)) + found.bias
    assert max(found.bias) > 0.1
    assert found.temperature == calibrate.fit_temperature(logits, np.eye(3)[twice])
    np.testing.assert_allclose(found.shares, answer(None, both, found).mean(axis=0), atol=1e-5)


def test_temperature_undoes_a_known_one():
    logits = RNG.normal(size=(4000, 8)) * 2
    share = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert training.fit_temperature(logits * 1.7, share) == pytest.approx(1.7, abs=0.02)


def test_bias_finds_rare_emotions_and_costs_at_most_what_it_may():
    # A teller that knows shares only, p(class | x) proportional to share * likelihood.
    share = np.array([0.5, 0.3, 0.1, 0.05, 0.03, 0.01, 0.005, 0.005])
    truth = RNG.choice(8, 20000, p=share)
    clues = RNG.normal(size=(20000, 8)) + 2 * np.eye(8)[truth]
    logits = 2 * clues + 1.5 * np.log(share)  # overrates what is common
    bias = training.fit_bias(logits, truth, np.log(share.max() / share))
    before, after = logits.argmax(axis=1), (logits + bias).argmax(axis=1)
    assert (after == truth).mean() >= (before == truth).mean() - calibrate.COST
    found = [(answer[truth >= 4] == truth[truth >= 4]).mean() for answer in (before, after)]
    assert found[1] > found[0] + 0.1
    assert bias[0] == 0 and (np.diff(bias) >= 0).all()
    fair = training.fit_bias(2 * clues, truth, np.zeros(8))
    np.testing.assert_array_equal(fair, np.zeros(8))


def test_what_no_picture_judges_is_not_favoured():
    """A class that validation never shows could only cost there, so that all of it was given."""
    declared = nets.find("vgg-tiny", classes=3)
    net, info = nets.create(declared, seed=0), nets.Info.of(declared, ("a", "b", "c"))
    shown = RNG.integers(0, 256, (400, 32, 32), np.uint8)
    valid = Dataset(shown, np.arange(400) % 2, ("a", "b", "c"))
    fitted = calibrate.calibrated(net, info, valid)
    assert fitted.bias[2] == 0 and min(fitted.shares) >= 0.5 / 400


def test_few_pictures_give_no_bias():
    """One of a hundred is more than a bias may cost: there nothing says what it does."""
    truth, rarity = np.arange(100) % 2, np.array([0.0, 2.0])
    sure = 9 * np.eye(2)[truth]
    assert not training.fit_bias(sure, truth, rarity).any()
    assert training.fit_bias(np.tile(sure, (5, 1)), np.tile(truth, 5), rarity)[1] > 0


def test_no_majority_anywhere_is_a_plain_error():
    with pytest.raises(FerlibError, match="majority"):
        metrics.measure(np.ones((2, 8)) / 8, voted(np.ones((2, 10), int)))


def test_figures_of_classes_are_those_of_votes_that_all_agree():
    """The same pictures as ten equal votes, as shares and as one class each."""
    truth, scores = RNG.integers(0, 8, 60), RNG.dirichlet(np.ones(8), 60)
    pictures, share = np.zeros((60, 1, 1), np.uint8), np.eye(8)[truth]
    votes = np.hstack([10 * share, np.zeros((60, 2))]).astype(int)
    kinds = (votes, share, truth)
    figures = [vars(metrics.measure(scores, Dataset(pictures, kind))) for kind in kinds]
    assert [found.pop("agreement") is None for found in figures] == [False, True, True]
    assert figures[0] == figures[1] == figures[2]


def test_figures_of_classes_of_ones_own_by_hand():
    scores = np.array([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8], [0.2, 0.5, 0.3]])
    data = Dataset(np.zeros((4, 1, 1), np.uint8), np.array([0, 1, 2, -1]), ("a", "b", "c"))
    found = metrics.measure(scores, data)
    assert found.n == 3 and found.accuracy == pytest.approx(2 / 3, abs=1e-5)
    assert found.per_emotion == {"a": 1, "b": 0, "c": 1}
    assert found.confusion == [[1, 0, 0], [1, 0, 0], [0, 0, 1]]
    loss = -np.log([0.7, 0.3, 0.8]).mean()
    assert found.loss == pytest.approx(loss, abs=1e-5) == found.kl  # one class has no entropy


# ---------------------------------------------------------------- the evaluator

SAME = ("n", "accuracy", "balanced_accuracy", "per_emotion", "confusion", "counts", "ece")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_weights(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def real():
    return fer2013.load_or_sample()


@pytest.fixture(scope="module")
def crops(real):
    """Validation pictures of FER2013, or drawn ones: a dozen of each emotion that has as many."""
    whole = real.split("valid")
    rows = [np.flatnonzero(whole.truth == number)[:12] for number in range(8)]
    return whole.take(np.sort(np.concatenate(rows)))


@pytest.fixture(scope="module")
def as_files(crops, tmp_path_factory):
    """The same as a folder of PNGs, the emotions being folders."""
    folder = tmp_path_factory.mktemp("crops")
    for row, number in enumerate(crops.truth):
        place = folder / "valid" / labels.EMOTIONS[number] / f"{crops.rows[row]}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(crops.pictures[row]).save(place)
    return folders.read(folder)


def answers(file) -> dict[str, tuple]:
    """What a CSV of answers says of each picture, by its row in FER2013."""
    with open(file, newline="") as text:
        rows = {os.path.basename(row.pop("path")): row for row in csv.DictReader(text)}
    return {name.removesuffix(".png").removeprefix("row "): row for name, row in rows.items()}


@pytest.mark.parametrize("how", [{}, {"flip": True}, {"raw": True}], ids=["plain", "flip", "raw"])
def test_a_split_and_a_folder_of_its_pictures_give_the_same_figures(
    tiny, real, crops, as_files, tmp_path, how
):
    """In batches of another order; only what votes say beyond their majority is the split's."""
    how = how | {"weights": tiny, "precision": "float32"}
    one = evaluate(crops, faces="crop", out=tmp_path / "split.csv", **how)
    other = evaluate(as_files, out=tmp_path / "folder.csv", known=real, **how)
    for name in SAME:
        assert getattr(one, name) == getattr(other, name), name
    assert one.n == other.n == other.cropped == len(crops)
    assert one.agreement is not None and other.agreement is None
    split, folder = answers(tmp_path / "split.csv"), answers(tmp_path / "folder.csv")
    assert set(split) == set(folder) == set(map(str, crops.rows))
    for row, said in split.items():
        assert (said["truth"], said["answer"]) == (folder[row]["truth"], folder[row]["answer"])
        for name in labels.EMOTIONS:
            assert float(said[name]) == pytest.approx(float(folder[row][name]), abs=2e-6)


def test_figures_are_those_of_what_classify_answers(tiny, crops):
    """Beside the plain mean, and `metrics.measure` for what the voters say."""
    scores = Recognizer(tiny, precision="float32").classify(crops.pictures)
    found = evaluate(crops, tiny, "crop", precision="float32")
    right = scores.argmax(axis=1) == crops.truth
    assert found.accuracy == pytest.approx(right.mean(), abs=1e-5)
    assert found.about == {"split": "valid", "protocol": "fer2013new.csv"}
    wanted = metrics.measure(scores, crops)
    for name in ("kl", "loss", "ece"):
        assert getattr(found, name) == pytest.approx(getattr(wanted, name), abs=2e-5)


def test_figures_for_print_are_of_the_same_answers(tiny, crops, tmp_path, monkeypatch):
    given, write = [], figures.write
    monkeypatch.setattr(figures, "write", lambda *args: given.append(args) or write(*args))
    found = evaluate(crops, tiny, "crop", figures=tmp_path / "new")
    ((_, report, sure, right, kind),) = given
    assert report is found and kind == "votes"
    assert right.mean() == pytest.approx(found.accuracy, abs=1e-5)
    assert metrics.calibration_error(sure, right) == pytest.approx(found.ece, abs=1e-5)
    assert len(list((tmp_path / "new").glob("*.pdf"))) == 3


def test_raw_answers_are_without_bias_and_temperature(tiny, crops, tmp_path):
    fer = Recognizer(tiny, precision="float32")
    (net, info), file = fer.nets[0], tmp_path / "a.csv"
    assert info.temperature != 1
    assert evaluate(crops, tiny, "crop", raw=True, precision="float32", out=file).raw
    fer.nets = [(net, info.raw())]
    wanted = fer.classify(crops.pictures)
    found = answers(file)
    got = [[float(found[str(row)][name]) for name in labels.EMOTIONS] for row in crops.rows]
    np.testing.assert_allclose(got, wanted, atol=2e-6)


def test_pictures_of_other_classes_are_refused(tiny):
    pets = Dataset(np.zeros((2, 48, 48), np.uint8), np.array([0, 1]), ("cat", "dog"))
    with pytest.raises(FerlibError, match=r"cat.*contempt"):
        evaluate(pets, tiny)


def test_nothing_to_measure_is_told(tiny):
    nobody = voted(np.ones((2, 10), int))
    with pytest.raises(FerlibError, match="majority"):
        evaluate(nobody, tiny)
