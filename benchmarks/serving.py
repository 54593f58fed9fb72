"""Requests a second and waiting times of the server, beside the one of another checkout.

    python benchmarks/serving.py [--before CHECKOUT] [--turns 5] [--seconds 5]
    python benchmarks/serving.py --grid 1x1 1x2 2x1 2x2 4x1

Sends a photograph (640x480, JPEG, one face) and a face's crop (48x48, PNG) from 1, 4, 16 and 64
clients. The servers run one at a time and take turns, so that a drifting machine harms none. The
second form compares numbers of workers and threads of each. The clients are one process of raw
sockets; what it takes of the CPU is told. Writes results/serving.json; --grid adds to it.
"""

import argparse
import asyncio
import os
import re
import statistics
import time
from pathlib import Path
from typing import NamedTuple

import kinds
import numpy as np
from clients import Client, Served, request, served
from conditions import ROOT, conditions, plainly, result, spread, write
from tqdm import tqdm

from ferlib.cli import arguments
from ferlib.errors import FerlibError

CLIENTS = (1, 4, 16, 64)
WARM_SECONDS = 1.0  # a worker's first pictures of a size compile
_HANDLER = re.compile(r"PredictionTime\.Milliseconds:([\d.]+)")


# ---------------------------------------------------------------- one load


class Load(NamedTuple):
    rate: float  # requests/s
    milliseconds: list[float]  # each request's
    client_share: float  # of one core
    server_cores: float


async def load(server: Served, raw: bytes, clients: int, seconds: float) -> Load:
    """So many clients, each of which asks again as soon as it is answered."""
    await asyncio.gather(*(_ask_until(server.port, raw, _in(WARM_SECONDS)) for _ in range(clients)))
    started, ours, theirs = time.perf_counter(), time.process_time(), server.cpu_seconds()
    asked = (_ask_until(server.port, raw, _in(seconds)) for _ in range(clients))
    waits = [wait for each in await asyncio.gather(*asked) for wait in each]
    passed = time.perf_counter() - started
    busy = time.process_time() - ours, server.cpu_seconds() - theirs
    return Load(len(waits) / passed, waits, busy[0] / passed, busy[1] / passed)


def _in(seconds: float) -> float:
    return time.perf_counter() + seconds


async def _ask_until(port: int, raw: bytes, deadline: float) -> list[float]:
    client, waits = Client(port), []
    while time.perf_counter() < deadline:
        answer = await client.ask(raw)
        if answer.status != 200:
            raise FerlibError(f"status {answer.status} under load: {answer.body[:200]!r}")
        waits.append(answer.seconds * 1000)
    client.close()
    return waits


# ---------------------------------------------------------------- the server's own share


async def own_share(server: Served, raw: bytes, count: int = 200) -> float:
    """Milliseconds of one client's request that are not the handler's, in the median."""
    client, waits = Client(server.port), []
    seen = len(_HANDLER.findall(server.logged("model_metrics.log")))
    for _ in range(count):
        waits.append((await client.ask(raw)).seconds * 1000)
    client.close()
    time.sleep(1)  # the log comes after the answer
    handler = _HANDLER.findall(server.logged("model_metrics.log"))[seen:]
    if len(handler) != count:
        raise FerlibError(f"the log holds {len(handler)} of {count} times of the handler")
    return statistics.median(a - float(b) for a, b in zip(waits, handler, strict=True))


# ---------------------------------------------------------------- turns


class Contender(NamedTuple):
    options: tuple[str, ...]
    checkout: Path


def requests_sent() -> dict[str, bytes]:
    sent = {"photograph 640x480": request(kinds.large(), "image/jpeg")}
    return sent | {"crop 48x48": request(kinds.small(), "image/png")}


Cell = tuple[str, int]  # what is sent, number of clients
Turn = dict[Cell, Load]


def take_turns(
    contenders: dict[str, Contender], turns: int, seconds: float, counts: tuple[int, ...]
) -> tuple[dict[str, list[Turn]], dict[str, list[dict]]]:
    """Each contender's turns, and its own share in milliseconds in each, by what is sent."""
    loads: dict[str, list[Turn]] = {name: [] for name in contenders}
    shares: dict[str, list[dict]] = {name: [] for name in contenders}
    sent = requests_sent()
    bar = tqdm(total=turns * len(contenders) * len(sent) * len(counts), unit="load", disable=None)
    for turn in range(turns):
        names = list(contenders)[:: 1 if turn % 2 == 0 else -1]
        for name in names:
            options, checkout = contenders[name]
            with served(*options, checkout=checkout) as server:
                loads[name].append({})
                for what, raw in sent.items():
                    for clients in counts:
                        found = asyncio.run(load(server, raw, clients, seconds))
                        loads[name][-1][what, clients] = found
                        bar.update()
                alone = {what: asyncio.run(own_share(server, raw)) for what, raw in sent.items()}
                shares[name].append(alone)
    return loads, shares


