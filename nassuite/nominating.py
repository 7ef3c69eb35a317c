"""The finalists of a run: nominated by prediction, measured as exported files, and held to their budgets.

What is measured corrects what was predicted: a machine may have become slower or faster since it was calibrated, and a
predictor is off by more in one region than in another. Where room is left under a budget, the search goes on there.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nassuite.errors import InputError
from nassuite.exploring import evaluate_these, search_further
from nassuite.flow import SEARCH_VAL_IMAGES, Flow
from nassuite.latency.certificate import certify
from nassuite.latency.cost import cost
from nassuite.latency.footprint import exceeded, measured, predicted
from nassuite.latency.meter import Measurement
from nassuite.metrics import score
from nassuite.records import append_jsonl, write_json
from nassuite.run_directory import read_lines
from nassuite.search.driver import Evaluation
from nassuite.search.finalists import (
    REACH,
    Finalist,
    choose_winner,
    nominate,
    nominate_by_reward,
    places,
    to_json,
    winner_by_reward,
)  # fmt: skip
from nassuite.search.growth import grown
from nassuite.spec import Arch
from nassuite.stages import FINALISTS
from nassuite.train.recalibrate import predict, recalibrated

ROOM = 0.05
"""What a winner may leave of its budget, and predictions be off by where there is none, before the search goes on."""
FILLINGS = 2
"""How often what fills a budget is looked for where a winner leaves room."""
GROWN = 3
"""Finalists of a budget that leaves room which are tried with larger sizes."""
SHARES = (0.99, 0.97, 0.95)
"""Of a budget: up to where each of them is grown. The slack that is aimed at is the last, and what is grown is often slower than
expected, for it was chosen where the predictor says that more costs little."""
NEAR = 0.6
"""Of a budget: what is predicted to be faster says nothing of predictions near it."""


@dataclass(frozen=True)
class Larger:
    """What a ``finalist``, given by its number, was grown to, and the milliseconds that its measurement leads to expect."""

    arch: Arch
    finalist: int
    expected_ms: float


def measure_finalists(flow: Flow) -> None:
    """Exports and measures the most accurate architectures around each budget, and picks the winners."""
    if flow.run.finalists.exists():
        return
    if flow.settings.objective == "pareto" and not flow.run.places.exists():
        write_json(flow.run.places, _places(flow))
    contest = Contest(flow)
    # One that was stopped does the same again with what it had measured, up to where it was.
    trials = flow.settings.trials if flow.hard_budgets else None
    searched = flow.evaluated[:trials]
    contest.round(flow.budgets, searched)
    if further := contest.with_room():
        assert trials is not None
        more = -(-trials // 3)
        search_further(flow, {budget: budget / contest.error[budget] for budget in further}, more)
        searched = flow.evaluated[: trials + more]
        contest.round(further, searched)
    # Each round reaches lower, should predictions still be too hopeful.
    for reach in (0.92, 0.8, 0.6):
        contest.round(contest.lacking(), searched, reach)
    for _ in range(FILLINGS):
        contest.fill(contest.with_room())
    write_json(flow.run.finalists, contest.entries)
    flow.run.measured.unlink(missing_ok=True)


class Contest:
    """All that was measured so far, and what it means for each budget.

    ``error`` is how many times longer than predicted it took near a budget, by median, and ``drift`` how many times longer what a
    finalist was grown to took than its measurement had led to expect. ``entries`` have the finalists and the winner by
    budget, as they are written down.
    """

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.known: dict[int, Measured] = {}
        self.error = dict.fromkeys(flow.budgets, 1.0)
        self.drift: dict[int, float] = {}
        self.entries: dict[str, dict[str, Any]] = {}

    def round(self, budgets: Sequence[float], evaluated: Sequence[Evaluation], reach: float = 1.0) -> None:
        """Measures who is nominated for ``budgets``, all in the same rounds, and holds all to them again."""
        self._measure(
            e
            for budget in budgets
            for e in _nominated(self.flow, evaluated, budget, reach * budget / self.error[budget])
        )
        self._hold(budgets)

    def fill(self, budgets: Sequence[float]) -> None:
        """Measures what the finalists that keep ``budgets`` are when they are grown, and holds all to them again."""
        found = [larger for budget in budgets for larger in self.grown(budget)]
        if not found:
            return
        said = ", ".join(f"{budget:g} ms" for budget in budgets)
        self.flow.progress.say(f"room is left under {said}: finalists are tried with larger sizes")
        tried = evaluate_these(self.flow, (larger.arch for larger in found))
        self._measure(tried)
        self._hold(budgets)
        percentile, drifts = self.flow.settings.percentile, defaultdict(list)
        taken = {e.arch: self.known[e.number].measurement.percentile_ms(percentile) for e in tried}
        for larger in found:
            drifts[larger.finalist].append(taken[larger.arch] / larger.expected_ms)
        for finalist, ratios in drifts.items():
            self.drift[finalist] = self.drift.get(finalist, 1.0) * float(np.median(ratios))

    def _measure(self, nominated: Iterable[Evaluation]) -> None:
        new = {e.number: e for e in nominated if e.number not in self.known}
        self.known |= {m.evaluation.number: m for m in _measure(self.flow, list(new.values()))}

    def _hold(self, budgets: Iterable[float]) -> None:
        for budget in budgets:
            self.entries[f"{budget:g}"] = entry = _held_to(self.flow, self.known.values(), budget)
            self.error[budget] = _error(entry["finalists"], budget / self.error[budget])

    def lacking(self) -> list[float]:
        return [budget for budget in self.flow.budgets if self._winner(budget) is None]

    def with_room(self) -> list[float]:
        """Budgets under which the search can go on: no winner comes near, though slower architectures are there.

        Not where each measurement is a walk to the device, nor where the time has been shared out.
        """
        flow = self.flow
        if flow.by_hand or flow.search_seconds is not None:
            return []
        return [budget for budget in flow.hard_budgets if self._has_room(budget)]

    def grown(self, budget: float) -> Iterator[Larger]:
        """The finalists of most MACs that keep the budget, made larger up to several shares of it.

        A finalist's own measurement says by how much the predictor is wrong about it, and what is much like it.
        Where less of something is asked for, there are none.
        """
        flow, known = self.flow, {m.evaluation.arch.digest for m in self.known.values()}
        keeping = [f for f in self.entries[f"{budget:g}"]["finalists"] if f["passes"]]
        for finalist in [] if flow.settings.minimise else sorted(keeping, key=lambda f: -f["macs"])[:GROWN]:
            number = finalist["number"]
            error = self.drift.get(number, 1.0) * finalist["latency_ms"] / finalist["predicted_ms"]
            for share in SHARES:
                arch = grown(
                    flow.space, Arch.from_json(finalist["arch"]), worth=_preference(flow),
                    fits=partial(_fits, flow, limit_ms=share * budget / error),
                )  # fmt: skip
                if arch.digest not in known:
                    yield Larger(arch, number, error * flow.predict_ms(arch))

    def _has_room(self, budget: float) -> bool:
        winner, error = self._winner(budget), self.error[budget]
        if winner is None:  # and not because nothing is that fast
            return error > 1 + ROOM and any(e.latency_ms <= budget / error for e in self.flow.evaluated)
        largest = self.flow.predict_ms(self.flow.space.extreme("largest"))
        slowest = min(budget, error * largest)
        return budget < largest and winner["latency_ms"] < (1 - ROOM) * slowest

    def _winner(self, budget: float) -> dict[str, Any] | None:
        return self.entries[f"{budget:g}"]["winner"]


def _fits(flow: Flow, arch: Arch, *, limit_ms: float) -> bool:
    return flow.predict_ms(arch) <= limit_ms and all(over <= 0 for over in flow.excess(arch).values())


def _error(finalists: Sequence[dict[str, Any]], limit_ms: float) -> float:
    """Of those that were predicted to be near ``limit_ms``, else of all."""
    ratios = [
        (f["latency_ms"] / f["predicted_ms"], NEAR * limit_ms <= f["predicted_ms"] <= REACH * limit_ms)
        for f in finalists
    ]
    near = [ratio for ratio, is_near in ratios if is_near] or [ratio for ratio, _ in ratios]
    return float(np.median(near)) if near else 1.0


def _places(flow: Flow) -> dict[str, float]:
    if not flow.evaluated:
        raise InputError(
            f"no architecture that was tried keeps {' and '.join(map(str, flow.limits))} together"
        )
    found = places(flow.evaluated, images=min(SEARCH_VAL_IMAGES, len(flow.data.val)))
    said = ", ".join(f"{name} {budget:g} ms" for name, budget in found.items())
    flow.progress.say(f"of the front are deployed: {said}")
    return found


def _nominated(
    flow: Flow, evaluated: Sequence[Evaluation], budget: float, limit_ms: float
) -> list[Evaluation]:
    """From those predicted to keep ``limit_ms``, which stands for the ``budget``."""
    if flow.settings.objective == "mnas":
        return nominate_by_reward(evaluated, budget, FINALISTS)
    return nominate(
        evaluated, limit_ms, FINALISTS, margin=flow.margin,
        images=min(SEARCH_VAL_IMAGES, len(flow.data.val)), preference=_preference(flow),
    )  # fmt: skip


def _preference(flow: Flow) -> Callable[[Arch], float]:
    """What decides between architectures that accuracy cannot tell apart: the more, the better."""
    if flow.settings.minimise:
        return lambda arch: -flow.minimised(arch)
    return lambda arch: predicted("macs", arch, flow.interface)


@dataclass(frozen=True, eq=False)
class Measured:
    """An exported architecture, and what it says of the validation images; ``cost`` and ``exceeds`` as of a Finalist."""

    evaluation: Evaluation
    macs: int
    measurement: Measurement
    logits: np.ndarray
    cost: float | None
    exceeds: tuple[str, ...]


def _measure(flow: Flow, nominated: list[Evaluation]) -> list[Measured]:
    if not nominated:
        return []
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{e.arch.digest}.onnx" for e in nominated]
        for evaluation, path in zip(nominated, paths, strict=True):
            flow.export(evaluation.arch, path)
        measurements = _measurements(flow, paths)
        return [_judged(flow, *of_one) for of_one in zip(nominated, paths, measurements, strict=True)]


def _measurements(flow: Flow, paths: Sequence[Path]) -> list[Measurement]:
    """Of files named by their architectures' digests: those that are written down are not measured again."""
    known = _written_down(flow.run.measured)
    new = [path for path in paths if path.stem not in known]
    if new:
        found = flow.meter(new, flow.target, progress=flow.progress, seed=flow.settings.seed)
        for path, measurement in zip(new, found, strict=True):
            append_jsonl(flow.run.measured, {"arch": path.stem, "measurement": measurement.to_json()})
            known[path.stem] = measurement
    return [known[path.stem] for path in paths]


