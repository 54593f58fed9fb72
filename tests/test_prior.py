"""Answers under another prior: Bayes' rule, by hand and on every path to an answer."""

import json
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from command import ferlib, mistake
from common import ROOT, astronaut
from PIL import Image

from ferlib import Recognizer, nets
from ferlib.data import cartoon
from ferlib.data.labels import EMOTIONS
from ferlib.errors import FerlibError
from ferlib.evaluation import adapt
from ferlib.faces import video
from ferlib.faces.frames import Frame
from ferlib.nets.answer import softmax
from ferlib.nets.info import Info
from ferlib.nets.places import weight_files
from ferlib.nets.prior import shift, told, under
from ferlib.plots.evaluation import TRADED, prior_trade
from ferlib.serving import archive, server

sys.path.insert(0, str(ROOT / "experiments"))
import prior as experiment

RNG = np.random.default_rng(0)
SHARES = (0.34, 0.28, 0.13, 0.13, 0.085, 0.007, 0.025, 0.003)
BIAS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, -0.6, 0.0)
CROPS = RNG.integers(0, 256, (5, 48, 48)).astype(np.uint8)
POSED = dict.fromkeys(("anger", "disgust", "fear"), 1)


def stored(folder, name: str, seed: int, shares=SHARES, temperature: float = 0.6) -> str:
    """A small net with random weights that tells its shares."""
    info = Info.of(nets.find("vgg-tiny"))
    info = replace(info, bias=BIAS, temperature=temperature, shares=shares)
    nets.save(nets.create("vgg-tiny", seed=seed), folder / name, info)
    return str(folder / name)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return stored(tmp_path_factory.mktemp("prior"), "tiny", 3)


def weighed(scores, numbers, shares=SHARES) -> np.ndarray:
    """What Bayes' rule makes of probabilities, in float64."""
    scores = scores.astype(float) * np.array(numbers) / np.array(shares)
    return scores / scores.sum(axis=1, keepdims=True)


# ---------------------------------------------------------------- what a prior does


def test_a_teller_that_knows_everything_still_does_where_classes_are_as_frequent_as_it_is_told():
    """Clues are normal about a place of each class; the teller's probabilities are exact."""
    info = under(Info(classes=("a", "b", "c"), shares=(0.7, 0.2, 0.1)), {"a": 1, "b": 1, "c": 2})
    truth = RNG.choice(3, 20_000, p=(0.25, 0.25, 0.5))
    clues = truth + RNG.normal(size=20_000)
    known = -0.5 * (clues[:, None] - np.arange(3)) ** 2
    scores = softmax(np.log(info.shares) + known + shift(info))
    exact = softmax(np.log((0.25, 0.25, 0.5)) + known)
    np.testing.assert_allclose(scores, exact, atol=1e-6)
    np.testing.assert_allclose(scores.mean(axis=0), (0.25, 0.25, 0.5), atol=0.01)
    before, after = (
        (found.argmax(axis=1) == truth).mean()
        for found in (softmax(np.log(info.shares) + known), scores)
    )
    assert after > before + 0.1


@pytest.mark.parametrize("flip", [False, True])
def test_probabilities_are_weighed_after_bias_and_temperature(tiny, flip):
    """Each picture and its mirror image by itself, before they are averaged."""
    numbers = np.arange(1.0, 9.0)
    fer = Recognizer(tiny, flip=flip, prior=list(numbers), precision="float32")
    sides = [CROPS, CROPS[..., ::-1]] if flip else [CROPS]
    plain = Recognizer(tiny, precision="float32")
    wanted = np.mean([weighed(plain.classify(side), numbers) for side in sides], axis=0)
    np.testing.assert_allclose(fer.classify(CROPS), wanted, atol=1e-6)
    assert np.abs(wanted - plain.classify(CROPS)).max() > 0.01


def test_the_nets_own_shares_change_nothing(tiny):
    plain, fer = Recognizer(tiny), Recognizer(tiny, prior=SHARES)
    np.testing.assert_allclose(fer.classify(CROPS), plain.classify(CROPS), atol=1e-6)


def test_a_prior_can_be_said_in_several_ways_and_only_ratios_matter():
    info = Info(shares=SHARES)
    first = under(info, "happiness=3, neutral=1")
    assert (
        first.prior == (0.25, 0.75, 0, 0, 0, 0, 0, 0)
        and told(first) == "neutral=0.25,happiness=0.75"
    )
    same = ({"neutral": 1, "happiness": 3}, [1, 3, 0, 0, 0, 0, 0, 0], np.array([2, 6] + [0] * 6))
    assert all(under(info, prior) == first for prior in (*same, told(first), first.prior))
    assert under(info, "uniform").prior == (0.125,) * 8
    assert under(info, None) is info and told(info) == "" and not shift(info).any()
    assert under(first, "uniform") == under(info, "uniform")  # the last one counts
    largest = under(info, {"anger": 1e308, "fear": 1e308}).prior
    assert largest[EMOTIONS.index("fear")] == 0.5


