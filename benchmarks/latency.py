"""Milliseconds for an answer, beside PyTorch's, in turns, and where the time of ours goes.

    FERLIB_DATA=... python benchmarks/latency.py [--nets ferplus ferplus-small] [--turns 7]

Every competitor is a process that waits for its turn, with the same weights, pictures and number
of threads: ferlib in each precision, PyTorch (in the environment that step.py makes) as it is,
traced and compiled. A call takes a prepared batch and gives logits; "from crops" is
`nets.predict`, which prepares uint8 crops too. Then oneDNN names each primitive of our int8 call
with 64 pictures (MKLDNN_VERBOSE) and its time, and one picture is answered under other settings of
MXNet and of OpenMP. Writes results/latency.json; what int8 changes is counted by rounding.py.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from conditions import ROOT, conditions, spread, write
from step import TORCH, Stepper, convolutions, torch_python, vgg
from turns import take_turns

from ferlib import runtime
from ferlib.cli import arguments
from ferlib.data import fer2013
from ferlib.errors import FerlibError

CALLS = {1: 200, 64: 10}  # batch -> calls a turn: about half a second each
OURS = {
    "ferlib int8": "int8",
    "ferlib int8, from crops": "int8 crops",
    "ferlib fused float32": "fused",
    "ferlib float32": "float32",
    "ferlib bfloat16": "bfloat16",
}
THEIRS = {
    "torch int8, traced": ("int8", "traced"),
    "torch bfloat16": ("bfloat16", "eager"),
    "torch bfloat16, autocast": ("bfloat16", "autocast"),
    "torch bfloat16, traced": ("bfloat16", "traced"),
    "torch bfloat16, compiled": ("bfloat16", "compiled"),
    "torch float32": ("float32", "eager"),
    "torch float32, traced": ("float32", "traced"),
}
# How one picture is answered under other settings: (what is done to the net, environment).
SETTINGS = {
    "as it is": ("", {}),
    "static_shape=True": ("static", {}),
    "static_shape=False": ("dynamic", {}),
    "static, one thread": ("static", {"OMP_NUM_THREADS": "1"}),
    "static, threads sleep while they wait": ("static", {"OMP_WAIT_POLICY": "passive"}),
    "static, threads bound to cores": ("static", {"OMP_PROC_BIND": "true"}),
    "static, NaiveEngine": ("static", {"MXNET_ENGINE_TYPE": "NaiveEngine"}),
}
REFERENCE = "ferlib float32"  # whose answers the others should give
GOAL_MS, GOAL_TIMES = 2.0, 3.0  # one picture; 64 beside PyTorch's bfloat16


# ---------------------------------------------------------------- our side


def load(prefix, how: str):
    """The net and its Info: a precision of `nets.load`, or "bfloat16" as in training."""
    from ferlib import nets, training

    precision, _, setting = how.partition(" ")
    if precision == "bfloat16":
        net = training.in_bfloat16(original(prefix))  # fusing this graph made it slower
        net.hybridize(static_alloc=True, static_shape=True)
        return net, None
    net, info = nets.load(prefix, precision=precision)
    if setting in ("static", "dynamic"):
        net.hybridize(static_alloc=True, static_shape=setting == "static")
    return net, info.raw()  # so that answers can be compared with logits


def declared(prefix):
    """What the network of stored weights declares about itself, and what is stored beside them."""
    from ferlib import nets

    info = nets.Info.read(nets.places.stored_files(prefix)[2])
    return nets.find(info.network, info.channels, len(info.classes), info.input_size), info


def original(prefix):
    """The stored net as it was built, layer by layer."""
    from ferlib import nets
    from ferlib.nets.store import take_over

    net = nets.create(declared(prefix)[0])
    take_over(net, prefix)
    return net


def caller(prefix, how: str, folder: Path, batch: int):
    """A function that answers a batch of what `prepare` wrote."""
    from ferlib import nets

    net, info = load(prefix, how)
    if how.endswith("crops"):
        crops = np.load(folder / "crops.npy")[:batch]
        return lambda: nets.predict(net, crops, info)
    x = runtime.import_mxnet().nd.array(np.load(folder / "pictures.npy")[:batch])
    return lambda: net(x).asnumpy()


def work(prefix: str, how: str, folder: str, batch: str, out: str) -> None:
    """A competitor of ours, as a process."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a traceback
    call = caller(prefix, how, Path(folder), int(batch))
    for _ in range(10):
        answer = call()
    np.save(out, np.log(np.maximum(answer, 1e-12)) if how.endswith("crops") else answer)
    take_turns(call)


# ---------------------------------------------------------------- in turns


