"""`baseline_cnn`: seven plain convolutions, as small emotion recognisers in browsers use them."""

from collections.abc import Iterator

from ferlib import runtime
from ferlib.nets.registry import Net, register

runtime.import_mxnet()
from mxnet.gluon import HybridBlock, nn  # noqa: E402  (after import_mxnet has prepared it)

WIDTHS = (8, 16, 32, 64, 128, 256, 256)
DENSE = (1024, 512, 256)


@register(
    "baseline_cnn",
    size=48,
    features=("relu3", "relu4", "relu5", "relu6"),
    any_size=False,
    note="seven convolutions of 8 to 256 channels, three dense layers; after browser apps",
)
def baseline(net: Net) -> Iterator[HybridBlock]:
    """Convolution, BatchNorm, ReLU, pooling: of stride 1 four times, of stride 2 three times."""
    channels, side = net.channels, net.size
    for number, width in enumerate(WIDTHS):
        yield nn.Conv2D(width, 3, padding=1, in_channels=channels)
        yield nn.BatchNorm(in_channels=width)
        yield nn.Activation("relu")
        stride = 1 if number < 4 else 2
        yield nn.MaxPool2D(2, stride)
        channels, side = width, side - 1 if stride == 1 else side // 2
    yield nn.Flatten()
    units = channels * side * side
    for width in DENSE:
        yield nn.Dense(width, activation="relu", in_units=units)
        yield nn.Dropout(0.3)
        units = width
    yield nn.Dense(net.classes, in_units=units)
