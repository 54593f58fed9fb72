"""The running mean of a net's weights: what is judged and stored instead of the last ones.

Weights in training jump about what they look for; their mean lies nearer to it (Polyak and Juditsky
1992). The exponential one forgets where they began.
"""

from collections.abc import Mapping
from typing import Any

from ferlib import runtime

mx = runtime.import_mxnet()

EVERY = 10  # steps, at most, between two weights of the mean: its cost is lost beside ten steps'


class Average:
    """The mean of the weights after each step, each counting `decay` times as much as the next.

    Only some steps' weights are taken, a hundredth of the mean's length 1 / (1 - decay) apart:
    between these they move little, measured by how far apart those lie of which it is the mean.
    BatchNorm's running statistics are averaged with the weights: they are means over pictures, and
    belong to weights as the net had them then.
    """

    def __init__(self, parameters: Mapping[str, Any], decay: float, ctx: Any):
        self._parameters, self._ctx = parameters, ctx
        self.every = max(1, min(EVERY, round(0.01 / (1 - decay))))
        self._decay = decay**self.every
        self.values = {name: mx.nd.zeros(one.shape, ctx=ctx) for name, one in parameters.items()}

    def add(self, step: int) -> None:
        """Take in the weights after a step, counted from 0 over all epochs."""
        if step % self.every:
            return
        count = step // self.every + 1
        # Normalised, so that the zeros it began with count nothing (Kingma and Ba 2015, section 3).
        share = (1 - self._decay) / (1 - self._decay**count)
        mx.nd.waitall()  # BatchNorm's running statistics are written late
        for name, value in self.values.items():
            new = self._parameters[name].data(self._ctx)
            # value + share * (new - value), in place and in one pass: no second copy of the net.
            mx.nd.sgd_update(value, new, lr=share, wd=1, rescale_grad=-1, out=value)
