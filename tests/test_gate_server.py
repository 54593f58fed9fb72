"""The real server behind the gate: attacks, numbers, and what it survives of what is killed."""

import base64
import contextlib
import json
import os
import re
import signal
import threading
import time
from pathlib import Path

import jsonschema
import numpy as np
import psutil
import pytest
from command import ferlib as command
from common import astronaut, encoded, free_port, server_processes
from gateway import (
    VALIDATOR,
    Answer,
    answer,
    ask,
    connect,
    form,
    get,
    request,
    reset,
)
from prometheus_client import parser

from ferlib.serving import notes, server

FACE = encoded(astronaut(), "JPEG", quality=90)
NO_FACE = encoded(np.full((48, 48), 99, np.uint8))


@pytest.fixture(scope="module")
def served(mar, tmp_path_factory):
    """Two workers, with metrics. Tests that kill something leave it whole again."""
    before = {process.pid for process in server_processes()}
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    patch.delenv("OMP_NUM_THREADS", raising=False)
    how = server.How(workers=2, threads=1, metrics=free_port())
    yield server.start(mar, free_port(), how=how)
    server.stop()
    patch.undo()
    assert {process.pid for process in server_processes()} <= before


def send(served, body: bytes, *fields: str) -> Answer:
    found = ask(served.port, request(body, *fields))
    VALIDATOR.validate(found.said)
    return found


def kinds(served) -> dict[str, list[psutil.Process]]:
    """Java, the processes that fork workers, and the workers."""
    found = {"java": [], "parents": [], "workers": []}
    for process in notes.processes(served):
        with contextlib.suppress(psutil.Error):  # it has just ended
            words = process.cmdline()
            if notes.JAVA in words:
                found["java"].append(process)
            elif any(word.endswith(notes.WORKER) for word in words):
                above = process.parent()
                own = above and any(word.endswith(notes.WORKER) for word in above.cmdline())
                found["workers" if own else "parents"].append(process)
    return found


def two_workers(served) -> list[psutil.Process]:
    deadline = time.monotonic() + 60
    while len(found := kinds(served)["workers"]) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


