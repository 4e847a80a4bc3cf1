"""The invertible inverse-kinematics solver (4.3): a network S between joint positions and rotations
with an exact inverse.

    rotations = S(positions, latent)        positions, latent = S⁻¹(rotations)

A joint has 6 values of rotation and 3 of position; explicit latents (for the twist of a bone, which
positions do not determine) make up the difference. S is a chain of affine coupling layers (RealNVP,
Dinh et al. 2017) between trainable invertible linear maps (Glow, Kingma and Dhariwal 2018).
"""

import torch
from torch import Tensor, nn


class Coupling(nn.Module):
    """Affine coupling: one half is scaled and shifted by a small network of the other half."""

    def __init__(self, size: int, hidden: int, swap: bool) -> None:
        super().__init__()
        self.swap = swap
        last = nn.Linear(hidden, size)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.net = nn.Sequential(nn.Linear(size // 2, hidden), nn.SiLU(), last)

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a, b = x.chunk(2, dim=-1)
        return (b, a) if self.swap else (a, b)

    def _join(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.cat((b, a) if self.swap else (a, b), dim=-1)

    def _scale_shift(self, a: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self.net(a).chunk(2, dim=-1)
        return 0.5 * torch.tanh(
            log_scale
        ), shift  # bounded, so that the inverse stays well-conditioned

    def forward(self, x: Tensor) -> Tensor:
        """Transform one half of x (..., size) by an affine map that depends on the other half."""
        a, b = self._split(x)
        log_scale, shift = self._scale_shift(a)
        return self._join(a, b * torch.exp(log_scale) + shift)

    def inverse(self, y: Tensor) -> Tensor:
        """The x (..., size) that `forward` maps to y."""
        a, b = self._split(y)
        log_scale, shift = self._scale_shift(a)
        return self._join(a, (b - shift) * torch.exp(-log_scale))


class Mixing(nn.Module):
    """A trainable invertible linear map, initially orthogonal."""

    frozen_inverse: Tensor | None

    def __init__(self, size: int, seed: int) -> None:
        super().__init__()
        matrix = torch.linalg.qr(
            torch.randn(size, size, generator=torch.Generator().manual_seed(seed))
        )[0]
        self.weight = nn.Parameter(matrix)
        self.register_buffer("frozen_inverse", None, persistent=False)

    def freeze(self) -> None:
        """Compute the inverse once, in double precision, for evaluation and export."""
        self.frozen_inverse = torch.linalg.inv(self.weight.detach().double()).to(self.weight.dtype)

    def train(self, mode: bool = True) -> "Mixing":
        """Set the training mode, and discard the frozen inverse when training starts again."""
        if mode:
            self.frozen_inverse = None
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        """The linear map of x (..., size)."""
        return x @ self.weight

    def inverse(self, y: Tensor) -> Tensor:
        """The x (..., size) that `forward` maps to y."""
        return y @ (
            torch.linalg.inv(self.weight) if self.frozen_inverse is None else self.frozen_inverse
        )


class InvertibleSolver(nn.Module):
    """S of equations (8) and (9).

    Args:
        joints: number of joints to solve for.
        hidden: width of the coupling networks.
        blocks: pairs of coupling layers.
    """

    def __init__(self, joints: int, hidden: int = 96, blocks: int = 3) -> None:
        super().__init__()
        self.joints = joints
        size = 6 * joints
        layers: list[nn.Module] = []
        for block in range(blocks):
            layers += [
                Mixing(size, block),
                Coupling(size, hidden, swap=False),
                Coupling(size, hidden, swap=True),
            ]
        self.layers = nn.ModuleList([*layers, Mixing(size, blocks)])

    def forward(self, x: Tensor) -> Tensor:
        """Map positions and latents (..., 6 joints; the first half positions) to rotations in r6d
        (..., 6 joints).
        """
        for layer in self.layers:
            x = layer(x)
        return x

    def inverse(self, y: Tensor) -> Tensor:
        """Map rotations in r6d (..., 6 joints) to positions, then latents (..., 6 joints)."""
        for layer in reversed(self.layers):
            y = layer.inverse(y)  # type: ignore[operator]
        return y
