"""Drawings as values: where their shapes are, how they are painted, and both forms of their files."""

import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sample import sample_comparison, sample_content

from nassuite.report.charts import pareto_alone, predictor_chart
from nassuite.report.drawing import (
    BETWEEN,
    MARKERS,
    Area,
    Drawing,
    Group,
    Line,
    Marker,
    Rectangle,
    Text,
    beside,
    flat,
    framed,
)
from nassuite.report.figures import PNG_COLOURS
from nassuite.report.front import build_front
from nassuite.report.paints import COLOURS, PAINTS, paint, style_rules
from nassuite.report.pictures import pictures
from nassuite.report.png import PIXELS, png
from nassuite.report.runs_text import runs_chart
from nassuite.report.style import palette
from nassuite.report.svg import inline, standalone

CONTENT = sample_content(count=60)
CHARTS = {"search": build_front(CONTENT).chart, "runs": runs_chart(sample_comparison())}
DRAWINGS = {**pictures(CONTENT), **{name: pareto_alone(chart) for name, chart in CHARTS.items()}}
OWN = {name: light for chart in CHARTS.values() for name, (light, _) in palette(chart.styles).items()}
SVG = "{http://www.w3.org/2000/svg}"
SWATCH = Drawing(
    90, 40,
    (
        Marker("square", (20, 20), "mark k-fp32"), Marker("cross", (45, 20), "mark k-baseline open"),
        Area(((60, 5), (80, 5), (80, 35)), "band"), Group((Text("$x$ < ×", (5, 38), "label"),), by=(30, -4)),
        Line(((0, 39), (90, 39)), "budget"), Rectangle(2, 2, 6, 30, "edge k-int8", rounding=2),
    ),
    "a swatch",
)  # fmt: skip

moves = st.lists(st.tuples(st.integers(-99, 99), st.integers(-99, 99)), max_size=5)


@given(moves)
def test_groups_within_groups_move_by_all_of_them(by):
    shape = Line(((0, 0), (1, 1)), "grid")
    grouped = shape
    for move in by:
        grouped = Group((grouped, shape), by=move)
    first = next(flat((grouped,)))
    assert first == (shape, (sum(x for x, _ in by), sum(y for _, y in by)))
    assert len(list(flat((grouped,)))) == 1 + len(by)


@given(st.lists(st.tuples(st.integers(1, 500), st.integers(1, 500)), min_size=1, max_size=4))
def test_drawings_side_by_side_do_not_overlap(sizes):
    drawings = [Drawing(w, h, (Rectangle(0, 0, w, h, "band"),), f"{w}") for w, h in sizes]
    both = beside(*drawings, title="all")
    assert (both.width, both.height) == (
        sum(w for w, _ in sizes) + BETWEEN * (len(sizes) - 1), max(h for _, h in sizes)
    )  # fmt: skip
    lefts = [x for _, (x, _) in flat(both.shapes)]
    for left, (width, _), following in zip(lefts, sizes, [*lefts[1:], both.width + BETWEEN], strict=True):
        assert left + width + BETWEEN == following
    assert both.label.split() == [f"{w}" for w, _ in sizes]


def test_a_later_paint_overrules_an_earlier_one():
    plain, chosen = (paint(f"mark k-fp32 {word}", OWN) for word in ("", "chosen"))
    assert plain == {"fill": OWN["k-fp32"], "stroke": COLOURS["paper"][0], "stroke-width": "1"}
    assert chosen == {"fill": OWN["k-fp32"], "stroke": COLOURS["ink"][0], "stroke-width": "2"}
    assert paint("mark open k-fp32", OWN)["fill"] == "none"
    assert paint("title", OWN)["font-size"] == "12.5"


@pytest.mark.parametrize("name", DRAWINGS)
def test_every_shape_is_painted_in_colours_that_are_known(name):
    for shape, _ in flat(DRAWINGS[name].shapes):
        look = paint(shape.class_, OWN)
        assert {"fill", "stroke"} & look.keys(), shape.class_
        for part in {"fill", "stroke"} & look.keys():
            assert re.fullmatch("none|#[0-9a-f]{3}|#[0-9a-f]{6}", look[part]), shape.class_


