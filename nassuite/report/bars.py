"""Horizontal bars: for shares, times and widths, with their names and numbers in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nassuite.report.drawing import Drawing, Rectangle, Shape, Text

WIDTH = 440
NAMES, NUMBERS = 150, 112  # pixels to the left and right of the bars; to the left more for long names
LETTER = 6.6  # pixels, the mean of a name
ROW, THICK, THIN = 26, 11, 4


@dataclass(frozen=True)
class Bar:
    """``value`` is drawn thick, ``second`` thin below it, ``rail`` faint behind it; all in one unit, from 0 up."""

    name: str
    value: float
    text: str
    kind: str = "front"
    rail: float | None = None
    second: float | None = None


def bar_chart(rows: Sequence[Bar], *, title: str) -> Drawing:
    """The rows from top to bottom, the largest number filling the width; ``title`` says of what."""
    top = max((max(row.value, row.rail or 0.0, row.second or 0.0) for row in rows), default=0.0) or 1.0
    left = min(max(NAMES, 8 + LETTER * max((len(row.name) for row in rows), default=0)), WIDTH / 2)
    room = WIDTH - left - NUMBERS
    shapes: list[Shape] = []
    for number, row in enumerate(rows):
        y = number * ROW + 4
        shapes.append(Text(row.name, (left - 8, y + 10), "name", "end"))
        for value, height, below, class_ in (
            (row.rail, THICK, 0, "rail"), (row.value, THICK, 0, "share"), (row.second, THIN, THICK + 1, "second"),
        ):  # fmt: skip
            if value is not None:
                width = room * max(0.0, value) / top
                detail = f"{row.name}: {row.text}"
                shapes.append(Rectangle(left, y + below, width, height, f"{class_} k-{row.kind}", detail))
        longest = max(row.value, row.rail or 0.0, row.second or 0.0, 0.0)
        shapes.append(Text(row.text, (left + room * longest / top + 6, y + 10), "number"))
    told = "; ".join(f"{row.name} {row.text}" for row in rows)
    return Drawing(WIDTH, len(rows) * ROW + 6, tuple(shapes), f"{title}: {told}.", title)
