"""Connections to Multi Model Server's Unix socket, kept and used again; requests of our own making.

Nothing of what a client wrote but the picture's bytes goes over them.
"""

import asyncio
from collections.abc import Callable, Sequence

import httptools

from ferlib.serving.answers import Refusal, late, unavailable

_HEAD = (
    b"POST /predictions/fer HTTP/1.1\r\nHost: fer\r\n"
    b"Content-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n"
)
_PING = b"GET /ping HTTP/1.1\r\nHost: fer\r\n\r\n"

Done = Callable[[int, bytes], None]  # is told the status and the body


class Job:
    """A request to Multi Model Server. `done` is called exactly once, also where none answers."""

    __slots__ = ("_done", "head", "pieces", "queued", "sent", "size")

    def __init__(self, done: Done, pieces: Sequence[bytes] | None = None, now: float = 0.0):
        """`pieces`, together a body: a prediction; None: a ping."""
        self._done: Done | None = done
        self.pieces = list(pieces or ())
        self.size = sum(map(len, self.pieces))
        self.head = _PING if pieces is None else _HEAD % self.size
        self.queued = self.sent = now

    def done(self, status: int, body: bytes) -> None:
        done, self._done = self._done, None
        self.pieces = []
        if done is not None:
            done(status, body)

    def refused(self, why: Refusal) -> None:
        self.done(why.status, why.body)


class Upstream:
    """A pool of connections to the socket at `path`. No request is ever sent twice."""

    def __init__(self, path: str, seconds: float):
        self.path = path
        self.seconds = seconds
        self.idle: list[_Wire] = []
        self.wires: set[_Wire] = set()
        self._opening: set[asyncio.Task] = set()  # the loop itself would forget them

    def send(self, job: Job) -> None:
        if self.idle:
            self.idle.pop().send(job)
        else:
            task = asyncio.get_running_loop().create_task(self._open(job))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self, job: Job) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, wire = await loop.create_unix_connection(lambda: _Wire(self), self.path)
        except OSError:  # Multi Model Server is not there, or not yet
            job.refused(unavailable())
        else:
            wire.send(job)

    def sweep(self, now: float) -> None:
        """Give up what has waited for too long."""
        for wire in list(self.wires):
            if wire.job is not None and now - wire.job.sent > self.seconds:
                wire.give_up(late(self.seconds))

    def close(self) -> None:
        for wire in list(self.wires):
            wire.give_up(unavailable())


class _Wire(asyncio.Protocol):
    """One connection, with at most one request on it."""

    def __init__(self, pool: Upstream):
        self.job: Job | None = None
        self._pool = pool
        self._left: list[bytes] = []  # of the request, to be sent
        self._full = False
        self._start()

    def _start(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._whole = self._keep = False

    def send(self, job: Job) -> None:
        self.job = job
        job.sent = asyncio.get_running_loop().time()
        first = job.head + job.pieces[0] if job.pieces and job.size < 1 << 16 else job.head
        self._left = [first, *job.pieces[first is not job.head :]][::-1]
        self._go_on()

    def _go_on(self) -> None:
        while self._left and not self._full:
            self.transport.write(self._left.pop())

    def give_up(self, why: Refusal) -> None:
        """End the connection and tell the client why."""
        self._forget()
        self.transport.abort()
        job, self.job = self.job, None
        if job is not None:
            job.refused(why)

    def _forget(self) -> None:
        self._pool.wires.discard(self)
        if self in self._pool.idle:
            self._pool.idle.remove(self)

    # ------------------------------------------------------------ what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._pool.wires.add(self)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._go_on()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.give_up(unavailable())
        if self._whole and self.job is not None:
            self._finish()

    def _finish(self) -> None:
        job, self.job = self.job, None
        assert job is not None
        status, body = self._parser.get_status_code(), b"".join(self._body)
        if self._keep and not self._left:
            self._start()
            self._pool.idle.append(self)
        else:
            self._forget()
            self.transport.close()
        job.done(status, body)

    def connection_lost(self, error: Exception | None) -> None:
        self.give_up(unavailable())

    # ------------------------------------------------------------ what llhttp calls

    def on_body(self, piece: bytes) -> None:
        self._body.append(piece)

    def on_headers_complete(self) -> None:
        self._keep = self._parser.should_keep_alive()  # of the next message, once this one ends

    def on_message_complete(self) -> None:
        self._whole = True
