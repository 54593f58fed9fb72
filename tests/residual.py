"""A small residual network (He et al. 2016, arXiv 1512.03385), as a reader adds one: a file."""

from mxnet.gluon import HybridBlock, nn

from ferlib.nets import register


class Residual(HybridBlock):
    """Two convolutions and a way around them."""

    def __init__(self, old: int, new: int, stride: int, **kwargs):
        super().__init__(**kwargs)
        with self.name_scope():
            self.body = nn.HybridSequential()
            for channels, step in ((old, stride), (new, 1)):
                self.body.add(nn.Conv2D(new, 3, step, 1, in_channels=channels, use_bias=False))
                self.body.add(nn.BatchNorm(in_channels=new), nn.Activation("relu"))
            self.around = nn.Conv2D(new, 1, stride, in_channels=old, use_bias=False)

    def hybrid_forward(self, F, x):
        return F.Activation(self.body(x) + self.around(x), act_type="relu", name="out")


@register("residual", size=48, features=("residual0_out", "residual1_out"), note="for the tests")
def residual(net):
    yield nn.Conv2D(16, 3, padding=1, in_channels=net.channels, use_bias=False)
    yield nn.BatchNorm(in_channels=16)
    yield nn.Activation("relu")
    yield nn.MaxPool2D(2)
    yield Residual(16, 32, 2)
    yield Residual(32, 64, 2)
    yield nn.GlobalAvgPool2D()
    yield nn.Flatten()
    yield nn.Dense(net.classes, in_units=64)
