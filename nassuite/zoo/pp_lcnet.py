"""PP-LCNet (Cui et al. 2021, arXiv 2109.15099)."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from nassuite.blocks.layers import ConvBN, SqueezeExcite, activation
from nassuite.errors import InputError
from nassuite.spec import round_to_multiple
from nassuite.zoo.network import ZooNetwork, adapted_strides

STEM, MIXED = 16, 1280
STRIDES = (1, 2, 2, 2, 2)
STAGES = (  # table 1, each block: kernel, channels, squeeze-and-excitation
    ((3, 32, False),),
    ((3, 64, False),) * 2,
    ((3, 128, False),) * 2,
    ((3, 256, False), *((5, 256, False),) * 5),
    ((5, 512, True),) * 2,
)


def pp_lcnet(
    *,
    num_classes: int,
    in_chans: int,
    stem_stride: int = 2,
    width_mult: float = 1.0,
    head_bias: bool = False,
) -> ZooNetwork:
    """PP-LCNet, section 3 and table 1: depthwise separable convolutions without any shortcut.

    The 1x1 convolution behind the pooling has 1280 channels at every ``width_mult``, and neither batch
    norm nor bias; timm's ``lcnet`` has one, which is ``head_bias``. PaddlePaddle's dropout here leaves
    training as it is and multiplies by 0.8 in inference, PyTorch's does the reverse: weights from
    PaddleClas need their classifier's weight, not its bias, multiplied by 0.8.
    """
    if not isinstance(width_mult, int | float) or not width_mult > 0:
        raise InputError(f"width_mult {width_mult!r}: a number above 0")
    strides = adapted_strides(STRIDES, stem_stride)
    inputs = round_to_multiple(STEM * width_mult)
    stages: dict[str, nn.Module] = {"stem": ConvBN(in_chans, inputs, 3, stride=stem_stride, act="hard_swish")}
    for number, (rows, stride) in enumerate(zip(STAGES, strides, strict=True), 1):
        blocks = []
        for layer, (kernel, channels, se) in enumerate(rows):
            outputs = round_to_multiple(channels * width_mult)
            blocks.append(
                _depthwise_separable(inputs, outputs, kernel, stride=stride if layer == 0 else 1, se=se)
            )
            inputs = outputs
        stages[f"stage{number}"] = nn.Sequential(*blocks)
    head = OrderedDict(
        pool=nn.AdaptiveAvgPool2d(1),
        mix=nn.Conv2d(inputs, MIXED, 1, bias=head_bias),
        act=activation("hard_swish"),
        flatten=nn.Flatten(1),
        dropout=nn.Dropout(0.2),
        classifier=nn.Linear(MIXED, num_classes),
    )
    return ZooNetwork(stages=stages, head=nn.Sequential(head))


def _depthwise_separable(inputs: int, outputs: int, kernel: int, *, stride: int, se: bool) -> nn.Module:
    """Section 3: squeeze-and-excitation stands between the two convolutions."""
    return nn.Sequential(
        OrderedDict(
            depthwise=ConvBN(inputs, inputs, kernel, stride=stride, groups=inputs, act="hard_swish"),
            se=SqueezeExcite(inputs, inputs // 4) if se else nn.Identity(),
            pointwise=ConvBN(inputs, outputs, act="hard_swish"),
        )
    )
