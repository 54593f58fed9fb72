"""PyTorch's side of benchmarks/latency.py: the same net, weights and pictures, in build/torch.

    python benchmarks/torch_infer.py FOLDER PRECISION HOW BATCH OUT

FOLDER holds what latency.py prepared: plan.json, weights.npz and pictures.npy. HOW is "eager",
"autocast", "traced" or "compiled". Logits go to OUT; then, for every number read from stdin, so
many batches are answered, and the seconds they took are printed.
"""

import json
import signal
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from torch_step import build
from turns import take_turns

LAYOUT = torch.channels_last


def load(folder: Path) -> torch.nn.Module:
    """The stored net, ready to answer; both libraries list its parameters in the same order."""
    net = build(json.loads((folder / "plan.json").read_text()))
    names = [name for name in net.state_dict() if not name.endswith("num_batches_tracked")]
    with np.load(folder / "weights.npz") as stored:
        values = [torch.from_numpy(stored[key]) for key in stored.files]
    net.load_state_dict(dict(zip(names, values, strict=True)), strict=False)
    return net.eval().to(memory_format=LAYOUT)


def ready(net, pictures, precision: str, how: str, batch: int):
    """A function that answers a batch."""
    if precision == "int8":
        net = in_int8(net, pictures)
    elif precision == "bfloat16" and how != "autocast":
        net, pictures = net.bfloat16(), pictures.bfloat16()
    x = pictures[:batch].clone().to(memory_format=LAYOUT)
    if how == "autocast":
        return lambda: autocast(net, x)
    if how == "traced":
        net = torch.jit.optimize_for_inference(torch.jit.trace(net, x))
    if how == "compiled":
        net = torch.compile(net, options={"freezing": True})
    return lambda: net(x)


def autocast(net, x):
    with torch.autocast("cpu", torch.bfloat16):
        return net(x)


def in_int8(net, pictures):
    """Every layer in int8, its ranges found on the pictures themselves."""
    from torch.ao.quantization import get_default_qconfig_mapping, quantize_fx

    torch.backends.quantized.engine = "x86"
    seen = quantize_fx.prepare_fx(net, get_default_qconfig_mapping("x86"), (pictures,))
    seen(pictures)
    return quantize_fx.convert_fx(seen)


@torch.inference_mode()
def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a traceback
    warnings.simplefilter("ignore")  # PyTorch calls its own tracing and quantising deprecated
    folder, precision, how, batch, out = sys.argv[1:]
    net, pictures = load(Path(folder)), torch.from_numpy(np.load(Path(folder) / "pictures.npy"))
    answer = ready(net, pictures, precision, how, int(batch))
    for _ in range(10):  # tracing and compiling finish in the first few
        logits = answer()
    np.save(out, logits.float().numpy())
    take_turns(lambda: answer().float().numpy())


if __name__ == "__main__":
    main()
