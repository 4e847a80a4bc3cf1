"""Maps the motion of a robot arm back to the operator's arm, to evaluate both by the same
metrics.
"""

import numpy as np
import pinocchio as pin
from numpy.typing import NDArray

from hpstm_ros.generation.corrections import two_bones
from hpstm_ros.retarget.human_arm import Facing
from hpstm_ros.retarget.robots import RobotDescription
from pallas_ros.body import rotations
from pallas_ros.body.kinematics import forward_kinematics
from pallas_ros.body.motion import Motion
from pallas_ros.body.names import JOINT_INDEX
from pallas_ros.body.skeleton import Skeleton

F64 = NDArray[np.float64]
_NS = 1_000_000_000


def mapped_back(
    motion: Motion, times: F64, q: F64, robot: RobotDescription, side: str | None = None
) -> Motion:
    """The operator's motion with the wrists at the mapped positions of the robot's tips.

    The inverse of `Retargeter` with mode ``absolute`` and mapping ``same``. Only the arms that the
    robot has are changed.

    Args:
        motion: followed by the robot, of the default body.
        times: (N,) s from the motion's start.
        q: (N, n) rad, joint positions of the robot at ``times``.
        robot: that followed.
        side: the human arm that a one-armed robot follows (default: as configured).
    """
    at = np.arange(len(motion)) / motion.fps
    joints = np.stack([np.interp(at, times, column) for column in q.T], axis=1)
    tips = _tips(robot, joints)
    facing = Facing()
    heading = [
        facing.update(round(moment * _NS), pelvis)
        for moment, pelvis in zip(at, motion.rotations[:, 0], strict=True)
    ]
    q_world_operator = np.asarray(rotations.about_z(np.array(heading)))
    turned = np.asarray(motion.rotations, dtype=np.float64)
    for k, arm in enumerate(robot.arms):
        which = (side or arm.side) if len(robot.arms) == 1 else arm.side
        limb = [JOINT_INDEX[f"{which}_{joint}"] for joint in ("shoulder", "elbow", "wrist")]
        p = motion.positions[:, limb]
        length = np.linalg.norm(np.diff(p[0], axis=0), axis=-1).sum()
        hand = (tips[:, k] - arm.p_base_shoulder) @ arm.R_base_operator * (length / arm.reach)
        goal = p[:, 0] + rotations.rotate(q_world_operator, hand)
        turned = two_bones(turned, motion.positions, limb, goal, keep_end=False)
    placed = forward_kinematics(Skeleton.from_height(), turned, motion.positions[:, 0])
    return Motion(motion.fps, np.asarray(placed, dtype=np.float64), turned)


def _tips(robot: RobotDescription, q: F64) -> F64:
    """Tip positions (T, A, 3) m of postures (T, n)."""
    data = robot.model.createData()
    frames = [robot.frame(arm.tip) for arm in robot.arms]
    out = np.empty((len(q), len(frames), 3))
    for row, posture in zip(out, q, strict=True):
        pin.forwardKinematics(robot.model, data, posture)
        for place, frame in zip(row, frames, strict=True):
            place[:] = pin.updateFramePlacement(robot.model, data, frame).translation
    return out
