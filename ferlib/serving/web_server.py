"""A small server for the browser page, for this machine alone."""

import sys
from collections.abc import Iterable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ferlib.errors import FerlibError
from ferlib.serving import web

HEADERS = {
    # Nothing may be asked of another host; WebAssembly is all that may be compiled.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; "
        "img-src 'self' blob:; media-src 'self' blob:; connect-src 'self'; worker-src 'self'; "
        "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    # Under these two a page may share memory between threads.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",  # kept, but asked for again, so that a new build is seen
}
TYPES = {
    ".mjs": "text/javascript",
    ".js": "text/javascript",
    ".wasm": "application/wasm",
    ".onnx": "application/octet-stream",
    ".webmanifest": "application/manifest+json",
}


# A page elsewhere whose name was made to lead here is told apart by the name (DNS rebinding).
HOSTS = ("localhost", "127.0.0.1")


class Handler(SimpleHTTPRequestHandler):
    """The page's own files, with the headers that it needs: a folder may hold others beside."""

    protocol_version = "HTTP/1.1"
    timeout = 30  # seconds of silence, after which a connection is closed
    extensions_map = SimpleHTTPRequestHandler.extensions_map | TYPES

    def __init__(self, *connection: Any, names: frozenset[str], directory: str):
        self.names = names  # in the folder, what is given out; first, for the next line answers
        super().__init__(*connection, directory=directory)

    def end_headers(self) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def send_head(self) -> Any:
        if self.headers.get("Host", "").partition(":")[0] not in HOSTS:
            self.send_error(421)
            return None
        name = Path(self.translate_path(self.path)).relative_to(self.directory).as_posix()
        if name not in self.names:
            self.send_error(404)
            return None
        return super().send_head()

    def log_message(self, *_told: Any) -> None:
        """Nothing: who looks at which picture is no one's business, and the page asks for none."""


class Server(ThreadingHTTPServer):
    """One that says nothing of browsers that go away in the middle of a file."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def server(folder: str | Path, port: int = 0) -> Server:
    """A server of a built folder on 127.0.0.1, ready for `serve_forever`; port 0: a free one.

    FerlibError where the port is in use.
    """
    folder = Path(folder)
    try:
        names = web.given_out(folder)
    except (OSError, ValueError, LookupError, TypeError):
        raise FerlibError(
            f"{folder} holds no page: `ferlib web --out {folder}` builds one"
        ) from None
    return _bound(folder, port, names)


def check_port(port: int) -> None:
    """FerlibError where a server cannot have the port."""
    _bound(Path(), port).server_close()


def _bound(folder: Path, port: int, names: Iterable[str] = ()) -> Server:
    handler = partial(Handler, names=frozenset(names), directory=str(folder))
    try:
        return Server(("127.0.0.1", port), handler)
    except PermissionError:
        raise FerlibError(f"port {port} is for root: choose one above 1023") from None
    except OSError:
        raise FerlibError(
            f"port {port} is in use: choose another with --port", "port_in_use"
        ) from None


def address(one: Server) -> str:
    """What to open in a browser. By this name the page counts as safe for camera and threads."""
    return f"http://localhost:{one.server_port}/"
