"""Networks as their authors' code names and wires them, told again in few lines: what the converters must meet."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

V2_ROWS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
NEXT_ROWS = (
    (2, 96, 1, 2), (6, 144, 1, 1), (6, 192, 3, 2), (6, 288, 3, 2),
    (6, 384, 4, 1), (6, 576, 4, 2), (6, 960, 3, 1), (6, 1280, 1, 1),
)  # fmt: skip


def conv_bn(
    inputs: int, outputs: int, kernel: int = 1, *, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs)]


class CoordAtt(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        inner = max(8, width // 32)
        self.conv1, self.bn1 = nn.Conv2d(width, inner, 1), nn.BatchNorm2d(inner)
        self.conv2, self.conv3 = nn.Conv2d(inner, width, 1), nn.Conv2d(inner, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        joined = torch.cat([x.mean(3, keepdim=True), x.mean(2, keepdim=True).mT], 2)
        rows, columns = F.hardswish(self.bn1(self.conv1(joined))).split([x.shape[2], x.shape[3]], 2)
        return x * self.conv3(columns.mT).sigmoid() * self.conv2(rows).sigmoid()


class ECA(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        kernel = 1 if width < 96 else 3
        self.conv = nn.Conv1d(1, 1, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.conv(x.mean((2, 3))[:, None])[:, 0].sigmoid()
        return x * weights[:, :, None, None]


class SpatialGate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.spatial = nn.ModuleDict(
            {"conv": nn.Conv2d(2, 1, 7, padding=3, bias=False), "bn": nn.BatchNorm2d(1)}
        )

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.cat([x.max(1, keepdim=True)[0], x.mean(1, keepdim=True)], 1)
        return x * self.spatial["bn"](self.spatial["conv"](pooled)).sigmoid()


class TripletAttention(nn.Module):
    def __init__(self, _: int) -> None:
        super().__init__()
        self.ChannelGateH, self.ChannelGateW, self.SpatialGate = SpatialGate(), SpatialGate(), SpatialGate()

    def forward(self, x: Tensor) -> Tensor:
        first = self.ChannelGateH(x.transpose(1, 2)).transpose(1, 2)
        second = self.ChannelGateW(x.transpose(1, 3)).transpose(1, 3)
        return (self.SpatialGate(x) + first + second) / 3


class Inverted(nn.Module):
    """``nested``: each convolution with its activation is a sequence of its own, and a gate ends the block."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        stride: int,
        expand: int,
        *,
        gate: Callable[[int], nn.Module] | None,
        nested: bool,
    ) -> None:
        super().__init__()
        hidden = inputs * expand
        parts = [[*conv_bn(inputs, hidden), nn.ReLU6()]] if expand > 1 else []
        parts.append([*conv_bn(hidden, hidden, 3, stride=stride, groups=hidden), nn.ReLU6()])
        layers = (
            [nn.Sequential(*part) for part in parts]
            if nested
            else [layer for part in parts for layer in part]
        )
        if gate and not nested and expand > 1:
            layers.append(gate(hidden))
        layers += conv_bn(hidden, outputs)
        if gate and nested:
            layers.append(gate(outputs))
        self.conv = nn.Sequential(*layers)
        self.identity = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.identity else self.conv(x)


class MobileNetV2(nn.Module):
    def __init__(self, *, gate: Callable[[int], nn.Module] | None = None, nested: bool = False) -> None:
        super().__init__()
        features: list[nn.Module] = [nn.Sequential(*conv_bn(3, 32, 3, stride=2), nn.ReLU6())]
        inputs = 32
        for expand, width, count, stride in V2_ROWS:
            for index in range(count):
                first = stride if index == 0 else 1
                features.append(Inverted(inputs, width, first, expand, gate=gate, nested=nested))
                inputs = width
        last = nn.Sequential(*conv_bn(inputs, 1280), nn.ReLU6())
        self.features = nn.Sequential(*features, *([last] if nested else []))
        self.conv = nn.Identity() if nested else last
        linear = nn.Linear(1280, 10)
        self.classifier = nn.Sequential(nn.Dropout(), linear) if gate else linear

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.conv(self.features(x)).mean((2, 3)))


class SGBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, reduction: int, *, keeps: bool) -> None:
        super().__init__()
        inner = inputs // reduction
        if inner < outputs / 6:
            inner = max(16, int(math.ceil(outputs / 6) + 8) // 16 * 16)
        both = reduction == 2 or keeps or inputs == outputs
        first = [*conv_bn(inputs, inputs, 3, groups=inputs), nn.ReLU6()] if both else []
        last = conv_bn(outputs, outputs, 3, stride=stride, groups=outputs) if both or stride == 2 else []
        middle = [*conv_bn(inputs, inner), *conv_bn(inner, outputs), nn.ReLU6()]
        self.conv = nn.Sequential(*first, *middle, *last)
        self.identity = inputs == outputs and not keeps

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.identity else self.conv(x)


class MobileNeXt(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        features: list[nn.Module] = [nn.Sequential(*conv_bn(3, 32, 3, stride=2), nn.ReLU6())]
        inputs = 32
        for reduction, width, count, stride in NEXT_ROWS:
            for index in range(count):
                first = stride if index == 0 else 1
                features.append(SGBlock(inputs, width, first, reduction, keeps=count == 1 and stride == 1))
                inputs = width
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(), nn.Linear(1280, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


class UnitV1(nn.Module):
    def __init__(self, inputs: int, outputs: int, groups: int, *, first: bool, stride: int) -> None:
        super().__init__()
        middle, self.groups, self.stride = outputs // 4, groups, stride
        self.branch_main_1 = nn.Sequential(
            *conv_bn(inputs, middle, groups=1 if first else groups),
            nn.ReLU(),
            *conv_bn(middle, middle, 3, stride=stride, groups=middle),
        )
        self.branch_main_2 = nn.Sequential(
            *conv_bn(middle, outputs - inputs if stride == 2 else outputs, groups=groups)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.branch_main_1(x)
        y = y.unflatten(1, (-1, self.groups)).transpose(1, 2).flatten(1, 2)
        y = self.branch_main_2(y)
        if self.stride == 1:
            return F.relu(x + y)
        return torch.cat([F.avg_pool2d(x, 3, 2, 1), F.relu(y)], 1)


class UnitV2(nn.Module):
    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        inputs, middle = inputs // (3 - stride), outputs // 2
        self.branch_main = nn.Sequential(
            *conv_bn(inputs, middle),
            nn.ReLU(),
            *conv_bn(middle, middle, 3, stride=stride, groups=middle),
            *conv_bn(middle, outputs - inputs),
            nn.ReLU(),
        )
        self.branch_proj = None
        if stride == 2:
            self.branch_proj = nn.Sequential(
                *conv_bn(inputs, inputs, 3, stride=2, groups=inputs), *conv_bn(inputs, inputs), nn.ReLU()
            )

    def forward(self, x: Tensor) -> Tensor:
        if self.branch_proj is not None:
            return torch.cat([self.branch_proj(x), self.branch_main(x)], 1)
        kept, moved = x.unflatten(1, (-1, 2)).unbind(2)
        return torch.cat([kept, self.branch_main(moved)], 1)


class ShuffleNet(nn.Module):
    """``groups`` 0 is V2."""

    def __init__(self, widths: Iterable[int], *, stem: int, groups: int = 0) -> None:
        super().__init__()
        self.first_conv = nn.Sequential(*conv_bn(3, stem, 3, stride=2), nn.ReLU())
        units, inputs = [], stem
        for width, count in zip(widths, (4, 8, 4), strict=True):
            for index in range(count):
                stride = 2 if index == 0 else 1
                if groups:
                    units.append(UnitV1(inputs, width, groups, first=not units, stride=stride))
                else:
                    units.append(UnitV2(inputs, width, stride=stride))
                inputs = width
        self.features = nn.Sequential(*units)
        last = inputs if groups else 1024
        self.conv_last = nn.Identity() if groups else nn.Sequential(*conv_bn(inputs, last), nn.ReLU())
        self.classifier = nn.Sequential(nn.Linear(last, 10, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.first_conv(x), 3, 2, 1)
        return self.classifier(self.conv_last(self.features(x)).mean((2, 3)))


class Adder(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.adder = nn.Parameter(torch.zeros(outputs, inputs, kernel, kernel))
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.adder.shape[-1]
        patches = F.unfold(x, kernel, padding=kernel // 2, stride=self.stride)
        distances = (self.adder.flatten(1)[None, :, :, None] - patches[:, None]).abs().sum(2)
        return -distances.unflatten(2, (math.isqrt(patches.shape[2]), -1))


class AdderBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = Adder(inputs, outputs, 3, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = Adder(outputs, outputs, 3, 1), nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride == 2:
            self.downsample = nn.Sequential(Adder(inputs, outputs, 1, 2), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class AdderResNet20(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv_bn(3, 16, 3)
        self.layer1 = nn.Sequential(*(AdderBlock(16, 16, 1) for _ in range(3)))
        self.layer2 = nn.Sequential(AdderBlock(16, 32, 2), *(AdderBlock(32, 32, 1) for _ in range(2)))
        self.layer3 = nn.Sequential(AdderBlock(32, 64, 2), *(AdderBlock(64, 64, 1) for _ in range(2)))
        self.fc, self.bn2 = conv_bn(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return self.bn2(self.fc(x.mean((2, 3), keepdim=True))).flatten(1)


class CondenseConv(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs)
        self.conv = nn.Conv2d(inputs, outputs, 1, groups=4, bias=False)
        order = torch.randperm(inputs, generator=torch.Generator().manual_seed(inputs))
        self.register_buffer("index", order)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(F.relu(self.norm(x[:, self.index])))
        return y.unflatten(1, (4, -1)).transpose(1, 2).flatten(1, 2)


class CondenseLinear(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs // 2, outputs)
        order = torch.randperm(inputs, generator=torch.Generator().manual_seed(0))
        self.register_buffer("index", order[: inputs // 2])

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x[:, self.index])


class DenseLayer(nn.Module):
    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.conv_1 = CondenseConv(inputs, 4 * growth)
        self.conv_2 = nn.Sequential()
        self.conv_2.add_module("norm", nn.BatchNorm2d(4 * growth))
        self.conv_2.add_module("relu", nn.ReLU())
        conv = nn.Conv2d(4 * growth, growth, 3, padding=1, groups=4, bias=False)
        self.conv_2.add_module("conv", conv)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.conv_2(self.conv_1(x))], 1)


class CondenseNet86(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential()
        self.features.add_module("init_conv", nn.Conv2d(3, 16, 3, padding=1, bias=False))
        width = 16
        for number, growth in enumerate((8, 16, 32), 1):
            block = nn.Sequential()
            for layer in range(1, 15):
                block.add_module(f"denselayer_{layer}", DenseLayer(width, growth))
                width += growth
            self.features.add_module(f"denseblock_{number}", block)
            if number < 3:
                self.features.add_module(f"transition_{number}", nn.AvgPool2d(2))
        self.features.add_module("norm_last", nn.BatchNorm2d(width))
        self.features.add_module("relu_last", nn.ReLU())
        self.classifier = CondenseLinear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


class SeparableConv2d(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(
            inputs, inputs, 3, stride, dilation, dilation=dilation, groups=inputs, bias=False
        )
        self.bn = nn.BatchNorm2d(inputs)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.bn(self.conv1(x)))


class AlignedBlock(nn.Module):
    """``steps`` are (outputs, stride, dilation). The first ReLU works in place: the skip sees its output."""

    def __init__(self, inputs: int, steps: Iterable[tuple[int, int, int]], *, relu: bool = True) -> None:
        super().__init__()
        rep: list[nn.Module] = []
        width, total = inputs, 1
        for outputs, stride, dilation in steps:
            rep += [nn.ReLU(inplace=True), SeparableConv2d(width, outputs, stride, dilation)]
            rep.append(nn.BatchNorm2d(outputs))
            width, total = outputs, total * stride
        self.skip = None
        if total > 1 or width != inputs:
            self.skip, self.skipbn = conv_bn(inputs, width, stride=total)
        self.rep = nn.Sequential(*rep[0 if relu else 1 :])

    def forward(self, x: Tensor) -> Tensor:
        y = self.rep(x)
        return y + (x if self.skip is None else self.skipbn(self.skip(x)))


class AlignedXception(nn.Module):
    """At output stride 16."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv_bn(3, 32, 3, stride=2)
        self.conv2, self.bn2 = conv_bn(32, 64, 3)
        self.block1 = AlignedBlock(64, [(128, 1, 1), (128, 1, 1), (128, 2, 1)], relu=False)
        self.block2 = AlignedBlock(128, [(256, 1, 1), (256, 1, 1), (256, 2, 1)], relu=False)
        self.block3 = AlignedBlock(256, [(728, 1, 1), (728, 1, 1), (728, 2, 1)])
        for number in range(4, 20):
            self.add_module(f"block{number}", AlignedBlock(728, [(728, 1, 1)] * 3))
        self.block20 = AlignedBlock(728, [(728, 1, 1), (1024, 1, 1), (1024, 1, 1)])
        for number, (inputs, outputs) in enumerate(((1024, 1536), (1536, 1536), (1536, 2048)), 3):
            self.add_module(f"conv{number}", SeparableConv2d(inputs, outputs, dilation=2))
            self.add_module(f"bn{number}", nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        low = F.relu(self.block1(x))
        x = low
        for number in range(2, 21):
            x = getattr(self, f"block{number}")(x.clone())
        x = F.relu(x)
        for number in (3, 4, 5):
            x = F.relu(getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(x)))
        return low, x


class DWCB(nn.Module):
    """Horizon's three kinds of block; ``kernel`` is given where it alternates."""

    def __init__(
        self, width: int, hidden: int, *, groups: int = 1, kernel: tuple[int, int] | None = None
    ) -> None:
        super().__init__()
        rows, columns = kernel or (3, 3)
        depthwise: list[nn.Module] = [
            nn.Conv2d(width, width, (rows, columns), 1, (rows // 2, columns // 2), groups=width),
            nn.BatchNorm2d(width),
        ]
        first = nn.Conv2d(width, hidden, 1, groups=groups)
        self.dwconv = nn.Sequential(nn.Sequential(*depthwise)) if kernel else nn.Sequential(*depthwise)
        self.pwconv1 = nn.Sequential(first, nn.GELU()) if kernel else first
        self.act = nn.Identity() if kernel else nn.GELU()
        self.pwconv2 = nn.Conv2d(hidden, width, 1)
        self.layer_scale = nn.Module()
        self.layer_scale.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.pwconv2(self.act(self.pwconv1(self.dwconv(x))))
        return x + y * self.layer_scale.weight[:, None, None]


class HENetTinyE(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        widths = (48, 96, 192, 384)
        self.patch_embed = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.ReLU())
                for a, b in ((3, 24), (24, 48))
            )
        )
        blocks = (
            [DWCB(48, 96) for _ in range(3)],
            [DWCB(96, 192, groups=2) for _ in range(3)],
            [DWCB(192, 384, kernel=(5, 1) if n % 2 else (1, 5)) for n in range(8)],
            [DWCB(384, 1152) for _ in range(6)],
        )
        self.stages = nn.ModuleList()
        for row in blocks:
            stage = nn.Module()
            stage.block = nn.Sequential(*row)
            self.stages.append(stage)
        self.downsample_block = nn.ModuleList()
        for a, b in itertools.pairwise(widths):
            down = nn.Module()
            down.proj = nn.Sequential(nn.Conv2d(a, b, 2, 2), nn.BatchNorm2d(b))
            self.downsample_block.append(down)
        self.norm = nn.BatchNorm2d(384)
        self.feature_mix_layer = nn.Sequential(*conv_bn(384, 1024), nn.GELU())
        self.head = nn.Linear(1024, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        for number, stage in enumerate(self.stages):
            x = stage.block(x)
            if number < len(self.downsample_block):
                x = self.downsample_block[number].proj(x)
        x = self.feature_mix_layer(self.norm(x).mean((2, 3), keepdim=True))
        return self.head(x.flatten(1))
