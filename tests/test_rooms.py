"""The rooms: imports only downward, public functions with types, modules that can be read."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted((ROOT / "ferlib").rglob("*.py"))
NAMES = [str(path.relative_to(ROOT)) for path in MODULES]
LINTER = Path(sys.executable).with_name("lint-imports")


def linted(folder: Path) -> subprocess.CompletedProcess:
    """The contracts of pyproject.toml, held against the ferlib in a folder."""
    command = [LINTER, "--config", ROOT / "pyproject.toml", "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_imports_lead_only_downward():
    done = linted(ROOT)
    assert done.returncode == 0 and "0 broken" in done.stdout, done.stdout


@pytest.mark.slow
def test_an_import_upward_is_found_also_inside_a_function(tmp_path):
    for path in MODULES:
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    labels = tmp_path / "ferlib" / "data" / "labels.py"
    labels.write_text(labels.read_text() + "\n\ndef f():\n    from ferlib.plots import style\n")
    done = linted(tmp_path)
    assert (
        done.returncode == 1 and "ferlib.data is not allowed to import ferlib.plots" in done.stdout
    )


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_a_module_can_be_read_at_a_sitting(path):
    assert len(path.read_text().splitlines()) <= 400
    assert ast.get_docstring(ast.parse(path.read_text())), "what is it for?"


def public(node: ast.AST) -> list[ast.FunctionDef]:
    """Functions that others may call: of the module, and methods of its public classes."""
    found = []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            found += public(child)
        shown = ("__init__", "__call__")
        if isinstance(child, ast.FunctionDef) and (child.name in shown or child.name[0] != "_"):
            found.append(child)
    return found


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_public_arguments_have_types(path):
    for function in public(ast.parse(path.read_text())):
        given = function.args
        for one in [*given.posonlyargs, *given.args, *given.kwonlyargs]:
            assert one.annotation or one.arg in ("self", "cls"), f"{function.name}({one.arg})"
