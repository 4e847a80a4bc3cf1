"""Limbs: their joints, their orientations relative to the joint that carries them, and limbs of
other windows.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pallas_ros.body.names import JOINT_INDEX, PARENTS
from pallas_ros.geometry import rotations

SIDES = ("left", "right")


def _joints(*names: str) -> tuple[int, ...]:
    return tuple(JOINT_INDEX[name] for name in names)


ARMS = tuple(
    _joints(*(f"{side}_{part}" for part in ("collar", "shoulder", "elbow", "wrist")))
    for side in SIDES
)
LEGS = tuple(
    _joints(*(f"{side}_{part}" for part in ("hip", "knee", "ankle", "foot"))) for side in SIDES
)
HEAD = _joints("neck", "head")
SPINE = _joints("spine1", "spine2", "spine3")
PELVIS = JOINT_INDEX["pelvis"]
CHEST = JOINT_INDEX["spine3"]
"""The joint that carries the arms and the head."""
ARM_CHAIN = (-1, 0, 1, 2)
"""The parent of each joint of an arm within it, as in `names.PARENTS`."""
_PARENT = torch.tensor([max(parent, 0) for parent in PARENTS])


def relative(q_base: Tensor, q: Tensor) -> Tensor:
    """Return orientations (..., 4) in the frame of ``q_base``."""
    return rotations.multiply(rotations.inverse(q_base), q)


def to_parents(q: Tensor, joints: Sequence[int]) -> Tensor:
    """Return orientations (..., J, 4) of some joints relative to their parents, from those of all
    joints (..., 22, 4).
    """
    own = list(joints)
    return relative(q[..., _PARENT[own], :], q[..., own, :])


def chained(local: Tensor, parents: Sequence[int] = PARENTS) -> Tensor:
    """Return orientations (..., J, 4) in the frame of the first joint's orientation, from those
    relative to the parents (`to_parents`).
    """
    out = [local[..., 0, :]]
    for joint in range(1, len(parents)):
        out.append(rotations.multiply(out[parents[joint]], local[..., joint, :]))
    return torch.stack(out, dim=-2)


def hung_on(q_base: Tensor, q_donor_base: Tensor, q_donor_limb: Tensor) -> Tensor:
    """Return another body's limb (..., J, 4) on a base (..., 4), with its orientation relative to
    its own base.
    """
    limb = relative(q_donor_base[..., None, :], q_donor_limb)
    return rotations.multiply(q_base[..., None, :], limb)


def replaced(q: Tensor, rows: Tensor, joints: Sequence[int], limb: Tensor) -> Tensor:
    """Return ``q`` (B, T, J, 4) with orientations (R, T, L, 4) of some joints replaced in some rows
    (R,).
    """
    q = q.clone()
    q[rows[:, None], :, torch.tensor(joints)] = limb.transpose(1, 2)
    return q
