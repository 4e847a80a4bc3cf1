"""PALLAS (PArtial body simuLation with LAtent neural kinematic Solver): 48 numbers of four IMUs in,
the body's pose out, frame by frame.

imu ─ features ─ causal encoder (2 blocks ─ long-short cross-attention ─ 1 block) ─┬─ correction ─▶
S ─▶ collars and upper arms, one frame
        └─ what is measured, as a pose ─────────▶ S⁻¹ ─▶ positions, latents ───────┘     from the last ─▶ legs, one frame from the last ─▶ FK

`Pallas.forward` processes chunks of any length, with the state after the previous chunk: single
frames when streaming, many frames in training. The source is the PALLAS report (Qi Jin, 2024);
decisions that it leaves open are in ``docs/guide/concepts.md``.
"""  # noqa: E501

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pallas_ros.body.names import (
    JOINTS,
    LEG_JOINTS,
    MODEL_RATE_HZ,
    UPPER_JOINTS,
)
from pallas_ros.body.sites import PER_EXTRA
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.data.virtual_imu import EXTRA, EXTRA_INPUTS, joint_positions
from pallas_ros.geometry import rotations
from pallas_ros.model.arms import ArmMemory
from pallas_ros.model.config import (
    INPUTS,
    LAGS,
    LONG_MEANS_S,
    MOVING,
    REMEMBERED,
    SHORT_MEANS_S,
    SOLVED,
    PallasConfig,
)
from pallas_ros.model.encoder_input import State, encoder_input
from pallas_ros.model.layers import ROTARY_PERIOD, Block, RMSNorm, rotary_angles, running_means
from pallas_ros.model.legs import CONTACTS, LATENT, LegGenerator
from pallas_ros.model.measured import Worn, measured_pose, neutral_legs, worn_places
from pallas_ros.model.solver import InvertibleSolver

_ORDER = tuple(sorted(range(len(JOINTS)), key=lambda i: (*UPPER_JOINTS, *LEG_JOINTS)[i]))

_PLACES = ("solved_places", "arm_places", "leg_places")
"""Buffers with the matrices of `worn_places`."""


@dataclass
class PallasOutput:
    """Output of the network for (B, T) frames, in the heading frame of the waist.

    Attributes:
        rotations: (B, T, 22, 3, 3) orthonormal.
        positions: (B, T, 22, 3) m, root-relative, default skeleton, by forward kinematics of the
            rotations.
        contact_logits: (B, T, 2).
        root_velocity: (B, T, 3) m/s.
        log_deviation: (B, T, 22) natural logarithm of the standard deviation (per axis, m) of each
            position.
        solver_input: (B, T, 78) corrected positions and latents, before S; None without S.
        solver_output: (B, T, 78) raw r6d of the solved joints.
        leg_features: (B, T, features) inputs of the leg generator.
        worn: measurements of the optional sensors.
        state: input of the next chunk.
    """

    rotations: Tensor
    positions: Tensor
    contact_logits: Tensor
    root_velocity: Tensor
    log_deviation: Tensor
    solver_input: Tensor | None
    solver_output: Tensor
    leg_features: Tensor
    state: State
    worn: Worn | None = None


