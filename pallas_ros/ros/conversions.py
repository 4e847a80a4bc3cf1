"""Records to messages and back. Written for speed: a body is one message in about 60 microseconds, and read in about 40."""

from array import array
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Pose, PoseStamped, Quaternion, Vector3
from numpy.typing import NDArray
from pallas.msg import BodyPose
from pallas.msg import ImuFrame as ImuFrameMsg
from sensor_msgs.msg import Imu, JointState
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame, ImuFrame
from pallas_ros.body.names import JOINTS, SITES, WORLD_FRAME
from pallas_ros.imu.sample import ImuSample

F64 = NDArray[np.float64]

_JOINT_LIST = list(JOINTS)
_SITE_LIST = list(SITES)
_UNMEASURED = np.array([-1.0] + 8 * [0.0])


def to_stamp(nanoseconds: int) -> Time:
    """Integer ns to a message's stamp."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return Time(sec=seconds, nanosec=rest)


def from_stamp(stamp: Time) -> int:
    """A message's stamp to integer ns."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def body_to_msg(frame: BodyFrame, frame_id: str = WORLD_FRAME) -> BodyPose:
    """A body as a message."""
    message = BodyPose()
    message.header.stamp = to_stamp(frame.stamp)
    message.header.frame_id = frame_id
    message.body_id = frame.body_id
    message.joint_names = _JOINT_LIST
    poses = []
    for (px, py, pz), (x, y, z, w) in zip(frame.positions.tolist(), frame.rotations.tolist(), strict=True):
        pose = Pose()
        position, orientation = pose.position, pose.orientation
        position.x, position.y, position.z = px, py, pz
        orientation.x, orientation.y, orientation.z, orientation.w = x, y, z, w
        poses.append(pose)
    message.poses = poses
    if frame.covariance is not None:
        message.position_covariance = array("d", np.ascontiguousarray(frame.covariance, dtype=np.float64).tobytes())
    message.valid = frame.valid.tolist()
    message.confidence = array("f", frame.confidence.astype(np.float32).tobytes())
    message.foot_contact = frame.contacts.astype(np.float32)
    message.newest_input = to_stamp(frame.newest_input)
    message.remarks = list(frame.remarks)
    return message


def body_from_msg(message: BodyPose) -> BodyFrame:
    """A message as a body; a joint whose pose is not finite or whose quaternion is not of unit length comes back invalid.

    Raises:
        PallasError: the joints are not those of this body, or an array has the wrong length.
    """
    count = len(JOINTS)
    poses, covariance = message.poses, message.position_covariance
    lengths = {
        "poses": len(poses),
        "valid": len(message.valid),
        "confidence": len(message.confidence),
        "joint_names": len(message.joint_names),
    }
    for name, length in lengths.items():
        if length != count:
            raise PallasError(f"body '{message.body_id}' has {length} {name}, expected {count}")
    if len(covariance) not in (0, 9 * count):
        raise PallasError(f"body '{message.body_id}' has a position_covariance of {len(covariance)} numbers, expected none or {9 * count}")
    values = []
    for pose in poses:
        p, q = pose.position, pose.orientation
        values.append((p.x, p.y, p.z, q.x, q.y, q.z, q.w))
    numbers = np.array(values)
    valid, confidence = np.array(message.valid, dtype=bool), np.array(message.confidence, dtype=np.float64)
    matrices = np.array(covariance).reshape(count, 3, 3) if len(covariance) else None
    if message.joint_names != _JOINT_LIST:
        order = _order(list(message.joint_names), JOINTS, f"body '{message.body_id}'")
        numbers, valid, confidence = numbers[order], valid[order], confidence[order]
        matrices = None if matrices is None else matrices[order]
    return body_of(
        from_stamp(message.header.stamp),
        numbers,
        matrices,
        valid,
        confidence,
        np.array(message.foot_contact, dtype=np.float64),
        from_stamp(message.newest_input),
        message.body_id,
        tuple(message.remarks),
    )


