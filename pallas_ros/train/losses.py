"""The losses of PALLAS: equations (10) and (11), positions by forward kinematics, motion, contacts,
and predicted uncertainty.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pallas_ros.body.names import JOINT_INDEX, LEG_JOINTS, MODEL_RATE_HZ, UPPER_JOINTS
from pallas_ros.data.virtual_imu import Sequence, joint_positions
from pallas_ros.files.settings import check_ranges
from pallas_ros.geometry import rotations
from pallas_ros.model.config import SOLVED
from pallas_ros.model.legs import LATENT, LegGenerator
from pallas_ros.model.pallas import Pallas, PallasOutput

_UPPER = list(UPPER_JOINTS[1:])
_LEGS = list(LEG_JOINTS)
_FEET = [JOINT_INDEX[name] for name in ("left_ankle", "left_foot", "right_ankle", "right_foot")]


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms; ``alpha`` is that of equation (11) of the report."""

    upper: float = 1.0
    legs: float = 0.8
    rotation: float = 1.0
    solver: float = 1.0
    alpha: float = 0.5
    velocity: float = 0.04
    acceleration: float = 0.0008
    contact: float = 0.02
    root: float = 0.03
    slide: float = 0.02
    deviation: float = 0.01
    sampling: float = 0.3
    samples: int = 3

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: a number is out of range.
        """
        positive = [name for name in vars(self) if name not in ("alpha", "samples")]
        check_ranges(self, **dict.fromkeys(positive, (0, 1e6)), alpha=(0, 1), samples=(1, 1000))


def pallas_loss(
    model: Pallas, batch: Sequence, weights: LossWeights, generator: torch.Generator
) -> tuple[Tensor, dict[str, float]]:
    """Weighted loss of a batch, and the values of its terms (positions in cm).

    Args:
        model: the network.
        batch: (B, T) frames of the sensors and the true body.
        weights: of the terms.
        generator: of the random numbers for the sampled legs.
    """
    out = model(batch.imu, extra=batch.extra)
    truth = joint_positions(batch.rotations, model.offsets)
    error = (out.positions - truth).square().sum(-1).add(1e-8).sqrt()
    upper = error[..., _UPPER].mean()
    legs = error[..., _LEGS].mean()
    rotation = (out.rotations - batch.rotations).square().mean()
    velocity = out.positions.diff(dim=1) - truth.diff(dim=1)
    terms = {
        "upper": weights.upper * upper,
        "legs": weights.legs * legs,
        "rotation": weights.rotation * rotation,
        "solver": weights.solver * solver_loss(model, out, batch, truth, weights.alpha),
        "velocity": weights.velocity * MODEL_RATE_HZ * _length(velocity),
        "acceleration": weights.acceleration * MODEL_RATE_HZ**2 * _length(velocity.diff(dim=1)),
        "contact": weights.contact
        * F.binary_cross_entropy_with_logits(out.contact_logits, batch.contacts),
        "root": weights.root * _length(out.root_velocity - batch.root_velocity),
        "slide": weights.slide * _slide(out, batch),
        "deviation": weights.deviation * _deviation(out.log_deviation, error.detach()),
    }
    if (
        isinstance(model.legs, LegGenerator)
        and weights.sampling > 0
        and torch.rand(1, generator=generator) < 0.25
    ):
        # one batch in four, since it needs a second run of the generator
        terms["sampling"] = weights.sampling * _sampling(
            model, out, truth, weights.samples, generator
        )
    figures = {name: float(term.detach()) for name, term in terms.items()}
    return torch.stack(list(terms.values())).sum(), figures | {
        "upper_cm": 100 * float(upper.detach()),
        "legs_cm": 100 * float(legs.detach()),
    }


def solver_loss(
    model: Pallas, out: PallasOutput, batch: Sequence, truth: Tensor, alpha: float
) -> Tensor:
    """Loss of both directions of the solver.

    Forward kinematics, (10): positions of S⁻¹ for the true rotations, compared with the true
    positions. Inverse, (11): rotations of S, compared with the true ones (weight alpha) and, by the
    kinematics of equation (7), with the true positions (1 - alpha). In addition, the corrected
    positions of the measured pose, the input of S, are compared with the true ones.
    """
    solved = list(SOLVED)
    true_r6d = rotations.to_r6d(batch.rotations[:, :, solved]).flatten(-2)
    inverse = alpha * F.mse_loss(out.solver_output, true_r6d) + (1 - alpha) * 10 * F.mse_loss(
        out.positions[:, :, solved], truth[:, :, solved]
    )
    if model.solver is None or out.solver_input is None:
        return inverse
    true_positions = truth[:, :, solved].flatten(-2)
    half = true_positions.shape[-1]
    every = slice(None, None, 4)  # neighbouring frames are redundant
    forward = F.mse_loss(
        model.solver.inverse(true_r6d[:, every])[..., :half], true_positions[:, every]
    )
    return inverse + forward + F.mse_loss(out.solver_input[..., :half], true_positions)


def _length(vector: Tensor) -> Tensor:
    return vector.square().sum(-1).add(1e-10).sqrt().mean()


def _slide(out: PallasOutput, batch: Sequence) -> Tensor:
    """Speed over ground of feet in contact, m/s."""
    feet = out.positions[:, :, _FEET].diff(dim=1) * MODEL_RATE_HZ + out.root_velocity[:, 1:, None]
    standing = (batch.contacts[:, 1:] * batch.contacts[:, :-1]).repeat_interleave(2, dim=-1)
    return (feet.square().sum(-1).add(1e-8).sqrt() * standing).mean()


def _deviation(log_deviation: Tensor, error: Tensor) -> Tensor:
    """Negative log-likelihood of an isotropic Gaussian, without gradient to the positions, so that
    inaccurate joints are not neglected.
    """
    log_deviation = log_deviation.clamp(-6.5, 0.0)
    return (3 * log_deviation + 0.5 * error.square() * torch.exp(-2 * log_deviation))[
        ..., 1:
    ].mean()


def _sampling(
    model: Pallas, out: PallasOutput, truth: Tensor, samples: int, generator: torch.Generator
) -> Tensor:
    """Sampling mode: of several random latents, the one nearest to the truth is trained, so that
    the latents cover the plausible poses.
    """
    rows = max(1, truth.shape[0] // 6)
    features = out.leg_features[:rows].detach().repeat(samples, 1, 1)
    latent = torch.randn(features.shape[0], LATENT, generator=generator).to(features)
    past = features.new_zeros(features.shape[0], out.state["legs"].shape[-1])
    assert out.worn is not None
    worn = [x[:rows].detach().repeat(samples, 1, 1) for x in (out.worn.legs_keep, out.worn.legs)]
    legs = model.legs(features, past, latent, *worn)[0][..., : len(model.neutral)]
    solved = 6 * len(SOLVED)
    R = model.assemble(features[..., -6:], features[..., -6 - solved : -6], legs)
    positions = joint_positions(R, model.offsets)[:, :, _LEGS]
    error = (
        (positions - truth[:rows, :, _LEGS].repeat(samples, 1, 1, 1))
        .square()
        .sum(-1)
        .add(1e-8)
        .sqrt()
        .mean((1, 2))
    )
    return error.view(samples, rows).min(dim=0).values.mean()
