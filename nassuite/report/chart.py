"""A chart of accuracy against latency as a value: what the page, the figures and the Markdown draw alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nassuite.report.scale import Scale


@dataclass(frozen=True)
class Style:
    """Colour (Okabe and Ito's palette) for light and dark paper, marker, and words for the legend."""

    light: str
    dark: str
    marker: str
    legend: str
    filled: bool = True


@dataclass(frozen=True)
class Mark:
    """A point of the chart. ``label`` is drawn beside it, ``short`` where there is little room and a label is too long for
    that, and ``detail`` shown on pointing at it.

    ``faint`` marks are the crowd: small, and not reached by the keyboard.
    """

    kind: str
    latency: float
    accuracy: float
    detail: str
    label: str = ""
    chosen: bool = False
    faint: bool = False
    short: str = ""


@dataclass(frozen=True)
class Stairs:
    """A Pareto front in the colour of a ``kind``: its corners, the fastest first."""

    kind: str
    corners: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Chart:
    """``marks`` in drawing order, ``limits`` upright lines with their names: all in the unit of ``latency``.

    ``styles`` are those of the kinds of marks, ``titles`` of the axes (latency, accuracy) in full,
    ``short_titles`` where there is little room. ``summary`` is for those who do not see the chart.
    """

    marks: tuple[Mark, ...]
    stairs: tuple[Stairs, ...]
    limits: tuple[tuple[float, str], ...]
    latency: Scale
    accuracy: Scale
    titles: tuple[str, str]
    short_titles: tuple[str, str]
    styles: Mapping[str, Style]
    summary: str

    @property
    def kinds(self) -> list[str]:
        present = {mark.kind for mark in self.marks}
        return [kind for kind in self.styles if kind in present]

    @property
    def scale_words(self) -> str:
        """What is to be said of the latency's scale after its title."""
        return ", logarithmic" if self.latency.logarithmic else ""

    @property
    def firm(self) -> list[Mark]:
        return [mark for mark in self.marks if not mark.faint]
