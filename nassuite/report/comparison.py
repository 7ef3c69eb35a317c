"""Networks under one recipe: their records, table and chart; and a search's report drawn against them."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nassuite.errors import InputError
from nassuite.records import SCHEMA_VERSION, read_json
from nassuite.report.chart import Chart, Mark, Stairs, Style
from nassuite.report.content import Baseline, ReportContent
from nassuite.report.files import RECORDS, write_files
from nassuite.report.scale import broken, positive
from nassuite.report.words import METRICS, count, duration, interval, milliseconds, percent
from nassuite.search.pareto import pareto_front

KIND = "nassuite comparison"


@dataclass(frozen=True)
class Compared:
    """One network: accuracies of the run's metric as fractions, ``p50_ms`` and ``p90_ms`` measured, ``seconds``
    of training, ``note`` what differs from the common recipe."""

    name: str
    params: int
    macs: int
    val_accuracy: float
    test_accuracy: float
    test_interval: tuple[float, float]
    test_n: int
    p50_ms: float
    p90_ms: float
    epochs: int
    seconds: float
    note: str = ""


@dataclass(frozen=True)
class Comparison:
    """``recipe`` are the settings that all share; ``digest`` is that of the data, ``target`` the meter's."""

    title: str
    command: str
    metric: str
    digest: str
    target: dict[str, Any]
    environment: dict[str, Any]
    recipe: dict[str, Any]
    rows: tuple[Compared, ...]
    remarks: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {"kind": KIND, "schema_version": SCHEMA_VERSION, **dataclasses.asdict(self)}

    @property
    def front(self) -> set[str]:
        """Names of those that no other beats in validation accuracy and p50 at once."""
        kept = pareto_front([(row.p50_ms, row.val_accuracy) for row in self.rows], maximise=(False, True))
        return {row.name for row, keep in zip(self.rows, kept.tolist(), strict=True) if keep}


