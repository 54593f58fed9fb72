"""Run chapters as on Google Colab: its Python and its versions, a wheel of this checkout, an empty
folder, and the chapters' own first cells.

    make colab                 all chapters            make colab CHAPTER="1 16"    some

The wheel stands for the repository's address in those cells. Colab itself is not asked.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import setup
import try_pythons

BUILD = setup.ROOT / "build" / "colab"
PYTHON = "3.13"
# What Colab brings of what ferlib uses. NumPy decides; the others are of the same time.
BROUGHT = ("numpy==2.1.3", "scipy==1.16.3", "matplotlib==3.10.0", "pandas==2.2.3")
BROUGHT += ("pillow==11.3.0", "opencv-python-headless==4.12.0.88", "scikit-image==0.25.2")
BROUGHT += ("ipykernel==6.30.1", "ipywidgets==8.1.7", "nbclient==0.10.2", "pip", "requests==2.32.4")
BROUGHT += ("tqdm==4.67.1", "psutil==7.0.0", "protobuf==5.29.5", "nbformat==5.10.4")


def main() -> int:
    base = try_pythons.find(PYTHON)
    if base is None:
        print(f"Python {PYTHON} is not on this machine", file=sys.stderr)
        return 1
    numbers = sys.argv[1:] or range(1, 100)
    chapters = [p for n in numbers for p in setup.ROOT.glob(f"notebooks/{n:>02}_*.ipynb")]
    if not chapters:
        print("no such chapter: expected numbers such as 3 8", file=sys.stderr)
        return 2
    wheel = try_pythons.wheel(BUILD)
    failed = [path.stem for path in sorted(chapters) if not tried(path, base, wheel)]
    print("failed: " + ", ".join(failed) if failed else f"{len(chapters)} chapters ran")
    return bool(failed)


def fresh(base: str) -> Path:
    """An environment as Colab starts with: copied, as each chapter installs into its own."""
    first, venv = BUILD / "first", BUILD / "venv"
    if not (first / "done").exists():
        shutil.rmtree(first, ignore_errors=True)
        subprocess.run([base, "-m", "venv", first], check=True)
        install = (first / "bin/python", *setup.PIP, "install", "-q", *BROUGHT)
        subprocess.run(install, check=True)
        (first / "done").touch()
    shutil.rmtree(venv, ignore_errors=True)
    shutil.copytree(first, venv, symlinks=True)
    return venv


def tried(path: Path, base: str, wheel: Path) -> bool:
    """Whether a chapter runs from its first cell to its last in a fresh environment."""
    venv, folder = fresh(base), BUILD / "content"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    book = json.loads(path.read_text())
    for cell in book["cells"]:
        source = "".join(cell["source"])
        cell["source"] = re.sub(r"@ git\+https://[^\"]+", f"@ file://{wheel}", source)
    (folder / path.name).write_text(json.dumps(book))
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PATH")}
    env |= {"PATH": f"{venv}/bin:/usr/bin:/bin", "VIRTUAL_ENV": str(venv)}
    env |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "JUPYTER_PATH": str(venv / "share/jupyter")}
    command = [venv / "bin/python", Path(__file__).with_name("run_notebook.py"), path.name]
    began = time.monotonic()
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    outcome = "ran" if done.returncode == 0 else "failed\n" + done.stderr[-3000:]
    print(f"{path.stem:20} {time.monotonic() - began:6.1f} s  {outcome}", flush=True)
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
