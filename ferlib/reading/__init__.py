"""Files and cameras read as a whole: rows, annotated copies, timelines, heat maps."""

from ferlib._lazy import lazily

__getattr__, __dir__, __all__ = lazily(__name__, {"heat": ("HeatJob",), "job": ("Job",)})
