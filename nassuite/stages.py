"""The stages of a run up to its winners: latency, supernet, finalists. Each finds what of it is done."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nassuite.errors import InputError
from nassuite.flow import Flow
from nassuite.latency.calibrate import Sample
from nassuite.latency.certificate import certify
from nassuite.latency.choosing import collect
from nassuite.latency.cost import cost
from nassuite.latency.footprint import exceeded, measured, predicted
from nassuite.latency.meter import CALIBRATION, Measurement, normalised_ms
from nassuite.metrics import score
from nassuite.records import append_jsonl, write_json
from nassuite.run_directory import FileCheckpoints
from nassuite.search.driver import Evaluation
from nassuite.search.finalists import (
    Finalist,
    choose_winner,
    nominate,
    nominate_by_reward,
    places,
    to_json,
    winner_by_reward,
)  # fmt: skip
from nassuite.spec import Arch
from nassuite.train.recalibrate import predict, recalibrated
from nassuite.train.sandwich import train_supernet
from nassuite.train.team import ALONE, Team

SEARCH_VAL_IMAGES = 2000
FINALISTS = 8
PACE = dataclasses.replace(CALIBRATION, processes=3)
PACE_SAID = 1.05
HOPELESS = 0.8
"""A budget below this fraction of the fastest architecture's latency is told to be so before any training."""


def calibrate(flow: Flow) -> None:
    """Measures architectures for the predictor, prints its held-out error, says which budgets are hopeless."""

    def save(sample: Sample) -> None:
        append_jsonl(flow.run.samples, sample.to_json())

    if flow.samples and flow.run.predictor.exists():
        return
    assert flow.settings.calibration is not None
    if flow.by_hand:
        known = {sample.arch for sample in flow.samples}
        for sample in flow.samples_of_device():
            if sample.arch not in known:
                save(sample)
        flow.__dict__.pop("samples", None)  # read again, now with the new ones
    else:
        flow.samples = collect(
            flow.space, flow.export, flow.meter, flow.target,
            most=flow.settings.calibration, seed=flow.settings.seed, in_chans=flow.data.in_chans,
            known=flow.samples, save=save, progress=flow.progress,
        )  # fmt: skip
    flow.progress.say(f"latency predictor ({flow.predictor.model}): {flow.predictor.error}")
    fastest = min(normalised_ms(flow.samples))
    hopeless = [f"{budget:g} ms" for budget in flow.hard_budgets if budget < fastest * HOPELESS]
    if hopeless:
        flow.progress.say(
            f"nothing will keep {', '.join(hopeless)}: the fastest measured takes {fastest:.3g} ms"
        )
    bound = None
    if flow.settings.predicted_confidence:
        bound = {"probability": flow.settings.predicted_confidence, "margin": flow.margin}
    record = {"model": flow.predictor.model, "fitted_on": flow.predictor.fitted_on, "bound": bound}
    write_json(flow.run.predictor, {**record, **flow.predictor.error.to_json()})


def follow_pace(flow: Flow) -> None:
    """Brings predictions to the speed of the machine as it is now.

    An hour of training may lie behind the calibration, or, on another run's samples, a week: what a machine
    shares with others, or its clock, may have made it 1.5 times as slow. Not measured where somebody has
    to carry the model to the device.
    """
    if flow.by_hand or flow.run.pace.exists() or flow.run.journal.exists():
        return
    arch = min(flow.samples, key=lambda sample: sample.ratio).arch
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        flow.export(arch, path)
        (now,) = flow.meter([path], flow.target, sampling=PACE, seed=flow.settings.seed)
    pace = now.reference_ms / float(np.median([sample.reference_ms for sample in flow.samples]))
    write_json(flow.run.pace, {"pace": pace, "reference_ms": now.reference_ms})
    flow.__dict__.pop("pace", None)  # read again
    if not 1 / PACE_SAID < pace < PACE_SAID:
        flow.progress.say(
            f"this machine now takes {pace:.2f} times as long as when it was calibrated: predictions follow"
        )


