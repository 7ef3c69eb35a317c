"""ESPNet and its encoder ESPNet-C for segmentation (Mehta et al. 2018, section 3 and figure 4).

As the authors' released networks are: of their two definitions of the decoder the one used for testing,
whose last merge takes the stem's 16 channels. The one in their training folder, and copies of it elsewhere,
take 19 there and have 540 more parameters; no released weights fit it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nassuite.blocks.esp import ESP, ESP_DILATIONS, ESP_EPS, bn_prelu, conv_bn_prelu
from nassuite.errors import InputError

STEM, MIDDLE, COARSE = 16, 64, 128  # channels at a half, a quarter and an eighth of the image's size
MULTIPLE = 8


class ESPNetC(nn.Module):
    """The encoder: images (N, in_chans, H, W) to (N, num_classes, H / 8, W / 8).

    The pooled image joins the maps at a half and a quarter of its size, and each level's first map its last.
    """

    def __init__(self, *, num_classes: int, in_chans: int, p: int, q: int) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(3, stride=2, padding=1)
        self.stem = conv_bn_prelu(in_chans, STEM, 3, stride=2, eps=ESP_EPS)
        self.stem_norm = bn_prelu(STEM + in_chans, eps=ESP_EPS)
        self.down2 = ESP(STEM + in_chans, MIDDLE, stride=2)
        self.level2 = nn.Sequential(*(ESP(MIDDLE, MIDDLE, residual=True) for _ in range(p)))
        self.level2_norm = bn_prelu(2 * MIDDLE + in_chans, eps=ESP_EPS)
        self.down3 = ESP(2 * MIDDLE + in_chans, COARSE, stride=2)
        self.level3 = nn.Sequential(*(ESP(COARSE, COARSE, residual=True) for _ in range(q)))
        self.level3_norm = bn_prelu(2 * COARSE, eps=ESP_EPS)
        self.classifier = nn.Conv2d(2 * COARSE, num_classes, 1, bias=False)

    def maps(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The stem's map, (N, 16, H / 2, W / 2), and both levels', at H / 4 and H / 8."""
        half = self.pool(image)
        stem = self.stem(image)
        first = self.down2(self.stem_norm(torch.cat([stem, half], 1)))
        level2 = self.level2_norm(torch.cat([self.level2(first), first, self.pool(half)], 1))
        first = self.down3(level2)
        level3 = self.level3_norm(torch.cat([first, self.level3(first)], 1))
        return stem, level2, level3

    def forward(self, image: Tensor) -> Tensor:
        return self.classifier(self.maps(image)[-1])


class ESPNet(nn.Module):
    """Encoder and light decoder: images (N, in_chans, H, W) to (N, num_classes, H, W).

    H and W are multiples of 8. The decoder works in as many channels as there are classes, and in 5 where
    there are fewer, because its ESP unit has 5 branches.
    """

    def __init__(self, *, num_classes: int, in_chans: int, p: int, q: int) -> None:
        super().__init__()
        width = max(num_classes, len(ESP_DILATIONS))
        self.encoder = ESPNetC(num_classes=width, in_chans=in_chans, p=p, q=q)
        self.project = nn.Conv2d(2 * MIDDLE + in_chans, width, 1, bias=False)
        self.norm = nn.BatchNorm2d(width, eps=ESP_EPS)
        self.merge_half = conv_bn_prelu(STEM + width, width, 3, eps=ESP_EPS)
        self.up_eighth = _doubling(width, width)
        self.merge_quarter = nn.Sequential(bn_prelu(2 * width, eps=ESP_EPS), ESP(2 * width, width))
        self.up_quarter = nn.Sequential(_doubling(width, width), bn_prelu(width, eps=ESP_EPS))
        self.classifier = _doubling(width, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        if height % MULTIPLE or width % MULTIPLE:
            raise InputError(
                f"image {height} x {width}: ESPNet needs a height and a width that are multiples of {MULTIPLE}"
            )
        stem, level2, level3 = self.encoder.maps(image)
        eighth = self.up_eighth(self.norm(self.encoder.classifier(level3)))
        quarter = self.merge_quarter(torch.cat([self.project(level2), eighth], 1))
        return self.classifier(self.merge_half(torch.cat([self.up_quarter(quarter), stem], 1)))


def _doubling(in_channels: int, out_channels: int) -> nn.ConvTranspose2d:
    """Learned upsampling by 2 that starts as repeating each pixel, so that no random weights are needed."""
    layer = nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2, bias=False)
    with torch.no_grad():
        layer.weight.zero_().diagonal(dim1=0, dim2=1).fill_(1.0)
    return layer


def espnet(*, num_classes: int, in_chans: int, p: int = 2, q: int = 3) -> ESPNet:
    """ESPNet with ``p`` residual ESP units at a quarter of the image's size and ``q`` at an eighth (section 4.1).

    Raises InputError if ``p`` or ``q`` is not a whole number from 1 up; the network does for images whose
    sides are not multiples of 8.
    """
    _check(p=p, q=q)
    return ESPNet(num_classes=num_classes, in_chans=in_chans, p=p, q=q)


def espnet_c(*, num_classes: int, in_chans: int, p: int = 2, q: int = 3) -> ESPNetC:
    """ESPNet-C: the encoder alone, with logits at an eighth of the image's size; ``p`` and ``q`` as in ``espnet``."""
    _check(p=p, q=q)
    return ESPNetC(num_classes=num_classes, in_chans=in_chans, p=p, q=q)


def _check(**depths: int) -> None:
    for name, depth in depths.items():
        if not isinstance(depth, int) or isinstance(depth, bool) or depth < 1:
            raise InputError(f"{name} {depth!r}: a whole number from 1 up")
