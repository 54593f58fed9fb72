"""Nets measured on any data set, explained, and compared with themselves in int8."""

from ferlib._lazy import lazily

__getattr__, __dir__, __all__ = lazily(
    __name__,
    {
        "evaluator": ("adapt", "evaluate"),
        "embedding": ("embedded",),
        "explain": (),
        "report": ("Report",),
        "rounding": ("compare",),
    },
)
