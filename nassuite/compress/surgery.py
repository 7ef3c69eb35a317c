"""Cutting channels out of a network: torch-pruning's dependency graph does the surgery, nothing else.

Every parameter of a copy is filled with its own positions before the cut; what is left says, for
each tensor, which of the dense model's numbers survived. The pruned weights are gathered by these
positions and the masked model of ``verify`` is derived from them, so neither depends on anyone's
bookkeeping of indices that shift from one cut to the next.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch_pruning.dependency import index_mapping
from torch_pruning.dependency.group import Group as TracedGroup

from nassuite.blocks.shuffle import ChannelShuffle
from nassuite.compress.selections import (
    ChannelSelection,
    StreamSelection,
    with_selections,
    without_selections,
)
from nassuite.compress.shuffles import GroupedConvPruner, ShufflePruner, map_shuffles, tied
from nassuite.compress.units import Units, even_units, units_behind_shuffles

Cut = tuple[str, bool, tuple[int, ...]]
"""Module name, whether its outputs (or its inputs) are cut, and the channels, as torch-pruning's history."""

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
MOST_ROUNDS = 32
"""Orders of channels in which one layer may be met in a group: 20 in ESPNetV2, the most in the zoo without an end."""


@dataclass(frozen=True)
class Member:
    """One tensor's share in a group: ``channels[i]`` of ``module``'s ``side`` falls with root channel ``roots[i]``."""

    module: str
    side: str  # "out" or "in"
    channels: tuple[int, ...]
    roots: tuple[int, ...]


@dataclass(frozen=True)
class Group:
    """Channels of different layers that can only be removed together, named by their root layer.

    Of the root's ``width`` channels any of the ``units`` may go, all channels of a unit together: one of each group of a
    grouped convolution, and what a shuffle ties to it. A channel in none of them never goes. One that ``follows`` goes
    with what a split or a shuffle takes its channels from.
    """

    root: str
    width: int
    units: Units
    members: tuple[Member, ...]
    reaches_output: bool
    follows: bool = False

    @property
    def unit(self) -> int:
        """Channels that go at a time."""
        return len(self.units[0])


def dependency_graph(model: nn.Module, example: Tensor) -> tp.DependencyGraph:
    """torch-pruning's graph of ``model``, which is put into eval mode; all parameters get gradients."""
    model.requires_grad_(True)
    shuffles = ShufflePruner()
    hooks = [
        module.register_forward_hook(shuffles.seen)
        for module in model.modules()
        if isinstance(module, ChannelShuffle)
    ]
    graph = tp.DependencyGraph()
    graph.REGISTERED_PRUNERS[tp.ops.OPTYPE.CONV] = GroupedConvPruner()
    with torch.enable_grad():
        graph.build_dependency(
            model,
            example[:1],
            forward_fn=all_outputs,
            verbose=False,
            customized_pruners={ChannelShuffle: shuffles},
        )
    for hook in hooks:
        hook.remove()
    map_shuffles(graph, shuffles)
    return graph


class EndlessGroupError(Exception):
    """Of layers whose channels a permutation takes round and round; ``met`` are (node, pruning function) on the way."""

    def __init__(self, met: Iterable[tuple[Any, Any]]) -> None:
        super().__init__("its channels are permuted round a residual, so all of them fall together")
        self.met = tuple(met)


class UncuttableError(Exception):
    """Of a group of which no channels can go, and why."""


@contextmanager
def _endless_groups_refused() -> Iterator[None]:
    """torch-pruning follows a shuffle on a residual branch round and round (shuffle attention, SA-Net).

    Every round meets the same layers with their channels in another order, so it does not end before the
    permutation does, which is as good as never.
    """
    original = TracedGroup.add_dep

    def counted(group: TracedGroup, dep: tp.Dependency, idxs: object) -> None:
        met = vars(group).setdefault("met", Counter())
        met[dep.target, dep.handler] += 1
        if met[dep.target, dep.handler] > MOST_ROUNDS:
            raise EndlessGroupError(met)
        original(group, dep, idxs)

    TracedGroup.add_dep = counted
    try:
        yield
    finally:
        TracedGroup.add_dep = original


@contextmanager
def _uncounted_reshapes_forgiven() -> Iterator[None]:
    """torch-pruning divides by zero where it counts the channels behind many splits and shuffles (ShuffleNetV2).

    Such a reshape is left without a mapping of indices; the gate decides on the groups that run through it.
    """
    original = index_mapping.update_reshape_index_mapping

    def forgiving(graph: tp.DependencyGraph, node: object) -> None:
        with suppress(ZeroDivisionError):
            original(graph, node)

    index_mapping.update_reshape_index_mapping = forgiving
    try:
        yield
    finally:
        index_mapping.update_reshape_index_mapping = original


