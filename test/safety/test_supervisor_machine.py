"""The supervisor under arbitrary calls in any order (Hypothesis)."""

import numpy as np
import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

pytest.importorskip("ruckig", reason="needs the extra [robot]")

from supervised import NS, N, Rig, S


class HostileSupervisor(RuleBasedStateMachine):
    """Arbitrary calls in any order: no limit is violated, nothing is raised, every message ends at
    rest.
    """

    @initialize(start=st.lists(st.floats(-0.4, 0.4), min_size=N, max_size=N))
    def begin(self, start: list[float]) -> None:
        self.rig = Rig()
        self.rig.q = np.array(start)
        self.rig.step()
        self.engage()

    @rule(ticks=st.integers(1, 40))
    def go_on(self, ticks: int) -> None:
        self.rig.step(ticks)

    @rule(
        goal=st.lists(
            st.floats(-10, 10, allow_nan=False)
            | st.sampled_from([float("nan"), float("inf"), 1e300]),
            min_size=N,
            max_size=N,
        )
    )
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
            assert (
                np.abs(self.rig.command.points[-1][1]).max() == 0.0
                if self.rig.command.points
                else True
            )

    def teardown(self) -> None:
        if hasattr(self, "rig"):
            self.rig.judge()


TestHostileSupervisor = HostileSupervisor.TestCase
TestHostileSupervisor.settings = hypothesis_settings(
    max_examples=30, stateful_step_count=40, deadline=None
)
