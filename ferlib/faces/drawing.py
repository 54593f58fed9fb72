"""Faces drawn into their picture: box, emotion and, where there is room, eight bars.

Boxes come first, then a label for every face, then bars: each takes the first place where it
covers no face and nothing drawn before it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from importlib.util import find_spec
from math import ceil
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from ferlib.data import images
from ferlib.data.images import Photo
from ferlib.data.labels import colours
from ferlib.faces.face import Face

_PANEL, _INK = (255, 255, 255, 225), "#2b2b2b"  # readable on light and dark photographs
_SMALLEST = 9  # pixels: smaller letters cannot be read
_GAP = 3  # pixels between a box and what belongs to it

Corners = tuple[int, int, int, int]  # left, top, right, bottom


def draw(photo: Photo, faces: Face | Iterable[Face]) -> Image.Image:
    """An RGB copy of the photograph with its faces marked. Raises FerlibError for no picture."""
    faces = [faces] if isinstance(faces, Face) else list(faces)
    picture = Image.fromarray(images.read_picture(photo))
    pen, font = ImageDraw.Draw(picture, "RGBA"), _fonts(faces)
    for face in faces:
        _draw_box(pen, face, _text_heights(picture.size, face)[0])
    taken = [_corners(face.box) for face in faces]
    labels = []
    for face in faces:
        text, place, unit = _label(pen, face, font, picture.size, taken)
        taken.append(place)
        labels.append((place, unit))
        _draw_label(pen, text, place, font(unit), _colour(face))
    for face, (label, unit) in zip(faces, labels, strict=True):
        panel = _bars_size(pen, face, unit, font(unit))
        places = [*_beside(face.box, panel), *_beside(_around(face.box, label), panel)]
        if room := _free(places, picture.size, taken):
            taken.append(room)
            _draw_bars(pen, face, room, unit, font(unit))
    return picture


def _fonts(faces: Sequence[Face]) -> Callable[[int], Any]:
    """Height -> Pillow's own font, or Matplotlib's where that lacks letters of a class's name."""
    words = "".join(name for face in faces for name in face.scores)
    if words.isascii() or not find_spec("matplotlib"):
        return cache(ImageFont.load_default)
    from matplotlib import get_data_path  # DejaVu: no Chinese, but Greek, Cyrillic, Arabic

    return cache(partial(ImageFont.truetype, Path(get_data_path(), "fonts/ttf/DejaVuSans.ttf")))


def _one_line(name: str) -> str:
    return " ".join(name.split())


def _text_heights(size, face: Face) -> tuple[int, int]:
    """Pixels: what suits the face and can be read when the whole picture is seen; what fits."""
    side, fits = min(size), face.box[3] / 8
    suits = min(side / 40, max(fits, side / 80))
    return max(_SMALLEST, round(suits)), max(_SMALLEST, round(min(suits, fits)))


def _corners(box) -> Corners:
    return box[0], box[1], box[0] + box[2], box[1] + box[3]


def _draw_box(pen, face: Face, unit: int) -> None:
    line = max(2, min(unit // 6, face.box[3] // 12))  # a small face shall not drown in it
    pen.rectangle(_pixels(_corners(face.box)), outline="white", width=2 * line)
    pen.rectangle(_pixels(_corners(face.box)), outline=_colour(face), width=line)


def _pixels(place: Corners) -> Corners:
    """The first and the last pixel of a place, as Pillow wants them."""
    left, top, right, bottom = place
    return left, top, max(left, right - 1), max(top, bottom - 1)


# ---------------------------------------------------------------- places


def _label(pen, face: Face, font, size, taken) -> tuple[str, Corners, int]:
    """The longest text that covers nothing, its place and the height of its letters.

    In the narrowest crowd it is three letters inside the box.
    """
    for unit in _text_heights(size, face):
        for text in map(_one_line, (face.caption, face.emotion)):
            panel = round(pen.textlength(text, font(unit))) + unit, round(unit * 1.4)
            places = [*_above_and_below(face.box, panel), *_beside(face.box, panel)]
            if place := _free(places, size, taken):
                return text, place, unit
    for text in map(_one_line, (face.caption, face.emotion, face.emotion[:3])):
        width = round(pen.textlength(text, font(unit))) + unit // 2
        if width <= face.box[2]:
            break
    left, _, _, bottom = _corners(face.box)
    left, height = max(0, min(left, size[0] - width)), round(unit * 1.4)
    top = max(0, min(bottom, size[1]) - height)
    return text, (left, top, left + width, top + height), unit


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


def _around(box, label: Corners) -> tuple[int, int, int, int]:
    """The box (x, y, w, h) around a face and its label: bars find room beside both."""
    mine = _corners(box)
    left, top = (min(pair) for pair in zip(mine[:2], label[:2], strict=True))
    right, bottom = (max(pair) for pair in zip(mine[2:], label[2:], strict=True))
    return left, top, right - left, bottom - top


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
    pen.rectangle(_pixels(place), fill=_PANEL, outline=colour)
    middle = (place[0] + place[2]) / 2, (place[1] + place[3]) / 2
    pen.text(middle, text, _INK, font, anchor="mm")


def _colour(face: Face) -> str:
    return colours(tuple(face.scores))[face.emotion]


def _bars_size(pen, face: Face, unit: int, font) -> tuple[int, int]:
    """Width and height of the panel with the names and bars."""
    return _names_width(pen, face, font) + unit * 6, unit * (len(face.scores) + 1)


def _names_width(pen, face: Face, font) -> int:
    return ceil(max(pen.textlength(_one_line(name), font) for name in face.scores))


def _draw_bars(pen, face: Face, place: Corners, unit: int, font) -> None:
    # The edge in the box's colour says to whom it belongs, where faces stand close.
    how = {"fill": _PANEL, "outline": _colour(face), "width": max(1, unit // 8)}
    pen.rectangle(_pixels(place), **how)
    left, right = place[0] + unit + _names_width(pen, face, font), place[2] - unit // 2
    hues = colours(tuple(face.scores))
    for row, (name, score) in enumerate(face.scores.items()):
        top = place[1] + unit // 2 + row * unit
        pen.text((left - unit // 3, top + unit / 2), _one_line(name), _INK, font, anchor="rm")
        length = round(score * (right - left))
        bar = (left, top + unit // 5, left + max(1, length), top + unit - unit // 5)
        pen.rectangle(_pixels(bar), fill=hues[name])
