"""Where in a face a net looks: Grad-CAM, and covering one place after another as its plain check.

Maps of a batch of crops, for `plots.explained` and `plots.surest`:

    net, info = models.load_weights(faces.find_weights())
    plots.explained(crops, explain.grad_cam(net, crops, info))
"""

import json
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import numpy as np
from PIL import Image
from tqdm import tqdm

from ferlib import images, models
from ferlib.errors import FerlibError
from ferlib.labels import EMOTIONS

mx = models.mx
BATCH = 64

# A cell of the default layer is at most this many pixels of the input wide. With VGG13-BN on 64
# validation faces of FER+, eight an emotion, graying the hottest fifth of each picture took the
# answer's mean probability from 0.80 to 0.32 by this layer's map (12 x 12; 0.36 if `pooled`), to
# 0.53 by the last layer's (6 x 6), and to 0.57 where the fifth was simply the middle.
CELL = 4


def grad_cam(
    net,
    crops,
    info: dict,
    emotion: str | Sequence[str] | None = None,
    layer: int | None = None,
    pooled: bool = False,
) -> np.ndarray:
    """What in each crop speaks for an emotion -> float32 (N, H, W), 0 to 1 at the hottest place.

    `net`, `crops` and `info` are as for `models.predict`, H = W the net's input size; `emotion` is
    a name, N names, or None for each crop's top answer. A crop in which nothing speaks for the
    emotion gives zeros.

    The features are those at the end of a block of the net, before its pooling. `layer` counts
    the blocks, -1 is the last; by default it is the last whose cells are at most 4 pixels wide.
    Each cell is weighed by its own gradient of the emotion's logit (HiResCAM: Draelos and Carin
    2020, arXiv 2011.08891), with `pooled` by the gradient's mean over the map as Grad-CAM was
    first published (Selvaraju et al. 2017, arXiv 1610.02391), which suits the last layer only.
    FerlibError names an emotion or a layer that does not exist.
    """
    chosen = _chosen(emotion, len(crops))
    size = info["input_size"]
    halves = split(net, size, layer)
    heats = [np.empty((0, size, size), np.float32)]
    for start in range(0, len(crops), BATCH):
        part = slice(start, start + BATCH)
        batch = images.prepare(crops[part], size, info["normalise"])
        cells, slopes = _slopes(halves, batch, None if chosen is None else chosen[part])
        if pooled:
            slopes = slopes.mean(axis=(2, 3), keepdims=True)
        heats.append(_enlarged((cells * slopes).sum(axis=1), size))
    return np.concatenate(heats)


def occlusion(
    net,
    crops,
    info: dict,
    emotion: str | Sequence[str] | None = None,
    side: int | None = None,
    stride: int | None = None,
) -> np.ndarray:
    """How far the emotion's probability falls when a gray square hides a place -> (N, H, W).

    float32, in probability, below 0 where hiding helps: for each pixel the mean over the squares
    that cover it (Zeiler and Fergus 2014). Squares are `side` pixels of the net's input wide (a
    quarter of it), `stride` apart (a third of a square), and as gray as the crop's mean. No
    gradients, but some hundred predictions a crop. `emotion` as in `grad_cam`.
    """
    chosen = _chosen(emotion, len(crops))
    size = info["input_size"]
    squares = _squares(size, side, stride)
    share = squares.reshape(len(squares), -1) / squares.sum(axis=0).ravel()
    pictures = images.resize(crops, size)
    heats = [np.empty((0, size, size), np.float32)]
    step = 8  # some hundred squares each: a few MB at a time
    for start in tqdm(range(0, len(pictures), step), "hiding", disable=None, leave=False):
        some = pictures[start : start + step]
        plain = models.predict(net, some, info)
        names = plain.argmax(axis=1) if chosen is None else chosen[start : start + step]
        hidden = models.predict(net, _hidden(some, squares), info)
        hidden = hidden.reshape(len(some), len(squares), len(EMOTIONS))
        rows = np.arange(len(some))
        fall = plain[rows, names][:, None] - hidden[rows, :, names]
        heats.append((fall @ share).reshape(-1, size, size).astype(np.float32))
    return np.concatenate(heats)


def surest(net, crops, info: dict, count: int = 6) -> SimpleNamespace:
    """For each emotion the crops with its highest probability, and what in them speaks for it.

    rows: int (8, count) into `crops`, the surest first; scores: float32 (8, count), the emotion's
    probabilities; heats: float32 (8, count, H, W) by `grad_cam`. For `plots.surest`.
    """
    scores = models.predict(net, crops, info)
    rows = np.argsort(-scores, axis=0, kind="stable")[:count].T
    names = [name for name, row in zip(EMOTIONS, rows, strict=True) for _ in row]
    heats = grad_cam(net, [crops[row] for row in rows.ravel()], info, names)
    heats = heats.reshape(*rows.shape, *heats.shape[1:])
    return SimpleNamespace(rows=rows, scores=np.take_along_axis(scores.T, rows, 1), heats=heats)


def _chosen(emotion, count: int) -> np.ndarray | None:
    """Positions in EMOTIONS (count,), or None where each crop's top answer is meant."""
    if emotion is None:
        return None
    names = [emotion] * count if isinstance(emotion, str) else list(emotion)
    for name in (emotion,) if isinstance(emotion, str) else names:
        if name not in EMOTIONS:
            raise FerlibError(f"unknown emotion {name!r}: expected one of {', '.join(EMOTIONS)}")
    if len(names) != count:
        raise FerlibError(f"{len(names)} emotions for {count} crops: expected one for each")
    return np.array([EMOTIONS.index(name) for name in names], int)


