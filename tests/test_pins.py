"""requirements.txt, environment.yml, requirements-gpu.txt and pyproject.toml say the same."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
import setup
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from ferlib.runtime.gpu import CUDA_LIBRARIES

ROOT = Path(__file__).resolve().parent.parent
FILES = ("requirements.txt", "requirements-gpu.txt")
LINE = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>[0-9a-z.]+) +# (?P<reason>\S.*)")
# gluoncv asks for the build that needs X libraries; opencv-python-headless has the same modules.
STAND_INS = {("gluoncv", "opencv-python")}


def lines(name: str) -> list[str]:
    text = (ROOT / name).read_text().splitlines()
    return [line for line in text if line and not line.startswith("#")]


def direct() -> list[str]:
    """The packages above the heading of those that others need."""
    above = (ROOT / "requirements.txt").read_text().split("# What those need")[0]
    return [line.split("==")[0] for line in above.splitlines() if re.match(r"\w", line)]


def requirements_of(name: str, extras=()) -> list[Requirement]:
    """What an installed package needs here, with the extras that are asked of it."""
    every = map(Requirement, importlib.metadata.requires(name) or [])
    wanted = [{"extra": extra} for extra in ("", *extras)]
    return [r for r in every if r.marker is None or any(map(r.marker.evaluate, wanted))]


def edges() -> list[tuple[str, Requirement]]:
    """(package, what it needs) for everything that the direct packages need, at any remove."""
    todo, seen, found = [(name, ()) for name in direct()], set(), []
    while todo:
        name, extras = todo.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        for needed in requirements_of(name, extras):
            target = canonicalize_name(needed.name)
            if (name, target) not in STAND_INS:
                found.append((name, needed))
                todo.append((target, tuple(sorted(needed.extras))))
    return found


@pytest.mark.parametrize("name", FILES)
def test_every_package_is_pinned_once_and_has_its_reason(name):
    found = [LINE.fullmatch(line) for line in lines(name)]
    unreasoned = [line for line, match in zip(lines(name), found, strict=True) if not match]
    assert not unreasoned
    names = [match["name"] for match in found]
    assert len(names) == len(set(names)) > 5


def test_environment_yml_is_the_same_set():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, pip = environment["dependencies"]
    pairs = [line.split("==") for line in pip["pip"]]
    assert {name: version for name, version in pairs} == setup.pins("cpu")
    assert len(pairs) == len(setup.pins("cpu"))
    assert conda == ["python=3.11", "pip"]


def test_this_environment_holds_the_pinned_versions():
    wanted = {name: version for name, version in setup.pins("cpu").items() if name != "mxnet"}
    have = {name: importlib.metadata.version(name) for name in wanted}
    assert have == wanted


def test_what_the_packages_need_is_pinned_at_a_version_they_accept():
    pins = setup.pins("cpu")
    for name, needed in edges():
        version = pins.get(canonicalize_name(needed.name))
        assert version, f"{name} needs {needed}, which is not pinned"
        assert needed.specifier.contains(version, prereleases=True), f"{name} needs {needed}"


def test_nothing_is_pinned_that_nothing_needs():
    needed = {canonicalize_name(requirement.name) for _, requirement in edges()}
    assert set(setup.pins("cpu")) - set(direct()) - needed == set()


def test_the_named_reason_of_a_needed_package_is_true():
    needs = {(canonicalize_name(needed.name), name) for name, needed in edges()}
    for line in lines("requirements.txt")[len(direct()) :]:
        match = LINE.fullmatch(line)
        for name in match["reason"].removeprefix("for ").split(", "):
            assert (match["name"], name) in needs, line


def test_pyproject_accepts_the_pins():
    whole = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project, extras = whole["project"], whole["project"]["optional-dependencies"]
    said = [*project["dependencies"], *whole["build-system"]["requires"]]
    said += [each for extra in extras.values() for each in extra if not each.startswith("ferlib[")]
    for needed in map(Requirement, said):
        assert needed.specifier.contains(setup.pins("cpu")[needed.name]), needed
        assert needed.name in direct()


def test_the_gpu_variant_differs_in_mxnet_and_its_libraries_alone():
    cpu, gpu = setup.pins("cpu"), setup.pins("gpu")
    assert cpu.pop("mxnet") == gpu.pop("mxnet-cu112") == "1.9.1"
    more = {name: gpu.pop(name) for name in set(gpu) - set(cpu)}
    assert cpu == gpu
    loaded = {path.split("/")[0].replace("_", "-") for path in CUDA_LIBRARIES}
    assert set(more) == {f"nvidia-{name}-cu11" for name in loaded}
    assert more["nvidia-cudnn-cu11"].startswith("8.")  # MXNet links to libcudnn.so.8


def test_the_pins_take_any_python_3_11():
    """Debian 12 has 3.11.2; a package that asks for a later one cannot be installed there."""
    for package in importlib.metadata.distributions():
        wanted = package.metadata["Requires-Python"]
        name = package.metadata["Name"]
        assert not wanted or SpecifierSet(wanted).contains("3.11.0"), f"{name} wants {wanted}"
