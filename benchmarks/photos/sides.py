"""Each system as a process that reads photographs when asked, and what it peaks at."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

from ferlib.errors import FerlibError

HERE = Path(__file__).resolve().parent


class Side:
    """One system, loaded; answers lists of files until it is closed."""

    def __init__(self, name: str, command: list, env: dict[str, str]):
        self.name = name
        self._said = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdin=pipe,
            stdout=pipe,
            stderr=self._said,
            text=True,
            env=os.environ | env,
        )
        self.ready = self._answer()

    def read(self, files: list[Path]) -> dict:
        """`seconds`, and `faces`: [[x, y, w, h, emotion], ...] for each file."""
        self.process.stdin.write(json.dumps([str(file) for file in files]) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict:
        for line in self.process.stdout:
            if line.startswith("{"):  # a library may print lines of its own
                return json.loads(line)
        status = self.process.wait()
        self._said.seek(0)
        said = [line.strip() for line in self._said if line.strip()] or ["nothing was said"]
        errors = [line for line in said if "rror" in line]
        raise FerlibError(f"{self.name} ended with status {status}: {(errors or said)[-1]}")

    def peak(self) -> int:
        """The most memory that it and its children have held, in MB."""
        whole = [self.process, *psutil.Process(self.process.pid).children(recursive=True)]
        return round(sum(_peak(one.pid) for one in whole) / 1024)

    def __enter__(self) -> "Side":
        return self

    def __exit__(self, *_) -> None:
        self.process.stdin.close()
        self.process.wait()
        self._said.close()


def _peak(pid: int) -> int:
    """In KiB, of this program alone: getrusage's would count what started it too."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))


def ours(where: Path, how: str) -> tuple[list, dict[str, str]]:
    """Command and environment for ferlib: of a checkout, or an interpreter that has it."""
    if where.is_dir():
        return [sys.executable, HERE / "ferlib_side.py", how], {"PYTHONPATH": str(where.resolve())}
    return [where, HERE / "ferlib_side.py", how], {}


def fer(folder: Path, detector: str) -> tuple[list, dict[str, str]]:
    """Command and environment for PyPI's fer."""
    return [folder / "fer" / "bin" / "python", HERE / "fer_side.py", detector], {}


def node(folder: Path, system: str, backend: str) -> tuple[list, dict[str, str]]:
    """Command and environment for face-api and human."""
    return ["node", HERE / "node_side.js", system, backend], {
        "NODE_PATH": str(folder / "node_modules")
    }