def test_the_page_has_a_rule_for_every_paint():
    rules = dict(re.findall(r"\.([^{}]+)\{([^}]*)\}", style_rules()))
    assert rules.keys() == PAINTS.keys()
    assert rules["mark"] == "fill:var(--c);stroke:var(--paper);stroke-width:1"


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_file_of_its_own_brings_its_paint_and_has_all_shapes_inside(name):
    drawing = framed(DRAWINGS[name])
    source = standalone(drawing, OWN)
    root = ElementTree.fromstring(source)
    assert "class=" not in source
    assert "var(" not in source
    assert root.get("aria-label") == DRAWINGS[name].label
    shapes = list(flat(drawing.shapes))
    texts = [shape.words for shape, _ in shapes if isinstance(shape, Text)]
    drawn = [e.text for e in root.iter(f"{SVG}text") if not e.get("aria-hidden")]
    assert sorted(drawn) == sorted(texts)
    assert drawing.title in texts or not drawing.title
    for shape, (dx, dy) in shapes:
        x, y = (shape.left, shape.top) if isinstance(shape, Rectangle) else getattr(shape, "at", (0.0, 0.0))
        assert 0 <= x + dx <= drawing.width
        assert 0 <= y + dy <= drawing.height


def test_points_lie_where_their_values_say():
    """One straight line leads from values to pixels, in both directions of the axes."""
    points = np.array(CONTENT.predictor.points)
    source = standalone(predictor_chart(CONTENT.predictor), OWN)
    places = np.array(re.findall(r'transform="translate\(([\d.]+) ([\d.]+)\)"', source), dtype=float)
    assert places.shape == points.shape
    for column, direction in ((0, 1), (1, -1)):
        slope, start = np.polyfit(points[:, column], places[:, column], 1)
        assert slope * direction > 0
        np.testing.assert_allclose(slope * points[:, column] + start, places[:, column], atol=0.06)


def test_page_and_file_have_the_same_geometry():
    def geometry(source):
        found = ElementTree.fromstring(source).iter()
        names = ("d", "x", "y", "width", "height", "transform", "points")
        return [
            [e.get(name) for name in names]
            for e in found
            if not e.tag.endswith("svg") and not e.get("aria-hidden") and e.get("fill") != COLOURS["paper"][0]
        ]

    for drawing in DRAWINGS.values():
        assert geometry(inline(drawing)) == geometry(standalone(drawing, OWN))


@pytest.mark.parametrize("name", MARKERS)
def test_every_marker_is_drawn_around_its_place(name):
    image = Image.open(
        io.BytesIO(png(Drawing(40, 40, (Marker(name, (20, 20), "mark k-fp32 open"),), ""), OWN))
    )
    dark = np.argwhere(np.asarray(image.convert("L")) < 200) / PIXELS
    np.testing.assert_allclose((dark.min(0) + dark.max(0)) / 2, 20, atol=1.5)
    assert 4 < np.ptp(dark, axis=0).max() < 18


def test_pixels_are_where_and_what_the_drawing_says():
    whole = png(SWATCH, OWN)
    assert whole == png(SWATCH, OWN)
    image = Image.open(io.BytesIO(whole))
    assert image.size == (SWATCH.width * PIXELS, SWATCH.height * PIXELS)
    assert image.info["dpi"] == pytest.approx((256, 256), abs=0.1)
    rgb = image.convert("RGB")
    assert len(rgb.getcolors()) <= PNG_COLOURS

    def at(x, y):
        return "#" + "".join(f"{value:02x}" for value in rgb.getpixel((x * PIXELS, y * PIXELS)))

    assert at(20, 20) == OWN["k-fp32"]
    assert at(75, 10) == COLOURS["band"][0]
    assert at(30, 8) == "#ffffff"
    assert at(4, 20) == OWN["k-int8"]
    assert at(45, 20) == OWN["k-baseline"]
