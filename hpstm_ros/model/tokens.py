"""Motion as tokens: a VQ-VAE over snippets of four frames, and a masked Transformer over its codes.

The Transformer follows MaskGIT and MoMask (Guo et al. 2024): it is trained to predict masked
tokens, and generates by predicting all of them over a few rounds, most confident first.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hpstm_ros.model.layers import EncoderLayer

STRIDE = 4
"""Frames of a token: two halvings of the rate."""


@dataclass(frozen=True)
class VqConfig:
    """Shape of the VQ-VAE.

    Attributes:
        features: values of a frame.
        width: channels of the convolutions.
        codes: entries of the codebook.
        code_width: values of an entry.
    """

    features: int
    width: int = 128
    codes: int = 512
    code_width: int = 32

    def as_dict(self) -> dict[str, Any]:
        """The settings as a dictionary, for the metadata of weights."""
        return asdict(self)


@dataclass(frozen=True)
class MaskedConfig:
    """Shape of the masked Transformer.

    Attributes:
        codes: entries of the codebook; the id ``codes`` is a masked token.
        text: size of a text vector.
        tokens: longest motion, in tokens.
        width, heads, layers: of the Transformer.
    """

    codes: int = 512
    text: int = 384
    tokens: int = 75
    width: int = 128
    heads: int = 4
    layers: int = 5

    def as_dict(self) -> dict[str, Any]:
        """The settings as a dictionary, for the metadata of weights."""
        return asdict(self)


class Residual(nn.Module):
    """A residual block of two convolutions over time, (B, W, T) to (B, W, T)."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
        self.second = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        out: Tensor = x + self.second(F.gelu(self.first(F.gelu(x))))
        return out


class Encoder(nn.Sequential):
    """Maps frames (B, T, features) to vectors (B, T / 4, code_width)."""

    def __init__(self, c: VqConfig) -> None:
        super().__init__(
            nn.Conv1d(c.features, c.width, 3, padding=1),
            nn.GELU(),
            nn.Conv1d(c.width, c.width, 4, stride=2, padding=1),
            Residual(c.width, 1),
            nn.GELU(),
            nn.Conv1d(c.width, c.width, 4, stride=2, padding=1),
            Residual(c.width, 1),
            Residual(c.width, 3),
            nn.Conv1d(c.width, c.code_width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x = x.transpose(1, 2)
        for layer in self:
            x = layer(x)
        return x.transpose(1, 2)


class Decoder(nn.Sequential):
    """Maps vectors (B, N, code_width) to frames (B, 4 N, features)."""

    def __init__(self, c: VqConfig) -> None:
        super().__init__(
            nn.Conv1d(c.code_width, c.width, 3, padding=1),
            Residual(c.width, 3),
            Residual(c.width, 1),
            nn.Upsample(scale_factor=2, mode="nearest"),
            nn.Conv1d(c.width, c.width, 3, padding=1),
            Residual(c.width, 1),
            nn.Upsample(scale_factor=2, mode="nearest"),
            nn.Conv1d(c.width, c.width, 3, padding=1),
            nn.GELU(),
            nn.Conv1d(c.width, c.features, 3, padding=1),
        )

    def forward(self, codes: Tensor) -> Tensor:
        """See the class."""
        x = codes.transpose(1, 2)
        for layer in self:
            x = layer(x)
        return x.transpose(1, 2)


class VqVae(nn.Module):
    """Encodes frames as codes, and decodes them.

    The codebook has a separate loss. Unused entries are moved to encoded vectors (`revive`);
    otherwise, most entries would remain unused.
    """

    def __init__(self, config: VqConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.codebook = nn.Parameter(torch.randn(config.codes, config.code_width))
        self.mean: Tensor
        self.scale: Tensor
        self.register_buffer("mean", torch.zeros(config.features))
        self.register_buffer("scale", torch.ones(config.features))

    def normalised(self, frames: Tensor) -> Tensor:
        """Frames (..., features) with mean 0 and scale 1."""
        return (frames - self.mean) / self.scale

    def nearest(self, z: Tensor) -> Tensor:
        """Codes (...) of the entries nearest to vectors (..., code_width)."""
        flat = z.reshape(-1, z.shape[-1])
        distance = self.codebook.square().sum(-1) - 2 * flat @ self.codebook.T
        return distance.argmin(-1).reshape(z.shape[:-1])

    def encode(self, frames: Tensor) -> Tensor:
        """Encode frames (B, T, features) as codes (B, T / 4)."""
        return self.nearest(self.encoder(self.normalised(frames)))

    def decode(self, codes: Tensor) -> Tensor:
        """Decode codes (B, N) to frames (B, 4 N, features)."""
        return self.frames(self.codebook[codes])

    def frames(self, entries: Tensor) -> Tensor:
        """Decode codebook entries (B, N, code_width) to frames (B, 4 N, features)."""
        out: Tensor = self.decoder(entries) * self.scale + self.mean
        return out

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Decoded frames (B, T, features), loss of the quantiser, codes and encoded vectors."""
        z = self.encoder(self.normalised(frames))
        codes = self.nearest(z)
        entry = self.codebook[codes]
        quantised = F.mse_loss(entry, z.detach()) + 0.25 * F.mse_loss(z, entry.detach())
        decoded = self.frames(z + (entry - z).detach())  # straight-through gradient
        return decoded, quantised, codes, z

    @torch.no_grad()
    def revive(self, unused: Tensor, z: Tensor) -> None:
        """Move entries (codes,) bool that are unused to randomly chosen vectors of ``z``."""
        flat = z.detach().reshape(-1, z.shape[-1])
        count = int(unused.sum())
        if count:
            chosen = flat[torch.randint(len(flat), (count,))]
            self.codebook[unused] = chosen + 0.01 * torch.randn_like(chosen)


class MaskedTransformer(nn.Module):
    """Predicts masked tokens from the others, the text and the length."""

    def __init__(self, config: MaskedConfig) -> None:
        super().__init__()
        self.config = c = config
        self.token = nn.Embedding(c.codes + 1, c.width)
        self.place = nn.Parameter(0.02 * torch.randn(c.tokens, c.width))
        self.text = nn.Linear(c.text, c.width)
        self.length = nn.Linear(2, c.width)
        self.layers = nn.ModuleList(
            EncoderLayer(c.width, c.heads, 4 * c.width) for _ in range(c.layers)
        )
        self.norm = nn.LayerNorm(c.width)
        self.out = nn.Linear(c.width, c.codes)
        nn.init.normal_(self.token.weight, std=0.02)

    def forward(self, tokens: Tensor, used: Tensor, text: Tensor) -> Tensor:
        """Logits (B, N, codes).

        Args:
            tokens: (B, N) ids as floats; ``codes`` for masked tokens.
            used: (B, N), 1 for the tokens of the motion, 0 beyond its end.
            text: (B, text) text vectors, zeros for no text.
        """
        n = tokens.shape[1]
        given = (text.abs().sum(-1, keepdim=True) > 0).to(text.dtype)
        length = used.sum(-1, keepdim=True) / self.config.tokens
        condition = self.text(text) + self.length(torch.cat((length, given), dim=-1))
        x = self.token(tokens.long()) + self.place[:n] + condition[:, None]
        x = torch.cat((condition[:, None], x), dim=1)
        hide = torch.cat((torch.zeros_like(given), (1 - used) * -1e4), dim=1)[:, None, None]
        for layer in self.layers:
            x = layer(x, hide)
        out: Tensor = self.out(self.norm(x[:, 1:]))
        return out
