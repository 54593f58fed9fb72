"""How Sphinx makes the book of the notebooks, the guides and the docstrings (`make book`).

The source folder is the repository's root, so that a link between two files leads to the same place
in the book, on a code host and in JupyterLab.
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from ferlib import __version__, runtime  # noqa: E402  (after the path is set)

REPOSITORY = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Repository"]

project = "ferlib"
author = "The ferlib authors"
copyright = "the ferlib authors, under the MIT licence"
release = version = __version__
language = "en"

root_doc = "book/index"
include_patterns = [
    "book/*.md",
    "book/api/*.md",
    "notebooks/[0-9]*.ipynb",
    "notebooks/solutions/[0-9]*.ipynb",
    "docs/*.md",
    "deploy/*.md",
    "results/*.md",
    "data/README.md",
    "model_store/README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
]
exclude_patterns = ["**/.ipynb_checkpoints", "**/runs"]

MATHJAX = "sphinx-mathjax-offline"  # the package's name has dashes, so no import statement finds it
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "sphinxcontrib.bibtex",
    MATHJAX,
]

# Notebooks: `make tutorial` runs them, the book shows what is committed.
nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence"]
myst_heading_anchors = 4  # as code hosts make them
suppress_warnings = ["myst.header"]  # an exercise's heading may stand below one two steps higher

bibtex_bibfiles = ["references.bib"]
bibtex_reference_style = "author_year"

# Docstrings are plain text, `so` for code.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "exclude-members": "set"}  # set: matplotlib's
python_use_unqualified_type_names = True
add_module_names = False

html_theme = "sphinx_book_theme"
html_title = "ferlib"
html_static_path = ["_static"]
html_extra_path = ["_root"]  # an index.html that leads to the book
html_css_files = ["book.css"]
html_favicon = "_static/favicon.svg"
html_copy_source = False
html_last_updated_fmt = None
html_theme_options = {
    "repository_url": REPOSITORY,
    "repository_branch": "main",
    "path_to_docs": "",
    "use_repository_button": True,
    "use_download_button": True,
    "launch_buttons": {"colab_url": "https://colab.research.google.com"},
    "show_toc_level": 2,
    "home_page_in_toc": False,
    "navbar_persistent": [],  # one search field is enough
}


PICTURES = {".png", ".svg", ".gif", ".jpg"}
LINK = re.compile(r"\]\(([^)#:\s]+)")


def outward(app, name: str, source: list[str]) -> None:
    """What is linked but no page of the book, such as a script, is in the repository."""
    folder = Path(app.env.doc2path(name)).parent

    def address(link: re.Match) -> str:
        target = (folder / link[1]).resolve()
        known = app.env.path2doc(str(target)) in app.env.found_docs
        if known or not target.exists() or target.suffix in PICTURES:
            return link[0]
        kind = "tree" if target.is_dir() else "blob"
        return f"]({REPOSITORY}/{kind}/main/{target.relative_to(ROOT)}"

    source[0] = LINK.sub(address, source[0])


def plain(app, what, name, obj, options, lines: list[str]) -> None:
    """Docstrings are plain text: what is indented stays as it is written, a star is a star."""
    blocks = "\n".join(lines).replace("*", r"\*").strip().split("\n\n")
    for at, block in enumerate(blocks):
        rows = block.split("\n")
        if all(row.startswith(" ") for row in rows):
            blocks[at] = "::\n\n" + block.replace(r"\*", "*")
        elif any(row.startswith(" ") for row in rows):
            blocks[at] = "\n".join("| " + row for row in rows)
    lines[:] = [*"\n\n".join(blocks).split("\n"), ""]


def setup(app) -> None:
    app.connect("source-read", outward)
    app.connect("autodoc-process-docstring", plain)
    runtime.import_mxnet()  # as the modules that are documented do
