"""A run kept after every epoch, as one rename, and taken up again by the same call."""

import csv
import fcntl
import json
import os
import pickle
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from ferlib import runtime
from ferlib.errors import FerlibError
from ferlib.files import check_folder, check_free, check_text, make_folder, not_written, whole_file
from ferlib.training.recipe import Recipe

mx = runtime.import_mxnet()

# What reading files that were cut off or written over raises.
DAMAGE = (
    *(ValueError, LookupError, TypeError, AttributeError, AssertionError, EOFError, OSError),
    *(pickle.UnpicklingError, mx.MXNetError),
)


LOG = "log.csv"
# What a run's identity says of other nets, in words.
WORDS = {
    "begun_from": "start (its weights have changed)",
    "taught_by": "teacher's weights or int8 ranges",
}


def keep(run: Any, folder: Path) -> None:
    """Write a whole checkpoint beside the last one, rename it, then drop the last one."""
    final, partial = folder / f"epoch-{len(run.log):04d}", folder / ".partial"
    try:
        _write_checkpoint(run, partial)
        os.replace(partial, final)
    except OSError as error:
        raise not_written(folder, error) from None
    except mx.MXNetError:
        raise FerlibError(f"cannot write {folder}: is the disk full?", "not_written") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    for old in _kept(folder):
        if old != final:
            shutil.rmtree(old, ignore_errors=True)
    _write_log(run.log, folder / LOG)


def _kept(folder: Path) -> list[Path]:
    """The checkpoints in a folder, the newest last; whatever else lies there is somebody's own."""
    return sorted(state.parent for state in folder.glob("epoch-[0-9]*/state.json"))


def _write_checkpoint(run: Any, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)  # what a kill left
    folder.mkdir(parents=True)
    mx.nd.waitall()  # BatchNorm's running statistics are written late
    run.net.save_parameters(str(folder / "net.params"))
    run.trainer.save_states(str(folder / "trainer.states"))
    if run.kept:
        mx.nd.save(str(folder / "kept.params"), run.kept)
    state = {"identity": run.identity, "log": run.log, "commit": run.commit}
    state["date"] = date.today().isoformat()
    (folder / "state.json").write_text(json.dumps(state))


def resume(run: Any, folder: Path) -> None:
    """Take up the newest checkpoint in `folder`, if there is one, and only of the same run.

    FerlibError where there is none and the log would be written over somebody's own.
    """
    kept = _kept(folder)
    if not kept:
        check_free(folder, [LOG])
        return
    newest = kept[-1]
    with _damage_told(newest):
        state = json.loads((newest / "state.json").read_text())
        identity, log = dict(state["identity"]), list(state["log"])
    _check_same(run, identity, folder)
    with _damage_told(newest):
        _load(run, newest)
    run.log = log
    then, now = state.get("commit", run.commit), run.commit
    run.commit = then + "+" * (now.endswith("+") and not then.endswith("+"))
    _write_log(run.log, folder / LOG)


def origin(folder: Path) -> dict[str, str]:
    """`commit` that a kept run began with and `date` of its last epoch, where it tells them."""
    state = json.loads((_kept(folder)[-1] / "state.json").read_text())
    return {key: state[key] for key in ("commit", "date") if key in state}


@contextmanager
def _damage_told(kept: Path) -> Iterator[None]:
    try:
        yield
    except DAMAGE:
        raise FerlibError(f"{kept} is damaged: remove {kept.parent}") from None


def _load(run: Any, kept: Path) -> None:
    run.net.load_parameters(str(kept / "net.params"), ctx=run.ctx)
    run.trainer.load_states(str(kept / "trainer.states"))
    if run.kept:
        for name, value in mx.nd.load(str(kept / "kept.params")).items():
            run.kept[name][:] = value


def _check_same(run: Any, identity: dict, folder: Path) -> None:
    """FerlibError where a folder holds another run than this one."""
    mine, default = (json.loads(json.dumps(x)) for x in (run.identity, asdict(Recipe())))
    # What is younger than that run had its default in it.
    theirs = default | {key: mine[key] for key in WORDS} | identity
    differs = [key for key in mine if mine[key] != theirs.get(key)]
    if differs:
        said = ", ".join(WORDS.get(key, key) for key in differs)
        raise FerlibError(
            f"{folder} holds a run with another {said}: name another folder, or remove this one"
        )


@contextmanager
def locked(folder: str | Path | None) -> Iterator[None]:
    """Keep a second training out of `folder`; the lock goes with the process, however it ends."""
    if folder is None:
        yield
        return
    check_folder(folder)
    check_text(folder)
    made = make_folder(folder)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FerlibError(f"another training is running in {folder}: wait for it") from None
        yield
    finally:
        os.close(handle)
        for one in made:  # nothing came of it
            with suppress(OSError):
                one.rmdir()


def _write_log(log: list[dict], path: Path) -> None:
    with whole_file(path) as partial, open(partial, "w", newline="") as file:
        writer = csv.DictWriter(file, log[0].keys())
        writer.writeheader()
        writer.writerows(log)
