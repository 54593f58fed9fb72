"""How fast each network learns under the bench's recipe, and answers: one core, one after another.

    OMP_NUM_THREADS=1 python benchmarks/zoo.py

Each in a process of its own, on the drawn faces where FER2013 is not there: speed does not ask what
a picture shows. For a machine with nothing else to do; it takes about ten minutes. The bench counts
its epochs by such speeds. Writes results/zoo.json.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from conditions import conditions, plainly, write

MOST_LOAD = 0.5  # processes that wait for a core, on average in the last minute


def work(name: str) -> dict:
    """Pictures a second in training, and milliseconds for 1 and for 64 pictures."""
    from ferlib import nets
    from ferlib.data import fer2013
    from ferlib.evaluation import contest

    rate = contest.speed(name, fer2013.load_or_sample())
    with tempfile.TemporaryDirectory() as folder:
        prefix = Path(folder, name)
        nets.save(nets.create(name), prefix, nets.Info.of(nets.find(name)))
        net, info = nets.load(prefix, precision="fused")  # as `contest.row` measures it
        return {"images_per_s": round(rate, 1), "ms": contest.latency(net, info)}


def asked(name: str) -> dict:
    """`work` in a new process."""
    command = [sys.executable, __file__, "--work", name]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"zoo: {name} was not measured; see above")
    print(f"{name:14} {done.stdout.strip()}", flush=True)
    return json.loads(done.stdout)


@plainly
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--work", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        return print(json.dumps(work(args.work)))
    from ferlib.evaluation import contest

    if os.environ.get("OMP_NUM_THREADS") != "1":
        raise SystemExit("zoo: the bench counts on one core: set OMP_NUM_THREADS=1")
    known = conditions("python benchmarks/zoo.py")
    if known["load_before"] > MOST_LOAD:
        raise SystemExit(f"zoo: a load of {known['load_before']}: wait until nothing else runs")
    found = {name: asked(name) for name in contest.contenders()}
    write("zoo", {"conditions": known, "nets": found})


if __name__ == "__main__":
    main()
