"""The networks, by name, and the three files that a trained one is kept in."""

import json
import os
import warnings
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np

from ferlib import runtime
from ferlib.errors import FerlibError
from ferlib.images import NORMALISATIONS, prepare
from ferlib.labels import EMOTIONS

mx = runtime.import_mxnet()
from mxnet.gluon import SymbolBlock, nn  # noqa: E402  (after import_mxnet has prepared it)


@dataclass(frozen=True)
class Spec:
    """A VGG-style net as data: blocks of (convolutions, channels), then dense layers."""

    blocks: tuple[tuple[int, int], ...]
    size: int  # the side of its gray input picture, in pixels
    dense: tuple[int, ...] = ()  # hidden layers; none means global average pooling
    batch_norm: bool = True
    dropout: tuple[float, ...] = (0.25, 0.25, 0.25, 0.25)  # after each block's pooling
    last_dropout: float = 0.5
    normalise: str = "standardise"
    note: str = ""


PAPER = ((2, 64), (2, 128), (3, 256), (3, 256))
SPECS = {
    "vgg13": Spec(
        PAPER,
        size=64,
        dense=(1024, 1024),
        batch_norm=False,
        normalise="equalise",
        note="the paper's network (Barsoum et al. 2016, figure 3), 8.8 M parameters",
    ),
    "vgg13bn": Spec(
        PAPER,
        size=48,
        dropout=(),
        note="the same convolutions with BatchNorm, averaged instead of dense layers, 3.5 M",
    ),
    "vgg13lean": Spec(
        ((2, 32), (2, 64), (3, 160), (3, 320)),
        size=48,
        dropout=(),
        last_dropout=0.2,
        note="fewer channels where pictures are large, more where they are small: twice as fast, "
        "2.9 M",
    ),
    "vgg13small": Spec(
        ((2, 16), (2, 32), (3, 64), (3, 128)),
        size=48,
        dropout=(),
        last_dropout=0.1,
        note="a quarter of the paper's channels, half in the last block: 0.48 M",
    ),
    "vgg13mini": Spec(
        ((2, 32), (2, 48), (3, 80), (3, 96)),
        size=48,
        dropout=(),
        last_dropout=0.1,
        note="more channels than `vgg13small` where pictures are large, fewer at the end: 0.43 M",
    ),
    "vgg-tiny": Spec(
        ((1, 16), (1, 32), (2, 64)),
        size=48,
        dropout=(0, 0.1, 0.1),
        last_dropout=0.2,
        note="for the drawn faces: trains in about a minute on two cores, 0.06 M",
    ),
}


# With a net's JSON, these give its answers as the loss of its training saw them.
RAW = {"temperature": 1.0, "bias": None}

PRECISIONS = ("auto", "int8", "fused", "float32")


def create(name: str, ctx=None, seed: int | None = None) -> nn.HybridSequential:
    """The net called `name` with He-initialised weights: float32 (N, 1, size, size) -> (N, 8).

    What comes out are logits. The same `seed` gives the same weights.
    """
    if seed is not None:
        mx.random.seed(seed)
        np.random.seed(seed)  # MXNet's initialisers draw from both
    net = build(spec(name), prefix=_prefix(name))
    net.initialize(mx.init.MSRAPrelu(slope=0), ctx=ctx)
    return net


def spec(name: str) -> Spec:
    """The Spec called `name`; FerlibError lists the names there are."""
    if name not in SPECS:
        raise FerlibError(f"unknown network {name!r}: expected one of {', '.join(SPECS)}")
    return SPECS[name]


def build(spec: Spec, prefix: str) -> nn.HybridSequential:
    """One loop over the spec. Shapes are complete, so nothing waits for a first batch."""
    net = nn.HybridSequential(prefix=prefix)  # a prefix, so that stored names never vary
    channels, side = 1, spec.size
    with net.name_scope():
        for (count, width), dropout in zip_longest(spec.blocks, spec.dropout, fillvalue=0):
            for _ in range(count):
                _convolution(net, channels, width, spec.batch_norm)
                channels = width
            net.add(nn.MaxPool2D(2))
            if dropout:
                net.add(nn.Dropout(dropout))
            side //= 2
        if not spec.dense:
            net.add(nn.GlobalAvgPool2D())
            side = 1
        net.add(nn.Flatten())
        features = channels * side * side
        for width in spec.dense:
            net.add(nn.Dense(width, activation="relu", in_units=features))
            net.add(nn.Dropout(spec.last_dropout))
            features = width
        if not spec.dense:
            net.add(nn.Dropout(spec.last_dropout))
        net.add(nn.Dense(len(EMOTIONS), in_units=features))
    return net


