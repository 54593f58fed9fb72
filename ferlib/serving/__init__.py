"""The archive, its handler, and Multi Model Server around it."""

from ferlib._lazy import lazily

__getattr__, __dir__, __all__ = lazily(
    __name__,
    {"archive": ("pack",), "server": ("running", "start", "stop", "wait")},
)
