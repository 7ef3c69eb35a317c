"""The network that a user names, with its weights: what export, quantisation and their like begin from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from nassuite.errors import InputError
from nassuite.models import (
    Description,
    load_model,
    logits_of,
    make_network,
    of_random_weights,
    read_description,
)
from nassuite.nn.network import Normalised
from nassuite.progress import SILENT, Progress
from nassuite.settings import check_seed
from nassuite.zoo.catalogue import NETWORKS
from nassuite.zoo.create import because_of_size, check_size, for_images, parse_model
from nassuite.zoo.weights import load_weights, normalisation_of

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
OTHER_CLASSES = 1000
"""Classes of a network that does not say how many it has: those of ImageNet."""


@dataclass(frozen=True, eq=False)
class Source:
    """A network ready to be exported.

    ``model`` is in eval mode and takes images (N, C, H, W) in 0..1, with ``shape`` (C, H, W); its normalisation
    is inside. ``weights`` says where they are from; ``description`` is there for the folder of a training.
    ``maps`` says that it gives logits for every pixel.
    """

    name: str
    model: nn.Module
    shape: tuple[int, int, int]
    labels: tuple[str, ...]
    weights: str
    description: Description | None = None
    maps: bool = False


def open_model(
    model: str | Path | nn.Module,
    *,
    size: int | None = None,
    weights: str | Path | None = None,
    classes: int | None = None,
    channels: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    labels: Sequence[str] | None = None,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Source:
    """The network that ``model`` means: a name as for ``make_network``, the folder of a training, or a module.

    ``size`` is the images' side in pixels; without it that of the training or of the paper. A name has the form
    in which nassuite train has it for images of the ``size`` that is given, and fresh weights unless ``weights`` is a file
    or the folder of a training; its images are normalised by ``mean`` and ``std`` per channel, else as the file says,
    else by ImageNet's for colour images. A module is taken as it is, behind a normalisation only where ``mean`` is
    given. ``classes`` and ``channels`` are for networks made here. Raises InputError for what does not fit.
    """
    check_seed(seed)
    notes: list[str] = []  # said at the end: what is refused is one line
    for name, value in (("size", size), ("classes", classes), ("channels", channels)):
        if value is not None and value < 1:
            raise InputError(f"--{name} {value}: expected 1 or more")
    if isinstance(model, nn.Module):
        _refuse(f"a {type(model).__name__}", classes=classes)
        if weights is not None:
            raise InputError(f"a {type(model).__name__} has its weights: load them before, or give a name")
        source = _from_module(model, size, channels, mean, std)
    elif Path(model).is_dir():
        _refuse(str(model), weights=weights, classes=classes, channels=channels, mean=mean, std=std)
        source = _from_folder(Path(model), size)
    else:
        classes = classes if classes is not None or labels is None else len(labels)
        given = str(model)
        name = for_images(given, size) if size else given
        network, shape = _by_name(name, size, classes, channels, seed)
        where = f"fresh, seed {seed}"
        if weights is not None:
            where = _loaded(network, weights, progress)
            if mean is None and std is None and (saved := normalisation_of(weights, shape[0])):
                mean, std = saved
        source = Source(
            name, _normalised(network, shape[0], mean, std, standard=True).eval(), shape, (), where
        )
        if name != given:
            notes.append(because_of_size(name, shape[1]))
        if weights is None:
            notes.append(of_random_weights(name))
    source = _with_labels(source, labels)
    for note in notes:
        progress.say(note)
    return source


def _refuse(model: str, **given: object) -> None:
    for name, value in given.items():
        if value is not None:
            raise InputError(f"--{name} is for networks given by name; {model} has its own")


def _from_module(
    model: nn.Module,
    size: int | None,
    channels: int | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
) -> Source:
    if size is None:
        raise InputError("no size: give the side of the images in pixels")
    shape = (channels or 3, size, size)
    wrapped = _normalised(model, shape[0], mean, std, standard=False).eval()
    return Source(type(model).__name__, wrapped, shape, (), "the module's own")


def _from_folder(folder: Path, size: int | None) -> Source:
    description = read_description(folder)
    side = size or description.size
    shape = (description.in_chans, side, side)
    return Source(
        str(folder), load_model(folder), shape, description.labels, f"trained, from {folder}", description
    )


def _by_name(
    model: str, size: int | None, classes: int | None, channels: int | None, seed: int
) -> tuple[nn.Module, tuple[int, int, int]]:
    entry = None if ":" in model else NETWORKS[parse_model(model)[0]]
    if entry is None and size is None:
        raise InputError(f"{model}: give the side of its images in pixels, for instance --size 224")
    classes = classes or (entry.num_classes if entry else OTHER_CLASSES)
    channels = channels or (entry.in_chans if entry else 3)
    height, width = (size, size) if size else entry.size if entry else (0, 0)
    network = make_network(model, num_classes=classes, in_chans=channels, seed=seed)
    if entry is not None:
        check_size(network, channels, (height, width), model)
    return network, (channels, height, width)


def _loaded(network: nn.Module, weights: str | Path, progress: Progress) -> str:
    for line in load_weights(network, weights, verbose=progress.verbose):
        progress.say(f"--weights {weights}: {line}")
    return f"from {Path(weights).name}"


def _normalised(
    network: nn.Module,
    channels: int,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    *,
    standard: bool,
) -> nn.Module:
    if (mean is None) != (std is None):
        raise InputError("--mean and --std go together")
    if mean is None or std is None:
        if not standard:
            return network
        mean, std = (IMAGENET_MEAN, IMAGENET_STD) if channels == 3 else ((0.5,) * channels, (0.5,) * channels)
    numbers = len(mean) == len(std) == channels and all(map(math.isfinite, (*mean, *std)))
    if not numbers or min(std) <= 0:
        raise InputError(f"--mean and --std: {channels} numbers each, one for every channel, and std above 0")
    return Normalised(network, tuple(mean), tuple(std))


def _with_labels(source: Source, labels: Sequence[str] | None) -> Source:
    """With as many labels as the network has outputs. Raises InputError if it does not run, or has others."""
    logits = logits_of(source.model, source.shape, source.name)
    names = tuple(labels) if labels is not None else source.labels
    names = names or tuple(str(number) for number in range(logits.shape[1]))
    if len(names) != logits.shape[1]:
        raise InputError(f"{source.name} has {logits.shape[1]} classes, there are {len(names)} labels")
    return replace(source, labels=names, maps=logits.dim() == 4)
