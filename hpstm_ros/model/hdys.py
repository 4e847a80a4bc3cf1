"""HDyS: one latent space for heterogeneous motion and forces (Homogeneous Dynamics Space, CVPR
2025).

Encoders of keypoints, markers (Transformers without positions) and joint angles (MLPs) map every
frame of a window to one latent vector. A Transformer over the frames, shared by all encoders, and
one head for each kind of dynamics decode it: the inverse dynamics. The forward dynamics encode
motion without its acceleration and the forces, and decode the acceleration, as in the paper, or its
change since the previous frame (`HdysSettings.change`). InfoNCE aligns the latent vectors of
different encoders for the same frame.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hpstm_ros.model.layers import EncoderLayer

POINT_FEATURES = 9
"""Position, velocity and acceleration of a point."""
MOVING_FEATURES = 6
"""Position and velocity of a point."""
CHANGE = 0.15
"""Change of the acceleration per frame of 1/60 s, in standard deviations: the unit of the output of
the forward dynamics. The mean change in CMU motion is 0.47 of about 3 m/s^2.
"""
_STEEPER = 8.0
"""Factor that scales the change of a force per frame to about its standard deviation."""


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
        change: whether the forward dynamics take the acceleration and the forces of the previous
            frame and decode the change, instead of the acceleration itself.
    """

    latent: int = 128
    width: int = 32
    layers: int = 3
    heads: int = 2
    window: int = 8
    kinds: tuple[tuple[str, int], ...] = (("torque", 63), ("ground", 10), ("measured", 13))
    points: tuple[tuple[str, int], ...] = (("keypoints", 22), ("markers", 31))
    vectors: tuple[tuple[str, int], ...] = (("angles", 271), ("rajagopal", 79))
    change: bool = False


def _transformer(width: int, layers: int, heads: int) -> nn.Sequential:
    return nn.Sequential(*(EncoderLayer(width, heads, 2 * width) for _ in range(layers)))


