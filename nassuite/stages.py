"""The stages of a run before its search: latency and supernet. Each finds what of it is done."""

from __future__ import annotations

import time
from typing import Any

from nassuite.checkpoints import FileCheckpoints
from nassuite.errors import InputError
from nassuite.flow import Flow
from nassuite.latency.calibrate import Sample
from nassuite.latency.choosing import collect
from nassuite.latency.meter import normalised_ms
from nassuite.metrics import score
from nassuite.records import append_jsonl, write_json
from nassuite.spec import Arch
from nassuite.train.recalibrate import predict, recalibrated
from nassuite.train.sandwich import train_supernet
from nassuite.train.team import ALONE, Team

FINALISTS = 8
HOPELESS = 0.8
"""A budget below this fraction of the fastest architecture's latency is told to be so before any training."""
MISTAKEN = 0.1
"""Where all are below this fraction, they were meant otherwise, and nothing is trained."""


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
    if flow.hard_budgets and max(flow.hard_budgets) < fastest * MISTAKEN:
        raise InputError(
            f"--budget-ms {' '.join(f'{budget:g}' for budget in flow.hard_budgets)}: budgets are in milliseconds, and the "
            f"fastest architecture measured takes {fastest:.3g} ms: start again with more than that"
        )
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


def train_shared_weights(flow: Flow, team: Team = ALONE) -> None:
    settings = flow.settings
    assert settings.epochs is not None
    ends = [flow.space.extreme(which) for which in ("largest", "smallest")]
    started = time.monotonic()

    def after_epoch() -> dict[str, float]:
        accuracies = [accuracy_of(flow, arch, flow.search_val) for arch in ends]
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
