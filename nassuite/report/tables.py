"""The words and tables of a report, shared by HTML and Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nassuite.report.content import Baseline, Deployment, ReportContent, Variant
from nassuite.report.evidence import RankingFacts
from nassuite.report.front import measured_at, pareto_evaluations
from nassuite.report.words import (
    METRICS,
    big,
    budget,
    count,
    duration,
    interval,
    milliseconds,
    percent,
    size,
)

WORDS = frozenset(
    ("architecture", "operator", "remark", "finalist", "95 % interval", "95 % interval of ρ", "reason")
)  # columns of text, set to the left


@dataclass(frozen=True)
class Table:
    """``rows`` of text as long as ``header``; ``chosen`` is the column to stand out, if any."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    chosen: int | None = None


@dataclass(frozen=True)
class Answer:
    """What to deploy for a budget. ``facts`` are (label, value, remark)."""

    title: str
    verdict: str
    met: bool
    path: str
    facts: tuple[tuple[str, str, str], ...]


def headline(content: ReportContent) -> str:
    budgets = [f"{b:g}" for b in content.budgets_ms]
    joined = ", ".join(budgets[:-1]) + (" and " if len(budgets) > 1 else "") + "".join(budgets[-1:])
    return (
        f"{content.run.data.name}, budget{'s' if len(budgets) > 1 else ''} {joined} ms"
        if budgets
        else content.run.data.name
    )


def lede(content: ReportContent) -> str:
    data, space = content.run.data, content.run.space
    return (
        f"{len(content.evaluations):,} architectures evaluated of {big(space.architectures)} in the space "
        f"“{space.name}”, {len(data.classes)} classes, {data.size} px, "
        f"{data.train:,} training, {data.val:,} validation and {data.test:,} test images."
    )


def answers(content: ReportContent) -> list[Answer]:
    """One for each budget, in the order of the budgets."""
    by_budget = {d.budget_ms: d for d in content.deployed}
    return [_answer(b, by_budget.get(b), content) for b in content.budgets_ms]


def _answer(budget_ms: float, deployment: Deployment | None, content: ReportContent) -> Answer:
    chosen = deployment.chosen if deployment else None
    if chosen is None:
        return Answer(f"Nothing to deploy for {budget(budget_ms)}", "no model", False, "", _fastest(content))
    certified = f"{100 * content.confidence:g} % confidence"
    verdict = {
        "pass": f"meets {budget(budget_ms)}, {certified}",
        "fail": f"misses {budget(budget_ms)}",
        "too noisy": f"too noisy to certify {budget(budget_ms)}",
    }[chosen.verdict]
    latency = measured_at(chosen, content.percentile)
    facts = (
        _accuracy_fact(chosen, content),
        ("latency", milliseconds(latency), f"p{content.percentile} of the file, measured"),
        ("file", size(chosen.size_bytes), f"{count(chosen.params)} params, {count(chosen.macs)} MACs"),
    )
    title = f"For {budget(budget_ms)}: the {chosen.name} model"
    return Answer(title, verdict, chosen.verdict == "pass", chosen.path, facts)


def _accuracy_fact(variant: Variant, content: ReportContent) -> tuple[str, str, str]:
    name = METRICS[content.metric]
    if variant.test_accuracy is None:
        return (f"validation {name}", percent(variant.val_accuracy), "no test set")
    bounds = interval(variant.test_interval)
    remark = f"{bounds} 95 % interval, n = {variant.test_n:,}" if bounds else f"n = {variant.test_n:,}"
    return (f"test {name}", percent(variant.test_accuracy), remark)


def _fastest(content: ReportContent) -> tuple[tuple[str, str, str], ...]:
    """The fastest latency known, measured if anything was."""
    measured = [measured_at(f, content.percentile) for f in content.finalists]
    if measured:
        return (("fastest finalist", milliseconds(min(measured)), f"p{content.percentile}, measured"),)
    predicted = [e.predicted_ms for e in content.evaluations]
    if predicted:
        return (("fastest searched", milliseconds(min(predicted)), "predicted"),)
    return ()


def predict_line(content: ReportContent) -> str:
    """The command that shows the first deployed model at work; empty where there is none."""
    chosen = next((d.chosen for d in content.deployed if d.chosen), None)
    return f"nassuite predict {chosen.path.rpartition('/')[0]} photo.jpg" if chosen else ""