def test_a_class_that_the_net_never_expects_does_not_swallow_all_others():
    info = under(Info(classes=("a", "b"), shares=(1.0, 0.0)), "uniform")
    assert np.isfinite(shift(info)).all()


WRONG = (
    "often", "", "happiness", "happiness=much", "anger=1,anger=2", "anger=-1", "anger=inf",
    "anger=nan", "anger=0", {}, {"anger": None}, {"anger": "much"}, [1, 2], [1] * 9,
    [[1] * 8], 3, {"fear"}, [1j] * 8, [10**400] + [1] * 7,
)  # fmt: skip


@pytest.mark.parametrize("prior", WRONG, ids=str)
def test_what_is_no_prior_is_told_in_two_lines(prior):
    with pytest.raises(FerlibError, match="expected uniform") as error:
        under(Info(shares=SHARES), prior)
    assert len(str(error.value).splitlines()) == 2


def test_an_unknown_class_lists_those_there_are_and_weights_without_shares_are_refused():
    with pytest.raises(FerlibError, match=r"'joy'.*neutral, happiness.*contempt"):
        under(Info(shares=SHARES), {"joy": 1})
    with pytest.raises(FerlibError, match="shares"):
        under(Info(network="mine"), "uniform")


SPOILT = (
    {"prior": [1.0]},
    {"prior": "12345678"},
    {"prior": [0.0] * 8},
    {"prior": [2.0] * 7 + [-1.0]},
    {"prior": [1.0] * 8, "shares": None},
)


@pytest.mark.parametrize("change", SPOILT, ids=str)
def test_a_prior_is_kept_in_the_file_and_one_that_is_none_is_refused_there(change, tmp_path):
    info, path = under(Info(shares=SHARES), "fear=1,anger=2"), tmp_path / "net.json"
    info.write(path)
    assert Info.read(path) == info and info.raw().prior is None
    path.write_text(json.dumps(json.loads(info.text()) | change))
    with pytest.raises(FerlibError, match=r"net\.json"):
        Info.read(path)


# ---------------------------------------------------------------- every path to an answer


def test_several_nets_are_each_held_against_their_own_shares(tiny, tmp_path):
    shares = SHARES[::-1]
    other = stored(tmp_path, "other", 4, shares, 1.4)
    plain = [Recognizer(prefix).classify(CROPS) for prefix in (tiny, other)]
    wanted = (weighed(plain[0], [1] * 8) + weighed(plain[1], [1] * 8, shares)) / 2
    fer = Recognizer([tiny, other], prior="uniform")
    np.testing.assert_allclose(fer.classify(CROPS), wanted, atol=1e-6)


def one_face(picture):
    return np.array([[150, 50, 130, 130]]), np.array([0.99])


def only(scores: dict[str, float]) -> bool:
    """Only what occurs is answered."""
    return {name for name, score in scores.items() if score} == set(POSED)


def test_what_does_not_occur_has_no_probability_in_photographs_and_videos(tiny):
    fer, photo = Recognizer(tiny, detector=one_face, prior=POSED), astronaut()
    assert (fer.classify(CROPS)[:, [0, 1, 2, 3, 7]] == 0).all()
    assert only(fer(photo)[0].scores) and only(fer.many([photo])[0][0].scores)
    seen = [Frame(k, k / 25, photo) for k in range(3)]
    for _, faces in video.follow(seen, fer):
        assert only(faces[0].scores)


def test_an_archive_answers_by_the_prior_that_it_was_packed_with(tiny, tmp_path):
    plain = archive.pack(tiny, tmp_path / "plain.mar")
    packed = archive.pack(tiny, tmp_path / "posed.mar", POSED)
    archive.check(packed)
    with zipfile.ZipFile(plain) as one, zipfile.ZipFile(packed) as other:
        changed = [name for name in one.namelist() if one.read(name) != other.read(name)]
        assert one.namelist() == other.namelist()
        assert changed == ["MAR-INF/MANIFEST.json", "weights/tiny.json"]
        said = json.loads(other.read("MAR-INF/MANIFEST.json"))["model"]["description"]
        other.extractall(tmp_path / "unpacked")
    assert said == "tiny, prior anger=0.3333,disgust=0.3333,fear=0.3333"
    served = Recognizer(tmp_path / "unpacked" / "weights" / "tiny")  # as the handler does
    np.testing.assert_array_equal(
        served.classify(CROPS), Recognizer(tiny, prior=POSED).classify(CROPS)
    )
    assert Info.read(weight_files(tiny)[2]).prior is None  # the stored net is as it was


