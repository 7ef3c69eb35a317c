"""Networks from before 2015 that people prune and distil from: LeNet-5, AlexNet, VGG-16."""

from __future__ import annotations

from torch import nn

from nassuite.blocks.layers import ConvBN
from nassuite.blocks.pooling import AdaptiveAveragePool
from nassuite.errors import InputError
from nassuite.zoo.network import ZooNetwork

# VGG's configuration D: (convolutions, channels) of each stage, a max pooling behind each.
VGG16 = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))


def lenet5(*, num_classes: int, in_chans: int) -> ZooNetwork:
    """LeCun et al. 1998, section II.B, in today's form: ReLU, max pooling, all maps connected, no RBF output.

    For 32-pixel images; the maps of larger ones are averaged down to 5x5.
    """
    stages = {
        "stage1": nn.Sequential(nn.Conv2d(in_chans, 6, 5), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
        "stage2": nn.Sequential(nn.Conv2d(6, 16, 5), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
    }
    head = nn.Sequential(
        AdaptiveAveragePool(5),
        nn.Flatten(),
        nn.Linear(16 * 5 * 5, 120),
        nn.ReLU(inplace=True),
        nn.Linear(120, 84),
        nn.ReLU(inplace=True),
        nn.Linear(84, num_classes),
    )
    return ZooNetwork(stages, head)


def alexnet(*, num_classes: int, in_chans: int, stem_stride: int = 4) -> ZooNetwork:
    """Krizhevsky 2014, "One weird trick": one tower of 64-192-384-256-256 channels, no local normalisation.

    As torchvision has it; the network of 2012 has two towers and 96-256-384-384-256. ``stem_stride`` is 4,
    or 1 for 32-pixel images: a 3x3 stem, total stride 8, and a 3x3 grid in front of the classifier for 6x6.
    """
    if stem_stride not in (1, 4):
        raise InputError(f"stem_stride {stem_stride}: 4, or 1 for small images")
    small = stem_stride == 1
    kernel, padding, grid = (3, 1, 3) if small else (11, 2, 6)
    stages = {
        "stage1": nn.Sequential(
            nn.Conv2d(in_chans, 64, kernel, stride=stem_stride, padding=padding), nn.ReLU(inplace=True)
        ),
        "stage2": nn.Sequential(
            nn.MaxPool2d(3, stride=2), nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(inplace=True)
        ),
        "stage3": nn.Sequential(
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(inplace=True),
        ),
        "pool": nn.MaxPool2d(3, stride=2),
    }
    head = nn.Sequential(
        AdaptiveAveragePool(grid),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(256 * grid * grid, 4096),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Linear(4096, 4096),
        nn.ReLU(inplace=True),
        nn.Linear(4096, num_classes),
    )
    return ZooNetwork(stages, head)


def vgg16(*, num_classes: int, in_chans: int, stem_stride: int = 2) -> ZooNetwork:
    """Simonyan and Zisserman 2015, table 1, configuration D.

    The stem has stride 1 as it is; ``stem_stride`` 1 is the usual form for 32-pixel images nevertheless:
    all five poolings stay, and the classifier sees one pixel instead of a 7x7 grid.
    """
    return _vgg16(num_classes, in_chans=in_chans, stem_stride=stem_stride, batch_norm=False)


def vgg16_bn(*, num_classes: int, in_chans: int, stem_stride: int = 2) -> ZooNetwork:
    """``vgg16`` with a batch norm behind every convolution, which keeps its bias, as torchvision has it."""
    return _vgg16(num_classes, in_chans=in_chans, stem_stride=stem_stride, batch_norm=True)


def _vgg16(num_classes: int, *, in_chans: int, stem_stride: int, batch_norm: bool) -> ZooNetwork:
    if stem_stride not in (1, 2):
        raise InputError(f"stem_stride {stem_stride}: 1 or 2")
    grid = 1 if stem_stride == 1 else 7
    stages: dict[str, nn.Module] = {}
    inputs = in_chans
    for number, (convolutions, channels) in enumerate(VGG16, 1):
        layers: list[nn.Module] = [nn.MaxPool2d(2)] if number > 1 else []
        for _ in range(convolutions):
            if batch_norm:
                layers.append(ConvBN(inputs, channels, 3, bias=True, act="relu"))
            else:
                layers += [nn.Conv2d(inputs, channels, 3, padding=1), nn.ReLU(inplace=True)]
            inputs = channels
        stages[f"stage{number}"] = nn.Sequential(*layers)
    stages["pool"] = nn.MaxPool2d(2)
    head = nn.Sequential(
        AdaptiveAveragePool(grid),
        nn.Flatten(),
        nn.Linear(inputs * grid * grid, 4096),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Linear(4096, 4096),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Linear(4096, num_classes),
    )
    return ZooNetwork(stages, head)
