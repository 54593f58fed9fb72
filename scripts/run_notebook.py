"""Run a notebook from its first cell to its last, in a clean kernel in its own folder.

python scripts/run_notebook.py NOTEBOOK          the outputs are written into it
"""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

CELL_SECONDS = 900  # far above the slowest cell: a cell that hangs fails instead


class Client(NotebookClient):
    """Without nbclient's stand-in for widgets: it talks to the kernel while an answer is awaited,
    and now and then both wait for each other until the cell's time is up."""

    def on_comm_open_jupyter_widget(self, msg: dict) -> None:
        return None


def main() -> int:
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_file():
        print("usage: python scripts/run_notebook.py NOTEBOOK", file=sys.stderr)
        return 2
    path = Path(sys.argv[1])
    book = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": str(path.parent)}}
    client = Client(book, timeout=CELL_SECONDS, kernel_name="python3", resources=where)
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        print(error, file=sys.stderr)
        return 1
    for cell in book.cells:
        cell.metadata.pop("execution", None)  # when it ran is nobody's concern
    nbformat.write(book, path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
