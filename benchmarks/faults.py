"""What is done to a server while four clients use it, and how soon it answers again.

`endurance.py` runs all of it. Each fault's row tells what the four clients got meanwhile
(`others`), and the seconds until a new client got a good answer after it (`next_good_s`).
"""

import asyncio
import contextlib
import os
import signal
import struct
import time
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable

import kinds
from clients import Client, Served, probe, read_answer, request, served
from PIL import Image
from tqdm import tqdm

from ferlib.errors import FerlibError

OTHERS = 4  # clients that ask all the time
BEFORE, AFTER = 1.0, 2.0  # seconds that they ask before and after a fault
STALLED = 150
HOLD_SECONDS = 12.0  # the server gives a head 10 s
CLOSED, AT_ONCE = 1000, 300
MEGABYTES = 30
LIMIT = 60  # seconds for killed workers to come back
LOADED = "Model fer loaded io_fd="  # what the server's log says of a new worker

Fault = Callable[[Served], Awaitable[dict]]


# ---------------------------------------------------------------- the frame


async def suffered(server: Served, fault: Fault) -> dict:
    """One row: the fault while others ask, and what became of the next good request."""
    stop, answers = asyncio.Event(), []
    asking = [asyncio.create_task(_ask(server.port, stop, answers)) for _ in range(OTHERS)]
    await asyncio.sleep(BEFORE)
    row = await fault(server)
    if server.process.poll() is None:
        row["next_good_s"] = _short(await probe(server.port, request(kinds.small())))
    await asyncio.sleep(AFTER)
    stop.set()
    await asyncio.gather(*asking)
    counts = Counter(status for status, _ in answers)
    slowest = max((seconds for _, seconds in answers), default=0)
    row["memory_mb"] = round(sum(server.memory().values()))
    row["others"] = {"by_status": _named(counts), "slowest_s": _short(slowest)}
    return row


async def _ask(port: int, stop: asyncio.Event, answers: list) -> None:
    client, raw = Client(port), request(kinds.small())
    while not stop.is_set():
        answer = await client.ask(raw)
        answers.append((answer.status, answer.seconds))
        if answer.status != 200:
            await asyncio.sleep(0.05)  # as a client that tries again would
    client.close()


def _short(seconds: float) -> float:
    return round(seconds, 2)


def _named(counts: Counter) -> dict[str, int]:
    return {str(status or "no answer"): n for status, n in sorted(counts.items())}


# ---------------------------------------------------------------- killed processes


def killing(number: int) -> Fault:
    """kill -9 of so many workers; seconds until as many as before have loaded the net."""

    async def kill(server: Served) -> dict:
        workers, loaded = sorted(server.workers()), _loaded(server)
        started = time.perf_counter()
        for worker in workers[:number]:
            os.kill(worker, signal.SIGKILL)
        again = await probe(server.port, request(kinds.small()))
        while _loaded(server) < loaded + min(number, len(workers)):
            await asyncio.sleep(0.05)
            if time.perf_counter() - started > LIMIT:
                raise FerlibError(f"not all workers are back after {LIMIT} seconds")
        row = {"answered_again_s": again, "whole_s": time.perf_counter() - started}
        return {"workers": len(workers)} | {name: _short(each) for name, each in row.items()}

    return kill


def _loaded(server: Served) -> int:
    """How many workers the log has told of; some of its lines stand there twice."""
    return len({line for line in server.logged("mms_log.log").splitlines() if LOADED in line})


async def kill_java(server: Served) -> dict:
    """Either it comes back by itself, or `ferlib serve` ends and says so."""
    started = time.perf_counter()
    os.kill(server.java(), signal.SIGKILL)
    asked = asyncio.create_task(probe(server.port, request(kinds.small())))
    while not asked.done() and server.process.poll() is None:
        await asyncio.sleep(0.05)
    passed = _short(time.perf_counter() - started)
    if asked.done():
        return {"answered_again_s": passed}
    asked.cancel()
    return {"ended_after_s": passed, "exit_status": server.process.returncode}


# ---------------------------------------------------------------- clients that hold back


def stalling(raw: bytes, clients: int = STALLED) -> Fault:
    """So many clients send a part of a request, then nothing."""

    async def stall(server: Served) -> dict:
        return await _held(server, [raw], clients)

    return stall


async def byte_a_second(server: Served) -> dict:
    whole = request(kinds.small())
    return await _held(server, [whole[at : at + 1] for at in range(len(whole))], STALLED)


async def _held(server: Served, pieces: list[bytes], clients: int) -> dict:
    """Connections that send a piece a second; meanwhile a good request every half second."""
    held = [asyncio.create_task(_piecewise(server.port, pieces)) for _ in range(clients)]
    good, deadline = [], time.perf_counter() + HOLD_SECONDS
    while time.perf_counter() < deadline:
        good.append(await probe(server.port, request(kinds.small())))
        await asyncio.sleep(0.5)
    counts = Counter(await asyncio.gather(*held))
    return {"clients": clients, "they_got": _named(counts), "slowest_good_s": _short(max(good))}


