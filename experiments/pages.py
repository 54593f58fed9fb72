"""Write results/README.md: every recorded figure, with its conditions and what is said about it.

    python experiments/pages.py

The words stand in results.md.jinja beside this file, the numbers in results/*.json; a test holds
the page against both. The words may say no more than the numbers: a comparison is computed, or
checked by tests/test_results.py.
"""

import json
import re
from pathlib import Path

import jinja2

from ferlib.files import whole_file

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "results" / "README.md"


def results() -> dict[str, dict]:
    """results/NAME.json by NAME."""
    return {path.stem: json.loads(path.read_text()) for path in (ROOT / "results").glob("*.json")}


def pick(rows: list[dict], **wanted) -> list[dict]:
    """Those with these values."""
    return [row for row in rows if wanted.items() <= row.items()]


def spread(row: dict) -> str:
    """Mean, and deviation where there is more than one seed."""
    mean = f"{row['mean']:.2%}"
    return mean if row["deviation"] is None else f"{mean} ± {100 * row['deviation']:.2f}"


def sampling_error(accuracy: float, n: int) -> str:
    """Of an accuracy measured on n pictures, in points."""
    return f"{100 * (accuracy * (1 - accuracy) / n) ** 0.5:.1f}"


def script(command: str) -> str:
    """Where the script of a recorded command lies now: some have moved since."""
    name = Path(command.split()[1]).name
    places = (f"{folder}/{name}" for folder in ("benchmarks", "experiments"))
    return next(place for place in places if (ROOT / place).is_file())


def megabytes(nets: list[str]) -> float:
    """Of the weights in model_store."""
    return sum((ROOT / "model_store" / f"{net}-0000.params").stat().st_size for net in nets) / 1e6


def compact(report: dict) -> str:
    """As JSON, with a line for each list of plain values, not for each value."""
    return re.sub(
        r"\[[^][{}]*\]", lambda found: " ".join(found[0].split()), json.dumps(report, indent=1)
    )


def page(found: dict[str, dict]) -> str:
    """The whole page from what results/ holds."""
    return rendered("results.md.jinja", r=found)


def rendered(template: str, **known) -> str:
    """A page from its words and what they are about."""
    how = {"trim_blocks": True, "lstrip_blocks": True, "keep_trailing_newline": True}
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    made = jinja2.Environment(loader=loader, undefined=jinja2.StrictUndefined, **how)
    made.filters |= {"f": format, "spread": spread, "script": script, "megabytes": megabytes}
    made.globals |= {"pick": pick, "sampling_error": sampling_error}
    return made.get_template(template).render(known)


def main() -> None:
    with whole_file(PAGE) as partial:
        partial.write_text(page(results()))


if __name__ == "__main__":
    main()
