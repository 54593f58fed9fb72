"""python probe.py http://127.0.0.1:8080/health: ends with status 0 where that says 200."""

import sys
import urllib.request

urllib.request.urlopen(sys.argv[1], timeout=8).close()