def test_a_prior_that_is_none_packs_nothing(tiny, tmp_path):
    with pytest.raises(FerlibError, match="joy"):
        archive.pack(tiny, tmp_path / "fer.mar", "joy=1")
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- the trade


def test_the_steps_lead_from_the_nets_own_prior_to_the_uniform_one():
    info = Info(shares=SHARES)
    for allowed in experiment.ALLOWED.values():
        start, end = (experiment.part_of_the_way(info, allowed, power).prior for power in (0, 1))
        kept = np.isin(EMOTIONS, allowed)
        np.testing.assert_allclose(start, kept * SHARES / (kept * SHARES).sum())
        np.testing.assert_allclose(end, kept / kept.sum())
    half, whole = experiment.part_of_the_way(info, EMOTIONS, 0.5), under(info, "uniform")
    assert np.ptp(shift(half) - shift(whole) / 2) < 1e-6


def test_logits_are_answered_as_the_net_answers(tiny):
    net, info = nets.load(tiny)
    raw = np.log(nets.predict(net, CROPS, info.raw()))
    for known in (info, under(info, "uniform")):
        wanted = nets.predict(net, CROPS, known)
        np.testing.assert_allclose(experiment.answered(raw, known), wanted, atol=1e-6)


def test_where_emotions_are_equally_frequent_a_rare_one_counts_as_much_by_hand():
    truth = np.array([0, 0, 0, 0, 5, 5])
    values = np.array([1, 1, 1, 0, 0, 1.0])
    error = np.sqrt(0.75 * 0.25 / 4 + 0.5 * 0.5 / 2) / 2
    found = experiment.equally(values, truth, ("neutral", "disgust"))
    assert found == pytest.approx((0.625, error), abs=1e-5)


def test_pictures_are_reframed_flattened_and_coarsened_by_hand():
    ramp = np.tile(np.arange(48, dtype=np.uint8) * 4, (48, 1))
    moved = experiment.reframed(ramp, 1, across=0.125)  # of 48 pixels: 6
    np.testing.assert_array_equal(moved, ramp[:, np.maximum(np.arange(48) - 6, 0)])
    np.testing.assert_array_equal(experiment.reframed(ramp.T, 1, down=0.125), moved.T)
    closer = experiment.reframed(ramp, 2)
    np.testing.assert_allclose(closer, np.tile(47 + 2 * np.arange(48.0), (48, 1)), atol=1)
    wider = experiment.reframed(ramp, 0.5)
    assert (wider[:, :12] == 0).all() and (wider[:, 36:] == 188).all()  # the border repeats
    np.testing.assert_array_equal(
        experiment.flattened(np.array([[0, 128, 255]], np.uint8), 0.25), [[96, 128, 160]]
    )
    rows = (np.indices((48, 48)).sum(axis=0) % 2 * 255).astype(np.uint8)
    assert np.ptp(experiment.coarse(rows).astype(int)) < 200
    np.testing.assert_array_equal(experiment.coarse(ramp * 0 + 7), 7)


@pytest.fixture(scope="module")
def report():
    """results/prior.json as the experiment would write it, of a net that guesses."""
    rng, info = np.random.default_rng(1), Info(shares=SHARES, bias=BIAS)
    truth = np.concatenate([np.arange(8), rng.choice(8, 192, p=SHARES)])
    infos = dict.fromkeys(experiment.NETS, info)
    looks = {one: rng.normal(size=(200, 8)) + np.eye(8)[truth] for one in experiment.LOOKS}
    curves = {
        which: experiment.curve(looks[experiment.LOOKS[0]], info, truth, allowed)
        for which, allowed in experiment.ALLOWED.items()
    }
    counts = dict(zip(EMOTIONS, np.bincount(truth).tolist(), strict=True))
    made = {"conditions": {"counts": counts}, "curves": {"plain": curves, "worse": curves}}
    return made | {"ways": experiment.ways(looks, infos, truth)}


