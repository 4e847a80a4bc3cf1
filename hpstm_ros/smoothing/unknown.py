"""Joints that a stream has never shown: which of them a body still determines, and where the
others are put.

A camera that sees the upper body says nothing about the legs. What lies between joints that are
seen, or beside one, is inferred by the model as it was trained to; a limb that was never in view is
unknown, and the model's guess of it may lie anywhere.
"""

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body import rotations
from pallas_ros.body.names import JOINT_INDEX, JOINTS, PARENTS
from pallas_ros.body.skeleton import Skeleton

F64 = NDArray[np.float64]
Flags = NDArray[np.bool_]

BESIDE_M = 0.22
"""How far from a joint that is seen, along the bones, a joint of a limb is still inferred: a foot
from its ankle, not a hand from its elbow.
"""
UNKNOWN_M = 1.0
"""Standard deviation of a joint that is unknown."""

_LIMBS = np.array(
    [name.endswith(("_knee", "_ankle", "_foot", "_elbow", "_wrist")) for name in JOINTS]
)
_LENGTHS = Skeleton.from_height().lengths
_LEFT = JOINT_INDEX["left_shoulder"]
_RIGHT = JOINT_INDEX["right_shoulder"]


def known_joints(ever_seen: Flags) -> Flags:
    """(22,) bool: joints of which a stream that has shown ``ever_seen`` (22,) determines."""
    beyond = np.array(ever_seen)  # is anything seen at a joint or farther out?
    for joint in range(len(JOINTS) - 1, 0, -1):
        beyond[PARENTS[joint]] |= beyond[joint]
    known = np.array(ever_seen) | ~_LIMBS
    away = np.where(ever_seen, 0.0, np.inf)
    for joint in range(1, len(JOINTS)):  # a parent stands before its children
        parent = PARENTS[joint]
        away[joint] = min(away[joint], away[parent] + _LENGTHS[joint])
        # towards the body everything is known; so what has something seen beyond it lies between
        known[joint] |= beyond[joint] or away[joint] <= BESIDE_M
    return np.asarray(known, dtype=bool)


def at_rest(positions: F64, orientations: F64, known: Flags, skeleton: Skeleton) -> None:
    """Put joints that are not ``known`` where they are at rest, in place: hanging from what is
    known, never above it.

    Args:
        positions: (22, 3) m, world.
        orientations: (22, 4) xyzw, joint to world.
        known: (22,) bool.
        skeleton: its offsets.
    """
    across = positions[_LEFT] - positions[_RIGHT]
    turn = rotations.about_z(float(np.arctan2(-across[0], across[1])))
    for joint in np.flatnonzero(~known).tolist():
        orientations[joint] = turn
        length = float(np.linalg.norm(skeleton.offsets[joint]))
        # arms rest sideways in the skeleton, and hang here
        down = np.array([0.0, 0.0, -length])
        foot = JOINTS[joint].endswith("_foot")
        offset = rotations.rotate(turn, skeleton.offsets[joint]) if foot else down
        positions[joint] = positions[PARENTS[joint]] + offset
