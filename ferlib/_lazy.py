"""Packages whose names are found in their modules when they are first asked for (PEP 562).

So `from ferlib import nets; nets.load(...)` works, while serving loads neither matplotlib nor
what trains.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def lazily(
    package: str, modules: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` of a package: module -> the names it holds."""
    home = {name: module for module, names in modules.items() for name in names}
    public = sorted(home)

    def getter(name: str) -> Any:
        if name in home:
            return getattr(import_module(f"{package}.{home[name]}"), name)
        if name in modules:
            return import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return getter, lambda: public, public
