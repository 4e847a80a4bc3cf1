"""Properties for every body, posture and setting: uncertainty slows the arm, the clutch engages
without a jump, and a change of scale violates no limit.
"""

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

pytest.importorskip("pinocchio", reason="needs the extra [robot]")

from hpstm_ros.bench.rows import reaching
from hpstm_ros.retarget.retargeter import Goal, Retargeter
from hpstm_ros.retarget.robots import RobotDescription, load_robot
from hpstm_ros.retarget.settings import RetargetSettings
from hpstm_ros.safety.checker import check, check_states, executed
from hpstm_ros.safety.limits import SupervisorSettings
from hpstm_ros.safety.supervisor import SupervisorState
from hpstm_ros.teleoperation.recorded import frames
from hpstm_ros.teleoperation.teleoperation import Teleoperation
from pallas_ros.body.frames import BodyFrame

NS = 1_000_000_000
PERIOD = 8_000_000
few = hypothesis_settings(max_examples=15, deadline=None)
robots = st.sampled_from(["uarm", "panda"])
moments = st.integers(0, 400)


@cache
def robot(name: str) -> RobotDescription:
    return load_robot(name)


@cache
def motion() -> list[BodyFrame]:
    return frames(reaching(10.0))


def moment(k: int, deviation: float = 0.0) -> BodyFrame:
    """Return the body of a motion's frame with this standard deviation in m along each axis."""
    body = motion()[k]
    # the hand from the shoulder: both count
    covariance = np.tile(deviation**2 / 2 * np.eye(3), (22, 1, 1))
    return BodyFrame(
        body.stamp,
        body.rotations,
        body.positions,
        covariance,
        body.valid,
        body.confidence,
        body.contacts,
        body.stamp,
    )


def goal_of(retargeter: Retargeter, body: BodyFrame) -> Goal:
    goal = retargeter.step(body)
    assert goal is not None
    return goal


class Rig:
    """A teleoperation on a simulated clock with an ideal arm, and a record of the commands."""

    def __init__(self, name: str, settings: RetargetSettings | None = None) -> None:
        self.arm = Teleoperation(
            robot(name), None, settings, SupervisorSettings(require_dead_man=False), 3.0
        )
        self.now = 10 * NS
        self.frame = 0
        self.q = robot(name).q_ready
        self.messages: list[tuple[np.ndarray, np.ndarray]] = []
        self.arm.simulate_rest(self.now, self.q)
        assert self.arm.supervisor.engage(self.now) == ""

    def step(self, ticks: int, deviation: float = 0.0, still: bool = False) -> None:
        for k in range(ticks):
            self.now += PERIOD
            self.arm.joints(self.now, self.now, self.arm.robot.joint_names, self.q)
            if k % 2 == 0:
                body = moment(self.frame % 600, deviation)
                body.stamp = body.newest_input = self.now
                self.arm.body(self.now, body)
                self.frame += not still
            self.command = self.arm.tick(self.now)
            self.messages.append((self.command.times, np.array(self.command.points)))
            self.q = self.command.points[0][0]

    def judge(self) -> None:
        times, states = executed(self.messages)
        limits = self.arm.supervisor.limits
        assert check(times, states[:, 0], limits) + check_states(times, states, limits) == []


@given(robots, moments, st.floats(0.0, 0.3), st.floats(0.0, 0.3))
@few
def test_the_less_sure_body_never_gives_the_faster_arm(
    name: str, k: int, one: float, other: float
) -> None:
    less, more = sorted((one, other))
    retargeter = Retargeter(robot(name))
    sure, unsure = (
        goal_of(retargeter, moment(k, deviation)).confidence for deviation in (less, more)
    )
    assert unsure <= sure
    assert (unsure == 0.0) == (more >= retargeter.settings.stop_deviation_m)


