"""The browser page as a folder that any web server can give out.

    build("page")          # or `ferlib web --out page`

Pictures never leave the browser: it finds the faces and reads them itself (`deploy/web`).
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from ferlib.data import labels
from ferlib.errors import FerlibError
from ferlib.faces import roll
from ferlib.files import cache_folder, check_free, whole_files
from ferlib.nets.places import find_weights
from ferlib.runtime.onnx import Model
from ferlib.serving import hub, onnx, web_runtime

NET = "ferplus-small"  # a seventh of the default net's size
READER, ROLL, DETECTOR = (f"models/{name}.onnx" for name in ("reader", "roll", "detector"))
ABOUT, LISTED = "models/about.json", "files.js"
LICENCES = ("licences/ferlib.txt", "licences/libfacedetection.txt")
STEP = 7  # every so-manieth of the detector's numbers is told for comparison
_HERE = Path(__file__).resolve()
_PLACES = (_HERE.parents[2] / "deploy" / "web", _HERE.parents[1] / "web")


def build(folder: str | Path | None = None, weights: str | Path | None = None) -> Path:
    """Write the page's folder (None: one in the cache folder); where it is.

    `weights` is a net of one channel (None: NET). All files get their names together, or none
    does. The first time onnxruntime-web is fetched, and kept for this user
    (`web_runtime.files`). FerlibError where that, the net or the detector cannot be had, or the
    folder holds another page.
    """
    own, folder = folder is not None, Path(folder or cache_folder() / "web")
    weights = find_weights(NET if weights is None else weights)
    copied = sources() | {f"ort/{file.name}": file for file in web_runtime.files(_sources())}
    names = [*copied, READER, ROLL, DETECTOR, ABOUT, *LICENCES, LISTED]
    if own and not (folder / ABOUT).exists():
        check_free(folder, names)
    with whole_files(*(folder / name for name in names)) as partial:
        places = dict(zip(names, partial, strict=True))
        for name, file in copied.items():
            shutil.copyfile(file, places[name])
        about = _models(places, weights)
        about["runtime"] = {
            name: places[name].stat().st_size for name in copied if name.startswith("ort/")
        }
        places[ABOUT].write_text(json.dumps(about, indent=1) + "\n")
        _write_licences(places)
        places[LISTED].write_text(_listed(places))
    return folder


def given_out(folder: Path) -> set[str]:
    """What a built page consists of, "." for the folder itself, which is `index.html`.

    OSError, ValueError, LookupError or TypeError where the folder holds none.
    """
    about = json.loads((folder / ABOUT).read_text())
    listed = (folder / LISTED).read_text().split("self.FILES = ")[1]
    kept = json.loads(listed.rstrip(";\n"))
    return {".", *kept[1:], *about["runtime"], "sw.js", LISTED}


def sources() -> dict[str, Path]:
    """What is copied as it is: {name in the folder: file}."""
    folder = _sources()
    wanted = (file for file in sorted(folder.rglob("*")) if file.is_file())
    named = {file.relative_to(folder).as_posix(): file for file in wanted}
    left = ("package", "node_modules", ".")  # of npm's, and what others keep beside
    return {name: file for name, file in named.items() if not name.startswith(left)}


def _sources() -> Path:
    """deploy/web of a checkout, or what an installed package has of it."""
    for place in _PLACES:
        if (place / "index.html").is_file():
            return place
    raise FerlibError("the page's own files are missing: install ferlib again", "web_missing")


def _models(places: dict[str, Path], weights: Path) -> dict[str, Any]:
    """Write the three networks; what the page must know of them."""
    info = onnx.export(weights, places[READER], whole=True).info
    if info.channels != 1:
        raise FerlibError(f"{weights} takes RGB: the page reads gray pictures; name another net")
    turns = onnx.export(roll.NAME, places[ROLL], whole=True).info
    onnx.export_detector(places[DETECTOR])
    files = {Path(name).stem: name for name in (READER, ROLL, DETECTOR)}
    return {
        "name": weights.name.removesuffix(".onnx"),
        "classes": info.classes,
        "colours": labels.colours(info.classes),
        "side": info.input_size,
        "angles": [float(angle) for angle in turns.classes],
        "files": {
            key: {"file": name, "bytes": places[name].stat().st_size} for key, name in files.items()
        },
        "probe": probe(places[READER], places[ROLL], places[DETECTOR], info.input_size),
    }


def probe(reader: Path, turns: Path, detector: Path, side: int) -> dict[str, Any]:
    """What the networks answer to made-up pictures: the page asks its own the same first."""
    crops, small = pattern(1, side, side), pattern(1, roll.SIDE, roll.SIDE)
    picture = pattern(1, 64, 64, 4)[..., 2::-1].transpose(0, 3, 1, 2).astype(np.float32)
    levels = Model.read(detector)(data=np.ascontiguousarray(picture))
    seen = np.concatenate([level.ravel() for level in levels])[::STEP]
    return {
        "read": _rounded(Model.read(reader)(crops=crops)[0][0]),
        "roll": _rounded(Model.read(turns)(crops=small)[0][0]),
        "levels": _rounded(seen),
        "step": STEP,
    }


def pattern(*shape: int) -> np.ndarray:
    """uint8 numbers that JavaScript makes as well (`js/engine.js`)."""
    k = np.arange(np.prod(shape))
    return ((k * k + 31 * (k % 57)) % 256).astype(np.uint8).reshape(shape)


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), 6) for value in values]


def _write_licences(places: dict[str, Path]) -> None:
    """This project's, and the detector's, which must travel with it."""
    ours, theirs = LICENCES
    places[ours].write_text(hub.licence())
    places[theirs].write_text(Model.read(places[DETECTOR]).metadata["licence"])


def _listed(places: dict[str, Path]) -> str:
    """For the service worker: what to keep, and a version that changes with any file."""
    names = [name for name in places if name != LISTED]
    digest = hashlib.sha256()
    for name in names:
        digest.update(name.encode() + places[name].read_bytes())
    # Without the runtimes: the page keeps the one that it uses.
    kept = ["./", *(name for name in names if not name.startswith("ort/") and name != "sw.js")]
    version, listed = json.dumps(digest.hexdigest()[:16]), json.dumps(kept, indent=1)
    return f"self.VERSION = {version};\nself.FILES = {listed};\n"
