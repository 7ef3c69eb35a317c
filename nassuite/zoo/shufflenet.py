"""ShuffleNet (Zhang et al. 2018, arXiv 1707.01083) and ShuffleNet V2 (Ma et al. 2018, arXiv 1807.11164).

Both exist in two forms with different wiring, whose weights do not fit each other: "paper" is the text's,
with a bias in the classifier; "megvii" is the code that the authors released later, without.
"""

from __future__ import annotations

import math

from torch import nn

from nassuite.blocks.layers import ConvBN
from nassuite.blocks.shuffle import DealtShuffleUnit, ShuffleUnit
from nassuite.blocks.shuffle_v1 import Form, GroupShuffleUnit
from nassuite.errors import InputError
from nassuite.zoo.network import PoolHead, ZooNetwork, adapted_strides

UNITS = (4, 8, 4)  # of stages 2, 3, 4; the first of each has stride 2
STEM = 24
# V1: channels of stage 2 for each number of groups (table 1); each stage doubles them.
V1_CHANNELS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}
# V2: channels of stages 2, 3, 4 and of the last convolution for each width (table 5).
V2_CHANNELS = {
    0.5: ((48, 96, 192), 1024),
    1.0: ((116, 232, 464), 1024),
    1.5: ((176, 352, 704), 1024),
    2.0: ((244, 488, 976), 2048),
}


def shufflenet_v1(
    *,
    num_classes: int,
    in_chans: int,
    stem_stride: int = 2,
    groups: int = 3,
    width_mult: float = 1.0,
    form: Form | None = None,
) -> ZooNetwork:
    """Table 1 of the paper; the very first pointwise convolution has no groups (section 3.3).

    Without ``form`` it is the one that the published figures belong to: "paper" at width 1, "megvii" (table
    and accuracies of the released code: 0.5, 1.5, 2) at other widths. They differ in the
    classifier's bias, in the stem's channels beside width 1, and in ``GroupShuffleUnit``'s wiring.
    Well-known re-implementations have biases in the convolutions, and no groups in stage 2.
    """
    if groups not in V1_CHANNELS:
        raise InputError(f"groups {groups}: {', '.join(map(str, V1_CHANNELS))}")
    form = _checked(form or ("paper" if width_mult == 1 else "megvii"))
    channels = V1_CHANNELS[groups] * width_mult
    if channels <= 0 or channels % (4 * groups):
        raise InputError(
            f"width_mult {width_mult}: {groups} groups need a multiple of {4 * groups} channels in stage 2, "
            f"which has {V1_CHANNELS[groups]} at width 1"
        )
    # The released code keeps the stem's 24 channels at width 1.5, and widens 12 to 16 for 8 groups.
    scale = math.floor(width_mult) if form == "megvii" and width_mult > 1 else width_mult
    inputs = math.ceil(int(STEM * scale) / groups) * groups
    stages = _stem(in_chans, inputs, stem_stride)
    outputs = int(channels)
    for number, units in enumerate(UNITS, 2):
        stage = []
        for unit in range(units):
            first = number == 2 and unit == 0
            stage.append(
                GroupShuffleUnit(
                    inputs,
                    outputs,
                    outputs // 4,
                    groups=groups,
                    stride=1 if unit else 2,
                    form=form,
                    first_groups=1 if first else groups,
                )
            )
            inputs = outputs
        stages[f"stage{number}"] = nn.Sequential(*stage)
        outputs *= 2
    return ZooNetwork(stages, PoolHead(inputs, num_classes, bias=form == "paper"))


def shufflenet_v1_cifar(*, num_classes: int, in_chans: int, groups: int = 2) -> ZooNetwork:
    """The form for 32-pixel images that is in use (kuangliu's): a 1x1 stem, three stages of stride 2.

    Beside the stem it differs from the paper in that a downsampling unit's inner channels are a quarter
    of its branch's outputs, not of the unit's, and that there is a ReLU behind the depthwise convolution.
    ``groups`` are 1, 2 or 3: the inner channels are no multiple of more.
    """
    if groups not in (1, 2, 3):
        raise InputError(f"groups {groups}: 1, 2 or 3")
    stages: dict[str, nn.Module] = {"stem": ConvBN(in_chans, STEM, act="relu")}
    inputs, outputs = STEM, V1_CHANNELS[groups]
    for number, units in enumerate(UNITS, 2):
        stage = []
        for unit in range(units):
            branch = outputs if unit else outputs - inputs
            first_groups = 1 if inputs == STEM else groups
            stage.append(
                GroupShuffleUnit(
                    inputs,
                    outputs,
                    branch // 4,
                    groups=groups,
                    stride=1 if unit else 2,
                    first_groups=first_groups,
                    shuffle_groups=first_groups,
                    depthwise_relu=True,
                )
            )
            inputs = outputs
        stages[f"stage{number}"] = nn.Sequential(*stage)
        outputs *= 2
    return ZooNetwork(stages, PoolHead(inputs, num_classes))


def shufflenet_v2(
    *,
    num_classes: int,
    in_chans: int,
    stem_stride: int = 2,
    width_mult: float = 1.0,
    form: Form = "paper",
) -> ZooNetwork:
    """Table 5 of the paper, with both branches of a downsampling unit equally wide, as torchvision has it.

    ``form`` "megvii" is the released code: an uneven split there (``DealtShuffleUnit``), no bias in
    the classifier, and a dropout of 0.2 at width 2.
    """
    if width_mult not in V2_CHANNELS:
        raise InputError(f"width_mult {width_mult}: {', '.join(map(str, V2_CHANNELS))}")
    released = _checked(form) == "megvii"
    widths, last = V2_CHANNELS[width_mult]
    stages = _stem(in_chans, STEM, stem_stride)
    inputs = STEM
    for number, (units, outputs) in enumerate(zip(UNITS, widths, strict=True), 2):
        stage: list[nn.Module] = []
        for unit in range(units):
            if released:
                stage.append(DealtShuffleUnit(inputs, outputs, downsamples=unit == 0))
            else:
                stage.append(ShuffleUnit(inputs, outputs, stride=1 if unit else 2, downsamples=unit == 0))
            inputs = outputs
        stages[f"stage{number}"] = nn.Sequential(*stage)
    dropout = 0.2 if released and width_mult == 2 else 0.0
    head = nn.Sequential(
        ConvBN(inputs, last, act="relu"), PoolHead(last, num_classes, dropout=dropout, bias=not released)
    )
    return ZooNetwork(stages, head)


def _stem(in_chans: int, channels: int, stem_stride: int) -> dict[str, nn.Module]:
    """The first convolution and, unless the stem's stride is 1, a max pooling."""
    (pool,) = adapted_strides((2,), stem_stride)
    stages: dict[str, nn.Module] = {"stem": ConvBN(in_chans, channels, 3, stride=stem_stride, act="relu")}
    if pool == 2:
        stages["pool"] = nn.MaxPool2d(3, stride=2, padding=1)
    return stages


def _checked(form: Form) -> Form:
    if form not in ("paper", "megvii"):
        raise InputError(f"form {form!r}: paper or megvii")
    return form
