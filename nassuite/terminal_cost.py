"""What ``nassuite cost`` prints."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from nassuite.costing import NetworkCost, access_per_mac
from nassuite.latency.guidelines import GUIDELINES, Finding
from nassuite.terminal import console, print_fitting

TOP = 12
PLACES = 3
OTHER_COLUMNS = 59
"""Columns that the table of layers needs beside their names."""


def print_cost(found: NetworkCost, *, everything: bool) -> None:
    """Totals, the slowest layers (with ``everything`` all, in order), and the guidelines that are broken."""
    out, cost = console(), found.cost
    shape = "x".join(map(str, found.in_shape))
    out.print(f"{found.model}, input {shape}: {found.params:,} parameters, {cost.macs:,} MACs")
    per_mac = access_per_mac(cost)
    out.print(
        f"memory: activations {_mb(cost.activation_bytes)} MB in all, at most {_mb(cost.peak_bytes)} MB at once, access "
        f"{_mb(cost.memory_access_bytes)} MB" + (f" ({per_mac:.2f} bytes a MAC)" if per_mac else "")
    )
    out.print(f"  most at once: {cost.peak_at}; nodes in the file's order, weights left out")
    noisy = " (noisy: measure again on a quiet machine)" if found.noisy else ""
    if found.profile is None:
        runtime = found.target["runtime"]
        out.print(
            f"latency: p50 {found.p50_ms:.4g} ms in {runtime}{noisy}; by layer there are none: {runtime} has no profile here"
        )
    else:
        out.print(
            f"latency: p50 {found.p50_ms:.4g} ms{noisy}; kernels {found.profile.total_ms:.4g} ms in the profile of "
            f"{found.profile.runs} runs"
        )
        out.print(
            f"  of that converting layouts {found.conversions_ms:.3g} ms, led back to no layer {found.unknown_ms:.3g} ms"
        )
    out.print()
    _print_layers(found, everything=everything)
    out.print()
    _print_guidelines(found, everything=everything)


def _print_layers(found: NetworkCost, *, everything: bool) -> None:
    out, rows = console(), found.rows()
    shown = rows if everything else sorted(rows, key=lambda row: (-(row.ms or 0.0), -row.macs))[:TOP]
    table = Table(box=None, pad_edge=False)
    table.add_column("layer", no_wrap=True)
    table.add_column("operator", no_wrap=True)
    for column in ("output", "MACs M", "access MB", "ms", "%"):
        table.add_column(column, justify="right", no_wrap=True)
    letters = max(20, out.width - OTHER_COLUMNS)
    total = found.profile.total_ms if found.profile else 0.0
    for row in shown:
        ms, share = (f"{row.ms:.3f}", f"{100 * row.ms / total:.0f}") if row.ms is not None else ("", "")
        table.add_row(
            _short(row.layer, letters), _short(row.what, 12), "x".join(map(str, row.out_shape)),
            f"{row.macs / 1e6:.2f}", _mb(row.memory_access_bytes), ms, share,
        )  # fmt: skip
    print_fitting(out, table, spare=("access MB", "output", "operator"))
    if len(shown) < len(rows):
        rest = sum(row.ms or 0.0 for row in rows) - sum(row.ms or 0.0 for row in shown)
        together = f" of {rest:.3g} ms together" if found.profile else ""
        out.print(f"and {len(rows) - len(shown)} more layers{together}: --all")


def _print_guidelines(found: NetworkCost, *, everything: bool) -> None:
    """A line for each guideline, and beneath it the places where it costs most."""
    out = console()
    out.print("guidelines of ShuffleNetV2 (Ma et al. 2018), and what breaking them costs here:")
    for name, title in GUIDELINES.items():
        places = [finding for finding in found.findings if finding.guideline == name]
        if not places:
            out.print(f"{name} {title}: kept")
            continue
        measured = [finding.extra_ms for finding in places if finding.extra_ms is not None]
        costs = f"{sum(measured):+.3g} ms over {len(measured)} of them" if measured else "not measured"
        spent = sum(finding.ms or 0.0 for finding in places)
        inside = f"{spent:.3g} ms in them, " if found.profile else ""
        out.print(f"{name} {title}: {len(places)} places, {inside}{costs}")
        for finding in places if everything else places[:PLACES]:
            for line in _finding(finding, out.width):
                out.print(line)


def _finding(finding: Finding, width: int) -> Sequence[str]:
    extra = (
        "" if finding.extra_ms is None or finding.guideline == "G4" else f", costs {finding.extra_ms:+.3f}"
    )
    took = "not timed" if finding.ms is None else f"{finding.ms:.3f} ms"
    return (
        f"  {_short(finding.layer, width - 24)}: {took}{extra}",
        f"    {finding.what}",
        f"    mend: {finding.mend}",
    )


def _short(text: str, letters: int) -> str:
    """Its end, which tells layers apart."""
    return text if len(text) <= letters else "…" + text[-(letters - 1) :]


def _mb(value: float) -> str:
    return f"{value / 1e6:.3g}"
