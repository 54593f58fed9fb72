"""What travels with a net's weights: PREFIX.json as a dataclass, checked when it is read."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from math import inf
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

import numpy as np

from ferlib.data.images import LARGEST, NORMALISATIONS
from ferlib.data.labels import EMOTIONS
from ferlib.errors import FerlibError

if TYPE_CHECKING:  # who only reads nets may be where MXNet is not
    from ferlib.nets.registry import Net


@dataclass(frozen=True)
class Trained:
    """How weights came about: enough to do it again."""

    command: str = ""
    date: str = ""
    data: str = ""  # what the pictures were
    pictures: int = 0
    recipe: Mapping[str, Any] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Info:
    """What whoever uses the weights must know, so that serving cannot differ from training."""

    network: str = ""
    input_size: int = 48  # pixels, of the square picture
    side: int | None = None  # the same again where it is not the network's own
    channels: int = 1  # 1 for gray, 3 for RGB
    normalise: str = "standardise"
    classes: tuple[str, ...] = EMOTIONS
    features: tuple[str, ...] = ()  # see `registry.Net`
    bias: tuple[float, ...] | None = None  # (K,), added to the logits
    temperature: float = 1.0  # by which they are divided then
    shares: tuple[float, ...] | None = None  # (K,), how often the net expects each class
    prior: tuple[float, ...] | None = None  # (K,), how frequent they are instead: see `nets.prior`
    valid: Mapping[str, Any] | None = None  # figures on the validation split, with conditions
    epochs: int = 0
    trained: Trained | None = None

    @classmethod
    def of(cls, net: "Net", classes: tuple[str, ...] = EMOTIONS, normalise: str = "") -> "Info":
        """What a network declares about itself."""
        return cls(
            network=net.name,
            input_size=net.size,
            channels=net.channels,
            normalise=normalise or net.normalise,
            classes=tuple(classes),
            features=net.features,
        )

    def raw(self) -> "Info":
        """With this, answers are as the loss of the training saw them.

        `shares` are of the others, so they go as well.
        """
        return replace(self, bias=None, temperature=1.0, prior=None, shares=None)

    def text(self) -> str:
        """As JSON, without what is not known."""
        every = asdict(self).items()
        known = {key: it for key, it in every if not isinstance(it, tuple | NoneType) or it}
        return json.dumps(known, indent=2) + "\n"

    def write(self, path: Path) -> None:
        """`text` as a file."""
        path.write_text(self.text())

    @classmethod
    def read(cls, path: Path) -> "Info":
        """Raises FerlibError where the file does not describe a net of this package."""
        return cls.parse(path.read_bytes(), path)

    @classmethod
    def parse(cls, text: str | bytes, where: str | Path) -> "Info":
        """What `text` gave; raises FerlibError, which names `where` it stood."""
        try:
            stored = json.loads(text)
            if "emotions" in stored:  # as it was called while there were no other classes
                stored["classes"] = stored.pop("emotions")
            stored = {name: stored[name] for name in _NAMES if name in stored}
            for name in ("input_size", "normalise", "classes"):
                stored[name]  # without these nobody can use the weights
            stored |= {key: _listed(stored[key]) for key in _TUPLES if stored.get(key) is not None}
            if "trained" in stored:
                stored["trained"] = Trained(**stored["trained"])
            info = cls(**stored)
            _check(info)
        except _WRONG:
            raise FerlibError(
                f"{where} does not describe a net of this package.\nExpected JSON with input_size, "
                "normalise, temperature and the names of the classes, as `ferlib train` writes it",
                "weights_invalid",
            ) from None
        return replace(info, temperature=float(info.temperature))


_NAMES = [one.name for one in fields(Info)]
_TUPLES = ("classes", "features", "bias", "shares", "prior")
# By what is wrong with the JSON, such as nesting without end, or a number too long for a float.
_WRONG = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


def _listed(values: Any) -> tuple:
    """A list of the JSON as a tuple; a text would be taken for its letters."""
    if not isinstance(values, list):
        raise TypeError
    return tuple(values)


def _check(info: Info) -> None:
    """ValueError or TypeError where a value is none that a net can have."""
    words = (*info.classes, *info.features, info.network)
    sound = (
        all(isinstance(word, str) for word in words)
        and len(set(info.classes)) == len(info.classes) > 1
        and info.normalise in NORMALISATIONS
        and type(info.input_size) is int  # True is an int as well
        and 0 < info.input_size <= LARGEST
        and info.side in (None, info.input_size)
        and info.channels in (1, 3)
        and 0 < float(info.temperature) < inf
        and (info.valid is None or isinstance(info.valid, Mapping))
        and (info.trained is None or type(info.trained.pictures) is int)
        and all(_one_a_class(one, info.classes) for one in (info.bias, info.shares, info.prior))
        and (
            info.prior is None
            or (info.shares is not None and min(info.prior) >= 0 < sum(info.prior))
        )
    )
    if not sound:
        raise ValueError


def _one_a_class(values: tuple[float, ...] | None, classes: tuple[str, ...]) -> bool:
    if values is None:
        return True
    numbers = np.array(values, float)
    return numbers.shape == (len(classes),) and bool(np.isfinite(numbers).all())
