"""Both ends of a race in turns; without any package, as PyTorch's side has its own."""

import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path


class Rival:
    """A process that waits for its turn: a line to it is a question, a line of it the answer.

    Its first line says that it is ready.
    """

    def __init__(self, command: list, env: dict | None = None, cwd: Path | None = None):
        pipes: dict = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        words = [str(part) for part in command]
        self.process = subprocess.Popen(words, env=env, cwd=cwd, **pipes)
        self._line()

    def ask(self, question: str) -> float:
        """Seconds, mostly."""
        self.process.stdin.write(f"{question}\n")
        self.process.stdin.flush()
        return float(self._line())

    def _line(self) -> str:
        line = self.process.stdout.readline()
        if not line:
            name = Path(sys.argv[0]).stem
            raise SystemExit(f"{name}: a process ended before its turn; see above")
        return line

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.process.stdin.close()
        self.process.wait()


def race(command: list, kinds: list[str], question: str, turns: int) -> list[list[float]]:
    """Answers to a question in each turn: one of each kind, a process of `command` and the kind."""
    with ExitStack() as ends:
        rivals = [ends.enter_context(Rival([*command, kind])) for kind in kinds]
        return [[rival.ask(question) for rival in rivals] for _ in range(turns)]


def take_turns(call) -> None:
    """The other end of `Rival`: so many calls for each number read -> seconds."""
    print("{}", flush=True)
    for line in sys.stdin:
        for _ in range(max(1, int(line) // 4)):  # caches and threads come back from others' turns
            call()
        started = time.perf_counter()
        for _ in range(int(line)):
            call()
        print(time.perf_counter() - started, flush=True)
