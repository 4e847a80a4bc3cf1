"""HPSTM: maps a window of noisy joint positions to a body on the manifold of human poses, with
covariance.

After HPSTM (Human Pose Smoothing with Transformer and Manifold constraints), whose tokens are whole
poses. Such a network memorises the poses of its training data: on other motion, the predecessor of
this one was worse than a Kalman filter. Therefore, here

- a token is a joint, not a frame: it contains the trajectories of the joint, its neighbours and the
  body around the requested instant, relative to a linear estimate, in the joint's own frame. It is
  independent of the position and heading of the body and (except for the angles to the adjacent
  bones) of its pose;
- the output is a weighted combination of robust linear estimates, plus a small correction;
- a projection with learned mobilities moves the joints to the manifold, and forward kinematics
  makes the result exact.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hpstm_ros.model.geometry import CHILDREN, PARENT, TRUNK, Bones, J, rotate, take
from hpstm_ros.model.layers import EncoderLayer, JointLinear
from hpstm_ros.model.robust import RobustLines, path_kernels

_SCALE_M = 0.02
"""m, scale of the input and output vectors of the network: about that of the noise."""
_MOST = 10.0
"""Soft bound of the vectors, in units of the scale."""
_SIGMA_M = 0.008
_ESTIMATES = ((1.6, 2, 0), (3.0, 2, 0), (5.0, 2, 0), (8.0, 2, 0), (6.0, 1, 0))
"""Width, order and offset (`path_kernels`) of the linear estimates that the network combines."""
_PROBES = tuple(
    (width, 0 if width < 1 else 1, offset)
    for width, offset in (
        (1.0, 0),
        (0.8, 0),
        (0.8, -1),
        (0.8, 1),
        (1.2, -2),
        (1.2, 2),
        (1.5, -4),
        (1.5, 4),
        (2.0, -7),
        (2.0, 7),
        (2.5, -10),
        (3.0, -14),
        (3.0, -19),
    )
)
"""The same for the features that describe a trajectory around the instant."""
_EVIDENCE = 0.15, 0.03
"""Share of the frames near the instant in which a joint must be seen for its estimate to be used,
and the sharpness of this threshold.
"""


@dataclass(frozen=True)
class HpstmConfig:
    """Shape of the network; stored with the weights."""

    frames: int = 32
    lookaheads: int = 11
    width: int = 96
    heads: int = 4
    hidden: int = 256
    layers: int = 3
    manifold: bool = True
    """False for the ablation whose output is free points, without forward kinematics."""

    def as_dict(self) -> dict[str, Any]:
        """The settings as a dictionary, for the metadata of a model file."""
        return asdict(self)


@dataclass
class HpstmOutput:
    """Output of the network for each query, in the frame of the input.

    Attributes:
        positions: (B, Q, 22, 3) m.
        free: (B, Q, 22, 3) m, positions before the projection onto the manifold.
        rotations: (B, Q, 22, 3, 3) joint to world.
        bones: (B, 22) m, lengths that the manifold used; 0 for the pelvis.
        cholesky: (B, Q, 22, 3, 3) m, lower-triangular, positive diagonal, in the joint's own frame.
        R_world_own: (B, Q, 22, 3, 3), this frame, in which the distal bone has a fixed direction.
    """

    positions: Tensor
    free: Tensor
    rotations: Tensor
    bones: Tensor
    cholesky: Tensor
    R_world_own: Tensor

    @property
    def covariance(self) -> Tensor:
        """Covariance (B, Q, 22, 3, 3) m^2 of the positions, in the frame of the input."""
        root = self.R_world_own @ self.cholesky
        return root @ root.transpose(-1, -2)


class Hpstm(nn.Module):
    """See the module's docstring."""

    estimates: Tensor
    probes: Tensor
    near: Tensor
    neighbours: Tensor

    def __init__(self, config: HpstmConfig) -> None:
        super().__init__()
        self.config = config
        self.mixed = False
        """Run the Transformer itself in bfloat16 (where the hardware is fast in it); the geometry
        stays in float32.
        """
        frames = config.frames
        asked = config.lookaheads
        d = config.width
        self.lines = RobustLines(frames)
        self.bones = Bones()
        for name, value in (
            ("estimates", path_kernels(frames, asked, _ESTIMATES)),  # (N, M, L)
            ("probes", path_kernels(frames, asked, _PROBES)),  # (N, P, L)
            (
                "near",
                F.normalize(path_kernels(frames, asked, ((2.0, 0, 0),))[:, 0], p=1.0, dim=-1),
            ),  # (N, L)
            ("neighbours", _neighbours()),  # (22 S, 22)
        ):
            self.register_buffer(name, value.contiguous(), persistent=False)
        m = len(_ESTIMATES)
        sources = len(self.neighbours) // J
        # deviations are learned, and their sum is subtracted, so that estimates are equivariant to
        # translation
        self.estimates_learned = nn.Parameter(torch.zeros(J, asked, m, frames))
        self.probes_learned = nn.Parameter(torch.zeros(asked, len(_PROBES), frames))
        self.mix = nn.Parameter(torch.zeros(asked, J, m))
        vectors = sources * len(_PROBES) + m + 2
        self.embed = JointLinear(J, 3 * vectors + 9 + 6, d)
        self.ask = nn.Parameter(0.02 * torch.randn(asked, d))
        self.layers = nn.ModuleList(
            EncoderLayer(d, config.heads, config.hidden) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(d)
        self.head = JointLinear(J, d, m + 3 + 1 + 3, scale=0.01)
        self.head_spread = nn.Sequential(
            nn.Linear(d, d), nn.GELU(approximate="tanh"), JointLinear(J, d, 6, scale=0.01)
        )
        last = nn.Linear(96, J)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.head_bones = nn.Sequential(nn.Linear(2 * J, 96), nn.GELU(approximate="tanh"), last)

    def forward(
        self, points: Tensor, seen: Tensor, bones: Tensor, known: Tensor, lookahead: Tensor
    ) -> HpstmOutput:
        """Smooth a window.

        Args:
            points: (B, L, 22, 3) m, relative to any point near the body; any finite value if not
                seen.
            seen: (B, L, 22), 1 if the joint was measured, else 0.
            bones: (B, 22) m, bone lengths of the operator; used if ``known``.
            known: (B, 1), 1 to use ``bones``, 0 to estimate them from the window.
            lookahead: (B, Q, 11) one-hot: requested frame of each query, as a number of frames
                before the newest.
        """
        centre = (points * seen[..., None]).sum((1, 2)) / seen.sum((1, 2))[:, None].clamp_min(1.0)
        local = (points - centre[:, None, None]) * seen[..., None]
        fitted, weight = self.lines(local, seen)
        lengths = self._lengths(fitted, weight, bones, known)
        # (B, 1, 22, L, 3)
        paths = (fitted + weight[..., None] * (local - fitted)).transpose(1, 2)[:, None]
        estimates = self._estimators(lookahead) @ paths  # (B, Q, 22, M, 3)
        probes = (
            self._pick(lookahead, self.probes + _centred(self.probes_learned))[:, :, None] @ paths
        )
        near = (lookahead @ self.near) @ weight
        there = torch.sigmoid((near - _EVIDENCE[0]) / _EVIDENCE[1])
        base = (F.softmax(self._pick(lookahead, self.mix), -1)[..., None] * estimates).sum(-2)
        base, R_world_own = self.bones.frames(base, lengths, there)
        known_most = torch.stack(
            (near, take(near, PARENT), weight.mean(1)[:, None].expand_as(near)), -1
        )
        of_body = torch.stack(
            (self._noise(local, fitted, weight), lengths / 0.3, known.expand_as(lengths)), -1
        )
        vectors, directions = self._vectors(base, estimates, probes, lengths, R_world_own)
        facts = torch.cat(
            (
                vectors,
                directions,
                known_most,
                of_body[:, None].expand(-1, known_most.shape[1], -1, -1),
            ),
            -1,
        )
        x = self._tokens(facts, lookahead)
        batch = facts.shape[:3]
        choice, shift, mobility, turn = (
            self.head(x).reshape(*batch, -1).split((len(_ESTIMATES), 3, 1, 3), -1)
        )
        chosen = (F.softmax(choice, -1)[..., None] * estimates).sum(-2)
        free = base + there[..., None] * (chosen - base) + _SCALE_M * rotate(R_world_own, shift)
        positions = free
        rotations = R_world_own
        if self.config.manifold:
            projected = self.bones.project(
                free, lengths, torch.exp(mobility[..., 0].clamp(-4.0, 4.0))
            )
            positions, rotations = self.bones.place(projected, lengths, R_world_own, turn)
        return HpstmOutput(
            positions=positions + centre[:, None, None],
            free=free + centre[:, None, None],
            rotations=rotations,
            bones=lengths,
            cholesky=self._cholesky(self.head_spread(x).reshape(*batch, 6)),
            R_world_own=R_world_own,
        )

    @staticmethod
    def _pick(lookahead: Tensor, of_each: Tensor) -> Tensor:
        """Select by the look-ahead of each query: (B, Q, N), (N, ...) to (B, Q, ...)."""
        return (lookahead @ of_each.flatten(1)).reshape(*lookahead.shape[:2], *of_each.shape[1:])

    def _estimators(self, lookahead: Tensor) -> Tensor:
        """Kernels (B, Q, 22, M, L) of the linear estimates."""
        kernels = self.estimates + _centred(self.estimates_learned)  # (22, N, M, L)
        return self._pick(lookahead, kernels.transpose(0, 1))

    def _lengths(self, fitted: Tensor, weight: Tensor, bones: Tensor, known: Tensor) -> Tensor:
        """Bone lengths (B, 22) m, constant over the window: the given ones, or the mean
        distances in the window, corrected by the network.
        """
        both = weight * take(weight, PARENT)
        distance = ((fitted - take(fitted, PARENT)) ** 2).sum(-1).clamp_min(1e-10).sqrt()
        evidence = both.sum(1)
        share = evidence / (evidence + 1.0)
        measured = (
            share * (distance * both).sum(1) / evidence.clamp_min(1e-3)
            + (1 - share) * self.bones.lengths
        )
        off = (measured / self.bones.lengths.clamp_min(1e-3) - 1).clamp(-1.0, 1.0)
        correction = torch.tanh(self.head_bones(torch.cat((5 * off, share), -1)))
        estimated = measured * torch.exp(0.5 * correction) * (self.bones.lengths > 0).float()
        return known * bones + (1 - known) * estimated

    @staticmethod
    def _noise(local: Tensor, fitted: Tensor, weight: Tensor) -> Tensor:
        """RMS distance (B, 22) of the samples of each joint from its trajectory, in units of the
        scale.
        """
        square = (weight * ((local - fitted) ** 2).sum(-1)).sum(1) / weight.sum(1).clamp_min(1e-2)
        return square.clamp_min(1e-6).sqrt() / _SCALE_M

    def _vectors(
        self, base: Tensor, estimates: Tensor, probes: Tensor, lengths: Tensor, R_world_own: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Trajectories relative to the base estimate, in each joint's own frame, scaled and
        bounded, and the directions of the bones in it.
        """
        batch = base.shape[:3]
        about = probes - base[..., None, :]
        around = (self.neighbours @ about.flatten(-2)).reshape(*batch, -1, 3)
        direction, excess, after = self.bones.stretch(base, lengths)
        v = torch.cat(
            (around, estimates - base[..., None, :], excess[..., None, :], after[..., None, :]), -2
        ) @ (R_world_own / _SCALE_M)
        v = v * torch.rsqrt(1 + v * v / _MOST**2)
        beyond = take(direction, [CHILDREN[j][0] if CHILDREN[j] else j for j in range(J)])
        directions = torch.stack((direction, take(direction, PARENT), beyond), -2) @ R_world_own
        return v.flatten(-2), directions.flatten(-2)

    def _tokens(self, facts: Tensor, lookahead: Tensor) -> Tensor:
        """Tokens (B Q, 22, d) after the Transformer."""
        with self._precision(facts.device.type):
            x: Tensor = (
                self.embed(facts.flatten(0, 1)) + (lookahead @ self.ask).flatten(0, 1)[:, None]
            )
            for layer in self.layers:
                x = layer(x)
        out: Tensor = self.norm(x.float())
        return out

    def _precision(self, device: str) -> AbstractContextManager[Any]:
        return torch.autocast(device, dtype=torch.bfloat16) if self.mixed else nullcontext()

    @staticmethod
    def _cholesky(raw: Tensor) -> Tensor:
        """Convert (..., 6) to lower-triangular matrices (..., 3, 3) m with a positive diagonal."""
        diagonal = _SIGMA_M * torch.exp(raw[..., :3].clamp(-4.0, 5.0))
        below = _SIGMA_M * raw[..., 3:]
        zero = torch.zeros_like(below[..., 0])
        rows = (
            diagonal[..., 0],
            zero,
            zero,
            below[..., 0],
            diagonal[..., 1],
            zero,
            below[..., 1],
            below[..., 2],
            diagonal[..., 2],
        )
        return torch.stack(rows, -1).reshape(*raw.shape[:-1], 3, 3)


def _centred(kernels: Tensor) -> Tensor:
    return kernels - kernels.mean(-1, keepdim=True)


def _neighbours() -> Tensor:
    """Matrix (22 S, 22) of the trajectories that are inputs of a joint: its own, its parent's, the
    mean of its children, its grandparent's, and the means of the trunk and of the body.
    """
    out = torch.zeros(J, 6, J)
    for joint in range(J):
        out[joint, 0, joint] = out[joint, 1, PARENT[joint]] = out[
            joint, 3, PARENT[PARENT[joint]]
        ] = 1.0
        after = CHILDREN[joint] or [PARENT[joint]]
        out[joint, 2, after] = 1 / len(after)
        out[joint, 4, TRUNK] = 1 / len(TRUNK)
    out[:, 5] = 1 / J
    return out.flatten(0, 1)
