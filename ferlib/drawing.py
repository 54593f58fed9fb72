"""Faces drawn into their picture: box, emotion and, where there is room, eight bars.

Boxes come first, then a label for every face, then bars: each takes the first place where it
covers no face and nothing drawn before it.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ferlib import images
from ferlib.faces import Face
from ferlib.labels import COLOURS, EMOTIONS

_PANEL, _INK = (255, 255, 255, 225), "#2b2b2b"  # readable on light and dark photographs
_SMALLEST = 9  # pixels: smaller letters cannot be read
_GAP = 3  # pixels between a box and what belongs to it

Corners = tuple[int, int, int, int]  # left, top, right, bottom


def draw(photo, faces: Sequence[Face]) -> Image.Image:
    """An RGB copy of the photograph with its faces marked. Raises FerlibError for no picture."""
    picture = Image.fromarray(images.read_picture(photo))
    if not faces:
        return picture
    pen = ImageDraw.Draw(picture, "RGBA")
    unit = _text_height(picture.size, faces)
    font = ImageFont.load_default(unit)
    for face in faces:
        _draw_box(pen, face, unit)
    boxes = [_corners(face.box) for face in faces]
    taken = list(boxes)
    for face in faces:
        text, place = _label(pen, face, unit, font, picture.size, taken)
        taken.append(place)
        _draw_label(pen, text, place, font, COLOURS[face.emotion])
    for face in faces:
        place = _free(_beside(face.box, (unit * 11, unit * 9)), picture.size, taken)
        if place:
            taken.append(place)
            _draw_bars(pen, face, place, unit, font)
    return picture


def _text_height(size, faces: Sequence[Face]) -> int:
    """Pixels: it suits the picture, and in a crowd the faces."""
    middle = float(np.median([face.box[3] for face in faces]))
    return max(_SMALLEST, round(min(min(size) / 40, middle / 8)))


def _corners(box) -> Corners:
    return box[0], box[1], box[0] + box[2], box[1] + box[3]


def _draw_box(pen, face: Face, unit: int) -> None:
    line = max(2, unit // 6)
    pen.rectangle(_corners(face.box), outline="white", width=2 * line)
    pen.rectangle(_corners(face.box), outline=COLOURS[face.emotion], width=line)


# ---------------------------------------------------------------- places


def _label(pen, face: Face, unit: int, font, size, taken) -> tuple[str, Corners]:
    """The longest text that covers nothing; in the narrowest crowd three letters inside the box."""
    left, top, _, bottom = _corners(face.box)
    height = round(unit * 1.4)
    for text in (face.caption, face.emotion):
        width = round(pen.textlength(text, font)) + unit
        places = [*_above_and_below(face.box, (width, height)), *_beside(face.box, (width, height))]
        if place := _free(places, size, taken):
            return text, place
    for text in (face.caption, face.emotion, face.emotion[:3]):
        width = round(pen.textlength(text, font)) + unit // 2
        if width <= face.box[2]:
            break
    left = max(0, min(left, size[0] - width))
    top = max(0, min(bottom, size[1]) - height)
    return text, (left, top, left + width, top + height)


def _above_and_below(box, panel) -> Iterator[Corners]:
    """Centred, which tells best whose it is; then flush with the box's left or right edge."""
    left, top, right, bottom = _corners(box)
    width, height = panel
    for x in ((left + right - width) // 2, left, right - width):
        for y in (top - height, bottom + 1):
            yield x, y, x + width, y + height


def _beside(box, panel) -> Iterator[Corners]:
    """Right of the box, left, below and above, each flush with its one end, then the other."""
    left, top, right, bottom = _corners(box)
    width, height = panel
    for x in (right + _GAP, left - _GAP - width):
        for y in (top, bottom - height):
            yield x, y, x + width, y + height
    for y in (bottom + _GAP, top - _GAP - height):
        for x in (left, right - width):
            yield x, y, x + width, y + height


def _free(places, size, taken: Sequence[Corners]) -> Corners | None:
    """The first place inside the picture that covers nothing."""
    for place in places:
        inside = min(place) >= 0 and place[2] <= size[0] and place[3] <= size[1]
        if inside and not any(_overlap(place, other) for other in taken):
            return place
    return None


def _overlap(a: Corners, b: Corners) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


# ---------------------------------------------------------------- ink


def _draw_label(pen, text: str, place: Corners, font, colour: str) -> None:
    pen.rectangle(place, fill=_PANEL, outline=colour)
    middle = (place[0] + place[2]) / 2, (place[1] + place[3]) / 2
    pen.text(middle, text, _INK, font, anchor="mm")


def _draw_bars(pen, face: Face, place: Corners, unit: int, font) -> None:
    # The edge in the box's colour says to whom it belongs, where faces stand close.
    pen.rectangle(place, fill=_PANEL, outline=COLOURS[face.emotion], width=max(1, unit // 8))
    left, right = place[0] + unit * 6, place[2] - unit // 2
    for row, name in enumerate(EMOTIONS):
        top = place[1] + unit // 2 + row * unit
        pen.text((left - unit // 3, top + unit / 2), name, _INK, font, anchor="rm")
        length = round(face.scores[name] * (right - left))
        bar = (left, top + unit // 5, left + max(1, length), top + unit - unit // 5)
        pen.rectangle(bar, fill=COLOURS[name])
