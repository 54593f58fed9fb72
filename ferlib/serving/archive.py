"""The .mar: weights, handler and what serving needs of ferlib, in one reproducible file."""

import io
import json
import zipfile
from pathlib import Path

from ferlib.errors import FerlibError
from ferlib.files import whole_file

HANDLER = "ferlib_service.py"  # a name that no folder on a user's PYTHONPATH is likely to have
# What answering needs of ferlib: the handler's imports, and nothing that trains or draws plots.
MODULES = (
    "__init__.py",
    "_lazy.py",
    "errors.py",
    "files.py",
    "runtime/*.py",
    "data/__init__.py",
    "data/labels.py",
    "data/images.py",
    "nets/__init__.py",
    "nets/answer.py",
    "nets/info.py",
    "nets/int8.py",
    "nets/places.py",
    "nets/registry.py",
    "nets/store.py",
    "nets/zoo/*.py",
    "faces/__init__.py",
    "faces/detectors.py",
    "faces/drawing.py",
    "faces/face.py",
    "faces/recognizer.py",
    "faces/search.py",
)
_MANIFEST = "MAR-INF/MANIFEST.json"
_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can hold


def pack(weights: str | Path | None = None, out: str | Path = "model_store/fer.mar") -> Path:
    """Write the archive that serves `weights` (a prefix; None: the default net); gives its path.

    The same weights and the same ferlib give the same bytes: fixed order, times and permissions,
    nothing but the files named here, stored as they are (zlib's output differs by version). The
    weights are loaded once first, and their int8 graph where they have ranges, so what does not fit
    together is refused: FerlibError, as when `out` cannot be written.
    """
    from ferlib.nets import int8, places, store  # here: MXNet, which checking an archive needs not

    prefix = places.find_weights(weights)
    store.load(prefix)
    files = [*places.weight_files(prefix)]
    if places.int8_file(prefix).is_file():
        int8.graph(prefix)
        files.append(places.int8_file(prefix))
    out = Path(out)
    with whole_file(out) as partial:
        partial.write_bytes(_zipped(_members(prefix, files)))
    return out


def _members(prefix: Path, weight_files: list[Path]) -> dict[str, bytes]:
    """Name in the archive -> contents."""
    package = Path(__file__).parents[1]
    members = {_MANIFEST: _manifest(prefix.name)}
    members[HANDLER] = (package / "serving" / "handler.py").read_bytes()
    for pattern in MODULES:
        for path in package.glob(pattern):
            members[f"ferlib/{path.relative_to(package).as_posix()}"] = path.read_bytes()
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


def check(mar: str | Path) -> None:
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
