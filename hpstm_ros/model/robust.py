"""Robust local lines fitted to the trajectory of every joint, with reduced weights for
outliers, and kernels that evaluate a trajectory at one instant.

All operations are sums over the window with fixed kernels, so they are differentiable and can be
exported to ONNX. They are equivariant to translation and rotation. The output has no gaps: missing
joints are extrapolated.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

_NEAR_FRAMES = 2.5
"""Frames, width of the local line."""
_FAR_WEIGHT = 1e-3
_FAR_FRAMES = 10.0
"""Frames, width of a weak wide kernel, which matters only if no nearby frame is seen."""
_SLOPE_RIDGE = 0.5
"""(noise / change per frame)^2: regularises the slope towards zero if few frames are seen."""
_OUTLIER_M = 0.06
"""m, distance from the line at which the weight of a sample is halved."""


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
        """Fit lines to points (B, L, J, 3) m, with mask ``seen`` (B, L, J).

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
    """Weights (lookaheads, M, frames), with rows of sum 1, that evaluate a trajectory 0 to
    ``lookaheads`` - 1 frames before the newest.

    Args:
        frames: of the window.
        lookaheads: number of look-aheads.
        kinds: width in frames, order and offset in frames of each of the M local polynomials
            (Gaussian weights, like Savitzky-Golay with soft ends). A polynomial is evaluated
            ``offset`` frames after the requested frame, or at the end of the window if this is
            outside.
    """
    lag = torch.arange(frames).double()
    out = torch.empty(lookaheads, len(kinds), frames)
    for lookahead in range(lookaheads):
        for m, (width, order, offset) in enumerate(kinds):
            at = min(max(frames - 1 - lookahead + offset, 0), frames - 1)
            # one-sided kernels are wider
            reach = width * (1 + math.exp(-min(at, frames - 1 - at) / width))
            x = (lag - at) / reach
            root = torch.exp(-0.25 * x**2)
            basis = torch.stack([x**power for power in range(order + 1)], dim=-1)
            out[lookahead, m] = (torch.linalg.pinv(basis * root[:, None]) * root)[0]
    return out
