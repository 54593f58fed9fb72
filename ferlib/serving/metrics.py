"""What a worker counts for Prometheus: times of its stages, faces, emotions, errors.

By prometheus_client's files for several processes, which the keeper reads (`exposition`). Without
that package, or where nobody asks for numbers, nothing is counted.
"""

import contextlib
import os
import time
from typing import Any

FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client's own name for it
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_FACES = (0, 1, 2, 3, 5, 10, 20, 50)
_SHARES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)


class Numbers:
    """Counts where it can and was asked to; else its methods do nothing."""

    def __init__(self, on: bool = True) -> None:
        self._on = False
        self._lap = time.perf_counter()
        if on and os.environ.get(FOLDER):
            with contextlib.suppress(ImportError):
                self._make()

    def _make(self) -> None:
        from prometheus_client import Counter, Histogram

        stage = "Seconds for decoding a picture, finding its faces, and reading them"
        self._stages: Any = Histogram("ferlib_stage_seconds", stage, ["stage"], buckets=_SECONDS)
        self._faces: Any = Histogram("ferlib_faces_per_picture", "Faces found", buckets=_FACES)
        self._emotions: Any = Counter("ferlib_emotions", "Faces by emotion", ["emotion"])
        largest = "The largest probability of each face"
        self._confidence: Any = Histogram("ferlib_confidence", largest, buckets=_SHARES)
        self._errors: Any = Counter("ferlib_errors", "Pictures that could not be read", ["code"])
        self._on = True

    def start(self) -> None:
        """A stage begins."""
        self._lap = time.perf_counter()

    def lap(self, stage: str) -> None:
        """A stage has ended, decode, find or read, and the next one begins."""
        now = time.perf_counter()
        if self._on:
            self._stages.labels(stage).observe(now - self._lap)
        self._lap = now

    def picture(self, emotions: list[tuple[str, float]]) -> None:
        """A picture's faces, each with its emotion's name and probability."""
        if self._on:
            self._faces.observe(len(emotions))
            for name, probability in emotions:
                self._emotions.labels(name).inc()
                self._confidence.observe(probability)

    def error(self, code: str) -> None:
        """A picture that could not be read."""
        if self._on:
            self._errors.labels(code).inc()
