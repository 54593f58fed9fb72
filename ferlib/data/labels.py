"""Ten people's votes -> what a net is trained towards (Barsoum et al. 2016, section 3).

Votes are whole numbers of shape (N, 10): the eight EMOTIONS, then "unknown" and "non-face".
"""

from collections.abc import Sequence

import numpy as np

from ferlib.errors import FerlibError, check_choice

EMOTIONS = (
    "neutral",
    "happiness",
    "surprise",
    "sadness",
    "anger",
    "disgust",
    "fear",
    "contempt",
)
# One colour for each emotion in every picture: any two are at least 17 apart (CIEDE2000), with each
# kind of colour blindness and without.
HUES = ("#BBBBBB", "#F0A500", "#4AC7FF", "#2C48AF", "#FA005A", "#1C9477", "#9775A9", "#804F1F")
COLOURS = dict(zip(EMOTIONS, HUES, strict=True))
COLUMNS = (*EMOTIONS, "unknown", "non-face")
SCHEMES = ("majority", "probability", "cross-entropy", "multi-target")

# FER+'s votes, or FER2013's own labels.
LABEL_SETS = ("ferplus", "fer2013")
SEVEN = EMOTIONS[:-1]  # of FER2013's own labels, which have no contempt
OWN = np.array([4, 5, 6, 1, 3, 2, 0])  # FER2013's numbers -> those of SEVEN

ACCEPTED_PERCENT = 30  # section 3.2, and "30 % or more" in the code published with the paper


