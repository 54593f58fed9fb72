"""What happens at the end of a batch and of an epoch, without the loop knowing it.

    class Plot(Callback):
        def on_epoch(self, run, row):
            display(plots.learning_curves(run.log), clear=True)

    fit(learn, valid, recipe, callbacks=[Plot(), EarlyStop(patience=5)])

`run` is the `Run` of the loop: recipe, net, log, steps, trainer; `run.stop(reason)` ends it after
the epoch. An exception, such as a search that prunes the trial, ends it at once, and what was kept
stays.
"""

from typing import Any

from ferlib.errors import FerlibError

# Of the log: epoch, lr, images_per_s, train_loss, valid_loss, valid_accuracy.
Row = dict[str, float]


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
