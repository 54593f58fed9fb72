"""Weights that gluoncv trained on ImageNet, as a start for the networks made of its blocks.

They are for RGB pictures. The first convolution, which is another one here for small pictures, and
the last layer keep their own values; the rest is taken over. gluoncv fetches the file once, into
~/.mxnet/models.
"""

from pathlib import Path
from typing import Any

from ferlib import runtime
from ferlib.errors import FerlibError, need
from ferlib.nets.registry import Net
from ferlib.nets.zoo.borrowed import gluoncv

runtime.import_mxnet()

START = "imagenet"  # what a recipe's start says instead of a prefix
# Our networks, and gluoncv's that hold the same blocks.
MODELS = {
    "resnet18": "resnet18_v1",
    "resnet34": "resnet34_v1",
    "vgg19": "vgg19_bn",
    "densenet121": "densenet121",
    "googlenet": "googlenet",
    "mobilenetv2": "mobilenetv2_1.0",
    "resnet50cbam": "resnet50_v1",
    "resmasking": "resnet34_v1",
}


def check(net: Net) -> None:
    """FerlibError unless there are such weights for a network, its pictures and this machine."""
    if net.name not in MODELS:
        raise FerlibError(
            f"no ImageNet weights for {net.name}: there are some for {', '.join(MODELS)}"
        )
    if net.channels != 3:
        raise FerlibError("ImageNet's weights are for RGB pictures: add --rgb (channels=3)")
    need("gluoncv", "zoo", "a start from ImageNet's weights")


def take_over(block: Any, net: Net, root: str | Path = "~/.mxnet/models") -> int:
    """Give a network, made for the declaration `net`, the values that are stored for its blocks.

    How many parameters they are for. `root` is where gluoncv keeps its files. FerlibError as by
    `check`, and where they cannot be fetched.
    """
    check(net)
    stored, taken = _stored(MODELS[net.name], root), 0
    for name, parameter in block.collect_params().items():
        # resnet18_resnetv10_stage1_conv0_weight is resnetv10_stage1_conv0_weight in gluoncv, where
        # the number after resnetv1 counts the models that there have been.
        value = stored.get(name.removeprefix(net.prefix).partition("_")[2])
        if value is not None and value.shape == parameter.shape:
            parameter.set_data(value)
            taken += 1
    return taken


def _stored(model: str, root: str | Path) -> dict[str, Any]:
    """The parameters of gluoncv's model by their names within it."""
    zoo = gluoncv()
    only = {"pretrained_base": False} if model == "googlenet" else {}  # not fetched twice
    made = zoo.get_model(model, pretrained=False, **only)
    made.load_parameters(_file(model, root), cast_dtype=True)
    return {name.removeprefix(made.prefix): p.data() for name, p in made.collect_params().items()}


def _file(model: str, root: str | Path) -> str:
    store = gluoncv("model_store")
    try:
        return store.get_model_file(model, root=str(root))
    except Exception as error:  # of requests, zipfile, portalocker ... by what is wrong
        reason = str(error).partition("\n")[0][:120]
        name = f"{model}-{store.short_hash(model)}.params"
        raise FerlibError(
            f"cannot fetch ImageNet's weights: {reason}\n"
            f"Try again with a network, or copy {name} to {root} from a machine that has it"
        ) from None
