"""The path to a goal: the tip keeps its path if joints are slow, and the interpretation of a goal's
motion.
"""

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

pytest.importorskip("pinocchio", reason="needs the extra [robot]")

from hpstm_ros.retarget.robots import RobotDescription, load_robot
from hpstm_ros.safety.goal import GoalPath
from hpstm_ros.safety.guard import PinocchioGuard
from hpstm_ros.safety.limits import Limits, SupervisorSettings
from hpstm_ros.safety.motion import rest
from hpstm_ros.safety.steering import Steering
from hpstm_ros.teleoperation.teleoperation import guard_of, limits_of

NS = 1_000_000_000
few = hypothesis_settings(max_examples=10, deadline=None)


@cache
def panda() -> tuple[RobotDescription, PinocchioGuard]:
    robot = load_robot("panda")
    return robot, guard_of(robot)


def swivelled(q: np.ndarray, turn: float) -> np.ndarray:
    """Return another posture (n,) with the tip unchanged: the first joint is turned by ``turn``,
    and the others compensate.
    """
    guard = panda()[1]
    p = guard.tips(q)[0]
    out = q.copy()
    out[0] += turn
    for _ in range(50):
        now, J = guard.tip_motion(out)
        J[:, 0] = 0.0
        out += np.linalg.pinv(J) @ (p - now)
    assert np.abs(guard.tips(out)[0] - p).max() < 1e-9
    return out


@few
@given(st.sampled_from([-0.3, -0.2, -0.1, 0.1, 0.2, 0.3]), st.sampled_from([0.004, 0.008, 1 / 60]))
def test_the_tip_stays_while_the_arm_takes_another_posture(turn: float, period: float) -> None:
    """Joints with different speeds, each at its maximum, would displace the hand by one to two
    centimetres.
    """
    robot, guard = panda()
    steering = Steering(limits_of(robot, 3.0), SupervisorSettings(period=period), guard)
    plan = rest(0, robot.q_ready)
    goal = swivelled(robot.q_ready, turn)
    still = guard.tips(robot.q_ready)[0]
    off = []
    for k in range(round(3.0 / period)):
        plan = steering.lead(k, plan, goal, np.zeros_like(goal), 1.0)[0] or plan
        off.append(float(np.linalg.norm(guard.tips(plan.at(k)[0])[0] - still)))
    assert max(off) < 0.005
    assert np.abs(plan.at(k)[0] - goal).max() < 0.02  # and it gets there


@few
@given(st.integers(0, 5), st.sampled_from([-0.25, -0.1, 0.1, 0.25]))
def test_the_tip_goes_to_a_goal_that_stands_and_not_beyond_it(joint: int, turn: float) -> None:
    """Regression: it overshot by a third of the distance, and deviated sideways by half of it."""
    robot, guard = panda()
    goal = robot.q_ready.copy()
    goal[joint] = np.clip(goal[joint] + turn, robot.lower[joint] + 0.05, robot.upper[joint] - 0.05)
    p = guard.tips(robot.q_ready)[0]
    p_goal = guard.tips(goal)[0]
    way = float(np.linalg.norm(p_goal - p))
    if way < 0.01:
        return
    steering = Steering(limits_of(robot, 3.0), SupervisorSettings(), guard)
    plan = rest(0, robot.q_ready)
    tips = []
    for k in range(250):
        plan = steering.lead(k, plan, goal, np.zeros_like(goal), 1.0)[0] or plan
        tips.append(guard.tips(plan.at(k)[0])[0] - p)
    along = np.array(tips) @ (p_goal - p) / way
    aside = np.linalg.norm(np.array(tips) - along[:, None] * (p_goal - p) / way, axis=1)
    assert along.max() < 1.05 * way
    assert aside.max() < 0.2 * way
    assert np.linalg.norm(tips[-1] - (p_goal - p)) < 0.02 * way


def limits(n: int = 1) -> Limits:
    names = tuple(f"j{k}" for k in range(n))
    return Limits(
        names,
        np.full(n, -3.0),
        np.full(n, 3.0),
        np.full(n, 2.0),
        np.full(n, 8.0),
        np.full(n, 500.0),
        1.0,
        -np.ones(3),
        np.ones(3),
    )


@given(
    st.floats(-1, 1),
    st.floats(-1, 1),
    st.floats(-4, 4),
    st.lists(st.integers(10_000_000, 40_000_000), min_size=6, max_size=12),
)
def test_a_uniformly_accelerating_goal_is_extrapolated(
    q: float, dq: float, ddq: float, gaps: list[int]
) -> None:
    path = GoalPath(limits())
    stamp = NS
    seconds = 0.0
    for gap in gaps:
        stamp, seconds = stamp + gap, (stamp + gap - NS) / NS
        goal = path.add(stamp, stamp, np.array([q + dq * seconds + ddq * seconds**2 / 2]), 1.0)
    if abs(dq + ddq * seconds) > 2.0:
        return
    then = seconds + 0.03
    position, speed = goal.after(0.03)
    assert position[0] == pytest.approx(q + dq * then + ddq * then**2 / 2, abs=1e-6)
    assert speed[0] == pytest.approx(dq + ddq * then, abs=1e-4)


@given(st.lists(st.tuples(st.floats(-3, 3), st.integers(1, 200_000_000)), min_size=1, max_size=60))
def test_no_goal_is_carried_on_faster_than_the_joints_can_go(
    steps: list[tuple[float, int]],
) -> None:
    path = GoalPath(limits())
    stamp = NS
    for q, gap in steps:
        stamp += gap
        goal = path.add(stamp, stamp, np.array([q]), 1.0)
        assert goal.q[0] == q
        assert abs(goal.dq[0]) <= 2.0
        assert abs(goal.ddq[0]) <= 8.0
    assert len(path._path) <= 30  # however fast they come


def test_goals_after_a_restart_have_nothing_to_do_with_those_before() -> None:
    path = GoalPath(limits())
    path.add(NS, NS, np.array([0.0]), 1.0)
    path.restart()
    goal = path.add(NS + 16_000_000, NS + 16_000_000, np.array([1.0]), 1.0)
    assert goal.dq[0] == 0.0
