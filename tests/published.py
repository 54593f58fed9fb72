"""Fifteen pictures with their votes, written by hand in the published forms of FER2013 and FER+.

Nothing here uses ferlib: what it reads must come out as it stands in ROWS.
"""

import io
import tarfile
from pathlib import Path

import numpy as np

SAME = "as in fer2013new.csv"

# Usage, FER2013's class, FER+'s name, votes in fer2013new.csv, votes in label.csv or None.
# Two names stand on two rows each: 2 on rows 3 and 4, 6 on rows 5 and 7. A name's row lies at or
# above its number, so theirs are 3 and 7.
_ROWS = [
    ("Training", 3, "fer0000000.png", "0,9,1,0,0,0,0,0,0,0", SAME),
    ("Training", 6, "", "0,0,0,0,0,0,0,0,0,10", None),
    ("Training", 4, "fer0000001.png", "1,0,0,8,1,0,0,0,0,0", "0,0,0,10,0,0,0,0,0,0"),
    ("Training", 0, "fer0000002.png", "0,0,0,0,6,4,0,0,0,0", SAME),
    ("Training", 1, "fer0000002.png", "0,0,0,0,6,4,0,0,0,0", None),
    ("Training", 2, "fer0000006.png", "0,0,4,0,0,0,6,0,0,0", None),
    ("Training", 5, "fer0000004.png", "5,5,0,0,0,0,0,0,0,0", SAME),
    ("Training", 5, "fer0000006.png", "0,0,4,0,0,0,6,0,0,0", SAME),
    ("PublicTest", 6, "fer0000005.png", "2,0,0,0,0,0,0,0,8,0", SAME),
    ("PublicTest", 4, "fer0000007.png", "0,0,0,9,0,0,0,0,0,1", SAME),
    ("PublicTest", 6, "fer0000008.png", "6,1,1,1,1,0,0,0,0,0", SAME),
    ("PrivateTest", 3, "fer0000009.png", "3,3,0,0,0,0,0,0,4,0", SAME),
    ("PrivateTest", 6, "fer0000010.png", "0,0,0,0,0,0,0,0,1,9", SAME),
    ("PrivateTest", 0, "fer0000011.png", "0,0,0,1,5,4,0,0,0,0", "0,0,0,0,5,5,0,0,0,0"),
    ("PrivateTest", 4, "fer0000012.png", "0,0,0,7,3,0,0,0,0,0", SAME),
]


def _votes(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


ROWS = [
    (usage, number, name, _votes(new), label and _votes(new if label is SAME else label))
    for usage, number, name, new, label in _ROWS
]
USAGE = [("Training", "PublicTest", "PrivateTest").index(row[0]) for row in ROWS]
CLASSES = [row[1] for row in ROWS]

PICTURES = np.random.default_rng(0).integers(0, 256, (15, 48, 48)).astype(np.uint8)
PICTURES[9] = PICTURES[14] = PICTURES[2]  # one face in all three splits
PICTURES[7] = PICTURES[6]  # and one twice in Training
PICTURES[0] = 0  # numbers of one digit only, and of three
PICTURES[10] = 255

HEADER = "emotion,pixels,Usage"
NEW_HEADER = (
    "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
)


def rows() -> list[dict[str, str]]:
    """Every row's cells as text, to be written or spoilt."""
    texts = [" ".join(map(str, picture.ravel())) for picture in PICTURES]
    return [
        {"emotion": str(row[1]), "pixels": text, "Usage": row[0]}
        for row, text in zip(ROWS, texts, strict=True)
    ]


def lines(cells: list[dict[str, str]], header: str = HEADER) -> list[str]:
    """The CSV's lines, in the order of the header's columns."""
    columns = [name.strip() for name in header.split(",")]
    return [header, *(",".join(row[name] for name in columns) for row in cells)]


def text(cells: list[dict[str, str]], header: str = HEADER) -> str:
    return "\n".join(lines(cells, header)) + "\n"


def new_lines() -> list[str]:
    votes = [",".join(map(str, row[3])) for row in ROWS]
    return [NEW_HEADER, *(f"{row[0]},{row[2]},{v}" for row, v in zip(ROWS, votes, strict=True))]


def write_votes(folder: Path) -> Path:
    """fer2013new.csv and the three label.csv; returns the first."""
    new = folder / "fer2013new.csv"
    new.write_text("\n".join(new_lines()) + "\n")
    folders = {"Training": "Train", "PublicTest": "Valid", "PrivateTest": "Test"}
    for usage, part in folders.items():
        found = sorted((row[2], row[4]) for row in ROWS if row[0] == usage and row[4])
        text = "".join(f'{name},"(0, 0, 48, 48)",{",".join(map(str, v))}\n' for name, v in found)
        (folder / f"FER2013{part}").mkdir()
        (folder / f"FER2013{part}" / "label.csv").write_text(text)
    return new


def write_archive(
    path: Path, csv: bytes, name: str = "fer2013/fer2013.csv", rest: bytes = b"z"
) -> Path:
    """A .tar.gz with a README before the CSV and `rest` in a file after it."""
    with tarfile.open(path, "w:gz") as archive:
        for member, content in ((name + ".txt", b"a"), (name, csv), ("fer2013/z", rest)):
            info = tarfile.TarInfo(member)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path
