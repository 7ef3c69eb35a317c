"""MobileNetV3 (Howard et al. 2019, "Searching for MobileNetV3")."""

from __future__ import annotations

from torch import nn

from nassuite.blocks.inverted_residual import InvertedResidual
from nassuite.blocks.layers import ConvBN, SqueezeExcite, squeezed_channels
from nassuite.errors import InputError
from nassuite.spec import Activation, round_to_multiple
from nassuite.zoo.mobilenet_v2 import check_width_mult
from nassuite.zoo.network import ZooNetwork, adapted_strides

Row = tuple[int, float, int, bool, Activation, int]
Rows = tuple[tuple[Row, ...], ...]

STEM = 16
LARGE: Rows = (
    # kernel, expansion, channels, squeeze-excite, activation, stride; a line or bracket is a stage
    ((3, 1, 16, False, "relu", 1),),
    ((3, 4, 24, False, "relu", 2), (3, 3, 24, False, "relu", 1)),
    ((5, 3, 40, True, "relu", 2), (5, 3, 40, True, "relu", 1), (5, 3, 40, True, "relu", 1)),
    (
        (3, 6, 80, False, "hard_swish", 2),
        (3, 2.5, 80, False, "hard_swish", 1),
        (3, 2.3, 80, False, "hard_swish", 1),
        (3, 2.3, 80, False, "hard_swish", 1),
    ),
    ((3, 6, 112, True, "hard_swish", 1), (3, 6, 112, True, "hard_swish", 1)),
    (
        (5, 6, 160, True, "hard_swish", 2),
        (5, 6, 160, True, "hard_swish", 1),
        (5, 6, 160, True, "hard_swish", 1),
    ),
)
SMALL: Rows = (
    ((3, 1, 16, True, "relu", 2),),
    ((3, 4.5, 24, False, "relu", 2), (3, 3.67, 24, False, "relu", 1)),
    (
        (5, 4, 40, True, "hard_swish", 2),
        (5, 6, 40, True, "hard_swish", 1),
        (5, 6, 40, True, "hard_swish", 1),
    ),
    ((5, 3, 48, True, "hard_swish", 1), (5, 3, 48, True, "hard_swish", 1)),
    (
        (5, 6, 96, True, "hard_swish", 2),
        (5, 6, 96, True, "hard_swish", 1),
        (5, 6, 96, True, "hard_swish", 1),
    ),
)


def mobilenet_v3_large(
    *,
    num_classes: int,
    in_chans: int,
    stem_stride: int = 2,
    width_mult: float = 1.0,
    reduced_tail: bool = False,
) -> ZooNetwork:
    """Table 1 of the paper; options as in ``mobilenet_v3_small``."""
    return _network(
        LARGE,
        1280,
        num_classes=num_classes,
        in_chans=in_chans,
        stem_stride=stem_stride,
        width_mult=width_mult,
        reduced_tail=reduced_tail,
    )


def mobilenet_v3_small(
    *,
    num_classes: int,
    in_chans: int,
    stem_stride: int = 2,
    width_mult: float = 1.0,
    reduced_tail: bool = False,
) -> ZooNetwork:
    """Table 2 of the paper.

    ``width_mult`` leaves the last linear layer at least as wide as in the paper, which is the convention of
    the published 0.75 weights (torchvision scales it too, and its 0.75 is smaller). ``reduced_tail``
    halves the last stage and that layer, as for the paper's detectors (section 6.3).
    """
    return _network(
        SMALL,
        1024,
        num_classes=num_classes,
        in_chans=in_chans,
        stem_stride=stem_stride,
        width_mult=width_mult,
        reduced_tail=reduced_tail,
    )


def _network(
    rows: Rows,
    last: int,
    *,
    num_classes: int,
    in_chans: int,
    stem_stride: int,
    width_mult: float,
    reduced_tail: bool,
) -> ZooNetwork:
    check_width_mult(width_mult)
    if not isinstance(reduced_tail, bool):
        raise InputError(f"reduced_tail {reduced_tail!r}: True or False")
    # The paper's epsilon, and torchvision's; the weights that are published for other widths have 1e-5.
    eps = 1e-3 if width_mult == 1.0 else 1e-5
    strides = adapted_strides([stage[0][-1] for stage in rows], stem_stride)
    channels = round_to_multiple(STEM * width_mult)
    stem = ConvBN(in_chans, channels, 3, stride=stem_stride, eps=eps, act="hard_swish")
    stages: dict[str, nn.Module] = {"stem": stem}
    hidden = channels
    for number, (stage, stage_stride) in enumerate(zip(rows, strides, strict=True), 1):
        divisor = 2 if reduced_tail and number == len(rows) else 1
        layers = []
        for index, (kernel, expansion, width, squeeze, act, _) in enumerate(stage):
            stride = stage_stride if index == 0 else 1
            out_channels = round_to_multiple(width // divisor * width_mult)
            hidden = round_to_multiple(channels * expansion)
            layers.append(
                InvertedResidual(
                    channels,
                    hidden,
                    out_channels,
                    kernel,
                    stride=stride,
                    act=act,
                    expand=hidden != channels,
                    eps=eps,
                    attention=SqueezeExcite(hidden, squeezed_channels(hidden)) if squeeze else None,
                    shortcut=nn.Identity() if stride == 1 and channels == out_channels else None,
                )
            )
            channels = out_channels
        stages[f"stage{number}"] = nn.Sequential(*layers)
    last = round_to_multiple(last // (2 if reduced_tail else 1) * max(1.0, width_mult))
    return ZooNetwork(stages, _head(channels, hidden, last, num_classes=num_classes, eps=eps))


def _head(channels: int, hidden: int, last: int, *, num_classes: int, eps: float) -> nn.Module:
    """The efficient last stage, which pools before its last expansion (section 5.1)."""
    return nn.Sequential(
        ConvBN(channels, hidden, eps=eps, act="hard_swish"),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(1),
        nn.Linear(hidden, last),
        nn.Hardswish(),
        nn.Dropout(0.2),
        nn.Linear(last, num_classes),
    )
