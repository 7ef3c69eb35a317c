"""ESPNetv2 for classification and for segmentation (Mehta et al. 2019, section 3.3 and table 1).

The classifier is the same in the authors' repositories ESPNetv2 and EdgeNets. The segmentation network is that
of EdgeNets, whose weights reach the published figures; the decoder in the older repository is another one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nassuite.blocks.esp import (
    EESP,
    EESP_BRANCHES,
    GatedProjection,
    PyramidPool,
    StridedEESP,
    bn_prelu,
    conv_bn_prelu,
    resize,
    spatial_size,
)
from nassuite.errors import InputError
from nassuite.zoo.network import PoolHead, ZooNetwork, adapted_strides

BASE = 32  # channels of the stem, at most and at scale 1
LEVELS = ((13, 0, 0), (11, 3, 9), (9, 7, 7), (7, 3, 5))
"""For each level the receptive field of its down-sampler, the EESP units behind it, and their receptive field."""
SCALES = (0.5, 1.0, 1.25, 1.5, 2.0)  # the authors'; most others do not divide into groups and branches
DECODER = (64, 48, 32)  # channels at 1/16, 1/8 and 1/4 of the image's size
PYRAMID = 16  # channels inside a pyramid pool, at most


class Level(nn.Module):
    """A down-sampler and its EESP units: a map, and the image at the output's size or None, to a map."""

    def __init__(
        self, number: int, in_channels: int, out_channels: int, *, image_channels: int, stride: int = 2
    ) -> None:
        super().__init__()
        reach, count, inner_reach = LEVELS[number]
        self.down = StridedEESP(
            in_channels,
            out_channels,
            image_channels=image_channels,
            receptive_field=reach,
            stride=stride,
        )
        self.units = nn.Sequential(
            *(EESP(out_channels, out_channels, receptive_field=inner_reach) for _ in range(count))
        )

    def forward(self, x: Tensor, image: Tensor | None) -> Tensor:
        return self.units(self.down(x, image))


class Stem(nn.Module):
    """3x3 convolution; the image, pooled to the same size, is handed on behind its channels."""

    def __init__(self, in_chans: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv = conv_bn_prelu(in_chans, out_channels, 3, stride=stride)
        self.pool = _image_pool(stride)

    def forward(self, image: Tensor) -> Tensor:
        return torch.cat([self.conv(image), self.pool(image)], 1)


class Stage(nn.Module):
    """A level of the classifier. A stage takes one tensor, so the image is the last of its channels.

    All but the ``last`` stage pool it once more and hand it on so; the last one does not use it.
    """

    def __init__(self, level: Level, *, image_channels: int, stride: int, last: bool) -> None:
        super().__init__()
        self.level = level
        self.image_channels = image_channels
        self.last = last
        self.pool = _image_pool(stride)

    def forward(self, x: Tensor) -> Tensor:
        features, image = x[:, : -self.image_channels], x[:, -self.image_channels :]
        if self.last:
            return self.level(features, None)
        image = self.pool(image)
        return torch.cat([self.level(features, image), image], 1)


class ESPNetv2Segmenter(nn.Module):
    """Images (N, in_chans, H, W) to (N, num_classes, H, W), H and W of any size.

    The encoder is the classifier's to 1/16 of the size. At each finer size the decoder adds the encoder's
    map and pools a pyramid; the last step to the image's size is bilinear.
    """

    def __init__(self, *, num_classes: int, in_chans: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        inner = max(1, min(num_classes // 2, PYRAMID))
        encoder = widths[:4]
        self.image_pool = _image_pool(2)
        self.stem = conv_bn_prelu(in_chans, encoder[0], 3, stride=2)
        self.levels = nn.ModuleList(
            Level(number, encoder[number], encoder[number + 1], image_channels=in_chans)
            for number in range(len(encoder) - 1)
        )
        channels = (encoder[-1], *DECODER, num_classes)
        self.pyramids = nn.ModuleList(
            PyramidPool(channels[i], inner, channels[i + 1], last=i == len(DECODER))
            for i in range(len(DECODER) + 1)
        )
        finer = encoder[-2::-1]
        self.projections = nn.ModuleList(
            GatedProjection(inputs, width) for inputs, width in zip(finer, DECODER, strict=True)
        )
        self.norms = nn.ModuleList(bn_prelu(width) for width in DECODER)

    def forward(self, image: Tensor) -> Tensor:
        pooled = self.image_pool(image)
        maps = [self.stem(image)]
        for level in self.levels:
            pooled = self.image_pool(pooled)
            maps.append(level(maps[-1], pooled))
        first, *pyramids = self.pyramids
        x = first(maps.pop())
        for project, norm, pyramid in zip(self.projections, self.norms, pyramids, strict=True):
            finer = maps.pop()
            x = pyramid(norm(project(finer) + resize(x, spatial_size(finer))))
        return resize(x, spatial_size(image))


def espnetv2(*, num_classes: int, in_chans: int, scale: float = 1.0, stem_stride: int = 2) -> ZooNetwork:
    """ESPNetv2 (table 1), its channels multiplied by ``scale``: 0.5, 1, 1.25, 1.5 or 2.

    The stem never has more than 32 channels; the head has 1024, at scale 2 1280. In the level at 1/32 the
    image's way exists without being used, as in the released weights: the parameters count it and its
    gradients are None. Feature maps but the last carry the pooled image as their last ``in_chans`` channels.
    """
    widths = _widths(scale)
    strides = (stem_stride, *adapted_strides((2,) * len(LEVELS), stem_stride))
    stages: dict[str, nn.Module] = {"stem": Stem(in_chans, widths[0], strides[0])}
    for number in range(len(LEVELS)):
        stride = strides[number + 1]
        level = Level(number, widths[number], widths[number + 1], image_channels=in_chans, stride=stride)
        last = number == len(LEVELS) - 1
        stages[f"stage{number + 1}"] = Stage(level, image_channels=in_chans, stride=stride, last=last)
    head = nn.Sequential(
        conv_bn_prelu(widths[-2], widths[-2], 3, groups=widths[-2]),
        conv_bn_prelu(widths[-2], widths[-1], groups=EESP_BRANCHES),
        PoolHead(widths[-1], num_classes, dropout=0.2),
    )
    return ZooNetwork(stages, head)


def espnetv2_seg(*, num_classes: int, in_chans: int, scale: float = 1.0) -> ESPNetv2Segmenter:
    """ESPNetv2 with the EdgeNets decoder in its Cityscapes and PASCAL form; ``scale`` as in ``espnetv2``."""
    return ESPNetv2Segmenter(num_classes=num_classes, in_chans=in_chans, widths=_widths(scale))


def _widths(scale: float) -> tuple[int, ...]:
    """Channels of the stem, of the four levels, and of the head."""
    if isinstance(scale, bool) or scale not in SCALES:
        raise InputError(f"scale {scale!r}: expected one of {', '.join(map(str, SCALES))}")
    base = int(BASE * scale)
    levels = (base * 2 ** (number + 1) for number in range(len(LEVELS)))
    return min(BASE, base), *levels, 1024 if scale <= 1.5 else 1280


def _image_pool(stride: int) -> nn.Module:
    return nn.AvgPool2d(3, stride=2, padding=1) if stride == 2 else nn.Identity()
