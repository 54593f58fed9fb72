"""Where the files of trained nets lie: PREFIX-symbol.json, PREFIX-0000.params and PREFIX.json."""

import os
from pathlib import Path

from ferlib.errors import FerlibError, check_kind
from ferlib.files import check_place, is_text
from ferlib.nets.info import Info

DEFAULT_WEIGHTS = "ferplus"
SEVEN_CLASSES = "fer2013"  # that of FER2013's own labels
SHIPPED = (DEFAULT_WEIGHTS, "ferplus-2", "ferplus-3", "ferplus-small", SEVEN_CLASSES)
_ENDINGS = ("-int8", "-symbol")
_PACKAGE = Path(__file__).resolve().parents[1]
STORES = (_PACKAGE.parent / "model_store", _PACKAGE / "model_store")  # a checkout; an installation


def find_weights(weights: str | Path | None = None) -> Path:
    """The prefix of a net's three files; None means the default net. A bare name is looked up.

    An .onnx file is its own prefix.
    """
    if weights is not None:
        check_kind("weights", weights, (str, os.PathLike), "a net's name or prefix")
    name = DEFAULT_WEIGHTS if weights is None else str(weights)
    if is_onnx(name):
        return _onnx_file(Path(name))
    if weights is not None and (len(Path(name).parts) > 1 or Path(f"{name}.json").exists()):
        return Path(name)
    for store in STORES:
        if (store / f"{name}.json").is_file():
            return store / name
    raise FerlibError(
        f"no weights called {name or '(empty)'}: {name}.json is not in {STORES[0]}.\n"
        "Train a net with `ferlib train`, or name one by its prefix, such as runs/mine/net",
        "weights_missing",
    )


def is_onnx(weights: str | Path) -> bool:
    """Whether weights are one file in ONNX rather than a prefix."""
    return str(weights).endswith(".onnx")


def _onnx_file(file: Path) -> Path:
    if not file.is_file():
        raise FerlibError(
            f"{file} is missing: `ferlib export --onnx {file.name}` makes such a file",
            "weights_missing",
        )
    return file


def weight_files(prefix: str | Path) -> tuple[Path, Path, Path]:
    """`model_store/ferplus` -> its -symbol.json, -0000.params and .json."""
    return Path(f"{prefix}-symbol.json"), Path(f"{prefix}-0000.params"), Path(f"{prefix}.json")


def damaged(prefix: str | Path) -> FerlibError:
    """What to tell of a graph and numbers that are not those of one net."""
    symbol_file, params_file, _ = weight_files(prefix)
    return FerlibError(
        f"{params_file} and {symbol_file} do not hold the same net, or are damaged:\n"
        "copy both again from where they came",
        "weights_invalid",
    )


def int8_file(prefix: str | Path) -> Path:
    """`model_store/ferplus` -> model_store/ferplus-int8.json, which need not be there."""
    return Path(f"{prefix}-int8.json")


def stored_files(prefix: str | Path) -> tuple[Path, Path, Path]:
    """`weight_files` that are there; FerlibError naming the one that is not."""
    check_kind("weights", prefix, (str, os.PathLike), "a prefix such as runs/mine/net")
    if is_onnx(prefix):
        raise FerlibError(
            f"{prefix} is a file for onnxruntime: name a net's prefix here, such as runs/mine/net",
            "weights_invalid",
        )
    files = weight_files(prefix)
    for path in reversed(files):
        if not path.is_file():
            symbol, params, info = (file.name for file in files)
            hint = f".\nOf a net that ferlib brings: find_weights({str(prefix)!r})"
            raise FerlibError(
                f"{path} is missing: a net is three files, {symbol}, {params} and {info}"
                + hint * (str(prefix) in SHIPPED),
                "weights_missing",
            )
    return files


def check_prefix(prefix: str | Path) -> None:
    """FerlibError unless a net can be written there: asked before hours of training."""
    check_kind("prefix", prefix, (str, os.PathLike), "a prefix such as runs/mine/net")
    text = str(prefix)
    if not Path(text).name or text.endswith(("/", os.sep)) or not is_text(text) or is_onnx(text):
        raise FerlibError(f"cannot write {text!r}: expected a prefix such as runs/mine/net")
    if text.endswith(_ENDINGS):
        ends = " or ".join(_ENDINGS)
        raise FerlibError(
            f"cannot write {text!r}: files that end in {ends} are parts of other nets"
        )
    check_place(*weight_files(prefix))
    known = weight_files(prefix)[2]
    if known.is_file():
        Info.read(known)  # else it is somebody's own file
