"""Work on many things at once: while one is computed, the next is being read."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from ferlib.runtime.cpu import alone_on_a_core, cores


def ahead(work: Callable[[Any], Any], items: Iterable) -> Iterator[tuple[Any, Future]]:
    """Each item with the Future of work(item), in order; few at a time, so `items` may be endless.

    As many threads work as there are cores. What they raise is raised by `Future.result`.
    """
    waiting: deque[tuple[Any, Future]] = deque()
    most = cores()
    with ThreadPoolExecutor(most, initializer=alone_on_a_core) as pool:
        try:
            for item in items:
                waiting.append((item, pool.submit(work, item)))
                if len(waiting) > most:
                    yield waiting.popleft()
            while waiting:
                yield waiting.popleft()
        finally:  # left early, by an exception or a `break`
            for _, future in waiting:
                future.cancel()
