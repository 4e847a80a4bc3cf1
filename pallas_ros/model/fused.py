"""The streaming step of PALLAS rearranged for speed: the same function of the same weights, in half as many operations.

At one frame a step is bound by the number of operations and the bytes of weights, not by arithmetic. So linear maps that follow each other are
multiplied out, all that is linear in the inputs is one matrix, queries, keys and values are one product, counters stand for masks, and constant
factors move into weights. `PallasStep` is the definition; `test/model` holds this to it.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pallas_ros.body.names import JOINTS, LEG_JOINTS, MODEL_RATE_HZ, PARENTS, UPPER_JOINTS
from pallas_ros.data.virtual_imu import ANCESTORS
from pallas_ros.model.layers import ROTARY_PERIOD, Block
from pallas_ros.model.legs import CONTACTS, LATENT
from pallas_ros.model.pallas import INPUTS, LAGS, LONG_MEANS_S, SHORT_MEANS_S, SOLVED, Pallas, measured_pose
from pallas_ros.model.solver import Coupling, InvertibleSolver, Mixing

_HALF_E = math.exp(-0.5)
_ONE = 1.2784645427610738  # silu(_ONE) = 1
_REST = 10_000.0  # what hides an empty place of the window from a softmax


def _decays(seconds: tuple[float, ...], each: int) -> Tensor:
    """Decay per frame of running means, every one ``each`` times."""
    return torch.exp(-1 / (MODEL_RATE_HZ * torch.tensor(seconds, dtype=torch.float64))).repeat_interleave(each)


class _Linear(nn.Module):
    """``x @ weight + bias``, the weight (in, out) as composed in double precision."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("weight", weight.detach().float().contiguous())
        self.register_buffer("bias", (torch.zeros(weight.shape[1]) if bias is None else bias).detach().float().contiguous())

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias, x, self.weight)


