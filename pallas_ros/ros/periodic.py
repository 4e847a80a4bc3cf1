"""Timers that a node with too much to do does not forget."""

from collections.abc import Callable

OVERDUE = 2.0
"""Periods without a call after which the node calls by itself."""


class Periodic:
    """One callback of a node's clock: called at the executor's event, and by the node between two
    messages where that does not come.

    rclpy 9.1's EventsExecutor takes events in the order in which they came. To a node that gets
    more messages than it can work off, the events of its timers would come later and later (400
    messages a second, 60 ms of work each: no timer ran in 8 s), and with them its watchdogs and its
    diagnostics.

    Args:
        period_s: s of the node's clock.
        callback: what is to be called.
        now: the node's clock, ns; it may jump back.
    """

    def __init__(
        self, period_s: float, callback: Callable[[], None], now: Callable[[], int]
    ) -> None:
        self._period = period_s * 1e9
        self._callback = callback
        self._now = now
        self._last = now()
        self._ahead = False  # called by the node: events for calls already made may still come

    def on_event(self) -> None:
        """The executor's call."""
        if not (self._ahead and self._since() < self._period / 2):
            self._ahead = False
            self._call()

    def if_overdue(self) -> None:
        """The node's own call, after each message."""
        if self._since() >= OVERDUE * self._period:
            self._ahead = True
            self._call()

    def _since(self) -> int:
        return abs(self._now() - self._last)

    def _call(self) -> None:
        self._last = self._now()
        self._callback()
