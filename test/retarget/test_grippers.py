"""Grippers: from openings and triggers to supervised joint positions."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("pinocchio", reason="needs the extra [robot]")

from hpstm_ros.retarget.robots import Gripper
from hpstm_ros.safety.checker import check, executed
from hpstm_ros.safety.limits import SupervisorSettings
from hpstm_ros.simulation.gripper import SimulatedGripper
from hpstm_ros.teleoperation.grippers import ArmGripper
from hpstm_ros.teleoperation.trigger import GripperTrigger
from pallas_ros.body.errors import PallasError

NS = 1_000_000_000
MS = 1_000_000
PANDA = Gripper(
    ("finger",), np.array([0.04]), np.array([0.0]), np.array([0.1]), np.array([1.0]), 20.0,
    (("other", 0, 1.0, 0.0),),
)  # fmt: skip


class Rig:
    """A gripper, its supervisor, and a record of the commands."""

    def __init__(self) -> None:
        self.gripper = ArmGripper("arm", PANDA, SupervisorSettings())
        self.arm = SimulatedGripper(PANDA)
        self.now = 10 * NS
        self.messages = list[tuple[np.ndarray, np.ndarray]]()

    def step(self, led: bool = True, ticks: int = 1, feedback: bool = True) -> None:
        for _ in range(ticks):
            self.now += 8 * MS
            self.arm.advance(self.now)
            if feedback:
                self.gripper.joints(self.now, self.now, ("finger",), self.arm.q)
            self.motion = self.gripper.tick(self.now, led)
            if self.motion is not None:
                self.arm.command(self.motion.times, self.motion.q)
                opening = (self.motion.q - PANDA.closed) / (PANDA.open - PANDA.closed)
                self.messages.append((self.motion.times, opening))

    def judge(self) -> None:
        if self.messages:
            assert check(*executed(self.messages), self.gripper.supervisor.limits) == []


def test_it_closes_and_opens_within_its_limits() -> None:
    rig = Rig()
    rig.step(ticks=5)
    assert rig.motion is None  # nobody has asked for anything
    rig.gripper.supervisor.open(0.0)
    rig.step(ticks=150)
    np.testing.assert_allclose(rig.arm.positions, [0.0, 0.0], atol=2e-5)
    rig.gripper.supervisor.open(7.0)  # beyond open is open
    rig.step(ticks=150)
    np.testing.assert_allclose(rig.arm.positions, [0.04, 0.04], atol=2e-5)
    rig.judge()


def test_it_moves_only_while_the_arm_is_led() -> None:
    rig = Rig()
    rig.gripper.supervisor.open(0.0)
    rig.step(led=False, ticks=20)
    assert rig.motion is None
    assert rig.arm.q[0] == 0.04
    rig.step(ticks=20)
    moving = rig.arm.q[0]
    assert moving < 0.04
    rig.step(led=False, ticks=60)  # the dead-man switch is released: it stops and holds
    assert rig.motion is None
    held = rig.arm.q[0]
    assert 0.005 < held < moving
    rig.step(led=False, ticks=20)
    assert rig.arm.q[0] == pytest.approx(held, abs=1e-6)
    rig.judge()


def test_a_held_object_is_not_released_when_engaging_again() -> None:
    rig = Rig()
    rig.gripper.supervisor.open(0.0)
    rig.step(ticks=150)
    rig.arm.q[:] = 0.02  # something is between the fingers
    rig.step(led=False, ticks=5, feedback=True)
    rig.arm.q[:] = 0.02
    rig.gripper.joints(rig.now + MS, rig.now + MS, ("finger",), np.array([0.02]))
    rig.now += 8 * MS
    motion = rig.gripper.tick(rig.now, True)
    assert motion is not None
    assert motion.q.max() < 0.001


def test_a_gripper_of_unknown_place_is_not_driven() -> None:
    rig = Rig()
    rig.gripper.supervisor.open(0.0)
    rig.step(ticks=50, feedback=False)
    assert rig.motion is None


@given(st.lists(st.tuples(st.floats(), st.booleans(), st.integers(1, 20)), max_size=8))
def test_no_input_makes_it_pass_a_limit(inputs: list[tuple[float, bool, int]]) -> None:
    rig = Rig()
    for opening, led, ticks in inputs:
        assert rig.gripper.supervisor.open(opening) == bool(np.isfinite(opening))
        rig.step(led, ticks)
        if rig.motion is not None:
            assert (rig.motion.q >= 0.0).all()
            assert (rig.motion.q <= 0.04).all()


def readings(trigger: GripperTrigger, values: list[float]) -> Iterator[float | None]:
    for value in values:
        yield trigger.opening([0.0, 0.0, value], [0, 1])


def test_a_trigger_closes_in_proportion() -> None:
    trigger = GripperTrigger("axis:2")
    assert list(readings(trigger, [0.0, 1.0, 0.0, -1.0, -3.0])) == [None, 1.0, 0.5, 0.0, 0.0]
    assert GripperTrigger("axis:9").opening([0.0], []) is None
    assert GripperTrigger("axis:0").opening([float("nan")], []) is None


def test_a_button_closes() -> None:
    assert GripperTrigger("button:1").opening([], [0, 1]) == 0.0
    assert GripperTrigger("button:0").opening([], [0, 1]) == 1.0


@pytest.mark.parametrize("text", ["", "axis", "axis:-1", "knob:2", "axis:1.5"])
def test_invalid_triggers_are_rejected(text: str) -> None:
    with pytest.raises(PallasError, match="axis:N or button:N"):
        GripperTrigger(text)
    with pytest.raises(PallasError, match="differently"):
        GripperTrigger("axis:1", 0.5, 0.5)
