"""rosbag2 recordings: written so that they survive a crash, read whole or damaged, in memory that
does not grow with their length.

`BagWriter` writes MCAP (the default) or sqlite3, `Bag` reads both, `repair` restores a bag that is
damaged or was cut short.
"""

from pallas_ros.bags.reader import Bag, BagMessage, BagTopic
from pallas_ros.bags.repair import repair
from pallas_ros.bags.types import Qos
from pallas_ros.bags.writer import BagWriter

__all__ = ["Bag", "BagMessage", "BagTopic", "BagWriter", "Qos", "repair"]