def train_shared_weights(flow: Flow, team: Team = ALONE) -> None:
    settings = flow.settings
    assert settings.epochs is not None
    val = flow.data.val.subset(SEARCH_VAL_IMAGES, seed=settings.seed)
    ends = [flow.space.extreme(which) for which in ("largest", "smallest")]
    started = time.monotonic()

    def after_epoch() -> dict[str, float]:
        accuracies = [accuracy_of(flow, arch, val.to(flow.device)) for arch in ends]
        seconds = round(time.monotonic() - started, 1)
        return {"val_largest": accuracies[0], "val_smallest": accuracies[1], "seconds": seconds}

    config = flow.training(settings.epochs, settings.lr, settings.seed)
    log = train_supernet(
        flow.supernet, flow.data.train, config,
        device=flow.device, class_weights=flow.class_weights,
        checkpoints=FileCheckpoints(flow.run.supernet), progress=flow.progress, after_epoch=after_epoch,
        team=team,
    )  # fmt: skip
    if team.leads:
        write_json(flow.run.root / "supernet" / "log.json", log)


def accuracy_of(flow: Flow, arch: Arch, val: Any) -> float:
    """Inherited validation accuracy of one architecture, by the run's metric."""
    network = recalibrated(flow.supernet, arch, flow.recalibration_batches)
    logits = predict(network, (x for x, _ in val.batches(512, device=flow.device)), arch.resolution)
    return score(logits, val.labels, metric=flow.settings.metric)


def measure_finalists(flow: Flow) -> None:
    """Exports and measures the most accurate architectures around each budget, and picks the winners."""
    if flow.run.finalists.exists():
        return
    if flow.settings.objective == "pareto" and not flow.run.places.exists():
        write_json(flow.run.places, _places(flow))
    known: dict[int, Measured] = {}
    entries: dict[str, Any] = {}
    # Each round reaches lower, should the predictor have been too hopeful.
    for reach in (1.0, 0.92, 0.8, 0.6):
        lacking = [budget for budget in flow.budgets if entries.get(f"{budget:g}", {}).get("winner") is None]
        nominated = {e.number: e for budget in lacking for e in _nominated(flow, budget, reach)}
        new = [e for number, e in nominated.items() if number not in known]
        known |= {m.evaluation.number: m for m in _measure(flow, new)}
        for budget in lacking:
            entries[f"{budget:g}"] = _held_to(flow, known.values(), budget)
    write_json(flow.run.finalists, entries)


def _places(flow: Flow) -> dict[str, float]:
    if not flow.evaluated:
        raise InputError(
            f"no architecture that was tried keeps {' and '.join(map(str, flow.limits))} together"
        )
    found = places(flow.evaluated, images=min(SEARCH_VAL_IMAGES, len(flow.data.val)))
    said = ", ".join(f"{name} {budget:g} ms" for name, budget in found.items())
    flow.progress.say(f"of the front are deployed: {said}")
    return found


def _nominated(flow: Flow, budget: float, reach: float) -> list[Evaluation]:
    if flow.settings.objective == "mnas":
        return nominate_by_reward(flow.evaluated, budget, FINALISTS)
    return nominate(
        flow.evaluated, budget * reach, FINALISTS, margin=flow.margin,
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


def _measure(flow: Flow, nominated: Sequence[Evaluation]) -> list[Measured]:
    if not nominated:
        return []
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{e.arch.digest}.onnx" for e in nominated]
        for evaluation, path in zip(nominated, paths, strict=True):
            flow.export(evaluation.arch, path)
        measurements = flow.meter(paths, flow.target, progress=flow.progress, seed=flow.settings.seed)
        return [_judged(flow, *of_one) for of_one in zip(nominated, paths, measurements, strict=True)]


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
