"""Train on FER2013's own seven labels, from a net that has learnt FER+'s votes.

    FERLIB_DATA=... python experiments/seven.py --start ferplus --out runs/seven/a

Both sets of labels are of the same training pictures: nothing from outside is used. The votes also
soften the labels (`--soft`), and so may nets that have learnt the seven classes before
(`--teacher`). Settings are chosen on PublicTest. `--ship NAME`, also of a run that is finished,
copies the net to model_store/NAME, its log and those of its teachers to results/seven/.
"""

import argparse
import sys
from pathlib import Path

from compare import keep_logs
from record import ship

from benchmarks.conditions import plainly
from ferlib import training
from ferlib.data import fer2013
from ferlib.nets.info import Info
from ferlib.nets.places import find_weights, stored_files


@plainly
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--start", default="ferplus")
    parser.add_argument("--out", required=True)
    parser.add_argument("--soft", type=float, default=0.5)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--lr", type=float, default=0.03)
    parser.add_argument("--mixup", type=float, default=0.0, help="alpha")
    parser.add_argument("--average", type=float, default=0.0, help="decay a step")
    parser.add_argument("--grow", action="store_true", help="smaller pictures at first")
    parser.add_argument("--teacher", action="append", default=[], help="answers to what it sees")
    parser.add_argument("--share", type=float, default=0.5, help="of the targets, the teachers'")
    parser.add_argument("--side", type=int, default=0, help="of the pictures, in pixels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ship", metavar="NAME")
    args = parser.parse_args()
    data = fer2013.load()
    learn, valid = data.labelled("train", soft=args.soft), data.labelled("valid")
    start = Info.read(stored_files(find_weights(args.start))[2])
    how = {
        name: getattr(args, name) for name in ("start", "epochs", "lr", "mixup", "average", "seed")
    }
    how |= {"side": args.side or start.side or 0}
    how |= {} if args.grow else {"grow": ()}
    how |= {"teacher": tuple(args.teacher), "teacher_views": bool(args.teacher)}
    recipe = training.Recipe(net=start.network, batch_size=64, teacher_share=args.share, **how)
    command = " ".join(["python", *sys.argv])
    training.train_to(args.out, learn, valid, recipe, command=command)
    if args.ship:
        ship(args.out, args.ship)
        taught = [net for net in args.teacher if Path(f"{net}-run").is_dir()]  # not those that ship
        keep_logs("seven", [args.out, *taught])


if __name__ == "__main__":
    main()