def body_of(
    stamp: int,
    numbers: F64,
    covariance: F64 | None,
    valid: NDArray[np.bool_],
    confidence: F64,
    contacts: F64,
    newest_input: int,
    body_id: str,
    remarks: tuple[str, ...],
) -> BodyFrame:
    """A body from ``numbers`` (22, 7): position and orientation of each joint; invalid where they cannot be those of a joint."""
    with np.errstate(invalid="ignore", over="ignore"):
        unit = np.abs(np.einsum("ji,ji->j", numbers[:, 3:], numbers[:, 3:]) - 1.0) < 1e-2
    return BodyFrame(
        stamp=stamp,
        rotations=np.ascontiguousarray(numbers[:, 3:]),
        positions=np.ascontiguousarray(numbers[:, :3]),
        covariance=covariance,
        valid=valid & unit & np.isfinite(numbers).all(axis=1),
        confidence=confidence,
        contacts=contacts,
        newest_input=newest_input,
        body_id=body_id,
        remarks=remarks,
    )


def imu_to_msg(sample: ImuSample, frame_id: str) -> Imu:
    """A raw sample as `sensor_msgs/Imu` (REP-145): what was not measured has -1 in its covariance's first element."""
    message = Imu()
    message.header.stamp = to_stamp(sample.stamp)
    message.header.frame_id = frame_id
    if sample.orientation is None:
        message.orientation_covariance = _UNMEASURED
    else:
        o = message.orientation
        o.x, o.y, o.z, o.w = sample.orientation.tolist()
    a = message.linear_acceleration
    a.x, a.y, a.z = sample.acceleration.tolist()
    if sample.angular_velocity is None:
        message.angular_velocity_covariance = _UNMEASURED
    else:
        g = message.angular_velocity
        g.x, g.y, g.z = sample.angular_velocity.tolist()
    return message


def imu_from_msg(message: Imu) -> ImuSample:
    """`sensor_msgs/Imu` as a raw sample.

    Raises:
        PallasError: it carries no acceleration.
    """
    if message.linear_acceleration_covariance[0] == -1.0:
        raise PallasError(f"the IMU message of frame '{message.header.frame_id}' carries no acceleration")
    o, a, g = message.orientation, message.linear_acceleration, message.angular_velocity
    return ImuSample(
        stamp=from_stamp(message.header.stamp),
        orientation=None if message.orientation_covariance[0] == -1.0 else np.array((o.x, o.y, o.z, o.w)),
        acceleration=np.array((a.x, a.y, a.z)),
        angular_velocity=None if message.angular_velocity_covariance[0] == -1.0 else np.array((g.x, g.y, g.z)),
    )


def imu_frame_to_msg(frame: ImuFrame) -> ImuFrameMsg:
    """A synchronised frame as a message."""
    message = ImuFrameMsg()
    message.header.stamp = to_stamp(frame.stamp)
    message.header.frame_id = WORLD_FRAME
    message.sites = _SITE_LIST
    message.orientation = [Quaternion(x=x, y=y, z=z, w=w) for x, y, z, w in frame.orientation.tolist()]
    message.acceleration = [Vector3(x=x, y=y, z=z) for x, y, z in frame.acceleration.tolist()]
    message.age = frame.age.astype(np.float32)
    message.valid = frame.valid.tolist()
    message.heading_drift = frame.heading_drift.astype(np.float32)
    message.newest_input = to_stamp(frame.newest_input)
    return message


def imu_frame_from_msg(message: ImuFrameMsg) -> ImuFrame:
    """A message as a synchronised frame."""
    return ImuFrame(
        stamp=from_stamp(message.header.stamp),
        orientation=np.array([(q.x, q.y, q.z, q.w) for q in message.orientation]),
        acceleration=np.array([(v.x, v.y, v.z) for v in message.acceleration]),
        valid=np.array(message.valid, dtype=bool),
        age=np.array(message.age, dtype=np.float64),
        heading_drift=np.array(message.heading_drift, dtype=np.float64),
        newest_input=from_stamp(message.newest_input),
    )


