"""Numbers and names as people read them; the same words in every form of the report."""

from __future__ import annotations

import math
from decimal import Decimal

METRICS = {"top1": "accuracy", "balanced": "balanced accuracy", "f1": "macro F1"}


def percent(fraction: float | None, digits: int = 1) -> str:
    return "–" if fraction is None else f"{100 * fraction:.{digits}f} %"


def interval(bounds: tuple[float, float] | None) -> str:
    return "" if bounds is None else f"[{100 * bounds[0]:.1f}, {100 * bounds[1]:.1f}]"


def milliseconds(value: float | None) -> str:
    """Three significant digits, never an exponent: 0.284 ms, 4.10 ms, 1200 ms."""
    return "–" if value is None else f"{_significant(value, 3)} ms"


def budget(value: float) -> str:
    """A budget as the user gave it."""
    return f"{value:g} ms"


def count(value: float) -> str:
    """12.3 M; 420."""
    return _scaled(value, (("G", 1e9), ("M", 1e6), ("k", 1e3)))


def size(value_bytes: float) -> str:
    return _scaled(value_bytes, (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))) + (
        "" if value_bytes >= 1e3 else " B"
    )


def duration(seconds: float) -> str:
    """8.4 s; 12 min 30 s; 3 h 05 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def big(digits: str) -> str:
    """A decimal number as text, however long: 4,820 or 3.2 × 10³¹; other text as it is."""
    if not digits.isdecimal():
        return digits
    number = Decimal(digits)
    if number < 10**7:
        return f"{number:,}"
    mantissa, exponent = f"{number:.1e}".split("e+")
    return f"{mantissa} × 10{exponent.translate(_SUPERSCRIPT)}"


def nice_ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) from ``low`` to ``high``."""
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = min((power * factor for factor in (1, 2, 5, 10)), key=lambda step: abs(math.log(step / raw)))
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 12) for n in range(first, math.floor(high / step + 1e-9) + 1)]


def _significant(value: float, digits: int) -> str:
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    return f"{value:.{max(0, decimals)}f}"


def _scaled(value: float, units: tuple[tuple[str, float], ...]) -> str:
    for unit, factor in units:
        if abs(value) >= factor:
            return f"{_significant(value / factor, 3)} {unit}"
    return f"{value:g}"


_SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
