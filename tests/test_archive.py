"""The archive: same bytes from the same inputs, nothing but what serving needs, checked on use."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from argparse import Namespace

import pytest
from model_archiver.model_packaging_utils import ModelExportUtils
from serving import ROOT, astronaut, encoded, tiny_weights

from ferlib import archive, models
from ferlib.errors import FerlibError


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return tiny_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def mar(weights, tmp_path_factory):
    return archive.pack(weights, tmp_path_factory.mktemp("store") / "fer.mar")


def digest(path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# ---------------------------------------------------------------- pack


def test_the_same_inputs_give_the_same_bytes(mar, weights, tmp_path):
    """Another folder, process, time, umask and hash seed; a dotfile and a link beside them."""
    for path in models.weight_files(weights):
        copy = tmp_path / path.name
        shutil.copy(path, copy)
        os.utime(copy, (1e9, 1e9))
        copy.chmod(0o600)
    (tmp_path / ".hidden").write_text("not to be packed")
    (tmp_path / "link").symlink_to("/etc/hostname")
    code = (
        "import os, sys; os.umask(0o077); from ferlib import archive;"
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
    net = models.create("vgg-tiny", seed=4)
    models.save_weights(net, tmp_path / "tiny", {"input_size": 48, "normalise": "standardise"})
    assert digest(archive.pack(tmp_path / "tiny", tmp_path / "fer.mar")) != digest(mar)


def test_exactly_these_files_are_in_it(mar):
    with zipfile.ZipFile(mar) as packed:
        names = packed.namelist()
        assert all(entry.external_attr >> 16 == 0o100644 for entry in packed.infolist())
    wanted = {"MAR-INF/MANIFEST.json", "ferlib_service.py"}
    wanted |= {f"ferlib/{name}.py" for name in archive.MODULES}
    wanted |= {f"weights/tiny{tail}" for tail in ("-symbol.json", "-0000.params", ".json")}
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
    for path in models.weight_files(weights):
        shutil.copy(path, tmp_path)
    params = tmp_path / "tiny-0000.params"
    params.write_bytes(params.read_bytes()[:5000])
    with pytest.raises(FerlibError, match=r"tiny-0000\.params"):
        archive.pack(tmp_path / "tiny", tmp_path / "fer.mar")
    (tmp_path / "tiny.json").unlink()
    with pytest.raises(FerlibError, match=r"tiny\.json is missing"):
        archive.pack(tmp_path / "tiny", tmp_path / "fer.mar")
    assert not list(tmp_path.glob("*fer.mar*"))


def pack_in_another_process(prelude: str, weights, out) -> subprocess.CompletedProcess:
    code = f"import os, resource, sys; {prelude}; from ferlib import cli; sys.exit(cli.main())"
    words = ["pack", "--weights", weights, "--out", out]
    result = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) <= 2 and "Traceback" not in result.stderr
    assert result.stderr.startswith(f"ferlib: {out} cannot be written: ")
    return result


# A limit on the size of any file, which fails in mid-write, as a full disk does.
LIMITED = "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"


def test_a_failed_write_keeps_the_old_archive(mar, weights, tmp_path):
    out = tmp_path / "fer.mar"
    shutil.copy(mar, out)
    pack_in_another_process(LIMITED, weights, out)
    assert digest(out) == digest(mar)
    assert [path.name for path in tmp_path.iterdir()] == ["fer.mar"]


def test_a_failed_write_leaves_no_folder_that_it_made(weights, tmp_path):
    (tmp_path / "mine").mkdir()
    pack_in_another_process(LIMITED, weights, tmp_path / "mine" / "new" / "newer" / "fer.mar")
    assert list(tmp_path.rglob("*")) == [tmp_path / "mine"]


def test_a_full_disk_is_called_that(weights, tmp_path):
    """The temporary file leads to /dev/full, whose every write says that the disk is full."""
    prelude = "os.symlink('/dev/full', f'{os.path.dirname(sys.argv[-1])}/.fer.mar.{os.getpid()}')"
    result = pack_in_another_process(prelude, weights, tmp_path / "fer.mar")
    assert "the disk is full" in result.stderr and "--out" in result.stderr
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- self-contained


def test_the_archive_uses_its_own_ferlib_and_nothing_a_server_lacks(mar, tmp_path):
    """Loaded by Multi Model Server's own loader, with another ferlib first on the path."""
    unpacked, decoy = tmp_path / "unpacked", tmp_path / "decoy" / "ferlib"
    zipfile.ZipFile(mar).extractall(unpacked)
    decoy.mkdir(parents=True)
    (decoy / "__init__.py").write_text("raise ImportError('the wrong ferlib')")
    (tmp_path / "photo.png").write_bytes(encoded(astronaut()))
    code = f"""
import sys
folder = {str(unpacked)!r}
sys.path[:0] = ["ferlib_service.py", {str(decoy.parent)!r}, folder]  # the order of the server
sys.modules.update(dict.fromkeys(["cv2", "scipy", "skimage", "matplotlib", "gluoncv", "tqdm"]))
from mms.model_loader import MmsModelLoader
service = MmsModelLoader().load("fer", folder, "ferlib_service.py:handle", None, 1)
body = dict(name="body", contentType="image/png", value=bytearray(open(sys.argv[1], "rb").read()))
reply = service.predict([dict(requestId=b"1", headers=[], parameters=[body])])
own = [m for name, m in sys.modules.items() if name.split(".")[0] == "ferlib"]
assert own and all(m.__file__.startswith(folder) for m in own), own
print(reply[reply.index(b"{{") : reply.rindex(b"}}") + 1].decode())
"""
    result = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "photo.png"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout.splitlines()[-1])
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
    "climbs out": lambda mar: rewritten(mar, add=("../../evil.py", "")),
}


@pytest.mark.parametrize("kind", CORRUPT)
def test_a_corrupt_archive_is_refused_in_two_lines(mar, tmp_path, kind):
    bad = tmp_path / "bad.mar"
    bad.write_bytes(CORRUPT[kind](mar))
    with pytest.raises(FerlibError, match=r"bad\.mar.*\n.*ferlib pack") as error:
        archive.check(bad)
    assert error.value.code == "archive_corrupt" and len(str(error.value).splitlines()) == 2


def test_a_whole_archive_passes_and_a_missing_one_is_named(mar, tmp_path):
    archive.check(mar)
    with pytest.raises(FerlibError, match=r"no\.mar is missing"):
        archive.check(tmp_path / "no.mar")
    with pytest.raises(FerlibError, match="is a folder, expected"):
        archive.check(tmp_path)
