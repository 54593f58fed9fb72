"""benchmarks/ensemble.py and record.py: which nets ship, under which names, and where from."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from ferlib import models
from ferlib.errors import FerlibError

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import ensemble
import pages
import record


def votes(*, neutral: int, happiness: int) -> np.ndarray:
    return np.array([neutral, happiness] + [0] * 8)


def scores(*, neutral: float) -> np.ndarray:
    """The same answer to two faces, the rest of it happiness."""
    return np.tile(np.array([neutral, 0.999 - neutral] + [0.001 / 6] * 6, np.float32), (2, 1))


def test_the_set_closest_to_the_voters_comes_first_not_the_most_certain():
    split = np.stack([votes(neutral=6, happiness=4)] * 2)
    nets = {f"runs/{n}": scores(neutral=n / 100) for n in (98, 70, 45)}
    rows = ensemble.sets(nets, split, 2)
    assert rows[0]["nets"] == ["70", "45"] and len(rows) == 3  # their mean is 0.575
    assert [row["kl"] for row in rows] == sorted(row["kl"] for row in rows)
    assert all(row["accuracy"] == 1 for row in rows)


def test_the_shipped_net_stays_where_it_is_and_others_are_numbered():
    tried = [{"nets": ["b", "c"]}, {"nets": ["a", "c"]}, {"nets": ["a", "b"]}]
    names = ensemble.chosen(tried, ["x/b", "x/c", "x/a"], first="x/a")
    assert names == {"x/a": "ferplus", "x/c": "ferplus-2"}


def test_the_shipped_net_is_known_by_its_numbers(tmp_path):
    other, same = str(tmp_path / "other"), str(tmp_path / "same")
    models.save_weights(models.create("vgg-tiny", seed=0), other, {"network": "vgg-tiny"})
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
    monkeypatch.setattr(pages, "result", lambda name: report)
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
    with pytest.raises(FerlibError, match="a.json is missing"):
        record.starts(str(tmp_path / "c"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("runs/a", "--size", "2"), "--size 2 of 1 nets"),
        (("{}/a", "--size", "1"), "a.json is missing"),
    ],
)
def test_wrong_calls_end_in_one_line_and_write_nothing(words, said, tmp_path, monkeypatch, capsys):
    before = (pages.ROOT / "results" / "ensemble.json").read_bytes()
    given = [word.format(tmp_path) for word in words]
    monkeypatch.setattr(sys, "argv", ["ensemble.py", *given])
    with pytest.raises(SystemExit) as ended:
        ensemble.main()
    assert said in f"{ended.value} {capsys.readouterr().err}"
    assert (pages.ROOT / "results" / "ensemble.json").read_bytes() == before
