"""Joint states as drivers publish them: split, in any order, with other joints, wrapped, late, or
unusable.
"""

import re

import numpy as np
import pytest

pytest.importorskip("pinocchio", reason="needs the extra [robot]")

from hpstm_ros.retarget.robots import load_robot
from hpstm_ros.safety.limits import SupervisorSettings
from hpstm_ros.teleoperation import Teleoperation
from hpstm_ros.teleoperation.joint_states import JointStates

NS = 1_000_000_000
MS = 1_000_000
NAMES = ("a", "b", "c")


def test_parts_of_several_publishers_become_one_posture() -> None:
    states = JointStates(NAMES, 0.25)
    now = 10 * NS
    assert states.add(now, now, ("c", "x", "a"), np.array([3.0, 9.0, 1.0]))
    assert states.newest() is None
    assert states.add(now + MS, now - 5 * MS, ("b",), np.array([2.0]))
    stamp, q = states.newest() or (0, np.zeros(0))
    assert stamp == now - 5 * MS  # as old as the oldest joint
    np.testing.assert_array_equal(q, [1.0, 2.0, 3.0])
    assert states.newest() is None  # not twice
    assert states.trouble(now + MS) == ""


def test_a_gripper_that_is_published_apart_disturbs_nothing() -> None:
    states = JointStates(NAMES, 0.25)
    now = 10 * NS
    for k in range(20):
        at = now + k * 10 * MS
        assert states.add(at, at, NAMES, np.full(3, 0.1 * k))
        assert states.newest() is not None
        assert states.add(at, at, ("finger",), np.array([0.02]))
        assert states.trouble(at) == ""


@pytest.mark.parametrize(
    ("stamp", "names", "q", "says"),
    [
        (0, ("a", "b"), [0.0, 0.0], "none names joint 'c'"),
        (0, ("x",), [0.0], "none names joint 'a' and 2 more"),
        (0, NAMES, [0.0, np.nan, 0.0], "joint 'b' is reported as not finite"),
        (0, NAMES, [0.0, 1e9, 0.0], "joint 'b' is reported as 1e"),
        (0, NAMES, [], "no positions"),
        (0, NAMES, [0.0], "name 3 joints and hold 1"),
        (-5 * NS, NAMES, [0.0, 0.0, 0.0], r"stamped 5\.0 s in the past"),
        (-10 * NS, NAMES, [0.0, 0.0, 0.0], "have no stamp"),
    ],
)
def test_unusable_joint_states_are_reported(
    stamp: int, names: tuple[str, ...], q: list[float], says: str
) -> None:
    """The message "do not arrive" would be wrong."""
    robot = load_robot("uarm")
    arm = Teleoperation(robot)
    now = 10 * NS
    own = dict(zip(NAMES, robot.joint_names, strict=False))
    own_names = tuple(own.get(name, name) for name in names)
    own_names += robot.joint_names[3:] if len(names) == 3 and len(q) == 3 else ()
    q = q + [0.0] if len(names) == 3 and len(q) == 3 else q
    for k in range(20):
        at = now + k * 10 * MS
        moved = 0 if stamp == -10 * NS else at
        arm.joints(at, moved + (0 if stamp == -10 * NS else stamp), own_names, np.array(q))
    refusal = arm.supervisor.engage(at)
    assert refusal.startswith("cannot engage: ")
    assert "do not arrive" not in refusal
    states = JointStates(NAMES, 0.25)
    states.add(now, now + stamp, names, np.array(q[: len(names)]))
    assert re.search(says, states.trouble(now))


def test_a_missing_input_is_reported() -> None:
    arm = Teleoperation(load_robot("uarm"))
    arm.tick(10 * NS)
    assert "do not arrive" in arm.supervisor.engage(10 * NS)


def test_a_part_that_falls_silent_is_named() -> None:
    states = JointStates(NAMES, 0.25)
    now = 10 * NS
    states.add(now, now, NAMES, np.zeros(3))
    states.newest()
    for k in range(1, 80):
        at = now + k * 10 * MS
        states.add(at, at, ("a", "b"), np.zeros(2))
        states.newest()
    assert states.trouble(at).startswith("joint 'c' has not been reported for 0.79 s")


class Follower:
    """A Kinova whose driver wraps its continuous joints."""

    def __init__(self, wrap: str) -> None:
        self.robot = load_robot("kinova")
        self.arm = Teleoperation(self.robot, safety=SupervisorSettings(require_dead_man=False))
        self.now, self.q, self.wrap = 10 * NS, self.robot.q_ready.copy(), wrap

    def report(self) -> np.ndarray:
        turn = 2 * np.pi
        q = self.q % turn if self.wrap == "0..2pi" else (self.q + np.pi) % turn - np.pi
        return np.where(self.robot.continuous, q, self.q)

    def step(self, goal: np.ndarray | None = None) -> None:
        self.now += 8 * MS
        self.arm.joints(self.now, self.now, self.robot.joint_names, self.report())
        if goal is not None:
            self.arm.supervisor.goal(self.now, self.now, goal)
        command = self.arm.tick(self.now)
        if command.send:
            self.q = command.points[0][0]
        self.command = command


@pytest.mark.parametrize("wrap", ["-pi..pi", "0..2pi"])
@pytest.mark.parametrize("way", [1.0, -1.0])
def test_a_continuous_joint_passes_the_seam_of_its_reports(wrap: str, way: float) -> None:
    arm = Follower(wrap)
    turning = arm.robot.joint_names.index("j2s6s200_joint_6")
    assert arm.robot.continuous[turning]
    arm.q[turning] += 0.1 if wrap == "0..2pi" else 3.0
    if way < 0 and wrap == "-pi..pi":
        arm.q[turning] = -3.0
    for _ in range(30):
        arm.step()
    assert arm.arm.supervisor.engage(arm.now) == ""
    start = arm.arm.supervisor.posture()
    assert start is not None
    np.testing.assert_allclose(start, arm.report(), atol=1e-6)  # where the driver says it is
    goal = start.copy()
    for _ in range(300):
        goal[turning] += way * 0.004
        arm.step(goal)
        assert arm.command.state.name in ("ALIGNING", "TRACKING"), arm.command.reason
    assert abs(arm.q[turning] - start[turning]) > 0.5
    assert arm.command.deviation < 0.1


def test_a_joint_at_rest_on_the_seam_does_not_move() -> None:
    arm = Follower("-pi..pi")
    turning = int(np.argmax(arm.robot.continuous))
    for k in range(30):
        arm.q[turning] = np.pi + (1e-4 if k % 2 else -1e-4)
        arm.step()
    assert arm.arm.supervisor.engage(arm.now) == ""
