"""ShuffleNetV2's units (Ma et al. 2018, section 3.2, figure 3 c and d)."""

from __future__ import annotations

import torch
from torch import nn

from nassuite.blocks.layers import QUARTERS, ConvBN, Layout, half, make_shortcut, shortcut_layout, stream
from nassuite.spec import SHUFFLE_CYCLE, Activation, BlockSpec

TRANSFORMED = ((0, 2), (1, 3), (2, 3))
"""The quarters that a unit transforms, by its layer's turn; each turn mixes two others."""

assert len(TRANSFORMED) == SHUFFLE_CYCLE


def channel_shuffle(x: torch.Tensor, groups: int) -> torch.Tensor:
    """Channels (N, groups * K, H, W) dealt out in turns (ShuffleNet, Zhang et al. 2018, section 3.1)."""
    # The batch stays free and the rest constant: an exported graph would fix the batch, or compute the rest in every inference.
    channels, height, width = (int(size) for size in x.shape[1:])
    return (
        x.view(-1, groups, channels // groups, height, width)
        .transpose(1, 2)
        .reshape(-1, channels, height, width)
    )


def _parts(x: torch.Tensor, count: int) -> tuple[torch.Tensor, ...]:
    """``count`` equal parts of the channels; ``chunk`` would be exported with a computation of their width."""
    return x.split(int(x.shape[1]) // count, 1)


class ChannelShuffle(nn.Module):
    """``channel_shuffle`` of ``groups`` as a layer, or with ``back`` the inverse of it. It keeps the shape.

    As a layer it can be found in a network, which a function cannot.
    """

    def __init__(self, groups: int, *, back: bool = False) -> None:
        super().__init__()
        self.groups, self.back = groups, back

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # Dealing into K = channels / groups hands undoes a shuffle of ``groups``.
        return channel_shuffle(x, int(x.shape[1]) // self.groups if self.back else self.groups)

    def order(self, channels: int) -> list[int]:
        """For each place behind the shuffle the channel before it that comes there."""
        numbers = torch.arange(channels).view(1, channels, 1, 1)
        return self.forward(numbers).flatten().tolist()


class ShuffleUnit(nn.Module):
    """Half of the channels kept, half through pointwise, depthwise, pointwise.

    (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride). As in the paper, the channels are
    shuffled afterwards, so that the next unit transforms another half. With ``transformed`` they stay
    where they are, and the unit transforms those two quarters; units then take turns. That is the
    same up to the order of channels, without moving any, and a channel index goes on meaning the same
    feature next to other operators of a supernet. Where the shape changes (``downsamples``), both
    halves of the output are computed from the whole input (figure 3 d).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int | tuple[int, int] = 3,
        *,
        stride: int = 1,
        act: Activation = "relu",
        downsamples: bool = False,
        transformed: tuple[int, int] | None = None,
        shortcut: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.transformed = transformed
        inputs = in_channels if downsamples else in_channels // 2
        outputs = out_channels // 2
        self.expand = ConvBN(inputs, outputs, act=act)
        self.depthwise = ConvBN(outputs, outputs, kernel, stride=stride, groups=outputs)
        self.project = ConvBN(outputs, outputs, act=act)
        self.shortcut = shortcut
        self.other: nn.Module | None = None
        if downsamples:
            self.other = nn.Sequential(
                ConvBN(inputs, inputs, kernel, stride=stride, groups=inputs),
                ConvBN(inputs, outputs, act=act),
            )

    @classmethod
    def from_spec(cls, spec: BlockSpec) -> ShuffleUnit:
        return cls(
            spec.in_channels,
            spec.out_channels,
            spec.kernel,
            stride=spec.stride,
            act=spec.act,
            downsamples=not spec.keeps_shape,
            transformed=TRANSFORMED[spec.layer],
            shortcut=None if spec.keeps_shape else make_shortcut(spec),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.other is not None:
            y = self._mixed(self.other(x), self._branch(x))
            return y if self.shortcut is None else self.shortcut(x) + y
        if self.transformed is None:
            kept, moved = _parts(x, 2)
            return self._mixed(kept, self._branch(moved))
        quarters = list(_parts(x, QUARTERS))
        first, second = self.transformed
        branch = self._branch(torch.cat((quarters[first], quarters[second]), 1))
        quarters[first], quarters[second] = _parts(branch, 2)
        return torch.cat(quarters, 1)

    def _mixed(self, kept: torch.Tensor, branch: torch.Tensor) -> torch.Tensor:
        y = torch.cat((kept, branch), 1)
        return channel_shuffle(y, 2) if self.transformed is None else y

    def _branch(self, x: torch.Tensor) -> torch.Tensor:
        return self.project(self.depthwise(self.expand(x)))

    @staticmethod
    def layout(spec: BlockSpec) -> Layout:
        inputs = half(spec.in_channels) if spec.keeps_shape else stream(spec.in_channels)
        outputs = half(spec.out_channels)
        middle = (spec.out_channels // 2,)
        return {
            "expand": (middle, inputs),
            "depthwise": (middle, (1,)),
            "project": (outputs, middle),
            "other.0": (inputs, (1,)),
            "other.1": (outputs, inputs),
            **shortcut_layout(spec),
        }


class DealtShuffleUnit(nn.Module):
    """ShuffleNetV2's unit as the authors' released code has it: the shuffle is at the input.

    Even channels are kept, odd ones go through the branch; the output is (kept | branch). Where the unit
    downsamples, the split is uneven: the other branch keeps in_channels, the main one adds the rest.
    Shapes are ``ShuffleUnit``'s. Weights of one do not fit the other.
    """

    def __init__(self, in_channels: int, out_channels: int, *, downsamples: bool = False) -> None:
        super().__init__()
        kept = in_channels if downsamples else in_channels // 2
        inputs = in_channels - (0 if downsamples else kept)
        middle = out_channels // 2
        stride = 2 if downsamples else 1
        self.expand = ConvBN(inputs, middle, act="relu")
        self.depthwise = ConvBN(middle, middle, 3, stride=stride, groups=middle)
        self.project = ConvBN(middle, out_channels - kept, act="relu")
        self.other: nn.Module | None = None
        if downsamples:
            self.other = nn.Sequential(
                ConvBN(kept, kept, 3, stride=stride, groups=kept), ConvBN(kept, kept, act="relu")
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept, moved = (x[:, 0::2], x[:, 1::2]) if self.other is None else (self.other(x), x)
        return torch.cat((kept, self.project(self.depthwise(self.expand(moved)))), 1)
