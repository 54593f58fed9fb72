"""experiments/ensemble.py and record.py: which nets ship, under which names, and where from."""

import argparse
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ferlib import nets
from ferlib.data import fer2013
from ferlib.data.dataset import Dataset
from ferlib.errors import FerlibError
from ferlib.evaluation import evaluate
from ferlib.nets.info import Trained

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "experiments"))
import ensemble  # noqa: E402
import record  # noqa: E402


def votes(*, neutral: int, happiness: int) -> np.ndarray:
    return np.array([neutral, happiness] + [0] * 8)


def scores(*, neutral: float) -> np.ndarray:
    """The same answer to two faces, the rest of it happiness."""
    return np.tile(np.array([neutral, 0.999 - neutral] + [0.001 / 6] * 6, np.float32), (2, 1))


def test_the_set_closest_to_the_voters_comes_first_not_the_most_certain():
    split = Dataset(np.zeros((2, 48, 48), np.uint8), np.stack([votes(neutral=6, happiness=4)] * 2))
    candidates = {f"runs/{n}": scores(neutral=n / 100) for n in (98, 70, 45)}
    rows = ensemble.sets(candidates, split, 2)
    assert rows[0]["nets"] == ["70", "45"] and len(rows) == 3  # their mean is 0.575
    assert [row["kl"] for row in rows] == sorted(row["kl"] for row in rows)
    assert all(row["accuracy"] == 1 for row in rows)


def test_the_shipped_net_stays_where_it_is_and_others_are_numbered():
    tried = [{"nets": ["b", "c"]}, {"nets": ["a", "c"]}, {"nets": ["a", "b"]}]
    names = ensemble.chosen(tried, ["x/b", "x/c", "x/a"], first="x/a")
    assert names == {"x/a": "ferplus", "x/c": "ferplus-2"}


def test_the_shipped_net_is_known_by_its_numbers(tmp_path):
    other, same = str(tmp_path / "other"), str(tmp_path / "same")
    nets.save(nets.create("vgg-tiny", seed=0), other, nets.Info.of(nets.find("vgg-tiny")))
    shutil.copyfile(f"{ensemble.FIRST}-0000.params", f"{same}-0000.params")
    assert ensemble.shipped_one([other, same]) == same
    with pytest.raises(FerlibError, match="name it as well"):
        ensemble.shipped_one([other])


@pytest.mark.parametrize(
    ("members", "again", "kept"),
    [(["a", "b"], True, 0), (["a", "b"], False, 1), (["a", "c"], True, 1), (["a", "c"], False, 1)],
)
def test_no_earlier_look_at_the_test_split_is_forgotten(members, again, kept, monkeypatch):
    looked = {"split": "test", "accuracy": 0.8}
    report = {"members": {"ferplus": "a", "ferplus-2": "b"}, "read_before": [{"nets": ["x"]}]}
    report["runs"] = [{"split": "valid"}, looked]
    monkeypatch.setattr(ensemble, "result", lambda name: report)
    first, *rest = ensemble.read_before(members, again)
    assert first == {"nets": ["x"]} and rest == [{"nets": ["a", "b"], "runs": [looked]}] * kept


def test_the_nets_that_one_went_on_from_are_named_the_latest_first(tmp_path):
    for name, start in (("a", ""), ("b", "a"), ("c", "b"), ("itself", "itself")):
        recipe = {"start": start and str(tmp_path / start)}
        (tmp_path / f"{name}.json").write_text(json.dumps({"trained": {"recipe": recipe}}))
    assert record.starts(str(tmp_path / "c")) == [str(tmp_path / "b"), str(tmp_path / "a")]
    assert record.starts(str(tmp_path / "a")) == []
    assert record.starts(str(tmp_path / "itself")) == [str(tmp_path / "itself")]  # and it ends
    (tmp_path / "a.json").unlink()
    with pytest.raises(FerlibError, match=r"a\.json is missing"):
        record.starts(str(tmp_path / "c"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("runs/a", "--size", "2"), "--size 2 of 1 nets"),
        (("{}/a", "--size", "1"), "a.json is missing"),
    ],
)
def test_wrong_calls_end_in_one_line_and_write_nothing(words, said, tmp_path, monkeypatch, capsys):
    before = (ROOT / "results" / "ensemble.json").read_bytes()
    given = [word.format(tmp_path) for word in words]
    monkeypatch.setattr(sys, "argv", ["ensemble.py", *given])
    with pytest.raises(SystemExit) as ended:
        ensemble.main()
    assert said in f"{ended.value} {capsys.readouterr().err}"
    assert (ROOT / "results" / "ensemble.json").read_bytes() == before


@pytest.fixture
def finished(tmp_path, monkeypatch) -> list[str]:
    """Three nets of chance weights with their logs, in a checkout of their own."""
    monkeypatch.setattr(record, "ROOT", tmp_path)
    (tmp_path / "model_store").mkdir()
    prefixes = []
    for seed in (0, 1, 2):
        prefixes.append(str(tmp_path / f"net-seed{seed}"))
        how = Trained(pictures=40 - seed, recipe={"seed": seed, "start": ""})
        info = replace(nets.Info.of(nets.find("vgg-tiny")), trained=how, temperature=2.0)
        nets.save(nets.create("vgg-tiny", seed=seed), prefixes[-1], info)
        Path(f"{prefixes[-1]}-run").mkdir()
        Path(f"{prefixes[-1]}-run", "log.csv").write_text("epoch\n1\n")
    return prefixes


@pytest.mark.slow
def test_a_record_holds_every_net_and_ships_the_best_on_validation(finished, monkeypatch):
    data = fer2013.sample_data()
    monkeypatch.setattr(fer2013, "load", lambda *_: data)
    monkeypatch.setattr(fer2013, "PROTOCOLS", ("fer2013new.csv",))
    args = argparse.Namespace(nets=finished[:2], clean=finished[2], name="mine")
    best, report = record.recorded(args, ["valid"])
    accuracies = report["seeds"][0]["accuracies"]
    assert best == finished[int(np.argmax(accuracies))] and report["shipped"] == Path(best).name
    plain, flip = report["runs"]
    assert (plain["tta"], flip["tta"]) == ("none", "flip") and plain["accuracy"] == max(accuracies)
    raw = evaluate(data.split("valid"), best, "crop", raw=True, precision="float32")
    assert plain["raw"]["kl"] == raw.kl != plain["kl"]  # the temperature moves it
    assert report["without_duplicates"]["left_out"] == report["trained"]["pictures"] - 38
    json.dumps(report)
    record.ship(best, "mine")
    shipped, copied = (Path(f"{p}-0000.params") for p in (record.ROOT / "model_store/mine", best))
    assert shipped.read_bytes() == copied.read_bytes()
    assert nets.load(record.ROOT / "model_store" / "mine")[1].temperature == 2
