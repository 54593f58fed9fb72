"""The loop: epochs of steps on batches, validation after each, a log, checkpoints, callbacks."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ferlib import files, runtime
from ferlib.data.dataset import Dataset, check_dataset, fingerprint
from ferlib.errors import FerlibError, check_kind
from ferlib.metrics import measure
from ferlib.nets import imagenet, registry, store
from ferlib.nets.answer import predict
from ferlib.nets.info import Info
from ferlib.training import batches, checkpoints, mixing, teachers
from ferlib.training.averaging import Average
from ferlib.training.callbacks import Callback, Lines, Row
from ferlib.training.centres import Centres
from ferlib.training.graphs import for_training
from ferlib.training.loss import VoteLoss
from ferlib.training.recipe import Recipe

mx = runtime.import_mxnet()
from mxnet import autograd, gluon  # noqa: E402  (after import_mxnet has prepared it)


class Diverged(FerlibError):
    """The weights have grown beyond all bounds."""


def fit(
    learn: Dataset,
    valid: Dataset,
    recipe: Recipe,
    folder: str | Path | None = None,
    ctx: list | None = None,
    callbacks: Sequence[Callback] = (),
    progress: bool = True,
) -> tuple[gluon.nn.HybridSequential, list[Row]]:
    """Train by `recipe`; -> (net, log), the log a list of one dict an epoch.

    Pictures of `learn` that the scheme cannot learn from are left out; `valid` is judged by those
    whose class is agreed on. With a `folder`, every epoch is kept there as one rename, and the same
    call after a kill goes on from it and ends with the same weights; `log.csv` there can be
    plotted. Where the recipe averages the weights, the net has their mean. `ctx` are the devices to
    train on (`runtime.contexts()`); `callbacks`, one or several, are told of each batch and epoch;
    `progress` prints a line an epoch and shows bars.
    FerlibError when the classes differ, the pictures are too few, or the folder holds a run with
    another recipe, precision or data, or is in use; `Diverged` when the rate was far too high.
    """
    told = [*([Lines()] if progress else []), *_several(callbacks)]
    check_kind("recipe", recipe, Recipe, "a Recipe")
    check_dataset(learn, "learn")
    check_dataset(valid, "valid")
    run = Run(recipe, _devices(ctx), _learnable(learn, valid, recipe), valid)
    with checkpoints.locked(folder):
        if folder is not None:
            checkpoints.resume(run, Path(folder))
        for callback in told:
            callback.on_start(run)
        run.taught = teachers.answers(run, run.pictures, progress)
        for epoch in range(len(run.log) + 1, recipe.epochs + 1):
            if run.stopped:
                break
            run.log.append(_trained(run, epoch, told, progress))
            if folder is not None:
                checkpoints.keep(run, Path(folder))
            for callback in told:
                callback.on_epoch(run, run.log[-1])
        for callback in told:
            callback.on_end(run)
    return _copy(run) if run.average else run.net, run.log


def _several(callbacks: Any) -> Sequence[Callback]:
    """The callbacks, also where one comes alone; FerlibError where one is none."""
    several = [callbacks] if isinstance(callbacks, Callback) else callbacks
    check_kind("callbacks", several, (list, tuple), "a list of them")
    for one in several:
        check_kind("callbacks", one, Callback, "each to be a Callback, made already")
    return several


def _devices(ctx: Any) -> list:
    """The contexts to train on; FerlibError where one is none, or not here."""
    several = list(ctx) if isinstance(ctx, list | tuple) else [ctx] if ctx is not None else []
    for one in several:
        runtime.check_context(one)
    return several or runtime.contexts()


class Run:
    """Net, trainer, pictures and log of one training run."""

    def __init__(self, recipe: Recipe, ctx: list, learn: Dataset, valid: Dataset | None = None):
        if recipe.batch_size % len(ctx):
            raise FerlibError(
                f"batches of {recipe.batch_size} cannot be shared evenly among {len(ctx)} devices: "
                "choose a multiple"
            )
        recipe = recipe.placed()
        self.recipe, self.ctx, self.learn, self.valid = recipe, ctx, learn, valid
        self.log: list[Row] = []
        self.commit = files.commit()  # that it began with
        self.stopped = ""  # why, when a callback has asked for it
        self.classes = learn.classes
        self.network = recipe.network(len(learn.classes))
        shape = self.network.size, self.network.channels
        self.pictures = learn.array(*shape)
        self.judged = None if valid is None else valid.array(*shape)
        self.steps = len(learn) // recipe.batch_size  # an epoch
        self.taught: np.ndarray | None = None  # the teachers' answers, float32 (N, K)
        views = recipe.teacher_views
        self.teachers = teachers.load_teachers(recipe, ctx[0], self.classes) if views else []
        self.net = self._begun()
        self.graphs = for_training(self.net, self.network, recipe, ctx)
        self.loss = VoteLoss(recipe.scheme)
        self.loss.hybridize()
        settings = recipe.optimiser_settings()
        self.trainer = gluon.Trainer(self.net.collect_params(), recipe.optimiser, settings)
        self.average = self._average() if recipe.average else None
        self.centres = self._centres() if recipe.centre else None
        # What else a run needs to go on, by name: checkpoints keep it and write it into these.
        self.kept: dict[str, Any] = dict(self.average.values) if self.average else {}
        if self.centres:
            self.kept["centres"] = self.centres.values

    def _begun(self) -> gluon.nn.HybridSequential:
        """The net with the weights that it learns from: chance's, or those of the start."""
        net = registry.create(self.network, ctx=self.ctx, seed=self.recipe.seed)
        if self.recipe.start == imagenet.START:
            imagenet.take_over(net, self.network)
        elif self.recipe.start:
            store.take_over(net, self.recipe.start, self.classes)
        return net

    def _average(self) -> Average:
        """Of all that changes: what is frozen is its own mean, but for the rounding."""
        every = self.net.collect_params().items()
        learnt = {name: one for name, one in every if name not in self.graphs.fixed}
        return Average(learnt, self.recipe.average, self.ctx[0])

    def _centres(self) -> Centres:
        if len(self.ctx) > 1:
            raise FerlibError(
                f"centre is for one device, here are {len(self.ctx)}: "
                "name one in the environment variable CUDA_VISIBLE_DEVICES"
            )
        return Centres(len(self.classes), self.graphs.width, self.recipe.centre, self.ctx[0])

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What must be the same for a run to go on."""
        data = fingerprint(self.learn, self.pictures)
        if self.valid is not None and self.judged is not None:
            data += fingerprint(self.valid, self.judged)
        known = asdict(self.recipe) | {"precision": self.graphs.precision, "data": data}
        known["classes"] = list(self.classes)
        known |= {"begun_from": teachers.begun_from(self.recipe)}
        return known | {"taught_by": teachers.taught_by(self.recipe, self.ctx[0])}

    @property
    def info(self) -> Info:
        """How the net is to be used, before anything is fitted to it."""
        return Info.of(self.network, self.classes, self.recipe.normalisation)

    def lost(self, answer: Any, targets: Any) -> Any:
        """The loss (n,) of what `graphs.learns` answers to a batch."""
        if not self.centres:
            return self.loss(answer, targets)
        logits, features = answer
        return self.loss(logits, targets) + self.centres.loss(features, targets)

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0 over all epochs."""
        return self.recipe.rate(step, self.recipe.epochs * self.steps)

    def stop(self, reason: str) -> None:
        """End the run after this epoch."""
        self.stopped = reason


