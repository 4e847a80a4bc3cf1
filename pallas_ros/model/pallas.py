"""PALLAS (PArtial body simuLation with LAtent neural kinematic Solver): 48 numbers of four IMUs in,
the body's pose out, frame by frame.

imu ─ features ─ causal encoder (2 blocks ─ long-short cross-attention ─ 1 block) ─┬─ correction ─▶
S ─▶ collars and upper arms, one frame
        └─ what is measured, as a pose ─────────▶ S⁻¹ ─▶ positions, latents ───────┘     from the last ─▶ legs, one frame from the last ─▶ FK

`Pallas.forward` takes chunks of any length and the state left by the chunk before. One frame at a
time is streaming; many is training. The source is the PALLAS report (Qi Jin, 2024); decisions where
it is silent are in ``docs/evidence/body.md``.
"""  # noqa: E501

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import (
    EXTRA_SITES,
    JOINTS,
    LEG_JOINTS,
    MODEL_GRAVITY,
    MODEL_RATE_HZ,
    UPPER_JOINTS,
)
from pallas_ros.body.sites import PER_EXTRA, SITE
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.data.virtual_imu import EXTRA, EXTRA_INPUTS, joint_positions
from pallas_ros.geometry import rotations
from pallas_ros.model.arms import ArmMemory
from pallas_ros.model.layers import ROTARY_PERIOD, Block, RMSNorm, rotary_angles, running_means
from pallas_ros.model.legs import CONTACTS, LATENT, LegGenerator
from pallas_ros.model.solver import InvertibleSolver

State = dict[str, Tensor]

INPUTS = 48
MOVING = 18
"""Numbers whose running means are kept: four accelerations and the vectors of both forearms."""
LAGS = (2, 6)
"""Frames over which the inputs' change is taken."""
SHORT_MEANS_S = (0.1, 0.4, 1.2)
"""Time constants of the means of acceleration: leaky integrals, that is, velocities."""
LONG_MEANS_S = (1.0, 4.0, 16.0)
"""Time constants of the long context that the cross-attention's queries are made from."""

SOLVED = UPPER_JOINTS[1:]
"""The joints S solves for: the upper body without the pelvis, whose orientation is measured."""
REMEMBERED = tuple(
    SOLVED.index(JOINTS.index(f"{side}_{joint}"))
    for joint in ("collar", "shoulder")
    for side in ("left", "right")
)
"""Places in `SOLVED` of the joints that `ArmMemory` keeps."""

EXTRA_JOINTS = tuple(SITE[site].index for site in EXTRA_SITES)
"""The joints that the optional sensors measure."""

_ORDER = tuple(sorted(range(len(JOINTS)), key=lambda i: (*UPPER_JOINTS, *LEG_JOINTS)[i]))
_NECK_SHARE = {
    "spine1": 0.2,
    "spine2": 0.45,
    "spine3": 0.75,
    "left_collar": 0.75,
    "right_collar": 0.75,
    "neck": 1.0,
    "head": 1.0,
}
# rad about y, of the segment in the heading frame
_NEUTRAL_FLEXION = {
    "hip": -0.14,
    "knee": 0.35,
    "ankle": 0.1,
    "foot": 0.05,
}


@dataclass(frozen=True)
class PallasConfig:
    """Size of the network, and the parts that ablations leave out."""

    width: int = 192
    heads: int = 4
    hidden: int = 320
    window: int = 40
    legs_hidden: int = 192
    solver_hidden: int = 96
    solver_blocks: int = 3
    long_short: bool = True
    solver: str = "invertible"
    legs: str = "autoregressive"
    arms: str = "remembered"
    arms_hidden: int = 128
    optional_sensors: bool = True
    """False for networks of the four sensors alone."""

    def __post_init__(self) -> None:
        """Refuse sizes that do not fit together.

        Raises:
            PallasError: which.
        """
        if self.window <= max(LAGS):
            raise PallasError(
                f"model.window is {self.window} frames, but must be more than {max(LAGS)}"
            )
        if self.heads < 1 or self.width < 1 or self.width % (2 * self.heads):
            raise PallasError(
                f"model.width {self.width} cannot be shared by {self.heads} heads of equal, even"
                " width"
            )
        for part, known in (
            ("solver", ("invertible", "linear")),
            ("legs", ("autoregressive", "direct")),
            ("arms", ("remembered", "direct")),
        ):
            if getattr(self, part) not in known:
                raise PallasError(
                    f"model.{part} is '{getattr(self, part)}', but must be {' or '.join(known)}"
                )


