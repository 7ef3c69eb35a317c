"""Drawings as PNG files: the same shapes, painted by matplotlib. Same drawing, same bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from nassuite.report.drawing import MARKERS, Anchor, Area, Drawing, Line, Marker, Rectangle, Text, flat
from nassuite.report.figures import SETTINGS, as_png
from nassuite.report.paints import COLOURS, FONT_SIZE, paint

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.path import Path

PIXELS = 2  # of the file, for one of the drawing
INCH = 128  # pixels of the drawing; a power of two, so that no size in inches is rounded
POINT = 72 / INCH

# DejaVu, which matplotlib brings, runs wider than the fonts of pages, for which drawings leave room.
LETTERS = 0.9
_ANCHORS: dict[Anchor, Literal["left", "center", "right"]] = {
    "start": "left",
    "middle": "center",
    "end": "right",
}


def png(drawing: Drawing, own: Mapping[str, str]) -> bytes:
    """On light paper; ``own`` has the colours of kinds by their class."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.transforms import Affine2D

    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(drawing.width / INCH, drawing.height / INCH), facecolor=COLOURS["paper"][0])
        for order, (shape, (x, y)) in enumerate(flat(drawing.shapes)):
            look = paint(shape.class_, own)
            artist = _text(shape, look) if isinstance(shape, Text) else _outline(shape, look)
            artist.set_transform(Affine2D().translate(x, y - drawing.height).scale(PIXELS, -PIXELS))
            artist.set_zorder(order)
            figure.add_artist(artist)
        return as_png(figure, dpi=PIXELS * INCH)


def _outline(shape: Line | Area | Rectangle | Marker, look: Mapping[str, str]) -> Artist:
    from matplotlib.colors import to_rgba
    from matplotlib.patches import PathPatch

    fill, stroke = (
        to_rgba(look.get(name, "none"), float(look.get(f"{name}-opacity", "1")))
        for name in ("fill", "stroke")
    )
    width = float(look.get("stroke-width", "1")) if "stroke" in look else 0.0
    patch = PathPatch(
        _path(shape), facecolor=fill, edgecolor=stroke, linewidth=POINT * width,
        joinstyle=look.get("stroke-linejoin", "miter"), capstyle="butt",
    )  # fmt: skip
    if dashes := look.get("stroke-dasharray"):
        patch.set_linestyle((0, [float(length) / width for length in dashes.split()]))
    return patch


def _path(shape: Line | Area | Rectangle | Marker) -> Path:
    from matplotlib.patches import BoxStyle
    from matplotlib.path import Path

    match shape:
        case Line():
            return Path(shape.corners)
        case Area():
            return Path([*shape.corners, shape.corners[0]], closed=True)
        case Rectangle():
            box = BoxStyle.Round(pad=0, rounding_size=shape.rounding or 1e-9)
            return box(shape.left, shape.top, shape.width, shape.height, 1)
        case Marker():
            form, (x, y) = MARKERS[shape.name], shape.at
            if isinstance(form, float):
                return Path.circle(shape.at, form)
            strokes = ([(x + right, y + down) for right, down in stroke] for stroke in form)
            closed = (
                Path([*stroke, stroke[0]], closed=True) if len(stroke) > 2 else Path(stroke)
                for stroke in strokes
            )
            return Path.make_compound_path(*closed)


def _text(text: Text, look: Mapping[str, str]) -> Artist:
    from matplotlib.patheffects import withStroke
    from matplotlib.text import Text as Letters

    letters = Letters(
        *text.at, text.words, color=look["fill"], fontsize=POINT * LETTERS * float(look.get("font-size", FONT_SIZE)),
        fontweight="bold" if "font-weight" in look else "normal", horizontalalignment=_ANCHORS[text.anchor],
        verticalalignment="baseline", rotation=90 if text.upright else 0, rotation_mode="anchor", parse_math=False,
    )  # fmt: skip
    if "stroke" in look:
        halo = withStroke(linewidth=POINT * float(look["stroke-width"]), foreground=look["stroke"])
        letters.set_path_effects([halo])
    return letters
