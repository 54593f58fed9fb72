"""notebooks/images/09_halving.gif: eight settings, of which the worse half is given up each round.

Trains as chapter 9 does, on drawn faces, for about ten seconds.
"""

import moving
import numpy as np
from matplotlib import rc_context
from PIL import Image

from ferlib import runtime, training
from ferlib.data import fer2013, images
from ferlib.data.augment import Augmentation, augment
from ferlib.plots.style import BLUES, FAINT, MARK, STYLE, new_figure

mx = runtime.import_mxnet()
from mxnet import autograd, gluon, nd  # noqa: E402  (after import_mxnet has prepared it)
from mxnet.gluon import nn  # noqa: E402

ROUNDS = (2, 4, 8)  # epochs


def settings() -> list[tuple[float, ...]]:
    """Eight of (rate, weight decay, dropout, augmentation): those that the chapter draws."""
    rng = np.random.default_rng(0)
    drawn = [
        (10 ** rng.uniform(-3.5, -0.5), 10 ** rng.uniform(-5, -2), *rng.uniform(0, (0.5, 1)))
        for _ in range(20)
    ]
    return drawn[12:]


def network(dropout: float) -> nn.HybridSequential:
    net = nn.HybridSequential()
    for channels in (16, 32, 64):
        net.add(nn.Conv2D(channels, 3, padding=1, use_bias=False), nn.BatchNorm())
        net.add(nn.Activation("relu"), nn.MaxPool2D(2))
    net.add(nn.Flatten(), nn.Dropout(dropout), nn.Dense(8, weight_initializer="zeros"))
    net.initialize(mx.init.MSRAPrelu())
    net.hybridize()
    return net


def loss_after(setting: tuple[float, ...], epochs: int, learn, valid) -> float:
    """The validation loss of one training on 640 faces."""
    lr, decay, dropout, s = setting
    mx.random.seed(0)
    net, rng = network(dropout), np.random.default_rng(0)
    how = {"momentum": 0.9, "wd": decay}
    trainer = gluon.Trainer(net.collect_params(), "nag", how)
    moves = Augmentation(15 * s, 0.08 * s, 1 + 0.2 * s, 0.07 * s, 0.5, 0.2 * s, wear=0.3 * s)
    loss_of, recipe = training.VoteLoss(), training.Recipe(lr=lr)
    order = np.concatenate([rng.permutation(640) for _ in range(epochs)]).reshape(-1, 32)
    for number, rows in enumerate(order):
        moved = augment(learn[0][rows], 24, rng, moves)
        trainer.set_learning_rate(recipe.rate(number, len(order)))
        with autograd.record():
            x = nd.array(images.normalised(moved, "standardise"))
            loss = loss_of(net(x), nd.array(learn[1][rows]))
        loss.backward()
        trainer.step(len(rows))
        loss.wait_to_read()
    x = nd.array(images.prepare(valid.pictures, 24, "standardise"))
    return float(loss_of(net(x), nd.array(valid.shares)).mean().asscalar())


def frame(rounds: list[dict[int, float]], alive: set[int], title: str) -> Image.Image:
    """rounds: for each, setting -> loss."""
    figure = new_figure(6.4, 3.4)
    ax = figure.subplots()
    for setting in range(8):
        path = [one[setting] for one in rounds if setting in one]
        colour = BLUES[3] if setting in alive else FAINT
        last = len(alive) == 1 and setting in alive
        ax.plot(ROUNDS[: len(path)], path, "o-", color=MARK if last else colour, ms=8)
    ax.set_xscale("log", base=2)
    ax.set(xlabel="epochs of training", ylabel="validation loss", xlim=(1.8, 8.9), ylim=(0.8, 2.3))
    ax.set_xticks(ROUNDS, [str(epochs) for epochs in ROUNDS])
    ax.minorticks_off()
    ax.set_title(title)
    return moving.frame(figure)


def main() -> None:
    data = fer2013.load_or_sample()
    train, valid = data.split("train", keep="usable"), data.split("valid")
    rows = np.random.default_rng(0).permutation(len(train))[:640]
    learn = images.resize(train.pictures[rows], 24), train.shares[rows]
    all_settings, alive, rounds = settings(), set(range(8)), []
    frames, lasting = [], []
    with rc_context(STYLE):
        for epochs in ROUNDS:
            rounds.append({})
            for setting in sorted(alive):
                rounds[-1][setting] = loss_after(all_settings[setting], epochs, learn, valid)
                frames.append(frame(rounds, alive, f"{len(alive)} settings, {epochs} epochs each"))
                lasting.append(350)
            alive = set(sorted(alive, key=rounds[-1].get)[: len(alive) // 2])
            kept = "the best stays" if len(alive) == 1 else f"the better {len(alive)} go on"
            frames.append(frame(rounds, alive, kept))
            lasting.append(1400)
    lasting[-1] = 3500
    moving.write("09_halving.gif", moving.own_colours(frames, 32), lasting)


if __name__ == "__main__":
    main()
