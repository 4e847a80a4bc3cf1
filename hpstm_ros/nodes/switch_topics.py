"""Topics of the switches that stop the arm: emergency stop and dead-man switch."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from rclpy.qos import QoSProfile
from std_msgs.msg import Bool

from hpstm_ros.safety.supervisor import Supervisor
from pallas_ros.body.names import TOPIC_DEAD_MAN, TOPIC_EMERGENCY_STOP
from pallas_ros.ros.intake import RateLimit
from pallas_ros.ros.matching import gid_of, is_compatible, knows_publishers, latching_mismatch
from pallas_ros.ros.node import PallasNode
from pallas_ros.ros.qos import SWITCH, SWITCH_LATCHED, SWITCH_RELIABLE

BOOL: Final = "std_msgs/msg/Bool"
_MOST_HZ = 1000.0
"""Messages of all switches of a topic; more are a fault, since one of them may have been lost.

A queue that overflows while the node stalls exceeds the limit: it holds 1000 messages, and the
limit allows 250 at once.
"""
_ANY_SWITCH = "switch"
"""Name of all switches together, if messages do not say who sent them."""
_MATCHING = (SWITCH_RELIABLE, SWITCH_LATCHED)
"""Subscribed to when a publisher matches; otherwise both sides would warn of their QoS."""


class SwitchTopics:
    """Adapter between a node's topics and the switches of its supervisor."""

    def __init__(
        self, node: PallasNode, supervisor: Supervisor, stopped: Callable[[], None]
    ) -> None:
        """Create the subscriptions of ``node``; ``stopped`` is called after an emergency stop."""
        self._node = node
        self._supervisor = supervisor
        self._stopped = stopped
        self._matched: list[QoSProfile] = []
        dead_man = partial(self._on_dead_man, RateLimit(_MOST_HZ))
        node.subscribe(Bool, TOPIC_DEAD_MAN, dead_man, SWITCH, sourced=True)
        self._subscribe_stop(SWITCH)

    def _subscribe_stop(self, qos: QoSProfile) -> None:
        # each subscription has its own queue, and so its own limit
        callback = partial(self._on_emergency_stop, RateLimit(_MOST_HZ))
        self._node.subscribe(Bool, TOPIC_EMERGENCY_STOP, callback, qos, sourced=True, always=True)

    def connected(self, publishers: Sequence[Any]) -> str:
        """Take the publishers of `/emergency_stop`; returns why one is a fault, or empty."""
        compatible = [
            publisher for publisher in publishers if is_compatible(publisher, BOOL, (SWITCH,))
        ]
        switches = {gid_of(p) if knows_publishers() else _ANY_SWITCH for p in compatible}
        self._supervisor.emergency_switches(self._node.now(), switches)
        for qos in _MATCHING:
            if qos not in self._matched and any(is_compatible(p, BOOL, (qos,)) for p in publishers):
                self._matched.append(qos)
                self._subscribe_stop(qos)
        return latching_mismatch(TOPIC_EMERGENCY_STOP, publishers)

    def _floods(self, limit: RateLimit, topic: str) -> bool:
        if limit.admits(topic, time.monotonic_ns()):
            return False
        self._node.say(f"{topic}: more than {_MOST_HZ:g} messages per second")
        return True

    def _on_dead_man(self, limit: RateLimit, message: Bool, source: str) -> None:
        now = self._node.now()
        if self._floods(limit, TOPIC_DEAD_MAN):
            self._supervisor.dead_man(now, False, "flood")
        self._supervisor.dead_man(now, message.data, source)

    def _on_emergency_stop(self, limit: RateLimit, message: Bool, source: str) -> None:
        now = self._node.now()
        before = self._supervisor.state
        if self._floods(limit, TOPIC_EMERGENCY_STOP):
            why = f"too many messages on {TOPIC_EMERGENCY_STOP}"
            self._supervisor.emergency_stop(now, why, held=False)
        if message.data:
            why = TOPIC_EMERGENCY_STOP
            self._supervisor.emergency_stop(now, why, source=source or _ANY_SWITCH)
        else:
            self._supervisor.emergency_released(now, source or _ANY_SWITCH)
        if self._supervisor.state is not before:
            self._stopped()
