"""Copy a part of a bag to a new bag."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from pallas_ros.bags.reader import Bag, BagMessage
from pallas_ros.bags.repair import channel_of, storage_of
from pallas_ros.bags.writer import BagWriter
from pallas_ros.core.errors import PallasError

TF_STATIC = "/tf_static"
MOST_STATIC = 1000
"""Static transforms that are kept, the newest; a robot has a few dozen publishers at most."""


def cut_bag(
    bag: Bag, out: Path, start: float, stop: float, progress: Callable[[int], None] = lambda _: None
) -> BagWriter:
    """Copy the messages received from ``start`` to ``stop`` s after the first one, and earlier
    latched messages.

    Of each latched topic (a calibration, the robot description) the last message before the part is
    written at its beginning: without it the rest would be unusable. Of `TF_STATIC`, which several
    nodes publish, every different message is. If copying fails or is interrupted, nothing is
    written.

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
    out = out.resolve()
    if os.path.lexists(out) and not (out.is_dir() and not any(out.iterdir())):
        raise PallasError(f"{out}: exists and is not empty; give another name, or remove it")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
        writer = None
        try:
            writer = BagWriter(folder / out.name, storage=storage_of(bag))
            _copy(bag, writer, begin, end, progress)
            os.rename(writer.path, out)
        except PallasError:
            if writer is not None and writer.failure:  # it names the folder that is removed below
                raise PallasError(f"{out}: not written: the disk is full, or failed") from None
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise PallasError(f"{out}: cannot be written: {error.strerror}") from None
    return writer


def _copy(
    bag: Bag, writer: BagWriter, begin: int, end: int, progress: Callable[[int], None]
) -> None:
    """Copy the messages from ``begin`` to ``end`` ns, and those latched before; close the bag."""
    before = latched_before(bag, set(bag.topics), begin)
    with writer:
        for topic in bag.topics.values():
            writer.add_channel(channel_of(topic))
        for message in before:
            writer.write(message.topic, begin, message.data)
        for message in bag.messages(start=begin, stop=end):
            writer.write(message.topic, message.stamp, message.data)
            if writer.count % 1000 == 0:
                progress(writer.count)


def latched_before(bag: Bag, topics: set[str], begin: int) -> list[BagMessage]:
    """Return the latched messages of ``topics`` that are in force at ``begin`` ns."""
    latched = {name for name in topics if bag.topics[name].qos.latched}
    found: dict[tuple[str, bytes], BagMessage] = {}
    for message in bag.messages(latched, stop=begin):
        found[_key(message)] = message
        if len(found) > len(latched) + MOST_STATIC:
            del found[next(key for key in found if key[1])]
    return list(found.values())


def _key(message: BagMessage) -> tuple[str, bytes]:
    """Messages with equal keys replace each other; static transforms add up."""
    return message.topic, message.data if message.topic == TF_STATIC else b""
