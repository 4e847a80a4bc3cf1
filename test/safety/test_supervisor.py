"""The supervisor on a simulated clock: states, watchdogs, and validity of its commands."""

import numpy as np
import pytest

pytest.importorskip("ruckig", reason="needs the extra [robot]")

from supervised import LIMITS, NS, N, Rig, S

from hpstm_ros.safety.limits import SupervisorSettings
from hpstm_ros.safety.supervisor import Supervisor
from pallas_ros.body.errors import PallasError


def test_nothing_is_sent_before_engaging() -> None:
    rig = Rig()
    rig.step(100)
    assert rig.state is S.DISENGAGED
    assert not rig.messages


def test_engaging_needs_joint_states() -> None:
    supervisor = Supervisor(LIMITS)
    supervisor.tick(NS)
    assert "joint states" in supervisor.engage(NS)
    assert supervisor.state is S.DISENGAGED


def test_engaging_on_one_joint_state_is_refused() -> None:
    """After the first one, or the first after a silence, the arm may be anywhere."""
    rig = Rig()
    rig.supervisor.measured(rig.now + 1, rig.now + 1, rig.q)
    assert "too short a time" in rig.supervisor.engage(rig.now + 2)
    rig.step(20)
    rig.now += 3 * NS // 10
    rig.supervisor.measured(rig.now, rig.now, rig.q)
    assert "too short a time" in rig.supervisor.engage(rig.now + 1)
    rig.step(20)
    rig.engaged()


