"""Read bodies from recorded messages."""

import contextlib
from collections.abc import Iterator

from pallas_ros.bags.reader import Bag
from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame
from pallas_ros.messages.decode import body_from_msg


def read_bodies(
    bag: Bag, topic: str, start: int | None = None, stop: int | None = None
) -> Iterator[tuple[int, BodyFrame]]:
    """Yield reception timestamp (ns) and body of every valid message of ``topic``."""
    for received, message in bag.read(topic, start, stop):
        with contextlib.suppress(PallasError):
            yield received, body_from_msg(message)
