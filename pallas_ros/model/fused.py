"""The streaming step of PALLAS rearranged for speed: the same function of the same weights, in half as many operations.

At one frame a step is bound by the number of operations and the bytes of weights, not by arithmetic. So linear maps that follow each other are multiplied out, all that
is linear in the inputs is one matrix, queries, keys and values are one product, counters stand for masks, and constant factors move into weights.
`PallasStep` is the definition; `test/model` holds this to it.
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

    def forward(self, x: Tensor, cache: Tensor, turn: tuple[Tensor, Tensor], mask: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """One frame.

        Args:
            x: (B, width).
            cache: (B, 2 heads, window, size) keys, then values.
            turn: cosine (B, 3 heads, 1, size / 2) and signed sine (B, 3 heads, 2, size / 2) of the rotary angles; 1 and 0 for values.
            mask: (B, 1, 1, window).
            context: (B, …) that queries are made from besides, or None.
        """
        normed = self.norm_attention(x)
        y = self.project(normed if context is None else torch.cat((context, normed), dim=-1))
        y = y.reshape(-1, 3 * self.heads, 2, self.size // 2)
        y = (y * turn[0] + y.flip(2) * turn[1]).reshape(-1, 3 * self.heads, 1, self.size)
        q, fresh = y.split((self.heads, 2 * self.heads), dim=1)
        cache = torch.cat((cache[:, :, 1:], fresh), dim=2)
        k, v = cache.chunk(2, dim=1)
        mixed = torch.softmax(q @ k.transpose(2, 3) + mask, dim=-1) @ v
        x = torch.addmm(x, mixed.reshape(-1, self.heads * self.size), self.out)
        gate, value = self.rise(self.norm_feed_forward(x)).chunk(2, dim=-1)
        return torch.addmm(x, F.silu(gate) * value, self.fall), cache


class _FusedCoupling(nn.Module):
    """A coupling layer without its factor exp(-1/2), which the caller's weights hold: 0.5 tanh(u) = sigmoid(2 u) - 0.5.

    Args:
        layer: the weights.
        inverse: whether it is run backwards.
        scale: of the half that conditions, as it comes in.
    """

    def __init__(self, layer: Coupling, inverse: bool, scale: float) -> None:
        super().__init__()
        rise, fall = layer.net[0], layer.net[2]
        self.inverse = inverse
        self.rise = _Linear(rise.weight.T.double() / scale, rise.bias)
        half = fall.bias.shape[0] // 2
        factor = torch.cat((torch.full((half,), -2.0 if inverse else 2.0), torch.full((half,), -1.0 if inverse else 1.0))).double()
        self.fall = _Linear(fall.weight.T.double() * factor, fall.bias * factor)

    def forward(self, condition: Tensor, changed: Tensor) -> Tensor:
        log_scale, shift = self.fall(F.silu(self.rise(condition))).chunk(2, dim=-1)
        scale = torch.exp(torch.sigmoid(log_scale))
        return (changed + shift) * scale if self.inverse else changed * scale + shift


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
        half = matrices[0].shape[0] // 2
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
        self.half = half

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


class FusedPallasStep(nn.Module):
    """`PallasStep`, rearranged. The states are its own; they too begin at zero.

    Args:
        model: with all its parts (long-short attention, invertible solver, autoregressive legs).
    """

    def __init__(self, model: Pallas) -> None:
        super().__init__()
        c = model.config
        if model.solver is None or model.long is None or model.long_short is None or not model.legs.autoregressive:
            raise ValueError("only the whole model is fused")
        self.window, self.heads, self.width = c.window, c.heads, c.width
        self.short, self.long = 12 * len(SHORT_MEANS_S), INPUTS * len(LONG_MEANS_S)
        self.backwards, self.forwards = _FusedSolver(model.solver, True), _FusedSolver(model.solver, False)
        self.enter = _Linear(self.forwards.first)
        self.front = self._front()
        self.embed = self._embed(model.embed)
        self.norm = _Norm(model.norm.gain)
        blocks = [_FusedBlock(block, c.heads, None) for block in model.blocks]
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
            **{f"state_cache{i}": (2 * self.heads, self.window, self.width // self.heads) for i in range(len(self.blocks))},
        }
        return {name: torch.zeros(batch, *shape) for name, shape in shapes.items()}

    def _front(self) -> _Linear:
        """All that is linear in the inputs: news for the running means, what is seen from the trunk, the measured pose."""
        eye = torch.eye(INPUTS, dtype=torch.float64)
        sites = eye.unflatten(-1, (4, 12))
        a, R = sites[..., :3], sites[..., 3:].unflatten(-1, (3, 3))
        seen = torch.cat((R[:, 2], R[:, 3], R[:, 0], (a[:, 2] - a[:, 1])[..., None], (a[:, 3] - a[:, 1])[..., None]), dim=-1)
        trunk = R[:, 1].transpose(-1, -2)
        pelvis, measured = measured_pose(eye)
        short, long = 1 - _decays(SHORT_MEANS_S, 12), 1 - _decays(LONG_MEANS_S, INPUTS)
        fresh = torch.cat((a.flatten(1).repeat(1, len(SHORT_MEANS_S)) * short, eye.repeat(1, len(LONG_MEANS_S)) * long, torch.zeros(INPUTS, self.long)), 1)
        weight = torch.cat((fresh, seen.flatten(1), trunk.flatten(1), pelvis, measured @ self.backwards.first), dim=1)
        bias = torch.zeros(weight.shape[1])
        bias[self.short + self.long : self.short + 2 * self.long] = long  # of what was seen so far
        self.front_sizes = (fresh.shape[1], 33, 9, 6, 6 * len(SOLVED))
        self.register_buffer("decay", torch.cat((1 - short, 1 - long, 1 - long)).float())
        return _Linear(weight, bias)

    def _embed(self, embed: nn.Linear) -> _Linear:
        """The embedding of (inputs, their two changes, velocities, what is seen from the trunk as (3, 11))."""
        weight = embed.weight.detach().double()  # (width, features)
        inputs, *changes, velocity, arms, pull, waist = weight.split((INPUTS, *(36 for _ in LAGS), self.short, 18, 6, 9), dim=1)
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
        encoder, rest = legs.condition.weight.double().split((self.width, solved + 6), dim=1)
        weight = torch.cat((model.correction.weight, model.deviation.weight, encoder), dim=0)
        self.read = _Linear(weight.T, torch.cat((model.correction.bias, model.deviation.bias, legs.condition.bias)))
        self.read_sizes = (solved, 6, len(JOINTS), encoder.shape[0])
        past = legs.past.weight.double()
        self.register_buffer("condition", torch.cat((rest, past), dim=1).T.float().contiguous())
        self.middle = _Linear(legs.middle.weight.T, legs.middle.bias)
        count = 6 * len(LEG_JOINTS)
        rows = torch.cat((torch.arange(count), torch.arange(count, count + len(LEG_JOINTS)).repeat_interleave(6), torch.arange(count + len(LEG_JOINTS), legs.out.bias.shape[0])))
        self.out = _Linear(legs.out.weight[rows].T, legs.out.bias[rows])
        self.out_sizes = (count, count, CONTACTS, 3)

    def _constants(self, model: Pallas) -> None:
        """Angles, masks and the geometry of the body."""
        size = self.width // self.heads
        wanted = 100.0 ** -(torch.arange(0, size, 2) / size)
        frequency = torch.round(wanted * ROTARY_PERIOD / (2 * torch.pi)).clamp_min(1) * (2 * torch.pi / ROTARY_PERIOD)
        turned = torch.cat((torch.ones(2 * self.heads), torch.zeros(self.heads)))[None, :, None, None]
        order = sorted(range(len(JOINTS)), key=lambda i: (*UPPER_JOINTS, *LEG_JOINTS)[i])
        parents = torch.tensor(PARENTS[1:])
        along = torch.zeros(3, len(JOINTS), len(JOINTS))
        for k, parent in enumerate(parents.tolist()):
            along[:, 1:, parent] += ANCESTORS[:, k][None] * model.offsets[k + 1][:, None]
        for name, value in {
            "frequency": frequency,
            "turned": turned,
            "unturned": 1 - turned,
            "sign": torch.tensor((-1.0, 1.0))[None, None, :, None] * turned,
            "places": torch.arange(self.window, dtype=torch.float32) - (self.window - 1),
            "lags": torch.tensor(LAGS, dtype=torch.float32)[None, None, :, None] - 1,
            "neutral": model.neutral.clone(),
            "order": torch.tensor(order),
            "along": along.permute(1, 2, 0).flatten(1).contiguous(),
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
        r6d = torch.cat((pelvis, solved, self.neutral + legs), dim=-1).reshape(-1, len(JOINTS), 6)[:, self.order]
        rotations, positions = self._body(r6d)
        return (
            rotations,
            positions,
            contacts,
            velocity,
            torch.exp(log_deviation.clamp(-6.5, 0.0)),
            torch.cat((recent[:, :, 1:], imu.reshape(-1, 1, 1, INPUTS)), dim=2),
            means,
            torch.remainder(position + 1, ROTARY_PERIOD),
            torch.clamp(age + 1, max=float(self.window)),
            legs,
            contacts,
            *caches,
        )

    def _encode(
        self, imu: Tensor, recent: Tensor, means: Tensor, seen: Tensor, position: Tensor, age: Tensor, caches: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        before = torch.cat([recent[:, :, max(LAGS) - lag : max(LAGS) - lag + 1] for lag in LAGS], dim=2)
        change = (imu.reshape(-1, 1, 1, INPUTS) - before) * torch.clamp(age - self.lags, 0.0, 1.0)
        short, total, count = means.split((self.short, self.long, self.long), dim=-1)
        x = self.embed(torch.cat((imu, change.reshape(-1, INPUTS * len(LAGS)), short, seen.reshape(-1, 33)), dim=-1))
        angle = position * self.frequency
        turn = torch.cos(angle) * self.turned + self.unturned, torch.sin(angle) * self.sign
        mask = torch.clamp(age + self.places, -1.0, 0.0) * _REST
        following = []
        for index, block in enumerate(self.blocks):
            context = total / count if index == len(self.blocks) - 2 else None
            x, cache = block(x, caches[index], turn, mask, context)
            following.append(cache)
        return self.norm(x), following

    def _body(self, r6d: Tensor) -> tuple[Tensor, Tensor]:
        """Gram-Schmidt and forward kinematics: r6d (B, 22, 6) orthonormal, positions (B, 22, 3)."""
        a, b = r6d.chunk(2, dim=-1)
        x = a / torch.sqrt(a.square().sum(-1, keepdim=True) + 1e-8)
        y = b - (x * b).sum(-1, keepdim=True) * x
        y = y / torch.sqrt(y.square().sum(-1, keepdim=True) + 1e-8)
        z = x[..., [1, 2, 0]] * y[..., [2, 0, 1]] - x[..., [2, 0, 1]] * y[..., [1, 2, 0]]
        columns = torch.stack((x, y, z), dim=2).reshape(-1, 3 * len(JOINTS), 3)
        return torch.cat((x, y), dim=-1), self.along @ columns
