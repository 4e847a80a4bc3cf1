"""Building blocks of the HPSTM network: pre-norm Transformer layers without dropout, and linear
layers with separate weights for each joint.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Multi-head attention of tokens (B, T, d) to a context (B, C, d)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, context: Tensor, bias: Tensor | None = None) -> Tensor:
        """Attend from x (B, T, d) to context (B, C, d); ``bias`` (B, 1, 1, C) is added to
        scores.
        """

        def split(t: Tensor) -> Tensor:
            return t.reshape(*t.shape[:-1], self.heads, t.shape[-1] // self.heads).transpose(1, 2)

        key, value = self.key_value(context).chunk(2, dim=-1)
        # Not the fused kernel, whose backward pass is several times slower on a CPU for few tokens.
        q = split(self.query(x))
        score = q @ split(key).transpose(-1, -2) * q.shape[-1] ** -0.5
        share = F.softmax(score if bias is None else score + bias, dim=-1)
        out: Tensor = self.out((share.to(q.dtype) @ split(value)).transpose(1, 2).flatten(2))
        return out


class FeedForward(nn.Sequential):
    """Two layers with a GELU between."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__(
            nn.Linear(width, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, width)
        )


class EncoderLayer(nn.Module):
    """Pre-norm layer of self-attention and feed-forward network."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(width)
        self.norm_forward = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.forward_layer = FeedForward(width, hidden)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """Map tokens (B, T, d) to (B, T, d); ``bias`` as in `Attention`."""
        h = self.norm_attention(x)
        x = x + self.attention(h, h, bias)
        out: Tensor = x + self.forward_layer(self.norm_forward(x))
        return out


class JointLinear(nn.Module):
    """A linear layer for each joint: (B, joints, inputs) to (B, joints, outputs)."""

    def __init__(self, joints: int, inputs: int, outputs: int, scale: float | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(
            (inputs**-0.5 if scale is None else scale) * torch.randn(joints, inputs, outputs)
        )
        self.bias = nn.Parameter(torch.zeros(joints, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return torch.matmul(x.transpose(0, 1), self.weight).transpose(0, 1) + self.bias