def all_outputs(model: nn.Module, images: Tensor) -> list[Tensor]:
    """Everything that the model computes of images: also what auxiliary heads say, which must fit after a cut."""
    if len(getattr(model, "aux_heads", ())):
        logits, aux = model.forward_with_aux(images)  # type: ignore[operator]
        return [logits, *aux]
    outputs = model(images)
    return [outputs] if isinstance(outputs, Tensor) else list(outputs)


@_endless_groups_refused()
@_uncounted_reshapes_forgiven()
def find_groups(model: nn.Module, example: Tensor) -> tuple[list[Group], dict[str, str]]:
    """All groups that start at a convolution or linear layer, and the layers that have none, with the reason."""
    model = with_selections(model)
    graph = dependency_graph(model, example)
    names = {module: name for name, module in model.named_modules()}
    groups: list[Group] = []
    failed: dict[str, str] = {}
    seen: set[str] = set()
    for layer, name in names.items():
        if name in seen or isinstance(layer, ChannelSelection):  # one of these follows the layers around it
            continue
        if not _has_channels(layer):
            if any(parameter.ndim > 1 for parameter in layer.parameters(recurse=False)):
                failed[name] = f"{type(layer).__name__} is no layer whose channels can be cut exactly"
            continue
        if layer not in graph.module2node:
            failed[name] = "not in the traced graph"
            continue
        try:
            group = _read_group(graph, layer, names)
        except EndlessGroupError as error:
            # Each of them would be followed round in its turn.
            met = [node.module for node, fn in error.met if graph.is_out_channel_pruning_fn(fn)]
            roots = [names[module] for module in met if module in names and _has_channels(module)]
            failed |= dict.fromkeys(roots, str(error))
            seen.update(roots)
            continue
        except UncuttableError as error:
            failed[name] = str(error)
            continue
        except Exception as error:  # whatever torch-pruning stumbles over, this layer is not for it
            failed[name] = f"torch-pruning cannot trace it: {type(error).__name__}: {error}"
            continue
        if not group.follows:
            groups.append(group)
        elif makers := [
            m for m in group.members if m.side == "out" and _makes_channels(model.get_submodule(m.module))
        ]:
            failed |= {member.module: "added to channels that a shuffle deals out" for member in makers}
        seen.update(member.module for member in group.members if member.side == "out")
    return groups, failed


def _makes_channels(layer: nn.Module) -> bool:
    """Whether its outputs are computed from other channels, not taken over one by one."""
    return _has_channels(layer) and not isinstance(layer, ChannelSelection) and not is_depthwise(layer)


def _has_channels(layer: nn.Module) -> bool:
    return isinstance(layer, (*CONVOLUTIONS, *TRANSPOSED, nn.Linear))


def _read_group(graph: tp.DependencyGraph, layer: nn.Module, names: dict[nn.Module, str]) -> Group:
    width = graph.get_out_channels(layer)
    traced = graph.get_pruning_group(
        layer, graph.get_pruner_of_module(layer).prune_out_channels, list(range(width))
    )
    members: list[Member] = []
    divided: list[_Divided] = []
    shuffles: list[list[list[int]]] = []
    reaches_output = follows = False
    for item in traced:
        target, module = item.dep.target, item.dep.target.module
        is_out = graph.is_out_channel_pruning_fn(item.dep.handler)
        reaches_output |= is_out and (not target.outputs or isinstance(module, tp.ops._OutputOp))
        if module not in names:
            continue
        if isinstance(module, StreamSelection):
            follows |= is_out
            continue
        if isinstance(module, ChannelShuffle):
            root_of = dict(zip(item.idxs, item.root_idxs, strict=True))
            sets = tied(module, graph.get_out_channels(module))
            shuffles.append([[root_of[place] for place in together if place in root_of] for together in sets])
            continue
        if isinstance(module, (*CONVOLUTIONS, *TRANSPOSED)):
            channels = module.out_channels if is_out else module.in_channels
            # As in ECA: a cut would pass the gate wherever it happens to miss the few channels that there are.
            if max(item.idxs) >= channels:
                raise UncuttableError(f"its channels lie along a layer's length: {names[module]}")
        member = Member(names[module], "out" if is_out else "in", tuple(item.idxs), tuple(item.root_idxs))
        members.append(member)
        if isinstance(module, (*CONVOLUTIONS, *TRANSPOSED)) and not is_depthwise(module):
            divided.append(_Divided(module.groups, channels, member))
        elif isinstance(module, nn.GroupNorm):
            divided.append(_Divided(module.num_groups, module.num_channels, member))
    units = _units(width, [layer for layer in divided if layer.parts > 1], shuffles)
    return Group(names[layer], width, units, tuple(members), reaches_output, follows)


