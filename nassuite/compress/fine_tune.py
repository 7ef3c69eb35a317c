"""Quantisation-aware fine-tuning of an int8 file: its weights learn what rounding did to them."""

from __future__ import annotations

import onnx

from nassuite.compress.graph_module import GraphModule
from nassuite.data import Data, default_augment
from nassuite.progress import Progress
from nassuite.train.distill import SoftLabels, train_network
from nassuite.train.loop import Checkpoints, TrainConfig


def fine_tuned(
    int8: bytes,
    dense: bytes,
    data: Data,
    *,
    epochs: int,
    batch_size: int,
    lr: float,
    seed: int,
    device: str,
    checkpoints: Checkpoints,
    progress: Progress,
) -> bytes:
    """The int8 file after ``epochs`` of training with its own rounding in the forward pass.

    ``dense`` is the float32 file, which teaches: half of the loss are its soft labels for the very views. Scales and
    batch-norm statistics stay fixed, as they should towards the end of such a training (Krishnamoorthi 2018, section
    3.2). Raises NoTrainingForm for a graph with an operator that has none.
    """
    student = GraphModule(onnx.load_from_string(int8))
    teacher = GraphModule(onnx.load_from_string(dense)).requires_grad_(False)
    config = TrainConfig(
        epochs,
        batch_size,
        lr,
        weight_decay=0.0,
        label_smoothing=0.0,
        seed=seed,
        augment=default_augment(data),
    )
    train_network(
        student, data.train, config, resolution=data.size,
        soft_labels=SoftLabels(teacher, data.size, falling=False, cache=False),
        description="fine-tuning in int8", device=device, checkpoints=checkpoints, progress=progress,
    )  # fmt: skip
    return student.cpu().to_onnx()
