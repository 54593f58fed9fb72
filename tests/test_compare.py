"""experiments/compare.py: what it compares, its arithmetic, and the figures that it recorded."""

import copy
import csv
import json
import re
import shutil
import sys
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ferlib import nets as networks
from ferlib import training
from ferlib.data import fer2013, labels, sample
from ferlib.errors import FerlibError
from ferlib.evaluation import evaluate
from ferlib.metrics import measure
from ferlib.nets.info import Trained
from ferlib.nets.places import weight_files

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "experiments")]
import compare  # noqa: E402
import pages  # noqa: E402
from conditions import result  # noqa: E402

VALID = {"split": "valid", "protocol": "fer2013new.csv"}
RECIPE = json.loads(json.dumps(asdict(training.Recipe(net="vgg-tiny", epochs=2))))


def how(**changes) -> dict:
    """What `ferlib train` writes about a net, as far as it is compared."""
    machine = {"precision": changes.pop("precision", "float32")}
    pictures = changes.pop("pictures", 40)
    return {"recipe": RECIPE | changes, "machine": machine, "pictures": pictures}


def save(prefix: Path, **changes) -> str:
    """A net of chance weights where a finished one would be, with its log."""
    net = networks.create("vgg-tiny", seed=changes.get("seed", 0) + 10 * len(prefix.name))
    info = networks.Info.of(networks.find("vgg-tiny"))
    info = replace(info, trained=Trained(**how(**changes)), bias=(0, 5, *[0] * 6), temperature=3)
    networks.save(net, prefix, info)
    Path(f"{prefix}-run").mkdir()
    Path(f"{prefix}-run", "log.csv").write_text("epoch,lr\n1,0.1\n2,0.0\n")
    return str(prefix)


@pytest.fixture(scope="module")
def data():
    """Drawn faces with two sources of votes, which disagree about some."""
    made = sample.sample((8, 40, 40), seed=5)
    other = made.votes.copy()
    other[::5] = np.roll(other[::5], 1, axis=1)
    votes = dict(zip(fer2013.PROTOCOLS, (made.votes, other), strict=True))
    rows = np.arange(len(made.usage), dtype=np.int32)
    return fer2013.Fer2013(made.pictures, made.usage, made.classes, made.names, votes, rows)


@pytest.fixture(scope="module")
def nets(tmp_path_factory) -> dict[str, list[str]]:
    """Two groups of three seeds and two."""
    folder = tmp_path_factory.mktemp("runs")
    kinds = {"majority": (0, 1, 2), "cross-entropy": (0, 2)}
    return {
        scheme: [save(folder / f"{scheme}-{seed}", scheme=scheme, seed=seed) for seed in seeds]
        for scheme, seeds in kinds.items()
    }


