"""Try ferlib without MXNet, from a wheel, on every Python from 3.10 on that is on this machine.

    make light

Each gets a clean environment in build/light with `ferlib[onnx]` and scikit-image, in which the
astronaut is read; what is told of her is held against MXNet's answer here.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import setup
import try_pythons

BUILD = setup.ROOT / "build" / "light"
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
SHOWN = ("numpy", "onnx", "onnxruntime", "MB", "start", "detector", "answer")
NEAR = 1e-3  # of a probability


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--here", action="store_true", help="try the Python that runs this")
    if parser.parse_args().here:
        print(json.dumps(read_here()))
        return 0
    import ferlib  # here, since the Pythons that are tried have it from the wheel

    wheel = try_pythons.wheel(BUILD)
    wanted = answer(ferlib.Recognizer(precision="float32", engine="mxnet"))
    rows = {version: tried(version, wheel, wanted) for version in PYTHONS}
    print("\n" + _line("Python", *SHOWN))
    for version, row in rows.items():
        print(_line(version, *([row["failed"]] if "failed" in row else map(row.get, SHOWN))))
    return any("wrong" in row for row in rows.values())


def _line(*cells) -> str:
    return "  ".join(f"{cell!s:11}" for cell in cells)


def tried(version: str, wheel: Path, wanted: dict) -> dict:
    """A row of the table."""
    base = try_pythons.find(version)
    if base is None:
        return {"failed": "not on this machine"}
    print(f"Python {version}: {base}", flush=True)
    try:
        python = environment(base, BUILD / version, wheel)
        with tempfile.TemporaryDirectory() as folder:
            run = [python, __file__, "--here"]
            env = setup.clean_environment() | {"XDG_CACHE_HOME": folder}
            done = subprocess.run(run, cwd=folder, env=env, capture_output=True, text=True)
        if done.returncode:
            raise setup.SetupError(done.stderr.strip().splitlines()[-1])
    except (setup.SetupError, OSError) as error:
        return {"failed": f"failed: {error}", "wrong": True}
    row = json.loads(done.stdout.splitlines()[-1])
    row["MB"] = sum(file.stat().st_size for file in (BUILD / version).rglob("*.*")) // 1_000_000
    return judged(row, wanted)


def judged(row: dict, wanted: dict) -> dict:
    """The row with what is said of its answer in place of the answer."""
    mine = row["answer"]
    apart = max(abs(mine["scores"][name] - score) for name, score in wanted["scores"].items())
    if apart <= NEAR and mine["box"] == list(wanted["box"]):
        return row | {"answer": f"{mine['emotion']}, as MXNet"}
    return row | {"answer": f"{mine['emotion']} at {mine['box']}: not as MXNet", "wrong": True}


def environment(base: str, venv: Path, wheel: Path) -> Path:
    """The Python of a new environment with the wheel and its packages, but never MXNet."""
    python = venv / "bin" / "python"
    setup.run(base, "-m", "venv", "--clear", venv, what=f"making {venv}")
    packages = (f"ferlib[onnx] @ {wheel.as_uri()}", "scikit-image")
    setup.run(python, *setup.PIP, "install", "-q", *packages, what="installing")
    setup.run(python, *setup.PIP, "uninstall", "-q", "-y", "mxnet", what="taking MXNet out")
    return python


def answer(fer) -> dict:
    """What is told of the astronaut, and whether by the better detector, which tells landmarks."""
    from skimage import data

    (face,) = fer(data.astronaut())
    told = {"emotion": face.emotion, "box": face.box, "scores": face.scores}
    return told | {"detector": "libfacedetection" if face.landmarks else "Haar"}


def read_here() -> dict:
    """The astronaut as this Python reads her, by what, and the seconds until then."""
    from importlib.metadata import version
    from importlib.util import find_spec

    if find_spec("mxnet"):
        raise SystemExit("MXNet is here")
    began = time.perf_counter()
    import ferlib

    fer = ferlib.Recognizer()
    start = round(time.perf_counter() - began, 2)
    told = answer(fer)
    versions = {name: version(name) for name in ("numpy", "onnx", "onnxruntime")}
    return versions | {"detector": told["detector"], "start": start, "answer": told}


if __name__ == "__main__":
    sys.exit(main())
