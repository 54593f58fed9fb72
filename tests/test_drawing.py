"""Drawn faces: readable on any ground, nothing covers a face or another's text."""

from itertools import combinations

import numpy as np
import pytest
from common import astronaut
from PIL import Image, ImageDraw

import ferlib
from ferlib.data.labels import COLOURS
from ferlib.faces import drawing
from ferlib.faces.face import Face

EVEN = dict.fromkeys(ferlib.EMOTIONS, 0.125)


@pytest.fixture
def panels(monkeypatch):
    """Every rectangle that is filled with the panels' ground, as Pillow is told to draw it."""
    seen, rectangle = [], ImageDraw.ImageDraw.rectangle

    def watched(self, place, fill=None, **how):
        if fill == drawing._PANEL:
            seen.append(place)
        rectangle(self, place, fill=fill, **how)

    monkeypatch.setattr(ImageDraw.ImageDraw, "rectangle", watched)
    return seen


def crowd(columns: int, rows: int, step: tuple, size: tuple) -> list[Face]:
    places = [(20 + step[0] * i, 30 + step[1] * j) for i in range(columns) for j in range(rows)]
    return [Face((*place, *size), "happiness", EVEN) for place in places]


def covers(a, b) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def test_drawing_keeps_the_picture_outside_the_marks():
    face = Face((183, 75, 86, 103), "happiness", EVEN)
    drawn = np.asarray(drawing.draw(astronaut(), [face]))
    assert drawn.shape == astronaut().shape
    changed = (drawn != astronaut()).any(axis=2)
    left, top, width, height = face.box
    assert changed[top, left : left + width].all()  # the frame's upper edge
    assert not changed[top + 20 : top + height - 20, left + 20 : left + width - 20].any()
    assert 0.01 < changed.mean() < 0.25
    assert (np.asarray(drawing.draw(astronaut(), [])) == astronaut()).all()


def test_the_frame_is_the_boxes_own_pixels():
    gray = np.full((120, 200, 3), 90, np.uint8)
    drawn = np.asarray(drawing.draw(gray, [Face((140, 40, 60, 50), "happiness", EVEN)]))
    assert (drawn[60, 197:] == drawn[60, 140:143][::-1]).all()  # as wide on the right, at the edge


@pytest.mark.parametrize("name", ["грусть", "two\nlines", "a$x^$", "λύπη"])
def test_any_class_can_be_written(name):
    """Not as empty boxes: two names look otherwise."""
    gray = np.zeros((300, 400, 3), np.uint8)
    drawn = [
        np.asarray(drawing.draw(gray, [Face((20, 100, 90, 90), one, {one: 0.5, "b": 0.5})]))
        for one in (name, name[::-1])
    ]
    assert (drawn[0] != drawn[1]).any()


def test_with_room_every_face_has_its_label_and_its_bars(panels):
    drawing.draw(np.zeros((480, 640, 3), np.uint8), crowd(2, 2, (300, 200), (70, 80)))
    assert len(panels) == 8
    areas = [(p[2] - p[0]) * (p[3] - p[1]) for p in panels]
    assert max(areas[:4]) < min(areas[4:])  # four labels, then four charts


@pytest.mark.parametrize(
    ("columns", "rows", "step", "size"),
    [(6, 4, (95, 110), (70, 80)), (4, 3, (150, 140), (60, 70)), (8, 6, (75, 75), (45, 50))],
)
def test_in_a_crowd_nothing_covers_a_face_or_a_panel(panels, columns, rows, step, size):
    people = crowd(columns, rows, step, size)
    drawing.draw(np.full((480, 640, 3), 255, np.uint8), people)
    assert len(panels) >= len(people)  # each has a label at least
    boxes = [drawing._corners(face.box) for face in people]
    assert not any(covers(a, b) for a, b in combinations(panels, 2))
    assert not any(covers(panel, box) for panel in panels for box in boxes)


