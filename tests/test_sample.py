"""The drawn faces: files like the published ones, votes like people's, emotions told apart."""

import csv

import numpy as np
import pytest

from ferlib.data import cartoon, sample
from ferlib.data.labels import EMOTIONS, majority
from ferlib.errors import FerlibError

N = (200, 30, 25)


@pytest.fixture(scope="module")
def drawn(many_drawn):
    return many_drawn


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample") / "new"
    sample.write(folder, N, seed=7)
    return folder


def _rows(path) -> list[list[str]]:
    with open(path, newline="") as file:
        return list(csv.reader(file))


def test_pictures_are_in_the_published_format(folder):
    header, *rows = _rows(folder / "fer2013.csv")
    assert header == ["emotion", "pixels", "Usage"]
    usage = ["Training"] * N[0] + ["PublicTest"] * N[1] + ["PrivateTest"] * N[2]
    assert [row[2] for row in rows] == usage
    assert {row[0] for row in rows} == set("0123456")
    pixels = np.array([row[1].split(" ") for row in rows]).astype(int)
    assert pixels.shape == (sum(N), 48 * 48)
    assert pixels.min() == 0 and 200 < pixels.max() <= 255
    np.testing.assert_array_equal(
        pixels, sample.sample(N, seed=7).pictures.reshape(sum(N), 48 * 48)
    )


def test_votes_are_in_the_published_format(folder):
    text = (folder / "fer2013new.csv").read_bytes()
    assert text.startswith(
        b"Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,"
        b"unknown,NF\nTraining,fer0000000.png,"
    )
    assert b"\r" not in text and text.endswith(b"\n")
    rows = _rows(folder / "fer2013new.csv")[1:]
    assert [row[0] for row in rows] == [row[2] for row in _rows(folder / "fer2013.csv")[1:]]
    assert {len(row) for row in rows} == {12}
    assert {sum(map(int, row[2:])) for row in rows} == {10}


def test_names_lag_behind_the_rows_and_are_missing_without_a_face(folder):
    rows = _rows(folder / "fer2013new.csv")[1:]
    named = [(k, row[1]) for k, row in enumerate(rows) if row[1]]
    lags = [k - int(name[3:10]) for k, name in named]
    assert all(len(name) == 14 and name.endswith(".png") for _, name in named)
    assert lags == sorted(lags) and lags[0] == 0 and lags[-1] >= 1
    assert len({name for _, name in named}) == len(named) < len(rows)
    for row in rows:
        assert row[1] or row[2:] == ["0"] * 9 + ["10"]


