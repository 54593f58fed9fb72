"""Which true faces some boxes found, and which boxes are extra."""

from collections.abc import Callable, Sequence

Box = Sequence[float]  # x, y, w, h


def overlap(one: Box, other: Box) -> float:
    """Intersection over union."""
    w = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    h = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    shared = max(w, 0) * max(h, 0)
    return shared / (one[2] * one[3] + other[2] * other[3] - shared)


def by_overlap(face: Box, box: Box) -> float:
    """0 where they overlap by 0.3 or less: systems frame faces differently."""
    return overlap(face, box) if overlap(face, box) > 0.3 else 0


def by_centre(face: Box, box: Box) -> float:
    """0 unless the centre of each lies in the other."""
    return overlap(face, box) if _holds(face, box) and _holds(box, face) else 0


def _holds(outer: Box, inner: Box) -> bool:
    x, y = inner[0] + inner[2] / 2, inner[1] + inner[3] / 2
    return outer[0] <= x <= outer[0] + outer[2] and outer[1] <= y <= outer[1] + outer[3]


def found(faces: Sequence[Box], boxes: Sequence[Box], how: Callable) -> int:
    """How many faces get a box of their own, the best pair first.

    A second box on the same face finds nothing, and so counts as extra.
    """
    pairs = [(how(f, b), i, j) for i, f in enumerate(faces) for j, b in enumerate(boxes)]
    seen, used = set(), set()
    for score, i, j in sorted(pairs, reverse=True):
        if score and i not in seen and j not in used:
            seen.add(i)
            used.add(j)
    return len(seen)
