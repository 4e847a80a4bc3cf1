"""A simulated robot arm (MuJoCo) with the topics of a real controller."""

from functools import partial
from typing import Any

import numpy as np
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray, String
from trajectory_msgs.msg import JointTrajectory

from hpstm_ros.retarget import urdf
from hpstm_ros.retarget.robots import load_robot
from hpstm_ros.simulation.arm import ArmSimulator, Faults, Trajectory
from hpstm_ros.simulation.gripper import SimulatedGripper
from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import (
    TOPIC_JOINT_STATES,
    TOPIC_JOINT_TRAJECTORY,
    TOPIC_ROBOT_DESCRIPTION,
)
from pallas_ros.messages.decode import from_stamp
from pallas_ros.messages.encode import joint_state_to_msg
from pallas_ros.messages.wire import deserialized
from pallas_ros.messages.wire_joints import TrajectoryCodec
from pallas_ros.ros.node import Health, PallasNode
from pallas_ros.ros.qos import LATCHED

_NS = 1_000_000_000
_FAULTS = {"fault_late_s", "fault_stuck_joint", "fault_lost_feedback"}


class ArmSimulatorNode(PallasNode):
    """Adapter around `hpstm_ros.simulation.arm.ArmSimulator`."""

    def __init__(self, **kwargs: Any) -> None:
        """See `config/parameters/arm_simulator.yaml`."""
        self._built: ArmSimulator | None = None
        super().__init__("arm_simulator", **kwargs)

    @property
    def _arm(self) -> ArmSimulator:
        """The object built by `configure`."""
        return self.built(self._built)

    def configure(self) -> None:
        """Build the arm, and create subscriptions and publishers."""
        s = self.settings
        robot = load_robot(s["robot"])
        self._built = ArmSimulator(robot)
        self._arm.faults = self._faults()
        self._joint_names = list(robot.joint_names)
        self._trajectories = TrajectoryCodec(robot.joint_names)
        self._states = self.advertise(JointState, TOPIC_JOINT_STATES)
        self._description = self.advertise(String, TOPIC_ROBOT_DESCRIPTION, LATCHED)
        self.subscribe(
            JointTrajectory,
            TOPIC_JOINT_TRAJECTORY.format(controller=s["controller"]),
            self._on_trajectory,
            raw=True,
        )
        self.subscribe(Float64MultiArray, f"/{s['controller']}/commands", self._on_positions)
        self._grippers = [
            (arm.name, SimulatedGripper(arm.gripper)) for arm in robot.arms if arm.gripper
        ]
        for name, gripper in self._grippers:
            several = f"{name}_" if len(self._grippers) > 1 else ""
            controller = several + s["gripper_controller"]
            self.subscribe(
                JointTrajectory,
                TOPIC_JOINT_TRAJECTORY.format(controller=controller),
                partial(self._on_gripper_trajectory, gripper),
            )
            self.subscribe(
                Float64MultiArray,
                f"/{controller}/commands",
                partial(self._on_gripper_positions, gripper),
            )
        self.every(1 / s["rate_hz"], self._tick)

    def activate(self) -> None:
        """Publish the robot description, like the bringup of a real arm."""
        self._description.publish(
            String(data=urdf.published(self._arm.robot.path, self._arm.robot.text))
        )

    def reconfigure(self, changed: set[str]) -> None:
        """Apply changed faults at run time."""
        if self._built is None or not changed <= _FAULTS:
            super().reconfigure(changed)
            return
        self._arm.faults = self._faults()

    def cleanup(self) -> None:
        """Release the arm."""
        self._built = None

    def health(self) -> Health:
        """Report the active faults."""
        on = [name for name in sorted(_FAULTS) if self.settings.get(name)]
        return Health(1 if on else 0, f"faults on: {', '.join(on)}" if on else "")

    def _faults(self) -> Faults:
        s = self.settings
        stuck = s["fault_stuck_joint"]
        if stuck and self._built is not None and stuck not in self._arm.robot.joint_names:
            raise PallasError(
                f"fault_stuck_joint '{stuck}' is not a joint of this arm:"
                f" {', '.join(self._arm.robot.joint_names)}"
            )
        return Faults(s["fault_late_s"], stuck, s["fault_lost_feedback"])

    def _on_trajectory(self, data: bytes) -> None:
        now = self.now()
        self._arm.command(now, _from_bytes(data, self._trajectories, self._joint_names, now))

    def _on_positions(self, message: Float64MultiArray) -> None:
        q = np.array([message.data], dtype=np.float64)
        self._arm.command(
            self.now(), Trajectory(np.array([self.now()]), q, np.zeros_like(q), np.zeros_like(q))
        )

    def _on_gripper_trajectory(self, gripper: SimulatedGripper, message: JointTrajectory) -> None:
        names = list(gripper.gripper.joint_names)
        trajectory = _from_msg(message, names, self.now())
        gripper.command(trajectory.times, trajectory.q)

    def _on_gripper_positions(self, gripper: SimulatedGripper, message: Float64MultiArray) -> None:
        q = np.array([message.data], dtype=np.float64)
        count = len(gripper.gripper.joint_names)
        if q.shape != (1, count) or not np.isfinite(q).all():
            raise PallasError(
                f"the gripper has {count} joints, so the command must have as many numbers"
            )
        gripper.command(np.array([self.now()]), q)

    def _tick(self) -> None:
        now = self.now()
        self._arm.advance(now)
        names = list(self._joint_names)
        q = self._arm.q
        dq = self._arm.dq
        effort = self._arm.effort
        for _, gripper in self._grippers:
            gripper.advance(now)
            names += gripper.joint_names
            still = np.zeros(len(gripper.joint_names))
            q = np.concatenate((q, gripper.positions))
            dq = np.concatenate((dq, still))
            effort = np.concatenate((effort, still))
        if not self._arm.faults.lost_feedback:
            self._states.publish(joint_state_to_msg(now, names, q, dq, effort))


def _from_bytes(
    data: bytes, codec: TrajectoryCodec, joint_names: list[str], now: int
) -> Trajectory:
    """The trajectory of a serialised message; ``now`` ns is its start if it has no stamp."""
    read = codec.from_bytes(data)
    if read is None:
        return _from_msg(deserialized(data, JointTrajectory), joint_names, now)
    stamp, times, states = read
    return Trajectory((stamp or now) + times, states[:, 0], states[:, 1], states[:, 2])


def _from_msg(message: JointTrajectory, joint_names: list[str], now: int) -> Trajectory:
    """The points in the order of ``joint_names``; missing velocities and accelerations are zero."""
    given = list(message.joint_names)
    if sorted(given) != sorted(joint_names):
        raise PallasError(
            f"the joint trajectory is for joints {', '.join(given) or 'none'}, this arm has"
            f" {', '.join(joint_names)}"
        )
    order = [given.index(joint) for joint in joint_names]
    start = from_stamp(message.header.stamp) or now
    n = len(given)
    times = [
        start + point.time_from_start.sec * _NS + point.time_from_start.nanosec
        for point in message.points
    ]
    parts = [
        [list(values) or [0.0] * n for values in (p.positions, p.velocities, p.accelerations)]
        for p in message.points
    ]
    if any(len(values) != n for point in parts for values in point) or not parts:
        raise PallasError(
            f"the joint trajectory names {n} joints, so each point must have as many numbers"
        )
    states = np.array(parts, dtype=np.float64)[:, :, order]
    return Trajectory(np.array(times, dtype=np.int64), states[:, 0], states[:, 1], states[:, 2])