def _written_down(measured: Path) -> dict[str, Measurement]:
    try:
        return {line["arch"]: Measurement.from_json(line["measurement"]) for line in read_lines(measured)}
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{measured} is damaged ({error!r}): delete it, and --resume measures again"
        ) from None


def _judged(flow: Flow, evaluation: Evaluation, path: Path, measurement: Measurement) -> Measured:
    """All that is known of an architecture that was exported to ``path``."""
    network = recalibrated(flow.supernet, evaluation.arch, flow.recalibration_batches)
    batches = (x for x, _ in flow.data.val.batches(512, device=flow.device))
    logits = predict(network, batches, evaluation.arch.resolution).cpu().numpy()
    shape = (flow.data.in_chans, evaluation.arch.resolution, evaluation.arch.resolution)
    minimise = flow.settings.minimise
    return Measured(
        evaluation, cost(network, shape).macs, measurement, logits,
        cost=measured(minimise, path, network, shape) if minimise else None,
        exceeds=exceeded(flow.limits, path, network, shape),
    )  # fmt: skip


def _held_to(flow: Flow, known: Iterable[Measured], budget: float) -> dict[str, Any]:
    """The finalists of one budget, and which of them wins."""
    settings = flow.settings
    labels = flow.data.val.labels.numpy()
    finalists = []
    for m in known:
        certificate = certify(
            m.measurement, budget, percentile=settings.percentile, confidence=settings.confidence
        )
        finalists.append(
            Finalist(
                m.evaluation,
                macs=m.macs,
                accuracy=score(m.logits, labels, metric=settings.metric),
                correct=m.logits.argmax(1) == labels,
                latency_ms=certificate.percentile_ms,
                passes=certificate.verdict == "pass" and not m.exceeds,
                p50_ms=m.measurement.p50_ms,
                p90_ms=m.measurement.p90_ms,
                aa_ratio=max(m.measurement.aa_ratios, key=lambda ratio: abs(ratio - 1)),
                reference_ms=m.measurement.reference_ms,
                cost=m.cost,
                exceeds=m.exceeds,
            )
        )
    mnas = settings.objective == "mnas"
    winner = winner_by_reward(finalists, budget) if mnas else choose_winner(finalists)
    return {
        "finalists": [to_json(f) for f in finalists],
        "winner": None if winner is None else to_json(winner),
    }
