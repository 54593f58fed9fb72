"""20,000 mutated pictures and 20,000 mutated requests against the running server.

    python benchmarks/fuzz.py [--pictures 20000] [--requests 20000] [--seed 0]

Hypothesis draws them (mutants.py) in blocks of 500, each from a seed of its own, so that any block
can be made again. A picture may get nothing but 200, 400 or 413; a request, sent as raw bytes,
nothing worse than a 4xx or a closed connection, and one whose end can be read in two ways no 200
and no second answer. Every error must be told in JSON. After each block a good request must be
answered within two seconds, and the workers must be those of the beginning. Writes
results/fuzz.json.
"""

import argparse
import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import hypothesis
import kinds
from clients import Client, Served, header, probe, request, served
from conditions import conditions, plainly, write
from mutants import blocks, pictures, requests, unclear
from tqdm import tqdm

from ferlib.cli import arguments

BLOCK = 500
AT_ONCE = 24  # below what the server takes at once: it has no reason for a 503
QUIET, PATIENCE = 0.5, 3.0  # seconds without a byte until we end our side, then until we go
MORE = 0.05  # seconds for a second answer to come
GOOD_SECONDS = 2.0
SHOWN = 20  # findings that the report tells of

Answers = list[tuple[int, bytes]]  # status and body


@dataclass
class Findings:
    """What one kind of fuzzing came to."""

    counts: Counter = field(default_factory=Counter)  # by status, or how it ended
    codes: Counter = field(default_factory=Counter)  # of the errors
    slowest_good: float = 0.0
    wrong: list[dict] = field(default_factory=list)

    def blame(self, what: str, block: int, sent: bytes, answers: Answers) -> None:
        told = [f"{status} {body[:100].decode(errors='replace')}" for status, body in answers]
        self.wrong.append({"what": what, "block": block, "sent": repr(sent[:400]), "got": told})


# ---------------------------------------------------------------- pictures


async def send_pictures(server: Served, block: int, mutants: list[bytes], found: Findings) -> None:
    """A block of them over kept connections."""
    left = iter(mutants)

    async def ask() -> None:
        client = Client(server.port)
        for picture in left:
            answer = await client.ask(request(picture, "application/octet-stream"))
            found.counts[str(answer.status or "lost")] += 1
            told = [(answer.status, answer.body)]
            if answer.status not in (200, 400, 413):
                found.blame("status", block, picture, told)
            elif answer.status != 200:
                _note_code(found, block, picture, told)
        client.close()

    await asyncio.gather(*(ask() for _ in range(AT_ONCE // 3)))


def _note_code(found: Findings, block: int, sent: bytes, answers: Answers) -> None:
    """Count the first error's code; one that is not told in JSON is a finding."""
    try:
        found.codes[json.loads(answers[0][1])["error"]["code"]] += 1
    except (ValueError, KeyError, TypeError):
        if not sent.startswith(b"HEAD "):  # whose answers have no body
            found.blame("no error in JSON", block, sent, answers)


# ---------------------------------------------------------------- requests


async def send_requests(server: Served, block: int, mutants: list[bytes], found: Findings) -> None:
    """A block of them, each over a connection of its own."""
    left = iter(mutants)

    async def ask() -> None:
        for raw in left:
            answers, ended = await exchanged(server.port, raw)
            judge(found, block, raw, answers, ended)

    await asyncio.gather(*(ask() for _ in range(AT_ONCE)))


def judge(found: Findings, block: int, raw: bytes, answers: Answers, ended: bool) -> None:
    """Count what a raw request got, and say what is wrong with it."""
    first = str(answers[0][0]) if answers else ("closed" if ended else "still waiting")
    found.counts[first] += 1
    for status, _ in answers[1:]:
        found.counts[f"then {status}"] += 1  # to what follows a request, which is another one
    if any(status >= 500 for status, _ in answers):
        found.blame("status", block, raw, answers)
    if unclear(raw) and (len(answers) > 1 or first == "200"):
        found.blame("taken although its end is unclear", block, raw, answers)
    if answers and answers[0][0] >= 400:
        _note_code(found, block, raw, answers)


async def exchanged(port: int, raw: bytes) -> tuple[Answers, bool]:
    """All answers that come, and whether the server has closed the connection."""
    data, answers, ended = b"", [], False
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.suppress(OSError):
        writer.write(raw)
        for seconds in (QUIET, PATIENCE):
            while not ended and (more := await _within(reader, MORE if answers else seconds)):
                data += more
                answers, ended = list(parsed(data)), reader.at_eof()
            ended = ended or reader.at_eof()
            if answers or ended:
                break
            writer.write_eof()  # perhaps it waits for more of the request
    writer.close()
    return answers, ended


async def _within(reader: asyncio.StreamReader, seconds: float) -> bytes:
    """What comes next; b"" where nothing does in time, or no more ever."""
    with contextlib.suppress(OSError):
        async with asyncio.timeout(seconds):
            return await reader.read(1 << 16)
    return b""


def parsed(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The answers in what a server sent, without `100 Continue`."""
    while data.startswith(b"HTTP/1."):
        head, _, data = data.partition(b"\r\n\r\n")
        status, length = int(head.split(b" ", 2)[1]), int(header(head, b"content-length") or 0)
        if status != 100:
            yield status, data[:length]
            data = data[length:]


# ---------------------------------------------------------------- blocks

Send = Callable[[Served, int, list[bytes], Findings], Awaitable[None]]


def fuzzed(server: Served, mutants: Iterator[list[bytes]], send: Send, bar: tqdm) -> dict:
    """The report on all mutants, sent block by block."""
    found, workers, started = Findings(), server.workers(), time.perf_counter()
    good = request(kinds.small())
    for number, block in enumerate(mutants):
        asyncio.run(send(server, number, block, found))
        found.slowest_good = max(found.slowest_good, asyncio.run(probe(server.port, good)))
        bar.update(len(block))
    return {
        "sent": sum(n for name, n in found.counts.items() if not name.startswith("then")),
        "seconds": round(time.perf_counter() - started),
        "by_status": dict(sorted(found.counts.items())),
        "by_code": dict(found.codes.most_common()),
        "workers_lost": len(workers - server.workers()),
        "slowest_good_s": round(found.slowest_good, 2),
        "good_in_time": found.slowest_good < GOOD_SECONDS,
        "wrong": len(found.wrong),
        "wrong_ones": found.wrong[:SHOWN],
    }


@plainly
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pictures", type=arguments.number, default=20_000)
    parser.add_argument("--requests", type=arguments.number, default=20_000)
    parser.add_argument("--seed", type=int, default=0, help="of the first block; each adds one")
    args = parser.parse_args()
    command = f"python benchmarks/fuzz.py --pictures {args.pictures} --requests {args.requests}"
    known = conditions(f"{command} --seed {args.seed}", hypothesis=hypothesis.__version__)
    known |= {"block": BLOCK, "first_seed": args.seed, "clients": AT_ONCE}
    todo = {
        "pictures": (pictures(), send_pictures, args.pictures),
        "requests": (requests(), send_requests, args.requests),
    }
    report = {}
    with served() as server:
        for name, (strategy, send, number) in todo.items():
            with tqdm(total=number, desc=name, disable=None) as bar:
                mutants = blocks(strategy, number, BLOCK, args.seed)
                report[name] = fuzzed(server, mutants, send, bar)
    write("fuzz", {"conditions": known} | report)


if __name__ == "__main__":
    main()
