"""Convert joint states and trajectories directly to and from serialised bytes, as `wire` does for
bodies.

Their bytes contain all numbers contiguously, while rclpy creates an object for each array, and
converts the joint names of every message. Other layouts go through rclpy with the same result.
"""

import contextlib
import re
import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import JointState

from pallas_ros.messages.cdr import (
    COUNT,
    LITTLE_ENDIAN,
    NS,
    START,
    TIME,
    aligned,
    get_array,
    padded,
    text,
)
from pallas_ros.messages.decode import from_stamp, header_stamp
from pallas_ros.messages.wire import deserialized

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

_HEAD = START + TIME.size
"""Offset of a message's head: the frame id and the joint names, which repeat in every message."""
# Number of remembered heads of joint states, usually one per publisher. Messages with another head
# are read by rclpy, because compiling a pattern takes far longer: names that change with every
# message must not slow down the node.
_LAYOUTS = 16
_LONGEST = 10_000  # bytes of a message with a remembered head


class TrajectoryCodec:
    """Converts trajectories of the same joints to and from a `trajectory_msgs/JointTrajectory`."""

    def __init__(self, joint_names: Sequence[str]) -> None:
        """``joint_names`` are those of every trajectory, in this order."""
        self._head, self._pattern = _head("", joint_names)
        self._joints = len(joint_names)
        # Before the first numbers; those of later points need no padding.
        first = _HEAD + len(self._head) + 2 * COUNT.size
        self._padding = aligned(first, 8) - first
        self._point = np.dtype(
            [
                ("count", "<u4"),
                ("q", "<f8", (self._joints,)),
                ("count_dq", "<u4"),
                ("padding_dq", "<u4"),
                ("dq", "<f8", (self._joints,)),
                ("count_ddq", "<u4"),
                ("padding_ddq", "<u4"),
                ("ddq", "<f8", (self._joints,)),
                ("efforts", "<u4"),
                ("seconds", "<i4"),
                ("nanoseconds", "<u4"),
            ]
        )

    def to_bytes(self, stamp: int, times: I64, states: Sequence[F64]) -> bytes:
        """Serialise K >= 1 points at ``times`` (K,) ns; the message's are relative to ``stamp`` ns.

        ``states`` are position (n,) rad, velocity rad/s and acceleration rad/s^2 of each point.
        """
        points = np.zeros(len(times), self._point)
        points["count"] = points["count_dq"] = points["count_ddq"] = self._joints
        numbers = np.array(states)
        points["q"] = numbers[:, 0]
        points["dq"] = numbers[:, 1]
        points["ddq"] = numbers[:, 2]
        points["seconds"], points["nanoseconds"] = np.divmod(times - stamp, NS)
        block = points.tobytes()
        return b"".join(
            (
                LITTLE_ENDIAN,
                TIME.pack(*divmod(stamp, NS)),
                self._head,
                COUNT.pack(len(times)),
                block[: COUNT.size],
                bytes(self._padding),
                block[COUNT.size :],
            )
        )

    def from_bytes(self, data: bytes) -> tuple[int, I64, F64] | None:
        """The stamp in ns, times (K,) ns relative to it and states (K, 3, n) as in `to_bytes`; None
        if the message has other joints or another layout.
        """
        head = self._pattern.match(data, _HEAD)
        at = _HEAD + len(self._head) + COUNT.size  # of the first point
        if not data.startswith(LITTLE_ENDIAN) or head is None or len(data) < at:
            return None
        (count,) = COUNT.unpack_from(data, at - COUNT.size)
        numbers_at = at + COUNT.size + self._padding
        block = data[at : at + COUNT.size] + data[numbers_at:]
        if not 0 < count * self._point.itemsize <= len(block):
            return None
        points = np.frombuffer(block, self._point, count)
        counts = (points["count"], points["count_dq"], points["count_ddq"])
        if points["efforts"].any() or any((each != self._joints).any() for each in counts):
            return None
        times = points["seconds"].astype(np.int64) * NS + points["nanoseconds"]
        states = np.stack((points["q"], points["dq"], points["ddq"]), axis=1)
        return header_stamp(data), times, states


class JointStateReader:
    """Reads the positions in `sensor_msgs/JointState`, and decodes repeated joint names once."""

    def __init__(self) -> None:
        """No message has been read."""
        self._layouts: dict[re.Pattern[bytes], tuple[str, ...]] = {}

    def read(self, data: bytes) -> tuple[int, tuple[str, ...], F64]:
        """The stamp in ns, the joint names, and the positions in rad.

        Raises:
            PallasError: the bytes are not a `JointState`.
        """
        if data.startswith(LITTLE_ENDIAN):
            for pattern, names in self._layouts.items():
                head = pattern.match(data, _HEAD)
                if head is None:
                    continue
                with contextlib.suppress(ValueError, struct.error):  # reported by `deserialized`
                    return header_stamp(data), names, _positions(data, head.end())
        message = deserialized(data, JointState)
        names = tuple(message.name)
        if len(self._layouts) < _LAYOUTS and len(data) < _LONGEST:
            _, pattern = _head(message.header.frame_id, names)
            if pattern.match(data, _HEAD):
                self._layouts[pattern] = names
        return from_stamp(message.header.stamp), names, np.array(message.position)


def _head(frame_id: str, joint_names: Sequence[str]) -> tuple[bytes, re.Pattern[bytes]]:
    """The head of a message, and a pattern that matches it with any bytes as padding."""
    names = map(text, joint_names)
    return padded(text(frame_id), COUNT.pack(len(joint_names)), *names, b"")


def _positions(data: bytes, at: int) -> F64:
    """The first of the three arrays from offset ``at`` on.

    Raises:
        ValueError, struct.error: the message is cut off.
    """
    q, at = get_array(data, at, "<f8", 1)
    for _ in range(2):  # velocities and efforts
        _, at = get_array(data, at, "<f8", 1)
    return q
