"""MobileViT's block: convolutions around transformer layers (Mehta and Rastegari 2022, section 3.1)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from nassuite.blocks.layers import ConvBN


class TransformerLayer(nn.Module):
    """Self-attention and a perceptron with SiLU, each behind a layer norm and added (section 3.1).

    (N, ..., L, dim) to the same. Attention is along L; everything before it is batch. ``dim`` must be
    a multiple of ``heads``; ``hidden`` is the perceptron's width.
    """

    def __init__(self, dim: int, hidden: int, *, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.perceptron_norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, hidden)
        self.act = nn.SiLU()
        self.project = nn.Linear(hidden, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.dropout(self.out(self._attend(self.attention_norm(x))))
        return x + self.dropout(self.project(self.act(self.expand(self.perceptron_norm(x)))))

    def _attend(self, x: torch.Tensor) -> torch.Tensor:
        # Each (N, ..., heads, L, dim / heads).
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(-2, -3) for part in self.qkv(x).chunk(3, -1)
        )
        weights = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
        return (weights.softmax(-1) @ value).transpose(-2, -3).flatten(-2)


class MobileViTBlock(nn.Module):
    """Local and global representation and their fusion: (N, channels, H, W) to the same.

    A pixel attends to the pixels at the same place in all ``patch`` by ``patch`` patches. A map that
    patches do not tile is resized to the next larger one that they do, and back, as the authors' code and
    timm do. ``depth`` is the number of transformer layers, of width ``dim``.
    """

    def __init__(
        self,
        channels: int,
        dim: int,
        *,
        depth: int,
        hidden: int,
        heads: int = 4,
        patch: int = 2,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.patch = patch
        self.local = ConvBN(channels, channels, 3, act="silu")
        self.to_tokens = nn.Conv2d(channels, dim, 1, bias=False)
        layers = (TransformerLayer(dim, hidden, heads=heads, dropout=dropout) for _ in range(depth))
        self.transformer = nn.Sequential(*layers, nn.LayerNorm(dim))
        self.from_tokens = ConvBN(dim, channels, act="silu")
        self.fuse = ConvBN(2 * channels, channels, 3, act="silu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.from_tokens(self.transform(self.to_tokens(self.local(x))))
        return self.fuse(torch.cat((x, y), 1))

    def transform(self, x: torch.Tensor) -> torch.Tensor:
        """The transformer on a map (N, dim, H, W), to the same shape."""
        # Numbers, so that in a traced graph they are constants and the batch alone is free.
        dim, height, width = (int(size) for size in x.shape[1:])
        patch = self.patch
        rows, columns = -(-height // patch), -(-width // patch)
        tiled = (rows * patch, columns * patch)
        if tiled != (height, width):
            x = F.interpolate(x, size=tiled, mode="bilinear", align_corners=False)
        x = x.reshape(-1, dim, rows, patch, columns, patch).permute(0, 3, 5, 2, 4, 1)
        # One sequence of patches for each place in a patch.
        x = self.transformer(x.reshape(-1, patch * patch, rows * columns, dim))
        x = x.reshape(-1, patch, patch, rows, columns, dim).permute(0, 5, 3, 1, 4, 2)
        x = x.reshape(-1, dim, *tiled)
        if tiled != (height, width):
            x = F.interpolate(x, size=(height, width), mode="bilinear", align_corners=False)
        return x
