"""Length-aware motion: a VAE whose latent space grows with the motion, and a flow in that space.

After LADiff: the space consists of K subspaces of size D, of which floor(frames / r) are unlocked.
A short motion therefore has a smaller space than a long one, and a flow that is conditioned on the
length learns how short motions differ from long ones. Encoder and decoder associate each subspace
with an interval of time, while attention allows it to contain information on the whole motion.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hpstm_ros.generation.heading_frames import FEATURES
from hpstm_ros.generation.text import TEXT
from hpstm_ros.model.hpstm_gen import Layer
from hpstm_ros.model.latent_linear import LinearPart
from hpstm_ros.model.layers import EncoderLayer

_FAR = -1e4
"""Added to attention scores of locked subspaces and of frames beyond the end."""
_LOG_VARIANCE = (-8.0, 4.0)


@dataclass(frozen=True)
class LatentConfig:
    """Shape of VAE and flow; stored with the weights.

    Attributes:
        text: size of a text vector.
        subspaces: K, number of subspaces, all unlocked by the longest motion.
        size: D, size of a subspace.
        frames: r, frames that unlock another subspace.
        patch: frames per token of the VAE's Transformers; divides ``frames``.
        fixed: whether all subspaces are unlocked for every length (ablation).
        stem: width of the VAE at full frame rate.
        width, heads, hidden, layers: of the VAE's Transformers.
        flow_width, flow_heads, flow_hidden, flow_layers: of the flow's.
    """

    text: int = TEXT
    subspaces: int = 20
    size: int = 64
    frames: int = 15
    patch: int = 5
    fixed: bool = False
    stem: int = 64
    width: int = 128
    heads: int = 4
    hidden: int = 384
    layers: int = 2
    flow_width: int = 160
    flow_heads: int = 5
    flow_hidden: int = 480
    flow_layers: int = 5

    @property
    def longest(self) -> int:
        """Number of frames of the longest motion."""
        return self.subspaces * self.frames

    def as_dict(self) -> dict[str, Any]:
        """The settings as a dictionary, for the metadata of weights."""
        return asdict(self)


class Layout(nn.Module):
    """Masks of the subspaces and patches in use for a length, and their proximity in time."""

    def __init__(self, config: LatentConfig) -> None:
        super().__init__()
        self.config = config

    def unlocked(self, length: Tensor) -> Tensor:
        """Mask (B, K), 1 for the unlocked subspaces of motions of ``length`` (B, 1) frames."""
        c = self.config
        place = torch.arange(c.subspaces, dtype=length.dtype, device=length.device)
        if c.fixed:
            return torch.ones_like(length) * torch.ones_like(place)
        return (place + 1 <= length / c.frames + 1e-3).to(length.dtype)

    def patches(self, length: Tensor, count: int) -> Tensor:
        """Mask (B, count), 1 for the patches that contain a frame of the motion."""
        place = torch.arange(count, dtype=length.dtype, device=length.device)
        return (place * self.config.patch < length).to(length.dtype)

    def near(self, unlocked: Tensor, patches: Tensor) -> Tensor:
        """Proximity in time (B, K, P) of unlocked subspaces and patches; not normalised."""
        space = torch.arange(unlocked.shape[1], dtype=unlocked.dtype, device=unlocked.device)
        patch = torch.arange(patches.shape[1], dtype=patches.dtype, device=patches.device)
        share = unlocked.sum(-1, keepdim=True) / patches.sum(-1, keepdim=True)
        at = (patch + 0.5) * share
        apart = at[:, None] - (space + 0.5)[:, None]
        return (-2.0 * apart.square()).exp() * unlocked[..., None] * patches[:, None]


class Side(nn.Module):
    """A Transformer over subspaces and patches: encoder or decoder of the VAE."""

    def __init__(self, c: LatentConfig) -> None:
        super().__init__()
        self.space_at = nn.Parameter(0.02 * torch.randn(c.subspaces, c.width))
        self.patch_at = nn.Parameter(0.02 * torch.randn(c.longest // c.patch, c.width))
        self.length = nn.Linear(1, c.width)
        self.layers = nn.ModuleList(
            EncoderLayer(c.width, c.heads, c.hidden) for _ in range(c.layers)
        )
        self.norm = nn.LayerNorm(c.width)
        self.longest = c.longest

    def forward(
        self, spaces: Tensor, patches: Tensor, used: Tensor, length: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Process subspaces (B, K, d) and patches (B, P, d), with the mask ``used`` (B, K + P)."""
        k = spaces.shape[1]
        places = torch.cat((self.space_at, self.patch_at[: patches.shape[1]]))
        x = torch.cat((spaces, patches), 1) + places + self.length(length / self.longest)[:, None]
        hide = ((1 - used) * _FAR)[:, None, None]
        for layer in self.layers:
            x = layer(x, hide)
        x = self.norm(x)
        return x[:, :k], x[:, k:]


