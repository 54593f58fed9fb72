"""Loss, loop and checkpoints."""

import csv
import fcntl
import hashlib
import json
import os
import shutil
import time
import warnings
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ferlib import fer2013, images, int8, labels, models, runtime
from ferlib.errors import FerlibError
from ferlib.evaluate import fit_bias, fit_temperature, measure
from ferlib.images import Augmentation

mx = runtime.import_mxnet()
from mxnet import autograd, gluon  # noqa: E402  (after import_mxnet has prepared it)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides which weights come out, besides the data and the machine."""

    net: str = "vgg13lean"
    scheme: str = "cross-entropy"
    epochs: int = 32
    batch_size: int = 128
    lr: float = 0.2  # the peak; warmed up linearly, then a cosine to 0
    warmup: float = 0.1  # of all steps
    momentum: float = 0.9
    weight_decay: float = 5e-4
    normalise: str = ""  # the net's own when empty
    seed: int = 0
    precision: str = "auto"  # bfloat16 where it pays (`runtime.fast_bfloat16`), else float32
    # Pairs: until that share of the epochs, pictures of that share of the net's side: two
    # thirds of it are 4/9 of the work. What that costs in accuracy was not measured. Only for nets
    # that end in global pooling.
    grow: tuple[tuple[float, float], ...] = ((0.5, 2 / 3), (0.75, 5 / 6))
    augmentation: Augmentation = field(default_factory=Augmentation)
    start: str = ""  # prefix of weights of the same net to go on from, instead of chance
    teacher: tuple[str, ...] = ()  # prefixes of nets whose mean answers are learnt too
    teacher_share: float = 0.5  # of the targets; the rest are the votes
    # At full size the teacher answers for each picture as the epoch has moved, worn and erased it
    # (Beyer et al. 2022, "A good teacher is patient and consistent"), instead of once and for all.
    # Of several teachers each batch asks the next, in the precision that is fastest here; fixed
    # answers are the mean of all, upright and mirrored, in float32.
    teacher_views: bool = False

    def __post_init__(self):
        if self.teacher and self.scheme == "multi-target":
            raise FerlibError(
                "the scheme multi-target accepts some emotions whole, a teacher gives each a "
                "share: choose another scheme, or no teacher"
            )
        if self.teacher_views and not self.teacher:
            raise FerlibError("teacher views without a teacher: name one as well (--teacher)")

    @property
    def normalisation(self) -> str:
        return self.normalise or models.spec(self.net).normalise

    def size(self, epoch: int) -> int:
        """The side of the pictures that an epoch (from 1 on) trains on, in pixels."""
        spec = models.spec(self.net)
        early = (part for share, part in self.grow if epoch <= share * self.epochs)
        part = 1 if spec.dense else next(early, 1)
        return 8 * round(part * spec.size / 8)  # whole after three poolings

    def served(self) -> dict:
        """What must travel with the weights, so that serving cannot differ from training."""
        size = models.spec(self.net).size
        return {"input_size": size, "normalise": self.normalisation, "temperature": 1.0}


# ---------------------------------------------------------------- loss


class VoteLoss(gluon.HybridBlock):
    """Logits (N, 8), targets (N, 8) -> loss (N,), after sections 3.1 to 3.4 of the paper.

    Cross-entropy to the targets; for "multi-target" the smallest loss among accepted emotions.
    """

    def __init__(self, scheme: str = "cross-entropy", **kwargs):
        super().__init__(**kwargs)
        self.scheme = scheme

    def hybrid_forward(self, F, logits, targets):
        log_scores = F.log_softmax(logits, axis=-1)
        if self.scheme == "multi-target":
            return -F.max(log_scores - (1 - targets) * 1e9, axis=-1)
        return -F.sum(targets * log_scores, axis=-1)


# ---------------------------------------------------------------- precision


