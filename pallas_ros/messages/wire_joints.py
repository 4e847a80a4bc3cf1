"""Convert joint states and trajectories directly to and from serialised bytes, as `wire` does for
bodies.

Their bytes contain all numbers contiguously, while rclpy creates an object for each array, and
converts the joint names of every message. Other layouts go through rclpy with the same result.
"""

import re
import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import JointState

from pallas_ros.messages.decode import from_stamp, header_stamp
from pallas_ros.messages.wire import deserialized

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

_NS = 1_000_000_000
_LITTLE_ENDIAN = b"\x00\x01\x00\x00"
_TIME = struct.Struct("<iI")
_COUNT = struct.Struct("<I")
_HEAD = len(_LITTLE_ENDIAN) + _TIME.size
"""Offset of a message's head: the frame id and the joint names, which repeat in every message."""
# Remembered heads of joint states, one of each publisher. Others are not, since compiling a
# pattern takes far longer than rclpy: changing names must not slow down the node.
_LAYOUTS = 16
_LONGEST = 10_000  # bytes of a message with a remembered head


class TrajectoryCodec:
    """Converts trajectories of the same joints to and from a `trajectory_msgs/JointTrajectory`."""

    def __init__(self, joint_names: Sequence[str]) -> None:
        """``joint_names`` are those of every trajectory, in this order."""
        self._head, self._pattern = _head("", joint_names)
        self._joints = len(joint_names)
        # Before the first numbers; those of later points need no padding.
        self._padding = _padding(_HEAD + len(self._head) + 2 * _COUNT.size)
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
        points["seconds"], points["nanoseconds"] = np.divmod(times - stamp, _NS)
        block = points.tobytes()
        return b"".join(
            (
                _LITTLE_ENDIAN,
                _TIME.pack(*divmod(stamp, _NS)),
                self._head,
                _COUNT.pack(len(times)),
                block[: _COUNT.size],
                bytes(self._padding),
                block[_COUNT.size :],
            )
        )

    def from_bytes(self, data: bytes) -> tuple[int, I64, F64] | None:
        """The stamp in ns, times (K,) ns relative to it and states (K, 3, n) as in `to_bytes`; None
        if the message has other joints or another layout.
        """
        head = self._pattern.match(data, _HEAD)
        at = _HEAD + len(self._head) + _COUNT.size  # of the first point
        if not data.startswith(_LITTLE_ENDIAN) or head is None or len(data) < at:
            return None
        (count,) = _COUNT.unpack_from(data, at - _COUNT.size)
        numbers_at = at + _COUNT.size + self._padding
        block = data[at : at + _COUNT.size] + data[numbers_at:]
        if not 0 < count * self._point.itemsize <= len(block):
            return None
        points = np.frombuffer(block, self._point, count)
        counts = (points["count"], points["count_dq"], points["count_ddq"])
        if points["efforts"].any() or any((each != self._joints).any() for each in counts):
            return None
        times = points["seconds"].astype(np.int64) * _NS + points["nanoseconds"]
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
        if data.startswith(_LITTLE_ENDIAN):
            for pattern, names in self._layouts.items():
                head = pattern.match(data, _HEAD)
                q = None if head is None else _positions(data, head.end())
                if q is not None:
                    return header_stamp(data), names, q
        message = deserialized(data, JointState)
        names = tuple(message.name)
        if len(self._layouts) < _LAYOUTS and len(data) < _LONGEST:
            _, pattern = _head(message.header.frame_id, names)
            if pattern.match(data, _HEAD):
                self._layouts[pattern] = names
        return from_stamp(message.header.stamp), names, np.array(message.position)


def _head(frame_id: str, joint_names: Sequence[str]) -> tuple[bytes, re.Pattern[bytes]]:
    """The head of a message, and a pattern that matches it with any bytes as padding."""
    texts = [text.encode() + b"\0" for text in (frame_id, *joint_names)]
    frame, *names = (_COUNT.pack(len(text)) + text for text in texts)
    out = bytearray(_HEAD)
    pattern = b""
    for part in (frame, _COUNT.pack(len(names)), *names, b""):
        padding = -len(out) % _COUNT.size
        out += bytes(padding) + part
        pattern += b"." * padding + re.escape(part)
    return bytes(out[_HEAD:]), re.compile(pattern, re.DOTALL)


def _positions(data: bytes, at: int) -> F64 | None:
    """The first of the three arrays from offset ``at`` on; None if the message is cut off."""
    starts = []
    for _ in range(3):
        if at + _COUNT.size > len(data):
            return None
        (count,) = _COUNT.unpack_from(data, at)
        at += _COUNT.size
        if count:
            at += _padding(at)
        starts.append((count, at))
        at += 8 * count
    if at > len(data):
        return None
    count, start = starts[0]
    return np.frombuffer(data, "<f8", count, start)


def _padding(at: int) -> int:
    """Number of bytes between offset ``at`` and numbers of 8 bytes."""
    return (len(_LITTLE_ENDIAN) - at) % 8
