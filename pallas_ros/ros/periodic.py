"""Timers that still run when the node is overloaded."""

from collections.abc import Callable

OVERDUE = 2.0
"""Missed periods after which the node runs the callback itself."""


class Periodic:
    """Periodic callback of a node's clock.

    It is called on the executor's event, or by the node between two messages if the event is late.
    The EventsExecutor of rclpy 9.1 handles events in order of arrival. In a node that receives more
    messages than it can process, timer events would be delayed further and further (400 messages/s
    of 60 ms work each: no timer ran in 8 s), and with them its watchdogs and diagnostics.

    Args:
        period_s: period in s of the node's clock.
        callback: function to call.
        now: time of the node's clock (ns); it may jump back.
    """

    def __init__(
        self, period_s: float, callback: Callable[[], None], now: Callable[[], int]
    ) -> None:
        self._period = period_s * 1e9
        self._callback = callback
        self._now = now
        self._last = now()
        self._ahead = False  # called by the node; events of earlier periods may still arrive

    def on_event(self) -> None:
        """Handle the executor's timer event."""
        if not (self._ahead and self._since() < self._period / 2):
            self._ahead = False
            self._call()

    def if_overdue(self) -> bool:
        """Run the callback if overdue, and return whether it was; the node calls this after each
        message.
        """
        if self._since() < OVERDUE * self._period:
            return False
        self._ahead = True
        self._call()
        return True

    def _since(self) -> int:
        return abs(self._now() - self._last)

    def _call(self) -> None:
        self._last = self._now()
        self._callback()
