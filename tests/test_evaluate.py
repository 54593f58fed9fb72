"""The figures, against hand-made cases and SciPy."""

import numpy as np
import pytest
from scipy.stats import entropy

from ferlib import evaluate, labels
from ferlib.errors import FerlibError

RNG = np.random.default_rng(0)


def test_accuracy_counts_only_images_with_a_majority():
    votes = np.zeros((4, 10), int)
    votes[[0, 1, 2], [0, 1, 1]] = 10  # neutral, happiness, happiness
    votes[3, :4] = (3, 3, 2, 2)  # nobody agrees
    scores = np.eye(8, dtype=np.float32)[[0, 1, 3, 2]]
    result = evaluate.measure(scores, votes)
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
    rows = evaluate.agreement(correct, votes, np.zeros(5, int))
    assert [row["n"] for row in rows] == [0, 2, 1, 2]
    assert [row["net"] for row in rows] == [None, 0.5, 1.0, 0.5]
    assert [row["voter"] for row in rows] == [None, 0.7, 0.9, 1.0]


def test_divergence_is_scipys():
    scores = RNG.dirichlet(np.ones(8), 50).astype(np.float32)
    votes = np.zeros((50, 10), int)
    votes[:, :8] = RNG.multinomial(10, [0.7, 0.2, 0.02, 0.02, 0.02, 0.02, 0.01, 0.01], 50)
    kept = labels.majority(votes) >= 0
    wanted = entropy(labels.shares(votes[kept]), scores[kept], axis=1).mean()
    assert evaluate.measure(scores, votes)["kl"] == pytest.approx(wanted, abs=1e-4)


def test_calibration_error_by_hand():
    # ten answers at 0.95 of which eight are right, ten at 0.55 of which five are
    confidence = np.repeat([0.95, 0.55], 10)
    correct = np.array([1] * 8 + [0] * 2 + [1] * 5 + [0] * 5)
    assert evaluate.calibration_error(confidence, correct) == pytest.approx((0.15 + 0.05) / 2)


def test_temperature_undoes_a_known_one():
    logits = RNG.normal(size=(4000, 8)) * 2
    share = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert evaluate.fit_temperature(logits * 1.7, share) == pytest.approx(1.7, abs=0.02)


def test_bias_finds_rare_emotions_and_costs_at_most_what_it_may():
    # A teller that knows shares only, p(class | x) proportional to share * likelihood.
    share = np.array([0.5, 0.3, 0.1, 0.05, 0.03, 0.01, 0.005, 0.005])
    truth = RNG.choice(8, 20000, p=share)
    clues = RNG.normal(size=(20000, 8)) + 2 * np.eye(8)[truth]
    logits = 2 * clues + 1.5 * np.log(share)  # overrates what is common
    bias = evaluate.fit_bias(logits, truth, np.log(share.max() / share))
    before, after = logits.argmax(axis=1), (logits + bias).argmax(axis=1)
    assert (after == truth).mean() >= (before == truth).mean() - evaluate.COST
    found = [(answer[truth >= 4] == truth[truth >= 4]).mean() for answer in (before, after)]
    assert found[1] > found[0] + 0.1
    assert bias[0] == 0 and (np.diff(bias) >= 0).all()
    fair = evaluate.fit_bias(2 * clues, truth, np.zeros(8))
    np.testing.assert_array_equal(fair, np.zeros(8))


def test_no_majority_anywhere_is_a_plain_error():
    with pytest.raises(FerlibError, match="majority"):
        evaluate.measure(np.ones((2, 8)) / 8, np.ones((2, 10), int))
