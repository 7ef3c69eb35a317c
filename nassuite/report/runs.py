"""Several runs on the same data set against each other: the records of such a comparison, and what follows from them.

The schema of its ``records.json``; units as in ``report.content``. Latencies compare in milliseconds only where the
runs were measured on one machine that was equally fast each time; otherwise as ratios to the meter's reference network,
which was measured beside every model.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from nassuite.records import SCHEMA_VERSION
from nassuite.report.content import Metric
from nassuite.report.decoding import decode_records
from nassuite.search.pareto import hypervolume

KIND = "nassuite runs"
DRIFT = 1.05
"""Up to this factor between the reference's times, one machine was equally fast: milliseconds compare."""

RunKind = Literal["search", "pruning", "training"]
Unit = Literal["ms", "references"]


@dataclass(frozen=True)
class RunModel:
    """One file that a run handed over. ``chosen`` marks what the run itself would deploy for ``budget_ms``.

    ``path`` is relative to the run; ``reference_ms`` is the meter's reference beside it, None in older records.
    ``p50_ms`` and ``p90_ms`` are None for what was never measured. ``verdict`` is its certificate's, or empty.
    """

    name: str
    path: str
    arch: str
    val_accuracy: float
    test_accuracy: float | None
    test_interval: tuple[float, float] | None
    params: int
    macs: int
    chosen: bool = True
    budget_ms: float | None = None
    p50_ms: float | None = None
    p90_ms: float | None = None
    reference_ms: float | None = None
    size_bytes: int | None = None
    verdict: str = ""


@dataclass(frozen=True)
class Searched:
    """An architecture on the front of a search, with inherited weights and predicted latency."""

    arch: str
    predicted_ms: float
    accuracy: float


@dataclass(frozen=True)
class RunRecord:
    """One run. ``settings`` are flat (``name`` to text), ``host`` says what it was measured on, ``seconds`` all it took.

    ``front`` are the searched ones of ``evaluations`` in all, ``front_reference_ms`` the reference's time when the
    predictor was fitted.
    """

    name: str
    kind: RunKind
    command: str
    settings: dict[str, str]
    host: str
    data_digest: str
    models: tuple[RunModel, ...]
    seconds: float | None = None
    budgets_ms: tuple[float, ...] = ()
    evaluations: int = 0
    front: tuple[Searched, ...] = ()
    front_reference_ms: float | None = None

    @property
    def measured(self) -> bool:
        return any(model.p50_ms is not None for model in self.models)


@dataclass(frozen=True)
class RunComparison:
    """``unit`` is what latencies compare in, ``remarks`` say why, and what else to be careful about.

    ``percentile`` is that of the latencies compared, ``classes`` and ``test_images`` those of the data.
    """

    title: str
    command: str
    metric: Metric
    percentile: int
    unit: Unit
    data: str
    classes: int
    test_images: int
    runs: tuple[RunRecord, ...]
    remarks: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {"kind": KIND, "schema_version": SCHEMA_VERSION, **dataclasses.asdict(self)}

    @classmethod
    def from_json(cls, value: Any) -> RunComparison:
        """The inverse of ``to_json``; raises InputError as ``decode_records`` does."""
        return decode_records(cls, value, KIND)

    def latency(self, model: RunModel) -> float | None:
        """In ``unit``; None for what was not measured in it."""
        ms = model.p90_ms if self.percentile == 90 else model.p50_ms
        return self.in_unit(ms, model.reference_ms)

    def predicted(self, run: RunRecord, searched: Searched) -> float | None:
        return self.in_unit(searched.predicted_ms, run.front_reference_ms)

    def in_unit(self, ms: float | None, reference_ms: float | None) -> float | None:
        """Milliseconds that were measured beside a reference of that time, in ``unit``."""
        if ms is None or self.unit == "ms":
            return ms
        return ms / reference_ms if reference_ms else None

    @property
    def models(self) -> list[tuple[RunRecord, RunModel]]:
        return [(run, model) for run in self.runs for model in run.models]


def unit_of(runs: tuple[RunRecord, ...]) -> tuple[Unit, str]:
    """What latencies compare in, and a sentence on why."""
    measured = [(run, model) for run in runs for model in run.models if model.p50_ms is not None]
    hosts = list(dict.fromkeys(run.host for run, _ in measured))
    references = [model.reference_ms for _, model in measured if model.reference_ms]
    if len(references) < len(measured):
        where = "on one machine" if len(hosts) <= 1 else f"on different machines ({'; '.join(hosts)})"
        return "ms", (
            f"Latencies were measured {where}, some in records that do not say how fast it was at the time: differences "
            f"of {'some' if len(hosts) <= 1 else 'any number of'} percent mean nothing. --measure measures all anew, in the "
            "same rounds."
        )
    if len(hosts) <= 1 and (not references or max(references) <= DRIFT * min(references)):
        spread = f" within {100 * (max(references) / min(references) - 1):.1f} %" if references else ""
        return "ms", f"All latencies are of one machine, whose reference network took the same time{spread}."
    why = (
        f"different machines ({'; '.join(hosts)})"
        if len(hosts) > 1
        else "a machine that was not equally fast each time"
    )
    return "references", (
        f"Latencies were measured on {why}: milliseconds do not compare, so all are given as multiples of the reference "
        "network's time, which was measured beside each. --measure measures all anew, in the same rounds."
    )


