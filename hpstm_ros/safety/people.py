"""Selection of the operator among the bodies in view.

Before engaging, one person is the candidate: by id, by position or by a raised hand. Engaging locks
the candidate's id (`supervisor.Supervisor.operator`); nobody else takes over until the arm is
engaged again. From then on, only bodies with this id are used, and only at a plausible position: if
a tracker reassigns the id to another person, the position jumps.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.names import JOINT_INDEX
from pallas_ros.body.presence import IN_VIEW_NS, farthest_step_m, plain_id

F64 = NDArray[np.float64]

_NS = 1_000_000_000
CHOICES = ("nearest", "raised_hand")
_NEARER_M = 0.25  # hysteresis: another person must be this much nearer to become the candidate
_RAISED_M = 0.05  # of a wrist above the head's joint
_RAISED_NS = _NS // 2  # for which the hand must stay up, longer than a wave
_MOST_PEOPLE = 16
_HEAD = JOINT_INDEX["head"]
_WRISTS = [JOINT_INDEX["left_wrist"], JOINT_INDEX["right_wrist"]]


@dataclass(frozen=True)
class OperatorSettings:
    """How the operator is chosen among the bodies in view.

    Attributes:
        operator_id: only the body of this id, from any publisher; empty: any.
        choice: ``nearest`` to `place`, or ``raised_hand``: the person who last held a hand above
            the head for half a second.
        place: (x, y) m in the world, expected position of the operator.
    """

    operator_id: str = ""
    choice: str = "nearest"
    place: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        """Reject invalid settings."""
        if self.choice not in CHOICES:
            raise PallasError(
                f"operator_choice is {self.choice[:40]!r}, but must be one of {', '.join(CHOICES)}"
            )
        if not all(math.isfinite(part) for part in self.place):
            raise PallasError("operator_place must be two finite numbers, in m")


@dataclass(slots=True)
class _Person:
    seen: int
    at: F64
    hand_up_since: int | None = None
    raised: int | None = None


class People:
    """The people in view, and which of them may control the arm."""

    def __init__(self, settings: OperatorSettings | None = None) -> None:
        """Start with nobody in view."""
        self.settings = settings or OperatorSettings()
        self.candidate: str | None = None
        self._people: dict[str, _Person] = {}
        self._now = 0
        self._engagement = -1
        self._operator: tuple[int, F64] | None = None

    def in_view(self, now: int) -> list[str]:
        """Ids of the bodies seen within the last half second, sorted."""
        return sorted(name for name, person in self._people.items() if self._sees(person, now))

    def refuses(self, now: int, body: BodyFrame, operator: str | None, engagement: int) -> str:
        """Why this body must not control the arm, or empty.

        Args:
            now: ns.
            body: of any person.
            operator: the locked id, or None.
            engagement: number of times the arm has been engaged; each engagement accepts the
                position at which the operator was seen last.
        """
        if now < self._now:
            self._people.clear()
            self._operator = None
        self._now = now
        if not np.isfinite(body.positions[0]).all():
            return "the pelvis is not known"
        last_seen = self._last_seen(body.body_id)
        self._note(now, body)
        if operator is None:
            self._operator = None
            self._choose(now)
            return "" if body.body_id == self.candidate else "another person"
        if body.body_id != operator:
            return "another person"
        if engagement != self._engagement:
            self._engagement = engagement
            self._operator = None
        if self._operator is None:
            self._operator = last_seen
        return self._moved(now, np.array(body.positions[0, :2]))

    def accepted(self, now: int, body: BodyFrame, engagement: int) -> None:
        """Record that a body which `refuses` allowed controls the arm: the operator is there."""
        self._operator = (now, np.array(body.positions[0, :2]))
        self._engagement = engagement

    def _last_seen(self, name: str) -> tuple[int, F64] | None:
        """Time and position at which a person was seen last, however long ago."""
        person = self._people.get(name)
        return (person.seen, person.at) if person is not None else None

    def _note(self, now: int, body: BodyFrame) -> None:
        """Record a person's position, and whether a hand is raised."""
        if body.body_id not in self._people and len(self._people) >= _MOST_PEOPLE:
            del self._people[min(self._people, key=lambda name: self._people[name].seen)]
        at = np.array(body.positions[0, :2])
        person = self._people.get(body.body_id)
        if person is None or not self._sees(person, now):  # an earlier raised hand does not count
            person = self._people[body.body_id] = _Person(now, at)
        person.seen = now
        person.at = at
        up = body.valid[_WRISTS] & (
            body.positions[_WRISTS, 2] > body.positions[_HEAD, 2] + _RAISED_M
        )
        if not (up.any() and body.valid[_HEAD]):
            person.hand_up_since = None
        elif person.hand_up_since is None:
            person.hand_up_since = now
        elif now - person.hand_up_since >= _RAISED_NS:
            person.raised = now

    def _choose(self, now: int) -> None:
        """Choose the candidate among the people in view."""
        there = {name: p for name, p in self._people.items() if self._sees(p, now)}
        if self.settings.operator_id:
            operator_id = self.settings.operator_id
            there = {name: p for name, p in there.items() if operator_id in (name, plain_id(name))}
        if self.settings.choice == "raised_hand":
            raised = {name: p.raised for name, p in there.items() if p.raised is not None}
            self.candidate = max(raised, key=lambda name: raised[name]) if raised else None
            return
        away = {
            name: float(np.linalg.norm(p.at - self.settings.place)) for name, p in there.items()
        }
        if self.candidate in away:
            away[self.candidate] -= _NEARER_M
        self.candidate = min(away, key=lambda name: away[name]) if away else None

    def _moved(self, now: int, at: F64) -> str:
        """Why the operator cannot be ``at`` (x, y), or empty."""
        last = self._operator
        if last is None:
            return ""
        away = float(np.linalg.norm(at - last[1]))
        if not away <= farthest_step_m((now - last[0]) / _NS):
            self._operator = (now, last[1])  # seen elsewhere, which is not absence
            return f"the body is {away:.1f} m from where the operator was: engage again"
        return ""

    def _sees(self, person: _Person, now: int) -> bool:
        return now - person.seen <= IN_VIEW_NS
