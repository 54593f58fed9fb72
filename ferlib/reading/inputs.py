"""What there is to read: files, folders with all below them, and patterns -> names of files."""

import glob
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

from ferlib.data.gather import SUFFIXES
from ferlib.errors import FerlibError

PICTURES = SUFFIXES
VIDEOS: tuple[str, ...] = (
    ".mp4",
    ".m4v",
    ".mov",
    ".avi",
    ".mkv",
    ".webm",
    ".mpg",
    ".mpeg",
    ".wmv",
    ".flv",
    ".3gp",
)
VIDEOS += (".ogv", ".ts", ".mts", ".m2ts")
_OURS = re.compile(r"-ferlib\d*\.(png|mp4|avi)$")  # copies of an earlier run


def expand(
    word: str, failed: Callable | None = None, kinds: tuple[str, ...] = PICTURES + VIDEOS
) -> list[str]:
    """A file, a folder (what in it ends in `kinds`, below it too) or a pattern -> files, sorted.

    Nothing hidden of a folder, and of folders and patterns no copies of an earlier run.
    A name that is nothing of these is given back: reading it says what is wrong with it.
    `failed` is told the OSError of each folder that cannot be read.
    """
    if os.path.isdir(word):
        return _inside(word, failed, kinds)
    if os.path.exists(word) or not glob.has_magic(word):
        return [word]
    names = []
    for one in _matching(word):
        names += _inside(one, failed, kinds) if os.path.isdir(one) else [one]
    return [name for name in names if not _OURS.search(name)]


def _matching(pattern: str) -> list[str]:
    """As `glob` does, but `**` follows no links: there are folders that hold themselves."""
    parts = [part if part == "**" else re.sub(r"\*+", "*", part) for part in Path(pattern).parts]
    if "**" not in parts:
        return sorted(glob.glob(os.path.join(*parts)))
    first = parts.index("**")
    names = []
    for start in glob.glob(os.path.join(*parts[:first])) if first else ["."]:
        for found in Path(start).glob(os.path.join(*parts[first:])):
            if not any(part.startswith(".") for part in found.relative_to(start).parts):
                names.append(str(found))
    return sorted(names)


def _inside(folder: str, failed: Callable | None, kinds) -> list[str]:
    names = []
    for place, folders, files in os.walk(folder, onerror=failed):
        folders[:] = [name for name in folders if not name.startswith(".")]  # bins and thumbnails
        names += [os.path.join(place, name) for name in files if not name.startswith(".")]
    return sorted(n for n in names if n.lower().endswith(kinds) and not _OURS.search(n))


def size_of(name: str) -> int:
    """Bytes of a file. Raises FerlibError for a pipe or device, which may keep us for ever."""
    try:
        found = os.stat(name)
    except OSError as error:
        raise FerlibError(f"cannot read {name}: {error.strerror}", "not_readable") from None
    if not stat.S_ISREG(found.st_mode):
        raise FerlibError(f"{name} is no regular file: expected a picture or video", "not_readable")
    return found.st_size
