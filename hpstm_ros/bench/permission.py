"""Whether an arm may move, from a hostile run's own knowledge: independent of the supervisor."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.bench.hostile_bodies import ARMS
from hpstm_ros.safety.limits import SupervisorSettings
from pallas_ros.body.frames import BodyFrame

F64 = NDArray[np.float64]
_NS = 1_000_000_000


STOP_WITHIN_NS = _NS // 10
_FARTHEST_M = 1.3
"""m, largest distance between consecutive bodies of the same operator."""


@dataclass
class Permission:
    """The scenario's own knowledge of whether the arm may move, independent of the supervisor."""

    settings: SupervisorSettings
    engaged: bool = False
    pressed: int | None = None
    body: int | None = None
    body_stamps: dict[str, int] = field(default_factory=dict)  # newest of each person: own clocks
    joints: int | None = None
    operator: str | None = None
    place: F64 | None = None
    measured: tuple[int, int] | None = (
        None  # stamp of the newest measurement; the earlier of that and its arrival
    )
    fault: bool = False
    blind: bool = False

    def engages(self) -> None:
        """The arm is engaged: the next accepted person is the operator."""
        self.engaged = True
        self.operator = None
        self.place = None

    def stopped(self) -> None:
        """The arm has stopped or disengaged: it must not move until it is engaged again."""
        self.engaged = False

    def saw(self, now: int, body: BodyFrame) -> str:
        """Record an accepted body; returns why it should have been rejected, or empty.

        While the arm is not engaged, bodies of all people are accepted: the next operator is chosen
        from them.
        """
        used = body.positions[[0, *ARMS]]
        if not abs(now - body.stamp) <= self.settings.max_body_age * _NS:
            return "a body of another time was accepted"
        if body.stamp <= self.body_stamps.get(body.body_id, body.stamp - 1):
            return "a body not newer than the person's last was accepted"
        if not np.isfinite(used).any(axis=1).any():
            return "a body that is not finite was accepted"
        self.body = now
        self.body_stamps[body.body_id] = body.stamp
        if self.measured is None or body.newest_input > self.measured[0]:
            self.measured = (body.newest_input, min(body.newest_input, now))
        return self._is_operator(body) if self.engaged else ""

    def _is_operator(self, body: BodyFrame) -> str:
        place = self.place
        here = body.positions[0, :2]
        if self.operator not in (None, body.body_id):
            return "a stranger's body was accepted"
        if place is not None and float(np.linalg.norm(here - place)) > _FARTHEST_M:
            return "a body of the operator's id in another place was accepted"
        self.operator = body.body_id
        self.place = here
        return ""

    def clock_went_back(self) -> None:
        """Earlier inputs no longer count as fresh."""
        self.pressed = self.body = self.joints = None
        self.body_stamps.clear()
        self.measured = self.place = None

    def missing(self, now: int) -> str:
        """Why the arm must not move at ``now``, or empty."""
        settings = self.settings
        if not self.engaged:
            return "without being engaged"
        if settings.require_dead_man and (
            self.pressed is None or now - self.pressed > settings.dead_man_timeout * _NS
        ):
            return "with the dead-man switch released"
        if self.body is None or now - self.body > STOP_WITHIN_NS:
            return "0.1 s after the last good body"
        if self.measured is None or now - self.measured[1] > STOP_WITHIN_NS:
            return "0.1 s after the newest measurement"
        if self.fault:
            return "with a safety input that is not connected"
        if self.blind:
            return "with kinematics that cannot be computed"
        if self.joints is None or now - self.joints > settings.feedback_timeout * _NS:
            return "without joint states"
        return ""
