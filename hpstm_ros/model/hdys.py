"""HDyS: one latent space for heterogeneous motion and forces (Homogeneous Dynamics Space, CVPR
2025).

Encoders of keypoints, markers (Transformers without positions) and joint angles (an MLP) map every
frame of a window to one latent vector. A Transformer over the frames, shared by all encoders, and
one
head for each kind of dynamics decode it: the inverse dynamics. The forward dynamics encode motion
without its acceleration and the forces, and decode the acceleration. InfoNCE pulls together what
different encoders make of the same frame.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

POINT_FEATURES = 9
"""Position, velocity and acceleration of a point."""
MOVING_FEATURES = 6
"""Without the acceleration."""


@dataclass(frozen=True)
class HdysSettings:
    """Sizes.

    Attributes:
        latent: of the shared space.
        width: of the encoders' layers.
        layers: of every encoder, and of the decoder.
        heads: of the attention.
        window: frames.
        kinds: of dynamics -> number of values a frame; one head each.
        points: of point clouds -> number of points; one encoder each.
        vectors: of angle vectors -> number of values; one encoder each.
    """

    latent: int = 128
    width: int = 64
    layers: int = 3
    heads: int = 4
    window: int = 16
    kinds: tuple[tuple[str, int], ...] = (("torque", 63), ("ground", 6), ("measured", 9))
    points: tuple[tuple[str, int], ...] = (("keypoints", 22), ("markers", 30))
    vectors: tuple[tuple[str, int], ...] = (("angles", 22 * 12),)


def _transformer(width: int, layers: int, heads: int) -> nn.Module:
    layer = nn.TransformerEncoderLayer(
        width, heads, 2 * width, dropout=0.0, batch_first=True, norm_first=True
    )
    return nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)


class PointEncoder(nn.Module):
    """Points of a frame, any number in any order, to a latent vector.

    Which point is which comes from a learned name added to each, since without it left and right
    could not be distinguished.
    """

    def __init__(self, settings: HdysSettings, count: int, features: int) -> None:
        super().__init__()
        self.enter = nn.Linear(features, settings.width)
        self.names = nn.Parameter(0.02 * torch.randn(count + 1, settings.width))
        self.mix = _transformer(settings.width, settings.layers, settings.heads)
        self.leave = nn.Linear(settings.width, settings.latent)

    def forward(self, points: Tensor) -> Tensor:
        """(N, P, features) to (N, latent)."""
        tokens = self.enter(points) + self.names[:-1]
        summary = self.names[-1].expand(len(tokens), 1, -1)
        mixed = self.mix(torch.cat((summary, tokens), dim=1))
        out: Tensor = self.leave(mixed[:, 0])
        return out


def _mlp(given: int, width: int, wanted: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(given, width),
        nn.GELU(),
        nn.Linear(width, width),
        nn.GELU(),
        nn.Linear(width, wanted),
    )


class Hdys(nn.Module):
    """Both autoencoders.

    A window of motion is a mapping of representation -> (B, T, P, 9) points or (B, T, V) vectors.
    Points' last axis holds position, velocity and acceleration.
    """

    def __init__(self, settings: HdysSettings | None = None) -> None:
        """Random weights."""
        super().__init__()
        self.settings = s = settings or HdysSettings()
        inverse: dict[str, nn.Module] = {
            name: PointEncoder(s, count, POINT_FEATURES) for name, count in s.points
        }
        inverse |= {name: _mlp(size, 4 * s.width, s.latent) for name, size in s.vectors}
        self.encoders = nn.ModuleDict(inverse)
        self.moving = nn.ModuleDict(
            {name: PointEncoder(s, count, MOVING_FEATURES) for name, count in s.points}
        )
        self.forces = nn.ModuleDict(
            {name: _mlp(size, 2 * s.width, s.latent) for name, size in s.kinds}
        )
        self.times = nn.Parameter(0.02 * torch.randn(s.window, s.latent))
        self.decoder = _transformer(s.latent, s.layers, s.heads)
        self.heads = nn.ModuleDict(
            {name: _mlp(s.latent, 2 * s.width, size) for name, size in s.kinds}
        )
        self.compose = _mlp(2 * s.latent, 2 * s.latent, s.latent)
        self.accelerations = nn.ModuleDict(
            {name: _mlp(s.latent, 4 * s.width, 3 * count) for name, count in s.points}
        )
        self.log_temperature = nn.Parameter(torch.tensor(math.log(0.1)))

    def encode(self, name: str, motion: Tensor) -> Tensor:
        """A window in one representation to latent vectors (B, T, latent)."""
        batch, frames = motion.shape[:2]
        out: Tensor = self.encoders[name](motion.flatten(0, 1))
        return out.view(batch, frames, -1)

    def decode(self, latent: Tensor) -> dict[str, Tensor]:
        """Latent vectors (B, T, latent) to every kind of dynamics (B, T, size)."""
        mixed = self.decoder(latent + self.times)
        return {name: head(mixed) for name, head in self.heads.items()}

    def accelerate(
        self, name: str, motion: Tensor, kind: str, forces: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Forward dynamics: points (B, T, P, 9), whose accelerations are not read, and forces.

        Returns:
            (B, T, P, 3) accelerations, and the forces' latent vectors (B, T, latent).
        """
        batch, frames, count = motion.shape[:3]
        moving = self.moving[name](motion[..., :MOVING_FEATURES].flatten(0, 1))
        pushed = self.forces[kind](forces.flatten(0, 1))
        composed = self.compose(torch.cat((moving, pushed), dim=-1))
        out = self.accelerations[name](composed).view(batch, frames, count, 3)
        return out, pushed.view(batch, frames, -1)