@given(st.floats(0.02, 0.4))
@hypothesis_settings(max_examples=4, deadline=None)
def test_joints_keep_to_the_share_of_speed_that_confidence_allows(deviation: float) -> None:
    rig = Rig("uarm")
    rig.step(300)
    rig.step(100, deviation)
    supervisor = rig.arm.supervisor
    confidence = max(1.0 - deviation / RetargetSettings().stop_deviation_m, 0.0)
    share = min(max((confidence - 0.1) / 0.4, 0.0), 1.0)
    assert float((np.abs(rig.command.dq) / supervisor.limits.velocity).max()) <= share + 1e-6
    if confidence < 0.1:
        assert supervisor.state is SupervisorState.HOLDING
        assert supervisor.reason == "the body is too uncertain"
        assert np.abs(rig.command.dq).max() == 0.0
    elif share < 1.0:
        assert "confidence" in rig.command.limited_by
    rig.judge()


@given(robots, moments, moments, st.floats(0.1, 3.0), st.integers(0, 10**6))
@few
def test_a_clutch_takes_hold_anywhere_without_a_jump(
    name: str, at: int, then: int, scale: float, seed: int
) -> None:
    """Wherever the hand and the arm are; afterwards the tip moves like the hand, times the
    scale.
    """
    description = robot(name)
    arm = description.arms[0]
    retargeter = Retargeter(description, settings=RetargetSettings(mode="clutched", scale=scale))
    rig = Teleoperation(description)
    posture = description.q_ready + np.random.default_rng(seed).uniform(-0.2, 0.2, description.dof)
    posture = np.clip(posture, description.lower, description.upper)
    for _ in range(2):  # the second time, after letting go somewhere else
        goal_of(retargeter, moment(at))
        retargeter.restart(posture)
        tip = rig.tips(posture)[0]
        inside = (
            np.abs(tip - np.clip(tip, description.box_min + 0.02, description.box_max - 0.02))
            < 1e-9
        ).all()
        near = arm.reach_min <= float(np.linalg.norm(tip - arm.p_base_shoulder)) <= arm.reach
        goal = goal_of(retargeter, moment(then))
        assert np.abs(goal.p_base_tip[0] - tip).max() < (1e-6 if inside and near else 0.2)
        if inside and near:
            assert (
                np.abs(rig.tips(goal.q)[0] - tip).max() < 2e-3
            )  # a joint that does not move the tip may go to its posture
        at, then = then, at


@given(st.lists(st.tuples(st.floats(0.1, 3.0), st.integers(1, 40)), min_size=2, max_size=5))
@hypothesis_settings(max_examples=3, deadline=None)
def test_scale_may_change_at_any_time(changes: list[tuple[float, int]]) -> None:
    rig = Rig("uarm")
    rig.step(200)
    for scale, ticks in changes:
        rig.arm.retargeter.settings = RetargetSettings(scale=scale)
        rig.step(ticks)
    rig.judge()
    rig.step(500, still=True)  # and it is the new scale that the arm goes by
    assert rig.arm.goal is not None
    assert rig.arm.supervisor.state is SupervisorState.TRACKING
    fresh = goal_of(
        Retargeter(robot("uarm"), settings=RetargetSettings(scale=changes[-1][0])),
        moment(rig.frame % 600),
    )
    np.testing.assert_allclose(rig.arm.goal.p_base_tip, fresh.p_base_tip, atol=1e-6)
    np.testing.assert_allclose(rig.arm.tips(rig.command.q), rig.arm.goal.p_base_tip, atol=0.03)


def test_status_reports_the_active_limits() -> None:
    rig = Rig("panda")
    rig.step(400)
    assert rig.arm.supervisor.state is SupervisorState.TRACKING
    assert rig.command.limited_by == ()
    rig.arm.supervisor.tip_speed = 0.02
    rig.step(120)
    assert "tip_speed" in rig.command.limited_by
    rig.arm.supervisor.tip_speed = 3.0
    rig.step(60, deviation=0.73 * RetargetSettings().stop_deviation_m)
    assert "confidence" in rig.command.limited_by
    assert 0 < rig.command.speed_scale < 1
    rig.judge()
