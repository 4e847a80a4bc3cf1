"""Layers of the rearranged step (`fused.py`): several products are merged into one, and constants
are folded into weights.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pallas_ros.body.names import MODEL_RATE_HZ
from pallas_ros.model.layers import Block
from pallas_ros.model.solver import Coupling, InvertibleSolver, Mixing

_HALF_E = math.exp(-0.5)
_ONE = 1.2784645427610738  # silu(_ONE) = 1


def decays(seconds: tuple[float, ...], each: int) -> Tensor:
    """Decay factors per frame of running means with time constants ``seconds`` s, each repeated
    ``each`` times: (len(seconds) * each,).
    """
    return torch.exp(
        -1 / (MODEL_RATE_HZ * torch.tensor(seconds, dtype=torch.float64))
    ).repeat_interleave(each)


class Linear(nn.Module):
    """``x @ weight + bias``, with a weight (in, out) composed in double precision."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("weight", weight.detach().float().contiguous())
        self.register_buffer(
            "bias",
            (torch.zeros(weight.shape[1]) if bias is None else bias).detach().float().contiguous(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return torch.addmm(self.bias, x, self.weight)


class Norm(nn.Module):
    """Root-mean-square normalisation of (..., width), in the form that ONNX Runtime fuses into one
    operation.
    """

    gain: Tensor

    def __init__(self, gain: Tensor) -> None:
        super().__init__()
        self.register_buffer("gain", gain.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.gain


class FusedBlock(nn.Module):
    """`Block` for one frame: queries, keys and values in one product and one rotation.

    Args:
        block: the weights.
        heads: of the attention.
        read: (out, in) matrix and bias from context and features to the inputs of the queries;
            None if these are the features.
    """

    out: Tensor
    fall: Tensor

    def __init__(self, block: Block, heads: int, read: nn.Linear | None) -> None:
        super().__init__()
        attention = block.attention
        width = block.attention.out.weight.shape[0]
        self.heads = heads
        self.size = width // heads
        query = attention.query.weight.double() / math.sqrt(self.size)
        key_value = attention.key_value.weight.double()
        bias = torch.zeros(3 * width, dtype=torch.float64)
        if read is not None:
            bias[:width] = query @ read.bias.double()
            query = query @ read.weight.double()
            key_value = F.pad(key_value, (query.shape[1] - width, 0))
        self.project = Linear(torch.cat((query, key_value)).T, bias)
        self.norm_attention = Norm(block.norm_attention.gain)
        self.norm_feed_forward = Norm(block.norm_feed_forward.gain)
        self.register_buffer("out", attention.out.weight.detach().T.contiguous())
        self.rise = Linear(block.feed_forward.rise.weight.T)
        self.register_buffer("fall", block.feed_forward.fall.weight.detach().T.contiguous())

    def forward(
        self,
        x: Tensor,
        keys: Tensor,
        values: Tensor,
        turn: tuple[Tensor, Tensor],
        mask: Tensor,
        context: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Process one frame.

        Args:
            x: (B, width).
            keys: (B, heads, window, size), oldest first.
            values: (B, heads, window, size), oldest first.
            turn: cosine (B, 3 heads, 1, size / 2) and signed sine (B, 3 heads, 2, size / 2) of the
                rotary angles; 1 and 0 for values.
            mask: (B, 1, 1, window).
            context: (B, …) additional inputs of the queries, or None.
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


class FusedCoupling(nn.Module):
    """A coupling layer without its factor exp(-1/2), which is folded into the caller's weights: 0.5
    tanh(u) = sigmoid(2 u) - 0.5.

    Args:
        layer: the weights.
        inverse: whether to apply the inverse.
        scale: of the conditioning half.
    """

    shift: Tensor

    def __init__(self, layer: Coupling, inverse: bool, scale: float) -> None:
        super().__init__()
        rise = layer.net[0]
        fall = layer.net[2]
        assert isinstance(rise, nn.Linear) and isinstance(fall, nn.Linear)
        self.inverse = inverse
        sign = -1.0 if inverse else 1.0
        log_scale, shift = (
            sign * part.detach().double()
            for part in torch.cat((fall.weight, fall.bias[:, None]), dim=1).chunk(2)
        )
        # an additional hidden unit, always silu(_ONE) = 1, carries the bias of the shift
        constant = torch.zeros(rise.weight.shape[1] + 1, 1, dtype=torch.float64)
        constant[-1] = _ONE
        weight = torch.cat(
            (rise.weight.detach().double() / scale, rise.bias.detach().double()[:, None]), dim=1
        ).T
        weight = torch.cat((weight, constant), dim=1)
        self.rise = Linear(weight[:-1], weight[-1])
        self.log_scale = Linear(F.pad(2 * log_scale[:, :-1], (0, 1)).T, 2 * log_scale[:, -1])
        self.register_buffer("shift", shift.T.float().contiguous())

    def forward(self, condition: Tensor, changed: Tensor) -> Tensor:
        """See the class."""
        hidden = F.silu(self.rise(condition))
        scale = torch.exp(torch.sigmoid(self.log_scale(hidden)))
        if self.inverse:
            return torch.addmm(changed, hidden, self.shift) * scale
        return torch.addmm(changed * scale, hidden, self.shift)


class FusedSolver(nn.Module):
    """The chain of couplings in one direction, with mixing of the two halves in between.

    Args:
        solver: the weights.
        inverse: False for S, True for its inverse.
    """

    def __init__(self, solver: InvertibleSolver, inverse: bool) -> None:
        super().__init__()
        layers = list(reversed(solver.layers)) if inverse else list(solver.layers)
        matrices = [self._matrix(layer, inverse) for layer in layers if isinstance(layer, Mixing)]
        couplings = [layer for layer in layers if isinstance(layer, Coupling)]
        for index in range(len(matrices) - 1):
            # of every pair of couplings, the factor exp(-1/2) of both halves
            if inverse:
                matrices[index + 1] = matrices[index + 1] * _HALF_E
            else:
                matrices[index] = matrices[index] * _HALF_E
        self.swapped = [coupling.swap for coupling in couplings]
        # forwards, the first of a pair is conditioned on a half that is already scaled; backwards,
        # the second is conditioned on one that is not yet
        scales = [1.0, 1 / _HALF_E] if inverse else [_HALF_E, 1.0]
        self.couplings = nn.ModuleList(
            FusedCoupling(layer, inverse, scales[i % 2]) for i, layer in enumerate(couplings)
        )
        self.first = matrices[0]
        self.mixing = nn.ModuleList(Linear(matrix) for matrix in matrices[1:])

    @staticmethod
    def _matrix(layer: Mixing, inverse: bool) -> Tensor:
        weight = layer.weight.detach().double()
        return torch.linalg.inv(weight) if inverse else weight

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, size) from after the first mixing (by the caller, with ``first``) to the
        end.
        """
        for index, mixing in enumerate(self.mixing):
            halves = list(x.chunk(2, dim=-1))
            for j in (2 * index, 2 * index + 1):
                changed = 0 if self.swapped[j] else 1
                halves[changed] = self.couplings[j](halves[1 - changed], halves[changed])
            x = mixing(torch.cat(halves, dim=-1))
        return x
