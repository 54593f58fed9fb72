"""A run kept after every epoch, as one rename, and taken up again by the same call."""

import csv
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ferlib import runtime
from ferlib.errors import FerlibError
from ferlib.files import whole_file
from ferlib.training.recipe import Recipe

mx = runtime.import_mxnet()


def keep(run: Any, folder: Path) -> None:
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


def _write_checkpoint(run: Any, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)  # what a kill left
    folder.mkdir(parents=True)
    mx.nd.waitall()  # BatchNorm's running statistics are written late
    run.net.save_parameters(str(folder / "net.params"))
    run.trainer.save_states(str(folder / "trainer.states"))
    if run.kept:
        mx.nd.save(str(folder / "kept.params"), run.kept)
    state = {"identity": run.identity, "log": run.log}
    (folder / "state.json").write_text(json.dumps(state))


def resume(run: Any, folder: Path) -> bool:
    """Take up the newest checkpoint in `folder`, if there is one, and only of the same run."""
    kept = sorted(folder.glob("epoch-*/state.json"))
    if not kept:
        return False
    try:
        state = json.loads(kept[-1].read_text())
    except ValueError:
        raise FerlibError(f"{kept[-1]} is damaged: remove {folder}") from None
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
    if run.kept:
        for name, value in mx.nd.load(str(kept[-1].parent / "kept.params")).items():
            run.kept[name][:] = value
    run.log = state["log"]
    _write_log(run.log, folder / "log.csv")
    return True


@contextmanager
def locked(folder: str | Path | None) -> Iterator[None]:
    """Keep a second training out of `folder`; the lock goes with the process, however it ends."""
    if folder is None:
        yield
        return
    Path(folder).mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FerlibError(f"another training is running in {folder}: wait for it") from None
        yield
    finally:
        os.close(handle)


def _write_log(log: list[dict], path: Path) -> None:
    with whole_file(path) as partial, open(partial, "w", newline="") as file:
        writer = csv.DictWriter(file, log[0].keys())
        writer.writeheader()
        writer.writerows(log)
