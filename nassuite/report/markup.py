"""HTML and SVG elements as values: text is escaped unless it is already markup."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape


class Markup(str):
    """Text that is markup already and goes into a page as it is."""

    __slots__ = ()


def text(value: object) -> Markup:
    return value if isinstance(value, Markup) else Markup(escape(str(value)))


def join(parts: Iterable[object]) -> Markup:
    return Markup("".join(text(part) for part in parts))


def element(name: str, /, *children: object, **attributes: object) -> Markup:
    """``<name attribute="value">children</name>``.

    A trailing underscore in an attribute's name is dropped (``class_``), others become dashes;
    None leaves the attribute out. Floats are written with two digits at most.
    """
    pairs = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_plain(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if not children:
        return Markup(f"<{name}{pairs}/>" if name in _EMPTY else f"<{name}{pairs}></{name}>")
    return Markup(f"<{name}{pairs}>{join(children)}</{name}>")


_EMPTY = frozenset(("path", "line", "rect", "circle", "polyline", "polygon", "meta", "br", "img"))


def _plain(value: object) -> str:
    if isinstance(value, float):
        rounded = f"{value:.2f}".rstrip("0").rstrip(".")
        return "0" if rounded == "-0" else rounded
    return str(value)
