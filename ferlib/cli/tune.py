"""ferlib tune: a search for settings."""

import shlex
from argparse import Namespace
from math import inf
from pathlib import Path
from typing import Any

from ferlib.cli import recipes
from ferlib.cli.arguments import add_command, amount, number, place
from ferlib.errors import need
from ferlib.files import check_free, check_place, check_text, whole_file

WRITTEN = ("trials.csv", "best.json", "history.png", "settings.png", "importances.png")
EPOCHS = 8  # of a trial: enough to tell settings apart, few enough for many trials


def tune(args: Namespace) -> dict:
    need("optuna", "tune", "a search for settings")  # asked before the work, not after it
    need("matplotlib", "plots", "drawing a search")
    from ferlib import training

    args.epochs = args.epochs or (None if args.recipe else EPOCHS)
    recipe = recipes.recipe(args)
    space = training.read_space(args.space, recipe) if args.space else None
    folder = Path(args.out)
    check_text(folder)
    check_place(*(folder / name for name in WRITTEN))
    if not (folder / "study.db").exists():
        check_free(folder, WRITTEN)
    network = recipe.network()
    splits = recipes.splits(args, network.size, network.channels)
    found = training.tune(
        *splits,
        recipe,
        space,
        args.trials,
        folder,
        args.figure,
        inf if args.minutes is None else args.minutes,
        data_options(args),
    )
    return _told(found, folder, args)


def _told(found: Any, folder: Path, args: Namespace) -> dict:
    from ferlib.training import study

    shares, chance = found.importances()
    drawn = _drawn(found, shares, chance, folder)
    best, command = found.best, study.command(folder, data_options(args))
    early = sum(row["state"] != "finished" for row in found.rows)
    print(f"{len(found.rows)} trials, {early} of them not to their end")
    print(f"best: trial {best['trial']}, {found.figure} {best[f'valid_{found.figure}']:.4f}")
    print(f"  {study.said(best['settings'])}")
    print(f"repeat it: {command}")
    print(f"wrote {', '.join(map(str, [folder / 'best.json', folder / 'trials.csv', *drawn]))}")
    known = {"best": best, "recipe": str(folder / "best.json"), "command": command}
    known |= {"trials": len(found.rows), "not_to_their_end": early}
    return known | {"importances": shares, "by_chance": chance if shares else None}


def _drawn(found: Any, shares: dict, chance: float, folder: Path) -> list[Path]:
    from ferlib import plots

    figures = {
        "history": plots.search_history(found.rows, found.figure),
        "settings": plots.setting_slices(found.rows, found.space, found.figure),
    }
    if shares:
        count = len(found.rows)
        figures["importances"] = plots.setting_importances(shares, chance, count)
    for name, figure in figures.items():
        with whole_file(folder / f"{name}.png") as partial:
            figure.savefig(partial, dpi=130)
    return [folder / f"{name}.png" for name in figures]


def data_options(args: Namespace) -> str:
    """How `ferlib train` is told of the same data."""
    words = ["--sample"] if args.sample else []
    for name in ("data", "protocol"):
        if getattr(args, name):
            words += [f"--{name}", getattr(args, name)]
    for name, usual in (("labels", "ferplus"), ("faces", "auto")):
        if getattr(args, name) != usual:
            words += [f"--{name}", getattr(args, name)]
    for name in ("without_duplicates", "own_classes"):
        words += [f"--{name.replace('_', '-')}"] if getattr(args, name) else []
    for one, emotion in args.map or ():
        words += ["--map", f"{one}={emotion}"]
    return shlex.join(words)


def add_commands(commands: Any) -> None:
    about = "search for settings: train again and again, shortly, and keep what does best"
    command = add_command(commands, "tune", tune, about)
    command.description = f"{about}; {EPOCHS} epochs a trial, unless --epochs says otherwise"
    add = command.add_argument
    add("--trials", type=number, default=20, help="in all: more of them go on from these")
    about = "begin no trial after so many (default: no limit)"
    add("--minutes", type=amount, help=about)
    about = "a JSON file of settings and their ranges: docs/tuning.md (default: around the recipe)"
    add("--space", type=place, metavar="FILE", help=about)
    about = "what is searched for, on validation"
    add("--figure", choices=("accuracy", "loss"), default="accuracy", help=about)
    add(
        "--out",
        type=place,
        default="runs/tune",
        metavar="FOLDER",
        help="the study, logs, best.json, plots",
    )
    recipes.add_data(command)
    recipes.add_recipe(command, epochs=EPOCHS, patience=False)
    recipes.add_teacher(command)
