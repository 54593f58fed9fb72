"""The loss towards votes, after sections 3.1 to 3.4 of Barsoum et al. 2016."""

from typing import Any

from ferlib import runtime

runtime.import_mxnet()
from mxnet import gluon  # noqa: E402  (after import_mxnet has prepared it)


class VoteLoss(gluon.HybridBlock):
    """Logits (N, K), targets (N, K) -> loss (N,).

    Cross-entropy to the targets; for "multi-target" the smallest loss among accepted emotions.
    """

    def __init__(self, scheme: str = "cross-entropy", **kwargs):
        super().__init__(**kwargs)
        self.scheme = scheme

    def hybrid_forward(self, F: Any, logits: Any, targets: Any):
        log_scores = F.log_softmax(logits, axis=-1)
        if self.scheme == "multi-target":
            return -F.max(log_scores - (1 - targets) * 1e9, axis=-1)
        return -F.sum(targets * log_scores, axis=-1)
