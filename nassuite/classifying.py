"""A classifier trained on one data set: what ``nassuite train`` runs for labelled images."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nassuite.blocks.layers import zero_last_batch_norms
from nassuite.blocks.learned_group_conv import convert, has_learned_groups
from nassuite.card import confusion_lines, hash_lines, interface_lines, limit_lines, write_card
from nassuite.checkpoints import FileCheckpoints
from nassuite.data import Data, DataConfig, Split, default_augment, load_data
from nassuite.errors import InputError
from nassuite.latency.choice import logits_in
from nassuite.latency.cost import cost
from nassuite.latency.target import Target
from nassuite.metrics import binomial_interval, class_weights, evaluation, score
from nassuite.models import (
    Description,
    check_classifier,
    load_model,
    make_network,
    read_description,
    save_model,
)
from nassuite.named_network import named_network
from nassuite.nn.network import Normalised
from nassuite.onnx_export import export_onnx, onnx_bytes, run_onnx
from nassuite.progress import Progress
from nassuite.records import SCHEMA_VERSION, environment, write_json
from nassuite.train.distill import SoftLabels, train_network
from nassuite.train.loop import Checkpoint
from nassuite.train.recalibrate import predict
from nassuite.train.teaching import USUAL
from nassuite.train_settings import TrainSettings
from nassuite.training_job import Job, seconds_before, train_config, with_device_and_lr
from nassuite.zoo.catalogue import NETWORKS
from nassuite.zoo.create import as_typed, because_of_size, check_size, for_images, parse_model, with_option
from nassuite.zoo.weights import load_weights


def prepare_classifier(settings: TrainSettings, progress: Progress) -> Job:
    """Reads the images, builds the network and its teacher. Raises InputError for anything that does not fit."""
    known = _trained_before(settings.model)
    if known is None:
        check_kind(settings.model, "train")
    size = settings.size or (known.size if known else None)
    data = load_data(
        DataConfig(settings.data, size=size, seed=settings.seed, train_images=settings.train_images),
        progress=progress,
    )
    settings = _resolved(settings, data, progress)
    model: nn.Module = _network(settings, data, progress) if known is None else _loaded(settings, known, data)
    teacher = _teacher(settings, data, progress)
    onnx_bytes(model, (data.in_chans, data.size, data.size))  # what cannot be exported is not trained first

    def train(out: Path) -> None:
        _train(out, settings, data, model, known=known, soft_labels=teacher, progress=progress)

    return Job(settings, data.digest, train)


def _trained_before(model: str) -> Description | None:
    """What a network is that is given as the folder of a training, which goes on from its weights."""
    return read_description(Path(model)) if (Path(model) / "model.json").is_file() else None


def _loaded(settings: TrainSettings, known: Description, data: Data) -> nn.Module:
    if settings.init:
        raise InputError(f"--init {settings.init}: {settings.model} has weights already")
    same_labels(known, data, settings.model, settings.data)
    return load_model(settings.model)


def _resolved(settings: TrainSettings, data: Data, progress: Progress) -> TrainSettings:
    model = settings.model
    if _trained_before(model) is None:
        model = _as_it_trains(model, data, progress)
    if settings.teacher is not None:
        weight, temperature = USUAL[settings.loss]  # type: ignore[index]
        settings = dataclasses.replace(
            settings,
            teacher_weight=weight if settings.teacher_weight is None else settings.teacher_weight,
            temperature=settings.temperature or temperature,
        )
    return dataclasses.replace(with_device_and_lr(settings), model=model, size=data.size)


def _as_it_trains(model: str, data: Data, progress: Progress) -> str:
    sized = for_images(model, data.size)
    if sized != model:
        progress.say(because_of_size(sized, data.size))
    learning = for_training(sized)
    if learning != sized:
        progress.say(f"{learning} while it trains, converted when it is done")
    return learning


def for_training(model: str) -> str:
    """The network in the form that learns its groups, where it has one (CondenseNet), as a user would type it."""
    return with_option(model, "converted", False)


def _as_it_runs(model: str, network: nn.Module) -> tuple[str, nn.Module]:
    """Name and network, with learned groups made usual ones."""
    if not has_learned_groups(network) or ":" in model:
        return model, network
    name, config = parse_model(model)
    network = convert(network)
    return as_typed(name, {key: value for key, value in config.items() if key != "converted"}), network


def check_kind(model: str, command: str) -> None:
    """Raises InputError for a network of the zoo that is no classifier."""
    kind = "classification" if ":" in model else NETWORKS[parse_model(model)[0]].kind
    if kind != "classification":
        raise InputError(f"{model} is a {kind} network: nassuite {command} takes classifiers")


def _network(settings: TrainSettings, data: Data, progress: Progress) -> Normalised:
    network = make_network(
        settings.model, num_classes=len(data.labels), in_chans=data.in_chans, seed=settings.seed
    )
    if ":" not in settings.model:
        check_size(network, data.in_chans, (data.size, data.size), settings.model)
    check_classifier(network, (data.in_chans, data.size, data.size), settings.model, classes=len(data.labels))
    if settings.zero_gamma == "on":
        zero_last_batch_norms(network)
    model = Normalised(network, data.mean, data.std)
    if settings.init:
        for line in load_weights(network, settings.init, other_classes=True, verbose=progress.verbose):
            progress.say(f"--init {settings.init}: {line}")
    return model


def _teacher(settings: TrainSettings, data: Data, progress: Progress) -> SoftLabels | None:
    if settings.teacher is None:
        return None
    assert settings.teacher_weight is not None
    assert settings.temperature is not None
    model, size = _teaching_network(settings.teacher, settings, data, progress)
    return SoftLabels(
        model, size, settings.teacher_weight, settings.temperature,
        settings.loss,  # type: ignore[arg-type]
        falling=settings.teacher_schedule == "falling", cache=settings.cache_teacher == "on",
        mirror=default_augment(data).flip,
    )  # fmt: skip


def _teaching_network(
    teacher: str, settings: TrainSettings, data: Data, progress: Progress
) -> tuple[nn.Module, int]:
    """The teacher, and the side of the images that it looks at."""
    weights = settings.teacher_weights
    if weights is None:
        folder = Path(teacher)
        if not folder.is_dir() and ":" not in teacher and teacher.partition("(")[0] in NETWORKS:
            raise InputError(f"--teacher {teacher}: a network by name knows nothing: give --teacher-weights")
        description = read_description(folder)
        same_labels(description, data, f"--teacher {folder}", settings.data)
        return load_model(folder), description.size
    if (Path(teacher) / "model.json").is_file():
        raise InputError(f"--teacher-weights is for a teacher by name: the folder {teacher} has its own")
    if ":" not in teacher:
        check_kind(teacher, "distill")
    model, _ = named_network(
        teacher, weights, data, seed=settings.seed, progress=progress, flag="--teacher-weights"
    )
    logits = predict(model, (images for images, _ in data.val.batches(512)))
    right, n = int((logits.argmax(1) == data.val.labels).sum()), len(data.val.labels)
    progress.say(f"the teacher {teacher} is right about {right / n:.1%} of the validation images")
    if binomial_interval(right, n)[0] <= 1 / len(data.labels):
        raise InputError(
            f"--teacher {teacher} is right about {right / n:.1%} of the validation images, as chance would be: are the classes of "
            f"{weights} those of {settings.data}, in the order of their names?"
        )
    return model, data.size


def _train(
    out: Path,
    settings: TrainSettings,
    data: Data,
    model: nn.Module,
    *,
    known: Description | None,
    soft_labels: SoftLabels | None,
    progress: Progress,
) -> None:
    weights = class_weights(data.train.labels, settings.class_weights, classes=len(data.labels))
    config = train_config(settings, default_augment(data))
    val = data.val.to(settings.device)
    before = seconds_before(out)
    started = time.monotonic()

    best = FileCheckpoints(out / "best.safetensors")
    # A network that learns its groups has not got them before its last epoch.
    keep_best = settings.keep == "best" and not has_learned_groups(model)

    def after_epoch() -> dict[str, float]:
        logits = predict(model, (x for x, _ in val.batches(512, device=settings.device)))
        accuracy = score(logits, val.labels, metric=settings.metric)
        if keep_best and accuracy > (best.meta() or {"val": -1.0})["val"]:
            best.save(Checkpoint(model.state_dict(), {"val": accuracy}))
        return {"val": accuracy, "seconds": round(before + time.monotonic() - started, 1)}

    log = train_network(
        model, data.train, config,
        resolution=data.size, soft_labels=soft_labels, description=settings.model,
        device=settings.device, class_weights=None if weights is None else weights.to(settings.device),
        checkpoints=FileCheckpoints(out / "checkpoint.safetensors"), progress=progress, after_epoch=after_epoch,
    )  # fmt: skip
    write_json(out / "log.json", log)
    kept = best.load() if keep_best else None
    if kept:
        model.load_state_dict(kept.tensors)
    reached = kept.meta["val"] if kept else log[-1]["val"]
    _finish(out, settings, data, model.cpu().eval(), known=known, val=reached, seconds=log[-1]["seconds"])


def _finish(
    out: Path,
    settings: TrainSettings,
    data: Data,
    model: nn.Module,
    *,
    known: Description | None,
    val: float,
    seconds: float,
) -> None:
    """The model's files; what is said of it on test is what its ONNX file says."""
    shape = (data.in_chans, data.size, data.size)
    if known is None:
        name, model = _as_it_runs(settings.model, model)
        known = Description(
            name, len(data.labels), data.in_chans, data.size, data.mean, data.std, data.labels
        )
    trained_on = {"name": settings.data, "seed": settings.seed, "train_images": settings.train_images}
    save_model(out, model, dataclasses.replace(known, size=data.size, trained_on=trained_on))
    images = next(data.val.batches(256, channels_last=False))[0]
    export_onnx(model, out / "model.onnx", input_shape=shape, images=images)
    counted = cost(model, shape)
    found = {
        "params": counted.params,
        "macs": counted.macs,
        "val": val,
        "test": evaluate_file(out / "model.onnx", data.test, metric=settings.metric),
    }
    card = {"model": known.model, "data": data.name, "metric": settings.metric, "shape": list(shape), **found}
    write_card(out, {**card, "labels": list(data.labels)}, _card_text)
    result = {"schema_version": SCHEMA_VERSION, **found, "seconds": seconds, "environment": environment()}
    write_json(out / "result.json", result)


