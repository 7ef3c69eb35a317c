"""Plain torch-pruning, as its README shows it: what our strategies have to beat."""

from __future__ import annotations

import copy

import torch
import torch_pruning as tp
from torch import Tensor, nn

from nassuite.errors import InputError

MOST = 0.9
"""Of a layer's channels; without a limit, global pruning cuts some layers down to a single one."""


def torch_pruned(dense: nn.Module, example: Tensor, ratio: float, *, round_to: int | None) -> nn.Module:
    """A copy of ``dense``, ``ratio`` of whose channels went by global group magnitude, in one step.

    ``example`` (N, C, H, W); ``round_to`` makes widths multiples of it. The classifier's outputs stay. Raises InputError for a
    network that torch-pruning cannot follow.
    """
    network = copy.deepcopy(dense).cpu().float().eval()
    classifier = [module for module in network.modules() if isinstance(module, nn.Linear)][-1:]
    try:
        pruner = tp.pruner.BasePruner(
            network, example, importance=tp.importance.GroupMagnitudeImportance(p=2), global_pruning=True,
            pruning_ratio=ratio, max_pruning_ratio=MOST, ignored_layers=classifier, round_to=round_to,
        )  # fmt: skip
        pruner.step()
        with torch.no_grad():
            network(example)
    except (ArithmeticError, LookupError, RuntimeError, ValueError) as error:
        raise InputError(f"torch-pruning cannot follow it: {type(error).__name__}: {error}") from error
    return network.eval()
