"""A net as a folder that others can use as it is: ONNX files, a model card, an example.

Its layout is that of model pages such as Hugging Face's, so that the folder can be uploaded.
"""

import hashlib
import importlib.metadata
import json
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from posixpath import normpath
from typing import Any

from ferlib.data.images import Crops
from ferlib.errors import FerlibError
from ferlib.faces.face import CROP
from ferlib.files import check_free, recorded, whole_files
from ferlib.nets.info import Info
from ferlib.nets.places import (
    DEFAULT_WEIGHTS,
    SEVEN_CLASSES,
    SHIPPED,
    STORES,
    find_weights,
    stored_files,
)
from ferlib.serving import onnx

REPOSITORY = "https://github.com/ferlib/ferlib"
TAGS = ("onnx", "onnxruntime", "facial-expression-recognition", "emotion-recognition")
SECTIONS = ("What it learnt from", "Known weaknesses", "Meant for, and not for", "Licence")
KEPT = "README-before.md"
_ROOT = Path(__file__).resolve().parents[2]


def write(
    folder: str | Path, prefix: str | Path | None = None, pictures: Crops | None = None
) -> list[Path]:
    """Write the folder of a stored net (None: the default one); the files that are in it.

    model.onnx takes gray crops and gives probabilities, net.onnx is for `ferlib.Recognizer`. With
    `pictures` there is a model_int8.onnx as well, its ranges found on these. A card that somebody
    has changed is kept beside the new one, as README-before.md. All of them get their names
    together, or none does. FerlibError as for `onnx.export`.
    """
    prefix = find_weights(prefix)
    names = ["model.onnx", "net.onnx", "config.json", "example.py", "README.md"]
    names += ["LICENSE"] * _is_shipped(prefix) + ["model_int8.onnx"] * (pictures is not None)
    told, before = card(prefix, Info.read(stored_files(prefix)[2])), _changed_card(Path(folder))
    names += [KEPT] * bool(before)
    files = [Path(folder, name) for name in names]
    if not _is_ours(Path(folder)):
        check_free(Path(folder), names)
    with whole_files(*files) as partial:
        places = dict(zip(names, partial, strict=True))
        info = onnx.export(prefix, places["model.onnx"], whole=True).info
        known = config(info) | {"card": _digest(told.encode())}
        onnx.export(prefix, places["net.onnx"])
        if pictures is not None:
            onnx.export(prefix, places["model_int8.onnx"], whole=True, pictures=pictures)
        places["config.json"].write_text(json.dumps(known, indent=2) + "\n")
        places["example.py"].write_bytes(Path(__file__).with_name("hub_example.py").read_bytes())
        places["README.md"].write_text(told, encoding="utf-8")
        if KEPT in places:
            places[KEPT].write_bytes(before)
        if "LICENSE" in places:
            places["LICENSE"].write_text(licence())
    _forget({"model_int8.onnx", "LICENSE"} - {*names}, Path(folder))
    return files


def _forget(names: set[str], folder: Path) -> None:
    """Remove what another net left there; a licence only where it is this project's."""
    for file in (folder / name for name in names if (folder / name).is_file()):
        if file.name != "LICENSE" or file.read_bytes() == licence().encode():
            file.unlink()


def _changed_card(folder: Path) -> bytes:
    """What README.md holds where somebody has changed it since it was written here."""
    with suppress(OSError, ValueError, AttributeError):
        text = (folder / "README.md").read_bytes()
        written = json.loads((folder / "config.json").read_text()).get("card")
        return text if _digest(text) != written else b""
    return b""


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def _is_ours(folder: Path) -> bool:
    """Whether a folder holds what `write` wrote before."""
    with suppress(OSError, ValueError, AttributeError):
        return json.loads((folder / "config.json").read_text()).get("model_type") == "ferlib"
    return False


def config(info: Info) -> dict[str, Any]:
    """config.json: what a program must know that has model.onnx alone."""
    return {
        "model_type": "ferlib",
        "architectures": [info.network],
        "image_size": info.input_size,
        "num_channels": info.channels,
        "id2label": {str(row): name for row, name in enumerate(info.classes)},
        "label2id": {name: row for row, name in enumerate(info.classes)},
    }


def card(prefix: Path, info: Info) -> str:
    """README.md: what model pages read in front, then the card for people."""
    rows = figures(prefix, info)
    own = _shipped_card(prefix) if _is_shipped(prefix) else _own_card(info)
    parts = [_front(prefix, rows), _about(prefix.name, info), _table(rows), own]
    text = "\n\n".join(part.strip() for part in parts if part) + "\n"
    return text.encode("utf-8", "replace").decode()  # names of files may be no text


def figures(prefix: Path, info: Info) -> list[dict[str, Any]]:
    """By split and votes what is known of a net's accuracy, in float32, without flip averaging.

    Of a shipped net what is recorded (results/), of others what their training has measured.
    """
    runs = [dict(info.valid or {})]
    if _is_shipped(prefix):
        with suppress(FerlibError):  # nothing is recorded of it
            runs = json.loads(recorded(f"{prefix.name}.json").read_text()).get("runs", [])
    runs = [run for run in runs if run.get("tta", "none") == "none" and _measured(run)]
    return [{key: run.get(key, "") for key in _FIGURES} for run in runs]


