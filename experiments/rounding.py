"""Make the int8 graphs of the shipped nets, and count the answers that they change.

    FERLIB_DATA=... python experiments/rounding.py [--test]

Calibrated on training pictures as `ferlib quantize` does; compared with float32 on the majority
images of validation and, with `--test`, of the test split, for both sources of votes; and on the
drawn faces, which are unlike what the ranges were found on. Needs a CPU that is fast at int8
(`ferlib info`). Writes model_store/NAME-int8.json and results/int8.json.
"""

import argparse
import sys
from dataclasses import asdict
from itertools import product

import pages

from benchmarks.conditions import ROOT, conditions, plainly, write
from ferlib import nets
from ferlib.data import fer2013
from ferlib.evaluation import compare
from ferlib.nets.calibration import CALIBRATED_ON, HEADROOM

NETS = ("ferplus", "ferplus-2", "ferplus-3", "ferplus-small")


def rounded(name: str, data: fer2013.Fer2013, splits: list[str]) -> list[dict]:
    """Quantize model_store/NAME -> one dict for every split and vote source."""
    prefix = ROOT / "model_store" / name
    nets.quantize(prefix, data.split("train", keep="usable").pictures)
    rows = []
    for split, protocol in product(splits, fer2013.PROTOCOLS):
        found = asdict(compare(prefix, data.split(split, protocol)))
        rows.append({"split": split, "protocol": protocol} | found)
    return rows


@plainly
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--test", action="store_true", help="read the test split as well")
    args = parser.parse_args()
    command = f"python experiments/rounding.py {' '.join(sys.argv[1:])}".strip()
    known = conditions(command, dataset="FER2013 with the FER+ votes")
    splits, data = ["valid", "test"] if args.test else ["valid"], fer2013.load()
    changed = {name: rounded(name, data, splits) for name in NETS}
    faces = fer2013.sample_data().split("valid")
    drawn = {name: asdict(compare(ROOT / "model_store" / name, faces)) for name in NETS}
    how = {"calibrated_on": CALIBRATED_ON, "headroom": HEADROOM}
    write("int8", {"conditions": known} | how | {"nets": changed, "drawn": drawn})
    pages.main()


if __name__ == "__main__":
    main()
