"""The gate: what listens, on this machine alone, before Multi Model Server.

It takes whole requests, checks them strictly, and only then asks Multi Model Server with a request
of its own. At most twice as many as there are workers are there at once; the others wait here, in
their order, where one whose client goes away is forgotten.
"""

import asyncio
import ctypes
import gc
import json
import math
import socket
import time
from collections import deque
from collections.abc import Sequence

from ferlib.serving import forms, openapi, several
from ferlib.serving.answers import Refusal, busy, unavailable
from ferlib.serving.client import Client, Phase, Route, Routes
from ferlib.serving.counts import Counts
from ferlib.serving.limits import Limits
from ferlib.serving.reading import Reading
from ferlib.serving.upstream import Job, Upstream

AHEAD = 2  # requests at Multi Model Server for each worker: the next one lies ready
_TICK = 0.25  # seconds between looks at the clock, for what has waited too long
_FRESH = 1.0  # seconds for which a good answer of a worker says that it is well
_STALLED = 1.0  # seconds without a byte, after which a body may be given up for another's sake
_ADDRESSES = 1024  # whose rate is remembered
_BACKLOG = 128
_LARGE = 8 << 20  # bytes of bodies, after which memory is given back


class Gate:
    """Listens on sockets it is given; `path` is Multi Model Server's Unix socket."""

    def __init__(
        self, path: str, workers: int, counts: Counts | None = None, limits: Limits | None = None
    ):
        self.limits = limits or Limits()
        self.counts = counts or Counts()
        self.upstream = Upstream(path, self.limits.answer_seconds)
        self.closing = False
        self.good = 0  # answers of workers, those to probes among them
        self._most = AHEAD * workers
        self._clients: set[Client] = set()
        self._jobs: dict[Client, Job] = {}  # of clients that wait for one
        self._waiting: deque[Job] = deque()
        self._working: set[Job] = set()
        self._held: dict[Client, int] = {}  # bytes of a body
        self._bytes = self._freed = 0
        self._rates: dict[str, tuple[float, float]] = {}  # address -> (predictions left, when)
        self._servers: list[asyncio.Server] = []
        self._health = _Question(self, [several.PROBE])
        self._ping = _Question(self, None)
        self._description = json.dumps(openapi.description()).encode()
        self.routes: Routes = {
            b"/predictions/fer": Route("POST", self._predict, self._check_prediction),
            b"/ping": Route("GET", lambda client, _: self._ping.ask(client)),
            b"/health": Route("GET", lambda client, _: self._health.ask(client)),
            b"/openapi.json": Route("GET", lambda client, _: client.answer(200, self._description)),
        }

    # ------------------------------------------------------------ listening

    async def listen(self, listener: socket.socket, routes: Routes | None = None) -> None:
        """Answer at a bound socket from now on: the gate's own paths, or others."""
        loop = asyncio.get_running_loop()
        make = lambda: Client(self, routes or self.routes)  # noqa: E731
        if listener.family == socket.AF_UNIX:
            server = await loop.create_unix_server(make, sock=listener, backlog=_BACKLOG)
        else:
            server = await loop.create_server(make, sock=listener, backlog=_BACKLOG)
        if not self._servers:
            loop.call_later(_TICK, self._sweep)
        self._servers.append(server)

    @staticmethod
    def now() -> float:
        return time.monotonic()  # as asyncio's loops do

    async def drain(self, seconds: float) -> None:
        """Take no more requests; wait until those that are taken have been answered."""
        self.closing = True
        for server in self._servers:
            server.close()
        until = self.now() + seconds
        while self.in_flight and self.now() < until:
            await asyncio.sleep(0.02)

    def close(self) -> None:
        self.closing = True
        for server in self._servers:
            server.close()
        self._servers = []
        self.upstream.close()
        for client in list(self._clients):
            client.transport.abort()

    def _sweep(self) -> None:
        if self._servers:  # first: whatever happens below, the clock is looked at again
            asyncio.get_running_loop().call_later(_TICK, self._sweep)
        now = self.now()
        self.upstream.sweep(now)
        if self._freed > _LARGE > self._bytes:
            self._freed = 0
            _trim()
        for client in [one for one in self._clients if now > one.deadline]:
            client.expire()

    # ------------------------------------------------------------ connections and their bytes

    def admit(self, client: Client) -> None:
        """One more connection; over the limit the one that has been silent longest goes."""
        if len(self._clients) >= self.limits.connections:
            silent = [one for one in self._clients if one.phase is not Phase.WORK]
            if not silent:
                client.refuse(busy("it has too many connections"))
                client.transport.close()
                return
            oldest = min(silent, key=lambda one: one.seen)
            self._clients.discard(oldest)  # it would be lost only in the loop's next turn
            oldest.transport.abort()
        self._clients.add(client)

    def forget(self, client: Client) -> None:
        """A connection is lost. What it waited for is not begun; what is begun ends unheard."""
        self._clients.discard(client)
        client.drop()
        self.release(client)
        self._health.forget(client)
        self._ping.forget(client)
        job = self._jobs.pop(client, None)
        if job is not None and job in self._waiting:
            self._waiting.remove(job)
            self.counts.left += 1

    def hold(self, client: Client, size: int) -> None:
        """Count bytes of a body. Raises Refusal where all bodies together are too large."""
        self._held[client] = self._held.get(client, 0) + size
        self._bytes += size
        while self._bytes > self.limits.bodies:
            others = [one for one in self._held if one.phase is Phase.BODY and one is not client]
            oldest = min(others, key=lambda one: one.seen, default=client)
            if self.now() - oldest.seen < _STALLED:
                raise busy("too many large pictures at once")
            self.release(oldest)
            oldest.transport.abort()

    def release(self, client: Client) -> None:
        """A client's body is no longer kept."""
        size = self._held.pop(client, 0)
        self._bytes -= size
        self._freed += size

    # ------------------------------------------------------------ predictions

    @property
    def in_flight(self) -> int:
        return len(self._waiting) + len(self._working)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def _check_prediction(self, client: Client, reading: Reading) -> None:
        forms.check_type(reading.fields)
        self._check_room()
        if self.limits.rate and (lacking := self._lacking(client.address)):
            text = f"more than {self.limits.rate:g} requests a second; try again later"
            wait = str(math.ceil(lacking / self.limits.rate))
            raise Refusal(429, "rate_limited", text, {"Retry-After": wait})

    def _check_room(self) -> None:
        if self.closing:
            raise unavailable()
        if self.in_flight >= self.limits.requests:
            raise busy(f"{self.limits.requests} requests are waiting")

    def _lacking(self, address: str) -> float:
        """Take one from an address's bucket, which holds a second's worth; or what it lacks."""
        now, most = self.now(), max(1.0, self.limits.rate)
        left, then = self._rates.pop(address, (most, now))
        left = min(most, left + (now - then) * self.limits.rate)
        self._rates[address] = (left - (left >= 1), now)
        if len(self._rates) > _ADDRESSES:
            del self._rates[next(iter(self._rates))]  # asked longest ago
        return max(0.0, 1 - left)

    def _predict(self, client: Client, reading: Reading) -> None:
        try:
            self._check_room()
            pieces = forms.pieces(reading.fields, reading.body, self.limits)
        except Refusal as why:
            self.answered(client, why.status, why.body, None, why)
            return
        reading.body = []
        job = Job(
            lambda status, body: self._predicted(client, job, status, body), pieces, self.now()
        )
        self._jobs[client] = job
        self._waiting.append(job)
        self._pump()

    def _pump(self) -> None:
        while self._waiting and len(self._working) < self._most:
            job = self._waiting.popleft()
            self._working.add(job)
            self.upstream.send(job)

    def _predicted(self, client: Client, job: Job, status: int, body: bytes) -> None:
        self._working.discard(job)
        status, body = self._own(status, body)
        if status == 200:
            self.good += 1
            self._health.good(self.now())
        self._jobs.pop(client, None)
        self._pump()  # first, so that no worker waits for this one to be told
        self.answered(client, status, body, job)

    @staticmethod
    def _own(status: int, body: bytes) -> tuple[int, bytes]:
        """The handler's answers and the gate's own are told; Multi Model Server's say, all in all,
        that no worker has answered."""
        if status == 200 or body.startswith(b'{"error"'):
            return status, body
        return 503, unavailable().body

    def answered(
        self, client: Client, status: int, body: bytes, job: Job | None, why: Refusal | None = None
    ) -> None:
        """Count, log and give an answer to a whole request for a prediction."""
        now = self.now()
        waited = (job.sent - job.queued) if job else 0.0
        size = self._held.get(client, 0)
        self.release(client)
        started = client.started
        client.answer(
            status, body, more=dict(why.more) if why else None
        )  # nobody waits for the log
        self.counts.answered(status, body, now - started, waited, size, client.address, why)

    def refused(self, client: Client, why: Refusal) -> None:
        """Count and log what was not taken."""
        seconds = self.now() - client.started if client.started else 0.0
        size = self._held.get(client, 0)
        self.counts.answered(why.status, why.body, seconds, 0.0, size, client.address, why)


