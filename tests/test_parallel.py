"""`runtime.ahead`: work on a few things at once, its results in their order."""

import threading
import time
from itertools import count, islice

import pytest

from ferlib import runtime
from ferlib.runtime import parallel

CORES = 3


@pytest.fixture(autouse=True)
def three_cores(monkeypatch):
    monkeypatch.setattr(parallel, "cores", lambda: CORES)


@pytest.fixture(autouse=True)
def no_thread_stays():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def test_results_come_in_the_order_of_the_items():
    """Though the first take longest."""

    def work(number: int) -> int:
        time.sleep(0.02 * max(0, 5 - number))
        return number**2

    told = [(item, future.result()) for item, future in runtime.ahead(work, range(12))]
    assert told == [(number, number**2) for number in range(12)]


@pytest.mark.parametrize("items", [[], ["one"], ["one", "two"]])
def test_few_items_or_none(items):
    told = [(item, future.result()) for item, future in runtime.ahead(len, items)]
    assert told == [(item, 3) for item in items]


class Watched:
    """Counts what was begun, and how much at once at most."""

    def __init__(self, until: int = 0):
        self.begun, self.now, self.most, self.lock = 0, 0, 0, threading.Lock()
        self.together = threading.Barrier(until) if until else None

    def __call__(self, item: int) -> int:
        with self.lock:
            self.begun, self.now = self.begun + 1, self.now + 1
            self.most = max(self.most, self.now)
        if self.together:
            self.together.wait(10)
        with self.lock:
            self.now -= 1
        return item


def test_as_many_are_worked_on_at_once_as_there_are_cores():
    """Each waits for two others, and would end in an error after ten seconds without them."""
    work = Watched(until=CORES)
    told = [future.result() for _, future in runtime.ahead(work, range(4 * CORES))]
    assert told == list(range(4 * CORES)) and work.most == CORES


def test_an_endless_generator_is_read_a_few_items_ahead():
    drawn = []

    def endless():
        for number in count():
            drawn.append(number)
            yield number

    work = Watched()
    going = runtime.ahead(work, endless())
    assert drawn == []  # nothing before it is asked for
    for number, (item, future) in enumerate(islice(going, 50)):
        assert (item, future.result()) == (number, number)
        assert len(drawn) <= number + 1 + CORES
    going.close()
    assert work.begun <= len(drawn) <= 50 + CORES


def test_what_work_raises_comes_with_its_result_and_harms_no_other():
    def work(number: int) -> float:
        return 1 / (number - 2)

    told = {}
    for number, future in runtime.ahead(work, range(6)):
        try:
            told[number] = future.result()
        except ZeroDivisionError as error:
            told[number] = str(error)
    assert told == {0: -0.5, 1: -1.0, 2: "division by zero", 3: 1.0, 4: 0.5, 5: 1 / 3}


def test_what_the_items_raise_comes_when_they_do():
    """What was read before is not told any more, but nothing of it stays."""

    def items():
        yield from range(10)
        raise OSError("the card was pulled out")

    told, work = [], Watched()
    with pytest.raises(OSError, match="pulled out"):
        for _, future in runtime.ahead(work, items()):
            told.append(future.result())
    assert told == list(range(10 - CORES))
    assert work.now == 0


@pytest.mark.parametrize("how", ["break", "exception"])
def test_what_is_not_begun_when_one_leaves_is_not_done(how):
    """Of the three begun one is let go at a time, so the rest wait for a thread."""
    go, begun = threading.Semaphore(0), []

    def work(number: int) -> None:
        begun.append(number)
        go.acquire(timeout=10)

    going = runtime.ahead(work, count())
    next(going)  # CORES are begun, one more waits
    threading.Timer(0.2, go.release, [CORES]).start()
    if how == "break":
        going.close()
    else:
        with pytest.raises(KeyError):
            going.throw(KeyError("elsewhere"))
    time.sleep(0.05)
    assert sorted(begun) == list(range(CORES))
