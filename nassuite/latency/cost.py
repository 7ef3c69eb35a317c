"""What a PyTorch module costs, counted exactly: multiply-accumulates, parameters, memory traffic.

Counted are convolutions, transposed convolutions and linear layers, wherever they stand in the
module, while it runs once. Padding counts like image, as everywhere in the literature; batch
norm, activations, pooling and functional calls (``F.conv2d``) do not count.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard

import torch
from torch import nn

Kind = Literal["conv", "depthwise", "grouped", "pointwise", "transposed", "linear"]
Countable = (
    nn.Conv1d
    | nn.Conv2d
    | nn.Conv3d
    | nn.ConvTranspose1d
    | nn.ConvTranspose2d
    | nn.ConvTranspose3d
    | nn.Linear
)
FLOAT_BYTES = 4


@dataclass(frozen=True)
class LayerCost:
    """One call of one layer. Shapes are (C, H, W) without the batch; ``params`` are its weight and bias."""

    name: str
    kind: Kind
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    macs: int
    params: int
    memory_access_bytes: int


@dataclass(frozen=True)
class Cost:
    """Of one image, in float32.

    ``params`` are all parameters of the module, those of batch norm too. ``activation_bytes`` are
    the outputs of all counted layers together; ``memory_access_bytes`` their inputs, outputs and weights
    (ShuffleNetV2, Ma et al. 2018, section 3, "MAC").
    """

    macs: int
    params: int
    activation_bytes: int
    memory_access_bytes: int
    layers: tuple[LayerCost, ...]


def cost(module: nn.Module, input_shape: tuple[int, ...]) -> Cost:
    """Runs a copy of ``module`` on zeros of ``input_shape`` (C, H, W), on the module's own device.

    A module on the meta device is counted without arithmetic. A layer that is called twice counts
    twice, its parameters once.
    """
    # A copy: neither hooks nor train mode, caches or batch norm statistics of the original change.
    copied = copy.deepcopy(module).eval()
    layers: list[LayerCost] = []
    for name, layer in copied.named_modules():
        if _is_countable(layer):
            layer.register_forward_hook(_recorder(name, layers))
    tensor = next(iter([*copied.parameters(), *copied.buffers()]), torch.empty(0))
    dtype = tensor.dtype if tensor.is_floating_point() else torch.float32
    with torch.no_grad():
        copied(torch.zeros(1, *input_shape, device=tensor.device, dtype=dtype))
    return Cost(
        macs=sum(layer.macs for layer in layers),
        params=sum(parameter.numel() for parameter in module.parameters()),
        activation_bytes=sum(_count(layer.out_shape) for layer in layers) * FLOAT_BYTES,
        memory_access_bytes=sum(layer.memory_access_bytes for layer in layers),
        layers=tuple(layers),
    )


def _is_countable(layer: nn.Module) -> TypeGuard[Countable]:
    return isinstance(layer, Countable)


def _recorder(name: str, layers: list[LayerCost]) -> Any:
    def hook(layer: Countable, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        in_shape, out_shape = tuple(inputs[0].shape[1:]), tuple(output.shape[1:])
        # Every weight is used once for each pixel: of the output, or of the input where
        # convolutions are transposed. A linear layer's pixels are all dimensions but the last.
        if isinstance(layer, nn.Linear):
            positions = _count(out_shape[:-1])
        else:
            positions = _count((in_shape if _is_transposed(layer) else out_shape)[1:])
        params = sum(parameter.numel() for parameter in layer.parameters())
        layers.append(
            LayerCost(
                name=name,
                kind=_kind(layer),
                in_shape=in_shape,
                out_shape=out_shape,
                macs=layer.weight.numel() * positions,
                params=params,
                memory_access_bytes=(_count(in_shape) + _count(out_shape) + params) * FLOAT_BYTES,
            )
        )

    return hook


def _is_transposed(layer: nn.Module) -> bool:
    return isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d)


def _kind(layer: Countable) -> Kind:
    if isinstance(layer, nn.Linear):
        return "linear"
    if _is_transposed(layer):
        return "transposed"
    if layer.groups > 1:
        return "depthwise" if layer.groups == layer.in_channels else "grouped"
    return "pointwise" if set(layer.kernel_size) == {1} else "conv"


def _count(shape: tuple[int, ...]) -> int:
    return int(torch.Size(shape).numel())