class PointEncoder(nn.Module):
    """Encodes the points of a frame as a latent vector.

    A learned embedding is added to each point to identify it, since otherwise left and right could
    not be distinguished. There are several summary tokens, so that the latent vector is not limited
    to the width of one token.
    """

    def __init__(self, settings: HdysSettings, count: int, features: int) -> None:
        super().__init__()
        width = settings.width
        self.summaries = max(settings.latent // width, 1)
        self.enter = nn.Linear(features, width)
        self.names = nn.Parameter(0.02 * torch.randn(count, width))
        self.summary = nn.Parameter(0.02 * torch.randn(self.summaries, width))
        self.mix = _transformer(width, settings.layers, settings.heads)
        self.leave = nn.Linear(self.summaries * width, settings.latent)

    def forward(self, points: Tensor) -> Tensor:
        """Encode points (N, P, features) as (N, latent)."""
        tokens = self.enter(points) + self.names
        summary = self.summary.expand(tokens.shape[0], -1, -1)
        mixed = self.mix(torch.cat((summary, tokens), dim=1))
        out: Tensor = self.leave(mixed[:, : self.summaries].flatten(1))
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
        if s.change:
            self.changes = nn.ModuleDict(
                {name: _mlp(2 * size, 4 * s.width, s.latent) for name, size in s.kinds}
            )
        parts = 3 if s.change else 2
        self.compose = _mlp(parts * s.latent, 2 * s.latent, s.latent)
        self.accelerations = nn.ModuleDict(
            {name: _mlp(s.latent, 4 * s.width, 3 * count) for name, count in s.points}
        )
        self.log_temperature = nn.Parameter(torch.tensor(math.log(0.1)))

    def encode(self, name: str, motion: Tensor) -> Tensor:
        """Encode a window in one representation as latent vectors (B, T, latent)."""
        batch, frames = motion.shape[:2]
        out: Tensor = self.encoders[name](motion.flatten(0, 1))
        return out.view(batch, frames, -1)

    def decode(self, latent: Tensor) -> dict[str, Tensor]:
        """Decode latent vectors (B, T, latent) to every kind of dynamics (B, T, size)."""
        mixed = self.decoder(latent + self.times)
        return {name: head(mixed) for name, head in self.heads.items()}

    def push(self, forces: Mapping[str, Tensor]) -> Tensor:
        """Encode forces (B, T, size) of one or more kinds as latent vectors (B, T, latent)."""
        parts = [self.forces[kind](value) for kind, value in forces.items()]
        return torch.stack(parts).mean(dim=0)

    def accelerate(self, name: str, motion: Tensor, forces: Mapping[str, Tensor]) -> Tensor:
        """Forward dynamics: accelerations (B, T - 1, P, 3) of points in every frame but the first.

        Args:
            name: of the representation.
            motion: (B, T, P, 9); position and velocity of the frame are used, and the acceleration
                of the previous frame, if changes are decoded.
            forces: kind -> (B, T, size).
        """
        moving = self.moving[name](motion[:, 1:, :, :MOVING_FEATURES].flatten(0, 1))
        pushed = self.push({kind: value[:, 1:] for kind, value in forces.items()})
        known = [moving, pushed.flatten(0, 1)]
        last = motion[:, :-1, :, MOVING_FEATURES:]
        if self.settings.change:
            known.append(self._changed(forces).flatten(0, 1))
        decoded = self.accelerations[name](self.compose(torch.cat(known, dim=-1)))
        out: Tensor = decoded.view(last.shape)
        return last + CHANGE * out if self.settings.change else out

    def _changed(self, forces: Mapping[str, Tensor]) -> Tensor:
        """Encode forces (B, T, size) and their changes per frame as (B, T - 1, latent)."""
        parts = []
        for kind, value in forces.items():
            step = _STEEPER * (value[:, 1:] - value[:, :-1])
            parts.append(self.changes[kind](torch.cat((value[:, 1:], step), dim=-1)))
        return torch.stack(parts).mean(dim=0)


def alignment(latents: list[Tensor], temperature: Tensor) -> Tensor:
    """InfoNCE over all pairs of encoders, with latent vectors (N, latent) of the same N frames."""
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
    """Weights of the loss (those of the paper by default), and switches for ablations.

    Attributes:
        reconstruction: of the L1 error of forces and accelerations.
        align: of InfoNCE.
        forward: whether the forward dynamics are trained.
    """

    reconstruction: float = 0.01
    align: float = 0.05
    forward: bool = True


def losses(
    model: Hdys,
    motion: Mapping[str, Tensor],
    dynamics: Mapping[str, Tensor],
    settings: LossSettings,
) -> tuple[Tensor, dict[str, float]]:
    """The loss of windows of one domain: 0.01 L1 of the reconstruction + 0.05 InfoNCE.

    Args:
        model: to train.
        motion: representations (B, T, ...) of the domain, standardised.
        dynamics: kinds of dynamics (B, T, size) of the domain, standardised; NaN if unknown.
        settings: weights and switches.
    """
    encoded = {name: model.encode(name, window) for name, window in motion.items()}
    parts = []
    for latent in encoded.values():
        decoded = model.decode(latent)
        parts += [absolute_error(decoded[kind], truth) for kind, truth in dynamics.items()]
    latents = [latent.flatten(0, 1) for latent in encoded.values()]
    if settings.forward:
        forces = {kind: truth.nan_to_num(0.0) for kind, truth in dynamics.items()}
        latents.append(model.push(forces).flatten(0, 1))
        for name in model.moving:
            if name in motion:
                found = model.accelerate(name, motion[name], forces)
                truth = motion[name][:, 1:, :, MOVING_FEATURES:]
                unit = CHANGE if model.settings.change else 1.0
                parts.append(absolute_error(found, truth) / unit)
    reconstruction = torch.stack(parts).mean()
    align = alignment(latents, model.log_temperature.exp().clamp(0.02, 1.0))
    total = settings.reconstruction * reconstruction + settings.align * align
    figures = {"reconstruction": reconstruction, "alignment": align}
    return total, {name: float(value.detach()) for name, value in figures.items()}


def absolute_error(found: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute difference where ``truth`` is finite; both of any equal shape."""
    known = torch.isfinite(truth)
    return (found - truth.nan_to_num(0.0))[known].abs().mean()


LIMIT = 8.0
"""Standard deviations to which inputs are clipped, so that a single outlier does not dominate."""


class Scale(nn.Module):
    """Means and standard deviations of every representation and kind of dynamics."""

    def __init__(self, settings: HdysSettings) -> None:
        """Initialise with means of zero and deviations of one."""
        super().__init__()
        points = {name: (count, POINT_FEATURES) for name, count in settings.points}
        others = {name: (size,) for name, size in (*settings.vectors, *settings.kinds)}
        for name, shape in {**points, **others}.items():
            self.register_buffer(f"mean_{name}", torch.zeros(shape))
            self.register_buffer(f"deviation_{name}", torch.ones(shape))

    def __getitem__(self, name: str) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the quantity ``name``."""
        return getattr(self, f"mean_{name}"), getattr(self, f"deviation_{name}")

    def put(self, name: str, mean: Tensor, deviation: Tensor) -> None:
        """Set mean and standard deviation of the quantity ``name``, of its shape."""
        for own, value in zip(self[name], (mean, deviation)):
            own.copy_(value)

    def standard(self, name: str, values: Tensor) -> Tensor:
        """Values (..., size) in standard deviations from the mean, clipped to `LIMIT`."""
        mean, deviation = self[name]
        return ((values - mean) / deviation).clamp(-LIMIT, LIMIT)

    def physical(self, name: str, values: Tensor) -> Tensor:
        """The inverse of `standard`, without clipping: values (..., size) in their units."""
        mean, deviation = self[name]
        return values * deviation + mean


class HdysStep(nn.Module):
    """The streaming step: maps the keypoints of a frame to its forces; the state contains the
    latent vectors of previous frames.

    Input ``keypoints`` (B, 22, 9): position, velocity and acceleration in the frame's heading frame
    (`hpstm_ros.dynamics.representations`), SI units. Outputs in the same axes: ``torque`` (B, 63)
    Nm/kg of all joints except the pelvis, ``ground`` (B, 10) of both feet: force in body weights,
    centre of pressure in m from the ankle, forward and left; ``measured`` (B, 13) Nm/kg.
    """

    output_names = ("torque", "ground", "measured", "next_latents")

    def __init__(self, model: Hdys, scale: Scale) -> None:
        super().__init__()
        self.model = model
        self.scale = scale

    def example_inputs(self, batch: int) -> dict[str, Tensor]:
        """Zeros (batch, ...) for every input of `forward`, by name, in its order."""
        s = self.model.settings
        count = dict(s.points)["keypoints"]
        return {
            "keypoints": torch.zeros(batch, count, POINT_FEATURES),
            "state_latents": torch.zeros(batch, s.window - 1, s.latent),
        }

    def forward(self, keypoints: Tensor, latents: Tensor) -> tuple[Tensor, ...]:
        """One frame.

        Args:
            keypoints: (B, 22, 9) features of the joints, see `hpstm_ros.dynamics.representations`.
            latents: (B, frames - 1, latent) of the frames before.

        Returns:
            Moments (B, 63) Nm/kg, ground reaction (B, 10) in body weights and m, measured moments
            (B, 13) Nm/kg, and the latents for the next frame.
        """
        new = self.model.encoders["keypoints"](self.scale.standard("keypoints", keypoints))
        window = torch.cat((latents, new[:, None]), dim=1)
        mixed = self.model.decoder(window + self.model.times)[:, -1]
        heads = self.model.heads
        out = [self.scale.physical(k, heads[k](mixed)) for k in ("torque", "ground", "measured")]
        return (*out, window[:, 1:])