class Worker(Stepper):
    """A Stepper that ends at once, also when the others do not get as far as their first turn."""

    def __init__(self, command: list, batch: int, env: dict):
        try:
            super().__init__(command, batch, env)
        except BaseException:
            self.process.kill()
            raise

    def __exit__(self, *_error):
        self.process.kill()
        self.process.communicate()


def prepare(prefix, folder: Path) -> None:
    """What the processes share: 64 crops, the same as the net takes them, its plan and weights."""
    from ferlib.data.images import prepare as prepared

    net, info = declared(prefix)
    (folder / "plan.json").write_text(json.dumps(vgg(net)))
    crops = fer2013.load_or_sample().split("valid").pictures[: max(CALLS)]
    np.save(folder / "crops.npy", crops)
    np.save(folder / "pictures.npy", prepared(crops, net.size, info.normalise, net.channels))
    values = original(prefix).collect_params().values()
    np.savez(folder / "weights.npz", *(value.data().asnumpy() for value in values))


def environment(**more) -> dict:
    threads = {"OMP_NUM_THREADS": str(runtime.cores())}
    kept = {"TORCHINDUCTOR_CACHE_DIR": str(ROOT / "build" / "inductor")}
    return os.environ | threads | kept | {"TORCHINDUCTOR_COMPILE_THREADS": "1"} | more


def our_command(prefix, how: str, folder: Path, batch: int, name: str) -> list:
    out = folder / f"{name}-{batch}.npy"
    return [sys.executable, __file__, "--work", prefix, how, folder, batch, out]


def commands(prefix, folder: Path, batch: int) -> dict[str, list]:
    """The command of each competitor; torch.compile needs a C++ compiler."""
    made = {name: our_command(prefix, how, folder, batch, name) for name, how in OURS.items()}
    script = [torch_python(), Path(__file__).with_name("torch_infer.py"), folder]
    for name, (precision, how) in THEIRS.items():
        if how != "compiled" or shutil.which("g++"):
            made[name] = [*script, precision, how, batch, folder / f"{name}-{batch}.npy"]
    return made


def race(started: dict[str, tuple[list, dict]], batch: int, turns: int) -> dict[str, list[float]]:
    """name -> (command, environment) to name -> milliseconds a call, one for each turn."""
    spent = {name: [] for name in started}
    with ExitStack() as stack:
        workers = {}
        for name, (command, env) in started.items():
            workers[name] = stack.enter_context(Worker(command, batch, env))
        for _ in range(turns):
            for name, worker in workers.items():
                spent[name].append(1000 * batch / worker.rate(CALLS[batch]))
    return spent


def compare(prefix, folder: Path, batch: int, turns: int) -> dict:
    """Milliseconds, rates, and how many times as fast ours is as each, taken turn by turn."""
    env = environment()
    started = {name: (c, env) for name, c in commands(prefix, folder, batch).items()}
    spent = race(started, batch, turns)
    ours = "ferlib int8"
    return {
        "ms": {name: figures(ms) for name, ms in spent.items()},
        "pictures_per_s": {
            name: round(1000 * batch / statistics.median(ms), 1) for name, ms in spent.items()
        },
        "ferlib_to": {
            name: spread([theirs / mine for theirs, mine in zip(ms, spent[ours], strict=True)])
            for name, ms in spent.items()
            if name != ours
        },
        "answers": {name: agreement(folder, name, batch) for name in spent},
    }


def figures(ms: list[float]) -> dict:
    """Median and range in microseconds' resolution, finer than `spread` gives ratios."""
    low, middle, high = min(ms), statistics.median(ms), max(ms)
    return {"median": round(middle, 3), "lowest": round(low, 3), "highest": round(high, 3)}


def agreement(folder: Path, name: str, batch: int) -> dict:
    """Of the answers to the batch, how many are float32's, and the largest other probability."""
    from ferlib.nets.answer import softmax

    truth, mine = (softmax(np.load(folder / f"{n}-{batch}.npy")) for n in (REFERENCE, name))
    same = int((truth.argmax(axis=1) == mine.argmax(axis=1)).sum())
    change = float(f"{abs(mine - truth).max():.2g}")
    return {"same": same, "of": len(mine), "largest_change": change}


def settings(prefix, folder: Path, turns: int) -> dict:
    """Milliseconds for one picture in int8 under each of SETTINGS."""
    started = {}
    for name, (setting, env) in SETTINGS.items():
        command = our_command(prefix, f"int8 {setting}".strip(), folder, 1, name)
        started[name] = command, environment(**env)
    return {name: figures(ms) for name, ms in race(started, 1, turns).items()}


# ---------------------------------------------------------------- where the time goes


def look(prefix: str, how: str, folder: str, batch: str) -> None:
    """What `anatomy` reads: calls between BEGIN and END, while oneDNN tells what it runs."""
    call = caller(prefix, how, Path(folder), int(batch))
    for _ in range(5):
        call()
    print("BEGIN", flush=True)
    for _ in range(20):
        call()
    print("END", flush=True)


