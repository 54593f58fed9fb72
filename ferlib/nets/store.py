"""Trained nets on the disk: written whole, loaded in the precision that is wanted, checked."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from ferlib import runtime
from ferlib.errors import FerlibError, check_choice, check_kind
from ferlib.files import whole_files
from ferlib.nets import int8
from ferlib.nets.info import Info
from ferlib.nets.places import check_prefix, damaged, int8_file, stored_files, weight_files
from ferlib.nets.registry import find, names

mx = runtime.import_mxnet()
from mxnet.gluon import SymbolBlock  # noqa: E402  (after import_mxnet has prepared it)

PRECISIONS = ("auto", "int8", "fused", "float32")


def save(net: Any, prefix: str | Path, info: Info) -> None:
    """Write the net's three files; the JSON comes last, and without it the others do not load."""
    check_prefix(prefix)
    _check_stored(net, info)
    mx.nd.waitall()  # BatchNorm's running statistics are written late
    with whole_files(*weight_files(prefix)) as (symbol_file, params_file, info_file):
        symbol = net(mx.sym.var("data"))
        _check_shape(symbol, info)
        symbol_file.write_text(symbol.tojson())  # Symbol.save is silent on a full disk
        try:
            mx.nd.save(str(params_file), _stored(net, symbol))
        except mx.MXNetError:
            raise FerlibError(f"cannot write {prefix}-0000.params: is the disk full?") from None
        if info.network in names() and info.input_size != find(info.network).size:
            info = replace(info, side=info.input_size)
        info.write(info_file)
    int8_file(prefix).unlink(missing_ok=True)  # made for the weights that go


def _check_stored(net: Any, info: Info) -> None:
    """FerlibError where what is written could not be loaded, or not for what it is."""
    check_kind("info", info, Info, "an Info, such as Info.of(find(name))")
    if isinstance(net, Sized):
        raise FerlibError("layers of this net are fused or rounded: load it in float32 to store it")
    try:
        Info.parse(info.text(), "info")
    except (TypeError, ValueError) as error:
        why = str(error).partition("\n")[0]
        raise FerlibError(f"what info tells could not be read again: {why}") from None


def _check_shape(symbol: Any, info: Info) -> None:
    """FerlibError unless the net has the size and classes of its Info: it would not load again."""
    taken, wanted = (1, info.channels, info.input_size, info.input_size), (1, len(info.classes))
    try:
        shape = symbol.infer_shape(data=taken)[1][0]
    except mx.MXNetError:
        shape = None
    if shape != wanted:
        raise FerlibError(f"of pictures {taken} the net makes {shape or 'none'}: expected {wanted}")


def _stored(net, symbol) -> dict:
    auxiliary = set(symbol.list_auxiliary_states())
    return {
        ("aux:" if name in auxiliary else "arg:") + name: value.data(
            value.list_ctx()[0]
        ).as_in_context(mx.cpu())
        for name, value in net.collect_params().items()
    }


def load(
    prefix: str | Path, ctx: Any = None, precision: str = "float32"
) -> tuple[SymbolBlock, Info]:
    """The three files -> (hybridised net that gives logits, what travels with it).

    precision: "float32", the graph as it was trained, the only one with gradients; "int8", with
    the ranges that `quantize` found; "fused", float32 with convolution, BatchNorm and ReLU as one
    step; "auto", the fastest here (`fastest`). Raises FerlibError naming the file that is missing,
    or that belongs to another network.
    """
    check_choice("precision", precision, PRECISIONS)
    info_file = stored_files(prefix)[2]
    ctx = ctx or mx.cpu()
    if precision in ("fused", "int8") and _card(ctx):
        raise FerlibError(f"{precision} is for the CPU: on {ctx} choose float32 or auto")
    runtime.check_context(ctx)
    info = Info.read(info_file)
    net = _import(prefix, fastest(prefix, ctx) if precision == "auto" else precision, ctx)
    _check_name(net, info, info_file)
    _check_output(net, info, info_file, ctx)
    if isinstance(net, Sized):  # begun now, and done by the time that a photograph is searched
        net(mx.nd.zeros((4, info.channels, info.input_size, info.input_size)))
    return net, info


def fastest(prefix: str | Path, ctx: Any = None) -> str:
    """The precision in which stored weights answer soonest here.

    "int8" where PREFIX-int8.json is there and the CPU multiplies eight-bit numbers
    (`runtime.fast_int8`); else "fused", float32 with each convolution, BatchNorm and ReLU as one
    step; "float32" on a GPU, which has no such graph.
    """
    if _card(ctx):
        return "float32"
    return "int8" if int8_file(prefix).is_file() and runtime.fast_int8() else "fused"


def _card(ctx: Any) -> bool:
    return isinstance(ctx, mx.Context) and ctx.device_type != "cpu"


