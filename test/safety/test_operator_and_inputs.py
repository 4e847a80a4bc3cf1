"""Requirements of the supervisor on its inputs: recent measurements of the operator, a connected
switch, delivered commands.
"""

import math
from collections import deque

import numpy as np
import pytest

pytest.importorskip("ruckig", reason="needs the extra [robot]")

from supervised import NS, N, Rig, S

from hpstm_ros.safety.limits import SupervisorSettings
from pallas_ros.body.errors import PallasError


class Crowd(Rig):
    """A rig whose bodies have ids and measurements of a given age."""

    def __init__(self, **changes: object) -> None:
        super().__init__(**changes)
        self.bodies = False
        self.people = {"anna": np.array([0.2, 0.1, 0.0])}
        self.measured: int | None = None
        self.age = 0

    def step(self, ticks: int = 1) -> None:
        for _ in range(ticks):
            stamp = self.now + self.period
            for name, goal in getattr(self, "people", {}).items():
                measured = stamp - self.age if self.measured is None else self.measured
                self.supervisor.goal(stamp, stamp, goal, 1.0, measured, name)
            super().step()


def test_engaging_locks_the_operator_and_another_never_takes_over() -> None:
    rig = Crowd()
    rig.tracking()
    assert rig.supervisor.operator == "anna"
    rig.people["ben"] = np.array([-0.9, -1.0, 0.4])
    rig.step(200)
    assert rig.state is S.TRACKING
    np.testing.assert_allclose(rig.command.q, rig.people["anna"], atol=1e-3)
    del rig.people["anna"]
    lost = rig.now
    held = rig.command.q
    while rig.state is S.TRACKING:
        rig.step()
    assert rig.now - lost <= 0.1 * NS
    assert "of 'anna'" in rig.supervisor.reason
    rig.step(500)
    assert rig.state is S.HOLDING
    np.testing.assert_allclose(rig.command.q, held, atol=1e-3)
    rig.people["anna"] = np.array([0.2, 0.1, 0.0])
    rig.step(500)
    assert rig.state is S.TRACKING
    rig.judge()


def test_a_long_id_is_shortened_wherever_it_is_shown() -> None:
    rig = Rig()
    rig.bodies = False
    rig.engaged()
    name = "x\n" * 5000
    assert rig.supervisor.goal(rig.now, rig.now, rig.goal, operator=name)
    rig.step(40)
    assert "no body of 'x" in rig.supervisor.reason and len(rig.supervisor.reason) < 200
    rig.step(1300)
    assert "was not seen" in rig.supervisor.reason and len(rig.supervisor.reason) < 200


def test_a_new_engage_takes_whoever_is_there() -> None:
    rig = Crowd()
    rig.tracking()
    rig.supervisor.disengage(rig.now)
    assert rig.supervisor.operator is None
    rig.people = {"ben": np.array([-0.5, 0.0, 0.0])}
    rig.step(100)
    rig.messages = []
    rig.tracking()
    assert rig.supervisor.operator == "ben"
    rig.judge()


def test_engaged_before_anybody_came_the_first_is_locked() -> None:
    rig = Crowd()
    rig.people = {}
    rig.engaged()
    assert rig.state is S.HOLDING and rig.supervisor.operator is None
    rig.people = {"ben": np.zeros(N)}
    rig.step(100)
    rig.people["anna"] = np.ones(N)
    rig.step(100)
    assert rig.supervisor.operator == "ben"


def test_an_operator_who_stays_away_disengages_the_arm() -> None:
    rig = Crowd(operator_absence=2.0)
    rig.tracking()
    del rig.people["anna"]
    rig.step(round(1.9 / 0.008))
    assert rig.state is S.HOLDING
    rig.step(30)
    assert rig.state is S.DISENGAGED
    assert "'anna' was not seen for 2 s" in rig.supervisor.reason
    rig.people = {"anna": np.ones(N)}
    rig.step(200)
    assert rig.state is S.DISENGAGED


@pytest.mark.parametrize("period", [0.006, 0.008, 1 / 60])
def test_bodies_that_repeat_an_old_measurement_stop_the_arm_in_time(period: float) -> None:
    """After an estimator has stopped, a smoother may continue with new stamps."""
    rig = Crowd(period=period)
    rig.tracking()
    rig.measured = lost = rig.now
    while rig.state is S.TRACKING:
        rig.step()
    assert rig.now - lost <= 0.1 * NS
    assert "no newer measurement" in rig.supervisor.reason
    rig.step(300)
    assert rig.state is S.HOLDING
    rig.judge()


