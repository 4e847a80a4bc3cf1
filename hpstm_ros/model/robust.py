"""A robust first look at the window: local lines fitted to every joint's path, with outliers
weighed down, and kernels that read a path at one instant.

All of it is sums over the window with fixed kernels, so it exports to ONNX and differentiates. It
moves with the input (a shifted or turned body gives the same, shifted or turned), and its output
has no gaps: a joint that is missing for a while is extrapolated.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

_NEAR_FRAMES = 2.5
"""Frames, reach of the local line."""
_FAR_WEIGHT = 1e-3
_FAR_FRAMES = 10.0
"""A faint long reach, which decides only where nothing near is seen."""
_SLOPE_RIDGE = 0.5
"""(noise / change per frame)^2: pulls the slope to zero when few frames say otherwise."""
_OUTLIER_M = 0.06
"""m, distance from the line at which a sample counts half."""


class RobustLines(nn.Module):
    """Iteratively reweighted local lines (Cleveland's LOWESS, with fixed kernels) along a window of
    ``frames`` frames.
    """

    kernel: Tensor
    kernel1: Tensor
    kernel2: Tensor

    def __init__(self, frames: int, rounds: int = 3) -> None:
        super().__init__()
        self.rounds = rounds
        lag = torch.arange(frames)[None, :] - torch.arange(frames)[:, None].double()
        kernel = torch.exp(-0.5 * (lag / _NEAR_FRAMES) ** 2) + _FAR_WEIGHT * torch.exp(
            -lag.abs() / _FAR_FRAMES
        )
        for name, power in (("kernel", 0), ("kernel1", 1), ("kernel2", 2)):
            self.register_buffer(name, (kernel * lag**power).float(), persistent=False)

    def forward(self, points: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Lines through points (B, L, J, 3) m where seen (B, L, J).

        Returns:
            fitted (B, L, J, 3) m, weight (B, L, J) from 0 (missing or outlier) to 1.
        """
        batch, frames, joints, _ = points.shape
        flat = points.reshape(batch, frames, joints * 3)
        weight = seen
        fitted = points
        for step in range(self.rounds):
            s0 = self.kernel @ weight
            s1 = self.kernel1 @ weight
            s2 = self.kernel2 @ weight + _SLOPE_RIDGE
            weighted = (weight[..., None] * points).reshape(flat.shape)
            t0 = (self.kernel @ weighted).reshape(points.shape)
            t1 = (self.kernel1 @ weighted).reshape(points.shape)
            # clamped, since the ONNX exporter drops the addition of a tiny number
            determinant = (s0 * s2 - s1 * s1).clamp_min(1e-9)[..., None]
            fitted = (s2[..., None] * t0 - s1[..., None] * t1) / determinant
            if step + 1 < self.rounds:
                weight = seen / (1 + (((points - fitted) ** 2).sum(-1) / _OUTLIER_M**2) ** 2)
        return fitted, weight


def path_kernels(frames: int, lookaheads: int, kinds: Sequence[tuple[float, int, int]]) -> Tensor:
    """(lookaheads, M, frames) weights, each row of sum 1, that read a path 0 to ``lookaheads`` - 1
    frames before the newest.

    Args:
        frames: of the window.
        lookaheads: how many.
        kinds: width in frames, order and offset in frames of each of the M local polynomials
            (Gaussian weights; Savitzky-Golay's with soft ends): it is read ``offset`` frames after
            the frame asked for, or at the window's end where that lies outside.
    """
    lag = torch.arange(frames).double()
    out = torch.empty(lookaheads, len(kinds), frames)
    for lookahead in range(lookaheads):
        for m, (width, order, offset) in enumerate(kinds):
            at = min(max(frames - 1 - lookahead + offset, 0), frames - 1)
            # one-sided ones reach further back
            reach = width * (1 + math.exp(-min(at, frames - 1 - at) / width))
            x = (lag - at) / reach
            root = torch.exp(-0.25 * x**2)
            basis = torch.stack([x**power for power in range(order + 1)], dim=-1)
            out[lookahead, m] = (torch.linalg.pinv(basis * root[:, None]) * root)[0]
    return out