def variant_table(deployment: Deployment, content: ReportContent) -> Table:
    """A column per variant: narrow enough for a phone."""
    variants = deployment.variants
    metric = METRICS[content.metric]
    rows: dict[str, list[str]] = {
        f"p{content.percentile} ≤ {budget(deployment.budget_ms)}": [v.verdict for v in variants],
        f"test {metric}": [percent(v.test_accuracy) for v in variants],
        "95 % interval": [interval(v.test_interval) or "–" for v in variants],
        f"validation {metric}": [percent(v.val_accuracy) for v in variants],
        "p50, measured": [milliseconds(v.p50_ms) for v in variants],
        "p90, measured": [milliseconds(v.p90_ms) for v in variants],
        "minimum": [milliseconds(v.min_ms) for v in variants],
        "file size": [size(v.size_bytes) for v in variants],
        "parameters": [count(v.params) for v in variants],
        "MACs": [count(v.macs) for v in variants],
        "logits off PyTorch by": [f"{v.parity_max_abs:.1e}" for v in variants],
        "top-1 as PyTorch": [percent(v.parity_top1, 2) for v in variants],
        "SHA-256": [v.sha256[:8] for v in variants],
    }
    chosen = next((column for column, v in enumerate(variants, start=1) if v.chosen), None)
    names = [v.name + (" (chosen)" if v.chosen else "") for v in variants]
    return Table(("", *names), tuple((name, *values) for name, values in rows.items()), chosen)


def baseline_table(baselines: tuple[Baseline, ...], metric: str) -> Table:
    rows = [
        (
            b.name,
            percent(b.test_accuracy),
            interval(b.test_interval) or "–",
            percent(b.val_accuracy),
            milliseconds(b.p50_ms),
            count(b.macs),
            count(b.params),
            b.note,
        )
        for b in baselines
    ]
    name = METRICS[metric]
    header = (
        "baseline", f"test {name}", "95 % interval", "validation", "p50, measured", "MACs", "params", "remark",
    )  # fmt: skip
    return Table(header, tuple(rows))


def finalist_table(content: ReportContent) -> Table:
    """Each once, the fastest first: all are held to every budget."""
    by_digest = {f.digest: f for f in content.finalists}
    arch = {d.arch: budget(d.budget_ms) for d in content.deployed}
    rows = [
        (
            f.digest,
            percent(f.val_accuracy),
            milliseconds(f.predicted_ms),
            milliseconds(f.p50_ms),
            milliseconds(f.p90_ms),
            f"{100 * (f.predicted_ms / f.p50_ms - 1):+.1f} %" if f.p50_ms else "–",
            f"{f.aa_ratio:.3f}",
            arch.get(f.arch, ""),
        )
        for f in sorted(by_digest.values(), key=lambda f: f.p50_ms)
    ]
    header = (
        "finalist", "validation, inherited", "predicted", "p50, measured", "p90, measured", "predictor's error",
        "A/A ratio", "won",
    )  # fmt: skip
    return Table(header, tuple(rows))


def front_table(content: ReportContent) -> Table:
    """With a third objective all that nothing else beats in three; its column, where the table has it not anyway."""
    minimised = content.run.settings.get("minimise")
    third = (f"{minimised}, predicted",) if minimised in ("memory", "size") else ()
    rows = [
        (
            f"#{e.number}",
            percent(e.accuracy),
            milliseconds(e.predicted_ms),
            count(e.macs),
            count(e.params),
            *([size(int(e.cost or 0))] if third else []),
            e.arch,
        )
        for e in pareto_evaluations(content)
    ]
    columns = ("trial", "validation, inherited", "latency, predicted", "MACs", "params")
    return Table((*columns, *third, "architecture"), tuple(rows))


def cost_table(deployment: Deployment) -> Table:
    total = sum(cost.macs for cost in deployment.costs) or 1
    rows = [
        (
            c.name,
            c.op,
            "×".join(str(n) for n in c.shape),
            count(c.macs),
            percent(c.macs / total),
            count(c.params),
        )
        for c in deployment.costs
    ]
    return Table(("part", "operator", "output (C×H×W)", "MACs", "share", "params"), tuple(rows))


