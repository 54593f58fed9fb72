"""Where in a face a net looks: Grad-CAM, and covering one place after another as its plain check.

Maps of a batch of crops, for `plots.explained` and `plots.surest`:

    net, info = nets.load(nets.find_weights())
    plots.explained(crops, explain.grad_cam(net, crops, info))

`ferlib explain` draws them for the faces of photographs (`ferlib.reading.heat`).
"""

import json
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from ferlib import runtime
from ferlib.data import images
from ferlib.errors import FerlibError, check_choice, number
from ferlib.nets.answer import predict
from ferlib.nets.features import function
from ferlib.nets.graph import cut, output
from ferlib.nets.info import Info
from ferlib.nets.registry import find, names
from ferlib.nets.store import Sized

mx = runtime.import_mxnet()
BATCH = 64

# A cell of the default layer is at most this many pixels of the input wide. With vgg13lean on 125
# validation faces of FER+, at most 16 an emotion, graying the hottest fifth of each picture took
# the answer's mean probability from 0.81 to 0.37 by this layer's map (12 x 12; 0.40 if `pooled`),
# to 0.50 by the last layer's (6 x 6), and to 0.48 where the fifth was simply the middle (standard
# error 0.03; chance 0.67). Finer maps took it lower (24 x 24: 0.28) by a scatter of dots, and
# agree less with hiding whole places: rank correlation with `occlusion` 0.16, this layer's 0.22.
CELL = 4


def grad_cam(
    net: Any,
    crops: Any,
    info: Info,
    emotion: str | Sequence[str] | None = None,
    layer: int | None = None,
    pooled: bool = False,
) -> np.ndarray:
    """What in each crop speaks for an emotion -> float32 (N, H, W), 0 to 1 at the hottest place.

    `net`, `crops` and `info` are as for `nets.predict`, H = W the net's input size; `emotion` is
    one of the classes, N of them, or None for each crop's top answer. A crop in which nothing
    speaks for the emotion gives zeros.

    The features are those that the network declares (`registry.Net.features`), one layer for each
    of its stages. `layer` counts them, -1 is the last; by default it is the last whose cells are
    at most 4 pixels wide.
    Each cell is weighed by its own gradient of the emotion's logit (HiResCAM: Draelos and Carin
    2020, arXiv 2011.08891), with `pooled` by the gradient's mean over the map as Grad-CAM was
    first published (Selvaraju et al. 2017, arXiv 1610.02391), which suits the last layer only.
    FerlibError names an emotion or a layer that does not exist.
    """
    images.check_several(crops)
    chosen = _chosen(emotion, len(crops), info.classes)
    if chosen is None:  # the answer of prediction, which may differ from the largest logit
        chosen = predict(net, crops, info).argmax(axis=1)
    size = info.input_size
    halves = split(net, info, layer)
    heats = [np.empty((0, size, size), np.float32)]
    for start in range(0, len(crops), BATCH):
        part = slice(start, start + BATCH)
        batch = images.prepare(crops[part], size, info.normalise, info.channels)
        cells, slopes = _slopes(halves, batch, chosen[part])
        if pooled:
            slopes = slopes.mean(axis=(2, 3), keepdims=True)
        heats.append(_enlarged((cells * slopes).sum(axis=1), size))
    return np.concatenate(heats)


