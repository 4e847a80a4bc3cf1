"""Convert forces to messages."""

import numpy as np
from geometry_msgs.msg import TransformStamped, WrenchStamped
from pallas.msg import BodyLoad
from sensor_msgs.msg import JointState

from hpstm_ros.dynamics.anthropometry import SIDES
from hpstm_ros.dynamics.live import LiveForces
from pallas_ros.body.names import FRAME_PRESSURE, WORLD_FRAME
from pallas_ros.messages.encode import joint_state_to_msg, to_stamp
from pallas_ros.view.human import urdf_joint_names


def efforts_to_msg(forces: LiveForces) -> JointState:
    """Convert angles and efforts to joint states with the joint names of the operator's URDF."""
    names = list(urdf_joint_names(forces.body_id))
    return joint_state_to_msg(forces.stamp, names, forces.angles, effort=forces.efforts)


def wrenches_to_msgs(
    forces: LiveForces,
) -> tuple[list[WrenchStamped], list[TransformStamped]]:
    """Return the wrench on each foot, and the frames at the centres of pressure.

    Without contact the wrench is zero, in the world frame.
    """
    assert forces.frame is not None
    wrenches = []
    transforms = []
    for foot, side in enumerate(SIDES):
        message = WrenchStamped()
        message.header.stamp = to_stamp(forces.stamp)
        force = forces.frame.ground_reaction[foot]
        standing = bool(np.isfinite(force[3:]).all())
        message.header.frame_id = WORLD_FRAME
        if standing:
            frame = FRAME_PRESSURE.format(side=side, body_id=forces.body_id)
            message.header.frame_id = frame
            transforms.append(_at(frame, force[3:], forces.stamp))
        f = message.wrench.force
        f.x, f.y, f.z = force[:3].tolist()
        message.wrench.torque.z = float(forces.frame.free_moment[foot]) if standing else 0.0
        wrenches.append(message)
    return wrenches, transforms


def _at(frame: str, position: "np.ndarray", stamp: int) -> TransformStamped:
    message = TransformStamped()
    message.header.stamp = to_stamp(stamp)
    message.header.frame_id = WORLD_FRAME
    message.child_frame_id = frame
    t = message.transform.translation
    t.x, t.y, t.z = position.tolist()
    message.transform.rotation.w = 1.0
    return message


def load_to_msg(forces: LiveForces) -> BodyLoad:
    """Convert the monitored moments and the posture scores."""
    message = BodyLoad(body_id=forces.body_id, known=forces.frame is not None)
    message.header.stamp = to_stamp(forces.stamp)
    message.header.frame_id = WORLD_FRAME
    message.standing = forces.standing
    message.names = [load.name for load in forces.loads]
    message.moments = [load.moment for load in forces.loads]
    message.shares = [load.share for load in forces.loads]
    message.deviations = forces.deviations[: len(forces.loads)].tolist()
    if forces.scores is not None:
        message.rula = forces.scores.rula
        message.reba = forces.scores.reba
    message.load_left, message.load_right = forces.carried
    message.residual = forces.residual
    message.remark = forces.remark
    return message
