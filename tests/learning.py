"""What tests of training share: a recipe of seconds, and how to look at the weights it gives."""

import numpy as np
import pytest

from ferlib import nets, runtime, training

needs_bfloat16 = pytest.mark.skipif(
    not runtime.can_bfloat16(), reason="bfloat16 takes a CPU with AVX-512"
)


def half(*values):
    """Values for a test in bfloat16."""
    return pytest.param(*values, marks=needs_bfloat16)


QUICK = training.Recipe(net="vgg-tiny", epochs=2, batch_size=32, lr=0.05, precision="float32")
PLAIN = nets.Info.of(nets.find("vgg-tiny"))  # as a net is used before anything is fitted to it


def fit(splits, recipe, folder=None, **how):
    """Without a line an epoch."""
    return training.fit(*splits, recipe, folder, progress=False, **how)


def weights(net) -> dict[str, np.ndarray]:
    return {name: p.data(p.list_ctx()[0]).asnumpy() for name, p in net.collect_params().items()}


def assert_same(net, other):
    for name, value in weights(net).items():
        np.testing.assert_array_equal(value, weights(other)[name], err_msg=name)
