"""A classifier trained on one data set: what ``nassuite train`` runs for labelled images."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any, cast

import torch

from nassuite.blocks.layers import zero_last_batch_norms
from nassuite.blocks.learned_group_conv import convert, has_learned_groups
from nassuite.data import Data, DataConfig, Split, default_augment, load_data
from nassuite.errors import InputError
from nassuite.export import export_onnx, onnx_bytes, run_onnx
from nassuite.latency.choice import logits_in
from nassuite.latency.cost import cost
from nassuite.latency.target import Target
from nassuite.metrics import binomial_interval, class_weights, confusion_matrix, score
from nassuite.models import Description, load_model, make_network, read_description, save_model
from nassuite.nn.network import Normalised
from nassuite.progress import Progress
from nassuite.records import SCHEMA_VERSION, environment, write_json, write_text
from nassuite.run_directory import FileCheckpoints
from nassuite.train.distill import SoftLabels, train_network
from nassuite.train.recalibrate import predict
from nassuite.train_settings import TrainSettings
from nassuite.training_job import Job, seconds_before, train_config, with_device_and_lr
from nassuite.zoo.catalogue import NETWORKS
from nassuite.zoo.create import check_size, options, parse_model
from nassuite.zoo.weights import load_weights

SMALL_IMAGES = 64
"""Up to this size a network whose stem can have stride 1 has it, unless the user says otherwise."""


def prepare_classifier(settings: TrainSettings, progress: Progress) -> Job:
    """Reads the images, builds the network and its teacher. Raises InputError for anything that does not fit."""
    check_kind(settings.model, "train")
    data = load_data(
        DataConfig(settings.data, size=settings.size, seed=settings.seed, train_images=settings.train_images),
        progress=progress,
    )
    settings = _resolved(settings, data, progress)
    model = _network(settings, data, progress)
    teacher = _teacher(settings, data)
    onnx_bytes(model, (data.in_chans, data.size, data.size))  # what cannot be exported is not trained first

    def train(out: Path) -> None:
        _train(out, settings, data, model, soft_labels=teacher, progress=progress)

    return Job(settings, data.digest, train)


def _resolved(settings: TrainSettings, data: Data, progress: Progress) -> TrainSettings:
    model = for_images(settings.model, data.size)
    if model != settings.model:
        progress.say(f"{model}, because the images have {data.size} pixels")
    learning = for_training(model)
    if learning != model:
        progress.say(f"{learning} while it trains, converted when it is done")
    model = learning
    return dataclasses.replace(with_device_and_lr(settings), model=model, size=data.size)


def for_images(model: str, size: int) -> str:
    """The network in its form for images of ``size`` pixels, as a user would type it."""
    return model if size > SMALL_IMAGES else _with_option(model, "stem_stride", 1)


def for_training(model: str) -> str:
    """The network in the form that learns its groups, where it has one (CondenseNet), as a user would type it."""
    return _with_option(model, "converted", False)


def _with_option(model: str, option: str, value: Any) -> str:
    """``model`` with ``option``, where the network has that and the user has not said otherwise."""
    if ":" in model:
        return model
    name, config = parse_model(model)
    if option in config or option not in options(NETWORKS[name]):
        return model
    return _typed(name, {**config, option: value})


def _typed(name: str, config: dict[str, Any]) -> str:
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in config.items())})" if config else name


def _as_it_runs(model: str, network: Normalised) -> tuple[str, Normalised]:
    """Name and network, with learned groups made usual ones."""
    if not has_learned_groups(network) or ":" in model:
        return model, network
    name, config = parse_model(model)
    network = cast(Normalised, convert(network))
    return _typed(name, {key: value for key, value in config.items() if key != "converted"}), network


def check_kind(model: str, command: str) -> None:
    """Raises InputError for a network of the zoo that is no classifier."""
    kind = "classification" if ":" in model else NETWORKS[parse_model(model)[0]].kind
    if kind != "classification":
        raise InputError(f"{model} is a {kind} network: nassuite {command} takes classifiers")


def _network(settings: TrainSettings, data: Data, progress: Progress) -> Normalised:
    network = make_network(
        settings.model, num_classes=len(data.labels), in_chans=data.in_chans, seed=settings.seed
    )
    check_size(network, data.in_chans, (data.size, data.size), settings.model)
    if settings.zero_gamma == "on":
        zero_last_batch_norms(network)
    model = Normalised(network, data.mean, data.std)
    if settings.init:
        init = Path(settings.init)
        source = init / "model.safetensors" if init.is_dir() else init
        for line in load_weights(network, source, other_classes=True, verbose=progress.verbose):
            progress.say(f"--init {init}: {line}")
    return model


def _teacher(settings: TrainSettings, data: Data) -> SoftLabels | None:
    if settings.teacher is None:
        return None
    folder = Path(settings.teacher)
    description = read_description(folder)
    same_labels(description, data, f"--teacher {folder}", settings.data)
    return SoftLabels(load_model(folder), description.size)


def _train(
    out: Path,
    settings: TrainSettings,
    data: Data,
    model: Normalised,
    *,
    soft_labels: SoftLabels | None,
    progress: Progress,
) -> None:
    weights = class_weights(data.train.labels, settings.class_weights, classes=len(data.labels))
    config = train_config(settings, default_augment(data))
    val = data.val.to(settings.device)
    before = seconds_before(out)
    started = time.monotonic()

    def after_epoch() -> dict[str, float]:
        logits = predict(model, (x for x, _ in val.batches(512, device=settings.device)))
        accuracy = score(logits, val.labels, metric=settings.metric)
        return {"val": accuracy, "seconds": round(before + time.monotonic() - started, 1)}

    log = train_network(
        model, data.train, config,
        resolution=data.size, soft_labels=soft_labels, description=settings.model,
        device=settings.device, class_weights=None if weights is None else weights.to(settings.device),
        checkpoints=FileCheckpoints(out / "checkpoint.safetensors"), progress=progress, after_epoch=after_epoch,
    )  # fmt: skip
    write_json(out / "log.json", log)
    _finish(out, settings, data, model.cpu().eval(), log)


def _finish(
    out: Path, settings: TrainSettings, data: Data, model: Normalised, log: list[dict[str, float]]
) -> None:
    """The model's files; what is said of it on test is what its ONNX file says."""
    shape = (data.in_chans, data.size, data.size)
    name, model = _as_it_runs(settings.model, model)
    save_model(
        out, model,
        Description(
            name, len(data.labels), data.in_chans, data.size, data.mean, data.std, data.labels,
            trained_on={"name": settings.data, "seed": settings.seed, "train_images": settings.train_images},
        ),
    )  # fmt: skip
    images = next(data.val.batches(256, channels_last=False))[0]
    export_onnx(model, out / "model.onnx", input_shape=shape, images=images)
    write_text(out / "labels.txt", "".join(f"{label}\n" for label in data.labels))
    counted = cost(model, shape)
    result = {
        "schema_version": SCHEMA_VERSION,
        "params": counted.params,
        "macs": counted.macs,
        "val": log[-1]["val"],
        "test": evaluate_file(out / "model.onnx", data.test, metric=settings.metric),
        "seconds": log[-1]["seconds"],
        "environment": environment(),
    }
    write_json(out / "result.json", result)


def evaluate_file(
    path: Path, split: Split, *, metric: str = "top1", target: Target | None = None
) -> dict[str, Any]:
    """What an ONNX file says of a split: accuracy by ``metric``, top-1 counts with their 95 % interval, confusion.

    ``target`` names the runtime that computes it, if not ONNX Runtime in full precision.
    """
    images = torch.cat([x for x, _ in split.batches(512, channels_last=False)]).numpy()
    labels = split.labels.numpy()
    logits = run_onnx(path, images) if target is None else logits_in(target, path, images)
    correct = int((logits.argmax(1) == labels).sum())
    return {
        "accuracy": score(logits, labels, metric=metric),
        "correct": correct,
        "n": len(labels),
        "interval": list(binomial_interval(correct, len(labels))),
        "confusion": confusion_matrix(logits, labels, classes=split.classes).tolist(),
    }


def same_labels(description: Description, data: Data, model: str, name: str) -> None:
    """Raises InputError if a trained model is for other classes or channels than the data has."""
    if description.labels != data.labels or description.in_chans != data.in_chans:
        raise InputError(f"{model} was trained for other classes or channels than {name} has")
