"""Copy a part of a bag to a new bag."""

from collections.abc import Callable
from pathlib import Path

from pallas_ros.bags.reader import Bag
from pallas_ros.bags.repair import channel_of, storage_of
from pallas_ros.bags.writer import BagWriter
from pallas_ros.core.errors import PallasError


def cut_bag(
    bag: Bag, out: Path, start: float, stop: float, progress: Callable[[int], None] = lambda _: None
) -> BagWriter:
    """Copy the messages received from ``start`` to ``stop`` s after the first one, and earlier
    latched messages.

    Of each latched topic (a calibration, the robot description) the last message before the part is
    written at its beginning: without it the rest would be unusable.

    Returns:
        The closed writer, with the number of messages and their time span.

    Raises:
        PallasError: the part contains no message, ``out`` is not empty, or the disk is full.
    """
    after = bag.duration + 1e-3  # also in place of times that are too large for a timestamp
    begin = bag.first + round(min(start, after) * 1e9)
    end = bag.first + round(min(stop, after) * 1e9)
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