def _trim() -> None:
    """Give the system back what large bodies were held in: glibc by itself would keep it.

    A request and its parser hold each other, so it is Python's collector that lets them go.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class _Question:
    """Asked of Multi Model Server once for all who want to know: is it up, does a worker answer?"""

    def __init__(self, gate: Gate, pieces: Sequence[bytes] | None):
        self._gate = gate
        self._pieces = pieces
        self._clients: dict[Client, None] = {}
        self._well = -math.inf  # when it last was
        self._asked = False

    def good(self, now: float) -> None:
        self._well = now

    def forget(self, client: Client) -> None:
        self._clients.pop(client, None)

    def ask(self, client: Client) -> None:
        if self._gate.now() - self._well < _FRESH:
            client.answer(200, b'{"status": "healthy"}')
            return
        self._clients[client] = None
        if not self._asked:  # it goes before all that waits, and is no burden to them
            self._asked = True
            self._gate.upstream.send(Job(self._told, self._pieces, self._gate.now()))

    def _told(self, status: int, _: bytes) -> None:
        clients, self._clients = self._clients, {}
        self._asked = False
        if status == 200:
            self._gate.good += self._pieces is not None
            self.good(self._gate.now())
        why = unavailable()
        for client in clients:
            if status == 200:
                client.answer(200, b'{"status": "healthy"}')
            else:
                client.answer(why.status, why.body)
