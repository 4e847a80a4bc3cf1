"""Messages are recorded in the order of delivery, including retransmitted ones."""

from collections import Counter
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (make setup)")

from pallas_ros.nodes.recorder import RecorderNode, Taps

SECOND = 1_000_000_000


class Handle(nullcontext):
    """Delivers messages like the middleware: in order, with reception timestamps."""

    def __init__(self, stamps: list[int]) -> None:
        super().__init__()
        self._waiting = [(str(k).encode(), {"received_timestamp": s}) for k, s in enumerate(stamps)]

    def take_message(self, *_: Any) -> Any:
        return self._waiting.pop(0) if self._waiting else None


def taps(**topics: list[int]) -> Taps:
    made = Taps.__new__(Taps)
    made._open = {
        name: ("x", SimpleNamespace(handle=Handle(stamps), msg_type=None))
        for name, stamps in topics.items()
    }
    made._numbers = {}
    made._lost = Counter()
    made._newest = {}
    return made


def test_a_message_that_was_sent_again_stays_before_those_that_overtook_it() -> None:
    taken = taps(a=[10, 50, 20, 30, 60], b=[15, 55]).take()
    assert [m.data for m in taken if m.topic == "a"] == [b"0", b"1", b"2", b"3", b"4"]
    assert [m.stamp for m in taken if m.topic == "a"] == [10, 50, 50, 50, 60]
    assert [m.stamp for m in taken] == sorted(m.stamp for m in taken)


def test_a_clock_that_was_set_back_is_believed() -> None:
    taken = taps(a=[100 * SECOND, 40 * SECOND, 41 * SECOND]).take()
    assert [m.stamp for m in taken] == [40 * SECOND, 41 * SECOND, 100 * SECOND]


def test_closing_is_announced_before_anything_that_waits_for_the_disk() -> None:
    """`pallas up` kills a node that does not end and has not announced it."""
    done: list[str] = []
    log = SimpleNamespace(info=done.append, error=done.append)
    bag = SimpleNamespace(
        path="bag", closed=False, count=3, failure="", close=lambda: done.append("close")
    )
    node: Any = SimpleNamespace(
        _bag=bag,
        _taps=object(),
        fatal=None,
        _record=lambda: done.append("write"),
        get_logger=lambda: log,
    )
    RecorderNode.deactivate(node)
    assert done == ["closing bag", "write", "close", "recorded 3 messages to bag"]
