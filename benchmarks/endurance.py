"""Does the server hold: 100,000 requests, three in ten of them bad, its memory, then faults.

    python benchmarks/endurance.py [--requests 100000] [--without-faults]

Eight clients send drawn faces of 48x48 pixels, photographs (1 in 20), several pictures at once and
every kind of bad request (kinds.py). Every good one must get the answer that its first got, every
bad one its 4xx. The memory of all of the server's processes is taken after every 500. Then a new
server meets what faults.py has. Writes results/endurance.json and results/endurance.png.
"""

import argparse
import asyncio
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

import kinds
import numpy as np
from clients import Answer, Client, Served, request, served
from conditions import ROOT, conditions, plainly, write
from faults import all_faults
from kinds import HANG_UP, Kind
from tqdm import tqdm

from ferlib import plots
from ferlib.cli import arguments
from ferlib.files import whole_file

CLIENTS, EVERY, SEED = 8, 500, 0
BAD, PHOTOGRAPHS, FORMS = 0.3, 0.035, 0.105  # shares of all requests; crops are the rest
FIRST = 1000  # requests until when the memory may still grow
ROWS = 3  # samples of the memory that a figure is the median of
SHOWN = 20  # wrong answers that the report tells of

Plan = list[tuple[str, Kind]]


# ---------------------------------------------------------------- 100,000 requests


def plan(requests: int) -> Plan:
    """What is sent, in this order; a share of each group, evenly over its kinds."""
    photograph = Kind(request(kinds.large(), "image/jpeg"), (200,))
    each = kinds.bad(), {"photograph": photograph}, kinds.other_forms(), kinds.crops()
    groups = [list(group.items()) for group in each]
    shares = [BAD, PHOTOGRAPHS, FORMS, 1 - BAD - PHOTOGRAPHS - FORMS]
    rng = np.random.default_rng(SEED)
    chosen = rng.choice(len(groups), requests, p=shares)
    return [groups[group][rng.integers(len(groups[group]))] for group in chosen]


@dataclass
class Storm:
    """What came of the requests."""

    statuses: dict[str, Counter] = field(default_factory=dict)  # by kind
    first: dict[str, bytes] = field(default_factory=dict)  # a good kind's first answer
    other: int = 0  # good ones whose answer was not their first
    wrong: list[dict] = field(default_factory=list)
    memory: list[dict] = field(default_factory=list)

    def note(self, number: int, name: str, kind: Kind, answer: Answer) -> None:
        said = "hung up" if kind.due == HANG_UP else answer.status
        self.statuses.setdefault(name, Counter())[said] += 1
        right = answer.status in kind.due or kind.due == HANG_UP
        if answer.status == 200 and right:
            right = self.first.setdefault(name, answer.body) == answer.body
            self.other += not right
        if not right:
            text = answer.body[:200].decode(errors="replace")
            self.wrong.append({"request": number, "kind": name, "status": said, "answer": text})


async def send(client: Client, kind: Kind) -> Answer:
    if kind.due == HANG_UP:
        return await client.hang_up(kind.raw)
    return await client.ask(kind.raw)


async def storm(server: Served, requests: Plan) -> Storm:
    """All requests by eight clients, whoever is free; every 500 they pause for the memory."""
    found, clients = Storm(), [Client(server.port) for _ in range(CLIENTS)]
    numbered = enumerate(requests)
    found.memory.append({"requests": 0} | server.memory())
    with tqdm(total=len(requests), unit="request", disable=None) as bar:
        while block := list(islice(numbered, EVERY)):
            left = iter(block)
            await asyncio.gather(*(_ask(client, left, found) for client in clients))
            found.memory.append({"requests": block[-1][0] + 1} | server.memory())
            bar.update(len(block))
    for client in clients:
        client.close()
    return found


async def _ask(client: Client, left: Iterator[tuple[int, tuple[str, Kind]]], found: Storm) -> None:
    for number, (name, kind) in left:
        found.note(number, name, kind, await send(client, kind))