def predictor_words(content: ReportContent) -> str:
    p = content.predictor
    if p is None:
        return "No latency predictor was recorded."
    bound = ""
    if p.bound:
        probability, margin = p.bound
        bound = (
            f" The search asked for {percent(probability)}: with that probability a network drawn like those takes at "
            f"most {margin:.3f} times what is predicted, so only what was predicted to be that far under a budget was "
            "taken."
        )
    return (
        f"{p.model[:1].upper()}{p.model[1:]}, fitted on {p.n:,} measured networks. On {len(p.points):,} held out: mean absolute error "
        f"{percent(p.mape)}, within 5 % for {percent(p.hit5)} and within 10 % for {percent(p.hit10)} of them, "
        f"Kendall's τ {p.kendall_tau:.3f}.{bound}"
    )


def ranking_words(r: RankingFacts) -> str:
    gap, low, high = (f"{100 * value:+.1f}" for value in r.gap)
    bands = ", ".join(f"{tau:.2f} ({from_ms:.3g} to {to_ms:.3g} ms)" for from_ms, to_ms, _, tau in r.bands)
    limited = "" if r.max_macs is None else f" of at most {count(r.max_macs)} MACs"
    return (
        f"{r.verdict[:1].upper()}{r.verdict[1:]}: {r.reason}. {r.n} architectures{limited} were trained from scratch for {r.epochs} epochs on "
        f"{r.train_images:,} images. Kendall's τ within thirds of the latency: {bands}. Inherited less from-scratch "
        f"accuracy: {gap} points ({low} to {high})."
    )


UNRANKED = (
    "How well the supernet ranks architectures was not put to the test: nassuite audit trains some from scratch and "
    "says so."
)


def ranking_table(r: RankingFacts) -> Table:
    header = ("ranked by", "n", "Kendall's τ", "95 % interval", "Spearman's ρ", "95 % interval of ρ")
    rows = [
        (
            row.name, str(row.n), f"{row.tau:.2f}", f"{row.tau_interval[0]:.2f} to {row.tau_interval[1]:.2f}",
            f"{row.rho:.2f}", f"{row.rho_interval[0]:.2f} to {row.rho_interval[1]:.2f}",
        )
        for row in r.rows
    ]  # fmt: skip
    return Table(header, tuple(rows))


def history_words(content: ReportContent) -> str:
    h = content.history
    if h is None:
        return "No search history was recorded."
    return (
        f"Area that the front dominates (predicted latency, inherited weights) up to "
        f"{milliseconds(h.reference_ms)} and {percent(h.reference_accuracy)}, over distinct evaluations; "
        "repeats are not counted."
    )


def setting_rows(content: ReportContent) -> list[tuple[str, str]]:
    return list(_flat({"seed": content.run.seed, **content.run.settings}, ""))


def host_rows(content: ReportContent) -> list[tuple[str, str]]:
    return list(_flat(content.run.environment, ""))


def time_rows(content: ReportContent) -> list[tuple[str, str]]:
    seconds = content.run.seconds
    rows = [("started", content.run.started), ("ended", content.run.ended)]
    rows += [(stage, duration(spent)) for stage, spent in seconds.items()]
    return [*rows, ("all stages", duration(sum(seconds.values())))]


def data_rows(content: ReportContent) -> list[tuple[str, str]]:
    data, space = content.run.data, content.run.space
    skipped = f"{len(data.skipped)}: " + ", ".join(data.skipped[:5]) if data.skipped else "none"
    if len(data.skipped) > 5:
        skipped += " …"
    return [
        ("data", data.name),
        ("classes", f"{len(data.classes)}: {', '.join(data.classes[:12])}{' …' if len(data.classes) > 12 else ''}"),
        ("images", f"{data.train:,} train, {data.val:,} validation, {data.test:,} test"),
        ("input", f"{data.in_chans} × {data.size} × {data.size}"),
        ("unreadable files skipped", skipped),
        ("search space", f"{space.name}, {big(space.architectures)} architectures"),
        ("smallest and largest", f"{count(space.min_macs)} and {count(space.max_macs)} MACs"),
    ]  # fmt: skip


def _flat(value: dict[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for key, item in value.items():
        if isinstance(item, dict):
            yield from _flat(item, f"{prefix}{key}.")
        elif isinstance(item, (list, tuple)):
            yield f"{prefix}{key}", ", ".join(str(one) for one in item) or "–"
        else:
            yield f"{prefix}{key}", "–" if item is None else str(item)