@dataclass
class PallasOutput:
    """What the network gives for (B, T) frames, in the waist's heading frame.

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
        leg_features: (B, T, features) what the legs were generated from.
        worn: what the optional sensors measured.
        state: to hand to the next chunk.
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
    worn: "Worn | None" = None


def neutral_legs() -> Tensor:
    """r6d (48,) of relaxed standing legs in the heading frame, in the order of `LEG_JOINTS`."""
    rows = []
    for joint in LEG_JOINTS:
        angle = torch.tensor(_NEUTRAL_FLEXION[JOINTS[joint].split("_")[1]])
        rows.append(
            rotations.to_r6d(
                rotations.to_matrix(
                    rotations.from_rotvec(torch.stack((angle * 0, angle, angle * 0)))
                )
            )
        )
    return torch.cat(rows)


def measured_pose(imu: Tensor) -> tuple[Tensor, Tensor]:
    """What the sensors say of the upper body without any learning: r6d of the pelvis (..., 6) and
    of `SOLVED` (..., 78).

    Forearms and hands are as the wrists measure; trunk, neck and head lie between the waist and the
    neck sensor; upper arms follow their forearms.
    """
    R = imu.unflatten(-1, (4, 12))[..., 3:].unflatten(-1, (3, 3))
    pelvis, neck, left, right = rotations.to_r6d(R).unbind(-2)
    rows = []
    for joint in SOLVED:
        name = JOINTS[joint]
        if name in _NECK_SHARE:
            rows.append(pelvis + _NECK_SHARE[name] * (neck - pelvis))
        else:
            rows.append(left if name.startswith("left") else right)
    return pelvis, torch.cat(rows, dim=-1)


@dataclass
class Worn:
    """What the optional sensors measure of a chunk, each times how much it counts, and how much of
    the network's own answer is kept (1 less that).

    Attributes:
        solved: (B, T, 78), ``solved_keep`` likewise: of `SOLVED`, in the heading frame; the head is
            measured.
        arms: (B, T, 24), ``arms_keep``: of `REMEMBERED`, in the heading frame; the upper arms are
            measured.
        legs: (B, T, 48), ``legs_keep``: of `LEG_JOINTS`, less the neutral pose; thighs and shins
            are measured.
    """

    solved: Tensor
    solved_keep: Tensor
    arms: Tensor
    arms_keep: Tensor
    legs: Tensor
    legs_keep: Tensor


def worn_places() -> tuple[Tensor, ...]:
    """Where each optional site's r6d lies among (`SOLVED`, `REMEMBERED`, `LEG_JOINTS`): one (7,
    joints) matrix of 0 and 1 each.
    """
    groups = ((JOINTS.index("head"),), [SOLVED[place] for place in REMEMBERED], LEG_JOINTS)
    found = []
    for group, columns in zip(groups, (SOLVED, groups[1], LEG_JOINTS), strict=True):
        rows = [[float(a == b and a in group) for b in columns] for a in EXTRA_JOINTS]
        found.append(torch.tensor(rows))
    return tuple(found)


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
        self.places = worn_places()
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
            self.askew = nn.Linear(width, 6 * EXTRA)  # how optional sensors sit wrong
            nn.init.normal_(self.askew.weight, std=0.01)
            nn.init.zeros_(self.askew.bias)

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
            state: from the chunk before; None at the start.
            latent: (B, 8) chooses among plausible legs; None (zeros) for the most plausible.
            extra: (B, T, 91) of the optional sensors, see
                `pallas_ros.data.virtual_imu.extra_features`; None (zeros) where none is worn.
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
        """What the optional sensors measure, corrected by how they seem to sit."""
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
        """The solved joints (B, T, 78), collars and upper arms as `ArmMemory` has them."""
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

    def _features(self, imu: Tensor, valid: Tensor, state: State) -> Tensor:
        """The inputs, their change, the means of acceleration, and the arms seen from the trunk:
        (B, T, features).
        """
        frames = imu.shape[1]
        sites = imu.unflatten(-1, (4, 12))
        a = sites[..., :3]
        R = sites[..., 3:].unflatten(-1, (3, 3))
        known = torch.cat((state["recent"], imu), dim=1)
        changes = []
        for lag in LAGS:
            before = (
                known[:, max(LAGS) - lag : max(LAGS) - lag + frames]
                .unflatten(-1, (4, 12))[..., 3:]
                .flatten(-2)
            )
            there = valid[:, valid.shape[1] - frames - lag : valid.shape[1] - lag, None]
            changes.append((R.flatten(-3) - before) * there * (16 / lag))
        state["recent"] = known[:, frames:]
        trunk = R[:, :, 1].transpose(-1, -2)
        velocity, elbows, sway = self._drift(a, R, changes[0].unflatten(-1, (4, 3, 3)), state)
        elbows = (trunk[:, :, None, None] @ elbows[..., None]).flatten(2)
        arms = (trunk[:, :, None] @ R[:, :, 2:]).flatten(-3)
        pull = (trunk[:, :, None] @ (a[:, :, 2:] - a[:, :, 1:2])[..., None]).flatten(-3)
        waist = (R[:, :, 0].transpose(-1, -2) @ R[:, :, 1]).flatten(-2)
        return torch.cat(
            (imu, *changes, 3 * velocity.flatten(-2), arms, pull, waist, elbows, sway), dim=-1
        )

    def _drift(
        self, a: Tensor, R: Tensor, change: Tensor, state: State
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Accelerations (B, T, 4, 3), in g, integrated with a leak: how the elbows and the waist
        move.

        What a wrist accelerates beyond the neck is its forearm's own turning, which is measured,
        and the elbow's motion about the shoulder, which is sought. A leaky integral over tau of the
        second derivative of a forearm f is f' - (f - mean(f)) / tau, a second one f - 2 mean(f) +
        mean(mean(f)): no difference is taken twice, so nothing is noisier than what is measured.

        Returns:
            Means of the accelerations (B, T, K, 12), elbows' velocities and displacements (B, T, K,
            4, 3), the waist's displacements (B, T, 3 K).
        """
        # the bone lies along y, to the left and to the right
        forearms = R[:, :, 2:, :, 1] * self.forearm
        counted = torch.cat(
            (a.flatten(-2), forearms.flatten(-2), torch.ones_like(a[..., 0, :1])), dim=-1
        )
        means, state["short_means"] = running_means(counted, self.short_decay, state["short_means"])
        seen = means[..., -1:].clamp_min(1e-4)
        first = torch.cat((means[..., :12], means[..., 12:18] / seen), dim=-1)
        second = []
        last = []
        for k in range(len(SHORT_MEANS_S)):
            m, end = running_means(
                first[:, :, k], self.short_decay[k : k + 1], state["second_means"][:, k : k + 1]
            )
            second.append(m)
            last.append(end)
        state["second_means"] = torch.cat(last, dim=1)
        means2 = torch.cat(second, dim=2)
        mean_f = first[..., 12:].unflatten(-1, (2, 3))
        mean_f2 = (means2[..., 12:] / seen).unflatten(-1, (2, 3))
        f = forearms[:, :, None]
        tau = torch.tensor(SHORT_MEANS_S)[:, None, None].to(a)
        pull = means[..., 6:12].unflatten(-1, (2, 3)) - means[..., None, 3:6]
        pull2 = means2[..., 6:12].unflatten(-1, (2, 3)) - means2[..., None, 3:6]
        turning = change[:, :, 2:, :, 1] * self.forearm * (MODEL_RATE_HZ / 16)
        speed = MODEL_GRAVITY * tau * pull - turning[:, :, None] + (f - mean_f) / tau
        place = MODEL_GRAVITY * tau.square() * pull2 - (f - 2 * mean_f + mean_f2)
        return (
            means[..., :12],
            torch.cat((speed, 4 * place), dim=-2),
            (4 * MODEL_GRAVITY * tau[..., 0].square() * means2[..., :3]).flatten(-2),
        )

    def _encode(self, imu: Tensor, extra: Tensor, valid: Tensor, state: State) -> Tensor:
        """Causal encoder (4.2): features (B, T, width)."""
        frames = imu.shape[1]
        past = self.config.window - 1
        x = self.embed(self._features(imu, valid, state)).float()
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
        """The inputs' running means over seconds (B, T, 48 x 3), right from the first frame on
        (weighted by what was seen).
        """
        counted = torch.cat((imu, torch.ones_like(imu[..., :1])), dim=-1)
        means, state["long_means"] = running_means(counted, self.long_decay, state["long_means"])
        context: Tensor = (means[..., :-1] / means[..., -1:].clamp_min(1e-4)).flatten(-2)
        return context

    def _upper_body(self, h: Tensor, imu: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """Pelvis r6d, the solver's corrected coordinates, and r6d of the solved joints."""
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
        """Forward kinematics, and the model's own uncertainty (which does not shape the
        features).
        """
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
        """Rotation matrices (..., 22, 3, 3) in the order of `JOINTS` from r6d of the pelvis, of
        `SOLVED`, and of the legs (less the neutral pose).
        """
        upper = torch.cat((pelvis, solved), dim=-1).unflatten(-1, (len(UPPER_JOINTS), 6))
        lower = (self.neutral + legs).unflatten(-1, (len(LEG_JOINTS), 6))
        return rotations.from_r6d(torch.cat((upper, lower), dim=-2)[..., list(_ORDER), :])

    def metadata(self) -> dict[str, Any]:
        """What a checkpoint has to say about the network."""
        return {"kind": "pallas", "config": asdict(self.config)}
