"""Detects poses whose limbs intersect the trunk or each other, by the distances of their axes."""

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body.names import JOINT_INDEX

F64 = NDArray[np.float64]

_LIMBS = (("left_elbow", "left_wrist"), ("right_elbow", "right_wrist"))
_TRUNK = ("pelvis", "neck")
_SHANKS = (("left_knee", "left_ankle"), ("right_knee", "right_ankle"))
_TRUNK_M = 0.08
"""m, minimum distance between the axes of forearm and trunk: half the depth of a soft chest."""
_FOREARMS_M = 0.02
_SHANKS_M = 0.03
"""m, minimum distances between the axes of two limbs: half their thickness, since they are soft."""


def intersections(positions: F64) -> NDArray[np.bool_]:
    """(N,) whether a forearm intersects the trunk, or limbs each other, in poses (N, 22, 3) m."""
    hit = np.zeros(len(positions), np.bool_)
    trunk = _segment(positions, _TRUNK)
    for limb in _LIMBS:
        hit |= _apart(_segment(positions, limb), trunk) < _TRUNK_M
    hit |= _apart(*(_segment(positions, limb) for limb in _LIMBS)) < _FOREARMS_M
    hit |= _apart(*(_segment(positions, limb) for limb in _SHANKS)) < _SHANKS_M
    return hit


def _segment(positions: F64, ends: tuple[str, str]) -> F64:
    """(N, 9, 3) points along a bone."""
    a, b = (positions[:, JOINT_INDEX[name]] for name in ends)
    part = np.linspace(0, 1, 9)[None, :, None]
    return np.asarray(a[:, None] * (1 - part) + b[:, None] * part)


def _apart(first: F64, second: F64) -> F64:
    away = np.linalg.norm(first[:, :, None] - second[:, None], axis=-1)
    return np.asarray(away.min((1, 2)))
