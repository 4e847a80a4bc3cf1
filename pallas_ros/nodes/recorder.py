"""Record topics into a rosbag2 folder."""

import os
import time
from collections import Counter
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, ClassVar

from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription

from pallas_ros.bags import BagMessage, BagWriter, Qos
from pallas_ros.bags.types import message_definition
from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import ALL_SITES, TOPIC_IMU
from pallas_ros.graph.measurement import LOST
from pallas_ros.messages.types import message_class
from pallas_ros.ros.health import PUBLISHERS, TAPS
from pallas_ros.ros.node import CLOSING, Health, PallasNode

POLL_S = 0.05
DISCOVER_S = 0.25
_RESENT_NS = 2_000_000_000
"""Maximum delay of a message overtaken by others; a larger step back means the clock was set."""
DEPTH = 1000  # queue depth per topic between two polls
EXPECTED = {TOPIC_IMU.format(site=site): "sensor_msgs/msg/Imu" for site in ALL_SITES}
"""Subscribed before any publisher exists, so that the first sample is in the bag: calibration uses
the first seconds. The bag contains those that have a sample. If all publishers have another type,
the topic is subscribed to again with theirs.
"""
_SAMPLES = Qos(reliable=False)


class Taps:
    """Raw subscriptions that are polled instead of calling back.

    A message costs a few microseconds and arrives as bytes. The subscriptions live on a separate
    node that no executor spins. The middleware timestamps and numbers each message on arrival:
    polling late changes no timestamp, and a gap in the numbers is a lost message.
    """

    def __init__(self, context: Any, depth: int = DEPTH, name: str = "") -> None:
        """Create the node; each topic has a queue of ``depth`` messages.

        ``name`` is the node that polls them, or empty.
        """
        self._depth = depth
        options = {
            "use_global_arguments": False,
            "start_parameter_services": False,
            "enable_rosout": False,
        }
        own = f"{name}{TAPS}" if name else f"taps_{os.getpid()}"
        self._node = Node(own, context=context, **options)
        self._open: dict[str, tuple[str, Subscription[Any]]] = {}
        self._numbers: dict[tuple[str, bytes], int] = {}
        self._lost: Counter[str] = Counter()
        self._newest: dict[str, int] = {}
        self.mixed: dict[str, tuple[str, ...]] = {}
        """Topics whose publishers have several types, with these, as last discovered."""

    @property
    def lost(self) -> int:
        """Number of messages sent but not received."""
        return self._lost.total()

    def lost_by_topic(self) -> dict[str, int]:
        """Number of lost messages per topic; only topics with losses."""
        return dict(self._lost)

    @property
    def topics(self) -> set[str]:
        """Topics subscribed to."""
        return set(self._open)

    def links(self) -> dict[str, int]:
        """Number of matched publishers per topic."""
        return {
            topic: subscription.get_publisher_count()
            for topic, (_, subscription) in self._open.items()
        }

    def discover(self) -> dict[str, str]:
        """Return the published topics with their type.

        Skips hidden topics, which actions use, and topics whose publishers have several types
        (`mixed`). Subscriptions, also one's own, may have another type than the publishers.
        """
        found = {}
        self.mixed = {}
        for name, types in self._node.get_topic_names_and_types():
            if "/_" in name or not self._node.count_publishers(name):
                continue
            if len(types) > 1:
                publishers = self._node.get_publishers_info_by_topic(name)
                types = sorted({info.topic_type for info in publishers})
            if len(types) == 1:
                found[name] = types[0]
            elif types:
                self.mixed[name] = tuple(types)
        return found

    def type_of(self, topic: str) -> str:
        """Type of an open topic; empty if it is not open."""
        return self._open[topic][0] if topic in self._open else ""

    def offered(self, topic: str) -> Qos:
        """Return the QoS offered for ``topic``: that of its least demanding publisher."""
        profiles = [info.qos_profile for info in self._node.get_publishers_info_by_topic(topic)]
        return Qos(
            reliable=bool(profiles)
            and all(profile.reliability == ReliabilityPolicy.RELIABLE for profile in profiles),
            latched=bool(profiles)
            and all(profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for profile in profiles),
            depth=max((profile.depth for profile in profiles), default=0) or 10,
        )

    def open(self, topic: str, msgtype: str, qos: Qos) -> None:
        """Subscribe, in place of an earlier subscription of the topic.

        Raises:
            PallasError: the message package is not installed here, or this process already uses the
                topic with another type.
        """
        kind = message_class(msgtype)
        if topic in self._open:
            self._node.destroy_subscription(self._open.pop(topic)[1])
        profile = QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=self._depth,
            reliability=(
                ReliabilityPolicy.RELIABLE if qos.reliable else ReliabilityPolicy.BEST_EFFORT
            ),
            durability=(
                DurabilityPolicy.TRANSIENT_LOCAL if qos.latched else DurabilityPolicy.VOLATILE
            ),
        )
        try:
            made = self._node.create_subscription(kind, topic, _never, profile, raw=True)
        except rclpy_implementation.RCLError as error:  # in one participant a topic has one type
            raise PallasError(f"it cannot be subscribed to as {msgtype}: {error}") from error
        self._open[topic] = (msgtype, made)

    def take(self) -> list[BagMessage]:
        """Return everything received since the last call, in order of reception.

        Timestamps use the system clock. A message that was lost and retransmitted precedes those
        that overtook it, as delivered by the middleware, although it was received later.
        """
        messages = []
        for topic, (msgtype, subscription) in self._open.items():
            with subscription.handle:
                while (
                    taken := subscription.handle.take_message(subscription.msg_type, True)
                ) is not None:
                    data, info = taken
                    self._count(topic, info)
                    stamp = int(info.get("received_timestamp") or time.time_ns())
                    messages.append(BagMessage(topic, msgtype, self._in_order(topic, stamp), data))
        messages.sort(key=lambda message: message.stamp)
        return messages

    def close(self) -> None:
        """Unsubscribe from everything."""
        self._open.clear()
        self._node.destroy_node()

    def _in_order(self, topic: str, stamp: int) -> int:
        """Return ``stamp``, or the topic's newest if later, unless the clock was set back."""
        newest = self._newest.get(topic, stamp)
        if 0 < newest - stamp < _RESENT_NS:
            stamp = newest
        self._newest[topic] = stamp
        return stamp

    def _count(self, topic: str, info: dict[str, Any]) -> None:
        number = info.get("publication_sequence_number")
        publisher = info.get("publisher_gid")
        if number is not None and publisher is not None:  # provided by Iron and later
            key = (topic, publisher["data"])
            last = self._numbers.get(key)
            if last is not None and number > last + 1:
                self._lost[topic] += number - last - 1
            self._numbers[key] = number


