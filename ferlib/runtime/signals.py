"""What a process does when it is asked to end."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ends_like_ctrl_c() -> Iterator[None]:
    """A `kill` and a closed terminal end what runs here as Ctrl-C does: by KeyboardInterrupt.

    Only in the main thread, which alone is told of signals.
    """
    main = threading.current_thread() is threading.main_thread()
    kinds = [getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP")] if main else []
    before = {}
    for kind in filter(None, kinds):
        if signal.getsignal(kind) == signal.SIG_DFL:  # `nohup` ignores one of them
            before[kind] = signal.signal(kind, signal.default_int_handler)
    try:
        yield
    finally:
        for kind, old in before.items():
            signal.signal(kind, old)