def _convolution(net, old: int, new: int, batch_norm: bool) -> None:
    net.add(nn.Conv2D(new, 3, padding=1, in_channels=old, use_bias=not batch_norm))
    if batch_norm:  # its shift makes the convolution's bias superfluous
        net.add(nn.BatchNorm(in_channels=new))
    net.add(nn.Activation("relu"))


def parameters(net) -> int:
    """How many numbers the net has learnt or keeps."""
    return sum(p.list_data()[0].size for p in net.collect_params().values())


def predict(net, crops, info: dict, flip: bool = False) -> np.ndarray:
    """Gray or RGB uint8 crops, an array or a list -> float32 (N, 8) probabilities.

    The one way from a picture to an answer, in training, evaluation and serving. `info` is the
    JSON of the weights; `flip` averages each picture with its mirror image.
    """
    ctx = next(iter(net.collect_params().values())).list_ctx()[0]
    temperature = info.get("temperature", 1.0)
    bias = np.array(info.get("bias") or 0.0, np.float32)
    scores = [np.empty((0, len(EMOTIONS)), np.float32)]
    for start in range(0, len(crops), 64):
        batch = prepare(crops[start : start + 64], info["input_size"], info["normalise"])
        each = [batch, batch[..., ::-1]] if flip else [batch]
        # The rest in NumPy: on eight numbers MXNet's operations take longer than the net.
        logits = ((net(mx.nd.array(x, ctx=ctx)).asnumpy() + bias) / temperature for x in each)
        scores.append(sum(map(softmax, logits)) / np.float32(len(each)))
    return np.concatenate(scores)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Logits (N, 8) -> probabilities (N, 8)."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


# ---------------------------------------------------------------- three files


def check_prefix(prefix) -> None:
    """FerlibError unless `save_weights` can write there: asked before hours of training."""
    folder, name = Path(prefix).parent, Path(prefix).name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FerlibError(f"cannot make {folder}: {error.strerror}") from None
    if not name or not os.access(folder, os.W_OK):
        raise FerlibError(f"cannot write {str(prefix)!r}: expected a prefix such as runs/mine/net")


def weight_files(prefix) -> tuple[Path, Path, Path]:
    """`model_store/ferplus` -> its -symbol.json, -0000.params and .json."""
    prefix = str(prefix)
    return tuple(Path(prefix + tail) for tail in ("-symbol.json", "-0000.params", ".json"))


def stored_files(prefix) -> tuple[Path, Path, Path]:
    """`weight_files` that are there; FerlibError naming the one that is not."""
    files = weight_files(prefix)
    for path in reversed(files):
        if not path.is_file():
            symbol, params, info = (file.name for file in files)
            raise FerlibError(
                f"{path} is missing: a net is three files, {symbol}, {params} and {info}",
                "weights_missing",
            )
    return files


def save_weights(net, prefix, info: dict) -> None:
    """Write the net's three files, each beside its name and then renamed.

    `info` says what a server must know (input_size, normalise, bias, temperature) and how the net
    came about; `emotions` is added. The JSON comes last: without it the other two are not loaded.
    """
    mx.nd.waitall()  # BatchNorm's running statistics are written late
    Path(prefix).parent.mkdir(parents=True, exist_ok=True)
    beside = f"{prefix}.{os.getpid()}.tmp"
    partial = weight_files(beside)
    try:
        symbol = net(mx.sym.var("data"))
        partial[0].write_text(symbol.tojson())  # Symbol.save is silent on a full disk
        mx.nd.save(str(partial[1]), _stored(net, symbol))
        partial[2].write_text(json.dumps(info | {"emotions": EMOTIONS}, indent=2) + "\n")
        Path(f"{prefix}-int8.json").unlink(missing_ok=True)  # made for the weights that go
        for source, target in zip(partial, weight_files(prefix), strict=True):
            os.replace(source, target)
    except mx.MXNetError:
        raise FerlibError(f"cannot write {prefix}-0000.params: is the disk full?") from None
    finally:
        for path in partial:
            path.unlink(missing_ok=True)


def _stored(net, symbol) -> dict:
    auxiliary = set(symbol.list_auxiliary_states())
    return {
        ("aux:" if name in auxiliary else "arg:") + name: value.data(
            value.list_ctx()[0]
        ).as_in_context(mx.cpu())
        for name, value in net.collect_params().items()
    }


