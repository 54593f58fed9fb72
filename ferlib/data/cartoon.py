"""Faces as cartoons: a table of numbers (brows, lids, mouth) on the way from neutral to an emotion.

They are drawn with OpenCV at four times their size, then shrunk, lit and grained.
"""

from types import SimpleNamespace

import cv2
import numpy as np
from numpy.typing import ArrayLike

from ferlib.data.labels import EMOTIONS
from ferlib.errors import check_choice

# What a face can do: value at rest and spread between people. Lengths are in half frames (the frame
# is 2 x 2, its middle the bridge of the nose), up is positive.
REST = {
    "brow_inner": (0.0, 0.020), "brow_middle": (0.04, 0.012), "brow_outer": (0.0, 0.020),
    "brow_skew": (0.0, 0.010),  # one brow higher than the other
    "lid_upper": (0.115, 0.010), "lid_lower": (0.095, 0.008),  # opening above and below the pupil
    "lid_slant": (0.0, 0.008), "gaze_x": (0.0, 0.020), "gaze_y": (0.0, 0.015),
    "wrinkles": (0.0, 0.0), "frown": (0.0, 0.0), "folds": (0.0, 0.0), "tear": (0.0, 0.0),
    "mouth_y": (0.0, 0.010), "mouth_width": (0.27, 0.020), "mouth_curve": (0.0, 0.012),
    "mouth_skew": (0.0, 0.006),  # one corner pulled up
    "lip_upper": (0.0, 0.0), "lip_lower": (0.0, 0.0),  # how far the lips part from the middle line
    "square": (0.0, 0.05), "wave": (0.0, 0.002), "teeth": (0.0, 0.0), "tongue": (0.0, 0.0),
}  # fmt: skip

# What each emotion adds at full strength; several ways to show one emotion are several rows.
EXPRESSIONS: dict[str, list[dict[str, float]]] = {
    "neutral": [{}],
    "happiness": [
        {"mouth_curve": 0.15, "mouth_width": 0.15, "lip_lower": 0.20, "teeth": 0.45, "tongue": 0.6,
         "lid_lower": -0.10, "brow_inner": 0.03, "brow_middle": 0.05, "folds": 0.8},
        {"mouth_curve": 0.19, "mouth_width": 0.15, "lid_lower": -0.12, "lid_upper": -0.01,
         "brow_middle": 0.04, "folds": 0.9},
        {"mouth_curve": 0.13, "mouth_width": 0.17, "lip_lower": 0.10, "teeth": 1.0,
         "lid_lower": -0.10, "folds": 0.9},
    ],
    "surprise": [
        {"brow_inner": 0.13, "brow_middle": 0.18, "brow_outer": 0.11, "lid_upper": 0.08,
         "lid_lower": 0.04, "mouth_width": -0.10, "lip_upper": 0.13, "lip_lower": 0.19},
        {"brow_inner": 0.15, "brow_middle": 0.20, "brow_outer": 0.13, "lid_upper": 0.07,
         "lid_lower": 0.03, "mouth_width": -0.15, "lip_upper": 0.08, "lip_lower": 0.10},
    ],
    "sadness": [
        {"brow_inner": 0.12, "brow_outer": -0.10, "lid_upper": -0.045, "lid_slant": -0.06,
         "gaze_y": -0.04, "mouth_curve": -0.15, "mouth_width": -0.03, "mouth_y": -0.02},
        {"brow_inner": 0.13, "brow_outer": -0.11, "lid_upper": -0.06, "lid_slant": -0.06,
         "mouth_curve": -0.17, "tear": 1.0, "gaze_y": -0.03},
    ],
    "anger": [
        {"brow_inner": -0.15, "brow_middle": -0.04, "brow_outer": 0.11, "lid_upper": -0.02,
         "lid_slant": 0.08, "frown": 1.0, "mouth_curve": -0.09, "mouth_width": -0.02},
        {"brow_inner": -0.16, "brow_middle": -0.04, "brow_outer": 0.11, "lid_slant": 0.08,
         "frown": 1.0, "lip_upper": 0.07, "lip_lower": 0.09, "square": 0.8, "teeth": 1.0,
         "mouth_width": 0.04, "mouth_curve": -0.04},
    ],
    "disgust": [
        {"brow_inner": -0.09, "brow_middle": -0.06, "brow_outer": -0.02, "lid_upper": -0.055,
         "lid_lower": -0.075, "wrinkles": 1.0, "folds": 0.7, "mouth_curve": -0.10,
         "lip_upper": 0.10, "lip_lower": 0.05, "tongue": 2.0, "mouth_y": 0.03},
        {"brow_inner": -0.09, "brow_middle": -0.05, "brow_skew": 0.03, "lid_upper": -0.06,
         "lid_lower": -0.08, "wrinkles": 1.0, "folds": 1.0, "mouth_curve": -0.13,
         "lip_upper": 0.11, "teeth": 0.5, "mouth_skew": 0.05, "mouth_y": 0.04},
    ],
    "fear": [
        {"brow_inner": 0.19, "brow_middle": 0.05, "brow_outer": -0.01, "lid_upper": 0.08,
         "lid_lower": 0.02, "mouth_width": 0.10, "lip_upper": 0.05, "lip_lower": 0.07,
         "square": 0.6, "teeth": 1.0, "wave": 0.030, "mouth_curve": -0.05},
        {"brow_inner": 0.19, "brow_middle": 0.05, "brow_outer": -0.01, "lid_upper": 0.08,
         "lid_lower": 0.02, "mouth_width": 0.06, "lip_upper": 0.03, "lip_lower": 0.13,
         "square": 0.5, "wave": 0.022, "mouth_curve": -0.12, "teeth": 0.25},
    ],
    "contempt": [
        {"mouth_skew": 0.20, "brow_skew": 0.10, "lid_upper": -0.07, "gaze_x": 0.06,
         "brow_middle": -0.01, "mouth_width": 0.02},
    ],
}  # fmt: skip


