"""The graph that a net is trained by: cut in two where one half is frozen, with features beside."""

import json
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

from ferlib import runtime
from ferlib.errors import FerlibError
from ferlib.nets.graph import cut, output
from ferlib.nets.registry import Net
from ferlib.training import precision
from ferlib.training.pooling import averaged
from ferlib.training.recipe import Recipe

mx = runtime.import_mxnet()
from mxnet import gluon  # noqa: E402  (after import_mxnet has prepared it)


@dataclass(frozen=True)
class Graphs:
    """A net in training.

    learns:    what is differentiated: logits (N, K), and features (N, D) after them where the
               recipe has a centre loss
    frozen:    what comes before it and stays as it is, or None where everything learns
    precision: of the convolutions
    fixed:     the names of the parameters in the frozen half
    width:     how many features there are, D, where they are given
    """

    learns: gluon.HybridBlock
    frozen: gluon.HybridBlock | None
    precision: str
    fixed: frozenset[str] = frozenset()
    width: int = 0


def for_training(net: Any, network: Net, recipe: Recipe, ctx: list) -> Graphs:
    """The graphs of a recipe, hybridised; they share the parameters of `net`, its declaration
    `network`. FerlibError where it has no features to be cut at, or none beside its logits.
    """
    chosen = precision.chosen(recipe, ctx)
    sizes = {recipe.size(epoch) for epoch in range(1, recipe.epochs + 1)}
    _check_sizes(net, network, sizes)
    batch = recipe.batch_size if len(ctx) == 1 else 0
    if recipe.freeze:
        return _frozen(net, network, chosen, sizes, fuse=ctx[0].device_type == "cpu")
    plain, width = net(mx.sym.var("data")), 0
    graph = averaged(plain, sizes, network.channels)
    if recipe.centre:
        graph = with_features(graph)
        picture = (1, network.channels, network.size, network.size)
        width = graph.infer_shape(data=picture)[1][1][1]
    if chosen == "float32" and graph is plain:
        return Graphs(_ready(net), None, chosen)
    learns = precision.block(graph, net, chosen, sizes, batch, network.channels)
    return Graphs(_ready(learns), None, chosen, width=width)


def _check_sizes(net: Any, network: Net, sizes: set[int]) -> None:
    """FerlibError where growing pictures are too small for a net, or too odd."""
    graph = net(mx.sym.var("data"))
    for size in sizes - {network.size}:
        try:
            with redirect_stdout(None):  # MXNet prints there what it then raises
                graph.infer_shape(data=(1, network.channels, size, size))
        except mx.MXNetError:
            raise FerlibError(
                f"{network.name} cannot take pictures of {size} pixels: let them be of full size "
                "throughout (--full-size, grow=())"
            ) from None


def _frozen(net: Any, network: Net, chosen: str, sizes: set[int], fuse: bool) -> Graphs:
    """Both halves; the parameters of the first get no gradients any more."""
    body, head = halves(net(mx.sym.var("data")), network)
    names = frozenset(body.list_inputs()) - {"data"}
    for name in names:
        net.collect_params()[name].grad_req = "null"
    if fuse and chosen == "float32":
        body = body.get_backend_symbol("MKLDNN")  # each convolution, BatchNorm and ReLU one step
    frozen = _ready(precision.block(body, net, chosen, sizes, channels=network.channels))
    return Graphs(_ready(precision.block(head, net)), frozen, chosen, names)


def _ready(block: gluon.HybridBlock) -> gluon.HybridBlock:
    block.hybridize(static_alloc=True, static_shape=True)
    return block


def halves(graph: Any, network: Net) -> tuple[Any, Any]:
    """Cut at the last of a network's features: pictures -> its maps, and `features` -> logits."""
    nodes = json.loads(graph.tojson())["nodes"]
    names = [network.prefix + (network.features or ("",))[-1] + end for end in ("", "_fwd")]
    ends = [at for at, node in enumerate(nodes) if node["name"] in names]
    if not ends:
        raise FerlibError(
            f"{network.name} declares no features that it could be cut at, so that its first "
            "layers cannot be frozen.\nName them with register(..., features=(...))"
        )
    return cut(graph, ends[-1], network.name)


def with_features(graph: Any) -> Any:
    """Logits (N, K), and beside them the features (N, D) that the last dense layer makes them of.

    As they are before dropout, whose chance is none of theirs.
    """
    known = json.loads(graph.tojson())
    nodes = known["nodes"]
    last = nodes[known["heads"][0][0]]
    if last["op"] != "FullyConnected":
        raise FerlibError(f"a centre loss is for nets that end in a dense layer, not {last['op']}")
    source = nodes[last["inputs"][0][0]]
    while source["op"] == "Dropout":
        source = nodes[source["inputs"][0][0]]
    features = graph.get_internals()[output(source)]
    return mx.sym.Group([graph, mx.sym.Flatten(features)])
