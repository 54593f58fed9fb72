"""Prometheus's numbers: the gate's own, and the workers' from the files that they write."""

import asyncio
import os
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from ferlib.serving.counts import SECONDS

if TYPE_CHECKING:
    from ferlib.serving.gate import Gate

_EVERY = 60.0  # seconds after which the files of ended workers are put together, asked or not
_ALL = "dead"  # in the place of a process number: the sum of those that have ended


class Exposition:
    """`text()` is what a scrape is answered with, of the type `kind`."""

    kind = b"text/plain; version=0.0.4; charset=utf-8"

    def __init__(self, folder: Path, gate: "Gate"):
        self._folder = folder
        self._registry = CollectorRegistry()
        self._registry.register(_Gate(gate))
        MultiProcessCollector(self._registry, path=str(folder))
        self._gather()

    def _gather(self) -> None:
        asyncio.get_running_loop().call_later(_EVERY, self._gather)  # first: files may be damaged
        gather(self._folder)

    def text(self) -> bytes:
        return generate_latest(self._registry)


class _Gate(Collector):
    """The gate's numbers as they are when asked."""

    def __init__(self, gate: "Gate"):
        self._gate = gate

    def collect(self) -> Iterable:
        counts = self._gate.counts
        about = "Requests answered, refused ones among them, by HTTP status"
        requests = CounterMetricFamily("ferlib_requests", about, labels=["status"])
        for status, count in counts.status.items():
            requests.add_metric([str(status)], count)
        about = "Requests turned away or not answered by a worker, by the code of the gate's answer"
        refused = CounterMetricFamily("ferlib_refused", about, labels=["code"])
        for code, count in counts.refused.items():
            refused.add_metric([code], count)
        yield requests
        yield refused
        yield CounterMetricFamily(
            "ferlib_restarts", "Times that Multi Model Server was started again", counts.restarts
        )
        about = "Requests that wait or are in work"
        yield GaugeMetricFamily("ferlib_in_flight", about, self._gate.in_flight)
        about = "Seconds from a request's first byte to its answer"
        times = HistogramMetricFamily("ferlib_request_seconds", about)
        times.add_metric([], _cumulative(counts.groups), counts.total_seconds)
        yield times


def _cumulative(groups: list[int]) -> list[tuple[str, float]]:
    ends = [*map(str, SECONDS), "+Inf"]
    return [(end, sum(groups[: place + 1])) for place, end in enumerate(ends)]


def gather(folder: Path) -> None:
    """Add the files of workers that have ended to one, so that they do not pile up.

    A worker that is killed leaves its numbers in files named counter_PID.db and histogram_PID.db.
    They are sums, so whose they were does not matter.
    """
    dead = defaultdict(list)
    for path in folder.glob("*_[0-9]*.db"):
        kind, _, process = path.stem.rpartition("_")
        if psutil.pid_exists(int(process)):
            continue
        if path.stat().st_size:
            dead[kind].append(path)
        else:  # its worker ended as it made the file: no scrape could be answered
            path.unlink()
    for kind, paths in dead.items():
        _add(folder / f"{kind}_{_ALL}.db", paths)


def _add(total: Path, paths: list[Path]) -> None:
    sums: dict[str, float] = defaultdict(float)
    for path in [*paths, *([total] if total.exists() else [])]:
        for key, value, *_ in MmapedDict.read_all_values_from_file(str(path)):
            sums[key] += value
    new = total.with_suffix(".new")
    new.unlink(missing_ok=True)
    file = MmapedDict(str(new))
    for key, value in sums.items():
        file.write_value(key, value, time.time())
    file.close()
    os.replace(new, total)
    for path in paths:
        path.unlink()
