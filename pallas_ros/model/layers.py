"""Layers of the encoder, which process a chunk of frames with a cache of the previous frames.

Training uses chunks of many frames with an empty cache, streaming chunks of one frame. Both use the
same code and give the same results.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROTARY_PERIOD = 4096
"""Frames after which rotary angles repeat: every frequency has a whole number of turns in this
period, so that the position in a stream can be stored modulo it.
"""


class RMSNorm(nn.Module):
    """Root-mean-square normalisation with a trainable gain, equations (1) and (2)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        normed: Tensor = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * self.gain
        return normed


class SwiGLU(nn.Module):
    """Gated feed-forward layer (Shazeer 2020)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.rise = nn.Linear(width, 2 * hidden, bias=False)
        self.fall = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        gate, value = self.rise(x).chunk(2, dim=-1)
        out: Tensor = self.fall(F.silu(gate) * value)
        return out


def rotary_angles(position: Tensor, frames: int, width: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine (B, T, 1, width / 2) of the rotary angles of ``frames`` frames from
    ``position`` (B, 1) on.
    """
    # the window is short: the slowest period is about 100 x 2 pi frames
    wanted = 100.0 ** -(torch.arange(0, width, 2) / width)
    frequency = torch.round(wanted * ROTARY_PERIOD / (2 * torch.pi)).clamp_min(1) * (
        2 * torch.pi / ROTARY_PERIOD
    )
    angle = (position + torch.arange(frames, device=position.device))[..., None] * frequency.to(
        position
    )
    return torch.cos(angle)[:, :, None], torch.sin(angle)[:, :, None]


def rotate(x: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary embedding, equation (5): rotate pairs (i, i + width / 2) of x (B, T, heads, width) by
    the angles.
    """
    a, b = x.chunk(2, dim=-1)
    cos, sin = (angle.to(x.dtype) for angle in angles)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1)


class WindowAttention(nn.Module):
    """Multi-head attention over the last ``window`` frames, with rotary embedding, scaled by the
    width of a head.

    Args:
        width: of the frames' features.
        heads: number of heads.
        query_width: width of the inputs of the queries: the features in self-attention, the long
            context in the cross-attention of section 4.2.2.
    """

    def __init__(self, width: int, heads: int, query_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(query_width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(
        self, query: Tensor, x: Tensor, cache: Tensor, angles: tuple[Tensor, Tensor], mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Attend.

        Args:
            query: (B, T, query_width).
            x: (B, T, width).
            cache: (B, window - 1, 2 width) keys (already rotated) and values of previous frames.
            angles: rotary angles of the T frames.
            mask: (B, 1, T, window - 1 + T), 0 for visible frames, a large negative number for
                others.

        Returns:
            (B, T, width), and the next cache.
        """
        batch, frames, width = x.shape
        q = rotate(self.query(query).view(batch, frames, self.heads, -1), angles)
        key, value = self.key_value(x).chunk(2, dim=-1)
        key = rotate(key.reshape(batch, frames, self.heads, -1), angles).reshape(
            batch, frames, width
        )
        entries = torch.cat((cache.to(key.dtype), torch.cat((key, value), dim=-1)), dim=1)
        k, v = (
            part.reshape(batch, entries.shape[1], self.heads, -1).transpose(1, 2)
            for part in entries.chunk(2, dim=-1)
        )
        # scaled by the head's width
        mixed = F.scaled_dot_product_attention(q.transpose(1, 2), k, v, attn_mask=mask.to(q.dtype))
        return self.out(mixed.transpose(1, 2).reshape(batch, frames, width)), entries[:, frames:]


class Block(nn.Module):
    """Pre-normalised attention and feed-forward layer with residuals, as in LLaMA."""

    def __init__(self, width: int, heads: int, hidden: int, query_width: int | None = None) -> None:
        super().__init__()
        self.attention = WindowAttention(width, heads, query_width or width)
        self.feed_forward = SwiGLU(width, hidden)
        self.norm_attention = RMSNorm(width)
        self.norm_feed_forward = RMSNorm(width)

    def forward(
        self,
        x: Tensor,
        cache: Tensor,
        angles: tuple[Tensor, Tensor],
        mask: Tensor,
        query: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Like `WindowAttention.forward`; ``query`` (B, T, query_width) replaces the features
        as the input of the queries, if given.
        """
        normed = self.norm_attention(x)
        mixed, cache = self.attention(
            normed if query is None else query, normed, cache, angles, mask
        )
        x = x + mixed
        return x + self.feed_forward(self.norm_feed_forward(x)), cache


def running_means(x: Tensor, decay: Tensor, means: Tensor) -> tuple[Tensor, Tensor]:
    """Exponential running means of x (B, T, F) for every decay (K,), starting from ``means`` (B, K,
    F).

    Returns:
        The means (B, T, K, F), and the last ones (B, K, F).
    """
    frames = x.shape[1]
    t = torch.arange(frames, device=x.device)
    lag = (t[:, None] - t[None]).to(x)
    weights = torch.where(
        lag >= 0,
        (1 - decay)[:, None, None] * decay[:, None, None] ** lag.clamp_min(0),
        torch.zeros(()),
    )
    fresh = torch.einsum("kts,bsf->btkf", weights, x)
    out = fresh + (decay[None] ** (t + 1).to(x)[:, None])[None, :, :, None] * means[:, None]
    return out, out[:, -1]
