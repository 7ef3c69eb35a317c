"""The files of a report, the same for every kind of report."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nassuite.records import write_bytes, write_json, write_text
from nassuite.report.chart import Chart
from nassuite.report.charts import pareto_alone
from nassuite.report.drawing import Drawing, framed
from nassuite.report.png import png
from nassuite.report.style import palette
from nassuite.report.svg import standalone

RECORDS = "records.json"
FIGURES = "figures"

# Of no other file there may it be said that a report wrote it.
_OURS = re.compile(
    r"(predictor|ranking|history|training|choices-(accuracy|latency)|(architecture|time|cuts)-.+ms)\.(svg|png)"
)


def write_files(
    folder: Path,
    *,
    records: dict[str, Any],
    chart: Chart,
    markdown: str,
    page: str = "",
    pictures: Mapping[str, Drawing] | None = None,
) -> list[Path]:
    """Writes each whole or not at all: records first, so that a report cut short can be drawn again.

    ``pictures`` go by their names into the folder ``figures``; those of an earlier report that are not drawn again
    are removed from it. Returns the paths, ``figures`` as one.
    """
    write_json(folder / RECORDS, records)
    own = {name: light for name, (light, _) in palette(chart.styles).items()}
    written = [folder / RECORDS, *_write_picture(folder, "pareto", pareto_alone(chart), own)]
    figures = folder / FIGURES
    kept = {
        path.name
        for name, picture in (pictures or {}).items()
        for path in _write_picture(figures, name, picture, own)
    }
    if figures.is_dir():
        for path in figures.iterdir():
            if _OURS.fullmatch(path.name) and path.name not in kept:
                path.unlink()
    if kept:
        written.insert(0, figures)
    for name, text in (("report.md", markdown), ("index.html", page)):
        if text:
            write_text(folder / name, text)
            written.insert(0, folder / name)
    return written


def _write_picture(folder: Path, name: str, drawing: Drawing, own: Mapping[str, str]) -> list[Path]:
    alone = framed(drawing)
    paths = [folder / f"{name}.svg", folder / f"{name}.png"]
    write_text(paths[0], standalone(alone, own))
    write_bytes(paths[1], png(alone, own))
    return paths
