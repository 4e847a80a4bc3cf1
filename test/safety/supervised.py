"""A supervisor on a simulated clock, for the tests."""

import numpy as np

from hpstm_ros.safety.checker import check, executed
from hpstm_ros.safety.limits import Limits, SupervisorSettings
from hpstm_ros.safety.supervisor import Supervisor, SupervisorState

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
    """A supervisor, a clock, an ideal arm, and a record of the commands."""

    def __init__(self, **changes: object) -> None:
        self.supervisor = Supervisor(
            LIMITS, SupervisorSettings(**{"require_dead_man": False, **changes})
        )  # type: ignore[arg-type]
        self.period = round(self.supervisor.settings.period * NS)
        self.now = NS
        self.q = np.zeros(N)
        self.goal = np.zeros(N)
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
                self.messages.append(
                    (self.command.times, np.array([p[0] for p in self.command.points]))
                )
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
