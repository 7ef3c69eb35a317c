"""A segmentation network trained on images with masks: ``nassuite train espnet --data masks:DIR``."""

from __future__ import annotations

import re
import time
from pathlib import Path

from torch import nn

from nassuite.checkpoints import FileCheckpoints
from nassuite.data import Augment
from nassuite.data.masks import MaskData, load_masks
from nassuite.errors import InputError
from nassuite.latency.cost import cost
from nassuite.metrics import mean_iou
from nassuite.models import Description, make_network, save_model
from nassuite.nn.network import Normalised
from nassuite.onnx_export import export_onnx, onnx_bytes
from nassuite.progress import Progress
from nassuite.records import SCHEMA_VERSION, environment, write_json
from nassuite.settings import flag
from nassuite.train.segment import segmentation_confusion, train_segmentation
from nassuite.train_settings import TrainSettings
from nassuite.training_job import Job, seconds_before, train_config, with_device_and_lr
from nassuite.zoo.catalogue import NETWORKS
from nassuite.zoo.create import check_size, parse_model
from nassuite.zoo.weights import load_weights

MASKS = "masks:"
FOR_CLASSIFIERS = ("mixup", "cutmix", "teacher", "train_images")


def prepare_segmentation(settings: TrainSettings, progress: Progress) -> Job:
    """Reads images and masks, builds the network. Raises InputError for anything that does not fit."""
    for name in FOR_CLASSIFIERS:
        if getattr(settings, name):
            raise InputError(f"{flag(name)} is for classifiers, not for {MASKS}DIR")
    if settings.keep != "last":
        raise InputError(f"--keep {settings.keep} is for classifiers, not for {MASKS}DIR")
    if ":" not in settings.model and NETWORKS[parse_model(settings.model)[0]].kind != "segmentation":
        raise InputError(
            f"{settings.model} is no segmentation network: masks train espnet, espnet_c or espnetv2_seg"
        )
    data = load_masks(
        settings.data.removeprefix(MASKS),
        size=_size(settings.mask_size),
        seed=settings.seed,
        progress=progress,
    )
    settings = with_device_and_lr(settings)
    network = make_network(
        settings.model, num_classes=data.classes, in_chans=data.in_chans, seed=settings.seed
    )
    check_size(network, data.in_chans, data.size, settings.model)
    onnx_bytes(network, (data.in_chans, *data.size))  # what cannot be exported is not trained first
    if settings.init:
        for line in load_weights(network, settings.init, other_classes=True, verbose=progress.verbose):
            progress.say(f"--init {settings.init}: {line}")
    return Job(settings, data.digest, lambda out: _train(out, settings, data, network, progress))


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if match is None:
        raise InputError(f"--mask-size {text}: expected pixels, N or HEIGHTxWIDTH")
    return int(match[1]), int(match[2] or match[1])


def _train(
    out: Path, settings: TrainSettings, data: MaskData, network: nn.Module, progress: Progress
) -> None:
    before, started = seconds_before(out), time.monotonic()
    log = train_segmentation(
        network, data, train_config(settings, Augment()),
        description=settings.model, device=settings.device,
        checkpoints=FileCheckpoints(out / "checkpoint.safetensors"), progress=progress,
    )  # fmt: skip
    seconds = round(before + time.monotonic() - started, 1)
    write_json(out / "log.json", log)
    confusion = segmentation_confusion(network.cpu(), data, data.test)
    shape = (data.in_chans, *data.size)
    model = Normalised(network, data.mean, data.std).eval()
    description = Description(
        settings.model, data.classes, data.in_chans, max(data.size), data.mean, data.std,
        labels=tuple(str(number) for number in range(data.classes)),
    )  # fmt: skip
    save_model(out, model, description)
    export_onnx(model, out / "model.onnx", input_shape=shape)
    counted = cost(model, shape)
    result = {
        "schema_version": SCHEMA_VERSION,
        "params": counted.params,
        "macs": counted.macs,
        "val": log[-1]["val_miou"],
        "test": {"miou": mean_iou(confusion), "n": len(data.test), "confusion": confusion.tolist()},
        "seconds": seconds,
        "environment": environment(),
    }
    write_json(out / "result.json", result)
