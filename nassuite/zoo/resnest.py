"""ResNeSt (Zhang et al. 2020, arXiv 2004.08955)."""

from __future__ import annotations

from torch import nn

from nassuite.blocks.split_attention import SplitAttention
from nassuite.spec import Activation
from nassuite.zoo.network import ZooNetwork
from nassuite.zoo.resnet import bottleneck_resnet, plain_bottleneck


def resnest50(*, num_classes: int, in_chans: int, stem_stride: int = 2) -> ZooNetwork:
    """ResNeSt-50 (table 2, "2s1x64d"): ResNet-D with split attention, the authors' PyTorch model.

    Unlike light_cnns' network, a block halves the size by average pooling behind the split attention
    (section 4.1, "average downsampling"), not by a strided convolution.
    """
    return bottleneck_resnet(
        50,
        plain_bottleneck(spatial=_split_attention, average=True),
        num_classes=num_classes,
        in_chans=in_chans,
        stem_stride=stem_stride,
        deep_stem=True,
    )


def _split_attention(
    in_channels: int, out_channels: int, kernel: int, /, *, stride: int, act: Activation | None
) -> nn.Module:
    attention = SplitAttention(in_channels, out_channels, kernel, radix=2, act=act)
    if stride == 1:
        return attention
    return nn.Sequential(attention, nn.AvgPool2d(3, stride=stride, padding=1))
