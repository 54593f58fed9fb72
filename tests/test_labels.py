"""The four schemes of the paper, against rows worked by hand from its section 3."""

import numpy as np
import pytest

from ferlib.data import labels

#        neu hap sur sad ang dis fea con unk  NF
CLEAR = [0, 9, 1, 0, 0, 0, 0, 0, 0, 0]  # the one vote for surprise is a slip
MIXED = [4, 0, 0, 1, 3, 2, 0, 0, 0, 0]  # 9 left: neutral 4, anger 3, disgust 2
HALF = [5, 0, 0, 5, 0, 0, 0, 0, 0, 0]  # nobody has more than half
UNSURE = [0, 4, 0, 0, 0, 0, 0, 0, 6, 0]  # "unknown" has the majority
NO_FACE = [0, 0, 0, 0, 0, 0, 0, 0, 0, 10]
SPREAD = [3, 3, 2, 0, 0, 0, 0, 0, 2, 0]  # 10 left, neutral and happiness 30 % each
VOTES = np.array([CLEAR, MIXED, HALF, UNSURE, NO_FACE, SPREAD], np.uint8)


def test_single_votes_are_dropped_and_nothing_else():
    assert labels.drop_singles(VOTES)[0].tolist() == [0, 9, 0, 0, 0, 0, 0, 0, 0, 0]
    assert labels.drop_singles(VOTES)[1].tolist() == [4, 0, 0, 0, 3, 2, 0, 0, 0, 0]


def test_majority_needs_more_than_half_of_what_is_left():
    # MIXED: 4 of 9; HALF: 5 of 10; UNSURE and NO_FACE: won by what is no emotion.
    assert labels.majority(VOTES).tolist() == [1, -1, -1, -1, -1, -1]
    assert labels.majority(np.array([[5, 0, 0, 4, 0, 0, 0, 0, 1, 0]]))[0] == 0  # 5 of 9


def test_usable_rows_are_won_by_an_emotion_and_held_by_emotions():
    assert labels.usable(VOTES).tolist() == [True, True, True, False, False, True]
    # happiness is the top class, but the emotions hold 4 of 8, which is not more than half
    assert not labels.usable(np.array([[0, 4, 0, 0, 0, 0, 0, 0, 2, 2]]))[0]


def test_majority_and_cross_entropy_targets():
    hard = labels.targets(VOTES[:2], "majority")
    assert hard.tolist() == [[0, 1, 0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0]]
    soft = labels.targets(VOTES[:2], "cross-entropy")
    np.testing.assert_allclose(soft[1], np.array([4, 0, 0, 0, 3, 2, 0, 0]) / 9, rtol=1e-6)
    assert soft.dtype == np.float32


def test_multi_target_accepts_thirty_percent_of_all_votes_left():
    # MIXED: 4/9 and 3/9 are accepted, 2/9 is not. SPREAD: 3/10 twice, 2/10 not.
    accepted = labels.targets(VOTES[[1, 5]], "multi-target")
    assert accepted[0].tolist() == [1, 0, 0, 0, 1, 0, 0, 0]
    assert accepted[1].tolist() == [1, 1, 0, 0, 0, 0, 0, 0]


def test_multi_target_counts_votes_for_no_emotion_among_all():
    votes = np.array([[4, 2, 0, 0, 0, 0, 0, 0, 4, 0]])  # two of ten are too few, of six enough
    assert labels.targets(votes, "multi-target").tolist() == [[1, 0, 0, 0, 0, 0, 0, 0]]


def test_probability_draws_afresh_in_the_voters_proportions():
    rng = np.random.default_rng(0)
    drawn = labels.targets(np.repeat(VOTES[1:2], 9000, axis=0), "probability", rng)
    assert (drawn.sum(axis=1) == 1).all() and set(np.unique(drawn)) == {0, 1}
    expected = np.array([4, 0, 0, 0, 3, 2, 0, 0]) / 9
    deviation = np.sqrt(expected * (1 - expected) / 9000)
    assert (abs(drawn.mean(axis=0) - expected) <= 4 * deviation).all()
    again = labels.targets(np.repeat(VOTES[1:2], 9000, axis=0), "probability", rng)
    assert (drawn != again).any()


def test_an_unknown_scheme_is_named():
    with pytest.raises(ValueError, match="softmax"):
        labels.targets(VOTES, "softmax")


def test_rarity_counts_vote_shares_in_logarithms():
    votes = np.array([[10, 0, 0, 0, 0, 0, 0, 0, 0, 0], [5, 5, 0, 0, 0, 0, 0, 0, 0, 0]])
    rarity = labels.rarity(labels.shares(votes))
    np.testing.assert_allclose(rarity[:2], [0, np.log(3)], atol=1e-6)
    np.testing.assert_allclose(rarity[2:7], np.log(750), atol=1e-6)
    assert rarity[7] == 0  # contempt is not favoured


def test_rarity_of_other_classes():
    share = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [1, 0, 0]], float)
    rarity = labels.rarity(share, ("cat", "dog", "contempt"))
    np.testing.assert_allclose(rarity, [0, np.log(3), 0], atol=1e-6)
    assert labels.rarity(share, ("cat", "dog", "hare"))[2] == pytest.approx(np.log(750))


#                  cat  dog  hare
SHARES = np.array([[0.5, 0.3, 0.2], [0, 1, 0], [0.29, 0.31, 0.4]], np.float32)


def test_shares_of_other_classes_are_targets_by_each_scheme():
    hard, soft, several = (
        labels.targets_of_shares(SHARES, scheme)
        for scheme in ("majority", "cross-entropy", "multi-target")
    )
    assert hard.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    np.testing.assert_array_equal(soft, SHARES)
    assert several.tolist() == [[1, 1, 0], [0, 1, 0], [0, 1, 1]]
    many = np.repeat(SHARES[:1], 9000, axis=0)
    drawn = labels.targets_of_shares(many, "probability", np.random.default_rng(0))
    assert (drawn.sum(axis=1) == 1).all()
    np.testing.assert_allclose(drawn.mean(axis=0), SHARES[0], atol=0.022)  # four deviations
    with pytest.raises(ValueError, match="softmax"):
        labels.targets_of_shares(SHARES, "softmax")


def test_each_class_has_a_colour_and_emotions_their_own():
    assert labels.colours(labels.EMOTIONS) == labels.COLOURS
    mixed = labels.colours(("cat", "fear", "dog"))
    assert set(mixed) == {"cat", "fear", "dog"} and mixed["fear"] == labels.COLOURS["fear"]
    assert len(set(mixed.values())) == 3
    many = labels.colours([f"{k:02}" for k in range(40)])
    assert tuple(many.values())[:8] == labels.HUES and len(set(many.values())) == 40
