"""What the gate has answered since it was started: numbers for `ferlib status`, lines for a log."""

import json
import logging
import logging.handlers
import time
from bisect import bisect_left
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path

from ferlib.serving.answers import Refusal

# Upper ends in seconds of the groups into which times of requests are sorted.
SECONDS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 65.0)
_LOG_BYTES, _LOG_FILES = 10_000_000, 5  # some 60,000 lines each, the oldest file is deleted
_OWN = ("unavailable", "timeout")  # codes of what Multi Model Server could not answer


class Counts:
    """Counts requests for predictions, and everything that was refused. `log` gets a line each."""

    def __init__(self, log: logging.Logger | None = None):
        self.since = time.time()
        self.status: Counter[int] = Counter()
        self.errors: Counter[str] = Counter()  # of the handler, by code; also of single pictures
        self.refused: Counter[str] = Counter()  # by the gate, by code
        self.groups = [0] * (len(SECONDS) + 1)  # of times, by SECONDS; the last: longer ones
        self.total_seconds = 0.0
        self.left = 0  # requests whose client went away before they were begun
        self.restarts = 0  # of Multi Model Server
        self._log = log

    def answered(
        self,
        status: int,
        body: bytes,
        seconds: float,
        waited: float,
        size: int,
        address: str,
        why: Refusal | None,
    ) -> None:
        """`why`: the gate did not take the request; None: Multi Model Server was asked."""
        self.status[status] += 1
        self.groups[bisect_left(SECONDS, seconds)] += 1
        self.total_seconds += seconds
        said = json.loads(body)
        code = said["error"]["code"] if "error" in said else ""
        if why is not None or code in _OWN:
            self.refused[code] += 1
        elif code:
            self.errors[code] += 1
        line = {"status": status, "code": code or "ok", "ms": round(seconds * 1000, 1)}
        line |= {"waited_ms": round(waited * 1000, 1), "bytes": size, "client": address}
        self._line(line | self._found(said))

    def _found(self, said: dict) -> dict:
        """How many pictures and faces an answer tells of."""
        if "error" in said:
            return {}
        several = said.get("pictures")
        if several is None:
            return {"pictures": 1, "faces": len(said["faces"])}
        self.errors.update(one["error"]["code"] for one in several if "error" in one)
        faces = sum(len(one.get("faces", ())) for one in several)
        return {"pictures": len(several), "faces": faces}

    def event(self, text: str) -> None:
        """A line about the server itself, such as that it is being started again."""
        self._line({"event": text})

    def _line(self, fields: dict) -> None:
        if self._log is not None:
            now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
            self._log.info(json.dumps({"time": now} | fields))

    def told(self) -> dict:
        """For `ferlib status`: plain numbers."""
        return {
            "since": self.since,
            "requests": self.status.total(),
            "status": {str(key): count for key, count in sorted(self.status.items())},
            "errors": dict(self.errors),
            "refused": dict(self.refused),
            "left": self.left,
            "restarts": self.restarts,
        }


def gate_log(folder: str | Path) -> logging.Logger:
    """The logger that writes gate.log there, which turns over."""
    logging.raiseExceptions = False  # a full disk must not end the service
    logger = logging.getLogger("ferlib.gate")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    file = Path(folder, "gate.log")
    handler = logging.handlers.RotatingFileHandler(file, "a", _LOG_BYTES, _LOG_FILES - 1, "utf-8")
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    return logger
