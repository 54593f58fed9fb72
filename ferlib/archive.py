"""The .mar: weights, handler and what serving needs of ferlib, in one reproducible file."""

import contextlib
import errno
import io
import json
import os
import zipfile
from pathlib import Path

from ferlib.errors import FerlibError

HANDLER = "ferlib_service.py"  # a name that no folder on a user's PYTHONPATH is likely to have
MODULES = ("__init__", "errors", "runtime", "labels", "images", "models", "int8", "faces")
_MANIFEST = "MAR-INF/MANIFEST.json"
_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can hold


def pack(weights=None, out="model_store/fer.mar") -> Path:
    """Write the archive that serves `weights` (a prefix; None: the default net); gives its path.

    The same weights and the same ferlib give the same bytes: fixed order, times and permissions,
    nothing but the files named here, stored as they are (zlib's output differs by version). The
    weights are loaded once first, and their int8 graph where they have ranges, so what does not fit
    together is refused: FerlibError, as when `out` cannot be written.
    """
    from ferlib import faces, int8, models

    prefix = faces.find_weights(weights)
    models.load_weights(prefix)
    files = [*models.weight_files(prefix)]
    if int8.file(prefix).is_file():
        int8.graph(prefix)
        files.append(int8.file(prefix))
    out = Path(out)
    _write(out, _zipped(_members(prefix, files)))
    return out


def _write(out: Path, data: bytes) -> None:
    """All of it or nothing: a failure leaves no half file and no folder made for it."""
    made = [folder for folder in out.parents if not folder.exists()]  # the innermost first
    beside = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(data)
        os.replace(beside, out)
    except BaseException as error:  # Ctrl-C included
        with contextlib.suppress(OSError):
            beside.unlink()
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()
        if isinstance(error, OSError):
            raise FerlibError(f"{out} cannot be written: {_why(error)}", "not_written") from None
        raise


def _why(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full.\nMake room, or choose another place with --out"
    return error.strerror or str(error)


def _members(prefix: Path, weight_files) -> dict[str, bytes]:
    """Name in the archive -> contents."""
    here = Path(__file__).parent
    members = {_MANIFEST: _manifest(prefix.name), HANDLER: (here / "service.py").read_bytes()}
    for name in MODULES:
        members[f"ferlib/{name}.py"] = (here / f"{name}.py").read_bytes()
    for path in weight_files:
        members[f"weights/{path.name}"] = path.read_bytes()
    return members


def _manifest(name: str) -> bytes:
    """As model-archiver writes it. The runtime `python` is the one that the server runs in;
    `python3` would be whatever PATH finds."""
    manifest = {
        "runtime": "python",
        "model": {"modelName": "fer", "description": name, "handler": f"{HANDLER}:handle"},
        "engine": {"engineName": "MXNet"},
        "modelServerVersion": "1.0",
        "implementationVersion": "1.0",
        "specificationVersion": "1.0",
    }
    return json.dumps(manifest, indent=2).encode() + b"\n"


def _zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            entry = zipfile.ZipInfo(name, _LONG_AGO)
            entry.create_system = 3  # Unix, wherever it is written
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, members[name])
    return buffer.getvalue()


def check(mar) -> None:
    """FerlibError when `mar` is missing, damaged, or not an archive that `pack` wrote."""
    mar = Path(mar)
    if mar.is_dir():
        raise FerlibError(f"{mar} is a folder, expected the .mar file in it", "archive_missing")
    if not mar.is_file():
        raise FerlibError(f"{mar} is missing: make it with `ferlib pack`", "archive_missing")
    try:
        with zipfile.ZipFile(mar) as archive:
            damaged = archive.testzip()
            if damaged:
                raise zipfile.BadZipFile(f"{damaged} is damaged")
            names = set(archive.namelist())
            manifest = json.loads(archive.read(_MANIFEST))
            handler = manifest["model"]["handler"].split(":")[0]
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, EOFError, OSError) as error:
        raise _corrupt(mar, str(error).strip("'\"") or type(error).__name__) from None
    weights = [name for name in names if name.startswith("weights/")]
    if handler not in names or len(weights) not in (3, 4):
        raise _corrupt(mar, f"expected {HANDLER} and three or four files of weights in it")
    if any(name.startswith("/") or ".." in Path(name).parts for name in names):
        raise _corrupt(mar, "it would unpack outside its folder")


def _corrupt(mar: Path, reason: str) -> FerlibError:
    return FerlibError(
        f"{mar} is not a whole archive of ferlib ({reason[:100]}).\nMake it again: ferlib pack",
        "archive_corrupt",
    )
