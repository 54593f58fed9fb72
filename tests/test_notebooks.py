"""The chapters and their solutions: what is committed comes from whole runs on drawn faces.

Two chapters run here, each in an empty folder; `make tutorial` runs all, and .ci/run with it.
"""

import contextlib
import json
import os
import re
import tomllib
from pathlib import Path

import pytest
from jupyter_client.manager import start_new_kernel

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
CHAPTERS = sorted(FOLDER.glob("*.ipynb"))
SOLUTIONS = sorted(FOLDER.glob("solutions/*.ipynb"))
NOTEBOOKS = CHAPTERS + SOLUTIONS
NAMES = [str(path.relative_to(FOLDER).with_suffix("")) for path in NOTEBOOKS]
ALONE = [path for path in CHAPTERS if path.stem in ("03_targets", "05_convolution")]
PROJECT = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text())["project"]
REPOSITORY = PROJECT["urls"]["Repository"].removeprefix("https://github.com/")
# A path that names somebody's machine: /home/x, /Users/x, /work/x, /tmp/x, /content/x, C:\x
A_PLACE = re.compile(r"(?<![\w.:/])/(home|Users|root|work|tmp|content|var)/|\b[A-Z]:\\\w")


@pytest.fixture(params=NOTEBOOKS, ids=NAMES)
def cells(request) -> list[dict]:
    """The cells of one notebook as they are stored, the source of each as one string."""
    stored = json.loads(request.param.read_text())["cells"]
    return [cell | {"source": "".join(cell["source"])} for cell in stored]


def code(cells) -> list[dict]:
    return [cell for cell in cells if cell["cell_type"] == "code"]


def printed(cells) -> str:
    """All text that the outputs of a notebook hold."""
    outputs = [output for cell in code(cells) for output in cell["outputs"]]
    found = [output.get("text", []) for output in outputs]
    found += [output.get("data", {}).get("text/plain", []) for output in outputs]
    return "\n".join("".join(lines) for lines in found)


def words(path: Path) -> str:
    """All the text cells of a notebook."""
    cells = json.loads(path.read_text())["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+)", words(path)):
        assert target.startswith("https://") or (path.parent / target).exists(), target


def test_every_chapter_has_its_solutions():
    assert [path.name for path in SOLUTIONS] == [path.name for path in CHAPTERS]
    for path in CHAPTERS:
        assert f"(solutions/{path.name})" in words(path)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_badge_and_first_cell_name_this_repository(path):
    text = path.read_text()
    assert f"/github/{REPOSITORY}/blob/main/notebooks/{path.name})" in text
    assert set(re.findall(r"git\+https://github.com/([\w.-]+/[\w-]+)", text)) == {REPOSITORY}


def test_every_picture_is_told_in_words_too(cells):
    for cell in cells:
        if cell["cell_type"] == "markdown":
            assert not re.search(r"!\[\s*\]", cell["source"])
        elif any("image/png" in output.get("data", {}) for output in cell["outputs"]):
            assert cell["metadata"]["mystnb"]["image"]["alt"], cell["source"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_file_is_small(path):
    assert path.stat().st_size < 3_000_000


def test_outputs_come_from_one_whole_run_without_errors(cells):
    counts = [cell["execution_count"] for cell in code(cells)]
    assert counts and None not in counts and counts == sorted(set(counts))
    outputs = [output for cell in code(cells) for output in cell["outputs"]]
    assert outputs
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert not [output for output in outputs if output.get("name") == "stderr"], "warnings"


def test_outputs_name_no_place_on_a_machine(cells):
    assert not A_PLACE.search(printed(cells))


def test_committed_run_was_on_drawn_faces(cells):
    """FER2013 may not be passed on, and its 35,887 rows would show in the printed shapes."""
    assert not re.search(r"\(35887|28,?709 train|\(28344|\(3153|\(3137", printed(cells))


@contextlib.contextmanager
def kernel(folder: Path):
    """A clean one, started in a folder. Without nbclient, which takes seconds to import."""
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(folder))
    try:
        yield client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


@pytest.mark.slow
@pytest.mark.parametrize("path", ALONE, ids=lambda path: path.stem)
def test_runs_from_first_cell_to_last(path, tmp_path, monkeypatch):
    """In a clean kernel and an empty folder, with no data folder named."""
    monkeypatch.delenv("FERLIB_DATA", raising=False)
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    root = str(FOLDER.parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]))
    with kernel(tmp_path) as client:
        for cell in code(json.loads(path.read_text())["cells"]):
            how = {"timeout": 120, "allow_stdin": False, "output_hook": lambda _: None}
            told = client.execute_interactive("".join(cell["source"]), **how)["content"]
            assert told["status"] == "ok", "\n".join(told["traceback"])