def occlusion(
    net: Any,
    crops: Any,
    info: Info,
    emotion: str | Sequence[str] | None = None,
    side: int | None = None,
    stride: int | None = None,
) -> np.ndarray:
    """How far the emotion's probability falls when a gray square hides a place -> (N, H, W).

    float32, in probability, below 0 where hiding helps: for each pixel the mean over the squares
    that cover it (Zeiler and Fergus 2014). Squares are `side` pixels of the net's input wide (a
    quarter of it), `stride` apart (half a square), and as gray as the crop's mean. No gradients,
    but 81 predictions a crop. `emotion` as in `grad_cam`.
    """
    images.check_several(crops)
    chosen = _chosen(emotion, len(crops), info.classes)
    size = info.input_size
    squares = _squares(size, side, stride)
    share = squares.reshape(len(squares), -1) / squares.sum(axis=0).ravel()
    pictures = images.resize(crops, size, info.channels)
    heats = [np.empty((0, size, size), np.float32)]
    step = 8  # 81 squares each: a few MB at a time
    for start in tqdm(range(0, len(pictures), step), "hiding", disable=None, leave=False):
        some = pictures[start : start + step]
        plain = predict(net, some, info)
        names = plain.argmax(axis=1) if chosen is None else chosen[start : start + step]
        hidden = predict(net, _hidden(some, squares), info)
        hidden = hidden.reshape(len(some), len(squares), len(info.classes))
        rows = np.arange(len(some))
        fall = plain[rows, names][:, None] - hidden[rows, :, names]
        heats.append((fall @ share).reshape(-1, size, size).astype(np.float32))
    return np.concatenate(heats)


def surest(net: Any, crops: Any, info: Info, count: int = 6) -> SimpleNamespace:
    """For each class the crops with its highest probability, and what in them speaks for it.

    rows: int (K, count) into `crops`, the surest first, of fewer crops all; scores: float32
    (K, count), the class's probabilities; heats: float32 (K, count, H, W) by `grad_cam`; classes.
    For `plots.surest`.
    """
    if number("count", count, whole=True) < 1:
        raise FerlibError(f"the {count} surest crops: expected 1 or more")
    scores = predict(net, crops, info)
    rows = np.argsort(-scores, axis=0, kind="stable")[:count].T
    wanted = [name for name, row in zip(info.classes, rows, strict=True) for _ in row]
    heats = grad_cam(net, [crops[row] for row in rows.ravel()], info, wanted)
    heats = heats.reshape(*rows.shape, *heats.shape[1:])
    scores = np.take_along_axis(scores.T, rows, 1)
    return SimpleNamespace(rows=rows, scores=scores, heats=heats, classes=info.classes)


def _chosen(emotion, count: int, classes: Sequence[str]) -> np.ndarray | None:
    """Positions in the classes (count,), or None where each crop's top answer is meant."""
    if emotion is None:
        return None
    wanted = [emotion] * count if isinstance(emotion, str) else list(emotion)
    for name in (emotion,) if isinstance(emotion, str) else wanted:
        check_choice("emotion", name, classes)
    if len(wanted) != count:
        raise FerlibError(f"{len(wanted)} emotions for {count} crops: expected one for each")
    return np.array([classes.index(name) for name in wanted], int)


def _enlarged(cells: np.ndarray, size: int) -> np.ndarray:
    """Maps (N, h, w) -> float32 (N, size, size), what speaks against cut off, the maximum 1."""
    wide = [
        Image.fromarray(row).resize((size, size), Image.Resampling.BICUBIC) for row in cells.clip(0)
    ]
    heats = np.stack([np.asarray(picture) for picture in wide]).clip(0)
    return heats / np.maximum(heats.max(axis=(1, 2), keepdims=True), 1e-12)


