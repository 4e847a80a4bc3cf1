"""HPSTM: a window of noisy joint positions in, a body on the manifold of human poses and its covariance out.

After HPSTM (Human Pose Smoothing with Transformer and Manifold constraints): an encoder reads the window, a decoder is asked for
one frame of it, and the answer passes through forward kinematics, so that bones cannot stretch. What is added here: the answer
is a correction to robust linear estimates (which average noise with full precision; the network chooses between them, joint
by joint), everything is expressed in the body's own heading, the look-ahead is part of the question, and joints that are
missing are learned embeddings.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hpstm_ros.model.layers import DecoderLayer, EncoderLayer, gram_schmidt
from hpstm_ros.model.robust import RobustLines, initial_kernels
from pallas_ros.body.names import JOINT_INDEX, JOINTS, MIRROR, PARENTS
from pallas_ros.body.skeleton import Skeleton

J = len(JOINTS)
_POINT_SCALE_M = 0.3
_SLOPE_SCALE = 50.0
_CORRECTION_M = 0.02
_SIGMA_M = 0.008
_SIDES = tuple(
    (JOINT_INDEX[f"left_{part}"], JOINT_INDEX[f"right_{part}"], weight)
    for part, weight in (("hip", 1.0), ("shoulder", 1.0), ("collar", 1.0), ("knee", 0.2), ("ankle", 0.1), ("elbow", 0.1), ("wrist", 0.03))
)
"""Pairs whose left-right direction tells the body's heading, and how far each is trusted to."""


@dataclass(frozen=True)
class HpstmConfig:
    """Shape of the network; stored with the weights."""

    frames: int = 32
    lookaheads: int = 11
    width: int = 192
    heads: int = 6
    hidden: int = 512
    encoder_layers: int = 4
    decoder_layers: int = 2
    manifold: bool = True
    """False for the ablation that reports free points, not forward kinematics."""

    def as_dict(self) -> dict[str, Any]:
        """For the metadata of a model file."""
        return asdict(self)


@dataclass
class HpstmOutput:
    """What the decoder says for each query, in the frame of the input.

    Attributes:
        positions: (B, Q, 22, 3) m.
        free: (B, Q, 22, 3) m, before the manifold.
        rotations: (B, Q, 22, 3, 3) joint to world.
        bones: (B, 22) m, lengths that the manifold used; 0 for the pelvis.
        cholesky: (B, Q, 22, 3, 3) m, lower-triangular, positive diagonal, in the body's heading.
        R_world_heading: (B, 3, 3).
        weight: (B, L, 22), how far each sample was believed.
    """

    positions: Tensor
    free: Tensor
    rotations: Tensor
    bones: Tensor
    cholesky: Tensor
    R_world_heading: Tensor
    weight: Tensor

    @property
    def covariance(self) -> Tensor:
        """(B, Q, 22, 3, 3) m^2 in the frame of the input."""
        root = self.R_world_heading[:, None, None] @ self.cholesky
        return root @ root.transpose(-1, -2)