@dataclass(frozen=True)
class Limit:
    """A budget in the comparison's unit; ``name`` is how the user gave it, and on which machine."""

    budget_ms: float | None
    value: float
    name: str


def limits(comparison: RunComparison) -> list[Limit]:
    """Every budget of the runs, the tightest first; one without an end where no run had any.

    As ratios a budget is a little different in each run of one machine: the widest counts, so that what a run certified
    stays within it.
    """
    found: dict[tuple[float, str], float] = {}
    hosts = {run.host for run in comparison.runs if run.budgets_ms}
    for run in comparison.runs:
        for budget_ms in run.budgets_ms:
            own = [model.reference_ms for model in run.models if model.budget_ms == budget_ms]
            value = comparison.in_unit(budget_ms, next(filter(None, own), run.front_reference_ms))
            key = (budget_ms, run.host if comparison.unit == "references" else "")
            if value is not None:
                found[key] = max(value, found.get(key, 0.0))
    if not found:
        return [Limit(None, float("inf"), "no budget")]
    several = comparison.unit == "references" and len(hosts) > 1
    return [
        Limit(ms, value, f"{ms:g} ms" + (f" on {host.replace(' | ', ', ')}" if several else ""))
        for (ms, host), value in sorted(found.items(), key=lambda item: item[1])
    ]


@dataclass(frozen=True)
class Winner:
    """The best model under a limit, and the best of each other run with it, both by validation.

    ``over`` are the runs of which no model keeps it, ``unmeasured`` those of which that is not known.
    """

    limit: Limit
    best: tuple[RunRecord, RunModel] | None
    others: tuple[tuple[RunRecord, RunModel], ...] = ()
    over: tuple[RunRecord, ...] = ()
    unmeasured: tuple[RunRecord, ...] = ()


def winners(comparison: RunComparison) -> list[Winner]:
    return [_winner(comparison, limit) for limit in limits(comparison)]


def _winner(comparison: RunComparison, limit: Limit) -> Winner:
    found = [(run, _best(comparison, run, limit)) for run in comparison.runs]
    best = [(run, model) for run, model in found if model]
    best.sort(key=lambda one: _preference(comparison, one[1]), reverse=True)
    return Winner(
        limit,
        best[0] if best else None,
        tuple(best[1:]),
        over=tuple(run for run, model in found if not model and run.measured),
        unmeasured=tuple(run for run, model in found if not model and not run.measured),
    )


def _best(comparison: RunComparison, run: RunRecord, limit: Limit) -> RunModel | None:
    """What validation prefers; among its equals what the run itself deploys, which has the certificate."""

    def preference(model: RunModel) -> tuple[float, bool, float]:
        accuracy, speed = _preference(comparison, model)
        return accuracy, model.chosen and model.budget_ms == limit.budget_ms, speed

    keeping = [model for model in run.models if _keeps(comparison, model, limit)]
    return max(keeping, key=preference, default=None)


def _keeps(comparison: RunComparison, model: RunModel, limit: Limit) -> bool:
    """By its certificate where it has one for this budget, otherwise by its measured percentile."""
    latency = comparison.latency(model)
    if limit.budget_ms is None:
        return True
    if latency is None or latency > limit.value:
        return False
    return model.budget_ms != limit.budget_ms or model.verdict in ("pass", "")


def _preference(comparison: RunComparison, model: RunModel) -> tuple[float, float]:
    return model.val_accuracy, -(comparison.latency(model) or 0.0)


def difference(first: RunModel, second: RunModel) -> tuple[float, float, float] | None:
    """First's test accuracy less second's, with a 95 % interval; None where a test accuracy is missing.

    Newcombe's hybrid score interval from the two Wilson intervals (1998, method 10). Both were tested on the same images,
    which this does not use: the true interval is narrower.
    """
    if first.test_accuracy is None or second.test_accuracy is None:
        return None
    if first.test_interval is None or second.test_interval is None:
        return None
    (l1, u1), (l2, u2) = first.test_interval, second.test_interval
    p1, p2 = first.test_accuracy, second.test_accuracy
    gap = p1 - p2
    return gap, gap - float(np.hypot(p1 - l1, u2 - p2)), gap + float(np.hypot(u1 - p1, p2 - l2))


@dataclass(frozen=True)
class Volumes:
    """Hypervolumes up to one reference point for all runs: of the searched front, and of the measured files."""

    latency: float
    accuracy: float
    searched: dict[str, float | None]
    measured: dict[str, float | None]


def volumes(comparison: RunComparison) -> Volumes:
    """The reference point is guessing, at the slowest latency of all that is compared."""
    searched: dict[str, list[tuple[float, float]]] = {}
    measured: dict[str, list[tuple[float, float]]] = {}
    for run in comparison.runs:
        found = [(comparison.predicted(run, s), s.accuracy) for s in run.front]
        searched[run.name] = [(x, y) for x, y in found if x is not None]
        timed = [(comparison.latency(model), model.val_accuracy) for model in run.models]
        measured[run.name] = [(x, y) for x, y in timed if x is not None]
    every = [x for points in (*searched.values(), *measured.values()) for x, _ in points]
    reference = (max(every, default=1.0), 1 / comparison.classes)

    def area(points: list[tuple[float, float]]) -> float | None:
        return hypervolume(points, reference, maximise=(False, True)) if points else None

    return Volumes(
        *reference,
        {name: area(points) for name, points in searched.items()},
        {name: area(points) for name, points in measured.items()},
    )
