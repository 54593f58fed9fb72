"""What every figure under results/ stands with, and how it is written."""

import datetime
import json
import os
import subprocess
from pathlib import Path

from ferlib import runtime

ROOT = Path(__file__).resolve().parents[1]


def conditions(command: str, **more) -> dict:
    """The command, commit, date, machine and versions of a measurement."""
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    known = {"command": command, "commit": commit, "date": datetime.date.today().isoformat()}
    return known | runtime.describe() | {"load_before": round(os.getloadavg()[0], 2)} | more


def write(name: str, report: dict) -> None:
    """Print the report and keep it as results/<name>.json."""
    text = json.dumps(report, indent=1)
    print(text)
    path = ROOT / "results" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text + "\n")
