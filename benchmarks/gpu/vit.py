"""The image tower of CLIP ViT-L/14 in plain torch, with random weights: the same shapes and products as open_clip's."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Shape:
    """Sizes of a vision transformer; those of ViT-L/14 by default."""

    layers: int = 24
    width: int = 1024
    heads: int = 16
    patch: int = 14
    size: int = 224
    dim: int = 768

    @property
    def tokens(self):
        """Patches, and one for the whole picture."""
        return (self.size // self.patch) ** 2 + 1

    @property
    def flop(self):
        """Of one picture: products with weights, and attention."""
        weights = 12 * self.layers * self.width**2
        attention = 2 * self.layers * self.tokens * self.width
        return 2 * self.tokens * (weights + attention)


class Block(nn.Module):
    """Attention and an MLP, each on what a layer norm has made."""

    def __init__(self, shape):
        super().__init__()
        self.heads = shape.heads
        self.before_attention, self.before_mlp = nn.LayerNorm(shape.width), nn.LayerNorm(shape.width)
        self.qkv, self.out = nn.Linear(shape.width, 3 * shape.width), nn.Linear(shape.width, shape.width)
        self.up, self.down = nn.Linear(shape.width, 4 * shape.width), nn.Linear(4 * shape.width, shape.width)

    def forward(self, x):
        """(B, tokens, width) to the same."""
        n, tokens, width = x.shape
        split = self.qkv(self.before_attention(x)).view(n, tokens, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value)
        x = x + self.out(attended.transpose(1, 2).reshape(n, tokens, width))
        wide = self.up(self.before_mlp(x))
        return x + self.down(wide * torch.sigmoid(1.702 * wide))  # QuickGELU


class VisionTransformer(nn.Module):
    """(B, 3, size, size) pixels -> (B, dim)."""

    def __init__(self, shape):
        super().__init__()
        self.patches = nn.Conv2d(3, shape.width, shape.patch, stride=shape.patch, bias=False)
        self.first = nn.Parameter(torch.randn(shape.width) * shape.width**-0.5)
        self.places = nn.Parameter(torch.randn(shape.tokens, shape.width) * shape.width**-0.5)
        self.before, self.after = nn.LayerNorm(shape.width), nn.LayerNorm(shape.width)
        self.blocks = nn.Sequential(*(Block(shape) for _ in range(shape.layers)))
        self.project = nn.Linear(shape.width, shape.dim, bias=False)

    def forward(self, pixels):
        """The vector of the first token."""
        x = self.patches(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.first.expand(len(x), 1, -1), x], dim=1) + self.places
        return self.project(self.after(self.blocks(self.before(x))[:, 0]))


def random_model(shape, device, dtype):
    """The same weights each time, for inference."""
    torch.manual_seed(0)
    model = VisionTransformer(shape).to(device, dtype).eval().requires_grad_(requires_grad=False)
    return model.to(memory_format=torch.channels_last)
