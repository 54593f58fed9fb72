"""A small net for the roll of a head: by how many degrees the face in a crop is turned.

Its classes are angles, STEP degrees apart, and what it says is their mean, weighted with the
probabilities (`ferlib.faces.roll`). It ends without averaging its maps: where brows, eyes and mouth
lie is what tells the angle.
"""

from collections.abc import Iterator

from ferlib import runtime
from ferlib.nets.registry import Net, register

runtime.import_mxnet()
from mxnet.gluon import HybridBlock, nn  # noqa: E402  (after import_mxnet has prepared it)

WIDTHS = (16, 24, 40, 56)  # channels of its convolutions


@register(
    "roll",
    size=48,
    features=tuple(f"relu{row}" for row in range(len(WIDTHS))),
    any_size=False,
    note="the roll of a head, its classes angles in degrees: four convolutions, 0.04 M",
)
def layers(net: Net) -> Iterator[HybridBlock]:
    """Convolution, BatchNorm, ReLU, four times; halved by strides at first, then by pooling."""
    channels = net.channels
    for width in WIDTHS:
        first = channels == net.channels  # strides, where pooling would take most of the time
        kernel, strides = (5, 2) if first else (3, 1)
        yield nn.Conv2D(width, kernel, strides, kernel // 2, in_channels=channels, use_bias=False)
        yield nn.BatchNorm(in_channels=width)
        yield nn.Activation("relu")
        if not first:
            yield nn.MaxPool2D(2)
        channels = width
    yield nn.Flatten()
    side = -(-net.size // 2) // 2 ** (len(WIDTHS) - 1)  # strides round up, poolings down
    yield nn.Dense(net.classes, in_units=channels * side**2)
