"""What is learnt from: data sets of any form behind one interface, `Dataset`."""

from ferlib._lazy import lazily

__getattr__, __dir__, __all__ = lazily(
    __name__,
    {
        "account": (),
        "augment": (),
        "cartoon": (),
        "dataset": ("Dataset",),
        "fer2013": (),
        "folders": (),
        "images": (),
        "labels": (),
        "sample": (),
        "sources": ("open_data",),
    },
)
