"""What the spatial transformer and the residual masks of the bench's nets do to drawn faces.

    python experiments/inside.py [runs/bench]

Draws results/bench-warps.png with the folder's `deep_emotion`, and results/bench-masks.png with its
`resmasking`, both trained on FER+ with seed 0: whichever of them is there.
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.conditions import ROOT, plainly
from ferlib import nets, plots
from ferlib.data import cartoon
from ferlib.data.augment import Augmentation, augment
from ferlib.data.labels import SEVEN
from ferlib.errors import FerlibError
from ferlib.files import whole_file
from ferlib.nets.features import masks, warps
from ferlib.nets.places import weight_files

# As far as the bench's training moves its pictures.
MOVED = Augmentation(flip=0, erase=0, wear=0)


def faces() -> np.ndarray:
    """A drawn face of each emotion, moved: uint8 (7, 48, 48)."""
    rng = np.random.default_rng(0)
    return augment(np.stack([cartoon.draw(name, rng) for name in SEVEN]), 48, rng, MOVED)


def warped(prefix: Path) -> Figure:
    """The faces with the frames of what a stored `deep_emotion` takes of them."""
    net, info = nets.load(prefix)
    matrices, seen = warps(net, info, faces())
    far = np.abs(matrices - np.eye(2, 3)).max(axis=0)
    print("furthest from changing nothing:", far.round(3).tolist())
    return plots.warps(faces(), matrices, seen)


def masked(prefix: Path) -> Figure:
    """The faces under what the masks of a stored `resmasking` add, stage by stage."""
    net, info = nets.load(prefix)
    added = masks(net, info, faces())
    for stage in added:
        print(stage.shape[1:], f"adds {stage.min():.1%} to {stage.max():.1%}")
    return plots.masks(faces(), added)


DRAWN = {"warps": ("deep_emotion", warped), "masks": ("resmasking", masked)}


@plainly
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=Path("runs/bench"))
    args = parser.parse_args()
    there = {what: args.folder / f"{net}-ferplus-0" for what, (net, _) in DRAWN.items()}
    there = {what: prefix for what, prefix in there.items() if weight_files(prefix)[2].is_file()}
    if not there:
        raise FerlibError(f"{args.folder} holds neither deep_emotion nor resmasking")
    for what, prefix in there.items():
        with whole_file(ROOT / "results" / f"bench-{what}.png") as partial:
            DRAWN[what][1](prefix).savefig(partial, dpi=150)


if __name__ == "__main__":
    main()
