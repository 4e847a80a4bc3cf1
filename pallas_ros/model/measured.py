"""The pose measured by the sensors, without learned parts."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pallas_ros.body.names import (
    JOINTS,
    LEG_JOINTS,
)
from pallas_ros.geometry import rotations
from pallas_ros.model.config import EXTRA_JOINTS, REMEMBERED, SOLVED

_NECK_SHARE = {
    "spine1": 0.2,
    "spine2": 0.45,
    "spine3": 0.75,
    "left_collar": 0.75,
    "right_collar": 0.75,
    "neck": 1.0,
    "head": 1.0,
}
# rad about y, of the segment in the heading frame
_NEUTRAL_FLEXION = {
    "hip": -0.14,
    "knee": 0.35,
    "ankle": 0.1,
    "foot": 0.05,
}


def neutral_legs() -> Tensor:
    """r6d (48,) of relaxed, standing legs in the heading frame, in the order of `LEG_JOINTS`."""
    rows = []
    for joint in LEG_JOINTS:
        angle = torch.tensor(_NEUTRAL_FLEXION[JOINTS[joint].split("_")[1]])
        rows.append(
            rotations.to_r6d(
                rotations.to_matrix(
                    rotations.from_rotvec(torch.stack((angle * 0, angle, angle * 0)))
                )
            )
        )
    return torch.cat(rows)


def measured_pose(imu: Tensor) -> tuple[Tensor, Tensor]:
    """Upper-body pose from the inputs (..., 48), without learned parts: r6d of the pelvis (..., 6)
    and of `SOLVED` (..., 78).

    Forearms and hands are measured by the wrist sensors; trunk, neck and head are interpolated
    between waist and neck sensor; upper arms follow the forearms.
    """
    R = imu.unflatten(-1, (4, 12))[..., 3:].unflatten(-1, (3, 3))
    pelvis, neck, left, right = rotations.to_r6d(R).unbind(-2)
    rows = []
    for joint in SOLVED:
        name = JOINTS[joint]
        if name in _NECK_SHARE:
            rows.append(pelvis + _NECK_SHARE[name] * (neck - pelvis))
        else:
            rows.append(left if name.startswith("left") else right)
    return pelvis, torch.cat(rows, dim=-1)


@dataclass
class Worn:
    """Measurements of the optional sensors in a chunk, times their weights, and the remaining
    weight of the network's own output (1 minus the weight of the sensor).

    Attributes:
        solved: (B, T, 78), like ``solved_keep``: of `SOLVED`, in the heading frame; the head is
            measured.
        arms: (B, T, 24), like ``arms_keep``: of `REMEMBERED`, in the heading frame; the upper arms
            are measured.
        legs: (B, T, 48), like ``legs_keep``: of `LEG_JOINTS`, minus the neutral pose; thighs and
            shins are measured.
    """

    solved: Tensor
    solved_keep: Tensor
    arms: Tensor
    arms_keep: Tensor
    legs: Tensor
    legs_keep: Tensor


def worn_places() -> tuple[Tensor, ...]:
    """Joints measured by the optional sites among (`SOLVED`, `REMEMBERED`, `LEG_JOINTS`): one
    matrix (7, joints) of 0 and 1 each.
    """
    groups = ((JOINTS.index("head"),), [SOLVED[place] for place in REMEMBERED], LEG_JOINTS)
    found = []
    for group, columns in zip(groups, (SOLVED, groups[1], LEG_JOINTS), strict=True):
        rows = [[float(a == b and a in group) for b in columns] for a in EXTRA_JOINTS]
        found.append(torch.tensor(rows))
    return tuple(found)
