"""The streaming step of PALLAS, rearranged for speed: the same function of the same weights, with
half as many operations.

For one frame, a step is limited by the number of operations and the bytes of weights, not by
arithmetic. Therefore, consecutive linear maps are multiplied out, everything linear in the
inputs is one matrix, queries, keys and values are one product, counters replace masks, and
constant factors are folded into weights. `PallasStep` is the definition; `test/model` compares
both.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pallas_ros.body.names import (
    JOINTS,
    LEG_JOINTS,
    MODEL_GRAVITY,
    MODEL_RATE_HZ,
    PARENTS,
    UPPER_JOINTS,
)
from pallas_ros.body.sites import PER_EXTRA
from pallas_ros.data.virtual_imu import ANCESTORS, EXTRA, EXTRA_INPUTS
from pallas_ros.geometry import rotations
from pallas_ros.model.config import (
    INPUTS,
    LAGS,
    LONG_MEANS_S,
    MOVING,
    REMEMBERED,
    SHORT_MEANS_S,
    SOLVED,
)
from pallas_ros.model.fused_layers import FusedBlock, FusedSolver, Linear, Norm, decays
from pallas_ros.model.layers import ROTARY_PERIOD, Block
from pallas_ros.model.legs import CONTACTS, LATENT, LegGenerator
from pallas_ros.model.measured import measured_pose
from pallas_ros.model.pallas import Pallas

_REST = 10_000.0  # masks an empty position of the window in a softmax


def can_be_fused(model: nn.Module) -> bool:
    """Whether ``model`` is the complete PALLAS network, without ablations."""
    return (
        isinstance(model, Pallas)
        and model.config.optional_sensors
        and None not in (model.solver, model.long, model.long_short, model.arms)
        and isinstance(model.legs, LegGenerator)
        and model.legs.autoregressive
    )


class FusedPallasStep(nn.Module):
    """`PallasStep`, rearranged. Its states differ from those of `PallasStep`; they also start at
    zero.

    Args:
        model: a complete network (`can_be_fused`).
    """

    decay: Tensor
    second_decay: Tensor
    condition: Tensor
    arms_past: Tensor
    remembered: Tensor
    frequency: Tensor
    turned: Tensor
    unturned: Tensor
    sign: Tensor
    places: Tensor
    lags: Tensor
    neutral: Tensor
    order: Tensor
    after: Tensor
    before: Tensor
    back: Tensor
    along: Tensor

    def __init__(self, model: Pallas) -> None:
        super().__init__()
        c = model.config
        assert model.solver is not None and model.long is not None and model.long_short is not None
        self.window = c.window
        self.heads = c.heads
        self.width = c.width
        self.short = MOVING * len(SHORT_MEANS_S)
        self.long = INPUTS * len(LONG_MEANS_S)
        self.backwards = FusedSolver(model.solver, True)
        self.forwards = FusedSolver(model.solver, False)
        self.enter = Linear(self.forwards.first)
        self.front = self._front(model.forearm)
        self.drift = self._drift(model.forearm)
        self.embed = self._embed(model.embed, model.extra.weight)
        self.worn = self._worn(model)
        self.norm = Norm(model.norm.gain)
        blocks = [
            FusedBlock(block, c.heads, None) for block in model.blocks if isinstance(block, Block)
        ]
        self.blocks = nn.ModuleList(
            [*blocks[:-1], FusedBlock(model.long_short, c.heads, model.long), blocks[-1]]
        )
        self._arms(model)
        self._legs(model)
        self._constants(model)
        self.output_names = (
            "rotations",
            "positions",
            "contacts",
            "root_velocity",
            "deviation",
            *(
                f"next_{name.removeprefix('state_')}"
                for name in self.example_inputs(1)
                if name.startswith("state_")
            ),
        )

    def example_inputs(self, batch: int) -> dict[str, Tensor]:
        """Zeros (batch, ...) for every input of `forward`, in its order."""
        shapes = {
            "imu": (INPUTS,),
            "latent": (LATENT,),
            "extra": (EXTRA_INPUTS,),
            "state_recent": (1, max(LAGS), INPUTS),
            "state_means": (2 * self.short + 2 * self.long,),
            "state_second": (self.short,),
            "state_position": (1, 1, 1),
            "state_age": (1, 1, 1),
            "state_arms": (6 * len(REMEMBERED),),
            "state_legs": (6 * len(LEG_JOINTS),),
            "state_contacts": (CONTACTS,),
            **{
                f"state_{kind}{i}": (self.heads, self.window, self.width // self.heads)
                for i in range(len(self.blocks))
                for kind in ("k", "v")
            },
        }
        return {name: torch.zeros(batch, *shape) for name, shape in shapes.items()}

    def _front(self, forearm: Tensor) -> Linear:
        """Everything linear in the inputs: inputs of the running means, vectors relative to the
        trunk, the measured pose.

        The state of the means is (short means, their weights, long means, their weights); the
        weights of accelerations are always 1.
        """
        eye = torch.eye(INPUTS, dtype=torch.float64)
        sites = eye.reshape(INPUTS, 4, 12)
        a = sites[..., :3]
        R = sites[..., 3:].reshape(INPUTS, 4, 3, 3)
        seen = torch.cat(
            (
                R[:, 2],
                R[:, 3],
                R[:, 0],
                (a[:, 2] - a[:, 1])[..., None],
                (a[:, 3] - a[:, 1])[..., None],
            ),
            dim=-1,
        )
        trunk = R[:, 1].transpose(-1, -2)
        pelvis, measured = measured_pose(eye)
        moving = torch.cat((a.flatten(1), (R[:, 2:, :, 1] * forearm.double()).flatten(1)), dim=1)
        short = 1 - decays(SHORT_MEANS_S, MOVING)
        long = 1 - decays(LONG_MEANS_S, INPUTS)
        counted = torch.arange(self.short) % MOVING >= 12  # forearms
        fresh = torch.cat(
            (
                moving.repeat(1, len(SHORT_MEANS_S)) * short,
                torch.zeros(INPUTS, self.short),
                eye.repeat(1, len(LONG_MEANS_S)) * long,
                torch.zeros(INPUTS, self.long),
            ),
            1,
        )
        weight = torch.cat(
            (fresh, seen.flatten(1), trunk.flatten(1), pelvis, measured @ self.backwards.first),
            dim=1,
        )
        bias = torch.zeros(weight.shape[1], dtype=torch.float64)
        counts = torch.where(counted, short, 1.0)
        bias[self.short : 2 * self.short] = counts
        bias[2 * self.short + self.long : 2 * self.short + 2 * self.long] = long
        self.front_sizes = (fresh.shape[1], 33, 9, 6, 6 * len(SOLVED))
        self.register_buffer(
            "decay", torch.cat((1 - short, 1 - counts, 1 - long, 1 - long)).float()
        )
        self.register_buffer("second_decay", (1 - short).float())
        return Linear(weight, bias)

    def _drift(self, forearm: Tensor) -> Linear:
        """`encoder_input._drift`, before the transformation to the trunk.

        From (first means, second means, inputs, their change) to (3, K x 4) vectors.
        """
        K = len(SHORT_MEANS_S)
        count = self.short
        rows = 2 * count + 2 * INPUTS
        eye = torch.eye(rows, dtype=torch.float64)
        first = eye[:, :count].reshape(rows, K, MOVING)
        second = eye[:, count : 2 * count].reshape(rows, K, MOVING)
        inputs, change = (
            eye[:, 2 * count + i * INPUTS : 2 * count + (i + 1) * INPUTS].reshape(rows, 4, 12)
            for i in (0, 1)
        )

        def bones(sites: Tensor) -> Tensor:
            return (sites[:, 2:, 3:].reshape(rows, 2, 3, 3)[..., 1] * forearm.double())[:, None]

        tau = torch.tensor(SHORT_MEANS_S, dtype=torch.float64)[:, None, None]
        mean_f = first[..., 12:].reshape(rows, K, 2, 3)
        mean_f2 = second[..., 12:].reshape(rows, K, 2, 3)
        pull, pull2 = (
            m[..., 6:12].reshape(rows, K, 2, 3) - m[..., None, 3:6] for m in (first, second)
        )
        speed = (
            MODEL_GRAVITY * tau * pull
            - bones(change) * (MODEL_RATE_HZ / LAGS[0])
            + (bones(inputs) - mean_f) / tau
        )
        place = MODEL_GRAVITY * tau.square() * pull2 - (bones(inputs) - 2 * mean_f + mean_f2)
        vectors = torch.cat((speed, 4 * place), dim=-2).reshape(rows, 4 * K, 3)
        return Linear(vectors.transpose(1, 2).flatten(1))

    def _worn(self, model: Pallas) -> Linear:
        """Linear maps of the optional sensors' inputs: measurements, weights, and the remaining
        weight of the network's own output.

        Each is (`SOLVED`, `REMEMBERED`, legs) as in `Worn`, 150 numbers.
        """
        eye = torch.eye(EXTRA_INPUTS, dtype=torch.float64).reshape(EXTRA_INPUTS, EXTRA, PER_EXTRA)
        count = eye[..., 0]
        r6d = rotations.to_r6d(eye[..., 4:].unflatten(-1, (3, 3)))
        places = torch.cat(model.places, dim=1).double()
        counts = (count @ places).repeat_interleave(6, dim=1)
        neutral = torch.zeros(counts.shape[1], dtype=torch.float64)
        neutral[-len(model.neutral) :] = model.neutral.double()
        measured = torch.einsum("isn,sj->ijn", r6d, places).flatten(1) - counts * neutral
        weight = torch.cat((measured, counts, -counts), dim=1)
        one = torch.ones(counts.shape[1], dtype=torch.float64)
        self.worn_sizes = [counts.shape[1]] * 3
        self.worn_parts = [6 * part.shape[1] for part in model.places]
        return Linear(weight, torch.cat((0 * one, 0 * one, one)))

    def _askew(self, model: Pallas) -> tuple[Tensor, Tensor]:
        """Weight (150, width) and bias of the corrections of the optional sensors, in the order of
        `_worn`.
        """
        places = torch.cat(model.places, dim=1).double()
        rows = model.askew.weight.detach().double().unflatten(0, (EXTRA, 6))
        bias = model.askew.bias.detach().double().unflatten(0, (EXTRA, 6))
        return (
            torch.einsum("sj,snw->jnw", places, rows).flatten(0, 1),
            torch.einsum("sj,sn->jn", places, bias).flatten(),
        )

    def _embed(self, embed: nn.Linear, extra: Tensor) -> Linear:
        """The embedding of (inputs, their two changes, first and second means, vectors relative to
        the trunk (3, 11 + 4 K), optional sensors).
        """
        # (width, features)
        weight = embed.weight.detach().double()
        K = len(SHORT_MEANS_S)
        sizes = [INPUTS, *(36 for _ in LAGS), 12 * K, 18, 6, 9, 12 * K, 3 * K]
        inputs, *changes, velocity, arms, pull, waist, elbows, sway = torch.split(
            weight, sizes, dim=1
        )
        rotation = torch.arange(INPUTS).reshape(4, 12)[:, 3:].flatten()
        parts = [inputs]
        for lag, change in zip(LAGS, changes):
            part = torch.zeros_like(inputs)
            part[:, rotation] = change * (16 / lag)
            parts.append(part)
        means = torch.zeros(2, weight.shape[0], K, MOVING, dtype=torch.float64)
        means[0, ..., :12] = 3 * velocity.reshape(-1, K, 12)
        means[1, ..., :3] = sway.reshape(-1, K, 3) * (
            4 * MODEL_GRAVITY * torch.tensor(SHORT_MEANS_S, dtype=torch.float64).square()[:, None]
        )
        seen = torch.zeros(weight.shape[0], 3, 11 + 4 * K, dtype=torch.float64)
        seen[..., :6] = arms.reshape(-1, 2, 3, 3).permute(0, 2, 1, 3).flatten(-2)
        seen[..., 6:9] = waist.reshape(-1, 3, 3).transpose(1, 2)
        seen[..., 9:11] = pull.reshape(-1, 2, 3).transpose(1, 2)
        seen[..., 11:] = elbows.reshape(-1, 4 * K, 3).transpose(1, 2)
        every = (*parts, *means.flatten(2), seen.flatten(1), extra.detach().double())
        return Linear(torch.cat(every, dim=1).T, embed.bias)

    def _arms(self, model: Pallas) -> None:
        """`ArmMemory`, from proposal to pose; the gate of a joint is repeated six times."""
        arms = model.arms
        count = 6 * len(REMEMBERED)
        assert arms is not None
        _, proposal = torch.split(arms.condition.weight.double(), [self.width, count], dim=1)
        self.register_buffer(
            "arms_past",
            torch.cat((proposal, arms.past.weight.double()), dim=1).T.float().contiguous(),
        )
        self.arms_middle = Linear(arms.middle.weight.T, arms.middle.bias)
        gates = torch.arange(2 * count, 2 * count + len(REMEMBERED)).repeat_interleave(6)
        rows = torch.cat((torch.arange(2 * count), gates))
        # negative gate: the remaining share
        scale = torch.cat((torch.ones(count), 0.1 * torch.ones(count), -torch.ones(count)))[:, None]
        self.arms_out = Linear((scale * arms.out.weight[rows]).T, scale[:, 0] * arms.out.bias[rows])
        self.register_buffer(
            "remembered", torch.tensor([6 * joint + i for joint in REMEMBERED for i in range(6)])
        )

    def _legs(self, model: Pallas) -> None:
        """Heads of the encoder, and the legs: their condition is split into the encoder's part and
        the rest; the gate of a joint is repeated six times.
        """
        legs = model.legs
        solved = 6 * len(SOLVED)
        encoder, rest = torch.split(legs.condition.weight.double(), [self.width, solved + 6], dim=1)
        assert model.arms is not None
        own = model.arms.condition.weight.double()[:, : self.width]
        askew, askew_bias = self._askew(model)
        weight = torch.cat(
            (model.correction.weight, model.deviation.weight, encoder, own, askew), dim=0
        )
        bias = torch.cat(
            (
                model.correction.bias,
                model.deviation.bias,
                legs.condition.bias,
                model.arms.condition.bias,
                askew_bias,
            )
        )
        self.read = Linear(weight.T, bias)
        self.read_sizes = (solved, 6, len(JOINTS), encoder.shape[0], own.shape[0], askew.shape[0])
        past = legs.past.weight.double()
        arms = rest[:, self.remembered]
        # the pose of the arm memory replaces that of S
        rest = rest.index_fill(1, self.remembered, 0.0)
        self.register_buffer(
            "condition", torch.cat((rest, arms, past), dim=1).T.float().contiguous()
        )
        self.middle = Linear(legs.middle.weight.T, legs.middle.bias)
        count = 6 * len(LEG_JOINTS)
        gates = torch.arange(count, count + len(LEG_JOINTS))
        others = torch.arange(count + len(LEG_JOINTS), legs.out.bias.shape[0])
        rows = torch.cat((torch.arange(count), gates.repeat_interleave(6), others))
        self.out = Linear(legs.out.weight[rows].T, legs.out.bias[rows])
        self.out_sizes = (count, count, CONTACTS, 3)

    def _constants(self, model: Pallas) -> None:
        """Angles, masks and the geometry of the body."""
        size = self.width // self.heads
        wanted = 100.0 ** -(torch.arange(0, size, 2) / size)
        frequency = torch.round(wanted * ROTARY_PERIOD / (2 * torch.pi)).clamp_min(1) * (
            2 * torch.pi / ROTARY_PERIOD
        )
        turned = torch.cat((torch.ones(2 * self.heads), torch.zeros(self.heads)))[
            None, :, None, None
        ]
        order = sorted(range(len(JOINTS)), key=lambda i: (*UPPER_JOINTS, *LEG_JOINTS)[i])
        offsets = model.offsets
        neutral = model.neutral
        assert isinstance(offsets, Tensor) and isinstance(neutral, Tensor)
        along = torch.zeros(3, len(JOINTS), len(JOINTS))
        for k, parent in enumerate(PARENTS[1:]):
            along[:, 1:, parent] += ANCESTORS[:, k][None] * offsets[k + 1][:, None]
        for name, value in {
            "frequency": frequency,
            "turned": turned,
            "unturned": 1 - turned,
            "sign": torch.tensor((-1.0, 1.0))[None, None, :, None] * turned,
            "places": torch.arange(self.window, dtype=torch.float32) - (self.window - 1),
            "lags": torch.tensor(LAGS, dtype=torch.float32)[None, None, :, None] - 1,
            "neutral": neutral.clone(),
            "order": self._places()[(6 * torch.tensor(order)[:, None] + torch.arange(6)).flatten()],
            "after": torch.tensor((1, 2, 0)),
            "before": torch.tensor((2, 0, 1)),
            "back": max(LAGS) - torch.tensor(LAGS),
            "along": along.permute(1, 0, 2).flatten(1).contiguous(),
        }.items():
            self.register_buffer(name, value)

    def _places(self) -> Tensor:
        """Indices of the values of (pelvis, S, legs) in (pelvis, S, arms, legs)."""
        solved = 6 + 6 * len(SOLVED)
        arms = len(self.remembered)
        places = torch.cat(
            (torch.arange(solved), solved + arms + torch.arange(6 * len(LEG_JOINTS)))
        )
        places[6 + self.remembered] = solved + torch.arange(arms)
        return places

    def forward(
        self, imu: Tensor, latent: Tensor, extra: Tensor, *state: Tensor
    ) -> tuple[Tensor, ...]:
        """Process one frame, like `PallasStep.forward`, with other states (`example_inputs`)."""
        recent, means, second, position, age, arms, legs, contacts, *caches = state
        fresh, seen, trunk, pelvis, coordinates = self.front(imu).split(self.front_sizes, dim=-1)
        means = means * self.decay + fresh
        trunk = trunk.reshape(-1, 3, 3)
        change = (imu.reshape(-1, 1, 1, INPUTS) - recent.index_select(2, self.back)) * torch.clamp(
            age - self.lags, 0.0, 1.0
        )
        change = change.reshape(-1, INPUTS * len(LAGS))
        short, shown, total, count = torch.split(
            means, [self.short, self.short, self.long, self.long], dim=-1
        )
        first = short / shown
        second = second * self.second_decay + first * (1 - self.second_decay)
        both = torch.cat((first, second / shown), dim=-1)
        elbows = self.drift(torch.cat((both, imu, change[:, :INPUTS]), dim=-1))
        seen = trunk @ torch.cat(
            (seen.reshape(-1, 3, 11), elbows.reshape(-1, 3, 4 * len(SHORT_MEANS_S))), dim=-1
        )
        x = self.embed(torch.cat((imu, change, both, seen.flatten(1), extra), dim=-1))
        h, caches = self._encode(x, total / count, position, age, caches)
        correction, correction_pelvis, log_deviation, condition, own, askew = self.read(h).split(
            self.read_sizes, dim=-1
        )
        measured, count, keep = self.worn(extra).split(self.worn_sizes, dim=-1)
        measured = measured + count * askew
        of_solved, of_arms, of_legs = measured.split(self.worn_parts, dim=-1)
        keep_solved, keep_arms, keep_legs = keep.split(self.worn_parts, dim=-1)
        pelvis = pelvis + correction_pelvis
        solved = self.forwards(self.enter(self.backwards(coordinates) + correction))
        solved = solved * keep_solved + of_solved
        arms = self._remember(
            torch.cat((solved.index_select(1, self.remembered), of_arms), dim=-1),
            keep_arms,
            own,
            arms,
            trunk,
            torch.clamp(age, max=1.0).reshape(-1, 1),
        )
        shown_arms = (arms.reshape(-1, 2 * len(REMEMBERED), 3) @ trunk).flatten(1)
        hidden = F.silu(
            torch.addmm(
                condition,
                torch.cat((solved, pelvis, shown_arms, legs, contacts, latent), dim=-1),
                self.condition,
            )
        )
        out = self.out(F.silu(self.middle(hidden)) + hidden)
        target, gate, contacts, velocity = out.split(self.out_sizes, dim=-1)
        legs = (legs + torch.sigmoid(gate) * (target - legs)) * keep_legs + of_legs
        contacts = torch.sigmoid(contacts)
        r6d = (
            torch.cat((pelvis, solved, shown_arms, self.neutral + legs), dim=-1)
            .index_select(1, self.order)
            .reshape(-1, len(JOINTS), 6)
        )
        turned, positions = self._body(r6d)
        return (
            turned,
            positions,
            contacts,
            velocity,
            torch.exp(log_deviation.clamp(-6.5, 0.0)),
            torch.cat((recent[:, :, 1:], imu.reshape(-1, 1, 1, INPUTS)), dim=2),
            means,
            second,
            torch.fmod(position + 1, float(ROTARY_PERIOD)),
            torch.clamp(age + 1, max=float(self.window)),
            arms,
            legs,
            contacts,
            *caches,
        )

    def _remember(
        self, both: Tensor, keep: Tensor, own: Tensor, arms: Tensor, trunk: Tensor, old: Tensor
    ) -> Tensor:
        """Collars and upper arms in the frame of the neck sensor; ``both`` are proposed and
        measured poses, ``old`` (B, 1) is 0 in the first frame.
        """
        both = (both.reshape(-1, 4 * len(REMEMBERED), 3) @ trunk.transpose(-1, -2)).flatten(1)
        proposed, measured = both.chunk(2, dim=-1)
        hidden = F.silu(torch.addmm(own, torch.cat((proposed, arms), dim=-1), self.arms_past))
        correction, motion, stay = self.arms_out(F.silu(self.arms_middle(hidden)) + hidden).chunk(
            3, dim=-1
        )
        target: Tensor = proposed + correction
        kept: Tensor = target + torch.sigmoid(stay) * old * (arms + motion - target)
        return kept * keep + measured

    def _encode(
        self, x: Tensor, long: Tensor, position: Tensor, age: Tensor, caches: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """Apply the encoder to the embedded frame; ``long`` are the long means of the inputs."""
        angle = position * self.frequency
        turn = torch.cos(angle) * self.turned + self.unturned, torch.sin(angle) * self.sign
        mask = torch.clamp(age + self.places, -1.0, 0.0) * _REST
        following: list[Tensor] = []
        for index, block in enumerate(self.blocks):
            context = long if index == len(self.blocks) - 2 else None
            x, k, v = block(x, caches[2 * index], caches[2 * index + 1], turn, mask, context)
            following += [k, v]
        return self.norm(x), following

    def _body(self, r6d: Tensor) -> tuple[Tensor, Tensor]:
        """Gram-Schmidt and forward kinematics: orthonormal r6d (B, 22, 6), positions (B, 22, 3)
        m.
        """
        a, b = r6d.chunk(2, dim=-1)
        x = a / torch.sqrt(a.square().sum(-1, keepdim=True) + 1e-8)
        y = b - (x * b).sum(-1, keepdim=True) * x
        y = y / torch.sqrt(y.square().sum(-1, keepdim=True) + 1e-8)
        z = x.index_select(2, self.after) * y.index_select(2, self.before) - x.index_select(
            2, self.before
        ) * y.index_select(2, self.after)
        return torch.cat((x, y), dim=-1), self.along @ torch.cat((x, y, z), dim=1)
