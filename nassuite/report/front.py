"""What the Pareto chart shows, decided once for the page, the figures and the Markdown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nassuite.report.chart import Chart, Mark, Stairs, Style
from nassuite.report.content import Deployment, Evaluation, Finalist, ReportContent, Variant
from nassuite.report.scale import Scale, broken, positive
from nassuite.report.words import METRICS, budget, count, milliseconds, percent
from nassuite.search.pareto import non_dominated, pareto_front

CROWD = 1200  # dominated marks at most: a page must stay small, and more would be a blot
MINIMISE_MAXIMISE = (False, True)  # latency down, accuracy up


STYLES = {
    "dominated": Style("#8a8f98", "#8a8f98", "dot", "searched, dominated: predicted latency, inherited weights"),
    "front": Style("#0072b2", "#56b4e9", "circle", "searched, on the front: predicted latency, inherited weights"),
    "finalist": Style("#0072b2", "#56b4e9", "ring", "finalist: measured latency, inherited weights", False),
    "fp32": Style("#d55e00", "#ff8c3a", "square", "deployed fp32: measured latency, trained weights"),
    "pruned": Style("#009e73", "#1fc497", "triangle", "deployed pruned: measured latency, trained weights"),
    "int8": Style("#cc79a7", "#e29ac2", "diamond", "deployed int8: measured latency, trained weights"),
    "other": Style("#e69f00", "#f0b429", "pentagon", "deployed, other: measured latency, trained weights"),
    "baseline": Style("#000000", "#ffffff", "cross", "baseline: measured latency, trained from scratch", False),
}  # fmt: skip


@dataclass(frozen=True)
class Front:
    """``omitted`` counts the dominated evaluations that are not drawn: outside the axes, or too many."""

    chart: Chart
    omitted: int


def pareto_evaluations(content: ReportContent) -> list[Evaluation]:
    """The evaluations on the front of (predicted latency, accuracy, what else is minimised), fastest first."""
    costs = [(e.predicted_ms, e.accuracy, e.cost or 0.0) for e in content.evaluations]
    mask = non_dominated(costs, maximise=(*MINIMISE_MAXIMISE, False))
    front = [e for e, kept in zip(content.evaluations, mask, strict=True) if kept]
    return sorted(front, key=lambda e: (e.predicted_ms, e.accuracy, e.number))


def build_front(content: ReportContent) -> Front:
    searched = [
        _searched(evaluation, "front" if kept else "dominated", content)
        for evaluation, kept in zip(content.evaluations, _mask(content), strict=True)
    ]
    dominated = [mark for mark in searched if mark.faint]
    front = sorted((m for m in searched if not m.faint), key=lambda m: (m.latency, m.accuracy))
    firm = front + _finalists(content) + _baselines(content) + _deployed(content)
    latency, accuracy = _scales(firm, dominated, content.budgets_ms)
    drawn = [m for m in dominated if latency.holds(m.latency) and accuracy.holds(m.accuracy)]
    drawn = drawn[:: 1 + len(drawn) // CROWD]
    stairs = Stairs("front", tuple((m.latency, m.accuracy) for m in front))
    name = METRICS[content.metric]
    chart = Chart(
        marks=tuple(drawn + firm),
        stairs=(stairs,) if front else (),
        limits=tuple((b, f"budget {budget(b)}") for b in content.budgets_ms if b <= latency.limits[1]),
        latency=latency,
        accuracy=accuracy,
        titles=(
            f"latency, ms (searched: predicted; finalists, deployed, baselines: measured p{content.percentile})",
            f"validation {name}, % (searched, finalists: inherited weights; deployed: trained)",
        ),
        short_titles=("latency, ms", f"validation {name}, %"),
        styles=STYLES,
        summary=_summary(front, len(searched), content),
    )
    return Front(chart, len(dominated) - len(drawn))


def measured_at(measured: Variant | Finalist, percentile: int) -> float:
    """The measured latency that the budget is held against, ms."""
    return measured.p90_ms if percentile == 90 else measured.p50_ms


def _mask(content: ReportContent) -> list[bool]:
    points = [(e.predicted_ms, e.accuracy) for e in content.evaluations]
    return pareto_front(points, maximise=MINIMISE_MAXIMISE).tolist()


def _searched(e: Evaluation, kind: str, content: ReportContent) -> Mark:
    fits = [b for b, fits in zip(content.budgets_ms, e.feasible, strict=False) if fits]
    measured = "" if e.measured_ms is None else f", measured {milliseconds(e.measured_ms)}"
    detail = (
        f"#{e.number} {e.arch} · {percent(e.accuracy)} validation (inherited) · "
        f"{milliseconds(e.predicted_ms)} predicted{measured} · {count(e.macs)} MACs · {count(e.params)} params · "
        + (f"within {', '.join(budget(b) for b in fits)}" if fits else "over every budget")
    )
    return Mark(kind, e.predicted_ms, e.accuracy, detail, faint=kind == "dominated")


def _finalists(content: ReportContent) -> list[Mark]:
    return [
        Mark(
            "finalist",
            measured_at(f, content.percentile),
            f.val_accuracy,
            f"Finalist for {budget(f.budget_ms)}: {f.arch} · {percent(f.val_accuracy)} validation (inherited) · "
            f"measured p50 {milliseconds(f.p50_ms)}, p90 {milliseconds(f.p90_ms)}, "
            f"predicted {milliseconds(f.predicted_ms)}",
        )
        for f in content.finalists
    ]


def _deployed(content: ReportContent) -> list[Mark]:
    return [_variant(v, d, content) for d in content.deployed for v in d.variants]


def _variant(v: Variant, deployment: Deployment, content: ReportContent) -> Mark:
    several = len(content.deployed) > 1
    return Mark(
        v.name if v.name in ("fp32", "pruned", "int8") else "other",
        measured_at(v, content.percentile),
        v.val_accuracy,
        f"Deployed for {budget(deployment.budget_ms)}, {v.name}{' (chosen)' if v.chosen else ''}: "
        f"{deployment.arch} · {percent(v.val_accuracy)} validation, {percent(v.test_accuracy)} test · "
        f"measured p50 {milliseconds(v.p50_ms)}, p90 {milliseconds(v.p90_ms)} · "
        f"{count(v.macs)} MACs · {v.verdict}",
        label=f"{v.name} @{deployment.budget_ms:g}" if several else v.name,
        chosen=v.chosen,
    )


def _baselines(content: ReportContent) -> list[Mark]:
    return [
        Mark(
            "baseline",
            (b.p90_ms or b.p50_ms) if content.percentile == 90 else b.p50_ms,
            b.val_accuracy,
            f"Baseline {b.name}: {percent(b.val_accuracy)} validation, {percent(b.test_accuracy)} test · "
            f"measured p50 {milliseconds(b.p50_ms)} · {count(b.macs)} MACs",
            label=b.name,
        )
        for b in content.baselines
        if b.val_accuracy is not None
    ]


def _scales(firm: list[Mark], dominated: list[Mark], budgets_ms: tuple[float, ...]) -> tuple[Scale, Scale]:
    """Scales that hold all firm marks, the budgets, and 95 % of the dominated marks each way.

    A budget beyond three times the slowest mark does not bind and would only squeeze the chart. Trained weights are
    often far above inherited ones: then the empty middle is left out.
    """
    latencies = [m.latency for m in firm] or [1.0]
    accuracies = [m.accuracy for m in firm] or [0.0, 1.0]
    if dominated:
        latencies.append(float(np.quantile([m.latency for m in dominated], 0.95)))
        accuracies.append(float(np.quantile([m.accuracy for m in dominated], 0.05)))
    latencies += [b for b in budgets_ms if b <= 3 * max(latencies) or not firm]
    return positive(min(latencies), max(latencies)), broken(accuracies, least=0.02, within=(0.0, 1.0))


def _summary(front: list[Mark], searched: int, content: ReportContent) -> str:
    if not front:
        return "No architecture was evaluated."
    first, last = front[0], front[-1]
    span = (
        f"from {percent(first.accuracy)} at {milliseconds(first.latency)} "
        f"to {percent(last.accuracy)} at {milliseconds(last.latency)}"
        if len(front) > 1
        else f"one point, {percent(first.accuracy)} at {milliseconds(first.latency)}"
    )
    return (
        f"Validation {METRICS[content.metric]} against latency: {searched:,} architectures searched, "
        f"{len(front)} on the front, {span} (predicted latency, inherited weights)."
    )
