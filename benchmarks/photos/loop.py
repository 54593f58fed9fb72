"""The other end of `sides.Side`; without any package, as fer's side has its own."""

import json
import sys
import time


def serve(load) -> None:
    """Answer lists of files, a line each. `load()` -> (read, versions).

    `read(files)` gives [[x, y, w, h, emotion], ...] for each file, in pixels; None where this
    version cannot.
    """
    started = time.perf_counter()
    read, versions = load()
    if read is None:
        return say({"absent": True})
    say({"load_seconds": time.perf_counter() - started, "versions": versions})
    for line in sys.stdin:
        files = json.loads(line)
        started = time.perf_counter()
        faces = read(files)
        say({"seconds": time.perf_counter() - started, "faces": faces})


def say(what: dict) -> None:
    print(json.dumps(what), flush=True)