def colours(classes: Sequence[str]) -> dict[str, str]:
    """A colour for each class: an emotion's own, and HUES in turn for names of someone's own.

    Where there are more names than hues, these come again, lighter or darker.
    """
    known = {name: hue for name, hue in COLOURS.items() if name in classes}
    free = [hue for hue in HUES if hue not in known.values()] or list(HUES)
    others = [name for name in classes if name not in known]
    hues = {name: shaded(free[k % len(free)], k // len(free)) for k, name in enumerate(others)}
    return known | hues


def shaded(hue: str, times: int) -> str:
    """A hue that comes for the first time (0): itself; then light, dark, lighter, darker ..."""
    if not times:
        return hue
    towards, part = (255, 0)[(times - 1) % 2], 1 - 0.5 ** ((times + 1) // 2)
    parts = (int(hue[k : k + 2], 16) for k in (1, 3, 5))
    return "#" + "".join(f"{round(c + part * (towards - c)):02X}" for c in parts)


def drop_singles(votes: np.ndarray) -> np.ndarray:
    """Set single votes to 0: an emotion that one person in ten saw is taken for a slip."""
    votes = np.asarray(votes)
    whole = votes.dtype.kind in "iu" or (votes.dtype.kind == "f" and (votes % 1 == 0).all())
    if votes.ndim != 2 or votes.shape[1] != len(COLUMNS) or not whole:
        found = f"{votes.dtype} {votes.shape}"
        raise FerlibError(f"expected FER+'s votes, whole numbers (N, {len(COLUMNS)}), not {found}")
    return np.where(votes > 1, votes, 0)


def majority(votes: np.ndarray) -> np.ndarray:
    """(N, 10) votes -> int8 (N,) index into EMOTIONS, -1 where no emotion has the majority.

    An emotion has it with more than half of the votes left after single ones are dropped, with
    "unknown" and "non-face" counted in that sum. This rule chooses the images of every accuracy.
    """
    left = drop_singles(votes)
    top = left.argmax(axis=1)
    wins = (2 * left.max(axis=1) > left.sum(axis=1)) & (top < len(EMOTIONS))
    return np.where(wins, top, -1).astype(np.int8)


def usable(votes: np.ndarray) -> np.ndarray:
    """(N, 10) votes -> bool (N,): rows whose vote shares say something about an emotion.

    The top class is an emotion, and the eight emotions hold more than half of the votes left.
    Wider than the majority: a face that four call anger and four disgust teaches too.
    """
    left = drop_singles(votes)
    emotions = left[:, : len(EMOTIONS)].sum(axis=1)
    return (left.argmax(axis=1) < len(EMOTIONS)) & (2 * emotions > left.sum(axis=1))


def trainable(votes: np.ndarray, scheme: str) -> np.ndarray:
    """(N, 10) votes -> bool (N,): the rows that `scheme` can be trained on."""
    check_choice("scheme", scheme, SCHEMES)
    return majority(votes) >= 0 if scheme == "majority" else usable(votes)


def shares(votes: np.ndarray) -> np.ndarray:
    """(N, 10) votes -> float32 (N, 8): each emotion's share of the emotion votes left.

    Rows with no emotion left are all zero.
    """
    left = drop_singles(votes)[:, : len(EMOTIONS)].astype(np.float32)
    return left / np.maximum(left.sum(axis=1, keepdims=True), 1)


def rarity(share: np.ndarray, classes: Sequence[str] = EMOTIONS) -> np.ndarray:
    """Shares (N, K) -> (K,): how many times rarer than the commonest class each is, as logarithm.

    Classes without a vote count as one in a thousand. 0 for contempt: so few see it in FER2013
    that nets cannot tell it, and what favours it takes from the others only.
    """
    mean = np.maximum(share.mean(axis=0), 1e-3)
    return np.where(np.array(classes) == "contempt", 0, np.log(mean.max() / mean))


def targets(votes: np.ndarray, scheme: str, rng: np.random.Generator | None = None) -> np.ndarray:
    """(N, 10) votes -> float32 (N, 8) targets of one of the paper's four schemes.

    - "majority" (3.1): one-hot, the top emotion.
    - "multi-target" (3.2): 1 for every emotion with 30 % of the votes or more, and for the top one
      always; the loss asks for any of them (`ferlib.training.VoteLoss`).
    - "probability" (3.3): one-hot, drawn from the shares; call it afresh every epoch with `rng`.
    - "cross-entropy" (3.4): the shares themselves.
    """
    check_choice("scheme", scheme, SCHEMES)
    if scheme != "multi-target":
        return targets_of_shares(shares(votes), scheme, rng)
    left = drop_singles(votes)
    enough = ACCEPTED_PERCENT * left.sum(axis=1, keepdims=True)
    asked = 100 * left[:, : len(EMOTIONS)].astype(int) >= enough  # whole numbers: 3 of 10 count
    return np.maximum(asked, _one_hot(shares(votes))).astype(np.float32)


def targets_of_shares(
    share: np.ndarray, scheme: str, rng: np.random.Generator | None = None
) -> np.ndarray:
    """Shares (N, K) -> float32 (N, K) targets, as `targets` makes them of votes."""
    check_choice("scheme", scheme, SCHEMES)
    if scheme == "cross-entropy":
        return share
    if scheme == "probability":
        return _draw(share, rng or np.random.default_rng())
    if scheme == "majority":
        return _one_hot(share)
    return np.maximum(100 * share >= ACCEPTED_PERCENT, _one_hot(share)).astype(np.float32)


def _one_hot(share: np.ndarray) -> np.ndarray:
    return np.eye(share.shape[1], dtype=np.float32)[share.argmax(axis=1)]


def _draw(share: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One class for each row, one-hot, by inverting its cumulative distribution."""
    cumulative = share.cumsum(axis=1, dtype=np.float64)
    point = rng.random((len(share), 1)) * cumulative[:, -1:]
    drawn = (point >= cumulative).sum(axis=1).clip(max=share.shape[1] - 1)
    return np.eye(share.shape[1], dtype=np.float32)[drawn]


def softened(own: np.ndarray, votes: np.ndarray, soft: float) -> np.ndarray:
    """FER2013's labels int (n,) and votes (n, 10) -> shares (n, 7), of SEVEN.

    `soft` of each label goes to what the votes say of the seven; nothing where they say nothing.
    """
    hard = np.eye(len(SEVEN))[own]
    cast = drop_singles(votes)[:, : len(SEVEN)].astype(float)
    total = cast.sum(axis=1, keepdims=True)
    return hard + soft * np.where(total > 0, cast / np.maximum(total, 1) - hard, 0)
