"""What the zoo's networks have in common: stages, a head, feature maps; the pieces that build them."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from nassuite.errors import InputError


@dataclass(frozen=True)
class FeatureInfo:
    """One feature map: the stage that gives it, its channels, and the image's size over its own."""

    name: str
    channels: int
    reduction: int


class ZooNetwork(nn.Module):
    """A published network: images (N, C, H, W), normalised, to logits (N, num_classes).

    ``stages`` run one after another, by name in their order; ``head`` takes the last one's feature map.
    ``aux_heads`` are classifiers behind the stages of their names; only ``forward_with_aux`` runs them.
    """

    def __init__(
        self,
        stages: Mapping[str, nn.Module],
        head: nn.Module,
        *,
        aux_heads: Mapping[str, nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleDict(stages)
        self.head = head
        self.aux_heads = nn.ModuleDict(aux_heads or {})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for stage in self.stages.values():
            x = stage(x)
        return self.head(x)

    def forward_with_aux(self, x: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """Logits, and those of each auxiliary head."""
        aux = []
        for name, stage in self.stages.items():
            x = stage(x)
            if name in self.aux_heads:
                aux.append(self.aux_heads[name](x))
        return self.head(x), tuple(aux)


class FeatureNetwork(nn.Module):
    """The stages of a network without its head: images to a list of feature maps, finest first.

    There is one map for each stride, that of the last stage that has it; ``out_indices`` selects among
    them and counts as Python does, so -1 is the coarsest. ``feature_info`` describes what comes out.
    """

    def __init__(
        self, network: ZooNetwork, *, size: int, in_chans: int, out_indices: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        found = _feature_maps(network, size, in_chans)
        indices = range(len(found)) if out_indices is None else out_indices
        try:
            chosen = sorted({range(len(found))[index] for index in indices})
        except IndexError:
            raise InputError(
                f"out_indices {tuple(indices)}: this network has {len(found)} feature maps, 0 to {len(found) - 1}"
            ) from None
        self.feature_info = [found[index] for index in chosen]
        names = list(network.stages)
        last = names.index(self.feature_info[-1].name)
        self.stages = nn.ModuleDict({name: network.stages[name] for name in names[: last + 1]})

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        wanted = {info.name for info in self.feature_info}
        maps = []
        for name, stage in self.stages.items():
            x = stage(x)
            if name in wanted:
                maps.append(x)
        return maps


def _feature_maps(network: ZooNetwork, size: int, in_chans: int) -> list[FeatureInfo]:
    """The last stage of each stride, found by running the stages on the meta device."""
    stages = copy.deepcopy(network.stages).to("meta").eval()
    x = torch.empty(1, in_chans, size, size, device="meta")
    last: dict[int, FeatureInfo] = {}
    with torch.no_grad():
        for name, stage in stages.items():
            x = stage(x)
            # Without padding a map is a little smaller than size / stride.
            reduction = 2 ** round(math.log2(size / x.shape[-1]))
            last[reduction] = FeatureInfo(name, x.shape[1], reduction)
    return [last[reduction] for reduction in sorted(last)]


class PoolHead(nn.Module):
    """Global average pooling, dropout, linear classifier: (N, channels, H, W) to (N, num_classes)."""

    def __init__(self, channels: int, num_classes: int, *, dropout: float = 0.0, bias: bool = True) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.classifier = nn.Linear(channels, num_classes, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.dropout(self.pool(x).flatten(1)))


def adapted_strides(strides: Sequence[int], stem_stride: int) -> tuple[int, ...]:
    """The strides that follow the stem's, for a stem of that stride.

    A stem of stride 1 is for images of 32 pixels or so: the first downsampling behind it is left out too,
    and a network that ends at stride 32 ends at stride 8.
    """
    if stem_stride not in (1, 2):
        raise InputError(f"stem_stride {stem_stride}: 1 or 2")
    strides = list(strides)
    if stem_stride == 1:
        first = next((i for i, stride in enumerate(strides) if stride > 1), None)
        if first is not None:
            strides[first] = 1
    return tuple(strides)
