"""Play a bag into the graph, with its clock."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock

from pallas_ros.bags import Bag, BagMessage
from pallas_ros.bags.cut import latched_before
from pallas_ros.body.errors import PallasError
from pallas_ros.messages.encode import to_stamp
from pallas_ros.messages.types import message_class
from pallas_ros.ros.leaving import own_context
from pallas_ros.ros.qos import STREAM

SETTLE_S = 1.5
"""Subscribers are complete when no new one has appeared for this time."""


@dataclass
class Plan:
    """What to play of a bag, and how.

    Attributes:
        topics: patterns of topics to play; empty for all.
        exclude: patterns of topics to skip.
        rate: playback speed; 0 for as fast as possible.
        start: s from the beginning of the bag.
        duration: s to play, or None for the rest.
        clock: rate of /clock in Hz, in bag time; 0: not published.
        wait: s to wait for a subscriber before the first message.
    """

    topics: list[str] = field(default_factory=list)
    exclude: list[str] = field(default_factory=list)
    rate: float = 1.0
    start: float = 0.0
    duration: float | None = None
    clock: float = 0.0
    wait: float = 5.0


@contextmanager
def playing(bag: Bag, plan: Plan) -> Iterator["Player"]:
    """Open a player in a ROS context of its own."""
    with own_context() as (context, nodes):
        player = Player(bag, plan, context)
        nodes.callback(player.close)
        yield player


class Player:
    """Publish a bag's messages byte for byte, in order and with their recorded timing."""

    def __init__(self, bag: Bag, plan: Plan, context: Any = None) -> None:
        """Advertise the topics.

        Raises:
            PallasError: none of the topics is in the bag.
        """
        self.bag = bag
        self.plan = plan
        self.skipped: dict[str, str] = {}
        self._node = Node(
            "player", context=context, start_parameter_services=False, enable_rosout=False
        )
        self._publishers: dict[str, Any] = {}
        for topic in bag.topics.values():
            if topic.count and self._wanted(topic.name):
                try:
                    self._advertise(topic.name)
                except PallasError as error:
                    self.skipped[topic.name] = str(error)
        if not self._publishers:
            reasons = (
                "; ".join(self.skipped.values())
                or (bag.why_empty() if not bag.count else "")
                or f"it holds {', '.join(sorted(bag.topics)) or 'nothing'}"
            )
            self.close()
            raise PallasError(f"{bag.path}: nothing matches these patterns: {reasons}")
        self._clock = self._node.create_publisher(Clock, "/clock", STREAM) if plan.clock else None

    @property
    def topics(self) -> list[str]:
        """Topics being played."""
        return sorted(self._publishers)

    def wait_for_subscribers(self) -> bool:
        """Wait until the subscribers are complete; False if none appears in ``plan.wait`` s."""
        until = time.monotonic() + self.plan.wait
        seen = -1
        since = time.monotonic()
        while time.monotonic() < until:
            listening = sum(
                publisher.get_subscription_count() for publisher in self._publishers.values()
            )
            if listening != seen:
                seen = listening
                since = time.monotonic()
            elif listening and time.monotonic() - since > SETTLE_S:
                return True
            time.sleep(0.02)
        return seen > 0

    def play(self, progress: Callable[[float], None] = lambda seconds: None) -> int:
        """Play to the end, return the number of messages; ``progress`` gets the bag time in s."""
        count = 0
        begun = time.monotonic()
        first = self.bag.first + round(self.plan.start * 1e9)
        for stamp, message in self._timeline(first):
            if self.plan.rate > 0:
                ahead = begun + (stamp - first) / 1e9 / self.plan.rate - time.monotonic()
                if ahead > 0:
                    time.sleep(ahead)
            if message is None:
                if self._clock is not None:
                    self._clock.publish(Clock(clock=to_stamp(stamp)))
                progress((stamp - first) / 1e9)
            else:
                self._publishers[message.topic].publish(message.data)
                count += 1
                if not self.plan.clock and count % 50 == 0:
                    progress((stamp - first) / 1e9)
        for publisher in self._publishers.values():
            publisher.wait_for_all_acked()
        return count

    def close(self) -> None:
        """Destroy the publishers."""
        self._node.destroy_node()

    def _timeline(self, first: int) -> Iterator[tuple[int, BagMessage | None]]:
        """Yield messages and, interleaved by time, clock ticks (None).

        Latched messages from before the start come first: without them there is no arm to show.
        """
        stop = None if self.plan.duration is None else first + round(self.plan.duration * 1e9)
        period = round(1e9 / self.plan.clock) if self.plan.clock else 0
        tick = first
        if self.plan.start > 0:
            for message in latched_before(self.bag, set(self._publishers), first):
                yield first, message
        for message in self.bag.messages(set(self._publishers), first, stop):
            while period and tick <= message.stamp:
                yield tick, None
                tick += period
            yield message.stamp, message

    def _wanted(self, topic: str) -> bool:
        chosen = not self.plan.topics or any(
            fnmatchcase(topic, pattern) for pattern in self.plan.topics
        )
        return (
            chosen
            and topic != "/clock"
            and not any(fnmatchcase(topic, pattern) for pattern in self.plan.exclude)
        )

    def _advertise(self, name: str) -> None:
        topic = self.bag.topics[name]
        profile = QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=max(topic.qos.depth, 100),
            reliability=ReliabilityPolicy.RELIABLE,  # compatible with both kinds of subscriber
            durability=DurabilityPolicy.TRANSIENT_LOCAL
            if topic.qos.latched
            else DurabilityPolicy.VOLATILE,
        )
        self._publishers[name] = self._node.create_publisher(
            message_class(topic.msgtype), name, profile
        )
