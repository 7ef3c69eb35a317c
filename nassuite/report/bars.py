"""Horizontal bars as inline SVG: for shares, times and widths, with their names and numbers in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nassuite.report.markup import Markup, element

WIDTH = 440
NAMES, NUMBERS = 150, 96  # pixels to the left and right of the bars
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


def bar_chart(rows: Sequence[Bar], *, label: str) -> Markup:
    """The rows from top to bottom, the largest number filling the width. ``label`` is for those who do not see it."""
    top = max((max(row.value, row.rail or 0.0, row.second or 0.0) for row in rows), default=0.0) or 1.0
    room = WIDTH - NAMES - NUMBERS
    parts: list[Markup] = []
    for number, row in enumerate(rows):
        y = number * ROW + 4
        parts.append(element("text", row.name, class_="bar-name", x=NAMES - 8, y=y + 10, text_anchor="end"))
        for value, height, below, class_ in (
            (row.rail, THICK, 0, "rail"), (row.value, THICK, 0, "share"), (row.second, THIN, THICK + 1, "second"),
        ):  # fmt: skip
            if value is not None:
                width = room * max(0.0, value) / top
                parts.append(
                    element(
                        "rect", element("title", f"{row.name}: {row.text}"), class_=f"{class_} k-{row.kind}",
                        x=NAMES, y=y + below, width=width, height=height,
                    )
                )  # fmt: skip
        longest = max(row.value, row.rail or 0.0, row.second or 0.0, 0.0)
        parts.append(
            element("text", row.text, class_="bar-number", x=NAMES + room * longest / top + 6, y=y + 10)
        )
    return element(
        "svg", *parts, viewBox=f"0 0 {WIDTH} {len(rows) * ROW + 6}", role="img", aria_label=label,
        class_="chart bars",
    )  # fmt: skip