class Hpstm(nn.Module):
    """See the module's docstring."""

    lateral: Tensor
    rest: Tensor
    R_axes_rest: Tensor
    template: Tensor
    into: Tensor
    along: Tensor

    def __init__(self, config: HpstmConfig) -> None:
        super().__init__()
        self.config = config
        self.mixed = False
        """Run the Transformer itself in bfloat16 (training on a CPU that has it); the geometry stays in float32."""
        d = config.width
        self.lines = RobustLines(config.frames)
        self.register_buffer("lateral", torch.zeros(J), persistent=False)
        for left, right, weight in _SIDES:
            self.lateral[left], self.lateral[right] = weight, -weight
        self._register_geometry()
        kernels = initial_kernels(config.frames, config.lookaheads)
        self.kernels = nn.Parameter(kernels[:, :, None].repeat(1, 1, J, 1))  # (M, N, 22, L)
        self.choices = kernels.shape[0]
        self.embed = nn.Linear(J * 8, d)
        self.place = nn.Parameter(0.02 * torch.randn(config.frames, d))
        self.embed_bones = nn.Linear(J + 1, d)
        self.ask = nn.Parameter(0.02 * torch.randn(config.lookaheads, d))
        self.embed_estimate = nn.Linear(J * 3 * self.choices, d)
        self.encoder = nn.ModuleList(EncoderLayer(d, config.heads, config.hidden) for _ in range(config.encoder_layers))
        self.decoder = nn.ModuleList(DecoderLayer(d, config.heads, config.hidden) for _ in range(config.decoder_layers))
        self.norm_encoder, self.norm_decoder = nn.LayerNorm(d), nn.LayerNorm(d)
        self.head = nn.Linear(d, J * (self.choices + 3 + 6))
        self.head_bones = nn.Linear(d, J)
        self.head_spread = nn.Sequential(nn.Linear(d, d), nn.GELU(approximate="tanh"), nn.Linear(d, J * 6))
        for layer in (self.head, self.head_bones, self.head_spread[2]):
            assert isinstance(layer, nn.Linear)
            nn.init.zeros_(layer.bias)
            nn.init.normal_(layer.weight, std=0.01)

    def _register_geometry(self) -> None:
        """Rest geometry: each joint's two axes in the T-pose, the bones' directions, and the lengths of a default body."""
        offsets = torch.from_numpy(Skeleton.from_height().offsets.copy()).float()
        lengths = offsets.norm(dim=-1)
        self.register_buffer("template", lengths, persistent=False)
        self.register_buffer("rest", offsets / lengths.clamp_min(1e-6)[:, None], persistent=False)
        children: dict[int, list[int]] = {j: [c for c in range(J) if PARENTS[c] == j] for j in range(J)}
        primary, secondary = torch.zeros(J, 3), torch.zeros(J, 3)
        along = torch.zeros(J, J)  # rows: weights of joints that make up the primary axis
        across = torch.zeros(J, J)
        for joint, name in enumerate(JOINTS):
            arm = name.endswith(("_shoulder", "_elbow", "_wrist", "_collar"))
            sign = -1.0 if name.startswith("right") else 1.0
            secondary[joint] = torch.tensor((1.0, 0.0, 0.0) if arm else (0.0, 1.0, 0.0))
            if not children[joint]:
                primary[joint] = torch.tensor((0.0, sign, 0.0) if arm else (1.0, 0.0, 0.0) if name.endswith("foot") else (0.0, 0.0, 1.0))
                continue
            main = children[joint][0] if len(children[joint]) == 1 else JOINT_INDEX["spine1" if joint == 0 else "neck"]
            primary[joint] = self.rest[main]
            along[joint, main], along[joint, joint] = 1 / lengths[main], -1 / lengths[main]
            if len(children[joint]) > 1:
                left, right = [c for c in children[joint] if c != main]
                across[joint, left], across[joint, right] = 1 / (2 * offsets[left, 1]), -1 / (2 * offsets[left, 1])
        self.register_buffer("along", torch.cat((along, across)), persistent=False)
        leaf = (along.abs().sum(-1) == 0).float()[:, None]
        bare = (across.abs().sum(-1) == 0).float()[:, None]
        self.register_buffer("into", torch.cat((leaf * primary, bare * secondary)), persistent=False)
        self.register_buffer("R_axes_rest", gram_schmidt(primary, secondary).transpose(-1, -2).contiguous(), persistent=False)

    def forward(self, points: Tensor, seen: Tensor, bones: Tensor, known: Tensor, lookahead: Tensor) -> HpstmOutput:
        """Smooth.

        Args:
            points: (B, L, 22, 3) m, world z up, relative to any point near the body; anything finite where not seen.
            seen: (B, L, 22), 1 where the joint was measured, 0 where not.
            bones: (B, 22) m, the operator's bone lengths; used where ``known``.
            known: (B, 1), 1 where ``bones`` is to be used, 0 to estimate them from the window.
            lookahead: (B, Q, 11) one-hot: how many frames before the newest each query asks for.
        """
        centre = (points * seen[..., None]).sum((1, 2)) / seen.sum((1, 2))[:, None].clamp_min(1.0)
        local = (points - centre[:, None, None]) * seen[..., None]
        fitted, slope, weight = self.lines(local, seen)
        R_world_heading = self._heading(fitted, weight)
        clean = fitted + weight[..., None] * (local - fitted)
        clean, slope = clean @ R_world_heading[:, None], slope @ R_world_heading[:, None]
        lengths_seen, evidence = self._lengths(clean, weight)
        memory = self._encode(clean, slope, seen, weight, lengths_seen, bones, known)
        lengths = self._bones(memory, lengths_seen, evidence, bones, known)
        estimates = torch.einsum("mnjl,bljc,bqn->bqmjc", self.kernels, clean, lookahead)
        query = self.embed_estimate(estimates.flatten(2) / _POINT_SCALE_M) + lookahead @ self.ask
        query = query + self.embed_bones(torch.cat((lengths / self.template.mean(), known), -1))[:, None]
        with self._precision():
            for layer in self.decoder:
                query = layer(query, memory)
        query = self.norm_decoder(query.float())
        out = self.head(query).reshape(*query.shape[:2], J, -1)
        choice = F.softmax(out[..., : self.choices], -1)
        free = torch.einsum("bqjm,bqmjc->bqjc", choice, estimates) + _CORRECTION_M * out[..., self.choices : self.choices + 3]
        R_heading_joint = self._rotations(free, out[..., self.choices + 3 :])
        placed = self._kinematics(R_heading_joint, free[:, :, 0], lengths) if self.config.manifold else free
        R = R_world_heading[:, None]
        return HpstmOutput(
            positions=placed @ R.transpose(-1, -2) + centre[:, None, None],
            free=free @ R.transpose(-1, -2) + centre[:, None, None],
            rotations=R[:, :, None] @ R_heading_joint,
            bones=lengths,
            cholesky=self._cholesky(self.head_spread(query).reshape(*query.shape[:2], J, 6)),
            R_world_heading=R_world_heading,
            weight=weight,
        )

    def _heading(self, fitted: Tensor, weight: Tensor) -> Tensor:
        """R_world_heading (B, 3, 3): about z, to where the body faces on the mean of the window; identity where that cannot be told."""
        mean = (fitted * weight[..., None]).sum(1) / weight.sum(1)[..., None].clamp_min(1e-3)
        there = weight.mean(1)
        pair = torch.minimum(there, there[:, list(MIRROR)])
        left = (mean * (self.lateral * pair)[..., None]).sum(1)[:, :2]
        left = left + torch.tensor((0.0, 1e-3), dtype=left.dtype, device=left.device)
        left = left * torch.rsqrt((left * left).sum(-1, keepdim=True).clamp_min(1e-10))
        x, y, zero = left[:, 0], left[:, 1], torch.zeros_like(left[:, 0])
        return torch.stack((y, x, zero, -x, y, zero, zero, zero, zero + 1), -1).reshape(-1, 3, 3)

    def _lengths(self, clean: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Mean distance (B, 22) m of each joint from its parent where both are seen, and how many frames (B, 22) say so."""
        parents = [max(p, 0) for p in PARENTS]
        both = weight * weight[..., parents]
        distance = ((clean - clean[:, :, parents]) ** 2).sum(-1).add(1e-10).sqrt()
        evidence = both.sum(1)
        mean = (distance * both).sum(1) / evidence.clamp_min(1e-3)
        share = evidence / (evidence + 1.0)
        return share * mean + (1 - share) * self.template, evidence

    def _encode(self, clean: Tensor, slope: Tensor, seen: Tensor, weight: Tensor, lengths: Tensor, bones: Tensor, known: Tensor) -> Tensor:
        parts = torch.cat((clean / _POINT_SCALE_M, slope * _SLOPE_SCALE, seen[..., None], weight[..., None]), -1)
        given = known * bones + (1 - known) * lengths
        x = self.embed(parts.flatten(2)) + self.place
        x = x + self.embed_bones(torch.cat((given / self.template.mean(), known), -1))[:, None]
        with self._precision():
            for layer in self.encoder:
                x = layer(x)
        out: Tensor = self.norm_encoder(x.float())
        return out

    def _precision(self) -> AbstractContextManager[Any]:
        return torch.autocast("cpu", dtype=torch.bfloat16) if self.mixed else nullcontext()

    def _bones(self, memory: Tensor, lengths: Tensor, evidence: Tensor, bones: Tensor, known: Tensor) -> Tensor:
        """Bone lengths (B, 22) m, constant over the window: those given, or the window's corrected by the network."""
        correction = torch.tanh(self.head_bones(memory.mean(1)))
        estimated = lengths * torch.exp(0.5 * correction)
        moving = (self.template > 0).float()
        return (known * bones + (1 - known) * estimated) * moving

    def _rotations(self, free: Tensor, correction: Tensor) -> Tensor:
        """R_heading_joint (B, Q, 22, 3, 3): r6d whose two vectors are those between the free points, plus the network's correction."""
        axes = torch.einsum("kj,bqjc->bqkc", self.along, free) + self.into
        a, b = axes[:, :, :J] + correction[..., :3], axes[:, :, J:] + correction[..., 3:]
        return gram_schmidt(a, b) @ self.R_axes_rest

    def _kinematics(self, R_heading_joint: Tensor, p_pelvis: Tensor, lengths: Tensor) -> Tensor:
        """Positions (B, Q, 22, 3): equation (7) of the PALLAS report, with these bone lengths."""
        offsets = self.rest * lengths[..., None]
        positions = [p_pelvis]
        for joint in range(1, J):
            parent = PARENTS[joint]
            positions.append(positions[parent] + (R_heading_joint[:, :, parent] * offsets[:, None, joint, None]).sum(-1))
        return torch.stack(positions, 2)

    @staticmethod
    def _cholesky(raw: Tensor) -> Tensor:
        """Six numbers (..., 6) to lower-triangular (..., 3, 3) m with a positive diagonal."""
        diagonal = _SIGMA_M * torch.exp(raw[..., :3].clamp(-4.0, 5.0))
        below = _SIGMA_M * raw[..., 3:]
        zero = torch.zeros_like(below[..., 0])
        rows = (diagonal[..., 0], zero, zero, below[..., 0], diagonal[..., 1], zero, below[..., 1], below[..., 2], diagonal[..., 2])
        return torch.stack(rows, -1).reshape(*raw.shape[:-1], 3, 3)
