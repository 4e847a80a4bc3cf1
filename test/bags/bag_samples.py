"""Small bags of numbered texts, for tests of readers and writers."""

import struct
from pathlib import Path

from pallas_ros.bags import Bag, BagWriter, Qos

KINDS = [("mcap", "none"), ("mcap", "lz4"), ("mcap", "zstd"), ("sqlite3", "none")]
STRING = "std_msgs/msg/String"


def text_message(text: str) -> bytes:
    """Return a serialised (CDR) std_msgs/String."""
    data = text.encode() + b"\0"
    return b"\0\1\0\0" + struct.pack("<I", len(data)) + data


def write_texts(path: Path, count: int = 200, **options: object) -> list[str]:
    """Write a bag of ``count`` numbered texts on two topics, 10 ms apart, ten per chunk."""
    texts = [f"message {index}" for index in range(count)]
    with BagWriter(path, **options) as writer:
        writer.add_topic("/even", STRING, Qos(reliable=False))
        writer.add_topic("/odd", STRING, Qos(latched=True))
        for index, text in enumerate(texts):
            writer.write(
                "/odd" if index % 2 else "/even", 10**9 + index * 10**7, text_message(text)
            )
            if index % 10 == 9:
                writer.flush()
    return texts


def read_texts(path: Path) -> list[str]:
    bag = Bag(path)
    return [bag.decode(message).data for message in bag.messages()]