def test_ways_are_told_beside_the_first(report):
    first, *others = report["ways"]
    start, end = (report["curves"]["plain"]["without contempt"][at] for at in (0, 10))
    assert end["power"] == 1 and first["posed"] == end["posed"]
    assert first["change"] == first["posed_change"] == first["change_error"] == 0
    for row in others:
        assert row["accuracy"] - first["accuracy"] == pytest.approx(row["change"], abs=2e-5)
        assert row["posed"] - first["posed"] == pytest.approx(row["posed_change"], abs=2e-5)
        assert row["change_error"] > 0
    assert start["per_emotion"]["contempt"] is None and start["per_emotion"]["neutral"] is not None
    assert start["posed"] == pytest.approx(start["balanced_accuracy"], abs=1e-5)


def test_the_trade_is_drawn_as_recorded(report, tmp_path):
    figure = prior_trade(report)
    ax, each = figure.axes
    rows = report["curves"]["plain"]
    for line, (which, key, _) in zip(ax.lines[::2], TRADED.values(), strict=False):
        np.testing.assert_array_equal(line.get_xdata(), experiment.POWERS)
        np.testing.assert_array_equal(line.get_ydata(), [row[key] for row in rows[which]])
    for line, name in zip(each.lines, EMOTIONS, strict=False):
        found = [row["per_emotion"][name] for row in rows["all"]]
        np.testing.assert_array_equal(line.get_ydata(), found)
        assert line.get_label().startswith(f"{name} (")
    figure.savefig(tmp_path / "trade.png")
    assert Image.open(tmp_path / "trade.png").width > 800


