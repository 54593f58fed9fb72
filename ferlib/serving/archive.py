"""The .mar: weights, handler and what serving needs of ferlib, in one reproducible file."""

import contextlib
import io
import json
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ferlib.errors import FerlibError
from ferlib.files import whole_file

if TYPE_CHECKING:  # the rest of ferlib only to pack: checking an archive needs no MXNet
    from ferlib.nets.prior import Prior

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
    "nets/prior.py",
    "nets/registry.py",
    "nets/store.py",
    "nets/zoo/*.py",
    "faces/*.py",
    "serving/__init__.py",
    "serving/metrics.py",
    "serving/several.py",
)
NOT_SERVED = tuple(
    f"faces/{name}.py" for name in ("flow", "frames", "framing", "tracking", "video")
)
_MANIFEST = "MAR-INF/MANIFEST.json"
_UPRIGHT = "model_store"  # where ferlib looks for the net that says how far heads are turned
# The only names in an archive: no other folder, nothing above it, no drive.
_NAMES = re.compile(
    rf"{re.escape(_MANIFEST)}|{re.escape(HANDLER)}|"
    r"ferlib/([A-Za-z_][A-Za-z0-9_]*/)*[A-Za-z_][A-Za-z0-9_]*\.py|"
    rf"(weights|{_UPRIGHT})/[A-Za-z0-9_+=,@-][A-Za-z0-9_+=,@.-]*"
)
_NET = (3, 4)  # files of a net: without and with the ranges for eight-bit numbers
_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can hold


def pack(
    weights: str | Path | None = None,
    out: str | Path = "model_store/fer.mar",
    prior: "Prior | None" = None,
) -> Path:
    """Write the archive that serves `weights` (a prefix; None: the default net); gives its path.

    It answers as where classes are as frequent as `prior` says (`nets.prior.under`), which then
    stands in the net's JSON and in the manifest's description.

    The same weights and the same ferlib give the same bytes: fixed order, times and permissions,
    nothing but the files named here, stored as they are (zlib's output differs by version). The
    weights are loaded once first, and their int8 graph where they have ranges, so what does not fit
    together is refused: FerlibError, as when `out` cannot be written.
    """
    from ferlib.faces import roll  # here: MXNet, which checking an archive needs not
    from ferlib.nets import places

    prefix, out = places.find_weights(weights), Path(out)
    if out.suffix != ".mar":
        raise FerlibError(f"cannot write {out}: expected a file's name that ends in .mar")
    files = {f"weights/{path.name}": path for path in _checked_net(prefix)}
    upright = roll.Upright().prefix
    if upright is not None:
        files |= {f"{_UPRIGHT}/{path.name}": path for path in _checked_net(upright)}
    if not all(map(_NAMES.fullmatch, files)):
        raise FerlibError(
            f"cannot pack {prefix}: a server takes files called by the letters A to Z, digits and "
            "_+=,@-.\nName the net's files so",
            "weights_invalid",
        )
    members = _members(prefix.name, files)
    if prior is not None:
        members |= _stated(prefix, prior)
    with whole_file(out) as partial:
        partial.write_bytes(_zipped(members))
    return out


def _stated(prefix: Path, prior: "Prior") -> dict[str, bytes]:
    """The members that tell of a prior."""
    from ferlib.nets import places
    from ferlib.nets.info import Info
    from ferlib.nets.prior import told, under

    file = places.weight_files(prefix)[2]
    info = under(Info.read(file), prior)
    manifest = _manifest(f"{prefix.name}, prior {told(info)}")
    return {f"weights/{file.name}": info.text().encode(), _MANIFEST: manifest}


def _checked_net(prefix: Path) -> list[Path]:
    """The files of a net, which has been loaded with each of them."""
    from ferlib.nets import int8, places, store

    store.load(prefix)
    if not places.int8_file(prefix).is_file():
        return [*places.weight_files(prefix)]
    int8.graph(prefix)
    return [*places.weight_files(prefix), places.int8_file(prefix)]


def _members(description: str, files: dict[str, Path]) -> dict[str, bytes]:
    """Name in the archive -> contents."""
    members = {_MANIFEST: _manifest(description)} | _code()
    return members | {name: path.read_bytes() for name, path in files.items()}


