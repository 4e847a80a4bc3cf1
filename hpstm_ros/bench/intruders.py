"""Disturbances by others in a hostile run: people who come into view, repeated and flooding
sources, a failing guard.
"""

from collections.abc import Callable
from copy import deepcopy

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.safety.guard import Guard
from hpstm_ros.safety.pairs import Barrier
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.names import JOINT_INDEX

F64 = NDArray[np.float64]

_NS = 1_000_000_000
_WRISTS = [JOINT_INDEX["left_wrist"], JOINT_INDEX["right_wrist"]]
STRANGER = "stranger"
ASIDE = np.array([0.0, 1.6, 0.0])
"""Position of another person relative to the operator in m, farther than the operator can move
while out of view.
"""


class Intruders:
    """Adds disturbances that start at random and last for some time.

    Attributes:
        fault: whether a connection of the arm is faulty.
        blind: whether its kinematics cannot be computed.
    """

    def __init__(self, random: np.random.Generator, hostility: float) -> None:
        """``hostility``, 0 to 1: frequency of disturbances."""
        self._random = random
        self._rate = 0.03 * hostility + 0.025
        self._until: dict[str, int] = {}
        self._frozen = 0
        self._last: BodyFrame | None = None

    @property
    def fault(self) -> bool:
        """See the class."""
        return "fault" in self._until

    @property
    def blind(self) -> bool:
        """See the class."""
        return "blind" in self._until

    def happen(self, now: int) -> None:
        """Start and end disturbances."""
        self._until = {what: end for what, end in self._until.items() if 0 <= end - now <= 5 * _NS}
        if self._random.random() < self._rate:
            what = str(
                self._random.choice(
                    ["stranger", "alone", "handed on", "repeats", "late", "flood", "blind", "fault"]
                )
            )
            self._until[what] = now + int(self._random.integers(0, 2 * _NS))
            self._frozen = 0 if self._last is None else self._last.newest_input

    def bodies(self, body: BodyFrame, now: int) -> list[BodyFrame]:
        """The bodies that arrive instead of only the operator's ``body``."""
        going = self._until
        if "late" in going:
            body.newest_input = now - int(self._random.integers(100_000_000, 400_000_000))
        if "repeats" in going:
            body.newest_input = self._frozen
        if "handed on" in going:
            body.positions += ASIDE
        self._last = body
        out = [] if "alone" in going else [body]
        if "stranger" in going or "alone" in going:
            out.insert(int(self._random.integers(0, len(out) + 1)), self._stranger(body))
        if "flood" in going:
            out += [self._again(body, k) for k in range(1, 20)]
        return out

    def _stranger(self, body: BodyFrame) -> BodyFrame:
        """Another person, with other hand positions and stamps that are slightly ahead."""
        other = deepcopy(body)
        other.body_id = STRANGER
        other.stamp = body.stamp + int(self._random.integers(0, 5_000_000))
        other.positions += ASIDE
        other.positions[_WRISTS] += self._random.normal(0, 0.3, (2, 3))
        return other

    def _again(self, body: BodyFrame, number: int) -> BodyFrame:
        """The body with a new stamp and moved hands."""
        again = deepcopy(body)
        again.stamp += number
        again.positions[_WRISTS] += self._random.normal(0, 0.1, (2, 3))
        return again


class BlindGuard:
    """A guard that returns NaN while it is blind."""

    def __init__(self, guard: Guard, blind: Callable[[], bool]) -> None:
        """``blind`` is evaluated at each call."""
        self._guard = guard
        self._blind = blind
        self.leverage = guard.leverage

    def tips(self, q: F64) -> F64:
        """See `Guard.tips`."""
        return self._guard.tips(q) * self._factor()

    def tip_motion(self, q: F64) -> tuple[F64, F64]:
        """See `Guard.tip_motion`."""
        p, J = self._guard.tip_motion(q)
        return p * self._factor(), J * self._factor()

    def tip_speed(self, q: F64, dq: F64) -> float:
        """See `Guard.tip_speed`."""
        return self._guard.tip_speed(q, dq) * self._factor()

    def look(self, q: F64, dq: F64, pairs: bool = True) -> tuple[float, float, str]:
        """See `Guard.look`."""
        speed, outside, pair = self._guard.look(q, dq, pairs)
        return speed * self._factor(), outside * self._factor(), pair

    def clear(self, q: F64) -> bool:
        """See `Guard.clear`."""
        return self._guard.clear(q)

    def barriers(self, q: F64) -> list[Barrier]:
        """See `Guard.barriers`."""
        return [
            (row * self._factor(), room * self._factor(), name)
            for row, room, name in self._guard.barriers(q)
        ]

    def _factor(self) -> float:
        return float("nan") if self._blind() else 1.0
