"""Forward kinematics of the body, and conversion between global and local orientations."""

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body import rotations
from pallas_ros.body.names import PARENTS
from pallas_ros.body.rotations import Array
from pallas_ros.body.skeleton import Skeleton

_PARENTS = np.array(PARENTS)


def _levels() -> tuple[NDArray[np.intp], ...]:
    """Return the joints grouped by depth below the pelvis, to compose rotations level by level."""
    depth = [0] * len(PARENTS)
    for joint, parent in enumerate(PARENTS):
        depth[joint] = 0 if parent < 0 else depth[parent] + 1
    return tuple(np.flatnonzero(np.array(depth) == d) for d in range(1, max(depth) + 1))


_LEVELS = _levels()


def forward_kinematics(skeleton: Skeleton, q_world_joint: Array, p_world_pelvis: Array) -> Array:
    """Return joint positions in the world.

    Equation (7) of the PALLAS report, ``P_n = R_parent (TP_n - TP_parent) + P_parent``.

    Args:
        skeleton: segment lengths.
        q_world_joint: (..., 22, 4) global orientations, xyzw.
        p_world_pelvis: (..., 3) m.

    Returns:
        (..., 22, 3) m.
    """
    return forward_kinematics_matrices(skeleton, rotations.to_matrix(q_world_joint), p_world_pelvis)


def forward_kinematics_matrices(
    skeleton: Skeleton, R_world_joint: Array, p_world_pelvis: Array
) -> Array:
    """`forward_kinematics` for global rotation matrices (..., 22, 3, 3)."""
    bones = np.einsum(
        "...jik,jk->...ji", R_world_joint[..., _PARENTS[1:], :, :], skeleton.offsets[1:]
    )
    positions = np.empty(
        (*R_world_joint.shape[:-2], 3), dtype=np.result_type(R_world_joint, p_world_pelvis)
    )
    positions[..., 0, :] = p_world_pelvis
    for joint, parent in enumerate(PARENTS[1:], 1):
        positions[..., joint, :] = positions[..., parent, :] + bones[..., joint - 1, :]
    return positions


def to_local(q_world_joint: Array) -> Array:
    """Convert global orientations (..., 22, 4) to parent-relative ones; the pelvis stays global."""
    local = q_world_joint.copy()
    local[..., 1:, :] = rotations.multiply(
        rotations.inverse(q_world_joint[..., _PARENTS[1:], :]), q_world_joint[..., 1:, :]
    )
    return local


def to_global(q_parent_joint: Array) -> Array:
    """Convert orientations relative to the parent (..., 22, 4), pelvis global, to global ones."""
    out = q_parent_joint.copy()
    for level in _LEVELS:
        out[..., level, :] = rotations.multiply(
            out[..., _PARENTS[level], :], q_parent_joint[..., level, :]
        )
    return out