class _Norm(nn.Module):
    """Root-mean-square normalisation in the form that ONNX Runtime makes one operation of."""

    gain: Tensor

    def __init__(self, gain: Tensor) -> None:
        super().__init__()
        self.register_buffer("gain", gain.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        return x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.gain


class _FusedBlock(nn.Module):
    """`Block` for one frame: queries, keys and values in one product and one rotation.

    Args:
        block: the weights.
        heads: of the attention.
        read: (out, in) matrix and bias from context and features to what queries are made from; None where that is the features.
    """

    out: Tensor
    fall: Tensor

    def __init__(self, block: Block, heads: int, read: nn.Linear | None) -> None:
        super().__init__()
        attention, width = block.attention, block.attention.out.weight.shape[0]
        self.heads, self.size = heads, width // heads
        query = attention.query.weight.double() / math.sqrt(self.size)
        key_value = attention.key_value.weight.double()
        bias = torch.zeros(3 * width, dtype=torch.float64)
        if read is not None:
            bias[:width] = query @ read.bias.double()
            query = query @ read.weight.double()
            key_value = F.pad(key_value, (query.shape[1] - width, 0))
        self.project = _Linear(torch.cat((query, key_value)).T, bias)
        self.norm_attention, self.norm_feed_forward = _Norm(block.norm_attention.gain), _Norm(block.norm_feed_forward.gain)
        self.register_buffer("out", attention.out.weight.detach().T.contiguous())
        self.rise = _Linear(block.feed_forward.rise.weight.T)
        self.register_buffer("fall", block.feed_forward.fall.weight.detach().T.contiguous())

    def forward(
        self, x: Tensor, keys: Tensor, values: Tensor, turn: tuple[Tensor, Tensor], mask: Tensor, context: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One frame.

        Args:
            x: (B, width).
            keys: (B, heads, window, size), oldest first.
            values: likewise.
            turn: cosine (B, 3 heads, 1, size / 2) and signed sine (B, 3 heads, 2, size / 2) of the rotary angles; 1 and 0 for values.
            mask: (B, 1, 1, window).
            context: (B, …) that queries are made from besides, or None.
        """
        normed = self.norm_attention(x)
        y = self.project(normed if context is None else torch.cat((context, normed), dim=-1))
        y = y.reshape(-1, 3 * self.heads, 2, self.size // 2)
        y = (y * turn[0] + y.flip(2) * turn[1]).reshape(-1, 3 * self.heads, 1, self.size)
        q, fresh_k, fresh_v = y.split(self.heads, dim=1)
        k = torch.cat((keys[:, :, 1:], fresh_k), dim=2)
        v = torch.cat((values[:, :, 1:], fresh_v), dim=2)
        mixed = torch.softmax(q @ k.transpose(2, 3) + mask, dim=-1) @ v
        x = torch.addmm(x, mixed.reshape(-1, self.heads * self.size), self.out)
        gate, value = self.rise(self.norm_feed_forward(x)).chunk(2, dim=-1)
        return torch.addmm(x, F.silu(gate) * value, self.fall), k, v


class _FusedCoupling(nn.Module):
    """A coupling layer without its factor exp(-1/2), which the caller's weights hold: 0.5 tanh(u) = sigmoid(2 u) - 0.5.

    Args:
        layer: the weights.
        inverse: whether it is run backwards.
        scale: of the half that conditions, as it comes in.
    """

    shift: Tensor

    def __init__(self, layer: Coupling, inverse: bool, scale: float) -> None:
        super().__init__()
        rise, fall = layer.net[0], layer.net[2]
        assert isinstance(rise, nn.Linear) and isinstance(fall, nn.Linear)
        self.inverse = inverse
        sign = -1.0 if inverse else 1.0
        log_scale, shift = (sign * part.detach().double() for part in torch.cat((fall.weight, fall.bias[:, None]), dim=1).chunk(2))
        constant = torch.zeros(
            rise.weight.shape[1] + 1, 1, dtype=torch.float64
        )  # one more hidden unit that is always silu(_ONE) = 1 carries the shift's bias
        constant[-1] = _ONE
        weight = torch.cat((rise.weight.detach().double() / scale, rise.bias.detach().double()[:, None]), dim=1).T
        weight = torch.cat((weight, constant), dim=1)
        self.rise = _Linear(weight[:-1], weight[-1])
        self.log_scale = _Linear(F.pad(2 * log_scale[:, :-1], (0, 1)).T, 2 * log_scale[:, -1])
        self.register_buffer("shift", shift.T.float().contiguous())

    def forward(self, condition: Tensor, changed: Tensor) -> Tensor:
        hidden = F.silu(self.rise(condition))
        scale = torch.exp(torch.sigmoid(self.log_scale(hidden)))
        if self.inverse:
            return torch.addmm(changed, hidden, self.shift) * scale
        return torch.addmm(changed * scale, hidden, self.shift)


class _FusedSolver(nn.Module):
    """The chain of couplings in one direction; between them the two halves are mixed.

    Args:
        solver: the weights.
        inverse: False for S, True for its inverse.
    """

    def __init__(self, solver: InvertibleSolver, inverse: bool) -> None:
        super().__init__()
        layers = list(reversed(solver.layers)) if inverse else list(solver.layers)
        matrices = [self._matrix(layer, inverse) for layer in layers if isinstance(layer, Mixing)]
        couplings = [layer for layer in layers if isinstance(layer, Coupling)]
        for index in range(len(matrices) - 1):  # of every pair of couplings, the factor exp(-1/2) of both halves
            if inverse:
                matrices[index + 1] = matrices[index + 1] * _HALF_E
            else:
                matrices[index] = matrices[index] * _HALF_E
        self.swapped = [coupling.swap for coupling in couplings]
        # forwards the first of a pair is conditioned on a half that is scaled already, backwards the second is on one that is not yet
        scales = [1.0, 1 / _HALF_E] if inverse else [_HALF_E, 1.0]
        self.couplings = nn.ModuleList(_FusedCoupling(layer, inverse, scales[i % 2]) for i, layer in enumerate(couplings))
        self.first = matrices[0]
        self.mixing = nn.ModuleList(_Linear(matrix) for matrix in matrices[1:])

    @staticmethod
    def _matrix(layer: Mixing, inverse: bool) -> Tensor:
        weight = layer.weight.detach().double()
        return torch.linalg.inv(weight) if inverse else weight

    def forward(self, x: Tensor) -> Tensor:
        """From behind the first mixing (the caller has multiplied by ``first``) to the end."""
        for index, mixing in enumerate(self.mixing):
            halves = list(x.chunk(2, dim=-1))
            for j in (2 * index, 2 * index + 1):
                changed = 0 if self.swapped[j] else 1
                halves[changed] = self.couplings[j](halves[1 - changed], halves[changed])
            x = mixing(torch.cat(halves, dim=-1))
        return x


def can_be_fused(model: nn.Module) -> bool:
    """Whether ``model`` is the whole of PALLAS, without ablations."""
    return isinstance(model, Pallas) and None not in (model.solver, model.long, model.long_short) and model.legs.autoregressive


class FusedPallasStep(nn.Module):
    """`PallasStep`, rearranged. The states are its own; they too begin at zero.

    Args:
        model: with all its parts (`can_be_fused`).
    """

    decay: Tensor
    condition: Tensor
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
        self.window, self.heads, self.width = c.window, c.heads, c.width
        self.short, self.long = 12 * len(SHORT_MEANS_S), INPUTS * len(LONG_MEANS_S)
        self.backwards, self.forwards = _FusedSolver(model.solver, True), _FusedSolver(model.solver, False)
        self.enter = _Linear(self.forwards.first)
        self.front = self._front()
        self.embed = self._embed(model.embed)
        self.norm = _Norm(model.norm.gain)
        blocks = [_FusedBlock(block, c.heads, None) for block in model.blocks if isinstance(block, Block)]
        self.blocks = nn.ModuleList([*blocks[:-1], _FusedBlock(model.long_short, c.heads, model.long), blocks[-1]])
        self._legs(model)
        self._constants(model)
        self.output_names = (
            "rotations", "positions", "contacts", "root_velocity", "deviation",
            *(f"next_{name.removeprefix('state_')}" for name in self.example_inputs(1) if name.startswith("state_")),
        )  # fmt: skip

    def example_inputs(self, batch: int) -> dict[str, Tensor]:
        """Zeros, in the order of `forward`."""
        shapes = {
            "imu": (INPUTS,),
            "latent": (LATENT,),
            "state_recent": (1, max(LAGS), INPUTS),
            "state_means": (self.short + 2 * self.long,),
            "state_position": (1, 1, 1),
            "state_age": (1, 1, 1),
            "state_legs": (6 * len(LEG_JOINTS),),
            "state_contacts": (CONTACTS,),
            **{
                f"state_{kind}{i}": (self.heads, self.window, self.width // self.heads)
                for i in range(len(self.blocks))
                for kind in ("k", "v")
            },
        }
        return {name: torch.zeros(batch, *shape) for name, shape in shapes.items()}

    def _front(self) -> _Linear:
        """All that is linear in the inputs: news for the running means, what is seen from the trunk, the measured pose."""
        eye = torch.eye(INPUTS, dtype=torch.float64)
        sites = eye.reshape(INPUTS, 4, 12)
        a, R = sites[..., :3], sites[..., 3:].reshape(INPUTS, 4, 3, 3)
        seen = torch.cat((R[:, 2], R[:, 3], R[:, 0], (a[:, 2] - a[:, 1])[..., None], (a[:, 3] - a[:, 1])[..., None]), dim=-1)
        trunk = R[:, 1].transpose(-1, -2)
        pelvis, measured = measured_pose(eye)
        short, long = 1 - _decays(SHORT_MEANS_S, 12), 1 - _decays(LONG_MEANS_S, INPUTS)
        fresh = torch.cat(
            (a.flatten(1).repeat(1, len(SHORT_MEANS_S)) * short, eye.repeat(1, len(LONG_MEANS_S)) * long, torch.zeros(INPUTS, self.long)), 1
        )
        weight = torch.cat((fresh, seen.flatten(1), trunk.flatten(1), pelvis, measured @ self.backwards.first), dim=1)
        bias = torch.zeros(weight.shape[1])
        bias[self.short + self.long : self.short + 2 * self.long] = long  # of what was seen so far
        self.front_sizes = (fresh.shape[1], 33, 9, 6, 6 * len(SOLVED))
        self.register_buffer("decay", torch.cat((1 - short, 1 - long, 1 - long)).float())
        return _Linear(weight, bias)

    def _embed(self, embed: nn.Linear) -> _Linear:
        """The embedding of (inputs, their two changes, velocities, what is seen from the trunk as (3, 11))."""
        weight = embed.weight.detach().double()  # (width, features)
        inputs, *changes, velocity, arms, pull, waist = torch.split(weight, [INPUTS, *(36 for _ in LAGS), self.short, 18, 6, 9], dim=1)
        rotation = torch.arange(INPUTS).reshape(4, 12)[:, 3:].flatten()
        parts = [inputs]
        for lag, change in zip(LAGS, changes):
            part = torch.zeros_like(inputs)
            part[:, rotation] = change * (16 / lag)
            parts.append(part)
        seen = torch.zeros(weight.shape[0], 3, 11, dtype=torch.float64)
        seen[..., :6] = arms.reshape(-1, 2, 3, 3).permute(0, 2, 1, 3).flatten(-2)
        seen[..., 6:9] = waist.reshape(-1, 3, 3).transpose(1, 2)
        seen[..., 9:] = pull.reshape(-1, 2, 3).transpose(1, 2)
        return _Linear(torch.cat((*parts, 3 * velocity, seen.flatten(1)), dim=1).T, embed.bias)

    def _legs(self, model: Pallas) -> None:
        """Heads on the encoder, and the legs: their condition splits into the encoder's part and the rest; a joint's gate is said six times."""
        legs, solved = model.legs, 6 * len(SOLVED)
        encoder, rest = torch.split(legs.condition.weight.double(), [self.width, solved + 6], dim=1)
        weight = torch.cat((model.correction.weight, model.deviation.weight, encoder), dim=0)
        self.read = _Linear(weight.T, torch.cat((model.correction.bias, model.deviation.bias, legs.condition.bias)))
        self.read_sizes = (solved, 6, len(JOINTS), encoder.shape[0])
        past = legs.past.weight.double()
        self.register_buffer("condition", torch.cat((rest, past), dim=1).T.float().contiguous())
        self.middle = _Linear(legs.middle.weight.T, legs.middle.bias)
        count = 6 * len(LEG_JOINTS)
        gates, others = torch.arange(count, count + len(LEG_JOINTS)), torch.arange(count + len(LEG_JOINTS), legs.out.bias.shape[0])
        rows = torch.cat((torch.arange(count), gates.repeat_interleave(6), others))
        self.out = _Linear(legs.out.weight[rows].T, legs.out.bias[rows])
        self.out_sizes = (count, count, CONTACTS, 3)

    def _constants(self, model: Pallas) -> None:
        """Angles, masks and the geometry of the body."""
        size = self.width // self.heads
        wanted = 100.0 ** -(torch.arange(0, size, 2) / size)
        frequency = torch.round(wanted * ROTARY_PERIOD / (2 * torch.pi)).clamp_min(1) * (2 * torch.pi / ROTARY_PERIOD)
        turned = torch.cat((torch.ones(2 * self.heads), torch.zeros(self.heads)))[None, :, None, None]
        order = sorted(range(len(JOINTS)), key=lambda i: (*UPPER_JOINTS, *LEG_JOINTS)[i])
        offsets, neutral = model.offsets, model.neutral
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
            "order": (6 * torch.tensor(order)[:, None] + torch.arange(6)).flatten(),
            "after": torch.tensor((1, 2, 0)),
            "before": torch.tensor((2, 0, 1)),
            "back": max(LAGS) - torch.tensor(LAGS),
            "along": along.permute(1, 0, 2).flatten(1).contiguous(),
        }.items():
            self.register_buffer(name, value)

    def forward(self, imu: Tensor, latent: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """The step; see `PallasStep`."""
        recent, means, position, age, legs, contacts, *caches = state
        fresh, seen, trunk, pelvis, coordinates = self.front(imu).split(self.front_sizes, dim=-1)
        means = means * self.decay + fresh
        h, caches = self._encode(imu, recent, means, trunk.reshape(-1, 3, 3) @ seen.reshape(-1, 3, 11), position, age, caches)
        correction, correction_pelvis, log_deviation, condition = self.read(h).split(self.read_sizes, dim=-1)
        pelvis = pelvis + correction_pelvis
        solved = self.forwards(self.enter(self.backwards(coordinates) + correction))
        hidden = F.silu(torch.addmm(condition, torch.cat((solved, pelvis, legs, contacts, latent), dim=-1), self.condition))
        out = self.out(F.silu(self.middle(hidden)) + hidden)
        target, gate, contacts, velocity = out.split(self.out_sizes, dim=-1)
        legs, contacts = legs + torch.sigmoid(gate) * (target - legs), torch.sigmoid(contacts)
        r6d = torch.cat((pelvis, solved, self.neutral + legs), dim=-1).index_select(1, self.order).reshape(-1, len(JOINTS), 6)
        rotations, positions = self._body(r6d)
        return (
            rotations,
            positions,
            contacts,
            velocity,
            torch.exp(log_deviation.clamp(-6.5, 0.0)),
            torch.cat((recent[:, :, 1:], imu.reshape(-1, 1, 1, INPUTS)), dim=2),
            means,
            torch.fmod(position + 1, float(ROTARY_PERIOD)),
            torch.clamp(age + 1, max=float(self.window)),
            legs,
            contacts,
            *caches,
        )

    def _encode(
        self, imu: Tensor, recent: Tensor, means: Tensor, seen: Tensor, position: Tensor, age: Tensor, caches: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        change = (imu.reshape(-1, 1, 1, INPUTS) - recent.index_select(2, self.back)) * torch.clamp(age - self.lags, 0.0, 1.0)
        short, total, count = torch.split(means, [self.short, self.long, self.long], dim=-1)
        x = self.embed(torch.cat((imu, change.reshape(-1, INPUTS * len(LAGS)), short, seen.reshape(-1, 33)), dim=-1))
        angle = position * self.frequency
        turn = torch.cos(angle) * self.turned + self.unturned, torch.sin(angle) * self.sign
        mask = torch.clamp(age + self.places, -1.0, 0.0) * _REST
        following: list[Tensor] = []
        for index, block in enumerate(self.blocks):
            context = total / count if index == len(self.blocks) - 2 else None
            x, k, v = block(x, caches[2 * index], caches[2 * index + 1], turn, mask, context)
            following += [k, v]
        return self.norm(x), following

    def _body(self, r6d: Tensor) -> tuple[Tensor, Tensor]:
        """Gram-Schmidt and forward kinematics: r6d (B, 22, 6) orthonormal, positions (B, 22, 3)."""
        a, b = r6d.chunk(2, dim=-1)
        x = a / torch.sqrt(a.square().sum(-1, keepdim=True) + 1e-8)
        y = b - (x * b).sum(-1, keepdim=True) * x
        y = y / torch.sqrt(y.square().sum(-1, keepdim=True) + 1e-8)
        z = x.index_select(2, self.after) * y.index_select(2, self.before) - x.index_select(2, self.before) * y.index_select(2, self.after)
        return torch.cat((x, y), dim=-1), self.along @ torch.cat((x, y, z), dim=1)
