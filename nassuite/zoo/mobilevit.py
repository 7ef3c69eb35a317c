"""MobileViT (Mehta and Rastegari 2022, arXiv 2110.02178): XXS, XS and S."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from nassuite.blocks.inverted_residual import InvertedResidual
from nassuite.blocks.layers import ConvBN
from nassuite.blocks.mobilevit_block import MobileViTBlock
from nassuite.zoo.network import PoolHead, ZooNetwork, adapted_strides

STEM = 16
STRIDES = (1, 2, 2, 2, 2)
INVERTED_RESIDUALS = (1, 3, 1, 1, 1)
TRANSFORMER_LAYERS = (0, 0, 2, 4, 3)


@dataclass(frozen=True)
class Variant:
    """Table 4: ``widths`` of the five stages, ``dims`` of the last three's transformers.

    ``expand`` is the inverted residuals' ratio, ``dropout`` that in the transformers of the authors' code.
    """

    widths: tuple[int, int, int, int, int]
    dims: tuple[int, int, int]
    expand: int
    dropout: float


XXS = Variant((16, 24, 48, 64, 80), (64, 80, 96), expand=2, dropout=0.05)
XS = Variant((32, 48, 64, 80, 96), (96, 120, 144), expand=4, dropout=0.1)
S = Variant((32, 64, 96, 128, 160), (144, 192, 240), expand=4, dropout=0.1)


def mobilevit_xxs(*, num_classes: int, in_chans: int, stem_stride: int = 2) -> ZooNetwork:
    """MobileViT-XXS, section 3 and table 4; inverted residuals expand by 2, those of the others by 4."""
    return _mobilevit(XXS, num_classes=num_classes, in_chans=in_chans, stem_stride=stem_stride)


def mobilevit_xs(*, num_classes: int, in_chans: int, stem_stride: int = 2) -> ZooNetwork:
    """MobileViT-XS, section 3 and table 4."""
    return _mobilevit(XS, num_classes=num_classes, in_chans=in_chans, stem_stride=stem_stride)


def mobilevit_s(*, num_classes: int, in_chans: int, stem_stride: int = 2) -> ZooNetwork:
    """MobileViT-S, section 3 and table 4.

    As in the authors' code and timm, in all three: linear layers have a bias, a layer norm ends each
    transformer, the 1x1 convolution before it has neither batch norm nor activation, and the
    last 1x1 convolution has four times its input's channels. light_cnns has other numbers of
    parameters, and refuses images of 224 pixels, whose last map of 7x7 no 2x2 patches tile.
    """
    return _mobilevit(S, num_classes=num_classes, in_chans=in_chans, stem_stride=stem_stride)


def _mobilevit(variant: Variant, *, num_classes: int, in_chans: int, stem_stride: int) -> ZooNetwork:
    strides = adapted_strides(STRIDES, stem_stride)
    stages: dict[str, nn.Module] = {"stem": ConvBN(in_chans, STEM, 3, stride=stem_stride, act="silu")}
    dims = (0, 0, *variant.dims)
    inputs = STEM
    for number, width in enumerate(variant.widths):
        blocks: list[nn.Module] = []
        for layer in range(INVERTED_RESIDUALS[number]):
            stride = strides[number] if layer == 0 else 1
            blocks.append(_inverted_residual(inputs, width, expand=variant.expand, stride=stride))
            inputs = width
        if TRANSFORMER_LAYERS[number]:
            dim = dims[number]
            blocks.append(
                MobileViTBlock(
                    width, dim, depth=TRANSFORMER_LAYERS[number], hidden=2 * dim, dropout=variant.dropout
                )
            )
        stages[f"stage{number + 1}"] = nn.Sequential(*blocks)
    features = 4 * inputs
    head = nn.Sequential(ConvBN(inputs, features, act="silu"), PoolHead(features, num_classes, dropout=0.1))
    return ZooNetwork(stages=stages, head=head)


def _inverted_residual(inputs: int, outputs: int, *, expand: int, stride: int) -> InvertedResidual:
    return InvertedResidual(
        inputs,
        inputs * expand,
        outputs,
        stride=stride,
        act="silu",
        shortcut=nn.Identity() if stride == 1 and inputs == outputs else None,
    )