@dataclass(frozen=True)
class _Divided:
    """The ``channels`` of a layer fall into equal ``parts``, which must stay equal; ``member`` names those in a group."""

    parts: int
    channels: int
    member: Member

    def part_of_roots(self, width: int) -> list[int]:
        part = [0] * width
        for channel, root in zip(self.member.channels, self.member.roots, strict=True):
            part[root] = channel * self.parts // self.channels
        return part


def _units(width: int, divided: Sequence[_Divided], shuffles: Sequence[Sequence[Sequence[int]]]) -> Units:
    """Raises UncuttableError where there are none."""
    parts = math.lcm(*(layer.parts for layer in divided))
    units: Units = ()
    if shuffles:
        units = units_behind_shuffles(width, shuffles, [layer.part_of_roots(width) for layer in divided])
    elif width % parts == 0:
        units = even_units(width, parts)
    if not units:
        raise UncuttableError("no cut leaves the groups of its convolutions of equal width")
    return units


def is_depthwise(layer: nn.Module) -> bool:
    return isinstance(layer, CONVOLUTIONS) and layer.groups == layer.out_channels > 1


@_uncounted_reshapes_forgiven()
def cut(
    model: nn.Module, history: Sequence[Cut], example: Tensor
) -> tuple[nn.Module, dict[str, Tensor], list[Cut]]:
    """The pruned copy of ``model``, for each of its tensors the flat positions in the dense one's, and the complete history.

    That also has the cuts that follow from others (``_follow``). ``example`` (1 or more, C, H, W) is only traced. Raises
    what torch-pruning raises.
    """
    pruned = with_selections(model)
    training = {name: module.training for name, module in pruned.named_modules()}
    dense = {name: (tensor.detach(), tensor.requires_grad) for name, tensor in _tensors(pruned).items()}
    graph = dependency_graph(pruned, example)
    for tensor in _tensors(pruned).values():
        # float64 counts exactly to 2**53.
        positions = torch.arange(tensor.numel(), dtype=torch.float64, device=tensor.device)
        tensor.data = positions.view(tensor.shape)
    graph.load_pruning_history([[name, is_out, list(channels)] for name, is_out, channels in history])
    followed = _follow(graph, pruned, {name: values for name, (values, _) in dense.items()})
    kept = {}
    for name, tensor in _tensors(pruned).items():
        kept[name] = tensor.detach().long()
        values, trained = dense[name]
        tensor.data = values.flatten()[kept[name]]
        tensor.requires_grad_(trained)
    for name, module in pruned.named_modules():
        module.training = training[name]
    without_selections(pruned)
    return pruned, kept, [*history, *followed]


def _follow(graph: tp.DependencyGraph, pruned: nn.Module, dense: Mapping[str, Tensor]) -> list[Cut]:
    """Cuts the outputs of splits and shuffles whose inputs went, and so on behind them; ``pruned`` holds positions in ``dense``.

    Raises ValueError where a split would have no channel left.
    """
    found: list[Cut] = []
    streams = [(name, part) for name, part in pruned.named_modules() if isinstance(part, StreamSelection)]
    progress = True
    while progress:
        progress = False
        for name, part in streams:
            weight = dense[f"{name}.weight"].flatten()[part.weight.detach().long()]
            lost = (weight == 0).flatten(1).all(1).nonzero().flatten().tolist()
            if not lost:
                continue
            if len(lost) == len(weight):
                raise ValueError("a split of the channels would have none left on one side")
            pruner = graph.get_pruner_of_module(part)
            group = graph.get_pruning_group(part, pruner.prune_out_channels, lost)
            if any(
                graph.is_out_channel_pruning_fn(item.dep.handler) and _makes_channels(item.dep.target.module)
                for item in group
            ):
                continue
            group.prune(record_history=False)
            found.append((name, True, tuple(lost)))
            progress = True
    return found


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def output_slices(model: nn.Module) -> Iterator[tuple[str, Tensor, int | None]]:
    """(name, parameter, the dimension of its output channels); None where each element is one of them."""
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(prefix, recurse=False):
            if parameter.ndim > 1 and isinstance(module, (*CONVOLUTIONS, nn.Linear)):
                yield name, parameter, 0
            elif parameter.ndim > 1 and isinstance(module, TRANSPOSED):
                yield name, parameter, 1
            else:
                yield name, parameter, None
