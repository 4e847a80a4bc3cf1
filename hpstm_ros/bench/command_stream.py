"""The commands of a hostile run, and their check against every limit."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.retarget.robots import RobotDescription
from hpstm_ros.safety import checker
from hpstm_ros.safety.checker import Violation
from hpstm_ros.safety.limits import Limits

F64 = NDArray[np.float64]

_NS = 1_000_000_000


@dataclass
class CommandStream:
    """The commands since the arm was last engaged, on a clock without jumps.

    Attributes:
        messages: times (N,) ns and states (N, 3, n) of each command: positions, velocities,
            accelerations.
        end: (n,) rad, rest position according to the last command.
    """

    messages: list[tuple[NDArray[np.int64], F64]] = field(default_factory=list)
    end: F64 | None = None

    def violations(
        self, robot: RobotDescription, limits: Limits, speeds: Sequence[tuple[int, float]]
    ) -> list[Violation]:
        """Every limit that the executed commands violate; ``speeds`` as in `allowed_speed`."""
        if not self.messages:
            return []
        times, states = checker.executed(self.messages)
        q = states[:, 0]
        found = checker.check(times, q, limits) or checker.check_states(times, states, limits)
        if not found:
            tips = [robot.frame(arm.tip) for arm in robot.arms]
            allowed = allowed_speed(times, speeds, limits)
            found = checker.check_tips(times, q, robot.model, tips, limits, allowed)
            found += checker.check_collisions(times, q, robot.model, robot.geometry)
        return found


def allowed_speed(
    times: NDArray[np.int64], speeds: Sequence[tuple[int, float]], limits: Limits
) -> F64:
    """(N,) m/s: the highest allowed tip speed within one braking time before each instant.

    Args:
        times: (N,) ns.
        speeds: since when, ns, each tip speed was allowed, m/s; in order of time.
        limits: of the joints.
    """
    allowed = np.zeros(len(times))
    brake = _braking(limits) + _NS // 20
    for (since, speed), until in zip(
        speeds, [*(since for since, _ in speeds[1:]), 2**62], strict=True
    ):
        within = (times >= since) & (times <= until + brake)
        allowed[within] = np.maximum(allowed[within], speed)
    return allowed


def _braking(limits: Limits) -> int:
    """The longest time in ns for a joint to brake to rest from any state within its limits."""
    return round(
        float(np.max(limits.velocity / limits.acceleration + 2 * limits.acceleration / limits.jerk))
        * _NS
    )
