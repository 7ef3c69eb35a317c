"""Networks by name."""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from nassuite.errors import InputError, did_you_mean, first_line
from nassuite.folders import is_weights, no_model
from nassuite.zoo.catalogue import ALIASES, NETWORKS, Entry
from nassuite.zoo.reference import parse_call

if TYPE_CHECKING:
    from torch import nn

OWN = frozenset({"num_classes", "in_chans"})
SMALL_IMAGES = 64
"""Up to this size a network whose stem can have stride 1 has it, unless the user says otherwise."""


def list_models() -> list[str]:
    return sorted(NETWORKS)


def find(name: str) -> tuple[str, Entry]:
    """The full name and entry of a name or alias. Raises ``InputError`` that suggests the closest names."""
    full = ALIASES.get(name, name)
    if full in NETWORKS:
        return full, NETWORKS[full]
    hint = did_you_mean(name, [*NETWORKS, *ALIASES]) or "nassuite zoo list shows all"
    raise InputError(f"no network named {name!r} in the zoo: {hint}")


def create_model(
    name: str,
    *,
    num_classes: int | None = None,
    in_chans: int | None = None,
    features_only: bool = False,
    out_indices: Sequence[int] | None = None,
    seed: int = 0,
    **config: Any,
) -> nn.Module:
    """A published network with fresh weights drawn from ``seed``, in train mode.

    It takes normalised images (N, in_chans, H, W) and gives logits (N, num_classes), for segmentation
    (N, num_classes, H, W). Without ``num_classes`` and ``in_chans`` it has its paper's: mostly 1000 and 3.
    ``config`` are the network's own options: ``width_mult``, ``stem_stride``, ``groups``, ...

    With ``features_only`` it gives a list of feature maps instead, one for each stride or those of
    ``out_indices``, and ``feature_info`` tells their channels and reductions.

    Raises ``InputError`` for an unknown name, option, or value.
    """
    import torch

    from nassuite.blocks.layers import initialise
    from nassuite.zoo.network import FeatureNetwork, ZooNetwork

    full, entry = find(name)
    num_classes = _positive("num_classes", entry.num_classes if num_classes is None else num_classes)
    in_chans = _positive("in_chans", entry.in_chans if in_chans is None else in_chans)
    build = factory(entry)
    _check_options(full, entry, build, config)
    with torch.random.fork_rng(devices=[]):  # layers draw weights of their own as they are made
        network = build(num_classes=num_classes, in_chans=in_chans, **entry.config, **config)
    initialise(network, torch.Generator().manual_seed(seed), zero_residuals=False)
    if not features_only:
        if out_indices is not None:
            raise InputError("out_indices goes with features_only=True")
        return network
    if isinstance(network, FeatureNetwork) and out_indices is None:
        return network
    if not isinstance(network, ZooNetwork):
        raise InputError(
            f"{full} has no feature maps for other heads: it is a {entry.kind} network as a whole"
        )
    return FeatureNetwork(network, size=max(entry.size), in_chans=in_chans, out_indices=out_indices)


def parse_model(text: str) -> tuple[str, dict[str, Any]]:
    """``NAME`` or ``NAME(option=value, ...)``, as a user types it, to full name and options.

    Raises ``InputError`` for an unknown network or option.
    """
    try:
        name, config = parse_call(text)
    except ValueError:
        raise no_network(text) from None
    if os.path.isdir(text) and name not in {**NETWORKS, **ALIASES}:
        raise no_network(text)
    full, entry = find(name)
    _check_options(full, entry, factory(entry), config)
    return full, config


def for_images(model: str, size: int) -> str:
    """The network in its form for images of ``size`` pixels, as a user would type it."""
    return model if size > SMALL_IMAGES else with_option(model, "stem_stride", 1)


def with_option(model: str, option: str, value: Any) -> str:
    """``model`` with ``option``, where the network has that and the user has not said otherwise."""
    if ":" in model:
        return model
    name, config = parse_model(model)
    if option in config or option not in options(NETWORKS[name]):
        return model
    return as_typed(name, {**config, option: value})


def as_typed(name: str, config: dict[str, Any]) -> str:
    """Name and options as ``parse_model`` takes them."""
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in config.items())})" if config else name


def because_of_size(model: str, size: int) -> str:
    """Why a network has the form that ``for_images`` gave it, and how to have the other."""
    usual = options(NETWORKS[parse_model(model)[0]])["stem_stride"]
    return f"{model}, because the images have {size} pixels (stem_stride={usual}: the form of its paper)"


def no_network(text: str) -> InputError:
    """What is wrong with what a user typed for a network, and is no name of one."""
    if os.path.isdir(text):
        return no_model(text, "model.json")
    if is_weights(text):
        return InputError(
            f"{text}: weights without a network; give the network's name, and the file with --weights (nassuite train: "
            "--init)"
        )
    hint = (
        did_you_mean(text, NETWORKS)
        or "expected NAME or NAME(option=value, ...), as nassuite zoo list shows them"
    )
    return InputError(f"{text}: no such folder, and no name of a network: {hint}")


def check_size(network: nn.Module, in_chans: int, size: tuple[int, int], name: str) -> None:
    """Raises ``InputError`` if images of ``size`` (H, W) are too small for the network's strides."""
    import copy

    import torch

    trial = copy.deepcopy(network).to("meta").eval()
    try:
        with torch.no_grad():
            trial(torch.empty(1, in_chans, *size, device="meta"))
    except RuntimeError as error:
        shape = "x".join(str(side) for side in dict.fromkeys(size))
        raise InputError(
            f"{name} cannot take images of {shape} pixels ({first_line(error)}): larger images, or stem_stride=1 for small ones"
        ) from None


def factory(entry: Entry) -> Callable[..., nn.Module]:
    module, _, function = entry.factory.partition(":")
    return getattr(importlib.import_module(f"nassuite.zoo.{module}"), function)


def options(entry: Entry) -> dict[str, Any]:
    """What a user can configure of a network, with the defaults."""
    parameters = inspect.signature(factory(entry)).parameters
    return {k: p.default for k, p in parameters.items() if k not in OWN and k not in entry.config}


def _check_options(name: str, entry: Entry, build: Callable[..., Any], config: dict[str, Any]) -> None:
    known = options(entry)
    for key in config:
        if key not in known:
            raise InputError(f"{name} has no option {key!r}: {', '.join(known) or 'it has none'}")


def _positive(what: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(f"{what} {value!r}: a whole number from 1 up")
    return value
