"""The supervisor on a bare clock: its states, its watchdogs, and that nothing it sends passes a limit."""

import numpy as np
import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

pytest.importorskip("ruckig", reason="needs the extra [robot]")

from hpstm_ros.safety.checker import check, executed
from hpstm_ros.safety.limits import Limits, Settings
from hpstm_ros.safety.supervisor import Supervisor, SupervisorState
from pallas_ros.body.errors import PallasError

S = SupervisorState
NS = 1_000_000_000
N = 3
LIMITS = Limits(
    tuple("abc"),
    -np.array([1.0, 2.0, 0.5]),
    np.array([1.0, 2.0, 0.5]),
    np.array([1.0, 2.0, 3.0]),
    np.array([4.0, 5.0, 10.0]),
    np.array([60.0, 100.0, 400.0]),
    0.25,
    -np.ones(3),
    np.ones(3),
)


class Rig:
    """A supervisor, a clock, an arm that follows, and a record of what was sent."""

    def __init__(self, **changes: object) -> None:
        self.supervisor = Supervisor(LIMITS, Settings(**{"require_dead_man": False, **changes}))  # type: ignore[arg-type]
        self.period = round(self.supervisor.settings.period * NS)
        self.now, self.q, self.goal = NS, np.zeros(N), np.zeros(N)
        self.bodies = self.feedback = self.follows = True
        self.messages: list[tuple[np.ndarray, np.ndarray]] = []
        self.supervisor.measured(self.now, self.now, self.q)
        self.supervisor.tick(self.now)

    def step(self, ticks: int = 1) -> None:
        for _ in range(ticks):
            self.now += self.period
            if self.feedback:
                self.supervisor.measured(self.now, self.now, self.q)
            if self.bodies:
                self.supervisor.goal(self.now, self.now, self.goal)
            self.command = self.supervisor.tick(self.now)
            if self.command.send:
                self.messages.append((self.command.times, np.array([p[0] for p in self.command.points])))
                if self.follows:
                    self.q = self.command.points[0][0]

    def engaged(self) -> "Rig":
        if not self.supervisor.flags(self.now)[0]:
            self.step(10)
        assert self.supervisor.engage(self.now) == ""
        self.step(2)
        return self

    def tracking(self) -> "Rig":
        self.engaged()
        self.step(500)
        assert self.state is S.TRACKING
        return self

    @property
    def state(self) -> SupervisorState:
        return self.supervisor.state

    def speed(self) -> float:
        return float(np.abs(self.command.dq).max())

    def judge(self) -> None:
        if self.messages:
            assert check(*executed(self.messages), LIMITS) == []


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
    """The first, or the first after a silence: the arm may be anywhere by now."""
    rig = Rig()
    rig.supervisor.measured(rig.now + 1, rig.now + 1, rig.q)
    assert "begun to arrive" in rig.supervisor.engage(rig.now + 2)
    rig.step(20)
    rig.now += 3 * NS // 10
    rig.supervisor.measured(rig.now, rig.now, rig.q)
    assert "begun to arrive" in rig.supervisor.engage(rig.now + 1)
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
    """Or one whose joint states jump: a single wrong sample would be taken for where it is."""
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
    rig.bodies, lost = False, rig.now
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
    rig.follows, rig.goal = False, np.array([0.9, 0.0, 0.0])
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


def test_a_jump_of_the_goal_aligns_anew() -> None:
    rig = Rig().tracking()
    rig.goal = np.array([0.9, -1.9, 0.4])
    rig.step()
    assert rig.state is S.ALIGNING
    rig.step(400)
    rig.judge()


def test_old_and_reversed_and_broken_goals_are_refused() -> None:
    rig = Rig().tracking()
    supervisor, now = rig.supervisor, rig.now
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
def test_a_jump_of_the_clock_stops_and_goes_on(jump: int) -> None:
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
    """Found by a hostile story: goal and tick both took the step back into account."""
    rig = Rig().tracking()
    rig.now -= 3 * NS
    rig.supervisor.goal(rig.now, rig.now, rig.goal)
    rig.now += NS // 1000
    assert abs(rig.supervisor.tick(rig.now).time - rig.now) < 0.03 * NS