# ---------------------------------------------------------------- what it tells


def total(sample: dict) -> float:
    return sum(mb for name, mb in sample.items() if name != "requests")


def growth(samples: list[dict]) -> dict:
    """MB after the first thousand requests and at the end, medians of a few samples each."""
    later = [sample for sample in samples if sample["requests"] >= FIRST] or samples
    parts = {name: _both(later, name) for name in samples[0] if name != "requests"}
    early, late = (statistics.median(map(total, some)) for some in _ends(later))
    return {
        "after_1000_mb": round(early),
        "at_end_mb": round(late),
        "growth_percent": round(100 * (late / early - 1), 2),
        "highest_mb": round(max(map(total, samples))),
        "by_process_mb": parts,
    }


def _both(samples: list[dict], name: str) -> list[int]:
    return [round(statistics.median(row[name] for row in some)) for some in _ends(samples)]


def _ends(samples: list[dict]) -> tuple[list[dict], list[dict]]:
    return samples[:ROWS], samples[-ROWS:]


def told(found: Storm, requests: Plan, seconds: float) -> dict:
    """The report's part on the requests."""
    good = {name for name, kind in requests if kind.due == (200,)}
    all_of = sum(found.statuses.values(), Counter())
    answers = {status: n for status, n in all_of.items() if isinstance(status, int)}
    return {
        "requests": len(requests),
        "bad_kinds": len(found.statuses) - len(good),
        "bad_percent": round(100 * np.mean([name not in good for name, _ in requests]), 1),
        "seconds": round(seconds),
        "requests_per_s": round(len(requests) / seconds, 1),
        "by_status": {str(status): n for status, n in sorted(all_of.items(), key=str)},
        "lost": answers.get(0, 0),
        "server_errors": sum(n for status, n in answers.items() if status >= 500),
        "good_answered_otherwise_than_first": found.other,
        "wrong": len(found.wrong),
        "wrong_ones": found.wrong[:SHOWN],
        "by_kind": {
            name: {str(status): n for status, n in counts.items()}
            for name, counts in sorted(found.statuses.items())
        },
    }


@plots.styled
def drawing(samples: list[dict]) -> plots.Picture:
    """Memory of each kind of process over the requests, and of all together."""
    figure = plots.Picture(figsize=(8, 4), layout="constrained")
    ax = figure.subplots()
    at = [sample["requests"] for sample in samples]
    names = [name for name in samples[0] if name != "requests"]
    ax.plot(at, [total(sample) for sample in samples], color=plots.INK, label="all processes")
    for name, colour in zip(names, plots.BLUES[1:], strict=True):
        ax.plot(at, [sample[name] for sample in samples], color=colour, label=name)
    ax.set_xlabel("requests")
    ax.set_ylabel("memory (MB, proportional set size)")
    ax.set_ylim(bottom=0)
    ax.legend(loc="center right")
    return figure


def measure(requests: int) -> tuple[dict, list[dict]]:
    """The report on so many requests, and the samples of the memory."""
    planned = plan(requests)
    with served() as server:
        before, started = server.workers(), time.perf_counter()
        found = asyncio.run(storm(server, planned))
        report = told(found, planned, time.perf_counter() - started)
        report["workers_lost"] = len(before - server.workers())
    return report | {"memory": growth(found.memory)}, found.memory


@plainly
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=arguments.number, default=100_000)
    parser.add_argument("--without-faults", action="store_true")
    args = parser.parse_args()
    command = f"python benchmarks/endurance.py --requests {args.requests}"
    command += " --without-faults" * args.without_faults
    known = conditions(command, clients=CLIENTS, seed=SEED, memory="proportional set size")
    report, samples = measure(args.requests)
    if not args.without_faults:
        report["faults"] = all_faults()
    report["samples"] = [list(sample.values()) for sample in samples]
    write("endurance", {"conditions": known} | report)
    with whole_file(ROOT / "results" / "endurance.png") as partial:
        drawing(samples).savefig(partial)


if __name__ == "__main__":
    main()
