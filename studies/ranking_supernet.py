"""How ranking.py trains a supernet, and asks it what an architecture inherits."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ranking_ablations import ABLATIONS, Ablation
from ranking_truth import Truth
from torch import Tensor, nn
from torch.nn import functional as F

from nassuite.checkpoints import FileCheckpoints
from nassuite.data import Data, default_augment
from nassuite.latency.footprint import predicted
from nassuite.metrics import score
from nassuite.nn.network import Interface
from nassuite.nn.supernet import Supernet
from nassuite.progress import Progress
from nassuite.records import write_json
from nassuite.space import Space
from nassuite.spec import Arch
from nassuite.train.loop import TrainConfig, steps_per_epoch
from nassuite.train.recalibrate import predict, recalibrated
from nassuite.train.sandwich import draw_sandwich, train_supernet

REFIT_IMAGES, REFIT_STEPS, REFIT_PULL = 2048, 20, 1e-3
COUNTED_STEPS = 40


@dataclass(frozen=True)
class Study:
    """What all ablations share. ``data`` has the audit's training images, ``epochs`` is --epochs."""

    truth: Truth
    space: Space
    data: Data
    epochs: int
    seed: int
    work: Path
    progress: Progress

    @property
    def interface(self) -> Interface:
        return Interface(self.data.in_chans, len(self.data.labels), self.data.mean, self.data.std)

    @cached_property
    def val(self) -> list[Tensor]:
        return [images for images, _ in self.data.val.batches(500)]

    def train_batches(self, count: int) -> list[tuple[Tensor, Tensor]]:
        subset = self.data.train.subset(min(count, len(self.data.train) // 2), seed=self.seed)
        return list(subset.batches(256))

    def macs(self, arch: Arch) -> float:
        return predicted("macs", arch, self.interface)

    def within(self, ablation: Ablation) -> Callable[[Arch], bool] | None:
        most = self.truth.facts["most_macs"]
        return (lambda arch: self.macs(arch) <= most) if ablation.within else None

    def config(self, ablation: Ablation) -> TrainConfig:
        return TrainConfig(
            max(1, round(self.epochs * ablation.epochs)), ablation.batch_size, ablation.lr, seed=self.seed,
            ema=ablation.ema, augment=default_augment(self.data),
        )  # fmt: skip


def folder_of(name: str) -> str:
    """Of an ablation, under --work."""
    return name.replace(", ", "-").replace(" ", "_")


def supernet_of(study: Study, name: str) -> Supernet:
    """Trained; that of another ablation where this one only reads it. Raises FloatingPointError where it diverges."""
    ablation = ABLATIONS[name]
    if ablation.supernet:
        return supernet_of(study, ablation.supernet)
    supernet = Supernet(study.space, study.interface, seed=study.seed)
    checkpoints = FileCheckpoints(study.work / folder_of(name) / "checkpoint.safetensors")
    meta = checkpoints.meta()
    before = meta["log"][-1]["cpu_seconds"] if meta and meta["log"] else 0.0
    started = time.process_time()
    log = train_supernet(
        supernet, study.data.train, study.config(ablation),
        sandwich=ablation.sandwich, within=study.within(ablation), checkpoints=checkpoints, progress=study.progress,
        after_epoch=lambda: {"cpu_seconds": round(before + time.process_time() - started, 1)},
    )  # fmt: skip
    write_json(study.work / folder_of(name) / "log.json", log)
    return supernet


def macs_a_step(study: Study, ablation: Ablation) -> float:
    """Of the forward passes of all subnets for one image: a mean over the first steps."""
    within, config = study.within(ablation), study.config(ablation)
    steps = min(COUNTED_STEPS, config.epochs * steps_per_epoch(config, study.data.train))
    sums = [
        sum(map(study.macs, draw_sandwich(study.space, random.Random(f"{config.seed}/{step}"), ablation.sandwich, within=within)))
        for step in range(steps)
    ]  # fmt: skip
    return float(np.mean(sums))


def scores_of(study: Study, supernet: Supernet, arch: Arch, ablation: Ablation) -> dict[str, float]:
    """What an architecture inherits, by every reading; validation images. Raises FloatingPointError for no numbers."""
    batches = [images for images, _ in study.train_batches(ablation.recalibration)]
    network = recalibrated(supernet, arch, batches)
    head: Any = network.head
    classifier, head.classifier = head.classifier, nn.Identity()
    seen = predict(network, study.val, arch.resolution)
    if not seen.isfinite().all():
        raise FloatingPointError(f"what {arch} inherits is not finite")
    told = study.train_batches(REFIT_IMAGES)
    known = predict(network, (images for images, _ in told), arch.resolution)
    fitted = refit(classifier, known, torch.cat([labels for _, labels in told]))
    labels, metric = study.data.val.labels, study.truth.facts["metric"]
    with torch.no_grad():
        logits, own = classifier(seen), fitted(seen)
    right = F.softmax(logits, 1).gather(1, labels[:, None]).mean()
    return {
        "accuracy": float(score(logits, labels, metric=metric)),
        "probability": round(float(right), 5),
        "refit": float(score(own, labels, metric=metric)),
    }


def refit(classifier: nn.Linear, features: Tensor, labels: Tensor) -> nn.Linear:
    """The classifier fitted to ``features`` (N, F): some steps of L-BFGS from what it was, pulled back to that."""
    fresh = deepcopy(classifier)
    pairs = list(zip(fresh.parameters(), classifier.parameters(), strict=True))
    optimiser = torch.optim.LBFGS(
        fresh.parameters(), max_iter=REFIT_STEPS, line_search_fn="strong_wolfe"
    )  # fmt: skip

    def closure() -> Tensor:
        optimiser.zero_grad()
        drift = torch.stack([(one - other.detach()).square().sum() for one, other in pairs]).sum()
        loss = F.cross_entropy(fresh(features), labels) + REFIT_PULL * drift
        loss.backward()
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return fresh
