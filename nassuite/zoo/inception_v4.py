"""Inception v4 and Inception-ResNet v2 (Szegedy et al. 2017)."""

from __future__ import annotations

from nassuite.blocks.inception import Conv, Parallel, Pool, Residual, Step, Style, inception_stages
from nassuite.zoo.network import PoolHead, ZooNetwork, adapted_strides

DOWN = Pool("max", 3, 2)

V4_STEM_SPLIT = Parallel(  # the second filter concatenation of figure 3
    [Conv(64), Conv(96, 3, valid=True)],
    [Conv(64), Conv(64, (1, 7)), Conv(64, (7, 1)), Conv(96, 3, valid=True)],
)
V4_STEM_END = Parallel([Conv(192, 3, 2, valid=True)], [DOWN])
V4_A = Parallel(
    [Conv(96)],
    [Conv(64), Conv(96, 3)],
    [Conv(64), Conv(96, 3), Conv(96, 3)],
    [Pool("avg"), Conv(96)],
)
V4_REDUCTION_A = Parallel(
    [Conv(384, 3, 2, valid=True)],
    [Conv(192), Conv(224, 3), Conv(256, 3, 2, valid=True)],
    [DOWN],
)
V4_B = Parallel(
    [Conv(384)],
    [Conv(192), Conv(224, (1, 7)), Conv(256, (7, 1))],
    [Conv(192), Conv(192, (7, 1)), Conv(224, (1, 7)), Conv(224, (7, 1)), Conv(256, (1, 7))],
    [Pool("avg"), Conv(128)],
)
V4_REDUCTION_B = Parallel(
    [Conv(192), Conv(192, 3, 2, valid=True)],
    [Conv(256), Conv(256, (1, 7)), Conv(320, (7, 1)), Conv(320, 3, 2, valid=True)],
    [DOWN],
)
V4_C = Parallel(
    [Conv(256)],
    [Conv(384), Parallel([Conv(256, (1, 3))], [Conv(256, (3, 1))])],
    [Conv(384), Conv(448, (3, 1)), Conv(512, (1, 3)), Parallel([Conv(256, (1, 3))], [Conv(256, (3, 1))])],
    [Pool("avg"), Conv(256)],
)


def inception_v4(*, num_classes: int, in_chans: int, stem_stride: int = 2) -> ZooNetwork:
    """Inception v4 (figures 3 to 9), as released with TensorFlow and in timm.

    Average poolings do not count the padding. Stem and reductions do not pad; with ``stem_stride=1`` they do.
    """
    (stride,) = adapted_strides((2,), stem_stride)
    stem_fork = Parallel([Pool("max", 3, stride)], [Conv(96, 3, stride, valid=True)])
    stages: dict[str, list[Step]] = {
        "stem": [Conv(32, 3, stem_stride, valid=True), Conv(32, 3, valid=True), Conv(64, 3)],
        "stage2": [stem_fork],
        "stage3": [V4_STEM_SPLIT, V4_STEM_END, *[V4_A] * 4],
        "stage4": [V4_REDUCTION_A, *[V4_B] * 7],
        "stage5": [V4_REDUCTION_B, *[V4_C] * 3],
    }
    return _network(stages, num_classes=num_classes, in_chans=in_chans, pad_all=stem_stride == 1)


RESNET_5B = Parallel(
    [Conv(96)],
    [Conv(48), Conv(64, 5)],
    [Conv(64), Conv(96, 3), Conv(96, 3)],
    [Pool("avg"), Conv(64)],
)
RESNET_A = Parallel([Conv(32)], [Conv(32), Conv(32, 3)], [Conv(32), Conv(48, 3), Conv(64, 3)])
RESNET_REDUCTION_A = Parallel(
    [Conv(384, 3, 2, valid=True)],
    [Conv(256), Conv(256, 3), Conv(384, 3, 2, valid=True)],
    [DOWN],
)
RESNET_B = Parallel([Conv(192)], [Conv(128), Conv(160, (1, 7)), Conv(192, (7, 1))])
RESNET_REDUCTION_B = Parallel(
    [Conv(256), Conv(384, 3, 2, valid=True)],
    [Conv(256), Conv(288, 3, 2, valid=True)],
    [Conv(256), Conv(288, 3), Conv(320, 3, 2, valid=True)],
    [DOWN],
)
RESNET_C = Parallel([Conv(192)], [Conv(192), Conv(224, (1, 3)), Conv(256, (3, 1))])


def inception_resnet_v2(*, num_classes: int, in_chans: int, stem_stride: int = 2) -> ZooNetwork:
    """Inception-ResNet v2 (section 3.2), as released with TensorFlow and in timm.

    The release differs from the paper's figures: it begins with Inception v3's stem and a 5x5 module, repeats
    its residual modules 10, 20 and 10 times where the paper does 5, 10 and 5 times, and its last module has
    neither scale nor ReLU. Residual branches end in a 1x1 convolution without batch norm, scaled by 0.1 to 0.2.
    """
    strides = adapted_strides((2,), stem_stride)
    stages: dict[str, list[Step]] = {
        "stem": [Conv(32, 3, stem_stride, valid=True), Conv(32, 3, valid=True), Conv(64, 3)],
        "stage2": [*(DOWN for stride in strides if stride > 1), Conv(80), Conv(192, 3, valid=True)],
        "stage3": [DOWN, RESNET_5B, *[Residual(RESNET_A, 0.17)] * 10],
        "stage4": [RESNET_REDUCTION_A, *[Residual(RESNET_B, 0.1)] * 20],
        "stage5": [
            RESNET_REDUCTION_B,
            *[Residual(RESNET_C, 0.2)] * 9,
            Residual(RESNET_C, 1.0, relu=False),
            Conv(1536),
        ],
    }
    return _network(stages, num_classes=num_classes, in_chans=in_chans, pad_all=stem_stride == 1)


def _network(stages: dict[str, list[Step]], *, num_classes: int, in_chans: int, pad_all: bool) -> ZooNetwork:
    modules, channels = inception_stages(stages, in_chans, Style(pad_all=pad_all))
    return ZooNetwork(modules, PoolHead(channels, num_classes, dropout=0.2))
