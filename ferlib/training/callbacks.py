"""What happens at the end of a batch and of an epoch, without the loop knowing it.

    class Plot(Callback):
        def on_epoch(self, run, row):
            display(plots.learning_curves(run.log), clear=True)

    fit(learn, valid, recipe, callbacks=[Plot(), EarlyStop(patience=5)])

`run` is the `Run` of the loop: recipe, net, log, steps, trainer; `run.stop(reason)` ends it after
the epoch. An exception, such as a search that prunes the trial, ends it at once, and what was kept
stays.
"""

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ferlib.errors import FerlibError, need, number
from ferlib.files import check_place, make_folder, not_written

# Of the log: epoch, lr, images_per_s, train_loss, valid_loss, valid_accuracy.
Row = dict[str, float]
CURVES = {  # of the log's figures, as TensorBoard is told of them
    "train_loss": "loss/train",
    "valid_loss": "loss/valid",
    "valid_accuracy": "accuracy/valid",
    "lr": "lr",
    "images_per_s": "images_per_s",
}


class Callback:
    """Does nothing: a subclass has those of the methods that it needs."""

    def on_start(self, run: Any) -> None:
        """Before the first epoch, or the first after a restart: `run.log` has those before."""

    def on_batch(self, run: Any, epoch: int, number: int, loss: Any) -> None:
        """After a step, counted from 0: `loss` is an NDArray (1,), the sum over the batch."""

    def on_epoch(self, run: Any, row: Row) -> None:
        """After an epoch's validation and checkpoint."""

    def on_end(self, run: Any) -> None:
        """After the last epoch."""


class Lines(Callback):
    """Prints a line an epoch."""

    def on_start(self, run: Any) -> None:
        if run.log:
            print(f"going on after epoch {len(run.log)} of {run.recipe.epochs}")

    def on_epoch(self, run: Any, row: Row) -> None:
        print(
            f"epoch {row['epoch']:3}/{run.recipe.epochs}  {row['images_per_s']:7.1f} images/s  "
            f"lr {row['lr']:.4f}  train loss {row['train_loss']:.4f}  "
            f"valid loss {row['valid_loss']:.4f}  valid accuracy {row['valid_accuracy']:.4f}",
            flush=True,
        )

    def on_end(self, run: Any) -> None:
        if run.stopped:
            print(f"stopped after epoch {len(run.log)}: {run.stopped}")


class EarlyStop(Callback):
    """Stops once a figure of the log has not become better for `patience` epochs.

    The schedule still runs towards the recipe's last epoch, so with one that anneals to zero this
    gives up a hopeless run, and does not choose the best moment of a good one.
    """

    def __init__(self, patience: int, figure: str = "valid_loss"):
        if number("patience", patience, whole=True) < 1:
            raise FerlibError(f"a patience of {patience} epochs: expected 1 or more")
        self.patience, self.figure = patience, figure

    def on_start(self, run: Any) -> None:
        self._judge(run)

    def on_epoch(self, run: Any, row: Row) -> None:
        self._judge(run)

    def _judge(self, run: Any) -> None:
        if not run.log:
            return
        if self.figure not in run.log[0]:
            raise FerlibError(f"no {self.figure!r} in the log: it has {', '.join(run.log[0])}")
        values = [row[self.figure] for row in run.log]
        best = values.index(max(values) if self.figure.endswith("accuracy") else min(values))
        if len(values) - 1 - best >= self.patience:
            run.stop(f"{self.figure} was best in epoch {best + 1}")


class TensorBoard(Callback):
    """Writes the log's curves, a step an epoch, for TensorBoard: `tensorboard --logdir FOLDER`.

    A folder holds one run. One that goes on writes its whole log again and tells that what stands
    in the folder from the first epoch on is over, so that no step is shown twice, and none is
    missing that was trained before anybody asked for curves.
    FerlibError where tensorboardX is not installed, or nothing can be written there. A disk that
    becomes full ends the curves, not the training.
    """

    def __init__(self, folder: str | Path):
        need("tensorboardX", "tensorboard", "writing for TensorBoard")
        self.folder = Path(folder)
        self._writer: Any = None  # also once there is no room any more
        check_place(self.folder / "events")

    def on_start(self, run: Any) -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        # Not by SummaryWriter: its thread dies on a full disk, and the training then waits for it.
        make_folder(self.folder)
        again = SessionLog(status=SessionLog.START)  # what was told from this step on is over
        with self._while_there_is_room():
            self._writer = EventsWriter(str(self.folder / "events"))
            self._writer.write_event(Event(step=1, session_log=again))
        for row in run.log:
            self.on_epoch(run, row)

    def on_epoch(self, run: Any, row: Row) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.summary import scalar

        if self._writer is None:
            return
        how = {"step": int(row["epoch"]), "wall_time": time.time()}
        with self._while_there_is_room():
            for figure, name in CURVES.items():
                self._writer.write_event(Event(summary=scalar(name, row[figure]), **how))
            self._writer.flush()

    def on_end(self, run: Any) -> None:
        if self._writer is not None:
            self._writer.close()

    @contextmanager
    def _while_there_is_room(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._writer = None
            warnings.warn(f"no more curves: {not_written(self.folder, error)}", stacklevel=3)