def pose(emotion: str, intensity: float, rng: np.random.Generator) -> SimpleNamespace:
    """The numbers of REST for one face that shows `emotion`; intensity 0 is neutral, 1 full."""
    adds = EXPRESSIONS[emotion][rng.integers(len(EXPRESSIONS[emotion]))]
    noise = rng.standard_normal(len(REST))
    values = {
        name: rest + intensity * adds.get(name, 0.0) + spread * z
        for (name, (rest, spread)), z in zip(REST.items(), noise, strict=True)
    }
    return SimpleNamespace(**values)


# Drawing. Coordinates are REST's: x to the right, y up, the frame from -1 to 1.


class Pen:
    """Draws polygons and lines given in frame coordinates on a canvas, through one affine map."""

    def __init__(self, canvas: np.ndarray, matrix: np.ndarray):
        self.canvas, self.matrix = canvas, matrix

    def _pixels(self, points) -> np.ndarray:
        points = np.asarray(points, dtype=np.float64) @ self.matrix[:, :2].T + self.matrix[:, 2]
        return np.rint(points * 16).astype(np.int32)  # 4 fractional bits: smooth at every size

    def fill(self, points: ArrayLike, shade: float) -> None:
        cv2.fillPoly(self.canvas, [self._pixels(points)], int(shade), cv2.LINE_AA, 4)

    def line(self, points: ArrayLike, shade: float, width: float) -> None:
        pixels = max(1, round(width * np.hypot(*self.matrix[:, 0])))
        points = [self._pixels(points)]
        cv2.polylines(self.canvas, points, False, int(shade), pixels, cv2.LINE_AA, 4)

    def dot(self, x: float, y: float, radius: float | tuple[float, float], shade: float) -> None:
        """A circle, or an ellipse when radius is (horizontal, vertical)."""
        self.fill(arc(x, y, radius), shade)

    def moved(self, x: float, y: float) -> "Pen":
        """The same pen with its origin at (x, y)."""
        shifted = self.matrix[:, :2] @ (x, y) + self.matrix[:, 2]
        return Pen(self.canvas, np.column_stack([self.matrix[:, :2], shifted]))


def arc(
    x: float, y: float, radius: float | tuple[float, float], start: float = 0, stop: float = 360
) -> np.ndarray:
    """Points (40, 2) on an ellipse, anticlockwise from `start` to `stop` in degrees."""
    angle = np.radians(np.linspace(start, stop, 40))
    return np.column_stack([np.cos(angle), np.sin(angle)]) * radius + (x, y)


