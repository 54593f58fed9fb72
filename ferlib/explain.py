"""Where in a face a net looks: Grad-CAM, and covering one place after another as its plain check.

Maps of a batch of crops, for `plots.explained` and `plots.surest`:

    net, info = models.load_weights(faces.find_weights())
    plots.explained(crops, explain.grad_cam(net, crops, info))

`ferlib explain` draws them for the faces of photographs.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from math import isqrt
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from PIL import Image
from tqdm import tqdm

from ferlib import faces, images, models, predict
from ferlib.errors import FerlibError
from ferlib.labels import EMOTIONS

mx = models.mx
BATCH = 64
FAINT = 0.01  # a map that stays below this is drawn empty: hiding anything changes next to nothing

# A cell of the default layer is at most this many pixels of the input wide. With vgg13lean on 125
# validation faces of FER+, at most 16 an emotion, graying the hottest fifth of each picture took
# the answer's mean probability from 0.81 to 0.37 by this layer's map (12 x 12; 0.40 if `pooled`),
# to 0.50 by the last layer's (6 x 6), and to 0.48 where the fifth was simply the middle (standard
# error 0.03; chance 0.67). Finer maps took it lower (24 x 24: 0.28) by a scatter of dots, and
# agree less with hiding whole places: rank correlation with `occlusion` 0.16, this layer's 0.22.
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
    if chosen is None:  # the answer of prediction, which may differ from the largest logit
        chosen = models.predict(net, crops, info).argmax(axis=1)
    size = info["input_size"]
    halves = split(net, size, layer)
    heats = [np.empty((0, size, size), np.float32)]
    for start in range(0, len(crops), BATCH):
        part = slice(start, start + BATCH)
        batch = images.prepare(crops[part], size, info["normalise"])
        cells, slopes = _slopes(halves, batch, chosen[part])
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
    quarter of it), `stride` apart (half a square), and as gray as the crop's mean. No gradients,
    but 81 predictions a crop. `emotion` as in `grad_cam`.
    """
    chosen = _chosen(emotion, len(crops))
    size = info["input_size"]
    squares = _squares(size, side, stride)
    share = squares.reshape(len(squares), -1) / squares.sum(axis=0).ravel()
    pictures = images.resize(crops, size)
    heats = [np.empty((0, size, size), np.float32)]
    step = 8  # 81 squares each: a few MB at a time
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
    """Features (N, C, h, w), and the gradients in them of the logits at the chosen (N,)."""
    features, head, ctx = halves
    cells = features(mx.nd.array(batch, ctx=ctx))
    cells.attach_grad()
    with mx.autograd.record():
        wanted = head(cells).pick(mx.nd.array(chosen, ctx=ctx))
    wanted.backward()
    return cells.asnumpy(), cells.grad.asnumpy()


# ---------------------------------------------------------------- faces in photographs


def run(args) -> None:
    """Do all that `ferlib explain` was asked for. Raises FerlibError at the end if any failed."""
    job = Job(args, faces.Recognizer(weights=args.weights, precision="float32"))
    with predict.ends_like_ctrl_c():
        try:
            names = job.expand(args.photos, predict.PICTURES)
            for name in tqdm(names, unit="file", disable=None if len(names) > 1 else True):
                job.read(name)
        finally:
            job.finish()
    job.tell_failed()


class Job(predict.Job):
    """One call of `ferlib explain`: reads, names and fails as `ferlib predict` does."""

    def __init__(self, args, fer: faces.Recognizer):
        super().__init__(args, fer)
        del self.answer["videos"]

    def _picture(self, name: str) -> None:
        picture = images.read_picture(name)
        found, crops = self._faces(picture)
        entry = {"photo": name, "faces": [asdict(face) for face in found]}
        self.answer["photos"].append(entry)
        line = predict.faces_line(name, found)
        if found:
            entry["drawn"] = self._overlay(name, found, crops)
            line += f" -> {entry['drawn']}"
        self._say(line)

    def _video(self, name: str, source) -> None:
        raise FerlibError(f"{name} is a video: `ferlib explain` takes pictures", "not_a_picture")

    def _faces(self, picture: np.ndarray) -> tuple[list[faces.Face], list[np.ndarray]]:
        """The faces, the largest first, and the crops that the net sees of them."""
        size = picture.shape[1::-1]
        boxes, sure = np.array([[0, 0, *size]]), np.ones(1)
        if not self.args.crop:
            boxes, sure = self.fer.find(picture)
        crops = [picture if self.args.crop else faces.crop(picture, box) for box in boxes]
        rows = zip(boxes, sure, self.fer.classify(crops), strict=True)
        return [faces.face(*row, size) for row in rows], crops

    def _overlay(self, name: str, found: list[faces.Face], crops: list[np.ndarray]) -> str:
        """Write each face beside itself under its heat, titled by the emotion; gives the path."""
        from ferlib import plots

        wanted = [self.args.emotion or face.emotion for face in found]
        method = occlusion if self.args.occlusion else grad_cam
        heats = sum(method(net, crops, info, wanted) for net, info in self.fer.nets)
        heats[heats.max(axis=(1, 2)) < FAINT] = 0
        pairs = zip(found, wanted, strict=True)
        titles = [f"{emotion} {face.scores[emotion]:.0%}" for face, emotion in pairs]
        figure = plots.explained(crops, heats, titles, columns=max(4, isqrt(len(crops))))
        path = Path(f"{predict.free_stem(Path(self.args.out), name)}.png")
        with predict.whole_file(path) as partial:
            figure.savefig(partial, dpi=200, bbox_inches="tight", pad_inches=0.1)
        return str(path)
