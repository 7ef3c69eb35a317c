"""The stages of a run up to its winners: latency, supernet, finalists. Each finds what of it is done."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nassuite.flow import Flow
from nassuite.latency.calibrate import Sample
from nassuite.latency.certificate import certify
from nassuite.latency.choosing import collect
from nassuite.latency.cost import cost
from nassuite.latency.kernels import layers
from nassuite.latency.meter import Measurement, normalised_ms
from nassuite.metrics import score
from nassuite.records import append_jsonl, write_json
from nassuite.run_directory import FileCheckpoints
from nassuite.search.driver import (
    Evaluation,
)
from nassuite.search.finalists import Finalist, choose_winner, nominate, to_json
from nassuite.spec import Arch
from nassuite.train.recalibrate import predict, recalibrated
from nassuite.train.sandwich import train_supernet

SEARCH_VAL_IMAGES = 2000
FINALISTS = 8
HOPELESS = 0.8
"""A budget below this fraction of the fastest architecture's latency is told to be so before any training."""


def calibrate(flow: Flow) -> None:
    """Measures architectures for the predictor, prints its held-out error, says which budgets are hopeless."""

    def save(sample: Sample) -> None:
        append_jsonl(flow.run.samples, sample.to_json())

    if flow.samples and flow.run.predictor.exists():
        return
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
    hopeless = [f"{budget:g} ms" for budget in flow.settings.budget_ms if budget < fastest * HOPELESS]
    if hopeless:
        flow.progress.say(
            f"nothing will keep {', '.join(hopeless)}: the fastest measured takes {fastest:.3g} ms"
        )
    bound = None
    if flow.settings.predicted_confidence:
        bound = {"probability": flow.settings.predicted_confidence, "margin": flow.margin}
    record = {"model": flow.predictor.model, "fitted_on": flow.predictor.fitted_on, "bound": bound}
    write_json(flow.run.predictor, {**record, **flow.predictor.error.to_json()})


def train_shared_weights(flow: Flow) -> None:
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
    )  # fmt: skip
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
    budgets = flow.settings.budget_ms
    measured: dict[int, Measured] = {}
    entries: dict[str, Any] = {}
    # Each round reaches lower, should the predictor have been too hopeful.
    for reach in (1.0, 0.92, 0.8, 0.6):
        lacking = [budget for budget in budgets if entries.get(f"{budget:g}", {}).get("winner") is None]
        nominated = {
            e.number: e
            for budget in lacking
            for e in nominate(
                flow.evaluated, budget * reach, FINALISTS, margin=flow.margin,
                images=min(SEARCH_VAL_IMAGES, len(flow.data.val)),
                macs=lambda arch: sum(layer.macs for layer in layers(arch, flow.data.in_chans)),
            )
        }  # fmt: skip
        new = [e for number, e in nominated.items() if number not in measured]
        measured |= {m.evaluation.number: m for m in _measure(flow, new)}
        for budget in lacking:
            entries[f"{budget:g}"] = _held_to(flow, measured.values(), budget)
    write_json(flow.run.finalists, entries)


@dataclass(frozen=True, eq=False)
class Measured:
    """An exported architecture, and what it says of the validation images."""

    evaluation: Evaluation
    macs: int
    measurement: Measurement
    logits: np.ndarray


def _measure(flow: Flow, nominated: Sequence[Evaluation]) -> list[Measured]:
    if not nominated:
        return []
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{e.arch.digest}.onnx" for e in nominated]
        for evaluation, path in zip(nominated, paths, strict=True):
            flow.export(evaluation.arch, path)
        measurements = flow.meter(paths, flow.target, progress=flow.progress, seed=flow.settings.seed)
    found = []
    for evaluation, measurement in zip(nominated, measurements, strict=True):
        network = recalibrated(flow.supernet, evaluation.arch, flow.recalibration_batches)
        batches = (x for x, _ in flow.data.val.batches(512, device=flow.device))
        logits = predict(network, batches, evaluation.arch.resolution).cpu().numpy()
        shape = (flow.data.in_chans, evaluation.arch.resolution, evaluation.arch.resolution)
        found.append(Measured(evaluation, cost(network, shape).macs, measurement, logits))
    return found


def _held_to(flow: Flow, measured: Iterable[Measured], budget: float) -> dict[str, Any]:
    """The finalists of one budget, and which of them wins."""
    settings = flow.settings
    labels = flow.data.val.labels.numpy()
    finalists = []
    for m in measured:
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
                passes=certificate.verdict == "pass",
                p50_ms=m.measurement.p50_ms,
                p90_ms=m.measurement.p90_ms,
                aa_ratio=max(m.measurement.aa_ratios, key=lambda ratio: abs(ratio - 1)),
            )
        )
    winner = choose_winner(finalists)
    return {
        "finalists": [to_json(f) for f in finalists],
        "winner": None if winner is None else to_json(winner),
    }