def _card_text(card: dict[str, Any]) -> list[str]:
    test = card["test"]
    low, high = test["interval"]
    return [
        f"# {card['model']}, trained on {card['data']}",
        "",
        *interface_lines(card),
        f"- {card['params']:,} parameters, {card['macs'] / 1e6:.2f} M MACs for one image.",
        f"- Accuracy ({card['metric']}): {card['val']:.2%} on validation images, {test['accuracy']:.2%} on {test['n']} test "
        f"images (95 % interval of top-1 {low:.2%} to {high:.2%}).",
        "",
        *confusion_lines(card["labels"], test["confusion"]),
        "",
        *limit_lines(card, test["n"]),
        "",
        *hash_lines(card),
    ]


def evaluate_file(
    path: Path, split: Split, *, metric: str = "top1", target: Target | None = None
) -> dict[str, Any]:
    """What an ONNX file says of a split: accuracy by ``metric``, top-1 counts with their 95 % interval, confusion.

    ``target`` names the runtime that computes it, if not ONNX Runtime in full precision.
    """
    images = torch.cat([x for x, _ in split.batches(512, channels_last=False)]).numpy()
    labels = split.labels.numpy()
    logits = run_onnx(path, images) if target is None else logits_in(target, path, images)
    return evaluation(logits, labels, metric=metric, classes=split.classes)


def same_labels(description: Description, data: Data, model: str, name: str) -> None:
    """Raises InputError if a trained model is for other classes or channels than the data has."""
    if description.labels != data.labels or description.in_chans != data.in_chans:
        raise InputError(f"{model} was trained for other classes or channels than {name} has")