def anatomy(prefix, folder: Path, batch: int, call_ms: float) -> dict:
    """Milliseconds by oneDNN primitive, and how fast the convolutions alone would be."""
    env = environment(MKLDNN_VERBOSE="1", DNNL_VERBOSE="1")
    command = [sys.executable, __file__, "--look", prefix, "int8", folder, batch]
    command = [str(part) for part in command]
    text = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
    isa = next((line.partition("isa:")[2] for line in text.splitlines() if "isa:" in line), "")
    spent, calls = primitives(text.split("BEGIN\n")[1].split("END")[0], 20)
    alone = sum(ms for name, ms in spent.items() if name.startswith("convolution"))
    work = batch * sum(layer.multiply_adds for layer in convolutions(declared(prefix)[0]))
    return {
        "isa": isa,
        "primitives_ms": {name: round(ms, 3) for name, ms in spent.most_common()},
        "calls": dict(calls),
        "outside_onednn_ms": round(call_ms - sum(spent.values()), 3),
        "convolutions_share": round(alone / call_ms, 3),
        "multiply_adds_per_s": f"{work / alone / 1e6:.0f}e9",
        "ceiling_pictures_per_s": round(1000 * batch / alone, 1),
    }


def primitives(text: str, repeats: int) -> tuple[Counter, Counter]:
    """oneDNN's lines of equal calls -> milliseconds and number a call, by kind and kernel.

    Each primitive's time is the median over the calls: telling of it disturbs some.
    """
    rows = [line.split(",") for line in text.splitlines() if line.split(",")[1:2] == ["exec"]]
    times = np.array([float(row[-1]) for row in rows]).reshape(repeats, -1)
    spent, calls = Counter(), Counter()
    for row, ms in zip(rows, np.median(times, axis=0), strict=False):
        spent[f"{row[3]} {row[4]}"] += float(ms)
        calls[f"{row[3]} {row[4]}"] += 1
    return spent, calls


# ---------------------------------------------------------------- all of it


def measure(prefix, turns: int) -> dict:
    """Everything about one net."""
    with tempfile.TemporaryDirectory() as folder:
        folder, report = Path(folder), {}
        prepare(prefix, folder)
        report["network"] = declared(prefix)[0].name
        for batch in CALLS:
            report[f"batch {batch}"] = compare(prefix, folder, batch, turns)
        # Of many pictures: the call with one is so short that oneDNN's telling of it outlasts it.
        found = report[f"batch {batch}"]
        found["anatomy"] = anatomy(prefix, folder, batch, found["ms"]["ferlib int8"]["median"])
        report["settings_ms"] = settings(prefix, folder, turns)
    return report


def goals(report: dict) -> dict:
    """What was aimed at, and what was measured for one net."""
    one, many = (report[f"batch {batch}"] for batch in CALLS)
    rivals = [name for name in many["ferlib_to"] if name.startswith("torch bfloat16")]
    fastest = max(rivals, key=many["pictures_per_s"].get)
    ms, crop = (one["ms"][name]["median"] for name in ("ferlib int8", "ferlib int8, from crops"))
    times = many["ferlib_to"][fastest]["median"]
    first = {"ms": ms, "from_crop_ms": crop, "at_most": GOAL_MS, "met": ms <= GOAL_MS}
    second = {"times": times, "as_fast_as": fastest, "at_least": GOAL_TIMES}
    return {"one picture": first, "64 pictures": second | {"met": times >= GOAL_TIMES}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--nets", nargs="+", default=["ferplus", "ferplus-small"], metavar="NAME", help="or prefix"
    )
    parser.add_argument("--turns", type=arguments.number, default=7)
    parser.add_argument("--work", nargs=5, help=argparse.SUPPRESS)
    parser.add_argument("--look", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        return work(*args.work)
    if args.look:
        return look(*args.look)
    run(args.nets, args.turns)


def run(nets: list[str], turns: int) -> None:
    from ferlib.nets import find_weights

    command = f"python benchmarks/latency.py --nets {' '.join(nets)} --turns {turns}"
    known = conditions(command, torch=TORCH.partition("==")[2], unit="medians of turns")
    report = {"conditions": known | {"threads": runtime.cores()}, "nets": {}}
    try:
        for prefix in map(find_weights, nets):
            report["nets"][prefix.name] = measured = measure(prefix, turns)
            measured["goals"] = goals(measured)
    except (FerlibError, KeyboardInterrupt) as error:
        raise SystemExit(f"latency: {str(error) or 'interrupted'}; nothing is written") from None
    write("latency", report)


if __name__ == "__main__":
    main()