def in_bfloat16(net) -> gluon.SymbolBlock:
    """The same parameters (float32) behind a graph that convolves in bfloat16.

    MXNet's `amp.init` would change every net of the process, and what they export; converting
    one graph leaves `net` as it was.
    """
    from mxnet.contrib import amp

    data = mx.sym.var("data")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "cannot decide type": it is decided at the first batch
        graph = amp.convert_symbol(
            _widened(net, data), target_dtype="bfloat16", cast_optional_params=False
        )
        return gluon.SymbolBlock(graph, data, params=net.collect_params())


def _widened(net, data, channels: int = 16):
    """The graph of `net` with its first convolution fed 16 channels, all but one times zero.

    For a single channel oneDNN 2.4 has no bfloat16 kernel of its own blocked layout; what follows
    then runs in plain layout, BatchNorm at a tenth of its speed. 16 channels fill a block.
    """
    first = net[0]
    convolve = dict(first._kwargs)
    blanks = mx.sym.zeros((convolve["num_filter"], channels - 1, *convolve["kernel"]))
    wide = [mx.sym.concat(first.weight.var(), blanks, dim=1)]
    wide += [] if first.bias is None else [first.bias.var()]
    pictures = mx.sym.broadcast_axis(data, axis=1, size=channels)
    return net[1:](mx.sym.Convolution(pictures, *wide, name=first.name + "_fwd", **convolve))


def _for_training(net, recipe: Recipe, ctx: list):
    precision = recipe.precision
    if precision == "auto":
        on_cpu = ctx[0].device_type == "cpu"
        precision = "bfloat16" if on_cpu and runtime.fast_bfloat16() else "float32"
    fast = in_bfloat16(net) if precision == "bfloat16" else net
    fast.hybridize(static_alloc=True, static_shape=True)
    return fast, precision


# ---------------------------------------------------------------- the loop


def fit(train, valid, recipe: Recipe, folder=None, ctx=None, progress: bool = True):
    """Train by `recipe`; -> (net, log), the log a list of one dict an epoch.

    `train` and `valid` are (pictures uint8 (N, 48, 48), votes (N, 10)). Rows that the scheme
    cannot learn from are left out of `train`; `valid` is judged by the majority rule.
    With a `folder`, every epoch is kept there as one rename, and the same call after a kill
    goes on from it and ends with the same weights; `log.csv` there can be plotted. FerlibError
    when the folder holds a run with another recipe, precision or data, or is in use.
    """
    pictures, votes = _rows(train, recipe)
    run = Run(recipe, ctx or runtime.contexts(), _fingerprint(pictures, votes, *valid))
    run.steps = len(pictures) // recipe.batch_size
    with _locked(folder):
        if folder is not None and _resume(run, Path(folder)) and progress:
            print(f"going on after epoch {len(run.log)} of {recipe.epochs}, kept in {folder}")
        run.taught = _answers(run, pictures, progress)
        for epoch in range(len(run.log) + 1, recipe.epochs + 1):
            run.log.append(_trained(run, epoch, pictures, votes, valid, progress))
            if folder is not None:
                _keep(run, Path(folder))
            if progress:
                print(_line(run.log[-1], recipe.epochs), flush=True)
    return run.net, run.log


class Run:
    """Net, trainer and log of one training run."""

    def __init__(self, recipe: Recipe, ctx: list, data: str = ""):
        self.recipe, self.ctx, self.log, self.steps = recipe, ctx, [], 0
        self.taught = None  # the teacher's answers, float32 (N, 8)
        self.teachers = _teachers(recipe, ctx[0]) if recipe.teacher_views else []
        self.net = models.create(recipe.net, ctx=ctx, seed=recipe.seed)
        if recipe.start:
            models.take_over(self.net, recipe.start)
        self.fast, precision = _for_training(self.net, recipe, ctx)
        # What must be the same for a run to go on.
        self.identity = asdict(recipe) | {"precision": precision, "data": data}
        self.identity["taught_by"] = _taught_by(recipe, ctx[0])
        self.loss = VoteLoss(recipe.scheme)
        self.loss.hybridize()
        how = {"learning_rate": recipe.lr, "momentum": recipe.momentum, "wd": recipe.weight_decay}
        self.trainer = gluon.Trainer(self.net.collect_params(), "nag", how)

    def rate(self, step: int) -> float:
        """The learning rate of a step: up in a line, down in a cosine."""
        total = self.recipe.epochs * self.steps
        warmup = int(self.recipe.warmup * total)
        schedule = mx.lr_scheduler.CosineScheduler(total, self.recipe.lr, 0.0, warmup)
        return round(float(schedule(step)), 6)


