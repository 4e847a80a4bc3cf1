"""Whom the arm follows: of all bodies in view one is the operator, and nobody else takes over
without a new engage.

Before engaging there is a candidate, by id, by place or by a raised hand; engaging locks the
candidate's id (`supervisor.Supervisor.operator`). From then on only bodies of that id count, and
only where that person can be: an id that a tracker hands on to somebody else appears in another
place at once.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.names import JOINT_INDEX

F64 = NDArray[np.float64]

_NS = 1_000_000_000
CHOICES = ("nearest", "raised_hand")
_IN_VIEW_NS = _NS // 2
"""A person not seen for so long is not there to be chosen."""
_NEARER_M = 0.25  # by which another must be nearer to become the candidate: noise must not decide
_RAISED_M = 0.05  # of a wrist above the head's joint
_RAISED_NS = _NS // 2  # for which the hand must stay up: a wave or a scratch is shorter
_STEP_M = 0.75
_PACE_M_S = 2.0
_LONGEST_PACE_S = 0.25
"""A person is within `_STEP_M`, and what a brisk walk makes of the time unseen, of where they were:
two people stand
about a metre apart, and what walks farther unseen must be engaged again."""
_MOST_PEOPLE = 16
_HEAD = JOINT_INDEX["head"]
_WRISTS = [JOINT_INDEX["left_wrist"], JOINT_INDEX["right_wrist"]]


@dataclass(frozen=True)
class OperatorSettings:
    """How the operator is chosen among the bodies in view.

    Attributes:
        operator_id: only the body of this id; empty: any.
        choice: ``nearest`` to `place`, or ``raised_hand``: who raised a hand above the head last,
            for half a second.
        place: (x, y) m in the world, where the operator is expected to stand.
    """

    operator_id: str = ""
    choice: str = "nearest"
    place: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.choice not in CHOICES:
            raise PallasError(
                f"the operator is chosen by {', '.join(CHOICES)}, not by {self.choice[:40]!r}"
            )
        if not all(math.isfinite(part) for part in self.place):
            raise PallasError("the operator's place must be two finite numbers, in m")


@dataclass(slots=True)
class _Person:
    seen: int
    at: F64
    hand_up_since: int | None = None
    raised: int | None = None


class People:
    """The people in view, and which of them may lead the arm."""

    def __init__(self, settings: OperatorSettings | None = None) -> None:
        """Nobody has been seen yet."""
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
        """Why this body must not lead the arm, or empty.

        Args:
            now: ns.
            body: of anybody.
            operator: the id that is locked, or None while none is.
            engagement: how often the arm has been engaged; a new one trusts where the operator is
                then.
        """
        if now < self._now:
            self._people.clear()
            self._operator = None
        self._now = now
        if not np.isfinite(body.positions[0]).all():
            return "the pelvis is not known"
        person = self._note(now, body)
        if operator is None:
            self._operator = None
            self._choose(now)
            return "" if body.body_id == self.candidate else "another person"
        if body.body_id != operator:
            return "another person"
        return self._moved(now, person, engagement)

    def _note(self, now: int, body: BodyFrame) -> _Person:
        """Remember where a person is, and whether a hand is up."""
        if body.body_id not in self._people and len(self._people) >= _MOST_PEOPLE:
            del self._people[min(self._people, key=lambda name: self._people[name].seen)]
        at = np.array(body.positions[0, :2])
        person = self._people.get(body.body_id)
        if person is None or not self._sees(person, now):  # a hand raised before does not count
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
        return person

    def _choose(self, now: int) -> None:
        """Set the candidate among those in view."""
        there = {name: p for name, p in self._people.items() if self._sees(p, now)}
        if self.settings.operator_id:
            there = {name: p for name, p in there.items() if name == self.settings.operator_id}
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

    def _moved(self, now: int, person: _Person, engagement: int) -> str:
        """Whether the operator is where the operator can be by now; if not, in words."""
        last = self._operator
        if engagement != self._engagement or last is None:
            self._engagement = engagement
            self._operator = (now, person.at)
            return ""
        unseen = min((now - last[0]) / _NS, _LONGEST_PACE_S)
        away = float(np.linalg.norm(person.at - last[1]))
        if not away <= _STEP_M + _PACE_M_S * unseen:
            self._operator = (now, last[1])  # seen elsewhere: that does not count as absence
            return f"the body is {away:.1f} m from where the operator was: engage again"
        self._operator = (now, person.at)
        return ""

    def _sees(self, person: _Person, now: int) -> bool:
        return now - person.seen <= _IN_VIEW_NS
