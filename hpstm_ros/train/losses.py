"""Losses of HPSTM, in centimetres: positions and their first and second differences, bones, and
likelihood of the covariance.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from hpstm_ros.model.hpstm import HpstmOutput

_CM = 100.0


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms; ``spread`` is that of the covariance, which has no gradient to the
    positions.
    """

    free: float = 0.3
    velocity: float = 1.0
    acceleration: float = 1.0
    bones: float = 1.0
    rotation: float = 0.1
    spread: float = 0.05


@dataclass
class Truth:
    """Ground truth at the requested frames: positions (B, Q, 22, 3) m, rotations (B, Q, 22, 3, 3),
    bones (B, 22) m, seen (B, Q, 22).
    """

    positions: Tensor
    rotations: Tensor
    bones: Tensor
    seen: Tensor


def negative_log_likelihood(out: HpstmOutput, truth: Truth) -> Tensor:
    """Gaussian negative log-likelihood of the error under the predicted covariance, per joint.

    Constants are omitted. No gradient flows to the mean.

    Args:
        out: positions (..., 22, 3) m, and Cholesky factors of the covariance in the joints' frames.
        truth: ground truth.
    """
    error = (out.positions - truth.positions).detach()
    own = (error[..., None, :] @ out.R_world_own.detach())[..., 0, :]
    white = torch.linalg.solve_triangular(out.cholesky, own[..., None], upper=False)[..., 0]
    log_determinant = torch.diagonal(out.cholesky, dim1=-2, dim2=-1).log().sum(-1)
    mean: Tensor = (0.5 * (white**2).sum(-1).clamp_max(1e5) + log_determinant).mean()
    return mean


def loss(
    out: HpstmOutput, truth: Truth, weights: LossWeights, consecutive: int = 1
) -> tuple[Tensor, dict[str, float]]:
    """The training loss.

    Args:
        out: output of the model.
        truth: ground truth.
        weights: of the terms.
        consecutive: number of neighbouring rows of the batch that are successive windows of one
            motion, with the same look-aheads; the loss includes the changes between them, as seen
            in a stream. With fewer than 3, there is no such term.

    Returns:
        The loss, and its terms for the log.
    """
    error = out.positions - truth.positions
    care = 0.25 + 0.75 * truth.seen
    terms = {
        "position_mm": _CM * (care * _norm(error)).mean(),
        "free_mm": _CM * (care * _norm(out.free - truth.positions)).mean(),
        "bones_mm": _CM * (out.bones - truth.bones).abs().mean(),
        "rotation": (out.rotations - truth.rotations)
        .square()
        .sum((-1, -2))
        .add(1e-6)
        .sqrt()
        .mean(),
    }
    total = (
        terms["position_mm"]
        + weights.free * terms["free_mm"]
        + weights.bones * terms["bones_mm"]
        + weights.rotation * terms["rotation"]
    )
    if consecutive >= 3:
        course = error.reshape(-1, consecutive, *error.shape[1:])
        terms["velocity_mm"] = _CM * _norm(course[:, 1:] - course[:, :-1]).mean()
        terms["acceleration_mm"] = (
            _CM * _norm(course[:, 2:] - 2 * course[:, 1:-1] + course[:, :-2]).mean()
        )
        total = (
            total
            + weights.velocity * terms["velocity_mm"]
            + weights.acceleration * terms["acceleration_mm"]
        )
    if weights.spread > 0:
        terms["nll"] = negative_log_likelihood(out, truth)
        total = total + weights.spread * terms["nll"]
    return total, {
        name: (10 if name.endswith("_mm") else 1) * float(value.detach())
        for name, value in terms.items()
    }


def _norm(x: Tensor) -> Tensor:
    out: Tensor = (x * x).sum(-1).add(1e-10).sqrt()
    return out