def _rows(split, recipe: Recipe):
    pictures, votes = split
    rows = labels.trainable(votes, recipe.scheme)
    if rows.sum() < recipe.batch_size:
        raise FerlibError(
            f"{rows.sum()} pictures to train on are fewer than one batch of {recipe.batch_size}: "
            f"use more data or a smaller batch size"
        )
    return pictures[rows], votes[rows]


def _answers(run, pictures: np.ndarray, progress: bool) -> np.ndarray | None:
    """The teacher's mean probabilities, upright and mirrored, float32 (N, 8).

    For the pictures as they are, not as each epoch moves them: see `Recipe.teacher_views`. No
    temperature softens them (Hinton et al. 2015, section 2): votes are soft, and so are nets
    that learnt from them. They take minutes, so they are kept in the user's cache folder for the
    next run with the same teacher and pictures.
    """
    teacher = run.recipe.teacher
    left = range(len(run.log) + 1, run.recipe.epochs + 1)
    if not teacher or (run.teachers and all(_full_size(run.recipe, epoch) for epoch in left)):
        return None
    nets = [models.load_weights(prefix, run.ctx[0]) for prefix in teacher]
    files = _bytes(file for each in teacher for file in models.stored_files(each)[:2])
    kept = fer2013.cache_folder() / f"teacher-{_fingerprint(pictures, *files)}.npy"
    with suppress(OSError, ValueError):  # not kept yet, or damaged
        return np.load(kept)
    total = np.zeros((len(pictures), len(labels.EMOTIONS)), np.float32)
    for net, info in tqdm(nets, "teacher", unit="net", disable=None if progress else True):
        total += models.predict(net, pictures, info | models.RAW, flip=True)
    _keep_answers(total / len(nets), kept)
    return total / len(nets)


def _full_size(recipe: Recipe, epoch: int) -> bool:
    return recipe.size(epoch) == models.spec(recipe.net).size


def _taught_by(recipe: Recipe, ctx) -> str:
    """A fingerprint of all that a teacher's answers come from, "" without one."""
    files = []
    for prefix in recipe.teacher:
        files += models.stored_files(prefix)[:2]  # not the JSON: bias and temperature are left out
        if recipe.teacher_views and models.fastest(prefix, ctx) == "int8":
            files.append(int8.file(prefix))
    return _fingerprint(*_bytes(files)) if files else ""


def _bytes(files) -> list[np.ndarray]:
    return [np.fromfile(file, np.uint8) for file in files]


def _teachers(recipe: Recipe, ctx) -> list:
    """The nets that answer for each view, which they must be able to take as the student does."""
    nets = []
    for prefix in recipe.teacher:
        net, info = models.load_weights(prefix, ctx, precision="auto")
        size, normalise, _ = recipe.served().values()
        if (info["input_size"], info["normalise"]) != (size, normalise):
            raise FerlibError(
                f"{prefix} takes pictures of {info['input_size']} pixels ({info['normalise']}), "
                f"its student {size} ({normalise}): leave out --teacher-views"
            )
        nets.append(net)
    return nets


def _keep_answers(answers: np.ndarray, path: Path) -> None:
    partial = path.with_suffix(f".{os.getpid()}.npy")
    with suppress(OSError):  # without a cache they are made again next time
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(partial, answers)
        os.replace(partial, path)