def take_over(net: Any, prefix: str | Path, classes: tuple[str, ...] | None = None) -> None:
    """Give `net` the values of stored weights; FerlibError when they are another network's.

    Where they tell apart other classes than `classes`, the last layer keeps its own values but for
    the classes that both know.
    """
    stored, info = load(prefix)
    # By way of NumPy: loading has run the net once, which can leave weights in oneDNN's layout.
    values = {name: p.data().asnumpy() for name, p in stored.collect_params().items()}
    mine = net.collect_params()
    if classes is not None and classes != info.classes:
        _fit_head(mine, values, classes, info.classes)
    if {name: p.shape for name, p in mine.items()} != {k: v.shape for k, v in values.items()}:
        shape = f"{info.channels} x {info.input_size} pixels, {len(info.classes)} classes"
        raise FerlibError(
            f"{prefix} holds another network, {info.network} ({shape}): cannot start from it"
        )
    for name, parameter in mine.items():
        parameter.set_data(mx.nd.array(values[name]))


def _fit_head(mine: Any, values: dict, classes: tuple[str, ...], theirs: tuple[str, ...]) -> None:
    """Exchange, in `values`, the last layer for one of these classes, known ones taken over."""
    for name, parameter in list(mine.items())[-2:]:
        head, stored = parameter.data().asnumpy(), values.get(name)
        if stored is not None and (len(head), len(stored)) == (len(classes), len(theirs)):
            for at, title in enumerate(classes):
                if title in theirs:
                    head[at] = stored[theirs.index(title)]
            values[name] = head


def _import(prefix, precision: str, ctx) -> SymbolBlock:
    params_file = weight_files(prefix)[1]
    try:
        graph = int8.graph(prefix) if precision == "int8" else int8.original(prefix)
        if precision == "fused":
            graph = graph.get_backend_symbol("MKLDNN")
        with _quiet():
            net = (SymbolBlock if precision == "float32" else Sized)(graph, mx.sym.var("data"))
            stored = {"cast_dtype": True, "dtype_source": "saved"}
            net.collect_params().load(str(params_file), ctx=ctx, **stored)
    except (FerlibError, MemoryError):  # of the files nothing is wrong
        raise
    except Exception:  # MXNetError, AssertionError, KeyError ... by what is wrong
        raise damaged(prefix) from None
    net.hybridize(**SETTINGS)
    return net


# Without static_shape the fused layers are set up again at every call: settings_ms in
# results/latency.json has what that costs.
SETTINGS = {"static_alloc": True, "static_shape": True}


class Sized(SymbolBlock):
    """A fused net that is ready for each of a few batch sizes, and splits other batches into these.

    Fused layers are set up for one batch size; for another one they are set up again, which takes
    ten times as long as to read a face, and photographs have now one face, now three.
    """

    SIZES = (64, 4, 1)  # oneDNN takes 150 ms to write the code for each

    def __init__(self, graph: Any, data: Any, **how: Any):
        super().__init__(graph, data, **how)
        self._for = cache(lambda size: self._ready(graph, data))

    def __call__(self, batch: Any) -> Any:
        """Pictures (N, C, H, W), or their symbol -> logits (N, K)."""
        if not isinstance(batch, mx.nd.NDArray):
            return super().__call__(batch)
        parts: list = []
        start = 0
        while start < len(batch) or not parts:
            size = next(size for size in self.SIZES if size <= max(1, len(batch) - start))
            parts.append(self._for(size)(batch[start : start + size]))
            start += size
        return mx.nd.concat(*parts, dim=0) if len(parts) > 1 else parts[0]

    def _ready(self, graph: Any, data: Any) -> SymbolBlock:
        with _quiet():
            net = SymbolBlock(graph, data, params=self.collect_params())
        net.hybridize(**SETTINGS)
        return net


@contextmanager
def _quiet() -> Iterator[None]:
    """MXNet warns that it cannot decide the type of what the first batch decides."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _check_name(net, info: Info, info_file: Path) -> None:
    """With global pooling any input size gives an answer, so the network's name is compared."""
    first = next(iter(net.collect_params()))
    if info.network not in names():  # a net of someone's own
        return
    known = find(info.network, size=info.side)
    if not first.startswith(known.prefix) or info.input_size != known.size:
        raise FerlibError(
            f"{info_file} belongs to another net: it says {info.network} at {info.input_size} "
            f"pixels, and the parameters start with {first}",
            "weights_invalid",
        )


def _check_output(net, info: Info, info_file: Path, ctx) -> None:
    size, wanted = info.input_size, (1, len(info.classes))
    try:
        picture = mx.nd.zeros((1, info.channels, size, size), ctx=ctx)
        shape = net(picture).asnumpy().shape  # waits for it
    except Exception:  # a dense layer refuses the wrong size with an MXNetError
        shape = None
    if shape != wanted:
        raise FerlibError(
            f"{info_file} belongs to another net: with its input size of {size} pixels "
            f"the net gives {shape or 'an error'}, expected {wanted}",
            "weights_invalid",
        )