def figures(turns: list[Turn]) -> list[dict]:
    """A row for each load: the median of turns' rates, waits of all turns together."""
    rows = []
    for what, clients in turns[0]:
        each = [turn[what, clients] for turn in turns]
        waits = [wait for one in each for wait in one.milliseconds]
        row = {"sent": what, "clients": clients, "requests": len(waits)}
        row["requests_per_s"] = round(statistics.median(one.rate for one in each), 1)
        row |= {f"p{p}_ms": round(float(np.percentile(waits, p)), 1) for p in (50, 99)}
        shares = statistics.median(one.client_share for one in each)
        row["client_cores"] = round(shares, 3)
        row["server_cores"] = round(statistics.median(one.server_cores for one in each), 2)
        rows.append(row)
    return rows


def own_shares(turns: list[dict]) -> dict[str, float]:
    return {what: round(statistics.median(turn[what] for turn in turns), 2) for what in turns[0]}


def ratios(now: list[Turn], before: list[Turn]) -> list[dict]:
    """How many times the rate before, by what is sent and from how many clients."""
    rows = []
    for what, clients in now[0]:
        pairs = zip(now, before, strict=True)
        each = [new[what, clients].rate / old[what, clients].rate for new, old in pairs]
        rows.append({"sent": what, "clients": clients} | spread(each))
    return rows


# ---------------------------------------------------------------- the two reports


def compared(before: str | None, turns: int, seconds: float) -> dict:
    contenders = {"now": Contender((), ROOT)}
    if before:
        if not Path(before, "ferlib").is_dir():
            raise FerlibError(f"--before {before} is no checkout of ferlib")
        contenders["before"] = Contender((), Path(before).resolve())
    loads, shares = take_turns(contenders, turns, seconds, CLIENTS)
    report: dict = {
        name: {"table": figures(loads[name]), "own_share_ms": own_shares(shares[name])}
        for name in contenders
    }
    if before:
        report["times_before"] = ratios(loads["now"], loads["before"])
    return report


def workers_x_threads(text: str) -> str:
    if not re.fullmatch("[1-9][0-9]*x[1-9][0-9]*", text):
        raise argparse.ArgumentTypeError(f"{text} is not WORKERSxTHREADS, such as 2x1")
    return text


def grid(pairs: list[str], turns: int, seconds: float) -> dict:
    """Workers x threads of each: a table for every pair, and each load's best."""
    contenders = {}
    for pair in pairs:
        workers, threads = pair.split("x")
        options = ("--workers", workers, "--threads", threads)
        contenders[pair] = Contender(options, ROOT)
    loads, _ = take_turns(contenders, turns, seconds, CLIENTS[:3])
    tables = {pair: figures(loads[pair]) for pair in pairs}
    best = [
        {"sent": rows[0]["sent"], "clients": rows[0]["clients"]}
        | {"best": pairs[int(np.argmax([row["requests_per_s"] for row in rows]))]}
        for rows in zip(*tables.values(), strict=True)
    ]
    return {"tables": tables, "best": best}


def known(args: argparse.Namespace) -> dict:
    times = f"--turns {args.turns} --seconds {args.seconds:g}"
    which = (
        f"--grid {' '.join(args.grid)}" if args.grid else "--before CHECKOUT" * bool(args.before)
    )
    command = " ".join(f"python benchmarks/serving.py {which} {times}".split())
    more = {"turns": args.turns, "seconds_a_load": args.seconds}
    return conditions(command, **more, cores=len(os.sched_getaffinity(0)))


def kept() -> dict:
    """The other form's part of the report."""
    return result("serving") if (ROOT / "results" / "serving.json").is_file() else {}


@plainly
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--before", metavar="CHECKOUT", help="another checkout to compare with")
    parser.add_argument(
        "--grid",
        nargs="+",
        type=workers_x_threads,
        metavar="WxT",
        help="workers x threads to compare",
    )
    parser.add_argument("--turns", type=arguments.number, default=5)
    parser.add_argument("--seconds", type=float, default=5, help="of each load")
    args = parser.parse_args()
    about = known(args)  # the load of the machine before this begins
    if args.grid:
        found = {"grid": {"conditions": about} | grid(args.grid, args.turns, args.seconds)}
    else:
        found = {"conditions": about} | compared(args.before, args.turns, args.seconds)
    write("serving", kept() | found)


if __name__ == "__main__":
    main()
