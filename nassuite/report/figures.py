"""Figures that matplotlib lays out, as SVG and PNG. Same content, same bytes."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SETTINGS: Any = {
    "svg.hashsalt": "nassuite",  # otherwise every drawing has ids of its own
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#59626e",
    "axes.labelcolor": "#1a1e24",
    "xtick.color": "#59626e",
    "ytick.color": "#59626e",
}


PNG_COLOURS = 64
"""Charts have few: reports that are committed stay a third of the size."""


def drawn(draw: Callable[[Figure], None], *, inches: tuple[float, float]) -> tuple[bytes, bytes]:
    """What ``draw`` puts on a figure of that width and height, as (SVG, PNG at 160 dots per inch), on white."""
    import matplotlib
    from matplotlib.figure import Figure

    svg = io.BytesIO()
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=inches, layout="constrained")
        draw(figure)
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        return svg.getvalue(), as_png(figure, dpi=160)


def as_png(figure: Figure, *, dpi: int) -> bytes:
    """Of the most frequent colours alone, what anti-aliasing mixed as the nearest of them.

    Median cuts do not serve here: a colour that means something often covers little.
    """
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    rgb = np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])
    counted: list[tuple[int, Any]] = Image.fromarray(rgb).getcolors(rgb.size) or []
    colours = [colour for _, colour in sorted(counted, reverse=True)]
    palette = colours[:PNG_COLOURS]
    distances = ((np.array(colours)[:, None] - np.array(palette)) ** 2).sum(2)
    packed = np.array([256 * 256, 256, 1])
    index = np.zeros(256**3, np.uint8)
    index[np.array(colours) @ packed] = distances.argmin(1)
    few = Image.fromarray(index[rgb @ packed])
    few.putpalette([value for colour in palette for value in colour])
    png = io.BytesIO()
    few.save(png, format="png", optimize=True, dpi=(dpi, dpi))
    return png.getvalue()
