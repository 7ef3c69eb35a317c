"""From a winner to files: distilled, pruned, quantised, exported, measured, and chosen between."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nassuite.compress.prune import PruneConfig, PruneRecord, prove, prune_proven
from nassuite.compress.quantize import quantize_best
from nassuite.data import Data, Split
from nassuite.latency.certificate import Certificate, certify
from nassuite.latency.choice import agreement, logits_in
from nassuite.latency.cost import cost
from nassuite.latency.footprint import Limit, exceeded
from nassuite.latency.kernels import BLOCK
from nassuite.latency.meter import Meter
from nassuite.latency.target import Target
from nassuite.metrics import evaluation, score
from nassuite.nn.network import Network
from nassuite.nn.supernet import Supernet
from nassuite.onnx_export import Parity, export_onnx, export_torch, onnx_parity, run_onnx
from nassuite.progress import Progress
from nassuite.records import write_bytes
from nassuite.search.finalists import reward
from nassuite.spec import Arch
from nassuite.train.distill import SoftLabels, train_network
from nassuite.train.loop import Checkpoints, TrainConfig
from nassuite.train.recalibrate import predict, recalibrated

CALIBRATION_IMAGES = 256
NOISY_ATTEMPTS = 3
PARITY_IMAGES = 256


@dataclass(frozen=True)
class Teacher:
    """The supernet's largest network, in the operators that do best on validation images."""

    arch: Arch
    network: Network
    accuracy: float


@dataclass(frozen=True)
class Variant:
    """One exported file of a winner, and what validation and the meter say of it; ``exceeds``: which limits it is over."""

    name: str
    path: Path
    network: nn.Module
    parity: Parity
    val_score: float
    certificate: Certificate | None = None
    notes: str = ""
    exceeds: tuple[str, ...] = ()


def choose_teacher(supernet: Supernet, batches: Sequence[Tensor], val: Split, *, metric: str) -> Teacher:
    """The best of the largest networks, one for each operator."""
    found = []
    images = [x for x, _ in val.batches(256)]
    for operator in supernet.space.operators:
        arch = supernet.space.extreme("largest", operator)
        network = recalibrated(supernet, arch, batches)
        accuracy = score(predict(network, images, arch.resolution), val.labels, metric=metric)
        found.append(Teacher(arch, network, accuracy))
    return max(found, key=lambda teacher: teacher.accuracy)


def distil(
    network: nn.Module,
    arch: Arch,
    data: Data,
    config: TrainConfig,
    *,
    soft_labels: SoftLabels | None,
    device: str,
    class_weights: Tensor | None,
    checkpoints: Checkpoints,
    progress: Progress,
    description: str,
) -> nn.Module:
    """Trains ``network`` in place, with a teacher's soft labels or none; it ends on the CPU in evaluation mode."""
    if config.epochs > 0:
        train_network(
            network, data.train, config,
            resolution=arch.resolution,
            soft_labels=soft_labels,
            description=description, device=device, class_weights=class_weights,
            checkpoints=checkpoints, progress=progress,
        )  # fmt: skip
    return network.cpu().eval()


def prune_winner(
    network: nn.Module,
    arch: Arch,
    data: Data,
    ratio: float,
    *,
    meter: Meter | None,
    target: Target,
    seed: int,
) -> tuple[nn.Module, PruneRecord]:
    """Removes ``ratio`` of the channels that can go, proven equal to the masked network; more if that is no faster.

    Fewer MACs are often no fewer milliseconds, so each attempt is measured beside the dense network. The
    first that is faster by more than the measurement's noise is kept, else the first of all. Without a
    ``meter`` the first is taken unseen.
    """
    sized = data.resized(arch.resolution)
    example = next(sized.val.batches(8, channels_last=False))[0]
    shape = (sized.in_chans, arch.resolution, arch.resolution)
    attempts = []
    proven = prove(network, PruneConfig(ratio, align=BLOCK), example=example)
    for harder in (ratio, (1 + ratio) / 2, (3 + ratio) / 4):
        pruned, record = prune_proven(proven, PruneConfig(harder, align=BLOCK))
        attempts.append((pruned, record))
        if meter is None:
            break
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / "dense.onnx", Path(folder) / "pruned.onnx"]
            for path, model in zip(paths, (network, pruned), strict=True):
                export_onnx(model, path, input_shape=shape, check=False)
            dense_time, pruned_time = meter(paths, target, seed=seed)
        if pruned_time.ratio_high < dense_time.ratio_low:
            return attempts[-1]
    return attempts[0]


def export_variants(
    networks: Mapping[str, nn.Module],
    arch: Arch,
    data: Data,
    folder: Path,
    *,
    metric: str,
    progress: Progress,
) -> list[Variant]:
    """The float ``networks`` ("fp32" is the dense one) as they are and in int8; each compared with its PyTorch network."""
    sized = data.resized(arch.resolution)
    shape = (sized.in_chans, arch.resolution, arch.resolution)
    val = evaluation_images(sized.val)
    labels = sized.val.labels.numpy()
    calibration = evaluation_images(sized.train.subset(CALIBRATION_IMAGES, seed=0))
    parity_images = torch.from_numpy(val[:PARITY_IMAGES])
    variants = []
    for name, network in progress.track(list(networks.items()), "exporting and quantising", unit="networks"):
        path = folder / f"model.{name}.onnx"
        parity = export_onnx(network, path, input_shape=shape, images=parity_images)
        variants.append(
            Variant(name, path, network, parity, score(run_onnx(path, val), labels, metric=metric))
        )
        int8 = folder / (f"model.{name}.int8.onnx" if name != "fp32" else "model.int8.onnx")
        config, scores = quantize_best(
            path, int8, calibration, score=lambda file: score(run_onnx(file, val), labels, metric=metric)
        )
        parity = onnx_parity(network, int8, input_shape=shape, images=parity_images, tolerance=float("inf"))
        kept = f", {', '.join(config.exclude)} in float32" if config.exclude else ""
        variants.append(
            Variant(
                "int8" if name == "fp32" else f"{name}-int8", int8, network, parity, scores[config],
                notes=f"static quantisation, {config.method} calibration{kept}",
            )
        )  # fmt: skip
    return variants