async def _piecewise(port: int, pieces: list[bytes]) -> int:
    """The status that came before the client gave up, 0 for none."""
    writer = None
    with contextlib.suppress(OSError, EOFError, ValueError):
        async with asyncio.timeout(HOLD_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for piece in pieces:
                writer.write(piece)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1):
                        return (await read_answer(reader))[0]
            return (await read_answer(reader))[0]
    if writer is not None:
        writer.close()
    return 0


async def closing_early(server: Served) -> dict:
    """1,000 clients, 50 at a time, that go away in the middle of a request."""
    raw = request(kinds.large(), "image/jpeg")
    gate = asyncio.Semaphore(50)

    async def close(number: int) -> None:
        async with gate:
            client = Client(server.port)
            with contextlib.suppress(OSError):
                await client.hang_up(raw[: (40, 200, len(raw) // 2, len(raw))[number % 4]])

    started = time.perf_counter()
    await asyncio.gather(*(close(number) for number in range(CLOSED)))
    return {"clients": CLOSED, "seconds": _short(time.perf_counter() - started)}


# ---------------------------------------------------------------- too much at once


async def full(server: Served) -> dict:
    """300 photographs at once: those that are refused are so at once."""
    raw = request(kinds.large(), "image/jpeg")
    clients = [Client(server.port) for _ in range(AT_ONCE)]
    answers = await asyncio.gather(*(client.ask(raw) for client in clients))
    for client in clients:
        client.close()
    refused = [answer for answer in answers if answer.status == 503]
    return {
        "requests": AT_ONCE,
        "they_got": _named(Counter(answer.status for answer in answers)),
        "slowest_refusal_s": _short(max((answer.seconds for answer in refused), default=0)),
        "told_when_to_try_again": sum(b"retry-after:" in a.head.lower() for a in refused),
        "slowest_answer_s": _short(max(answer.seconds for answer in answers)),
    }


def attack(raw: bytes, times: int = 3) -> Fault:
    """The same request some times at once."""

    async def send(server: Served) -> dict:
        clients = [Client(server.port) for _ in range(times)]
        answers = await asyncio.gather(*(client.ask(raw, limit=300) for client in clients))
        for client in clients:
            client.close()
        slowest = max(answer.seconds for answer in answers)
        counts = Counter(answer.status for answer in answers)
        return {"requests": times, "they_got": _named(counts), "slowest_s": _short(slowest)}

    return send


def bomb(side: int = 10_000) -> bytes:
    """A whole PNG of 100 megapixels, all the same: 100 kB that unpack to 100 MB."""
    rows = zlib.compress(b"\0" * ((side + 1) * side), 9)
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", rows), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def attacks() -> dict[str, Fault]:
    """Bodies that once held the server for minutes, and others of their kind."""
    million = 1_000_000
    parts = kinds.multipart(*[b""] * 200_000)
    text = "application/x-www-form-urlencoded"
    plain = kinds.encoded(Image.new("RGB", (6200, 6300)))
    names = b"&".join(b"a%d=" % number for number in range(3 * million))[: MEGABYTES * million]
    return {
        "form of 30 MB": attack(request(b"a&" * (MEGABYTES * million // 2), text)),
        "form of 3 million fields": attack(request(names, text)),
        "multipart of 200,000 parts": attack(kinds.form(parts)),
        "multipart of one 30 MB head": attack(
            kinds.form(f"--{kinds.MARK}\r\nX: ".encode() + b"x" * MEGABYTES * million)
        ),
        "JSON of 30 MB of brackets": attack(kinds.as_json(b"[" * MEGABYTES * million)),
        "JSON of 10 million numbers": attack(kinds.as_json(b"[" + b"1," * 10 * million + b"1]")),
        "30 MB of zeros": attack(request(bytes(MEGABYTES * million))),
        "bombs of 100 megapixels": attack(request(bomb()), 8),
        "8 plain pictures of 39 megapixels": attack(request(plain), 8),
    }


# ---------------------------------------------------------------- all of them


def faults() -> dict[str, Fault]:
    """All by name, in their order; the last one may end the server."""
    whole, whole_body = request(kinds.small()), request(bytes(MEGABYTES * 1_000_000))
    others: dict[str, Fault] = {
        "kill -9 of a worker": killing(1),
        "150 clients that stall in the head": stalling(whole[:40]),
        "150 clients that stall in the body": stalling(whole[:-200]),
        "150 clients that send a byte a second": byte_a_second,
        "40 clients that hold back the end of 30 MB": stalling(whole_body[:-1], 40),
        "900 idle connections": stalling(b"", 900),
        "1,000 clients that close early": closing_early,
        "300 photographs at once": full,
    }
    last: dict[str, Fault] = {"kill -9 of all workers": killing(99), "kill -9 of Java": kill_java}
    return others | attacks() | last


def all_faults() -> dict[str, dict]:
    """Every fault's row, from one server."""
    rows = {}
    with served() as server:
        for name, fault in tqdm(faults().items(), unit="fault", disable=None):
            rows[name] = asyncio.run(suffered(server, fault))
    return rows
