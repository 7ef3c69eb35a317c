"""What the comparison of runs says, in words, tables and one chart: for its page and its Markdown alike."""

from __future__ import annotations

from nassuite.report.chart import Chart, Mark, Stairs, Style
from nassuite.report.runs import (
    RunComparison,
    RunModel,
    RunRecord,
    Winner,
    difference,
    limits,
    volumes,
    winners,
)
from nassuite.report.scale import broken, positive
from nassuite.report.tables import Answer, Table
from nassuite.report.words import METRICS, count, duration, interval, percent, size

# Okabe and Ito's colours for light and dark paper, and a marker of its own for each: colour is never all there is.
_LOOKS = (
    ("#0072b2", "#56b4e9", "circle"), ("#d55e00", "#ff8c3a", "square"), ("#009e73", "#1fc497", "triangle"),
    ("#cc79a7", "#e29ac2", "diamond"), ("#e69f00", "#f0b429", "pentagon"), ("#5f4690", "#b9a3e3", "ring"),
    ("#000000", "#ffffff", "cross"),
)  # fmt: skip
MOST_RUNS = len(_LOOKS)
_OPEN = ("ring", "cross")
LONG = 26  # letters of a label
MEASURE = "--measure measures all files here"


def measured(value: float | None, comparison: RunComparison) -> str:
    """A latency in the comparison's unit: in ms, or so many times the reference's."""
    if value is None:
        return "not measured"
    return f"{value:.3g} ms" if comparison.unit == "ms" else f"{value:.3g} ×"


def answers(comparison: RunComparison) -> list[Answer]:
    return [_answer(winner, comparison) for winner in winners(comparison)]


def _answer(winner: Winner, comparison: RunComparison) -> Answer:
    named = f"For {winner.limit.name}" if winner.limit.budget_ms is not None else "Most accurate"
    if winner.best is None:
        return Answer(f"{named}: nothing", _verdict(winner, comparison), False, "", ())
    run, model = winner.best
    name = METRICS[comparison.metric]
    accuracy = model.test_accuracy if model.test_accuracy is not None else model.val_accuracy
    bounds = interval(model.test_interval)
    facts = (
        (f"{'test' if model.test_accuracy is not None else 'validation'} {name}", percent(accuracy),
         f"{bounds} 95 % interval" if bounds else ""),
        ("latency", measured(comparison.latency(model), comparison),
         f"p{comparison.percentile} of the file" + ("" if comparison.unit == "ms" else ", reference network = 1")),
        ("MACs", count(model.macs), f"{count(model.params)} params"),
    )  # fmt: skip
    title, path = f"{named}: {run.name}, {called(model)}", f"{run.name}: {model.path}"
    return Answer(title, _verdict(winner, comparison), True, path, facts)


def called(model: RunModel) -> str:
    """Its name, with the budget that it was made for: a run has one of each name for every budget."""
    return model.name if model.budget_ms is None else f"{model.name} @{model.budget_ms:g}"


def _verdict(winner: Winner, comparison: RunComparison) -> str:
    """How the best stands to that of every other run, and why some have none."""
    said = []
    if winner.best is not None:
        said += [_against(winner.best[1], run, model, comparison) for run, model in winner.others]
    if winner.over:
        said.append(f"no model of {' or '.join(run.name for run in winner.over)} keeps it")
    if winner.unmeasured:
        said.append(f"{', '.join(run.name for run in winner.unmeasured)}: not measured ({MEASURE})")
    return "; ".join(said)


def _against(best: RunModel, run: RunRecord, model: RunModel, comparison: RunComparison) -> str:
    other = f"{run.name}'s {called(model)}"
    found = difference(best, model)
    if found is None:
        gap = best.val_accuracy - model.val_accuracy
        return f"{100 * gap:+.1f} points over {other} on validation"
    gap, low, high = (100 * value for value in found)
    if comparison.metric != "top1":
        return f"{gap:+.1f} points over {other} on test (intervals are of top-1: not judged)"
    telling = low > 0 or high < 0
    judged = "more than chance" if telling else "within chance"
    return f"{gap:+.1f} points over {other} on test ({low:+.1f} to {high:+.1f}): {judged}"


def model_table(comparison: RunComparison, *, every: bool) -> Table:
    """What the runs would deploy, or ``every`` file of them, the fastest first."""
    shown = [(run, model) for run, model in comparison.models if every or model.chosen]
    shown.sort(key=lambda one: (comparison.latency(one[1]) or float("inf"), one[0].name))
    name = METRICS[comparison.metric]
    header = (
        "run", "model", "budget", f"p{comparison.percentile}" + ("" if comparison.unit == "ms" else " / reference"), f"test {name}", "95 % interval", "validation", "MACs",
        "params", "file", "certificate", "path",
    )  # fmt: skip
    rows = tuple(
        (
            run.name, model.name, "–" if model.budget_ms is None else f"{model.budget_ms:g} ms",
            measured(comparison.latency(model), comparison), percent(model.test_accuracy),
            interval(model.test_interval) or "–", percent(model.val_accuracy), count(model.macs), count(model.params),
            "–" if model.size_bytes is None else size(model.size_bytes), model.verdict or "–", model.path,
        )
        for run, model in shown
    )  # fmt: skip
    return Table(header, rows)


