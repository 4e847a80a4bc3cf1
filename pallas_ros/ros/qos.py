"""The ways messages travel here."""

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

SENSOR = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=50,
    reliability=ReliabilityPolicy.BEST_EFFORT,
    durability=DurabilityPolicy.VOLATILE,
)
"""IMU samples: a late one is worth nothing, so none is sent twice.

Half a second of depth, so that a stall loses none.
"""

REPLAYED = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=2000,
    reliability=ReliabilityPolicy.BEST_EFFORT,
    durability=DurabilityPolicy.VOLATILE,
)
"""IMU samples out of a bag: none is too late, and a slow machine takes them all.

Best effort, as `ros2 bag play` offers them.
"""

STREAM = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=100,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.VOLATILE,
)
"""Bodies, commands, joint states, status.

A reliable writer repeats what it still holds: with ten messages a reader that is kept from the
processor for 80 ms loses commands for good, with a hundred it gets them all, in order.
"""

NEWEST = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=100,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.VOLATILE,
)
"""Bodies and joint states for subscribers that want only the newest (`PallasNode.subscribe`): deep,
so that after a stall of less than a second the others
are skipped and counted, where ten would have been overwritten unseen."""

LATCHED = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
"""What a late joiner must still receive: the calibration in force, the robot's description."""

ANY_OFFER = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=100,
    reliability=ReliabilityPolicy.BEST_EFFORT,
    durability=DurabilityPolicy.VOLATILE,
)
"""What a safety input asks for: every publisher matches, best effort or reliable, latched or not.

What is latched needs `LATCHED` besides.
"""
