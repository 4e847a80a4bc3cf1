"""Trunks that bend over standing legs."""

import torch
from torch import Tensor

from pallas_ros.body.names import JOINT_INDEX, LEG_JOINTS
from pallas_ros.data import draws
from pallas_ros.geometry import rotations

_SHARES = {"pelvis": 0.35, "spine1": 0.5, "spine2": 0.7, "spine3": 0.9, "neck": 0.95, "head": 1.0}
"""Share of a bend at each joint of the trunk."""
_DEG = torch.pi / 180


def bent(generator: torch.Generator, q: Tensor, slight_deg: float, far: float) -> Tensor:
    """Bend trunks (B, T, 22, 4), about axes of the pelvis' heading; arms and legs stay as they are.

    Args:
        generator: source of the random values.
        q: orientations.
        slight_deg: standard deviation of a slight bend of every trunk.
        far: probability of a periodic bend: up to 80 degrees forward, 35 sideways, 50 in twist.
    """
    count, frames = q.shape[:2]
    slight = (
        slight_deg
        * 0.7
        * (
            draws.normal(generator, count, 1, 3)
            + draws.slow_noise((count, 3), frames, generator, 0.1, 0.8).transpose(1, 2)
        )
    )
    farthest = draws.uniform(generator, -1, 1, count, 1, 3) * torch.tensor(
        [35.0, 47.5, 50.0]
    ) + torch.tensor([0.0, 32.5, 0.0])
    course = 0.5 - 0.5 * torch.cos(
        2
        * torch.pi
        * (
            draws.uniform(generator, 0.1, 0.5, count, 1) * torch.arange(frames) / 60
            + draws.uniform(generator, 0, 1, count, 1)
        )
    )
    chosen = draws.chance(generator, far, count, 1, 1)
    bend = (slight + farthest * course[..., None] * chosen) * _DEG
    q_heading = rotations.about_z(rotations.heading(q[:, :, 0]))
    bend = rotations.rotate(q_heading, bend)
    joints = [JOINT_INDEX[name] for name in _SHARES]
    shares = torch.tensor(list(_SHARES.values()))
    of_pelvis = shares[:1] * draws.uniform(generator, 0.3, 2.2, count, 1)
    shares = torch.cat((of_pelvis, shares[1:].expand(count, -1)), 1)
    q = q.clone()
    q[:, :, joints] = rotations.multiply(
        rotations.from_rotvec(bend[:, :, None] * shares[:, None, :, None]), q[:, :, joints]
    )
    return q


def legs_turned(generator: torch.Generator, q: Tensor, size_deg: float) -> Tensor:
    """Turn each leg of bodies (B, T, 22, 4) as a whole, by a constant (standard deviation)."""
    legs = list(LEG_JOINTS)
    turn = size_deg * _DEG * draws.normal(generator, len(q), 1, 2, 3)
    both = rotations.from_rotvec(turn[:, :, [0, 1] * 4])
    q = q.clone()
    q[:, :, legs] = rotations.multiply(both, q[:, :, legs])
    return q
