"""Merges joint states from several publishers by name into a posture, which is as old as its oldest
joint.
"""

import math

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
IntP = NDArray[np.intp]

_NS = 1_000_000_000
_NEVER = -(2**62)
_MOST_RAD = 1e3  # larger values indicate a faulty driver
_CLOCKS_NS = _NS  # a larger difference to now indicates a different clock
_PUBLISHERS = 32  # cached name orders


class JointStates:
    """See the module.

    Messages may contain any of the arm's joints, in any order, and other joints.
    """

    def __init__(self, joint_names: tuple[str, ...], timeout: float) -> None:
        """``joint_names`` are the arm's; a joint not reported for ``timeout`` s is missing."""
        self._names = joint_names
        self._timeout = timeout
        self._orders: dict[tuple[str, ...], tuple[IntP, IntP]] = {}
        self._now = _NEVER
        self._forget()

    def _forget(self) -> None:
        n = len(self._names)
        self._q = np.zeros(n)
        self._stamp = np.full(n, _NEVER, dtype=np.int64)
        self._received = np.full(n, _NEVER, dtype=np.int64)
        self._given = self._whole = self._last_message = _NEVER
        self._refusal = ""

    def add(self, now: int, stamp: int, names: tuple[str, ...], q: F64) -> bool:
        """Add positions ``q`` rad of joints at ``stamp`` ns; False if they are rejected (see
        `trouble`).
        """
        if now < self._now:
            self._forget()  # the clock went back
        self._now = self._last_message = now
        refusal, where, which = self._examine(now, stamp, names, q)
        if refusal:
            self._refusal = refusal
            return False
        newer = stamp > self._stamp[which]
        if len(which) and not newer.any():
            self._refusal = "the stamps of the joint states do not advance"
            return False
        if not newer.all():
            which = which[newer]
            where = where[newer]
        self._q[which] = q[where]
        self._stamp[which] = stamp
        self._received[which] = now
        return True

    def newest(self) -> tuple[int, F64] | None:
        """Stamp in ns and positions (n,) rad of all joints, once after each complete update, else
        None.
        """
        oldest = int(self._stamp.min())
        stale = self._now - int(self._received.min()) > self._timeout * _NS
        if oldest <= self._given or stale:
            return None
        self._given = oldest
        self._whole = self._now
        self._refusal = ""
        return oldest, self._q.copy()

    def trouble(self, now: int) -> str:
        """Why arriving joint states are unusable; empty if they are usable or none arrive."""
        limit = self._timeout * _NS
        if not 0 <= now - self._last_message <= limit or 0 <= now - self._whole <= limit:
            return ""
        if self._refusal:
            return self._refusal
        missing = [
            name for name, stamp in zip(self._names, self._stamp, strict=True) if stamp == _NEVER
        ]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            return f"joint states arrive, but none names joint '{missing[0]}'{more}"
        late = int(np.argmin(self._received))
        silent = (now - int(self._received[late])) / _NS
        return f"joint '{self._names[late]}' has not been reported for {silent:.2f} s"

    def _examine(
        self, now: int, stamp: int, names: tuple[str, ...], q: F64
    ) -> tuple[str, IntP, IntP]:
        """The fault of a message, or empty; the indices of the arm's joints in it, and in the
        arm.
        """
        where, which = self._order(names)
        if len(q) != len(names):
            counts = (
                f"{len(names)} joints and hold {len(q)} positions" if len(q) else "no positions"
            )
            return (
                f"joint states name {counts}" if len(q) else f"joint states hold {counts}",
                where,
                which,
            )
        usable = np.abs(q[where]) < _MOST_RAD
        if not usable.all():
            k = int(np.argmin(usable))
            value = float(q[where[k]])
            wrong = f"{value:g} rad" if math.isfinite(value) else "not finite"
            return f"joint '{self._names[which[k]]}' is reported as {wrong}", where, which
        if abs(now - stamp) > _CLOCKS_NS and len(which):
            apart = (stamp - now) / _NS
            when = f"{abs(apart):.1f} s in the {'past' if apart < 0 else 'future'}"
            off = "have no stamp" if stamp == 0 else f"are stamped {when}"
            return f"joint states {off}: their publisher uses another clock", where, which
        return "", where, which

    def _order(self, names: tuple[str, ...]) -> tuple[IntP, IntP]:
        """Indices of the arm's joints in a message's names, and in the arm."""
        if names not in self._orders:
            if len(self._orders) >= _PUBLISHERS:
                self._orders.clear()
            which = [k for k, name in enumerate(self._names) if name in names]
            where = [names.index(self._names[k]) for k in which]
            self._orders[names] = np.array(where, dtype=np.intp), np.array(which, dtype=np.intp)
        return self._orders[names]
