"""A one-dimensional U-Net over the joints of a body, conditioned on the tokens of a text.

After the source: residual blocks with time embedding, LayerNorm instead of GroupNorm, pre-norm
cross-attention to the tokens at several resolutions, tokens projected to 256. It predicts the
clean pose.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hpstm_ros.generation.poses import ROWS, TOKENS, WIDTH
from hpstm_ros.language.features import FEATURES


@dataclass(frozen=True)
class TextPoseConfig:
    """Shape of the network.

    Attributes:
        channels: at 24, 12 and 6 rows.
        condition: width of time and text.
        text: width of the projected tokens.
        heads: of the attention.
        tokens: width of the frozen encoder's tokens.
    """

    channels: tuple[int, ...] = (48, 64, 96)
    condition: int = 128
    text: int = 256
    heads: int = 4
    tokens: int = 384

    def as_dict(self) -> dict[str, Any]:
        """The settings as a dictionary, for the metadata of a released model."""
        return {**asdict(self), "channels": list(self.channels)}


class _Residual(nn.Module):
    def __init__(self, into: int, out: int, condition: int) -> None:
        super().__init__()
        self.norm_in = nn.LayerNorm(into)
        self.conv_in = nn.Conv1d(into, out, 3, padding=1)
        self.condition = nn.Linear(condition, 2 * out)
        self.norm_out = nn.LayerNorm(out)
        self.conv_out = nn.Conv1d(out, out, 3, padding=1)
        self.skip = nn.Linear(into, out) if into != out else nn.Identity()
        nn.init.zeros_(self.conv_out.weight)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Map ``x`` (B, L, C), with ``condition`` (B, D), to (B, L, C')."""
        y = functional.silu(self.norm_in(x)).transpose(1, 2)
        y = self.conv_in(y).transpose(1, 2)
        scale, shift = self.condition(condition)[:, None].chunk(2, dim=-1)
        y = functional.silu(self.norm_out(y) * (1 + scale) + shift).transpose(1, 2)
        mixed: Tensor = self.skip(x) + self.conv_out(y).transpose(1, 2)
        return mixed


class _CrossAttention(nn.Module):
    def __init__(self, channels: int, text: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(channels)
        self.query = nn.Linear(channels, channels)
        self.key_value = nn.Linear(text, 2 * channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor, text: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """Attend from ``x`` (B, L, C) to ``text`` (B, M, D), with mask ``there`` (B, M).

        Returns:
            The result (B, L, C), and the attention weights (B, M).
        """
        batch, length, channels = x.shape
        words = text.shape[1]
        width = channels // self.heads
        query = self.query(self.norm(x)).reshape(batch, length, self.heads, width).transpose(1, 2)
        key, value = (
            part.reshape(batch, words, self.heads, width).transpose(1, 2)
            for part in self.key_value(text).chunk(2, dim=-1)
        )
        scores = query @ key.transpose(2, 3) * width**-0.5
        scores = scores + (there[:, None, None] - 1) * 1e4
        weights = scores.softmax(-1)
        mixed = (weights @ value).transpose(1, 2).reshape(batch, length, channels)
        return x + self.out(mixed), weights.mean((1, 2))


class TextPose(nn.Module):
    """The network; ``forward`` returns the clean pose (B, 24, 6) and the attention (B, 20)."""

    output_names = ("clean", "attention")

    def __init__(self, config: TextPoseConfig) -> None:
        super().__init__()
        self.config = config
        a, b, c = config.channels
        condition = config.condition
        text = config.text
        self.place = nn.Parameter(torch.randn(1, ROWS, a) * 0.1)
        self.enter = nn.Linear(WIDTH, a)
        self.time = nn.Sequential(
            nn.Linear(32, condition), nn.SiLU(), nn.Linear(condition, condition)
        )
        self.project = nn.Sequential(nn.Linear(config.tokens, text), nn.LayerNorm(text))
        self.explicit = nn.Linear(len(FEATURES), text, bias=False)
        self.nothing = nn.Parameter(torch.randn(1, 1, text) * 0.1)
        self.whole = nn.Linear(2 * text, condition)
        self.down = nn.ModuleList([_Residual(a, a, condition), _Residual(a, b, condition)])
        self.middle = nn.ModuleList([_Residual(b, c, condition), _Residual(c, c, condition)])
        self.up = nn.ModuleList([_Residual(c + b, b, condition), _Residual(b + a, a, condition)])
        self.attend = nn.ModuleList([_CrossAttention(n, text, config.heads) for n in (b, c, b)])
        self.norm = nn.LayerNorm(a)
        self.leave = nn.Linear(a, WIDTH)

    def forward(
        self, pose: Tensor, time: Tensor, tokens: Tensor, mask: Tensor, explicit: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Predict the clean pose.

        Args:
            pose: (B, 24, 6) noisy pose.
            time: (B, 1) in [0, 1).
            tokens: (B, 20, D) features of the tokens.
            mask: (B, 20), 1 for tokens, 0 for padding.
            explicit: (B, F) explicit features of the text.
        """
        words = self.project(tokens) * mask[..., None]
        sides = self.explicit(explicit)
        text = torch.cat((self.nothing.expand(pose.shape[0], -1, -1), sides[:, None], words), dim=1)
        some = mask.amax(1, keepdim=True)
        there = torch.cat((torch.ones_like(some), some, mask), dim=1)
        pooled = words.sum(1) / mask.sum(1, keepdim=True).clamp(min=1.0)
        condition = self.time(_waves(time)) + self.whole(torch.cat((pooled, sides), dim=-1))
        fine = self.down[0](self.enter(pose) + self.place, condition)
        half = self.down[1](_halved(fine), condition)
        half, first = self.attend[0](half, text, there)
        low = self.middle[0](_halved(half), condition)
        low, second = self.attend[1](low, text, there)
        low = self.middle[1](low, condition)
        half = self.up[0](torch.cat((_doubled(low), half), dim=-1), condition)
        half, third = self.attend[2](half, text, there)
        fine = self.up[1](torch.cat((_doubled(half), fine), dim=-1), condition)
        clean: Tensor = self.leave(functional.silu(self.norm(fine)))
        return clean, ((first + second + third) / 3)[:, 2:]

    def example_inputs(self, batch: int) -> dict[str, Tensor]:
        """Zeros (batch, ...) for every input of `forward`, by name, in its order."""
        return {
            "pose": torch.zeros(batch, ROWS, WIDTH),
            "time": torch.zeros(batch, 1),
            "tokens": torch.zeros(batch, TOKENS, self.config.tokens),
            "mask": torch.zeros(batch, TOKENS),
            "explicit": torch.zeros(batch, len(FEATURES)),
        }


def _waves(time: Tensor) -> Tensor:
    """Sines and cosines (B, 32) of times (B, 1) in [0, 1)."""
    rates = torch.exp(torch.linspace(0.0, 5.0, 16, device=time.device))
    return torch.cat((torch.sin(time * rates), torch.cos(time * rates)), dim=-1)


def _halved(x: Tensor) -> Tensor:
    """Downsample (B, L, C) to (B, L / 2, C)."""
    return (x[:, ::2] + x[:, 1::2]) / 2


def _doubled(x: Tensor) -> Tensor:
    """Upsample (B, L, C) to (B, 2 L, C)."""
    return x.repeat_interleave(2, dim=1)
