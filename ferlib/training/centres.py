"""The centre loss: features of one class are drawn together (Wen et al. 2016, ECCV)."""

from typing import Any

from ferlib import runtime

mx = runtime.import_mxnet()

ALPHA = 0.5  # how far centres go to where a batch's features lie, as in the paper's experiments


class Centres:
    """A point among the features (N, D) for each of K classes, float32 (K, D), at first zero."""

    def __init__(self, classes: int, width: int, weight: float, ctx: Any):
        self.values = mx.nd.zeros((classes, width), ctx=ctx)
        self._weight = weight

    def loss(self, features: Any, targets: Any) -> Any:
        """Features (N, D), targets (N, K) -> loss (N,): section 3.2, equation 2.

        weight / 2 times the squared distance to the centre of the target's largest class.
        """
        own = self.values.take(targets.argmax(axis=1))
        return self._weight / 2 * (features - own).square().sum(axis=1)

    def move(self, features: Any, targets: Any) -> None:
        """Bring each centre nearer to the features of its class in a batch: equation 4.

        A class with few pictures in the batch moves little, one with none stays.
        """
        own = targets.argmax(axis=1).one_hot(len(self.values))
        counts = own.sum(axis=0).expand_dims(1)
        away = counts * self.values - mx.nd.dot(own, features, transpose_a=True)
        self.values -= ALPHA * away / (1 + counts)