@pytest.mark.parametrize("rate", [10, 125, 4000])
def test_engaging_needs_time_and_not_a_number_of_joint_states(rate: int) -> None:
    rig = Rig()
    for k in range(rate // 4 + 2):
        rig.supervisor.measured(rig.now + k * NS // rate, rig.now + k * NS // rate, rig.q)
    assert rig.supervisor.engage(rig.now + (rate // 4 + 1) * NS // rate) == ""


def test_engaging_outside_the_limits_is_refused() -> None:
    supervisor = Supervisor(LIMITS)
    for k in range(10):
        supervisor.measured(NS + k * 10**7, NS + k * 10**7, np.array([1.5, 0.0, 0.0]))
    assert "'a'" in supervisor.engage(NS + 10**8)


def test_engaging_an_arm_that_moves_is_refused() -> None:
    """The same applies to joint states that jump: a single wrong sample would be taken for the
    position.
    """
    rig = Rig()
    rig.step(20)
    rig.supervisor.measured(rig.now + 1, rig.now + 1, np.array([0.0, 0.7, 0.0]))
    assert "'b' is moving" in rig.supervisor.engage(rig.now + 1)
    rig.step(20)
    rig.engaged()


@pytest.mark.parametrize("speed", [float("nan"), float("inf"), 0.0, -1.0])
def test_a_tip_speed_that_is_none_is_refused(speed: float) -> None:
    supervisor = Supervisor(LIMITS)
    with pytest.raises(PallasError, match="tip_speed"):
        supervisor.tip_speed = speed
    assert supervisor.tip_speed == LIMITS.tip_speed


def test_a_stop_by_service_does_not_release_the_switch() -> None:
    rig = Rig().tracking()
    rig.supervisor.emergency_stop(rig.now, "switch")
    rig.supervisor.emergency_stop(rig.now, "service", held=False)
    rig.step(200)
    assert "pressed" in rig.supervisor.reset(rig.now)
    rig.supervisor.emergency_released(rig.now)
    assert rig.supervisor.reset(rig.now) == ""


def test_aligning_is_slow_then_tracking_arrives() -> None:
    rig = Rig()
    rig.goal = np.array([0.8, -1.5, 0.3])
    rig.engaged()
    fastest = 0.0
    while rig.state is S.ALIGNING:
        rig.step()
        fastest = max(fastest, rig.speed()) if rig.now < 1.5 * NS else fastest
    assert rig.state is S.TRACKING
    assert fastest < 0.5 * LIMITS.velocity.max()
    rig.step(300)
    np.testing.assert_allclose(rig.command.q, rig.goal, atol=1e-3)
    rig.judge()


def test_first_command_is_where_the_arm_is() -> None:
    rig = Rig()
    rig.q = np.array([0.3, -0.7, 0.2])
    rig.step(20)
    rig.engaged()
    np.testing.assert_allclose(rig.messages[0][1][0], [0.3, -0.7, 0.2], atol=1e-9)


def test_stop_begins_within_a_tenth_of_a_second_of_the_last_body() -> None:
    rig = Rig().tracking()
    rig.goal = np.array([-0.9, 1.9, -0.4])
    rig.step(20)
    assert rig.speed() > 0.2
    rig.bodies = False
    lost = rig.now
    while rig.state in (S.ALIGNING, S.TRACKING):
        rig.step()
    assert rig.now - lost <= 0.1 * NS
    assert rig.state is S.HOLDING
    assert "body" in rig.supervisor.reason
    rig.step(150)
    assert rig.speed() == 0.0
    rig.bodies = True
    rig.step(500)
    assert rig.state is S.TRACKING
    rig.judge()


def test_lost_feedback_holds_and_comes_back() -> None:
    rig = Rig().tracking()
    rig.feedback = False
    rig.step(60)
    assert rig.state is S.HOLDING
    assert "joint states" in rig.supervisor.reason
    rig.feedback = True
    rig.step(60)
    assert rig.state in (S.ALIGNING, S.TRACKING)


def test_an_arm_that_does_not_follow_holds_then_latches() -> None:
    rig = Rig().tracking()
    rig.follows = False
    rig.goal = np.array([0.9, 0.0, 0.0])
    rig.step(120)
    assert rig.state is S.HOLDING
    assert "follow" in rig.supervisor.reason
    rig.step(400)
    assert rig.state is S.STOPPED
    assert rig.supervisor.reset(rig.now) == ""
    assert rig.state is S.DISENGAGED


def test_dead_man_released_holds() -> None:
    rig = Rig(require_dead_man=True)
    rig.engaged()
    assert rig.state is S.HOLDING
    for _ in range(600):
        rig.supervisor.dead_man(rig.now, True)
        rig.step()
    assert rig.state is S.TRACKING
    rig.supervisor.dead_man(rig.now, False)
    rig.step()
    assert rig.state is S.HOLDING


def test_dead_man_times_out() -> None:
    rig = Rig(require_dead_man=True)
    rig.engaged()
    for _ in range(600):
        rig.supervisor.dead_man(rig.now, True)
        rig.step()
    rig.step(40)
    assert rig.state is S.HOLDING


def test_emergency_stop_latches_until_released_and_reset() -> None:
    rig = Rig().tracking()
    rig.goal = np.array([0.9, 0.0, 0.0])
    rig.step(20)
    rig.supervisor.emergency_stop(rig.now, "test")
    rig.step()
    assert rig.state is S.STOPPED
    assert rig.supervisor.engage(rig.now) != ""
    rig.step(200)
    assert rig.speed() == 0.0
    assert "pressed" in rig.supervisor.reset(rig.now)
    rig.supervisor.emergency_released(rig.now)
    assert rig.supervisor.reset(rig.now) == ""
    rig.engaged()
    rig.judge()


def test_disengaging_stops_first_and_then_leaves_the_arm_alone() -> None:
    rig = Rig().tracking()
    rig.goal = np.array([0.9, 0.0, 0.0])
    rig.step(20)
    rig.supervisor.disengage(rig.now)
    rig.step()
    assert rig.command.send
    rig.step(200)
    assert not rig.command.send
    rig.judge()


def test_every_message_ends_at_rest() -> None:
    rig = Rig().tracking()
    rig.goal = np.array([0.9, -1.9, 0.4])
    for _ in range(60):
        rig.step()
        assert np.abs(rig.command.points[-1][1]).max() == 0.0


def test_a_jump_of_the_goal_aligns_again() -> None:
    rig = Rig().tracking()
    rig.goal = np.array([0.9, -1.9, 0.4])
    rig.step()
    assert rig.state is S.ALIGNING
    rig.step(400)
    rig.judge()


def test_old_and_reversed_and_broken_goals_are_refused() -> None:
    rig = Rig().tracking()
    supervisor = rig.supervisor
    now = rig.now
    assert not supervisor.goal(now, now - 2 * NS, np.zeros(N))
    assert not supervisor.goal(now, now, np.zeros(N))  # not newer
    assert not supervisor.goal(now + 1, now + 1, np.array([np.nan, 0, 0]))
    assert not supervisor.goal(now + 1, now + 1, np.zeros(N + 1))
    assert supervisor.goal(now + 1, now + 1, np.zeros(N))


def test_a_clock_that_stands_still_sends_the_same() -> None:
    rig = Rig().tracking()
    first = rig.supervisor.tick(rig.now)
    for _ in range(10):
        again = rig.supervisor.tick(rig.now)
    assert again.time == first.time


@pytest.mark.parametrize("jump", [-3600 * NS, 3600 * NS])
def test_a_clock_jump_stops_and_then_continues(jump: int) -> None:
    rig = Rig().tracking()
    rig.goal = np.array([0.9, 0.0, 0.0])
    rig.step(20)
    before = rig.command.q
    rig.bodies = rig.feedback = False
    rig.now += jump
    rig.step(2)
    assert rig.state is S.HOLDING
    assert np.abs(rig.command.q - before).max() < 0.5
    rig.bodies = rig.feedback = True
    rig.step(600)
    assert rig.state is S.TRACKING


def test_a_clock_that_jumps_back_between_two_calls_moves_the_grid_once() -> None:
    """Regression from a hostile scenario: goal and tick both compensated the step."""
    rig = Rig().tracking()
    rig.now -= 3 * NS
    rig.supervisor.goal(rig.now, rig.now, rig.goal)
    rig.now += NS // 1000
    assert abs(rig.supervisor.tick(rig.now).time - rig.now) < 0.03 * NS


def test_an_emergency_stop_while_disengaged_commands_nothing() -> None:
    """Regression from a hostile scenario: the arm was commanded to its measured position."""
    rig = Rig()
    rig.step(20)
    rig.supervisor.emergency_stop(rig.now, "test")
    for k in range(40):
        rig.q = np.array([0.01 * k, 0.0, 0.0])
        rig.step()
    assert not rig.messages


def test_settings_that_would_come_too_late_are_refused() -> None:
    with pytest.raises(PallasError, match="body_timeout"):
        SupervisorSettings(body_timeout=0.2)
    with pytest.raises(PallasError, match="period"):
        SupervisorSettings(period=0.1)


@pytest.mark.parametrize(
    "wrong", [{"gain": 0.0}, {"gain": 1000.0}, {"look_ahead": -0.01}, {"look_ahead": float("nan")}]
)
def test_settings_that_would_swing_about_the_goal_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(
        PallasError, match=f"the supervisor's {next(iter(wrong))} is .* but must be from"
    ):
        SupervisorSettings(**wrong)  # type: ignore[arg-type]


def test_bodies_that_come_too_late_are_not_called_absent() -> None:
    rig = Rig().tracking()
    rig.bodies = False
    for _ in range(60):
        rig.supervisor.goal(rig.now, rig.now - round(0.62 * NS), rig.goal)
        rig.step()
    assert rig.state is S.HOLDING
    assert rig.command.reason == "bodies are refused because they are 0.62 s old (at most 0.5 s)"
    for _ in range(60):
        rig.supervisor.goal(rig.now, rig.now + 3 * NS, rig.goal)
        rig.step()
    assert "their stamps are 3.00 s ahead of this clock" in rig.command.reason
    rig.step(60)
    assert rig.command.reason == "no body arrives"