@pytest.fixture(scope="module")
def report(nets, data, tmp_path_factory):
    """The whole comparison, on the drawn faces; its logs go to a folder of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare, "ROOT", tmp_path_factory.mktemp("root"))
        patch.setattr(fer2013, "load", lambda *_: data)
        found = compare.compare("tried", nets, ["valid", "test"], lengths=False)
        return found | {"logs": sorted(p.name for p in compare.ROOT.rglob("tried/*.csv"))}


# ---------------------------------------------------------------- what is compared


def test_groups_are_named_and_listed():
    found = compare.groups_of(["votes, 24 epochs=runs/a,runs/b", "x=c"])
    assert found == {"votes, 24 epochs": ["runs/a", "runs/b"], "x": ["c"]}


@pytest.mark.parametrize("words", [["a"], ["=b"], ["a="], ["a=b", "a=c"], ["a=r/b", "c=s/b"]])
def test_unclear_groups_are_refused(words):
    with pytest.raises(FerlibError):
        compare.groups_of(words)


def test_one_recipe_may_differ_in_its_targets_between_groups():
    taught = how(seed=1, teacher=["runs/t"], teacher_share=0.7)
    compare.check({"a": [how(), how(seed=1)], "b": [how(scheme="majority")], "c": [taught]})


UNLIKE = {
    "lr": {"lr": 0.1},
    "net": {"net": "vgg13small"},
    "start": {"start": "runs/other"},
    "augmentation": {"augmentation": RECIPE["augmentation"] | {"wear": 0.0}},
    "precision": {"precision": "bfloat16"},
    "epochs": {"epochs": 3},
}


@pytest.mark.parametrize(("named", "changes"), UNLIKE.items(), ids=UNLIKE)
def test_other_recipes_are_refused_by_name(named, changes):
    for groups in ({"a": [how()], "b": [how(**changes)]}, {"a": [how(), how(seed=1, **changes)]}):
        with pytest.raises(FerlibError, match=rf"differ in .*\b{named}\b"):
            compare.check(groups)


def test_within_a_group_only_the_seed_differs():
    for changes in ({"scheme": "majority"}, {"teacher": ["runs/t"]}):
        with pytest.raises(FerlibError, match="not one recipe"):
            compare.check({"a": [how(), how(seed=1, **changes)]})
    with pytest.raises(FerlibError, match="same seed"):
        compare.check({"a": [how(), how()]})


def test_lengths_are_compared_when_asked_but_not_mixed():
    groups = {"short": [how(), how(seed=1)], "long": [how(epochs=9)]}
    with pytest.raises(FerlibError, match="--lengths"):
        compare.check(groups)
    compare.check(groups, lengths=True)
    with pytest.raises(FerlibError, match="epochs"):
        compare.check({"mixed": [how(), how(seed=1, epochs=9)]}, lengths=True)
    with pytest.raises(FerlibError, match="lr"):
        compare.check({"short": [how()], "long": [how(epochs=9, lr=0.1)]}, lengths=True)


def test_an_unfinished_net_is_named(tmp_path):
    with pytest.raises(FerlibError, match=r"net\.json is missing"):
        compare.trained(str(tmp_path / "net"))
    (tmp_path / "net.json").write_text("{}")
    with pytest.raises(FerlibError, match="how its net was trained"):
        compare.trained(str(tmp_path / "net"))


# ---------------------------------------------------------------- figures


def test_a_net_is_measured_as_it_was_trained(nets, data, report):
    """Without the bias and temperature in its JSON, as `ferlib.evaluation` does it."""
    rows = report["groups"]["cross-entropy"]["figures"]
    where = [(row["split"], row["protocol"]) for row in rows]
    assert where == [(s, p) for s in ("valid", "test") for p in fer2013.PROTOCOLS]
    for at, prefix in enumerate(nets["cross-entropy"]):
        for row in (rows[0], rows[3]):
            part = data.split(row["split"], row["protocol"])
            wanted = vars(evaluate(part, prefix, "crop", raw=True, precision="float32"))
            assert row["n"] == wanted["n"]
            for key in ("accuracy", "balanced_accuracy", "loss", "kl", "ece"):
                assert row[key]["values"][at] == pytest.approx(wanted[key], abs=2e-5), key


def test_the_temperature_is_fitted_to_validation_and_divides_the_logits(nets, data, report):
    prefix, group = nets["majority"][1], report["groups"]["majority"]
    temperature = group["nets"][Path(prefix).name]["temperature"]
    net, info = networks.load(prefix)
    valid, test = data.split("valid"), data.split("test")
    truth = labels.majority(valid.votes)

    def scores(part, **how) -> np.ndarray:
        return networks.predict(net, part.pictures, replace(info.raw(), **how))

    def loss(tried: float) -> float:
        each = scores(valid, temperature=tried)
        return -np.log(each[np.arange(len(truth)), truth]).sum()

    beside = (min(temperature * 1.02, 3), max(temperature / 1.02, 0.3))  # 0.3 to 3 are tried
    assert loss(temperature) <= min(map(loss, beside)) + 1e-3
    plain, softer = scores(test), scores(test, temperature=temperature)
    np.testing.assert_allclose(compare.tempered(plain, temperature), softer, atol=1e-5)
    wanted = measure(softer, test).ece
    assert group["figures"][2]["ece_tempered"]["values"][1] == pytest.approx(wanted, abs=1e-4)
    sure = group["figures"][2]["confidence"]["values"][1]
    assert sure == pytest.approx(plain.max(axis=1).mean(), abs=1e-5)


def check_arithmetic(found: dict) -> None:
    """Means, deviations and paired differences against NumPy."""
    for group in found["groups"].values():
        for row in group["figures"]:
            for key in compare.MEASURED:
                values, mean, deviation = row[key].values()
                assert len(values) == len(group["seeds"]) == len(group["nets"])
                assert mean == pytest.approx(np.mean(values), abs=2e-5)
                wanted = np.std(values, ddof=1) if len(values) > 1 else None
                assert deviation == (wanted and pytest.approx(wanted, abs=2e-5))
    for row in found["differences"]:
        one, other = (found["groups"][row[key]] for key in ("from", "to"))
        assert one["epochs"] == other["epochs"]
        gaps = [valid(other, seed) - valid(one, seed) for seed in row["seeds"]]
        np.testing.assert_allclose(row["values"], gaps, atol=2e-5)
        assert row["mean"] == pytest.approx(np.mean(gaps), abs=2e-5)
        if len(gaps) > 1:
            error = np.std(gaps, ddof=1) / np.sqrt(len(gaps))
            assert row["standard_error"] == pytest.approx(error, abs=2e-5)
        else:
            assert row["standard_error"] is None


def valid(group: dict, seed: int) -> float:
    (row,) = pages.pick(group["figures"], **VALID)
    return row["accuracy"]["values"][group["seeds"].index(seed)]


def test_means_deviations_and_differences_are_numpys(report):
    check_arithmetic(report)
    (row,) = report["differences"]
    assert (row["from"], row["to"], row["seeds"]) == ("majority", "cross-entropy", [0, 2])


def test_single_nets_and_other_lengths():
    def group(epochs, seeds, values):
        figures = [{"accuracy": compare.summary(values)}]
        return {"epochs": epochs, "seeds": seeds, "figures": figures}

    groups = {"a": group(2, [0], [0.5]), "b": group(2, [0, 1], [0.75, 0.8])}
    groups |= {"c": group(9, [0], [0.9]), "d": group(2, [7], [0.1])}
    assert groups["a"]["figures"][0]["accuracy"]["deviation"] is None
    (row,) = compare.differences(groups)
    assert (row["from"], row["to"], row["values"]) == ("a", "b", [0.25])
    assert row["standard_error"] is None


def test_the_report_says_what_the_nets_share_and_keeps_their_logs(report):
    assert set(report["recipe"]) == {*RECIPE, "precision"} - set(compare.FREE)
    assert report["groups"]["majority"]["scheme"] == "majority"
    assert report["groups"]["majority"]["seeds"] == [0, 1, 2]
    assert report["paper"]["accuracy"]["majority"] == 0.8385
    names = [f"majority-{seed}.csv" for seed in (0, 1, 2)]
    assert report["logs"] == ["cross-entropy-0.csv", "cross-entropy-2.csv", *names]


def test_a_missing_log_is_named(nets, tmp_path, monkeypatch):
    monkeypatch.setattr(compare, "ROOT", tmp_path)
    copied = tmp_path / "alone"
    for source, target in zip(weight_files(nets["majority"][0]), weight_files(copied), strict=True):
        shutil.copyfile(source, target)
    with pytest.raises(FerlibError, match=r"log\.csv is missing"):
        compare.compare("tried", {"a": [str(copied)]}, ["valid"], False)


def test_wrong_calls_end_in_one_line(nets, monkeypatch, capsys):
    unlike = f"b={nets['cross-entropy'][0]},{nets['majority'][1]}"
    monkeypatch.setattr(sys, "argv", ["compare.py", "tried", unlike])
    with pytest.raises(SystemExit, match="compare: b: not one recipe, the nets differ in scheme"):
        compare.main()
    assert not (ROOT / "results" / "tried.json").exists()


# ---------------------------------------------------------------- the page


def shown(name: str, found: dict) -> tuple[list[list[str]], str]:
    """The cells of the page's table of results/NAME.json, were that `found`, and what follows."""
    before, link, after = pages.page(pages.results() | {name: found}).rpartition(f"[{name}.json]")
    assert link
    table = before.rpartition("|\n\n")[0].rpartition("\n\n")[2]
    rows = [line.strip("|").split("|") for line in table.splitlines()[2:]]
    return [[cell.strip() for cell in row] for row in rows], after


