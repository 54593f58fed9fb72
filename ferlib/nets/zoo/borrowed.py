"""Networks of gluoncv's model zoo, made to take small gray pictures.

They were drawn for 224 x 224 pixels, and halve a picture five times. Here the first convolution is
3 x 3 with stride 1 instead of 7 x 7 (or 3 x 3) with stride 2, so that 3 x 3 places are left of 48
x 48 pixels, and the last pooling takes the mean of all there are. What lies between is gluoncv's;
for pictures of LARGE pixels and more, so is the first convolution. (VGG's has no stride anyway: of
48 x 48 pixels its fifth pooling leaves one place, of the upper left 2 x 2 of its last 3 x 3.)

VGG: Simonyan and Zisserman 2015 (arXiv 1409.1556). ResNet: He et al. 2016 (arXiv 1512.03385).
DenseNet: Huang et al. 2017 (arXiv 1608.06993). GoogLeNet: Szegedy et al. 2015 (arXiv 1409.4842),
with BatchNorm, and with 3 x 3 kernels for its 5 x 5 ones, as gluoncv has it. MobileNetV2: Sandler
et al. 2018 (arXiv 1801.04381); below LARGE its first activation is a plain ReLU.
"""

from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from typing import Any

from PIL import ImageFile

from ferlib import runtime
from ferlib.errors import FerlibError, need
from ferlib.nets.registry import Net, register

runtime.import_mxnet()
from mxnet.gluon import HybridBlock, nn  # noqa: E402  (after import_mxnet has prepared it)


def gluoncv(module: str = "") -> Any:
    """A module of gluoncv's model zoo, or all of it; FerlibError where it is not installed.

    Importing it makes Pillow take cut pictures for whole ones, in all of the process: undone here.
    """
    need("gluoncv", "zoo", "this network")
    lenient = ImageFile.LOAD_TRUNCATED_IMAGES
    try:
        return import_module(f"gluoncv.model_zoo.{module}".rstrip("."))
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = lenient


LARGE = 96  # pixels: halved five times, as many are left as of 48 pixels here


def stem(net: Net, width: int, theirs: Iterable[HybridBlock]) -> Iterator[HybridBlock]:
    """The first convolution: `theirs`, which halves a picture, where it is large."""
    if net.size >= LARGE:
        yield from theirs
        return
    yield nn.Conv2D(width, 3, padding=1, in_channels=net.channels, use_bias=False)
    yield nn.BatchNorm(in_channels=width)
    yield nn.Activation("relu")


def head(net: Net, dropout: float = 0.0) -> Iterator[HybridBlock]:
    """From the last maps to the logits."""
    yield nn.GlobalAvgPool2D()
    yield nn.Flatten()
    if dropout:
        yield nn.Dropout(dropout)
    yield nn.Dense(net.classes)


def residual(
    net: Net, block: type, counts: Sequence[int], widths: Sequence[int]
) -> Iterator[HybridBlock]:
    """A ResNet: the stem, a pooling, four stages. Their last BatchNorms begin at zero."""
    model = gluoncv("resnet").ResNetV1(block, counts, widths, last_gamma=True)
    layers = list(model.features)
    yield from stem(net, widths[0], layers[:3])
    yield nn.MaxPool2D(3, 2, 1)
    yield from layers[4:8]
    yield from head(net, 0.2)


def stages(counts: Sequence[int]) -> tuple[str, ...]:
    """The names of the last sums of a ResNet's stages."""
    names = enumerate(counts, start=1)
    return tuple(f"resnetv10_stage{stage}_activation{count - 1}" for stage, count in names)


NARROW = (64, 64, 128, 256, 512)  # channels of the stem and of four stages
EIGHTEEN, THIRTY_FOUR = (2, 2, 2, 2), (3, 4, 6, 3)  # blocks in each stage


@register("resnet18", size=48, features=stages(EIGHTEEN), note="ResNet18 (He et al. 2016)")
def resnet18(net: Net) -> Iterator[HybridBlock]:
    """Two blocks of two convolutions in each of four stages."""
    yield from residual(net, gluoncv("resnet").BasicBlockV1, EIGHTEEN, NARROW)


@register("resnet34", size=48, features=stages(THIRTY_FOUR), note="ResNet34 (He et al. 2016)")
def resnet34(net: Net) -> Iterator[HybridBlock]:
    """Three, four, six and three such blocks."""
    yield from residual(net, gluoncv("resnet").BasicBlockV1, THIRTY_FOUR, NARROW)


@register(
    "vgg19",
    size=48,
    features=tuple(f"vgg0_relu{last}" for last in (1, 3, 7, 11, 15)),
    note="VGG19 with BatchNorm; one dense layer",
)
def vgg19(net: Net) -> Iterator[HybridBlock]:
    """Sixteen convolutions of 3 x 3 with BatchNorm, five poolings."""
    layers = list(gluoncv("vgg").get_vgg(19, batch_norm=True).features)
    first_dense = next(at for at, layer in enumerate(layers) if isinstance(layer, nn.Dense))
    yield from stem(net, 64, layers[:3])  # of the same shape
    yield from layers[3:first_dense]
    yield from head(net, 0.5)


@register(
    "densenet121",
    size=48,
    bfloat16=False,
    features=tuple(f"densenet0_relu{last}" for last in (1, 2, 3, 4)),
    note="DenseNet121 (Huang et al. 2017)",
)
def densenet121(net: Net) -> Iterator[HybridBlock]:
    """Four dense blocks: each layer sees the maps of all before it in its block."""
    layers = list(gluoncv("densenet").get_densenet(121).features)
    yield from stem(net, 64, layers[:3])
    yield from layers[3:-2]  # from the first pooling to the last ReLU
    yield from head(net, 0.2)


@register(
    "googlenet",
    size=48,
    bfloat16=False,
    features=tuple(f"googlenet0_Mixed_{last}_concat0" for last in ("3b", "4e", "5b")),
    note="GoogLeNet with BatchNorm, 3 x 3 for 5 x 5 (Szegedy et al. 2015)",
)
def googlenet(net: Net) -> Iterator[HybridBlock]:
    """Nine Inception blocks: convolutions of several sizes side by side."""
    model = gluoncv("googlenet").GoogLeNet(pretrained_base=False)
    names = list(model._children)
    if net.size >= LARGE and net.channels != 3:
        raise FerlibError("googlenet takes large pictures in RGB only: add --rgb (channels=3)")
    yield from stem(net, 64, [model.conv1])
    yield from (model._children[name] for name in names[1 : names.index("head")])
    yield from head(net, 0.4)


@register(
    "mobilenetv2",
    size=48,
    bfloat16=False,
    features=tuple(
        f"mobilenetv20_features_{last}_relu6"
        for last in (*(f"linearbottleneck{number}_relu60" for number in (3, 6, 13)), "relu61")
    ),
    note="MobileNetV2 (Sandler et al. 2018)",
)
def mobilenetv2(net: Net) -> Iterator[HybridBlock]:
    """Inverted residuals: wide depthwise convolutions between narrow maps."""
    layers = list(gluoncv("mobilenet").MobileNetV2().features)
    yield from stem(net, 32, layers[:3])
    yield from layers[3:-1]
    yield from head(net, 0.2)
