"""Handling of stamps that jump: a single one is rejected, several in a row are accepted.

A wrong stamp therefore never blocks a stream permanently.
"""

_NS = 1_000_000_000
LEAP_NS = _NS
"""A larger deviation of a stamp cannot be caused by jitter, a stall or a queue."""
BELIEVED = 5
"""Number of consecutive consistent jumps that are accepted: a clock was set."""


class StampGate:
    """Monitors the delay from stamp to arrival in a stream; see the module."""

    def __init__(self) -> None:
        """Start without stamps."""
        self._delay: int | None = None
        self._now = 0
        self._leap = 0
        self._in_a_row = 0

    def take(self, stamp: int, now: int) -> tuple[bool, str]:
        """Check a stamp that arrived ``now``, both in ns; returns whether it is accepted, and a
        remark or an empty string.

        An accepted stamp with a remark starts a new stream, and the history is obsolete.
        """
        delay = now - stamp
        went_back = now < self._now - LEAP_NS
        self._now = now
        if self._delay is None or abs(delay - self._delay) <= LEAP_NS:
            self._delay = delay
            self._in_a_row = 0
            return True, "the clock was set back" if went_back else ""
        agrees = self._in_a_row > 0 and abs(delay - self._leap) <= LEAP_NS
        self._in_a_row = self._in_a_row + 1 if agrees else 1
        self._leap = delay
        by = (self._delay - delay) / _NS
        if self._in_a_row < BELIEVED:
            return False, f"a stamp jumps by {by:+.1f} s: refused"
        self._delay = delay
        self._in_a_row = 0
        return True, f"stamps have jumped by {by:+.1f} s"