def scored_in(
    target: Target, variants: Sequence[Variant], arch: Arch, data: Data, *, metric: str
) -> list[Variant]:
    """Validation scores as the target's runtime computes, where that is not what computed them first."""
    if target.computes_as_onnxruntime:
        return list(variants)
    sized = data.resized(arch.resolution)
    images, labels = evaluation_images(sized.val), sized.val.labels.numpy()
    scored = []
    for variant in variants:
        logits = logits_in(target, variant.path, images)
        agreed = agreement(logits, run_onnx(variant.path, images), known=True)
        notes = "; ".join(filter(None, [variant.notes, f"in {target}: {agreed}"]))
        scored.append(replace(variant, val_score=score(logits, labels, metric=metric), notes=notes))
    return scored


def limited(
    variants: Sequence[Variant], limits: Sequence[Limit], shape: tuple[int, int, int]
) -> list[Variant]:
    """The same, each with the limits that its file is over."""
    return [
        replace(variant, exceeds=exceeded(limits, variant.path, variant.network, shape))
        for variant in variants
    ]


def certify_variants(
    variants: Sequence[Variant], budget_ms: float, meter: Meter, target: Target, *,
    percentile: int, confidence: float, progress: Progress, seed: int,
) -> list[Variant]:  # fmt: skip
    """Measures all files in the same rounds and holds each to the budget; what is too noisy, again."""
    certified = list(variants)
    for attempt in range(NOISY_ATTEMPTS):
        open_ = [
            n
            for n, v in enumerate(certified)
            if v.certificate is None or v.certificate.verdict == "too noisy"
        ]
        if not open_:
            break
        paths = [variants[n].path for n in open_]
        measurements = meter(paths, target, progress=progress, seed=seed + attempt)
        for n, measurement in zip(open_, measurements, strict=True):
            certificate = certify(measurement, budget_ms, percentile=percentile, confidence=confidence)
            certified[n] = replace(variants[n], certificate=certificate)
    return certified


def choose_variant(variants: Sequence[Variant], *, soft: bool = False) -> Variant | None:
    """The one that validation prefers among those whose certificate is a pass, within all limits; the faster of equals.

    Where the budget is ``soft``, the one of most reward (``search.finalists.reward``) among those within the limits.
    """

    def preference(variant: Variant) -> tuple[float, float]:
        assert variant.certificate is not None
        latency_ms = variant.certificate.percentile_ms
        value = variant.val_score
        if soft:
            value = reward(value, latency_ms, variant.certificate.budget_ms)
        return value, -latency_ms

    passing = [
        v
        for v in variants
        if v.certificate is not None and not v.exceeds and (soft or v.certificate.verdict == "pass")
    ]
    return max(passing, key=preference, default=None)


def read_test(
    variant: Variant, test_images: np.ndarray, test_labels: np.ndarray, *,
    target: Target, metric: str, classes: int,
) -> dict[str, Any]:  # fmt: skip
    """What the file does on the test images in its runtime: score, interval of top-1, confusion matrix."""
    logits = logits_in(target, variant.path, test_images)
    return evaluation(logits, test_labels, metric=metric, classes=classes)


def variant_record(
    variant: Variant, test: dict[str, Any], *, chosen: bool, shape: tuple[int, int, int]
) -> dict[str, Any]:
    """A row of the card: the file of ``variant``, measured and evaluated; ``test`` is as of ``read_test``, ``shape`` (C, H, W)."""
    assert variant.certificate is not None
    counted = cost(variant.network, shape)
    certificate = variant.certificate
    return {
        "name": variant.name,
        "file": variant.path.name,
        "sha256": certificate.measurement.sha256,
        "size_bytes": variant.path.stat().st_size,
        "params": counted.params,
        "macs": counted.macs,
        "p50_ms": certificate.measurement.p50_ms,
        "p90_ms": certificate.measurement.p90_ms,
        "min_ms": certificate.measurement.min_ms,
        "reference_ms": certificate.measurement.reference_ms,
        "aa_ratios": list(certificate.measurement.aa_ratios),
        "verdict": certificate.verdict,
        "val_accuracy": variant.val_score,
        "test": test,
        "parity": variant.parity.to_json(),
        "chosen": chosen,
        "notes": "; ".join(filter(None, [variant.notes, *variant.exceeds])),
    }


def evaluation_images(split: Split) -> np.ndarray:
    """float32 (N, C, H, W) in 0..1, in order."""
    return np.concatenate([x.numpy() for x, _ in split.batches(512, channels_last=False)])


def copy_chosen(variant: Variant, folder: Path, shape: tuple[int, int, int]) -> None:
    """``model.onnx`` is the chosen file, ``model.pt2`` its network (in float32 where the file is int8)."""
    write_bytes(folder / "model.onnx", variant.path.read_bytes())
    export_torch(copy.deepcopy(variant.network), folder / "model.pt2", input_shape=shape)
