"""Ask ferlib's server about pictures: python deploy/client.py PHOTO... (nothing to install)."""

import base64
import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ADDRESS = "http://127.0.0.1:8080/predictions/fer"
MOST = 16  # pictures in one request


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


def main(names: list[str]) -> None:
    for some in (names[start : start + MOST] for start in range(0, len(names), MOST)):
        for name, answer in zip(some, ask([Path(name).read_bytes() for name in some]), strict=True):
            print(name, json.dumps(answer))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except OSError as error:  # no such file, no server, or a request that it refuses
        sys.exit(f"client.py: {error}")
