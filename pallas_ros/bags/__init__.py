"""rosbag2 recordings: crash-safe writing, and reading of intact or damaged bags in constant memory.

`BagWriter` writes MCAP (the default) or sqlite3, `Bag` reads both, `repair` restores a bag that is
damaged or truncated.
"""

from pallas_ros.bags.reader import Bag, BagMessage, BagTopic
from pallas_ros.bags.repair import repair
from pallas_ros.bags.types import Qos
from pallas_ros.bags.writer import BagWriter

__all__ = ["Bag", "BagMessage", "BagTopic", "BagWriter", "Qos", "repair"]
