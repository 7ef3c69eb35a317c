"""The files of a report, the same for every kind of report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nassuite.records import write_bytes, write_json, write_text
from nassuite.report.chart import Chart
from nassuite.report.figures import pareto_figure

RECORDS = "records.json"


def write_files(
    folder: Path, *, records: dict[str, Any], chart: Chart, markdown: str, page: str = ""
) -> list[Path]:
    """Writes each whole or not at all: records first, so that a report cut short can be drawn again. Returns the paths."""
    write_json(folder / RECORDS, records)
    svg, png = pareto_figure(chart)
    write_bytes(folder / "pareto.svg", svg)
    write_bytes(folder / "pareto.png", png)
    write_text(folder / "report.md", markdown)
    names = ["report.md", "pareto.svg", "pareto.png", RECORDS]
    if page:
        write_text(folder / "index.html", page)
        names.insert(0, "index.html")
    return [folder / name for name in names]
