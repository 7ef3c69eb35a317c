"""The Pareto chart as SVG and PNG files, drawn by matplotlib. Same content, same bytes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from nassuite.report.content import ReportContent
from nassuite.report.front import STYLES, Front, axis_titles, build_front
from nassuite.report.placement import budget_boxes, place_labels
from nassuite.report.words import budget

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKERS = {
    "dot": ("o", 10), "circle": ("o", 26), "ring": ("o", 60), "square": ("s", 60), "triangle": ("^", 68),
    "diamond": ("D", 52), "pentagon": ("p", 70), "cross": ("x", 50),
}  # fmt: skip

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


def pareto_figure(content: ReportContent) -> tuple[bytes, bytes]:
    """The chart as (SVG, PNG at 160 dots per inch), 9 x 6 inches, on white."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    front = build_front(content)
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(9, 6), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        _draw(axes, front, content)
        if front.marks:
            figure.legend(loc="outside lower left", frameon=False, fontsize=8, ncols=2)
        figure.draw_without_rendering()  # the layout must be known before labels are placed
        figure.set_layout_engine("none")
        _label(axes, front, content.budgets_ms)
        svg, png = io.BytesIO(), io.BytesIO()
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        figure.savefig(png, format="png", dpi=160, metadata={"Software": None})
    return svg.getvalue(), png.getvalue()


def _draw(axes: Axes, front: Front, content: ReportContent) -> None:
    axes.set_xlim(*front.latency_limits_ms)
    axes.set_ylim(*(100 * limit for limit in front.accuracy_limits))
    x_title, y_title = axis_titles(content)
    axes.set_xlabel(x_title)
    axes.set_ylabel(y_title.replace(" (", "\n("))
    axes.grid(axis="y", color="#dde1e6", linewidth=0.8)
    axes.set_axisbelow(True)
    for budget_ms in content.budgets_ms:
        if budget_ms <= front.latency_limits_ms[1]:
            axes.axvline(budget_ms, color="#1a1e24", linewidth=1, linestyle=(0, (5, 4)))
            axes.annotate(
                f"budget {budget(budget_ms)}", (budget_ms, 1), xycoords=("data", "axes fraction"),
                xytext=(-4, -2), textcoords="offset points", rotation=90, ha="right", va="top",
            )  # fmt: skip
    if front.steps:
        ends = [*front.steps, (front.latency_limits_ms[1], front.steps[-1][1])]
        axes.step(
            [x for x, _ in ends], [100 * y for _, y in ends], where="post",
            color=STYLES["front"].light, linewidth=1.4, alpha=0.75,
        )  # fmt: skip
    for kind in front.kinds:
        _scatter(axes, front, kind)


def _scatter(axes: Axes, front: Front, kind: str) -> None:
    style = STYLES[kind]
    marker, area = _MARKERS[style.marker]
    marks = [mark for mark in front.marks if mark.kind == kind]
    hollow = not style.filled and marker != "x"
    edge = style.light if hollow else "white"
    edges: Any = ["#1a1e24" if mark.chosen else edge for mark in marks]
    if marker == "x":
        edges = None  # a cross has no edge
    elif kind == "dominated":
        edges = "none"
    axes.scatter(
        [m.latency_ms for m in marks], [100 * m.accuracy for m in marks], s=area, marker=marker,
        alpha=0.42 if kind == "dominated" else 1.0, label=style.legend, zorder=3, clip_on=False,
        facecolors="none" if hollow else style.light, edgecolors=edges,
    )  # fmt: skip


def _label(axes: Axes, front: Front, budgets_ms: tuple[float, ...]) -> None:
    marks = [mark for mark in front.marks if mark.kind != "dominated"]
    if not marks:
        return
    height, dots = axes.figure.bbox.height, axes.figure.dpi / 72
    points = axes.transData.transform([(m.latency_ms, 100 * m.accuracy) for m in marks])
    pixels = [(float(x), float(height - y)) for x, y in points]
    inside = axes.bbox
    frame = (inside.x0, height - inside.y1, inside.x1, height - inside.y0)
    lines = [float(axes.transData.transform((b, 0))[0]) for b in budgets_ms]
    obstacles = budget_boxes(lines, frame)
    names = [m.label for m in marks]
    places = place_labels(pixels, names, frame=frame, letter=4.9 * dots, obstacles=obstacles)
    sides = {"start": "left", "middle": "center", "end": "right"}
    for mark, (x, y), place in zip(marks, pixels, places, strict=True):
        if place:
            axes.annotate(
                mark.label, (mark.latency_ms, 100 * mark.accuracy), fontweight="bold", fontsize=8,
                xytext=((place.x - x) / dots, (y - place.y) / dots), textcoords="offset points",
                ha=sides[place.anchor], va="baseline",
            )  # fmt: skip
