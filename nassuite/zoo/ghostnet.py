"""GhostNet (Han et al. 2020, arXiv 1911.11907)."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from nassuite.blocks.ghost import GhostBottleneck
from nassuite.blocks.layers import ConvBN, SqueezeExcite, activation
from nassuite.errors import InputError
from nassuite.spec import round_to_multiple
from nassuite.zoo.network import ZooNetwork, adapted_strides

MULTIPLE = 4
STEM, MIXED = 16, 1280
STRIDES = (1, 2, 2, 2, 2)
STAGES = (  # table 1, each block: kernel, hidden channels, channels, squeeze-and-excitation
    ((3, 16, 16, False),),
    ((3, 48, 24, False), (3, 72, 24, False)),
    ((5, 72, 40, True), (5, 120, 40, True)),
    (
        (3, 240, 80, False),
        (3, 200, 80, False),
        (3, 184, 80, False),
        (3, 184, 80, False),
        (3, 480, 112, True),
        (3, 672, 112, True),
    ),
    (
        (5, 672, 160, True),
        (5, 960, 160, False),
        (5, 960, 160, True),
        (5, 960, 160, False),
        (5, 960, 160, True),
    ),
)


def ghostnet(*, num_classes: int, in_chans: int, stem_stride: int = 2, width_mult: float = 1.0) -> ZooNetwork:
    """GhostNet, section 3.3 and table 1, with details that only the authors' code tells.

    ``width_mult`` scales all channels, those of squeeze-and-excitation too, in multiples of 4 and not
    of 8, but never the 1280 before the classifier. The convolution to those, behind the pooling, has
    a bias and no batch norm. d-li14's port is another network, of 5,180,840 parameters.
    """
    if not isinstance(width_mult, int | float) or not width_mult > 0:
        raise InputError(f"width_mult {width_mult!r}: a number above 0")

    def scaled(channels: int) -> int:
        return round_to_multiple(channels * width_mult, MULTIPLE)

    strides = adapted_strides(STRIDES, stem_stride)
    inputs = scaled(STEM)
    stages: dict[str, nn.Module] = {"stem": ConvBN(in_chans, inputs, 3, stride=stem_stride, act="relu")}
    for number, (rows, stride) in enumerate(zip(STAGES, strides, strict=True), 1):
        blocks = []
        for layer, (kernel, hidden, channels, se) in enumerate(rows):
            outputs = scaled(channels)
            blocks.append(
                _bottleneck(
                    inputs, scaled(hidden), outputs, kernel, stride=stride if layer == 0 else 1, se=se
                )
            )
            inputs = outputs
        stages[f"stage{number}"] = nn.Sequential(*blocks)
    features = scaled(STAGES[-1][-1][1])
    head = OrderedDict(
        conv=ConvBN(inputs, features, act="relu"),
        pool=nn.AdaptiveAvgPool2d(1),
        mix=nn.Conv2d(features, MIXED, 1),
        act=activation("relu"),
        flatten=nn.Flatten(1),
        dropout=nn.Dropout(0.2),
        classifier=nn.Linear(MIXED, num_classes),
    )
    return ZooNetwork(stages=stages, head=nn.Sequential(head))


def _bottleneck(
    inputs: int, hidden: int, outputs: int, kernel: int, *, stride: int, se: bool
) -> GhostBottleneck:
    squeezed = round_to_multiple(hidden / 4, MULTIPLE)
    return GhostBottleneck(
        inputs,
        hidden,
        outputs,
        kernel,
        stride=stride,
        attention=SqueezeExcite(hidden, squeezed) if se else None,
        shortcut=nn.Identity() if stride == 1 and inputs == outputs else None,
    )
