"""Names that MXNet 1.9.1 looks for and that newer NumPys and Pythons dropped."""

import importlib.util
import re
import sys
import types
from functools import total_ordering

import numpy as np


def restore_names() -> None:
    """Put back what `import mxnet` looks for; nothing that is there is touched. No mxnet import."""
    for name, value in _numpy_names().items():
        if name not in vars(np):
            setattr(np, name, value)
    if sys.version_info >= (3, 12) and "distutils" not in sys.modules:  # it left Python then
        if importlib.util.find_spec("distutils") is None:  # setuptools brings one of its own
            _restore_distutils()


def _numpy_names() -> dict:
    names = {"bool": bool, "PZERO": 0.0, "NZERO": -0.0, "PINF": np.inf, "NINF": -np.inf}
    names |= {"Inf": np.inf, "NaN": np.nan, "NAN": np.nan, "round_": np.round, "product": np.prod}
    names |= {"alltrue": np.all, "sometrue": np.any, "msort": lambda a: np.sort(a, axis=0)}
    names["in1d"] = lambda a, b, **how: np.isin(np.ravel(a), b, **how)
    names["trapz"] = getattr(np, "trapezoid", None)
    # The financial functions moved to numpy-financial; MXNet only mentions their names.
    names |= {name: _moved(name) for name in ("mirr", "npv", "pmt", "ppmt", "pv", "rate")}
    return names


def _moved(name: str):
    def moved(*_args, **_kwargs):
        raise NotImplementedError(f"numpy.{name} moved to the package numpy-financial")

    return moved


@total_ordering
class _Version:
    """Stands in for distutils.version's two classes: MXNet only compares release numbers."""

    def __init__(self, text: str):
        self.numbers = [int(part) for part in re.findall(r"\d+", text)]

    def __eq__(self, other) -> bool:
        return self.numbers == _Version(str(other)).numbers

    def __lt__(self, other) -> bool:
        return self.numbers < _Version(str(other)).numbers

    def __str__(self) -> str:
        return ".".join(map(str, self.numbers))


def _restore_distutils() -> None:
    package, module = types.ModuleType("distutils"), types.ModuleType("distutils.version")
    vars(module).update(LooseVersion=_Version, StrictVersion=_Version)
    vars(package).update(version=module, __path__=[])
    sys.modules |= {"distutils": package, "distutils.version": module}
