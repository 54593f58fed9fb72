"""What happens at the end of a batch and of an epoch, without the loop knowing it.

    class Plot(Callback):
        def on_epoch(self, run, row):
            display(plots.learning_curves(run.log), clear=True)

    fit(learn, valid, recipe, callbacks=[Plot(), EarlyStop(patience=5)])

`run` is the `Run` of the loop: recipe, net, log, steps, trainer; `run.stop(reason)` ends it after
the epoch. An exception, such as a search that prunes the trial, ends it at once, and what was kept
stays.
"""

from pathlib import Path
from typing import Any

from ferlib.errors import FerlibError, need
from ferlib.files import check_place

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
        if patience < 1:
            raise FerlibError(f"a patience of {patience} epochs: expected 1 or more")
        self.patience, self.figure = patience, figure

    def on_start(self, run: Any) -> None:
        self._judge(run)

    def on_epoch(self, run: Any, row: Row) -> None:
        self._judge(run)

    def _judge(self, run: Any) -> None:
        values = [row[self.figure] for row in run.log]
        if not values:
            return
        best = values.index(max(values) if self.figure.endswith("accuracy") else min(values))
        if len(values) - 1 - best >= self.patience:
            run.stop(f"{self.figure} was best in epoch {best + 1}")


class TensorBoard(Callback):
    """Writes the log's curves, a step an epoch, for TensorBoard: `tensorboard --logdir FOLDER`.

    A folder holds one run. One that goes on writes its whole log again and tells that what stands
    in the folder from the first epoch on is over, so that no step is shown twice, and none is
    missing that was trained before anybody asked for curves.
    FerlibError where tensorboardX is not installed, or nothing can be written there.
    """

    def __init__(self, folder: str | Path):
        need("tensorboardX", "tensorboard", "writing for TensorBoard")
        self.folder = Path(folder)
        check_place(self.folder / "events")

    def on_start(self, run: Any) -> None:
        from tensorboardX import SummaryWriter

        # Written by a thread, every few seconds: who looks on need not wait.
        self._writer = SummaryWriter(str(self.folder), purge_step=1, flush_secs=5)
        for row in run.log:
            self.on_epoch(run, row)

    def on_epoch(self, run: Any, row: Row) -> None:
        for figure, name in CURVES.items():
            self._writer.add_scalar(name, row[figure], int(row["epoch"]))

    def on_end(self, run: Any) -> None:
        self._writer.close()
