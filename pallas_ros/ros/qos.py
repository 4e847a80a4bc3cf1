"""QoS profiles of the package."""

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

SENSOR = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=50,
    reliability=ReliabilityPolicy.BEST_EFFORT,
    durability=DurabilityPolicy.VOLATILE,
)
"""IMU samples: late samples are worthless, so none is retransmitted.

The queue holds half a second, so that a stall loses none.
"""

REPLAYED = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=2000,
    reliability=ReliabilityPolicy.BEST_EFFORT,
    durability=DurabilityPolicy.VOLATILE,
)
"""IMU samples from a bag: never too late, and a slow machine receives them all.

Best effort, as offered by `ros2 bag play`.
"""

STREAM = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=100,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.VOLATILE,
)
"""Bodies, commands, joint states, status.

A reliable writer retransmits what it still holds. With a depth of ten, a reader that gets no
processor time for 80 ms loses commands; with a hundred it receives all of them in order.
"""

NEWEST = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=100,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.VOLATILE,
)
"""Bodies and joint states for subscribers that only use the newest (`PallasNode.subscribe`).

Deep, so that after a stall of less than a second the older messages are skipped and counted; with
a depth of ten they would be overwritten unnoticed.
"""

LATCHED = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
"""Messages that late joiners must receive: the current calibration, the robot description."""

ALL_LATCHED = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=100,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
"""Subscriptions to messages that several publishers have latched, such as `/tf_static`.

They share one queue: with a depth of one, only the last of them would be received.
"""

ANY_OFFER = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=100,
    reliability=ReliabilityPolicy.BEST_EFFORT,
    durability=DurabilityPolicy.VOLATILE,
)
"""Safety inputs: matches every publisher, best effort or reliable, latched or not.

To receive latched messages, `LATCHED` is needed as well.
"""

SWITCH = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1000,
    reliability=ReliabilityPolicy.BEST_EFFORT,
    durability=DurabilityPolicy.VOLATILE,
)
"""Switches: matches every publisher, and is deep, because all publishers share one queue.

A single message of one switch must not be overwritten by the repeated messages of others.
"""

SWITCH_RELIABLE = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1000,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.VOLATILE,
)
"""In addition to `SWITCH`: a lost message of a reliable publisher is sent again."""

SWITCH_LATCHED = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1000,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
"""In addition to `SWITCH`: messages that were latched before the subscription was there."""