WEB_FORM = "x-www-form-urlencoded"
ATTACKS = {
    "a web form of 15 million fields": (b"a&" * 15_000_000, WEB_FORM),
    "a web form of names": (b"".join(map(b"n%d=1&".__mod__, range(2_000_000))), WEB_FORM),
    "a form of 200,000 parts": (form(("data", b""))[0][:-9] * 200_000, ""),
    "nested json": (b"[" * 15_000_000 + b"]" * 15_000_000, "json"),
    "json of little lists": (b"[" + b"{}," * 9_000_000 + b"{}]", "json"),
    "json of texts": (b"[" + b'"",' * 9_000_000 + b'""]', "json"),
    "noise": (np.random.default_rng(0).bytes(30_000_000), "octet-stream"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ATTACKS)
def test_after_an_attack_the_next_good_request_is_answered_within_two_seconds(served, name):
    body, kind = ATTACKS[name]
    kind = f"Content-Type: application/{kind}" if kind else form()[1]
    before = {process.pid for process in two_workers(served)}
    assert send(served, body, kind).status == 400
    started = time.monotonic()
    assert send(served, NO_FACE).status == 200
    assert time.monotonic() - started < 2
    assert {process.pid for process in kinds(served)["workers"]} == before


@pytest.mark.slow
def test_many_pictures_have_each_its_own_answer_or_error(served):
    alone = send(served, FACE).said
    texts = [base64.b64encode(one).decode() for one in (FACE, b"noise", NO_FACE)] + ["no base64!"]
    lists = [json.dumps(texts), json.dumps({"pictures": texts})]
    found = [send(served, text.encode(), "Content-Type: application/json") for text in lists]
    body, kind = form(*(("data", one) for one in (FACE, b"noise", NO_FACE, b"")))
    found.append(send(served, body, kind))
    for one, code in zip(found, ("not_a_picture", "not_a_picture", "empty_body"), strict=True):
        assert one.status == 200 and one.said["model"] == alone["model"]
        pictures = one.said["pictures"]
        assert pictures[0]["faces"][0]["box"] == alone["faces"][0]["box"]
        assert pictures[0]["faces"][0]["emotion"] == alone["faces"][0]["emotion"]
        assert [p.get("error", {}).get("code") for p in pictures] == [
            None,
            "not_a_picture",
            None,
            code,
        ]
        assert pictures[2]["faces"] == [] and pictures[2]["whole_picture"]
    single = send(served, json.dumps(texts[:1]).encode(), "Content-Type: application/json")
    assert len(single.said["pictures"]) == 1


@pytest.mark.slow
def test_the_description_is_openapi_and_its_shapes_are_those_of_the_answers(served):
    told = ask(served.port, get("/openapi.json")).said
    assert told["openapi"].startswith("3.1")
    assert set(told["paths"]) == {"/predictions/fer", "/ping", "/health", "/openapi.json"}
    answers = told["paths"]["/predictions/fer"]["post"]["responses"]
    shown = {
        200: send(served, FACE).said,
        400: send(served, b"noise").said,
        415: send(served, b"x", "Content-Type: text/html").said,
    }
    for status, said in shown.items():
        shape = answers.get(str(status), answers["default"])["content"]["application/json"][
            "schema"
        ]
        jsonschema.Draft202012Validator({**told, **shape}).validate(said)
        wrong = said | {"more": 1}
        assert not jsonschema.Draft202012Validator({**told, **shape}).is_valid(wrong)
    health = told["paths"]["/health"]["get"]["responses"]["200"]["content"]["application/json"]
    jsonschema.validate(ask(served.port, get("/health")).said, health["schema"])


@pytest.mark.slow
def test_status_and_metrics_count_what_was_asked(served):
    def numbers() -> tuple[dict, dict[str, float]]:
        said = command("status", "--port", served.port, "--json").stdout.splitlines()[-1]
        (told,) = json.loads(said)["servers"]
        with connect(served.metrics) as connection:
            connection.sendall(get("/metrics", "Connection: close"))
            text = (
                b"".join(iter(lambda: connection.recv(65536), b"")).split(b"\r\n\r\n")[1].decode()
            )
        families = parser.text_string_to_metric_families(text)
        samples = [sample for family in families for sample in family.samples]
        return told, {"".join([s.name, *s.labels.values()]): s.value for s in samples}

    before = numbers()
    time.sleep(1.1)  # until then the last good answer is one to the next probe as well
    for path in ("/ping", "/health"):  # a probe's picture is nobody's
        assert ask(served.port, get(path)).status == 200
    for body in (FACE, FACE, NO_FACE, b"noise"):
        send(served, body)
    ask(served.port, request(b"x", "Content-Type: text/html"))
    told, metrics = numbers()
    assert told["requests"] - before[0]["requests"] == 5
    assert told["errors"]["not_a_picture"] - before[0]["errors"].get("not_a_picture", 0) == 1
    assert told["refused"]["unsupported_media_type"] >= 1
    assert told["running"] == told["workers"] == 2 and told["threads"] == 1
    assert told["in_flight"] == 0 and 100e6 < told["memory"] < 4e9 and told["processes"] == 6
    assert time.time() - told["since"] < 600
    more = {
        "ferlib_requests_total200": 3,
        "ferlib_requests_total400": 1,
        "ferlib_refused_totalunsupported_media_type": 1,
        "ferlib_errors_totalnot_a_picture": 1,
        "ferlib_request_seconds_count": 5,
        "ferlib_stage_seconds_countdecode": 3,
        "ferlib_stage_seconds_countfind": 3,
        "ferlib_stage_seconds_countread": 4,
        "ferlib_faces_per_picture_count": 3,
        "ferlib_faces_per_picture_sum": 2,
        "ferlib_confidence_count": 2,
    }
    assert {key: metrics[key] - before[1].get(key, 0) for key in more} == more
    assert sum(value for key, value in metrics.items() if "emotions_total" in key) >= 2
    assert metrics["ferlib_in_flight"] == 0


@pytest.mark.slow
def test_the_table_of_status_is_for_people(served):
    said = command("status").stdout
    assert f"http://127.0.0.1:{served.port}/predictions/fer" in said
    assert re.search(r"workers +2 of 2, 1 threads each", said)
    assert re.search(r"memory +\d+ MB in 6 processes", said)
    assert "no server is running" in command("status", "--port", 1).stdout


@pytest.mark.slow
def test_clients_that_close_early_cost_nobody_anything(served):
    raw = request(FACE)
    for cut in range(100):
        with connect(served.port) as connection:
            connection.sendall(raw[: len(raw) * cut // 99])
            if cut % 2:
                reset(connection)
    started = time.monotonic()
    assert send(served, FACE).status == 200
    assert time.monotonic() - started < 2


@contextlib.contextmanager
def load(served, body: bytes = NO_FACE):
    """Three clients that ask again and again; gives the list of (seconds, status)."""
    found, stopping = [], threading.Event()

    def client():
        while not stopping.is_set():
            found.append((time.monotonic(), send(served, body).status))
            if found[-1][1] != 200:
                time.sleep(0.05)

    clients = [threading.Thread(target=client) for _ in range(3)]
    for one in clients:
        one.start()
    yield found
    stopping.set()
    for one in clients:
        one.join(60)


@pytest.mark.slow
def test_a_killed_worker_loses_one_request_and_comes_back(served):
    victim = two_workers(served)[0]
    with load(served) as found:
        time.sleep(0.3)
        victim.kill()
        time.sleep(0.5)
        assert victim not in two_workers(served)
        time.sleep(0.5)
    statuses = [status for _, status in found]
    assert statuses.count(200) >= len(statuses) - 1 and set(statuses) <= {200, 503}


@pytest.mark.slow
def test_killed_java_is_started_again_and_the_gate_answers_meanwhile(served):
    (java,) = kinds(served)["java"]
    java.kill()
    found, deadline = [], time.monotonic() + 60
    while found[-1:] != [200] and time.monotonic() < deadline:
        one = send(served, NO_FACE)  # fits the schema in any case
        found.append(one.status)
        time.sleep(0.1)
    assert found[-1] == 200 and set(found[:-1]) == {503}
    told = json.loads(command("status", "--port", served.port, "--json").stdout.splitlines()[-1])
    assert told["servers"][0]["restarts"] == 1
    assert kinds(served)["java"][0].pid != java.pid
    two_workers(served)
    assert not [p for p in psutil.Process(served.pid).children() if p.status() == "zombie"]


@pytest.mark.slow
def test_a_request_in_work_is_answered_before_the_server_stops(served, mar):
    """And what a killed keeper leaves behind is cleared away by the next server on its port."""
    os.kill(served.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while any(process.pid == served.pid for process in notes.processes(served)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    left = {process.pid for process in notes.processes(served)}
    assert left and Path(served.folder).exists()
    again = server.start(mar, served.port, how=server.How(workers=1))
    assert not left & set(psutil.pids()) and not Path(served.folder).exists()
    body, _ = form(*[("data", FACE)] * 16)
    with connect(again.port) as connection:
        connection.sendall(request(body, form()[1]))
        time.sleep(0.1)
        server.stop(again.port)
        found = answer(connection)
        assert found.status == 200 and found.closes and len(found.said["pictures"]) == 16
    assert not notes.processes(again) and not Path(again.folder).exists()


@pytest.mark.slow
def test_a_server_that_does_not_stay_up_is_given_up(weights, served):
    """Java killed five times as soon as it is there. The net is packed on the spot."""
    again = server.start(None, free_port(), how=server.How(str(weights), workers=1))
    seen: set[int] = set()
    deadline = time.monotonic() + 60
    while psutil.pid_exists(again.pid) and time.monotonic() < deadline:
        for process in kinds(again)["java"]:
            if process.pid not in seen:
                seen.add(process.pid)
                process.kill()
        time.sleep(0.02)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(again.pid, os.WNOHANG)
    assert len(seen) == 5
    assert not notes.processes(again) and not Path(again.folder).exists()
    assert "giving up" in Path(again.logs, "keeper.log").read_text()
    server.stop(again.port)
