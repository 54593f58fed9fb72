"""Images/s of one training step beside PyTorch's, in turns, and where the time of ours goes.

    python benchmarks/step.py [--turns 5]

Every competitor is a process that waits for its turn, with the same network, batch, loss and
optimiser: ferlib as it trains here, stock MXNet in float32, PyTorch in bfloat16 (channels last, and
plain) and in float32. PyTorch gets an environment of its own, build/torch, at the first run. Then
oneDNN names each primitive of our step (MKLDNN_VERBOSE) with its time; the convolutions alone are
the floor of what a step can take with these kernels. Writes results/step.json.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from conditions import ROOT, conditions, plainly, spread, write
from turns import Rival, take_turns

from ferlib.cli import arguments

TORCH = "torch==2.13.0"
NETS = {"vgg13": 128, "vgg13bn": 128, "vgg13lean": 128}  # and the batch
RIVALS = {
    "ferlib": ("auto", ""),
    "mxnet float32": ("float32", ""),
    "torch bfloat16 channels_last": ("bfloat16", "channels_last"),
    "torch bfloat16": ("bfloat16", "contiguous_format"),
    "torch float32 channels_last": ("float32", "channels_last"),
}


# ---------------------------------------------------------------- our side


def our_step(name: str, precision: str, batch: int, size: int | None = None, on_cpu: bool = False):
    """A function that takes one step of training, with pictures of its size or a smaller one."""
    import numpy as np

    from ferlib import nets, runtime, training
    from ferlib.data.dataset import Dataset

    rng, net = np.random.default_rng(0), nets.find(name)
    side = size or net.size
    x = rng.standard_normal((batch, net.channels, side, side), dtype=np.float32)
    y = rng.dirichlet(np.ones(net.classes), batch).astype(np.float32)
    grow = ((1, side / net.size),) if side < net.size else ()
    recipe = training.Recipe(net=name, batch_size=batch, precision=precision, lr=1e-3, grow=grow)
    unseen = np.zeros((batch, net.size, net.size), np.uint8)  # a run wants pictures of its own
    ctx = [training.precision.mx.cpu()] if on_cpu else runtime.contexts()
    run = training.Run(recipe, ctx, Dataset(unseen, y))

    def step() -> None:
        training.step(run, x, y).wait_to_read()
        runtime.import_mxnet().nd.waitall()

    return step


def work(name: str, precision: str, batch: str) -> None:
    """The other end of `Stepper`: so many steps for each number read -> seconds."""
    take_turns(our_step(name, precision, int(batch)))


# ---------------------------------------------------------------- in turns


class Stepper(Rival):
    """A process that takes training steps when asked."""

    def __init__(self, command: list, batch: int, env: dict | None = None):
        super().__init__(command, env)
        self.batch = batch

    def rate(self, steps: int) -> float:
        """Pictures a second."""
        return steps * self.batch / self.ask(str(steps))


def torch_python() -> Path:
    """The Python of build/torch, made at the first call."""
    folder = ROOT / "build" / "torch"
    python, done = folder / "bin" / "python", folder / "installed"
    if not done.exists() or done.read_text() != TORCH:
        print(f"installing {TORCH} into build/torch", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        install = [python, "-m", "pip", "install", "-q", TORCH, "numpy"]
        if subprocess.run(install, check=False).returncode:
            raise SystemExit(f"step: cannot install {TORCH} into {folder}; see above")
        done.write_text(TORCH)  # last: an installation cut off is done again
    return python


def vgg(net) -> dict:
    """A registered VGG as torch_step.py builds it; FerlibError for a net of another family."""
    from ferlib.errors import FerlibError
    from ferlib.nets.zoo.vgg import Plan

    plan = getattr(net.layers, "keywords", {}).get("plan")
    if not isinstance(plan, Plan):
        raise FerlibError(f"{net.name} is no VGG: benchmarks/torch_step.py builds no other nets")
    return asdict(plan) | {"size": net.size, "channels": net.channels, "classes": net.classes}


def rivals(name: str, batch: int) -> dict[str, Stepper]:
    from ferlib import nets, runtime

    spec = json.dumps(vgg(nets.find(name)))
    threads = {**os.environ, "OMP_NUM_THREADS": str(runtime.cores())}
    made = {}
    for rival, (precision, layout) in RIVALS.items():
        if layout:
            script = [torch_python(), Path(__file__).with_name("torch_step.py"), spec]
            command = [*script, precision, layout, batch]
        else:
            command = [sys.executable, __file__, "--work", name, precision, batch]
        made[rival] = Stepper(command, batch, threads)
    return made


def compare(name: str, batch: int, turns: int) -> dict:
    """Medians in images/s, and our ratio to each of the others, taken turn by turn."""
    running = rivals(name, batch)
    for rival in running.values():
        rival.rate(2)  # compile, fill the caches
    rates = {rival: [] for rival in running}
    for _ in range(turns):
        for rival, process in running.items():
            rates[rival].append(process.rate(4))
    for process in running.values():
        process.__exit__()
    ours = rates["ferlib"]
    report = {"batch": batch, "images_per_s": {k: median(v) for k, v in rates.items()}}
    report["ferlib_to"] = {
        rival: spread([a / b for a, b in zip(ours, theirs, strict=True)])
        for rival, theirs in rates.items()
        if rival != "ferlib"
    }
    return report


def median(values: list[float]) -> float:
    return round(statistics.median(values), 1)


# ---------------------------------------------------------------- where the time goes


def anatomy(name: str, batch: int, steps: int = 4) -> dict:
    """Milliseconds a step by kind of oneDNN primitive, and what the convolutions alone allow."""
    env = {**os.environ, "MKLDNN_VERBOSE": "1", "DNNL_VERBOSE": "1"}
    command = [sys.executable, __file__, "--look", name, "auto", str(batch), str(steps)]
    text = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
    watched = text.split("BEGIN\n")[1].split("END ")
    spent, counts = Counter(), Counter()
    for line in watched[0].splitlines():
        parts = line.split(",")
        if parts[1:2] == ["exec"]:
            kind = parts[3] + (" " + parts[5] if parts[3] == "convolution" else "")
            spent[kind] += float(parts[-1]) / steps
            counts[kind] += 1
    kernels = sorted({p.split(",")[4] for p in watched[0].splitlines() if ",convolution," in p})
    step = 1000 * float(watched[1].split()[0]) / steps
    alone = sum(ms for kind, ms in spent.items() if kind.startswith("convolution"))
    work = multiplications(name) * batch / alone / 1e6
    return {
        "step_ms": round(step, 1),
        "primitives_ms": {k: round(v, 1) for k, v in spent.most_common() if v >= 0.05},
        "calls": {kind: round(count / steps) for kind, count in counts.items()},
        "outside_onednn_ms": round(step - sum(spent.values()), 1),
        "convolution_kernels": kernels,
        "convolutions_share": round(alone / step, 3),
        "convolutions_multiply_adds_per_s": f"{work:.0f}e9",
        "ceiling_images_per_s": round(1000 * batch / alone, 1),
    }


def multiplications(name: str) -> int:
    """Multiply-adds of the convolutions for one picture: forward, to the data, to the weights."""
    from ferlib import nets

    first, *rest = (layer.multiply_adds for layer in convolutions(nets.find(name)))
    return 2 * first + 3 * sum(rest)  # nobody asks for the gradient of the pictures


def convolutions(net) -> list:
    """Those of a network's graph, in their order."""
    from ferlib import nets

    layers = nets.graph.layers(nets.create(net), net)
    return [layer for layer in layers if layer.op == "Convolution"]


def look(name: str, precision: str, batch: str, steps: str) -> None:
    step = our_step(name, precision, int(batch))
    for _ in range(2):
        step()
    print("BEGIN", flush=True)
    started = time.perf_counter()
    for _ in range(int(steps)):
        step()
    print("END", time.perf_counter() - started, flush=True)


@plainly
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=arguments.number, default=5)
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--look", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        return work(*args.work)
    if args.look:
        return look(*args.look)
    command = f"python benchmarks/step.py --turns {args.turns}"
    known = conditions(command, torch=TORCH.partition("==")[2], unit="images/s, median of turns")
    report = {"conditions": known}
    for name, batch in NETS.items():
        report[name] = compare(name, batch, args.turns) | {"anatomy": anatomy(name, batch)}
    write("step", report)


if __name__ == "__main__":
    main()