def test_measurements_that_are_too_old_stop_the_arm_though_newer_ones_keep_coming() -> None:
    rig = Crowd()
    rig.tracking()
    assert rig.command.measurement_age < 0.02
    rig.age = round(0.15 * NS)
    rig.step(30)
    assert rig.state is S.HOLDING
    assert "0.15 s old" in rig.supervisor.reason
    camera = Crowd(max_measurement_age=0.3)
    camera.age = round(0.15 * NS)
    camera.tracking()


@pytest.mark.parametrize("ahead", [0.3, 3600.0])
def test_one_stamp_from_the_future_does_not_blind(ahead: float) -> None:
    rig = Crowd()
    rig.tracking()
    then = rig.now + round(ahead * NS)
    rig.supervisor.goal(rig.now, then, np.zeros(N), 1.0, then, "anna")
    rig.supervisor.goal(rig.now, rig.now, np.zeros(N), 1.0, then, "anna")
    rig.supervisor.measured(rig.now, then, np.zeros(N))
    rig.step(round((min(ahead, 1.0) + 4) / 0.008))
    assert rig.state is S.TRACKING


def test_a_switch_that_must_be_heard_prevents_engaging_and_its_silence_stops() -> None:
    rig = Rig(emergency_stop="heartbeat")
    rig.step(20)
    assert "silent" in rig.supervisor.engage(rig.now)
    for _ in range(600):
        rig.supervisor.emergency_released(rig.now, "switch")
        if rig.state is S.DISENGAGED:
            rig.supervisor.engage(rig.now)
        rig.step()
    assert rig.state is S.TRACKING
    silent = rig.now
    while rig.state is S.TRACKING:
        rig.step()
    assert rig.state is S.STOPPED
    assert rig.now - silent <= 0.52 * NS
    rig.step(200)
    assert rig.supervisor.reset(rig.now) == ""
    assert "silent" in rig.supervisor.engage(rig.now)


def test_a_switch_that_must_be_connected_prevents_engaging_and_its_loss_stops() -> None:
    rig = Rig(emergency_stop="connected")
    rig.step(20)
    assert "no emergency-stop switch" in rig.supervisor.engage(rig.now)
    rig.supervisor.emergency_switches(rig.now, {"switch"})
    rig.tracking()
    rig.supervisor.emergency_switches(rig.now, set())
    rig.step()
    assert rig.state is S.STOPPED


def both_report(rig: Rig, ticks: int, *switches: str) -> None:
    for _ in range(ticks):
        for switch in switches:
            rig.supervisor.emergency_released(rig.now, switch)
        rig.step()


def test_a_switch_that_falls_silent_is_not_replaced_by_another_that_reports() -> None:
    rig = Rig(emergency_stop="heartbeat")
    rig.supervisor.emergency_switches(rig.now, {"one", "two"})
    both_report(rig, 20, "one", "two")
    rig.engaged()
    both_report(rig, 500, "one", "two")
    assert rig.state is S.TRACKING
    silent = rig.now
    while rig.state is S.TRACKING and rig.now - silent <= NS:
        both_report(rig, 1, "one")
    assert rig.state is S.STOPPED and "silent" in rig.supervisor.reason
    assert rig.now - silent <= 0.52 * NS
    both_report(rig, 200, "one")
    assert "silent" in rig.supervisor.reset(rig.now)
    rig.supervisor.emergency_switches(rig.now, {"one"})  # the other is removed
    assert rig.supervisor.reset(rig.now) == ""
    rig.engaged()


def test_a_connected_switch_that_never_reports_stops_the_arm() -> None:
    rig = Rig(emergency_stop="heartbeat")
    both_report(rig, 20, "one")
    rig.supervisor.emergency_switches(rig.now, {"one", "two"})
    both_report(rig, 100, "one")
    assert "silent" in rig.supervisor.engage(rig.now)
    both_report(rig, 1, "one", "two")
    assert rig.supervisor.engage(rig.now) == ""


