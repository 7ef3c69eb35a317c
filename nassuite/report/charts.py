"""The page's charts as inline SVG: Pareto front, latency predictor, search history, training."""

from __future__ import annotations

from collections.abc import Sequence

from nassuite.report.chart import Chart, Mark
from nassuite.report.content import Epoch, History, PredictorFacts
from nassuite.report.evidence import RankingFacts
from nassuite.report.front import STYLES
from nassuite.report.markup import Markup, element, join
from nassuite.report.placement import budget_boxes, place_labels
from nassuite.report.plot import MARKERS, Axis, Plot, Point
from nassuite.report.scale import linear
from nassuite.report.words import METRICS, milliseconds, percent

SMALL = (440, 300)
WIDE = (1000, 520)
NARROW = (360, 400)
ROOMY = 600  # pixels: from here on every mark has its label
BAND = 0.10  # the predictor's band, relative to the measured latency


def pareto_chart(chart: Chart, *, width: int, height: int, class_: str) -> Markup:
    """Accuracy against latency. The faint marks are not reached by keyboard."""
    roomy = width >= ROOMY
    x_title, y_title = chart.titles if roomy else chart.short_titles
    plot = Plot(
        width,
        height,
        Axis(x_title + chart.scale_words, chart.latency),
        Axis(y_title, chart.accuracy, _hundred, (0.0, 1.0)),
    )
    faint = [_mark(plot, chart, mark) for mark in chart.marks if mark.faint]
    parts = [plot.frame(), *faint, *(_limit_line(plot, *limit) for limit in chart.limits)]
    for stairs in chart.stairs:
        end = (chart.latency.limits[1], stairs.corners[-1][1])
        parts.append(plot.steps([*stairs.corners, end], f"k-{stairs.kind} steps"))
    parts += [_mark(plot, chart, mark) for mark in chart.firm]
    parts += _labels(plot, chart)
    return plot.drawing(*parts, label=chart.summary, role="group", class_=class_)


def legend(chart: Chart) -> Markup:
    """The keys of the markers in use, as a list that wraps."""
    items = [
        element(
            "li",
            element(
                "svg",
                element(
                    "path",
                    class_=_mark_class(kind, chart),
                    d=MARKERS[chart.styles[kind].marker],
                    transform="translate(8 8)",
                ),
                viewBox="0 0 16 16",
                aria_hidden="true",
            ),
            chart.styles[kind].legend,
        )
        for kind in chart.kinds
    ]
    return element("ul", *items, class_="legend")


def predictor_chart(facts: PredictorFacts) -> Markup:
    """Predicted against measured latency of the held-out networks, with a band of 10 %."""
    values = [value for point in facts.points for value in point] or [0.0, 1.0]
    reach = max(values) * 1.08 or 1.0
    low = max(0.0, min(values) - 0.08 * reach)
    scale = linear(low, reach)
    plot = Plot(*SMALL, Axis("predicted, ms", scale), Axis("measured, ms", scale))
    above, below = 1 - BAND, 1 + BAND  # an error is relative to the measured latency
    band = [(low, low / above), (reach * above, reach), (reach, reach)]
    band += [(reach, reach / below), (low * below, low), (low, low)]
    dots = [
        plot.marker(
            "circle",
            point,
            class_="mark k-front soft",
            detail=f"predicted {milliseconds(point[0])}, measured {milliseconds(point[1])}",
        )
        for point in facts.points
    ]
    label = (
        f"Predicted against measured latency of {len(facts.points)} networks held out; "
        f"{percent(facts.hit10)} of them within 10 %."
    )
    return plot.drawing(
        plot.area(band, "band"), plot.frame(), plot.line([(low, low), (reach, reach)], "ideal"), *dots,
        label=label,
    )  # fmt: skip


def ranking_chart(facts: RankingFacts) -> Markup:
    """Inherited accuracy against that of the same architectures trained from scratch."""
    inherited, scratch = (
        linear(*_padded([getattr(point, name) for point in facts.points]))
        for name in ("inherited", "scratch")
    )
    plot = Plot(
        *SMALL,
        Axis("inherited, %", inherited, _hundred, (0.0, 1.0)),
        Axis("trained from scratch, %", scratch, _hundred, (0.0, 1.0)),
    )
    dots = [
        plot.marker(
            "circle", (point.inherited, point.scratch), class_="mark k-front soft",
            detail=f"{point.arch}: inherited {percent(point.inherited)}, from scratch {percent(point.scratch)}",
        )
        for point in facts.points
    ]  # fmt: skip
    label = f"Inherited against from-scratch accuracy of {facts.n} architectures; Kendall's tau {facts.rows[0].tau:.2f}."
    return plot.drawing(plot.frame(), *dots, label=label)


