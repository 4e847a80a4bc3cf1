"""Additional swinging and turning of arms, and bodies whose joints all shake.

Arms are (N, T, 4, 4): collar, shoulder, elbow and wrist, all in the same frame.
"""

import torch
from torch import Tensor

from pallas_ros.body.names import PARENTS
from pallas_ros.data import draws
from pallas_ros.data.augmentation.limbs import relative
from pallas_ros.geometry import rotations


def turned_arm(
    generator: torch.Generator, arm: Tensor, turn_deg: float, pronation_deg: float
) -> Tensor:
    """Turn whole arms slightly about the shoulder, and forearms about their own axis (standard
    deviations); half of the turn is constant and half varies slowly.
    """
    count, frames = arm.shape[:2]
    deg = torch.pi / 180
    turn = (
        turn_deg
        * deg
        * 0.7
        * (
            draws.normal(generator, count, 1, 3)
            + draws.slow_noise((count, 3), frames, generator, 0.1, 1.0).transpose(1, 2)
        )
    )
    roll = (
        pronation_deg
        * deg
        * 0.7
        * (
            draws.normal(generator, count, 1)
            + draws.slow_noise((count,), frames, generator, 0.1, 1.0)
        )
    )
    arm = arm.clone()
    arm[:, :, 1:] = rotations.multiply(rotations.from_rotvec(turn)[:, :, None], arm[:, :, 1:])
    axis = torch.stack((torch.zeros_like(roll), roll, torch.zeros_like(roll)), dim=-1)
    hand = relative(arm[:, :, 2], arm[:, :, 3])
    arm[:, :, 2] = rotations.multiply(arm[:, :, 2], rotations.from_rotvec(axis))
    arm[:, :, 3] = rotations.multiply(arm[:, :, 2], hand)
    return arm


def swung_forearm(generator: torch.Generator, arm: Tensor, side: int) -> Tensor:
    """Forearms that swing for a while (wave, beat, scrub) at 0.5 to 2.8 Hz: about the elbow's
    hinge, or about the upper arm, which turns with them. ``side`` is 0 for left arms, 1 for right.
    """
    count, frames = arm.shape[:2]
    rate = draws.uniform(generator, 0.5, 2.8, count)
    phase = draws.uniform(generator, 0, 2 * torch.pi, count)
    # begins and ends within the sequence
    fades = torch.sigmoid(6 * draws.slow_noise((count,), frames, generator, 0.1, 0.6))
    angle = (
        fades
        * draws.uniform(generator, 5, 40, count, 1)
        * draws.sines(rate, phase, frames)
        * (torch.pi / 180)
    )
    about_upper_arm = draws.chance(generator, 0.5, count, 1)
    zero = torch.zeros_like(angle)
    sign = 1.0 if side == 0 else -1.0
    twist = rotations.from_rotvec(
        torch.stack((zero, torch.where(about_upper_arm, angle, zero), zero), -1)
    )
    hinge = rotations.from_rotvec(
        torch.stack((zero, zero, torch.where(about_upper_arm, zero, -sign * angle)), -1)
    )
    collar, upper, *rest = arm.unbind(2)
    twisted = rotations.multiply(upper, twist)
    change = rotations.multiply(rotations.multiply(twisted, hinge), rotations.inverse(upper))
    return torch.stack((collar, twisted, *(rotations.multiply(change, x) for x in rest)), dim=2)


def smooth_turns(generator: torch.Generator, count: int, frames: int) -> Tensor:
    """Rotations (count, T, 4) of 0.5 rad that swing slowly, by two sines of 0.35 rad and 0.1 to 1.2
    Hz (standard deviations, per axis).
    """
    frequency = draws.uniform(generator, 0.1, 1.2, 2, count, 3)
    phase = draws.uniform(generator, 0, 2 * torch.pi, 2, count, 3)
    size = 0.35 * draws.normal(generator, 2, count, 3)
    swings = (size[..., None] * draws.sines(frequency, phase, frames)).sum(0).transpose(1, 2)
    return rotations.from_rotvec(0.5 * draws.normal(generator, count, 1, 3) + swings)


def shaking(generator: torch.Generator, count: int, frames: int) -> Tensor:
    """Return rotations (count, T, 22, 4) in the joints' own frames that swing each joint at 0.3 to
    4 Hz, far if slow and little if fast, and the pelvis less.
    """
    joints = len(PARENTS)
    of_joint = draws.normal(generator, count, joints, 1).abs()
    size = draws.log_uniform(generator, 0.02, 0.4, count, 1, 1) * of_joint
    spread = draws.uniform(generator, 0.6, 1.4, count, joints, 3)
    frequency = draws.log_uniform(generator, 0.3, 4.0, count, 1, 1) * spread
    phase = draws.uniform(generator, 0, 2 * torch.pi, count, joints, 3)
    amplitude = size * (1.2 / frequency).clamp_max(1) * draws.normal(generator, count, joints, 3)
    amplitude[:, 0] *= 0.4
    turn = amplitude[..., None] * draws.sines(frequency, phase, frames)
    return rotations.from_rotvec(turn.permute(0, 3, 1, 2))