@pytest.mark.parametrize("step", [(36, 42), (42, 50), (65, 60)])
def test_without_room_a_label_goes_into_its_own_box(panels, step):
    people = crowd(600 // step[0], 420 // step[1], step, (36, 42))
    drawing.draw(np.zeros((480, 640, 3), np.uint8), people)
    boxes = [drawing._corners(face.box) for face in people]
    assert len(panels) >= len(people)
    assert not any(covers(a, b) for a, b in combinations(panels, 2))
    assert all(sum(covers(panel, box) for box in boxes) <= 1 for panel in panels)


@pytest.mark.parametrize("ground", [0, 90, 160, 255])
def test_text_is_readable_on_every_ground(ground):
    """The darkest ink against the ground around it, by WCAG's contrast: 4.5 is asked of text."""
    face = Face((200, 150, 90, 110), "anger", EVEN)
    drawn = np.asarray(drawing.draw(np.full((480, 640, 3), ground, np.uint8), [face]), float)
    chart = drawn[152:250, 300:420] / 255  # right of the box
    light = np.where(chart <= 0.04045, chart / 12.92, ((chart + 0.055) / 1.055) ** 2.4)
    light = light @ (0.2126, 0.7152, 0.0722)
    assert (np.median(light) + 0.05) / (light.min() + 0.05) > 4.5


@pytest.mark.parametrize("size", [(1, 1), (20, 30), (3000, 40)])
def test_drawing_on_odd_pictures(size):
    face = Face((0, 0, size[1], size[0]), "anger", EVEN)
    assert drawing.draw(np.zeros((*size, 3), np.uint8), [face]).size == size[::-1]


def test_large_pictures_get_large_text(panels):
    small = Face((183, 75, 86, 103), "happiness", EVEN)
    large = Face(tuple(4 * value for value in small.box), "happiness", EVEN)
    drawing.draw(astronaut(), [small])
    drawing.draw(Image.fromarray(astronaut()).resize((2048, 2048)), [large])
    heights = [bottom - top for _, top, _, bottom in panels]
    assert heights[2] > 3 * heights[0] and heights[3] > 3 * heights[1]


def test_each_face_has_text_of_its_own_size_that_the_whole_picture_shows(panels):
    people = [
        Face((600, 500, 690, 870), "happiness", EVEN),
        Face((3000, 200, 40, 50), "fear", EVEN),
    ]
    drawing.draw(np.zeros((3000, 4000, 3), np.uint8), people)
    large, small, *_ = (bottom - top for _, top, _, bottom in panels)
    assert large > 1.5 * small
    assert small >= 3000 / 80  # 10 pixels and more when it is seen 800 pixels high


@pytest.mark.parametrize("x", [0, 280, 560])
@pytest.mark.parametrize("y", [0, 190, 380])
def test_a_face_at_the_border_has_its_label_and_its_bars(panels, x, y):
    box = (x, y, 80, 100)
    drawing.draw(np.zeros((480, 640, 3), np.uint8), [Face(box, "contempt", EVEN)])
    label, bars = panels
    assert not covers(label, bars) and bars[3] - bars[1] > 4 * (label[3] - label[1])
    for left, top, right, bottom in panels:
        assert left >= 0 and top >= 0 and right <= 640 and bottom <= 480
        assert not covers((left, top, right, bottom), drawing._corners(box))


def test_bars_are_as_long_as_the_scores_say():
    scores = dict(zip(ferlib.EMOTIONS, (0.5, 0.25, 0.125, 0.125, 0, 0, 0, 0), strict=True))
    face = Face((40, 100, 90, 110), "neutral", scores)
    drawn = np.asarray(drawing.draw(np.zeros((480, 640, 3), np.uint8), [face]))
    lengths = []
    for name in ferlib.EMOTIONS[:4]:
        colour = [int(COLOURS[name][at : at + 2], 16) for at in (1, 3, 5)]
        inside = (drawn[103:205, 140:300] == colour).all(axis=2)
        lengths.append(inside.sum(axis=1).max())
    assert lengths[0] == pytest.approx(2 * lengths[1], abs=3)
    assert lengths[1] == pytest.approx(2 * lengths[2], abs=3) and lengths[2] == lengths[3]