def test_an_emergency_stop_while_disengaged_commands_nothing() -> None:
    """Found by a hostile story: the arm was commanded to wherever it was measured to be."""
    rig = Rig()
    rig.step(20)
    rig.supervisor.emergency_stop(rig.now, "test")
    for k in range(40):
        rig.q = np.array([0.01 * k, 0.0, 0.0])
        rig.step()
    assert not rig.messages


def test_settings_that_would_come_too_late_are_refused() -> None:
    with pytest.raises(PallasError, match="body_timeout"):
        Settings(body_timeout=0.2)
    with pytest.raises(PallasError, match="period"):
        Settings(period=0.1)


@pytest.mark.parametrize("wrong", [{"gain": 0.0}, {"gain": 1000.0}, {"look_ahead": -0.01}, {"look_ahead": float("nan")}])
def test_settings_that_would_swing_about_the_goal_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(PallasError, match=f"the supervisor's {next(iter(wrong))} is .* but must be from"):
        Settings(**wrong)  # type: ignore[arg-type]


class HostileSupervisor(RuleBasedStateMachine):
    """Whatever is called in whatever order: no limit is passed, nothing is raised, every message ends at rest."""

    @initialize(start=st.lists(st.floats(-0.4, 0.4), min_size=N, max_size=N))
    def begin(self, start: list[float]) -> None:
        self.rig = Rig()
        self.rig.q = np.array(start)
        self.rig.step()
        self.engage()

    @rule(ticks=st.integers(1, 40))
    def go_on(self, ticks: int) -> None:
        self.rig.step(ticks)

    @rule(goal=st.lists(st.floats(-10, 10, allow_nan=False) | st.sampled_from([float("nan"), float("inf"), 1e300]), min_size=N, max_size=N))
    def send_anywhere(self, goal: list[float]) -> None:
        self.rig.goal = np.array(goal)

    @rule(confidence=st.floats() | st.just(0.2), age=st.integers(-(10**10), 10**10))
    def odd_goal(self, confidence: float, age: int) -> None:
        self.rig.supervisor.goal(self.rig.now, self.rig.now - age, np.zeros(N), confidence)

    @rule(q=st.lists(st.floats(), min_size=N, max_size=N), age=st.integers(-(10**9), 10**9))
    def odd_joints(self, q: list[float], age: int) -> None:
        self.rig.supervisor.measured(self.rig.now, self.rig.now - age, np.array(q))

    @rule(seconds=st.floats(0, 2))
    def stall(self, seconds: float) -> None:
        self.rig.now += round(seconds * NS)

    @rule(which=st.sampled_from(["bodies", "feedback", "follows"]))
    def switch(self, which: str) -> None:
        setattr(self.rig, which, not getattr(self.rig, which))

    @rule()
    def stop(self) -> None:
        self.rig.supervisor.emergency_stop(self.rig.now, "machine")

    @rule()
    def disengage(self) -> None:
        self.rig.supervisor.disengage(self.rig.now)

    @rule()
    def reset(self) -> None:
        self.rig.supervisor.emergency_released(self.rig.now)
        self.rig.supervisor.reset(self.rig.now)

    @precondition(lambda self: self.rig.state is S.DISENGAGED)
    @rule()
    def engage(self) -> None:
        self.rig.judge()
        if not self.rig.supervisor.engage(self.rig.now):
            self.rig.messages = []

    @invariant()
    def ends_at_rest(self) -> None:
        if hasattr(self, "rig") and self.rig.messages:
            assert np.abs(self.rig.command.points[-1][1]).max() == 0.0 if self.rig.command.points else True

    def teardown(self) -> None:
        if hasattr(self, "rig"):
            self.rig.judge()


TestHostileSupervisor = HostileSupervisor.TestCase
TestHostileSupervisor.settings = hypothesis_settings(max_examples=30, stateful_step_count=40, deadline=None)