def test_a_switch_that_left_while_disengaged_prevents_engaging_until_a_reset() -> None:
    for mode in ("connected", "heartbeat"):
        rig = Rig(emergency_stop=mode)
        rig.supervisor.emergency_switches(rig.now, {"one", "two"})
        both_report(rig, 20, "one", "two")
        rig.supervisor.emergency_switches(rig.now, {"one"})
        both_report(rig, 100, "one")
        assert "switch" in rig.supervisor.engage(rig.now)
        assert rig.supervisor.reset(rig.now) == ""
        assert "nothing to reset" in rig.supervisor.reset(rig.now)
        assert rig.supervisor.engage(rig.now) == ""


def test_of_two_connected_switches_the_loss_of_one_stops() -> None:
    rig = Rig(emergency_stop="connected")
    rig.supervisor.emergency_switches(rig.now, {"one", "two"})
    rig.tracking()
    rig.supervisor.emergency_switches(rig.now, {"one"})
    rig.step()
    assert rig.state is S.STOPPED and "disconnected" in rig.supervisor.reason


def test_more_switches_than_are_kept_apart_stop_the_arm() -> None:
    rig = Rig(emergency_stop="heartbeat", require_dead_man=True)
    for k in range(100):
        rig.supervisor.emergency_released(rig.now, str(k))
        rig.supervisor.dead_man(rig.now, True, str(k))
    assert "silent" in rig.supervisor.engage(rig.now)
    assert not rig.supervisor.flags(rig.now)[1]
    assert len(rig.supervisor._switches._known) <= 65
    assert len(rig.supervisor._dead_man._known) <= 65


def hold(rig: Rig, ticks: int, **held: bool) -> None:
    for _ in range(ticks):
        for switch, pressed in held.items():
            rig.supervisor.dead_man(rig.now, pressed, switch)
        rig.step()


def test_a_dead_mans_switch_that_falls_silent_while_held_is_not_replaced_by_another() -> None:
    rig = Rig(require_dead_man=True)
    hold(rig, 20, one=True, two=True)
    rig.engaged()
    hold(rig, 500, one=True, two=True)
    assert rig.state is S.TRACKING
    silent = rig.now
    while rig.state is S.TRACKING and rig.now - silent <= NS:
        hold(rig, 1, one=True)
    assert rig.now - silent <= 0.27 * NS
    assert "silent" in rig.supervisor.reason
    hold(rig, 500, one=True)
    assert rig.state is S.HOLDING
    hold(rig, 500, one=True, two=True)  # it reports again
    assert rig.state is S.TRACKING
    hold(rig, 100, one=True)
    rig.supervisor.disengage(rig.now)
    hold(rig, 100, one=True)
    rig.engaged()  # a human goes on without it
    hold(rig, 500, one=True)
    assert rig.state is S.TRACKING


def test_a_released_dead_mans_switch_that_falls_silent_stays_released() -> None:
    """Somebody released it because of danger, and then its radio failed."""
    rig = Rig(require_dead_man=True)
    hold(rig, 20, one=True, two=True)
    rig.engaged()
    hold(rig, 500, one=True, two=True)
    hold(rig, 3, one=True, two=False)
    hold(rig, 500, one=True)
    assert rig.state is S.HOLDING
    hold(rig, 500, one=True, two=True)
    assert rig.state is S.TRACKING


def test_of_two_switches_both_must_be_released() -> None:
    rig = Rig().tracking()
    rig.supervisor.emergency_stop(rig.now, "one", source="1")
    rig.supervisor.emergency_stop(rig.now, "two", source="2")
    rig.supervisor.emergency_released(rig.now, "2")
    rig.step(200)
    assert "pressed" in rig.supervisor.reset(rig.now)
    rig.supervisor.emergency_released(rig.now, "1")
    assert rig.supervisor.reset(rig.now) == ""


def test_a_switch_that_was_unplugged_pressed_is_released_by_the_one_in_its_place() -> None:
    rig = Rig().tracking()
    rig.supervisor.emergency_stop(rig.now, "one", source="1")
    rig.supervisor.emergency_switches(rig.now, {"2"})
    rig.step(200)
    assert "pressed" in rig.supervisor.reset(rig.now)
    rig.supervisor.emergency_released(rig.now, "2")
    assert rig.supervisor.reset(rig.now) == ""


def test_a_dead_mans_switch_that_is_released_outweighs_one_that_is_pressed() -> None:
    rig = Rig(require_dead_man=True)
    rig.step(20)
    for _ in range(100):
        rig.supervisor.dead_man(rig.now, True, "one")
        rig.supervisor.dead_man(rig.now, False, "two")
        rig.supervisor.dead_man(rig.now, True, "one")
        assert not rig.supervisor.flags(rig.now)[1]
        rig.step()
    for _ in range(100):  # unplugged
        rig.supervisor.dead_man(rig.now, True, "one")
        rig.step()
    assert rig.supervisor.flags(rig.now)[1]