def _enlarged(cells: np.ndarray, size: int) -> np.ndarray:
    """Maps (N, h, w) -> float32 (N, size, size), what speaks against cut off, the maximum 1."""
    wide = [Image.fromarray(row).resize((size, size), Image.BICUBIC) for row in cells.clip(0)]
    heats = np.stack([np.asarray(picture) for picture in wide]).clip(0)
    return heats / np.maximum(heats.max(axis=(1, 2), keepdims=True), 1e-12)


def _squares(size: int, side: int | None, stride: int | None) -> np.ndarray:
    """bool (K, size, size), each true in one square; the last row and column end at the border."""
    side = size // 4 if side is None else side
    stride = max(1, side // 3) if stride is None else stride
    if not 1 <= side <= size or not 1 <= stride <= side:
        raise FerlibError(
            f"squares of {side} pixels every {stride}: expected a side of 1 to {size}, and a "
            "stride of at least 1 that leaves no gaps between them"
        )
    starts = np.unique(np.append(np.arange(0, size - side, stride), size - side))
    pixels = np.arange(size)
    inside = (pixels >= starts[:, None]) & (pixels < starts[:, None] + side)
    return (inside[:, None, :, None] & inside[None, :, None, :]).reshape(-1, size, size)


def _hidden(pictures: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """(N, H, W) and (K, H, W) -> (N * K, H, W): each picture with each square gray in it."""
    grays = pictures.mean(axis=(1, 2)).round().astype(np.uint8)
    hidden = np.where(squares, grays[:, None, None, None], pictures[:, None])
    return hidden.reshape(-1, *pictures.shape[1:])


# ---------------------------------------------------------------- gradients inside a net


def split(net, size: int, layer: int | None = None) -> tuple[Callable, Callable, object]:
    """The net as two functions of arrays on the context given third.

    Pictures (N, 1, size, size) -> features (N, C, h, w), and features -> logits (N, 8).

    The second gives the logits of prediction and, recorded in train mode, their gradients. In
    predict mode MXNet 1.9.1's max pooling has silently wrong ones (oneDNN then keeps no record of
    where the maxima were), so here BatchNorm and Dropout are told to do in train mode as in
    prediction. The net is not touched: its parameters are read, and get no gradients.
    """
    whole = net(mx.sym.var("data"))
    graph = json.loads(whole.tojson())
    cut = _cut(whole, graph["nodes"], size, layer)
    features = whole.get_internals()[_output(graph["nodes"][cut])]
    graph["nodes"][cut] = {"op": "null", "name": "features", "inputs": []}
    for node in graph["nodes"]:
        if node["op"] == "BatchNorm":
            node.setdefault("attrs", {})["use_global_stats"] = "True"
        elif node["op"] == "Dropout":
            node.setdefault("attrs", {})["p"] = "0"
    head = mx.sym.load_json(json.dumps(graph))
    ctx = next(iter(net.collect_params().values())).list_ctx()[0]
    return _function(features, net, ctx), _function(head, net, ctx), ctx


def _cut(whole, nodes: list[dict], size: int, layer: int | None) -> int:
    """The node that gives the features: at a block's end, before what makes its map smaller."""
    ends, convolved = [], False
    for node in nodes:
        convolved |= node["op"] == "Convolution"
        if convolved and node["op"] in ("Pooling", "Flatten"):
            ends.append(node["inputs"][0][0])
            convolved = False
    if not ends:
        raise FerlibError("this net has no convolutions before a pooling: no map to show")
    if layer is None:
        fine = [end for end in ends if _side(whole, nodes[end], size) * CELL >= size]
        return (fine or ends)[-1]
    if not -len(ends) <= layer < len(ends):
        raise FerlibError(f"layer {layer}: this net has {len(ends)}, from {-len(ends)} to -1")
    return ends[layer]


def _output(node: dict) -> str:
    return node["name"] + ("" if node["op"] == "null" else "_output")


def _side(whole, node: dict, size: int) -> int:
    """The height of the node's maps, for a picture of `size`."""
    _, shapes, _ = whole.get_internals()[_output(node)].infer_shape(data=(1, 1, size, size))
    return shapes[0][2]


def _function(symbol, net, ctx) -> Callable:
    """The graph with the net's parameters, as a function of its one other input."""
    run, parameters, names = mx.nd.CachedOp(symbol), net.collect_params(), symbol.list_inputs()
    # Detached, without copying: a backward pass must not write into the net's own gradients.
    values = [parameters[x].data(ctx).detach() if x in parameters else None for x in names]
    return lambda batch: run(*(batch if value is None else value for value in values))


def _slopes(halves, batch: np.ndarray, chosen) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, C, h, w), and the gradients of the chosen logits in them."""
    features, head, ctx = halves
    cells = features(mx.nd.array(batch, ctx=ctx))
    cells.attach_grad()
    with mx.autograd.record():
        logits = head(cells)
        names = logits.argmax(axis=1) if chosen is None else mx.nd.array(chosen, ctx=ctx)
        wanted = logits.pick(names)
    wanted.backward()
    return cells.asnumpy(), cells.grad.asnumpy()
