"""Models by name and models on disk: one folder holds weights (safetensors) and what builds their network."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nassuite.errors import InputError, did_you_mean, first_line, typed_line
from nassuite.folders import no_model
from nassuite.nn.network import Interface, Network, Normalised, build
from nassuite.onnx_export import in_eval_mode
from nassuite.records import SCHEMA_VERSION, read_json, write_bytes, write_json
from nassuite.spec import Arch
from nassuite.zoo.create import create_model, parse_model

LIBRARIES = {
    "timm": "pip install timm (it needs the torchvision that goes with your torch)",
    "torchvision": "install the torchvision that goes with your torch",
}


@dataclass(frozen=True)
class Description:
    """What builds a network again: ``model`` as a user types it, and the images and classes that it is for."""

    model: str
    num_classes: int
    in_chans: int
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    labels: tuple[str, ...]
    cuts: dict[str, Any] | None = None
    """``PruneRecord.to_json()`` of a pruned network: what was cut of the one that ``model`` names."""
    arch: dict[str, Any] | None = None
    """``Arch.to_json()`` of a network that a search found, which ``model`` then only describes."""
    trained_on: dict[str, Any] | None = None
    """Arguments of ``DataConfig``, but for the size: name, seed and train_images."""


def make_network(model: str, *, num_classes: int, in_chans: int, seed: int = 0) -> nn.Module:
    """A fresh network for normalised images (N, in_chans, H, W), giving logits (N, num_classes).

    ``model`` is a name of the zoo with its options ("mobilenet_v2(width_mult=0.5)"), ``timm:NAME``,
    ``torchvision:NAME``, or ``package.module:factory``, a function that takes num_classes and, if it
    can, in_chans. Raises InputError for what is not there, or fails as it is made.
    """
    try:
        return _made(model, num_classes=num_classes, in_chans=in_chans, seed=seed)
    except InputError:
        raise
    except Exception as error:  # options that do not go together, and other people's code
        raise InputError(f"{model}: making the network raised {typed_line(error)}") from error


def _made(model: str, *, num_classes: int, in_chans: int, seed: int) -> nn.Module:
    source, colon, name = model.partition(":")
    if not colon:
        full, config = parse_model(model)
        return create_model(full, num_classes=num_classes, in_chans=in_chans, seed=seed, **config)
    if source == "timm":
        timm = _library(source)
        _check_listed(name, timm.list_models(), source)
        return timm.create_model(name, num_classes=num_classes, in_chans=in_chans)
    if source == "torchvision":
        models = _library(source).models
        _check_listed(name, models.list_models(), source)
        if in_chans != 3:
            raise InputError(f"{model} takes colour images, these have {in_chans} channel(s)")
        return models.get_model(name, weights=None, num_classes=num_classes)
    return _from_factory(source, name, num_classes=num_classes, in_chans=in_chans)


def _check_listed(name: str, names: Sequence[str], library: str) -> None:
    if name not in names:
        hint = did_you_mean(name, names)
        raise InputError(f"{library} has no model {name!r}" + (f": {hint}" if hint else ""))


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise InputError(f"{name}: is not installed here: {LIBRARIES[name]}") from None
    except RuntimeError as error:  # a torchvision of another torch fails as it registers its operators
        raise InputError(f"{name} does not work with this torch ({error}): {LIBRARIES[name]}") from None


def _from_factory(module: str, function: str, **interface: int) -> nn.Module:
    try:
        factory = getattr(importlib.import_module(module), function)
    except (Exception, SystemExit) as error:  # whatever a module of the user's does as it is imported
        raise InputError(f"{module}:{function} cannot be imported: {typed_line(error)}") from error
    try:
        parameters = inspect.signature(factory).parameters
    except (TypeError, ValueError):
        raise InputError(f"{module}:{function} is no function that makes a network") from None
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    try:
        network = factory(**{k: v for k, v in interface.items() if anything or k in parameters})
    except Exception as error:  # whatever the user's own code raises
        raise InputError(f"{module}:{function} raised {typed_line(error)}") from error
    if not isinstance(network, nn.Module):
        raise InputError(f"{module}:{function} gives a {type(network).__name__}, expected a torch.nn.Module")
    return network


def of_random_weights(name: str) -> str:
    """What is said of a network by name to which no weights were given."""
    return f"{name}: no --weights, so these are random: times and sizes will be right, accuracies not"


def logits_of(model: nn.Module, shape: tuple[int, int, int], name: str) -> Tensor:
    """What ``model`` in eval mode says of two black images of ``shape`` (C, H, W): (2, classes), or a map of these.

    Raises InputError where it fails on them, or gives anything else.
    """
    try:
        with in_eval_mode(model), torch.no_grad():
            logits = model(torch.zeros(2, *shape))
    except Exception as error:  # other people's code
        size = "x".join(str(side) for side in shape)
        raise InputError(f"{name} does not run on images of {size}: {typed_line(error)}") from error
    if not isinstance(logits, Tensor) or logits.dim() not in (2, 4) or len(logits) != 2:
        given = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise InputError(f"{name} gives {given} for two images, expected logits (2, classes)")
    return logits


def check_classifier(model: nn.Module, shape: tuple[int, int, int], name: str, *, classes: int) -> None:
    """Raises InputError for a network that does not give logits of so many ``classes``."""
    found = tuple(logits_of(model, shape, name).shape)
    if found != (2, classes):
        raise InputError(
            f"{name} gives {found} for two images, expected logits of {classes} classes: "
            "a factory takes num_classes, and a classifier is needed"
        )


def save_model(folder: Path, network: nn.Module, description: Description) -> None:
    """Writes ``model.safetensors`` and, last, ``model.json``. ``network`` has its normalisation inside."""
    from safetensors.torch import save

    state = {name: tensor.contiguous().cpu() for name, tensor in network.state_dict().items()}
    write_bytes(folder / "model.safetensors", save(state))
    write_json(folder / "model.json", {"schema_version": SCHEMA_VERSION, **asdict(description)})


def read_description(folder: Path) -> Description:
    """Raises InputError if ``folder`` holds no model."""
    path = folder / "model.json"
    if not path.is_file():
        raise no_model(folder, path.name)
    try:
        value = read_json(path)
        version = value.pop("schema_version", None)
        tuples = {name: tuple(value[name]) for name in ("mean", "std", "labels")}
        description = Description(**{**value, **tuples})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path} is damaged ({error})") from None
    if version != SCHEMA_VERSION:
        raise InputError(f"{path} has schema {version}, this nassuite reads {SCHEMA_VERSION}")
    return description


def load_model(folder: str | Path) -> Normalised | Network:
    """The network of a folder, in eval mode, for images (N, C, H, W) in 0..1: the one saved, difference 0.0.

    ``folder`` is that of a training, of a pruning, or a deployed model of a search. It gives logits
    (N, num_classes). Nothing is unpickled. Raises ``InputError`` if it holds no model or a damaged one.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(folder)
    description = read_description(folder)
    model: nn.Module = _unpruned(description)
    if description.cuts is not None:
        from nassuite.compress.prune import PruneRecord, replay

        try:
            model = replay(model.eval(), PruneRecord.from_json(description.cuts))
        except Exception as error:  # whatever cuts of another network meet in this one
            raise InputError(
                f"{folder / 'model.json'} is damaged: its cuts cannot be made in {description.model} ({typed_line(error)})"
            ) from error
    try:
        model.load_state_dict(load_file(folder / "model.safetensors"))
    except (SafetensorError, OSError, RuntimeError) as error:
        weights = folder / "model.safetensors"
        raise InputError(f"{weights} is not there or damaged ({first_line(error)})") from None
    assert isinstance(model, Normalised | Network)
    return model.eval()


def _unpruned(description: Description) -> nn.Module:
    classes, in_chans = description.num_classes, description.in_chans
    if description.arch is not None:
        interface = Interface(in_chans, classes, description.mean, description.std)
        return build(Arch.from_json(description.arch), interface)
    network = make_network(description.model, num_classes=classes, in_chans=in_chans)
    return Normalised(network, description.mean, description.std)
