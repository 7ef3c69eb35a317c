"""Reports: one page, one text, their pictures, and the records from which they can be drawn again."""

from __future__ import annotations

import json
from pathlib import Path

from nassuite.errors import InputError
from nassuite.records import read_json
from nassuite.report.content import ReportContent
from nassuite.report.files import RECORDS, write_files

__all__ = ["ReportContent", "read_report", "write_report"]


def write_report(content: ReportContent, folder: Path) -> list[Path]:
    """Writes ``index.html``, ``report.md``, ``pareto.svg``, ``pareto.png``, every other picture as both into
    ``figures``, and ``records.json``; returns the paths, ``figures`` as one.

    The same content gives the same bytes.
    """
    from nassuite.report.front import build_front
    from nassuite.report.html import page
    from nassuite.report.markdown import markdown
    from nassuite.report.pictures import pictures

    return write_files(
        Path(folder), records=content.to_json(), chart=build_front(content).chart, markdown=markdown(content),
        page=page(content), pictures=pictures(content),
    )  # fmt: skip


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
