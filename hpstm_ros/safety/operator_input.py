"""The operator's bodies as goals for the joints: which are admitted, and what is wrong."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.safety.goal import GoalPath, JointGoal
from hpstm_ros.safety.limits import Limits, SupervisorSettings
from pallas_ros.core.errors import echoed

F64 = NDArray[np.float64]

_NS = 1_000_000_000
_NEVER = -(10**18)


@dataclass(frozen=True, slots=True)
class _News:
    """The newest measurement: its stamp, the stamp limited to the supervisor's clock, and when it
    was first received; ns.
    """

    stamp: int
    taken: int
    heard: int


class OperatorInput:
    """Goals from the operator's bodies, and the age of the measurements in them.

    Times are ns of the supervisor's clock.

    Attributes:
        goal: the newest goal, or None.
        operator: id of the body that it is from.
        jumped: whether it is farther from the goal before than a body can move.
    """

    def __init__(self, limits: Limits, settings: SupervisorSettings) -> None:
        """No goal yet."""
        self.goal: JointGoal | None = None
        self.operator = ""
        self.jumped = False
        self._limits = limits
        self._settings = settings
        self._path = GoalPath(limits)
        self._news: _News | None = None
        self._aged: tuple[int, str] = (_NEVER, "")

    def take(
        self, now: int, stamp: int, q: F64, confidence: float, measured: int, operator: str
    ) -> bool:
        """Set a goal; False if it is refused (not finite, not newer, too old).

        Args:
            now: ns.
            stamp: ns, of the body.
            q: (n,) rad.
            confidence: 0 to 1.
            measured: ns, stamp of the newest measurement in the body.
            operator: id of the body.
        """
        if (
            q.shape != self._limits.lower.shape
            or not bool(np.isfinite(q).all())
            or not math.isfinite(confidence)
        ):
            return False
        last = self.goal if operator == self.operator else None
        most = self._settings.max_body_age * _NS
        if (
            abs(now - stamp) > most
            or measured - now > most
            or (last is not None and stamp <= last.stamp)
        ):
            self._note_age(now, stamp, most)
            return False
        q = np.clip(q, self._limits.lower, self._limits.upper)
        self.jumped = (
            last is not None and not float(np.abs(q - last.q).max()) <= self._settings.goal_jump
        )
        if self.jumped or operator != self.operator:
            self._path.restart()
        if operator != self.operator or self._news is None or measured > self._news.stamp:
            self._news = _News(measured, min(measured, now), now)
        self.goal = self._path.add(stamp, now, q, min(max(confidence, 0.0), 1.0))
        self.operator = operator
        return True

    def _note_age(self, now: int, stamp: int, most: float) -> None:
        """Record why bodies that arrive are refused for their stamps, so that the reason differs
        from "no body arrives".
        """
        if now - stamp > most:
            age = f"{(now - stamp) / _NS:.2f} s old"
            text = f"bodies are refused because they are {age} (at most {most / _NS:g} s)"
            self._aged = (now, text)
        elif stamp - now > most:
            ahead = f"{(stamp - now) / _NS:.2f} s ahead of this clock"
            self._aged = (now, f"bodies are refused because their stamps are {ahead}")

    def recent_refusal(self, now: int) -> str:
        """Why bodies are refused for their stamps, or empty."""
        when, text = self._aged
        return "" if now - when > self._settings.body_timeout * _NS else text

    def missing(self, now: int, operator: str | None) -> str:
        """What is wrong with the body as an input, or empty; ``operator`` is named if given."""
        goal = self.goal
        news = self._news
        settings = self._settings
        whose = f" of '{echoed(operator)}'" if operator else ""
        if goal is None or news is None or now - goal.received > settings.body_timeout * _NS:
            return self.recent_refusal(now) or f"no body{whose} arrives"
        if now - news.heard > settings.body_timeout * _NS:
            return f"the body{whose} is only extrapolated: no newer measurement arrives"
        if now - news.taken > settings.max_measurement_age * _NS:
            age = (now - news.taken) / _NS
            return f"the newest measurement of the body{whose} is {age:.2f} s old"
        return ""

    def measurement_age(self, now: int) -> float:
        """Age of the newest measurement in s; NaN before the first."""
        return math.nan if self._news is None else (now - self._news.taken) / _NS

    def clock_set_back(self) -> None:
        """Discard what was stamped before."""
        self.goal = None
        self._news = None
        self._path.restart()