def _measured(run: dict[str, Any]) -> bool:
    return all(isinstance(run.get(key), (int, float)) for key in _FIGURES[2:])


_FIGURES = ("split", "protocol", "n", "accuracy", "balanced_accuracy")


def _is_shipped(prefix: Path) -> bool:
    return prefix.name in SHIPPED and prefix.parent.resolve() in STORES


def _front(prefix: Path, rows: Sequence[dict[str, Any]]) -> str:
    """The YAML between dashes. JSON is YAML, so that lists and texts need no rules of their own."""
    data = _learnt(prefix)
    task = {"type": "image-classification", "name": "Facial expression recognition"}
    results = [
        {
            "task": task,
            "dataset": {
                "name": ", ".join(filter(None, (data, row["protocol"]))),
                "type": "fer",
                "split": row["split"],
            },
            "metrics": [
                {"type": kind, "name": kind.replace("_", " "), "value": row[kind]}
                for kind in ("accuracy", "balanced_accuracy")
            ],
        }
        for row in rows
    ]
    front: dict[str, Any] = {
        "license": "mit" if _is_shipped(prefix) else "other",
        "library_name": "onnx",
        "pipeline_tag": "image-classification",
        "tags": TAGS,
        "metrics": ["accuracy"],
    }
    if rows:
        front["model-index"] = [{"name": prefix.name, "results": results}]
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in front.items()]
    return "\n".join(["---", *lines, "---"])


def _learnt(prefix: Path) -> str:
    """What a net's labels are."""
    if not _is_shipped(prefix):
        return "pictures of its authors"
    own = prefix.name == SEVEN_CLASSES
    return "FER2013 with its own labels" if own else "FER2013 with the votes of FER+"


def _about(name: str, info: Info) -> str:
    """What it is, and how to use it."""
    shape = f"uint8 (N, {info.input_size}, {info.input_size}{', 3' * (info.channels == 3)})"
    kind = "RGB" if info.channels == 3 else "gray"
    return f"""# {name}

`{info.network}` tells apart {", ".join(info.classes)},
in a {kind} picture of {info.input_size} x {info.input_size} pixels of a face. It was trained with
[ferlib]({REPOSITORY}) in Apache MXNet, and exported to ONNX.

| file | takes | gives |
|---|---|---|
| `model.onnx` | `crops`, {shape} | `probabilities` (N, {len(info.classes)}) |
| `net.onnx` | for `ferlib.Recognizer("net.onnx")`, which also finds the faces | |

`model.onnx` normalises the pictures itself, and has bias and temperature inside: pass pixels as
they are. `model_int8.onnx`, where it is there, is the same in eight-bit numbers.
[example.py](example.py) needs onnxruntime, NumPy and Pillow:

```
python example.py face.png
```

A crop is a square around the face whose side is {CROP} times the root of the box's width times its
height, the box from brow to chin. One that is framed otherwise (much hair, shoulders, only eyes to
mouth) reads badly."""


def _table(rows: Sequence[dict[str, Any]]) -> str:
    if not rows:
        return ""
    lines = [
        f"| {row['split']} | {row['protocol']} | {row['n']:,} | {row['accuracy']:.2%} "
        f"| {row['balanced_accuracy']:.2%} |"
        for row in rows
    ]
    head = "| split | labels | pictures | accuracy | balanced |\n|---|---|---|---|---|"
    return "\n".join(["## Accuracy", "", head, *lines])


def _shipped_card(prefix: Path) -> str:
    """What the model card of this project says of it, its links leading to the repository."""
    text = (prefix.parent / "README.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE))
    beside = () if prefix.name == DEFAULT_WEIGHTS else ("Beside it",)
    chosen = [
        f"## {name}\n\n{sections[name].strip()}" for name in (*SECTIONS[:1], *beside, *SECTIONS[1:])
    ]
    return re.sub(r"\]\((?!https?:)([^)]+)\)", _link, "\n\n".join(chosen))


def _link(found: re.Match) -> str:
    """What leads from the card to another file, leading to the repository's."""
    return f"]({REPOSITORY}/blob/main/{normpath(f'model_store/{found[1]}')})"


def _own_card(info: Info) -> str:
    """What is known of somebody's own net, and what only they can tell."""
    known = info.trained
    learnt = (
        f"{known.pictures:,} pictures of {known.data}: `{known.command}`" if known else "Unknown."
    )
    return f"""## What it learnt from

{learnt}

## To be told by its authors

What the pictures show and who is in them; where the net fails; what it is meant for and what not;
under which licence its weights may be used (`license` on top of this file says other)."""


def licence() -> str:
    """This project's, in a checkout as in an installed package."""
    file = _ROOT / "LICENSE"
    if file.is_file():
        return file.read_text()
    return importlib.metadata.distribution("ferlib").read_text("licenses/LICENSE") or ""
