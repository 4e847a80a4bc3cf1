"""How far the watched moments may be off, from the covariance of the body's joints.

Linear: a moment is a sum of weights and ground forces times lever arms, and the joints' errors,
taken
as independent of each other, shift the arms. Errors of acceleration, mass and strength are not in
it.
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
    """The joint and all that hang on it."""
    out = {joint}
    for other, parent in enumerate(PARENTS):
        if parent in out:
            out.add(other)
    return out


class Spread:
    """Standard deviations of the watched moments of one person."""

    def __init__(self, human: Human) -> None:
        self._human = human
        self._weights = np.zeros((len(WATCHED), len(PARENTS), 3))
        for index, joint in enumerate(WATCHED_JOINTS):
            for part in human.segments:
                if part.joint in _carried_by(joint):
                    self._weights[index, part.joint, 2] -= part.mass * GRAVITY

    def deviations(self, frame: Frame, covariance: F64 | None) -> F64:
        """(5,) Nm for the joints' covariance (22, 3, 3) m^2; NaN where that is not known."""
        out = np.full(len(WATCHED), np.nan)
        if covariance is None or not np.isfinite(covariance).all():
            return out
        for index, (name, joint) in enumerate(zip(WATCHED, WATCHED_JOINTS)):
            forces = self._forces(index, name, frame)
            forces[joint] = 0.0  # its lever arm is none, however far the joint is off
            forces[joint] = forces.sum(axis=0)
            direction = frame.moment[joint] / max(float(np.linalg.norm(frame.moment[joint])), 1e-9)
            arms = cross(direction, forces)  # the moment's change for a shift of each joint
            variance = np.einsum("ji,jik,jk->", arms, covariance, arms)
            out[index] = float(np.sqrt(max(variance, 0.0)))
        return out

    def _forces(self, index: int, name: str, frame: Frame) -> F64:
        """Forces (22, 3) N on what hangs on a watched joint, at the joints whose errors shift
        them."""
        forces: F64 = self._weights[index].copy()
        for side in SIDES:
            wrist = JOINT_INDEX[f"{side}_wrist"]
            if self._human.loads[side] and forces[wrist, 2]:
                forces[wrist, 2] -= self._human.loads[side] * GRAVITY
        if name.endswith("knee"):
            side = name.removesuffix("_knee")
            forces[JOINT_INDEX[f"{side}_ankle"]] += frame.ground_reaction[SIDES.index(side), :3]
        return forces
