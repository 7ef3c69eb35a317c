"""Batch-norm statistics of one architecture, and its accuracy with them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from nassuite.nn.network import Network
from nassuite.nn.supernet import Statistics, Supernet
from nassuite.spec import Arch
from nassuite.train.at_once import evaluated_at_once, parts, trained_at_once
from nassuite.train.sandwich import resize


@torch.no_grad()
def recalibrate(supernet: Supernet, arch: Arch, batches: Iterable[Tensor]) -> Statistics:
    """Running means and variances over ``batches`` of training images (N, C, H, W) in 0..1.

    Every batch counts the same. The shared weights are not touched and nothing is remembered, so an
    accuracy does not depend on what was evaluated before (slimmable networks, Yu and Huang 2019,
    section 3.2; OFA, Cai et al. 2020).
    """
    return batch_norm_statistics(recalibrated(supernet, arch, batches))


@torch.no_grad()
def recalibrated(supernet: Supernet, arch: Arch, batches: Iterable[Tensor]) -> Network:
    """The extracted network with statistics over ``batches``, in evaluation mode."""
    network = supernet.extract(arch).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None  # a plain average over the batches
    together = None
    for images in batches:
        x = resize(images, arch.resolution)
        together = together or trained_at_once(network, x[:1])
        for part in parts(len(x), together):
            network(x[part])
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 0.1
    return network.eval()


def batch_norm_statistics(network: nn.Module) -> dict[str, Tensor]:
    names = ("running_mean", "running_var", "num_batches_tracked")
    return {k: v for k, v in network.state_dict().items() if k.endswith(names)}


@torch.no_grad()
def predict(network: nn.Module, batches: Iterable[Tensor], resolution: int | None = None) -> Tensor:
    """Logits (N, num_classes) over all batches, in evaluation mode."""
    network.eval()
    logits, together = [], None
    for images in batches:
        x = resize(images, resolution) if resolution else images
        together = together or evaluated_at_once(network, x[:1])
        logits += [network(x[part]).float() for part in parts(len(x), together)]
    return torch.cat(logits)
