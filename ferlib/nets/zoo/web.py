"""`web_cnn`: the four wide convolutions that many Keras tutorials and web services use."""

from collections.abc import Iterator

from ferlib import runtime
from ferlib.nets.registry import Net, register

runtime.import_mxnet()
from mxnet.gluon import HybridBlock, nn  # noqa: E402  (after import_mxnet has prepared it)

PLAN = ((64, 3), (128, 5), (512, 3), (512, 3))  # channels, side of the kernel


@register(
    "web_cnn",
    size=48,
    features=("relu0", "relu1", "relu2", "relu3"),
    any_size=False,
    note="64 of 3x3, 128 of 5x5, 512 and 512 of 3x3, dense 256 and 512; after Keras web services",
)
def web(net: Net) -> Iterator[HybridBlock]:
    """Convolution, BatchNorm, ReLU, pooling, dropout, four times; then dense layers."""
    channels, side = net.channels, net.size
    for width, kernel in PLAN:
        yield nn.Conv2D(width, kernel, padding=kernel // 2, in_channels=channels)
        yield nn.BatchNorm(in_channels=width)
        yield nn.Activation("relu")
        yield nn.MaxPool2D(2)
        yield nn.Dropout(0.25)
        channels, side = width, side // 2
    yield nn.Flatten()
    units = channels * side * side
    for width in (256, 512):
        yield nn.Dense(width, in_units=units)
        yield nn.BatchNorm(in_channels=width)
        yield nn.Activation("relu")
        yield nn.Dropout(0.25)
        units = width
    yield nn.Dense(net.classes, in_units=units)
