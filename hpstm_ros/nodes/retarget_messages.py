"""Messages of the retargeting node."""

from array import array

from pallas.msg import SupervisorStatus
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from hpstm_ros.safety.supervisor import Command
from hpstm_ros.teleoperation.grippers import GripperMotion
from hpstm_ros.teleoperation.teleoperation import Teleoperation
from pallas_ros.core.errors import echoed
from pallas_ros.messages.encode import to_stamp

_NS = 1_000_000_000


def gripper_trajectory(
    stamp: int, joint_names: tuple[str, ...], motion: GripperMotion
) -> JointTrajectory:
    """Return positions and velocities of a gripper, with times relative to ``stamp`` ns."""
    message = JointTrajectory()
    message.header.stamp = to_stamp(stamp)
    message.joint_names = list(joint_names)
    for time, q, dq in zip(motion.times, motion.q, motion.dq, strict=True):
        point = JointTrajectoryPoint()
        point.positions, point.velocities = (array("d", part.tobytes()) for part in (q, dq))
        point.time_from_start.sec, point.time_from_start.nanosec = divmod(int(time) - stamp, _NS)
        message.points.append(point)
    return message


def status_message(
    now: int, frame_id: str, joint_names: list[str], arm: Teleoperation, command: Command
) -> SupervisorStatus:
    """Return the supervisor's state at ``now`` ns, with the last ``command``."""
    message = SupervisorStatus()
    message.header.stamp = to_stamp(now)
    message.header.frame_id = frame_id
    message.state = int(command.state)
    message.state_name = command.state.name.lower()
    message.reason = command.reason
    message.engaged, message.dead_man, message.emergency_stop = arm.supervisor.flags(now)
    message.joint_names = joint_names
    message.limited_by = list(command.limited_by)
    message.speed_scale = command.speed_scale
    message.tip_speed = command.tip_speed
    message.tracking_error = command.deviation
    message.target_error = arm.target_error(command)
    message.commands = arm.figures.commands
    message.commands_limited = arm.figures.limited
    message.inputs_refused = arm.figures.refused
    message.operator_id = echoed(arm.supervisor.operator or "")
    message.people = [echoed(name) for name in arm.people.in_view(now)]
    message.measurement_age = command.measurement_age
    message.delivery_lag = command.delivery_lag
    message.strangers_refused = arm.figures.strangers
    return message