def _fingerprint(*arrays: np.ndarray) -> str:
    """Of the pictures and votes, so that a run never goes on with other data."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()[:16]


def _trained(run: Run, epoch: int, pictures, votes, valid, progress: bool) -> dict:
    """Train for one epoch -> its row of the log."""
    started = time.perf_counter()
    loss = _epoch(run, epoch, pictures, votes, progress)
    rate = run.steps * run.recipe.batch_size / (time.perf_counter() - started)
    row = {"epoch": epoch, "lr": run.rate(epoch * run.steps), "images_per_s": round(rate, 1)}
    return row | {"train_loss": round(loss, 5)} | _validation(run, valid)


def _epoch(run: Run, epoch: int, pictures, votes, progress: bool) -> float:
    """One pass in a new order with new augmentation -> the mean loss of its pictures."""
    recipe, size = run.recipe, run.recipe.size(epoch)
    # All chance comes from (seed, epoch): an epoch is the same after a restart.
    rng = np.random.default_rng([recipe.seed, epoch])
    mx.random.seed(int(rng.integers(2**31)))
    targets = labels.targets(votes, recipe.scheme, rng)
    teachers = run.teachers if _full_size(recipe, epoch) else []
    if run.taught is not None and not teachers:
        targets += recipe.teacher_share * (run.taught - targets)
    order = rng.permutation(len(pictures))[: run.steps * recipe.batch_size]
    total = mx.nd.zeros(1)
    bar = tqdm(
        order.reshape(run.steps, -1),
        desc=f"epoch {epoch}/{recipe.epochs}",
        unit="img",
        unit_scale=recipe.batch_size,
        disable=None if progress else True,
        leave=False,
    )
    for at, rows in enumerate(bar):
        run.trainer.set_learning_rate(run.rate((epoch - 1) * run.steps + at))
        batch = images.augment(pictures[rows], size, rng, recipe.augmentation)
        batch, wanted = images.normalised(batch, recipe.normalisation), targets[rows]
        if teachers:  # in turns: on average that is their mean answer, in a part of the time
            logits = teachers[at % len(teachers)](mx.nd.array(batch, ctx=run.ctx[0]))
            wanted += recipe.teacher_share * (models.softmax(logits.asnumpy()) - wanted)
        total += step(run, batch, wanted)
        # Waiting keeps the picture work and the net's threads from fighting for the cores.
        total.wait_to_read()
    mx.nd.waitall()
    return float(total.asscalar()) / len(order)


def step(run: Run, batch: np.ndarray, targets: np.ndarray):
    """Forward, backward and update on every device -> the summed loss."""
    xs = gluon.utils.split_and_load(batch, run.ctx)
    ys = gluon.utils.split_and_load(targets, run.ctx)
    with autograd.record():
        losses = [run.loss(run.fast(x), y) for x, y in zip(xs, ys, strict=True)]
    autograd.backward(losses)
    run.trainer.step(len(batch))
    return sum(loss.sum().as_in_context(mx.cpu()) for loss in losses)


def _validation(run: Run, valid) -> dict:
    # Inference leaves convolution weights in oneDNN's own layout, and the next Nesterov update
    # (MXNet 1.9.1) then decays the wrong elements. So a copy is judged, not the net in training.
    judged = models.create(run.recipe.net, ctx=run.ctx[:1])
    pairs = zip(judged.collect_params().values(), run.net.collect_params().values(), strict=True)
    for copy, original in pairs:
        copy.set_data(original.data(run.ctx[0]))
    result = measure(models.predict(judged, valid[0], run.recipe.served()), valid[1])
    return {"valid_loss": result["loss"], "valid_accuracy": result["accuracy"]}


def _line(row: dict, epochs: int) -> str:
    return (
        f"epoch {row['epoch']:3}/{epochs}  {row['images_per_s']:7.1f} images/s  lr {row['lr']:.4f}"
        f"  train loss {row['train_loss']:.4f}  valid loss {row['valid_loss']:.4f}"
        f"  valid accuracy {row['valid_accuracy']:.4f}"
    )


# ---------------------------------------------------------------- checkpoints


def _keep(run: Run, folder: Path) -> None:
    """Write a whole checkpoint beside the last one, rename it, then drop the last one."""
    final, partial = folder / f"epoch-{len(run.log):04d}", folder / "partial"
    try:
        _write_checkpoint(run, partial)
        os.replace(partial, final)
    except mx.MXNetError:
        raise FerlibError(f"cannot write {folder}: is the disk full?") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    for old in folder.glob("epoch-*"):
        if old != final:
            shutil.rmtree(old, ignore_errors=True)
    _write_log(run.log, folder / "log.csv")


def _write_checkpoint(run: Run, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)  # what a kill left
    folder.mkdir(parents=True)
    mx.nd.waitall()  # BatchNorm's running statistics are written late
    run.net.save_parameters(str(folder / "net.params"))
    run.trainer.save_states(str(folder / "trainer.states"))
    state = {"identity": run.identity, "log": run.log}
    (folder / "state.json").write_text(json.dumps(state))


def _resume(run: Run, folder: Path) -> bool:
    """Take up the newest checkpoint in `folder`, if there is one, and only of the same run."""
    kept = sorted(folder.glob("epoch-*/state.json"))
    if not kept:
        return False
    state = json.loads(kept[-1].read_text())
    mine, default = (json.loads(json.dumps(x)) for x in (run.identity, asdict(Recipe())))
    # What is younger than that run had its default in it.
    theirs = default | {"taught_by": mine["taught_by"]} | state["identity"]
    differs = [key for key in mine if mine[key] != theirs.get(key)]
    if differs:
        said = ", ".join(
            "teacher's weights or int8 ranges" if key == "taught_by" else key for key in differs
        )
        raise FerlibError(
            f"{folder} holds a run with another {said}: name another folder, or remove this one"
        )
    run.net.load_parameters(str(kept[-1].parent / "net.params"), ctx=run.ctx)
    run.trainer.load_states(str(kept[-1].parent / "trainer.states"))
    run.log = state["log"]
    _write_log(run.log, folder / "log.csv")
    return True


@contextmanager
def _locked(folder):
    """Keep a second training out of `folder`; the lock goes with the process, however it ends."""
    if folder is None:
        yield
        return
    Path(folder).mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise FerlibError(f"another training is running in {folder}: wait for it") from None
    finally:
        os.close(handle)


def _write_log(log: list[dict], path: Path) -> None:
    partial = path.with_suffix(".tmp")
    with open(partial, "w", newline="") as file:
        writer = csv.DictWriter(file, log[0].keys())
        writer.writeheader()
        writer.writerows(log)
    os.replace(partial, path)


def describe_net(net, recipe: Recipe, log: list[dict], valid, protocol: str) -> dict:
    """The JSON that goes with trained weights: how to serve them, and how good they are.

    `valid` is (pictures, votes (N, 10)) of the validation split, the votes by `protocol`.
    """
    info = calibrated(net, recipe.served(), *valid)
    figures = measure(models.predict(net, valid[0], info), valid[1])
    raw = measure(models.predict(net, valid[0], info | models.RAW), valid[1])
    keys = ("accuracy", "balanced_accuracy", "loss", "kl", "ece")
    figures["raw"] = {key: raw[key] for key in keys}
    conditions = {"split": "valid", "protocol": protocol, "seeds": [recipe.seed]}
    return info | {"network": recipe.net, "valid": conditions | figures, "epochs": len(log)}


def calibrated(net, info: dict, pictures: np.ndarray, votes: np.ndarray) -> dict:
    """`info` with what is fitted to the majorities of the validation split.

    bias, for rare emotions; temperature, so that confidence means accuracy; and shares, how often
    the net expects each emotion. No answer depends on the temperature, but the distance to all
    voters (kl) grows with it.
    """
    truth = labels.majority(votes)
    seen, truth = pictures[truth >= 0], truth[truth >= 0]
    seen, truth = np.concatenate([seen, seen[:, :, ::-1]]), np.tile(truth, 2)  # less chance in it
    logits = np.log(np.maximum(models.predict(net, seen, info | models.RAW), 1e-12))
    bias = fit_bias(logits, truth, labels.rarity(votes)).astype(float).round(4)
    temperature = fit_temperature(logits + bias, np.eye(len(labels.EMOTIONS))[truth])
    fitted = info | {"bias": bias.tolist(), "temperature": temperature}
    shares = models.predict(net, seen, fitted).mean(axis=0, dtype=float).round(5)
    return fitted | {"shares": shares.tolist()}
