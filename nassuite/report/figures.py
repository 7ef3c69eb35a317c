"""Figures as SVG and PNG files, drawn by matplotlib; among them the Pareto chart. Same content, same bytes."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nassuite.report.chart import Chart
from nassuite.report.placement import budget_boxes, place_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS = {
    "dot": ("o", 10), "circle": ("o", 26), "ring": ("o", 60), "square": ("s", 60), "triangle": ("^", 68),
    "diamond": ("D", 52), "pentagon": ("p", 70), "cross": ("x", 50),
}  # fmt: skip

_SETTINGS: Any = {
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
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    svg, whole, png = io.BytesIO(), io.BytesIO(), io.BytesIO()
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=inches, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        figure.savefig(whole, format="png", dpi=160, metadata={"Software": None})
    with Image.open(whole) as image:
        few = image.convert("RGB").quantize(PNG_COLOURS, dither=Image.Dither.NONE)
        few.save(png, format="png", optimize=True, dpi=(160, 160))
    return svg.getvalue(), png.getvalue()


def pareto_figure(chart: Chart) -> tuple[bytes, bytes]:
    """The chart as (SVG, PNG), 9 x 6 inches."""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        _draw(axes, chart)
        if chart.marks:
            figure.legend(loc="outside lower left", frameon=False, fontsize=8, ncols=2)
        figure.draw_without_rendering()  # the layout must be known before labels are placed
        figure.set_layout_engine("none")
        _label(axes, chart)

    return drawn(draw, inches=(9, 6))


def _draw(axes: Axes, chart: Chart) -> None:
    _scale(axes, chart)
    x_title, y_title = chart.titles
    axes.set_xlabel(x_title + chart.scale_words)
    axes.set_ylabel(y_title.replace(" (", "\n("))
    axes.grid(axis="y", color="#dde1e6", linewidth=0.8)
    axes.set_axisbelow(True)
    for latency, name in chart.limits:
        axes.axvline(latency, color="#1a1e24", linewidth=1, linestyle=(0, (5, 4)))
        axes.annotate(
            name, (latency, 1), xycoords=("data", "axes fraction"),
            xytext=(-4, -2), textcoords="offset points", rotation=90, ha="right", va="top",
        )  # fmt: skip
    for stairs in chart.stairs:
        ends = [*stairs.corners, (chart.latency.limits[1], stairs.corners[-1][1])]
        axes.step(
            [x for x, _ in ends], [y for _, y in ends], where="post",
            color=chart.styles[stairs.kind].light, linewidth=1.4, alpha=0.75,
        )  # fmt: skip
    for kind in chart.kinds:
        _scatter(axes, chart, kind)


def _scale(axes: Axes, chart: Chart) -> None:
    """The chart's scales and ticks; a zigzag where the accuracies are broken."""
    axes.set_xscale("function", functions=(chart.latency.places, chart.latency.values))
    axes.set_yscale("function", functions=(chart.accuracy.places, chart.accuracy.values))
    axes.set_xlim(*chart.latency.limits)
    axes.set_ylim(*chart.accuracy.limits)
    axes.minorticks_off()
    latencies = chart.latency.ticks(9)
    axes.set_xticks(latencies, [f"{tick:g}" for tick in latencies])
    accuracies = [tick for tick in chart.accuracy.ticks(8) if 0 <= tick <= 1]
    axes.set_yticks(accuracies, [f"{100 * tick:g}" for tick in accuracies])
    for place in chart.accuracy.gap or ():
        axes.plot(
            [n / 80 for n in range(81)], [place + 0.006 * (n % 2) for n in range(81)],
            transform=axes.transAxes, color="#59626e", linewidth=0.8, clip_on=False,
        )  # fmt: skip


def _scatter(axes: Axes, chart: Chart, kind: str) -> None:
    style = chart.styles[kind]
    marker, area = _MARKERS[style.marker]
    marks = [mark for mark in chart.marks if mark.kind == kind]
    hollow = not style.filled and marker != "x"
    edge = style.light if hollow else "white"
    edges: Any = ["#1a1e24" if mark.chosen else edge for mark in marks]
    if marker == "x":
        edges = None  # a cross has no edge
    elif all(mark.faint for mark in marks):
        edges = "none"
    axes.scatter(
        [m.latency for m in marks], [m.accuracy for m in marks], s=area, marker=marker,
        alpha=0.42 if edges == "none" else 1.0, label=style.legend, zorder=3, clip_on=False,
        facecolors="none" if hollow else style.light, edgecolors=edges,
    )  # fmt: skip


def _label(axes: Axes, chart: Chart) -> None:
    marks = chart.firm
    if not marks:
        return
    height, dots = axes.figure.bbox.height, axes.figure.dpi / 72
    points = axes.transData.transform([(m.latency, m.accuracy) for m in marks])
    pixels = [(float(x), float(height - y)) for x, y in points]
    inside = axes.bbox
    frame = (inside.x0, height - inside.y1, inside.x1, height - inside.y0)
    bottom = chart.accuracy.limits[0]
    lines = [float(axes.transData.transform((latency, bottom))[0]) for latency, _ in chart.limits]
    obstacles = budget_boxes(lines, frame)
    names = [m.label for m in marks]
    places = place_labels(pixels, names, frame=frame, letter=4.9 * dots, obstacles=obstacles)
    ground = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.8}  # a line may run below
    sides = {"start": "left", "middle": "center", "end": "right"}
    for mark, (x, y), place in zip(marks, pixels, places, strict=True):
        if place:
            axes.annotate(
                mark.label, (mark.latency, mark.accuracy), fontweight="bold", fontsize=8,
                xytext=((place.x - x) / dots, (y - place.y) / dots), textcoords="offset points",
                ha=sides[place.anchor], va="baseline", bbox=ground,
            )  # fmt: skip