def load_weights(prefix, ctx=None, precision: str = "float32") -> tuple[SymbolBlock, dict]:
    """The three files -> (hybridised net that gives logits, its JSON as a dict).

    precision: "float32", the graph as it was trained, the only one with gradients; "int8", with
    the ranges that `int8.quantize` found; "fused", float32 with convolution, BatchNorm and ReLU as
    one step; "auto", the fastest here (`fastest`). Raises FerlibError naming the file that is
    missing, or that belongs to another network.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}: expected one of {PRECISIONS}")
    info_file = stored_files(prefix)[2]
    ctx = ctx or mx.cpu()
    if precision in ("fused", "int8") and ctx.device_type != "cpu":
        raise FerlibError(f"{precision} is for the CPU: on {ctx} choose float32 or auto")
    info = _read_info(info_file)
    net = _import(prefix, fastest(prefix, ctx) if precision == "auto" else precision, ctx)
    _check_name(net, info, info_file)
    _check_output(net, info, info_file, ctx)
    return net, info


def fastest(prefix, ctx=None) -> str:
    """The precision in which stored weights answer soonest here.

    "int8" where PREFIX-int8.json is there and the CPU multiplies eight-bit numbers
    (`runtime.fast_int8`); else "fused", float32 with each convolution, BatchNorm and ReLU as one
    step; "float32" on a GPU, which has no such graph.
    """
    from ferlib import int8

    if ctx is not None and ctx.device_type != "cpu":
        return "float32"
    return "int8" if int8.file(prefix).is_file() and runtime.fast_int8() else "fused"


def take_over(net, prefix) -> None:
    """Give `net` the values of stored weights; FerlibError when they are another network's."""
    stored, info = load_weights(prefix)
    # By way of NumPy: loading has run the net once, which can leave weights in oneDNN's layout.
    values = {name: p.data().asnumpy() for name, p in stored.collect_params().items()}
    mine = net.collect_params()
    if {name: p.shape for name, p in mine.items()} != {k: v.shape for k, v in values.items()}:
        raise FerlibError(
            f"{prefix} holds another network, {info['network']}: cannot start from it"
        )
    for name, parameter in mine.items():
        parameter.set_data(mx.nd.array(values[name]))


def _read_info(path: Path) -> dict:
    try:
        info = json.loads(path.read_text())
        sound = (
            list(info["emotions"]) == list(EMOTIONS)
            and info["normalise"] in NORMALISATIONS
            and isinstance(info["input_size"], int)
            and float(info.setdefault("temperature", 1.0)) > 0
            and isinstance(info.setdefault("network", ""), str)
            and _eight(info.setdefault("bias", [0.0] * 8))
            and _eight(info.get("shares", [0.125] * 8))
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        sound = False
    if not sound:
        raise FerlibError(
            f"{path} does not describe a net of this package.\nExpected JSON with input_size, "
            "normalise, temperature and the eight emotions, as `ferlib train` writes it",
            "weights_invalid",
        )
    info["temperature"] = float(info["temperature"])
    return info


def _eight(values) -> bool:
    return np.shape(values) == (8,) and bool(np.isfinite(np.array(values, float)).all())


def _import(prefix, precision: str, ctx) -> SymbolBlock:
    symbol_file, params_file, _ = weight_files(prefix)
    try:
        graph = mx.sym.load_json(symbol_file.read_text())
        if precision == "fused":
            graph = graph.get_backend_symbol("MKLDNN")
        if precision == "int8":
            from ferlib import int8

            graph = int8.graph(prefix)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "cannot decide type": the first batch decides it
            net = SymbolBlock(graph, mx.sym.var("data"))
            stored = {"cast_dtype": True, "dtype_source": "saved"}
            net.collect_params().load(str(params_file), ctx=ctx, **stored)
    except FerlibError:
        raise
    except Exception:  # MXNetError, AssertionError, KeyError ... by what is wrong
        raise FerlibError(
            f"{params_file} and {symbol_file} do not hold the same net, or are damaged:\n"
            "copy both again from where they came",
            "weights_invalid",
        ) from None
    # Without static_shape the fused layers are set up again at every call: settings_ms in
    # results/latency.json has what that costs.
    net.hybridize(static_alloc=True, static_shape=True)
    return net


def _check_name(net, info: dict, info_file: Path) -> None:
    """With global pooling any input size gives eight numbers, so the network's name is compared."""
    name = info["network"]
    first = next(iter(net.collect_params()))
    if name not in SPECS:  # a net of someone's own
        return
    right = first.startswith(_prefix(name)) and info["input_size"] == SPECS[name].size
    if not right:
        raise FerlibError(
            f"{info_file} belongs to another net: it says {name} at {info['input_size']} pixels, "
            f"and the parameters start with {first}",
            "weights_invalid",
        )


def _prefix(name: str) -> str:
    return name.replace("-", "_") + "_"


def _check_output(net, info: dict, info_file: Path, ctx) -> None:
    size = info["input_size"]
    try:
        shape = net(mx.nd.zeros((1, 1, size, size), ctx=ctx)).asnumpy().shape  # waits for it
    except Exception:  # a dense layer refuses the wrong size with an MXNetError
        shape = None
    if shape != (1, len(EMOTIONS)):
        raise FerlibError(
            f"{info_file} belongs to another net: with its input size of {size} pixels "
            f"the net gives {shape or 'an error'}, expected {(1, len(EMOTIONS))}",
            "weights_invalid",
        )
