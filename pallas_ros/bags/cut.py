"""A part of a bag as a bag of its own."""

from collections.abc import Callable
from pathlib import Path

from pallas_ros.bags.reader import Bag
from pallas_ros.bags.repair import channel_of, storage_of
from pallas_ros.bags.writer import BagWriter
from pallas_ros.core.errors import PallasError


def cut_bag(
    bag: Bag, out: Path, start: float, stop: float, progress: Callable[[int], None] = lambda _: None
) -> BagWriter:
    """Copy the messages received from ``start`` to ``stop`` s after the first one, and what was
    latched before.

    Of a topic that keeps its last message for those who come later (a calibration, the description
    of the robot) the last
    message before the part is put at its beginning: without it nobody could use the rest.

    Returns:
        The closed writer: how many messages, and from when to when.

    Raises:
        PallasError: no message lies in the part, ``out`` holds something, or the disk is full.
    """
    begin = bag.first + round(start * 1e9)
    end = bag.first + round(stop * 1e9)
    if next(bag.messages(start=begin, stop=end), None) is None:
        raise PallasError(
            f"{bag.path}: no message from {start:g} to {stop:g} s; it lasts {bag.duration:.1f} s"
        )
    latched = {name for name, topic in bag.topics.items() if topic.qos.latched}
    before = {message.topic: message for message in bag.messages(latched, stop=begin)}
    with BagWriter(out, storage=storage_of(bag)) as writer:
        for topic in bag.topics.values():
            writer.add_channel(channel_of(topic))
        for message in before.values():
            writer.write(message.topic, begin, message.data)
        for message in bag.messages(start=begin, stop=end):
            writer.write(message.topic, message.stamp, message.data)
            if writer.count % 1000 == 0:
                progress(writer.count)
    return writer
