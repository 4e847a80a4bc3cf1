"""The judge of benchmarks/soak_hostile.py: how it divides the arm's commands into motions."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (make setup)")
pytest.importorskip("pallas.action", reason="needs the generated messages (make setup)")
pytest.importorskip("pinocchio", reason="needs the extra [robot]")

from rclpy.serialization import deserialize_message
from trajectory_msgs.msg import JointTrajectory

from hpstm_ros.retarget.robots import load_robot
from hpstm_ros.safety.limits import SupervisorSettings
from hpstm_ros.teleoperation.teleoperation import Teleoperation
from pallas_ros.messages.wire_joints import TrajectoryCodec

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
try:
    from soak_hostile import Judge
finally:
    sys.path.remove(str(BENCHMARKS))

ROBOT = "panda"
PERIOD = 8_000_000
OFF_RAD = 2e-4
"""Of the arm from its command, as a real one is."""


class Arm:
    """A supervised arm with a small lag, and its commands as published."""

    def __init__(self) -> None:
        self.robot = load_robot(ROBOT)
        self.codec = TrajectoryCodec(self.robot.joint_names)
        settings = SupervisorSettings(require_dead_man=False)
        self.teleoperation = Teleoperation(self.robot, None, None, settings)
        self.supervisor = self.teleoperation.supervisor
        self.now = 10**10
        self.at = self.robot.q_ready.copy()
        self.commands: list[Any] = []
        self.teleoperation.simulate_rest(self.now, self.at)

    def tick(self) -> None:
        """Compute a command, then feed the joint states."""
        command = self.teleoperation.tick(self.now)
        if command.send:
            data = self.codec.to_bytes(self.now, command.times, command.points)
            self.commands.append(deserialize_message(data, JointTrajectory))
            self.at = command.points[0][0] + OFF_RAD
        self.teleoperation.joints(self.now, self.now, self.robot.joint_names, self.at)

    def waves(self, ticks: int) -> None:
        """Follow a goal that moves back and forth."""
        for tick in range(ticks):
            self.now += PERIOD
            goal = self.robot.q_ready + 0.3 * np.sin(tick / 40)
            self.supervisor.goal(self.now, self.now, goal, operator="operator")
            self.tick()


def judged(commands: list[Any]) -> tuple[Judge, list[str]]:
    judge = Judge(ROBOT)
    for command in commands:
        judge.add(command, false_states=False)
    return judge, judge.violations()


def test_an_arm_engaged_at_the_instant_at_which_it_comes_to_rest_begins_a_stream() -> None:
    """Its first command has the time of the end of the last one, at a slightly different
    position.
    """
    arm = Arm()
    assert not arm.supervisor.engage(arm.now)
    arm.waves(200)
    arm.supervisor.disengage(arm.now)
    refusal = "still moving"
    while refusal:
        arm.now += PERIOD
        refusal = arm.supervisor.engage(arm.now)
        arm.tick()
    arm.waves(100)
    judge, found = judged(arm.commands)
    assert judge.engaged == 1
    assert found == []
    assert judge.steps == 0


def test_a_step_within_a_motion_is_a_violation() -> None:
    arm = Arm()
    assert not arm.supervisor.engage(arm.now)
    arm.waves(200)
    for command in arm.commands[100:]:
        for point in command.points:
            point.positions = [q + 1e-3 for q in point.positions]
    judge, found = judged(arm.commands)
    assert judge.engaged == 0
    assert found


@pytest.mark.parametrize("noticed", [True, False])
def test_commands_that_the_judge_missed_are_no_violation(noticed: bool) -> None:
    """Regression: on a slow machine, the judge joined motions between which it missed commands."""
    arm = Arm()
    assert not arm.supervisor.engage(arm.now)
    arm.waves(200)
    judge = Judge(ROBOT)
    for command in arm.commands[:100]:
        judge.add(command, false_states=False)
    if noticed:
        judge.lost()
    for command in arm.commands[106:]:
        judge.add(command, false_states=False)
    assert bool(judge.violations()) != noticed
    assert judge.steps == 0
