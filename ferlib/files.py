"""Files that are whole or not there, the cache folder, fingerprints, the commit in use."""

import contextlib
import errno
import hashlib
import os
import stat
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from uuid import uuid4

import numpy as np

from ferlib.errors import FerlibError, check_kind


@contextlib.contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Where to write a file that gets its name only once it is whole; see `whole_files`."""
    with whole_files(path) as (partial,):
        yield partial


@contextlib.contextmanager
def whole_files(*paths) -> Iterator[list[Path]]:
    """Where to write files that get their names, in this order, once all of them are whole.

    The places lie beside the files and end as they do. The last of several files is missing while
    the others are exchanged. Folders are made where there are none. What goes wrong, Ctrl-C
    included, leaves nothing new: neither half a file nor an empty folder.
    Raises FerlibError, with `code` not_written, when the disk is full, the place not writable, or
    something there that is no ordinary file.
    """
    places = [_replaceable(path) for path in paths]
    mine = f".{os.getpid()}.{uuid4().hex[:8]}."  # a process can have many threads
    partial = [place.with_name(mine + place.name) for place in places]
    made: list[Path] = []
    try:
        for place in places:
            made += make_folder(place.parent)
            sweep(place)
        yield partial
        _exchange(partial, places)
    except BaseException as error:
        for path in partial:
            with contextlib.suppress(OSError):
                path.unlink()
        for folder in sorted(made, key=lambda one: len(one.parts), reverse=True):
            with contextlib.suppress(OSError):
                folder.rmdir()
        if isinstance(error, OSError):
            raise not_written(places[0], error) from None
        raise


def _exchange(partial: list[Path], places: list[Path]) -> None:
    """Whole files take their places; old and new ones are never taken for one whole."""
    for source, place in zip(partial, places, strict=True):
        _to_disk(source)
        _replaceable(place)
    if len(places) > 1:
        places[-1].unlink(missing_ok=True)
    for source, place in zip(partial, places, strict=True):
        os.replace(source, place)


def _replaceable(path: str | Path) -> Path:
    """FerlibError where a file's place is a folder, or another thing that none may replace."""
    path = Path(path)
    if not path.name:
        raise FerlibError(f"cannot write {str(path)!r}: expected a file's name", "not_written")
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return path
    except OSError as error:
        raise not_written(path, error) from None
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "no ordinary file"
        raise FerlibError(f"cannot write {path}: it is {what}", "not_written")
    return path


class _Tried(Exception):
    """The attempt has worked."""


def check_place(*paths) -> None:
    """FerlibError unless files can be written there; nothing of the attempt stays."""
    with contextlib.suppress(_Tried), whole_files(*paths) as partial:
        for path in partial:
            path.touch()
        raise _Tried


def check_free(folder: Path, names: Iterable[str]) -> None:
    """FerlibError where somebody's own files would be written over."""
    there = [name for name in names if (folder / name).exists()]
    if there:
        raise FerlibError(f"{folder} holds another {there[0]}: name another folder, or a new one")


def make_folder(folder: str | Path) -> list[Path]:
    """Make a folder and those it lies in; gives the new ones, the innermost first."""
    folder = Path(folder)
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FerlibError(f"cannot make {folder}: {error.strerror}", "not_written") from None
    return made


def not_written(path: str | Path, error: OSError) -> FerlibError:
    """What to tell about a file that could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        why = "the disk is full.\nMake room, or choose another place"
    else:
        why = error.strerror or str(error)
    return FerlibError(f"cannot write {path}: {why}", "not_written")


def _to_disk(path: Path) -> None:
    """Before a file takes the place of another its bytes are on the disk, not on their way."""
    with open(path, "r+b") as file:  # Windows syncs only what may be written
        os.fsync(file.fileno())


def sweep(path: Path) -> None:
    """Delete what processes that were killed while they wrote `path` left beside it."""
    for left in path.parent.glob(f".*.{_plain(path.name)}"):
        process = left.name[1:].split(".", 1)[0]
        if process.isascii() and process.isdigit() and not runs(int(process)):
            with contextlib.suppress(OSError):  # another user's, or swept by someone else just now
                left.unlink()


def _plain(name: str) -> str:
    """A name as a pattern that matches nothing else."""
    return "".join(f"[{char}]" if char in "*?[" else char for char in name)


def runs(process: int) -> bool:
    """Whether there is a process of this number; on Windows, where nobody can ask, True."""
    if os.name == "nt":  # signal 0 is Ctrl-C there, to everything in the console
        return True
    try:
        os.kill(process, 0)  # signal 0 only asks
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # another user's; no process number at all
        return True
    return True


def is_text(name: str) -> bool:
    """Whether a file's name can be written as text: old archives hold names in other encodings."""
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False


def check_text(path: str | Path) -> None:
    """FerlibError for a name that is no text: MXNet's files and SQLite's take no other."""
    if not is_text(str(path)):
        raise FerlibError(f"cannot write {str(path)!a}: its name is not in UTF-8", "not_written")


def check_folder(folder: str | Path) -> None:
    """FerlibError for what is no folder's name; Path("") would be the working folder."""
    check_kind("folder", folder, (str, os.PathLike), "a folder's name")
    if not str(folder):
        raise FerlibError("the folder's name is empty")


def cache_folder() -> Path:
    """For what can be made again; as in the XDG specification, relative paths are ignored."""
    named = Path(os.environ.get("XDG_CACHE_HOME") or "")
    if named.is_absolute():
        return named / "ferlib"
    try:
        return Path.home() / ".cache" / "ferlib"
    except RuntimeError:  # a user without an entry, as in some containers
        text = "no home folder is known: set HOME, or XDG_CACHE_HOME for what can be made again"
        raise FerlibError(text) from None


def fingerprint(*arrays: np.ndarray) -> str:
    """16 hexadecimal digits that tell these arrays' bytes from others'."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


def version_of(*modules: ModuleType) -> str:
    """16 hexadecimal digits that tell the modules' code from an older or younger one's."""
    code = b"".join(Path(str(module.__file__)).read_bytes() for module in modules)
    return hashlib.sha256(code).hexdigest()[:16]


def commit() -> str:
    """The checkout's commit, "" outside one; "+" when its files differ, or code is not in it."""
    known = _git("describe", "--always", "--dirty=+")
    new = known and _git("ls-files", "--others", "--exclude-standard", ":/*.py")
    return known + "+" if new and not known.endswith("+") else known


def _git(*words: str) -> str:
    """What git says in the package's folder; "" where there is none."""
    call = ["git", "-C", str(Path(__file__).parent), *words]
    try:
        return subprocess.run(call, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


_PACKAGE = Path(__file__).parent


def recorded(name: str) -> Path:
    """A file of results/, such as `ferplus.json`, in a checkout as in an installed package.

    Raises FerlibError where it is not there.
    """
    places = [folder / "results" / name for folder in (_PACKAGE.parent, _PACKAGE)]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise FerlibError(f"no recorded result {name}: they stand in results/README.md")
    return found
