"""The archive: same bytes from the same inputs, nothing but what serving needs, checked on use."""

import contextlib
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from argparse import Namespace
from types import SimpleNamespace
from uuid import UUID

import pytest
from command import ferlib, mistake, no_file_larger_than
from common import ROOT, astronaut, encoded, tiny_weights
from model_archiver.model_packaging_utils import ModelExportUtils

from ferlib import files, nets
from ferlib.errors import FerlibError
from ferlib.faces.roll import Upright
from ferlib.nets.places import int8_file, weight_files
from ferlib.serving import archive, server

PACKAGE = ROOT / "ferlib"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return tiny_weights(tmp_path_factory.mktemp("weights"))


def digest(path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# ---------------------------------------------------------------- pack


@pytest.mark.slow
def test_the_same_inputs_give_the_same_bytes(mar, weights, tmp_path):
    """Another folder, process, time, umask and hash seed; a dotfile and a link beside them."""
    for path in weight_files(weights):
        copy = tmp_path / path.name
        shutil.copy(path, copy)
        os.utime(copy, (1e9, 1e9))
        copy.chmod(0o600)
    (tmp_path / ".hidden").write_text("not to be packed")
    (tmp_path / "link").symlink_to("/etc/hostname")
    code = (
        "import os, sys; os.umask(0o077); from ferlib.serving import archive;"
        "archive.pack(sys.argv[1], sys.argv[2])"
    )
    out = tmp_path / "out" / "other.mar"
    subprocess.run(
        [sys.executable, "-c", code, tmp_path / "tiny", out],
        check=True,
        cwd=ROOT,
        env=dict(os.environ, PYTHONHASHSEED="77", TZ="Asia/Tokyo"),
    )
    assert digest(out) == digest(mar)


def test_other_weights_give_another_archive(mar, tmp_path):
    nets.save(nets.create("vgg-tiny", seed=4), tmp_path / "tiny", nets.Info(temperature=1.25))
    assert digest(archive.pack(tmp_path / "tiny", tmp_path / "fer.mar")) != digest(mar)


def test_exactly_these_files_are_in_it(mar):
    with zipfile.ZipFile(mar) as packed:
        names = packed.namelist()
        assert all(entry.external_attr >> 16 == 0o100644 for entry in packed.infolist())
    wanted = {"MAR-INF/MANIFEST.json", "ferlib_service.py"}
    for pattern in archive.MODULES:
        found = {str(path.relative_to(ROOT)) for path in PACKAGE.glob(pattern)}
        assert found, pattern
        wanted |= found
    wanted -= {f"ferlib/{name}" for name in archive.NOT_SERVED}
    assert all((PACKAGE / name).is_file() for name in archive.NOT_SERVED)
    assert not [name for name in wanted if name.startswith(("ferlib/training", "ferlib/plots"))]
    tails = ("-symbol.json", "-0000.params", ".json")
    wanted |= {f"weights/tiny{tail}" for tail in tails}
    if Upright().prefix is not None:  # the net that says how far heads are turned
        files = (int8_file(Upright().prefix), *weight_files(Upright().prefix))
        wanted |= {f"model_store/{path.name}" for path in files if path.is_file()}
    assert sorted(names) == sorted(wanted) == names


def test_the_manifest_is_what_model_archiver_writes(mar):
    args = Namespace(
        runtime="python", model_name="fer", handler="ferlib_service.py:handle", engine="MXNet"
    )
    wanted = json.loads(ModelExportUtils.generate_manifest_json(args))
    wanted["model"]["description"] = "tiny"
    with zipfile.ZipFile(mar) as packed:
        assert json.loads(packed.read("MAR-INF/MANIFEST.json")) == wanted


def test_weights_that_do_not_fit_are_not_packed(weights, tmp_path):
    for path in weight_files(weights):
        shutil.copy(path, tmp_path)
    params = tmp_path / "tiny-0000.params"
    params.write_bytes(params.read_bytes()[:5000])
    with pytest.raises(FerlibError, match=r"tiny-0000\.params"):
        archive.pack(tmp_path / "tiny", tmp_path / "fer.mar")
    (tmp_path / "tiny.json").unlink()
    with pytest.raises(FerlibError, match=r"tiny\.json is missing"):
        archive.pack(tmp_path / "tiny", tmp_path / "fer.mar")
    assert not list(tmp_path.glob("*fer.mar*"))


@pytest.mark.parametrize("name", ["my net", "nétz", "net(1)", ".hid"])
def test_names_that_a_server_does_not_take_are_not_packed(weights, tmp_path, name):
    for path in weight_files(weights):
        shutil.copy(path, tmp_path / path.name.replace("tiny", name, 1))
    with pytest.raises(FerlibError, match="Name the net's files so"):
        archive.pack(tmp_path / name, tmp_path / "fer.mar")
    assert not list(tmp_path.glob("*fer.mar*"))


def failed_to_pack(weights, out) -> str:
    """What `ferlib pack` says that cannot write its archive."""
    said = mistake(ferlib("pack", "--weights", weights, "--out", out))
    assert said.startswith(f"ferlib: cannot write {out}: ")
    return said


def test_an_archive_is_called_as_one(weights, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    assert "expected a file's name that ends in .mar" in failed_to_pack(
        weights, tmp_path / "notes.txt"
    )
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_failed_write_keeps_the_old_archive(mar, weights, tmp_path):
    out = tmp_path / "fer.mar"
    shutil.copy(mar, out)
    with no_file_larger_than(100_000):
        failed_to_pack(weights, out)
    assert digest(out) == digest(mar)
    assert [path.name for path in tmp_path.iterdir()] == ["fer.mar"]


def test_a_failed_write_leaves_no_folder_that_it_made(weights, tmp_path):
    (tmp_path / "mine").mkdir()
    with no_file_larger_than(100_000):
        failed_to_pack(weights, tmp_path / "mine" / "new" / "newer" / "fer.mar")
    assert list(tmp_path.rglob("*")) == [tmp_path / "mine"]


def test_a_full_disk_is_called_that(weights, tmp_path, monkeypatch):
    """The temporary file leads to /dev/full, whose every write says that the disk is full."""
    monkeypatch.setattr(files, "uuid4", lambda: UUID(int=0))
    (tmp_path / f".{os.getpid()}.{'0' * 8}.fer.mar").symlink_to("/dev/full")
    said = failed_to_pack(weights, tmp_path / "fer.mar")
    assert "the disk is full" in said and "another place" in said
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- self-contained


@pytest.fixture
def unpacked(mar, tmp_path):
    """The archive as a server has it before it, beside a photograph."""
    (tmp_path / "photo.png").write_bytes(encoded(astronaut()))
    zipfile.ZipFile(mar).extractall(tmp_path / "unpacked")
    return tmp_path / "unpacked"


def answered(*command) -> dict:
    """The JSON that a process prints last."""
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_the_members_are_enough_to_answer(unpacked):
    """Without the checkout on the path, and nothing that trains or draws plots is loaded."""
    code = f"""
import json, sys
folder, checkout = {str(unpacked)!r}, {str(ROOT)!r}
sys.path[:] = [folder, *(path for path in sys.path if path != checkout)]
sys.modules["scipy"] = None  # MXNet itself takes it where it is, and does without where not
import ferlib_service

class Context:
    system_properties = {{"model_dir": folder}}
    metrics = type("Metrics", (), {{"add_time": lambda *_, **__: None}})()
    set_response_content_type = set_response_status = lambda *_: None

ferlib_service.handle(None, Context())
picture = open(folder + "/../photo.png", "rb").read()
(answer,) = ferlib_service.handle([{{"body": picture}}], Context())
unwanted = "matplotlib", "scipy", "gluoncv", "ferlib.training"
loaded = [name for name in unwanted if sys.modules.get(name)]
own = [vars(m)["__file__"] for n, m in sys.modules.items() if n.split(".")[0] == "ferlib"]
print(json.dumps(json.loads(answer) | {{"loaded": loaded, "own": own}}))
"""
    answer = answered("-I", "-c", code)
    assert answer["model"] == "tiny" and len(answer["faces"]) == 1
    assert answer["loaded"] == []
    assert all(path.startswith(str(unpacked)) for path in answer["own"])


@pytest.mark.slow
def test_the_archive_uses_its_own_ferlib_and_nothing_a_server_lacks(unpacked, tmp_path):
    """Loaded by Multi Model Server's own loader, with another ferlib first on the path."""
    decoy = tmp_path / "decoy" / "ferlib"
    decoy.mkdir(parents=True)
    (decoy / "__init__.py").write_text("raise ImportError('the wrong ferlib')")
    code = f"""
import sys
folder = {str(unpacked)!r}
sys.path[:0] = ["ferlib_service.py", {str(decoy.parent)!r}, folder]  # the order of the server
sys.modules.update(dict.fromkeys(["scipy", "skimage", "matplotlib", "gluoncv", "tqdm"]))
from mms.model_loader import MmsModelLoader
service = MmsModelLoader().load("fer", folder, "ferlib_service.py:handle", None, 1)
body = dict(name="body", contentType="image/png", value=bytearray(open(sys.argv[1], "rb").read()))
reply = service.predict([dict(requestId=b"1", headers=[], parameters=[body])])
own = [m for name, m in sys.modules.items() if name.split(".")[0] == "ferlib"]
assert own and all(m.__file__.startswith(folder) for m in own), own
print(reply[reply.index(b"{{") : reply.rindex(b"}}") + 1].decode())
"""
    answer = answered("-c", code, tmp_path / "photo.png")
    assert answer["model"] == "tiny" and len(answer["faces"]) == 1


# ---------------------------------------------------------------- check


def rewritten(mar, drop=None, add=None) -> bytes:
    """The archive with one member left out or added."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(mar) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            if name != drop:
                new.writestr(name, old.read(name))
        if add:
            new.writestr(*add)
    return buffer.getvalue()


def damaged(mar) -> bytes:
    data = bytearray(mar.read_bytes())
    data[len(data) // 2] ^= 0xFF  # in the weights
    return bytes(data)


CORRUPT = {
    "empty": lambda mar: b"",
    "text": lambda mar: b"<html>Please log in</html>",
    "half": lambda mar: mar.read_bytes()[:200_000],
    "first kilobyte missing": lambda mar: mar.read_bytes()[1024:],
    "one byte": damaged,
    "no manifest": lambda mar: rewritten(mar, drop="MAR-INF/MANIFEST.json"),
    "no weights": lambda mar: rewritten(mar, drop="weights/tiny-0000.params"),
    "no handler": lambda mar: rewritten(mar, drop="ferlib_service.py"),
    "another manifest": lambda mar: rewritten(
        mar, drop="MAR-INF/MANIFEST.json", add=("MAR-INF/MANIFEST.json", '{"model": {}}')
    ),
    "another handler": lambda mar: rewritten(
        mar,
        drop="MAR-INF/MANIFEST.json",
        add=(
            "MAR-INF/MANIFEST.json",
            archive._manifest("tiny").replace(b"ferlib_service.py:handle", b"/tmp/evil.py:handle"),
        ),
    ),
}
NAMES = {
    "climbs out": "../../evil.py",
    "climbs out of a folder": "ferlib/../../evil.py",
    "absolute": "/tmp/evil.py",
    "backslashes": "ferlib\\..\\evil.py",
    "drive": "C:/evil.py",
    "drive in a folder": "ferlib/C:evil.py",
    "double slash": "ferlib//evil.py",
    "dot": "./evil.py",
    "another folder": "evil/evil.py",
    "beside the handler": "evil.py",
    "shadows a package": "numpy.py",
    "no Python": "ferlib/evil.so",
    "hidden": "weights/.evil",
    "folder": "weights/evil/",
    "folder in weights": "weights/a/b",
    "line": "ferlib/evil\n.py",
    "letters of a terminal": "ferlib/\x1b[2Jevil.py",
    "not ascii": "ferlib/\u0435vil.py",
}
CORRUPT |= {
    f"name: {kind}": lambda mar, name=name: rewritten(mar, add=(name, ""))
    for kind, name in NAMES.items()
}


def entry(mode: int = 0o100644, name: str = "ferlib/evil.py", **how) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo(name)
    made.create_system = 3
    made.external_attr = mode << 16
    for key, value in how.items():
        setattr(made, key, value)
    return made


def twice(mar, name: str) -> bytes:
    with pytest.warns(UserWarning) if name == "ferlib/__init__.py" else contextlib.nullcontext():
        return rewritten(mar, add=(entry(name=name), "evil"))


def overlapping(mar) -> bytes:
    """A hundred names for the same megabytes, as in a zip bomb without nesting."""
    data = bytearray(rewritten(mar))
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        large = max(packed.infolist(), key=lambda one: one.file_size)
        start = packed.start_dir
        count = len(packed.infolist())
    row = data.index(b"PK\x01\x02" + data[start + 4 : start + 6], start)
    while large.filename.encode() != data[row + 46 : row + 46 + len(large.filename)]:
        row = data.index(b"PK\x01\x02", row + 4)
    entry = bytes(data[row : row + 46 + len(large.filename)])
    more = b"".join(
        entry.replace(b"weights/", b"weights/%02d" % n).replace(
            entry[28:30], (len(large.filename) + 2).to_bytes(2, "little"), 1
        )
        for n in range(99)
    )
    end = data.rindex(b"PK\x05\x06")
    size = int.from_bytes(data[end + 12 : end + 16], "little") + len(more)
    tail = bytearray(data[end:])
    tail[8:10] = tail[10:12] = (count + 99).to_bytes(2, "little")
    tail[12:16] = size.to_bytes(4, "little")
    return bytes(data[:end]) + more + bytes(tail)


def declared_small(mar) -> bytes:
    """Deflated zeros under a name of the archive's own, said to be a kilobyte."""
    whole = rewritten(mar, add=(entry(compress_type=zipfile.ZIP_DEFLATED), b"\0" * 50_000_000))
    return whole.replace((50_000_000).to_bytes(4, "little"), (1000).to_bytes(4, "little"))


CORRUPT |= {
    "name: nul": lambda mar: rewritten(mar, add=("ferlib/evil.py!", "")).replace(b"y!", b"y\0"),
    "link": lambda mar: rewritten(mar, add=(entry(0o120777), "/etc/passwd")),
    "pipe": lambda mar: rewritten(mar, add=(entry(0o010644), "")),
    "device": lambda mar: rewritten(mar, add=(entry(0o020644), "")),
    "folder by its mode": lambda mar: rewritten(mar, add=(entry(0o040755), "")),
    "twice": lambda mar: twice(mar, "ferlib/__init__.py"),
    "twice, in capitals": lambda mar: twice(mar, "ferlib/ERRORS.py"),
    "bomb": lambda mar: rewritten(
        mar, add=(entry(compress_type=zipfile.ZIP_DEFLATED), b"\0" * 50_000_000)
    ),
    "bomb that looks small": declared_small,
    "bomb by overlapping": overlapping,
    "encrypted": lambda mar: rewritten(mar, add=(entry(), "x")).replace(
        b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"
    ),
    "more weights": lambda mar: rewritten(
        rewritten_file(mar, ("weights/a", "")), add=("weights/b", "")
    ),
}


def rewritten_file(mar, add):
    """The archive with one member more, as a file in memory."""
    return io.BytesIO(rewritten(mar, add=add))


@pytest.mark.parametrize("kind", CORRUPT)
def test_a_corrupt_archive_is_refused_in_two_lines(mar, tmp_path, kind):
    bad = tmp_path / "bad.mar"
    bad.write_bytes(CORRUPT[kind](mar))
    with pytest.raises(FerlibError, match=r"bad\.mar.*\n.*ferlib pack") as error:
        archive.check(bad)
    with pytest.raises(FerlibError):
        archive.copy(bad, tmp_path / "copy.mar")
    assert not (tmp_path / "copy.mar").exists()
    assert error.value.code == "archive_corrupt" and len(str(error.value).splitlines()) == 2


def test_a_whole_archive_passes_and_a_missing_one_is_named(mar, tmp_path):
    archive.check(mar)
    archive.copy(mar, tmp_path / "copy.mar")
    assert digest(tmp_path / "copy.mar") == digest(mar)
    with pytest.raises(FerlibError, match=r"no\.mar is missing"):
        archive.check(tmp_path / "no.mar")
    with pytest.raises(FerlibError, match="is a folder, expected"):
        archive.check(tmp_path)


def test_what_java_alone_would_see_is_not_copied(mar, tmp_path):
    """Java reads a zip from its front: a file before the first one that Python knows of."""
    hidden = io.BytesIO()
    with zipfile.ZipFile(hidden, "w") as packed:
        packed.writestr("../../evil.py", "evil")
    front = hidden.getvalue()[: hidden.getvalue().index(b"PK\x01\x02")]
    (tmp_path / "two.mar").write_bytes(front + mar.read_bytes())
    archive.copy(tmp_path / "two.mar", tmp_path / "copy.mar")
    assert digest(tmp_path / "copy.mar") == digest(mar)


@pytest.mark.parametrize("change", [None, "altered", "fewer"])
def test_an_archive_of_another_version_is_served_and_told(mar, tmp_path, monkeypatch, change):
    one = "ferlib/nets/answer.py"
    drop, add = (one if change else None), (one, b"# older") if change == "altered" else None
    old = tmp_path / "model_store" / "fer.mar"
    old.parent.mkdir()
    old.write_bytes(rewritten(mar, drop, add))
    assert archive.is_of_another_version(old) == (change is not None)
    started = SimpleNamespace(address="a", port=1, logs="l")
    monkeypatch.setattr(server, "start", lambda *args, **how: started)
    monkeypatch.chdir(tmp_path)
    for words in ((), ("--archive", old)):
        said = ferlib("serve", *words).stdout
        assert ("packed by another version" in said) == (change is not None)
    assert "packed by" not in ferlib("serve", "--weights", "any").stdout  # packed on the spot