# ---------------------------------------------------------------- the command line


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Drawn faces in folders of emotions, three of each."""
    folder, rng = tmp_path_factory.mktemp("faces"), np.random.default_rng(0)
    for name in EMOTIONS[:7]:
        (folder / name).mkdir()
        for k in range(3):
            Image.fromarray(cartoon.draw(name, rng)).save(folder / name / f"{k}.png")
    return folder


def test_a_measured_net_answers_by_the_prior(tiny, folder):
    words = ("evaluate", "--folder", folder, "--weights", tiny, "--precision", "float32", "--json")
    done = ferlib(*words, "--prior", "anger=2,disgust=1,fear=1")
    assert "by the prior anger=0.5,disgust=0.25,fear=0.25" in done.stdout
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["prior"] == "anger=0.5,disgust=0.25,fear=0.25"
    assert found["emotions"] == ["anger", "disgust", "fear"] and found["kl"] is None
    pictures = [np.asarray(Image.open(path)) for path in sorted(folder.rglob("*.png"))]
    truth = [EMOTIONS.index(path.parent.name) for path in sorted(folder.rglob("*.png"))]
    fer = Recognizer(tiny, precision="float32", prior={"anger": 2, "disgust": 1, "fear": 1})
    wanted = (fer.classify(pictures).argmax(axis=1) == truth).mean()
    assert found["accuracy"] == pytest.approx(wanted, abs=1e-5)
    plain = json.loads(ferlib(*words).stdout.splitlines()[-1])
    assert plain["prior"] is None and len(plain["emotions"]) == 8


def test_what_a_set_of_pictures_tells_of_frequencies_is_the_same_whatever_was_stated():
    """Expectation and maximisation end at the same place from another prior."""
    info = Info(classes=("a", "b", "c"), shares=(0.7, 0.2, 0.1))
    truth = RNG.choice(3, 4000, p=(0.2, 0.2, 0.6))
    clues = 2 * truth[:, None] + RNG.normal(size=(4000, 1))
    logits = np.log(info.shares) - 0.5 * (clues - [[0, 2, 4]]) ** 2
    stated = under(info, {"a": 1, "b": 1, "c": 1})
    found = [
        adapt(softmax(logits + shift(one)), np.array(one.prior or one.shares)).mean(axis=0)
        for one in (info, stated)
    ]
    np.testing.assert_allclose(*found, atol=1e-3)
    np.testing.assert_allclose(found[0], (0.2, 0.2, 0.6), atol=0.03)
    never = under(info, {"a": 1, "c": 1})
    left = adapt(softmax(logits + shift(never)), np.array(never.prior))
    assert (left[:, 1] == 0).all() and np.isfinite(left).all()


def test_a_photograph_is_read_and_an_archive_packed_by_the_prior(tiny, tmp_path):
    Image.fromarray(astronaut()).save(photo := tmp_path / "photo.png")
    done = ferlib("predict", photo, "--weights", tiny, "--prior", "fear=1,disgust=1", "--json")
    faces = json.loads(done.stdout)["photos"][0]["faces"]
    assert faces and all(face["emotion"] in ("fear", "disgust") for face in faces)
    mar = tmp_path / "posed.mar"
    assert ferlib("pack", "--weights", tiny, "--prior", "uniform", "--out", mar).returncode == 0
    assert mar.read_bytes() == archive.pack(tiny, tmp_path / "same.mar", "uniform").read_bytes()


def test_a_server_packs_by_the_prior_and_leaves_a_packed_archive_as_it_is(
    tiny, tmp_path, monkeypatch
):
    (tmp_path / "model_store").mkdir()
    monkeypatch.chdir(tmp_path)
    archive.pack(tiny, "model_store/fer.mar")
    server._fill(tmp_path, None, server.How(tiny, prior="uniform"), 1)
    wanted = archive.pack(tiny, tmp_path / "uniform.mar", "uniform")
    assert (tmp_path / f"{server.NAME}.mar").read_bytes() == wanted.read_bytes()
    said = mistake(ferlib("serve", "--archive", "model_store/fer.mar", "--prior", "uniform"), 2)
    assert "ferlib pack" in said


MISTAKES = (("often", "expected uniform"), ("joy=1", "neutral, happiness"), ("fear=0", "not all 0"))


@pytest.mark.parametrize(("prior", "told"), MISTAKES)
@pytest.mark.parametrize("words", [("evaluate",), ("predict", "photo.png"), ("pack",)])
def test_a_prior_that_is_none_is_a_plain_mistake(tiny, words, prior, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert told in mistake(ferlib(*words, "--weights", tiny, "--prior", prior))
    assert not list(tmp_path.iterdir())


def test_answers_that_the_prior_excludes_are_told(tiny, folder):
    words = ("evaluate", "--folder", folder, "--weights", tiny, "--emotions", "neutral")
    assert "none of neutral" in mistake(ferlib(*words, "--prior", "fear=1"))


# ---------------------------------------------------------------- what was recorded

RECORDED = json.loads((ROOT / "results" / "prior.json").read_text())


def test_the_trade_is_of_the_shipped_net_on_the_whole_split():
    known = json.loads((ROOT / "model_store" / "ferplus.json").read_text())["valid"]
    start = RECORDED["curves"]["as they are"]["all"][0]
    assert (
        RECORDED["conditions"]["n"] == known["n"] == sum(RECORDED["conditions"]["counts"].values())
    )
    assert start["accuracy"] == pytest.approx(known["accuracy"], abs=4e-4)
    assert start["balanced_accuracy"] == pytest.approx(known["balanced_accuracy"], abs=5e-3)
    assert list(RECORDED["ways"]) == list(experiment.SETS)


def test_the_guide_says_what_was_recorded():
    text, curves = (ROOT / "docs" / "own-data.md").read_text(), RECORDED["curves"]["as they are"]
    steps = [{which: rows[at] for which, rows in curves.items()} for at in (0, 5, 10)]
    told = {
        "as frequent as in FER+": [step["all"]["accuracy"] for step in steps],
        "all eight equally frequent": [step["all"]["balanced_accuracy"] for step in steps],
        "the six basic emotions and neutral, never contempt": [
            step["without contempt"]["posed"] for step in steps
        ],
        "the six basic emotions alone": [
            step["without neutral and contempt"]["posed"] for step in steps
        ],
    }
    faces = {"neutral": "", "disgust": " (24 faces)", "fear": " (62 faces)"}
    for name, more in faces.items():
        told[f"of {name}{more}"] = [step["all"]["per_emotion"][name] for step in steps]
        assert more in ("", f" ({RECORDED['conditions']['counts'][name]} faces)")
    for name, values in told.items():
        assert f"| {name} | {' | '.join(f'{100 * value:.1f} %' for value in values)} |" in text


def test_the_guide_says_rightly_what_pays_and_what_does_not():
    """A uniform prior gives as much on worse pictures; no other way to read gives a point."""
    for curves in RECORDED["curves"].values():
        for which in ("without contempt", "without neutral and contempt"):
            gain = curves[which][10]["posed"] - curves[which][0]["posed"]
            assert gain > 0.06
            errors = [row["posed_error"] for row in curves[which][:11]]
            assert min(errors) > 0.01 and max(errors) < 0.021
    for rows in RECORDED["ways"].values():
        change = {row["way"]: row["change"] for row in rows}
        assert change["closer and wider too"] < 0.001 and change["equalised"] < -0.01
        assert max(change["mirrored too"], change["three nets"]) < 0.01
    counts = RECORDED["conditions"]["counts"]
    n = sum(counts.values())
    assert 0.6 < (counts["neutral"] + counts["happiness"]) / n < 0.66
    assert all(counts[name] / n < 0.02 for name in ("disgust", "fear", "contempt"))
