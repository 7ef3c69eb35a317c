"""Any model that a user brings, ready to be compressed: a folder of ours, or a network by name with weights."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from nassuite.classifying import check_kind, same_labels
from nassuite.data import Data, DataConfig, load_data
from nassuite.errors import InputError
from nassuite.models import Description, load_model, read_description
from nassuite.named_network import named_network
from nassuite.progress import SILENT, Progress
from nassuite.records import read_toml
from nassuite.zoo.catalogue import NETWORKS
from nassuite.zoo.create import no_network

NAME = re.compile(r"[^\W\d]\w*\s*(\(.*\))?|[\w.]+:.+")
"""How networks are named: of the zoo with options or without, or library:name, package.module:factory."""


@dataclass(frozen=True, eq=False)
class Brought:
    """``model`` takes images (N, C, H, W) in 0..1, in eval mode on the CPU; ``data`` has its size and classes."""

    model: nn.Module
    description: Description
    data: Data

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.data.in_chans, self.data.size, self.data.size


def bring_model(
    model: str,
    *,
    weights: str | None = None,
    data: str = "",
    size: int | None = None,
    train_images: int | None = None,
    seed: int = 0,
    command: str = "prune",
    progress: Progress = SILENT,
) -> Brought:
    """The network that ``model`` names, as a user types it, with the images that it is for.

    A folder (of a training, of a pruning, or a search's deployed model) has its own weights, size and images; of its
    images another ``data`` of the same classes may be given. A network by name takes its classes and size from
    ``data``, and ``weights`` from a file; without them they are random, which is said. Raises InputError
    for what is not there or does not fit.
    """
    if is_folder(model):
        for given, name in ((weights, "--weights"), (size, "--size")):
            if given is not None:
                raise InputError(f"{name} is for a network by name: the folder {model} has its own")
        return _from_folder(
            Path(model), data, train_images=train_images, seed=seed, command=command, progress=progress
        )
    if not data:
        raise InputError(f"{model}: give --data, the images that it is for")
    if ":" not in model:
        check_kind(model, command)
    loaded = load_data(DataConfig(data, size=size, seed=seed, train_images=train_images), progress=progress)
    return Brought(*named_network(model, weights, loaded, seed=seed, progress=progress), loaded)


def is_folder(model: str) -> bool:
    """Whether a user who types ``model`` means a folder: one that holds a model, or what is no name of a network."""
    path = Path(model)
    if (path / "model.json").is_file() or NAME.fullmatch(model) is None:
        return True
    return model not in NETWORKS and path.is_dir()


def _from_folder(
    folder: Path, data: str, *, train_images: int | None, seed: int, command: str, progress: Progress
) -> Brought:
    if not folder.is_dir():
        raise no_network(str(folder))
    description = read_description(folder)
    if description.arch is None:
        check_kind(description.model, command)
    trained_on = description.trained_on or _training_of(folder)
    own = not data or data == trained_on.get("name")
    name = data or trained_on.get("name")
    if not name:
        raise InputError(f"{folder} does not say what it was trained on: give --data")
    # By another seed, images that the model was trained on could become validation images.
    config = DataConfig(
        name,
        size=description.size,
        seed=trained_on.get("seed", seed) if own else seed,
        train_images=train_images or (trained_on.get("train_images") if own else None),
    )
    loaded = load_data(config, progress=progress)
    same_labels(description, loaded, str(folder), name)
    return Brought(load_model(folder), description, loaded)


def _training_of(folder: Path) -> dict[str, Any]:
    """What the folder of a training, by an earlier version, says of its images."""
    path = folder / "train.toml"
    if not path.is_file():
        return {}
    settings = read_toml(path).get("settings", {})
    named = {"name": settings.get("data"), "train_images": settings.get("train_images")}
    return named | ({"seed": settings["seed"]} if "seed" in settings else {})
