"""What Lambda is to a function: the API that hands out events, and a process that asks for them.

    with Lambda(folder, python) as function:
        print(function.ask({"image": ...}).answer)

The API is that of AWS's documentation (Lambda runtime API, version 2018-06-01), on loopback. The
process runs AWS's own client, awslambdaric, in a package's folder, and can import nothing else.
"""

import contextlib
import json
import os
import queue
import subprocess
import threading
import time
import uuid
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PATH = "/2018-06-01/runtime"
# All that a process has from outside, but for the threads that were asked for here.
BARE = {"PATH": os.defpath, "LANG": "C.UTF-8", "TZ": ":UTC"}
BARE |= {name: os.environ[name] for name in ("OMP_NUM_THREADS",) if name in os.environ}
# `python -S`: what is installed for this Python is not there; the folder is where it starts.
CLIENT = (
    "import sys; sys.path.insert(0, '.'); from awslambdaric.__main__ import main; main(sys.argv)"
)


@dataclass(frozen=True)
class Told:
    """What the client sent back: `kind` is response, error (of one event) or init."""

    kind: str
    body: bytes
    seconds: float  # from the event's going out

    @property
    def answer(self) -> Any:
        return json.loads(self.body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A killed process leaves its connection."""


class Lambda:
    """A package's function in a process of its own; `start` again after a `kill`."""

    def __init__(self, folder: Path, python: str, **environment: str):
        self._folder, self._python = folder, python
        self._events: queue.Queue = queue.Queue()
        self._told: queue.Queue = queue.Queue()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self._environment = BARE | {
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._server.server_port}",
            "AWS_LAMBDA_FUNCTION_NAME": "ferlib", "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769", "LAMBDA_TASK_ROOT": str(folder),
        } | environment  # fmt: skip
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        command = [self._python, "-S", "-c", CLIENT, "function.handle"]
        how: dict = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        self.process = subprocess.Popen(command, cwd=self._folder, env=self._environment, **how)
        self.log: list[str] = []
        threading.Thread(target=self.log.extend, args=(self.process.stdout,), daemon=True).start()

    def ask(self, event: Any, timeout: float = 30) -> Told:
        """The answer to one event; `bytes` go out as they are."""
        self.give(event)
        return self._told.get(timeout=timeout)

    def give(self, event: Any) -> None:
        self._events.put(event if isinstance(event, bytes) else json.dumps(event).encode())

    def forget(self) -> None:
        """Events that nobody took and answers that nobody waited for, after an `end`."""
        for waiting in (self._events, self._told):
            with contextlib.suppress(queue.Empty):
                while True:
                    waiting.get_nowait()

    def end(self) -> None:
        """As Lambda ends a process that it needs no more, or one that took too long."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> "Lambda":
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.end()
        self._events.put(None)  # for whoever still waits
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        events, told, process = self._events, self._told, lambda: self.process
        out: dict[str, float] = {}  # by event: when it went out

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # heads and bodies in one piece, or the kernel waits between them
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                assert self.path == f"{PATH}/invocation/next"
                asking = process()
                event = events.get()
                if event is None or asking is not process():  # who asked is gone
                    events.put(event)
                    self.close_connection = True
                    return
                name = str(uuid.uuid4())
                out[name] = time.perf_counter()
                self._send(200, event, {
                    "Lambda-Runtime-Aws-Request-Id": name,
                    "Lambda-Runtime-Deadline-Ms": str(int(1000 * time.time()) + 30_000),
                    "Lambda-Runtime-Invoked-Function-Arn":
                        "arn:aws:lambda:eu-central-1:123456789012:function:ferlib",
                })  # fmt: skip

            def do_POST(self) -> None:
                now, words = time.perf_counter(), self.path.removeprefix(f"{PATH}/").split("/")
                body = self._body()
                self._send(202, b'{"status": "OK"}', {})
                kind = words[-1] if words[0] == "invocation" else "init"
                told.put(Told(kind, body, now - out.pop(words[1], now)))

            def _body(self) -> bytes:
                if "chunked" not in self.headers.get("Transfer-Encoding", ""):
                    return self.rfile.read(int(self.headers.get("Content-Length", 0)))
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size + 2)[:-2]
                self.rfile.readline()
                return body

            def _send(self, status: int, body: bytes, fields: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in fields.items():
                    self.send_header(name, value)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        return Handler
