"""Facial expression recognition after FER+ (Barsoum et al. 2016, arXiv 1608.01041) in Gluon.

Importing ferlib is quick: it puts back the names that MXNet 1.9.1 misses in newer Pythons and
NumPys, so that a following `import mxnet` works, and loads everything else on first use.
"""

from importlib import import_module

from ferlib import runtime
from ferlib.errors import FerlibError
from ferlib.labels import EMOTIONS

__version__ = "0.1.0"
__all__ = ["EMOTIONS", "Face", "FerlibError", "Recognizer", "__version__"]

runtime.restore_names()

_LAZY = {"Recognizer": "ferlib.faces", "Face": "ferlib.faces"}


def __getattr__(name: str):
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'ferlib' has no attribute {name!r}")
