"""Install the rivals aside: fer in an environment of its own, face-api and human beside it.

    python benchmarks/photos/rivals.py FOLDER

Takes some 8 GB, most of it what PyTorch brings for graphics cards. The library that tfjs-node would
fetch from elsewhere at its installation comes with TensorFlow's wheel: its binding, two C++ files,
is compiled against that. Where this fails, WebAssembly computes in its place.
"""

import argparse
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from ferlib.errors import FerlibError

HERE = Path(__file__).resolve().parent
LISTS = ("requirements.txt", "package.json", "package-lock.json")


def run(*command: str | Path, cwd: Path | None = None) -> None:
    """A FerlibError with the last line that was said where the command fails."""
    try:
        done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True)
    except FileNotFoundError:
        raise FerlibError(f"{command[0]} is not installed") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["nothing was said"]
        raise FerlibError(f"{command[0]} failed: {said[-1]}")


def install(folder: Path) -> str:
    """Fill FOLDER if it is not whole yet -> "tfjs-node" or "wasm"."""
    lists = b"".join((HERE / name).read_bytes() for name in LISTS)
    mark, whole = folder / "whole", hashlib.sha256(lists).hexdigest()
    if not mark.exists() or mark.read_text() != whole:
        folder.mkdir(parents=True, exist_ok=True)
        print(f"installing the rivals in {folder}: minutes, and 8 GB", file=sys.stderr)
        run(sys.executable, "-m", "venv", "--clear", folder / "fer")
        run(python(folder), "-m", "pip", "install", "-q", "-r", HERE / "requirements.txt")
        for name in LISTS[1:]:
            shutil.copy(HERE / name, folder)
        run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=folder)
        try:
            compile_binding(folder)
        except FerlibError as error:
            print(f"WebAssembly in place of tfjs-node: {error}", file=sys.stderr)
        mark.write_text(whole)
    return "tfjs-node" if binding(folder).exists() else "wasm"


def python(folder: Path) -> Path:
    return folder / "fer" / "bin" / "python"


def binding(folder: Path) -> Path:
    """Where tfjs-node looks for its binding."""
    return folder / "node_modules/@tensorflow/tfjs-node/lib/napi-v8/tfjs_binding.node"


def compile_binding(folder: Path) -> None:
    """tfjs-node's binding, with the C interface in TensorFlow's wheel."""
    tensorflow = next(folder.glob("fer/lib/python3*/site-packages/tensorflow"))
    sources = folder / "node_modules/@tensorflow/tfjs-node/binding"
    node = shutil.which("node") or "node"
    headers = Path(node).resolve().parents[1] / "include" / "node"
    if not (headers / "node_api.h").exists():
        raise FerlibError(f"no headers of Node.js in {headers}")
    target = binding(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    includes = [f"-I{headers}", f"-I{tensorflow / 'include'}", f"-I{sources.parent}"]
    libraries = [f"-l:libtensorflow{part}.so.2" for part in ("_cc", "_framework")]
    places = [f"-L{tensorflow}", f"-Wl,-rpath,{tensorflow}"]
    flags = ["-O2", "-w", "-shared", "-fPIC", "-std=c++17", "-DNAPI_VERSION=8"]
    run("g++", *flags, *includes, *sources.glob("*.cc"), *places, *libraries, "-o", target)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    try:
        print(install(parser.parse_args().folder.resolve()))
    except FerlibError as error:
        raise SystemExit(f"rivals: {error}") from None