def _learnable(learn: Dataset, valid: Dataset, recipe: Recipe) -> Dataset:
    """What of `learn` the scheme can learn from; FerlibError when that is no task for a net."""
    if learn.classes != valid.classes:
        ours, theirs = (", ".join(data.classes) for data in (learn, valid))
        raise FerlibError(f"training has the classes {ours}; validation has {theirs}")
    learn = learn.take(learn.trainable(recipe.scheme))
    if len(learn) < recipe.batch_size:
        raise FerlibError(
            f"{len(learn)} pictures to train on are fewer than one batch of {recipe.batch_size}: "
            f"use more data or a smaller batch size"
        )
    if len(np.unique(learn.shares.argmax(axis=1))) < 2:
        raise FerlibError("all pictures to train on show one class: expected two or more")
    if not (valid.truth >= 0).any():
        raise FerlibError(f"{valid.source}: no picture for validation has a class agreed on")
    return learn


def _trained(run: Run, epoch: int, told: Sequence[Callback], progress: bool) -> Row:
    """Train for one epoch -> its row of the log."""
    started = time.perf_counter()
    loss = _epoch(run, epoch, told, progress)
    rate = run.steps * run.recipe.batch_size / (time.perf_counter() - started)
    row = {"epoch": epoch, "lr": run.rate(epoch * run.steps), "images_per_s": round(rate, 1)}
    return row | {"train_loss": round(loss, 5)} | _validation(run)