def test_a_late_camera_is_named_while_the_arm_is_disengaged_too() -> None:
    rig = Crowd()
    rig.people = {}
    for _ in range(30):
        stamp = rig.now + rig.period
        assert not rig.supervisor.goal(stamp, stamp - round(0.62 * NS), np.zeros(N), 1.0)
        rig.step()
    assert rig.state is S.DISENGAGED
    assert rig.command.reason == (
        "not engaged yet; bodies are refused because they are 0.62 s old (at most 0.5 s)"
    )
    rig.step(100)  # the camera is gone: its lateness is no longer the reason
    assert rig.command.reason == "not engaged yet"


def test_a_connection_that_is_wrong_holds_the_arm() -> None:
    rig = Rig()
    rig.step(20)
    rig.supervisor.fault("/emergency_stop", "the publisher's type is wrong")
    assert "type is wrong" in rig.supervisor.engage(rig.now)
    rig.supervisor.fault("/emergency_stop", "")
    rig.tracking()
    rig.supervisor.fault("/joint_states", "no publisher matches")
    rig.step()
    assert rig.state is S.HOLDING and rig.supervisor.reason == "no publisher matches"
    rig.supervisor.fault("/joint_states", "")
    rig.step(500)
    assert rig.state is S.TRACKING


class Late(Rig):
    """An arm that receives its commands late and sags."""

    def __init__(self, delay: float, sag: float = 0.0) -> None:
        self.delay = delay
        self.sag = sag
        self.on_the_way: deque[tuple[int, np.ndarray]] = deque()
        super().__init__()
        self.follows = False

    def step(self, ticks: int = 1) -> None:
        for _ in range(ticks):
            super().step()
            if self.command.send:
                self.on_the_way.append((self.now, self.command.points[0][0] + self.sag))
            while self.on_the_way and self.on_the_way[0][0] <= self.now - self.delay * NS:
                self.q = self.on_the_way.popleft()[1]

    def sway(self, seconds: float) -> set[S]:
        states = set()
        for _ in range(round(seconds / self.supervisor.settings.period)):
            self.goal = 0.3 * np.sin(2.5 * self.now / NS + np.arange(N))
            self.step()
            states.add(self.state)
        return states


@pytest.mark.parametrize(("delay", "late"), [(0.0, False), (0.06, False), (0.2, True)])
@pytest.mark.parametrize("sag", [0.0, 0.02])
def test_commands_that_take_effect_late_are_noticed(delay: float, late: bool, sag: float) -> None:
    rig = Late(delay, sag).tracking()
    states = rig.sway(4.0)
    assert (S.HOLDING in states) is late
    assert rig.command.delivery_lag == pytest.approx(delay, abs=0.04)
    rig.judge()


def test_an_arm_at_rest_has_no_measurable_delay() -> None:
    rig = Late(0.2).tracking()
    rig.step(500)
    assert rig.state is S.TRACKING


def test_a_command_that_was_handed_over_late_holds_the_arm() -> None:
    rig = Rig().tracking()
    rig.supervisor.sent(rig.now + NS // 500)
    rig.step()
    assert rig.state is S.TRACKING
    rig.supervisor.sent(rig.now + NS // 10)
    rig.step()
    assert rig.state is S.HOLDING and "late" in rig.supervisor.reason
    rig.step(500)
    assert rig.state is S.TRACKING


def test_a_gap_between_commands_holds_the_arm() -> None:
    rig = Rig().tracking()
    rig.now += round(0.15 * NS)
    rig.step()
    assert rig.state is S.HOLDING
    rig.step(500)
    assert rig.state is S.TRACKING
    rig.judge()


@pytest.mark.parametrize(
    "wrong",
    [
        {"body_timeout": math.nan},
        {"dead_man_timeout": math.nan},
        {"max_measurement_age": 5.0},
        {"deviation": math.nan},
        {"operator_absence": math.inf},
        {"emergency_stop": "maybe"},
    ],
)
def test_settings_that_switch_a_watchdog_off_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(PallasError):
        SupervisorSettings(**wrong)  # type: ignore[arg-type]
