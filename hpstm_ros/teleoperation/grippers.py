"""Grippers of a robot's arms: from openings to supervised joint positions."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.retarget.robots import Gripper, RobotDescription
from hpstm_ros.safety.gripper import GripperCommand, GripperSupervisor, gripper_limits
from hpstm_ros.safety.limits import SupervisorSettings
from hpstm_ros.teleoperation.joint_states import JointStates

F64 = NDArray[np.float64]

_SEEN_S = 1.0  # longest interval between a gripper's joint states


@dataclass(frozen=True, eq=False)
class GripperMotion:
    """Commands for a gripper controller: times (K,) ns, joint positions and velocities (K, m)."""

    times: NDArray[np.int64]
    q: F64
    dq: F64


class ArmGripper:
    """The gripper of one arm."""

    def __init__(self, arm: str, gripper: Gripper, settings: SupervisorSettings) -> None:
        """``arm`` is the arm's name."""
        self.arm = arm
        self.gripper = gripper
        self._span = gripper.open - gripper.closed
        moves = np.abs(self._span) > 1e-9
        speed = float((gripper.velocity[moves] / np.abs(self._span[moves])).min())
        acceleration = float((gripper.acceleration[moves] / np.abs(self._span[moves])).min())
        self.supervisor = GripperSupervisor(gripper_limits(arm, speed, acceleration), settings)
        self._moves = moves
        self._states = JointStates(gripper.joint_names, _SEEN_S)

    def joints(self, now: int, stamp: int, names: tuple[str, ...], q: F64) -> None:
        """Take joint states, of the gripper's joints or others."""
        self._states.add(now, stamp, names, q)
        whole = self._states.newest()
        if whole is not None:
            off = (whole[1] - self.gripper.closed)[self._moves]
            self.supervisor.measured(float(np.mean(off / self._span[self._moves])))

    def tick(self, now: int, led: bool) -> GripperMotion | None:
        """The next command, or None."""
        command = self.supervisor.tick(now, led)
        return None if command is None else self._motion(command)

    def _motion(self, command: GripperCommand) -> GripperMotion:
        q = self.gripper.closed + command.opening[:, None] * self._span
        return GripperMotion(command.times, q, command.speed[:, None] * self._span)


def grippers_of(robot: RobotDescription, settings: SupervisorSettings) -> list[ArmGripper]:
    """The grippers of a robot, in the order of its arms."""
    return [
        ArmGripper(arm.name, arm.gripper, settings) for arm in robot.arms if arm.gripper is not None
    ]