def _epoch(run: Run, epoch: int, told: Sequence[Callback], progress: bool) -> float:
    """One pass in a new order with new augmentation -> the mean loss of its pictures."""
    order, targets = _drawn(run, epoch)

    def made(number: int) -> tuple[np.ndarray, np.ndarray]:
        rows = order[number]
        batch = batches.batch(run.pictures, rows, run.recipe, epoch, number)
        return mixing.mixup(batch, targets[rows], run.recipe, epoch, number)

    total = mx.nd.zeros(1)
    ready = batches.in_order(made, run.steps, batches.workers_for(run.ctx))
    views = run.teachers and teachers.full_size(run.recipe, epoch)
    for number, (batch, wanted) in enumerate(_bar(run, ready, epoch, progress)):
        at = (epoch - 1) * run.steps + number
        run.trainer.set_learning_rate(run.rate(at))
        if views:
            wanted = teachers.mixed(run, wanted, batch, number)
        loss = step(run, batch, wanted)
        total += loss
        # Waiting keeps the picture work and the net's threads from fighting for the cores.
        total.wait_to_read()
        if run.average:
            run.average.add(at)
        for callback in told:
            callback.on_batch(run, epoch, number, loss)
    mx.nd.waitall()
    return float(total.asscalar()) / order.size


def _drawn(run: Run, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows of each step (steps, batch_size), and all targets (N, K).

    All chance comes from (seed, epoch): an epoch is the same after a restart.
    """
    recipe = run.recipe
    rng = np.random.default_rng([recipe.seed, epoch])
    mx.random.seed(int(rng.integers(2**31)))
    targets = run.learn.targets(recipe.scheme, rng)
    if recipe.smoothing:
        targets = mixing.smoothed(targets, recipe.smoothing)
    if run.taught is not None and not (run.teachers and teachers.full_size(recipe, epoch)):
        targets = targets + recipe.teacher_share * (run.taught - targets)
    order = rng.permutation(len(run.learn))[: run.steps * recipe.batch_size]
    return order.reshape(run.steps, -1), targets


def _bar(run: Run, ready, epoch: int, progress: bool) -> tqdm:
    return tqdm(
        ready,
        desc=f"epoch {epoch}/{run.recipe.epochs}",
        total=run.steps,
        unit="img",
        unit_scale=run.recipe.batch_size,
        disable=None if progress else True,
        leave=False,
    )


def step(run: Run, batch: np.ndarray, targets: np.ndarray):
    """Forward, backward and update on every device -> the summed loss."""
    xs = gluon.utils.split_and_load(batch, run.ctx)
    ys = gluon.utils.split_and_load(targets, run.ctx)
    if run.graphs.frozen:  # outside the record: as in prediction, and without a way back
        xs = [run.graphs.frozen(x) for x in xs]
    with autograd.record():
        answers = [run.graphs.learns(x) for x in xs]
        losses = [run.lost(answer, y) for answer, y in zip(answers, ys, strict=True)]
    autograd.backward(losses)
    if run.centres:
        run.centres.move(answers[0][1], ys[0])
    run.trainer.step(len(batch))
    return sum(loss.sum().as_in_context(mx.cpu()) for loss in losses)


def _validation(run: Run) -> Row:
    assert run.valid is not None and run.judged is not None  # `fit` has them
    scores = predict(_copy(run), run.judged, run.info)
    if not np.isfinite(scores).all():
        raise Diverged("the net's answers are no numbers any more: try a lower learning rate")
    found = measure(scores, run.valid)
    return {"valid_loss": found.loss, "valid_accuracy": found.accuracy}


def _copy(run: Run) -> gluon.nn.HybridSequential:
    """A copy of the net on one device, with the weights that count: the average where there is one.

    Inference leaves convolution weights in oneDNN's own layout, and the next Nesterov update (MXNet
    1.9.1) then decays the wrong elements. So the net in training never infers.
    """
    copy = registry.assembled(run.network)
    copy.initialize(mx.init.Zero(), ctx=run.ctx[:1])  # no weights of chance: they would be lost
    values = run.average.values if run.average else {}
    pairs = zip(copy.collect_params().values(), run.net.collect_params().items(), strict=True)
    for to, (name, original) in pairs:
        to.set_data(values[name] if name in values else original.data(run.ctx[0]))
    return copy