def _never(_: Any) -> None:
    """Placeholder for the callback that rclpy requires; the node is never spun."""


class RecorderNode(PallasNode):
    """Record the `topics` into a bag from activation to deactivation."""

    POLLS = True
    on_start: ClassVar[Callable[[], object] | None] = None
    """Called when recording starts, by `pallas record --duration`."""

    def __init__(self, **kwargs: Any) -> None:
        """See `config/parameters/recorder.yaml`."""
        self._taps: Taps | None = None
        self._bag: BagWriter | None = None
        self._refused: set[str] = set()
        self._qos: dict[str, Qos] = {}
        """Of the expected topics with another type than expected, which enter the bag with their
        first message.
        """
        self._reported_once: set[str] = set()
        super().__init__("recorder", **kwargs)

    @property
    def bag(self) -> BagWriter | None:
        """The open bag."""
        return self._bag

    @property
    def lost(self) -> int:
        """Number of messages sent but not received by the recorder."""
        return self._taps.lost if self._taps else 0

    def configure(self) -> None:
        """Open the bag and subscribe to the existing topics, and to the IMU topics in advance."""
        settings = self.settings
        path = Path(settings["path"] or time.strftime("recordings/%Y%m%d_%H%M%S"))
        self._bag = BagWriter(
            path,
            storage=settings["storage"],
            compression=settings["compression"],
            split_bytes=int(settings["split_megabytes"] * 1e6),
            split_seconds=settings["split_seconds"],
        )
        self._taps = Taps(self.context, name=self.get_name())
        for topic, msgtype in EXPECTED.items():
            if self._wanted(topic):
                self._taps.open(topic, msgtype, _SAMPLES)
        self._discover()
        self.every(POLL_S, self._record)
        self.every(DISCOVER_S, self._discover)

    def deactivate(self) -> None:
        """Write the remaining messages and close the bag, so that the folder is complete."""
        if self._bag is None or self._taps is None or self.fatal is not None:
            return
        try:
            if not self._bag.closed:  # before anything that may wait for the disk
                self.get_logger().info(f"{CLOSING} {self._bag.path}")
            self._record()
            self._bag.close()
        except PallasError as error:
            self.get_logger().error(str(error))
        if self._bag.failure:
            self.fatal = self._bag.failure  # ends the process, unless already ending
        else:
            self.get_logger().info(f"recorded {self._bag.count} messages to {self._bag.path}")

    def activate(self) -> None:
        """Start recording to the bag opened by `configure`.

        Raises:
            PallasError: the bag is closed, since after `deactivate` the node must be configured
                again.
        """
        if self._bag is None or self._bag.closed:
            raise PallasError(
                "the bag is closed; clean up the recorder and configure it with another path"
            )
        self._discover()  # so that topics starting from now on are complete
        if RecorderNode.on_start is not None:
            RecorderNode.on_start()

    def cleanup(self) -> None:
        """Unsubscribe; close the bag if still open."""
        try:
            if self._bag is not None:
                self._bag.close()
        finally:
            if self._taps is not None:
                self._taps.close()
            self._bag = self._taps = None

    def links(self) -> dict[str, int]:
        """Include the links of the recorded topics."""
        taps = self._taps.links() if self._taps is not None else {}
        return super().links() | {PUBLISHERS + topic: count for topic, count in taps.items()}

    def health(self) -> Health:
        """Numbers of messages written and lost."""
        if self._bag is None:
            return Health()
        values = {
            "bag": self._bag.path,
            "messages": self._bag.count,
            "lost": self.lost,
            "topics": len(self._bag.topics),
        }
        if self._taps is not None:
            lost = self._taps.lost_by_topic()
            values |= {LOST + topic: count for topic, count in lost.items()}
        if self._bag.failure:
            return Health(2, self._bag.failure, values)
        return Health(
            1 if self.lost else 0, f"{self._bag.count} messages recorded, {self.lost} lost", values
        )

    def _wanted(self, topic: str) -> bool:
        settings = self.settings
        return any(fnmatchcase(topic, p) for p in settings["topics"]) and not any(
            fnmatchcase(topic, p) for p in settings["exclude"]
        )

    def _open(self, topic: str, msgtype: str, qos: Qos) -> None:
        if not self._wanted(topic) or self._taps is None or self._bag is None or self._bag.closed:
            return
        earlier = self._taps.type_of(topic)
        try:
            if earlier:  # the bag keeps its first type: that of the first message
                message_definition(msgtype)
                self._taps.open(topic, msgtype, qos)
                self._qos[topic] = qos
            else:
                self._bag.add_topic(topic, msgtype, qos)
                self._taps.open(topic, msgtype, qos)
        except PallasError as error:
            if earlier:
                self._taps.open(topic, earlier, _SAMPLES)
            self._refused.add(topic)
            self.say(f"{topic} is not recorded: {error}")

    def _discover(self) -> None:
        if self._taps is None or self._bag is None:
            return
        for topic, msgtype in self._taps.discover().items():
            # an expected topic is in the bag once it has a sample, others as soon as they are open
            silent = topic in EXPECTED and topic not in self._bag.topics
            known = self._taps.type_of(topic)
            if topic in self._refused:
                continue
            if not known or (silent and msgtype != known):
                self._open(topic, msgtype, self._taps.offered(topic))
            elif msgtype != known:
                self._report_once(
                    f"{topic} is recorded as {known}, but is now published as {msgtype}, which is"
                    " not recorded: start another recording"
                )
        for topic, types in self._taps.mixed.items():
            if self._wanted(topic):
                known = self._taps.type_of(topic)
                self._report_once(
                    f"{topic} is published with several types ({', '.join(types)}), and recorded"
                    f" {'as ' + known if known else 'with none of them'}: stop the others"
                )

    def _report_once(self, sentence: str) -> None:
        """Log a sentence once."""
        if sentence not in self._reported_once:
            self._reported_once.add(sentence)
            self.say(sentence)

    def _record(self) -> None:
        if self._taps is None or self._bag is None or self._bag.closed:
            return
        sim_now = self.now() if self.get_parameter("use_sim_time").value else 0
        try:
            for message in self._taps.take():
                qos = self._qos.get(message.topic, _SAMPLES)
                self._bag.add_topic(message.topic, message.msgtype, qos)  # if it is the first
                self._bag.write(message.topic, sim_now or message.stamp, message.data)
            self._bag.flush_if_due()
        except PallasError as error:
            self.get_logger().error(str(error))
            # a standalone recorder; in a graph the arm keeps running
            if self.settings["autostart"]:
                self.fatal = str(error)
