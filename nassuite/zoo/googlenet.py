"""GoogLeNet, the first Inception network."""

from __future__ import annotations

from torch import nn

from nassuite.blocks.inception import (
    Conv,
    Parallel,
    Pool,
    ResponseNorm,
    Step,
    Style,
    inception_layers,
    inception_stages,
)
from nassuite.zoo.network import PoolHead, ZooNetwork, adapted_strides

# Channels of: the 1x1; the 1x1 and its 3x3; the 1x1 and its 5x5; the 1x1 behind the pooling.
MODULES = {
    "3a": (64, (96, 128), (16, 32), 32),
    "3b": (128, (128, 192), (32, 96), 64),
    "4a": (192, (96, 208), (16, 48), 64),
    "4b": (160, (112, 224), (24, 64), 64),
    "4c": (128, (128, 256), (24, 64), 64),
    "4d": (112, (144, 288), (32, 64), 64),
    "4e": (256, (160, 320), (32, 128), 128),
    "5a": (256, (160, 320), (32, 128), 128),
    "5b": (384, (192, 384), (48, 128), 128),
}
AUX_CHANNELS = {"stage4a": 512, "stage4d": 528}
DOWN = Pool("max", 3, 2)


def googlenet(
    *,
    num_classes: int,
    in_chans: int,
    stem_stride: int = 2,
    batch_norm: bool = False,
    five_by_five: bool = True,
    aux_logits: bool = False,
) -> ZooNetwork:
    """GoogLeNet (Szegedy et al. 2015, table 1) as in Caffe: response normalisation, poolings that round up.

    ``batch_norm`` puts batch norms where the convolutions' biases were, and takes out the response
    normalisation. ``five_by_five`` False is torchvision's form (with ``batch_norm``): 3x3 kernels where
    the paper has 5x5, and a 2x2 pooling before module 5a. ``aux_logits`` adds the two auxiliary heads, behind
    4a and 4d; they pool to 4x4 from any size, as torchvision's do, where the paper's pooling (5x5,
    stride 3) needs a 14x14 map.
    Some re-implementations leave out the stem's stride of 2: that is ``stem_stride=1``, for small images.
    """
    strides = adapted_strides((2,), stem_stride)
    stem_pools = [DOWN for stride in strides if stride > 1]
    norms = [] if batch_norm else [ResponseNorm()]
    kernel = 5 if five_by_five else 3
    stages: dict[str, list[Step]] = {
        "stem": [Conv(64, 7 if stem_stride == 2 else 3, stem_stride)],
        "stage2": [*stem_pools, *norms, Conv(64), Conv(192, 3), *norms],
        "stage3": [DOWN, _module("3a", kernel), _module("3b", kernel)],
        "stage4a": [DOWN, _module("4a", kernel)],
        "stage4d": [_module(name, kernel) for name in ("4b", "4c", "4d")],
        "stage4e": [_module("4e", kernel)],
        "stage5": [
            DOWN if five_by_five else Pool("max", 2, 2),
            _module("5a", kernel),
            _module("5b", kernel),
        ],
    }
    style = Style(batch_norm=batch_norm, ceil_mode=True)
    modules, channels = inception_stages(stages, in_chans, style)
    head = PoolHead(channels, num_classes, dropout=0.4)
    aux_heads = {name: _aux_head(width, num_classes, style) for name, width in AUX_CHANNELS.items()}
    return ZooNetwork(modules, head, aux_heads=aux_heads if aux_logits else None)


def _module(name: str, kernel: int) -> Parallel:
    single, (before_three, three), (before_five, five), projection = MODULES[name]
    return Parallel(
        [Conv(single)],
        [Conv(before_three), Conv(three, 3)],
        [Conv(before_five), Conv(five, kernel)],
        [Pool("max"), Conv(projection)],
    )


def _aux_head(in_channels: int, num_classes: int, style: Style) -> nn.Sequential:
    """Section 5 of the paper: (N, in_channels, H, W) to (N, num_classes)."""
    conv, channels = inception_layers([Conv(128)], in_channels, style)
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(4),
        conv,
        nn.Flatten(),
        nn.Linear(channels * 4 * 4, 1024),
        nn.ReLU(),
        nn.Dropout(0.7),
        nn.Linear(1024, num_classes),
    )
