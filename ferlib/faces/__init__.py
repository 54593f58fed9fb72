"""Faces found in photographs and videos, and read."""

from ferlib._lazy import lazily

__getattr__, __dir__, __all__ = lazily(
    __name__,
    {
        "detectors": ("default_detector", "haar", "libfacedetection", "yunet"),
        "drawing": (),
        "face": ("Face", "crop"),
        "recognizer": ("Recognizer",),
        "video": (),
    },
)
