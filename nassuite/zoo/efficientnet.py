"""EfficientNet (Tan and Le 2019, arXiv 1905.11946): B0, compound scaling, B1 to B7."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from nassuite.blocks.inverted_residual import InvertedResidual
from nassuite.blocks.layers import ConvBN, SqueezeExcite
from nassuite.errors import InputError
from nassuite.spec import round_to_multiple
from nassuite.zoo.network import PoolHead, ZooNetwork, adapted_strides

STEM, HEAD = 32, 1280
RESOLUTION = 224
STAGES = (  # table 1: expansion, kernel, stride, channels, layers
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
SQUEEZE = 4
"""Block input channels to squeezed channels; not the expanded ones, as in MobileNetV3."""


@dataclass(frozen=True)
class Scaling:
    """Factors of channels and layers, the images' side in pixels, and the dropout before the classifier."""

    width: float
    depth: float
    resolution: int
    dropout: float


RELEASED = (
    Scaling(1.0, 1.0, 224, 0.2),
    Scaling(1.0, 1.1, 240, 0.2),
    Scaling(1.1, 1.2, 260, 0.3),
    Scaling(1.2, 1.4, 300, 0.3),
    Scaling(1.4, 1.8, 380, 0.4),
    Scaling(1.6, 2.2, 456, 0.4),
    Scaling(1.8, 2.6, 528, 0.5),
    Scaling(2.0, 3.1, 600, 0.5),
)
"""B0 to B7 as their authors released them. They are not quite on the line of ``compound_scaling``."""


def compound_scaling(
    phi: float, *, depth: float = 1.2, width: float = 1.1, resolution: float = 1.15
) -> Scaling:
    """Depth, width and resolution grown together: equation 3, with the factors found for B0 (section 5).

    One more ``phi`` costs about twice the multiply-accumulates. Dropout grows in step from 0.2 to 0.5
    at 7, in tenths (section 5.2), which gives that of all released networks. Raises ``InputError``
    if ``phi`` is negative or a factor below 1.
    """
    if not phi >= 0:
        raise InputError(f"phi {phi}: a number from 0 up")
    for name, factor in (("depth", depth), ("width", width), ("resolution", resolution)):
        if not factor >= 1:
            raise InputError(f"{name} {factor}: compound scaling takes factors from 1 up")
    return Scaling(
        width=width**phi,
        depth=depth**phi,
        resolution=round(RESOLUTION * resolution**phi),
        dropout=round(0.2 + 0.3 * min(phi / 7, 1.0), 1),
    )


class StochasticDepth(nn.Module):
    """In training, drops an image's whole residual branch (Huang et al. 2016, section 3), else scales it up."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        kept = 1.0 - self.probability
        return x * x.new_empty(len(x), 1, 1, 1).bernoulli_(kept).div_(kept)


def scaled_efficientnet(
    scaling: Scaling,
    *,
    num_classes: int,
    in_chans: int,
    stem_stride: int = 2,
    stochastic_depth: float = 0.2,
    eps: float = 1e-5,
) -> ZooNetwork:
    """B0 scaled: channels rounded to multiples of 8, layers rounded up.

    ``stochastic_depth`` is the probability of dropping a block, growing from 0 at the first one to
    that behind the last (section 5.2: survival 0.8). ``eps`` is that of all batch norms.
    """
    if not 0 <= stochastic_depth < 1:
        raise InputError(f"stochastic_depth {stochastic_depth}: a probability from 0 up, below 1")
    strides = adapted_strides([stride for _, _, stride, _, _ in STAGES], stem_stride)
    layers = [math.ceil(scaling.depth * count) for *_, count in STAGES]
    inputs = round_to_multiple(STEM * scaling.width)
    stages: dict[str, nn.Module] = {
        "stem": ConvBN(in_chans, inputs, 3, stride=stem_stride, eps=eps, act="silu")
    }
    behind = 0  # blocks so far
    for number, ((expand, kernel, _, width, _), stride, count) in enumerate(
        zip(STAGES, strides, layers, strict=True), 1
    ):
        outputs = round_to_multiple(width * scaling.width)
        blocks = []
        for layer in range(count):
            blocks.append(
                _mb_conv(
                    inputs,
                    outputs,
                    kernel,
                    expand=expand,
                    stride=stride if layer == 0 else 1,
                    dropped=stochastic_depth * behind / sum(layers),
                    eps=eps,
                )
            )
            inputs, behind = outputs, behind + 1
        stages[f"stage{number}"] = nn.Sequential(*blocks)
    features = round_to_multiple(HEAD * scaling.width)
    head = nn.Sequential(
        ConvBN(inputs, features, eps=eps, act="silu"),
        PoolHead(features, num_classes, dropout=scaling.dropout),
    )
    return ZooNetwork(stages=stages, head=head)


def efficientnet(
    *,
    num_classes: int,
    in_chans: int,
    compound: int = 0,
    stem_stride: int = 2,
    stochastic_depth: float = 0.2,
) -> ZooNetwork:
    """EfficientNet B0 to B7 by ``compound``, sections 3 to 5.

    As in torchvision: symmetric padding, where the authors' TensorFlow pads more at the end, and batch
    norms with an epsilon of 1e-5 up to B4 and of 1e-3 from B5 on.
    """
    if not isinstance(compound, int) or compound not in range(len(RELEASED)):
        raise InputError(f"compound {compound!r}: 0 to {len(RELEASED) - 1}, for EfficientNet B0 to B7")
    return scaled_efficientnet(
        RELEASED[compound],
        num_classes=num_classes,
        in_chans=in_chans,
        stem_stride=stem_stride,
        stochastic_depth=stochastic_depth,
        eps=1e-3 if compound >= 5 else 1e-5,
    )


def _mb_conv(
    inputs: int, outputs: int, kernel: int, *, expand: int, stride: int, dropped: float, eps: float
) -> InvertedResidual:
    """Section 4: MobileNetV2's inverted residual with squeeze-and-excitation and SiLU."""
    hidden = inputs * expand
    adds = stride == 1 and inputs == outputs
    return InvertedResidual(
        inputs,
        hidden,
        outputs,
        kernel,
        stride=stride,
        act="silu",
        expand=expand != 1,
        eps=eps,
        attention=SqueezeExcite(hidden, inputs // SQUEEZE, act="silu", gate="sigmoid"),
        # Where attention on the output would stand, a branch is dropped: last, before the sum.
        output_attention=StochasticDepth(dropped) if adds and dropped else None,
        shortcut=nn.Identity() if adds else None,
    )