def difference_table(comparison: RunComparison) -> Table | None:
    """The settings in which the runs differ, a column for each run; None where they do not.

    A setting that only one kind of run has is no difference between kinds.
    """
    names = dict.fromkeys(name for run in comparison.runs for name in run.settings)
    kinds = {run.kind for run in comparison.runs}
    rows = []
    for name in ("kind", *names):
        values = [run.kind if name == "kind" else run.settings.get(name) for run in comparison.runs]
        of_a_kind = [
            {v for r, v in zip(comparison.runs, values, strict=True) if r.kind == kind} for kind in kinds
        ]
        if len({value for value in values if value is not None}) > 1 or any(
            len(own) > 1 for own in of_a_kind
        ):
            rows.append((name, *(value or "–" for value in values)))
    return Table(("setting", *(run.name for run in comparison.runs)), tuple(rows)) if rows else None


def volume_table(comparison: RunComparison) -> Table:
    found = volumes(comparison)

    def text(value: float | None) -> str:
        return "–" if value is None else f"{value:.4g}"

    rows = [
        (
            run.name, run.kind, f"{run.evaluations:,}" if run.evaluations else "–", text(found.searched[run.name]),
            text(found.measured[run.name]), "–" if run.seconds is None else duration(run.seconds),
        )
        for run in comparison.runs
    ]  # fmt: skip
    header = ("run", "kind", "architectures", "hypervolume, searched", "hypervolume, files", "whole run")
    return Table(header, tuple(rows))


def repeat_rows(run: RunRecord) -> list[tuple[str, str]]:
    return [
        ("command", run.command or "–"), ("measured on", run.host or "–"), ("data digest", run.data_digest or "–"),
    ]  # fmt: skip


def volume_words(comparison: RunComparison) -> str:
    found = volumes(comparison)
    return (
        f"Hypervolume: the area that the points dominate up to {measured(found.latency, comparison)} and guessing "
        f"({percent(found.accuracy)}), the same for all runs. Searched: predicted latency and inherited weights, which "
        "compare between runs only as far as their supernets were trained alike. Files: measured latency, trained weights, "
        "validation accuracy."
    )


def summary(comparison: RunComparison) -> str:
    files = sum(comparison.latency(model) is not None for _, model in comparison.models)
    return (
        f"Validation {METRICS[comparison.metric]} against latency: {len(comparison.runs)} runs, {files} measured files, "
        f"{sum(bool(run.front) for run in comparison.runs)} searched fronts."
    )


def runs_chart(comparison: RunComparison) -> Chart:
    """All fronts and files in one frame: a colour and a marker for each run."""
    styles, stairs, marks = {}, [], []
    for number, run in enumerate(comparison.runs):
        light, dark, marker = _LOOKS[number]
        kind = f"run{number}"
        styles[kind] = Style(light, dark, marker, f"{run.name} ({run.kind})", marker not in _OPEN)
        front = [(comparison.predicted(run, s), s.accuracy, s.arch) for s in run.front]
        corners = [(x, y) for x, y, _ in front if x is not None]
        if corners:
            stairs.append(Stairs(kind, tuple(corners)))
            styles[f"{kind}s"] = Style(
                light, dark, "dot", f"{run.name}: searched front (predicted, inherited)"
            )
        marks += [
            Mark(f"{kind}s", x, y, f"{run.name}, searched: {arch} · {percent(y)} validation (inherited) · "
                 f"{measured(x, comparison)} predicted", faint=True)
            for x, y, arch in front
            if x is not None
        ]  # fmt: skip
        marks += [
            _file(kind, run, model, latency, comparison)
            for model in run.models
            if (latency := comparison.latency(model)) is not None
        ]
    latencies = [mark.latency for mark in marks] or [1.0]
    lines = [(x.value, x.name) for x in limits(comparison) if x.value <= 3 * max(latencies)]
    unit = "ms" if comparison.unit == "ms" else "× reference network"
    name = METRICS[comparison.metric]
    reach = latencies + [value for value, _ in lines]
    return Chart(
        marks=tuple(marks),
        stairs=tuple(stairs),
        limits=tuple(lines),
        latency=positive(min(reach), max(reach)),
        accuracy=broken([mark.accuracy for mark in marks] or [0.0, 1.0], least=0.02, within=(0.0, 1.0)),
        titles=(
            f"latency, {unit} (files: measured p{comparison.percentile}; fronts: predicted)",
            f"validation {name}, % (files: trained weights; fronts: inherited)",
        ),
        short_titles=(f"latency, {unit}", f"validation {name}, %"),
        styles=styles,
        summary=summary(comparison),
    )


def _label(run: RunRecord, model: RunModel) -> str:
    """With the run's name only where that is short: its marker tells the run, by the legend."""
    named = f"{run.name} {called(model)}"
    return named if len(named) <= LONG else called(model)


def _file(kind: str, run: RunRecord, model: RunModel, latency: float, comparison: RunComparison) -> Mark:
    return Mark(
        kind,
        latency,
        model.val_accuracy,
        f"{run.name}, {called(model)}: {model.arch} · {percent(model.val_accuracy)} validation, "
        f"{percent(model.test_accuracy)} test · {measured(latency, comparison)} · {count(model.macs)} MACs"
        + (f" · {model.verdict}" if model.verdict else ""),
        label=_label(run, model) if model.chosen else "",
        short=called(model),
        chosen=model.chosen,
    )
