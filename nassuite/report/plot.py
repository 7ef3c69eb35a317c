"""A plot's frame as inline SVG: scales, grid, axes, markers. Colours come from the page's style sheet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from nassuite.report.markup import Markup, element, join
from nassuite.report.scale import Scale

MARKERS = {
    "dot": "M-2.6 0a2.6 2.6 0 1 0 5.2 0a2.6 2.6 0 1 0-5.2 0",
    "circle": "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0",
    "ring": "M-5.5 0a5.5 5.5 0 1 0 11 0a5.5 5.5 0 1 0-11 0",
    "square": "M-5.5-5.5h11v11h-11z",
    "triangle": "M0-7L7 5.5H-7z",
    "diamond": "M0-7.5L7.5 0L0 7.5L-7.5 0z",
    "pentagon": "M0-7L6.7-2.2L4.1 5.7H-4.1L-6.7-2.2z",
    "cross": "M-5-5L5 5M-5 5L5-5",
}

Point = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """``scale`` in data units, ``write`` makes a tick's text, ticks outside ``within`` are left
    out, and where it is ``whole``, fractions."""

    title: str
    scale: Scale
    write: Callable[[float], str] = "{:g}".format
    within: tuple[float, float] = (float("-inf"), float("inf"))
    whole: bool = False

    def ticks(self, about: int) -> list[float]:
        return [
            tick
            for tick in self.scale.ticks(about)
            if self.within[0] <= tick <= self.within[1] and not (self.whole and tick % 1)
        ]


@dataclass(frozen=True)
class Plot:
    """``width`` and ``height`` of the whole drawing in its own pixels; the y title stands on top."""

    width: int
    height: int
    x_axis: Axis
    y_axis: Axis
    left: int = 46
    right: int = 14
    top: int = 28
    bottom: int = 40

    def x(self, value: float) -> float:
        return self.left + self.x_axis.scale.place(value) * (self.width - self.left - self.right)

    def y(self, value: float) -> float:
        return self._height(self.y_axis.scale.place(value))

    def _height(self, place: float) -> float:
        return self.height - self.bottom - place * (self.height - self.top - self.bottom)

    def frame(self) -> Markup:
        floor, edge = self.height - self.bottom, self.width - self.right
        parts = []
        for tick in self.y_axis.ticks(max(3, (floor - self.top) // 48)):
            at = self.y(tick)
            parts.append(element("path", class_="grid", d=f"M{self.left} {at:.1f}H{edge}"))
            label = self.y_axis.write(tick)
            parts.append(element("text", label, class_="tick", x=self.left - 7, y=at + 4, text_anchor="end"))
        for tick in self.x_axis.ticks(max(3, (edge - self.left) // 62)):
            at = self.x(tick)
            parts.append(element("path", class_="grid", d=f"M{at:.1f} {floor}v4"))
            label = self.x_axis.write(tick)
            parts.append(element("text", label, class_="tick", x=at, y=floor + 17, text_anchor="middle"))
        parts.append(element("path", class_="axis", d=f"M{self.left} {floor}H{edge}"))
        if gap := self.y_axis.scale.gap:
            parts.append(self._break(*map(self._height, gap)))
        parts.append(element("text", self.y_axis.title, class_="title", x=2, y=14))
        x_title = element("text", self.x_axis.title, class_="title", x=edge, y=floor + 35, text_anchor="end")
        return join([*parts, x_title])

    def _break(self, below: float, above: float) -> Markup:
        """Two zigzags across the drawing: the axis goes on elsewhere."""
        waves = (self.width - self.right - self.left) // 12
        edges = [
            element("path", class_="break", d=f"M{self.left} {at:.1f}" + "l6 -4l6 4" * waves)
            for at in (below, above)
        ]
        return join(edges)

    def line(self, points: Iterable[Point], class_: str) -> Markup:
        return self._path(((self.x(x), self.y(y)) for x, y in points), class_)

    def steps(self, points: Sequence[Point], class_: str) -> Markup:
        """A staircase: each y holds until the next x."""
        corners: list[Point] = []
        for x, y in points:
            if corners:
                corners.append((x, corners[-1][1]))
            corners.append((x, y))
        return self.line(corners, class_)

    def area(self, points: Iterable[Point], class_: str) -> Markup:
        corners = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        return element("polygon", class_=class_, points=corners)

    def marker(self, marker: str, point: Point, *, class_: str, detail: str, reach: bool = False) -> Markup:
        """``detail`` is its tool tip; ``reach`` puts it into the order of the tabulator key."""
        return element(
            "path",
            element("title", detail),
            class_=class_,
            transform=f"translate({self.x(point[0]):.1f} {self.y(point[1]):.1f})",
            d=MARKERS[marker],
            tabindex=0 if reach else None,
            role="img" if reach else None,
            aria_label=detail if reach else None,
        )

    def drawing(self, *parts: Markup, label: str, role: str = "img", class_: str = "") -> Markup:
        return element(
            "svg",
            *parts,
            viewBox=f"0 0 {self.width} {self.height}",
            role=role,
            aria_label=label,
            class_=f"chart {class_}".strip(),
        )

    def _path(self, pixels: Iterable[Point], class_: str) -> Markup:
        corners = "L".join(f"{x:.1f} {y:.1f}" for x, y in pixels)
        return element("path", class_=class_, d=f"M{corners}")