def _code() -> dict[str, bytes]:
    """The members that are this ferlib's own: the handler, and what it needs."""
    package = Path(__file__).parents[1]
    members = {HANDLER: (package / "serving" / "handler.py").read_bytes()}
    for pattern in MODULES:
        for path in package.glob(pattern):
            name = path.relative_to(package).as_posix()
            if name not in NOT_SERVED:
                members[f"ferlib/{name}"] = path.read_bytes()
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
    with _opened(Path(mar)) as packed:
        damaged = packed.testzip()
        if damaged:
            raise _Unfit(f"{damaged} is damaged")


def is_of_another_version(mar: str | Path) -> bool:
    """Whether the copy of ferlib in an archive is another one than this. Raises as `check` does."""
    with _opened(Path(mar)) as packed:
        names = [name for name in packed.namelist() if name.endswith(".py")]
        return {name: packed.read(name) for name in names} != _code()


def copy(mar: str | Path, out: str | Path) -> None:
    """Check an archive and write it anew. Raises FerlibError as `check` does.

    Multi Model Server unpacks the copy, in which nothing can be that was not seen here: Java reads
    a zip from its front, Python from its end, and one file can tell the two different things.
    """
    with _opened(Path(mar)) as packed:
        members = {entry.filename: packed.read(entry) for entry in packed.infolist()}
    Path(out).write_bytes(_zipped(members))


class _Unfit(ValueError):
    """Why a zip is not one of `pack`'s."""


@contextlib.contextmanager
def _opened(mar: Path) -> Iterator[zipfile.ZipFile]:
    """The archive, its names, sizes and manifest checked; what fails within counts as damage."""
    if mar.is_dir():
        raise FerlibError(f"{mar} is a folder, expected the .mar file in it", "archive_missing")
    if not mar.is_file():
        raise FerlibError(f"{mar} is missing: make it with `ferlib pack`", "archive_missing")
    faults = (zipfile.BadZipFile, zlib.error, KeyError, ValueError, TypeError, EOFError, OSError)
    try:
        with zipfile.ZipFile(mar) as packed:
            _check_members(packed.infolist(), mar.stat().st_size)
            _check_manifest(packed)
            yield packed
    except (*faults, NotImplementedError, RuntimeError) as error:  # the last: encrypted
        raise _corrupt(mar, str(error).strip("'\"") or type(error).__name__) from None


def _check_members(entries: list[zipfile.ZipInfo], size: int) -> None:
    """Raises _Unfit unless all are plain files with names that `pack` gives, stored as they are."""
    names = [entry.filename for entry in entries]
    for entry in entries:
        if entry.orig_filename != entry.filename or not _NAMES.fullmatch(entry.filename):
            raise _Unfit(f"{entry.orig_filename!r} is not a name of a file in it")
        if (entry.external_attr >> 16) & 0o170000 not in (0, stat.S_IFREG):
            raise _Unfit(f"{entry.filename} is not a plain file")
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise _Unfit(f"{entry.filename} is compressed")
    if len(set(map(str.lower, names))) < len(names):
        raise _Unfit("a name stands there twice")
    if sum(entry.file_size for entry in entries) > size:
        raise _Unfit("its files overlap")
    weights, upright = (
        sum(name.startswith(f"{folder}/") for name in names) for folder in ("weights", _UPRIGHT)
    )
    if HANDLER not in names or weights not in _NET or upright not in (0, *_NET):
        raise _Unfit(f"expected {HANDLER} and three or four files of each net in it")


def _check_manifest(packed: zipfile.ZipFile) -> None:
    manifest = json.loads(packed.read(_MANIFEST))
    name = manifest["model"]["description"]
    if not isinstance(name, str) or manifest != json.loads(_manifest(name)):
        raise _Unfit("its manifest is not that of `ferlib pack`")


def _corrupt(mar: Path, reason: str) -> FerlibError:
    return FerlibError(
        f"{mar} is not a whole archive of ferlib ({reason[:100]}).\nMake it again: ferlib pack",
        "archive_corrupt",
    )
