"""From data to the files of a trained net: what `ferlib train` does."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path

from ferlib import runtime
from ferlib.data.dataset import Dataset, check_dataset
from ferlib.data.labels import EMOTIONS, SEVEN
from ferlib.errors import FerlibError, check_kind
from ferlib.files import check_folder
from ferlib.nets import store
from ferlib.nets.info import Info, Trained
from ferlib.nets.places import check_prefix, weight_files
from ferlib.training import checkpoints
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
    Gives that as `Info`. FerlibError where nothing can be written there or another program's net
    lies there, and as for `fit`.
    """
    check_kind("recipe", recipe, Recipe, "a Recipe")
    check_kind("command", command, str, "a text")
    check_dataset(learn, "learn")
    check_dataset(valid, "valid")
    check_prefix(prefix)  # before hours of training
    if folder:
        check_folder(folder)
    folder = Path(folder or f"{prefix}-run")
    _check_own(prefix, folder)
    machine = runtime.describe() | {"precision": chosen(recipe, runtime.contexts())}
    count = int(learn.trainable(recipe.scheme).sum())
    data = Path(learn.source).absolute().name if learn.source else ""
    of = f" of {data}" if data else ""
    _say(f"training {recipe.net} on {count} pictures{of}", machine, learn.classes)
    net, log = fit(learn, valid, recipe, folder, callbacks=callbacks)
    known = {"date": date.today().isoformat()} | checkpoints.origin(folder)
    network = recipe.network(len(learn.classes))
    info = Info.of(network, learn.classes, recipe.normalisation)
    info = described(net, info, valid, recipe.seed)
    _warn(prefix, info)
    machine |= {"commit": known.get("commit", "")}
    trained = Trained(command, known["date"], data, count, asdict(recipe), machine)
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


def _say(what: str, machine: dict, classes: Sequence[str]) -> None:
    """What is trained and on what machine; for which classes, where they are somebody's own."""
    print(
        f"{what}: {machine['device']}, {machine['threads']} threads, {machine['precision']}",
        flush=True,
    )
    if classes not in (EMOTIONS, SEVEN):
        print(f"classes: {', '.join(classes)}", flush=True)


def _warn(prefix: str | Path, info: Info) -> None:
    """A line where the net answers the same to every picture of the validation split."""
    assert info.valid is not None  # `described` tells it
    columns = zip(*info.valid["confusion"], strict=True)
    answered = [name for name, column in zip(info.classes, columns, strict=True) if any(column)]
    if len(answered) == 1:
        print(
            f"{prefix}: answers {answered[0]} to every validation picture, whatever it shows. "
            "Training again at a lower rate (--lr) may help"
        )
