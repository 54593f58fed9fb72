"""What every figure under results/ stands with, and how it is written and read."""

import datetime
import functools
import json
import os
import statistics
import sys
from pathlib import Path

from ferlib import files, runtime
from ferlib.errors import FerlibError

ROOT = Path(__file__).resolve().parents[1]


def conditions(command: str, **more) -> dict:
    """The command, commit, date, machine and versions of a measurement."""
    known = {"command": command, "commit": files.commit()}
    known |= {"date": datetime.date.today().isoformat()} | runtime.describe()
    return known | {"load_before": round(os.getloadavg()[0], 2)} | more


def plainly(main):
    """`main` whose FerlibErrors are one line instead of a traceback."""

    @functools.wraps(main)
    def ran() -> None:
        try:
            main()
        except FerlibError as error:
            raise SystemExit(f"{Path(sys.argv[0]).stem}: {error}") from None

    return ran


def spread(ratios: list[float]) -> dict:
    """The ratios are of one turn each, so that a drifting machine harms none."""
    low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
    return {"median": round(middle, 2), "lowest": round(low, 2), "highest": round(high, 2)}


def write(name: str, report: dict) -> None:
    """Print the report and keep it as results/<name>.json."""
    text = json.dumps(report, indent=1)
    print(text)
    with files.whole_file(ROOT / "results" / f"{name}.json") as partial:
        partial.write_text(text + "\n")


def result(name: str) -> dict:
    """What `write` kept."""
    return json.loads((ROOT / "results" / f"{name}.json").read_text())
