"""How the shapes of drawings are painted, by their class: one table for the page's style sheet and for files."""

from __future__ import annotations

from collections.abc import Mapping

COLOURS = {
    "paper": ("#fff", "#13161b"),
    "ink": ("#1a1e24", "#e3e6ea"),
    "muted": ("#59626e", "#9aa4b1"),
    "rule": ("#dde1e6", "#2b313a"),
    "panel": ("#f5f7f9", "#1a1e25"),
    "good": ("#00714f", "#3ccf9e"),
    "bad": ("#b34700", "#ff9550"),
    "band": ("#e3eef6", "#24303c"),
}
"""On light paper and on dark. A shape of a kind or an operator has a colour ``c`` of its own besides."""

FONT_SIZE = 12.0  # pixels of a drawing: em at the page's full width
ENLARGED = 14.0  # the same of a wide drawing on a page that is narrower

_HALO = {"paint-order": "stroke", "stroke": "paper", "stroke-width": "3.5", "stroke-linejoin": "round"}
_THIN = {"stroke": "muted", "stroke-width": "1", "fill": "none"}
_CURVE = {"stroke": "c", "stroke-width": "1.8", "stroke-linejoin": "round", "fill": "none"}

PAINTS: dict[str, dict[str, str]] = {
    "tick": {"fill": "muted"},
    "title": {"fill": "muted", "font-size": "1.04em"},
    "row-shape": {"fill": "muted"},
    "label": {"fill": "ink", "font-weight": "600", **_HALO},
    "budget-label": {"fill": "ink", **_HALO},
    "name": {"fill": "ink"},
    "number": {"fill": "muted"},
    "heading": {"fill": "ink", "font-weight": "600"},
    "box-title": {"fill": "ink", "font-weight": "600", "font-size": "11.5px"},
    "box-line": {"fill": "muted", "font-size": "11px"},
    "grid": {"stroke": "rule", "stroke-width": "1", "fill": "none"},
    "axis": _THIN,
    "break": _THIN,
    "ideal": _THIN,
    "leader": _THIN,
    "flow": {**_THIN, "stroke-width": "1.2"},
    "budget": {"stroke": "ink", "stroke-width": "1.2", "stroke-dasharray": "5 4", "fill": "none"},
    "band": {"fill": "band"},
    "line": _CURVE,
    "steps": {**_CURVE, "stroke-opacity": ".75"},
    "mark": {"fill": "c", "stroke": "paper", "stroke-width": "1"},
    "mark.open": {"fill": "none", "stroke": "c", "stroke-width": "1.8"},
    "mark.soft": {"fill-opacity": ".55", "stroke": "none"},
    "mark.k-dominated": {"fill-opacity": ".42", "stroke": "none"},
    "mark.small": {"stroke": "none"},
    "mark.chosen": {"stroke": "ink", "stroke-width": "2"},
    "face": {"fill": "c", "fill-opacity": ".11"},
    "edge": {"fill": "c"},
    "share": {"fill": "c"},
    "rail": {"fill": "c", "fill-opacity": ".2"},
    "second": {"fill": "muted"},
}
"""SVG's properties by class, those of ``a.b`` for shapes of both; a later line overrules an earlier one."""


def style_rules() -> str:
    """The table as CSS, colours by variables."""
    return "".join(
        f".{name}{{{';'.join(f'{key}:{_variable(value)}' for key, value in properties.items())}}}"
        for name, properties in PAINTS.items()
    )


def paint(class_: str, own: Mapping[str, str]) -> dict[str, str]:
    """SVG's properties of a shape of that class on light paper; ``own`` has the colours of kinds by their class."""
    words = class_.split()
    found: dict[str, str] = {}
    for name, properties in PAINTS.items():
        if set(name.split(".")) <= set(words):
            found |= properties
    colours = {name: light for name, (light, _) in COLOURS.items()}
    colours["c"] = next((own[word] for word in words if word in own), "none")
    plain = {key: colours.get(value, value) for key, value in found.items()}
    if size := plain.get("font-size"):
        em = FONT_SIZE if size.endswith("em") else 1.0
        plain["font-size"] = f"{em * float(size[:-2]):.3g}"
    return plain


def _variable(value: str) -> str:
    return f"var(--{value})" if value == "c" or value in COLOURS else value
