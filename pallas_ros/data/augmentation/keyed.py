"""Limbs that move between key poses: poses of other clips, randomly turned ones, or poses from the
whole range of the joints.

Keys are (N, K, J, 4), relative to the parents. `paths.along` moves between them.
"""

import torch
from torch import Tensor

from pallas_ros.data import draws
from pallas_ros.geometry import rotations

KEYS = 6


def turned(generator: torch.Generator, keys: Tensor) -> Tensor:
    """Return keys of limbs, half of them turned at random: by 0.7 rad, the last joint by 0.2 rad
    (standard deviations, per axis).
    """
    count, number, joints = keys.shape[:3]
    size = torch.full((joints, 1), 0.7)
    size[-1] = 0.2
    size = size * draws.chance(generator, 0.5, count, 1, 1, 1)
    turn = size * draws.normal(generator, count, number, joints, 3)
    return rotations.multiply(keys, rotations.from_rotvec(turn))


def anywhere(generator: torch.Generator, keys: Tensor, side: int) -> Tensor:
    """Return keys of arms (N, K, 4, 4) with shoulder and elbow anywhere in their ranges.

    Args:
        generator: source of the random values.
        keys: keys whose collar and wrist are kept.
        side: 0 for left arms, 1 for right ones.
    """
    count, number = keys.shape[:2]
    sign = 1.0 if side == 0 else -1.0
    deg = torch.pi / 180

    def angle(low: float, high: float) -> Tensor:
        return draws.uniform(generator, low * deg, high * deg, count, number)

    zero = torch.zeros(count, number)
    lower = angle(-85, 70)
    swing = angle(-60, 135)
    roll = angle(-70, 70)
    raised = rotations.from_rotvec(torch.stack((sign * lower, zero, zero), -1))
    swung = rotations.from_rotvec(torch.stack((zero, zero, -sign * swing), -1))
    twist = rotations.from_rotvec(torch.stack((zero, roll, zero), -1))
    flexed = rotations.from_rotvec(torch.stack((zero, zero, -sign * angle(0, 145)), -1))
    pronated = rotations.from_rotvec(torch.stack((zero, angle(-90, 90), zero), -1))
    out = keys.clone()
    out[:, :, 1] = rotations.multiply(rotations.multiply(swung, raised), twist)
    out[:, :, 2] = rotations.multiply(flexed, pronated)
    return out
