"""Make the int8 graphs of the shipped nets, and count the answers that they change.

    FERLIB_DATA=... python experiments/rounding.py [NET ...] [--test]

Calibrated on training pictures as `ferlib quantize` does; compared with float32 on the majority
images of validation and, with `--test`, of the test split, for both sources of votes, or on the
pictures with FER2013's own labels; and on the drawn faces, which are unlike what the ranges were
found on. Where nets are named, what was recorded of the others stays. Needs a CPU that is fast at
int8 (`ferlib info`). Writes model_store/NAME-int8.json and results/int8.json.
"""

import argparse
import sys
from dataclasses import asdict
from itertools import product

import pages

from benchmarks.conditions import ROOT, conditions, plainly, result, write
from ferlib import nets
from ferlib.data import fer2013
from ferlib.data.dataset import Dataset
from ferlib.errors import check_choice
from ferlib.evaluation import compare
from ferlib.nets.calibration import CALIBRATED_ON, HEADROOM

NETS = ("ferplus", "ferplus-2", "ferplus-3", "ferplus-small", "fer2013")
OWN_LABELS = "fer2013.csv"  # stands where the others have the file of their votes


def protocols(name: str) -> tuple[str, ...]:
    return (OWN_LABELS,) if name == "fer2013" else fer2013.PROTOCOLS


def part_of(data: fer2013.Fer2013, split: str, protocol: str) -> Dataset:
    return data.labelled(split) if protocol == OWN_LABELS else data.split(split, protocol)


def rounded(name: str, data: fer2013.Fer2013, splits: list[str]) -> list[dict]:
    """Quantize model_store/NAME -> one dict for every split and source of votes or labels."""
    prefix, own = ROOT / "model_store" / name, OWN_LABELS in protocols(name)
    learn = data.labelled("train") if own else data.split("train", keep="usable")
    nets.quantize(prefix, learn.pictures)
    rows = []
    for split, protocol in product(splits, protocols(name)):
        found = asdict(compare(prefix, part_of(data, split, protocol)))
        rows.append({"split": split, "protocol": protocol} | found)
    return rows


@plainly
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("nets", nargs="*", metavar="NET", help="default: all that ship")
    parser.add_argument("--test", action="store_true", help="read the test split as well")
    args = parser.parse_args()
    names = args.nets or NETS
    for name in names:
        check_choice("net", name, NETS)
    command = f"python experiments/rounding.py {' '.join(sys.argv[1:])}".strip()
    known = conditions(command, dataset="FER2013 with the FER+ votes")
    splits, data = ["valid", "test"] if args.test else ["valid"], fer2013.load()
    changed = {name: rounded(name, data, splits) for name in names}
    sample = fer2013.sample_data()
    faces = {name: part_of(sample, "valid", protocols(name)[0]) for name in names}
    drawn = {name: asdict(compare(ROOT / "model_store" / name, faces[name])) for name in names}
    how = {"calibrated_on": CALIBRATED_ON, "headroom": HEADROOM}
    report = {"conditions": known} | how | {"nets": changed, "drawn": drawn}
    if args.nets:
        report = beside(report, result("int8"))
    write("int8", report)
    pages.main()


def beside(new: dict, kept: dict) -> dict:
    """The recorded report with what was measured now; `later` says under which conditions."""
    later = kept.get("later", {}) | dict.fromkeys(new["nets"], new["conditions"])
    merged = {key: kept[key] | new[key] for key in ("nets", "drawn")}
    return kept | merged | {"later": later}


if __name__ == "__main__":
    main()
