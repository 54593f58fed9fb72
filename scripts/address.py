"""Move the address of the repository everywhere it stands: badges, first cells, the book.

python scripts/address.py https://github.com/OWNER/NAME
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main(arguments: list[str]) -> int:
    found = [re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]+?)/?", one) for one in arguments]
    if len(found) != 1 or found[0] is None:
        print("usage: python scripts/address.py https://github.com/OWNER/NAME", file=sys.stderr)
        return 2
    print(f"{move(found[0][1])} files changed")
    return 0


def move(new: str) -> int:
    """Write OWNER/NAME for the one that pyproject.toml names; gives the number of files."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    old = project["urls"]["Repository"].removeprefix("https://github.com/")
    search = [
        "git",
        "grep",
        "-lI",
        "--fixed-strings",
        "-e",
        f"github.com/{old}",
        "-e",
        f"/github/{old}",
    ]
    files = subprocess.run(search, cwd=ROOT, capture_output=True, text=True).stdout.split()
    for path in map(ROOT.joinpath, files):
        text = path.read_text()
        for before in ("github.com/", "/github/"):
            text = re.sub(rf"{before}{re.escape(old)}(?![\w-])", f"{before}{new}", text)
        path.write_text(text)
    return len(files)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
