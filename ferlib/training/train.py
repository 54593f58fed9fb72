"""From data to the files of a trained net: what `ferlib train` does."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path

from ferlib import files, runtime
from ferlib.data.dataset import Dataset
from ferlib.data.labels import EMOTIONS, SEVEN
from ferlib.errors import FerlibError
from ferlib.nets import store
from ferlib.nets.info import Info, Trained
from ferlib.nets.places import check_prefix, weight_files
from ferlib.training.calibrate import described
from ferlib.training.callbacks import Callback
from ferlib.training.loop import fit
from ferlib.training.precision import chosen
from ferlib.training.recipe import Recipe


def train_to(
    prefix: str | Path,
    learn: Dataset,
    valid: Dataset,
    recipe: Recipe,
    folder: str | Path | None = None,
    callbacks: Sequence[Callback] = (),
    command: str = "",
) -> Info:
    """`fit`, calibrate on the validation split, and write the three files of `prefix`.

    `folder` keeps checkpoints and log.csv (default: PREFIX-run). `command` is told in the JSON.
    Gives that as `Info`.
    """
    check_prefix(prefix)  # before hours of training
    folder = Path(folder or f"{prefix}-run")
    _check_own(prefix, folder)
    machine = runtime.describe() | {"precision": chosen(recipe, runtime.contexts())}
    machine |= {"commit": files.commit()}  # before hours pass
    count = int(learn.trainable(recipe.scheme).sum())
    data = Path(learn.source).absolute().name if learn.source else ""
    print(
        f"training {recipe.net} on {count} pictures of {data}: "
        f"{machine['device']}, {machine['threads']} threads, {machine['precision']}",
        flush=True,
    )
    if learn.classes not in (EMOTIONS, SEVEN):
        print(f"classes: {', '.join(learn.classes)}", flush=True)
    net, log = fit(learn, valid, recipe, folder, callbacks=callbacks)
    network = recipe.network(len(learn.classes))
    info = Info.of(network, learn.classes, recipe.normalisation)
    info = described(net, info, valid, recipe.seed)
    if len(answered := _answered(info)) == 1:
        print(
            f"{prefix}: answers {answered[0]} to every validation picture, whatever it shows. "
            "Training again at a lower rate (--lr) may help"
        )
    trained = Trained(command, date.today().isoformat(), data, count, asdict(recipe), machine)
    info = replace(info, epochs=len(log), trained=trained)
    store.save(net, prefix, info)
    return info


def _check_own(prefix: str | Path, folder: Path) -> None:
    """FerlibError where the net's files are there, of another program: no JSON, and no run of ours.

    A run that was killed while it wrote them goes on.
    """
    symbol, params, info = weight_files(prefix)
    strange = [path for path in (symbol, params) if path.exists()]
    if strange and not info.exists() and not folder.exists():
        raise FerlibError(f"{strange[0]} is of another program: name another place")


def _answered(info: Info) -> list[str]:
    """The classes that the net answers to some picture of the validation split."""
    assert info.valid is not None  # `described` tells it
    columns = zip(*info.valid["confusion"], strict=True)
    return [name for name, column in zip(info.classes, columns, strict=True) if any(column)]