def test_rows_without_a_face_are_few_and_some_are_black(drawn):
    nothing = drawn.drawn < 0
    assert 0.004 < nothing.mean() < 0.009
    black = drawn.pictures.reshape(len(nothing), -1).max(axis=1) == 0
    assert 1 <= black.sum() < nothing.sum()
    assert not (black & ~nothing).any()
    assert (majority(drawn.votes)[nothing] == -1).all()


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes_and_another_does_not(folder, tmp_path):
    sample.write(tmp_path, N, seed=7)
    sample.write(tmp_path / "other", N, seed=6)
    for name in ("fer2013.csv", "fer2013new.csv"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
        assert (tmp_path / "other" / name).read_bytes() != (folder / name).read_bytes()
    assert sorted(p.name for p in folder.iterdir()) == ["fer2013.csv", "fer2013new.csv"]


def test_nothing_is_left_when_writing_fails(tmp_path):
    (tmp_path / "fer2013new.csv").mkdir()  # a folder in the place of the second file
    with pytest.raises(FerlibError) as told:
        sample.write(tmp_path, (20, 5, 5))
    assert told.value.code == "not_written"
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_emotions_are_as_uneven_as_asked(drawn):
    for split, rows in enumerate((1600, 200, 200)):
        part = drawn.drawn[(drawn.usage == split) & (drawn.drawn >= 0)]
        shares = np.bincount(part, minlength=8) / rows
        np.testing.assert_allclose(shares, sample.SHARES, atol=0.02)
    assert sum(sample.SHARES) == pytest.approx(1)


def test_the_majority_is_nearly_always_the_drawn_emotion(drawn):
    top = majority(drawn.votes)
    kept = (top >= 0) & (drawn.drawn >= 0)
    assert (top == drawn.drawn)[kept].mean() >= 0.95
    assert 0.85 < kept.mean() < 0.97  # FER+ keeps 0.87 to 0.89


def test_voters_disagree_about_as_much_as_those_of_ferplus(drawn):
    votes = drawn.votes[drawn.drawn >= 0].astype(int)
    top = votes.max(axis=1).mean() / 10
    pair = (votes * (votes - 1)).sum(axis=1).mean() / 90  # two people of the ten agree
    assert top == pytest.approx(0.75, abs=0.025)  # FER+: 0.739 over its named rows
    assert pair == pytest.approx(0.615, abs=0.025)  # FER+: 0.608
    assert 0.02 < votes[:, 8].mean() / 10 < 0.05  # unknown


def test_voters_confuse_what_people_confuse():
    def mean(emotion, intensity):
        of = np.full(4000, EMOTIONS.index(emotion))
        votes = sample.votes(of, np.full(4000, intensity), np.random.default_rng(0))
        return dict(zip(EMOTIONS, votes.mean(axis=0), strict=False))

    assert max(mean("fear", 1), key=mean("fear", 1).get) == "fear"
    for emotion, other in [("fear", "surprise"), ("surprise", "fear"), ("disgust", "anger")]:
        second = sorted(mean(emotion, 1).items(), key=lambda item: item[1])[-2][0]
        assert second == other
    for emotion in EMOTIONS[1:]:  # a weak expression looks neutral
        assert mean(emotion, 0.45)["neutral"] > mean(emotion, 1)["neutral"] + 1.5


def test_fer2013s_own_label_is_one_persons_answer(drawn):
    seven = np.array([6, 3, 5, 4, 0, 1, 2])[np.clip(drawn.drawn, 0, 6)]
    plain = (drawn.drawn >= 0) & (drawn.drawn < 7)
    agree = (drawn.classes == seven)[plain].mean()
    assert 0.68 < agree < 0.82
    assert set(drawn.classes[drawn.drawn == 7]) <= set(range(7))


def test_a_few_pictures_repeat_training_pictures(drawn):
    again = drawn.first != np.arange(len(drawn.first))
    assert 3 <= again.sum() <= 40 and not again[drawn.usage == 0].any()
    np.testing.assert_array_equal(drawn.pictures[again], drawn.pictures[drawn.first[again]])
    assert (drawn.votes[again] != drawn.votes[drawn.first[again]]).any()  # voted on afresh


def _mean_face(emotion: str, first: int) -> np.ndarray:
    """Mean of 24 full-strength faces with seeds of their own, mean 0 and deviation 1."""
    faces = [
        cartoon.draw(emotion, np.random.default_rng([first, k]), intensity=1.0) for k in range(24)
    ]
    mean = np.mean(faces, axis=0)
    return ((mean - mean.mean()) / mean.std()).ravel()


def test_the_eight_emotions_look_different():
    """A mean face lies nearest to the mean face of the same emotion on other people."""
    some = np.array([_mean_face(emotion, 1) for emotion in EMOTIONS])
    others = np.array([_mean_face(emotion, 2) for emotion in EMOTIONS])
    np.testing.assert_array_equal((some @ others.T).argmax(axis=1), np.arange(8))


def test_one_face_at_two_sizes_is_the_same_face():
    small = cartoon.draw("fear", np.random.default_rng(4), 48, intensity=1)
    large = cartoon.draw("fear", np.random.default_rng(4), 240, intensity=1)
    assert large.shape == (240, 240) and large.dtype == np.uint8
    shrunk = large.reshape(48, 5, 48, 5).mean(axis=(1, 3))
    assert np.corrcoef(shrunk.ravel(), small.ravel())[0, 1] > 0.97


def test_no_intensity_is_neutral():
    for emotion in EMOTIONS:
        face = cartoon.pose(emotion, 0.0, np.random.default_rng(0))
        rest = {name: value for name, (value, _) in cartoon.REST.items()}
        assert abs(face.mouth_curve - rest["mouth_curve"]) < 0.06
        assert abs(face.brow_inner - rest["brow_inner"]) < 0.1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: cartoon.draw("joy", np.random.default_rng(0)), "unknown emotion 'joy'"),
        (lambda: sample.sample((10, 10)), "three numbers of rows"),
        (lambda: sample.sample((10, 0, 10)), "at least 1"),
    ],
)
def test_mistakes_are_told(call, words):
    with pytest.raises(FerlibError, match=words):
        call()
