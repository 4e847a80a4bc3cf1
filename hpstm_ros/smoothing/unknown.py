"""Joints that were never seen in a stream: which of them can be inferred, and the pose of the
others.

A camera that sees the upper body gives no information about the legs. The model infers joints
between visible joints, or near one, as it was trained to. A limb that was never in view is unknown,
and the model's estimate of it is arbitrary.
"""

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body import rotations
from pallas_ros.body.names import JOINT_INDEX, JOINTS, PARENTS
from pallas_ros.body.skeleton import Skeleton

F64 = NDArray[np.float64]
Flags = NDArray[np.bool_]

BESIDE_M = 0.22
"""Maximum distance along the bones from a visible joint at which a joint of a limb is inferred: a
foot from its ankle, but not a hand from its elbow.
"""
UNKNOWN_M = 1.0
"""Standard deviation of an unknown joint."""

_LIMBS = np.array(
    [name.endswith(("_knee", "_ankle", "_foot", "_elbow", "_wrist")) for name in JOINTS]
)
_LENGTHS = Skeleton.from_height().lengths
_LEFT = JOINT_INDEX["left_shoulder"]
_RIGHT = JOINT_INDEX["right_shoulder"]


def known_joints(ever_seen: Flags) -> Flags:
    """(22,) bool: joints that can be determined if ``ever_seen`` (22,) have been seen."""
    beyond = np.array(ever_seen)  # whether a joint or any of its descendants is seen
    for joint in range(len(JOINTS) - 1, 0, -1):
        beyond[PARENTS[joint]] |= beyond[joint]
    known = np.array(ever_seen) | ~_LIMBS
    away = np.where(ever_seen, 0.0, np.inf)
    for joint in range(1, len(JOINTS)):  # parents come before their children
        parent = PARENTS[joint]
        away[joint] = min(away[joint], away[parent] + _LENGTHS[joint])
        # the body end is known, so a joint with a visible descendant lies between known joints
        known[joint] |= beyond[joint] or away[joint] <= BESIDE_M
    return np.asarray(known, dtype=bool)


def at_rest(positions: F64, orientations: F64, known: Flags, skeleton: Skeleton) -> None:
    """Place joints that are not ``known`` at rest, in place: hanging from known joints, never above
    them.

    Args:
        positions: (22, 3) m, world.
        orientations: (22, 4) xyzw, joint to world.
        known: (22,) bool.
        skeleton: provides the bone offsets.
    """
    across = positions[_LEFT] - positions[_RIGHT]
    turn = rotations.about_z(float(np.arctan2(-across[0], across[1])))
    for joint in np.flatnonzero(~known).tolist():
        orientations[joint] = turn
        length = float(np.linalg.norm(skeleton.offsets[joint]))
        # arms are horizontal in the skeleton, but hang at rest
        down = np.array([0.0, 0.0, -length])
        foot = JOINTS[joint].endswith("_foot")
        offset = rotations.rotate(turn, skeleton.offsets[joint]) if foot else down
        positions[joint] = positions[PARENTS[joint]] + offset