def pose_to_msg(stamp: int, frame_id: str, position: F64, orientation: F64) -> PoseStamped:
    """A pose: ``position`` (3,) m, ``orientation`` (4,) xyzw, both in ``frame_id``."""
    message = PoseStamped()
    message.header.stamp = to_stamp(stamp)
    message.header.frame_id = frame_id
    p, q = message.pose.position, message.pose.orientation
    p.x, p.y, p.z = position.tolist()
    q.x, q.y, q.z, q.w = orientation.tolist()
    return message


def trajectory_to_msg(stamp: int, joint_names: list[str], q: F64, dq: F64 | None, ddq: F64 | None, time_from_start: int) -> JointTrajectory:
    """One command: a trajectory of one point.

    Args:
        stamp: ns, ``header.stamp``, when ``time_from_start`` begins; 0: at receipt.
        joint_names: of the n joints.
        q: (n,) rad, and its derivatives ``dq``, ``ddq`` or None.
        time_from_start: ns.
    """
    message = JointTrajectory()
    message.header.stamp = to_stamp(stamp)
    message.joint_names = joint_names
    point = JointTrajectoryPoint()
    point.positions = array("d", q.tobytes())
    if dq is not None:
        point.velocities = array("d", dq.tobytes())
    if ddq is not None:
        point.accelerations = array("d", ddq.tobytes())
    point.time_from_start.sec, point.time_from_start.nanosec = divmod(time_from_start, 1_000_000_000)
    message.points = [point]
    return message


def trajectory_from_msg(message: JointTrajectory, joint_names: list[str]) -> tuple[F64, F64 | None, F64 | None]:
    """The last point's positions, velocities and accelerations (n,) in the order of ``joint_names``; None where not given.

    Raises:
        PallasError: no point, other joints, or wrong lengths.
    """
    if not message.points:
        raise PallasError("the joint trajectory holds no point")
    order = _order(list(message.joint_names), joint_names, "the joint trajectory")
    point, count = message.points[-1], len(message.joint_names)
    if len(point.positions) != count or any(len(values) not in (0, count) for values in (point.velocities, point.accelerations)):
        raise PallasError(f"the joint trajectory names {count} joints but gives {len(point.positions)} positions")
    q, dq, ddq = (np.array(values)[order] if len(values) else None for values in (point.positions, point.velocities, point.accelerations))
    assert q is not None
    return q, dq, ddq


def joint_state_to_msg(stamp: int, joint_names: list[str], q: F64, dq: F64 | None = None, effort: F64 | None = None) -> JointState:
    """Joint positions (n,) rad, velocities rad/s and efforts."""
    message = JointState()
    message.header.stamp = to_stamp(stamp)
    message.name = joint_names
    message.position = array("d", q.tobytes())
    if dq is not None:
        message.velocity = array("d", dq.tobytes())
    if effort is not None:
        message.effort = array("d", effort.tobytes())
    return message


def joint_state_from_msg(message: JointState, joint_names: list[str]) -> tuple[F64, F64 | None]:
    """Positions and velocities (n,) in the order of ``joint_names``; velocities None where not given.

    Raises:
        PallasError: a joint is missing, or lengths differ.
    """
    order = _order(list(message.name), joint_names, "the joint state")
    if len(message.position) != len(message.name) or len(message.velocity) not in (0, len(message.name)):
        raise PallasError(f"the joint state names {len(message.name)} joints but gives {len(message.position)} positions")
    velocity = np.array(message.velocity)[order] if len(message.velocity) else None
    return np.array(message.position)[order], velocity


def _order(given: list[str], wanted: Any, what: str) -> list[int]:
    """Where each of the ``wanted`` names stands in ``given``."""
    index = {name: position for position, name in enumerate(given)}
    try:
        return [index[name] for name in wanted]
    except KeyError as missing:
        raise PallasError(f"{what} has no joint {missing}; it has {', '.join(given) or 'none'}") from None
