"""How frequent classes are where a net is used, and what it answers there.

What a net says of a picture depends on how often it has met each class. Its probabilities hold
where classes are as frequent as its `shares`, its mean answer on validation. Where they are as
frequent as q, they are in proportion to probability * q / shares, if the pictures of a class look
alike in both places (Saerens, Latinne and Decaestecker 2002, section 2.1); for logits that is a
summand (Menon et al. 2021, arXiv 2007.07314, section 4.1).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ferlib.errors import FerlibError
from ferlib.nets.info import Info

Prior = str | Mapping[str, float] | Sequence[float]
UNIFORM = "uniform"
ROUNDED = 1e-5  # to which shares are stored: a class that is never expected stands there as 0


def under(info: Info, prior: Prior | None) -> Info:
    """The same net where classes are as frequent as `prior` says; None leaves it as it is.

    `prior`: "uniform"; names with numbers, as a mapping or as "happiness=3,neutral=1"; or a number
    for each class in their order. Only ratios matter, and the net's own `shares` change nothing. A
    class with 0, or that is not named, is never answered: its probability is 0. FerlibError for
    what is no prior, and for weights that do not tell their shares.
    """
    if prior is None:
        return info
    numbers = _numbers(prior, info.classes)
    if info.shares is None:
        raise FerlibError(
            f"these weights ({info.network}) do not tell how often they expect each class, against "
            "which\na prior is held: their JSON has no `shares`, which `ferlib train` finds out",
            "no_shares",
        )
    return replace(info, prior=tuple((numbers / numbers.sum()).tolist()))


def shift(info: Info) -> np.ndarray:
    """What the prior adds to logits after bias and temperature: float32 (K,), zeros without one.

    Minus infinity for a class that does not occur.
    """
    if info.prior is None or info.shares is None:
        return np.zeros(len(info.classes), np.float32)
    with np.errstate(divide="ignore"):
        times = np.log(np.array(info.prior)) - np.log(np.maximum(info.shares, ROUNDED))
    return times.astype(np.float32)


def told(info: Info) -> str:
    """The prior as text that `under` takes, such as happiness=0.75,neutral=0.25; "" without one."""
    pairs = zip(info.classes, info.prior or (), strict=bool(info.prior))
    return ",".join(f"{name}={number:.4g}" for name, number in pairs if number)


def _numbers(prior: Prior, classes: Sequence[str]) -> np.ndarray:
    """How frequent each class is, float (K,), the largest 1."""
    if isinstance(prior, str):
        prior = dict.fromkeys(classes, 1.0) if prior == UNIFORM else _read(prior)
    if isinstance(prior, Mapping):
        unknown = [name for name in prior if name not in classes]
        if unknown:
            known = ", ".join(classes)
            raise FerlibError(
                f"unknown class {unknown[0]!r} in the prior: expected some of {known}"
            )
        prior = [prior.get(name, 0.0) for name in classes]
    try:
        numbers = np.array(prior, float)
    except (TypeError, ValueError, OverflowError):
        raise _no_prior(prior) from None
    sound = numbers.shape == (len(classes),) and np.isfinite(numbers).all()
    if not (sound and numbers.min() >= 0 and numbers.any()):
        raise _no_prior(prior)
    return numbers / numbers.max()


def _read(text: str) -> dict[str, float]:
    """happiness=3,neutral=1 -> a mapping."""
    pairs = [part.rpartition("=")[::2] for part in text.split(",")]
    try:
        found = {name.strip(): float(number) for name, number in pairs}
    except ValueError:
        found = {}
    if len(found) < len(pairs):  # something else than a number, or a class twice
        raise _no_prior(text)
    return found


def _no_prior(prior: Prior) -> FerlibError:
    return FerlibError(
        f"{str(prior)[:80]!r} does not say how frequent the classes are: expected uniform, or\n"
        "numbers from 0 on, not all 0, by name (happiness=3,neutral=1) or one for each class"
    )
