"""One client's connection to the gate: whole requests in, answers out, in their order."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from ferlib.serving.answers import JSON, Refusal, bad_request, response
from ferlib.serving.limits import Limits
from ferlib.serving.reading import Reading, check_lines

_AT_ONCE = 16  # requests of one connection that are answered before others have their turn
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Phase(Enum):
    """What a connection is waiting for."""

    IDLE = "a request's first byte"
    HEAD = "the rest of its head"
    BODY = "the rest of its body"
    WORK = "an answer to be made"
    TAKING = "the client to take its answers"
    CLOSING = "the client to close"


@dataclass(frozen=True)
class Route:
    """What a path answers. `check` looks at the head of a request that may have a body."""

    method: str
    run: Callable[["Client", Reading], None]
    check: Callable[["Client", Reading], None] | None = None


Routes = dict[bytes, Route]


class Host(Protocol):
    """What a connection asks of the gate that it leads to."""

    limits: Limits
    closing: bool

    def now(self) -> float: ...

    def admit(self, client: "Client") -> None: ...

    def forget(self, client: "Client") -> None: ...

    def hold(self, client: "Client", size: int) -> None: ...

    def release(self, client: "Client") -> None: ...

    def refused(self, client: "Client", why: Refusal) -> None: ...


class Client(asyncio.Protocol):
    """Reads one request at a time; what comes after it stays where it is until it is answered."""

    def __init__(self, gate: Host, routes: Routes):
        self.gate = gate
        self.routes = routes
        self.phase = Phase.IDLE
        self.seen = self.deadline = self.started = 0.0
        self.reading: Reading | None = None
        self.address = ""
        self._rest = b""
        self._paused = self._full = self._stepping = False

    # ------------------------------------------------------------ what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        peer = transport.get_extra_info("peername")
        self.address = peer[0] if isinstance(peer, tuple) else ""
        self._wait(Phase.IDLE, self.gate.limits.idle_seconds)
        self.gate.admit(self)

    def data_received(self, data: bytes) -> None:
        self.seen = self.gate.now()
        if self.phase is Phase.CLOSING:  # read on, or the answer would be lost to a reset
            return
        self._rest = self._rest + data if self._rest else data
        if self.phase in (Phase.WORK, Phase.TAKING):
            if len(self._rest) > self.gate.limits.head:  # up to there: paused, it sees no end
                self.transport.pause_reading()
                self._paused = True
        else:
            self._go_on()

    def eof_received(self) -> None:
        """Who ends what he sends waits for nothing: asyncio closes the connection."""

    def connection_lost(self, error: Exception | None) -> None:
        self.gate.forget(self)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        if self.phase is Phase.TAKING:
            self._wait(Phase.IDLE, self.gate.limits.idle_seconds)
            self._go_on()

    # ------------------------------------------------------------ reading

    def _wait(self, phase: Phase, seconds: float) -> None:
        self.phase = phase
        self.seen = self.gate.now()
        self.deadline = self.seen + seconds

    def _go_on(self) -> None:
        """Take requests from what has come, as long as they are answered at once."""
        if self._stepping:  # an answer made in here, which goes on below
            return
        self._stepping = True
        try:
            for _ in range(_AT_ONCE):
                if not self._rest or not self._step():
                    break
            else:
                asyncio.get_running_loop().call_soon(self._go_on)
        except Refusal as why:
            self.refuse(why)
        finally:
            self._stepping = False
        if self._paused and self.phase not in (Phase.WORK, Phase.TAKING):
            self._paused = False
            self.transport.resume_reading()

    def _step(self) -> bool:
        """Take a head, or a body; False where one waits for more bytes or for an answer."""
        if self.phase in (Phase.IDLE, Phase.HEAD):
            if not self._take_head():
                return False
        elif self.phase is not Phase.BODY:
            return False
        reading = self.reading
        assert reading is not None
        if not reading.whole:
            before = reading.size
            self._rest = reading.take(self._rest)
            self.gate.hold(self, reading.size - before)
        if not reading.whole:
            return False
        self._wait(Phase.WORK, math.inf)
        self.routes[reading.url].run(self, reading)
        return True

    def _take_head(self) -> bool:
        limits = self.gate.limits
        self._rest = self._rest.lstrip(b"\r\n")  # some clients send an empty line between requests
        if self._rest and self.phase is Phase.IDLE:
            self.started = self.gate.now()
            self._wait(Phase.HEAD, limits.head_seconds)
        end = self._rest.find(b"\r\n\r\n") + 4
        if self._rest and not self._rest[:1].isalpha():
            raise bad_request("this is not HTTP")
        if end < 4:
            if self._rest:  # but its last CR may have its LF still to come
                check_lines(self._rest.removesuffix(b"\r"), limits)
            return False
        block, self._rest = self._rest[:end], self._rest[end:]
        self.reading = Reading(limits)
        self.reading.head(block)
        self._check(self.reading)
        self._wait(Phase.BODY, limits.body_seconds)
        if self.reading.awaits_a_word:
            self.transport.write(_CONTINUE)
        return True

    def _check(self, reading: Reading) -> None:
        """Raises Refusal unless the request is one that this listener answers."""
        route = self.routes.get(reading.url)
        if route is None:
            raise Refusal(404, "not_found", "there is nothing at this path; see /openapi.json")
        if reading.method != route.method:
            text = f"{reading.method} is not for this path, only {route.method}"
            raise Refusal(405, "method_not_allowed", text, {"Allow": route.method})
        if reading.fields.get("expect", "100-continue").lower() != "100-continue":
            raise Refusal(417, "expectation_failed", "the only Expect is 100-continue")
        if route.check is None and not reading.whole:
            raise bad_request(f"{route.method} has no body")
        if route.check is not None:
            route.check(self, reading)

    # ------------------------------------------------------------ answering

    def answer(
        self, status: int, body: bytes, kind: bytes = JSON, more: dict | None = None
    ) -> None:
        """Answer the request in work, then go on to the next one."""
        if self.phase is not Phase.WORK or self.transport.is_closing():
            return
        keep = self.reading is not None and self.reading.keep_alive and not self.gate.closing
        self.reading = None
        self.transport.write(response(status, body, kind, not keep, more))
        if not keep:
            self._close()
            return
        phase = Phase.TAKING if self._full else Phase.IDLE
        seconds = self.gate.limits.write_seconds if self._full else self.gate.limits.idle_seconds
        self._wait(phase, seconds)
        self._go_on()

    def refuse(self, why: Refusal) -> None:
        """Say why this is not taken, and close: what else comes is not worth reading."""
        self.gate.refused(self, why)
        if not self.transport.is_closing():
            body = b"" if self.reading is not None and self.reading.method == "HEAD" else why.body
            self.transport.write(response(why.status, body, close=True, more=why.more))
            self._close()

    def _close(self) -> None:
        self.drop()
        self._wait(Phase.CLOSING, self.gate.limits.linger_seconds)
        self.gate.release(self)
        try:
            self.transport.write_eof()
        except OSError:  # the client has reset the connection, which asyncio does not know yet
            self.transport.abort()

    def drop(self) -> None:
        """Forget what has come: a body would be kept as long as the connection is."""
        self.reading = None
        self._rest = b""

    def expire(self) -> None:
        """The time for what this connection waits for is over."""
        if self.phase in (Phase.HEAD, Phase.BODY):
            text = "the request took too long to arrive"
            self.refuse(Refusal(408, "request_timeout", text))
        else:
            self.transport.abort()
