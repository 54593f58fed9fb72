"""Ask ferlib's server about pictures: python deploy/client.py PHOTO... (nothing to install)."""

import base64
import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

ADDRESS = "http://127.0.0.1:8080/predictions/fer"
MOST = 16  # pictures in one request
LARGEST = 22_000_000  # bytes of them: as base64 they must stay below 32 MiB


def ask(pictures: list[bytes], address: str = ADDRESS, tries: int = 10) -> list[dict]:
    """An answer, or {"error": ...}, for each picture. While the server is busy it waits as long as
    it is told to, `tries` times at most. Any other refusal is an urllib.error.HTTPError."""
    body = json.dumps([base64.b64encode(picture).decode() for picture in pictures]).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    for left in reversed(range(tries)):
        try:
            with urllib.request.urlopen(request, timeout=70) as reply:
                return json.load(reply)["pictures"]
        except urllib.error.HTTPError as refusal:
            if refusal.code not in (429, 503) or not left:
                raise
            time.sleep(float(refusal.headers.get("Retry-After", 1)))
    raise ValueError("tries: expected one at least")


def portions(names: list[str]) -> Iterator[list[tuple[str, bytes]]]:
    """The files, as many at a time as one request takes."""
    some: list[tuple[str, bytes]] = []
    size = 0
    for name in names:
        picture = Path(name).read_bytes()
        size += len(picture)
        if some and (len(some) == MOST or size > LARGEST):
            yield some
            some, size = [], len(picture)
        some.append((name, picture))
    if some:
        yield some


def main(names: list[str]) -> None:
    for some in portions(names):
        while some:
            answers = ask([picture for _, picture in some])
            later = []  # what had no room beside those before it
            for place, (one, answer) in enumerate(zip(some, answers, strict=True)):
                if place and answer.get("error", {}).get("code") == "picture_too_large":
                    later.append(one)
                else:
                    print(one[0], json.dumps(answer))
            some = later


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except urllib.error.HTTPError as refusal:
        sys.exit(f"client.py: {refusal}: {refusal.read().decode(errors='replace')}")
    except OSError as error:  # no such file, no server
        sys.exit(f"client.py: {error}")
