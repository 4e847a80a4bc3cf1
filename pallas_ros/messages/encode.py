"""Convert records to messages, a body in about 60 microseconds; the inverse is `decode`."""

from array import array
from collections.abc import Mapping

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import Pose, PoseStamped, Quaternion, Vector3
from numpy.typing import NDArray
from pallas.msg import BodyPose
from pallas.msg import ImuFrame as ImuFrameMsg
from sensor_msgs.msg import JointState

from pallas_ros.body.frames import BodyFrame, ImuFrame
from pallas_ros.body.names import JOINTS, SITES, WORLD_FRAME

F64 = NDArray[np.float64]

_JOINT_LIST = list(JOINTS)
_SITE_LIST = list(SITES)


def to_stamp(nanoseconds: int) -> Time:
    """Convert integer ns to a message's stamp."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return Time(sec=seconds, nanosec=rest)


def body_to_msg(frame: BodyFrame, frame_id: str = WORLD_FRAME) -> BodyPose:
    """Convert a body to a message."""
    message = BodyPose()
    message.header.stamp = to_stamp(frame.stamp)
    message.header.frame_id = frame_id
    message.body_id = frame.body_id
    message.joint_names = _JOINT_LIST
    poses = []
    for (px, py, pz), (x, y, z, w) in zip(
        frame.positions.tolist(), frame.rotations.tolist(), strict=True
    ):
        pose = Pose()
        position = pose.position
        orientation = pose.orientation
        position.x = px
        position.y = py
        position.z = pz
        orientation.x = x
        orientation.y = y
        orientation.z = z
        orientation.w = w
        poses.append(pose)
    message.poses = poses
    if frame.covariance is not None:
        message.position_covariance = array(
            "d", np.ascontiguousarray(frame.covariance, dtype=np.float64).tobytes()
        )
    message.valid = frame.valid.tolist()
    message.confidence = array("f", frame.confidence.astype(np.float32).tobytes())
    message.foot_contact = frame.contacts.astype(np.float32)
    message.newest_input = to_stamp(frame.newest_input)
    message.remarks = list(frame.remarks)
    return message


def sensors_to_msg(stamp: int, sensors: Mapping[str, str]) -> DiagnosticArray:
    """Convert site -> sensor identity, at ``stamp`` ns, to a message for `TOPIC_SENSORS`."""
    message = DiagnosticArray(
        status=[
            DiagnosticStatus(name=site, hardware_id=identity) for site, identity in sensors.items()
        ]
    )
    message.header.stamp = to_stamp(stamp)
    return message


def imu_frame_to_msg(frame: ImuFrame) -> ImuFrameMsg:
    """Convert a synchronised frame to a message."""
    message = ImuFrameMsg()
    message.header.stamp = to_stamp(frame.stamp)
    message.header.frame_id = WORLD_FRAME
    message.sites = _SITE_LIST
    message.orientation = [
        Quaternion(x=x, y=y, z=z, w=w) for x, y, z, w in frame.orientation.tolist()
    ]
    message.acceleration = [Vector3(x=x, y=y, z=z) for x, y, z in frame.acceleration.tolist()]
    message.age = frame.age.astype(np.float32)
    message.valid = frame.valid.tolist()
    message.heading_drift = frame.heading_drift.astype(np.float32)
    message.newest_input = to_stamp(frame.newest_input)
    message.step = frame.step
    if frame.extra is not None:
        extra = frame.extra
        message.extra_sites = list(extra.sites)
        message.extra_orientation = [
            Quaternion(x=x, y=y, z=z, w=w) for x, y, z, w in extra.orientation.tolist()
        ]
        message.extra_acceleration = [
            Vector3(x=x, y=y, z=z) for x, y, z in extra.acceleration.tolist()
        ]
        message.extra_age = extra.age.astype(np.float32)
        message.extra_valid = extra.valid.tolist()
    return message


def pose_to_msg(stamp: int, frame_id: str, position: F64, orientation: F64) -> PoseStamped:
    """Create a pose: ``position`` (3,) m, ``orientation`` (4,) xyzw, both in ``frame_id``."""
    message = PoseStamped()
    message.header.stamp = to_stamp(stamp)
    message.header.frame_id = frame_id
    p = message.pose.position
    q = message.pose.orientation
    p.x, p.y, p.z = position.tolist()
    q.x, q.y, q.z, q.w = orientation.tolist()
    return message


def joint_state_to_msg(
    stamp: int, joint_names: list[str], q: F64, dq: F64 | None = None, effort: F64 | None = None
) -> JointState:
    """Create joint positions (n,) rad, velocities rad/s and efforts."""
    message = JointState()
    message.header.stamp = to_stamp(stamp)
    message.name = joint_names
    message.position = array("d", q.tobytes())
    if dq is not None:
        message.velocity = array("d", dq.tobytes())
    if effort is not None:
        message.effort = array("d", effort.tobytes())
    return message