def test_the_page_shows_the_schemes_as_measured(report):
    rows, _ = shown("schemes", recorded_now(report))
    assert [row[0] for row in rows] == list(report["groups"])
    for (_, pictures, valid, test, paper, kl, errors), group in zip(
        rows, report["groups"].values(), strict=True
    ):
        first, last = group["figures"][0], group["figures"][-1]
        for text, figure in ((valid, first["accuracy"]), (test, last["accuracy"])):
            mean, deviation = text.split(" ± ")
            assert float(mean.strip("%")) == pytest.approx(100 * figure["mean"], abs=0.0051)
            assert float(deviation) == pytest.approx(100 * figure["deviation"], abs=0.0051)
        assert paper == f"{100 * compare.PAPER[group['scheme']]:.2f}%"
        assert float(kl) == pytest.approx(last["kl"]["mean"], abs=0.00051)
        wanted = [last[key]["mean"] for key in ("ece", "ece_tempered")]
        assert [float(part) for part in errors.split(", ")] == pytest.approx(wanted, abs=0.00051)
        assert pictures == str(group["pictures"])


def recorded_now(report: dict) -> dict:
    known = {"command": "python experiments/compare.py schemes", "commit": "1234567"}
    return report | {"conditions": result("schemes")["conditions"] | known}


