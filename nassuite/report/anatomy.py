"""What a search's choices are worth and what its winners are made of, in words, tables and bars."""

from __future__ import annotations

from nassuite.report.architecture import FAMILIES
from nassuite.report.bars import Bar, bar_chart
from nassuite.report.content import Deployment, LayerCost
from nassuite.report.drawing import Drawing
from nassuite.report.evidence import Choice, ChoiceFacts
from nassuite.report.tables import Table
from nassuite.report.words import budget, count, milliseconds, percent

MOST_CHOICES = 8
LITTLE = 0.3  # of the variance explained: less is said to be little
NOTHING = 0.005  # of the variance
FEW = 100  # architectures


def choice_words(facts: ChoiceFacts) -> str:
    """How the numbers came about, and how far they carry."""
    weak = [
        f"{what} ({percent(r2, 0)})"
        for what, r2 in (("accuracy", facts.accuracy_r2), ("latency", facts.latency_r2))
        if r2 < LITTLE
    ]
    caution = ""
    if weak:
        caution += f" Little of {' and '.join(weak)} is explained: take these bars as hints."
    if facts.n < FEW:
        caution += f" {facts.n} architectures are few: choices that matter less than others may not show."
    return (
        f"Permutation importance over {facts.n} architectures: what share of the variance a forecast from the choices "
        "misses when one choice is shuffled, on architectures held out from it, ± its standard deviation. The forecast "
        f"explains {percent(max(0.0, facts.accuracy_r2), 0)} of the variance of accuracy (inherited weights) and "
        f"{percent(max(0.0, facts.latency_r2), 0)} of that of latency (predicted).{caution}"
    )


def choice_chart(facts: ChoiceFacts, what: str) -> Drawing:
    """The choices that matter most for ``what``, accuracy or latency."""
    rows = [
        Bar(choice.name, value, _share(value, spread), "fp32" if what == "accuracy" else "front")
        for choice, value, spread in _most(facts, what)
    ]
    title = f"What matters for {what}, as a share of the variance"
    return bar_chart(rows, title=title)


def choice_table(facts: ChoiceFacts) -> Table:
    names = dict.fromkeys(
        choice.name for what in ("accuracy", "latency") for choice, _, _ in _most(facts, what)
    )
    by_name = {choice.name: choice for choice in facts.choices}
    rows = [
        (name, _share(by_name[name].accuracy, by_name[name].accuracy_spread),
         _share(by_name[name].latency, by_name[name].latency_spread))
        for name in names
    ]  # fmt: skip
    return Table(("choice", "matters for accuracy", "matters for latency"), tuple(rows))


def _most(facts: ChoiceFacts, what: str) -> list[tuple[Choice, float, float]]:
    found = [(c, float(getattr(c, what)), float(getattr(c, f"{what}_spread"))) for c in facts.choices]
    ordered = sorted(found, key=lambda one: -one[1])
    return [one for one in ordered[:MOST_CHOICES] if one[1] >= NOTHING] or ordered[:1]


def _share(value: float, spread: float) -> str:
    return f"{100 * max(0.0, value):.0f} % ± {100 * spread:.0f}"


def trait_words(facts: ChoiceFacts) -> str:
    if not facts.traits:
        return f"The {facts.n_front} architectures on the front differ from all {facts.n} in nothing that stands out."
    return (
        f"In what the {facts.n_front} architectures on the front differ most from all {facts.n}, by two standard errors "
        "or more; among so many choices one or two may do so by chance."
    )


def trait_table(facts: ChoiceFacts) -> Table:
    rows = [(t.name, f"{t.on_front:.3g}", f"{t.among_all:.3g}", f"{t.errors:+.1f}") for t in facts.traits]
    return Table(("mean of", "the front", "all", "std. errors"), tuple(rows))


def time_words(deployment: Deployment) -> str:
    times = deployment.times
    assert times is not None
    rest = times.total_ms - sum(ms for _, ms in times.parts)
    return (
        f"The {times.variant} file: mean time of its kernels by ONNX Runtime's profile of {times.runs} inferences, led "
        f"back to the blocks; {milliseconds(times.total_ms)} in all, of which {milliseconds(max(0.0, rest))} (input, "
        "output, conversions) belong to no block. Profiling slows small kernels down: read shares here, and latency "
        "in the table above. The thin bars are the shares of the MACs before pruning."
    )


def time_chart(deployment: Deployment) -> Drawing:
    """Shares of the time and of the MACs, block by block."""
    times = deployment.times
    assert times is not None
    macs = sum(cost.macs for cost in deployment.costs) or 1
    by_name = {cost.name: cost for cost in deployment.costs}
    total = times.total_ms or 1.0
    rows = [
        Bar(
            _part(by_name.get(name), name), ms / total, f"{percent(ms / total, 0)}, {milliseconds(ms)}",
            second=by_name[name].macs / macs if name in by_name else None,
        )
        for name, ms in times.parts
    ]  # fmt: skip
    title = f"Where the time goes, {budget(deployment.budget_ms)} (thin: share of the MACs)"
    return bar_chart(rows, title=title)


def time_table(deployment: Deployment) -> Table:
    times = deployment.times
    assert times is not None
    by_name = {cost.name: cost for cost in deployment.costs}
    macs = sum(cost.macs for cost in deployment.costs) or 1
    rows = [
        (
            _part(by_name.get(name), name), milliseconds(ms), percent(ms / (times.total_ms or 1.0)),
            percent(by_name[name].macs / macs) if name in by_name else "–",
        )
        for name, ms in times.parts
    ]  # fmt: skip
    return Table(("block", "time", "share of the time", "share of the MACs"), tuple(rows))


def _part(cost: LayerCost | None, name: str) -> str:
    if cost is None or cost.op == name:
        return name
    return f"{name} {FAMILIES.get(cost.op, (cost.op,))[0]}".replace("inverted", "inv.")


def cut_words(deployment: Deployment) -> str:
    cut = [c for c in deployment.cuts if c.after < c.before]
    gone, before = sum(c.before - c.after for c in cut), sum(c.before for c in deployment.cuts)
    kept = len(deployment.cuts) - len(cut)
    return (
        f"Pruning removed {gone:,} of {before:,} channels, in {len(cut)} groups of layers that share their channels, each "
        f"named after its first layer; {kept} kept all. The faint bar is the width before, the full one after."
    )


def cut_chart(deployment: Deployment) -> Drawing:
    """Width before and after of every layer that lost channels."""
    rows = [
        Bar(_short(c.layer), float(c.after), f"{c.before} → {c.after}", "pruned", rail=float(c.before))
        for c in deployment.cuts
        if c.after < c.before
    ]
    title = f"Channels before and after pruning, {budget(deployment.budget_ms)}"
    return bar_chart(rows, title=title)


def cut_table(deployment: Deployment) -> Table:
    rows = [
        (c.layer, count(c.before), count(c.after), f"{100 * (c.after / c.before - 1):.0f} %" if c.after < c.before else "–",
         c.reason)
        for c in deployment.cuts
    ]  # fmt: skip
    return Table(("layer", "channels before", "after", "change", "reason"), tuple(rows))


def _short(layer: str) -> str:
    """Without what every layer of its kind has in its name."""
    return layer.removesuffix(".conv")
