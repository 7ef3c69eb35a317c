"""The charts of a report: Pareto front, latency predictor, ranking, search history, training."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from nassuite.report.chart import Chart, Mark, Stairs
from nassuite.report.content import Epoch, History, PredictorFacts
from nassuite.report.drawing import Drawing, Line, Marker, Point, Shape, Text
from nassuite.report.evidence import RankingFacts
from nassuite.report.front import STYLES
from nassuite.report.paints import FONT_SIZE
from nassuite.report.placement import Box, Place, curve_boxes, line_boxes, place_labels, place_names
from nassuite.report.plot import Axis, Plot
from nassuite.report.scale import linear
from nassuite.report.words import METRICS, milliseconds, percent

SMALL = (440, 300)
WIDE = (1000, 520)
NARROW = (360, 400)
ALONE = (820, 500)
UNDER_TITLE = 18  # pixels: as high as labels may stand
ROOMY = 600  # pixels: from here on every mark has its label
BAND = 0.10  # the predictor's band, relative to the measured latency
LEGEND_ROW, LEGEND_LETTER = 20, 6.4  # pixels


def pareto_chart(chart: Chart, width: int, height: int, *, em: float = FONT_SIZE) -> Drawing:
    """Accuracy against latency, with room for letters of ``em`` pixels. The faint marks are not reached by keyboard."""
    roomy = width >= ROOMY
    x_title, y_title = chart.titles if roomy else chart.short_titles
    plot = Plot(
        width,
        height,
        Axis(x_title + chart.scale_words, chart.latency),
        Axis(y_title, chart.accuracy, _hundred, (0.0, 1.0)),
    )
    shapes = [*plot.frame(), *(_mark(plot, chart, mark) for mark in chart.marks if mark.faint)]
    names = _limit_names(plot, chart, em)
    for (latency, name), place in zip(chart.limits, names, strict=True):
        x = plot.x(latency)
        shapes.append(Line(((x, plot.top), (x, plot.height - plot.bottom)), "budget"))
        shapes.append(Text(name, (place.x, place.y), "budget-label", place.anchor, upright=True))
    steps = [_steps(plot, chart, stairs) for stairs in chart.stairs]
    shapes += steps
    shapes += [_mark(plot, chart, mark) for mark in chart.firm]
    curves = [box for line in steps for box in curve_boxes(line.corners)]
    shapes += _labels(plot, chart, [name.box for name in names], curves, em)
    return plot.drawing(shapes, label=chart.summary)


def pareto_alone(chart: Chart) -> Drawing:
    """As it stands in a file of its own: with its legend, in two columns where the words leave room."""
    drawing = pareto_chart(chart, *ALONE)
    kinds = chart.kinds
    longest = max((len(chart.styles[kind].legend) for kind in kinds), default=0)
    columns = 2 if longest * LEGEND_LETTER + 20 < drawing.width / 2 else 1
    rows = -(-len(kinds) // columns)
    shapes: list[Shape] = []
    for number, kind in enumerate(kinds):
        column, row = divmod(number, rows)
        x, y = 10 + column * drawing.width / 2, drawing.height + 16 + row * LEGEND_ROW
        style = chart.styles[kind]
        shapes += [
            Marker(style.marker, (x, y), mark_class(kind, chart)),
            Text(style.legend, (x + 14, y + 4), "name"),
        ]
    return dataclasses.replace(
        drawing, height=drawing.height + 10 + rows * LEGEND_ROW, shapes=(*drawing.shapes, *shapes)
    )


def predictor_chart(facts: PredictorFacts) -> Drawing:
    """Predicted against measured latency of the held-out networks, with a band of 10 %."""
    values = [value for point in facts.points for value in point]
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
    ideal = plot.line([(low, low), (reach, reach)], "ideal")
    return plot.drawing(
        [plot.area(band, "band"), *plot.frame(), ideal, *dots],
        label=label,
        title="Predicted against measured latency (band: 10 %)",
    )


def ranking_chart(facts: RankingFacts) -> Drawing:
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
    return plot.drawing(
        [*plot.frame(), *dots], label=label, title="The supernet's ranking: validation accuracies"
    )


def history_chart(history: History) -> Drawing:
    """Hypervolume after each distinct evaluation."""
    last, volumes = history.points[-1], [volume for _, volume in history.points]
    top, low = max(volumes) or 1.0, min(volumes)
    floor = low - 0.1 * (top - low) if top > low else 0.0
    plot = Plot(
        *SMALL,
        Axis("distinct evaluations", linear(0.0, max(1.0, float(last[0])))),
        Axis("hypervolume, ms × accuracy", linear(max(0.0, floor), top + 0.06 * (top - floor))),
    )
    line = plot.steps([(float(n), v) for n, v in history.points], "k-front line")
    label = f"Hypervolume reached {last[1]:.4g} after {last[0]} distinct evaluations."
    return plot.drawing([*plot.frame(), line], label=label, title="How the search went")


def training_charts(epochs: Sequence[Epoch], metric: str) -> list[Drawing]:
    """Accuracy, where it was taken, and loss by epoch."""
    largest = [(float(e.epoch), e.val_largest) for e in epochs if e.val_largest is not None]
    smallest = [(float(e.epoch), e.val_smallest) for e in epochs if e.val_smallest is not None]
    loss = _loss_chart(epochs)
    return (
        [_accuracy_chart(largest, smallest, _epochs(epochs), metric), loss] if largest or smallest else [loss]
    )


def mark_class(kind: str, chart: Chart) -> str:
    return f"mark k-{kind}" + ("" if chart.styles[kind].filled else " open")


def _accuracy_chart(largest: list[Point], smallest: list[Point], epochs: Axis, metric: str) -> Drawing:
    """Validation accuracy of the largest and the smallest subnet."""
    low, high = _padded([accuracy for _, accuracy in largest + smallest])
    scale = linear(max(0.0, low), high)
    plot = Plot(*SMALL, epochs, Axis(f"validation {METRICS[metric]}, %", scale, _hundred, (0.0, 1.0)))
    shapes = plot.frame()
    for points, name, kind, below in ((largest, "largest", "front", -10), (smallest, "smallest", "fp32", 22)):
        shapes += _named_line(plot, points, name, kind, below=below)
    return plot.drawing(shapes, label="Validation accuracy of the largest and smallest subnet by epoch.")


def _loss_chart(epochs: Sequence[Epoch]) -> Drawing:
    low, high = _padded([e.loss for e in epochs])
    plot = Plot(*SMALL, _epochs(epochs), Axis("training loss", linear(max(0.0, low), high)))
    line = plot.line([(float(e.epoch), e.loss) for e in epochs], "k-front line")
    return plot.drawing([*plot.frame(), line], label=f"Training loss, last {epochs[-1].loss:.3f}.")


def _mark(plot: Plot, chart: Chart, mark: Mark) -> Marker:
    return plot.marker(
        chart.styles[mark.kind].marker,
        (mark.latency, mark.accuracy),
        class_=mark_class(mark.kind, chart) + (" chosen" if mark.chosen else ""),
        detail=mark.detail,
        reach=not mark.faint,
    )


def _limit_names(plot: Plot, chart: Chart, em: float) -> list[Place]:
    return place_names(
        [plot.x(latency) for latency, _ in chart.limits],
        [name for _, name in chart.limits],
        marks=[plot.at((mark.latency, mark.accuracy)) for mark in chart.firm],
        frame=_frame(plot, plot.top),
        em=em,
    )


def _steps(plot: Plot, chart: Chart, stairs: Stairs) -> Line:
    """On to the right edge."""
    end = (chart.latency.limits[1], stairs.corners[-1][1])
    return plot.steps([*stairs.corners, end], f"k-{stairs.kind} steps")


def _labels(plot: Plot, chart: Chart, texts: list[Box], curves: list[Box], em: float) -> list[Shape]:
    roomy = plot.width >= ROOMY
    marks = sorted(chart.firm, key=lambda mark: not mark.chosen)  # where room is scarce, those keep theirs
    names = [m.label if roomy else m.short or m.label if m.chosen else "" for m in marks]
    frame = _frame(plot, UNDER_TITLE)
    places = place_labels(
        [plot.at((m.latency, m.accuracy)) for m in marks], names, frame=frame, em=em, texts=texts,
        lines=line_boxes([plot.x(latency) for latency, _ in chart.limits], frame), curves=curves,
    )  # fmt: skip
    placed = [(name, place) for name, place in zip(names, places, strict=True) if place]
    return [
        *(Line(place.leader, "leader") for _, place in placed if place.leader),
        *(Text(name, (place.x, place.y), "label", place.anchor) for name, place in placed),
    ]


def _frame(plot: Plot, top: float) -> Box:
    return (plot.left, top, plot.width - 2, plot.height - plot.bottom)


def _named_line(plot: Plot, points: list[Point], name: str, kind: str, *, below: int) -> list[Shape]:
    if not points:
        return []
    dots = [
        plot.marker(
            STYLES[kind].marker, point, class_=f"mark k-{kind} small", detail=f"{name} {percent(point[1])}"
        )
        for point in points
        if len(points) <= 12
    ]
    x, y = plot.at(points[-1])
    return [plot.line(points, f"k-{kind} line"), *dots, Text(name, (x, y + below), "label", "end")]


def _epochs(epochs: Sequence[Epoch]) -> Axis:
    first, last = min(e.epoch for e in epochs), max(e.epoch for e in epochs)
    return Axis("epoch", linear(float(first if first < last else first - 1), float(last)), whole=True)


def _padded(values: list[float]) -> Point:
    low, high = min(values), max(values)
    margin = 0.08 * (high - low) or 0.05 * abs(high) or 0.05
    return low - margin, high + margin


def _hundred(fraction: float) -> str:
    return f"{100 * fraction:g}"