def alignment(latents: list[Tensor], temperature: Tensor) -> Tensor:
    """InfoNCE over all pairs of encoders: (N, latent) each, row for row of the same frame."""
    names = [F.normalize(latent, dim=-1) for latent in latents]
    target = torch.arange(len(names[0]), device=names[0].device)
    total = names[0].new_zeros(())
    pairs = 0
    for first, a in enumerate(names):
        for b in names[first + 1 :]:
            scores = a @ b.T / temperature
            total = total + F.cross_entropy(scores, target) + F.cross_entropy(scores.T, target)
            pairs += 2
    return total / max(pairs, 1)


@dataclass(frozen=True)
class LossSettings:
    """The paper's weights, and what is left out in ablations."""

    reconstruction: float = 0.01
    align: float = 0.05
    forward: bool = True


def losses(
    model: Hdys,
    motion: Mapping[str, Tensor],
    dynamics: Mapping[str, Tensor],
    settings: LossSettings,
) -> tuple[Tensor, dict[str, float]]:
    """The loss of windows of one domain: 0.01 L1 of what is reconstructed + 0.05 InfoNCE.

    Args:
        model: of whose encoders and heads some are used.
        motion: the domain's representations, standardised.
        dynamics: the domain's kinds, standardised; NaN where not known.
        settings: see there.
    """
    encoded = {name: model.encode(name, window) for name, window in motion.items()}
    parts = []
    for latent in encoded.values():
        decoded = model.decode(latent)
        parts += [absolute_error(decoded[kind], truth) for kind, truth in dynamics.items()]
    latents = [latent.flatten(0, 1) for latent in encoded.values()]
    if settings.forward:
        for name in model.moving:
            if name not in motion:
                continue
            for kind, truth in dynamics.items():
                found, pushed = model.accelerate(name, motion[name], kind, truth.nan_to_num(0.0))
                parts.append(absolute_error(found, motion[name][..., MOVING_FEATURES:]))
                latents.append(pushed.flatten(0, 1))
    reconstruction = torch.stack(parts).mean()
    align = alignment(latents, model.log_temperature.exp().clamp(0.02, 1.0))
    total = settings.reconstruction * reconstruction + settings.align * align
    return total, {"reconstruction": float(reconstruction), "alignment": float(align)}


def absolute_error(found: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute difference where the truth is known."""
    known = torch.isfinite(truth)
    return (found - truth.nan_to_num(0.0))[known].abs().mean()
