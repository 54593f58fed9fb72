"""The notebooks: how they are written, and that what is committed comes from a clean run.

`make tutorial` runs all of them; here only the two cheapest are run.
"""

import json
import os
import re
import shutil
import statistics
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
NAMES = [path.stem for path in NOTEBOOKS]
OPENING = ("What you will do", "What you will know afterwards", "What you need", "Time")
# A path that names somebody's machine: /home/x, /Users/x, /work/x, /tmp/x, /content/x, C:\x
A_PLACE = re.compile(r"(?<![\w.:/])/(home|Users|root|work|tmp|content|var)/|\b[A-Z]:\\\w")


@pytest.fixture(params=NOTEBOOKS, ids=NAMES)
def cells(request) -> list[dict]:
    """The cells of one notebook as they are stored, the source of each as one string."""
    stored = json.loads(request.param.read_text())["cells"]
    return [cell | {"source": "".join(cell["source"])} for cell in stored]


def code(cells) -> list[dict]:
    return [cell for cell in cells if cell["cell_type"] == "code"]


def text(cells) -> list[str]:
    return [cell["source"] for cell in cells if cell["cell_type"] == "markdown"]


def printed(cells) -> str:
    """All text that the outputs of a notebook hold."""
    outputs = [output for cell in code(cells) for output in cell["outputs"]]
    found = [output.get("text", []) for output in outputs]
    found += [output.get("data", {}).get("text/plain", []) for output in outputs]
    return "\n".join("".join(lines) for lines in found)


def imported(cells) -> str:
    return "\n".join(cell["source"] for cell in code(cells))


# ---------------------------------------------------------------- the series


def test_numbers_run_without_a_gap():
    assert len(NOTEBOOKS) >= 8
    assert [name[:2] for name in NAMES] == [f"{n:02}" for n in range(1, len(NAMES) + 1)]
    assert all(re.fullmatch(r"\d\d_[a-z]+", name) for name in NAMES)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_each_leads_to_the_next(path):
    number = NOTEBOOKS.index(path)
    last = "".join(json.loads(path.read_text())["cells"][-1]["source"])
    if number + 1 < len(NOTEBOOKS):
        assert f"**Next:** [{number + 2}. " in last
        assert f"({NOTEBOOKS[number + 1].name})" in last
    else:
        assert "../README.md" in last


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_links_lead_somewhere(path):
    stored = json.loads(path.read_text())["cells"]
    pages = "\n".join(text([c | {"source": "".join(c["source"])} for c in stored]))
    for target in re.findall(r"\]\(([^)#]+)", pages):
        assert target.startswith("https://") or (FOLDER / target).exists(), target


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_file_is_small(path):
    assert path.stat().st_size < 3_000_000


# ---------------------------------------------------------------- how one is written


def test_opens_with_what_the_reader_gets(cells):
    first = cells[0]["source"]
    assert re.match(r"# \d+\. [A-Z][a-z]+ \w+", first), "the title is a number and a verb phrase"
    assert cells[0]["cell_type"] == "markdown"
    assert all(f"**{words}.**" in first for words in OPENING)


def test_has_one_title_and_ends_with_summary_and_exercises(cells):
    pages = "\n\n".join(text(cells))
    assert len(re.findall(r"^# ", pages, re.MULTILINE)) == 1
    assert "## Summary" in pages
    exercises = pages.split("## Exercises")[1]
    assert 2 <= len(re.findall(r"^\d\. ", exercises, re.MULTILINE)) <= 4


def test_code_cells_are_short(cells):
    lengths = [len(cell["source"].splitlines()) for cell in code(cells)]
    assert statistics.median(lengths) <= 5
    assert max(lengths) <= 15
    assert 10 <= len(lengths) <= 22
    assert sum(lengths) <= 110


def test_text_goes_with_the_code(cells):
    assert 2 * len(text(cells)) >= len(code(cells))
    in_a_row = "".join("c" if cell["cell_type"] == "code" else "m" for cell in cells)
    assert "ccc" not in in_a_row


def test_every_picture_and_table_is_talked_about(cells):
    """After an output stands a sentence, unless the next cell is what it leads to."""
    kinds = [cell["cell_type"] for cell in cells]
    shown = [n for n, cell in enumerate(cells) if "image/png" in json.dumps(cell.get("outputs"))]
    assert all(kinds[n + 1] == "markdown" for n in shown)


def test_leaves_the_environment_alone(cells):
    for cell in code(cells):
        lines = [line.strip() for line in cell["source"].splitlines()]
        assert not [line for line in lines if line.startswith(("!", "%", "?"))]
    assert not re.search(r"os\.chdir|os\.system|pip install", remarks_removed(imported(cells)))


def remarks_removed(source: str) -> str:
    return "\n".join(line for line in source.splitlines() if not line.startswith("#"))


def test_draws_with_the_package_and_asserts_nothing(cells):
    source = imported(cells)
    assert not re.search(r"^\s*assert\b", source, re.MULTILINE)
    assert "matplotlib" not in source
    assert "ferlib" in source


def test_cell_ids_are_their_own(cells):
    ids = [cell["id"] for cell in cells]
    assert len(set(ids)) == len(ids)


# ---------------------------------------------------------------- the outputs that are committed


def test_outputs_come_from_one_clean_run(cells):
    counts = [cell["execution_count"] for cell in code(cells)]
    assert counts == list(range(1, len(counts) + 1))
    outputs = [output for cell in code(cells) for output in cell["outputs"]]
    assert len(outputs) >= len(counts) / 3
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert not [output for output in outputs if output.get("name") == "stderr"], "warnings"


def test_outputs_name_no_place_on_a_machine(cells):
    assert not A_PLACE.search(printed(cells))


def test_committed_run_was_on_drawn_faces(cells):
    """FER2013 may not be passed on, and its 35,887 rows would show in the printed shapes."""
    assert not re.search(r"\(35887|28,?709 train|\(28344|\(3153|\(3137", printed(cells))


def test_first_notebook_says_which_faces_it_shows():
    first = json.loads(NOTEBOOKS[0].read_text())["cells"]
    assert "drawn faces" in printed([c | {"source": "".join(c["source"])} for c in first])


# ---------------------------------------------------------------- running


@pytest.mark.parametrize("path", NOTEBOOKS[:2], ids=NAMES[:2])
def test_runs_from_first_cell_to_last(path, tmp_path, monkeypatch):
    """In a clean kernel and an empty folder, with no data folder named."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    monkeypatch.delenv("FERLIB_DATA", raising=False)
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    root = str(FOLDER.parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]))
    copy = tmp_path / path.name
    shutil.copyfile(path, copy)
    notebook = nbformat.read(copy, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    where = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3", resources=where).execute()
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