def between(x: np.ndarray, top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """The polygon between two curves over the same x."""
    return np.column_stack([np.r_[x, x[::-1]], np.r_[top, bottom[::-1]]])


# Heights of the hairline from ear to ear, how far the hair hangs down, how much it stands off.
HAIR = (
    {"line": None, "down": 0.0, "off": 0.0},  # bald
    {"line": (0.30, 0.78, 0.84, 0.78, 0.30), "down": 0.0, "off": 0.05},  # short
    {"line": (0.28, 0.90, 0.86, 0.76, 0.22), "down": 0.0, "off": 0.09},  # parted at the side
    {"line": (0.20, 0.68, 0.72, 0.68, 0.20), "down": 0.9, "off": 0.10},  # fringe, chin-long
    {"line": (-0.1, 0.58, 0.95, 0.58, -0.1), "down": 1.4, "off": 0.09},  # long, parted
    {"line": (0.20, 0.76, 0.80, 0.76, 0.20), "down": 0.0, "off": 0.04, "curls": 0.15},  # curly
)


def _person(rng: np.random.Generator) -> SimpleNamespace:
    """Everything about a face that does not depend on its emotion."""
    skin = rng.uniform(112, 218)
    hair = skin * rng.choice((0.2, 0.3, 0.45, 0.65, 1.15)) * rng.uniform(0.8, 1.05)
    return SimpleNamespace(
        skin=skin, hair=hair, brow=min(hair, 0.45 * skin), ink=0.28 * skin, lips=0.66 * skin,
        style=HAIR[rng.integers(len(HAIR))], width=rng.uniform(0.72, 0.82),
        chin=rng.uniform(0.90, 0.97), jaw=rng.uniform(0.06, 0.26), eye_x=rng.uniform(0.31, 0.36),
        eye_width=rng.uniform(0.17, 0.20), iris=rng.uniform(25, 110), nose=rng.uniform(0.8, 1.2),
        brow_width=rng.uniform(0.05, 0.09), lip_width=rng.uniform(0.012, 0.035),
        glasses=rng.random() < 0.15, shirt=rng.uniform(30, 230), light_side=rng.choice((-1, 1)),
    )  # fmt: skip


def _head(pen: Pen, who: SimpleNamespace) -> None:
    skull = arc(0, 0, 1)
    below = np.minimum(skull[:, 1], 0) ** 2
    skull[:, 0] *= who.width * (1 - who.jaw * below)
    skull[:, 1] *= np.where(skull[:, 1] > 0, 1.10, who.chin)
    style, hair_shade = who.style, who.hair
    wide = who.width + style["off"]
    if style["down"]:
        pen.fill(np.r_[arc(0, 0.1, (wide, 1.1), 0, 180), [(-wide, -style["down"])],
                       [(wide, -style["down"])]], 0.8 * hair_shade)  # fmt: skip
    cap = arc(0, 0.08, (wide, 1.08 + style["off"]), 0, 180)
    if style["line"] is not None:
        pen.fill(cap, hair_shade)
    pen.dot(0, -1.45, (1.15, 0.5), who.shirt)
    pen.fill([(-0.3, -0.6), (0.3, -0.6), (0.34, -1.2), (-0.34, -1.2)], 0.72 * who.skin)
    for side in (-1, 1):
        pen.dot(side * who.width, 0.05, (0.11, 0.19), 0.86 * who.skin)
    pen.fill(skull, 0.86 * who.skin)  # the side in shade, then the lit one
    pen.fill(skull * (0.93, 0.97) + (0.035 * who.light_side, 0.02), who.skin)
    if style["line"] is not None:
        x = np.linspace(-1, 1, 25)
        hairline = np.polyval(np.polyfit((-1, -0.5, 0, 0.5, 1), style["line"], 4), x)
        pen.fill(np.r_[cap, np.column_stack([x * who.width, hairline])], hair_shade)
    if "curls" in style:
        for x, y in arc(0, 0.15, (wide, 0.9), -10, 190)[::3]:
            pen.dot(x, y, style["curls"], hair_shade)


def _eyes(pen: Pen, who: SimpleNamespace, face: SimpleNamespace) -> None:
    x = np.linspace(-1, 1, 21)
    bow = 1 - x**2
    for side in (-1, 1):
        at = pen.moved(side * who.eye_x, 0.14)
        upper = face.lid_upper * bow + face.lid_slant * side * x * np.sqrt(bow)
        lower = np.minimum(-face.lid_lower * bow, upper - 0.012)
        wide, lid = x * who.eye_width, 0.25 * np.sqrt(bow)
        at.fill(between(wide, upper, lower), 242)
        at.dot(face.gaze_x, face.gaze_y, 0.088, who.iris)
        at.dot(face.gaze_x, face.gaze_y, 0.045, 10)
        at.dot(face.gaze_x + 0.03, face.gaze_y + 0.035, 0.02, 255)
        at.fill(between(wide, np.maximum(lid, upper), upper), 0.9 * who.skin)
        at.fill(between(wide, lower, np.minimum(-lid, lower)), 0.97 * who.skin)
        at.line(np.column_stack([wide, upper]), who.ink, 0.028)
        at.line(np.column_stack([wide, lower]), 0.7 * who.skin, 0.012)
        if face.tear > 0.3 and side == 1:
            at.fill([(0.02, -0.14), (0.07, -0.28), (-0.03, -0.28)], 250)
            at.dot(0.02, -0.29, 0.05, 250)


def _brows(pen: Pen, who: SimpleNamespace, face: SimpleNamespace) -> None:
    t = np.linspace(0, 1, 15)  # from the inner end to the outer, a parabola through three heights
    height = (
        face.brow_inner * (1 - t) * (1 - 2 * t)
        + face.brow_middle * 4 * t * (1 - t)
        + face.brow_outer * t * (2 * t - 1)
    )
    thick = who.brow_width * (1 - 0.6 * t)
    for side in (-1, 1):
        at = pen.moved(side * who.eye_x, 0.40 + face.brow_skew * (1 if side == 1 else -0.3))
        at.fill(between(side * (-0.21 + 0.43 * t), height + thick, height), who.brow)
        if face.frown > 0.3:
            pen.line([(0.04 * side, 0.27), (0.05 * side, 0.40)], who.ink, 0.022 * face.frown)


def _nose(pen: Pen, who: SimpleNamespace, face: SimpleNamespace) -> None:
    size = 0.11 * who.nose
    line = 0.55 * who.skin
    tip = -0.20 + 0.05 * face.wrinkles
    pen.line(arc(0, tip, (size, 0.06), 190, 350), line, 0.026)
    for side in (-1, 1):
        pen.line(arc(side * size, tip + 0.02, (0.045, 0.06), -90, 90)[:: side or 1], line, 0.02)
        if face.folds > 0.3:
            fold = np.array([(1.5 * size, tip), (0.30, tip - 0.10), (0.41, tip - 0.27)]) * (side, 1)
            pen.line(fold, (1 - 0.3 * face.folds) * who.skin, 0.022)
        for k in range(3):
            crease = np.array([(0.02, 0.19), (0.12, 0.25)]) * (side, 1) - (0, 0.075 * k)
            if face.wrinkles > 0.3:
                pen.line(crease, (1 - 0.5 * face.wrinkles) * who.skin, 0.022)


def _mouth(pen: Pen, who: SimpleNamespace, face: SimpleNamespace) -> None:
    at = pen.moved(0, -0.53 + face.mouth_y)
    s = np.linspace(-1, 1, 41)
    middle = face.mouth_curve * (s**2 - 0.45) + face.mouth_skew * np.maximum(s + 0.1, 0) ** 2
    middle += face.wave * np.sin(10 * s)
    shape = (1 - s**2) ** np.clip(0.65 - 0.5 * face.square, 0.1, 1)
    x, lip = s * face.mouth_width, who.lip_width * (1.2 - s**2)
    top, bottom = middle + face.lip_upper * shape, middle - face.lip_lower * shape
    at.fill(between(x, top + lip, bottom - 1.3 * lip), who.lips)
    if face.lip_upper + face.lip_lower < 0.03:
        at.line(np.column_stack([x, middle]), who.ink, 0.03)
        return
    at.fill(between(x, top, bottom), 0.16 * who.skin)
    inside = abs(s) < 0.7
    if face.tongue > 0:
        tongue = bottom + min(face.tongue, 1) * 0.45 * (top - bottom)
        at.fill(between(x[inside], tongue[inside], bottom[inside]), 0.55 * who.skin)
    if face.teeth > 0:
        edge = top - min(face.teeth, 1) * (top - bottom)
        at.fill(between(x, top, edge), 243)
    if face.teeth > 0.7:  # clenched: the rows meet in the middle
        at.line(np.column_stack([x, (top + bottom) / 2]), 0.5 * who.skin, 0.014)
    at.line(np.column_stack([x, top]), who.ink, 0.018)
    at.line(np.column_stack([x, bottom]), who.ink, 0.018)
    if face.tongue > 1:  # out of the mouth
        out = 0.16 * (face.tongue - 1)
        at.dot(0.02, bottom[20] - out / 3, (0.45 * face.mouth_width, out), 0.62 * who.skin)
        at.line([(0.02, bottom[20]), (0.02, bottom[20] - 0.8 * out)], 0.45 * who.skin, 0.018)


def _glasses(pen: Pen, who: SimpleNamespace) -> None:
    for side in (-1, 1):
        rim = arc(side * who.eye_x, 0.12, (0.25, 0.22))
        pen.line(np.r_[rim, rim[:1]], 0.18 * who.skin, 0.028)
        pen.line([(side * (who.eye_x + 0.25), 0.15), (side * 0.9, 0.18)], 0.18 * who.skin, 0.028)
    pen.line(arc(0, 0.13, (who.eye_x - 0.25, 0.05), 0, 180), 0.18 * who.skin, 0.028)


def _frame(size: int, rng: np.random.Generator) -> np.ndarray:
    """The map from frame coordinates to pixels: shift, tilt, scale, left and right exchanged."""
    scale = 0.5 * size * rng.uniform(0.92, 1.10)
    tilt = np.radians(rng.normal(0, 5))
    turn = np.array([[np.cos(tilt), np.sin(tilt)], [np.sin(tilt), -np.cos(tilt)]])
    middle = size / 2 * (1 + rng.normal(0, 0.035, 2))
    return np.column_stack([scale * turn * (rng.choice((-1, 1)), 1), middle])


def _photograph(canvas: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Shrink, light from one side, exposure and grain: uint8 (size, size)."""
    picture = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32)
    ramp = np.linspace(-1, 1, size, dtype=np.float32)
    lit = 1 + rng.uniform(-0.22, 0.22) * ramp + rng.uniform(-0.05, 0.18) * ramp[::-1, None]
    picture = picture * (lit * rng.uniform(0.75, 1.10)) + rng.uniform(0, 12)
    grain = rng.standard_normal(picture.shape, dtype=np.float32) * rng.uniform(0.5, 6) * 48 / size
    return np.clip(np.rint(picture + grain), 0, 255).astype(np.uint8)


def strengths(n: int, rng: np.random.Generator) -> np.ndarray:
    """(n,) intensities as they come: full ones more often than weak ones, 0.45 to 1."""
    return 0.45 + 0.55 * np.sqrt(rng.random(n))


def draw(
    emotion: str, rng: np.random.Generator, size: int = 48, intensity: float | None = None
) -> np.ndarray:
    """One drawn face, framed as FER2013's: uint8 (size, size), gray.

    intensity: 0 (neutral) to 1 (as strong as it gets); drawn from `strengths` when None.
    The same `rng` state gives the same face at every size, but for the grain.
    """
    check_choice("emotion", emotion, EMOTIONS)
    who = _person(rng)
    face = pose(emotion, strengths(1, rng)[0] if intensity is None else intensity, rng)
    dark, light = np.sort(rng.uniform(20, 240, 2))
    canvas = np.tile(np.linspace(dark, light, 4 * size).astype(np.uint8), (4 * size, 1))
    pen = Pen(canvas, _frame(4 * size, rng))
    _head(pen, who)
    turned = pen.moved(rng.normal(0, 0.03), 0)  # the features of a head that looks aside
    for part in (_nose, _mouth, _eyes, _brows):
        part(turned, who, face)
    if who.glasses:
        _glasses(turned, who)
    return _photograph(canvas, size, rng)


def no_face(rng: np.random.Generator, size: int = 48) -> np.ndarray:
    """A picture of boxes and balls, for the rows that show no face: uint8 (size, size)."""
    canvas = np.full((4 * size, 4 * size), rng.integers(256), dtype=np.uint8)
    pen = Pen(canvas, _frame(4 * size, rng))
    for _ in range(rng.integers(3, 9)):
        x, y, width, height = rng.uniform(-1, 1, 4)
        corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
        pen.fill(corners, rng.integers(256))
        pen.dot(-y, x, abs(width) / 2 + 0.05, rng.integers(256))
    return _photograph(canvas, size, rng)
