"""Nets that teach: their answers to the pictures as they are, or as each batch shows them."""

from collections.abc import Iterable
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ferlib import files, runtime
from ferlib.errors import FerlibError
from ferlib.nets import imagenet, store
from ferlib.nets.answer import predict, softmax
from ferlib.nets.info import Info
from ferlib.nets.places import int8_file, stored_files
from ferlib.training.recipe import Recipe

mx = runtime.import_mxnet()


def answers(run: Any, pictures: Any, progress: bool) -> np.ndarray | None:
    """The teachers' mean probabilities, upright and mirrored, float32 (N, K); None without any.

    For the pictures as they are, not as each epoch moves them: see `Recipe.teacher_views`. No
    temperature softens them (Hinton et al. 2015, section 2): votes are soft, and so are nets
    that learnt from them. They take minutes, so they are kept in the user's cache folder for the
    next run with the same teacher and pictures.
    """
    recipe = run.recipe
    left = range(len(run.log) + 1, recipe.epochs + 1)
    if not recipe.teacher or (run.teachers and all(full_size(recipe, epoch) for epoch in left)):
        return None
    nets = [store.load(prefix, run.ctx[0]) for prefix in recipe.teacher]
    for (_, info), prefix in zip(nets, recipe.teacher, strict=True):
        _check_classes(info, prefix, run.classes)
    if not isinstance(pictures, np.ndarray):  # too many to be kept in memory
        return _mean_answers(nets, pictures, progress)
    known = _bytes(file for each in recipe.teacher for file in stored_files(each))
    kept = files.cache_folder() / f"teacher-{files.fingerprint(pictures, *known)}.npy"
    with suppress(Exception):  # not kept yet, or damaged
        return np.load(kept)
    found = _mean_answers(nets, pictures, progress)
    with suppress(FerlibError), files.whole_file(kept) as partial:
        np.save(partial, found)  # where that fails they are made again next time
    return found


def _mean_answers(nets: list, pictures, progress: bool) -> np.ndarray:
    total = np.zeros((len(pictures), len(nets[0][1].classes)), np.float32)
    for net, info in tqdm(nets, "teacher", unit="net", disable=None if progress else True):
        total += predict(net, pictures, info.raw(), flip=True)
    return total / len(nets)


def _check_classes(info: Info, prefix: str, classes: tuple[str, ...]) -> None:
    if info.classes != classes:
        told = ", ".join(info.classes)
        raise FerlibError(f"{prefix} tells apart {told}: it cannot teach {', '.join(classes)}")


def full_size(recipe: Recipe, epoch: int) -> bool:
    """Whether an epoch's pictures have the net's own size."""
    return recipe.size(epoch) == recipe.network().size


def taught_by(recipe: Recipe, ctx: Any) -> str:
    """A fingerprint of all that a teacher's answers come from, "" without one."""
    used: list[Path] = []
    for prefix in recipe.teacher:
        used += stored_files(prefix)[:2]  # not the JSON: bias and temperature are left out
        if recipe.teacher_views and store.fastest(prefix, ctx) == "int8":
            used.append(int8_file(prefix))
    return files.fingerprint(*_bytes(used)) if used else ""


def begun_from(recipe: Recipe) -> str:
    """A fingerprint of the weights that a recipe begins with, "" where they are chance's."""
    if recipe.start in ("", imagenet.START):
        return ""
    return files.fingerprint(*_bytes(stored_files(recipe.start)[:2]))


def weights(recipe: Recipe) -> str:
    """A fingerprint of the nets that a recipe begins with and learns from, "" without any."""
    start = [recipe.start] if recipe.start not in ("", imagenet.START) else []
    used = [file for prefix in (*start, *recipe.teacher) for file in stored_files(prefix)]
    return files.fingerprint(*_bytes(used)) if used else ""


def _bytes(paths: Iterable[Path]) -> list[np.ndarray]:
    return [np.fromfile(path, np.uint8) for path in paths]


def load_teachers(recipe: Recipe, ctx: Any, classes: tuple[str, ...]) -> list[tuple[Any, int]]:
    """The nets that answer for each view, and the size in pixels that each takes it at."""
    found = []
    wanted = (recipe.network().channels, recipe.normalisation)
    for prefix in recipe.teacher:
        net, info = store.load(prefix, ctx, precision="auto")
        _check_classes(info, prefix, classes)
        if (info.channels, info.normalise) != wanted:
            raise FerlibError(
                f"{prefix} takes pictures of {info.channels} channels ({info.normalise}), its "
                f"student of {wanted[0]} ({wanted[1]}): leave out --teacher-views"
            )
        found.append((net, info.input_size))
    return found


def mixed(run: Any, targets: np.ndarray, batch: np.ndarray, number: int) -> np.ndarray:
    """Targets (n, K) with the share of the teacher whose turn it is: what it answers to the batch.

    In turns: on average that is their mean answer, in a part of the time.
    """
    teacher, size = run.teachers[number % len(run.teachers)]
    views = _at(size, mx.nd.array(batch, ctx=run.ctx[0]))
    return targets + run.recipe.teacher_share * (softmax(teacher(views).asnumpy()) - targets)


def _at(size: int, views: Any) -> Any:
    """Prepared views (n, C, side, side) at a teacher's size, of mean 0 and deviation 1 again."""
    if size == views.shape[-1]:
        return views
    views = mx.nd.contrib.BilinearResize2D(views, height=size, width=size)
    power = (views * views).mean(axis=(1, 2, 3), keepdims=True)  # other than 1 by the resizing
    return views / power.sqrt().clip(1e-6, inf)