def history_chart(history: History) -> Markup:
    """Hypervolume after each distinct evaluation."""
    last = history.points[-1] if history.points else (1, 0.0)
    top = max([volume for _, volume in history.points] or [0.0]) or 1.0
    low = min([volume for _, volume in history.points] or [0.0])
    floor = low - 0.1 * (top - low) if top > low else 0.0
    plot = Plot(
        *SMALL,
        Axis("distinct evaluations", linear(0.0, max(1.0, float(last[0])))),
        Axis("hypervolume, ms × accuracy", linear(max(0.0, floor), top + 0.06 * (top - floor))),
    )
    line = [plot.steps([(float(n), v) for n, v in history.points], "k-front line")] if history.points else []
    label = f"Hypervolume reached {last[1]:.4g} after {last[0]} distinct evaluations."
    return plot.drawing(plot.frame(), *line, label=label)


def accuracy_chart(epochs: Sequence[Epoch], metric: str) -> Markup | None:
    """Validation accuracy of the largest and the smallest subnet by epoch; None where none was taken."""
    largest = [(float(e.epoch), e.val_largest) for e in epochs if e.val_largest is not None]
    smallest = [(float(e.epoch), e.val_smallest) for e in epochs if e.val_smallest is not None]
    if not largest and not smallest:
        return None
    low, high = _padded([accuracy for _, accuracy in largest + smallest])
    plot = Plot(
        *SMALL,
        _epochs(epochs),
        Axis(f"validation {METRICS[metric]}, %", linear(max(0.0, low), high), _hundred, (0.0, 1.0)),
    )
    parts = [plot.frame()]
    for points, name, kind, below in ((largest, "largest", "front", -10), (smallest, "smallest", "fp32", 18)):
        parts += _named_line(plot, points, name, kind, below=below)
    return plot.drawing(*parts, label="Validation accuracy of the largest and smallest subnet by epoch.")


def loss_chart(epochs: Sequence[Epoch]) -> Markup:
    low, high = _padded([e.loss for e in epochs])
    plot = Plot(*SMALL, _epochs(epochs), Axis("training loss", linear(max(0.0, low), high)))
    line = plot.line([(float(e.epoch), e.loss) for e in epochs], "k-front line")
    return plot.drawing(plot.frame(), line, label=f"Training loss, last {epochs[-1].loss:.3f}.")


def _mark(plot: Plot, chart: Chart, mark: Mark) -> Markup:
    return plot.marker(
        chart.styles[mark.kind].marker,
        (mark.latency, mark.accuracy),
        class_=_mark_class(mark.kind, chart) + (" chosen" if mark.chosen else ""),
        detail=mark.detail,
        reach=not mark.faint,
    )


def _mark_class(kind: str, chart: Chart) -> str:
    return f"mark k-{kind}" + ("" if chart.styles[kind].filled else " open")


def _limit_line(plot: Plot, latency: float, name: str) -> Markup:
    at = plot.x(latency)
    label = element(
        "text",
        name,
        class_="budget-label",
        transform=f"translate({at - 5:.1f} {plot.top + 2}) rotate(-90)",
        text_anchor="end",
    )
    line = element("path", class_="budget", d=f"M{at:.1f} {plot.top}V{plot.height - plot.bottom}")
    return join([line, label])


def _labels(plot: Plot, chart: Chart) -> list[Markup]:
    marks = chart.firm
    pixels = [(plot.x(m.latency), plot.y(m.accuracy)) for m in marks]
    frame = (plot.left, plot.top, plot.width - 2, plot.height - plot.bottom)
    names = [m.label if plot.width >= ROOMY or m.chosen else "" for m in marks]
    obstacles = budget_boxes([plot.x(latency) for latency, _ in chart.limits], frame)
    places = place_labels(pixels, names, frame=frame, letter=7.4, obstacles=obstacles)
    return [
        element("text", name, class_="label", x=place.x, y=place.y, text_anchor=place.anchor)
        for name, place in zip(names, places, strict=True)
        if place
    ]


def _named_line(plot: Plot, points: list[Point], name: str, kind: str, *, below: int) -> list[Markup]:
    if not points:
        return []
    dots = [
        plot.marker(
            STYLES[kind].marker, point, class_=f"mark k-{kind} small", detail=f"{name} {percent(point[1])}"
        )
        for point in points
        if len(points) <= 12
    ]
    x, y = plot.x(points[-1][0]), plot.y(points[-1][1])
    label = element("text", name, class_="label", x=x, y=y + below, text_anchor="end")
    return [plot.line(points, f"k-{kind} line"), *dots, label]


def _epochs(epochs: Sequence[Epoch]) -> Axis:
    first, last = min(e.epoch for e in epochs), max(e.epoch for e in epochs)
    return Axis("epoch", linear(float(first if first < last else first - 1), float(last)), whole=True)


def _padded(values: list[float]) -> Point:
    low, high = min(values), max(values)
    margin = 0.08 * (high - low) or 0.05 * abs(high) or 0.05
    return low - margin, high + margin


def _hundred(fraction: float) -> str:
    return f"{100 * fraction:g}"
