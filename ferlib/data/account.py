"""What became of every row of FER2013 under the majority rule: counts, and a table of them."""

import numpy as np

from ferlib.data.dataset import SPLITS
from ferlib.data.fer2013 import Fer2013
from ferlib.data.labels import EMOTIONS, drop_singles, majority, usable
from ferlib.data.published import USAGES

_PARTS = {
    "no_name": "without a name in FER+",
    "no_votes": "named, but without votes in this source",
    "unknown": "most say unknown",
    "non_face": "most say not a face",
    "no_majority": "no majority",
    "kept": "majority images",
}
_MORE = {
    "usable": "usable for training",
    "repeated": "rows that repeat an earlier one of this split",
    "also_in_train": "rows that also occur in train",
    "also_in_valid": "rows that also occur in valid",
    "also_in_test": "rows that also occur in test",
    "kept_without_duplicates": "majority images not in a later split",
}


def account(data: Fer2013, protocol: str) -> dict[str, dict[str, int]]:
    """Split -> what became of its rows under one of PROTOCOLS.

    `rows` is the sum of no_name, no_votes, unknown, non_face, no_majority and kept. The other
    counts say, beside that, how many rows are usable and how many are duplicates.
    """
    votes = data.votes_of(protocol)
    fate = _fates(data, votes)
    earlier = _repeats(data)
    counts = {}
    for part, split in enumerate(SPLITS):
        here = data.usage == part
        count = {"rows": int(here.sum())}
        count |= {name: int((fate[here] == number).sum()) for number, name in enumerate(_PARTS)}
        count["usable"] = int(usable(votes)[here].sum())
        count["repeated"] = int(earlier[here].sum())
        others = [other for other in SPLITS if other != split]
        count |= {f"also_in_{other}": int(data.also_in(other)[here].sum()) for other in others}
        alone = data.split(split, protocol, without_duplicates=True)
        counts[split] = count | {"kept_without_duplicates": len(alone)}
    return counts


def _fates(data: Fer2013, votes: np.ndarray) -> np.ndarray:
    """int (N,), index into _PARTS: the first reason that applies, in that order; kept wins."""
    left = drop_singles(votes)
    top = np.where(2 * left.max(axis=1) > left.sum(axis=1), left.argmax(axis=1), -1)
    reasons = {
        "kept": majority(votes) >= 0,
        "no_name": data.names == "",
        "no_votes": ~votes.any(axis=1),
        "unknown": top == len(EMOTIONS),
        "non_face": top == len(EMOTIONS) + 1,
    }
    parts = list(_PARTS)
    numbers = [parts.index(name) for name in reasons]
    return np.select(list(reasons.values()), numbers, parts.index("no_majority"))


def _repeats(data: Fer2013) -> np.ndarray:
    """bool (N,): an earlier row of the same split has the same picture."""
    pairs = data.twins.astype(np.int64) * len(SPLITS) + data.usage
    _, first = np.unique(pairs, return_index=True)
    repeats = np.ones(len(pairs), bool)
    repeats[first] = False
    return repeats


def table(data: Fer2013) -> str:
    """`account` of every vote source at hand, as plain text."""
    lines = []
    for protocol in data.votes:
        counts = account(data, protocol)
        lines += [_line(f"votes of {protocol}", SPLITS), _line("rows", _column(counts, "rows"))]
        lines += [_line(f"  {text}", _column(counts, name)) for name, text in _PARTS.items()]
        lines += [_line(text, _column(counts, name)) for name, text in _MORE.items()]
        lines.append("")
    in_train = data.also_in("train")
    for part in (1, 2):
        shared = in_train[data.usage == part].sum()
        lines.append(f"{USAGES[part]} rows that also occur in Training: {shared}")
    return "\n".join(lines)


def _column(counts: dict[str, dict[str, int]], name: str) -> list:
    return [counts[split].get(name, "-") for split in SPLITS]


def _line(text: str, values) -> str:
    return f"{text:48}" + "".join(f"{value:>8}" for value in values)
