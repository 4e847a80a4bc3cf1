"""Serialising samples and bodies directly gives the same bytes as rclpy."""

import dataclasses
import struct
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (make setup)")
pytest.importorskip("pallas.msg", reason="needs the generated messages (make setup)")

from hypothesis import given
from hypothesis import strategies as st
from pallas.msg import BodyPose
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Imu

from pallas_ros.bags.types import Decoder
from pallas_ros.body.errors import PallasError
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.names import JOINTS
from pallas_ros.imu.sample import ImuSample
from pallas_ros.messages import decode, encode, wire

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


@st.composite
def bodies(draw: st.DrawFn) -> BodyFrame:
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    q = rng.normal(size=(22, 4))
    body = BodyFrame(
        stamp=draw(st.integers(0, 2**31 * 1_000_000_000 - 1)),
        rotations=q / np.linalg.norm(q, axis=1, keepdims=True),
        positions=rng.normal(size=(22, 3)),
        covariance=rng.normal(size=(22, 3, 3)) if draw(st.booleans()) else None,
        valid=rng.random(22) < 0.8,
        confidence=rng.random(22),
        contacts=rng.random(2),
        newest_input=draw(st.integers(0, 2**31 * 1_000_000_000 - 1)),
        body_id=draw(TEXT),
        remarks=tuple(draw(st.lists(TEXT, max_size=3))),
    )
    if draw(st.booleans()):
        body.positions[3, 1] = np.nan
        body.rotations[5, 0] = 7.0
    return body


NUMBER = st.floats(width=64)


def imu_message(stamp: int, frame_id: str) -> Imu:
    """A message with a header only."""
    message = Imu()
    message.header.stamp = encode.to_stamp(stamp)
    message.header.frame_id = frame_id
    return message


@given(
    st.integers(0, 2**31 * 1_000_000_000 - 1),
    st.lists(NUMBER, min_size=10, max_size=10),
    st.booleans(),
    st.booleans(),
    TEXT,
)
def test_bytes_of_a_sample_are_those_of_the_message(
    stamp: int, v: list[float], oriented: bool, turning: bool, frame_id: str
) -> None:
    sample = ImuSample(
        stamp,
        np.array(v[:4]) if oriented else None,
        np.array(v[4:7]),
        np.array(v[7:]) if turning else None,
    )
    message = imu_message(stamp, frame_id)
    a = message.linear_acceleration
    g = message.angular_velocity
    o = message.orientation
    a.x, a.y, a.z = v[4:7]
    if turning:
        g.x, g.y, g.z = v[7:]
    else:
        message.angular_velocity_covariance[0] = -1.0
    if oriented:
        o.x, o.y, o.z, o.w = v[:4]
    else:
        message.orientation_covariance[0] = -1.0
    ours = wire.imu_to_bytes(sample, frame_id)
    Decoder().decode("sensor_msgs/msg/Imu", ours)
    assert str(deserialize_message(ours, Imu)) == str(
        deserialize_message(serialize_message(message), Imu)
    )
    assert decode.header_stamp(ours) == stamp


def sample_or_error(read: Any, data: bytes) -> str:
    """What is read, as text: NaN does not equal itself."""
    try:
        fields = dataclasses.astuple(read(data))
        return str([f.tolist() if isinstance(f, np.ndarray) else f for f in fields])
    except PallasError as error:
        return f"error: {error}"


@given(
    st.integers(0, 2**31 * 1_000_000_000 - 1),
    st.lists(NUMBER, min_size=10, max_size=10),
    st.lists(st.booleans(), min_size=3, max_size=3),
    TEXT,
    st.data(),
)
def test_a_sample_is_read_from_bytes_as_from_the_message(
    stamp: int, v: list[float], measured: list[bool], frame_id: str, draw: st.DataObject
) -> None:
    """Also if its bytes are damaged or truncated, or of another byte order."""
    message = imu_message(stamp, frame_id)
    a = message.linear_acceleration
    g = message.angular_velocity
    o = message.orientation
    o.x, o.y, o.z, o.w = v[:4]
    a.x, a.y, a.z = v[4:7]
    g.x, g.y, g.z = v[7:]
    for known, covariance in zip(
        measured,
        (
            message.orientation_covariance,
            message.angular_velocity_covariance,
            message.linear_acceleration_covariance,
        ),
        strict=True,
    ):
        covariance[0] = 0.25 if known else -1.0

    def theirs(data: bytes) -> ImuSample:
        return decode.imu_from_msg(wire.deserialized(data, Imu))

    data = bytearray(serialize_message(message))
    assert sample_or_error(wire.imu_from_bytes, bytes(data)) == sample_or_error(theirs, bytes(data))
    if draw.draw(st.booleans()):
        del data[draw.draw(st.integers(0, len(data))) :]
    for _ in range(draw.draw(st.integers(0, 3))):
        if data:
            data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    assert sample_or_error(wire.imu_from_bytes, bytes(data)) == sample_or_error(theirs, bytes(data))


