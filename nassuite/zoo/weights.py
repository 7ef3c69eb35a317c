"""Other people's weights: files of several kinds and names, onto a network of ours, all or nothing."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nassuite.errors import InputError, first_line
from nassuite.zoo.converters import Source, natural_order
from nassuite.zoo.sources import SOURCES

WRAPPERS = ("state_dict", "model", "net", "state_dict_ema", "model_state_dict", "params")
NOT_WEIGHTS = ("num_batches_tracked", "normalise.mean", "normalise.std")
UNKNOWN = (
    "these weights come from no known source and were matched by kind, shape and order: check the outputs"
)
SORTED = "a safetensors file does not keep the order of layers: they were taken in the order of their names"


@dataclass
class Match:
    """A file's tensors by the network's names, and what became of them.

    ``mapping`` is from each name here to that in the file, ``source`` whose naming that is (None if it was
    matched by order), ``notes`` are lines for the user, ``fresh`` the classifier's names that are left alone.
    """

    tensors: dict[str, Tensor]
    mapping: dict[str, str]
    source: str | None
    notes: list[str] = field(default_factory=list)
    fresh: list[str] = field(default_factory=list)


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a safetensors or PyTorch file by name, in the file's order, without wrappers.

    Of the folder of a training they are its model's. Nothing is unpickled but tensors and plain containers. Raises
    InputError for anything else.
    """
    path = _file(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    found = _safetensors(path) if path.suffix == ".safetensors" else _unpickled(path)
    while isinstance(found, Mapping) and not _is_state(found):
        inner = next((found[name] for name in WRAPPERS if isinstance(found.get(name), Mapping)), None)
        if inner is None:
            break
        found = inner
    if not isinstance(found, Mapping) or not _is_state(found):
        raise InputError(f"{path} holds no weights by name")
    names = [name for name in found if isinstance(found[name], Tensor)]
    # What DataParallel, DDP, torch.compile and Lightning put before every name.
    prefix = r"(module\.|_orig_mod\.)*"
    if all(re.match(prefix + r"model\.", name) for name in names):
        prefix += r"model\."
    return {re.sub(f"^{prefix}", "", name): found[name] for name in names}


def normalisation_of(path: str | Path, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and standard deviation by channel of the images that the weights were trained on; None where the file has none.

    Ours have them. Raises InputError as ``read_weights`` does.
    """
    found = read_weights(path)
    mean, std = found.get("normalise.mean"), found.get("normalise.std")
    if mean is None or std is None or not mean.numel() == std.numel() == channels:
        return None
    return tuple(mean.flatten().tolist()), tuple(std.flatten().tolist())


def load_weights(
    network: nn.Module, path: str | Path, *, other_classes: bool = False, verbose: bool = False
) -> list[str]:
    """Loads a file into ``network``, all or nothing; returns lines about what the user should know.

    With ``verbose`` these end with every tensor's name here and in the file.

    Names that are the network's own, or those of a known source (``zoo/sources``), are taken as they
    are. A file from no known source is matched by kind, shape and order. With ``other_classes`` a
    classifier of another number of classes keeps its fresh weights. Raises InputError naming the
    first mismatch on both sides.
    """
    match = match_weights(network, path, other_classes=other_classes)
    network.load_state_dict(match.tensors, strict=False)
    pairs = [f"{ours} from {theirs}" for ours, theirs in match.mapping.items()] if verbose else []
    return [*match.notes, *pairs]


def match_weights(network: nn.Module, path: str | Path, *, other_classes: bool = False) -> Match:
    """What ``load_weights`` would load, without loading it."""
    path = _file(path)
    found = {name: tensor for name, tensor in read_weights(path).items() if not name.endswith(NOT_WEIGHTS)}
    wanted = {name: tensor for name, tensor in network.state_dict().items() if not name.endswith(NOT_WEIGHTS)}
    own = {name: name.removeprefix("network.") for name in found}
    complete = _complete(own, wanted, extras="")
    if complete is not None:
        match = Match({}, complete, "nassuite")
    else:
        match = _by_source(found, wanted, path) or _by_order(found, wanted, path)
    _fit(match, found, wanted, path, other_classes)
    source = next((source for source in SOURCES if source.name == match.source), None)
    if source:
        match.notes.append(f"the weights are named as {source.name}")
        if source.note:
            match.notes.append(source.note)
        _adapt_eps(match, network, source)
    used = set(match.mapping.values())
    unused = [name for name in found if name not in used]
    if unused:
        match.notes.append(
            f"{len(unused)} tensors of the file have no place in this network and are left out, "
            f"the first is {unused[0]}"
        )
    return match


def _file(path: str | Path) -> Path:
    return Path(path) / "model.safetensors" if Path(path).is_dir() else Path(path)


def _safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found = load_file(path)
    except SafetensorError as error:
        raise InputError(f"{path} is damaged: {first_line(error)}") from None
    return {name: found[name] for name in sorted(found, key=natural_order)}


def _unpickled(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and torch each have their own
        # Not in torch's words: they are long, and the first thing that they advise is to trust the file.
        raise InputError(
            f"{path}: no weights that can be read safely, expected safetensors or a state dict ({type(error).__name__})"
        ) from None


def _is_state(value: Mapping[Any, Any]) -> bool:
    tensors = sum(isinstance(v, Tensor) for v in value.values())
    return tensors > 0 and all(isinstance(name, str) for name in value) and tensors >= len(value) / 2


def _by_source(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: Path) -> Match | None:
    """By the first known way of naming that gives the network all that it wants."""
    for source in SOURCES:
        if not source.knows(found):
            continue
        mapping = _complete(source.translated(found, wanted), wanted, extras=source.extras, names=found)
        if mapping is not None:
            if source.refusal and re.match(source.refused_files, path.name):
                raise InputError(f"{path}: {source.refusal}")
            return Match({}, mapping, source.name)
    return None


def _complete(
    translated: Mapping[str, str],
    wanted: Mapping[str, Tensor],
    *,
    extras: str,
    names: Iterable[str] | None = None,
) -> dict[str, str] | None:
    """Names here to names there, if every name here has one and nothing there is left that should have one.

    What may be left over matches ``extras``, or belongs to a part that this network does not have at all:
    its head, if it gives features, or auxiliary heads.
    """
    mapping = {new: name for name, new in translated.items() if new in wanted}
    if set(mapping) != set(wanted):
        return None
    parts = {name.partition(".")[0] for name in wanted}
    for name in translated if names is None else names:
        new = translated.get(name)
        if new in mapping and mapping[new] == name:
            continue
        elsewhere = new is not None and new.partition(".")[0] in {"head", "aux_heads"} - parts
        if not elsewhere and not (extras and re.match(extras, name)):
            return None
    return {name: mapping[name] for name in wanted}


def _by_order(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: Path) -> Match:
    """The n-th tensor of each kind for the n-th; every shape must agree, but for the classifier's."""
    ours, theirs = _kinds(wanted), _kinds(found)
    partners = {
        mine: other
        for kind, here in ours.items()
        for mine, other in zip(here, theirs.get(kind, []), strict=False)
    }
    mapping = {name: partners[name] for name in wanted if name in partners}
    classifier = _classifier(wanted)
    for mine, other in mapping.items():
        if wanted[mine].shape != found[other].shape and mine not in classifier:
            raise _misfit(path, other, found[other], mine, wanted[mine])
    alone = [_first_alone(wanted, mapping, "here"), _first_alone(found, set(mapping.values()), "there")]
    if any(alone):
        raise InputError(
            f"{path} does not fit: {len(found)} tensors there, {len(wanted)} here; "
            f"without a partner: {', '.join(filter(None, alone))}"
        )
    notes = [UNKNOWN, SORTED] if path.suffix == ".safetensors" else [UNKNOWN]
    return Match({}, mapping, None, notes)


def _first_alone(state: Mapping[str, Tensor], partnered: Collection[str], side: str) -> str:
    """The first name without a partner, its shape and side; empty if all have one."""
    return next((f"{name} {tuple(state[name].shape)} {side}" for name in state if name not in partnered), "")


def _kinds(state: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Names by the last part of the name and the number of dimensions, in order."""
    kinds: dict[str, list[str]] = {}
    for name, tensor in state.items():
        kinds.setdefault(f"{name.rpartition('.')[2]} ({tensor.dim()} dimensions)", []).append(name)
    return kinds


def _fit(
    match: Match,
    found: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    path: Path,
    other_classes: bool,
) -> None:
    """Fills ``match.tensors``, each in the shape that is wanted. Raises InputError if one cannot have it."""
    classifier = _classifier(wanted)
    for mine, other in match.mapping.items():
        here, there = wanted[mine], found[other]
        if there.shape == here.shape or _same_layer(there, here):
            match.tensors[mine] = there.reshape(here.shape)
        elif other_classes and mine in classifier and there.shape[1:] == here.shape[1:]:
            match.fresh.append(mine)
        else:
            raise _misfit(path, other, there, mine, here)
    if match.fresh:
        match.notes.append(f"another number of classes: {', '.join(match.fresh)} start fresh")


def _same_layer(there: Tensor, here: Tensor) -> bool:
    """Whether one is a linear layer's weight and the other that convolution's which does the same."""
    return {there.dim(), here.dim()} == {2, 4} and len(there) == len(here) and there.numel() == here.numel()


def _misfit(path: Path, other: str, there: Tensor, mine: str, here: Tensor) -> InputError:
    return InputError(
        f"{path} does not fit: {other} has {tuple(there.shape)} there, {mine} has {tuple(here.shape)} here"
    )


def _classifier(wanted: Mapping[str, Tensor]) -> set[str]:
    """Names in the last layer of the head and of each auxiliary head; without a head, in the very last."""
    last: dict[str, str] = {}
    for name in wanted:
        part = re.match(r"head|aux_heads\.[^.]+", name)
        last[part[0] if part else ""] = re.sub(r"\.(conv|bn)$", "", name.rpartition(".")[0])
    layers = {layer for part, layer in last.items() if part} or set(last.values())
    return {name for name in wanted if any(name.startswith(f"{layer}.") for layer in layers)}


def _adapt_eps(match: Match, network: nn.Module, source: Source) -> None:
    """Batch norms of another epsilon give the outputs of their source after their scale is corrected for it.

    The network's own epsilon stays, because a saved network is built again by its name.
    """
    adapted = set()
    for name, layer in network.named_modules():
        weight, variance = (match.tensors.get(f"{name}.{part}") for part in ("weight", "running_var"))
        if not isinstance(layer, nn.BatchNorm2d) or weight is None or variance is None:
            continue
        if source.eps is not None and layer.eps != source.eps:
            exact = variance.double()
            factor = ((exact + layer.eps) / (exact + source.eps)).sqrt()
            match.tensors[f"{name}.weight"] = (weight.double() * factor).to(weight.dtype)
            adapted.add(layer.eps)
    if adapted:
        match.notes.append(
            f"their batch norms have an epsilon of {source.eps:g}, this network's {max(adapted):g}: "
            "the scales were adapted, the outputs are the same"
        )
