"""Names for copies, and what is said of a file in one line."""

import re
import sys
from pathlib import Path

from ferlib.faces.face import Face
from ferlib.files import make_folder


def free_stem(folder: Path, name: str) -> Path:
    """folder/<name>-ferlib, numbered when there is a file with this stem."""
    make_folder(folder)
    base, number = re.sub(r"[^\w.() +-]", "_", Path(name).name), 1
    base = base.encode()[-200:].decode(errors="ignore").lstrip(".-")  # 255 bytes are the most
    while True:
        stem = folder / f"{base}-ferlib{'' if number == 1 else number}"
        if not any(Path(f"{stem}{end}").exists() for end in (".png", ".mp4", ".avi")):
            return stem
        number += 1


def printable(line: str) -> str:
    """One line that any terminal takes: what a file's name may hold besides is escaped."""
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    encoding = sys.stdout.encoding or "utf-8"
    return safe.encode(encoding, "backslashreplace").decode(encoding)


def faces_line(name: str, found: list[Face]) -> str:
    """What was found in a picture, in one line."""
    if not found:
        return f"{name}: no face found"
    each = (f"{f.emotion} {f.scores[f.emotion]:.2f} at {tuple(f.box)}" for f in found)
    return f"{name}: " + ", ".join(each)


def video_line(entry: dict) -> str:
    """Who was seen in a video, of which `entry` is what `Watched` keeps, in one line."""
    each = (
        f"face {face['id']} {face['emotion']} {face['scores'][face['emotion']]:.2f}"
        f" ({face['from']:.1f} to {face['to']:.1f} s)"
        for face in entry["faces"]
    )
    found = ", ".join(each) or "no face found"
    return f"{entry['video']}: {entry['frames']} frames, {found}"