def same(a: BodyFrame, b: BodyFrame) -> None:
    for name in (field.name for field in dataclasses.fields(BodyFrame)):
        left = getattr(a, name)
        right = getattr(b, name)
        assert (
            np.array_equal(left, right, equal_nan=True)
            if isinstance(left, np.ndarray)
            else left == right
        ), name


@given(bodies(), TEXT)
def test_bytes_are_those_of_the_message(body: BodyFrame, frame_id: str) -> None:
    ours = wire.body_to_bytes(body, frame_id)
    theirs = serialize_message(encode.body_to_msg(body, frame_id))
    Decoder().decode("pallas/msg/BodyPose", ours)  # a reader that refuses a byte too many
    assert str(deserialize_message(ours, BodyPose)) == str(
        deserialize_message(theirs, BodyPose)
    )  # NaN does not equal itself
    assert decode.header_stamp(theirs) == body.stamp


@given(bodies(), TEXT)
def test_the_id_of_a_body_is_read_from_its_bytes(body: BodyFrame, frame_id: str) -> None:
    assert wire.body_id_of(wire.body_to_bytes(body, frame_id)) == body.body_id
    assert wire.body_id_of(b"") == ""


@given(bodies())
def test_bytes_are_read_as_the_message_is(body: BodyFrame) -> None:
    data = serialize_message(encode.body_to_msg(body))
    assert wire._read(data) is not None  # by the short way
    same(wire.body_from_bytes(data), decode.body_from_msg(deserialize_message(data, BodyPose)))


def test_joints_in_another_order_go_the_long_way() -> None:
    message = encode.body_to_msg(_still())
    message.joint_names, message.poses = list(reversed(JOINTS)), list(reversed(message.poses))
    data = serialize_message(message)
    assert wire._read(data) is None
    same(wire.body_from_bytes(data), decode.body_from_msg(message))


def test_too_few_joints_are_refused_in_one_sentence() -> None:
    message = encode.body_to_msg(_still())
    message.poses = message.poses[:-1]
    with pytest.raises(PallasError, match="21 poses"):
        wire.body_from_bytes(serialize_message(message))


@pytest.mark.parametrize("length", [0, 3, 4, 20, 500])
def test_bytes_that_are_no_body_are_refused_in_one_sentence(length: int) -> None:
    data = wire.body_to_bytes(_still())[:length]
    with pytest.raises(PallasError, match=rf"^{length} bytes that are not a pallas/msg/BodyPose"):
        wire.body_from_bytes(data)


@given(st.integers(0, 3400), st.binary(min_size=1, max_size=8))
def test_damaged_bytes_are_read_or_given_up_and_nothing_worse(at: int, damage: bytes) -> None:
    data = bytearray(wire.body_to_bytes(_still()))
    data[at : at + len(damage)] = damage
    for hostile in (bytes(data), bytes(data[:at])):
        try:
            frame = wire._read(hostile)
        except (ValueError, struct.error):  # what `body_from_bytes` expects
            continue
        assert frame is None or frame.positions.shape == (22, 3)


def _still() -> BodyFrame:
    unit = np.tile([0.0, 0.0, 0.0, 1.0], (22, 1))
    return BodyFrame(
        7,
        unit,
        np.zeros((22, 3)),
        np.zeros((22, 3, 3)),
        np.ones(22, bool),
        np.ones(22),
        np.zeros(2),
        6,
    )
