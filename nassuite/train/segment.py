"""Training a segmentation network: a class for each pixel, judged by mean intersection over union."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nassuite.data.masks import MaskData, MaskSplit
from nassuite.data.pairs import IGNORE
from nassuite.errors import InputError
from nassuite.metrics import mean_iou, pixel_confusion
from nassuite.nn.network import Normalise
from nassuite.progress import SILENT, Progress
from nassuite.train.loop import Checkpoints, TrainConfig, train


def train_segmentation(
    network: nn.Module,
    data: MaskData,
    config: TrainConfig,
    *,
    description: str = "training",
    device: str = "cpu",
    checkpoints: Checkpoints | None = None,
    progress: Progress = SILENT,
) -> list[dict[str, float]]:
    """Trains ``network`` in place on ``data.train``; the log has ``val_miou``, 0..1, after each epoch.

    The network takes normalised images and gives logits (N, classes, h, w); maps smaller than the labels, as
    ESPNet-C's, are scaled up to them. Raises InputError for a network of fewer classes than the masks have.
    """
    network.to(device=device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    normalise = Normalise(data.mean, data.std).to(device)

    def backward(images: Tensor, labels: Tensor, step: int) -> float:
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            logits = network(normalise(images))
        logits = _at_size_of(labels, logits.float(), data.classes)
        loss = pixel_cross_entropy(logits, labels, label_smoothing=config.label_smoothing)
        loss.backward()
        return loss.item()

    def evaluated() -> dict[str, float]:
        confusion = segmentation_confusion(
            network, data, data.val, batch_size=config.batch_size, device=device
        )
        network.train()
        return {"val_miou": mean_iou(confusion)}

    log = train(
        network, data.train, config, backward,
        description=description, device=device, checkpoints=checkpoints, progress=progress,
        after_epoch=evaluated,
    )  # fmt: skip
    network.eval()
    return log


@torch.no_grad()
def segmentation_confusion(
    network: nn.Module, data: MaskData, split: MaskSplit, *, batch_size: int = 16, device: str = "cpu"
) -> np.ndarray:
    """int64 (classes, classes) over all pixels of ``split``, one of ``data``'s; leaves ``network`` in eval mode.

    ``mean_iou`` makes the figure of it. Pixels are those of the masks at ``data.size``.
    """
    network.to(device).eval()
    normalise = Normalise(data.mean, data.std).to(device)
    confusion: np.ndarray | None = None
    for images, labels in split.batches(batch_size, device=device):
        logits = _at_size_of(labels, network(normalise(images)).float(), data.classes)
        found = pixel_confusion(logits.argmax(1), labels, logits.shape[1], ignore=IGNORE)
        confusion = found if confusion is None else confusion + found
    assert confusion is not None, "a split has at least one image"
    return confusion


def pixel_cross_entropy(logits: Tensor, labels: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Mean over the pixels that are not ignored; 0, and not nan, for a batch in which all are."""
    total = F.cross_entropy(
        logits, labels, ignore_index=IGNORE, label_smoothing=label_smoothing, reduction="sum"
    )
    return total / (labels != IGNORE).sum().clamp(min=1)


def _at_size_of(labels: Tensor, logits: Tensor, classes: int) -> Tensor:
    if logits.shape[1] < classes:
        raise InputError(f"the network has {logits.shape[1]} classes, the masks {classes}")
    size = labels.shape[-2:]
    return logits if logits.shape[-2:] == size else F.interpolate(logits, size=size, mode="bilinear")
