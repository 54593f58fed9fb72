"""Draw the README's diagram:

python -m ferlib.plots notebooks/images/pipeline.svg
"""

import sys
from pathlib import Path

from matplotlib import rc_context

from ferlib.files import whole_file
from ferlib.plots.diagrams import pipeline
from ferlib.plots.style import STYLE


def main(arguments: list[str]) -> int:
    """Write `pipeline` to the one file named."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python -m ferlib.plots FILE.svg (or .png, .pdf)", file=sys.stderr)
        return 2
    place = Path(arguments[0])
    with whole_file(place) as partial, rc_context(STYLE):
        # No date, so that the same code writes the same bytes.
        dates = {"Date": None} if place.suffix == ".svg" else None
        pipeline().savefig(partial, dpi=150, metadata=dates)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