class Pallas(nn.Module):
    """The network."""

    offsets: Tensor
    forearm: Tensor
    neutral: Tensor
    short_decay: Tensor
    long_decay: Tensor

    def __init__(self, config: PallasConfig) -> None:
        super().__init__()
        self.config = config
        self.mixed_precision = False
        width = config.width
        self.register_buffer(
            "offsets",
            torch.tensor(Skeleton.from_height().offsets, dtype=torch.float32),
            persistent=False,
        )
        self.register_buffer("neutral", neutral_legs(), persistent=False)
        for name, places in zip(_PLACES, worn_places(), strict=True):
            self.register_buffer(name, places, persistent=False)
        self.register_buffer(
            "short_decay",
            torch.exp(-1 / (MODEL_RATE_HZ * torch.tensor(SHORT_MEANS_S))),
            persistent=False,
        )
        forearm = torch.tensor(
            Skeleton.from_height().offsets[
                [JOINTS.index("left_wrist"), JOINTS.index("right_wrist")], 1:2
            ],
            dtype=torch.float32,
        )
        self.register_buffer("forearm", forearm, persistent=False)
        self.register_buffer(
            "long_decay",
            torch.exp(-1 / (MODEL_RATE_HZ * torch.tensor(LONG_MEANS_S))),
            persistent=False,
        )
        features = INPUTS + 36 * len(LAGS) + (12 + 12 + 3) * len(SHORT_MEANS_S) + 33
        self.embed = nn.Linear(features, width)
        self.blocks = nn.ModuleList(Block(width, config.heads, config.hidden) for _ in range(3))
        self.long_short = (
            Block(width, config.heads, config.hidden, query_width=width)
            if config.long_short
            else None
        )
        self.long = (
            nn.Linear(INPUTS * len(LONG_MEANS_S) + width, width) if config.long_short else None
        )
        self.norm = RMSNorm(width)
        solved = 6 * len(SOLVED)
        # of the solver's coordinates, and of the pelvis
        self.correction = nn.Linear(width, solved + 6)
        nn.init.normal_(self.correction.weight, std=0.01)
        nn.init.zeros_(self.correction.bias)
        self.solver = (
            InvertibleSolver(len(SOLVED), config.solver_hidden, config.solver_blocks)
            if config.solver == "invertible"
            else None
        )
        self.arms = ArmMemory(width, config.arms_hidden) if config.arms == "remembered" else None
        self.legs = LegGenerator(
            width + solved + 6, config.legs_hidden, config.legs == "autoregressive"
        )
        self.deviation = nn.Linear(width, len(JOINTS))
        nn.init.constant_(self.deviation.bias, -3.5)
        if config.optional_sensors:
            self.extra = nn.Linear(EXTRA_INPUTS, width, bias=False)
            self.askew = nn.Linear(width, 6 * EXTRA)  # mounting errors of optional sensors
            nn.init.normal_(self.askew.weight, std=0.01)
            nn.init.zeros_(self.askew.bias)

    @property
    def places(self) -> tuple[Tensor, ...]:
        """The matrices of `worn_places`, on the device of the network."""
        return tuple(self.get_buffer(name) for name in _PLACES)

    def initial_state(self, batch: int = 1) -> State:
        """The state before the first frame: zeros."""
        c = self.config
        shapes: dict[str, tuple[int, ...]] = {
            "recent": (max(LAGS), INPUTS),
            "short_means": (len(SHORT_MEANS_S), MOVING + 1),
            "second_means": (len(SHORT_MEANS_S), MOVING),
            "long_means": (len(LONG_MEANS_S), INPUTS + 1),
            "position": (1,),
            "valid": (c.window - 1,),
            "legs": (len(self.neutral) + CONTACTS,),
        }
        if self.arms is not None:
            shapes["arms"] = (6 * len(REMEMBERED) + 1,)
        for layer in range(len(self.blocks)):
            shapes[f"cache{layer}"] = (c.window - 1, 2 * c.width)
        if self.long_short is not None:
            shapes["cache_long"] = (c.window - 1, 2 * c.width)
        return {
            name: torch.zeros(batch, *shape, device=self.neutral.device)
            for name, shape in shapes.items()
        }

    def forward(
        self,
        imu: Tensor,
        state: State | None = None,
        latent: Tensor | None = None,
        extra: Tensor | None = None,
    ) -> PallasOutput:
        """Estimate the body over a chunk.

        Args:
            imu: (B, T, 48), see `pallas_ros.data.virtual_imu.features`.
            state: after the previous chunk; None at the start.
            latent: (B, 8) selects among plausible legs; None (zeros) for the most plausible.
            extra: (B, T, 91) of the optional sensors, see
                `pallas_ros.data.virtual_imu.extra_features`; None (zeros) if none is worn.
        """
        batch = imu.shape[0]
        if extra is None or not self.config.optional_sensors:
            extra = imu.new_zeros(*imu.shape[:2], EXTRA_INPUTS)
        state = dict(self.initial_state(batch) if state is None else state)
        latent = imu.new_zeros(batch, LATENT) if latent is None else latent
        valid = torch.cat((state["valid"], imu.new_ones(batch, imu.shape[1])), dim=1)
        with torch.autocast(
            imu.device.type, dtype=torch.bfloat16, enabled=self.training and self.mixed_precision
        ):
            h = self._encode(imu, extra, valid, state)
        state["valid"] = valid[:, imu.shape[1] :]
        state["position"] = torch.remainder(state["position"] + imu.shape[1], ROTARY_PERIOD)
        pelvis, solver_input, solved = self._upper_body(h, imu)
        worn = self._worn(h, extra)
        final = self._remember(h, imu, solved * worn.solved_keep + worn.solved, worn, state)
        out = self._finish(h, pelvis, solver_input, final, latent, worn, state)
        out.solver_output = solved
        return out

    def _worn(self, h: Tensor, extra: Tensor) -> Worn:
        """Measurements of the optional sensors, corrected by their estimated mounting errors."""
        sites = extra.unflatten(-1, (EXTRA, PER_EXTRA))
        count = sites[..., :1]
        r6d = rotations.to_r6d(sites[..., 4:].unflatten(-1, (3, 3)))
        if self.config.optional_sensors:
            r6d = r6d + count * self.askew(h).unflatten(-1, (EXTRA, 6))
        parts = []
        for places in self.places:
            parts.append(torch.einsum("btsn,sj->btjn", r6d, places).flatten(-2))
            parts.append(1 - (count[..., 0] @ places).repeat_interleave(6, dim=-1))
        worn = Worn(*parts)
        worn.legs = worn.legs - (1 - worn.legs_keep) * self.neutral
        return worn

    def _remember(self, h: Tensor, imu: Tensor, solved: Tensor, worn: Worn, state: State) -> Tensor:
        """The solved joints (B, T, 78), with collars and upper arms from `ArmMemory`."""
        joints = list(REMEMBERED)
        if self.arms is None:
            each: Tensor = solved.unflatten(-1, (len(SOLVED), 6)).clone()
            kept = each[:, :, joints].flatten(-2) * worn.arms_keep + worn.arms
            each[:, :, joints] = kept.unflatten(-1, (len(joints), 6))
            return each.flatten(-2)
        R_heading_neck = imu.unflatten(-1, (4, 12))[..., 1, 3:].unflatten(-1, (3, 3))[:, :, None]
        columns = solved.unflatten(-1, (len(SOLVED), 2, 3))  # the two columns of r6d
        # as rows, so by the transpose: from heading to neck
        proposed = columns[:, :, joints] @ R_heading_neck
        measured = (worn.arms.unflatten(-1, (len(joints), 2, 3)) @ R_heading_neck).flatten(-3)
        arms, state["arms"] = self.arms(
            h, proposed.flatten(-3), state["arms"], worn.arms_keep, measured
        )
        columns = columns.clone()
        columns[:, :, joints] = arms.unflatten(-1, (len(joints), 2, 3)) @ R_heading_neck.transpose(
            -1, -2
        )
        remembered: Tensor = columns.flatten(-3)
        return remembered

    def _encode(self, imu: Tensor, extra: Tensor, valid: Tensor, state: State) -> Tensor:
        """Causal encoder (4.2): features (B, T, width)."""
        frames = imu.shape[1]
        past = self.config.window - 1
        x = self.embed(encoder_input(imu, valid, state, self.forearm, self.short_decay)).float()
        if self.config.optional_sensors:
            x = x + self.extra(extra).float()
        age = torch.arange(frames)[:, None] + past - torch.arange(past + frames)[None]
        banded = ((age >= 0) & (age <= past)).to(imu)
        mask = (1 - banded[None, None] * valid[:, None, None]) * -1e4
        angles = rotary_angles(state["position"], frames, self.config.width // self.config.heads)
        for layer, block in enumerate(self.blocks):
            if (
                layer == len(self.blocks) - 1
                and self.long_short is not None
                and self.long is not None
            ):
                query = self.long(
                    torch.cat(
                        (self._long_context(imu, state), self.long_short.norm_attention(x)), dim=-1
                    )
                )
                x, state["cache_long"] = self.long_short(
                    x, state["cache_long"], angles, mask, query
                )
            x, state[f"cache{layer}"] = block(x, state[f"cache{layer}"], angles, mask)
        features: Tensor = self.norm(x).float()
        return features

    def _long_context(self, imu: Tensor, state: State) -> Tensor:
        """Running means of the inputs over seconds (B, T, 48 x 3), correct from the first frame on
        (weighted by the observed frames).
        """
        counted = torch.cat((imu, torch.ones_like(imu[..., :1])), dim=-1)
        means, state["long_means"] = running_means(counted, self.long_decay, state["long_means"])
        context: Tensor = (means[..., :-1] / means[..., -1:].clamp_min(1e-4)).flatten(-2)
        return context

    def _upper_body(self, h: Tensor, imu: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """r6d of the pelvis, corrected coordinates of the solver, and r6d of the solved joints."""
        pelvis, measured = measured_pose(imu)
        correction = self.correction(h)
        pelvis = pelvis + correction[..., -6:]
        if self.solver is None:
            return pelvis, None, measured + correction[..., :-6]
        coordinates = self.solver.inverse(measured) + correction[..., :-6]
        return pelvis, coordinates, self.solver(coordinates)

    def _finish(
        self,
        h: Tensor,
        pelvis: Tensor,
        solver_input: Tensor | None,
        solved: Tensor,
        latent: Tensor,
        worn: Worn,
        state: State,
    ) -> PallasOutput:
        """Legs, forward kinematics and the heads."""
        features = torch.cat((h, solved, pelvis), dim=-1)
        generated, state["legs"] = self.legs(
            features, state["legs"], latent, worn.legs_keep, worn.legs
        )
        legs, contacts, velocity = generated.split((len(self.neutral), CONTACTS, 3), dim=-1)
        out = self._pack(h, self.assemble(pelvis, solved, legs), solved, contacts, velocity, state)
        out.solver_input = solver_input
        out.leg_features = features
        out.worn = worn
        return out

    def _pack(
        self, h: Tensor, R: Tensor, solved: Tensor, contacts: Tensor, velocity: Tensor, state: State
    ) -> PallasOutput:
        """Forward kinematics and predicted uncertainty (without gradient to the features)."""
        return PallasOutput(
            rotations=R,
            positions=joint_positions(R, self.offsets),
            contact_logits=contacts,
            root_velocity=velocity,
            log_deviation=self.deviation(h.detach()),
            solver_input=None,
            solver_output=solved,
            leg_features=h,
            state=state,
        )

    def assemble(self, pelvis: Tensor, solved: Tensor, legs: Tensor) -> Tensor:
        """Rotation matrices (..., 22, 3, 3) in the order of `JOINTS`, from r6d of the pelvis, of
        `SOLVED`, and of the legs (minus the neutral pose).
        """
        upper = torch.cat((pelvis, solved), dim=-1).unflatten(-1, (len(UPPER_JOINTS), 6))
        lower = (self.neutral + legs).unflatten(-1, (len(LEG_JOINTS), 6))
        return rotations.from_r6d(torch.cat((upper, lower), dim=-2)[..., list(_ORDER), :])

    def metadata(self) -> dict[str, Any]:
        """Metadata of a checkpoint that describe the network."""
        return {"kind": "pallas", "config": asdict(self.config)}