def read_comparison(folder: Path) -> Comparison:
    """Raises InputError where there is none that can be read."""
    path = folder / RECORDS if folder.is_dir() else folder
    try:
        value = read_json(path)
    except OSError as error:
        raise InputError(f"{path}: no comparison there ({error.strerror})") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path} is damaged: {error}") from None
    if not isinstance(value, dict) or value.pop("kind", None) != KIND:
        raise InputError(f"{path} is no comparison: expected what nassuite zoo compare writes")
    if value.pop("schema_version", None) != SCHEMA_VERSION:
        raise InputError(f"{path} is of another schema version than {SCHEMA_VERSION}")
    try:
        rows = tuple(
            Compared(**{**row, "test_interval": tuple(row["test_interval"])}) for row in value.pop("rows")
        )
        return Comparison(**{**value, "remarks": tuple(value.get("remarks", ()))}, rows=rows)
    except (KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged: {error}") from None


def write_comparison(comparison: Comparison, folder: Path) -> list[Path]:
    """Writes records.json, report.md, pareto.svg and pareto.png; returns the paths."""
    return write_files(
        folder, records=comparison.to_json(), chart=_chart(comparison), markdown=_markdown(comparison)
    )


def with_baselines(content: ReportContent, comparison: Comparison) -> ReportContent:
    """The report of a search, drawn against networks from outside it.

    Where one of them is as fast as a budget asks and better on test than what was deployed for it,
    the report says so first. Raises InputError if it is about other images or another metric.
    """
    if comparison.metric != content.metric:
        raise InputError(
            f"the baselines' metric is {comparison.metric}, that of the run {content.metric}: they cannot be compared"
        )
    if len(comparison.rows) and comparison.rows[0].test_n != content.run.data.test:
        raise InputError(
            f"the baselines were tested on {comparison.rows[0].test_n} images, the run has {content.run.data.test}"
        )
    baselines = tuple(
        Baseline(
            name=row.name, p50_ms=row.p50_ms, macs=row.macs, params=row.params, val_accuracy=row.val_accuracy,
            test_accuracy=row.test_accuracy, test_interval=row.test_interval, p90_ms=row.p90_ms,
            note=f"{row.epochs} epochs, {duration(row.seconds)}" + (f"; {row.note}" if row.note else ""),
        )
        for row in comparison.rows
    )  # fmt: skip
    misses = tuple(miss for miss in content.run.misses if not miss.startswith(BETTER))
    run = dataclasses.replace(content.run, misses=(*_better(content, baselines), *misses))
    return dataclasses.replace(content, run=run, baselines=baselines)


BETTER = "A baseline is better"


def _better(content: ReportContent, baselines: tuple[Baseline, ...]) -> list[str]:
    found = []
    for deployment in content.deployed:
        chosen = deployment.chosen
        if chosen is None or chosen.test_accuracy is None:
            continue
        rivals = [
            b
            for b in baselines
            if b.p50_ms <= deployment.budget_ms and (b.test_accuracy or 0.0) > chosen.test_accuracy
        ]
        if rivals:
            best = max(rivals, key=lambda b: b.test_accuracy or 0.0)
            found.append(
                f"{BETTER} within {deployment.budget_ms:g} ms: {best.name} has {percent(best.test_accuracy)} on test at "
                f"{milliseconds(best.p50_ms)} ({best.note}), the deployed {chosen.name} {percent(chosen.test_accuracy)} at "
                f"{milliseconds(chosen.p50_ms)}."
            )
    return found


def _markdown(comparison: Comparison) -> str:
    front = comparison.front
    lines = [f"# {comparison.title}", ""]
    lines += [f"{remark}\n" for remark in comparison.remarks]
    lines += [
        "![Accuracy against measured latency](pareto.svg)",
        "",
        "Bold: no other network here is both faster and better on validation. Latency is that of the exported "
        "ONNX file, all measured in the same rounds; test was read once, after training.",
        "",
        f"| network | p50 | p90 | validation {METRICS[comparison.metric]} | test | 95 % interval | MACs | parameters | "
        "training | remark |",
        "|---|---:|---:|---:|---:|---|---:|---:|---:|---|",
    ]
    for row in sorted(comparison.rows, key=lambda row: row.p50_ms):
        name = f"**{row.name}**" if row.name in front else row.name
        lines.append(
            f"| {name} | {milliseconds(row.p50_ms)} | {milliseconds(row.p90_ms)} | {percent(row.val_accuracy)} | "
            f"{percent(row.test_accuracy)} | {interval(row.test_interval)} | {count(row.macs)} | {count(row.params)} | "
            f"{row.epochs} epochs, {duration(row.seconds)} | {row.note} |"
        )
    cpu = comparison.environment["cpu"]["name"]
    recipe = ", ".join(f"{key} {value}" for key, value in comparison.recipe.items())
    target = comparison.target
    lines += [
        "",
        "## How to repeat it",
        "",
        f"```sh\n{comparison.command}\n```",
        "",
        f"- recipe of all: {recipe}",
        f"- measured on {cpu}, {target['runtime']} {target['runtime_version']}, {target['threads']} thread(s)",
        f"- data digest {comparison.digest}, nassuite at commit {comparison.environment.get('commit', 'unknown')}",
    ]
    return "\n".join(lines) + "\n"


_STYLES = {
    "other": Style("#8a8f98", "#8a8f98", "circle", "another network is faster and better"),
    "front": Style("#0072b2", "#56b4e9", "circle", "on the front"),
}


def _chart(comparison: Comparison) -> Chart:
    """Validation accuracy against p50, every network named."""
    rows = sorted(comparison.rows, key=lambda row: row.p50_ms)
    front = comparison.front
    latencies = [row.p50_ms for row in rows]
    name = METRICS[comparison.metric]
    return Chart(
        marks=tuple(
            Mark(
                "front" if row.name in front else "other", row.p50_ms, row.val_accuracy,
                f"{row.name}: {percent(row.val_accuracy)} validation, {milliseconds(row.p50_ms)}", label=row.name,
            )
            for row in rows
        ),
        stairs=(Stairs("front", tuple((row.p50_ms, row.val_accuracy) for row in rows if row.name in front)),),
        limits=(),
        latency=positive(min(latencies), max(latencies)),
        accuracy=broken([row.val_accuracy for row in rows], least=0.02, within=(0.0, 1.0)),
        titles=("latency, ms (measured p50)", f"validation {name}, %"),
        short_titles=("latency, ms", f"validation {name}, %"),
        styles=_STYLES,
        summary=f"Validation {name} against measured latency of {len(rows)} networks.",
    )  # fmt: skip
