"""Convert samples and bodies directly to and from serialised bytes, on the path from sensor to arm.

A `BodyPose` contains 66 nested messages, for each of which rclpy creates a Python object: 200 us to
receive and 90 us to send. Its bytes (`cdr`) contain the same numbers contiguously: 15 us
and 7 us. Rare cases, other joints or another byte order, go through rclpy with the same result. An
`Imu` of nine nested objects is sent 1600 times a second by four fast sensors: through rclpy it took
a third of the driver's time.
"""

import struct
from typing import Any

import numpy as np
from pallas.msg import BodyPose
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Imu

from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.names import JOINTS, WORLD_FRAME
from pallas_ros.imu.sample import ImuSample
from pallas_ros.messages.cdr import (
    COUNT,
    LITTLE_ENDIAN,
    NS,
    START,
    TIME,
    align,
    aligned,
    get,
    get_array,
    padded,
    put,
    put_array,
    text,
)
from pallas_ros.messages.decode import (
    body_from_msg,
    body_of,
    header_stamp,
    imu_from_msg,
    no_acceleration,
)

# orientation, angular velocity and acceleration, each followed by its covariance
_IMU = struct.Struct("<37d")
_J = len(JOINTS)
_STAMP = START
_NUMBERS = 7 * _J
_MATRICES = 9 * _J

_UNKNOWN = 9 * (0.0,)
_UNMEASURED = (-1.0, *8 * (0.0,))
"""Covariances (REP-145)."""


def imu_to_bytes(sample: ImuSample, frame_id: str) -> bytes:
    """Serialise a raw sample as a `sensor_msgs/Imu` (REP-145).

    Quantities not measured have -1 in the first element of their covariance.
    """
    out = bytearray(LITTLE_ENDIAN)
    out += TIME.pack(*divmod(sample.stamp, NS))
    put(out, frame_id)
    align(out, 8)
    q = sample.orientation
    rate = sample.angular_velocity
    out += _IMU.pack(
        *((0.0, 0.0, 0.0, 1.0, *_UNMEASURED) if q is None else (*q.tolist(), *_UNKNOWN)),
        *((0.0, 0.0, 0.0, *_UNMEASURED) if rate is None else (*rate.tolist(), *_UNKNOWN)),
        *sample.acceleration.tolist(),
        *_UNKNOWN,
    )
    return bytes(out)


def imu_from_bytes(data: bytes) -> ImuSample:
    """Return ``imu_from_msg`` of the serialised message.

    Raises:
        PallasError: as `imu_from_msg`; or the bytes are not an `Imu`.
    """
    try:
        if data[:START] != LITTLE_ENDIAN:
            raise ValueError("another byte order")
        frame_id, at = get(data, _STAMP + TIME.size)
        numbers = _IMU.unpack_from(data, aligned(at, 8))
    except (struct.error, ValueError):
        return imu_from_msg(deserialized(data, Imu))
    if numbers[28] == -1.0:
        raise no_acceleration(frame_id)
    return ImuSample(
        stamp=header_stamp(data),
        orientation=None if numbers[4] == -1.0 else np.array(numbers[:4]),
        acceleration=np.array(numbers[25:28]),
        angular_velocity=None if numbers[16] == -1.0 else np.array(numbers[13:16]),
    )


def body_to_bytes(frame: BodyFrame, frame_id: str = WORLD_FRAME) -> bytes:
    """Serialise ``body_to_msg(frame, frame_id)``, for ``publish``."""
    out = bytearray(LITTLE_ENDIAN)
    out += TIME.pack(*divmod(frame.stamp, NS))
    put(out, frame_id)
    put(out, frame.body_id)
    align(out, 4)
    out += _NAMES
    put_array(out, np.concatenate((frame.positions, frame.rotations), axis=1), "<f8", _J)
    if frame.covariance is None:
        put_array(out, (), "<f8", 0)
    else:
        put_array(out, frame.covariance, "<f8", _MATRICES)
    put_array(out, frame.valid, "?", _J)
    put_array(out, frame.confidence, "<f4", _J)
    out += frame.contacts.astype("<f4").tobytes()
    out += TIME.pack(*divmod(frame.newest_input, NS))
    out += COUNT.pack(len(frame.remarks))
    for remark in frame.remarks:
        put(out, remark)
    return bytes(out)


def body_from_bytes(data: bytes) -> BodyFrame:
    """Return ``body_from_msg`` of the serialised message.

    Raises:
        PallasError: as `body_from_msg`; or the bytes are not a `BodyPose`.
    """
    try:
        frame = _read(data)
    except (struct.error, ValueError):  # truncated, or invalid text
        frame = None
    return body_from_msg(deserialized(data, BodyPose)) if frame is None else frame


def body_id_of(data: bytes) -> str:
    """The body id of a serialised `BodyPose`; empty if it cannot be read."""
    try:
        _, at = get(data, _STAMP + TIME.size)
        return get(data, at)[0]
    except (struct.error, ValueError):
        return ""


def deserialized(data: bytes, kind: type[Any]) -> Any:
    """Deserialise the bytes as a message of type ``kind``.

    Raises:
        PallasError: they are not such a message.
    """
    try:
        return deserialize_message(data, kind)
    except Exception as error:  # type and text depend on the middleware
        package = kind.__module__.partition(".")[0]
        raise PallasError(
            f"{len(data)} bytes that are not a {package}/msg/{kind.__name__}:"
            " update or stop their publisher"
        ) from error


def _read(data: bytes) -> BodyFrame | None:
    """Return the body, or None unless the bytes contain all joints in the order of `JOINTS`."""
    if data[:START] != LITTLE_ENDIAN:
        return None
    _, at = get(data, _STAMP + TIME.size)
    body_id, at = get(data, at)
    at = aligned(at, 4)
    names = _NAMES_PADDED.match(data, at)
    if names is None:
        return None
    numbers, at = get_array(data, names.end(), "<f8", 7)
    matrices, at = get_array(data, at, "<f8", 1)
    valid, at = get_array(data, at, "u1", 1)
    confidence, at = get_array(data, at, "<f4", 1)
    if (len(numbers), len(valid), len(confidence)) != (_NUMBERS, _J, _J) or len(matrices) not in (
        0,
        _MATRICES,
    ):
        return None
    contacts = np.frombuffer(data, "<f4", 2, at).astype(np.float64)
    newest = TIME.unpack_from(data, at + 8)
    remarks = []
    at = at + 16
    (count,) = COUNT.unpack_from(data, at)
    at += 4
    for _ in range(min(count, len(data))):
        remark, at = get(data, at)
        remarks.append(remark)
    return body_of(
        header_stamp(data),
        np.array(numbers, dtype=np.float64).reshape(_J, 7),
        np.array(matrices, dtype=np.float64).reshape(_J, 3, 3) if len(matrices) else None,
        valid != 0,
        confidence.astype(np.float64),
        contacts,
        newest[0] * NS + newest[1],
        body_id,
        tuple(remarks),
    )


_NAMES, _NAMES_PADDED = padded(COUNT.pack(_J), *map(text, JOINTS))
"""The joint names as written, and a pattern to read them with any padding bytes."""