def _squares(size: int, side: int | None, stride: int | None) -> np.ndarray:
    """bool (K, size, size), each true in one square.

    Those at the border hang over it, so that a pixel there is not judged by one square alone,
    most of which lies further in: chins would look hot because mouths are.
    """
    side = size // 4 if side is None else side
    stride = max(1, side // 2) if stride is None else stride
    if not 1 <= side <= size or not 1 <= stride <= side:
        raise FerlibError(
            f"squares of {side} pixels every {stride}: expected a side of 1 to {size}, and a "
            "stride of at least 1 that leaves no gaps between them"
        )
    starts = np.arange(stride - side, size, stride)
    pixels = np.arange(size)
    inside = (pixels >= starts[:, None]) & (pixels < starts[:, None] + side)
    return (inside[:, None, :, None] & inside[None, :, None, :]).reshape(-1, size, size)


def _hidden(pictures: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """(N, H, W[, 3]) and (K, H, W) -> (N * K, H, W[, 3]): each picture, each square gray in it."""
    grays = pictures.mean(axis=(1, 2), keepdims=True).round().astype(np.uint8)
    masks = squares.reshape(*squares.shape, *[1] * (pictures.ndim - 3))
    hidden = np.where(masks, grays[:, None], pictures[:, None])
    return hidden.reshape(-1, *pictures.shape[1:])


# ---------------------------------------------------------------- gradients inside a net


def split(net: Any, info: Info, layer: int | None = None) -> tuple[Callable, Callable, Any]:
    """The net as two functions of arrays on the context given third.

    Pictures (N, C, size, size) -> features (N, F, h, w), and features -> logits (N, K).

    The second gives the logits of prediction and, recorded in train mode, their gradients. In
    predict mode MXNet 1.9.1's max pooling has silently wrong ones (oneDNN then keeps no record of
    where the maxima were), so here BatchNorm and Dropout are told to do in train mode as in
    prediction. The net is not touched: its parameters are read, and get no gradients.
    """
    if isinstance(net, Sized):
        raise FerlibError("gradients need the graph as it was trained: load it in float32")
    whole = net(mx.sym.var("data"))
    end = _end(whole, info, layer)
    features, head = cut(whole, end, info.network or "this net")
    ctx = next(iter(net.collect_params().values())).list_ctx()[0]
    return function(features, net, ctx), function(_as_in_prediction(head), net, ctx), ctx


def _as_in_prediction(graph: Any) -> Any:
    """The same graph, whose BatchNorm and Dropout do in train mode what they do in prediction."""
    known = json.loads(graph.tojson())
    for node in known["nodes"]:
        if node["op"] == "BatchNorm":
            node.setdefault("attrs", {})["use_global_stats"] = "True"
        elif node["op"] == "Dropout":
            node.setdefault("attrs", {})["p"] = "0"
    return mx.sym.load_json(json.dumps(known))


def _end(whole: Any, info: Info, layer: int | None) -> int:
    """The node that gives the features, of those at the ends of the net's stages."""
    nodes = json.loads(whole.tojson())["nodes"]
    ends = _stages(nodes, info)
    if layer is None:
        fine = [end for end in ends if _side(whole, nodes[end], info) * CELL >= info.input_size]
        return (fine or ends)[-1]
    if not -len(ends) <= layer < len(ends):
        raise FerlibError(f"layer {layer}: this net has {len(ends)}, from {-len(ends)} to -1")
    return ends[layer]


def _stages(nodes: list[dict], info: Info) -> list[int]:
    """The nodes that the network declares as its features: in its JSON, or as it is registered."""
    declared = info.features
    if not declared and info.network in names():
        declared = find(info.network).features
    if not declared:
        raise FerlibError(
            f"{info.network or 'this net'} declares no features: no map to show.\n"
            "Name its layers with register(..., features=(...))"
        )
    return [_named(nodes, feature, info.network) for feature in declared]


def _named(nodes: list[dict], feature: str, network: str) -> int:
    """The last node whose name ends in a layer's, with or without Gluon's "_fwd"."""
    ends = tuple(f"_{feature}{tail}" for tail in ("", "_fwd"))
    found = [k for k, node in enumerate(nodes) if f"_{node['name']}".endswith(ends)]
    if not found:
        known = ", ".join(node["name"] for node in nodes if node["op"] != "null")[-200:]
        raise FerlibError(f"{network} has no layer {feature}: its layers are ... {known}")
    return found[-1]


def _side(whole, node: dict, info: Info) -> int:
    """The height of the node's maps."""
    size = (1, info.channels, info.input_size, info.input_size)
    _, shapes, _ = whole.get_internals()[output(node)].infer_shape(data=size)
    return shapes[0][2]


def _slopes(halves, batch: np.ndarray, chosen) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, C, h, w), and the gradients in them of the logits at the chosen (N,)."""
    features, head, ctx = halves
    cells = features(mx.nd.array(batch, ctx=ctx))
    cells.attach_grad()
    with mx.autograd.record():
        wanted = head(cells).pick(mx.nd.array(chosen, ctx=ctx))
    wanted.backward()
    return cells.asnumpy(), cells.grad.asnumpy()
