"""Facial expression recognition after FER+ (Barsoum et al. 2016, arXiv 1608.01041) in Gluon.

Importing ferlib is quick and changes nothing outside it: everything is loaded on first use.
`ferlib.runtime.import_mxnet()` gives MXNet with the names back that it misses in newer NumPys.
"""

from ferlib._lazy import lazily

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazily(
    __name__,
    {
        "data.labels": ("EMOTIONS",),
        "errors": ("FerlibError",),
        "faces.face": ("Face",),
        "faces.recognizer": ("Recognizer",),
    },
)
