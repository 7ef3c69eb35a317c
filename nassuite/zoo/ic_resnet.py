"""IC-ResNet (Liu et al. 2021, arXiv 2012.13587): a ResNet whose 3x3 convolutions are inception convolutions."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from nassuite.blocks.inception_conv import Dilation, InceptionConvBN
from nassuite.blocks.layers import ConvBN
from nassuite.blocks.residual import Bottleneck, MakeConv, projection
from nassuite.errors import InputError
from nassuite.spec import Activation
from nassuite.zoo.network import ZooNetwork
from nassuite.zoo.resnet import DEPTHS, EXPANSION, PLANES, bottleneck_resnet

Pattern = Sequence[Sequence[Dilation]]
"""For each inception convolution in the network's order, the dilation of each output channel."""

LAYERS = 50
WIDTHS = tuple(width for depth, width in zip(DEPTHS[LAYERS], PLANES, strict=True) for _ in range(depth))
"""Output channels of the 16 inception convolutions."""
MAX_DILATION = 4
COUNTED = re.compile(r"\(\s*(\d+)\s*,\s*(\d+)\s*\)")


def ic_resnet50(
    *,
    num_classes: int,
    in_chans: int,
    pattern: str | os.PathLike[str] | Pattern | None = None,
    large_kernel: int | None = None,
    stem_stride: int = 2,
) -> ZooNetwork:
    """ResNet-50 v1b with inception convolutions (section 3.1); light_cnns builds it on ResNet-D instead.

    ``pattern`` is a file of ``nassuite search-dilations`` or one of the authors' pattern_zoo, or what
    ``search_dilations`` returns. Without one each layer has the mix that the authors advise before a search.
    With ``large_kernel`` (5, 7 or 9) it is the network to train for a search instead: plain convolutions of
    that size, which hold every 3x3 kernel of a dilation up to 2, 3 or 4.

    Raises ``InputError`` for a pattern that cannot be read or does not fit, or another kernel.
    """
    spatial = _spatial_layers(pattern, large_kernel)

    def block(in_channels: int, planes: int, stride: int) -> nn.Module:
        channels = planes * EXPANSION
        return Bottleneck(
            in_channels,
            planes,
            channels,
            stride=stride,
            spatial=next(spatial_layers),
            shortcut=projection(in_channels, channels, stride),
        )

    spatial_layers = iter(spatial)
    return bottleneck_resnet(
        LAYERS, block, num_classes=num_classes, in_chans=in_chans, stem_stride=stem_stride
    )


def _spatial_layers(
    pattern: str | os.PathLike[str] | Pattern | None, large_kernel: int | None
) -> list[MakeConv]:
    if large_kernel is None:
        if pattern is None:
            pattern = advised_pattern()
        name = f"pattern {os.fspath(pattern)}" if isinstance(pattern, str | os.PathLike) else "pattern"
        value = _read(pattern) if isinstance(pattern, str | os.PathLike) else pattern
        return [_inception(dilations) for dilations in parse_pattern(value, WIDTHS, name=name)]
    if pattern is not None:
        raise InputError(
            "large_kernel is for the network before the search, it has no pattern: give one of them"
        )
    if large_kernel not in (5, 7, 9):
        raise InputError(f"large_kernel {large_kernel}: 5, 7 or 9")
    return [_large(large_kernel)] * len(WIDTHS)


def _inception(dilations: Sequence[Dilation]) -> MakeConv:
    def make(
        in_channels: int, out_channels: int, kernel: int, /, *, stride: int, act: Activation | None
    ) -> nn.Module:
        return InceptionConvBN(in_channels, dilations, kernel, stride=stride, act=act)

    return make


def _large(size: int) -> MakeConv:
    def make(
        in_channels: int, out_channels: int, kernel: int, /, *, stride: int, act: Activation | None
    ) -> nn.Module:
        return ConvBN(in_channels, out_channels, size, stride=stride, act=act)

    return make


def advised_pattern() -> list[list[Dilation]]:
    """The authors' advice for networks that were not searched (IC-Conv, issue 5).

    Half of the first layer's channels are dense, 70 % of all others', and the rest is shared evenly by the
    15 other dilations up to 4.
    """
    others = [
        (height, width)
        for height in range(1, MAX_DILATION + 1)
        for width in range(1, MAX_DILATION + 1)
        if (height, width) != (1, 1)
    ]
    pattern: list[list[Dilation]] = []
    for index, channels in enumerate(WIDTHS):
        each = int(channels * (0.3 if index else 0.5)) // len(others)
        dense = channels - each * len(others)
        pattern.append([(1, 1)] * dense + [dilation for dilation in others for _ in range(each)])
    return pattern


def _read(path: str | os.PathLike[str]) -> Any:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"pattern {os.fspath(path)}: {error.strerror or error}") from error
    except ValueError as error:  # not UTF-8, or not JSON
        raise InputError(f"pattern {os.fspath(path)}: it is no JSON file ({error})") from error


def parse_pattern(value: Any, widths: Sequence[int], *, name: str = "pattern") -> list[list[Dilation]]:
    """``value`` as dilations for inception convolutions of ``widths`` output channels.

    ``value`` is a list with one entry for each convolution: a list of [vertical, horizontal] for each channel,
    or the authors' form, counts of channels by "(vertical - 1, horizontal - 1)". Raises ``InputError`` that
    starts with ``name``.
    """
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise InputError(
            f"{name}: a list with one entry for each of {len(widths)} layers, not {_kind(value)}"
        )
    if len(value) != len(widths):
        raise InputError(f"{name}: it has {len(value)} layers, this network has {len(widths)}")
    return [
        _parse_layer(layer, width, f"{name}, layer {number}")
        for number, (layer, width) in enumerate(zip(value, widths, strict=True), start=1)
    ]


def _parse_layer(layer: Any, width: int, name: str) -> list[Dilation]:
    if isinstance(layer, dict):
        dilations = [pair for key, count in layer.items() for pair in _counted(key, count, name)]
    elif isinstance(layer, Sequence) and not isinstance(layer, str):
        dilations = [_pair(value, name) for value in layer]
    else:
        raise InputError(f"{name}: a list of [vertical, horizontal] dilations, not {_kind(layer)}")
    if len(dilations) != width:
        raise InputError(f"{name}: it has {len(dilations)} channels, this network's layer has {width}")
    return dilations


def _counted(key: str, count: Any, name: str) -> list[Dilation]:
    match = COUNTED.fullmatch(key)
    if not match:
        raise InputError(f'{name}: {key!r}: counts are named like "(0, 3)"')
    if not _is_whole(count) or count < 0:
        raise InputError(f"{name}: {key!r}: a count of channels from 0 up, not {count!r}")
    return [(int(match[1]) + 1, int(match[2]) + 1)] * count


def _pair(value: Any, name: str) -> Dilation:
    if isinstance(value, Sequence) and len(value) == 2 and all(_is_whole(n) and n >= 1 for n in value):
        return value[0], value[1]
    raise InputError(f"{name}: {value!r}: a dilation is two whole numbers from 1 up")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _kind(value: Any) -> str:
    return type(value).__name__
