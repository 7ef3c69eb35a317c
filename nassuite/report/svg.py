"""Drawings as SVG: inside the page, painted by its style sheet; and as files of their own, which bring their paint."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from nassuite.report.drawing import MARKERS, Area, Drawing, Group, Line, Marker, Point, Rectangle, Shape, Text
from nassuite.report.markup import Markup, element, join
from nassuite.report.paints import COLOURS, FONT_SIZE, paint

Paint = Callable[[str], Mapping[str, str]]
"""The attributes that paint a shape of a class."""

_FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def inline(drawing: Drawing, *, class_: str = "", role: str = "img") -> Markup:
    return element(
        "svg",
        *(_shape(shape, lambda name: {"class": name}) for shape in drawing.shapes),
        viewBox=f"0 0 {drawing.width} {drawing.height}",
        role=role,
        aria_label=drawing.label,
        class_=f"chart {class_}".strip(),
    )


def standalone(drawing: Drawing, own: Mapping[str, str]) -> str:
    """A file that needs no other, on light paper; ``own`` has the colours of kinds by their class.

    Painted by attributes, since editors and converters know less of style sheets than browsers do.
    """
    ground = element("rect", width=drawing.width, height=drawing.height, fill=COLOURS["paper"][0])
    image = element(
        "svg",
        ground,
        *(_shape(shape, lambda name: paint(name, own)) for shape in drawing.shapes),
        xmlns="http://www.w3.org/2000/svg",
        width=drawing.width,
        height=drawing.height,
        viewBox=f"0 0 {drawing.width} {drawing.height}",
        role="img",
        aria_label=drawing.label,
        font_family=_FONTS,
        font_size=FONT_SIZE,
    )
    return f"{image}\n"


def marker(name: str, at: Point, *, detail: str = "", **attributes: object) -> Markup:
    """One of ``MARKERS`` around ``at``; attributes as in ``element``."""
    form = MARKERS[name]
    if isinstance(form, float):
        outline = (
            f"M{-form:g} 0a{form:g} {form:g} 0 1 0 {2 * form:g} 0a{form:g} {form:g} 0 1 0-{2 * form:g} 0"
        )
    else:
        outline = "".join(_corners(stroke) + ("z" if len(stroke) > 2 else "") for stroke in form)
    return element(
        "path", *_tip(detail), **attributes, transform=f"translate({at[0]:.1f} {at[1]:.1f})", d=outline
    )


def _shape(shape: Shape, painted: Paint) -> Markup:
    match shape:
        case Line():
            return element("path", **painted(shape.class_), d=_corners(shape.corners))
        case Area():
            return element("path", **painted(shape.class_), d=f"{_corners(shape.corners)}z")
        case Rectangle():
            return element(
                "rect", *_tip(shape.detail), **painted(shape.class_), x=shape.left, y=shape.top,
                width=shape.width, height=shape.height, rx=shape.rounding or None,
            )  # fmt: skip
        case Marker():
            reached = {"tabindex": 0, "role": "img", "aria_label": shape.detail} if shape.reach else {}
            return marker(shape.name, shape.at, detail=shape.detail, **painted(shape.class_), **reached)
        case Text():
            return _text(shape, painted)
        case Group():
            inside = (_shape(one, painted) for one in shape.shapes)
            x, y = shape.by
            moved = f"translate({x:g} {y:g})" if x or y else None
            return element("g", *_tip(shape.detail), *inside, transform=moved)


def _text(text: Text, painted: Paint) -> Markup:
    x, y = text.at
    place: dict[str, object] = {"x": x, "y": y}
    if text.upright:
        place = {"transform": f"translate({x:.1f} {y:.1f}) rotate(-90)"}
    if text.anchor != "start":
        place["text_anchor"] = text.anchor
    look = painted(text.class_)
    drawn = element("text", text.words, **look, **place)
    if "paint-order" not in look:
        return drawn
    # A viewer that does not know of the order leaves nothing but the halo: the words once more, on top of it.
    bare = {key: value for key, value in look.items() if not key.startswith(("stroke", "paint"))}
    return join([drawn, element("text", text.words, **bare, **place, aria_hidden="true")])


def _tip(detail: str) -> list[Markup]:
    return [element("title", detail)] if detail else []


def _corners(corners: Iterable[Point]) -> str:
    return "M" + "L".join(f"{_short(x)} {_short(y)}" for x, y in corners)


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
