"""Networks by name, the files of trained ones, and the one way from a picture to an answer."""

from ferlib._lazy import lazily

__getattr__, __dir__, __all__ = lazily(
    __name__,
    {
        "catalogue": ("catalogue",),
        "features": (),
        "graph": (),
        "info": ("Info",),
        "int8": (),
        "places": ("find_weights",),
        "answer": ("predict",),
        "calibration": ("quantize",),
        "registry": ("Net", "create", "find", "names", "parameters", "register"),
        "store": ("load", "save"),
    },
)
