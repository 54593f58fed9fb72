"""PyTorch's side of benchmarks/step.py: the same network and step, in PyTorch's own environment.

    python benchmarks/torch_step.py PLAN PRECISION LAYOUT BATCH

PLAN is the JSON that `step.vgg` gives. For every number read from stdin, so many steps are
taken, and the seconds they took are printed.
"""

import json
import sys
from itertools import zip_longest

import torch
import torch.nn.functional as F
from torch import nn
from turns import take_turns


def build(plan: dict) -> nn.Sequential:
    layers, channels, side = [], plan["channels"], plan["size"]
    for (count, width), dropout in zip_longest(plan["blocks"], plan["dropout"], fillvalue=0):
        for _ in range(count):
            layers.append(nn.Conv2d(channels, width, 3, padding=1, bias=not plan["batch_norm"]))
            layers += [nn.BatchNorm2d(width)] if plan["batch_norm"] else []
            layers.append(nn.ReLU(inplace=True))
            channels = width
        layers.append(nn.MaxPool2d(2))
        layers += [nn.Dropout(dropout)] if dropout else []
        side //= 2
    if not plan["dense"]:
        layers.append(nn.AdaptiveAvgPool2d(1))
        side = 1
    layers.append(nn.Flatten())
    features = channels * side * side
    for width in plan["dense"]:
        layers += [nn.Linear(features, width), nn.ReLU(inplace=True)]
        layers.append(nn.Dropout(plan["last_dropout"]))
        features = width
    layers += [] if plan["dense"] else [nn.Dropout(plan["last_dropout"])]
    return nn.Sequential(*layers, nn.Linear(features, plan["classes"]))


def main() -> None:
    plan, precision, layout, batch = json.loads(sys.argv[1]), *sys.argv[2:4], int(sys.argv[4])
    layout = getattr(torch, layout)
    net = build(plan).to(memory_format=layout)
    x = torch.randn(batch, plan["channels"], plan["size"], plan["size"]).to(memory_format=layout)
    y = torch.softmax(torch.randn(batch, plan["classes"]), 1)
    how = {"lr": 1e-3, "momentum": 0.9, "weight_decay": 5e-4, "nesterov": True}
    optimizer = torch.optim.SGD(net.parameters(), **how)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            logits = net(x)
        loss = -(y * F.log_softmax(logits.float(), 1)).sum(1).mean()
        loss.backward()
        optimizer.step()

    take_turns(step)


if __name__ == "__main__":
    main()
