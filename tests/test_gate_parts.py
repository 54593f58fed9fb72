"""The parts of serving that need no server: pictures put together, options, logs and numbers."""

import asyncio
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command import ferlib as command
from command import mistake

from ferlib.errors import FerlibError
from ferlib.runtime import cpu
from ferlib.serving import archive, exposition, server, several
from ferlib.serving.counts import Counts, gate_log
from ferlib.serving.metrics import FOLDER


def test_several_pictures_come_out_as_they_went_in():
    for pictures in ([b""], [b"a", b"b" * 70_000], [b"ferlib pictures\n"] * 16):
        assert several.split(b"".join(several.join(pictures))) == pictures
    assert several.split(b"\x89PNG\r\n") is None and several.split(b"") is None
    for body in (b"".join(several.join([b"abc", b"d"]))[:-1], several.join([])[0]):
        with pytest.raises(FerlibError):
            several.split(body)
    with pytest.raises(FerlibError, match="at most 16") as error:
        several.split(b"".join(several.join([b"a"] * 17)))
    assert error.value.code == "too_many_pictures"
    with pytest.raises(FerlibError, match="at most 16"):  # what follows is not even looked at
        several.split(b"".join(several.join([b"a"] * 17)) + b"broken off")


def test_workers_and_threads_share_the_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(server, "quota", lambda: math.inf)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert server.numbers(server.How()) == (8, 1)
    assert server.numbers(server.How(workers=2)) == (2, 4)
    assert server.numbers(server.How(workers=20)) == (20, 1)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")  # who sets it is heeded
    assert server.numbers(server.How(workers=2)) == (2, 3)
    assert server.numbers(server.How(workers=2, threads=5)) == (2, 5)
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(server, "quota", lambda: 1.5)  # as a container's limit
    assert server.numbers(server.How()) == (2, 1)


def test_a_containers_limit_is_one_of_threads_as_well(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(cpu, "Path", lambda _: Path("/nonexistent"))  # no two are siblings
    for limit, wanted in ((math.inf, 8), (1.5, 2), (0.2, 1), (20, 8)):
        monkeypatch.setattr(cpu, "quota", lambda limit=limit: limit)
        assert cpu.cores() == wanted


@pytest.mark.parametrize(
    ("text", "wanted"), [("150000 100000\n", 1.5), ("max 100000\n", math.inf), ("", math.inf)]
)
def test_a_containers_limit_is_known(text, wanted, tmp_path):
    (tmp_path / "cpu.max").write_text(text)
    assert cpu.quota(tmp_path / "cpu.max") == wanted
    assert cpu.quota(tmp_path / "none") == math.inf


def test_wrong_options_are_refused():
    mistake(command("serve", "--archive", "a.mar", "--weights", "b"), 2)
    mistake(command("serve", "--foreground", "--detach"), 2)
    mistake(command("serve", "--workers", "0"), 2)
    mistake(command("serve", "--rate", "-1"), 2)


def test_the_gates_log_turns_over(tmp_path, monkeypatch):
    monkeypatch.setattr("ferlib.serving.counts._LOG_BYTES", 2000)
    counts = Counts(gate_log(tmp_path))
    for _ in range(500):
        counts.event("something")
    files = list(tmp_path.glob("gate.log*"))
    assert len(files) == 5 and sum(path.stat().st_size for path in files) < 11_000


BAD_JSON = [
    "{",
    "[1]",
    '{"a": ["QQ=="]}',
    '{"pictures": "QQ=="}',
    "[[]]",
    '[{"a": "QQ=="}]',
    "[\xff]",
]


@pytest.mark.parametrize("text", BAD_JSON)
def test_json_of_another_form_is_refused(text):
    with pytest.raises(FerlibError, match="JSON") as error:
        several.split(text.encode("latin-1"))
    assert error.value.code == "bad_json"


def test_a_workers_numbers_are_kept_when_it_has_ended(tmp_path, monkeypatch):
    """Files of ended processes are put together, so that they do not pile up."""
    monkeypatch.setenv(FOLDER, str(tmp_path))
    code = (
        "from ferlib.serving.metrics import Numbers; n = Numbers(); n.start(); n.lap('find');"
        "n.error('empty_body'); n.picture([('anger', 0.7)])"
    )
    for _ in range(3):
        subprocess.run(
            [sys.executable, "-c", code], check=True, cwd=Path(archive.__file__).parents[2]
        )
    assert len(list(tmp_path.glob("*.db"))) == 6

    async def text() -> bytes:
        counts = type("Gate", (), {"counts": Counts(), "in_flight": 0})()
        return exposition.Exposition(tmp_path, counts).text()

    (tmp_path / "counter_999999999.db").touch()  # of a worker that ended as it made it
    for _ in range(2):  # the second time from what the first has put together
        said = asyncio.run(text()).decode()
        assert 'ferlib_errors_total{code="empty_body"} 3.0' in said
        assert 'ferlib_stage_seconds_count{stage="find"} 3.0' in said
        assert 'ferlib_emotions_total{emotion="anger"} 3.0' in said
        assert {path.name for path in tmp_path.iterdir()} == {
            "counter_dead.db",
            "histogram_dead.db",
        }
