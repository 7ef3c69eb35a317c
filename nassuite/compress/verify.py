"""The gate that every pruned model passes: it equals the dense model with the same channels zeroed.

A forward pass that runs proves nothing: after a wrong cut the shapes often still fit.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nassuite.compress.selections import with_selections
from nassuite.compress.surgery import BATCH_NORMS, Cut, all_outputs, cut, output_slices

TOLERANCE = 1e-4


class MaskEquivalenceError(RuntimeError):
    """A pruned model does not compute what the masked dense model computes."""


def masked(dense: nn.Module, kept: dict[str, Tensor]) -> nn.Module:
    """A copy of ``dense`` in which removed channels are zero from their layer's output on.

    ``kept`` is from ``surgery.cut``. Only outputs are zeroed (weights, biases, batch norms' scale and
    shift), never what later layers read: if the surgery took the wrong inputs from one of
    those, the outputs differ. Exact for activations with f(0) = 0, and any gate that multiplies.
    """
    copied = with_selections(dense)
    with torch.no_grad():
        for name, parameter, dim in output_slices(copied):
            survives = torch.zeros(parameter.numel(), dtype=torch.bool)
            survives[kept[name].flatten().cpu()] = True
            survives = survives.view(parameter.shape)
            if dim is not None:
                survives = survives.transpose(0, dim).flatten(1).any(1)
                survives = survives.view([-1 if d == dim else 1 for d in range(parameter.ndim)])
            parameter.masked_fill_(~survives.to(parameter.device), 0.0)
    return copied


def mask_difference(dense: nn.Module, pruned: nn.Module, kept: dict[str, Tensor], images: Tensor) -> float:
    """Largest difference between the pruned and the masked model's outputs, relative to their scale."""
    differences = [0.0]
    for expected, found in zip(_outputs(masked(dense, kept), images), _outputs(pruned, images), strict=True):
        if expected.shape != found.shape:
            return float("inf")
        difference = (expected - found).abs().max() / expected.abs().max().clamp_min(1e-12)
        differences.append(float(difference) if torch.isfinite(difference) else float("inf"))
    return max(differences)


def gate(
    dense: nn.Module,
    pruned: nn.Module,
    kept: dict[str, Tensor],
    images: Tensor,
    *,
    tolerance: float = TOLERANCE,
) -> float:
    """``mask_difference``; raises ``MaskEquivalenceError`` if it exceeds ``tolerance``."""
    difference = mask_difference(dense, pruned, kept, images)
    if not difference <= tolerance:
        raise MaskEquivalenceError(
            f"the pruned model differs from the masked dense one by {difference:.2g} of the outputs' "
            f"scale, more than {tolerance:g}"
        )
    return difference


def mask_equivalence(dense: nn.Module, pruned: nn.Module, history: Sequence[Cut], images: Tensor) -> float:
    """The gate for a pruned model and the cuts that it claims to be made by, before any fine-tuning.

    Returns the relative difference on ``images`` (N, C, H, W), at most 1e-4; raises
    ``MaskEquivalenceError``. To be asked in float32: TF32 and half precision do not resolve it.
    """
    return gate(dense, pruned, cut(dense, history, images)[1], images)


def scrambled(model: nn.Module, images: Tensor, generator: torch.Generator) -> nn.Module:
    """A copy with random weights in which every channel has something to say, to try a surgery on.

    A residual branch whose last batch norm is still zero, or a dead channel, would let any cut pass.
    """
    copied = copy.deepcopy(model).cpu().float()
    with torch.no_grad():
        for module in copied.modules():
            for name, parameter in module.named_parameters(recurse=False):
                fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.copy_(noise / fan_in**0.5 if name == "weight" and fan_in > 1 else 0.5 * noise)
            if isinstance(module, BATCH_NORMS) and module.affine:
                module.weight.uniform_(0.5, 1.5, generator=generator)
    _settle_batch_norms(copied, images.cpu().float())
    return copied.eval()


def _settle_batch_norms(model: nn.Module, images: Tensor) -> None:
    """Running statistics of these images, so that signals keep their scale through any depth."""
    norms = [m for m in model.modules() if isinstance(m, BATCH_NORMS) and m.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        all_outputs(model, images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def _outputs(model: nn.Module, images: Tensor) -> list[Tensor]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    with torch.no_grad():
        outputs = all_outputs(model, images)
    for module, training in modes:
        module.training = training
    return outputs