class LatentVae(nn.Module):
    """Encodes frames of `heading_frames` in the unlocked subspaces, and decodes them.

    Two Transformers correct a linear part; their corrections are initially zero.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, config: LatentConfig) -> None:
        super().__init__()
        self.config = c = config
        self.layout = Layout(c)
        self.register_buffer("mean", torch.zeros(FEATURES))
        self.register_buffer("scale", torch.ones(FEATURES))
        self.read = nn.Linear(FEATURES, c.stem)
        self.blend = nn.Conv1d(c.stem, c.stem, 5, padding=2)
        self.embed = nn.Linear(c.patch * c.stem, c.width)
        self.encoder = Side(c)
        self.distribution = nn.Linear(c.width, 2 * c.size)
        self.open = nn.Linear(c.size, c.width)
        self.decoder = Side(c)
        self.spread_out = nn.Linear(c.width, c.patch * c.stem)
        self.merge = nn.Conv1d(c.stem, c.stem, 5, padding=2)
        self.write = nn.Linear(c.stem, FEATURES)
        self.linear = LinearPart(c.size, c.frames, FEATURES)
        for last in (self.distribution, self.write):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def normalised(self, frames: Tensor) -> Tensor:
        """Frames (..., 138) with mean 0 and scale 1."""
        return (frames - self.mean) / self.scale

    def encode(self, frames: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance (B, K, D) of each subspace, 0 where it is locked.

        Args:
            frames: (B, T, 138), T a multiple of the patch; arbitrary values beyond the end.
            length: (B, 1) number of frames of each motion.
        """
        c = self.config
        unlocked, patches = self._used(length, frames.shape[1])
        inside = patches.repeat_interleave(c.patch, dim=1)[..., None]
        h = self.read(self.normalised(frames)) * inside
        h = (h + F.gelu(_along(self.blend, h), approximate="tanh")) * inside
        x = self.embed(h.reshape(-1, patches.shape[1], c.patch * c.stem))
        near = self.layout.near(unlocked, patches)
        pooled = near / near.sum(-1, keepdim=True).clamp_min(1e-6) @ x
        spaces, _ = self.encoder(pooled, x, torch.cat((unlocked, patches), 1), length)
        shift, wider = self.distribution(spaces).chunk(2, -1)
        direct = self.linear.encode(self.linear.blocks(frames, length, unlocked))
        inside = unlocked[..., None]
        spread = (self.linear.spread + wider) * inside
        return (direct + shift) * inside, spread.clamp(*_LOG_VARIANCE)

    def decode(self, latent: Tensor, length: Tensor, frames: int) -> Tensor:
        """Decode subspaces (B, K, D) to frames (B, ``frames``, 138); locked ones are ignored."""
        c = self.config
        unlocked, patches = self._used(length, frames)
        spaces = self.open(latent * unlocked[..., None])
        near = self.layout.near(unlocked, patches)
        spread = (near / near.sum(1, keepdim=True).clamp_min(1e-6)).transpose(1, 2) @ spaces
        _, x = self.decoder(spaces, spread, torch.cat((unlocked, patches), 1), length)
        inside = patches.repeat_interleave(c.patch, dim=1)[..., None]
        h = self.spread_out(x).reshape(-1, frames, c.stem) * inside
        h = h + F.gelu(_along(self.merge, h), approximate="tanh")
        out: Tensor = self.linear.decode(latent, length, unlocked, frames)
        out = out + self.write(h) * self.scale
        return out

    def forward(self, frames: Tensor, length: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode frames (B, T, 138), and decode a random sample; also returns the distribution."""
        mean, spread = self.encode(frames, length)
        drawn = mean + (0.5 * spread).exp() * torch.randn_like(mean)
        return self.decode(drawn, length, frames.shape[1]), mean, spread

    def _used(self, length: Tensor, frames: int) -> tuple[Tensor, Tensor]:
        patches = self.layout.patches(length, frames // self.config.patch)
        return self.layout.unlocked(length), patches


class LatentFlow(nn.Module):
    """The flow from noise to the unlocked subspaces of a motion; see `hpstm_ros.model.hpstm_gen`.

    The space is standardised by ``mean`` and ``scale``.
    """

    mean: Tensor
    scale: Tensor
    frequencies: Tensor

    def __init__(self, config: LatentConfig) -> None:
        super().__init__()
        self.config = c = config
        d = c.flow_width
        self.layout = Layout(c)
        self.register_buffer("mean", torch.zeros(c.size))
        self.register_buffer("scale", torch.ones(c.size))
        self.register_buffer("frequencies", torch.exp(torch.linspace(0, 5, 16)), persistent=False)
        self.read = nn.Linear(c.size, d)
        self.at = nn.Parameter(0.02 * torch.randn(c.subspaces, d))
        self.before_end = nn.Parameter(0.02 * torch.randn(c.subspaces, d))
        self.time = nn.Sequential(nn.Linear(32, d), nn.SiLU(), nn.Linear(d, d))
        self.text = nn.Sequential(nn.Linear(c.text + 1, d), nn.SiLU(), nn.Linear(d, d))
        self.length = nn.Sequential(nn.Linear(2, d), nn.SiLU(), nn.Linear(d, d))
        self.modulation = nn.Linear(d, 6 * d)
        self.layers = nn.ModuleList(
            Layer(d, c.flow_heads, c.flow_hidden) for _ in range(c.flow_layers)
        )
        self.norm = nn.LayerNorm(d)
        self.write = nn.Linear(d, c.size)
        for last in (self.modulation, self.write):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(
        self, state: Tensor, tau: Tensor, text: Tensor, length: Tensor, whole: Tensor
    ) -> Tensor:
        """Predict the end point of the flow (B, K, D), 0 for locked subspaces.

        Args:
            state: (B, K, D) between noise and standardised data.
            tau: (B, 1), 0 for noise, 1 for data.
            text: (B, text) text vectors, zero for no text.
            length: (B, 1) number of frames.
            whole: (B, 1), 1 for a complete motion, 0 for a part of one.
        """
        unlocked = self.layout.unlocked(length)
        inside = unlocked[..., None]
        level = (tau * tau + (1 - tau) * (1 - tau)).rsqrt()[..., None]
        angle = tau * self.frequencies
        given = (text.abs().sum(-1, keepdim=True) > 0).to(text.dtype)
        text_embedding = self.text(torch.cat((text, given), -1))
        lasts = self.length(torch.cat((length / self.config.longest, whole), -1))
        condition = self.time(torch.cat((angle.sin(), angle.cos()), -1)) + text_embedding + lasts
        x = self.read(state * level * inside) + self.at + self._before_end(unlocked)
        x = torch.cat((x, text_embedding[:, None], lasts[:, None]), 1)
        always = torch.ones_like(tau)
        hide = ((1 - torch.cat((unlocked, always, always), 1)) * _FAR)[:, None, None]
        modulation = self.modulation(F.silu(condition)).reshape(-1, 6, self.config.flow_width)
        for layer in self.layers:
            x = layer(x, modulation, hide)
        found = self.write(self.norm(x[:, :-2]))
        by = tau[..., None] * level * level
        through = (1 - tau)[..., None] * level
        out: Tensor = (by * state + through * found) * inside
        return out

    def _before_end(self, unlocked: Tensor) -> Tensor:
        """Embedding (B, K, d) of the distance of each unlocked subspace from the end."""
        place = torch.arange(unlocked.shape[1], dtype=unlocked.dtype, device=unlocked.device)
        left = unlocked.sum(-1, keepdim=True) - 1 - place
        same = (left[..., None] - place).abs() < 0.5
        return same.to(unlocked.dtype) @ self.before_end


class LatentModel(nn.Module):
    """VAE and flow, as released."""

    def __init__(self, config: LatentConfig) -> None:
        super().__init__()
        self.config = config
        self.vae = LatentVae(config)
        self.flow = LatentFlow(config)

    def frames(self, state: Tensor, length: Tensor) -> Tensor:
        """Decode standardised states (B, K, D) to frames of the longest motion (B, K r, 138)."""
        latent = state * self.flow.scale + self.flow.mean
        return self.vae.decode(latent, length, self.config.longest)


def _along(layer: nn.Module, x: Tensor) -> Tensor:
    out: Tensor = layer(x.transpose(1, 2)).transpose(1, 2)
    return out