def test_the_page_shows_the_teacher_with_single_seeds(report):
    found = copy.deepcopy(recorded_now(report))
    groups = {"votes": found["groups"]["majority"], "both": found["groups"]["cross-entropy"]}
    groups["both"] |= {"teacher": ["x", "y"], "teacher_share": 0.7}
    for row in groups["both"]["figures"]:
        row["accuracy"] = compare.summary(row["accuracy"]["values"][:1])
    found |= {"groups": groups}
    found["differences"] = [{"from": "votes", "to": "both", "mean": -0.012, "standard_error": None}]
    rows, after = shown("teacher", found)
    assert [row[0] for row in rows] == ["votes", "both"]
    assert "±" in rows[0][2] and "±" not in rows[1][2]
    assert re.search("votes to both -1.20 [^±]*$", after.partition("\n\n")[2].split(".\n")[0])


# ---------------------------------------------------------------- what was recorded


@pytest.fixture(params=["schemes", "teacher", "views"])
def recorded(request) -> SimpleNamespace:
    return SimpleNamespace(name=request.param, **result(request.param))


def test_recorded_figures_are_of_one_recipe_and_add_up(recorded):
    found = vars(recorded)
    hows = {
        label: [net["trained"] for net in group["nets"].values()]
        for label, group in found["groups"].items()
    }
    compare.check(hows, lengths=recorded.name == "teacher")
    check_arithmetic(found)
    assert found["differences"]
    for label, group in found["groups"].items():
        assert group["seeds"] == [one["recipe"]["seed"] for one in hows[label]]
        counts = {row["protocol"]: row["n"] for row in group["figures"] if row["split"] == "test"}
        assert counts in ({}, {"fer2013new.csv": 3153, "label.csv": 3137})


def test_recorded_nets_come_with_their_logs(recorded):
    for group in recorded.groups.values():
        for at, (name, net) in enumerate(group["nets"].items()):
            with open(ROOT / "results" / recorded.name / f"{name}.csv", newline="") as file:
                rows = list(csv.DictReader(file))
            assert len(rows) == net["trained"]["recipe"]["epochs"] == group["epochs"]
            last = float(rows[-1]["valid_accuracy"])
            (figures,) = pages.pick(group["figures"], **VALID)
            assert figures["accuracy"]["values"][at] == pytest.approx(last, abs=0.002), name


@pytest.mark.parametrize("recorded", ["schemes"], indirect=True)
def test_the_schemes_are_the_papers_with_three_seeds_each(recorded):
    groups = recorded.groups
    assert set(groups) == {group["scheme"] for group in groups.values()} == set(labels.SCHEMES)
    assert all(group["seeds"] == [0, 1, 2] and not group["teacher"] for group in groups.values())
    assert len({group["epochs"] for group in groups.values()}) == 1
    assert len(recorded.differences) == 6


@pytest.mark.parametrize("recorded", ["teacher"], indirect=True)
def test_the_teachers_differences_are_what_it_brings(recorded):
    for row in recorded.differences:
        one, other = (recorded.groups[row[key]] for key in ("from", "to"))
        assert other["teacher"] and not one["teacher"] and one["scheme"] == other["scheme"]


@pytest.mark.parametrize("recorded", ["views"], indirect=True)
def test_the_views_are_the_only_difference_and_go_on_from_the_last_taught_net(recorded):
    hows = {
        label: [net["trained"]["recipe"] for net in group["nets"].values()]
        for label, group in recorded.groups.items()
    }
    fixed, seen = hows.values()
    assert not any(how["teacher_views"] for how in fixed)
    assert all(how["teacher_views"] for how in seen)
    for one, other in zip(fixed, seen, strict=True):
        assert one | {"teacher_views": True} == other
    *_, last = result("teacher")["groups"].values()
    assert {one["start"] for one in fixed} == {f"runs/{name}" for name in last["nets"]}
