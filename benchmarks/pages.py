"""Put the recorded figures into the pages that show them, between their markers.

    python benchmarks/pages.py

Reads results/*.json and rewrites the tables of README.md and model_store/README.md; a test of the
project compares them.
"""

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FRAMED = "as FER2013 framed it"
YES = {"none": "no", "flip": "yes"}
SPLITS = {"valid": "validation (PublicTest)", "test": "test (PrivateTest)"}


def result(name: str) -> dict:
    return json.loads((ROOT / "results" / f"{name}.json").read_text())


# ---------------------------------------------------------------- how good


def table(report: dict) -> str:
    """The figures of the shipped net."""
    trained, runs = report["trained"], report["runs"]
    lines = [
        f"The shipped net (`{report['network']}`, {report['parameters']:,} numbers): "
        f"{epochs_of(report)} epochs on {trained['pictures']:,} pictures, a round each. Images "
        "with a majority emotion, all eight emotions allowed as answers. The temperature is fitted "
        "to the validation majorities; KL is of the scores before it and before the bias for rare "
        "emotions.",
        "",
        "| split | votes | n | accuracy | with flip | balanced | KL to the voters "
        "| calibration error before, after temperature |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for plain, flip in zip(runs[::2], runs[1::2], strict=True):
        raw = plain["raw"]
        lines.append(
            f"| {SPLITS[plain['split']]} | `{plain['protocol']}` | {plain['n']:,} "
            f"| {plain['accuracy']:.2%} | {flip['accuracy']:.2%} "
            f"| {plain['balanced_accuracy']:.2%} | {raw['kl']:.3f} "
            f"| {raw['ece']:.3f}, {plain['ece']:.3f} |"
        )
    return "\n".join(lines)


def epochs_of(report: dict) -> str:
    """Those of each round, the first one first."""
    rounds = [*report["started_from"][::-1], report["trained"]]
    return " + ".join(str(how["recipe"]["epochs"]) for how in rounds)


def seeds_table(third: dict, second: dict, first: dict) -> str:
    """Mean and deviation over the nets of each round, and a net that never saw duplicates."""
    clean, rounds = first["without_duplicates"], (third, second, first)
    lines = [
        f"Mean and standard deviation of {len(third['trained_seeds'])} nets of the third round, of "
        f"which the one that did best on validation by `{third['seeds'][0]['protocol']}` ships "
        "(they differ in start, length and teachers as well as in their seeds; a fourth, shorter "
        "one was given up by its validation figures, see `results/search.md`); of the "
        f"second and of the first round, {len(first['trained_seeds'])} seeds of one recipe each "
        "(the first have no bias for rare emotions, which costs about 0.2 points); and one net of "
        f"the first round trained without the {clean['left_out']} pictures that also occur in "
        "validation or test:",
        "",
        "| split | votes | flip | third round | second round | first round "
        "| first without duplicates |",
        "|---|---|---|---|---|---|---|",
    ]
    for *rows, one in zip(*(each["seeds"] for each in rounds), clean["runs"], strict=True):
        where = f"{SPLITS[one['split']]} | `{one['protocol']}` | {YES[one['tta']]}"
        cells = " | ".join(map(spread, rows))
        lines.append(f"| {where} | {cells} | {one['accuracy']:.2%} |")
    return "\n".join(lines)


def spread(row: dict) -> str:
    return f"{row['mean']:.2%} \u00b1 {100 * row['deviation']:.2f}"


def agreement(report: dict) -> str:
    """The net beside single voters, where voters agree more and less."""
    run = report["runs"][-2]
    head = (
        f"Where voters agree, {SPLITS[run['split']]} by `{run['protocol']}`: how often the net, "
        "and how often a single one of the ten voters, names the majority's emotion:"
    )
    lines = [head, "", "| voters who share it | n | net | one voter |", "|---|---|---|---|"]
    for row in run["agreement"]:
        low, high = row["from"], row["below"]
        who = "all" if low == 1 else f"under {high:.0%}" if low == 0 else f"{low:.0%} to {high:.0%}"
        shown = f"{row['net']:.1%} | {row['voter']:.1%}" if row["n"] else "- | -"
        lines.append(f"| {who} | {row['n']:,} | {shown} |")
    return "\n".join(lines)


def per_emotion(report: dict) -> str:
    """Accuracy of each emotion on the last split that was read."""
    run = report["runs"][-2]
    counts = [sum(row) for row in run["confusion"]]
    head = f"Per emotion, {SPLITS[run['split']]} by `{run['protocol']}`:"
    lines = [head, "", "| emotion | n | found |", "|---|---|---|"]
    for (name, value), count in zip(run["per_emotion"].items(), counts, strict=True):
        lines.append(f"| {name} | {count} | {value:.1%} |" if count else f"| {name} | 0 | - |")
    return "\n".join(lines)


def accuracy_block() -> str:
    report = result("ferplus")
    parts = [
        table(report),
        seeds_table(report, result("ferplus-second"), result("ferplus-first")),
        per_emotion(report),
        agreement(report),
    ]
    return "\n\n".join(parts)


# ---------------------------------------------------------------- what ships

SHOWN = (("valid", "fer2013new.csv"), ("test", "fer2013new.csv"), ("test", "label.csv"))


def shipped_block() -> str:
    """The nets of model_store beside each other, alone and averaged, without and with flip."""
    columns = " | ".join(f"{SPLITS[split]}, `{protocol}`" for split, protocol in SHOWN)
    lines = [f"| | numbers | MB | {columns} |", "|---" * (3 + len(SHOWN)) + "|"]
    for name in ("ferplus", "ferplus-small", "ensemble"):
        lines.append(shipped_row(name, result(name)))
    return "\n".join([*lines, "", *shipped_notes()])


def shipped_notes() -> list[str]:
    """How the accuracies were measured, and every earlier look at the test split."""
    lines = [
        "Accuracy in float32 and with the bias for rare emotions, without and with flip averaging."
    ]
    for earlier in result("ensemble")["read_before"]:
        nets = ", ".join(f"`{net}`" for net in earlier["nets"])
        cells = (plain_and_flip(earlier["runs"], *where) for where in SHOWN[1:])
        lines.append(
            f"Before, the test split was read for another average, of {nets}: "
            f"{' and '.join(cells)}."
        )
    return lines


def shipped_row(name: str, report: dict) -> str:
    nets = list(report.get("members", [name]))
    files = (ROOT / "model_store" / f"{net}-0000.params" for net in nets)
    size = sum(path.stat().st_size for path in files) / 1e6
    names = ", ".join(f"`{net}`" for net in nets)
    cells = " | ".join(plain_and_flip(report["runs"], *where) for where in SHOWN)
    return f"| {names} | {report['parameters']:,} | {size:.1f} | {cells} |"


def plain_and_flip(runs: list[dict], split: str, protocol: str) -> str:
    found = [r["accuracy"] for r in runs if (r["split"], r["protocol"]) == (split, protocol)]
    return f"{found[0]:.2%}, {found[1]:.2%}" if found else "not read"


def int8_block() -> str:
    """What rounding to eight bits changes."""
    lines = ["| | split | n | same emotion | float32 | int8 |", "|---|---|---|---|---|---|"]
    for name, rows in result("int8")["nets"].items():
        for row in rows:
            full, rounded = row["accuracy"].values()
            where = f"{SPLITS[row['split']]}, `{row['protocol']}` | {row['n']:,}"
            lines.append(f"| `{name}` | {where} | {row['same']:.2%} | {full:.2%} | {rounded:.2%} |")
    return "\n".join([*lines, "", drawn_faces(result("int8")["drawn"])])


def drawn_faces(found: dict) -> str:
    """What rounding changes on pictures unlike those that the ranges were found on."""
    shown = ", ".join(f"{row['same']:.1%} for `{name}`" for name, row in found.items())
    count = next(iter(found.values()))["n"]
    return f"On {count} drawn faces, unlike anything in FER2013, the same emotion: {shown}."


# ---------------------------------------------------------------- which targets


def schemes_block() -> str:
    """The paper's table, and ours beside it."""
    report = result("schemes")
    groups, paper = report["groups"], report["paper"]
    one = next(iter(groups.values()))
    lines = [
        "The paper's four ways to make targets of votes, under one recipe: "
        f"`{report['recipe']['net']}`, {one['epochs']} epochs, {len(one['seeds'])} seeds each. "
        f"{CAPTION} [Notebook 10](notebooks/10_schemes.ipynb) takes it apart.",
        "",
        "| scheme | pictures | validation | test "
        f"| the paper's, \u00b1 {100 * paper['deviation']:.1f} | {MORE} |",
        "|---" * 7 + "|",
    ]
    for name, group in groups.items():
        cells = [name, f"{group['pictures']:,}", accuracy(group, VALID), accuracy(group, TEST)]
        cells += [f"{paper['accuracy'][name]:.2%}", *more(group, TEST)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", gaps(report, TEST)])


def teacher_block() -> str:
    """What it brings to learn from other nets' answers, too."""
    report = result("teacher")
    taught = next(group for group in report["groups"].values() if group["teacher"])
    lines = [
        f"`{report['recipe']['net']}` with targets that are {taught['teacher_share']:.0%} the mean "
        f"answer of {len(taught['teacher'])} larger nets, the rest votes; measured in the same "
        "way, on the validation split:",
        "",
        *targets_table(report),
    ]
    lengths = {group["epochs"] for group in report["groups"].values() if not group["teacher"]}
    alone = [n for n, group in report["groups"].items() if group["epochs"] not in lengths]
    note = [f"For {name} nothing learnt from votes alone as long." for name in alone]
    return "\n".join([*lines, "", " ".join([*note, gaps(report, VALID)])])


def views_block() -> str:
    """What it brings to be taught by answers for what the student sees."""
    report = result("views")
    one = next(iter(report["groups"].values()))
    lines = [
        f"`{report['recipe']['net']}`, gone on from `{Path(report['recipe']['start']).name}` (the "
        f"last line above) for {one['epochs']} epochs at full size. Either the mean answer of "
        f"{len(one['teacher'])} nets for each picture as it is stays its target, or they take "
        "turns and answer for what augmentation made of it (`--teacher-views`). All seeds start "
        "from the same weights, so they differ less than elsewhere:",
        "",
        *targets_table(report),
    ]
    return "\n".join([*lines, "", gaps(report, VALID)])


def targets_table(report: dict) -> list[str]:
    """Groups that differ in their targets, on validation."""
    lines = [f"| targets | seeds | accuracy | {MORE} |", "|---" * 5 + "|"]
    for name, group in report["groups"].items():
        cells = [name, str(len(group["seeds"])), accuracy(group, VALID), *more(group, VALID)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


CAPTION = (
    "Each net as it was trained, in float32, without bias and flip averaging; mean and standard "
    "deviation over the seeds. Validation is by `fer2013new.csv`, the rest on the test split by "
    "`label.csv`, as the paper's figures are; nothing was chosen by it. The temperature is fitted "
    "to the validation majorities."
)
VALID, TEST = ("valid", "fer2013new.csv"), ("test", "label.csv")
MORE = "KL to the voters | calibration error before, after temperature"


def accuracy(group: dict, where: tuple[str, str]) -> str:
    """Mean, and deviation where there is more than one seed."""
    figure = measured(group, where)["accuracy"]
    return f"{figure['mean']:.2%}" if figure["deviation"] is None else spread(figure)


def more(group: dict, where: tuple[str, str]) -> list[str]:
    """The cells below MORE."""
    row = measured(group, where)
    kl, *errors = (f"{row[key]['mean']:.3f}" for key in ("kl", "ece", "ece_tempered"))
    return [kl, ", ".join(errors)]


def measured(group: dict, where: tuple[str, str]) -> dict:
    return next(row for row in group["figures"] if (row["split"], row["protocol"]) == where)


def gaps(report: dict, where: tuple[str, str]) -> str:
    """The differences, seed by seed, and what the number of pictures leaves open."""
    row = measured(next(iter(report["groups"].values())), where)
    share, n = row["accuracy"]["mean"], row["n"]
    shown = "; ".join(gap(row) for row in report["differences"])
    return (
        "Differences in validation accuracy between nets of the same seed, in points, mean and "
        "standard error (with three pairs, a difference below about four standard errors may be "
        f"chance): {shown}. An accuracy on the {n:,} pictures of {SPLITS[where[0]]} has a sampling "
        f"error of {100 * (share * (1 - share) / n) ** 0.5:.1f} points."
    )


def gap(row: dict) -> str:
    shown = f"{row['from']} to {row['to']} {100 * row['mean']:+.2f}"
    error = row["standard_error"]
    return f"{shown} (one seed)" if error is None else f"{shown} \u00b1 {100 * error:.2f}"


# ---------------------------------------------------------------- how robust


def robust_block() -> str:
    """Accuracy under each degradation, and the plot beside it."""
    report = result("robust")
    known, first = report["conditions"], report["table"][0]["accuracy"]
    lines = [
        f"What worse pictures cost the shipped net: {SPLITS[known['split']]} by "
        f"`{known['protocol']}`, n = {known['n']:,}, each degraded at its own 48 x 48 pixels "
        f"(`{known['command']}`; [drawn as bars](results/robust.png)).",
        "",
        "| pictures | accuracy | change, points | balanced |",
        "|---|---|---|---|",
    ]
    for row in report["table"]:
        change = f"{100 * (row['accuracy'] - first):+.1f}" if row is not report["table"][0] else ""
        shown = f"{row['accuracy']:.1%} | {change} | {row['balanced_accuracy']:.1%}"
        lines.append(f"| {row['name']} | {shown} |")
    return "\n".join(lines)


# ---------------------------------------------------------------- how fast


def speed_block() -> str:
    """Training beside others, what bounds it, and the run against the clock."""
    return "\n\n".join([rivals(result("step")), speed_run(result("speedrun"))])


def rivals(report: dict) -> str:
    known = report["conditions"]
    nets = [name for name in report if name != "conditions"]
    head = " | ".join(f"`{net}`, batch {report[net]['batch']}" for net in nets)
    lines = [
        "Whole training steps of the paper's VGG13 (64 x 64), of the same with BatchNorm and of "
        "the net that ships (48 x 48): images/s, medians of turns in one run, and our ratio to "
        f"each ({known['cpu']}, {'with' if known['amx'] else 'no'} AMX; PyTorch {known['torch']}).",
        "",
        f"| | {head} |",
        "|---" * (len(nets) + 1) + "|",
    ]
    for rival in report[nets[0]]["images_per_s"]:
        cells = (rival_cell(report[net], rival) for net in nets)
        lines.append(f"| {rival} | {' | '.join(cells)} |")
    bound = (report[net]["anatomy"] for net in nets)
    cells = (f"{a['ceiling_images_per_s']:.0f}" for a in bound)
    lines.append(f"| the convolutions alone (the limit of these kernels) | {' | '.join(cells)} |")
    return "\n".join(lines)


def rival_cell(net: dict, rival: str) -> str:
    rate = f"{net['images_per_s'][rival]:.0f}"
    ratio = net["ferlib_to"].get(rival)
    return f"{rate} ({ratio['median']:.2f} times)" if ratio else f"**{rate}**"


def speed_run(report: dict) -> str:
    known, recipe = report["conditions"], report["recipe"]
    tests = [r for r in report["test"] or [] if r["tta"] == "none"]
    shown = " and ".join(f"{r['accuracy']:.2%} by `{r['protocol']}`" for r in tests)
    return (
        f"Against the clock: `{known['command']}` took {report['minutes']:.1f} minutes on "
        f"{known['cpu']}, from the start of the process to a net of {recipe['epochs']} epochs "
        f"that reads {report['valid_accuracy']:.2%} of the validation split; the mark, fixed "
        f"beforehand, was {report['mark']:.1%}. On the test split, read once: {shown} (the paper's "
        f"best: {report['paper']:.2%})."
    )


def latency_block() -> str:
    """How fast nets answer beside PyTorch, and how far that is from what was aimed at."""
    report = result("latency")
    name, net = next(iter(report["nets"].items()))
    return "\n\n".join([answers(report), aims(name, net), answer_limit(name, net)])


def answers(report: dict) -> str:
    """A row for each competitor, two columns for each net."""
    known, nets = report["conditions"], report["nets"]
    head = " | ".join(f"`{net}`, one picture | `{net}`, 64 pictures" for net in nets)
    lines = [
        "A prepared batch in, logits out: milliseconds for one picture, and pictures/s with 64 at "
        "a time, medians of turns in one run with the same weights, pictures and "
        f"{known['threads']} threads; in brackets how many times as fast our int8 is, the "
        "median of each turn's ratio "
        f"({known['cpu']}, {'with' if known['amx'] else 'no'} AMX; PyTorch {known['torch']}, all "
        'channels_last). Only the row "from crops" prepares the pictures too.',
        "",
        f"| | {head} |",
        "|---" * (2 * len(nets) + 1) + "|",
    ]
    for rival in next(iter(nets.values()))["batch 1"]["ms"]:
        cells = (answer_cells(net, rival) for net in nets.values())
        lines.append(f"| {rival} | {' | '.join(cells)} |")
    return "\n".join(lines)


def answer_cells(net: dict, rival: str) -> str:
    one, many = net["batch 1"], net["batch 64"]
    shown = f"{one['ms'][rival]['median']:.2f} ms", f"{many['pictures_per_s'][rival]:,.0f}"
    ratios = one["ferlib_to"].get(rival), many["ferlib_to"].get(rival)
    cells = zip(shown, ratios, strict=True)
    return " | ".join(f"{cell} ({r['median']:.2f})" if r else f"**{cell}**" for cell, r in cells)


def aims(name: str, net: dict) -> str:
    """What was aimed at for the default net, fixed before it was measured."""
    one, many = net["goals"]["one picture"], net["goals"]["64 pictures"]
    return (
        f"For `{name}` the aim was one picture in at most {one['at_most']:g} ms, which is "
        f"{reached(one)} ({one['ms']:.2f} ms; {one['from_crop_ms']:.2f} from the crop), and 64 "
        f"pictures {many['at_least']:g} times as fast as PyTorch in bfloat16, which is "
        f"{reached(many)}: {many['times']:.2f} times its fastest row (`{many['as_fast_as']}`)."
    )


def reached(goal: dict) -> str:
    return "reached" if goal["met"] else "not reached"


def answer_limit(name: str, net: dict) -> str:
    """What bounds int8."""
    many = net["batch 64"]["anatomy"]
    return (
        f"The limit: with 64 pictures, {many['convolutions_share']:.0%} of `{name}`'s int8 time "
        f"goes into the convolutions, {many['multiply_adds_per_s'].removesuffix('e9')} thousand "
        f"million multiply-adds a second; alone they would make "
        f"{many['ceiling_pictures_per_s']:,.0f} pictures/s."
    )


def faces_block() -> str:
    """What the crop around a face is worth, and which faces are found."""
    again, crops = result("crop")["found_again"], result("crop")["found_again"]["crops"]
    used = crops[f"square of {result('crop')['used']:g}"]["accuracy"]
    wide, raw = (crops[f"box with a margin of {m}%"]["accuracy"] for m in (40, 0))
    framed, scenes = crops[FRAMED]["accuracy"], result("detector")["all"]
    return (
        "A face is cut out as FER2013 frames faces. "
        f"In {again['found']:.1%} of {again['n']:,} validation pictures, enlarged, moved and "
        f"padded, the face is found again, and this crop then reads {used:.1%} right. As FER2013 "
        f"framed them it is {framed:.1%}, in the detector's box {raw:.1%}, with a margin of 40 % "
        f"{wide:.1%} (`benchmarks/crop.py`). Of {scenes['faces']} faces from 36 pixels on, in "
        f"scenes of 640 x 480 to 3000 x 2250, {scenes['find']['recall']:.1%} are found, with "
        f"{scenes['find']['false_a_scene']:.2f} false ones a scene (`benchmarks/detector.py`)."
    )


# ---------------------------------------------------------------- the pages


def video_block() -> str:
    """How fast a video is read."""
    report = result("video")
    plain, copied = (
        next(row for row in report["whole"] if row["every"] == 5 and row["copy"] is copy)
        for copy in (False, True)
    )
    parts, cpu = report["parts_ms"], report["conditions"]["cpu"]
    return (
        f"At 640 x 480 with one face that makes {plain['frames_per_second']:.0f} frames a second, "
        f"{copied['frames_per_second']:.0f} with an annotated copy ({cpu}). The detector takes "
        f"{parts['detect at 640x480']:.0f} ms every fifth time; tracking takes "
        f"{parts['track, one face']:.1f} ms a frame, the net {parts['classify, one face']:.1f}, "
        f"drawing {parts['draw']:.1f} ([benchmarks/video.py](benchmarks/video.py))."
    )


BLOCKS = {
    "shipped": shipped_block,
    "int8": int8_block,
    "results": accuracy_block,
    "schemes": schemes_block,
    "teacher": teacher_block,
    "views": views_block,
    "robust": robust_block,
    "latency": latency_block,
    "speed": speed_block,
    "faces": faces_block,
    "video": video_block,
}
PAGES = {
    "README.md": (
        "shipped",
        "results",
        "schemes",
        "teacher",
        "views",
        "robust",
        "latency",
        "speed",
        "faces",
        "video",
    ),
    "model_store/README.md": ("shipped", "int8", "results"),
}


def between(name: str, text: str) -> str:
    return f"<!-- {name}: begin -->\n{text}\n<!-- {name}: end -->"


def main() -> None:
    for page, names in PAGES.items():
        text = (ROOT / page).read_text()
        for name in names:
            old = re.compile(between(name, ".*"), re.DOTALL)
            new = between(name, BLOCKS[name]())
            text, count = old.subn(lambda _, new=new: new, text)
            if not count:
                raise SystemExit(f"{page} lacks the markers of {name!r}")
        (ROOT / page).write_text(text)


if __name__ == "__main__":
    main()
