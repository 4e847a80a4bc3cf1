"""Stamps that leap: one alone is refused, several in a row are believed.

So a bad stamp never blinds a stream for good.
"""

_NS = 1_000_000_000
LEAP_NS = _NS
"""A stamp that is this much ahead of, or behind, where it should be is not explained by jitter, a
stall or a queue.
"""
BELIEVED = 5
"""So many leaping stamps in a row that agree with each other are the truth: a clock was set."""


class StampGate:
    """Watches how far the stamps of one stream are behind their arrival; see the module."""

    def __init__(self) -> None:
        """No stamp has come yet."""
        self._delay: int | None = None
        self._now = 0
        self._leap = 0
        self._in_a_row = 0

    def take(self, stamp: int, now: int) -> tuple[bool, str]:
        """A stamp that arrived ``now``, both in ns: whether it is believed, and what is remarkable
        about it, in words, or empty.

        What is believed and remarkable begins a new stream: what was known of the one before holds
        no longer.
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
            return False, f"a stamp leaps by {by:+.1f} s: refused"
        self._delay = delay
        self._in_a_row = 0
        return True, f"stamps have leapt by {by:+.1f} s"
