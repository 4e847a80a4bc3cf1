"""What HPSTM is trained to do, in centimetres: hit the positions, their change and change of change, the bones, and say how sure it is."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hpstm_ros.model.hpstm import HpstmOutput

_CM = 100.0


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms; ``spread`` comes in over the warm-up, and its gradient never reaches the mean."""

    free: float = 0.3
    velocity: float = 1.0
    acceleration: float = 1.0
    bones: float = 1.0
    rotation: float = 0.2
    spread: float = 0.05


@dataclass
class Truth:
    """What is true at the frames asked for: positions (B, Q, 22, 3) m, rotations (B, Q, 22, 3, 3), bones (B, 22) m, seen (B, Q, 22)."""

    positions: Tensor
    rotations: Tensor
    bones: Tensor
    seen: Tensor


def negative_log_likelihood(error: Tensor, cholesky: Tensor) -> Tensor:
    """Of errors (..., 3) m, in the frame of the Cholesky factors (..., 3, 3) m; constants left out."""
    white = torch.linalg.solve_triangular(cholesky, error[..., None], upper=False)[..., 0]
    log_determinant = torch.diagonal(cholesky, dim1=-2, dim2=-1).log().sum(-1)
    out: Tensor = 0.5 * (white**2).sum(-1).clamp_max(1e5) + log_determinant
    return out


def loss(out: HpstmOutput, truth: Truth, weights: LossWeights, warm: float, consecutive: int = 1) -> tuple[Tensor, dict[str, float]]:
    """The training loss.

    Args:
        out: the model's answer to queries in order of time.
        truth: what was asked.
        weights: of the terms.
        warm: 0 to 1, how far the covariance term has come in.
        consecutive: this many neighbouring rows of the batch are successive windows of one motion, and what a stream would show is
            the change from one to the next at the same look-ahead; 1 where rows are independent.

    Returns:
        The loss, and its terms for the log.
    """
    error = out.positions - truth.positions
    care = 0.25 + 0.75 * truth.seen
    position = _CM * (care * _norm(error)).mean()
    free = _CM * (care * _norm(out.free - truth.positions)).mean()
    change = error.reshape(-1, consecutive, *error.shape[1:]).transpose(1, 2).flatten(0, 1) if consecutive > 2 else error
    velocity = _CM * _norm(change[:, 1:] - change[:, :-1]).mean()
    acceleration = _CM * _norm(change[:, 2:] - 2 * change[:, 1:-1] + change[:, :-2]).mean()
    bones = _CM * (out.bones - truth.bones).abs().mean()
    rotation = (out.rotations - truth.rotations).square().sum((-1, -2)).add(1e-6).sqrt().mean()
    local = (error.detach()[..., None, :] @ out.R_world_heading.detach()[:, None, None])[..., 0, :]
    spread = negative_log_likelihood(local, out.cholesky).mean()
    total = (
        position
        + weights.free * free
        + weights.velocity * velocity
        + weights.acceleration * acceleration
        + weights.bones * bones
        + weights.rotation * rotation
        + warm * weights.spread * spread
    )
    terms = {"position_mm": position, "free_mm": free, "velocity_mm": velocity, "acceleration_mm": acceleration, "bones_mm": bones}
    return total, {
        **{k: 10 * float(v.detach()) for k, v in terms.items()},
        "rotation": float(rotation.detach()),
        "nll": float(spread.detach()),
    }


def _norm(x: Tensor) -> Tensor:
    out: Tensor = (x * x).sum(-1).add(1e-10).sqrt()
    return out
