"""Figures that people read are the ones that were measured."""

import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
import record  # noqa: E402

REPORT = json.loads((ROOT / "results" / "ferplus.json").read_text())


@pytest.mark.parametrize("page", record.PAGES)
def test_pages_show_the_recorded_figures(page):
    assert record.block(REPORT) in (ROOT / page).read_text()


def test_the_shipped_net_is_the_recorded_one():
    info = json.loads((ROOT / "model_store" / "ferplus.json").read_text())
    assert info["trained"] == REPORT["trained"]
    assert info["temperature"] == REPORT["temperature"]
    valid = next(r for r in REPORT["runs"] if r["split"] == "valid" and r["tta"] == "none")
    assert valid["protocol"] == info["valid"]["protocol"]
    assert valid["accuracy"] == info["valid"]["accuracy"]
    assert valid["accuracy"] >= 0.82


def test_every_result_states_its_conditions():
    for path in (ROOT / "results").glob("*.json"):
        report = json.loads(path.read_text())
        known = report.get("conditions") or report["measured"]
        for key in ("command", "commit", "date", "cpu", "mxnet", "numpy", "python"):
            assert known[key], f"{path.name} lacks {key}"
        assert known["command"].startswith("python benchmarks/"), path.name
        assert (ROOT / known["command"].split()[1]).is_file(), path.name


def test_the_log_is_the_whole_run():
    rows = (ROOT / "results" / "ferplus.csv").read_text().splitlines()
    assert len(rows) - 1 == REPORT["trained"]["recipe"]["epochs"]
    last = dict(zip(rows[0].split(","), rows[-1].split(","), strict=True))
    plain = next(r for r in REPORT["runs"] if r["split"] == "valid" and r["tta"] == "none")
    assert float(last["valid_accuracy"]) == pytest.approx(plain["accuracy"], abs=0.001)


def test_no_file_is_too_large_and_no_data_is_committed():
    for path in (ROOT / "model_store").glob("ferplus*"):
        assert path.stat().st_size <= 16e6
    assert not re.search(r"\d+( \d+){2000}", (ROOT / "results" / "ferplus.json").read_text())
