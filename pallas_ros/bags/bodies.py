"""Bodies out of recorded messages."""

import contextlib
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from pallas_ros.bags.reader import Bag
from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.names import JOINTS


def stamp_ns(time: Any) -> int:
    """A ``builtin_interfaces/Time`` in ns."""
    return int(time.sec) * 1_000_000_000 + int(time.nanosec)


def header_stamp(data: bytes) -> int:
    """The stamp in ns of a serialised (CDR) message that begins with a ``std_msgs/Header``, without decoding the rest.

    Raises:
        ValueError: there are too few bytes.
    """
    if len(data) < 12:
        raise ValueError("a message too short to hold a stamp")
    seconds, nanoseconds = struct.unpack_from("<iI" if data[1] & 1 else ">iI", data, 4)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


def body_from_record(message: Any) -> BodyFrame:
    """A decoded ``pallas/msg/BodyPose`` as the record the code works on; joints in any order.

    Raises:
        PallasError: a joint is missing, or the message's parts do not match.
    """
    names, count = list(message.joint_names), len(JOINTS)
    try:
        order = [names.index(joint) for joint in JOINTS]
        poses = [message.poses[index] for index in order]
        positions = np.array([(p.position.x, p.position.y, p.position.z) for p in poses])
        rotations = np.array([(p.orientation.x, p.orientation.y, p.orientation.z, p.orientation.w) for p in poses])
        covariance = np.asarray(message.position_covariance, dtype=np.float64)
        return BodyFrame(
            stamp=stamp_ns(message.header.stamp),
            rotations=rotations,
            positions=positions,
            covariance=covariance.reshape(len(names), 3, 3)[order] if covariance.size else None,
            valid=np.asarray(message.valid, dtype=bool)[order] if len(message.valid) else np.ones(count, dtype=bool),
            confidence=np.asarray(message.confidence, dtype=np.float64)[order] if len(message.confidence) else np.ones(count),
            contacts=np.asarray(message.foot_contact, dtype=np.float64),
            newest_input=stamp_ns(message.newest_input),
            body_id=str(message.body_id),
            remarks=tuple(message.remarks),
        )
    except (ValueError, IndexError, TypeError) as error:
        raise PallasError(f"a recorded body does not hold the 22 joints: {error}") from None


def read_bodies(bag: Bag, topic: str, start: int | None = None, stop: int | None = None) -> Iterator[tuple[int, BodyFrame]]:
    """Stamp of reception (ns) and body, of every sound message of ``topic``."""
    for received, message in bag.read(topic, start, stop):
        with contextlib.suppress(PallasError):
            yield received, body_from_record(message)
