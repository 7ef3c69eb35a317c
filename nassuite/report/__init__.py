"""Reports: one page, one text, one chart, and the records from which they can be drawn again."""

from __future__ import annotations

import json
from pathlib import Path

from nassuite.errors import InputError
from nassuite.records import read_json, write_bytes, write_json, write_text
from nassuite.report.content import ReportContent

__all__ = ["ReportContent", "read_report", "write_report"]

RECORDS = "records.json"


def write_report(content: ReportContent, folder: Path) -> list[Path]:
    """Writes ``index.html``, ``report.md``, ``pareto.svg``, ``pareto.png`` and ``records.json``.

    Each is written whole or not at all, and the same content gives the same bytes. ``records.json``
    is the first, so that a report cut short can be drawn again. Returns the paths.
    """
    from nassuite.report.figures import pareto_figure
    from nassuite.report.front import build_front
    from nassuite.report.html import page
    from nassuite.report.markdown import markdown

    folder = Path(folder)
    write_json(folder / RECORDS, content.to_json())
    svg, png = pareto_figure(build_front(content).chart)
    write_bytes(folder / "pareto.svg", svg)
    write_bytes(folder / "pareto.png", png)
    write_text(folder / "report.md", markdown(content))
    write_text(folder / "index.html", page(content))
    return [folder / name for name in ("index.html", "report.md", "pareto.svg", "pareto.png", RECORDS)]


def read_report(folder: Path) -> ReportContent:
    """The content of the report in ``folder``. Raises InputError where there is none that can be read."""
    path = Path(folder) / RECORDS
    if not path.is_file():
        raise InputError(f"no report in '{folder}': expected the file {RECORDS}")
    try:
        value = read_json(path)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"cannot read '{path}': {error}") from error
    try:
        return ReportContent.from_json(value)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
