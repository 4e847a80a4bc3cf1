"""Standard deviation of the reported moments, from the covariance of the body's joints.

Linear: a moment is a sum of weights and ground forces times lever arms, and the errors of the
joints, assumed independent, shift the arms. Errors of acceleration, mass and strength are not
included.
"""

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.dynamics.anthropometry import GRAVITY, SIDES
from hpstm_ros.dynamics.contacts import cross
from hpstm_ros.dynamics.human import Human
from hpstm_ros.dynamics.rigid_body import Frame
from hpstm_ros.dynamics.strength import WATCHED, WATCHED_JOINTS
from pallas_ros.body.names import JOINT_INDEX, PARENTS

F64 = NDArray[np.float64]


def _carried_by(joint: int) -> set[int]:
    """Return the joint and all its descendants."""
    out = {joint}
    for other, parent in enumerate(PARENTS):
        if parent in out:
            out.add(other)
    return out


class Spread:
    """Standard deviations of the reported moments of one person."""

    def __init__(self, human: Human) -> None:
        self._human = human
        self._weights = np.zeros((len(WATCHED), len(PARENTS), 3))
        for index, joint in enumerate(WATCHED_JOINTS):
            for part in human.segments:
                if part.joint in _carried_by(joint):
                    self._weights[index, part.joint, 2] -= part.mass * GRAVITY

    def deviations(self, frame: Frame, covariance: F64 | None) -> F64:
        """Return (5,) Nm for the joints' covariance (22, 3, 3) m^2; NaN if that is not known."""
        if covariance is None or not np.isfinite(covariance).all():
            return np.full(len(WATCHED), np.nan)
        forces = self._forces(frame)
        forces[_NUMBERS, _JOINTS] = 0.0  # its lever arm is zero, whatever the joint's error
        forces[_NUMBERS, _JOINTS] = forces.sum(axis=1)
        moments = frame.moment[_JOINTS]
        sizes = np.maximum(np.linalg.norm(moments, axis=1), 1e-9)
        directions = moments / sizes[:, None]
        arms = cross(directions[:, None], forces)  # the moment's change for a shift of each joint
        spread = (arms[:, :, None] @ covariance)[:, :, 0]
        return np.asarray(np.sqrt(np.maximum((spread * arms).sum(axis=(1, 2)), 0.0)))

    def _forces(self, frame: Frame) -> F64:
        """Return the forces (5, 22, 3) N on the descendants of each reported joint, at the joints
        whose errors shift them."""
        forces: F64 = self._weights.copy()
        for foot, side in enumerate(SIDES):
            wrist = JOINT_INDEX[f"{side}_wrist"]
            load = self._human.loads[side]
            if load:
                forces[forces[:, wrist, 2] != 0, wrist, 2] -= load * GRAVITY
            knee = list(WATCHED).index(f"{side}_knee")
            forces[knee, JOINT_INDEX[f"{side}_ankle"]] += frame.ground_reaction[foot, :3]
        return forces


_NUMBERS = np.arange(len(WATCHED))
_JOINTS = np.array(WATCHED_JOINTS)
