"""The Transformer blocks of HPSTM: pre-norm, no dropout, no masks (a missing joint is a learned embedding, not a hole)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Multi-head attention of queries (B, Q, d) to a context (B, L, d)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """(B, Q, d), (B, L, d) to (B, Q, d)."""

        def split(t: Tensor) -> Tensor:
            return t.reshape(*t.shape[:-1], self.heads, t.shape[-1] // self.heads).transpose(1, 2)

        key, value = self.key_value(context).chunk(2, dim=-1)
        # Written out: on a CPU the backward pass of the fused kernel is several times slower at 32 frames.
        q = split(self.query(x))
        share = F.softmax(q @ split(key).transpose(-1, -2) * q.shape[-1] ** -0.5, dim=-1)
        out: Tensor = self.out((share.to(q.dtype) @ split(value)).transpose(1, 2).flatten(2))
        return out


class FeedForward(nn.Sequential):
    """Two layers with a GELU between."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__(nn.Linear(width, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, width))


class EncoderLayer(nn.Module):
    """The frames of the window look at each other."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm_attention, self.norm_forward = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.forward_layer = FeedForward(width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, d) to (B, L, d)."""
        h = self.norm_attention(x)
        x = x + self.attention(h, h)
        out: Tensor = x + self.forward_layer(self.norm_forward(x))
        return out


class DecoderLayer(nn.Module):
    """A query per frame asked for looks at the window. Queries do not see each other, so one alone gives what eleven give."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm_attention, self.norm_forward = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.forward_layer = FeedForward(width, hidden)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """(B, Q, d), (B, L, d) to (B, Q, d)."""
        x = x + self.attention(self.norm_attention(x), context)
        out: Tensor = x + self.forward_layer(self.norm_forward(x))
        return out


def gram_schmidt(a: Tensor, b: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) with columns x along a (..., 3), y in the plane of a and b, z across (Zhou et al. 2019)."""
    x = a * torch.rsqrt((a * a).sum(-1, keepdim=True).clamp_min(1e-8))
    b = b - (x * b).sum(-1, keepdim=True) * x
    y = b * torch.rsqrt((b * b).sum(-1, keepdim=True).clamp_min(1e-8))
    z = torch.stack(
        (
            x[..., 1] * y[..., 2] - x[..., 2] * y[..., 1],
            x[..., 2] * y[..., 0] - x[..., 0] * y[..., 2],
            x[..., 0] * y[..., 1] - x[..., 1] * y[..., 0],
        ),
        dim=-1,
    )
    return torch.stack((x, y, z), dim=-1)
